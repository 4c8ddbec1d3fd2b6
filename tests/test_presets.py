"""Presets against the published tables."""

import dataclasses

import pytest

from nst_tf import errors, presets


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
    chosen = dataclasses.asdict(presets.get("gatys_pytorch"))
    assert {name: chosen[name] for name in expected} == expected


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_carries_its_own_name_source_and_character(name):
    preset = presets.PRESETS[name]
    assert preset.config.preset == name
    assert preset.source
    assert preset.character
    assert presets.get(name) == preset.config


def test_overrides_replace_fields():
    assert presets.get("default", size=300).size == 300
    assert presets.get("default").size == 512


def test_an_unknown_preset_offers_the_nearest():
    with pytest.raises(errors.InputError, match="did you mean 'gatys_pytorch'"):
        presets.get("gatys_torch")


def test_the_environment_sets_the_default_weights(monkeypatch):
    assert presets.get("default").weights == "auto"
    monkeypatch.setenv(presets.WEIGHTS_VARIABLE, "builtin")
    assert presets.get("default").weights == "builtin"
    assert presets.get("default", weights="imagenet").weights == "imagenet"
    monkeypatch.setenv(presets.WEIGHTS_VARIABLE, "")
    assert presets.get("default").weights == "auto"


def test_an_optimizer_of_ones_own_comes_with_its_own_learning_rate():
    assert presets.get("gray_canvas").learning_rate == 1
    assert presets.get("gray_canvas", optimizer="adam").learning_rate == 5
    assert presets.get("keras_example", optimizer="adam").learning_rate == 5
    assert presets.get("keras_example", optimizer="sgd").learning_rate == 100
    assert presets.get("johnson", optimizer="adam", learning_rate=10.0).learning_rate == 10
    assert presets.get("johnson", optimizer="momentum").learning_rate == 0
