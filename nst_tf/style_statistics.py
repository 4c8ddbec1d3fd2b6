"""What of a style is matched: stand-in until the real module is merged."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any


class Moments(NamedTuple):
    gram: Tensor
    mean: Tensor


class StyleStatistic(NamedTuple):
    needs_mean: bool
    target: Callable[[Moments], dict[str, Tensor]]
    loss: Callable[[Moments, Mapping[str, Tensor], Tensor, float], Tensor]


def _gram_loss(moments, target, factor, moment_weight):
    return factor * tf.reduce_sum(tf.square(moments.gram - target["gram"]), axis=[-2, -1])


STYLE_STATISTICS = {"gram": StyleStatistic(False, lambda m: {"gram": m.gram}, _gram_loss)}
