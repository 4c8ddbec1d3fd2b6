"""L-BFGS against a plain-loop version, on functions whose minima are known, and its safeguard."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import settings
from nst_tf.engine import loop
from nst_tf.losses.values import Losses
from nst_tf.optimizers import preconditioners, rules


def _as_losses(value):
    zero = tf.constant(0.0)
    return Losses(value, value, zero, zero)


def rosenbrock(image):
    """Returns the sum over pixels and channel pairs of 100 (b - a^2)^2 + (1 - a)^2, with its gradient."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        a, b = image[..., :-1], image[..., 1:]
        value = tf.reduce_sum(100 * (b - a**2) ** 2 + (1 - a) ** 2)
    return _as_losses(value), tape.gradient(value, image)


def plain_two_loop(
    function,
    image,
    num_steps,
    history,
    first_step,
    longest=np.inf,
    precondition=lambda x: x,
    invert=lambda x: x,
    kept=lambda x: x,
):
    """The same algorithm as published: Nocedal's two-loop recursion, lists, float64, no ring.

    Works in image space: the initial inverse Hessian is gamma T T^t, whose gamma lies a fifth of the
    way, in orders of magnitude, from s.y / y.T T^t y to s.(T T^t)^-1 s / s.y.
    """
    point, values = np.asarray(image, np.float64), []
    pairs: list = []
    loss, slope, length = np.inf, 0.0, 1.0
    accepted: Any = None
    gradient = direction = np.zeros_like(point)
    for _ in range(num_steps):
        trial_losses, trial_gradient = function(tf.constant(point, tf.float32))
        trial_loss, trial_gradient = (
            float(trial_losses.total),
            np.asarray(trial_gradient, np.float64),
        )
        values.append(trial_loss)
        if trial_loss <= loss + 1e-4 * min(length * slope, 0):
            if accepted is not None:
                s, y = kept(length * direction), kept(trial_gradient - gradient)
                if np.sum(s * y) > 1e-6 * np.sqrt(np.sum(s * s) * np.sum(y * y)):
                    pairs, length = [*pairs, (s, y)][-history:], 1.0
                else:
                    length *= 2
            accepted, loss, gradient = point, trial_loss, trial_gradient
        else:
            promised = length * slope
            length *= np.clip(-0.5 * promised / (trial_loss - loss - promised), 0.1, 0.5)
            if length < 1e-3 and pairs:
                pairs, length = [], 1.0
        direction = _two_loop(gradient, pairs, first_step, precondition, invert)
        length = min(length, longest / np.sqrt(np.mean(direction**2)))
        slope = np.sum(gradient * direction)
        point = accepted + length * direction
    return accepted, values


def _two_loop(gradient, pairs, first_step, precondition, invert):
    """Algorithm 7.4 of Nocedal and Wright, "Numerical Optimization"."""

    def twice(array):
        return precondition(precondition(array))

    q, alphas = gradient.copy(), []
    for s, y in reversed(pairs):
        alphas.append(np.sum(s * q) / np.sum(s * y))
        q = q - alphas[-1] * y
    if pairs:
        s, y = pairs[-1]
        short, long = np.sum(s * y) / np.sum(y * twice(y)), np.sum(invert(s) ** 2) / np.sum(s * y)
        gamma = short**0.8 * long**0.2
    else:
        gamma = first_step / np.sqrt(np.mean(twice(gradient) ** 2))
    r = gamma * twice(q)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + s * (alpha - np.sum(y * r) / np.sum(s * y))
    return -r


def _run(optimizer, function, image, num_steps):
    image = tf.constant(image, tf.float32)

    def alone(image, step):
        del step
        return function(image)

    run = tf.function(lambda image, state: loop.minimize(alone, optimizer, image, state, num_steps))
    image, state, rows = run(image, optimizer.init(image))
    return optimizer.output(image, state).numpy(), state, rows.numpy()[:, 0]


def quadratic(image):
    """A quadratic whose curvature runs from 1 to 50 over the pixels."""
    curvature = tf.reshape(tf.linspace(1.0, 50.0, tf.size(image)), tf.shape(image))
    value = 0.5 * tf.reduce_sum(curvature * (image - 0.4) ** 2)
    return _as_losses(value), curvature * (image - 0.4)


_FILTER = preconditioners.PRECONDITIONERS["inverse_sqrt_frequency"]


def _filtered(image):
    return _FILTER.apply(tf.constant(image, tf.float32)).numpy().astype(np.float64)


def _unfiltered(image):
    return _FILTER.invert(tf.constant(image, tf.float32)).numpy().astype(np.float64)


START = np.random.default_rng(9).uniform(0, 1, (1, 4, 5, 3)).astype(np.float32)


def test_names_equal_those_the_config_allows():
    assert list(preconditioners.PRECONDITIONERS) == list(settings.PRECONDITIONERS)


@pytest.mark.parametrize("function", [quadratic, rosenbrock])
@pytest.mark.parametrize("history", [3, 10])
@pytest.mark.parametrize("longest", [np.inf, 0.03])
def test_equals_the_plain_two_loop_version(function, history, longest):
    """Long enough for the ring to wrap, short enough for rounding not to part the two."""
    steps = 16
    optimizer = rules.lbfgs(history=history, longest_step=longest)
    _, _, found = _run(optimizer, function, START, steps)
    _, expected = plain_two_loop(function, START, steps, history, 0.003, longest)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


@pytest.mark.parametrize("function", [quadratic, rosenbrock])
def test_pairs_in_bfloat16_are_those_of_a_two_loop_that_rounds_them(function):
    def rounded(array):
        return tf.cast(tf.cast(array, tf.bfloat16), tf.float64).numpy()

    optimizer = rules.lbfgs(history=4, history_precision="bfloat16", longest_step=0.03)
    _, state, found = _run(optimizer, function, START, 12)
    _, expected = plain_two_loop(function, START, 12, 4, 0.003, 0.03, kept=rounded)
    assert state.pairs.dtype == tf.bfloat16
    _, exact = plain_two_loop(function, START, 12, 4, 0.003, 0.03)
    off, unlike_exact = (np.max(np.abs(found / np.array(other) - 1)) for other in (expected, exact))
    assert off < 0.1 * unlike_exact, "not rounded, or not like that"
    assert unlike_exact < 5e-3


def test_pairs_in_bfloat16_solve_a_quadratic_too():
    optimizer = rules.lbfgs(history=10, history_precision="bfloat16", longest_step=np.inf)
    image, _, _ = _run(optimizer, quadratic, START, 60)
    np.testing.assert_allclose(image, 0.4, atol=1e-3)


def test_leaves_a_saddle_in_steps_that_double():
    """No pair is ever kept there: the first step's length, then twice that, up to the longest."""

    def saddle(image):
        return _as_losses(-0.5 * tf.reduce_sum((image - 0.5) ** 2)), 0.5 - image

    optimizer = rules.lbfgs(first_step=0.003, longest_step=0.02)
    image = tf.constant(0.5 + 0.001 * (START - 0.5))
    state, lengths = optimizer.init(image), []
    for _ in range(6):
        losses, gradient = saddle(image)
        image, state = optimizer.update(image, losses.total, gradient, state)
        lengths.append(float(tf.sqrt(tf.reduce_mean((image - state.image) ** 2))))
    np.testing.assert_allclose(lengths, [0.003, 0.006, 0.012, 0.02, 0.02, 0.02], rtol=1e-3)
    assert int(state.count) == 0


def test_preconditioned_equals_a_two_loop_with_that_initial_inverse_hessian():
    optimizer = rules.lbfgs(preconditioner="inverse_sqrt_frequency")
    _, _, found = _run(optimizer, rosenbrock, START, 14)
    _, expected = plain_two_loop(rosenbrock, START, 14, 10, 0.003, 0.03, _filtered, _unfiltered)
    np.testing.assert_allclose(found, expected, rtol=5e-3)


@pytest.mark.parametrize("scales", settings.PRECONDITIONED_SCALES)
def test_the_preconditioner_acts_at_the_first_scale_or_at_all(scales):
    optimizer = rules.lbfgs(preconditioner="inverse_sqrt_frequency", preconditioned_scales=scales)
    image = tf.constant(START)
    state = optimizer.resize(optimizer.init(image), *START.shape[1:3])
    _, _, rows = loop.minimize(lambda image, _: rosenbrock(image), optimizer, image, state, 14)
    filters = [_filtered, _unfiltered] if scales == "all" else []
    _, expected = plain_two_loop(rosenbrock, START, 14, 10, 0.003, 0.03, *filters)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=5e-3)


@pytest.mark.parametrize("preconditioner", settings.PRECONDITIONERS)
def test_solves_a_quadratic(preconditioner):
    found, _, _ = _run(rules.lbfgs(preconditioner=preconditioner), quadratic, START, 80)
    np.testing.assert_allclose(found, np.full_like(found, 0.4), atol=1e-3)


def test_solves_rosenbrock():
    start = np.tile(np.array([-1.2, 1.0, 1.0], np.float32), (1, 2, 2, 1))
    found, _, _ = _run(rules.lbfgs(), rosenbrock, start, 200)
    np.testing.assert_allclose(found, np.ones_like(found), atol=5e-3)


def test_preconditioner_is_symmetric_and_positive():
    generator = np.random.default_rng(2)
    a, b = generator.normal(0, 1, (2, 1, 7, 10, 3)).astype(np.float32)
    filtered_a, filtered_b = _filtered(a), _filtered(b)
    np.testing.assert_allclose(np.sum(filtered_a * b), np.sum(a * filtered_b), rtol=1e-4, atol=1e-3)
    assert np.sum(filtered_a * a) > 0


def test_preconditioner_scales_a_wave_by_one_over_the_root_of_its_frequency():
    columns = np.arange(16)
    for frequency in (1, 2, 5):
        wave = np.cos(2 * np.pi * frequency * columns / 16)
        image = np.tile(wave[np.newaxis, np.newaxis, :, np.newaxis], (1, 12, 1, 3)).astype(np.float32)
        filtered = _filtered(image)
        np.testing.assert_allclose(filtered, image / np.sqrt(frequency), atol=1e-5)


def test_output_is_never_a_rejected_trial():
    """A wall that the first long step runs into: the picture shown is the best one evaluated."""
    seen = []

    def with_wall(image):
        value = tf.reduce_sum((image - 0.5) ** 2)
        value = tf.where(tf.reduce_max(image) > 0.45, 1e6, value)
        return _as_losses(value), 2 * (image - 0.5)

    optimizer = rules.lbfgs()
    image = tf.fill([1, 3, 3, 3], 0.2)
    state = optimizer.init(image)
    for _ in range(25):
        losses, gradient = with_wall(image)
        seen.append((float(losses.total), image.numpy()))
        image, state = optimizer.update(image, losses.total, gradient, state)
        best, picture = min(seen, key=lambda pair: pair[0])
        np.testing.assert_array_equal(optimizer.output(image, state), picture)
        assert float(state.loss) == best
    assert max(value for value, _ in seen) == 1e6, "the wall was never met"
    assert best < 0.1 * seen[0][0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_rejected(bad):
    optimizer = rules.lbfgs()
    image = tf.constant(START)
    state = optimizer.init(image)
    losses, gradient = quadratic(image)
    trial, state = optimizer.update(image, losses.total, gradient, state)
    retrial, state = optimizer.update(trial, tf.constant(bad), gradient, state)
    np.testing.assert_array_equal(optimizer.output(retrial, state), START)
    assert 0 < np.linalg.norm(retrial - START) < np.linalg.norm(trial - START)


def test_a_gradient_that_is_not_finite_is_rejected():
    optimizer = rules.lbfgs()
    image = tf.constant(START)
    losses, gradient = quadratic(image)
    trial, state = optimizer.update(image, losses.total, gradient, optimizer.init(image))
    broken = tf.fill(gradient.shape, float("nan"))
    retrial, state = optimizer.update(trial, tf.constant(0.0), broken, state)
    np.testing.assert_array_equal(optimizer.output(retrial, state), START)
    assert np.isfinite(retrial.numpy()).all()


def test_an_image_of_nan_is_rejected_whatever_its_loss():
    """In a graph TensorFlow's ReLU makes zeros of NaN, so that its loss is finite."""
    optimizer = rules.lbfgs()
    image = tf.constant(START)
    losses, gradient = quadratic(image)
    trial, state = optimizer.update(image, losses.total, gradient, optimizer.init(image))
    broken = tf.fill(trial.shape, float("nan"))
    _, state = optimizer.update(broken, tf.constant(0.0), gradient, state)
    np.testing.assert_array_equal(state.image, START)


def test_the_first_evaluation_after_a_resize_makes_no_pair():
    """The state has an image of its own then, and no gradient that the new one could differ from."""
    optimizer = rules.lbfgs()
    image = tf.constant(START)
    losses, gradient = quadratic(image)
    _, state = optimizer.update(image, losses.total, gradient, optimizer.init(image))
    resized = optimizer.resize(state, 8, 10)
    larger = tf.random.stateless_uniform([1, 8, 10, 3], (1, 2))
    losses, gradient = quadratic(larger)
    # A gradient along the difference, the worst case: s.y is positive.
    _, state = optimizer.update(larger, losses.total, larger - resized.image, resized)
    assert int(state.count) == 0
    np.testing.assert_array_equal(state.image, larger)


def test_a_flat_function_moves_nothing():
    optimizer = rules.lbfgs()
    image = tf.constant(START)
    state = optimizer.init(image)
    for _ in range(4):
        image, state = optimizer.update(image, tf.constant(1.0), tf.zeros_like(image), state)
    np.testing.assert_array_equal(image, START)


def _bowl(goal, curvature):
    """Returns a quadratic whose pixels are coupled, with its minimum at `goal` where that is free."""

    def function(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            difference = image - goal
            coupled = tf.reduce_sum(tf.square(difference[:, :, 1:] + difference[:, :, :-1]))
            value = tf.reduce_sum(curvature * tf.square(difference)) + coupled
        return _as_losses(value), tape.gradient(value, image)

    return function


@pytest.mark.parametrize("preconditioner", settings.PRECONDITIONERS)
def test_clipping_finds_the_minimum_within_the_bounds(preconditioner):
    """Against projected gradient descent with a tiny step, in NumPy, which can only be slow."""
    generator = np.random.default_rng(4)
    goal = generator.uniform(-0.7, 1.7, START.shape).astype(np.float32)
    curvature = generator.uniform(1, 8, START.shape).astype(np.float32)
    expected = START.astype(np.float64)
    for _ in range(4000):
        difference = expected - goal
        gradient = 2 * curvature * difference
        neighbours = 2 * (difference[:, :, 1:] + difference[:, :, :-1])
        gradient[:, :, 1:] += neighbours
        gradient[:, :, :-1] += neighbours
        expected = np.clip(expected - 0.02 * gradient, 0, 1)
    assert 0 < np.mean((expected == 0) | (expected == 1)) < 1, "some pixels at a bound, some free"
    optimizer = rules.lbfgs(preconditioner=preconditioner, clip=True)
    found, _, _ = _run(optimizer, _bowl(goal, curvature), START, 150)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("name", settings.OPTIMIZERS)
def test_clipping_keeps_every_trial_within_the_bounds(name):
    optimizer = rules.OPTIMIZERS[name](learning_rate=1.0, clip=True)
    goal = np.random.default_rng(4).uniform(-1, 2, START.shape).astype(np.float32)
    function, image = _bowl(goal, 1.0), tf.constant(START)
    state = optimizer.init(image)
    for _ in range(20):
        losses, gradient = function(image)
        image, state = optimizer.update(image, losses.total, gradient, state)
        assert float(tf.reduce_min(image)) >= 0
        assert float(tf.reduce_max(image)) <= 1


def test_clipping_changes_nothing_where_no_bound_is_met():
    free, clipped = (
        _run(rules.lbfgs(clip=clip), quadratic, 0.35 + 0.1 * START, 20)[0] for clip in (False, True)
    )
    np.testing.assert_allclose(free, clipped, atol=1e-6)
