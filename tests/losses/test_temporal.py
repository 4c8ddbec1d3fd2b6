"""The temporal loss against NumPy and finite differences; with tiles, in bfloat16, beside other losses."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import presets
from nst_tf.losses import objective, temporal
from nst_tf.losses.objective import Outside
from nst_tf.losses.values import FrameLosses, Losses
from tests import conftest

WEIGHT = 3.0
IMAGE, CONTENT, STYLE = (conftest.smooth_picture(seed)[np.newaxis] for seed in (1, 2, 3))
WARPED = np.stack([conftest.smooth_picture(seed) for seed in (4, 5, 6)])


def _reliability(count=3):
    """Returns reliabilities [J, H, W, 1], a quarter of them 0 and the right half 0 in all frames."""
    generator = np.random.default_rng(0)
    found = generator.random((count, *IMAGE.shape[1:3], 1))
    found[found < 0.25] = 0
    found[:, :, 32:] = 0
    return found.astype(np.float32)


def _expected(image, warped=WARPED, reliability=None):
    """Ruder et al. 2016, eq. 7 summed over frames, and its gradient by the image in [0, 1]."""
    reliability = (_reliability() if reliability is None else reliability).astype(np.float64)
    loss, gradient = 0.0, np.zeros(image.shape[1:])
    for picture, trusted in zip(warped, reliability, strict=True):
        difference = 255.0 * image[0].astype(np.float64) - 255.0 * picture
        loss += WEIGHT * np.sum(trusted * difference**2) / image.size
        gradient += WEIGHT * 2 * trusted * difference * 255 / image.size
    return loss, gradient[np.newaxis]


def _target(warped=WARPED, reliability=None):
    reliability = _reliability() if reliability is None else reliability
    return temporal.target(tf.constant(warped), tf.constant(reliability), tf.constant(WEIGHT))


@pytest.mark.parametrize("count", [1, 3])
def test_loss_and_gradient_are_numpys(count):
    warped, reliability = WARPED[:count], _reliability(count)
    loss, gradient = _expected(IMAGE, warped, reliability)
    target = _target(warped, reliability)
    np.testing.assert_allclose(temporal.loss(tf.constant(IMAGE), target), loss, rtol=1e-5)
    found = temporal.gradient(tf.constant(IMAGE), target)
    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-6 * np.abs(gradient).max())


def test_the_gradient_is_that_of_the_loss():
    image = tf.constant(IMAGE)
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = temporal.loss(image, _target())
    expected = tape.gradient(loss, image)
    np.testing.assert_allclose(temporal.gradient(image, _target()), expected, rtol=1e-5, atol=1e-9)


def test_pixels_that_no_frame_can_be_trusted_at_are_free():
    gradient = temporal.gradient(tf.constant(IMAGE), _target()).numpy()
    assert not gradient[:, :, 32:].any()
    assert np.isfinite(gradient).all()
    assert float(temporal.loss(tf.constant(IMAGE), _target(reliability=0 * _reliability()))) == 0


def test_a_frame_like_the_only_earlier_one_has_no_loss():
    target = _target(IMAGE, _reliability(1))
    assert float(temporal.loss(tf.constant(IMAGE), target)) < 1e-6
    assert float(temporal.loss(tf.constant(CONTENT), target)) > 100


def _judge(narrow_weights, precision="float32", tile=0, **changes):
    config = presets.get("gatys_pytorch", **(conftest.SHALLOW | changes))
    return objective.Objective(config, narrow_weights, precision, tile)


def _value_and_gradient(judge, image=IMAGE, held=True, outside=()):
    targets = judge.targets(tf.constant(CONTENT), [tf.constant(STYLE)], outside=outside)
    if held:
        targets = targets._replace(earlier=(_target(),))
    losses, gradient = judge.value_and_gradient(tf.constant(image), targets)
    return losses, gradient.numpy(), judge.evaluate(tf.constant(image), targets)


def test_the_objectives_gradient_equals_finite_differences(narrow_weights):
    """The published TensorFlow program computed this term of evaluated arrays: it had no gradient."""
    judge = _judge(narrow_weights, content_weight=1e-9, style_weight=0.0)
    gradient = _value_and_gradient(judge)[1]
    direction, step = gradient / np.linalg.norm(gradient), 2e-2
    ahead, behind = (
        float(_value_and_gradient(judge, (IMAGE + sign * step * direction).astype(np.float32))[0].total)
        for sign in (1, -1)
    )
    assert np.linalg.norm(gradient) > 0
    np.testing.assert_allclose((ahead - behind) / (2 * step), np.linalg.norm(gradient), rtol=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tile", [0, 32])
def test_it_is_added_to_the_other_losses(narrow_weights, precision, tile):
    """With tiles and in bfloat16 too it is that of the whole picture in float32."""
    judge = _judge(narrow_weights, precision, tile)
    plain, without, _ = _value_and_gradient(judge, held=False)
    losses, gradient, evaluated = _value_and_gradient(judge)
    loss, expected = _expected(IMAGE)
    assert isinstance(plain, Losses)
    assert isinstance(losses, FrameLosses)
    np.testing.assert_allclose(losses.temporal, loss, rtol=1e-5)
    np.testing.assert_allclose(losses.total, float(plain.total) + loss, rtol=1e-5)
    assert losses[1:4] == plain[1:]
    np.testing.assert_allclose(evaluated.temporal, loss, rtol=1e-5)
    np.testing.assert_allclose(evaluated.total, losses.total, rtol=1e-2 if precision == "bfloat16" else 1e-5)
    np.testing.assert_allclose(gradient - without, expected, atol=1e-5 * np.abs(gradient).max())


def test_the_surroundings_have_no_gradient(narrow_weights):
    mask = np.zeros_like(IMAGE[..., :1])
    mask[:, :, :16] = 1
    outside = (Outside(tf.constant(mask), tf.constant(CONTENT)),)
    losses, gradient, _ = _value_and_gradient(_judge(narrow_weights), outside=outside)
    assert gradient[:, :, :16].any()
    assert not gradient[:, :, 16:].any()
    seen = np.where(mask > 0, IMAGE, CONTENT)
    np.testing.assert_allclose(losses.temporal, _expected(seen)[0], rtol=1e-5)
