"""The command as a test runs it: in a process of its own, or in this one."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

from nst_tf.commands import main
from tests import conftest

# Quick settings with nothing to download, for the whole network and for its first layers.
WHOLE = ["--weights=builtin", "--size=48", "--steps=6", "--precision=float32"]
QUICK = [*WHOLE, *conftest.SHALLOW_FLAGS]


def write_inputs(folder: pathlib.Path) -> None:
    """Writes a photograph and a painting, as `FILES` names them."""
    for name, seed in (("photo.png", 2), ("painting.jpg", 3)):
        pixels = np.rint(conftest.smooth_picture(seed, 48, 64) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)


def command(*arguments):
    """Returns what to start."""
    return [sys.executable, "-m", "nst_tf", *arguments]


def environment(**changes):
    """Returns the environment of a process that finds this package."""
    return {**os.environ, "PYTHONPATH": str(conftest.ROOT), **changes}


def run(folder, *arguments, **changes):
    """Runs the command in a process of its own."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
    )


FILES = ["--content=photo.png", "--style=painting.jpg"]


def answer(arguments):
    """Runs the command in this process; returns (exit code, standard output, standard error).

    Standard error is what comes by way of file descriptor 2, which C libraries write to, and of Python.
    """
    out, terminal = io.StringIO(), os.dup(2)
    with tempfile.TemporaryFile("w+", errors="backslashreplace") as err:
        os.dup2(err.fileno(), 2)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main.main(["nst_tf", *arguments])
        finally:
            err.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
        err.seek(0)
        return code, out.getvalue(), err.read()


def answer_all():
    """Answers each list of arguments on standard input, in one process: TensorFlow is loaded once."""
    print(json.dumps([answer(arguments) for arguments in json.load(sys.stdin)]))


def assert_one_line(answer, message=""):
    """Checks that an answer is that of a mistake."""
    code, out, err = answer
    assert (code, out) == (2, ""), err
    assert err.startswith("nst_tf: ")
    assert len(err.splitlines()) == 1, err
    assert message in err


@contextlib.contextmanager
def painting(folder, *arguments, **changes):
    """Starts the command; yields its process once the first line of progress has come."""
    with subprocess.Popen(
        command(*arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**changes),
    ) as process:
        assert process.stderr is not None
        while (line := process.stderr.readline()) and not line.startswith("step "):
            pass  # warnings come before
        try:
            yield process
        finally:
            process.kill()  # or a test that fails would wait for a run without an end
