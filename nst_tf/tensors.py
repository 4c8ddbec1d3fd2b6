"""Small helpers for tensors and graphs."""

import functools
from typing import Any

import tensorflow as tf

Tensor = Any  # TensorFlow ships no type information

# Makes a `tf.function` that TensorFlow does not inline where it is called: called in several places, it is
# traced and optimised once. Its graph is also free of the cycles of a loop that calls it: oneDNN replaces
# operations in topological order, which a cycle does not have, so that in a loop it left out the gradients of
# max pooling.
noinline_function = functools.partial(
    tf.function, autograph=False, experimental_attributes={"_noinline": True}
)
