"""The progress of a run, for callbacks; a module of its own, since it loads no TensorFlow."""

import time
import typing
from collections.abc import Callable
from typing import NamedTuple, Protocol

from nst_tf.config.scales import Scale
from nst_tf.losses.values import AnyLosses

if typing.TYPE_CHECKING:
    import numpy as np


class Reported(Protocol):
    """What a progress bar shows: the progress of a run, or of a film."""

    @property
    def step(self) -> int:
        """Those done, of `num_steps`."""

    @property
    def num_steps(self) -> int:
        """Those in all."""

    def work(self) -> tuple[int, int]:
        """Returns (done, in all) in units that take equally long."""


class Progress(NamedTuple):
    """The progress of a run after some steps."""

    scale_index: int
    scales: tuple[Scale, ...]
    step: int  # evaluations done, over all scales
    num_steps: int  # evaluations in all, over all scales
    losses: tuple[AnyLosses, ...]  # of the evaluations since the last report, as floats
    picture: Callable[[], "np.ndarray"]  # () -> the picture so far, [H, W, 3] float32 in [0, 1]

    def work(self) -> tuple[int, int]:
        """Returns (done, in all) in evaluated pixels, which take equally long at every scale."""
        left_of_step, done, total = self.step, 0, 0
        for scale in self.scales:
            steps = min(left_of_step, scale.num_steps)
            left_of_step -= steps
            done += steps * scale.height * scale.width
            total += scale.num_steps * scale.height * scale.width
        return done, total


class TimeLeft:
    """Estimates the time left of a run by its work since the first report: before it there is much else."""

    def __init__(self) -> None:
        """Waits for the first report."""
        self._first: tuple[float, int] | None = None  # when it came, and the work done by then

    def __call__(self, progress: Reported) -> float | None:
        """Returns the seconds left after a report; None where nothing is known yet, or nothing is left."""
        now, (done, total) = time.perf_counter(), progress.work()
        first, before = self._first = self._first or (now, done)
        return (now - first) * (total - done) / (done - before) if before < done < total else None


class TraceRow(NamedTuple):
    """One evaluation of the losses, weighted as the config weights them.

    What earlier frames of a film add to the total has no column: the file of a still picture would have it
    too.
    """

    scale: int  # from 1, the coarsest
    step: int  # from 1, over all scales
    total: float
    content: float
    style: float
    total_variation: float
    seconds: float  # since the run began
