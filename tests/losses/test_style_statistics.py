"""Style statistics against closed forms in float64 and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import settings
from nst_tf.losses import style_statistics
from nst_tf.losses.style_statistics import STYLE_STATISTICS, Moments

C = 6
FACTOR, MOMENT_WEIGHT = 0.3, 7.0


def _features(seed, pixels=40, channels=C):
    """Returns correlated features [pixels, channels] with means of their own, float64."""
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(pixels, channels)) @ generator.normal(size=(channels, channels))
    return mixed + generator.normal(size=channels)


def _moments(*features):
    """Returns the moments of one or more pictures' features, stacked where there are several."""
    grams = np.stack([f.T @ f / len(f) for f in features]).astype(np.float32)
    means = np.stack([f.mean(axis=0) for f in features]).astype(np.float32)
    if len(features) == 1:
        grams, means = grams[0], means[0]
    return Moments(tf.constant(grams), tf.constant(means))


def _loss(name, moments, target):
    return STYLE_STATISTICS[name].loss(moments, target, tf.constant(FACTOR), MOMENT_WEIGHT)


def _distance(name, features, style):
    return float(_loss(name, _moments(features), STYLE_STATISTICS[name].target(_moments(style))))


def _covariance(features):
    centred = features - features.mean(axis=0)
    return centred.T @ centred / len(features) + 1e-4 * np.eye(features.shape[1])


def _oracle_gram(x, s):
    return FACTOR * np.sum((x.T @ x / len(x) - s.T @ s / len(s)) ** 2)


def _oracle_gram_relative(x, s):
    of_style = s.T @ s / len(s)
    return np.sum((x.T @ x / len(x) - of_style) ** 2) / np.sum(of_style**2)


def _oracle_gram_mean_std(x, s):
    means = np.mean((x.mean(axis=0) - s.mean(axis=0)) ** 2)
    deviations = np.mean((x.std(axis=0) - s.std(axis=0)) ** 2)
    return _oracle_gram(x, s) + MOMENT_WEIGHT * (means + deviations)


def _oracle_wasserstein(x, s):
    """The closed form: (C_s^1/2 C C_s^1/2)^1/2 has the roots of the eigenvalues of C_s C on its diagonal."""
    a, b = _covariance(x), _covariance(s)
    overlap = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
    squares = np.sum((x.mean(axis=0) - s.mean(axis=0)) ** 2)
    return (squares + np.trace(a) + np.trace(b) - 2 * overlap) / x.shape[1]


ORACLES = {
    "gram": _oracle_gram,
    "gram_relative": _oracle_gram_relative,
    "gram_mean_std": _oracle_gram_mean_std,
    "wasserstein": _oracle_wasserstein,
}


def test_table_equals_the_names_the_config_allows():
    assert list(STYLE_STATISTICS) == list(settings.STYLE_STATISTICS)
    assert set(STYLE_STATISTICS) == set(ORACLES)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", [1, 5])
def test_losses_equal_the_closed_forms(name, seed):
    x, s = _features(seed), _features(seed + 1, pixels=55)
    np.testing.assert_allclose(_distance(name, x, s), ORACLES[name](x, s), rtol=2e-4)


@pytest.mark.parametrize("name", ORACLES)
def test_a_picture_equal_to_the_style_has_no_loss_and_no_gradient(name):
    moments = _moments(_features(1))
    with tf.GradientTape() as tape:
        tape.watch(moments)
        loss = _loss(name, moments, STYLE_STATISTICS[name].target(moments))
    np.testing.assert_allclose(loss, 0, atol=1e-5)
    for gradient in tape.gradient(loss, moments, unconnected_gradients="zero"):
        np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_the_wasserstein_distance_is_symmetric():
    x, s = _features(1), _features(2)
    np.testing.assert_allclose(_distance("wasserstein", x, s), _distance("wasserstein", s, x), rtol=1e-4)


def test_the_wasserstein_distance_of_shifted_and_scaled_features():
    """Here 3 x + 2 moves each mean by 2 (and the scaling) and each deviation by twice itself."""
    x = _features(1)
    scaled = 3 * (x - x.mean(axis=0)) + x.mean(axis=0) + 2
    expected = 4 + np.mean(4 * x.var(axis=0))
    np.testing.assert_allclose(_distance("wasserstein", scaled, x), expected, rtol=1e-3)


@pytest.mark.parametrize("name", ORACLES)
def test_gradients_by_features_equal_finite_differences_of_the_closed_form(name):
    x, s = _features(1, pixels=12), _features(2)
    variable = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        gram = tf.matmul(variable, variable, transpose_a=True) / len(x)
        moments = Moments(gram, tf.reduce_mean(variable, axis=0))
        loss = _loss(name, moments, STYLE_STATISTICS[name].target(_moments(s)))
    gradient = tape.gradient(loss, variable).numpy()
    expected, step = np.zeros_like(x), 1e-5
    for index in np.ndindex(x.shape):
        change = np.zeros_like(x)
        change[index] = step
        expected[index] = (ORACLES[name](x + change, s) - ORACLES[name](x - change, s)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_the_root_trace_has_its_gradient_in_float64():
    features = _features(1)
    matrix = tf.constant(features.T @ features)
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        value = style_statistics.root_trace(matrix)
    values, vectors = np.linalg.eigh(matrix)
    np.testing.assert_allclose(value, np.sqrt(values).sum(), rtol=1e-12)
    expected = (vectors * (0.5 / np.sqrt(values))) @ vectors.T
    np.testing.assert_allclose(tape.gradient(value, matrix), expected, rtol=1e-8, atol=1e-12)


def test_eigenvalues_that_rounding_made_have_no_gradient():
    matrix = tf.constant(np.diag([4.0, 1e-9, 0.0, -3e-3]))
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        value = style_statistics.root_trace(matrix)
    np.testing.assert_allclose(value, 2 + 1e-9**0.5, rtol=1e-12)
    np.testing.assert_allclose(tape.gradient(value, matrix), np.diag([0.25, 0, 0, 0]), atol=1e-12)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("pixels", [2, 3])
def test_fewer_pixels_than_channels_have_a_finite_gradient(name, pixels):
    moments, style = _moments(_features(1, pixels, 16)), _moments(_features(2, pixels, 16))
    with tf.GradientTape() as tape:
        tape.watch(moments)
        loss = _loss(name, moments, STYLE_STATISTICS[name].target(style))
    assert float(loss) > 0
    for gradient in tape.gradient(loss, moments, unconnected_gradients="zero"):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ORACLES)
def test_constant_channels_have_a_finite_gradient(name):
    x, s = _features(1), _features(2)
    x[:, 1], x[:, 2], s[:, 1] = 0.0, 300.1, 5.0
    gram, mean = _moments(x)
    # Rounding the other way: a variance slightly below zero.
    moments = Moments(gram - np.diag([0, 0, 1e-2, 0, 0, 0]).astype(np.float32), mean)
    with tf.GradientTape() as tape:
        tape.watch(moments)
        loss = _loss(name, moments, STYLE_STATISTICS[name].target(_moments(s)))
    assert np.isfinite(float(loss))
    for gradient in tape.gradient(loss, moments, unconnected_gradients="zero"):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ORACLES)
def test_leading_axes_broadcast_and_may_be_unknown(name):
    """Three styles against two regions of one picture: each pair as on its own."""
    regions, styles = [_features(seed) for seed in (1, 2)], [_features(seed) for seed in (3, 4, 5)]
    statistic = STYLE_STATISTICS[name]
    specs = [tf.TensorSpec([None, C, C]), tf.TensorSpec([None, C])] * 2

    @tf.function(input_signature=specs, autograph=False)
    def loss_and_gradient(gram, mean, style_gram, style_mean):
        target = statistic.target(Moments(style_gram[:, tf.newaxis], style_mean[:, tf.newaxis]))
        with tf.GradientTape() as tape:
            tape.watch([gram, mean])
            losses = statistic.loss(Moments(gram, mean), target, tf.constant(FACTOR), MOMENT_WEIGHT)
        return losses, tape.gradient(losses, gram)

    found, gradient = loss_and_gradient(*_moments(*regions), *_moments(*styles))
    expected = [[_distance(name, region, style) for region in regions] for style in styles]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert gradient.shape == (2, C, C)


@pytest.mark.parametrize("name", ORACLES)
def test_no_gradient_reaches_the_style(name):
    style = _moments(_features(2))
    with tf.GradientTape() as tape:
        tape.watch(style)
        loss = _loss(name, _moments(_features(1)), STYLE_STATISTICS[name].target(style))
    assert all(gradient is None for gradient in tape.gradient(loss, style))


@pytest.mark.parametrize("name", ORACLES)
def test_moments_that_are_not_numbers_give_a_loss_that_is_none_and_no_error(name):
    """A run that diverges ends with its last good picture; an exception would lose it."""
    target = STYLE_STATISTICS[name].target(_moments(_features(2)))
    good, bad = _moments(_features(1)), Moments(tf.fill([C, C], float("inf")), tf.fill([C], float("nan")))
    both = Moments(*(tf.stack(pair) for pair in zip(good, bad, strict=True)))
    with tf.GradientTape() as tape:
        tape.watch(both)
        losses = _loss(name, both, target)
    np.testing.assert_allclose(losses[0], _loss(name, good, target), rtol=1e-5)
    assert not np.isfinite(losses[1])
    gradient = tape.gradient(losses, both.gram).numpy()
    assert np.isfinite(gradient[0]).all()
    assert not np.isfinite(gradient[1]).all()


def test_what_needs_no_mean_does_without():
    style = _moments(_features(2))
    without = Moments(_moments(_features(1)).gram, tf.fill([C], float("nan")))
    for name, statistic in STYLE_STATISTICS.items():
        assert statistic.needs_mean == np.isnan(_loss(name, without, statistic.target(style)))
