"""The config: what is checked, what a person's overrides mean, the sizes of the scales."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_tf import config, errors, formulations

DEFAULT = formulations.DEFAULT
SCALE = config.Scale(300, 400, 1, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "mx"}, "did you mean 'max'"),
        ({"init": "blank"}, "content, noise, gray"),
        ({"optimizer": "lbgfs"}, "did you mean 'lbfgs'"),
        ({"content_layers": ("relu4_3_1",)}, "did you mean 'relu4_3'"),
        ({"style_layers": ("block4_conv2",)}, "style_layers: 'block4_conv2'"),
        ({"content_layers": ()}, "at least one"),
        ({"style_layer_weights": (1.0,)}, "1 for 5 style layers"),
        ({"style_weight": -1.0}, "style_weight: -1.0"),
        ({"content_weight": float("nan")}, "content_weight: nan"),
        ({"content_weight": float("inf")}, "content_weight: inf"),
        ({"content_weight": 0.0, "style_weight": 0.0}, "both 0"),
        ({"size": -5}, "size: -5"),
        ({"size": 51.5}, "a whole number"),
        ({"size": "512"}, "a whole number"),
        ({"size": True}, "a whole number"),
        ({"steps": 0}, "steps: 0"),
        ({"steps": -1}, "steps: -1"),
        ({"steps": (1, 2)}, "as many as steps"),
        ({"scales": (0.5, 0.25, 1.0)}, "coarse to fine"),
        ({"scales": (0.25, 0.5, 0.9)}, "the last one 1"),
        ({"beta_1": 1.0}, "beta_1: 1.0"),
        ({"feature_divisor": 0.0}, "feature_divisor: 0.0"),
        ({"history": 0}, "history: 0"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0"),
        ({"precision": "float16"}, "auto, float32, bfloat16"),
        ({"seed": -1}, "seed: -1"),
        ({"clip": 1}, "true or false"),
        ({"sise": 5}, "did you mean 'size'"),
        ({"preset": "x"}, "setting: 'preset'"),
    ],
)
def test_what_is_not_allowed_says_so_in_one_line(changes, message):
    with pytest.raises(errors.InputError, match=re.escape(message)) as caught:
        config.override(DEFAULT, changes)
    assert "\n" not in str(caught.value)


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.size = 3  # type: ignore[misc]


def test_size_replaces_the_presets_own_rule():
    chosen = config.override(formulations.GATYS_PYTORCH, {"size": 256})
    assert (chosen.size, chosen.size_side) == (256, "longest")
    explicit = config.override(formulations.GATYS_PYTORCH, {"size": 256, "size_side": "shortest"})
    assert explicit.size_side == "shortest"


def test_steps_are_split_in_the_presets_proportions():
    assert config.override(DEFAULT, {"steps": 24}).steps == (10, 8, 6)
    assert config.override(formulations.GATYS_PYTORCH, {"steps": 7}).steps == (5, 2)
    assert config.override(DEFAULT, {"steps": (1, 2, 3)}).steps == (1, 2, 3)


@given(st.integers(1, 5000))
def test_a_split_always_adds_up(total):
    steps = config.override(DEFAULT, {"steps": total}).steps
    assert sum(steps) == total
    assert min(steps) >= 0


def test_lists_will_do_for_tuples():
    assert config.override(DEFAULT, {"content_layers": ["relu3_1"]}).content_layers == ("relu3_1",)


def test_scales_keep_the_aspect():
    scales = config.plan_scales(DEFAULT, 768, 1024)
    assert [(s.height, s.width, s.num_steps) for s in scales] == [
        (96, 128, 100),
        (192, 256, 80),
        (384, 512, 60),
    ]


def test_the_short_side_rules_where_the_preset_says_so():
    scales = config.plan_scales(formulations.GATYS_PYTORCH, 300, 400)
    assert [(s.height, s.width) for s in scales] == [(512, 683), (800, 1067)]


def test_coarse_scales_too_small_to_match_give_their_steps_to_the_next():
    scales = config.plan_scales(config.override(DEFAULT, {"size": 64}), 64, 64)
    assert [(s.height, s.num_steps) for s in scales] == [(32, 180), (64, 60)]
    scales = config.plan_scales(config.override(DEFAULT, {"size": 20}), 64, 64)
    assert [(s.height, s.num_steps) for s in scales] == [(20, 240)]


def test_scales_without_steps_are_left_out():
    scales = config.plan_scales(config.override(DEFAULT, {"steps": (0, 3, 4)}), 512, 512)
    assert [s.num_steps for s in scales] == [3, 4]


def test_a_result_too_small_for_the_deepest_layer_is_refused():
    with pytest.raises(errors.InputError, match="needs 16 a side"):
        config.plan_scales(config.override(DEFAULT, {"size": 64}), 1, 4000)
    shallow = config.override(
        DEFAULT,
        {
            "size": 15,
            "content_layers": ("relu2_2",),
            "style_layers": ("relu1_1",),
            "style_layer_weights": (1.0,),
        },
    )
    assert config.plan_scales(shallow, 15, 15)[-1][:2] == (15, 15)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(16, 4096))
def test_every_plan_ends_at_the_size_asked_for(height, width, size):
    chosen = config.override(DEFAULT, {"size": size})
    try:
        scales = config.plan_scales(chosen, height, width)
    except errors.InputError:
        assert min(height, width) * size / max(height, width) < 16.5
        return
    assert max(scales[-1][:2]) == size
    assert sum(scale.num_steps for scale in scales) == 240
    assert all(min(scale[:2]) >= 16 for scale in scales)


@given(st.integers(16, 3000), st.integers(16, 3000))
def test_a_style_picture_always_suits_the_deepest_layer(height, width):
    for scale in config.plan_scales(DEFAULT, 512, 512):
        assert min(config.style_size(DEFAULT, scale, height, width)) >= 16


def test_a_style_picture_too_small_for_the_deepest_layer_is_refused():
    with pytest.raises(errors.InputError, match="style: 4000 x 1 pixels"):
        config.style_size(DEFAULT, SCALE, 1, 4000)


def test_the_style_picture_follows_the_results_rule():
    half = SCALE._replace(share=0.5)
    assert config.style_size(DEFAULT, half, 640, 1024) == (160, 256)
    assert config.style_size(formulations.GATYS_PYTORCH, SCALE, 640, 1024) == (800, 1280)


def test_a_squashed_style_picture_has_the_results_shape():
    assert config.style_size(formulations.UDACITY, SCALE, 640, 1024) == (300, 400)


def test_zero_keeps_the_contents_own_size():
    chosen = config.override(DEFAULT, {"size": 0})
    assert config.plan_scales(chosen, 301, 403)[-1][:2] == (301, 403)
    assert config.plan_scales(chosen, 301, 403)[0][:2] == (75, 101)
    assert config.style_size(chosen, SCALE, 640, 1024) == (640, 1024)


def test_the_height_rules_where_the_preset_says_so():
    assert config.plan_scales(formulations.GORDICALEKSA, 300, 600)[-1][:2] == (400, 800)


def test_a_fixed_aspect_ratio_stretches_and_a_size_of_ones_own_does_not():
    assert config.plan_scales(formulations.ANHTU96, 300, 300)[-1][:2] == (400, 600)
    own = config.override(formulations.ANHTU96, {"size": 200})
    assert config.plan_scales(own, 300, 300)[-1][:2] == (200, 200)


def test_layers_without_weight_need_no_pixels():
    texture = config.override(DEFAULT, {"content_weight": 0.0, "size": 16})
    assert texture.used_layers() == ((), DEFAULT.style_layers)
    shallow = config.override(DEFAULT, {"style_weight": 0.0, "content_layers": ("relu1_1",), "size": 4})
    assert config.plan_scales(shallow, 4, 4)[-1][:2] == (4, 4)
