"""The sub-model against Keras' own VGG19 and against single Keras operations."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf import config, vgg
from tests import conftest

LAYERS = ("relu1_1", "conv2_1", "relu3_4", "relu4_2", "conv4_2", "relu5_1")


@pytest.fixture
def image():
    return tf.constant(conftest.smooth_picture(1)[np.newaxis])


def _features(image, narrow_weights, **options):
    model = vgg.build(LAYERS, narrow_weights.arrays, **options)
    return model(vgg.caffe255(image))


def test_names_equal_those_the_config_allows():
    assert set(vgg.LAYERS) == set(config.LAYERS)
    assert list(vgg.POOLING) == list(config.POOLING)


def test_preprocessing_equals_keras_own(image):
    expected = keras.applications.vgg19.preprocess_input(255.0 * image.numpy())
    np.testing.assert_allclose(vgg.caffe255(image), expected, atol=1e-4)


def test_kernel_shapes_equal_keras_vgg19():
    model = keras.applications.VGG19(include_top=False, weights=None)
    convolutions = [layer for layer in model.layers if "conv" in layer.name]
    expected = [tuple(layer.kernel.shape) for layer in convolutions]
    assert list(vgg.kernel_shapes(["relu5_4"]).values()) == expected


def test_signed_preprocessing_puts_middle_grey_at_zero(image):
    np.testing.assert_allclose(vgg.signed(image), 2 * image.numpy() - 1, atol=1e-6)


def test_no_tensorflow_is_imported():
    """Training runs where only another backend is."""
    source = pathlib.Path(vgg.__file__).read_text(encoding="utf-8")
    assert not re.search("^ *(import|from) tensorflow", source, re.MULTILINE)


def test_only_what_is_needed_is_built(narrow_weights):
    assert list(vgg.kernel_shapes(["relu2_1", "conv1_2"])) == ["conv1_1", "conv1_2", "conv2_1"]
    model = vgg.build(["relu2_1"], narrow_weights.arrays)
    assert model.layers[-1].name == "relu2_1"


def test_features_equal_plain_operations(image, narrow_weights):
    features = _features(image, narrow_weights)
    plain = vgg.caffe255(image)
    for name in vgg.CONVOLUTIONS[:9]:
        kernel, bias = narrow_weights.arrays[name]
        if name in ("conv2_1", "conv3_1", "conv4_1"):
            plain = tf.nn.max_pool2d(plain, 2, 2, "VALID")
        before = tf.nn.conv2d(plain, kernel, 1, "SAME") + bias
        plain = tf.nn.relu(before)
        if name in features:
            np.testing.assert_allclose(features[name], before, rtol=1e-4, atol=1e-3)
        if (relu := name.replace("conv", "relu")) in features:
            np.testing.assert_allclose(features[relu], plain, rtol=1e-4, atol=1e-3)


def test_average_pooling_averages(image, narrow_weights):
    features = vgg.build(["relu1_2", "conv2_1"], narrow_weights.arrays, pooling="average")(image)
    pooled = tf.nn.avg_pool2d(features["relu1_2"], 2, 2, "VALID")
    kernel, bias = narrow_weights.arrays["conv2_1"]
    expected = tf.nn.conv2d(pooled, kernel, 1, "SAME") + bias
    np.testing.assert_allclose(features["conv2_1"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(48, 64), (49, 67), (16, 16)])
def test_stride_gives_the_size_of_features(narrow_weights, size):
    features = _features(tf.zeros([1, *size, 3]), narrow_weights)
    for layer, value in features.items():
        assert tuple(value.shape[1:3]) == tuple(side // vgg.stride(layer) for side in size)


def test_bfloat16_is_close_to_float32(image, narrow_weights):
    exact = _features(image, narrow_weights)["relu4_2"]
    rounded = _features(image, narrow_weights, precision="bfloat16")["relu4_2"]
    assert rounded.dtype == tf.bfloat16
    error = np.linalg.norm(tf.cast(rounded, tf.float32) - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.05


def test_nothing_is_trainable(narrow_weights):
    assert vgg.build(LAYERS, narrow_weights.arrays).trainable_variables == []


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
