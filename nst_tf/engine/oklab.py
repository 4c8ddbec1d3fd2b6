"""OkLab, a space of colours in which equal distances look about equal: from sRGB and back.

Images are `[1, H, W, 3]` float32: sRGB in [0, 1]; OkLab with L from 0 (black) to 1 (white), a (green to red)
and b (blue to yellow) within +-0.4. Pixels go through no matrix product, which GPUs would round to ten bits.
"""

from collections.abc import Sequence

import tensorflow as tf

from nst_tf.tensors import Tensor

# Björn Ottosson, "A perceptual color space for image processing" (bottosson.github.io/posts/oklab), with the
# digits of 2021-01-25: linear sRGB -> responses of the eye's cones, whose cube roots -> OkLab; and back.
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_OF_LAB = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_OF_CONES = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)

# The transfer function of sRGB (IEC 61966-2-1): a line near black, a power above.
_SLOPE, _OFFSET, _EXPONENT = 12.92, 0.055, 2.4
_LINE_OF_SRGB, _LINE_OF_LINEAR = 0.04045, 0.0031308  # where the line ends

_Matrix = Sequence[Sequence[float]]


def of_srgb(image: Tensor) -> Tensor:
    """Returns an sRGB image in OkLab."""
    return _product(_TO_LAB, _cones(image))


def lightness(image: Tensor) -> Tensor:
    """Returns L of an sRGB image, [1, H, W, 1]."""
    return _product(_TO_LAB[:1], _cones(image))


def chroma(image: Tensor) -> Tensor:
    """Returns a and b of an sRGB image, [1, H, W, 2]."""
    return _product(_TO_LAB[1:], _cones(image))


def to_srgb(lightness: Tensor, chroma: Tensor) -> Tensor:
    """Returns an OkLab image in sRGB, clipped to [0, 1]: not every colour of OkLab is one of sRGB.

    Args:
        lightness: L, [1, H, W, 1].
        chroma: a and b, [1, H, W, 2].
    """
    cones = tf.pow(_product(_OF_LAB, tf.concat([lightness, chroma], axis=-1)), 3.0)
    linear = tf.clip_by_value(_product(_OF_CONES, cones), 0.0, 1.0)
    curve = (1 + _OFFSET) * tf.pow(linear, 1 / _EXPONENT) - _OFFSET
    return tf.where(linear <= _LINE_OF_LINEAR, _SLOPE * linear, curve)


def _cones(image: Tensor) -> Tensor:
    """Returns the cube roots of the responses of the eye's cones to an sRGB image."""
    curve = tf.pow((image + _OFFSET) / (1 + _OFFSET), _EXPONENT)
    linear = tf.where(image <= _LINE_OF_SRGB, image / _SLOPE, curve)
    return tf.pow(_product(_TO_CONES, linear), 1 / 3)


def _product(matrix: _Matrix, image: Tensor) -> Tensor:
    """Returns the image with a matrix [D, 3] applied to every pixel."""
    channels = tf.unstack(image, num=3, axis=-1)
    rows = (
        tf.add_n([factor * channel for factor, channel in zip(row, channels, strict=True)]) for row in matrix
    )
    return tf.stack([*rows], axis=-1)
