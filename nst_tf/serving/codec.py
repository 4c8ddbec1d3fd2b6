"""Pictures and states as bytes in a graph, and checks that fail with INVALID_ARGUMENT and one clear line.

Pictures are PNG and JPEG, recognised by their first bytes and measured before they are decoded. A decoded
picture is an image, `[1, H, W, 3]` float32 sRGB in [0, 1], equal to that of `pictures.read` for an upright
sRGB file.

A client keeps the state of a run between two requests, as strings: a serialised `TensorProto` for each
tensor, then a fingerprint of these strings and of the model, pictures and settings that they belong to. The
fingerprint detects damage and mistakes. Anybody can forge it, so that the strings are checked too: one is
parsed only if it has the length and the header of a tensor of the right shape, since a `TensorProto` of a few
bytes may declare gigabytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor


def check(condition: Tensor, *message: Any) -> tf.Operation:
    """Returns the operation that fails unless the condition holds.

    It runs only if a tensor depends on it: see `with_checks`.

    Args:
        condition: [] bool.
        *message: Texts, numbers and tensors that are joined to one line: what came, what is allowed.
    """
    parts = [_text(part) for part in message]
    return tf.debugging.Assert(condition, [tf.strings.join(parts)])


def with_checks(checks: Sequence[tf.Operation], tensor: Tensor) -> Tensor:
    """Returns the tensor, which becomes available once the checks have passed."""
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def _text(part: Any) -> Tensor:
    if isinstance(part, str):
        return tf.constant(part)
    tensor = tf.convert_to_tensor(part)
    text = tensor if tensor.dtype == tf.string else tf.strings.as_string(tensor)
    if tensor.shape.rank == 0:
        return text
    return tf.strings.join(["[", tf.strings.reduce_join(text, separator=", "), "]"])


# A JPEG begins with the marker SOI and the first byte of another (ITU-T T.81, annex B); a PNG with this
# signature and then the chunk IHDR, whose first two integers are width and height (W3C PNG, 5.2 and 11.2.2).
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_NAME = slice(12, 16)
_PNG_SIZE = slice(16, 24)
_PNG_COLOR_TYPE, _PNG_GREY = 25, b"\0"

# The markers of their ends: EOI, and the name of the last chunk.
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND"

# Nodes that decode a picture have its kind and this as their name, so that TensorFlow's message of a damaged
# file, which names the node alone, says which picture it is.
UNDECODED = "_cannot_be_decoded"

# x / 255 as NumPy computes it. TensorFlow may turn a division by a constant into a product with its rounded
# reciprocal, which differs in the last bit.
_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


def measure(data: Tensor, name: Any, kind: str, max_pixels: int, min_side: int) -> Tensor:
    """Returns [height, width] int32 of a picture from the header of its file, without decoding it.

    Fails if the file is no PNG or JPEG, or its size is not allowed.

    Args:
        data: [] string, a PNG or a JPEG.
        name: What messages call the picture, a text or a tensor.
        kind: What TensorFlow's own messages, of a damaged file, call it; see `UNDECODED`.
        max_pixels: The most pixels allowed.
        min_side: The fewest pixels a side allowed.
    """
    is_jpeg, is_png = _is_jpeg(data), _is_png(data)
    known = check(
        is_jpeg | is_png, name, ": not a PNG or JPEG file; allowed: the bytes of one, not a path or base64"
    )
    data = with_checks([known], data)
    size = tf.cond(is_jpeg, lambda: _jpeg_size(data, name, kind), lambda: _png_size(data))
    return with_checks(check_size(size[0], size[1], name, max_pixels, min_side), size)


def decode(data: Tensor, name: Any, kind: str, max_pixels: int, min_side: int) -> Tensor:
    """Returns the image of a file's bytes; fails as `measure` does, or if the file is damaged.

    Grey files become grey RGB, what is transparent is over white. Orientation and colour profile are ignored:
    a client turns pictures upright and converts them to sRGB, as `client` does.

    Args:
        data: As for `measure`, whose checks come first.
        name: As for `measure`.
        kind: As for `measure`.
        max_pixels: As for `measure`.
        min_side: As for `measure`.

    Returns:
        [1, H, W, 3] float32 in [0, 1].
    """
    levels = decode_levels(data, name, kind, max_pixels, min_side)
    is_opaque = tf.reduce_all(tf.equal(levels[..., 3], 255))
    image = tf.cond(is_opaque, lambda: values(levels[..., :3]), lambda: _over_white(values(levels)))
    return tf.ensure_shape(image, [None, None, 3])[tf.newaxis]


def decode_levels(data: Tensor, name: Any, kind: str, max_pixels: int, min_side: int = 1) -> Tensor:
    """Returns the numbers of a file's bytes, [H, W, 4] uint8, the last channel alpha; fails as `decode` does.

    Arguments are those of `decode`.
    """
    size = measure(data, name, kind, max_pixels, min_side)
    with tf.control_dependencies([size]):
        data = tf.identity(data)
    named = f"{kind}{UNDECODED}"
    levels = tf.cond(
        _is_jpeg(data),
        # The method of Pillow; TensorFlow's default method gives other values.
        lambda: _opaque(tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE", name=named)),
        lambda: tf.cond(
            tf.strings.substr(data, _PNG_COLOR_TYPE, 1) == _PNG_GREY,
            # Of one bit TensorFlow makes no alpha.
            lambda: _opaque(tf.io.decode_png(_with_end(data, _PNG_END, name), channels=3, name=named)),
            lambda: tf.io.decode_png(_with_end(data, _PNG_END, name), channels=4, name=named),
        ),
    )
    return tf.ensure_shape(levels, [None, None, 4])


def _opaque(levels: Tensor) -> Tensor:
    return tf.pad(levels, [[0, 0], [0, 0], [0, 1]], constant_values=255)


def values(pixels: Tensor) -> Tensor:
    """Returns numbers 0..255 as float32 in [0, 1]."""
    return tf.gather(tf.constant(_LEVELS), tf.cast(pixels, tf.int32))


def _over_white(image: Tensor) -> Tensor:
    """Returns an image [H, W, 4], the last channel alpha, over white, as `pictures.read` does."""
    colors, alpha = image[..., :3], image[..., 3:]
    return colors * alpha + (1.0 - alpha)


def check_size(
    height: Tensor, width: Tensor, name: Any, max_pixels: int, min_side: int
) -> list[tf.Operation]:
    """Returns the checks that a size is within bounds; arguments as for `measure`."""
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    came: tuple[Any, ...] = (name, ": ", width, " x ", height, " pixels; allowed: ")
    small = check(tf.minimum(height, width) >= min_side, *came, f"at least {min_side} a side")
    # The smaller side is at least 1, so that the product of two sides below 2^31 is the number of pixels.
    large = check(height * width <= max_pixels, *came, f"at most {max_pixels} in all")
    return [small, large]


def encode(image: Tensor) -> Tensor:
    """Returns the PNG bytes, [] string, of an image [1, H, W, 3], clipped and rounded as by `pictures`."""
    levels = tf.round(tf.clip_by_value(image[0], 0.0, 1.0) * 255.0)
    return tf.io.encode_png(tf.cast(levels, tf.uint8))


def _is_jpeg(data: Tensor) -> Tensor:
    return tf.equal(tf.strings.substr(data, 0, len(_JPEG)), _JPEG)


def _is_png(data: Tensor) -> Tensor:
    signature = tf.equal(tf.strings.substr(data, 0, len(_PNG)), _PNG)
    return signature & tf.equal(_slice(data, _PNG_CHUNK_NAME), b"IHDR")


def _jpeg_size(data: Tensor, name: Any, kind: str) -> Tensor:
    """Returns [height, width] int32 from a JPEG's header; fails if the file lacks its end."""
    data = _with_end(data, _JPEG_END, name)
    return tf.io.extract_jpeg_shape(data, name=f"{kind}{UNDECODED}")[:2]


def _with_end(data: Tensor, end: bytes, name: Any) -> Tensor:
    """Returns a file's bytes; fails unless the marker of its end is in it, wherever: other bytes may follow.

    So that a file that was cut short is named, which a decoder's message does not do.
    """
    found = tf.io.decode_raw(data, tf.uint8)
    count = tf.maximum(tf.size(found) - len(end) + 1, 0)
    same = [tf.equal(found[place : place + count], byte) for place, byte in enumerate(end)]
    whole = check(
        tf.reduce_any(tf.reduce_all(same, axis=0)),
        *(name, ": the file was cut short, after ", tf.strings.length(data), " bytes; allowed: all of it"),
    )
    return with_checks([whole], data)


def _png_size(data: Tensor) -> Tensor:
    """Returns [height, width] int32 from a PNG's header; sides above 2^31 - 1 come out negative."""
    return tf.io.decode_raw(_slice(data, _PNG_SIZE), tf.int32, little_endian=False)[::-1]


def _slice(data: Tensor, part: slice) -> Tensor:
    """Returns some bytes of a text, or an empty text if it is shorter."""
    return tf.cond(
        tf.strings.length(data) >= part.stop,
        lambda: tf.strings.substr(data, part.start, part.stop - part.start),
        lambda: tf.constant(b""),
    )


# The number of different fingerprints: the non-negative int64 numbers.
_FINGERPRINTS = 2**63 - 1


def pack(tensors: Sequence[Tensor], owner: Tensor) -> Tensor:
    """Returns tensors as strings, [K] with K = len(tensors) + 1.

    Args:
        tensors: Of any shapes, float32 or int32.
        owner: [] string, a fingerprint of the model, pictures and settings that they belong to.
    """
    texts = [tf.io.serialize_tensor(tensor) for tensor in tensors]
    return tf.stack([*texts, fingerprint([owner, *texts])])


def unpack(state_bytes: Tensor, count: int, owner: Tensor) -> list[Tensor]:
    """Returns the strings of the tensors in a state; fails unless `pack` returned it for the same owner.

    Args:
        state_bytes: [K] string.
        count: The number of tensors.
        owner: As for `pack`.
    """
    came = tf.shape(state_bytes)[0]
    counted = check(
        tf.equal(came, count + 1), "state_bytes: ", came, f" strings; allowed: the {count + 1} that came back"
    )
    checked = with_checks([counted], state_bytes)
    texts = [checked[index] for index in range(count + 1)]
    same = check(
        tf.equal(fingerprint([owner, *texts[:-1]]), texts[-1]),
        f"state_bytes: damaged, or of {_OTHERS}{_UNCHANGED}",
    )
    return [with_checks([same], text) for text in texts[:-1]]


def parse(texts: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """Returns the tensors of some of the strings that `unpack` returned; fails for other types or shapes.

    Args:
        texts: Each [] string.
        like: For each string a tensor of the expected type and shape; its values do not matter.
    """
    return [_parse(text, tensor) for text, tensor in zip(texts, like, strict=True)]


_UNCHANGED = "; allowed: what came back, unchanged"


_OTHERS = "another model, other pictures or other settings"


def fingerprint(texts: Sequence[Tensor]) -> Tensor:
    """Returns a hash of a sequence of texts, [] string, the same on every machine."""
    hashes = [tf.strings.as_string(tf.strings.to_hash_bucket_fast(text, _FINGERPRINTS)) for text in texts]
    joined = tf.strings.join(hashes, separator=" ")
    return tf.strings.as_string(tf.strings.to_hash_bucket_fast(joined, _FINGERPRINTS))


def _parse(text: Tensor, like: Tensor) -> Tensor:
    """Returns the tensor of a text if its length and its header are those of `like`."""
    good = tf.io.serialize_tensor(like)
    header = tf.strings.length(good) - tf.size(like) * like.dtype.size
    same = tf.cond(
        tf.equal(tf.strings.length(text), tf.strings.length(good)),
        lambda: tf.equal(tf.strings.substr(text, 0, header), tf.strings.substr(good, 0, header)),
        lambda: tf.constant(False),
    )
    known = check(
        same,
        *("state_bytes: a string of ", tf.strings.length(text), " bytes where a tensor ", tf.shape(like)),
        f" of {like.dtype.name} belongs{_UNCHANGED}",
    )
    checked = with_checks([known], text)
    tensor = tf.io.parse_tensor(checked, like.dtype)
    return _finite(tf.ensure_shape(tensor, like.shape))


def _finite(tensor: Tensor) -> Tensor:
    """Returns the tensor; fails if it is a picture with infinity or NaN, or a negative count.

    Scalars may be infinite, as the loss is before the first evaluation.
    """
    if tensor.dtype.is_integer:
        good = tf.reduce_all(tensor >= 0)
    elif tensor.shape.rank == 0:
        good = ~tf.math.is_nan(tensor)
    else:
        good = tf.math.is_finite(tf.reduce_sum(tf.abs(tensor)))
    what = "a negative count" if tensor.dtype.is_integer else "infinite or NaN"
    return with_checks([check(good, f"state_bytes: numbers that no run makes, {what}{_UNCHANGED}")], tensor)
