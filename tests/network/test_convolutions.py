"""Convolutions with prepared kernels against TensorFlow's own, and which way is chosen."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf import errors, runtime
from nst_tf.config import settings
from nst_tf.network import convolutions, prepared
from tests.support import gradients

needs_onednn = pytest.mark.skipif(not prepared.is_available(), reason="TensorFlow uses no oneDNN here")


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@needs_onednn
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_equals_tensorflows_bit_for_bit_whatever_the_size_that_comes_first(precision):
    """A kernel's order in memory depends on the size: what is kept for one is not to be taken for another."""
    kernel = tf.cast(_random(3, 3, 64, 96), precision)
    any_features = tf.TensorSpec([None, None, None, 64], precision)
    ours = tf.function(lambda features: prepared.convolve(features, kernel), [any_features], autograph=False)
    own = tf.function(
        lambda features: tf.nn.conv2d(features, kernel, 1, "SAME"), [any_features], autograph=False
    )
    for shape in [(1, 3, 4), (1, 50, 70), (1, 3, 4), (1, 1, 1), (2, 17, 5), (1, 50, 70)]:
        features = tf.cast(_random(*shape, 64, seed=1), precision)
        np.testing.assert_array_equal(ours(features), own(features))


@needs_onednn
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_layer_and_its_gradient_equal_keras(monkeypatch, padding):
    monkeypatch.setattr(prepared, "_LEAST_CHANNELS", 4)
    kernel, bias = _random(3, 3, 5, 4, seed=1), _random(4, seed=2)
    features, found, operations = tf.constant(_random(1, 9, 14, 5)), [], []
    for kind in (prepared.Conv2D, keras.layers.Conv2D):
        layer = kind(4, 3, padding=padding)
        layer.build([None, None, None, 5])
        layer.set_weights([kernel, bias])
        *values, graph = gradients.of_layer(layer, features)
        found.append(values)
        operations.append([operation.type for operation in graph.get_operations()])
        np.testing.assert_allclose(layer(features), found[0][0], atol=1e-5)  # no graph
    for ours, keras_own in zip(*found, strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=1e-5)
    assert operations[0].count("_MklNativeConv2D") == {"same": 2, "valid": 0}[padding]
    assert "_MklNativeConv2D" not in operations[1]


@needs_onednn
@pytest.mark.parametrize("tile", [0, 32])
def test_an_objective_has_the_same_loss_and_gradient(narrow_weights, monkeypatch, tile):
    monkeypatch.setattr(prepared, "_LEAST_CHANNELS", 4)
    (losses, gradient), (expected_losses, expected) = (
        gradients.of_objective(narrow_weights, tile, convolution=way) for way in ("prepared", "direct")
    )
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert np.linalg.norm(gradient - expected) < 1e-5 * np.linalg.norm(expected)


def test_what_tensorflow_does_not_have_is_not_available(monkeypatch):
    def missing(*_):
        raise ValueError("Op type not registered")

    prepared.is_available.cache_clear()
    monkeypatch.setattr(prepared, "convolve", missing)
    assert not prepared.is_available()
    prepared.is_available.cache_clear()
    monkeypatch.setattr(prepared, "convolve", lambda *_: tf.zeros([1, 3, 5, 4]))  # another
    assert not prepared.is_available()
    prepared.is_available.cache_clear()


def test_each_name_has_a_layer():
    assert tuple(convolutions.LAYERS) == settings.CONVOLUTIONS


@pytest.mark.parametrize(
    ("asked", "precision", "available", "expected"),
    [
        ("auto", "float32", True, "winograd"),
        ("auto", "bfloat16", True, "prepared"),
        ("auto", "bfloat16", False, "direct"),
        ("direct", "float32", True, "direct"),
        ("prepared", "float32", True, "prepared"),
        ("winograd", "float32", False, "winograd"),
    ],
)
def test_auto_takes_the_fastest(monkeypatch, asked, precision, available, expected):
    monkeypatch.setattr(runtime, "has_gpu", lambda: False)
    monkeypatch.setattr(prepared, "is_available", lambda: available)
    assert convolutions.resolve(asked, precision) == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_auto_leaves_convolutions_to_a_gpu(monkeypatch, precision):
    monkeypatch.setattr(runtime, "_gpu_compute_capabilities", lambda: [(8, 0)])
    assert convolutions.resolve("auto", precision) == "direct"
    with pytest.raises(errors.InputError, match="convolution: 'prepared'; allowed: on a processor"):
        convolutions.resolve("prepared", precision)


def test_prepared_is_refused_where_it_cannot_be_had(monkeypatch):
    monkeypatch.setattr(prepared, "is_available", lambda: False)
    with pytest.raises(errors.InputError, match="convolution: 'prepared'; allowed: on a processor"):
        convolutions.resolve("prepared", "bfloat16")


def test_tiles_in_bfloat16_are_refused():
    with pytest.raises(errors.InputError, match="convolution: 'winograd' with precision bfloat16"):
        convolutions.resolve("winograd", "bfloat16")
