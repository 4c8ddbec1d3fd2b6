"""The flags for several styles, masks and regions: mistakes in one line, and what a run makes of them."""

import contextlib
import io
import pathlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_tf import runtime
from nst_tf.commands import main
from nst_tf.config.settings import COLORS, OUTSIDES, STYLE_BLENDS, STYLE_STATISTICS
from tests import conftest
from tests.support.command import answer, assert_one_line

STYLES = "--style=red.png,blue.png"
MASKED = ["--content=photo.png", STYLES, "--content_mask=mask.png"]
LABELLED = ["--content=photo.png", STYLES, "--content_regions=labels.png"]
TWO = ["--content=photo.png", STYLES]
ONE = ["--content=photo.png", "--style=red.png"]


def _fill(folder: pathlib.Path) -> pathlib.Path:
    """Writes a photograph, two paintings, a mask and a label picture; returns the folder."""
    for name, seed in (("photo", 2), ("red", 3), ("blue", 4)):
        pixels = np.rint(conftest.smooth_picture(seed, 48, 64) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    Image.fromarray(pixels).save(folder / "red, blue.png")
    Image.fromarray(pixels).save(folder / "photo.jpg")
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :40] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.new("L", (64, 64), "white").save(folder / "square.png")
    Image.new("L", (64, 48)).save(folder / "black.png")
    labels = np.zeros((48, 64, 3), np.uint8)
    labels[:, :32, 0] = 255
    labels[:, 32:, 2] = 255
    Image.fromarray(labels).save(folder / "labels.png")
    Image.fromarray(labels).save(folder / "labels.jpg", quality=50)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The same as the current folder."""
    monkeypatch.chdir(_fill(tmp_path))
    return tmp_path


# (arguments, part of the one line): each exits with 2 and writes nothing.
MISTAKES = [
    (
        ["--style=red.png", "--content_weight=0", "--content_mask=mask.png"],
        "content_mask: there is no content",
    ),
    (
        [*TWO, "--style_blend_weights=1,2,3"],
        "style_blend_weights: 3 for 2 style pictures; allowed: one for each",
    ),
    ([*TWO, "--style_blend_weights=0,0"], "style_blend_weights: (0.0, 0.0); allowed: at least one above 0"),
    ([*TWO, "--style_blend_weights=1,-1"], "style_blend_weights: -1.0; allowed: from 0"),
    ([*TWO, "--style_blend_weights=1,x"], "style_blend_weights: 'x'; allowed: numbers"),
    ([*TWO, "--style_regions=#ff0000,#0000ff"], "content_regions: missing"),
    ([*LABELLED], "style_regions: missing"),
    ([*LABELLED, "--style_regions=labels.png"], "style_regions: 1 for 2 styles"),
    ([*LABELLED, "--style_regions=#xyz,#0000ff"], "style_regions: '#xyz' is neither a file nor a colour"),
    (
        [*LABELLED, "--style_regions=labels.png,#00ff00"],
        "labels: #00ff00 has no partner; content_regions: #0000ff",
    ),
    ([*LABELLED, "--style_regions=#00ff00,#ffff00"], "labels: no colour in common"),
    ([*LABELLED, "--style_regions=photo.jpg,#ff0000"], "save as PNG"),
    ([*LABELLED, "--style_regions=gone.png,#ff0000"], "style_regions: there is no file gone.png"),
    ([*LABELLED, "--style_regions=square.png,#ff0000"], "labels: "),
    ([*TWO, "--content_regions=photo.jpg", "--style_regions=#ff0000,#0000ff"], "save as PNG"),
    ([*TWO, "--content_mask=square.png"], "content_mask: 64 x 64 pixels for a picture of 64 x 48"),
    ([*TWO, "--content_mask=black.png"], "content_mask: black everywhere"),
    ([*TWO, "--content_mask=gone.png"], "content_mask: there is no file gone.png"),
    ([*MASKED, "--color=only"], "content_mask: with color=only nothing is painted"),
    ([*MASKED, "--style_weight=0"], "content_mask: with style_weight=0 nothing is painted"),
    ([*ONE, "--style_scale=2", "--style_size=100"], "style_scale and style_size: 2.0 and 100; allowed: one"),
    ([*ONE, "--style_scale=0"], "style_scale: 0.0; allowed: above 0"),
    ([*ONE, "--scale_factor=1"], "scale_factor: 1.0; allowed: 1.01 and above"),
    ([*ONE, "--scale_factor=nan"], "scale_factor: nan"),
    ([*ONE, "--scale_factor=inf"], "scale_factor: inf"),
    ([*ONE, "--scale_factor=0"], "scale_factor: 0.0; allowed: 1.01 and above"),
    ([*ONE, "--min_scale=-1"], "min_scale: -1; allowed: from 0"),
    ([*ONE, "--min_scale=1.5"], "min_scale=1.5"),
    ([*ONE, "--min_scale=64", "--scales=0.5,1"], "min_scale: beside scales; allowed: one or the other"),
    (
        [*ONE, "--outside=keep"],
        "outside: it does nothing without content_mask or content_regions; leave it out",
    ),
    ([*ONE, "--outside=kep", "--content_mask=mask.png"], "did you mean 'keep'"),
    ([*ONE, "--guide_erosion=1"], "guide_erosion: it does nothing without"),
    ([*MASKED, "--guide_erosion=-1"], "guide_erosion: -1.0"),
    ([*ONE, "--temporal_weight=9"], "temporal_weight: it does nothing without earlier frames, which nst_tf"),
    ([*ONE, "--style_blend=targets"], "style_blend: it does nothing without a second style"),
    ([*ONE, "--steps=5,x"], "steps: 'x'; allowed: whole numbers, with commas"),
    ([*ONE, "--steps=5,6"], "as many as steps"),
    ([*ONE, "--min_scale=128", "--steps=5,6"], "as many as steps"),
    ([*ONE, "--style_statistics=gramm"], "did you mean 'gram'"),
    (["--content=photo.png", "--style=red.png,gone.png"], "style 2: there is no file gone.png"),
    (["--content=photo.png", "--style=red.png,"], "style: 'red.png,' has an empty name"),
    (["--content=photo.png", "--style=", "--style=red.png"], "style: '' has an empty name"),
    (["--content=photo.png", "--style="], "--style=FILE is missing"),
    ([*TWO, "--output=blue.png", "--overwrite"], "output: blue.png is the style 2 too"),
    ([*MASKED, "--output=mask.png", "--overwrite"], "output: mask.png is the content_mask too"),
    (
        [*LABELLED, "--style_regions=labels.jpg,#ff0000", "--output=labels.jpg", "--overwrite"],
        "output: labels.jpg is the style_regions too",
    ),
    ([*MASKED, "--comparison=mask.png", "--overwrite"], "comparison: mask.png is the content_mask too"),
]


@pytest.fixture
def early(monkeypatch):
    """Fails where a command gets so far as to load TensorFlow."""

    def load():
        raise AssertionError("taken for good")

    monkeypatch.setattr(runtime, "use_tensorflow_backend", load)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_gets_one_line_and_writes_nothing(folder, arguments, message):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert_one_line(answer(["--output=out.png", *arguments]), message)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# Values that may be right together, and some that never are.
PLAUSIBLE = {
    "style": ["red.png", "red.png,blue.png", "red, blue.png", "red.png,", "gone.png", "#ff0000"],
    "style_blend": STYLE_BLENDS,
    "style_blend_weights": ["1", "1,3", "0,1", "0,0", "1e31", ""],
    "style_scale": ["0.5", "4", "0", "1e30", "nan"],
    "style_size": ["0", "32", "2147483647", "-1"],
    "min_scale": ["32", "48", "1", "0", "600"],
    "scale_factor": ["2", "1.4142", "1.01", "1", "inf"],
    "scales": ["0.5,1", "1", "0.5", ""],
    "steps": ["1", "2,2", "0,1", "1,0", "0", "1,2,x"],
    "size": ["48", "0", "3"],
    "content_mask": ["mask.png", "square.png", "black.png", "photo.png", "gone.png", "#ffffff", "."],
    "content_regions": ["labels.png", "photo.jpg", "#ff0000", "mask.png"],
    "style_regions": ["#ff0000", "#ff0000,#0000ff", "labels.png", "labels.png,#0000ff", "#xyz", "", ","],
    "outside": OUTSIDES,
    "guide_erosion": ["0", "0.3", "1", "1e30", "-1"],
    "style_statistics": STYLE_STATISTICS,
    "normalize_activations": ["true", "false", "perhaps"],
    "color": COLORS,
    "preset": ["default", "crowsonkb", "spst"],
    "content_weight": ["0", "1"],
    "init": ["noise", "mask.png"],
}


class _TakenError(Exception):
    """The flags and files were taken for good."""


@settings(deadline=None, max_examples=150)
@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(v) for name, v in PLAUSIBLE.items()}))
def test_any_flags_are_taken_or_refused_in_one_line(tmp_path_factory, values):
    """As far as TensorFlow is not needed: the pictures are read, nothing is painted."""
    folder = tmp_path_factory.getbasetemp() / "plausible"
    if not folder.exists():
        folder.mkdir()
        _fill(folder)
    before = sorted(folder.iterdir())
    arguments = {"content": "photo.png", "style": "red.png,blue.png", "output": "out.png", **values}
    with contextlib.chdir(folder):
        typed = [f"--{name}={value}" for name, value in arguments.items()]
        taken = mock.patch.object(runtime, "use_tensorflow_backend", side_effect=_TakenError)
        with taken, contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                assert main.main(["nst_tf", *typed]) == 2
                assert said.getvalue().startswith("nst_tf: ")
                assert said.getvalue().count("\n") == 1
            except _TakenError:
                assert said.getvalue() == ""
        assert sorted(folder.iterdir()) == before


def test_the_help_has_the_flags_in_their_groups(capsys):
    assert main.main(["nst_tf", "--help"]) == 0
    groups = capsys.readouterr().out.split("\n\n")
    strokes, places = (
        next(group for group in groups if what in group) for what in ("strokes, and", "a style in")
    )
    for name in ("style_scale", "style_size", "style_blend", "style_blend_weights"):
        assert f"--{name}=" in strokes
    for name in ("content_mask", "outside", "content_regions", "style_regions", "guide_erosion"):
        assert f"--{name}=" in places
    assert "--min_scale=" in groups[-1]
    assert "repeat this option" not in " ".join(groups)
