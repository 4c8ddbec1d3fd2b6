"""The frozen VGG19 sub-model that exposes chosen layers by their paper names.

VGG19 is configuration E of Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
Image Recognition" (arXiv:1409.1556, table 1), without its dense layers. `conv4_2` is the convolution's
output before the ReLU, `relu4_2` after it (what Keras calls `block4_conv2` gives out relu4_2).

Images come as `[B, H, W, 3]` float32 sRGB in [0, 1]; features go out as `[B, h, w, C]` in the type of
the chosen precision. Every layer names its type and its data format, so that a user's own `keras.json`
and global dtype policy change nothing. Uses Keras only, whatever its backend: no TensorFlow here.
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


# Preprocessing by name; which one to use is a property of the weights.
PREPROCESSING: Mapping[str, Callable[[Any], Any]] = {"caffe255": caffe255, "signed": signed}

# A sum of squares below this is none: far below any feature's, far above float32's smallest number, 1e-38.
_SMALLEST_SQUARE = 1e-30


def _average_rescaled(size: int, **options: Any) -> Callable[[Any], Any]:
    """Returns average pooling times 2, about what maxima are to averages of VGG19's features."""
    average = keras.layers.AveragePooling2D(size, **options)
    return lambda features: 2.0 * average(features)


def _l2(size: int, **options: Any) -> Callable[[Any], Any]:
    """Returns the L2 norm over the cell, torch's `LPPool2d(2, size)`, times 0.78.

    Its gradient is finite, 0, where the whole cell is 0, as most are after a ReLU.
    """
    average = keras.layers.AveragePooling2D(size, **options)

    def pool(features: Any) -> Any:
        squares = float(size**2) * average(keras.ops.square(features))
        return 0.78 * keras.ops.sqrt(keras.ops.maximum(squares, _SMALLEST_SQUARE))

    return pool


# Pooling between the blocks: max as trained; average is what Gatys et al. 2015 found to give a better
# gradient flow and smoother pictures. The others are crowsonkb/style-transfer-pytorch's, with the factors by
# which it brings activations back to the scale that the weights were trained for.
POOLING: Mapping[str, Callable[..., Callable[[Any], Any]]] = settings.POOLING.table(
    max=keras.layers.MaxPooling2D,
    average=keras.layers.AveragePooling2D,
    average_rescaled=_average_rescaled,
    l2=_l2,
)


def _replicate(features: Any) -> Any:
    # Mirrored with the border itself included: by one pixel that is replication.
    return keras.ops.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")


# What the first convolution sees beyond the picture, by name: (what is put around it, Keras' padding). Zeros,
# of the preprocessed picture, as trained; its own border, against edge artefacts, in
# crowsonkb/style-transfer-pytorch.
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
        arrays: {convolution: (kernel [3, 3, in, out], bias [out])}; decides how many filters a layer
            has, so that tests may use narrow networks.
        pooling: A name from `POOLING`.
        padding: Of the first convolution, a name from `PADDING`.
        precision: The type of the convolutions' arithmetic, "float32" or "bfloat16".
        convolution: The layer that computes them.

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
        filters: How many filters each convolution has.
        pooling: A name from `POOLING`.
        padding: Of the first convolution, a name from `PADDING`.
        precision: The type of the convolutions' arithmetic, or a Keras dtype policy.
        convolution: The layer that computes them.
        normalization: For training: makes the layer that follows a convolution of that name, which has no
            bias then; "conv4_2" is that layer's output, as it is the convolution's once it is folded in.

    Returns:
        {layer: symbolic features [B, h, w, C]}.
    """
    surround, first_padding = PADDING[padding]
    features, exposed = surround(inputs), {}
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
