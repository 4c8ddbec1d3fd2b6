"""Guides: masks at the size of a layer's features.

Masks are `[1, H, W, R]` float32 in [0, 1] at the picture's size for R regions, guides `[1, h, w, R]` at a
layer's size. A guide weighs the pixels of a Gram matrix: Gatys et al. 2017 (arXiv:1611.07865), section 4,
whose guide is the square root of ours. All functions are pure and trace with unknown sizes. No mask goes
through a matrix product, which GPUs round to ten bits: a mask of ones stays exactly 1.
"""

from typing import Any

import tensorflow as tf

from nst_tf.config import layers as vgg_layers
from nst_tf.tensors import Tensor

# The share of a region that erosion must leave at a layer; otherwise the reach of the erosion is reduced. A
# Gram matrix of a quarter of the pixels has twice the sampling error.
_SMALLEST_SHARE = 0.25

# Values closer to 1 become 1: kernels that multiply by a rounded 1 / count give means of ones that are up to
# two units in the last place of float32 (1.2e-7) off.
_ROUNDING = 2.5e-7


def resize(mask: Tensor, height: Any, width: Any) -> Tensor:
    """Returns the mask at another size: bilinear, antialiased where it shrinks, in [0, 1].

    Areas of exactly 1 and exactly 0 stay so. Masks that add up to 1 still do within 1e-6 (shrunk a thousand
    times: 2e-6). A mask that already has the size is not resampled.
    """
    same = tf.reduce_all(tf.equal(tf.shape(mask)[1:3], (height, width)))
    return tf.cond(same, lambda: tf.identity(mask), lambda: _resized(mask, height, width))


def at_layer(mask: Tensor, layer: str, erosion: float) -> Tensor:
    """Returns the guide at a layer, whose features are H // stride by W // stride.

    Without erosion it is the mean of the mask over a feature's cell of stride x stride pixels. With erosion
    it is the minimum of the mask over the cell and `erosion` times the layer's receptive radius around it.
    With an erosion of 1 only features that see no other region count, the "inside" guides of the authors'
    program (github.com/leongatys/NeuralImageSynthesis, SpatialControl.ipynb). Beyond the picture's border
    there is no other region.

    A region keeps at least a quarter of its guide without erosion: otherwise the reach is halved repeatedly,
    down to half a cell, then 0.

    Differs from that program, which finds receptive fields by feeding noise to the network, makes every guide
    0 or 1, and dilates the inside guides by three features in every layer (k = 3).

    Args:
        mask: [1, H, W, R].
        layer: A name from `vgg_layers.LAYERS`.
        erosion: A share of the layer's radius, 0 or more.

    Returns:
        [1, h, w, R].
    """
    stride = vgg_layers.stride(layer)
    guide = at_stride(mask, stride)
    needed = _SMALLEST_SHARE * _sums(guide)
    # From the shortest reach to the longest: a longer one replaces a shorter one where it leaves enough.
    for reach in reversed(_reaches(layer, erosion)):
        eroded = _least(mask, stride, reach)
        guide = tf.where(_sums(eroded) >= needed, eroded, guide)
    return guide


def at_stride(mask: Tensor, stride: int) -> Tensor:
    """Returns the mean of the mask over cells of stride x stride pixels, [1, h, w, R]."""
    return tf.nn.avg_pool2d(mask, stride, stride, "VALID")


def present(mask: Tensor) -> Tensor:
    """Returns whether a picture has any of each region of its mask [1, H, W, R], [R] bool."""
    return tf.reduce_max(mask, axis=[0, 1, 2]) > 0


def soft_edge(mask: Tensor, pixels: Any) -> Tensor:
    """Returns the mask with soft edges, for compositing one picture over another.

    An edge becomes a ramp, S-shaped by two box filters, with `pixels` values between 0 and 1 (one less if
    that is odd), half of them on each side of the edge. The picture's border is no edge.
    """
    half = tf.convert_to_tensor(pixels) // 2
    return _whole(_box(_box(mask, half // 2), half - half // 2))


def _resized(mask: Tensor, height: Any, width: Any) -> Tensor:
    """Returns the mask at another size, divided by a resized picture of ones, which is only about 1."""
    with_ones = tf.concat([mask, tf.ones_like(mask[..., :1])], axis=-1)
    resized = tf.image.resize(with_ones, (height, width), method="bilinear", antialias=True)
    return _whole(resized[..., :-1] / resized[..., -1:])


def _reaches(layer: str, erosion: float) -> list[int]:
    """Returns the reaches of erosion to try, in pixels, the longest first."""
    reach = round(erosion * vgg_layers.radius(layer))
    reaches = [reach] if reach else []
    while reach // 2 >= max(1, vgg_layers.stride(layer) // 2):
        reach //= 2
        reaches.append(reach)
    return reaches


def _least(mask: Tensor, stride: int, reach: int) -> Tensor:
    """Returns the minimum over each cell and `reach` pixels around it: over rows, then over columns."""
    window = stride + 2 * reach
    around = [reach, reach]
    negative = tf.pad(-mask, [[0, 0], around, around, [0, 0]], constant_values=-1.0)
    negative = tf.nn.max_pool2d(negative, (window, 1), (stride, 1), "VALID")
    return -tf.nn.max_pool2d(negative, (1, window), (1, stride), "VALID")


def _sums(guide: Tensor) -> Tensor:
    """Returns the sum over pixels of each region, [R]."""
    return tf.reduce_sum(guide, axis=[0, 1, 2])


def _box(mask: Tensor, side: Tensor) -> Tensor:
    """Returns the mean over a box that reaches `side` pixels to each side, within the picture."""
    turned = _means_of_rows(tf.transpose(_means_of_rows(mask, side), [0, 2, 1, 3]), side)
    return tf.transpose(turned, [0, 2, 1, 3])


def _means_of_rows(mask: Tensor, side: Tensor) -> Tensor:
    """Returns the mean of each row and `side` rows above and below it; pooling cannot, as a tensor's size."""
    height = tf.shape(mask)[1]
    padded = tf.pad(mask, tf.convert_to_tensor([[0, 0], [side, side], [0, 0], [0, 0]]))

    def add(row: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        return row + 1, total + padded[:, row : row + height]

    start = (tf.constant(0), tf.zeros_like(mask))
    total = tf.while_loop(lambda row, _: row < 2 * side + 1, add, start, parallel_iterations=1)[1]
    rows = tf.range(height)
    counts = tf.minimum(rows + side, height - 1) - tf.maximum(rows - side, 0) + 1
    return total / tf.cast(counts, tf.float32)[:, tf.newaxis, tf.newaxis]


def _whole(mask: Tensor) -> Tensor:
    """Returns the mask without rounding errors near 1 and below 0."""
    return tf.where(mask > 1.0 - _ROUNDING, 1.0, tf.maximum(mask, 0.0))
