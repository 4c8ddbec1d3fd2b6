"""The tools, as a person runs them."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from feature_training import packing
from PIL import Image

from nst_tf.config import layers as vgg_layers
from nst_tf.network import weights
from tests import conftest

# Stands for the commands that lay out pictures themselves: writes the figures that they were told to.
INSTEAD = f"""
import runpy, subprocess, sys
from PIL import Image
def run(command, check):
    named = dict(each.removeprefix("--").split("=", 1) for each in command[2:] if "=" in each)
    assert check
    for width, flag in ((1500, "comparison"), (400, "plot"), (300, "output")):
        if flag in named:
            Image.new("RGB", (width, 100), "teal").save(named[flag])
subprocess.run = run
runpy.run_path({str(conftest.ROOT / "tools" / "make_pictures.py")!r}, run_name="__main__")
"""


@pytest.mark.parametrize(("name", "size"), [("watching", (1032, 69 + 8 + 100)), ("sweep", (300, 100))])
def test_what_a_command_lays_out_is_shown(tmp_path, name, size):
    finished = _python("-c", INSTEAD, f"--output={tmp_path / 'made'}", f"--only={name}")
    assert finished.returncode == 0, finished.stderr
    with Image.open(tmp_path / "made" / f"{name}.jpg") as picture:
        assert picture.size == size


def _python(*arguments):
    folders = os.pathsep.join([str(conftest.ROOT), str(conftest.ROOT / "tools")])
    environment = {"PYTHONPATH": folders, "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def _run(tool, *arguments):
    return _python(conftest.ROOT / "tools" / tool, *arguments)


@pytest.mark.parametrize(
    ("source", "targets"), [("imagenet", packing.IMAGENET_MEAN_SQUARES), ("builtin", packing.TARGETS)]
)
def test_features_have_the_sizes_that_presets_are_made_for(source, targets):
    """The constants are from the samples before they were JPEG, which changes sizes by less than 2 %."""
    path = str(conftest.real_weights()) if source == "imagenet" else source
    loaded = weights.load(path, vgg_layers.kernel_shapes(["relu5_2"]))
    found = packing.mean_squares(loaded.arrays, loaded.preprocessing)
    assert found == pytest.approx(dict(targets), rel=0.02)


@pytest.mark.parametrize("tool", ["make_pictures.py"])
def test_help_lists_the_flags(tool):
    finished = _run(tool, "--help")
    assert finished.returncode == 0
    assert "--output" in finished.stdout


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("make_pictures.py", ["x"], "'x' is not a flag"),
        ("make_pictures.py", ["--otput=x"], "Did you mean: output"),
        ("judge_features.py", ["--contents=sample:twon"], "contents: 'sample:twon' is not one of"),
        ("make_pictures.py", ["--only=overveiw"], "should be one of <overview|"),
    ],
)
def test_a_mistake_gets_one_line(tool, arguments, message):
    finished = _run(tool, *arguments)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_the_readme_shows_every_picture_that_make_pictures_makes():
    readme = (conftest.ROOT / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\(tools/pictures/(\w+)\.jpg\)", readme))
    text = re.sub(r"\s+", "", _run("make_pictures.py", "--help").stdout)
    names = re.findall(r"--only:<([\w|]+)>", text)
    assert shown == set("".join(names).split("|"))
    assert shown == {path.stem for path in (conftest.ROOT / "tools" / "pictures").glob("*.jpg")}


# Stands for what paints, which has tests of its own: the more steps, the lighter.
QUICKLY = f"""
import nst_tf, numpy, runpy, types
def stylize(content, styles, *, style_regions, on_progress, preset="default", **overrides):
    chosen = nst_tf.get_config(preset, **overrides)
    assert (content, styles, chosen.scales.size) == ("sample:town", ["sample:strokes"], 32)
    return types.SimpleNamespace(image=numpy.full([24, 32, 3], sum(chosen.scales.steps) / 240, numpy.float32))
nst_tf.stylize = stylize
runpy.run_path({str(conftest.ROOT / "tools" / "make_pictures.py")!r}, run_name="__main__")
"""


def test_a_strip_shows_a_flags_values_side_by_side(tmp_path):
    finished = _python("-c", QUICKLY, f"--output={tmp_path / 'made'}", "--only=steps", "--size=32")
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["steps.jpg"]
    with Image.open(tmp_path / "made" / "steps.jpg") as strip:
        grey = np.asarray(strip.convert("L"), np.float64)
    assert grey.shape == (254 + 28, 1032)  # three pictures of 4:3 with gaps of 8, and the captions
    cells = [grey[:, left : left + 338] for left in (0, 346, 692)]
    for cell, steps in zip(cells, (12, 60, 240), strict=True):
        assert (cell[254:] < 64).any(), "no caption"
        assert abs(cell[:254].mean() - steps / 240 * 255) < 3, "another picture's place"
