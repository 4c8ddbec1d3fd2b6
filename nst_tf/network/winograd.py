"""Winograd's convolutions, with a quarter of the multiplications.

Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), F(4 x 4, 3 x 3).
Each tile of 4 x 4 results is computed from a patch d of 6 x 6 inputs and a kernel g as
A^t [(G g G^t) * (B^t d B)] A, where * is elementwise; over channels these are 36 matrix products. Results
differ from direct convolutions by rounding: 1e-5 of the largest, in float32.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf import runtime, tensors
from nst_tf.tensors import Tensor

_TILE, _PATCH = 4, 6  # sides of a tile of results and of its patch of inputs

# Lavin and Gray, section 4.3, for the points 0, 1, -1, 2, -2 and infinity.
_B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_A_T = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])

# The transforms of rows and columns in one matrix: [36, 36], [36, 9], [16, 36].
_INPUT, _KERNEL, _OUTPUT = (np.kron(each, each).astype(np.float32) for each in (_B_T, _G, _A_T))

# With fewer channels the transforms take as long as the multiplications that they save.
_LEAST_CHANNELS = 128

# The least work for which tiles are faster, in multiplications of a direct convolution divided by 9: {whether
# matrix products are oneDNN's: work}. Measured on VGG19's convolutions at 128 to 512 pixels, on two cores
# with AVX2.
_LEAST_WORK = {False: 1e8, True: 2e7}

# From this number of channels oneDNN computes a convolution faster as a gradient with the rotated kernel:
# VGG19's up to 5 times with AVX2, up to 3 times with AVX512, but the first one, of three channels, slower.
_LEAST_TURNED_CHANNELS = 32


def convolve(features: Tensor, transformed: Tensor) -> Tensor:
    """Returns the convolution with stride 1, padded with zeros, by tiles.

    Args:
        features: [B, H, W, in] float32.
        transformed: [36, in, out], as `transform` returns it.

    Returns:
        [B, H, W, out].
    """
    batch, height, width = tf.unstack(tf.shape(features)[:3])
    channels, filters = tf.unstack(tf.shape(transformed)[1:])
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    patches = tf.matmul(_INPUT, _patches(features, rows, columns))
    products = tf.matmul(tf.reshape(patches, [_PATCH**2, -1, channels]), transformed)
    tiles = tf.matmul(_OUTPUT, tf.reshape(products, [_PATCH**2, -1]))
    tiles = tf.reshape(tiles, [_TILE, _TILE, batch, rows, columns, filters])
    whole = tf.transpose(tiles, [2, 3, 0, 4, 1, 5])
    whole = tf.reshape(whole, [batch, _TILE * rows, _TILE * columns, filters])
    return whole[:, :height, :width]


def _patches(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Returns the 6 x 6 inputs of each tile, [36, B * rows * columns * C], zeros beyond the border."""
    batch, height, width, channels = tf.unstack(tf.shape(features))
    below, right = (_TILE * count - size + 1 for count, size in ((rows, height), (columns, width)))
    padded = tf.pad(features, [[0, 0], [1, below], [1, right], [0, 0]])
    padded_height, padded_width = _TILE * rows + 2, _TILE * columns + 2
    within = tf.range(_PATCH)[:, tf.newaxis]
    row, column = (within + _TILE * tf.range(count) for count in (rows, columns))  # [6, rows], [6, columns]
    image = padded_height * tf.range(batch)
    index = padded_width * (row[:, tf.newaxis, tf.newaxis, :, tf.newaxis] + image[:, tf.newaxis, tf.newaxis])
    index += column[:, tf.newaxis, tf.newaxis, :]
    found = tf.gather(tf.reshape(padded, [-1, channels]), tf.reshape(index, [-1]))
    return tf.reshape(found, [_PATCH**2, -1])


def transform(kernel: Tensor) -> Tensor:
    """Returns the transform of a kernel [3, 3, in, out], as `convolve` takes it: [36, in, out]."""
    _, _, channels, filters = kernel.shape
    return tf.reshape(tf.matmul(_KERNEL, tf.reshape(kernel, [9, -1])), [_PATCH**2, channels, filters])


class Conv2D(keras.layers.Conv2D):
    """Keras' 3x3 convolution, frozen: by tiles where that is faster for the size of the features."""

    # The rotated kernel, with which the gradient is a convolution, and the transforms of both kernels.
    _turned: Tensor = None
    _tiles: tuple[Tensor, Tensor] | None = None

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets kernel and bias, once."""
        super().set_weights(weights)
        kernel = tf.constant(weights[0], tf.float32)
        channels = min(kernel.shape[2:])
        if self.padding == "same" and channels >= min(_LEAST_CHANNELS, _LEAST_TURNED_CHANNELS):
            self._turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            if channels >= _LEAST_CHANNELS:
                self._tiles = transform(kernel), transform(self._turned)

    def convolution_op(self, inputs: Tensor, kernel: Any) -> Tensor:
        """Returns the convolution without its bias; called by Keras."""
        if self._turned is None:
            return super().convolution_op(inputs, kernel)
        kernels = [tf.convert_to_tensor(kernel), self._turned]
        convolve_once = _by_definition_with_gradient
        if self._tiles is not None:
            kernels += self._tiles
            convolve_once = _by_work_with_gradient
        return tf.ensure_shape(convolve_once(inputs, *kernels), [*inputs.shape[:3], self.filters])


_ANY, _ANY_TILES = tf.TensorSpec([None] * 4), tf.TensorSpec([None] * 3)


@tensors.noinline_function(input_signature=[_ANY] * 3)
def _by_definition_with_gradient(features: Tensor, kernel: Tensor, turned: Tensor) -> Tensor:
    """Returns the direct convolution, whose gradient is a convolution with the rotated kernel."""

    @tf.custom_gradient
    def convolution(features: Tensor) -> tuple[Tensor, Any]:
        return _by_definition(features, kernel, turned), lambda upstream: _by_definition(
            upstream, turned, kernel
        )

    return convolution(features)


@tensors.noinline_function(input_signature=[_ANY] * 3 + [_ANY_TILES] * 2)
def _by_work_with_gradient(
    features: Tensor, kernel: Tensor, turned: Tensor, tiles: Tensor, turned_tiles: Tensor
) -> Tensor:
    """Returns the convolution by the faster algorithm, and so its gradient, with the rotated kernel."""

    @tf.custom_gradient
    def convolution(features: Tensor) -> tuple[Tensor, Any]:
        def gradient(upstream: Tensor) -> Tensor:
            return _by_work(upstream, turned, kernel, turned_tiles)

        return _by_work(features, kernel, turned, tiles), gradient

    return convolution(features)


def _by_definition(features: Tensor, kernel: Tensor, turned: Tensor) -> Tensor:
    """Returns the direct convolution; with oneDNN as the gradient of a convolution with `turned`."""
    if not runtime.uses_onednn():
        return tf.nn.conv2d(features, kernel, 1, "SAME")
    shape = tf.concat([tf.shape(features)[:3], tf.shape(kernel)[3:]], axis=0)
    return tf.nn.conv2d_transpose(features, turned, shape, 1, "SAME")


@tensors.noinline_function(input_signature=[tf.TensorSpec([None] * 4)] * 3 + [tf.TensorSpec([None] * 3)])
def _by_work(features: Tensor, kernel: Tensor, turned: Tensor, transformed: Tensor) -> Tensor:
    """Returns the convolution by the algorithm that is faster for the amount of work."""
    work = tf.cast(tf.size(features), tf.float32) * tf.cast(tf.shape(kernel)[3], tf.float32)
    return tf.cond(
        work >= _LEAST_WORK[runtime.uses_onednn()],
        lambda: convolve(features, transformed),
        lambda: _by_definition(features, kernel, turned),
    )
