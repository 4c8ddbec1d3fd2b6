"""Several styles as one: their moments side by side, and what becomes of them.

Moments here have leading axes [K, R]: K styles, R regions.
"""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from nst_tf.style_statistics import Moments
from nst_tf.tensors import Tensor

StyleMoments = dict[str, Moments]  # {style layer: moments}


def stacked(moments: Sequence[StyleMoments]) -> StyleMoments:
    """Returns the moments of several styles, stacked along a new first axis, [K, R, ...]."""
    return {
        layer: Moments(*(tf.stack(parts) for parts in zip(*(own[layer] for own in moments), strict=True)))
        for layer in moments[0]
    }


def _as_losses(moments: StyleMoments, shares: Tensor) -> tuple[StyleMoments, Tensor]:
    """Leaves the styles apart: the loss is the weighted sum of theirs."""
    return moments, shares


def _as_targets(moments: StyleMoments, shares: Tensor) -> tuple[StyleMoments, Tensor]:
    """Makes one style of several: the weighted mean of their statistics."""
    total = tf.reduce_sum(shares, axis=0, keepdims=True)
    parts = tf.math.divide_no_nan(shares, total)

    def mean(values: Tensor) -> Tensor:
        """Returns the weighted mean of values [K, R, ...], [1, R, ...]."""
        shape = tf.concat([tf.shape(parts), tf.ones([tf.rank(values) - 2], tf.int32)], axis=0)
        return tf.reduce_sum(tf.reshape(parts, shape) * values, axis=0, keepdims=True)

    return tf.nest.map_structure(mean, moments), total


# How several styles become one objective, by name: (moments, shares [K, R]) -> those to compare with.
BLENDS: Mapping[str, Callable[[StyleMoments, Tensor], tuple[StyleMoments, Tensor]]] = {
    "losses": _as_losses,
    "targets": _as_targets,
}
