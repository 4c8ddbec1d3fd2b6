"""What the commands have in common at the terminal: their lines, a run's progress, Ctrl-C, exit codes."""

import io
import logging
import os
import signal
import sys
import typing
from typing import Any, Self, TextIO

if typing.TYPE_CHECKING:
    from nst_tf.engine.progress import Progress

# A user's mistake exits with what Python's own argument parser has for it, Ctrl-C with 128 + SIGINT.
EXIT_FAILED, EXIT_MISTAKE, EXIT_INTERRUPTED = 1, 2, 130

# By how a run ended.
EXIT_CODES = {"finished": 0, "stopped": EXIT_INTERRUPTED, "diverged": EXIT_FAILED}

# The command that runs where none is named.
DEFAULT_COMMAND = "stylize"


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a text, by default on standard output. A reader that has gone away is no reason to end."""
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # Otherwise Python would try once more at its end, and complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def complain(command: str, line: str) -> None:
    """Prints a line about a command on standard error; what is not printable in it is escaped."""
    escaped = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
    say(f"{program(command)}: {escaped}", sys.stderr)


def program(command: str) -> str:
    """Returns what is typed to run a command."""
    return "nst_tf" if command == DEFAULT_COMMAND else f"nst_tf {command}"


def prepare_streams() -> None:
    """Has standard output and error take any text: a file's name may have what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_warnings() -> None:
    """Shows this package's warnings as plain lines on standard error."""
    logger = logging.getLogger("nst_tf")
    if logger.propagate:  # once only, however many pictures this process paints
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False


def hide_tensorflow_warnings() -> None:
    """Keeps TensorFlow from warning of every new graph, which each of many runs has."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


class RunWatch:
    """Shows a run's progress and heeds Ctrl-C, as an `on_progress`; a context that gives both back.

    Once there is a picture, the first Ctrl-C asks the run to stop, and a second one ends the process.
    """

    def __init__(self) -> None:
        """Shows nothing yet."""
        from nst_tf.callbacks import report

        self.bar = report.ProgressBar()
        self._asked = False
        self._before: Any = None

    def __call__(self, progress: "Progress") -> bool:
        """Shows a report; returns whether the run is to stop."""
        if self._before is None and not self._asked:
            self._before = signal.signal(signal.SIGINT, self._ask)
        self.bar(progress)
        return self._asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self._restore()

    def _ask(self, *_: object) -> None:
        self._asked = True
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
