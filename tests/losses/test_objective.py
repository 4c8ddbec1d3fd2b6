"""The loss and above all its gradient, on the narrow network."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import presets, settings
from nst_tf.losses import objective
from nst_tf.losses.objective import Masks, Outside
from tests import conftest

IMAGE, CONTENT, STYLE = (conftest.smooth_picture(seed)[np.newaxis] for seed in (1, 2, 3))


def _objective(narrow_weights, precision="float32", **changes):
    return objective.Objective(presets.get("gatys_pytorch", **changes), narrow_weights, precision)


def _value_and_gradient(judge, image=IMAGE):
    targets = judge.targets(tf.constant(CONTENT), [tf.constant(STYLE)])
    losses, gradient = judge.value_and_gradient(tf.constant(image), targets)
    return losses, gradient.numpy()


# Every term on its own, so that none hides behind a larger one: (changes, step). The content loss has
# kinks at every ReLU that it crosses and little else, hence its small step; the other two are large sums
# that float32 needs a larger one for.
TERMS: dict[str, tuple[dict[str, Any], float]] = {
    "content": ({"style_weight": 0.0}, 1e-3),
    "style": ({"content_weight": 0.0}, 2e-2),
    "total_variation": (
        {
            "content_weight": 1e-9,
            "style_weight": 0.0,
            "total_variation_weight": 1.0,
            "total_variation": "half_sum_squares",
        },
        2e-2,
    ),
}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_gradient_equals_finite_differences(narrow_weights, term, pooling):
    changes, step = TERMS[term]
    judge = _objective(narrow_weights, pooling=pooling, **changes)
    _, gradient = _value_and_gradient(judge)
    # Along the gradient the difference is largest, and with it the precision in float32.
    direction = gradient / np.linalg.norm(gradient)
    ahead, behind = (
        float(_value_and_gradient(judge, (IMAGE + sign * step * direction).astype(np.float32))[0].total)
        for sign in (1, -1)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), np.linalg.norm(gradient), rtol=2e-2)


def test_terms_add_up_and_are_weighted(narrow_weights):
    plain, _ = _value_and_gradient(_objective(narrow_weights, total_variation_weight=1.0))
    weighted, _ = _value_and_gradient(
        _objective(narrow_weights, content_weight=3.0, style_weight=0.5, total_variation_weight=2.0)
    )
    np.testing.assert_allclose(weighted.content, 3 * plain.content, rtol=1e-5)
    np.testing.assert_allclose(weighted.style, 0.5 * plain.style, rtol=1e-5)
    np.testing.assert_allclose(weighted.total_variation, 2 * plain.total_variation, rtol=1e-5)
    np.testing.assert_allclose(weighted.total, sum(weighted[1:]), rtol=1e-5)


def test_the_content_image_has_no_content_loss(narrow_weights):
    losses, _ = _value_and_gradient(_objective(narrow_weights), CONTENT)
    assert float(losses.content) == 0
    assert float(losses.style) > 0


def test_the_style_image_has_no_style_loss(narrow_weights):
    judge = _objective(narrow_weights)
    losses, _ = _value_and_gradient(judge, STYLE)
    assert float(losses.style) < 1e-6 * float(_value_and_gradient(judge)[0].style)


def test_the_target_does_not_depend_on_the_style_pictures_size(narrow_weights):
    judge = _objective(narrow_weights)
    once = judge.targets(tf.constant(CONTENT), [tf.fill([1, 64, 64, 3], 0.3)])
    twice = judge.targets(tf.constant(CONTENT), [tf.fill([1, 128, 128, 3], 0.3)])
    small, large = (np.linalg.norm(t.styles.statistics["relu1_1"]["gram"]) for t in (once, twice))
    # Alike up to the border, whose zero padding weighs less in a larger picture; undivided Gram
    # matrices would differ four times.
    np.testing.assert_allclose(small, large, rtol=0.1)


def test_several_styles_share_equally(narrow_weights):
    judge = _objective(narrow_weights, content_weight=0.0)
    image = tf.constant(IMAGE)
    first, second = tf.constant(STYLE), tf.constant(CONTENT)
    both = judge.evaluate(image, judge.targets(image, [first, second])).style
    alone = [float(judge.evaluate(image, judge.targets(image, [one])).style) for one in (first, second)]
    np.testing.assert_allclose(both, np.mean(alone), rtol=1e-5)


@pytest.mark.parametrize("blend", settings.STYLE_BLENDS)
def test_one_style_of_weight_1_and_others_of_0_are_that_style_exactly(narrow_weights, blend):
    judge = _objective(narrow_weights, style_blend=blend)
    image, first, second = tf.constant(IMAGE), tf.constant(STYLE), tf.constant(CONTENT)
    alone = judge.value_and_gradient(image, judge.targets(image, [first]))
    both = judge.value_and_gradient(image, judge.targets(image, [first, second], shares=[1.0, 0.0]))
    assert float(both[0].style) == float(alone[0].style)
    np.testing.assert_array_equal(both[1], alone[1])


def test_blended_losses_and_blended_targets_differ_by_a_constant_for_gram_matrices(narrow_weights):
    """The sum w |G - A_k|^2 = |G - sum w A_k|^2 + what does not depend on G: the same gradient."""
    image, styles = tf.constant(IMAGE), [tf.constant(STYLE), tf.constant(CONTENT)]
    values, gradients = {}, {}
    for blend in settings.STYLE_BLENDS:
        judge = _objective(narrow_weights, content_weight=0.0, style_blend=blend)
        targets = judge.targets(None, styles, shares=[3.0, 7.0])
        values[blend], gradients[blend] = judge.value_and_gradient(image, targets)
    error = np.linalg.norm(gradients["losses"] - gradients["targets"]) / np.linalg.norm(gradients["losses"])
    assert error < 1e-4
    assert float(values["losses"].style) > float(values["targets"].style)


def test_blend_weights_are_proportions(narrow_weights):
    judge = _objective(narrow_weights, content_weight=0.0)
    image, styles = tf.constant(IMAGE), [tf.constant(STYLE), tf.constant(CONTENT)]
    alone = [float(judge.evaluate(image, judge.targets(None, [style])).style) for style in styles]
    blended = judge.evaluate(image, judge.targets(None, styles, shares=[3.0, 7.0])).style
    np.testing.assert_allclose(blended, 0.3 * alone[0] + 0.7 * alone[1], rtol=1e-5)


def _half():
    """Returns the mask of the left half of the pictures here, [1, H, W, 1]."""
    mask = np.zeros_like(IMAGE[..., :1])
    mask[:, :, : IMAGE.shape[2] // 2] = 1
    return mask


def test_a_full_mask_equals_no_mask(narrow_weights):
    judge = _objective(narrow_weights)
    image, style, full = tf.constant(IMAGE), tf.constant(STYLE), tf.ones_like(IMAGE[..., :1])
    plain = judge.value_and_gradient(image, judge.targets(tf.constant(CONTENT), [style]))
    masks = Masks(full, (full,))
    masked = judge.value_and_gradient(image, judge.targets(tf.constant(CONTENT), [style], masks=masks))
    np.testing.assert_allclose(masked[0].total, plain[0].total, rtol=1e-6)
    np.testing.assert_allclose(masked[1], plain[1], rtol=1e-4, atol=1e-6 * np.abs(plain[1]).max())


def test_each_region_has_the_statistics_of_its_own_style(narrow_weights):
    """Where the left half is the first style and the right half the second, nothing is left to do."""
    judge = _objective(
        narrow_weights,
        content_weight=0.0,
        style_layers=("relu1_1",),
        style_layer_weights=(1.0,),
    )
    left = _half()
    both = np.concatenate([left, 1 - left], axis=-1)
    image = np.where(left > 0, STYLE, CONTENT)
    first, second = tf.constant(STYLE), tf.constant(CONTENT)
    only = [tf.constant(both * np.eye(2, dtype=np.float32)[region]) for region in (0, 1)]
    masks = Masks(tf.constant(both), tuple(only))
    right_way = judge.evaluate(tf.constant(image), judge.targets(None, [first, second], masks=masks)).style
    wrong_way = judge.evaluate(tf.constant(image), judge.targets(None, [second, first], masks=masks)).style
    assert float(right_way) < 0.02 * float(wrong_way)


def test_a_region_weighs_as_much_as_it_is_large(narrow_weights):
    judge = _objective(narrow_weights, content_weight=0.0)
    style = tf.constant(STYLE)
    masks = Masks(tf.constant(_half()), (tf.ones_like(STYLE[..., :1]),))
    shares = judge.targets(None, [style], masks=masks).styles.shares
    np.testing.assert_array_equal(shares, [[0.5]])


def test_outside_the_frame_the_photograph_is_judged_and_has_no_gradient(narrow_weights):
    judge = _objective(narrow_weights)
    photograph, mask = tf.constant(CONTENT), tf.constant(_half())
    outside = (Outside(mask, photograph),)
    targets = judge.targets(photograph, [tf.constant(STYLE)], outside=outside)
    _, gradient = judge.value_and_gradient(tf.constant(IMAGE), targets)
    assert not gradient[:, :, 32:].numpy().any()
    assert gradient[:, :, :32].numpy().any()
    changed = np.where(_half() > 0, IMAGE, 0.25).astype(np.float32)
    _, same = judge.value_and_gradient(tf.constant(changed), targets)
    np.testing.assert_array_equal(same, gradient)


def test_bfloat16_gives_nearly_the_same_gradient(narrow_weights):
    _, exact = _value_and_gradient(_objective(narrow_weights))
    losses, rounded = _value_and_gradient(_objective(narrow_weights, "bfloat16"))
    assert rounded.dtype == np.float32
    assert losses.total.dtype == tf.float32
    cosine = np.sum(exact * rounded) / (np.linalg.norm(exact) * np.linalg.norm(rounded))
    assert cosine > 0.98


def test_a_constant_image_has_a_finite_gradient(narrow_weights):
    judge = _objective(narrow_weights, total_variation_weight=1.0)
    losses, gradient = _value_and_gradient(judge, np.full_like(IMAGE, 0.5))
    assert np.isfinite(gradient).all()
    assert all(np.isfinite(float(value)) for value in losses)


def test_odd_sizes_work(narrow_weights):
    judge = _objective(narrow_weights)
    picture = tf.constant(conftest.smooth_picture(4, 37, 51)[np.newaxis])
    targets = judge.targets(picture, [tf.constant(STYLE)])
    losses, gradient = judge.value_and_gradient(0.9 * picture, targets)
    assert gradient.shape == picture.shape
    assert float(losses.total) > 0


def test_layers_may_be_before_the_relu(narrow_weights):
    after = _objective(narrow_weights)
    before = _objective(narrow_weights, content_layers=("conv4_2",))
    assert float(_value_and_gradient(before)[0].content) != float(_value_and_gradient(after)[0].content)
