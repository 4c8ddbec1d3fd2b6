"""Who may watch a run, and at which steps it is worth looking.

What watches is told before the first step and names steps after which it wants to be called; see `Observer`.
Loads no TensorFlow.
"""

import typing
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np

from nst_tf.config.scales import Scale

if typing.TYPE_CHECKING:
    from nst_tf.engine.stylizer import Progress

# From one look to the next at least so many times as many steps of a scale: a picture changes most in its
# first steps. 100 steps get 31 looks, 6000 steps 67.
_GROWTH = 1.12


class Observer(Protocol):
    """Something that watches a run; give it to `stylize`."""

    def begin(self, scales: Sequence[Scale], picture: Callable[[], np.ndarray]) -> Collection[int]:
        """Learns of a run before its first step.

        Args:
            scales: Of the run.
            picture: () -> the picture to begin with, [H, W, 3] float32 in [0, 1].

        Returns:
            The steps, counted over all scales, after which there shall be a report.
        """
        ...

    def __call__(self, progress: "Progress") -> object:
        """Takes a report; they come after other steps too. Should not raise: the run is worth more."""
        ...


def looks(scales: Sequence[Scale]) -> list[int]:
    """Returns steps, over all scales, between which a picture changes about alike: dense at first."""
    steps, earlier = [], 0
    for scale in scales:
        step = 1
        while step < scale.num_steps:
            steps.append(earlier + step)
            step = max(step + 1, round(step * _GROWTH))
        earlier += scale.num_steps
        steps.append(earlier)
    return steps
