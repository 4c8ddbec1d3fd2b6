"""OkLab, against published values and a conversion by NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.engine import oklab
from tests import conftest
from tests.support import oracle

IMAGE = conftest.smooth_picture(3, 12, 17)[np.newaxis]


# Of white, black and the primaries of sRGB, as CSS Color 4 and Ottosson's page have them, to five digits.
@pytest.mark.parametrize(
    ("srgb", "lab"),
    [
        ((1, 1, 1), (1, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 1, 0), (0.86644, -0.23389, 0.17950)),
        ((0, 0, 1), (0.45201, -0.03246, -0.31153)),
    ],
)
def test_colours_have_their_published_values(srgb, lab):
    image = tf.constant(srgb, tf.float32, [1, 1, 1, 3])
    np.testing.assert_allclose(oklab.of_srgb(image)[0, 0, 0], lab, atol=2e-5)
    found = oklab.to_srgb(tf.constant([[[lab[:1]]]], tf.float32), tf.constant([[[lab[1:]]]], tf.float32))
    np.testing.assert_allclose(found[0, 0, 0], srgb, atol=2e-3)  # five digits, times the slope near black
    np.testing.assert_allclose(oracle.to_oklab(np.array(srgb, float)), lab, atol=2e-5)


def test_conversions_are_numpys_and_each_others_inverse():
    found = oklab.of_srgb(tf.constant(IMAGE))
    np.testing.assert_allclose(found, oracle.to_oklab(IMAGE), atol=2e-6)
    np.testing.assert_array_equal(oklab.lightness(tf.constant(IMAGE)), found[..., :1])
    np.testing.assert_array_equal(oklab.chroma(tf.constant(IMAGE)), found[..., 1:])
    np.testing.assert_allclose(oklab.to_srgb(found[..., :1], found[..., 1:]), IMAGE, atol=2e-5)
    np.testing.assert_allclose(oracle.of_oklab(oracle.to_oklab(IMAGE)), IMAGE, atol=1e-6)


def test_colours_outside_of_srgb_are_clipped():
    found = oklab.to_srgb(tf.fill([1, 2, 2, 1], 0.7), tf.fill([1, 2, 2, 2], 0.35)).numpy()
    assert found.min() == 0
    assert 0.9999 < found.max() <= 1
    assert np.isfinite(found).all()
