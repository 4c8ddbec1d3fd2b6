"""Contenders in processes of their own, as users run them: none has another's threads or freed memory."""

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmark import contenders
from nst_tf import runtime
from nst_tf.engine import free_memory

_Connection = multiprocessing.connection.Connection
Preparation = Sequence[Callable[[], object]]


class Running:
    """A contender that takes steps on request; its first step, at the start, is not measured."""

    def __init__(self, ask: Callable[[object], Any], startup_s: float) -> None:
        """Takes a function that sends the process a question and returns its answer."""
        self._ask, self.startup_s = ask, startup_s

    def step(self) -> None:
        """Takes one step, to its end."""
        self._ask("step")

    def peak_bytes(self) -> float | None:
        """Returns the peak memory of the process; None where the system does not say."""
        found: float | None = self._ask("peak")
        return found


@contextlib.contextmanager
def running(name: str, task: contenders.Task, prepare: Preparation = ()) -> Iterator[Running]:
    """Starts a contender; ends it with the block.

    Args:
        name: Of the contender.
        task: Its input.
        prepare: Functions that its process calls before it loads TensorFlow, as the command nst_tf does.

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
    """Returns the result of a module's function, called in a process of its own.

    Args:
        function: The function.
        *arguments: Its arguments.
        prepare: As for `running`.

    Raises:
        RuntimeError: The process ended without an answer.
    """
    with _process(prepare, _answer) as connection:
        connection.send((function, arguments))
        return _received(connection, function.__name__)


@contextlib.contextmanager
def killed(function: Callable[..., Any], *arguments: Any) -> Iterator[multiprocessing.process.BaseProcess]:
    """Has a process of its own call a module's function; kills the process at the end of the block."""
    process, connection = _start((), _answer)
    try:
        with connection:
            connection.send((function, arguments))
            yield process
    finally:
        process.kill()
        process.join()


@contextlib.contextmanager
def _process(prepare: Preparation, target: Callable[..., None], *arguments: Any) -> Iterator[_Connection]:
    """Starts a process, whose last argument is its side of a connection; waits for the process to end."""
    process, own = _start(prepare, target, *arguments)
    try:
        with own:
            yield own
    finally:
        process.join()


def _start(
    prepare: Preparation, target: Callable[..., None], *arguments: Any
) -> tuple[multiprocessing.process.BaseProcess, _Connection]:
    """Returns a process that has started, and this side of the connection to it."""
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    process = context.Process(target=_begin, args=(prepare, target, *arguments, other))
    process.start()
    other.close()
    return process, own


def _begin(prepare: Preparation, target: Callable[..., None], *arguments: Any) -> None:
    """In the new process: prepares it, then calls the target."""
    for each in prepare:
        each()
    target(*arguments)


def _received(connection: _Connection, name: str) -> Any:
    try:
        return connection.recv()
    except EOFError:
        raise RuntimeError(f"{name}: the process ended without an answer") from None


def _take_steps(name: str, task: contenders.Task, connection: _Connection) -> None:
    """In the new process: sends the time after the first step, then answers questions until one is None."""
    with runtime.quiet():
        step = contenders.named(name)(task)
        step()
    connection.send(time.time())
    with contextlib.suppress(EOFError):  # the process that asks has ended
        while (question := connection.recv()) is not None:
            if question == "step":
                step()
            connection.send(free_memory.peak_memory() if question == "peak" else None)


def _answer(connection: _Connection) -> None:
    """In the new process: sends the result of a function."""
    with runtime.quiet():  # to receive the function is to import its module, and TensorFlow
        function, arguments = connection.recv()
        answer = function(*arguments)
    connection.send(answer)
