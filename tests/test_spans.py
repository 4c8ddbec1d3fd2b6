"""Sums over tensors of several spans, against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf import spans

ANY = tf.TensorSpec([1, None, None, 3])


@pytest.fixture(autouse=True)
def short_spans(monkeypatch):
    monkeypatch.setattr(spans, "_LENGTH", 64)
    for name in ("_inner_products", "_combination"):  # and traced with that length
        fresh = tf.function(getattr(spans, name).python_function, autograph=False)
        monkeypatch.setattr(spans, name, fresh)


def _tensors(count, height, width):
    generator = np.random.default_rng(3)
    return [generator.normal(1, 1, (1, height, width, 3)).astype(np.float32) for _ in range(count)]


SIZES = [(1, 1), (4, 16), (7, 9)]  # in one span; in three whole ones; with a rest


@pytest.mark.parametrize("size", SIZES)
def test_inner_products(size):
    *rows, first, second = _tensors(5, *size)
    expected = [[np.sum(a.astype(np.float64) * b) for b in (first, second)] for a in rows]
    found = tf.function(spans.inner_products, [[ANY] * 3, [ANY] * 2], autograph=False)(rows, [first, second])
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_combinations(size):
    tensors, factors = _tensors(4, *size), np.array([0.5, -2.0, 3.0, 0.0], np.float32)
    expected = np.tensordot(factors, np.array(tensors, np.float64), 1)
    combine = tf.function(spans.combination, [tf.TensorSpec([4]), [ANY] * 4], autograph=False)
    found = combine(factors, tensors)
    assert combine.get_concrete_function().structured_outputs.shape.as_list() == [1, None, None, 3]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_sum_of_very_many_numbers_is_as_good_as_float64(monkeypatch):
    """Summed one after the other in float32, the small ones of so many would be lost in the sum."""
    monkeypatch.undo()
    numbers = tf.fill([1, 2048, 4096, 3], 0.1)
    exact = float(np.float64(np.float32(0.1))) ** 2 * 2048 * 4096 * 3
    np.testing.assert_allclose(spans.inner_products([numbers], [numbers])[0, 0], exact, rtol=1e-4)
