"""The pictures of a run: named, then loaded once."""

import collections
import hashlib
import io
import pathlib
import sys
import weakref

import numpy as np
import pytest
from PIL import Image

from nst_tf.callbacks import report
from nst_tf.config import presets
from nst_tf.io import inputs, manifest, pictures
from tests import conftest
from tests.support.command import answer

LABELS = np.zeros((48, 64, 3), np.uint8)
LABELS[:, :32, 0] = 255
LABELS[:, 32:, 2] = 255
NAMES = ("content", "style", "init", "content_mask", "content_regions", "style_regions")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a picture of every kind: the content has alpha and lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    for seed, name in enumerate(("content", "style", "init", "content_mask")):
        picture = Image.fromarray(np.rint(255 * conftest.smooth_picture(seed)).astype(np.uint8))
        if name == "content":
            picture = picture.transpose(Image.Transpose.ROTATE_90)
            picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(tmp_path / f"{name}.png", exif=exif if name == "content" else b"")
    Image.fromarray(LABELS).save(tmp_path / "content_regions.png")
    Image.fromarray(LABELS[:, ::-1]).save(tmp_path / "style_regions.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def opened():
    """How often each file was opened, {name: count}."""
    counts: collections.Counter[str] = collections.Counter()
    listening = True

    def listen(event, arguments):
        if listening and event == "open" and isinstance(arguments[0], str):
            counts[pathlib.Path(arguments[0]).name] += 1

    sys.addaudithook(listen)  # which stays as long as the process
    yield counts
    listening = False


@pytest.fixture
def decoded(monkeypatch):
    """How often a file of some bytes was decoded, {SHA-256: count}."""
    counts: collections.Counter[str] = collections.Counter()
    decode = Image.open

    def counting(file, *arguments, **options):
        data = file.getvalue() if isinstance(file, io.BytesIO) else pathlib.Path(file).read_bytes()
        counts[hashlib.sha256(data).hexdigest()] += 1
        return decode(file, *arguments, **options)

    monkeypatch.setattr(Image, "open", counting)
    return counts


QUICK = ["--weights=builtin", "--size=48", "--steps=3", "--precision=float32", *conftest.SHALLOW_FLAGS]


def test_the_command_opens_and_decodes_every_input_once(folder, opened, decoded):
    named = [f"--{name}={name}.png" for name in NAMES]
    shown = ["--output=out.jpg", "--comparison=c.jpg", "--trace=t.csv"]
    code, _, err = answer([*named, *shown, *QUICK])
    assert code == 0, err
    files = {f"{name}.png": (folder / f"{name}.png").read_bytes() for name in NAMES}
    # Once more by this test, to hash it.
    assert {name: opened[name] for name in files} == dict.fromkeys(files, 2)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert {name: decoded[digest] for name, digest in digests.items()} == dict.fromkeys(files, 1)
    assert Image.open("c.jpg").width > 2 * 48


@pytest.mark.usefixtures("folder")
def test_no_picture_that_was_loaded_is_kept_during_the_run(monkeypatch):
    loaded: list[weakref.ref[np.ndarray]] = []
    alive: list[bool] = []
    load = inputs.load

    def watching(*arguments):
        made = load(*arguments)
        for array in (made.content, made.styles[0], made.init):
            assert array is not None
            loaded.extend(weakref.ref(each) for each in (array, array.base) if each is not None)
        return made

    monkeypatch.setattr(inputs, "load", watching)
    show = report.ProgressBar.__call__

    def showing(self, progress):
        alive.extend(ref() is not None for ref in loaded)
        show(self, progress)

    monkeypatch.setattr(report.ProgressBar, "__call__", showing)
    named = [f"--{name}={name}.png" for name in NAMES]
    code, _, err = answer([*named, "--output=out.png", "--comparison=c.png", *QUICK])
    assert code == 0, err
    assert alive
    assert not any(alive)


@pytest.mark.usefixtures("folder")
def test_what_is_loaded_is_what_single_readers_return():
    config = presets.get("default", init="init.png")
    paths = inputs.InputPaths(
        content="content.png",
        styles=[pathlib.Path("style.png"), LABELS],
        init=inputs.init_path(config),
        content_regions="content_regions.png",
        style_regions=["style_regions.png", "#ff0000"],
    )
    loaded = inputs.load(paths, config)
    for found, name in ((loaded.content, "content"), (loaded.styles[0], "style"), (loaded.init, "init")):
        np.testing.assert_array_equal(found, pictures.read(f"{name}.png"))
    np.testing.assert_array_equal(loaded.styles[1], pictures.read(LABELS))
    assert loaded.content is not None
    assert loaded.alpha is not None
    assert loaded.alpha.shape == loaded.content.shape[1:3] == (48, 64)
    assert loaded.regions is not None
    assert loaded.regions.colors == ("#0000ff", "#ff0000")
    expected = {
        **{name: f"{name}.png" for name in ("content", "init", "content_regions", "style", "style_regions")},
        "style 2": "",
        "style_regions 2": "#ff0000",
    }
    assert {name: entry["name"] for name, entry in loaded.descriptions.items()} == expected
    data = pathlib.Path("content.png").read_bytes()
    assert loaded.descriptions["content"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert loaded.descriptions["style 2"]["sha256"] == hashlib.sha256(LABELS.tobytes()).hexdigest()


def test_without_a_photograph_a_run_starts_from_noise():
    paths, config = inputs.InputPaths(styles=["style.png"]), presets.get("default", content_weight=0)
    assert inputs.with_start(config, paths, ()).start.init == "noise"
    assert inputs.with_start(presets.get(config, init="gray"), paths, ()).start.init == "gray"
    assert inputs.with_start(config, inputs.InputPaths(content=LABELS), ()).start.init == "content"


def test_large_pictures_are_read_near_the_size_that_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_LARGEST_WHOLE", 1000)
    for name, size in (("content", (400, 300)), ("style", (300, 300)), ("content_mask", (400, 300))):
        Image.fromarray(np.rint(255 * conftest.smooth_picture(1, *size[::-1])).astype(np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    paths = inputs.InputPaths(
        content=tmp_path / "content.png",
        styles=[tmp_path / "style.png"],
        content_mask=tmp_path / "content_mask.png",
    )
    reduced = inputs.load(paths, presets.get("default", size=64))
    assert reduced.content is not None
    assert reduced.content.shape == (1, 100, 134, 3)  # by 3: 64 x 48 pixels are needed
    assert reduced.styles[0].shape == (1, 150, 150, 3)
    assert reduced.regions is not None
    assert reduced.regions.content.shape == (100, 134, 1)
    for changes in ({"size": 64, "large_inputs": "whole"}, {"size": 0}, {"size": 200}):
        whole = inputs.load(paths, presets.get("default", **changes))
        assert whole.content is not None
        assert whole.content.shape == (1, 300, 400, 3)
    assert reduced.descriptions == whole.descriptions


def test_a_manifest_of_an_earlier_version_reads_pictures_whole():
    made = manifest.make(presets.DEFAULT, {}, {}, {})
    assert manifest.to_config(made, "new.json").memory.large_inputs == "reduced"
    del made["config"]["large_inputs"]
    assert manifest.to_config(made, "old.json").memory.large_inputs == "whole"
