"""The tools, as a person runs them."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests import conftest


def _run(tool, *arguments):
    command = [sys.executable, conftest.ROOT / "tools" / tool, *arguments]
    environment = {"PYTHONPATH": str(conftest.ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


NAMES = ["photograph.jpg", "strokes.jpg", "mosaic.jpg"]


def test_the_samples_are_drawn_the_same_every_time(tmp_path):
    for folder in ("one", "two"):
        finished = _run("draw_samples.py", f"--output={tmp_path / folder}", "--size=256")
        assert finished.returncode == 0, finished.stderr
    for name in NAMES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        with Image.open(tmp_path / "one" / name) as picture:
            assert picture.size == (256, 192)
            # Colourful, and neither flat nor noise: neighbours are alike, distant pixels are not.
            pixels = np.asarray(picture, np.float64)
            assert np.min(np.std(pixels, axis=(0, 1))) > 30
            assert np.abs(np.diff(pixels, axis=1)).mean() < 0.7 * pixels.std()
    again = _run("draw_samples.py", f"--output={tmp_path / 'one'}")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("tool", ["draw_samples.py", "make_pictures.py"])
def test_help_lists_the_flags(tool):
    finished = _run(tool, "--help")
    assert finished.returncode == 0
    assert "--output" in finished.stdout


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("draw_samples.py", [], "--output is missing"),
        ("draw_samples.py", ["--output=x", "--size=3"], "--size=3"),
        ("draw_samples.py", ["x"], "'x' is not a flag"),
        ("make_pictures.py", ["--otput=x"], "Did you mean: output"),
        ("make_pictures.py", ["--samples=/nowhere"], "No such file"),
    ],
)
def test_a_mistake_gets_one_line(tool, arguments, message):
    finished = _run(tool, *arguments)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
