"""Preconditioners of L-BFGS: linear changes of variables, in which large shapes change as fast as details.

Images are `[1, H, W, 3]` float32.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.config import settings
from nst_tf.tensors import Tensor

Filter = Callable[[Tensor], Tensor]


class Preconditioner(NamedTuple):
    """A symmetric linear map on images with its inverse."""

    apply: Filter  # T
    invert: Filter  # T^-1


def frequency_filter(image: Tensor, exponent: float) -> Tensor:
    """Returns `image` [B, H, W, C] filtered by f^exponent: symmetric, positive, of the same size.

    f counts in cycles per longer side of the picture; f = 0 is treated as f = 1.
    """
    return tf.ensure_shape(_frequency_filter(image, exponent), image.shape)


@tensors.noinline_function(reduce_retracing=True)
def _frequency_filter(image: Tensor, exponent: float) -> Tensor:
    """Returns the filtered image; a graph of its own for images of any size."""
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    rows, columns = _frequencies(height, height), _frequencies(width, width // 2 + 1)
    side = tf.cast(tf.maximum(height, width), tf.float32)
    frequency = side * tf.sqrt(tf.square(rows)[:, tf.newaxis] + tf.square(columns))
    gain = tf.cast(tf.pow(tf.maximum(frequency, 1.0), exponent), tf.complex64)
    spectrum = tf.signal.rfft2d(tf.transpose(image, [0, 3, 1, 2])) * gain
    filtered = tf.signal.irfft2d(spectrum, fft_length=[height, width])
    return tf.reshape(tf.transpose(filtered, [0, 2, 3, 1]), tf.shape(image))


def _frequencies(size: Tensor, count: Tensor) -> Tensor:
    """Returns the absolute frequency, in cycles per pixel, of the first `count` of `size` FFT terms."""
    index = tf.range(count)
    return tf.cast(tf.minimum(index, size - index), tf.float32) / tf.cast(size, tf.float32)


# Preconditioners by name. The filter amplifies low frequencies, for which the network's gradient is weak.
PRECONDITIONERS: Mapping[str, Preconditioner] = settings.PRECONDITIONERS.table(
    none=Preconditioner(tf.identity, tf.identity),
    inverse_sqrt_frequency=Preconditioner(
        functools.partial(frequency_filter, exponent=-0.5), functools.partial(frequency_filter, exponent=0.5)
    ),
)
