"""Timings to compare: contenders are measured in turn, round by round, so that all share the noise."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

# {contender: seconds of each round}.
Times = dict[str, list[float]]


def measure(contenders: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """Calls each contender once unmeasured and then once in every round; returns the seconds of each call."""
    for call in contenders.values():
        call()
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Times, slow: str, fast: str) -> float:
    """Returns how many times as long `slow` takes: the median over the rounds of the ratio in one round."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def medians(times: Times) -> dict[str, float]:
    """Returns the median of each."""
    return {name: statistics.median(values) for name, values in times.items()}


class Stopwatch:
    """Counts the seconds since its construction, without those of `stopped` blocks."""

    def __init__(self) -> None:
        """Starts it."""
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Returns the seconds counted."""
        return time.perf_counter() - self._start

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Does not count the seconds of a block."""
        before = time.perf_counter()
        yield
        self._start += time.perf_counter() - before
