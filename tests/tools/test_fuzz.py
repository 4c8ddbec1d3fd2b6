"""The command that gives readers hostile inputs, as a person runs it; its inputs, made again."""

import hashlib
import os
import subprocess
import sys

import pytest
from fuzz import outcomes, readers

from tests import conftest

NUMBERS = range(1000, 1030)


def _python(*arguments, seed="0"):
    folders = os.pathsep.join([str(conftest.ROOT), str(conftest.ROOT / "tools")])
    environment = {
        **os.environ,
        "PYTHONPATH": folders,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": seed,
    }
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def _run(*arguments):
    return _python(conftest.ROOT / "tools" / "fuzz" / "fuzz.py", *arguments)


def made():
    """Returns the hashes of each reader's inputs."""
    texts = {
        name: "".join(repr(outcomes.made(name, number, reader)) for number in NUMBERS)
        for name, reader in readers.READERS.items()
    }
    return [hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest() for text in texts.values()]


def test_an_input_depends_on_its_number_alone():
    code = "from tests.tools import test_fuzz; print(*test_fuzz.made())"
    finished = _python("-c", code, seed="1")
    assert finished.stdout.split() == made(), finished.stderr
    assert len(set(made())) == len(readers.READERS)


def test_one_input_is_read_and_counted():
    finished = _run("--readers=manifests", "--only=7")
    heads, row, total = finished.stdout.splitlines()[:3]
    assert heads.split() == [
        *("reader", "inputs", "accepted", "errors", "tracebacks", "crashes", "hangs", "peaks"),
    ]
    assert (row.split()[0], total.split()[0]) == ("manifests", "all")
    assert row.split()[1:] == total.split()[1:]
    counts = list(map(int, row.split()[1:]))
    assert counts[0] == sum(counts[1:]) == 1
    assert finished.returncode == int(sum(counts[3:]) > 0), finished.stderr


def test_an_input_that_fails_is_kept(tmp_path):
    # Of millions of pixels, with far less memory allowed than they take.
    finished = _run("--readers=pictures", "--only=143", "--limit_bytes=0.1MB", f"--keep={tmp_path / 'kept'}")
    assert finished.returncode == 1, finished.stderr
    (kept,) = (tmp_path / "kept").iterdir()
    given = outcomes.made("pictures", 143, readers.READERS["pictures"])
    assert kept.name == f"pictures-143-{given.name}"
    assert kept.read_bytes() == given.data
    assert finished.stderr.startswith("pictures 143: peak")


def test_help_lists_the_flags():
    finished = _run("--help")
    assert finished.returncode == 0
    assert "--limit_bytes" in finished.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("x", "'x' is not a flag"),
        ("--readers=weigths", "did you mean 'weights'?"),
        ("--keep=/dev/null/x", "keep: "),
    ],
)
def test_a_mistake_gets_one_line(argument, message):
    finished = _run(argument)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
