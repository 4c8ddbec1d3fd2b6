"""Statistics and losses against NumPy versions of a few lines."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import settings
from nst_tf.losses import terms

generator = np.random.default_rng(3)
FEATURES = generator.normal(0, 30, (1, 5, 6, 4)).astype(np.float32)
TARGET = generator.normal(0, 30, (1, 5, 6, 4)).astype(np.float32)
N, M = 4, 30
PIXELS = 16.0 * M  # of the image, as if the layer had a stride of 4


def _gram(features):
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    return flat.T @ flat


def test_tables_equal_the_names_the_config_allows():
    assert list(terms.CONTENT_NORMALIZATION) == list(settings.CONTENT_NORMALIZATION)
    assert list(terms.STYLE_NORMALIZATION) == list(settings.STYLE_NORMALIZATION)
    assert list(terms.TOTAL_VARIATION) == list(settings.TOTAL_VARIATION)


def test_gram_matrix_is_the_sum_of_products():
    np.testing.assert_allclose(terms.gram_sums(FEATURES)[0], _gram(FEATURES), rtol=1e-5, atol=1e-2)


def test_gram_matrices_add_over_tiles():
    whole = terms.gram_sums(FEATURES)
    tiles = terms.gram_sums(FEATURES[:, :2]) + terms.gram_sums(FEATURES[:, 2:])
    np.testing.assert_allclose(whole, tiles, rtol=1e-5, atol=1e-2)


def test_guided_gram_matrix_weighs_pixels_by_region():
    guide = generator.uniform(0, 1, (5, 6, 2)).astype(np.float32)
    sums = terms.gram_sums(tf.constant(FEATURES), tf.constant(guide))
    flat = FEATURES.reshape(-1, N)
    for region in range(2):
        expected = flat.T @ (flat * guide[..., region].reshape(-1, 1))
        np.testing.assert_allclose(sums[region], expected, rtol=1e-4, atol=0.1)


def test_a_full_guide_equals_none():
    full = terms.gram_sums(tf.constant(FEATURES), tf.ones((5, 6, 1)))
    np.testing.assert_array_equal(full, terms.gram_sums(tf.constant(FEATURES)))


def test_gram_gradient_equals_automatic_differentiation():
    upstream = generator.normal(0, 1, (1, N, N)).astype(np.float32)
    features = tf.Variable(FEATURES)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(terms.gram_sums(features.value()) * upstream)
    flat = FEATURES.reshape(-1, N)
    expected = (flat @ (upstream[0] + upstream[0].T)).reshape(FEATURES.shape)
    np.testing.assert_allclose(tape.gradient(value, features), expected, rtol=1e-4, atol=1e-2)


def test_bfloat16_features_are_summed_in_float32():
    # One large and many small products: a bfloat16 sum would lose every small one.
    features = np.full((1, 1, 4097, 1), 1.0, np.float32)
    features[0, 0, 0] = 64.0
    sums = terms.gram_sums(tf.cast(features, tf.bfloat16))
    assert sums.dtype == tf.float32
    assert float(sums[0, 0, 0]) == 64.0**2 + 4096


def test_content_error_is_the_sum_of_squares():
    expected = np.sum((FEATURES.astype(np.float64) - TARGET) ** 2)
    np.testing.assert_allclose(terms.content_error(FEATURES, TARGET), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", np.mean((FEATURES.astype(np.float64) - TARGET) ** 2)),
        ("sum", np.sum((FEATURES.astype(np.float64) - TARGET) ** 2)),
        ("half_sum", 0.5 * np.sum((FEATURES.astype(np.float64) - TARGET) ** 2)),
        ("quarter_mean", np.sum((FEATURES.astype(np.float64) - TARGET) ** 2) / (4 * N * M)),
        ("half_root", np.sum((FEATURES.astype(np.float64) - TARGET) ** 2) / (2 * N**0.5 * M**0.5)),
    ],
)
def test_content_normalization(name, expected):
    sizes = {"relu4_2": terms.LayerSize(float(N), tf.constant(float(M)), tf.constant(PIXELS))}
    error = {"relu4_2": terms.content_error(FEATURES, TARGET)}
    np.testing.assert_allclose(terms.content_loss(error, sizes, name), expected, rtol=1e-5)


def _grams(moments, kept, factor):
    """Compares Gram means, as the statistic "gram" does."""
    return factor * tf.reduce_sum(tf.square(moments - kept["gram"]), axis=[-2, -1])


def _style_loss(name, blend=(1.0,), targets=(TARGET,), weight=1.0):
    sizes = {"relu1_1": terms.LayerSize(float(N), tf.constant(float(M)), tf.constant(PIXELS))}
    means = tf.stack([terms.gram_sums(target) / M for target in targets])
    styles = terms.StyleTargets({"relu1_1": {"gram": means}}, tf.constant(blend)[:, tf.newaxis])
    moments = {"relu1_1": terms.gram_sums(FEATURES) / M}
    return terms.style_loss(moments, styles, sizes, {"relu1_1": weight}, name, _grams)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gatys2015", np.sum((_gram(FEATURES) - _gram(TARGET)) ** 2) / (4 * N**2 * M**2)),
        ("gatys_pytorch", 1e3 / N**2 * np.mean(((_gram(FEATURES) - _gram(TARGET)) / M) ** 2)),
        ("sum", np.sum(((_gram(FEATURES) - _gram(TARGET)) / (N * M)) ** 2)),
        ("mean", np.mean(((_gram(FEATURES) - _gram(TARGET)) / (N * M)) ** 2)),
        ("udacity", np.mean((_gram(FEATURES) - _gram(TARGET)) ** 2) / (N * M)),
        ("keras_example", np.sum((_gram(FEATURES) - _gram(TARGET)) ** 2) / (4 * 9 * PIXELS**2)),
    ],
)
def test_style_normalization(name, expected):
    np.testing.assert_allclose(_style_loss(name), expected, rtol=1e-4)
    np.testing.assert_allclose(_style_loss(name, weight=0.3), 0.3 * expected, rtol=1e-4)


def test_a_style_with_no_share_changes_nothing():
    alone = _style_loss("gatys2015")
    blended = _style_loss("gatys2015", blend=(1.0, 0.0), targets=(TARGET, 2 * TARGET))
    assert float(alone) == float(blended)


def test_regions_add_up_by_their_shares():
    """Two half-weight copies of one picture give the loss of the picture, region by region."""
    half = tf.fill([5, 6, 2], 0.5)
    sizes = {"relu1_1": terms.LayerSize(float(N), tf.constant(float(M)), tf.constant(PIXELS))}
    moments = {"relu1_1": terms.gram_sums(tf.constant(FEATURES), half) / (M / 2)}
    means = tf.repeat(terms.gram_sums(tf.constant(TARGET)) / M, 2, axis=0)[tf.newaxis]
    styles = terms.StyleTargets({"relu1_1": {"gram": means}}, tf.constant([[0.75, 1.25]]))
    both = terms.style_loss(moments, styles, sizes, {"relu1_1": 1.0}, "gatys2015", _grams)
    np.testing.assert_allclose(both, 2 * _style_loss("gatys2015"), rtol=1e-4)


def test_a_masked_sum_is_the_sum_of_the_cropped_features():
    mask = np.zeros([5, 6, 1], np.float32)
    mask[1:4, 2:5] = 1
    cropped = tf.constant(FEATURES[:, 1:4, 2:5])
    for sums in (terms.gram_sums, terms.feature_sums):
        np.testing.assert_allclose(sums(tf.constant(FEATURES), tf.constant(mask)), sums(cropped), rtol=1e-5)
    np.testing.assert_allclose(
        terms.feature_sums(tf.constant(FEATURES))[0], FEATURES.sum(axis=(0, 1, 2)), rtol=1e-5
    )


def test_total_variation():
    image = generator.uniform(0, 1, (1, 7, 9, 3)).astype(np.float32)
    rows, columns = np.diff(image, axis=1), np.diff(image, axis=2)
    absolute = np.abs(rows).sum() + np.abs(columns).sum()
    squares = 0.5 * ((rows**2).sum() + (columns**2).sum())
    np.testing.assert_allclose(terms.TOTAL_VARIATION["sum_absolute"](tf.constant(image)), absolute, rtol=1e-5)
    np.testing.assert_allclose(
        terms.TOTAL_VARIATION["half_sum_squares"](tf.constant(image)), squares, rtol=1e-5
    )


@pytest.mark.parametrize("size", [(7, 9), (1, 5), (1, 1)])
def test_nine_point_total_variation(size):
    image = generator.uniform(0, 255, (1, *size, 3)).astype(np.float32)
    p = np.pad(image[0].astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    expected = 0.0
    for (down, right), share in {(0, 1): 1 / 3, (1, 0): 1 / 3, (1, 1): 1 / 12, (1, -1): 1 / 12}.items():
        # A pixel is held against the next; a corner of a pixel joins two diagonal neighbours.
        squares = []
        for row in range(size[0] + 2):
            for column in range(size[1] + 2):
                ahead = row + down, column + right
                inside = ahead[0] <= size[0] + 1 and 0 <= ahead[1] <= size[1] + 1
                if not (down and right) and (row in (0, size[0] + 1) or column in (0, size[1] + 1)):
                    continue
                if inside:
                    squares.append((p[ahead] - p[row, column]) ** 2)
        expected += 2 * share * np.mean(squares)
    found = terms.TOTAL_VARIATION["nine_point_squares"](tf.constant(image))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", settings.TOTAL_VARIATION)
def test_total_variation_has_a_finite_gradient_on_a_flat_image(name):
    image = tf.Variable(tf.fill([1, 6, 6, 3], 0.5))
    with tf.GradientTape() as tape:
        value = terms.TOTAL_VARIATION[name](image.value())
    assert float(value) == 0
    assert np.isfinite(tape.gradient(value, image).numpy()).all()


def test_no_layers_give_no_loss():
    assert float(terms.content_loss({}, {}, "mean")) == 0
    assert (
        float(terms.style_loss({}, terms.StyleTargets({}, tf.zeros([0, 1])), {}, {}, "gatys2015", _grams))
        == 0
    )


def test_keras_agrees_on_the_mean_of_squares():
    sizes = {"a": terms.LayerSize(float(N), tf.constant(float(M)), tf.constant(PIXELS))}
    value = terms.content_loss({"a": terms.content_error(FEATURES, TARGET)}, sizes, "mean")
    expected = keras.losses.MeanSquaredError()(TARGET, FEATURES)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
