"""Winograd's convolutions against those by the definition."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from nst_tf import runtime
from nst_tf.network import winograd
from tests.support import gradients


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _by_definition(features, kernel):
    return tf.nn.conv2d(features.astype(np.float64), kernel.astype(np.float64), 1, "SAME")


def _work_from(monkeypatch, least):
    """Has work from `least` on done by tiles."""
    monkeypatch.setattr(winograd, "_LEAST_WORK", {False: least, True: least})
    _trace_anew(monkeypatch)


def _trace_anew(monkeypatch):
    """Replaces the functions that are traced once in a process."""
    for name in ("_by_work", "_by_definition_with_gradient", "_by_work_with_gradient"):
        once = getattr(winograd, name)
        fresh = tf.function(once.python_function, once.input_signature, autograph=False)
        monkeypatch.setattr(winograd, name, fresh)


@pytest.fixture
def everywhere(monkeypatch):
    monkeypatch.setattr(winograd, "_LEAST_CHANNELS", 1)
    _work_from(monkeypatch, 0)


# Whole tiles; a rest in both directions; less than a tile.
@pytest.mark.parametrize("shape", [(1, 8, 12, 5), (2, 9, 7, 5), (3, 2, 1, 5)])
def test_equals_the_definition(shape):
    features, kernel = _random(*shape), _random(3, 3, 5, 4, seed=1)
    convolve = tf.function(
        winograd.convolve, [tf.TensorSpec([None, None, None, 5]), tf.TensorSpec([36, 5, 4])], autograph=False
    )
    found = convolve(features, winograd.transform(kernel))
    np.testing.assert_allclose(found, _by_definition(features, kernel), atol=1e-4)


def _layers(channels=5, filters=4):
    kernel, bias = _random(3, 3, channels, filters, seed=1), _random(filters, seed=2)
    for kind in (winograd.Conv2D, keras.layers.Conv2D):
        layer = kind(filters, 3, padding="same")
        layer.build([None, None, None, channels])
        layer.set_weights([kernel, bias])
        yield layer


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(("onednn", "least"), [(False, 0), (True, 0), (True, 1e9)])
def test_the_layer_and_its_gradient_equal_keras(monkeypatch, onednn, least):
    monkeypatch.setattr(runtime, "uses_onednn", lambda: onednn)
    _work_from(monkeypatch, least)
    features = tf.constant(_random(1, 9, 14, 5))
    found = [gradients.of_layer(layer, features)[:2] for layer in _layers()]
    for ours, keras_own in zip(*found, strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=2e-4)


def test_small_work_is_done_by_the_definition(monkeypatch):
    """Bit for bit, which tiles are not."""
    monkeypatch.setattr(winograd, "_LEAST_CHANNELS", 1)
    monkeypatch.setattr(runtime, "uses_onednn", lambda: False)
    _trace_anew(monkeypatch)
    features = tf.constant(_random(1, 9, 14, 5))
    ours, keras_own = (layer(features) for layer in _layers())
    np.testing.assert_array_equal(ours, keras_own)
    _work_from(monkeypatch, 9 * 14 * 5 * 4)
    ours, keras_own = (layer(features).numpy() for layer in _layers())
    assert (ours != keras_own).any()


def test_few_channels_are_left_to_onednn_the_other_way_round(monkeypatch):
    """As the gradient of a convolution by the turned kernel; a picture's three channels as Keras does."""
    monkeypatch.setattr(runtime, "uses_onednn", lambda: True)
    _trace_anew(monkeypatch)
    features = tf.constant(_random(1, 9, 14, 40))
    ours, keras_own = _layers(40, 33)
    operations = winograd._by_definition_with_gradient.get_concrete_function().graph.get_operations()
    assert "Conv2DBackpropInput" in [operation.type for operation in operations]
    np.testing.assert_allclose(ours(features), keras_own(features), atol=1e-3)
    picture = tf.constant(_random(1, 9, 14, 3))
    ours, keras_own = (layer(picture) for layer in _layers(3, 64))
    np.testing.assert_array_equal(ours, keras_own)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.slow
@pytest.mark.parametrize("tile", [0, 32])
def test_an_objective_has_the_same_loss_and_gradient(narrow_weights, tile):
    (losses, gradient), (expected_losses, expected) = (
        gradients.of_objective(narrow_weights, tile, convolution=way, pooling="average")
        for way in ("winograd", "direct")
    )
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    assert np.linalg.norm(gradient - expected) < 1e-3 * np.linalg.norm(expected)
    assert (gradient != expected).any()


def test_a_gradient_is_registered_once_however_many_layers_are_traced():
    """TensorFlow's registry keeps what `tf.custom_gradient` registers for ever, and with it the kernels."""
    counts = []
    for _ in range(3):
        for ours, _ in [_layers(40, 33), _layers(140, 130)]:
            given = tf.constant(_random(1, 9, 14, ours.kernel.shape[2]))
            gradients.of_layer(ours, given)
        counts.append(len(ops.gradient_registry.list()))
    assert counts[1] == counts[2]
