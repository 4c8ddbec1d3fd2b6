"""The progress of a run, for callbacks; a module of its own, since it loads no TensorFlow."""

import typing
from collections.abc import Callable
from typing import NamedTuple

from nst_tf.config.scales import Scale
from nst_tf.losses.values import Losses

if typing.TYPE_CHECKING:
    import numpy as np


class Progress(NamedTuple):
    """The progress of a run after some steps."""

    scale_index: int
    scales: tuple[Scale, ...]
    step: int  # evaluations done, over all scales
    num_steps: int  # evaluations in all, over all scales
    losses: tuple[Losses, ...]  # of the evaluations since the last report, as floats
    picture: Callable[[], "np.ndarray"]  # () -> the picture so far, [H, W, 3] float32 in [0, 1]


class TraceRow(NamedTuple):
    """One evaluation of the losses, weighted as the config weights them."""

    scale: int  # from 1, the coarsest
    step: int  # from 1, over all scales
    total: float
    content: float
    style: float
    total_variation: float
    seconds: float  # since the run began
