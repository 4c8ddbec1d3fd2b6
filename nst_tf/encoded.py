"""PNG and JPEG bytes inside a graph: told apart by their first bytes, measured before they are decoded.

Decoded pictures are images, `[1, H, W, 3]` float32 sRGB in [0, 1], with the very values that
`pictures.read` gives for an upright sRGB file without alpha.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import guards
from nst_tf.tensors import Tensor

# A JPEG begins with the marker SOI and the first byte of another (ITU-T T.81, annex B); a PNG with this
# signature and then the chunk IHDR, whose first two integers are width and height (W3C PNG, 5.2 and 11.2.2).
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_NAME = slice(12, 16)
_PNG_SIZE = slice(16, 24)

# x / 255 as NumPy has it. A division by a constant in a graph may become a product with its reciprocal,
# which differs in the last bit.
_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


def decode(data: Tensor, name: str, max_pixels: int, min_side: int) -> Tensor:
    """Returns the image of a file's bytes; fails with INVALID_ARGUMENT where they cannot be used.

    Grey files become grey RGB, alpha is dropped. Orientation and colour profile are not looked at: turn a
    picture upright and convert it to sRGB before you send it (`client` does).

    Args:
        data: [] string, a PNG or a JPEG.
        name: What the picture is, for messages.
        max_pixels: A picture of more is refused from its header, before it is decoded.
        min_side: A picture with fewer pixels a side is refused too.

    Returns:
        [1, H, W, 3] float32 in [0, 1].
    """
    is_jpeg = tf.equal(tf.strings.substr(data, 0, len(_JPEG)), _JPEG)
    is_png = tf.equal(tf.strings.substr(data, 0, len(_PNG)), _PNG) & tf.equal(
        _slice(data, _PNG_CHUNK_NAME), b"IHDR"
    )
    known = guards.require(
        is_jpeg | is_png, f"{name}: not a PNG or JPEG file; allowed: the bytes of one, not a path or base64"
    )
    data = guards.after([known], data)
    size = tf.cond(is_jpeg, lambda: _jpeg_size(data), lambda: _png_size(data))
    data = guards.after(check_size(size[0], size[1], name, max_pixels, min_side), data)
    pixels = tf.cond(
        is_jpeg,
        # As Pillow decodes it; TensorFlow's default differs from it in most values.
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(data, channels=3),
    )
    image = tf.gather(tf.constant(_LEVELS), tf.cast(pixels, tf.int32))
    return tf.ensure_shape(image, [None, None, 3])[tf.newaxis]


def check_size(
    height: Tensor, width: Tensor, name: str, max_pixels: int, min_side: int
) -> list[tf.Operation]:
    """Returns the checks that a size is neither too small nor too large."""
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    came: tuple[Any, ...] = (f"{name}: ", width, " x ", height, " pixels; allowed: ")
    small = guards.require(tf.minimum(height, width) >= min_side, *came, f"at least {min_side} a side")
    # The smaller side is at least 1, so that the product of two sides below 2^31 is the number of pixels.
    large = guards.require(height * width <= max_pixels, *came, f"at most {max_pixels} in all")
    return [small, large]


def encode(image: Tensor) -> Tensor:
    """Returns the PNG bytes, [] string, of an image [1, H, W, 3], clipped and rounded as `pictures` does."""
    levels = tf.round(tf.clip_by_value(image[0], 0.0, 1.0) * 255.0)
    return tf.io.encode_png(tf.cast(levels, tf.uint8))


def _jpeg_size(data: Tensor) -> Tensor:
    """Returns [height, width] int32 from a JPEG's header."""
    return tf.io.extract_jpeg_shape(data)[:2]


def _png_size(data: Tensor) -> Tensor:
    """Returns [height, width] int32 from a PNG's header; above 2^31 they are negative, and too small."""
    return tf.io.decode_raw(_slice(data, _PNG_SIZE), tf.int32, little_endian=False)[::-1]


def _slice(data: Tensor, part: slice) -> Tensor:
    """Returns some bytes of a text; empty where the text has not so many."""
    return tf.cond(
        tf.strings.length(data) >= part.stop,
        lambda: tf.strings.substr(data, part.start, part.stop - part.start),
        lambda: tf.constant(b""),
    )
