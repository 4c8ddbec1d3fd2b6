"""Wrappers of optimisers, whose output is the best or the averaged iterate instead of the last.

The conventions are those of `rules`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config import settings
from nst_tf.optimizers import rules
from nst_tf.tensors import Tensor


class BestState(NamedTuple):
    """The state of the wrapped optimiser and the best image that it evaluated."""

    inner: Any
    image: Tensor  # [1, H, W, 3]
    loss: Tensor  # []; infinite before the first evaluation


def best_iterate(inner: rules.Optimizer) -> rules.Optimizer:
    """Returns an optimiser whose output is the image with the lowest loss that it evaluated."""

    def init(image: Tensor) -> BestState:
        return BestState(inner.init(image), image, tf.constant(float("inf")))

    def update(image: Tensor, loss: Tensor, gradient: Tensor, state: BestState) -> tuple[Tensor, BestState]:
        # An image of NaN may have a finite loss: in a graph TensorFlow's ReLU turns NaN into zeros.
        better = (loss < state.loss) & tf.math.is_finite(tf.reduce_sum(image))
        best, lowest = tf.where(better, image, state.image), tf.where(better, loss, state.loss)
        image, inner_state = inner.update(image, loss, gradient, state.inner)
        return image, BestState(inner_state, best, lowest)

    def resize(state: BestState, height: Any, width: Any) -> BestState:
        image = tf.image.resize(state.image, (height, width))
        # Losses of different sizes cannot be compared.
        return BestState(inner.resize(state.inner, height, width), image, tf.constant(float("inf")))

    return rules.Optimizer(init, update, rules.evaluated_image, resize, _carried(inner))


class AverageState(NamedTuple):
    """The state of the wrapped optimiser and the running average of its images."""

    inner: Any
    weight: Tensor  # [], the sum of the weights of the averaged images; 0 at the start of a scale
    image: Tensor  # [1, H, W, 3], the sum of the weighted images


# The share of the average that is kept at every step: crowsonkb/style-transfer-pytorch's `avg_decay`.
_AVERAGE_DECAY = 0.99


def average_iterate(inner: rules.Optimizer) -> rules.Optimizer:
    """Returns an optimiser whose output is the running average of its images at the current scale.

    The average is exponential and bias-corrected as Adam's moments are (Kingma and Ba, arXiv:1412.6980,
    section 3), and includes the scale's first image. Oscillations between steps average out.
    """

    def init(image: Tensor) -> AverageState:
        return AverageState(inner.init(image), tf.constant(0.0), tf.zeros_like(image))

    def output(image: Tensor, state: AverageState) -> Tensor:
        average = tf.math.divide_no_nan(state.image, state.weight)
        return tf.where(state.weight > 0, average, image)

    def update(
        image: Tensor, loss: Tensor, gradient: Tensor, state: AverageState
    ) -> tuple[Tensor, AverageState]:
        share = 1 - _AVERAGE_DECAY
        is_first = tf.equal(state.weight, 0)
        weight, average = (
            tf.where(is_first, share, state.weight),
            tf.where(is_first, share * image, state.image),
        )
        image, inner_state = inner.update(image, loss, gradient, state.inner)
        weight = _AVERAGE_DECAY * weight + share
        average = _AVERAGE_DECAY * average + share * inner.output(image, inner_state)
        return image, AverageState(inner_state, weight, average)

    def resize(state: AverageState, height: Any, width: Any) -> AverageState:
        inner_state = inner.resize(state.inner, height, width)
        return AverageState(inner_state, tf.constant(0.0), tf.zeros([1, height, width, 3]))

    return rules.Optimizer(init, update, output, resize, _carried(inner))


def _carried(inner: rules.Optimizer) -> Callable[[Any], Any]:
    return lambda state: state._replace(inner=inner.carried(state.inner))


# Wrappers by name of the output image: optimiser -> optimiser.
OUTPUTS: Mapping[str, Callable[[rules.Optimizer], rules.Optimizer]] = settings.OUTPUT_IMAGES.table(
    last=lambda optimizer: optimizer,
    best=best_iterate,
    average=average_iterate,
)
