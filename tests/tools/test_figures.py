"""The command that makes the pictures of the READMEs, as a person runs it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

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
runpy.run_path({str(conftest.ROOT / "tools" / "figures" / "make.py")!r}, run_name="__main__")
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


def _run(*arguments):
    return _python(conftest.ROOT / "tools" / "figures" / "make.py", *arguments)


def test_help_lists_the_flags():
    finished = _run("--help")
    assert finished.returncode == 0
    assert "--output" in finished.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("x", "'x' is not a flag"),
        ("--otput=x", "Did you mean: output"),
        ("--only=overveiw", "should be one of <overview|"),
    ],
)
def test_a_mistake_gets_one_line(argument, message):
    finished = _run(argument)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


# Of the project, not of what is installed beside it.
READMES = [conftest.ROOT / "README.md"]
READMES += [path for top in ("nst_tf", "tools") for path in (conftest.ROOT / top).rglob("README.md")]


def test_the_readmes_show_every_picture_that_is_made():
    folder = conftest.ROOT / "tools" / "figures" / "pictures"
    shown = set()
    for readme in READMES:
        links = re.findall(r"\]\(([\w./]+/pictures/\w+\.\w+)\)", readme.read_text(encoding="utf-8"))
        paths = [(readme.parent / link).resolve() for link in links]
        assert all(path.parent == folder and path.is_file() for path in paths), readme
        shown |= set(paths)
    text = re.sub(r"\s+", "", _run("--help").stdout)
    names = re.findall(r"--only:<([\w|]+)>", text)
    # And one of a command of its own.
    assert {path.stem for path in shown} == {*"".join(names).split("|"), "film"}
    assert shown == set(folder.iterdir())
    assert all(path.stat().st_size < 10**6 for path in shown)


CAPTIONS = f"""
import runpy
caption = runpy.run_path({str(conftest.ROOT / "tools" / "figures" / "make.py")!r})["_caption"]
settings = [dict(steps=140), dict(steps=8), dict(scales=(0.5, 1.0))]
for shot in (*settings, dict(preset="default"), dict(style="a.jpg")):
    print(caption(shot))
"""


def test_a_caption_says_which_value_is_the_default():
    finished = _python("-c", CAPTIONS)
    assert finished.stdout.splitlines() == [
        "--steps=140 (default)",
        "--steps=8",
        "--scales=0.5,1",
        "--preset=default",
        "--style=a.jpg",
    ], finished.stderr


# Stands for what paints, which has tests of its own: the more steps, the lighter.
QUICKLY = f"""
import nst_tf, numpy, runpy, types
def stylize(content, styles, *, style_regions, on_progress, preset="default", **overrides):
    chosen = nst_tf.get_config(preset, **overrides)
    assert (content, styles, chosen.scales.size) == ("sample:town", ["sample:strokes"], 32)
    return types.SimpleNamespace(image=numpy.full([24, 32, 3], sum(chosen.scales.steps) / 140, numpy.float32))
nst_tf.stylize = stylize
runpy.run_path({str(conftest.ROOT / "tools" / "figures" / "make.py")!r}, run_name="__main__")
"""


def test_a_strip_shows_a_flags_values_side_by_side(tmp_path):
    finished = _python("-c", QUICKLY, f"--output={tmp_path / 'made'}", "--only=steps", "--size=32")
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["steps.jpg"]
    with Image.open(tmp_path / "made" / "steps.jpg") as strip:
        grey = np.asarray(strip.convert("L"), np.float64)
    assert grey.shape == (254 + 28, 1032)  # three pictures of 4:3 with gaps of 8, and the captions
    cells = [grey[:, left : left + 338] for left in (0, 346, 692)]
    for cell, steps in zip(cells, (8, 40, 140), strict=True):
        assert (cell[254:] < 64).any(), "no caption"
        assert abs(cell[:254].mean() - steps / 140 * 255) < 3, "another picture's place"
