"""Structures of `tf.Variable`: NamedTuples, dicts and tuples whose leaves are variables.

Pictures and features, `[B, H, W, C]`, get variables that take any height and width, so that one graph serves
all scales.
"""

from typing import Any

import tensorflow as tf

from nst_tf.tensors import Tensor


class Variables:
    """A structure of variables, kept out of `tf.Module`'s tracking, which would rewrap tuples and dicts."""

    def __init__(self, structure: Any) -> None:
        """Makes a variable of every tensor in `structure`."""
        self.held = tf.nest.map_structure(variable, structure)

    def values(self) -> Any:
        """Returns the structure of their values."""
        return tf.nest.map_structure(lambda each: each.value(), self.held)

    def take(self) -> Any:
        """Returns the structure of their values and empties those of pictures, until they are assigned anew.

        What replaces a picture then has one copy of it in memory beside its own, and not the variable's too.
        """
        return tf.nest.map_structure(_taken, self.held)

    def assign(self, values: Any) -> None:
        """Assigns a structure of values."""
        tf.nest.map_structure(lambda each, value: each.assign(value), self.held, values)


def _taken(held: tf.Variable) -> Tensor:
    """Returns the variable's value; a picture's is no longer in the variable."""
    value = held.value()
    if held.shape.rank != 4:
        return value
    # 0, which TensorFlow must not find out: from a shape that is assigned it infers that of what was read.
    nothing = tf.minimum(tf.shape(value)[1], 0)
    with tf.control_dependencies([value]):
        emptied = held.assign(tf.zeros([held.shape[0], nothing, nothing, held.shape[3]], held.dtype))
    with tf.control_dependencies([emptied]):
        return tf.identity(value)


def variable(value: Tensor) -> tf.Variable:
    """Returns a variable for a tensor; of [B, H, W, C] any height and width will do."""
    shape = value.shape.as_list()
    if len(shape) == 4:
        shape[1:3] = [None, None]
    return tf.Variable(value, trainable=False, shape=tf.TensorShape(shape))
