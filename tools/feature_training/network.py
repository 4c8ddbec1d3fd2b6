"""The network that is trained: augmentation, VGG19 with batch normalisation, what it is asked; and folding.

Classifiers tell which picture of the library a crop is from, and which folder. Both read the mean of relu5_4
over the pixels, so that the layers that pictures are painted with lie below those that are bent to the task
the most. Contrast asks layers all the way up to tell places apart, however a place is lit or blurred: that
makes features that stay while a picture moves by a pixel, and differ between places, as ImageNet's do.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from feature_training import augmentation, contrast
from nst_tf.config import layers as vgg_layers
from nst_tf.network import vgg19

# What the classifiers read, and how deep the shipped features go: the deepest layer of any preset.
_TOP = "relu5_4"
DEEPEST = "relu5_2"

# What contrast reads: the last layers of the blocks, and what content is read from.
_CONTRASTED = ("relu2_2", "relu3_4", "relu4_2", "relu5_2")

PREPROCESSING = "signed"


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
        contrast_weight: Of the loss of each layer that has to tell places apart; 0 leaves it out.
        filters: Of each convolution.
        precision: Type of the arithmetic inside, "float32" or "mixed_bfloat16"; weights are float32.
        seed: Of the augmentation's noise; of the initial weights `keras.utils.set_random_seed` decides.

    Returns:
        A model from what `crops.Crops` gives to {classifier: logits [B, classes]}, float32.
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
        means = means + contrast.Contrast(layer, contrast_weight, name=f"{layer}_contrast")(features[layer])
    outputs = {
        name: keras.layers.Dense(count, dtype="float32", name=name)(means) for name, count in classes.items()
    }
    return keras.Model(inputs, outputs, name="training")


def filters(width: float) -> dict[str, int]:
    """Returns how many filters convolutions have that are so many times as wide as VGG19's."""
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
