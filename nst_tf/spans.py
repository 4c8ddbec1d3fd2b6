"""Inner products and combinations of large tensors, span by span: with next to no memory beside them.

Tensors of one call have one shape, and are looked at as vectors. A span's products are summed in float32,
spans in float64: a float32 sum over a picture of 4096 x 4096 pixels would be good to two digits or three.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Tensor = Any  # TensorFlow ships no type information.

# Numbers in a span: those of 20 pictures, 10 pairs of L-BFGS, have 10 MB in all, which caches hold.
_LENGTH = 2**17


def inner_products(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    """Returns the inner product of each of `rows` with each of `columns`, [n, k] float64."""
    return _inner_products(_flat(rows), _flat(columns))


def combination(factors: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Returns the sum of factors times tensors, shaped as one of them.

    Args:
        factors: [n] float32.
        tensors: n of them.
    """
    combined = tf.reshape(_combination(factors, _flat(tensors)), tf.shape(tensors[0]))
    return tf.ensure_shape(combined, tensors[0].shape)


# Functions of their own, since tracing them takes as long as all else that an update has: once in a process.
@tf.function(autograph=False)
def _inner_products(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    size = tf.size(columns[0])

    def step(index: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        parts = _span(rows, index, size), _span(columns, index, size)
        return index + 1, total + tf.cast(tf.matmul(*parts, transpose_b=True), tf.float64)

    return _loop(step, size, tf.zeros([len(rows), len(columns)], tf.float64))


@tf.function(autograph=False)
def _combination(factors: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    size = tf.size(tensors[0])
    parts = tf.TensorArray(tf.float32, size=_count(size), element_shape=[None], infer_shape=False)

    def step(index: Tensor, parts: Any) -> tuple[Tensor, Any]:
        return index + 1, parts.write(index, tf.linalg.matvec(_span(tensors, index, size), factors, True))

    return _loop(step, size, parts).concat()


def _flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Returns tensors as vectors whose length is for the graph to find out, so that one graph serves all."""
    return [tf.reshape(tensor, tf.constant([-1])) for tensor in tensors]


def _count(size: Tensor) -> Tensor:
    """Returns how many spans so many numbers have."""
    return -(-size // _LENGTH)


def _span(flat: Sequence[Tensor], index: Tensor, size: Tensor) -> Tensor:
    """Returns the numbers of a span, [n, length], by few operations: every run's graph has them."""
    begin = index * _LENGTH
    at, wanted = begin[tf.newaxis], tf.minimum(size - begin, _LENGTH)[tf.newaxis]
    return tf.stack([tf.slice(each, at, wanted) for each in flat])


def _loop(step: Callable[..., tuple[Tensor, Any]], size: Tensor, result: Any) -> Any:
    """Returns what (index, result) -> (index + 1, result) makes of a result, span by span."""
    count = _count(size)
    return tf.while_loop(
        lambda index, _: index < count, step, (tf.constant(0), result), parallel_iterations=1
    )[1]
