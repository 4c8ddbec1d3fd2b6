"""The sub-model against Keras' own VGG19 and against single Keras operations."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import layers as vgg_layers
from nst_tf.config import settings
from nst_tf.network import vgg19
from tests import conftest

LAYERS = ("relu1_1", "conv2_1", "relu3_4", "relu4_2", "conv4_2", "relu5_1")


@pytest.fixture
def image():
    return tf.constant(conftest.smooth_picture(1)[np.newaxis])


def _features(image, narrow_weights, **options):
    model = vgg19.build(LAYERS, narrow_weights.arrays, **options)
    return model(vgg19.caffe255(image))


def test_names_equal_those_the_config_allows():
    assert set(vgg_layers.LAYERS) == set(vgg_layers.LAYERS)
    assert list(vgg19.POOLING) == list(settings.POOLING)
    assert list(vgg19.PADDING) == list(settings.PADDING)


def test_preprocessing_equals_keras_own(image):
    expected = keras.applications.vgg19.preprocess_input(255.0 * image.numpy())
    np.testing.assert_allclose(vgg19.caffe255(image), expected, atol=1e-4)


def test_kernel_shapes_equal_keras_vgg19():
    model = keras.applications.VGG19(include_top=False, weights=None)
    convolutions = [layer for layer in model.layers if "conv" in layer.name]
    expected = [tuple(layer.kernel.shape) for layer in convolutions]
    assert list(vgg_layers.kernel_shapes(["relu5_4"]).values()) == expected


def test_signed_preprocessing_puts_middle_grey_at_zero(image):
    np.testing.assert_allclose(vgg19.signed(image), 2 * image.numpy() - 1, atol=1e-6)


def test_no_tensorflow_is_imported():
    """Training runs where only another backend is."""
    source = pathlib.Path(vgg19.__file__).read_text(encoding="utf-8")
    assert not re.search("^ *(import|from) tensorflow", source, re.MULTILINE)


def test_only_what_is_needed_is_built(narrow_weights):
    assert list(vgg_layers.kernel_shapes(["relu2_1", "conv1_2"])) == ["conv1_1", "conv1_2", "conv2_1"]
    model = vgg19.build(["relu2_1"], narrow_weights.arrays)
    assert model.layers[-1].name == "relu2_1"


def test_features_equal_plain_operations(image, narrow_weights):
    features = _features(image, narrow_weights)
    plain = vgg19.caffe255(image)
    for name in vgg_layers.CONVOLUTIONS[:9]:
        kernel, bias = narrow_weights.arrays[name]
        if name in ("conv2_1", "conv3_1", "conv4_1"):
            plain = tf.nn.max_pool2d(plain, 2, 2, "VALID")
        before = tf.nn.conv2d(plain, kernel, 1, "SAME") + bias
        plain = tf.nn.relu(before)
        if name in features:
            np.testing.assert_allclose(features[name], before, rtol=1e-4, atol=1e-3)
        if (relu := name.replace("conv", "relu")) in features:
            np.testing.assert_allclose(features[relu], plain, rtol=1e-4, atol=1e-3)


def _cells(features):
    """Returns the 2x2 cells of [1, h, w, C] as [1, h / 2, w / 2, 4, C]; an odd row or column is dropped."""
    parts = [features[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    height, width = parts[3].shape[1:3]
    return np.stack([part[:, :height, :width] for part in parts], axis=3)


@pytest.mark.parametrize(
    ("pooling", "cell"),
    [
        ("max", lambda cells: cells.max(axis=3)),
        ("average", lambda cells: cells.mean(axis=3)),
        ("average_rescaled", lambda cells: 2 * cells.mean(axis=3)),
        ("l2", lambda cells: 0.78 * np.sqrt((cells**2).sum(axis=3))),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pooling_equals_its_formula(narrow_weights, pooling, cell, precision):
    picture = conftest.smooth_picture(1, 49, 66)[np.newaxis]
    model = vgg19.build(["relu1_2", "conv2_1"], narrow_weights.arrays, pooling=pooling, precision=precision)
    features = {name: tf.cast(value, tf.float32).numpy() for name, value in model(picture).items()}
    kernel, bias = narrow_weights.arrays["conv2_1"]
    expected = tf.nn.conv2d(cell(_cells(features["relu1_2"])), kernel, 1, "SAME") + bias
    error = np.linalg.norm(features["conv2_1"] - expected) / np.linalg.norm(expected)
    assert error < (1e-5 if precision == "float32" else 0.02)


@pytest.mark.parametrize("pooling", settings.POOLING)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dead_features_have_a_finite_gradient(narrow_weights, pooling, precision):
    """After a ReLU whole cells are 0; in a dark picture of the narrow network without biases all are."""
    arrays = {name: (kernel, 0 * bias) for name, (kernel, bias) in narrow_weights.arrays.items()}
    model = vgg19.build(["relu3_1"], arrays, pooling=pooling, precision=precision)
    half_dark = np.where(np.arange(32)[:, np.newaxis, np.newaxis] < 16, 0, conftest.smooth_picture(1, 32, 32))
    for picture in (tf.zeros([1, 32, 32, 3]), tf.constant(half_dark[np.newaxis], tf.float32)):
        with tf.GradientTape() as tape:
            tape.watch(picture)
            value = tf.reduce_sum(tf.cast(model(picture)["relu3_1"], tf.float32))
        assert np.isfinite(tape.gradient(value, picture)).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_replicate_padding_goes_on_with_the_border(image, narrow_weights, precision):
    found = _features(image, narrow_weights, padding="replicate", precision=precision)
    plain = np.pad(vgg19.caffe255(image), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    kernel, bias = narrow_weights.arrays["conv1_1"]
    plain = tf.nn.relu(tf.nn.conv2d(plain, kernel, 1, "VALID") + bias)
    error = np.linalg.norm(tf.cast(found["relu1_1"], tf.float32) - plain) / np.linalg.norm(plain)
    assert error < (1e-6 if precision == "float32" else 0.01)
    # All other convolutions pad with zeros, as ever.
    kernel, bias = narrow_weights.arrays["conv1_2"]
    plain = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(plain, kernel, 1, "SAME") + bias), 2, 2, "VALID")
    kernel, bias = narrow_weights.arrays["conv2_1"]
    plain = tf.nn.conv2d(plain, kernel, 1, "SAME") + bias
    error = np.linalg.norm(tf.cast(found["conv2_1"], tf.float32) - plain) / np.linalg.norm(plain)
    assert error < (1e-6 if precision == "float32" else 0.02)


@pytest.mark.parametrize("size", [(48, 64), (49, 67), (16, 16)])
def test_stride_gives_the_size_of_features(narrow_weights, size):
    features = _features(tf.zeros([1, *size, 3]), narrow_weights)
    for layer, value in features.items():
        assert tuple(value.shape[1:3]) == tuple(side // vgg_layers.stride(layer) for side in size)


def test_bfloat16_is_close_to_float32(image, narrow_weights):
    exact = _features(image, narrow_weights)["relu4_2"]
    rounded = _features(image, narrow_weights, precision="bfloat16")["relu4_2"]
    assert rounded.dtype == tf.bfloat16
    error = np.linalg.norm(tf.cast(rounded, tf.float32) - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.05


def test_nothing_is_trainable(narrow_weights):
    assert vgg19.build(LAYERS, narrow_weights.arrays).trainable_variables == []


def test_the_users_own_keras_settings_change_nothing(image, narrow_weights):
    expected = _features(image, narrow_weights)
    policy, layout, floatx = (
        keras.config.dtype_policy(),
        keras.config.image_data_format(),
        keras.config.floatx(),
    )
    try:
        keras.config.set_dtype_policy("mixed_float16")
        keras.config.set_image_data_format("channels_first")
        keras.config.set_floatx("float16")
        features = _features(image, narrow_weights)
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(layout)
        keras.config.set_floatx(floatx)
    for layer, value in expected.items():
        assert features[layer].dtype == tf.float32
        np.testing.assert_array_equal(features[layer], value)
