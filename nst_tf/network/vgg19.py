"""The frozen VGG19 sub-model that exposes chosen layers by their paper names.

VGG19 is configuration E of Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
Image Recognition" (arXiv:1409.1556, table 1), without its dense layers. `conv4_2` is the convolution's
output before the ReLU, `relu4_2` after it (the output of Keras' layer `block4_conv2`).

Images are `[B, H, W, 3]` float32 sRGB in [0, 1], features `[B, h, w, C]` in the type of the chosen precision.
Every layer names its type and its data format, so that a user's `keras.json` and global dtype policy have no
effect. Uses Keras only, with any backend, and no TensorFlow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nst_tf.config import layers as vgg_layers
from nst_tf.config import settings

# Mean colour (blue, green, red) of ImageNet on the scale 0..255, which the Oxford weights expect to be
# subtracted: `keras.applications.vgg19.preprocess_input`, mode "caffe".
_CAFFE_MEAN_BGR_255 = (103.939, 116.779, 123.68)


def caffe255(image: Any) -> Any:
    """Returns `image` as the Oxford weights expect it: BGR, 0..255, ImageNet's mean subtracted."""
    mean = keras.ops.convert_to_tensor(_CAFFE_MEAN_BGR_255, dtype="float32")
    return keras.ops.flip(image, axis=-1) * 255.0 - mean


def signed(image: Any) -> Any:
    """Returns `image` as the project's own weights expect it: RGB, -1..1, so that padding is mid-grey."""
    return 2.0 * image - 1.0


# Preprocessing by name, a property of the weights.
PREPROCESSING: Mapping[str, Callable[[Any], Any]] = {"caffe255": caffe255, "signed": signed}

# The least sum of squares under a root: far below any feature's, far above float32's least number, 1e-38.
_SMALLEST_SQUARE = 1e-30


def _average_rescaled(size: int, **options: Any) -> Callable[[Any], Any]:
    """Returns average pooling times 2, about the ratio of maxima to averages of VGG19's features."""
    average = keras.layers.AveragePooling2D(size, **options)
    return lambda features: 2.0 * average(features)


def _l2(size: int, **options: Any) -> Callable[[Any], Any]:
    """Returns the L2 norm over the cell, torch's `LPPool2d(2, size)`, times 0.78.

    Its gradient is 0, not infinite, where the whole cell is 0, as is frequent after a ReLU.
    """
    average = keras.layers.AveragePooling2D(size, **options)

    def pool(features: Any) -> Any:
        squares = float(size**2) * average(keras.ops.square(features))
        return 0.78 * keras.ops.sqrt(keras.ops.maximum(squares, _SMALLEST_SQUARE))

    return pool


# Pooling between the blocks: max as trained; average for better gradient flow and smoother pictures (Gatys et
# al. 2015). The others are crowsonkb/style-transfer-pytorch's, with its factors that restore the scale of
# activations for which the weights were trained.
POOLING: Mapping[str, Callable[..., Callable[[Any], Any]]] = settings.POOLING.table(
    max=keras.layers.MaxPooling2D,
    average=keras.layers.AveragePooling2D,
    average_rescaled=_average_rescaled,
    l2=_l2,
)


def _replicate(features: Any) -> Any:
    # Symmetric padding by one pixel repeats the border.
    return keras.ops.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")


# Padding of the first convolution by name: (function that pads the preprocessed picture, Keras' padding).
# Zeros as trained; the repeated border, against edge artefacts, as in crowsonkb/style-transfer-pytorch.
PADDING: Mapping[str, tuple[Callable[[Any], Any], str]] = settings.PADDING.table(
    zeros=(lambda features: features, "same"),
    replicate=(_replicate, "valid"),
)


def build(
    layers: Sequence[str],
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    pooling: str = "max",
    padding: str = "zeros",
    precision: str = "float32",
    convolution: type[keras.layers.Conv2D] = keras.layers.Conv2D,
) -> keras.Model:
    """Builds the frozen sub-model up to the deepest of `layers`.

    Args:
        layers: Names from `config.layers.LAYERS`.
        arrays: {convolution: (kernel [3, 3, in, out], bias [out])}, with any number of filters.
        pooling: A name from `POOLING`.
        padding: Of the first convolution, a name from `PADDING`.
        precision: The type of the convolutions' arithmetic, "float32" or "bfloat16".
        convolution: The class of the convolutions.

    Returns:
        A model from a preprocessed picture [B, H, W, 3] to {layer: features [B, h, w, C]}.
    """
    inputs = keras.Input((None, None, 3), dtype="float32", name="preprocessed")
    filters = {conv: kernel.shape[-1] for conv, (kernel, _) in arrays.items()}
    outputs = connect(
        inputs,
        layers,
        filters,
        pooling=pooling,
        padding=padding,
        precision=precision,
        convolution=convolution,
    )
    model = keras.Model(inputs, outputs, name="vgg19")
    for layer in model.layers:
        if layer.name in arrays:
            layer.set_weights(list(arrays[layer.name]))
    model.trainable = False
    return model


def connect(
    inputs: Any,
    layers: Sequence[str],
    filters: Mapping[str, int],
    *,
    pooling: str = "max",
    padding: str = "zeros",
    precision: str = "float32",
    convolution: type[keras.layers.Conv2D] = keras.layers.Conv2D,
    normalization: Callable[[str], keras.layers.Layer] | None = None,
) -> dict[str, Any]:
    """Connects VGG19's layers to a Keras input, up to the deepest of `layers`.

    Args:
        inputs: A symbolic preprocessed picture [B, H, W, 3].
        layers: Names from `config.layers.LAYERS`.
        filters: The number of filters of each convolution.
        pooling: A name from `POOLING`.
        padding: Of the first convolution, a name from `PADDING`.
        precision: The type of the convolutions' arithmetic, or a Keras dtype policy.
        convolution: The class of the convolutions.
        normalization: For training: name of a convolution -> the layer that follows it. The convolution then
            has no bias, and "conv4_2" is the output of that layer, which is folded into the convolution
            later.

    Returns:
        {layer: symbolic features [B, h, w, C]}.
    """
    pad, first_padding = PADDING[padding]
    features, exposed = pad(inputs), {}
    for conv in vgg_layers.CONVOLUTIONS[: 1 + max(vgg_layers.depth(layer) for layer in layers)]:
        if conv.endswith("_1") and vgg_layers.block(conv) > 1:
            features = _pool(pooling, precision, vgg_layers.block(conv) - 1)(features)
        mode = first_padding if conv == vgg_layers.CONVOLUTIONS[0] else "same"
        # A convolution of 3x3 pixels; "same" pads with zeros. The ReLU is a layer of its own.
        features = convolution(
            filters[conv],
            3,
            padding=mode,
            data_format="channels_last",
            use_bias=normalization is None,
            dtype=precision,
            name=conv,
        )(features)
        if normalization is not None:
            features = normalization(conv)(features)
        exposed[conv] = features
        relu = conv.replace("conv", "relu")
        features = exposed[relu] = keras.layers.ReLU(dtype=precision, name=relu)(features)
    return {layer: exposed[layer] for layer in layers}


def _pool(pooling: str, precision: str, block: int) -> Callable[[Any], Any]:
    """Returns the 2x2 pooling after `block`; odd rows and columns at the end are dropped."""
    return POOLING[pooling](2, data_format="channels_last", dtype=precision, name=f"pool{block}")
