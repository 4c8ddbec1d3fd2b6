"""Small helpers for tensors and graphs."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record

Tensor = Any  # TensorFlow ships no type information

# Makes a `tf.function` that TensorFlow does not inline where it is called: called in several places, it is
# traced and optimised once. Its graph is also free of the cycles of a loop that calls it: oneDNN replaces
# operations in topological order, which a cycle does not have, so that in a loop it left out the gradients of
# max pooling.
noinline_function = functools.partial(
    tf.function, autograph=False, experimental_attributes={"_noinline": True}
)


def custom_gradient(
    function: Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]],
) -> Callable[[Tensor], Tensor]:
    """Returns a function of a tensor with a gradient of its own, for a `tf.GradientTape`.

    `tf.custom_gradient` registers the gradient of every call in a graph by a new name, and TensorFlow keeps
    it, with all that it refers to, as long as the process lives. Here the tape alone keeps it.

    Args:
        function: tensor -> (result, gradient by the result -> gradient by the tensor).
    """

    @functools.wraps(function)
    def recorded(tensor: Tensor) -> Tensor:
        with record.stop_recording():
            result, gradient = function(tensor)
        record.record_operation(function.__name__, [result], [tensor], lambda upstream: [gradient(upstream)])
        return result

    return recorded
