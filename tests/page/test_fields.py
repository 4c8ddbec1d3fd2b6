"""The fields of the page: what may be typed into them, and what it means."""

from typing import Any

import pytest
from absl import flags

from nst_tf import errors
from nst_tf.commands import run_flags
from nst_tf.config import presets, settings
from nst_tf.page import fields


def _as_flags(**values):
    """Returns what the flags make of texts: the oracle of what may be typed."""
    parsed = flags.FlagValues()
    run_flags.define(parsed)
    parsed(["nst_tf", *(f"--{name}={value}" for name, value in values.items())])
    return run_flags.overrides(parsed)


def test_every_setting_has_a_control_or_a_field_or_is_held_back():
    folded = [field.name for listed in fields.folded().values() for field in listed]
    assert len(folded) == len(set(folded))
    assert {*folded, *fields.OPEN, *fields.HELD_BACK} == set(settings.SETTINGS)


def test_fields_have_the_help_of_their_flags():
    for listed in fields.folded().values():
        for field in listed:
            assert field.help == settings.SETTINGS[field.name].metadata["help"]


def _text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return fields.to_text(value)


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_every_value_of_a_preset_may_be_typed(preset):
    for name, value in presets.PRESETS[preset].config.to_settings().items():
        if name not in fields.HELD_BACK and value not in ((), ""):
            assert fields.parse(name, _text(value)) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("size", "300"),
        ("content_weight", "2.5"),
        ("style_layers", "relu1_1,relu2_1"),
        ("scales", "0.25,0.5,1"),
        ("steps", "40,30,20"),
        ("color", "luminance"),
        ("tile", "256"),
    ],
)
def test_it_means_what_the_flag_means(name, text):
    assert {name: fields.parse(name, text)} == _as_flags(**{name: text})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("size", "big", "size: 'big'; allowed: a whole number"),
        ("content_weight", "much", "content_weight: 'much'; allowed: a number"),
        ("steps", "3,x", "steps: 'x'; allowed: a whole number"),
        ("clip", "perhaps", "clip: 'perhaps'; allowed: yes or no"),
        ("weights", "/etc/passwd", "weights: '/etc/passwd' is not one of auto, imagenet"),
        ("weights", "a.npz", "weights: 'a.npz' is not one of"),
        ("init", "/etc/passwd.png", "init: '/etc/passwd.png' is not one of content, noise, gray"),
        ("init", "sample:town", "init: 'sample:town' is not one of"),
        ("max_memory", "1GiB", "setting: 'max_memory' is not one of"),
        ("sice", "3", "did you mean 'size'"),
    ],
)
def test_what_may_not_be_typed_is_refused(name, text, message):
    with pytest.raises(errors.InputError, match=message):
        fields.overrides({name: text})


def test_empty_fields_set_nothing():
    assert fields.overrides({"size": "", "seed": None, "steps": "  "}) == {}


def test_controls_as_the_preset_has_them_set_nothing():
    for name in presets.PRESETS:
        own = presets.get(name)
        shown: dict[str, Any] = {"stroke": own.style.scale, "size": own.scales.size, "color": own.color.mode}
        assert fields.of_controls(name, content=0, **shown) == {}


def test_controls_that_were_moved_set_what_they_are_about():
    found = fields.of_controls("gram", content=1, stroke=0.5, size=128.0, color="luminance")
    assert found == {"content_weight": 250.0, "style_scale": 0.5, "size": 128, "color": "luminance"}
    assert fields.of_controls("gram", content=-2, stroke=1, size=512, color="style") == {
        "content_weight": 2.0
    }
