"""Contenders in processes of their own, as people run them: none has another's threads or freed memory."""

import contextlib
import multiprocessing
import multiprocessing.connection
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarking import contenders
from nst_tf import runtime

_Connection = multiprocessing.connection.Connection
Preparation = Sequence[Callable[[], object]]

# Not getrusage(2), whose peak a process inherits from the one that started it.
_STATUS, _PEAK = pathlib.Path("/proc/self/status"), re.compile(r"VmHWM:\s*(\d+) kB")


class Running:
    """A contender that takes steps when it is told to; its first, on starting, is not measured."""

    def __init__(self, ask: Callable[[object], Any], startup_s: float) -> None:
        """Takes the way to the process: a question -> its answer."""
        self._ask, self.startup_s = ask, startup_s

    def step(self) -> None:
        """Takes one, to its end."""
        self._ask("step")

    def peak_bytes(self) -> int | None:
        """Returns the most memory that it has had; None where only Linux would tell."""
        found: int | None = self._ask("peak")
        return found


@contextlib.contextmanager
def running(name: str, task: contenders.Task, prepare: Preparation = ()) -> Iterator[Running]:
    """Starts a contender; ends it with the block.

    Args:
        name: Of the contender.
        task: What it gets.
        prepare: What its process calls before it loads TensorFlow, as the command nst_tf does.

    Raises:
        RuntimeError: The process ended without an answer.
    """
    start = time.time()
    with _process(prepare, _take_steps, name, task) as connection:
        first = _received(connection, name)

        def ask(question: object) -> Any:
            connection.send(question)
            return _received(connection, name)

        yield Running(ask, first - start)
        connection.send(None)


def call(function: Callable[..., Any], *arguments: Any, prepare: Preparation = ()) -> Any:
    """Returns what a function of a module returns in a process of its own.

    Args:
        function: What to call.
        *arguments: Its arguments.
        prepare: As for `running`.

    Raises:
        RuntimeError: The process ended without an answer.
    """
    with _process(prepare, _answer) as connection:
        connection.send((function, arguments))
        return _received(connection, function.__name__)


@contextlib.contextmanager
def _process(prepare: Preparation, target: Callable[..., None], *arguments: Any) -> Iterator[_Connection]:
    """Starts a process, which gets its end of a connection after the arguments; waits for its end."""
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    process = context.Process(target=_begin, args=(prepare, target, *arguments, other))
    process.start()
    other.close()
    try:
        with own:
            yield own
    finally:
        process.join()


def _begin(prepare: Preparation, target: Callable[..., None], *arguments: Any) -> None:
    """In the new process: does what it is for."""
    for each in prepare:
        each()
    target(*arguments)


def _received(connection: _Connection, name: str) -> Any:
    try:
        return connection.recv()
    except EOFError:
        raise RuntimeError(f"{name}: the process ended without an answer") from None


def _take_steps(name: str, task: contenders.Task, connection: _Connection) -> None:
    """In the new process: sends the time after the first step, then answers questions until there is none."""
    with runtime.quiet():
        step = contenders.named(name)(task)
        step()
    connection.send(time.time())
    with contextlib.suppress(EOFError):  # whoever asked is gone
        while (question := connection.recv()) is not None:
            if question == "step":
                step()
            connection.send(_peak() if question == "peak" else None)


def _answer(connection: _Connection) -> None:
    """In the new process: sends what a function returns."""
    with runtime.quiet():  # to receive the function is to import its module, and TensorFlow
        function, arguments = connection.recv()
        answer = function(*arguments)
    connection.send(answer)


def _peak() -> int | None:
    """Returns the most memory that this process has had, in bytes."""
    if not _STATUS.exists():
        return None
    found = _PEAK.search(_STATUS.read_text(encoding="ascii", errors="replace"))
    return int(found[1]) * 1024 if found else None
