"""Adam against Keras' own; the contract that every optimiser keeps."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import settings
from nst_tf.engine import loop
from nst_tf.losses.values import Losses
from nst_tf.optimizers import rules

TARGET = np.random.default_rng(5).uniform(0, 1, (1, 6, 8, 3)).astype(np.float32)
START = np.random.default_rng(6).uniform(0, 1, (1, 6, 8, 3)).astype(np.float32)


def value_and_gradient(image, step=None):
    """A smooth function that is no quadratic; its smallest value is 0, at `TARGET`."""
    del step
    difference = image - TARGET
    value = tf.reduce_sum(difference**2 + difference**4)
    zero = tf.constant(0.0)
    return Losses(value, value, zero, zero), 2 * difference + 4 * difference**3


# Learning rates that suit the function above.
RATES = {"lbfgs": 1.0, "adam": 0.05, "sgd": 0.1, "momentum": 0.02, "rmsprop": 0.01}


def make(name):
    return rules.OPTIMIZERS[name](learning_rate=RATES[name])


def test_table_equals_the_names_the_config_allows():
    assert list(rules.OPTIMIZERS) == list(settings.OPTIMIZERS)


def _schedule(rate):
    return keras.optimizers.schedules.ExponentialDecay(rate, decay_steps=10, decay_rate=0.9)


# (ours, Keras' own) with settings that are nobody's defaults.
PAIRS: dict[str, tuple[rules.Optimizer, Callable[[], Any]]] = {
    "adam": (
        rules.adam(0.03, beta_1=0.8, beta_2=0.98, epsilon=1e-6),
        lambda: keras.optimizers.Adam(0.03, beta_1=0.8, beta_2=0.98, epsilon=1e-6),
    ),
    "sgd": (rules.sgd(0.01), lambda: keras.optimizers.SGD(0.01)),
    "sgd with decay": (
        rules.sgd(0.05, decay_rate=0.9, decay_steps=10),
        lambda: keras.optimizers.SGD(_schedule(0.05)),
    ),
    "momentum": (
        rules.momentum(0.005, friction=0.8, decay_rate=0.9, decay_steps=10),
        lambda: keras.optimizers.SGD(_schedule(0.005), momentum=0.8),
    ),
    "rmsprop": (
        rules.rmsprop(0.003, rho=0.95, epsilon=1e-5),
        lambda: keras.optimizers.RMSprop(0.003, rho=0.95, epsilon=1e-5),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equals_keras_own_for_100_steps(name):
    ours, make_theirs = PAIRS[name]
    theirs = make_theirs()
    image, variable = tf.constant(START), tf.Variable(START)
    state = ours.init(image)
    for _ in range(100):
        losses, gradient = value_and_gradient(image)
        image, state = ours.update(image, losses.total, gradient, state)
        theirs.apply_gradients([(value_and_gradient(variable.value())[1], variable)])
    assert np.abs(variable.numpy() - START).max() > 0.1, "it went somewhere"
    np.testing.assert_allclose(image, variable, atol=1e-5)


@pytest.mark.parametrize("rule", [rules.sgd, rules.momentum])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_without_a_rate_the_first_step_is_half_a_level_whatever_the_loss(rule, scale):
    optimizer = rule(0.0)
    image = tf.constant(START)
    loss, gradient = _scalar(START)
    first, state = optimizer.update(image, loss, scale * gradient, optimizer.init(image))
    np.testing.assert_allclose(np.sqrt(np.mean((first - START) ** 2)), 0.5 / 255, rtol=1e-4)
    # The rate stays: a gradient half as large makes a step half as large.
    velocity = state.velocity if rule is rules.momentum else 0
    second, _ = optimizer.update(first, loss, 0.5 * scale * gradient, state)
    expected = first + 0.9 * velocity + 0.5 * (first - START)
    np.testing.assert_allclose(second, expected, atol=1e-6)


def _runner(optimizer):
    """Returns a traced (image, state, number of steps) -> (image, state, losses)."""
    return tf.function(functools.partial(loop.minimize, value_and_gradient, optimizer))


@pytest.mark.parametrize("name", settings.OPTIMIZERS)
def test_every_optimizer_finds_the_minimum(name):
    optimizer, start = make(name), tf.constant(START)
    image, state, _ = _runner(optimizer)(start, optimizer.init(start), tf.constant(300))
    np.testing.assert_allclose(optimizer.output(image, state), TARGET, atol=0.02)


@pytest.mark.parametrize("name", settings.OPTIMIZERS)
def test_twelve_and_eight_steps_equal_twenty(name):
    optimizer, start = make(name), tf.constant(START)
    run = _runner(optimizer)
    image, state, rows = run(start, optimizer.init(start), tf.constant(20))
    part, part_state, first = run(start, optimizer.init(start), tf.constant(12))
    part, part_state, second = run(part, part_state, tf.constant(8))
    np.testing.assert_array_equal(part, image)
    np.testing.assert_array_equal(np.concatenate([first, second]), rows)
    for one, other in zip(state, part_state, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", settings.OPTIMIZERS)
def test_update_traces_with_unknown_size(name):
    optimizer = make(name)
    picture = tf.TensorSpec([1, None, None, 3], tf.float32)

    @tf.function(input_signature=[picture, picture, tf.TensorSpec([], tf.int32)])
    def run(image, goal, num_steps):
        def squares(image, _):
            value = tf.reduce_sum((image - goal) ** 2)
            return Losses(value, value, 0.0 * value, 0.0 * value), 2 * (image - goal)

        state = optimizer.init(image)
        image, state, _ = loop.minimize(squares, optimizer, image, state, num_steps)
        return optimizer.output(image, state)

    for height, width in ((4, 6), (5, 3)):
        goal = tf.fill([1, height, width, 3], 0.7)
        found = run(tf.zeros([1, height, width, 3]), goal, tf.constant(200))
        np.testing.assert_allclose(found, goal, atol=0.02)


@pytest.mark.parametrize("name", settings.OPTIMIZERS)
def test_state_can_be_resized(name):
    optimizer = make(name)
    state = optimizer.init(tf.constant(START))
    _, state = optimizer.update(tf.constant(START), *_scalar(START), state)
    resized = optimizer.resize(state, 12, 16)
    for before, after in zip(tf.nest.flatten(state), tf.nest.flatten(resized), strict=True):
        expected = [before.shape[0], 12, 16, 3] if before.shape.rank == 4 else before.shape.as_list()
        assert after.shape.as_list() == expected
    image = tf.zeros([1, 12, 16, 3])
    image, _ = optimizer.update(image, tf.constant(1.0), tf.ones_like(image), resized)
    assert np.isfinite(image.numpy()).all()


@pytest.mark.parametrize("carry", [True, False])
def test_adam_may_carry_its_moments_to_the_next_size(carry):
    optimizer = rules.adam(0.1, carry=carry)
    state = optimizer.init(tf.constant(START))
    _, state = optimizer.update(tf.constant(START), tf.constant(0.0), tf.ones_like(START), state)
    resized = optimizer.resize(state, 12, 16)
    expected = state.mean[0, 0, 0, 0] if carry else 0.0
    np.testing.assert_allclose(resized.mean, np.full((1, 12, 16, 3), expected), rtol=1e-6)
    assert int(resized.step) == int(carry)


def _scalar(image):
    losses, gradient = value_and_gradient(tf.constant(image))
    return losses.total, gradient
