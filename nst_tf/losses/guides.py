"""Guides: which pixels of a layer's features belong to which region.

Masks are `[1, H, W, R]` float32 in [0, 1] at the picture's size, guides the same at a layer's size, R regions
each. A guide weighs the pixels of a Gram matrix: Gatys et al. 2017 (arXiv:1611.07865), section 4, whose guide
is the square root of ours. All functions are pure and trace with unknown sizes. No mask goes through a matrix
product, which GPUs would round to ten bits: a mask that is 1 everywhere stays exactly so.
"""

from typing import Any

import tensorflow as tf

from nst_tf.config import layers as vgg_layers
from nst_tf.tensors import Tensor

# What erosion must leave of a region at a layer; where it would leave less, it reaches less far. A Gram
# matrix of a quarter of the pixels has twice the sampling error of one of all of them, and less than that
# would be no picture of the region.
_SMALLEST_SHARE = 0.25

# What is nearer to 1 is 1. On CPUs means of ones are exact as they are; kernels that multiply by a rounded
# 1 / count are up to two steps of float32 (1.2e-7) away.
_ROUNDING = 2.5e-7


def resize(mask: Tensor, height: Any, width: Any) -> Tensor:
    """Returns the mask at another size: linear, antialiased where it shrinks, in [0, 1].

    What is exactly 1 all around a pixel is exactly 1 there, and what is 0 is 0. Masks that add up to 1 still
    do within 1e-6 (shrunk a thousand times: 2e-6). A mask that has the size already stays as it is.
    """
    same = tf.reduce_all(tf.equal(tf.shape(mask)[1:3], (height, width)))
    return tf.cond(same, lambda: tf.identity(mask), lambda: _resized(mask, height, width))


def at_layer(mask: Tensor, layer: str, erosion: float) -> Tensor:
    """Returns the guide at a layer, whose features are H // stride by W // stride.

    Without erosion it is the mean of the mask over a feature's own cell of stride x stride pixels. With it,
    it is the least value of the mask over what the feature sees: the cell and `erosion` times the layer's
    radius around it. At 1 the features that count are those that see no other region, the "inside" guides
    of the authors' program (github.com/leongatys/NeuralImageSynthesis, SpatialControl.ipynb). Beyond the
    picture's border there is no other region.

    A region keeps at least a quarter of what it has without erosion: where the whole reach would leave less,
    half of it is tried, and half of that, down to half a cell, and then none.

    Differs from that program, which probes the network with noise instead of computing what a feature sees,
    makes every guide 0 or 1, and grows the inside guides again by three features in every layer (k = 3).

    Args:
        mask: [1, H, W, R].
        layer: A name from `vgg_layers.LAYERS`.
        erosion: A share of the layer's radius, 0 or more.

    Returns:
        [1, h, w, R].
    """
    stride = vgg_layers.stride(layer)
    guide = tf.nn.avg_pool2d(mask, stride, stride, "VALID")
    needed = _SMALLEST_SHARE * _sums(guide)
    # From the shortest reach to the longest: each one replaces the one before it where it leaves enough.
    for reach in reversed(_reaches(layer, erosion)):
        eroded = _least(mask, stride, reach)
        guide = tf.where(_sums(eroded) >= needed, eroded, guide)
    return guide


def soft_edge(mask: Tensor, pixels: int) -> Tensor:
    """Returns the mask with its edges made ramps, for laying one picture over another.

    A ramp has `pixels` values between 0 and 1 (one less where that is odd), half of them to each side of the
    edge: further away the mask is as it was. It is the mean over two boxes after each other, a smooth S. The
    picture's border is no edge.
    """
    half = pixels // 2
    return _whole(_box(_box(mask, half // 2), half - half // 2))


def _resized(mask: Tensor, height: Any, width: Any) -> Tensor:
    """Returns the mask at another size, divided by what a picture of ones becomes: about 1, not quite."""
    with_ones = tf.concat([mask, tf.ones_like(mask[..., :1])], axis=-1)
    resized = tf.image.resize(with_ones, (height, width), method="bilinear", antialias=True)
    return _whole(resized[..., :-1] / resized[..., -1:])


def _reaches(layer: str, erosion: float) -> list[int]:
    """Returns the reaches to try in pixels, the longest first."""
    reach = round(erosion * vgg_layers.radius(layer))
    reaches = [reach] if reach else []
    while reach // 2 >= max(1, vgg_layers.stride(layer) // 2):
        reach //= 2
        reaches.append(reach)
    return reaches


def _least(mask: Tensor, stride: int, reach: int) -> Tensor:
    """Returns the least value over each cell and `reach` pixels around it: rows first, then columns."""
    window = stride + 2 * reach
    around = [reach, reach]
    negative = tf.pad(-mask, [[0, 0], around, around, [0, 0]], constant_values=-1.0)
    negative = tf.nn.max_pool2d(negative, (window, 1), (stride, 1), "VALID")
    return -tf.nn.max_pool2d(negative, (1, window), (1, stride), "VALID")


def _sums(guide: Tensor) -> Tensor:
    """Returns the sum over pixels of each region, [R]."""
    return tf.reduce_sum(guide, axis=[0, 1, 2])


def _box(mask: Tensor, side: int) -> Tensor:
    """Returns the mean over `side` pixels to all sides, of those that are in the picture."""
    width = 2 * side + 1
    return tf.nn.avg_pool2d(tf.nn.avg_pool2d(mask, (width, 1), 1, "SAME"), (1, width), 1, "SAME")


def _whole(mask: Tensor) -> Tensor:
    """Returns the mask with the rounding errors beside 1 and below 0 removed."""
    return tf.where(mask > 1.0 - _ROUNDING, 1.0, tf.maximum(mask, 0.0))
