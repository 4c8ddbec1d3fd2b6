"""A run's state as strings, which a client keeps between two requests, and back again.

Each tensor is a serialised `TensorProto`; the last string is a fingerprint of the others and of what they
belong to. The fingerprint tells damage and mistakes; it is no secret, so that everything that could hurt is
looked at as well: a text is parsed only if it has the length and the header of a tensor of the right shape,
since a `TensorProto` of a few bytes may ask for gigabytes.
"""

from collections.abc import Sequence

import tensorflow as tf

from nst_tf import guards
from nst_tf.tensors import Tensor

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
    counted = guards.require(
        tf.equal(came, count + 1), "state_bytes: ", came, f" strings; allowed: the {count + 1} that came back"
    )
    checked = guards.after([counted], state_bytes)
    texts = [checked[index] for index in range(count + 1)]
    same = guards.require(
        tf.equal(fingerprint([owner, *texts[:-1]]), texts[-1]),
        f"state_bytes: damaged, or of {_OTHERS}; allowed: what came back, unchanged",
    )
    return [guards.after([same], text) for text in texts[:-1]]


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
    check = guards.require(same, f"state_bytes: a part is damaged, or of {_OTHERS}")
    tensor = tf.io.parse_tensor(guards.after([check], text), like.dtype)
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
    return guards.after([guards.require(good, "state_bytes: numbers that no run makes")], tensor)
