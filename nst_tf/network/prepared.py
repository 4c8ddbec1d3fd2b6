"""Convolutions whose kernels oneDNN lays out once, instead of in every step.

oneDNN wants a kernel in an order of its own. TensorFlow (2.21) keeps it so between steps only where the
kernel is a constant of the graph, and VGG19's as constants make a run start 6 s later, since the graph's
optimisers copy them again and again. The operation that TensorFlow itself puts in the place of a convolution
takes the same promise, that the kernel stays, as an attribute; it is made here with that. Results are the
same, bit for bit; gradients, made by the kernel turned round, differ by rounding.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.eager import record

from nst_tf import runtime
from nst_tf.tensors import Tensor

_Attr = attr_value_pb2.AttrValue

# Fewer channels have kernels that are laid out in no time, and more pixels: there TensorFlow's fusion of the
# convolution with bias and ReLU, which this operation is left out of, is worth more. A step of tf_tutorial in
# bfloat16 at 64, 128 and 256 pixels took 27, 42 and 88 ms without, 17, 30 and 86 from 256 channels on, 16, 31
# and 90 from 128 on (two cores with AMX-BF16).
_LEAST_CHANNELS = 256


def convolve(features: Tensor, kernel: Tensor) -> Tensor:
    """Returns the convolution with padding by zeros, [B, h, w, out], of a kernel that stays the same.

    For graphs on a processor, where `is_available`. What the kernel is at the first call counts for all.

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
            "_kernel": _Attr(s=b"MklNameChangeOp"),  # by which oneDNN's implementations are found
        },
    )
    return operation.outputs[0]


@functools.cache
def is_available() -> bool:
    """Returns whether TensorFlow has the operation as it is used here, which nothing documents: tries it."""
    if not runtime.uses_onednn():
        return False
    features, kernel = (tf.random.stateless_uniform(shape, [0, 0]) for shape in ([1, 3, 5, 2], [3, 3, 2, 4]))
    try:
        found = tf.function(convolve, autograph=False)(features, kernel)
    except (AttributeError, TypeError, ValueError, tf.errors.OpError):  # it is not there, or is another
        return False
    return np.allclose(found, tf.nn.conv2d(features, kernel, 1, "SAME"), atol=1e-4)


class Conv2D(keras.layers.Conv2D):
    """Keras' 3x3 convolution, frozen: one whose kernel is laid out once where that takes long, in graphs.

    So is its gradient by the features, the convolution by the kernel turned round.
    """

    _turned: Tensor = None

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets kernel and bias for good."""
        super().set_weights(weights)
        kernel = weights[0]
        if self.padding == "same" and min(kernel.shape[2:]) >= _LEAST_CHANNELS:
            self._turned = tf.cast(kernel[::-1, ::-1].swapaxes(2, 3), self.compute_dtype)

    def convolution_op(self, inputs: Tensor, kernel: Any) -> Tensor:
        """Returns the convolution without its bias; called by Keras."""
        if self._turned is None or tf.executing_eagerly():
            return super().convolution_op(inputs, kernel)
        kernel, turned = tf.convert_to_tensor(kernel), self._turned

        def gradient(upstream: Tensor) -> list[Tensor]:
            return [tf.ensure_shape(convolve(upstream, turned), inputs.shape)]

        # `tf.custom_gradient` would keep the gradient of each trace, and so the kernels, for ever.
        with record.stop_recording():
            result = tf.ensure_shape(convolve(inputs, kernel), [*inputs.shape[:3], self.filters])
        record.record_operation("PreparedConvolution", [result], [inputs], gradient)
        return result
