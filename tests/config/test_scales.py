"""The sizes of a run's pictures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_tf import errors
from nst_tf.config import presets, scales
from nst_tf.config.overrides import apply_overrides

GRAM = presets.GRAM
SCALE = scales.Scale(300, 400, 1, 1.0)


def test_scales_keep_the_aspect():
    plan = scales.plan_scales(GRAM, 768, 1024)
    assert [(s.height, s.width, s.num_steps) for s in plan] == [
        (96, 128, 100),
        (192, 256, 80),
        (384, 512, 60),
    ]


def test_the_short_side_rules_where_the_preset_says_so():
    plan = scales.plan_scales(presets.GATYS_PYTORCH, 300, 400)
    assert [(s.height, s.width) for s in plan] == [(512, 683), (800, 1067)]


def test_coarse_scales_too_small_to_match_give_their_steps_to_the_next():
    plan = scales.plan_scales(apply_overrides(GRAM, {"size": 64, "min_scale": 0}), 64, 64)
    assert [(s.height, s.num_steps) for s in plan] == [(32, 180), (64, 60)]
    plan = scales.plan_scales(apply_overrides(GRAM, {"size": 20, "min_scale": 0}), 64, 64)
    assert [(s.height, s.num_steps) for s in plan] == [(20, 240)]


def test_scales_without_steps_are_left_out():
    plan = scales.plan_scales(apply_overrides(GRAM, {"steps": (0, 3, 4)}), 512, 512)
    assert [s.num_steps for s in plan] == [3, 4]


@pytest.mark.parametrize(
    ("done", "steps"),
    [
        (1, (1, 0, 0)),
        (100, (100, 0, 0)),
        (130, (100, 30, 0)),
        (239, (100, 80, 59)),
        (240, (100, 80, 60)),
    ],
)
def test_the_steps_of_a_run_that_was_stopped(done, steps):
    assert scales.steps_taken(GRAM, 768, 1024, done) == steps


def test_a_run_that_was_stopped_gives_no_steps_to_scales_that_it_did_not_use():
    # At 64 pixels the coarsest scale is left out, and its 100 steps go to the next.
    small = apply_overrides(GRAM, {"size": 64, "min_scale": 0})
    assert scales.steps_taken(small, 64, 64, 150) == (0, 150, 0)
    repeated = apply_overrides(small, {"steps": (0, 150, 0)})
    assert [(s.height, s.num_steps) for s in scales.plan_scales(repeated, 64, 64)] == [(32, 150), (64, 0)]


def test_a_result_too_small_for_the_deepest_layer_is_refused():
    with pytest.raises(errors.InputError, match="needs 16 a side"):
        scales.plan_scales(apply_overrides(GRAM, {"size": 64}), 1, 4000)
    shallow = apply_overrides(
        GRAM,
        {
            "size": 15,
            "content_layers": ("relu2_2",),
            "style_layers": ("relu1_1",),
            "style_layer_weights": (1.0,),
        },
    )
    assert scales.plan_scales(shallow, 15, 15)[-1][:2] == (15, 15)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(16, 4096))
def test_every_plan_ends_at_the_size_asked_for(height, width, size):
    chosen = apply_overrides(GRAM, {"size": size})
    try:
        plan = scales.plan_scales(chosen, height, width)
    except errors.InputError:
        assert min(height, width) < 16 or min(height, width) * size / max(height, width) < 16.5
        return
    assert max(plan[-1][:2]) == size
    assert sum(scale.num_steps for scale in plan) == 240
    assert all(min(scale[:2]) >= 16 for scale in plan)


@given(st.integers(16, 3000), st.integers(16, 3000))
def test_a_style_picture_always_suits_the_deepest_layer(height, width):
    for scale in scales.plan_scales(GRAM, 512, 512):
        assert min(scales.style_size(GRAM, scale, height, width)) >= 16


def test_a_style_picture_too_small_for_the_deepest_layer_is_refused():
    with pytest.raises(errors.InputError, match="style: 4000 x 1 pixels"):
        scales.style_size(GRAM, SCALE, 1, 4000)


def test_the_style_picture_follows_the_results_rule():
    half = SCALE._replace(share=0.5)
    assert scales.style_size(GRAM, half, 640, 1024) == (160, 256)
    assert scales.style_size(presets.GATYS_PYTORCH, SCALE, 640, 1024) == (800, 1280)


def test_a_squashed_style_picture_has_the_results_shape():
    assert scales.style_size(presets.UDACITY, SCALE, 640, 1024) == (300, 400)


def test_zero_keeps_the_contents_own_size():
    chosen = apply_overrides(GRAM, {"size": 0, "min_scale": 0})
    assert scales.plan_scales(chosen, 301, 403)[-1][:2] == (301, 403)
    assert scales.plan_scales(chosen, 301, 403)[0][:2] == (75, 101)
    assert scales.style_size(chosen, SCALE, 640, 1024) == (640, 1024)


def test_the_height_rules_where_the_preset_says_so():
    assert scales.plan_scales(presets.GORDICALEKSA, 300, 600)[-1][:2] == (400, 800)


def test_a_fixed_aspect_ratio_stretches_and_a_size_of_ones_own_does_not():
    assert scales.plan_scales(presets.ANHTU96, 300, 300)[-1][:2] == (400, 600)
    own = apply_overrides(presets.ANHTU96, {"size": 200})
    assert scales.plan_scales(own, 300, 300)[-1][:2] == (200, 200)


def test_layers_without_weight_need_no_pixels():
    texture = apply_overrides(GRAM, {"content_weight": 0.0, "size": 16})
    assert texture.used_layers() == ((), GRAM.style.layers)
    shallow = apply_overrides(GRAM, {"style_weight": 0.0, "content_layers": ("relu1_1",), "size": 4})
    assert scales.plan_scales(shallow, 4, 4)[-1][:2] == (4, 4)


@pytest.mark.parametrize(
    ("size", "expected"), [(512, [128, 256, 512]), (1024, [128, 362, 1024]), (200, [128, 160, 200])]
)
def test_the_coarsest_scale_has_its_own_pixels_whatever_the_size(size, expected):
    plan = scales.plan_scales(apply_overrides(GRAM, {"size": size}), 768, 1024)
    assert [scale.width for scale in plan] == expected
    own = scales.plan_scales(apply_overrides(GRAM, {"size": 0}), 3 * size // 4, size)
    assert [scale.width for scale in own] == expected


def test_scales_as_large_as_the_result_are_one():
    plan = scales.plan_scales(apply_overrides(GRAM, {"size": 128}), 768, 1024)
    assert plan == (scales.Scale(96, 128, sum(GRAM.scales.steps), 1.0),)


def test_scales_of_one_size_are_one_scale():
    chosen = apply_overrides(GRAM, {"size": 64, "scales": (1.0, 1.0), "steps": (2, 3)})
    assert scales.plan_scales(chosen, 64, 64) == (scales.Scale(64, 64, 5, 1.0),)


def test_the_pass_that_splits_features_follows_at_the_results_size():
    nnst = presets.get("nnst")
    plan = scales.plan_scales(nnst, 768, 1024)
    assert [(s.width, s.num_steps) for s in plan] == [
        (64, 200),
        (128, 200),
        (256, 200),
        (512, 200),
        (512, 200),
    ]
    small = scales.plan_scales(apply_overrides(nnst, {"size": 64}), 64, 64)
    assert [(s.width, s.num_steps) for s in small] == [(64, 800), (64, 200)]
    both = apply_overrides(nnst, {"size": 64, "scales": (1.0, 1.0), "steps": (2, 3)})
    assert [s.num_steps for s in scales.plan_scales(both, 64, 64)] == [2, 3]
    factor = apply_overrides(nnst, {"size": 1024, "scale_factor": 2.0, "steps": 12})
    plan = scales.plan_scales(factor, 768, 1024)
    assert [s.width for s in plan] == [64, 128, 256, 512, 1024, 1024]
    last_only = apply_overrides(nnst, {"steps": (1, 2, 3, 0, 4)})
    assert [s.num_steps for s in scales.plan_scales(last_only, 768, 1024)] == [1, 2, 3, 4]
