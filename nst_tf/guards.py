"""Conditions inside a graph: what a server answers a request that it cannot use.

A condition that does not hold ends the request with INVALID_ARGUMENT and the message, and nothing else: no
Python is there to raise `InputError`.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nst_tf.tensors import Tensor


def require(condition: Tensor, *message: Any) -> tf.Operation:
    """Returns the operation that fails unless the condition holds.

    It does so only if something depends on it: see `after`.

    Args:
        condition: [] bool.
        *message: Texts and numbers, tensors or not, that make the line: what came, what is allowed.
    """
    parts = [_text(part) for part in message]
    return tf.debugging.Assert(condition, [tf.strings.join(parts)])


def after(checks: Sequence[tf.Operation], tensor: Tensor) -> Tensor:
    """Returns the tensor, which nothing can read before the checks have passed."""
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def _text(part: Any) -> Tensor:
    if isinstance(part, str):
        return tf.constant(part)
    tensor = tf.convert_to_tensor(part)
    return tensor if tensor.dtype == tf.string else tf.strings.as_string(tensor)
