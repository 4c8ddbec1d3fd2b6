"""The network that is trained: augmentation, VGG19 with batch normalisation, its tasks; and folding.

Classifiers tell which picture of the library a crop is from, and which folder. Both read the mean of relu5_4
over the pixels, so that the layers that pictures are painted with lie below those that fit the task the most.
`Contrast` has layers at several depths tell places apart, however a place is lit or blurred: that makes
features that stay while a picture moves by a pixel, and differ between places, as ImageNet's do.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from features import augmentation
from nst_tf.config import layers as vgg_layers
from nst_tf.network import vgg19

# The layer that the classifiers read, and the last one of the shipped features: the deepest of any preset.
_TOP = "relu5_4"
DEEPEST = "relu5_2"

# The layers with a `Contrast`: the last ones of the blocks, and content's.
_CONTRASTED = ("relu2_2", "relu3_4", "relu4_2", "relu5_2")

PREPROCESSING = "signed"

# The loss between two views: van den Oord et al. 2018 (arXiv:1807.03748), eq. 4, in both directions as in
# Chen et al. 2020 (arXiv:2002.05709), whose embedding size and temperature these are.
_EMBEDDING = 128
_TEMPERATURE = 0.1

# Pixels of a crop between two places: the stride of the deepest layers.
_PLACE = 16

# Added to a sum of squares, so that a place without features has a gradient.
_EPSILON = 1e-6


def build(
    window: int,
    classes: Mapping[str, int],
    *,
    contrast_weight: float = 0.0,
    filters: Mapping[str, int],
    precision: str = "float32",
    seed: int = 0,
) -> keras.Model:
    """Builds the network, untrained.

    Args:
        window: The side of the windows in pixels.
        classes: {classifier: how many classes it tells apart}.
        contrast_weight: Of the loss of each layer with a `Contrast`; 0 leaves them out.
        filters: Of each convolution.
        precision: Type of the arithmetic inside, "float32" or "mixed_bfloat16"; weights are float32.
        seed: Of the augmentation's noise; of the initial weights `keras.utils.set_random_seed` decides.

    Returns:
        A model from the inputs of a `dataset.Batch` to {classifier: logits [B, classes]}, float32.
    """
    inputs = _inputs(window)
    picture = augmentation.Augmentation(seed, name="augmentation")(inputs)
    picture = vgg19.PREPROCESSING[PREPROCESSING](picture)
    features = vgg19.connect(
        picture,
        [*_CONTRASTED, _TOP],
        filters,
        precision=precision,
        normalization=lambda conv: keras.layers.BatchNormalization(dtype=precision, name=_norm(conv)),
    )
    means = keras.layers.GlobalAveragePooling2D(dtype="float32", name="means")(features[_TOP])
    for layer in _CONTRASTED if contrast_weight else ():
        means = means + Contrast(layer, contrast_weight, name=f"{layer}_contrast")(features[layer])
    outputs = {
        name: keras.layers.Dense(count, dtype="float32", name=name)(means) for name, count in classes.items()
    }
    return keras.Model(inputs, outputs, name="training")


class Contrast(keras.layers.Layer):
    """Adds a loss to the model: the cross entropy of finding a place of a crop in another view of it.

    Needs no labels. The features of a batch's second half are second views of the first half's places.
    """

    def __init__(self, layer: str, weight: float, **options: Any) -> None:
        """Takes the name of the layer whose features are the input, "relu4_2", and the weight of its loss."""
        super().__init__(dtype="float32", **options)
        self._step = max(1, _PLACE // vgg_layers.stride(layer))
        self._weight = weight
        self._project = keras.layers.Dense(_EMBEDDING, dtype="float32")
        self._accuracy = keras.metrics.Mean(name=f"{layer}_accuracy")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the projection."""
        self._project.build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Adds the loss of features [B, h, w, C]; the second half of B are second views.

        Returns:
            Zeros, [B, 1], which connect this layer to the model's outputs.
        """
        ops = keras.ops
        first = self._step // 2
        places = self._project(ops.cast(inputs[:, first :: self._step, first :: self._step], "float32"))
        places = ops.reshape(places, (2, -1, _EMBEDDING))
        places = places / ops.sqrt(ops.sum(ops.square(places), axis=-1, keepdims=True) + _EPSILON)
        likeness = ops.matmul(places[0], ops.transpose(places[1])) / _TEMPERATURE
        own = ops.diagonal(likeness)
        self._accuracy.update_state(own >= ops.max(likeness, axis=1))
        both_ways = ops.logsumexp(likeness, axis=0) + ops.logsumexp(likeness, axis=1) - 2 * own
        self.add_loss(self._weight * ops.mean(both_ways) / 2)
        return ops.zeros((ops.shape(inputs)[0], 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns [B, 1]."""
        return input_shape[0], 1


def filters(width: float) -> dict[str, int]:
    """Returns {convolution: its number of filters, `width` times VGG19's}."""
    return {conv: round(width * shape[-1]) for conv, shape in vgg_layers.kernel_shapes([_TOP]).items()}


def fold(model: keras.Model, deepest: str = DEEPEST) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the convolutions with their batch normalisation folded in.

    y = gamma (K * x - mean) / sqrt(variance + epsilon) + beta is a convolution with kernel K gamma / sqrt(..)
    and bias beta - mean gamma / sqrt(..); at the border too, since it is x that is padded with zeros.

    Args:
        model: As `build` returned it.
        deepest: The last convolution, or its ReLU.

    Returns:
        {convolution: (kernel [3, 3, in, out], bias [out])}, float32.
    """
    folded = {}
    for conv in vgg_layers.kernel_shapes([deepest]):
        (kernel,) = (np.asarray(value, np.float64) for value in model.get_layer(conv).get_weights())
        norm = model.get_layer(_norm(conv))
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in norm.get_weights())
        factor = gamma / np.sqrt(variance + norm.epsilon)
        folded[conv] = ((kernel * factor).astype(np.float32), (beta - mean * factor).astype(np.float32))
    return folded


def _inputs(window: int) -> dict[str, Any]:
    """Returns the symbolic inputs; crops of any size."""
    shapes: dict[str, tuple[int | None, ...]] = {
        "rows": (None,),
        "columns": (None,),
        "blur": (),
        "colors": (4, 3),
        "noise": (),
    }
    inputs = {name: keras.Input(shape, name=name, dtype="float32") for name, shape in shapes.items()}
    return {"window": keras.Input((window, window, 3), name="window", dtype="uint8"), **inputs}


def _norm(conv: str) -> str:
    """Returns the name of the normalisation after a convolution."""
    return conv.replace("conv", "norm")
