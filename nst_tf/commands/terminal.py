"""What the commands have in common at the terminal: their lines, a run's progress, signals, exit codes."""

import io
import logging
import os
import signal
import sys
import typing
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Self, TextIO

from nst_tf import errors

if typing.TYPE_CHECKING:
    from nst_tf.engine.progress import Reported

# A user's mistake exits with what Python's own argument parser has for it.
EXIT_FAILED, EXIT_MISTAKE = 1, 2

# What a process that a signal ends exits with, less the signal's number: the convention of shells.
EXIT_SIGNAL = 128

# The signals that ask a command to end: Ctrl-C, `kill` and a service's stop, a closed terminal. Windows has
# no SIGHUP.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

# The command that runs where none is named.
DEFAULT_COMMAND = "stylize"


def say(text: str, stream: TextIO | None = None) -> bool:
    """Prints a text, by default on standard output; returns whether it got through.

    A reader that has gone away, or a full disk behind the stream, is no reason to end.
    """
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # Otherwise Python would try once more at its end, and complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return isinstance(error, BrokenPipeError)
    return True


def complain(command: str, line: str) -> None:
    """Prints a line about a command on standard error, made printable."""
    say(f"{program(command)}: {errors.printable(line)}", sys.stderr)


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
        logger.addHandler(_ToTerminal())
        logger.propagate = False


class _ToTerminal(logging.Handler):
    """Prints records on standard error as it is by then, and not as it was at the first picture."""

    def emit(self, record: logging.LogRecord) -> None:
        say(errors.printable(self.format(record)), sys.stderr)


def hide_tensorflow_warnings() -> None:
    """Keeps TensorFlow from warning of every new graph, which each of many runs has."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


class Interrupted(KeyboardInterrupt):
    """A signal that asks the process to end has come."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        """Keeps the signal's number."""
        super().__init__()
        self.exit_code = EXIT_SIGNAL + number


def interrupted_code(error: KeyboardInterrupt) -> int:
    """Returns what a command that was interrupted exits with."""
    return error.exit_code if isinstance(error, Interrupted) else Interrupted().exit_code


def heed_signals() -> None:
    """Has each of `SIGNALS` raise `Interrupted`, as Ctrl-C raises `KeyboardInterrupt`."""
    _handle(_interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


def _handle(handler: Any) -> Mapping[int, Any]:
    """Gives signals a handler; returns {signal: handler before}. What is ignored stays so, as under nohup."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    return {
        number: signal.signal(number, handler)
        for number, handled in before.items()
        if handled not in (signal.SIG_IGN, None)  # None: not by Python, and beyond it
    }


class RunWatch:
    """Shows a run's progress and heeds signals, as an `on_progress`; a context that gives both back.

    Once there is a picture, the first signal asks the run to stop. A second one ends the process: at once
    during steps, which Python cannot interrupt, and as before afterwards, so that what is being written is
    removed.
    """

    def __init__(self, describe: Callable[[Any], str] | None = None) -> None:
        """Shows nothing yet; `describe` is as for a `ProgressBar`."""
        from nst_tf.callbacks import report

        self.bar = report.ProgressBar(describe=describe)
        self._writing = False
        self._number: int | None = None
        self._before: Mapping[int, Any] = {}

    def __call__(self, progress: "Reported") -> bool:
        """Shows a report; returns whether the run is to stop."""
        if not self._before and self._number is None:
            self._before = _handle(self._ask)
        self.bar(progress)
        return self._number is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self._restore()

    def end_steps(self) -> None:
        """Closes the bar: what follows is writing."""
        self.bar.close()
        self._writing = True
        if self._number is not None:
            self._restore()

    def exit_code(self, outcome: str) -> int:
        """Returns what the command exits with after a run that ended so."""
        return {"finished": 0, "stopped": self.interrupt().exit_code, "diverged": EXIT_FAILED}[outcome]

    def interrupt(self) -> Interrupted:
        """Returns the signal that has stopped the run; without one Ctrl-C."""
        return Interrupted(signal.SIGINT if self._number is None else self._number)

    @property
    def stop_asked(self) -> bool:
        """Whether a signal has come."""
        return self._number is not None

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._number = number
        if self._writing:
            self._restore()
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
