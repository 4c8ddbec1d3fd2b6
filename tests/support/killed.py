"""The command in a process that kills itself at a moment: python -m tests.support.killed MOMENT COUNT FLAGS.

A moment is a key of `MOMENTS`, a function that files are written by; the process ends at its call of that
number, from 1. Checkpoints are written however long writing takes: how many a run writes would depend on the
machine otherwise.
"""

import functools
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import safetensors.numpy

from nst_tf.commands import main
from nst_tf.engine import checkpoints


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _patch(module: Any, name: str, count: int, die: Callable[..., None]) -> None:
    """Has the call of that number of a module's function end the process by `die`, with its arguments."""
    function, calls = getattr(module, name), iter(range(1, sys.maxsize))

    def patched(*arguments: Any, **options: Any) -> Any:
        called = functools.partial(function, **options)
        if next(calls) == count:
            die(called, *arguments)
        return called(*arguments)

    setattr(module, name, patched)


def _before(function: Callable[..., Any], *arguments: Any) -> None:
    del function, arguments
    _kill()


def _after(function: Callable[..., Any], *arguments: Any) -> None:
    function(*arguments)
    _kill()


def _half(function: Callable[..., Any], arrays: Any, path: Any, metadata: Any) -> None:
    function(arrays, path, metadata)
    os.truncate(path, os.path.getsize(path) // 2)
    _kill()


MOMENTS: dict[str, tuple[Any, str, Callable[..., None]]] = {
    "half a checkpoint": (safetensors.numpy, "save_file", _half),
    "before a file is flushed": (os, "fsync", _before),
    "before a file is renamed": (os, "replace", _before),
    "after a file is renamed": (os, "replace", _after),
}

if __name__ == "__main__":
    _, moment, number, *flags = sys.argv
    module, name, die = MOMENTS[moment]
    _patch(module, name, int(number), die)
    checkpoints.SHARE = math.inf
    sys.exit(main.main(["nst_tf", *flags], prepare=True))
