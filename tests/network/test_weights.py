"""Weights: every kind of file, every fault of one, the download and what happens without it."""

import configparser
import contextlib
import hashlib
import http.server
import logging
import pathlib
import socket
import threading
import time
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from nst_tf import errors
from nst_tf.config import layers as vgg_layers
from nst_tf.network import download, vgg19, weights
from tests import conftest

SHAPES = {"conv1_1": (3, 3, 3, 4), "conv1_2": (3, 3, 4, 4), "conv2_1": (3, 3, 4, 5)}


def _arrays():
    generator = np.random.default_rng(1)
    return {
        name: (
            generator.normal(size=shape).astype(np.float32),
            generator.normal(size=shape[-1]).astype(np.float32),
        )
        for name, shape in SHAPES.items()
    }


def _legacy(path, group=""):
    """Writes a file as Keras 1 and 2 did."""
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in _arrays().items():
            layer = name.replace("conv", "block").replace("_", "_conv")
            file[f"{group}{layer}/{layer}_W_1:0"] = kernel
            file[f"{group}{layer}/{layer}_b_1:0"] = bias
        file.create_group(f"{group}block1_pool")


def _model_file(path):
    _legacy(path, "model_weights/")


def _by_order(path):
    """Writes a file as Keras 3 does: layers by class and order."""
    with h5py.File(path, "w") as file:
        for index, (kernel, bias) in enumerate(_arrays().values()):
            group = f"layers/conv2d_{index}" if index else "layers/conv2d"
            file[f"{group}/vars/0"], file[f"{group}/vars/1"] = kernel, bias


def _npz(path):
    named: dict[str, Any] = {}
    for name, (kernel, bias) in _arrays().items():
        named |= {f"{name}_kernel": kernel, f"{name}_bias": bias}
    np.savez(path, **named)


FILES = {
    "legacy.h5": _legacy,
    "model.h5": _model_file,
    "new.weights.h5": _by_order,
    "arrays.npz": _npz,
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_read(tmp_path, name):
    FILES[name](tmp_path / name)
    loaded = weights.load(str(tmp_path / name), SHAPES)
    for layer, (kernel, bias) in _arrays().items():
        np.testing.assert_array_equal(loaded.arrays[layer][0], kernel)
        np.testing.assert_array_equal(loaded.arrays[layer][1], bias)
    assert loaded.name == name
    assert loaded.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert loaded.preprocessing in vgg19.PREPROCESSING


def test_what_keras_itself_saves_is_read(tmp_path):
    model = keras.applications.VGG19(include_top=False, weights=None)
    path = tmp_path / "saved.weights.h5"
    model.save_weights(path)
    loaded = weights.load(str(path), vgg_layers.kernel_shapes(["relu5_4"]))
    for name, (kernel, bias) in loaded.arrays.items():
        layer = model.get_layer(name.replace("conv", "block").replace("_", "_conv"))
        np.testing.assert_array_equal(kernel, layer.kernel)
        np.testing.assert_array_equal(bias, layer.bias)
    with pytest.raises(errors.InputError, match="VGG19 has"):
        weights.load(str(path), {"conv1_1": (3, 3, 3, 4)})


@pytest.mark.parametrize("name", FILES)
def test_missing_layers_are_named(tmp_path, name):
    FILES[name](tmp_path / name)
    more = SHAPES | {"conv2_2": (3, 3, 5, 5), "conv3_1": (3, 3, 5, 6)}
    with pytest.raises(errors.InputError, match=r"lacks conv2_2, conv3_1"):
        weights.load(str(tmp_path / name), more)


@pytest.mark.parametrize("name", FILES)
def test_every_shape_is_checked(tmp_path, name):
    FILES[name](tmp_path / name)
    with pytest.raises(errors.InputError, match=r"conv2_1 as \[3, 3, 4, 5\] .* \[3, 3, 4, 4\] .* fewer"):
        weights.load(str(tmp_path / name), SHAPES | {"conv2_1": (3, 3, 4, 4)})


@pytest.mark.parametrize("name", FILES)
def test_layers_may_have_fewer_filters(tmp_path, name):
    FILES[name](tmp_path / name)
    wider = {"conv1_1": (3, 3, 3, 8), "conv1_2": (3, 3, 8, 8), "conv2_1": (3, 3, 8, 9)}
    loaded = weights.load(str(tmp_path / name), wider)
    assert {layer: kernel.shape for layer, (kernel, _) in loaded.arrays.items()} == SHAPES


@pytest.mark.parametrize(
    "changed",
    [
        {"conv1_2_kernel": np.zeros((3, 3, 3, 4))},  # fewer inputs than there are filters below
        {"conv1_2_kernel": np.zeros((5, 5, 4, 4))},
        {"conv1_2_bias": np.zeros(3)},
        {"conv1_1_kernel": np.zeros((3, 3, 2, 4))},  # of a picture without blue
        {"conv2_1_kernel": np.zeros((3, 3, 4, 0)), "conv2_1_bias": np.zeros(0)},
    ],
)
def test_layers_that_do_not_fit_each_other_are_refused(tmp_path, changed):
    _npz(tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        np.savez(tmp_path / "changed.npz", **{**arrays, **changed})
    with pytest.raises(errors.InputError, match="VGG19 has"):
        weights.load(str(tmp_path / "changed.npz"), SHAPES)


def test_values_that_are_not_finite_are_refused(tmp_path):
    arrays: dict[str, Any] = {"conv1_1_kernel": np.full((3, 3, 3, 4), np.nan), "conv1_1_bias": np.zeros(4)}
    np.savez(tmp_path / "nan.npz", **arrays)
    with pytest.raises(errors.InputError, match="NaN values in conv1_1"):
        weights.load(str(tmp_path / "nan.npz"), {"conv1_1": (3, 3, 3, 4)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.h5", None, "there is no file"),
        ("a.pth", b"", "'.pth' is not one of"),
        ("a.h5", b"no HDF5", "cannot be read"),
        ("a.npz", b"no archive", "cannot be read"),
        ("empty.h5", b"", "cannot be read"),
    ],
)
def test_wrong_files_give_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.InputError, match=message) as caught:
        weights.load(str(tmp_path / name), SHAPES)
    assert "\n" not in str(caught.value)


def test_a_layer_with_more_than_a_kernel_and_a_bias_is_refused(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["conv1_1/a"], file["conv1_1/b"] = np.zeros((3, 3, 3, 4)), np.zeros((3, 3))
    with pytest.raises(errors.InputError, match="not a kernel and a bias"):
        weights.load(str(tmp_path / "odd.h5"), SHAPES)


def test_a_pickle_in_an_npz_is_never_run(tmp_path):
    named: dict[str, Any] = {"conv1_1_kernel": np.array([object()]), "conv1_1_bias": np.zeros(4)}
    np.savez(tmp_path / "evil.npz", **named)
    with pytest.raises(errors.InputError, match="cannot be read"):
        weights.load(str(tmp_path / "evil.npz"), SHAPES)


def _eight_bits(path, **more):
    """Writes a file as `tools/features/train.py` does; returns what it is to be read as."""
    named: dict[str, Any] = {"preprocessing": "signed"} | more
    expected = {}
    for name, (kernel, bias) in _arrays().items():
        scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127
        named[f"{name}_kernel"] = np.rint(kernel / scale).astype(np.int8)
        named[f"{name}_scale"], named[f"{name}_bias"] = scale, bias
        expected[name] = (named[f"{name}_kernel"] * scale, bias)
    np.savez_compressed(path, **named)
    return expected


def test_eight_bits_and_the_preprocessing_are_read(tmp_path):
    expected = _eight_bits(tmp_path / "small.npz")
    loaded = weights.load(str(tmp_path / "small.npz"), SHAPES)
    assert loaded.preprocessing == "signed"
    for name, (kernel, bias) in expected.items():
        assert loaded.arrays[name][0].dtype == np.float32
        np.testing.assert_array_equal(loaded.arrays[name][0], kernel)
        np.testing.assert_array_equal(loaded.arrays[name][1], bias)


def test_a_preprocessing_that_there_is_not_is_refused(tmp_path):
    _eight_bits(tmp_path / "odd.npz", preprocessing="singed")
    with pytest.raises(errors.InputError, match="did you mean 'signed'"):
        weights.load(str(tmp_path / "odd.npz"), SHAPES)


def test_names_of_preprocessings_equal_those_of_the_network():
    assert list(weights.PREPROCESSING) == list(vgg19.PREPROCESSING)


def test_builtin_is_the_packages_own_file(tmp_path, monkeypatch):
    expected = _eight_bits(tmp_path / "own.npz")
    monkeypatch.setattr(weights, "BUILTIN_FILE", tmp_path / "own.npz")
    loaded = weights.load("builtin", SHAPES)
    np.testing.assert_array_equal(loaded.arrays["conv1_2"][0], expected["conv1_2"][0])
    assert (loaded.name, loaded.preprocessing) == ("builtin", "signed")
    assert loaded.sha256 == hashlib.sha256((tmp_path / "own.npz").read_bytes()).hexdigest()
    with pytest.raises(errors.InputError, match=r"lacks conv2_2, conv3_1; choose layers below"):
        weights.load("builtin", SHAPES | {"conv2_2": (3, 3, 5, 5), "conv3_1": (3, 3, 5, 6)})


def test_the_packages_own_file_is_where_the_package_data_are():
    """What setup.cfg puts into a wheel."""
    config = configparser.ConfigParser()
    config.read(conftest.ROOT / "setup.cfg")
    patterns = config["options.package_data"]["nst_tf"].split()
    inside = weights.BUILTIN_FILE.relative_to(pathlib.Path(weights.__file__).parents[1])
    assert any(inside.match(pattern) for pattern in patterns)


def test_the_packages_own_file_is_what_its_card_says():
    """VGG19 up to conv5_2 with half the filters, in eight bits."""
    shapes = vgg_layers.kernel_shapes(["relu5_2"])
    loaded = weights.load("builtin", shapes)
    assert [kernel.shape[-1] for kernel, _ in loaded.arrays.values()] == [s[-1] // 2 for s in shapes.values()]
    assert loaded.sha256 in (weights.BUILTIN_FILE.parent / "README.md").read_text(encoding="utf-8")
    assert weights.BUILTIN_FILE.stat().st_size < 16e6
    with np.load(weights.BUILTIN_FILE) as file:
        assert {file[name].dtype for name in file if name.endswith("_kernel")} == {np.dtype(np.int8)}


def test_random_filters_are_the_same_every_time_and_say_what_they_are():
    one, other = (weights.load("random", SHAPES) for _ in range(2))
    assert "random" in one.name
    assert one.sha256 == other.sha256
    for name, (kernel, bias) in one.arrays.items():
        np.testing.assert_array_equal(kernel, other.arrays[name][0])
        assert kernel.shape == SHAPES[name]
        assert bias.shape == SHAPES[name][-1:]


# The download, against servers on this machine.


@contextlib.contextmanager
def _server(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{weights.KERAS_FILE}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.BaseHTTPRequestHandler):
    """Serves one body, with its length."""

    body = b""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """An empty cache of Keras' own."""
    home = tmp_path / "keras"
    home.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(home))
    return home


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The bytes of a file that stands for Keras' own, with its hash."""
    _legacy(tmp_path / "published.h5")
    body = (tmp_path / "published.h5").read_bytes()
    monkeypatch.setattr(weights, "_KERAS_MD5", hashlib.md5(body).hexdigest())
    return body


def test_the_download_fills_the_cache_and_is_used_again(keras_home, published, monkeypatch):
    class Handler(_Quiet):
        body = published

    with _server(Handler) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        loaded = weights.load("imagenet", SHAPES)
    assert loaded.name == "imagenet"
    assert (keras_home / "models" / weights.KERAS_FILE).read_bytes() == published
    again = weights.load("auto", SHAPES)  # the server is gone
    assert again.sha256 == loaded.sha256 == hashlib.sha256(published).hexdigest()


@pytest.mark.usefixtures("keras_home")
def test_a_download_that_is_not_the_published_file_is_refused(published, monkeypatch):
    class Handler(_Quiet):
        body = published[:-1] + b"?"

    with _server(Handler) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        with pytest.raises(errors.InputError, match="hash"):
            weights.load("imagenet", SHAPES)


def test_a_damaged_file_in_the_cache_is_fetched_again(keras_home, published, monkeypatch):
    (keras_home / "models").mkdir()
    (keras_home / "models" / weights.KERAS_FILE).write_bytes(b"half a fi")

    class Handler(_Quiet):
        body = published

    with _server(Handler) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        assert weights.load("imagenet", SHAPES).name == "imagenet"


def _closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/{weights.KERAS_FILE}"


def test_without_a_network_imagenet_says_what_to_do(keras_home, monkeypatch):
    url = _closed_port()
    monkeypatch.setattr(weights, "KERAS_URL", url)
    with pytest.raises(errors.InputError) as caught:
        weights.load("imagenet", SHAPES)
    message = str(caught.value)
    assert "\n" not in message
    for part in (url, str(keras_home / "models" / weights.KERAS_FILE), "--weights=FILE"):
        assert part in message


@pytest.mark.usefixtures("keras_home")
def test_auto_falls_back_to_the_packages_own_file(tmp_path, monkeypatch, caplog):
    _eight_bits(tmp_path / "own.npz")
    monkeypatch.setattr(weights, "KERAS_URL", _closed_port())
    monkeypatch.setattr(weights, "BUILTIN_FILE", tmp_path / "own.npz")
    with caplog.at_level(logging.WARNING, logger="nst_tf"):
        assert weights.load("auto", SHAPES).name == "builtin"
    assert "cannot be downloaded" in caplog.text
    assert "trained by this project" in caplog.text
    assert len(caplog.records) <= 3


@pytest.mark.usefixtures("keras_home")
def test_a_firewall_that_swallows_everything_is_waited_for_briefly(monkeypatch):
    monkeypatch.setattr(download, "ANSWER_TIMEOUT_S", 0.5)
    with socket.socket() as listener:  # accepts connections and never answers
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setattr(weights, "KERAS_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/x")
        start = time.monotonic()
        with pytest.raises(errors.InputError, match=r"timed out|no answer"):
            weights.load("imagenet", SHAPES)
    assert time.monotonic() - start < 5


def test_a_download_that_stands_still_is_given_up_and_leaves_nothing(keras_home, published, monkeypatch):
    monkeypatch.setattr(download, "STALL_TIMEOUT_S", 0.5)
    release = threading.Event()

    class Handler(_Quiet):
        body = published

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(self.body[:100])
            self.wfile.flush()
            release.wait(20)

    with _server(Handler) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        start = time.monotonic()
        with pytest.raises(errors.InputError, match="cannot be downloaded"):
            weights.load("imagenet", SHAPES)
        assert time.monotonic() - start < 10
        release.set()
    assert list((keras_home / "models").iterdir()) == []
    assert socket.getdefaulttimeout() is None
