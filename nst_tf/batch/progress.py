"""The progress of a batch for a person: one renewed line at a terminal, plain lines now and then in a log.

Its memory and its time do not depend on how many pictures there are.
"""

import collections
import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

from nst_tf import errors
from nst_tf.batch import outcomes

# How often at most, in seconds: as often as an eye follows; two lines a minute keep a log of days readable.
_AT_TERMINAL_S, _IN_LOG_S = 0.1, 30.0

# Failures told as they come: enough to see that something is wrong with all pictures. `FAILURES` has all.
_MOST_TOLD = 10


class Progress:
    """Shows how far a batch is; a stream that has gone away is no reason to end one."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        """Starts the clock.

        Args:
            total: Pictures of the batch.
            stream: By default standard error.
        """
        self._total, self._stream = total, sys.stderr if stream is None else stream
        self._counts: collections.Counter[str] = collections.Counter()
        self._pace = _Pace()
        self._start = time.monotonic()
        self._next = self._start
        self._bar: tqdm | None = None
        self._gone = False

    def add(self, outcome: outcomes.Outcome) -> None:
        """Counts an outcome and shows the counts, if it is time to; tells the first failures at once."""
        self._counts[outcome.status] += 1
        now = time.monotonic()
        if outcome.status != "skipped":
            self._pace.add(now, self._counts["done"], self._counts.total())
        if outcome.status == "failed" and self._counts["failed"] <= _MOST_TOLD:
            line = _failure(outcome, last=self._counts["failed"] == _MOST_TOLD)
            self._unless_gone(lambda: self._print(line))
        if now >= self._next:
            self._unless_gone(lambda: self._show(now))

    def end(self) -> None:
        """Leaves the terminal's line and prints what the batch has come to."""
        self._unless_gone(self._sum_up)

    def _unless_gone(self, write: Callable[[], None]) -> None:
        """Writes something, unless the stream is gone, which then costs nothing more."""
        if self._gone:
            return
        try:
            write()
        except (AttributeError, OSError, ValueError):  # ValueError: it is closed; AttributeError: it is None
            self._gone, self._next = True, math.inf
            if self._bar is not None:
                self._bar.disable = True  # or it would write once more as it is freed

    def _show(self, now: float) -> None:
        text = self._counted() + self._pace.described(self._total)
        if self._stream.isatty():
            self._next = now + _AT_TERMINAL_S
            self._show_bar(text)
        else:
            self._next = now + _IN_LOG_S
            self._print(text)

    def _show_bar(self, text: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=self._total,
                file=self._stream,
                bar_format="{desc} |{bar}|",  # the bar last, which a narrow terminal cuts off
                dynamic_ncols=True,
                leave=False,
            )
        self._bar.n = self._counts.total()
        self._bar.set_description_str(text)  # which renews the line

    def _sum_up(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        seconds = time.monotonic() - self._start
        line, done = f"{self._counted()} in {tqdm.format_interval(seconds)}", self._counts["done"]
        self._print(f"{line}; {outcomes.a_minute(done, seconds)} pictures a minute" if done else line)

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(line, file=self._stream, flush=True)

    def _counted(self) -> str:
        return f"{self._counts.total():,} of {self._total:,}: {outcomes.counted(self._counts)}"


def _failure(failed: outcomes.Outcome, last: bool) -> str:
    """Returns the line for a picture that failed."""
    more = f"; further ones are listed in {outcomes.FAILURES} at the end" if last else ""
    picture = errors.printable(failed.content or failed.output)
    return f"failed: {picture}: {outcomes.one_line(failed.why)}{more}"


class _Pace:
    """How fast pictures come, by the last ones, since workers come and go; skipped ones say nothing of it."""

    # A mark a second at most, and so many marks: ten minutes, or as many pictures where they take longer.
    _BETWEEN_S, _MARKS = 1.0, 600

    def __init__(self) -> None:
        """Waits for the first picture: before it there is much else."""
        self._marks: collections.deque[tuple[float, int, int]] = collections.deque(maxlen=self._MARKS)
        self._last = (0.0, 0, 0)

    def add(self, now: float, painted: int, finished: int) -> None:
        """Takes how many pictures have been painted by now, and how many need nothing more."""
        self._last = (now, painted, finished)
        if not self._marks or now - self._marks[-1][0] >= self._BETWEEN_S:
            self._marks.append(self._last)

    def described(self, total: int) -> str:
        """Returns the time left and the rate as the end of a line; nothing where nothing is known yet."""
        if not self._marks:
            return ""
        (start, painted_before, finished_before), (now, painted, finished) = self._marks[0], self._last
        seconds = now - start
        if seconds < self._BETWEEN_S:  # pictures of several workers come together
            return ""
        newly = painted - painted_before
        rate = f"; {outcomes.a_minute(newly, seconds)} a minute" if newly else ""
        left = seconds / (finished - finished_before) * (total - finished)
        return f"; {tqdm.format_interval(left)} left{rate}" if left > 0 else rate
