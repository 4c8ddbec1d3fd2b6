"""Adam on a Laplacian pyramid against NumPy's Adam on an explicit matrix."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.engine import loop
from nst_tf.losses.values import Losses
from nst_tf.optimizers import pyramid

LEVELS = 3
GOAL = np.random.default_rng(5).uniform(0, 1, (1, 7, 10, 3))
START = np.random.default_rng(6).uniform(0, 1, (1, 7, 10, 3))
# 7 x 10 pixels are halved to 3 x 5, then to 1 x 2, which is not halved again.
SIZES = [(7, 10), (3, 5), (1, 2)]


def _linear(side, to):
    """The matrix [to, side] of linear interpolation between the middles of pixels."""
    at = np.clip((np.arange(to) + 0.5) * side / to - 0.5, 0, side - 1)
    low = np.minimum(at.astype(int), max(0, side - 2))
    matrix = np.zeros((to, side))
    matrix[np.arange(to), low] += 1 - (at - low)
    matrix[np.arange(to), np.minimum(low + 1, side - 1)] += at - low
    return matrix


def _resize_matrix(size, to):
    return np.kron(_linear(size[0], to[0]), _linear(size[1], to[1]))


def _synthesis():
    """The matrix that makes the pixels of one channel from all bands of `SIZES`, one after the other."""
    blocks, up = [np.eye(70)], np.eye(70)
    for finer, coarser in itertools.pairwise(SIZES):
        up = up @ _resize_matrix(coarser, finer)
        blocks.append(up)
    return np.concatenate(blocks, axis=1)


def _decomposed(picture):
    """The bands of a picture [70, 3], one after the other."""
    bands = []
    for finer, coarser in itertools.pairwise(SIZES):
        smaller = _resize_matrix(finer, coarser) @ picture
        bands.append(picture - _resize_matrix(coarser, finer) @ smaller)
        picture = smaller
    return np.concatenate([*bands, picture])


def _gradient(image):
    return 2 * (image - GOAL) + 4 * (image - GOAL) ** 3


def value_and_gradient(image, step=None):
    """The function of `_gradient`, whatever the step."""
    del step
    difference = image - tf.constant(GOAL, tf.float32)
    value = tf.reduce_sum(difference**2 + difference**4)
    zero = tf.constant(0.0)
    return Losses(value, value, zero, zero), 2 * difference + 4 * difference**3


@pytest.mark.parametrize("size", [(7, 10), (64, 48), (5, 33), (1, 1), (2, 3)])
def test_a_pyramid_is_the_picture(size):
    image = np.random.default_rng(1).uniform(0, 1, (1, *size, 3)).astype(np.float32)
    bands = pyramid.decomposed(tf.constant(image), 8)
    assert len(bands) == 9
    np.testing.assert_allclose(pyramid.synthesized(bands), image, atol=3e-7)
    assert min(bands[-1].shape[1:3]) >= 1
    assert max(bands[-1].shape[1:3]) <= 3


def test_the_published_pyramid_ends_at_two_pixels():
    for size, levels in ((512, 8), (256, 7), (64, 5)):
        sizes = [band.shape[1] for band in pyramid.decomposed(tf.zeros([1, size, size, 3]), 8)]
        assert sizes[: levels + 1] == [size // 2**level for level in range(levels + 1)]
        assert sizes[levels:] == [2] * (9 - levels)


def test_bands_are_those_of_the_matrices():
    bands = pyramid.decomposed(tf.constant(START, tf.float32), LEVELS)
    assert [tuple(band.shape[1:3]) for band in bands] == [*SIZES, SIZES[-1]]
    assert not np.any(bands[LEVELS - 1])  # of the picture that is not halved
    found = np.concatenate([np.reshape(bands[index], [-1, 3]) for index in (0, 1, 3)])
    np.testing.assert_allclose(found, _decomposed(START.reshape(70, 3)), atol=1e-6)


def test_equals_numpys_adam_on_the_coefficients():
    rate, beta_1, beta_2, epsilon = 0.01, 0.8, 0.98, 1e-6
    optimizer = pyramid.adam(rate, LEVELS, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)
    image = tf.constant(START, tf.float32)
    state = optimizer.init(image)
    matrix, bands = _synthesis(), _decomposed(START.reshape(70, 3))
    mean, square = np.zeros_like(bands), np.zeros_like(bands)
    for step in range(1, 41):
        losses, gradient = value_and_gradient(image)
        image, state = optimizer.update(image, losses.total, gradient, state)
        own = matrix.T @ _gradient((matrix @ bands).reshape(GOAL.shape)).reshape(70, 3)
        mean += (1 - beta_1) * (own - mean)
        square += (1 - beta_2) * (own**2 - square)
        corrected = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        bands -= corrected * mean / (np.sqrt(square) + epsilon)
    assert np.abs(image - START).max() > 0.1, "it went somewhere"
    np.testing.assert_allclose(np.reshape(image, [70, 3]), matrix @ bands, atol=1e-5)


def test_twelve_and_eight_steps_equal_twenty_at_any_size():
    optimizer = pyramid.adam(0.01, LEVELS)
    picture = tf.TensorSpec([1, None, None, 3])

    @tf.function(autograph=False)
    def run(image, state, num_steps):
        return loop.minimize(value_and_gradient, optimizer, image, state, num_steps)

    @tf.function(input_signature=[picture])
    def begin(image):
        return optimizer.init(image)

    start = tf.constant(START, tf.float32)
    image, state, rows = run(start, begin(start), tf.constant(20))
    part, part_state, first = run(start, begin(start), tf.constant(12))
    part, part_state, second = run(part, part_state, tf.constant(8))
    np.testing.assert_array_equal(part, image)
    np.testing.assert_array_equal(np.concatenate([first, second]), rows)
    for one, other in zip(tf.nest.flatten(state), tf.nest.flatten(part_state), strict=True):
        np.testing.assert_array_equal(one, other)
    assert rows[-1, 0] < 0.5 * rows[0, 0]


def test_a_pyramid_begins_anew_at_another_size():
    optimizer = pyramid.adam(0.01, LEVELS)
    image = tf.constant(START, tf.float32)
    _, state = optimizer.update(image, tf.constant(0.0), tf.ones_like(image), optimizer.init(image))
    resized = optimizer.resize(state, 14, 20)
    assert [tuple(band.shape[1:3]) for band in resized.bands] == [(14, 20), (7, 10), (3, 5), (1, 2)]
    assert int(resized.step) == 0
    assert not any(np.any(moment) for moment in (*resized.mean, *resized.square))
