"""What a contender costs beside its steps, in a process of its own: time to the first step, and memory."""

import multiprocessing
import multiprocessing.connection
import pathlib
import re
import time
from typing import NamedTuple

from benchmarking import contenders
from nst_tf import runtime

# Not getrusage(2), whose peak a process inherits from the one that started it.
_STATUS, _PEAK = pathlib.Path("/proc/self/status"), re.compile(r"VmHWM:\s*(\d+) kB")


class Cost(NamedTuple):
    """What a process needed."""

    startup_s: float  # from its start to the end of the first step
    peak_bytes: int | None  # resident; None where only Linux would tell


def measure(name: str, task: contenders.Task) -> Cost:
    """Runs a contender's first steps in a new process.

    Raises:
        RuntimeError: The process ended without an answer.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    start = time.time()
    process = context.Process(target=_take_steps, args=(name, task, sender))
    process.start()
    sender.close()
    try:
        first, peak = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{name}: the process ended without an answer") from None
    finally:
        process.join()
    return Cost(first - start, peak)


def _take_steps(name: str, task: contenders.Task, sender: "multiprocessing.connection.Connection") -> None:
    """In the new process: takes steps, and answers with the time after the first and the peak memory."""
    with runtime.quiet():
        step = contenders.named(name)(task)
        step()
    first = time.time()
    step()  # the first allocates what the network needs, the second what the optimiser remembers
    sender.send((first, _peak()))


def _peak() -> int | None:
    """Returns the most memory that this process has had, in bytes."""
    if not _STATUS.exists():
        return None
    found = _PEAK.search(_STATUS.read_text(encoding="ascii", errors="replace"))
    return int(found[1]) * 1024 if found else None
