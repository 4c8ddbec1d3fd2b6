"""The host side of a run: what a person sees while it goes on, and the record of its losses."""

import contextlib
import csv
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

from tqdm import tqdm

from nst_tf.callbacks.callback import Callback
from nst_tf.engine.progress import Progress, Reported, TimeLeft, TraceRow
from nst_tf.io import files
from nst_tf.losses.values import Losses


class Recorder(Callback):
    """Keeps a row for every evaluation of a run."""

    def __init__(self, earlier: Sequence[TraceRow] = ()) -> None:
        """Starts the clock, after the earlier rows of a run that goes on."""
        self.rows: list[TraceRow] = list(earlier)
        self._last = time.perf_counter()
        self._start = self._last - (self.rows[-1].seconds if self.rows else 0.0)

    def on_step(self, progress: Progress) -> None:
        """Adds the rows of a report; the time since the last one is shared out evenly."""
        now = time.perf_counter()
        count = len(progress.losses)
        for index, losses in enumerate(progress.losses, start=1):
            seconds = self._last - self._start + (now - self._last) * index / count
            step = progress.step - count + index
            terms = Losses(*losses[: len(Losses._fields)])  # see `TraceRow`
            self.rows.append(TraceRow(progress.scale_index + 1, step, *terms, seconds))
        self._last = now


class ProgressBar:
    """Shows a run's progress: a bar at a terminal, a plain line now and then in a file or a pipe."""

    # Plain lines at about every tenth of a run: enough to see that it moves, few enough to keep.
    _LINES = 10

    def __init__(self, stream: TextIO | None = None, describe: Callable[[Any], str] | None = None) -> None:
        """Prepares a bar.

        Args:
            stream: Where to show it; None for standard error.
            describe: (report) -> what to say of it; None for the steps and losses of a picture.
        """
        self._stream = stream or sys.stderr
        self._describe: Callable[[Any], str] = describe or _describe
        self._bar: tqdm | None = None
        self._next_line = 0.0
        self._time_left = TimeLeft()

    def __call__(self, progress: Reported) -> None:
        """Shows a report; a stream that has gone away is no reason to end a run."""
        with contextlib.suppress(OSError, ValueError):
            self._show(progress)

    def _show(self, progress: Reported) -> None:
        if self._stream.isatty():
            self._show_bar(progress)
        elif progress.step >= self._next_line or progress.step == progress.num_steps:
            self._next_line = progress.step + progress.num_steps / self._LINES
            left = self._time_left(progress)
            time_left = "" if left is None else f"; about {tqdm.format_interval(left)} left"
            print(self._describe(progress) + time_left, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the terminal's line."""
        if self._bar is not None:
            self._bar.close()

    def _show_bar(self, progress: Reported) -> None:
        done, total = progress.work()
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                initial=done,  # what was done before the clock runs says nothing about the rate
                file=self._stream,
                bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
                mininterval=0,
                dynamic_ncols=True,
                leave=False,
            )
        self._bar.total = total  # a server's client learns on the way how large later scales are
        self._bar.set_postfix_str(self._describe(progress), refresh=False)
        self._bar.update(done - self._bar.n)


def _describe(progress: Progress) -> str:
    """Returns where the run stands, the size being worked on and the latest losses."""
    scale, latest = progress.scales[progress.scale_index], progress.losses[-1]
    where = f"step {progress.step} of {progress.num_steps}, {scale.width} x {scale.height}"
    return f"{where}: {describe_losses(latest)}"


def describe_losses(values: Iterable[float]) -> str:
    """Returns the terms of a `Losses` or `FrameLosses`, without their sum, for a person."""
    _, content, style, total_variation, *temporal = values
    text = f"content {content:.3g}, style {style:.3g}"
    text = f"{text}, total variation {total_variation:.3g}" if total_variation else text
    return f"{text}, earlier frames {temporal[0]:.3g}" if temporal else text


def write_trace(rows: Iterable[TraceRow], path: str | os.PathLike[str]) -> None:
    """Writes the rows as CSV with a header, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(TraceRow._fields)
    writer.writerows(rows)
    with files.replacing(path) as file:
        file.write(text.getvalue().encode("utf-8"))
