"""Stacks of pictures, against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.optimizers import lbfgs

ANY = tf.TensorSpec([None, None, None, 3])


@pytest.fixture
def short_spans(monkeypatch):
    monkeypatch.setattr(lbfgs, "_SPAN", 64)
    # And traced with that length.
    fresh = tf.function(lbfgs._inner_products.python_function, autograph=False)
    monkeypatch.setattr(lbfgs, "_inner_products", fresh)


def _stack(count, size, seed=3):
    return np.random.default_rng(seed).normal(1, 1, (count, *size, 3)).astype(np.float32)


def _products(left, right):
    return np.tensordot(left.astype(np.float64), right.astype(np.float64), ((1, 2, 3), (1, 2, 3)))


@pytest.mark.usefixtures("short_spans")
@pytest.mark.parametrize("size", [(1, 1), (4, 16), (7, 9)])  # in one span; in three whole ones; with a rest
def test_inner_products(size):
    stack, first, second = _stack(4, size), _stack(1, size, 5), _stack(1, size, 7)
    both = np.concatenate([first, second])
    found = tf.function(lbfgs.inner_products, [[ANY], [ANY, ANY]], autograph=False)([stack], [first, second])
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, _products(stack, both), rtol=1e-5)
    found = tf.function(lbfgs.inner_products, [[ANY, ANY]] * 2, autograph=False)(
        [first, second], [second, first]
    )
    np.testing.assert_allclose(found, _products(both, both[::-1]), rtol=1e-5)


def test_a_sum_of_very_many_numbers_is_as_good_as_float64():
    """Summed one after the other in float32, the small ones of so many would be lost in the sum."""
    numbers = tf.fill([1, 2048, 4096, 3], 0.1)
    exact = float(np.float32(0.1)) ** 2 * 2048 * 4096 * 3
    np.testing.assert_allclose(lbfgs.inner_products([numbers], [numbers])[0, 0], exact, rtol=1e-4)


def test_combination():
    stack, factors = _stack(4, (7, 9)), np.array([0.5, -2.0, 3.0, 0.0], np.float32)
    expected = np.tensordot(factors, stack.astype(np.float64), 1)[np.newaxis]
    combine = tf.function(lbfgs.combination, [tf.TensorSpec([4]), ANY], autograph=False)
    np.testing.assert_allclose(combine(factors, stack), expected, rtol=1e-5, atol=1e-5)


def test_a_stack_in_bfloat16_is_summed_in_float32():
    stack, factors = tf.cast(_stack(4, (7, 9)), tf.bfloat16), np.array([0.5, -2.0, 3.0, 0.0], np.float32)
    exact, picture = tf.cast(stack, tf.float64).numpy(), _stack(1, (7, 9), 5)
    combine = tf.function(lbfgs.combination, autograph=False)
    for each in (lbfgs.combination, combine):
        found = each(tf.constant(factors), stack)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, np.tensordot(factors, exact, 1)[np.newaxis], rtol=1e-5, atol=1e-5)
    found = lbfgs.inner_products([stack], [tf.constant(picture)])
    np.testing.assert_allclose(found, _products(exact, picture), rtol=1e-5)
    given = tf.cast(picture, tf.bfloat16)
    np.testing.assert_array_equal(lbfgs.replace(stack, tf.constant(2), given)[2], given[0])


def test_replaces_one_picture_and_leaves_what_it_was_given_as_it_was():
    stack, picture = _stack(4, (7, 9)), _stack(1, (7, 9), 5)
    expected = np.concatenate([stack[:2], picture, stack[3:]])
    replace = tf.function(lbfgs.replace, [ANY, tf.TensorSpec([], tf.int32), ANY], autograph=False)
    for function in (lbfgs.replace, replace):
        given, row = tf.constant(stack), tf.constant(2)
        np.testing.assert_array_equal(function(given, row, tf.constant(picture)), expected)
        np.testing.assert_array_equal(given, stack)


def test_a_stack_read_afterwards_is_copied_first():
    """In a graph that reads old and new, writing into the old would show in it."""

    @tf.function(autograph=False)
    def both(stack, picture):
        own = stack + 0.0
        replaced = lbfgs.replace(own, tf.constant(1), picture)
        with tf.control_dependencies([replaced]):
            return tf.identity(own), replaced

    stack, picture = _stack(3, (8, 8)), _stack(1, (8, 8), 5)
    old, new = both(tf.constant(stack), tf.constant(picture))
    np.testing.assert_array_equal(old, stack)
    np.testing.assert_array_equal(new, np.concatenate([stack[:1], picture, stack[2:]]))


def test_a_stack_that_nothing_else_reads_is_not_copied():
    def address(tensor):
        def of(array):
            return np.int64(array.__array_interface__["data"][0])

        return tf.numpy_function(of, [tensor], tf.int64)

    @tf.function(autograph=False)
    def addresses(picture):
        def step(index, stack, found):
            found = found.write(2 * index, address(stack))
            with tf.control_dependencies([found.flow]):
                stack = tf.cond(index < 9, lambda: lbfgs.replace(stack, index, picture), lambda: stack)
            return index + 1, stack, found.write(2 * index + 1, address(stack))

        found = tf.TensorArray(tf.int64, size=6)
        stack = tf.zeros([3, 64, 64, 3]) * picture  # not a constant, which the graph would go on holding
        return tf.while_loop(lambda index, *_: index < 3, step, (0, stack, found))[2].stack()

    assert len(set(addresses(tf.ones([1, 64, 64, 3])).numpy())) == 1
