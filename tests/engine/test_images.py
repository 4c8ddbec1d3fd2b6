"""Images as tensors."""

import numpy as np
import tensorflow as tf

from nst_tf.engine import images


def test_resize_keeps_flat_colours_and_the_range():
    flat = tf.fill([1, 20, 30, 3], 0.25)
    np.testing.assert_allclose(images.resize(flat, 7, 11), np.full((1, 7, 11, 3), 0.25), atol=1e-5)
    checkers = tf.constant(np.indices((20, 30)).sum(0)[np.newaxis, ..., np.newaxis] % 2, tf.float32)
    resized = images.resize(checkers, 45, 61).numpy()
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_shrinking_is_antialiased():
    checkers = np.indices((64, 64)).sum(0)[np.newaxis, ..., np.newaxis] % 2
    small = images.resize(tf.constant(checkers, tf.float32), 16, 16).numpy()
    np.testing.assert_allclose(small[:, 2:-2, 2:-2], 0.5, atol=0.02)
