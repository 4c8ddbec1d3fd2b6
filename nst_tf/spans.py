"""Inner products and combinations of large tensors, span by span: with next to no memory beside them.

Tensors of one call have one shape, and are looked at as vectors. A span's products are summed in float32,
spans in float64: a float32 sum over a picture of 4096 x 4096 pixels would be good to two digits or three.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Tensor = Any  # TensorFlow ships no type information.

# Numbers in a span: those of 20 pictures, 10 pairs of L-BFGS, have 10 MB in all, which caches hold.
_LENGTH = 2**17


def inner_products(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    """Returns the inner product of each of `rows` with each of `columns`, [n, k] float64."""
    size = tf.size(columns[0])

    def step(begin: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        products = tf.matmul(_span(rows, begin), _span(columns, begin), transpose_b=True)
        return begin + _LENGTH, total + tf.cast(products, tf.float64)

    zeros = tf.zeros([len(rows), len(columns)], tf.float64)
    return tf.while_loop(lambda begin, _: begin < size, step, (tf.constant(0), zeros), parallel_iterations=1)[
        1
    ]


def combination(factors: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Returns the sum of factors times tensors, shaped as one of them.

    Args:
        factors: [n] float32.
        tensors: n of them.
    """
    size, shape = tf.size(tensors[0]), tf.shape(tensors[0])
    parts = tf.TensorArray(tf.float32, size=-(-size // _LENGTH), element_shape=[None], infer_shape=False)

    def step(index: Tensor, parts: Any) -> tuple[Tensor, Any]:
        combined = tf.matmul(factors[tf.newaxis], _span(tensors, index * _LENGTH))
        return index + 1, parts.write(index, combined[0])

    _, parts = tf.while_loop(
        lambda index, _: index * _LENGTH < size, step, (tf.constant(0), parts), parallel_iterations=1
    )
    return tf.ensure_shape(tf.reshape(parts.concat(), shape), tensors[0].shape)


def _span(tensors: Sequence[Tensor], begin: Tensor) -> Tensor:
    """Returns the numbers from `begin` on, as many as a span has or are left, [n, length]."""
    return tf.stack([tf.reshape(tensor, [-1])[begin : begin + _LENGTH] for tensor in tensors])
