"""A campaign: readers work through their inputs in child processes, whose ends and silences are counted.

A child makes and reads one input after the other, and tells of each by a pipe. One that dies, is silent or
takes too much memory costs its input alone: another child goes on with the next. Memory is read from /proc.
"""

import collections
import contextlib
import dataclasses
import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import queue
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import psutil

from fuzz import outcomes
from fuzz.outcomes import Outcome, Reader

# What must not happen, beside "accepted" and "error".
FAILURES = ("traceback", "crash", "hang", "peak")

_POLL_S = 0.02  # in which a process can take some 100 MB beyond its limit
_SHARE = 4000  # inputs of a reader, before the next reader's turn
# A child that waits, on a busy machine or for something, may be silent for so many times the limit of its
# processor's time.
_WAITING = 6
_FOR_THE_FIRST_S = 300.0  # until a child has loaded TensorFlow

_PEAK_RESET = b"5"  # proc_pid_clear_refs(5): resets the peak, VmHWM


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one input may take."""

    seconds: float = 5.0  # of processor time
    bytes: int = 2 * 2**30  # beyond what the process had before


@dataclasses.dataclass
class Count:
    """What came of a reader's inputs."""

    inputs: int = 0
    accepted: int = 0
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: dict[str, collections.Counter[str]] = dataclasses.field(
        default_factory=lambda: {kind: collections.Counter() for kind in FAILURES}
    )
    examples: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)  # the first of each

    def add(self, number: int, outcome: Outcome) -> None:
        """Counts the outcome of an input."""
        self.inputs += 1
        if outcome.kind == "accepted":
            self.accepted += 1
            return
        # Of an exception its type and place say more than its words, which are many.
        text = outcome.text.partition(":")[0] if outcome.kind == "traceback" else general(outcome.text)
        text += f" at {outcome.place}" if outcome.place else ""
        counter = self.errors if outcome.kind == "error" else self.failures[outcome.kind]
        counter[text] += 1
        self.examples.setdefault((outcome.kind, text), number)

    def failed(self) -> int:
        """Returns how many inputs ended as none may."""
        return sum(counter.total() for counter in self.failures.values())


def general(text: str) -> str:
    """Returns a message without what differs from input to input: paths, quoted words, numbers."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "'...'", text)
    text = re.sub(r"/[^\s:;,'\"]+/[^\s:;,'\"]*", "PATH", text)
    text = re.sub(r"-?\b(?:0x[0-9a-f]+|\d[\d,._]*(?:e[+-]?\d+)?)", "N", text)
    text = "".join(char if char.isascii() and char.isprintable() else "?" for char in text)
    return text if len(text) <= 160 else text[:120] + " ... " + text[-35:]


def run(
    chosen: Mapping[str, Reader],
    numbers: Iterable[int],
    limits: Limits,
    workers: int = 1,
    on_failure: Callable[[str, int, Outcome], object] = lambda *_: None,
) -> dict[str, Count]:
    """Runs the readers, in turn, on their inputs of these numbers; Ctrl-C ends it with what there is.

    Args:
        chosen: {name: reader}.
        numbers: Of the inputs.
        limits: What one input may take.
        workers: Children at a time.
        on_failure: Is told of each input that ended as none may: its reader, its number, the outcome.
    """
    counts, listed = {name: Count() for name in chosen}, list(numbers)
    todo: queue.SimpleQueue[tuple[str, Sequence[int]]] = queue.SimpleQueue()
    for start in range(0, len(listed), share := max(1, min(_SHARE, -(-len(listed) // workers)))):
        for name in chosen:
            todo.put((name, listed[start : start + share]))
    lock = threading.Lock()

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                name, own = todo.get_nowait()
                for number, outcome in outcomes_of(name, chosen[name], own, limits):
                    with lock:
                        counts[name].add(number, outcome)
                        if outcome.kind in FAILURES:
                            on_failure(name, number, outcome)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    with contextlib.suppress(KeyboardInterrupt):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lock.acquire()  # for good: the threads that Ctrl-C has left behind count no more
    return counts


def outcomes_of(
    name: str, reader: Reader, numbers: Sequence[int], limits: Limits
) -> Iterator[tuple[int, Outcome]]:
    """Yields (number, outcome) of each input, from as many children as it takes."""
    left = list(reversed(numbers))
    while left:
        with _Child(name, reader) as child:
            while left:
                number = left.pop()
                outcome, goes_on = child.outcome(number, limits)
                yield number, outcome
                if not goes_on:
                    break


class _Child:
    """A process that reads inputs on request; a context, with which the process ends."""

    def __init__(self, name: str, reader: Reader) -> None:
        """Starts it, and waits until it is ready.

        Raises:
            RuntimeError: It does not become ready.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="nst_tf-fuzz-")
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_work, args=(name, reader, self._folder.name, other), daemon=True
        )
        self._process.start()
        other.close()
        try:
            ready = self._connection.poll(_FOR_THE_FIRST_S) and self._connection.recv()
        except EOFError:
            ready = False
        if not ready:
            notes = self._notes()
            self.__exit__()
            raise RuntimeError(f"{name}: the child process did not start: {notes}")
        self._measured = psutil.Process(self._process.pid)

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._folder.cleanup()

    def outcome(self, number: int, limits: Limits) -> tuple[Outcome, bool]:
        """Returns what came of an input, and whether the process goes on."""
        try:
            self._connection.send(number)
            self._connection.recv()  # it has made the input, and reads
            if failure := self._watch(limits):
                return failure, False
            outcome, peak = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            return Outcome("crash", self._end(), self._crash_place()), False
        if outcome.kind != "traceback" and peak > limits.bytes:
            return Outcome("peak", f"{outcome.kind} with a peak above the limit"), True
        return outcome, True

    def _watch(self, limits: Limits) -> Outcome | None:
        """Waits for an answer; returns an outcome where there will be none within the limits."""
        with contextlib.suppress(psutil.NoSuchProcess):  # which its pipe will tell
            start, before = time.monotonic(), self._usage()
            while not self._connection.poll(_POLL_S):
                now = self._usage()
                if now[1] - before[1] > limits.bytes:
                    return Outcome("peak", "ended at the limit", self._stack())
                waited = time.monotonic() - start
                if now[0] - before[0] > limits.seconds or waited > _WAITING * limits.seconds:
                    return Outcome("hang", "ended at the limit", self._stack())
        return None

    def _usage(self) -> tuple[float, int]:
        """Returns the processor's seconds and the bytes that the process has taken."""
        times = self._measured.cpu_times()
        return times.user + times.system, self._measured.memory_info().rss

    def _stack(self) -> str:
        """Returns the package's line in which the process is: it tells by faulthandler, on this signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._measured.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 1
        while not (place := self._crash_place()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return place

    def _end(self) -> str:
        code, said = self._process.exitcode or 0, self._notes().partition("\n")[0]
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"ended {how}: {said}" if said else f"ended {how}"

    def _notes(self) -> str:
        """Returns what the process has written to standard error at last."""
        with contextlib.suppress(OSError):
            return pathlib.Path(self._folder.name, "notes").read_text("utf-8", "replace")[-20_000:]
        return ""

    def _crash_place(self) -> str:
        """Returns the package's innermost line that faulthandler names; empty where it names none."""
        found = re.search(r'File "[^"]*/nst_tf/([^"]+)", line (\d+) in (\S+)', self._notes())
        return f"{found[1]}:{found[2]} {found[3]}" if found else ""


def _work(
    name: str, reader: Reader, folder_name: str, connection: multiprocessing.connection.Connection
) -> None:
    """In the child: sends (outcome, bytes of the peak beyond what there was) of each number that comes."""
    folder = pathlib.Path(folder_name)
    notes = os.open(folder / "notes", os.O_CREAT | os.O_RDWR | os.O_APPEND)
    os.dup2(notes, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.enable(notes)
    faulthandler.register(signal.SIGUSR1, notes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    own = folder / "inputs"
    own.mkdir()
    with reader.prepared(), contextlib.suppress(EOFError, BrokenPipeError):
        connection.send("ready")
        while True:
            number = connection.recv()
            given = outcomes.made(name, number, reader)
            before = _reset_peak()
            os.truncate(notes, 0)
            connection.send("reads")
            outcome = outcomes.outcome_of(reader, given, own)
            connection.send((outcome, _memory("VmHWM") - before))


def _reset_peak() -> int:
    """Has the peak of this process begin anew; returns the bytes that it has now."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_bytes(_PEAK_RESET)
    return _memory("VmRSS")


def _memory(field: str) -> int:
    """Returns a number of bytes from /proc/self/status; 0 where there is none."""
    with contextlib.suppress(OSError):
        found: Any = re.search(
            rf"^{field}:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text(), re.MULTILINE
        )
        return int(found[1]) * 1024 if found else 0
    return 0
