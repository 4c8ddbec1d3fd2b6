"""Pictures and states as bytes inside a graph, and the checks that answer a request that cannot be used.

Pictures are PNG and JPEG, told apart by their first bytes and measured before they are decoded. Decoded, they
are images, `[1, H, W, 3]` float32 sRGB in [0, 1], with the very values that `pictures.read` gives for an
upright sRGB file without alpha.

A state is strings, which a client keeps between two requests: each tensor a serialised `TensorProto`, the
last string a fingerprint of the others and of what they belong to. The fingerprint tells damage and mistakes;
it is no secret, so that everything that could hurt is checked as well: a text is parsed only if it has the
length and the header of a tensor of the right shape, since a `TensorProto` of a few bytes may ask for
gigabytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor


def check(condition: Tensor, *message: Any) -> tf.Operation:
    """Returns the operation that fails unless the condition holds.

    It does so only if something depends on it: see `with_checks`.

    Args:
        condition: [] bool.
        *message: Texts and numbers, tensors or not, that make the line: what came, what is allowed.
    """
    parts = [_text(part) for part in message]
    return tf.debugging.Assert(condition, [tf.strings.join(parts)])


def with_checks(checks: Sequence[tf.Operation], tensor: Tensor) -> Tensor:
    """Returns the tensor, which nothing can read before the checks have passed."""
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def _text(part: Any) -> Tensor:
    if isinstance(part, str):
        return tf.constant(part)
    tensor = tf.convert_to_tensor(part)
    return tensor if tensor.dtype == tf.string else tf.strings.as_string(tensor)


# A JPEG begins with the marker SOI and the first byte of another (ITU-T T.81, annex B); a PNG with this
# signature and then the chunk IHDR, whose first two integers are width and height (W3C PNG, 5.2 and 11.2.2).
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_NAME = slice(12, 16)
_PNG_SIZE = slice(16, 24)

# x / 255 as NumPy has it. A division by a constant in a graph may become a product with its reciprocal,
# which differs in the last bit.
_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


def measure(data: Tensor, name: str, max_pixels: int, min_side: int) -> Tensor:
    """Returns [height, width] int32 of a picture from its file's header, without decoding it.

    Fails with INVALID_ARGUMENT where `decode` would refuse the header.

    Args:
        data: [] string, a PNG or a JPEG.
        name: What the picture is, for messages.
        max_pixels: A picture of more is refused.
        min_side: A picture with fewer pixels a side is refused too.
    """
    is_jpeg, is_png = _is_jpeg(data), _is_png(data)
    known = check(
        is_jpeg | is_png, f"{name}: not a PNG or JPEG file; allowed: the bytes of one, not a path or base64"
    )
    data = with_checks([known], data)
    size = tf.cond(is_jpeg, lambda: _jpeg_size(data), lambda: _png_size(data))
    return with_checks(check_size(size[0], size[1], name, max_pixels, min_side), size)


def decode(data: Tensor, name: str, max_pixels: int, min_side: int) -> Tensor:
    """Returns the image of a file's bytes; fails with INVALID_ARGUMENT where they cannot be used.

    Grey files become grey RGB, alpha is dropped. Orientation and colour profile are not looked at: turn a
    picture upright and convert it to sRGB before you send it (`client` does).

    Args:
        data: As for `measure`, whose checks come before the decoding.
        name: As for `measure`.
        max_pixels: As for `measure`.
        min_side: As for `measure`.

    Returns:
        [1, H, W, 3] float32 in [0, 1].
    """
    size = measure(data, name, max_pixels, min_side)
    with tf.control_dependencies([size]):
        data = tf.identity(data)
    pixels = tf.cond(
        _is_jpeg(data),
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
    small = check(tf.minimum(height, width) >= min_side, *came, f"at least {min_side} a side")
    # The smaller side is at least 1, so that the product of two sides below 2^31 is the number of pixels.
    large = check(height * width <= max_pixels, *came, f"at most {max_pixels} in all")
    return [small, large]


def encode(image: Tensor) -> Tensor:
    """Returns the PNG bytes, [] string, of an image [1, H, W, 3], clipped and rounded as `pictures` does."""
    levels = tf.round(tf.clip_by_value(image[0], 0.0, 1.0) * 255.0)
    return tf.io.encode_png(tf.cast(levels, tf.uint8))


def _is_jpeg(data: Tensor) -> Tensor:
    return tf.equal(tf.strings.substr(data, 0, len(_JPEG)), _JPEG)


def _is_png(data: Tensor) -> Tensor:
    signature = tf.equal(tf.strings.substr(data, 0, len(_PNG)), _PNG)
    return signature & tf.equal(_slice(data, _PNG_CHUNK_NAME), b"IHDR")


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


# The number of fingerprints: all that are positive in int64.
_FINGERPRINTS = 2**63 - 1


def pack(tensors: Sequence[Tensor], owner: Tensor) -> Tensor:
    """Returns the strings, [K] with K = len(tensors) + 1.

    Args:
        tensors: Of any shapes, float32 or int32.
        owner: [] string, what they belong to: `fingerprint` of it.
    """
    texts = [tf.io.serialize_tensor(tensor) for tensor in tensors]
    return tf.stack([*texts, fingerprint([owner, *texts])])


def opened(state_bytes: Tensor, count: int, owner: Tensor) -> list[Tensor]:
    """Returns the strings of the tensors that `pack` was given; fails where they are not what it returned.

    Args:
        state_bytes: [K] string.
        count: How many tensors there were.
        owner: As given to `pack`.
    """
    came = tf.shape(state_bytes)[0]
    counted = check(
        tf.equal(came, count + 1), "state_bytes: ", came, f" strings; allowed: the {count + 1} that came back"
    )
    checked = with_checks([counted], state_bytes)
    texts = [checked[index] for index in range(count + 1)]
    same = check(
        tf.equal(fingerprint([owner, *texts[:-1]]), texts[-1]),
        f"state_bytes: damaged, or of {_OTHERS}; allowed: what came back, unchanged",
    )
    return [with_checks([same], text) for text in texts[:-1]]


def parse(texts: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """Returns the tensors of some of the strings that `opened` returned; fails where they cannot be.

    Args:
        texts: Each [] string.
        like: For each a tensor of the type and shape expected; its values do not matter.
    """
    return [_parse(text, tensor) for text, tensor in zip(texts, like, strict=True)]


_OTHERS = "another model, other pictures or other settings"


def fingerprint(texts: Sequence[Tensor]) -> Tensor:
    """Returns a text, [] string, that tells sequences of texts apart; the same on every machine."""
    hashes = [tf.strings.as_string(tf.strings.to_hash_bucket_fast(text, _FINGERPRINTS)) for text in texts]
    joined = tf.strings.join(hashes, separator=" ")
    return tf.strings.as_string(tf.strings.to_hash_bucket_fast(joined, _FINGERPRINTS))


def _parse(text: Tensor, like: Tensor) -> Tensor:
    """Returns a tensor if its text is as long as, and begins like, that of `like`, whose size is known."""
    good = tf.io.serialize_tensor(like)
    header = tf.strings.length(good) - tf.size(like) * like.dtype.size
    same = tf.cond(
        tf.equal(tf.strings.length(text), tf.strings.length(good)),
        lambda: tf.equal(tf.strings.substr(text, 0, header), tf.strings.substr(good, 0, header)),
        lambda: tf.constant(False),
    )
    checked = with_checks([check(same, f"state_bytes: a part is damaged, or of {_OTHERS}")], text)
    tensor = tf.io.parse_tensor(checked, like.dtype)
    return _finite(tf.ensure_shape(tensor, like.shape))


def _finite(tensor: Tensor) -> Tensor:
    """Returns the tensor, whose pictures hold no infinity and no NaN, and whose counts are not negative.

    Single numbers may be infinite: the loss of what has not been evaluated yet is.
    """
    if tensor.dtype.is_integer:
        good = tf.reduce_all(tensor >= 0)
    elif tensor.shape.rank == 0:
        good = ~tf.math.is_nan(tensor)
    else:
        good = tf.math.is_finite(tf.reduce_sum(tf.abs(tensor)))
    return with_checks([check(good, "state_bytes: numbers that no run makes")], tensor)
