"""The plan as tensors is the plan in Python, whose errors and rounding it shares."""

import hypothesis
import hypothesis.strategies as st
import tensorflow as tf

from nst_tf import errors
from nst_tf.config import presets, scales, settings
from nst_tf.config.overrides import apply_overrides
from nst_tf.serving import stateless

SIDES = st.integers(1, 5000)
LAST = st.integers(1, 50)


@st.composite
def configs(draw):
    """Returns a config with any rule of size, any scales and any proportions of steps."""
    shares = sorted(draw(st.lists(st.floats(0.05, 1.0), max_size=3)))
    return presets.get(draw(st.sampled_from(["gram", "tf_tutorial"]))).replace(
        size_side=draw(st.sampled_from(settings.SIZE_SIDES)),
        aspect_ratio=draw(st.sampled_from([0.0, 1.5, 0.7])),
        style_shape=draw(st.sampled_from(settings.STYLE_SHAPES)),
        min_scale=draw(st.sampled_from([0, 0, 20, 128])),
        **draw(st.sampled_from([{}, {"style_scale": 0.37}, {"style_scale": 2.5}, {"style_size": 333}])),
        scales=(*shares, 1.0),
        steps=(*draw(st.lists(st.integers(0, 50), min_size=len(shares), max_size=len(shares))), draw(LAST)),
    )


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(configs(), st.integers(0, 3000), st.integers(1, 9000), SIDES, SIDES, SIDES, SIDES)
def test_the_plan_is_that_of_python(base, size, num_steps, height, width, style_height, style_width):
    side_and_shape = {
        "size_side": base.scales.size_side,
        "aspect_ratio": base.scales.aspect_ratio,
    }
    chosen = apply_overrides(base, {"size": size, "steps": num_steps, **side_and_shape})
    assert chosen.scales.min_scale == base.scales.min_scale
    plan = stateless.plan_scales(
        base, tf.constant(size), tf.constant(num_steps), tf.constant(height), tf.constant(width)
    )
    try:
        expected = scales.plan_scales(chosen, height, width)
    except errors.InputError:
        smallest = min(height, width, int(plan.heights[-1]), int(plan.widths[-1]))
        assert smallest < scales.pixels_needed(chosen)
        return
    came = zip(*(tensor.numpy().tolist() for tensor in plan), strict=True)
    assert [scales.Scale(*row) for row in came] == list(expected)
    for index, scale in enumerate(expected):
        try:
            style = scales.style_size(chosen, scale, style_height, style_width)
        except errors.InputError:
            return
        sizes = stateless.style_size(
            base, tf.constant(size), plan, index, tf.constant(style_height), tf.constant(style_width)
        )
        assert tuple(int(side) for side in sizes) == style


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.lists(st.integers(1, 20), min_size=1, max_size=4))
@hypothesis.example([7, 3])
def test_a_graph_splits_steps_as_python_does(proportions):
    """Also where remainders are equal but for rounding."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)
    def split(total):
        return tf.stack(scales.split_steps(total, proportions, stateless.TENSORS))

    for total in range(1, 60):
        expected = scales.split_steps(total, proportions, scales.NUMBERS)
        assert tuple(split(tf.constant(total)).numpy()) == expected
