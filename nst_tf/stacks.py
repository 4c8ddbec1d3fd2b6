"""Pictures in one tensor, a stack [n, H, W, 3]: replaced and compared with next to no memory beside them.

A stack is float32, or bfloat16 to take half the memory; sums over one are not.
"""

from collections.abc import Sequence

import tensorflow as tf

from nst_tf import tensors
from nst_tf.tensors import Tensor

# Numbers of a picture that are looked at in one go, once there are more than so many: those of 20 pictures
# have 10 MB, which caches hold. To look at fewer at once takes copies, three times as long for 200 pictures
# of 256 pixels.
_SPAN, _WHOLE = 2**17, 2**20


def replace(stack: Tensor, row: Tensor, picture: Tensor) -> Tensor:
    """Returns the stack with `picture` [1, H, W, 3] in a row.

    TensorFlow writes it into the stack itself where nothing else will read that, and into a copy elsewhere.
    `tf.tensor_scatter_nd_update` promises the same, but on a processor (2.21) copies always.
    """
    flat = tf.raw_ops.TensorStridedSliceUpdate(
        input=_flat(stack), begin=[row], end=[row + 1], strides=[1], value=_flat(picture)
    )
    return tf.ensure_shape(tf.reshape(flat, tf.shape(stack)), stack.shape)


def inner_products(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Returns the inner product of each picture with each.

    Args:
        left: Stacks that have n pictures in all.
        right: Stacks that have k.

    Returns:
        [n, k] float64.
    """
    return _inner_products([_flat(each) for each in left], [_flat(each) for each in right])


def combination(factors: Tensor, stack: Tensor) -> Tensor:
    """Returns the sum of factors [n] times a stack's pictures, [1, H, W, 3] float32."""
    if stack.dtype == tf.float32:
        return tf.einsum("n,nhwc->hwc", factors, stack)[tf.newaxis]  # a product of matrices copies first

    def step(row: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        return row + 1, total + factors[row] * tf.cast(stack[row], tf.float32)

    # One after the other, or as many pictures would be there in float32 as the stack has.
    start = tf.constant(0), tf.zeros(tf.shape(stack)[1:])
    _, total = tf.while_loop(lambda row, _: row < tf.shape(stack)[0], step, start, parallel_iterations=1)
    return tf.ensure_shape(total, stack.shape[1:])[tf.newaxis]


@tensors.noinline_function(reduce_retracing=True)
def _inner_products(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Sums a span in float32 and spans in float64.

    A float32 sum over the 25 million numbers of a picture at 4096 pixels came out 1.1 % too small, over a
    million 1e-6 to 7e-6.
    """
    size = tf.shape(left[0])[1]
    span = tf.where(size > _WHOLE, _SPAN, size)
    count, width = (tf.add_n([tf.shape(each)[0] for each in side]) for side in (left, right))

    def step(begin: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        end = tf.minimum(begin + span, size)
        parts = [
            tf.concat([tf.cast(each[:, begin:end], tf.float32) for each in side], axis=0)
            for side in (left, right)
        ]
        return end, total + tf.cast(tf.matmul(*parts, transpose_b=True), tf.float64)

    start = tf.constant(0), tf.zeros([count, width], tf.float64)
    _, total = tf.while_loop(lambda begin, _: begin < size, step, start, parallel_iterations=1)
    return total


def _flat(stack: Tensor) -> Tensor:
    return tf.reshape(stack, [tf.shape(stack)[0], -1])
