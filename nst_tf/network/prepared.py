"""Convolutions whose kernels oneDNN reorders once, instead of in every step.

oneDNN needs kernels in an order of its own. TensorFlow (2.21) caches a reordered kernel only if the kernel is
a constant of the graph; VGG19's kernels as constants delay the start of a run by 6 s, since graph optimisers
copy them repeatedly. TensorFlow's internal oneDNN operation has an attribute that declares a kernel constant,
and this module creates that operation itself. Results are the same, bit for bit; gradients, computed with the
rotated kernel, differ by rounding.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from nst_tf import runtime, tensors
from nst_tf.tensors import Tensor

_Attr = attr_value_pb2.AttrValue

# Layers with fewer channels have small kernels and many pixels: TensorFlow's fusion of convolution, bias and
# ReLU, which excludes this operation, saves more there. 256: fastest steps at 64 to 256 pixels with AMX.
_LEAST_CHANNELS = 256


def convolve(features: Tensor, kernel: Tensor) -> Tensor:
    """Returns the convolution padded with zeros, [B, h, w, out], with a constant kernel.

    For graphs on a CPU, if `is_available`. All calls use the value that the kernel has at the first call.

    Args:
        features: [B, h, w, in], float32 or bfloat16.
        kernel: [3, 3, in, out], likewise.
    """
    ones = _Attr(list=_Attr.ListValue(i=[1, 1, 1, 1]))
    operation = tf.compat.v1.get_default_graph().create_op(
        "_MklNativeConv2D",
        [features, kernel],
        [features.dtype],
        name="convolution",
        attrs={
            "T": _Attr(type=features.dtype.as_datatype_enum),
            "strides": ones,
            "dilations": ones,
            "padding": _Attr(s=b"SAME"),
            "explicit_paddings": _Attr(list=_Attr.ListValue()),
            "data_format": _Attr(s=b"NHWC"),
            "use_cudnn_on_gpu": _Attr(b=False),
            "is_filter_const": _Attr(b=True),
            "_kernel": _Attr(s=b"MklNameChangeOp"),  # the label of oneDNN's implementations
        },
    )
    return operation.outputs[0]


@functools.cache
def is_available() -> bool:
    """Returns whether TensorFlow has the operation, which is undocumented, by trying it."""
    if not runtime.uses_onednn():
        return False
    features, kernel = (tf.random.stateless_uniform(shape, [0, 0]) for shape in ([1, 3, 5, 2], [3, 3, 2, 4]))
    try:
        found = tf.function(convolve, autograph=False)(features, kernel)
    except (AttributeError, TypeError, ValueError, tf.errors.OpError):  # it is missing or has changed
        return False
    return np.allclose(found, tf.nn.conv2d(features, kernel, 1, "SAME"), atol=1e-4)


class Conv2D(keras.layers.Conv2D):
    """Keras' 3x3 convolution, frozen, with `convolve` in graphs for layers with many channels.

    Its gradient by the features is the convolution with the rotated kernel, likewise by `convolve`.
    """

    _turned: Tensor = None

    def add_weight(self, *args: Any, **options: Any) -> Any:
        """Makes a variable that no tape watches of itself: TensorFlow has no gradient of `convolve`."""
        return super().add_weight(*args, **options | {"trainable": False})

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets kernel and bias, once."""
        super().set_weights(weights)
        kernel = weights[0]
        if self.padding == "same" and min(kernel.shape[2:]) >= _LEAST_CHANNELS:
            self._turned = tf.cast(kernel[::-1, ::-1].swapaxes(2, 3), self.compute_dtype)

    def convolution_op(self, inputs: Tensor, kernel: Any) -> Tensor:
        """Returns the convolution without its bias; called by Keras."""
        if self._turned is None or tf.executing_eagerly():
            return super().convolution_op(inputs, kernel)
        kernel, turned = tf.convert_to_tensor(kernel), self._turned

        @tensors.custom_gradient
        def convolution(features: Tensor) -> tuple[Tensor, Any]:
            def gradient(upstream: Tensor) -> Tensor:
                return tf.ensure_shape(convolve(upstream, turned), features.shape)

            return convolve(features, kernel), gradient

        return tf.ensure_shape(convolution(inputs), [*inputs.shape[:3], self.filters])
