"""The temporal loss: a frame of a film is held to earlier frames, warped to it along the motion between them.

Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610), eq. 7 and 9: the mean over pixels and channels of
c (x - w)^2, summed over J earlier frames; w is one of them, warped, c in [0, 1] its reliability at a pixel. x
and w are on the scale 0..255, as for the weight that they publish, 1000 beside 5 of the content loss and 100
of the style loss of the preset `johnson`.

The sum over frames is a parabola in x at each pixel, so that one target stands for any number of frames. It
depends on each pixel alone and not on the network: tiles have no part in it. Images are `[1, H, W, 3]`.
"""

from typing import NamedTuple

import tensorflow as tf

from nst_tf.losses import terms
from nst_tf.tensors import Tensor


class Target(NamedTuple):
    """The earlier frames that an image is held to: the loss is mean(weight (x - picture)^2) + spread."""

    picture: Tensor  # [1, H, W, 3], the mean of the warped frames by their reliability; 0 where none has any
    weight: Tensor  # [1, H, W, 1], the loss's weight times the sum of the reliabilities, for x in [0, 1]
    spread: Tensor  # [], the loss of `picture`


def target(warped: Tensor, reliability: Tensor, weight: Tensor) -> Target:
    """Returns the target of J earlier frames.

    Args:
        warped: [J, H, W, 3] in [0, 1], in the space of the image that is optimised.
        reliability: [J, H, W, 1] in [0, 1].
        weight: [], of the temporal loss, on the scale 0..255.
    """
    scaled = weight * terms.PIXEL_LEVELS**2 * reliability
    total = tf.reduce_sum(scaled, axis=0, keepdims=True)
    picture = tf.math.divide_no_nan(tf.reduce_sum(scaled * warped, axis=0, keepdims=True), total)
    spread = tf.reduce_mean(tf.reduce_sum(scaled * tf.square(warped - picture), axis=0))
    return Target(picture, total, spread)


def loss(image: Tensor, target: Target) -> Tensor:
    """Returns the weighted temporal loss of an image, []."""
    return tf.reduce_mean(target.weight * tf.square(image - target.picture)) + target.spread


def gradient(image: Tensor, target: Target) -> Tensor:
    """Returns the gradient of `loss` by the image, shaped as the image."""
    count = tf.cast(tf.size(image), tf.float32)
    return (2.0 / count) * target.weight * (image - target.picture)
