"""A picture as a frame of a film: the earlier frames that it is held to, its config, what frames share."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.config.config import Config
from nst_tf.engine import color, images
from nst_tf.engine.formulations import Formulation
from nst_tf.losses import guides, temporal
from nst_tf.losses.objective import StyleParts
from nst_tf.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Earlier:
    """The results of J earlier frames, warped to the frame that is painted; of any size.

    Raises:
        InputError: The arrays have other shapes, or values outside [0, 1].
    """

    pictures: np.ndarray  # [J, H, W, 3] float32 sRGB in [0, 1]
    reliability: np.ndarray  # [J, H, W, 1] float32 in [0, 1], how much the loss counts at each pixel

    def __post_init__(self) -> None:
        pictures, reliability = np.shape(self.pictures), np.shape(self.reliability)
        good = len(pictures) == 4 and pictures[3] == 3 and 0 not in pictures
        allowed = "[J, H, W, 3] and [J, H, W, 1]"
        errors.require(
            good and reliability == (*pictures[:3], 1), "earlier", f"{pictures}, {reliability}", allowed
        )
        for picture in self.pictures:
            images.check(picture[np.newaxis])
        low, high = float(np.min(self.reliability)), float(np.max(self.reliability))
        # The negated form also catches NaN.
        good = low >= 0 and high <= 1
        errors.require(good, "earlier", f"a reliability from {low:g} to {high:g}", "0 to 1")

    def target(self, choice: color.Color, height: int, width: int, weight: float) -> temporal.Target:
        """Returns the target of the temporal loss at a scale.

        Args:
            choice: Of colours: the target is in the space of its losses.
            height: Of the scale.
            width: Of the scale.
            weight: Of the temporal loss.
        """
        pictures = images.resize(tf.constant(self.pictures, tf.float32), height, width)
        reliability = guides.resize(tf.constant(self.reliability, tf.float32), height, width)
        return temporal.target(choice.to_loss_space(pictures), reliability, tf.constant(weight, tf.float32))


class Film:
    """What the frames of a film share: the part of the targets that their style pictures decide alone."""

    def __init__(self) -> None:
        """Has nothing yet."""
        self._formulation: Formulation | None = None
        self._pictures: list[Tensor] = []
        self._seed = 0
        self._parts: StyleParts | None = None

    def style_parts(
        self, formulation: Formulation, styles: Sequence[Tensor], masks: Sequence[Tensor], seed: int
    ) -> StyleParts:
        """Returns what `Formulation.style_parts` does, computed once for the same pictures.

        Where styles take on the photograph's colours, they differ from frame to frame.
        """
        pictures, known = [*styles, *masks], (self._formulation, self._seed)
        if self._parts is None or known != (formulation, seed) or not _equal(self._pictures, pictures):
            self._formulation, self._pictures, self._seed = formulation, pictures, seed
            self._parts = None  # whose memory goes first
            self._parts = formulation.style_parts(styles, masks, seed)
        return self._parts


def _equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Returns whether pictures are equal to others."""
    return len(some) == len(others) and all(map(np.array_equal, some, others))


@dataclasses.dataclass(frozen=True)
class Frame:
    """What makes a run one of a film's frames."""

    film: Film = dataclasses.field(default_factory=Film)
    earlier: Earlier | None = None  # None for the first frame of a shot, which begins as a still picture
    # {setting: value} by which the frame before was fitted into memory, while that fits; {} to fit this one.
    fitted: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def later_config(config: Config, num_steps: int) -> Config:
    """Returns the config of a frame that begins with an earlier frame's result: its last scale alone.

    Args:
        config: Of the shot's first frame.
        num_steps: Of the frame.
    """
    return config.replace(scales=(1.0,), min_scale=0, steps=(num_steps,), init=settings.INIT_GIVEN)
