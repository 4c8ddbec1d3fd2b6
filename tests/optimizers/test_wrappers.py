"""Which image is put out: the best, the running average."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import settings
from nst_tf.engine import loop
from nst_tf.optimizers import rules, wrappers
from tests.optimizers.test_rules import START, value_and_gradient


def _value(image):
    losses, gradient = value_and_gradient(tf.constant(image))
    return losses.total, gradient


def test_the_best_iterate_is_put_out():
    """Steps far too long: the loss rises after the first, and the output stays where it was lowest."""
    optimizer = wrappers.best_iterate(rules.sgd(0.9))
    image, seen = tf.constant(START), []
    state = optimizer.init(image)
    np.testing.assert_array_equal(optimizer.output(image, state), START)
    for _ in range(6):
        losses, gradient = value_and_gradient(image)
        seen.append((float(losses.total), image.numpy()))
        image, state = optimizer.update(image, losses.total, gradient, state)
        best = min(seen, key=lambda pair: pair[0])
        np.testing.assert_array_equal(optimizer.output(image, state), best[1])
    assert seen[-1][0] > seen[0][0]


def test_a_loss_that_is_not_a_number_is_never_the_best():
    optimizer = wrappers.best_iterate(rules.sgd(0.1))
    image = tf.constant(START)
    loss, gradient = _value(START)
    trial, state = optimizer.update(image, loss, gradient, optimizer.init(image))
    gradient = tf.zeros_like(trial)
    trial, state = optimizer.update(trial, tf.constant(float("nan")), gradient, state)
    np.testing.assert_array_equal(optimizer.output(trial, state), START)


def test_outputs_equal_the_names_the_config_allows():
    assert list(wrappers.OUTPUTS) == list(settings.OUTPUT_IMAGES)


def test_the_average_is_corrected_for_its_bias_and_begins_with_the_start():
    optimizer = wrappers.average_iterate(rules.adam(0.05))
    image = tf.constant(START)
    state, seen = optimizer.init(image), [START.astype(np.float64)]
    np.testing.assert_array_equal(optimizer.output(image, state), START)
    for _ in range(30):
        loss, gradient = _value(image)
        image, state = optimizer.update(image, loss, gradient, state)
        seen.append(image.numpy().astype(np.float64))
        shares = 0.99 ** np.arange(len(seen))[::-1]
        expected = np.tensordot(shares, np.stack(seen), 1) / shares.sum()
        np.testing.assert_allclose(optimizer.output(image, state), expected, atol=1e-6)


def test_the_average_takes_no_rejected_trial_of_lbfgs():
    plain, averaged = rules.lbfgs(), wrappers.average_iterate(rules.lbfgs())
    image = tf.constant(START)
    state, average_state, seen = plain.init(image), averaged.init(image), [START.astype(np.float64)]
    for _ in range(8):
        loss, gradient = _value(image)
        same, average_state = averaged.update(image, loss, gradient, average_state)
        image, state = plain.update(image, loss, gradient, state)
        np.testing.assert_array_equal(same, image)
        seen.append(plain.output(image, state).numpy().astype(np.float64))
    shares = 0.99 ** np.arange(len(seen))[::-1]
    expected = np.tensordot(shares, np.stack(seen), 1) / shares.sum()
    np.testing.assert_allclose(averaged.output(image, average_state), expected, atol=1e-6)


def test_the_average_begins_anew_at_each_scale():
    optimizer = wrappers.average_iterate(rules.adam(0.05, carry=True))
    image = tf.constant(START)
    loss, gradient = _value(image)
    image, state = optimizer.update(image, loss, gradient, optimizer.init(image))
    before = optimizer.output(image, state)
    image = loop.enlarge(optimizer, image, state, tf.zeros([1, 12, 16, 3]), 0.0)
    state = optimizer.resize(state, 12, 16)
    np.testing.assert_array_equal(optimizer.output(image, state), image)
    np.testing.assert_allclose(np.mean(image), np.mean(before), atol=0.01)
    assert int(state.inner.step) == 1, "the inner optimiser goes on"
    after, state = optimizer.update(image, tf.constant(1.0), tf.ones_like(image), state)
    expected = (0.99 * image + after) / 1.99
    np.testing.assert_allclose(optimizer.output(after, state), expected, atol=1e-6)


def test_the_average_continues_bit_for_bit_in_a_graph_of_unknown_size():
    optimizer = wrappers.average_iterate(rules.adam(0.05))

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3]), tf.TensorSpec([2], tf.int32)])
    def run(image, num_steps):
        state = optimizer.init(image)
        for part in range(2):
            image, state, _ = loop.minimize(value_and_gradient, optimizer, image, state, num_steps[part])
        return optimizer.output(image, state)

    np.testing.assert_array_equal(run(START, [20, 0]), run(START, [12, 8]))


@pytest.mark.parametrize("output_image", wrappers.OUTPUTS)
def test_what_is_carried_on_gives_the_same_picture_and_next_state(output_image):
    optimizer = wrappers.OUTPUTS[output_image](rules.lbfgs(history=2))
    image = tf.random.stateless_uniform([1, 6, 8, 3], (1, 2))
    state = optimizer.init(image)
    for seed in range(3):
        gradient = tf.random.stateless_normal([1, 6, 8, 3], (seed, 0))
        image, state = optimizer.update(image, tf.constant(3.0 - seed), gradient, state)
    carried = optimizer.carried(state)
    largest = max(int(tf.size(each)) for each in tf.nest.flatten(carried))
    assert largest == 6 * 8 * 3  # no pairs
    np.testing.assert_array_equal(optimizer.output(image, carried), optimizer.output(image, state))
    for one, other in zip(
        tf.nest.flatten(optimizer.resize(carried, 12, 16)),
        tf.nest.flatten(optimizer.resize(state, 12, 16)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
