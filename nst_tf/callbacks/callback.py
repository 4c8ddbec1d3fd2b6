"""Callbacks of a run: the base class, and the steps at which a picture is worth a report. No TensorFlow."""

import typing
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from nst_tf.config.scales import Scale

if typing.TYPE_CHECKING:
    from nst_tf.engine.progress import Progress, TraceRow

# A scale's steps are reported at 1, 2, 3, ... and further apart by this factor: a picture changes most in its
# first steps. 100 steps get 31 reports, 6000 steps 67.
_GROWTH = 1.12


class Callback:
    """What watches a run: give it to `stylize`. Override what is needed; no method should raise."""

    def on_begin(self, scales: Sequence[Scale], picture: Callable[[], np.ndarray]) -> Collection[int]:
        """Called before the first step.

        Args:
            scales: Of the run.
            picture: () -> the picture to begin with, [H, W, 3] float32 in [0, 1].

        Returns:
            The steps, counted over all scales, after which `on_step` is called in any case.
        """
        del scales, picture
        return ()

    def on_resume(
        self,
        scales: Sequence[Scale],
        picture: Callable[[], np.ndarray],
        step: int,
        kept: Mapping[str, np.ndarray],
    ) -> Collection[int]:
        """Called instead of `on_begin` where the run goes on from a checkpoint.

        Args:
            scales: As for `on_begin`.
            picture: () -> the picture at that step.
            step: The steps done, over all scales.
            kept: What `to_keep` returned; empty where the checkpoint has nothing of such a callback.

        Returns:
            As `on_begin`.
        """
        del step, kept
        return self.on_begin(scales, picture)

    def to_keep(self) -> dict[str, np.ndarray]:
        """Returns the arrays that a checkpoint keeps for `on_resume`."""
        return {}

    def on_step(self, progress: "Progress") -> None:
        """Called after the steps that `on_begin` returned, and after others."""

    def on_end(self, image: np.ndarray, trace: Sequence["TraceRow"]) -> None:
        """Called after the last step, also of a run that was stopped or diverged.

        Args:
            image: The result, [H, W, 3] float32 in [0, 1].
            trace: One row for each evaluation.
        """


def report_steps(scales: Sequence[Scale]) -> list[int]:
    """Returns steps, counted over all scales, between which pictures change about equally: dense at first."""
    steps, earlier = [], 0
    for scale in scales:
        step = 1
        while step < scale.num_steps:
            steps.append(earlier + step)
            step = max(step + 1, round(step * _GROWTH))
        earlier += scale.num_steps
        steps.append(earlier)
    return steps
