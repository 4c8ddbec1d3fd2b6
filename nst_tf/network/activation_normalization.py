"""Rescales the network so that the mean activation of every filter is 1.

Gatys et al. 2015 (arXiv:1508.06576), methods, and Gatys et al. 2015, "Texture Synthesis Using Convolutional
Neural Networks" (arXiv:1505.07376), section 2. The rescaled network computes the same features up to a factor
for each channel, since ReLUs and all poolings here are positively homogeneous.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from nst_tf.config import layers as vgg_layers
from nst_tf.network import vgg19, weights
from nst_tf.tensors import Tensor

# A filter whose mean is below this share of its layer's is dead: it is active at few positions, which with a
# mean of 1 would outweigh whole layers.
_DEAD_SHARE = 1e-4


def normalized(
    loaded: weights.Weights,
    images: Sequence[Tensor],
    layers: Sequence[str],
    *,
    pooling: str = "max",
    padding: str = "zeros",
) -> weights.Weights:
    """Returns weights with which every filter's mean activation over the images and positions is 1.

    K'_l = K_l m_(l-1)[in] / m_l[out], b'_l = b_l / m_l[out], where m_l is a filter's mean after its ReLU in
    the original network and m_0 = 1. A dead filter is divided by the mean of its layer.

    Args:
        loaded: The original weights.
        images: Each [1, H, W, 3] in [0, 1]; all have the same weight, whatever their size.
        layers: The layers to expose; convolutions beyond the deepest are left out.
        pooling: As in `vgg19.build`.
        padding: As in `vgg19.build`.

    Returns:
        Weights for the layers up to the deepest, with the name and the hash of the original ones.
    """
    means = mean_activations(loaded, images, layers, pooling=pooling, padding=padding)
    arrays, before = {}, np.ones(3)
    for conv, own in means.items():
        kernel, bias = loaded.arrays[conv]
        factors = _divisors(own)
        scaled = kernel * before[:, np.newaxis] / factors
        arrays[conv] = (scaled.astype(np.float32), (bias / factors).astype(np.float32))
        before = factors
    return dataclasses.replace(loaded, arrays=arrays)


def mean_activations(
    loaded: weights.Weights,
    images: Sequence[Tensor],
    layers: Sequence[str],
    *,
    pooling: str = "max",
    padding: str = "zeros",
) -> Mapping[str, np.ndarray]:
    """Returns {convolution: mean activation of each filter after the ReLU, [out] float64}, from the input up.

    The arguments are those of `normalized`.
    """
    convolutions = list(vgg_layers.kernel_shapes(layers))
    relus = [conv.replace("conv", "relu") for conv in convolutions]
    needed = {conv: loaded.arrays[conv] for conv in convolutions}
    model = vgg19.build(relus, needed, pooling=pooling, padding=padding)
    sums = [np.zeros(kernel.shape[-1]) for kernel, _ in needed.values()]
    for image in images:
        features = model(vgg19.PREPROCESSING[loaded.preprocessing](image))
        for total, relu in zip(sums, relus, strict=True):
            total += np.mean(features[relu], axis=(0, 1, 2), dtype=np.float64)
    return {conv: total / len(images) for conv, total in zip(convolutions, sums, strict=True)}


def _divisors(means: np.ndarray) -> np.ndarray:
    """Returns the divisors of filters: their means, the layer's mean for dead ones, 1 if all are dead."""
    of_layer = float(np.mean(means)) or 1.0
    return np.where(means > _DEAD_SHARE * of_layer, means, of_layer)
