"""The rescaled network: means of 1, the same function but for its factors."""

import dataclasses

import numpy as np
import pytest

from nst_tf.config import layers as vgg_layers
from nst_tf.config import settings
from nst_tf.network import activation_normalization as normalization
from nst_tf.network import vgg19
from tests import conftest

LAYERS = ["relu2_1", "conv4_2"]
IMAGES = [conftest.smooth_picture(seed, *size)[np.newaxis] for seed, size in ((1, (48, 64)), (2, (40, 33)))]


def _features(loaded, layers, image, **options):
    arrays = {conv: loaded.arrays[conv] for conv in vgg_layers.kernel_shapes(layers)}
    model = vgg19.build(layers, arrays, **options)
    return {name: np.asarray(value, np.float64) for name, value in model(vgg19.caffe255(image)).items()}


@pytest.mark.parametrize("pooling", settings.POOLING)
@pytest.mark.parametrize("padding", settings.PADDING)
def test_every_live_filter_has_mean_1_over_images_and_positions(narrow_weights, pooling, padding):
    options = {"pooling": pooling, "padding": padding}
    before = normalization.mean_activations(narrow_weights, IMAGES, LAYERS, **options)
    scaled = normalization.normalized(narrow_weights, IMAGES, LAYERS, **options)
    for conv, means in before.items():
        relu = conv.replace("conv", "relu")
        each = [_features(scaled, [relu], image, **options)[relu].mean(axis=(0, 1, 2)) for image in IMAGES]
        live = means > 1e-4 * means.mean()
        assert live.any()
        np.testing.assert_allclose(np.mean(each, axis=0)[live], 1, rtol=1e-4)
    assert list(scaled.arrays) == list(vgg_layers.kernel_shapes(LAYERS))
    assert (scaled.name, scaled.sha256) == (narrow_weights.name, narrow_weights.sha256)


@pytest.mark.parametrize("pooling", settings.POOLING)
def test_every_layer_is_unchanged_but_for_its_own_factors(narrow_weights, pooling):
    """On a picture that was not measured; the deepest layer sees the factors of all those below cancel."""
    means = normalization.mean_activations(narrow_weights, IMAGES, LAYERS, pooling=pooling)
    scaled = normalization.normalized(narrow_weights, IMAGES, LAYERS, pooling=pooling)
    other = conftest.smooth_picture(5)[np.newaxis]
    before = _features(narrow_weights, LAYERS, other, pooling=pooling)
    after = _features(scaled, LAYERS, other, pooling=pooling)
    for layer in LAYERS:
        own = means[layer.replace("relu", "conv")]
        factors = np.where(own > 1e-4 * own.mean(), own, own.mean())
        error = np.linalg.norm(after[layer] * factors - before[layer]) / np.linalg.norm(before[layer])
        assert error < 1e-5


def test_a_dead_filter_takes_its_layers_factor_and_stays_dead(narrow_weights):
    kernel, bias = narrow_weights.arrays["conv1_2"]
    bias = bias.copy()
    bias[1] = -1e9
    arrays = narrow_weights.arrays | {"conv1_2": (kernel, bias)}
    dead = dataclasses.replace(narrow_weights, arrays=arrays)
    means = normalization.mean_activations(dead, IMAGES, LAYERS)
    assert means["conv1_2"][1] == 0
    scaled = normalization.normalized(dead, IMAGES, LAYERS)
    np.testing.assert_allclose(scaled.arrays["conv1_2"][1][1], -1e9 / means["conv1_2"].mean(), rtol=1e-5)
    assert all(np.isfinite(array).all() for pair in scaled.arrays.values() for array in pair)
    again = normalization.mean_activations(scaled, IMAGES, LAYERS)
    np.testing.assert_allclose(again["conv1_2"], [1, 0, 1, 1], rtol=1e-4)


def test_a_dead_network_stays_as_it_is(narrow_weights):
    arrays = {conv: (kernel, 0 * bias - 1e9) for conv, (kernel, bias) in narrow_weights.arrays.items()}
    dead = dataclasses.replace(narrow_weights, arrays=arrays)
    scaled = normalization.normalized(dead, IMAGES, ["relu1_2"])
    for conv, (kernel, bias) in scaled.arrays.items():
        np.testing.assert_array_equal(kernel, arrays[conv][0])
        np.testing.assert_array_equal(bias, arrays[conv][1])
