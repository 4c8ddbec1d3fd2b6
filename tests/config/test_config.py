"""The config: what is checked, what a person's overrides mean, the sizes of the scales."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_tf import errors
from nst_tf.config import presets
from nst_tf.config.overrides import apply_overrides

GRAM = presets.GRAM


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "mx"}, "did you mean 'max'"),
        ({"init": "blank"}, "content, noise, gray"),
        ({"optimizer": "lbgfs"}, "did you mean 'lbfgs'"),
        ({"content_layers": ("relu4_3_1",)}, "did you mean 'relu4_3'"),
        ({"style_layers": ("block4_conv2",)}, "style_layers: 'block4_conv2'"),
        ({"content_layers": ()}, "one or more, each once"),
        ({"content_layers": "relu4_2"}, "a list"),
        ({"size": (3,)}, "a single value"),
        ({"seed": 2**31}, "from 0 to 2147483647"),
        ({"style_layers": ("relu1_1",) * 5}, "one or more, each once"),
        ({"style_layer_weights": (1.0,)}, "1 for 5 style layers"),
        ({"style_layers": (), "style_layer_weights": ()}, "unless there is a neighbor_weight"),
        ({"optimizer": "adam", "pyramid_levels": 3}, "clip: with 3 pyramid_levels"),
        ({"pyramid_levels": 17}, "0 to 16"),
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
        apply_overrides(GRAM, changes)
    assert "\n" not in str(caught.value)


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GRAM.scales.size = 3  # type: ignore[misc]


def test_size_replaces_the_presets_own_rule():
    chosen = apply_overrides(presets.GATYS_PYTORCH, {"size": 256})
    assert (chosen.scales.size, chosen.scales.size_side) == (256, "longest")
    explicit = apply_overrides(presets.GATYS_PYTORCH, {"size": 256, "size_side": "shortest"})
    assert explicit.scales.size_side == "shortest"


def test_steps_are_split_in_the_presets_proportions():
    assert apply_overrides(GRAM, {"steps": 24}).scales.steps == (10, 8, 6)
    assert apply_overrides(presets.GATYS_PYTORCH, {"steps": 7}).scales.steps == (5, 2)
    assert apply_overrides(GRAM, {"steps": (1, 2, 3)}).scales.steps == (1, 2, 3)


@given(st.integers(1, 5000))
def test_a_split_always_adds_up(total):
    steps = apply_overrides(GRAM, {"steps": total}).scales.steps
    assert sum(steps) == total
    assert min(steps) >= 0


def test_lists_arrays_and_paths_will_do():
    assert apply_overrides(GRAM, {"content_layers": ["relu3_1"]}).content.layers == ("relu3_1",)
    weights = apply_overrides(GRAM, {"style_layer_weights": np.ones(5)}).style.layer_weights
    assert weights == (1.0,) * 5
    assert apply_overrides(GRAM, {"size": np.int64(99)}).scales.size == 99
    assert apply_overrides(GRAM, {"weights": pathlib.Path("a.h5")}).network.weights == "a.h5"


def test_another_number_of_scales_shares_the_steps_out():
    chosen = apply_overrides(GRAM, {"scales": (0.5, 1.0)})
    assert chosen.scales.steps == (120, 120)
    assert apply_overrides(GRAM, {"scales": (1.0,), "steps": 7}).scales.steps == (7,)


def test_what_is_not_changed_stays():
    chosen = apply_overrides(GRAM, {"steps": (5, 2, 0)})
    assert apply_overrides(chosen, {}) == apply_overrides(chosen, {"seed": 0}) == chosen


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_last_scale_always_has_a_step(steps):
    assert apply_overrides(GRAM, {"steps": steps}).scales.steps[-1] >= 1


def test_scales_may_be_named_by_the_smallest_and_a_factor():
    chosen = apply_overrides(GRAM, {"size": 512, "min_scale": 128, "scale_factor": 2**0.5})
    np.testing.assert_allclose(
        [512 * share for share in chosen.scales.shares], [128, 181.02, 256, 362.04, 512], rtol=1e-4
    )
    assert sum(chosen.scales.steps) == sum(GRAM.scales.steps)
    # No factor reaches the smallest exactly: the nearest number of scales does, evenly.
    chosen = apply_overrides(GRAM, {"size": 300, "min_scale": 128, "scale_factor": 2})
    np.testing.assert_allclose(chosen.scales.shares, (128 / 300, 1.0))
    assert apply_overrides(GRAM, {"size": 512, "min_scale": 512, "scale_factor": 2}).scales.shares == (1.0,)
    named = apply_overrides(GRAM, {"size": 512, "scale_factor": 2.0, "steps": [5, 4, 3]})
    assert (named.scales.shares, named.scales.min_scale, named.scales.steps) == (
        (0.25, 0.5, 1.0),
        128,
        (5, 4, 3),
    )


def test_a_smallest_scale_alone_keeps_their_number():
    chosen = apply_overrides(GRAM, {"min_scale": 200})
    assert (chosen.scales.min_scale, chosen.scales.shares, chosen.scales.steps) == (
        200,
        GRAM.scales.shares,
        GRAM.scales.steps,
    )
    assert len(apply_overrides(presets.JOHNSON, {"min_scale": 128}).scales.shares) == 3
    assert apply_overrides(GRAM, {"scales": (0.5, 1.0)}).scales.min_scale == 0
    assert apply_overrides(GRAM, {"min_scale": 0}).scales.shares == GRAM.scales.shares


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_scale": -1}, "min_scale: -1; allowed: from 0"),
        ({"scale_factor": 1.0}, "scale_factor: 1.0; allowed: 1.01 and above"),
        ({"scale_factor": float("nan")}, "scale_factor: nan"),
        ({"min_scale": "x"}, "min_scale: 'x'; allowed: a whole number"),
        ({"min_scale": 128, "scales": (1.0,)}, "min_scale: beside scales"),
        ({"scale_factor": 2, "size": 0}, "scale_factor: with size 0; allowed: with --size"),
        ({"style_scale": 0.0}, "style_scale: 0.0; allowed: above 0"),
        ({"scales": (0, 1), "steps": 9}, "scales: (0.0, 1.0); allowed: coarse to fine, above 0"),
        ({"tile": "9" * 5000}, "tile: '999"),
        ({"size": 10**5000}, "size: int too long to show; allowed: from 0 to 2147483647"),
        ({"style_weight": 10**5000}, "style_weight: int too long to show; allowed: from 0"),
        ({"optimizer": 10**5000}, "optimizer: int too long to show; allowed: a name"),
        ({"style_scale": 2.0, "style_size": 100}, "style_scale and style_size: 2.0 and 100; allowed: one of"),
        ({"style_blend_weights": (0, 0)}, "style_blend_weights: (0.0, 0.0); allowed: at least one above 0"),
    ],
)
def test_contradictory_scales_and_weights_are_refused(changes, message):
    with pytest.raises(errors.InputError, match=re.escape(message)):
        apply_overrides(GRAM, changes)


def test_styles_weigh_the_same_unless_it_says_otherwise():
    chosen = apply_overrides(GRAM, {"style_blend_weights": (3, 7)})
    assert (GRAM.blend_weights(3), chosen.blend_weights(2)) == ((1.0, 1.0, 1.0), (3.0, 7.0))
    with pytest.raises(errors.InputError, match="style_blend_weights: 2 for 1 style pictures"):
        chosen.blend_weights(1)


def test_a_style_size_takes_the_place_of_a_style_scale():
    chosen = apply_overrides(GRAM.replace(style_scale=2.0), {"style_size": 100})
    assert (chosen.style.scale, chosen.style.size) == (1.0, 100)
    assert apply_overrides(chosen, {"style_scale": 0.5}).style.size == 0


def _weighed(preset, **overrides):
    """Returns the weights of the style and of neighbours within it."""
    chosen = presets.get(preset, **overrides)
    return chosen.style.weight, chosen.style.weight * chosen.neighbors.weight


def test_another_statistic_brings_a_weight_that_suits_it():
    gram, default = presets.GRAM.style.weight, presets.DEFAULT.style.weight
    assert _weighed("gram", style_statistics="wasserstein") == (100 * gram, 0)
    assert _weighed("gram", style_statistics="gram_mean_std") == (gram, 0)
    assert _weighed("gram", style_statistics="gram_relative") == (1e9 * gram, 0)
    assert _weighed("gram", style_statistics="gram") == (gram, 0)
    # Neighbours, which the style's weight multiplies too, keep theirs.
    assert _weighed("default", style_statistics="gram") == pytest.approx((1e-9 * default, default))
    assert _weighed("default", style_statistics="wasserstein") == pytest.approx((1e-7 * default, default))
    # With a weight of one's own, and where another normalisation has other units, nothing follows.
    assert _weighed("default", style_statistics="wasserstein", style_weight=3.0) == (3, 3)
    assert _weighed("johnson", style_statistics="wasserstein") == (presets.JOHNSON.style.weight, 0)


def test_numbers_are_floats_where_floats_are_meant():
    made = presets.get("default", style_weight=10**25, content_weight=1, total_variation_weight=-0.0)
    assert made.style.weight == 1e25
    assert (type(made.style.weight), type(made.content.weight)) == (float, float)
    assert str(made.total_variation.weight) == "0.0"


@pytest.mark.parametrize("preset", [3, None, [1], ("default",)])
def test_a_preset_that_is_no_name_is_refused(preset):
    with pytest.raises(errors.InputError, match=r"^preset: .* is not one of default, "):
        presets.get(preset)


def test_a_path_in_the_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    made = presets.get("default", init="~/begin.png", weights=pathlib.Path("~/vgg.h5"))
    assert (made.start.init, made.network.weights) == ("/home/someone/begin.png", "/home/someone/vgg.h5")
    monkeypatch.setenv(presets.WEIGHTS_VARIABLE, "~/other.h5")
    assert presets.get("default").network.weights == "/home/someone/other.h5"
