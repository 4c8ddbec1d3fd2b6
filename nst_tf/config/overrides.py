"""Overrides: the settings that a user names beside a preset, and the other settings that follow from them."""

import math
import os
from collections.abc import Mapping
from typing import Any

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.config.config import Config
from nst_tf.config.scales import NUMBERS, split_steps

# Settings that stand for `scales`, with their help texts.
SCALE_SETTINGS: Mapping[str, str] = {
    "scale_factor": "from one scale to the next the picture grows so many times, or about so",
}

# The factor between scales where only the smallest is named: the default preset's.
_SCALE_FACTOR = 2.0

# More scales than this differ by less than a pixel at the sizes that any machine has memory for.
_SMALLEST_FACTOR = 1.01


# By statistic, what `style_weight` is multiplied by so that pictures have about as much of the photograph as
# with Gram matrices normalised as in gatys_pytorch. Wasserstein distances are about 1000 times smaller before
# the first step, but fall less: 1000 left nothing of the photograph, 100 is an estimate. With 1e9,
# shares of the painting's Gram matrices end at a loss of the size that gram's has.
_STATISTIC_WEIGHTS = settings.STYLE_STATISTICS.table(
    gram=1.0, gram_mean_std=1.0, wasserstein=100.0, gram_relative=1e9
)


def apply_overrides(chosen: Config, overrides: Mapping[str, Any]) -> Config:
    """Returns the config with some settings replaced.

    Some settings bring others with them. `size` is the longest side of the result, whichever side the preset
    measures and whatever aspect ratio it has. `steps` may be one number, the evaluations in all, which is
    split over the scales in the preset's proportions. `min_scale` and `scale_factor` make `scales`. A
    `style_size` replaces the preset's `style_scale`. Another optimiser brings its learning rate, another
    statistic its weight. Lists may be any sequence.

    Args:
        chosen: The config to start from.
        overrides: {setting, or name from `SCALE_SETTINGS`: value}.

    Raises:
        InputError: There is no such setting, or its value is not allowed.
    """
    for name in overrides:
        if name not in settings.SETTINGS and name not in SCALE_SETTINGS:
            raise errors.unknown_name("setting", name, [*settings.SETTINGS, *SCALE_SETTINGS])
    replaced = {name: _plain(value) for name, value in overrides.items()}
    for name in settings.PATHS:
        if isinstance(replaced.get(name), str):
            replaced[name] = os.path.expanduser(replaced[name])  # a shell leaves --init=~/a.png as it is
    if "size" in replaced:
        replaced = {"size_side": "longest", "aspect_ratio": 0.0} | replaced
    for name, other, neutral in (("style_size", "style_scale", 1.0), ("style_scale", "style_size", 0)):
        if replaced.get(name):
            replaced = {other: neutral} | replaced
    if replaced.get("optimizer", chosen.optimizer.name) != chosen.optimizer.name:
        rate = settings.LEARNING_RATES.get(
            errors.shown(replaced["optimizer"], str), chosen.optimizer.learning_rate
        )
        replaced = {"learning_rate": rate, "rate_pixels": 0, "pyramid_levels": 0} | replaced
    if "style_weight" not in replaced:
        replaced = _statistic_weights(chosen, replaced.get("style_statistics")) | replaced
    factor = replaced.pop("scale_factor", None)
    # A min_scale of 0 means none; a factor of 0 is a mistake.
    named = ["min_scale"] * bool(replaced.get("min_scale")) + ["scale_factor"] * (factor is not None)
    if named:
        errors.require("scales" not in replaced, " and ".join(named), "beside scales", "one or the other")
        size: Any = replaced.get("size", chosen.scales.size)
        replaced |= _scales(chosen.replace(size=size), replaced, factor)
    elif "scales" in replaced:
        replaced = {"min_scale": 0} | replaced
    replaced |= _steps(chosen, replaced)
    return chosen.replace(**replaced)


def typed(name: str, text: str) -> Any:
    """Returns the value of a setting from its text, as a flag has it: lists with commas.

    Args:
        name: Of the setting, or from `SCALE_SETTINGS`.
        text: As typed.

    Raises:
        InputError: There is no such setting, or the text is no value of its type.
    """
    if name in SCALE_SETTINGS:
        return _typed(name, float, text)
    if name not in settings.SETTINGS:
        raise errors.unknown_name("setting", name, [*settings.SETTINGS, *SCALE_SETTINGS])
    field = settings.SETTINGS[name]
    kind = settings.element_type(field)
    if settings.is_list(field):
        return tuple(_typed(name, kind, part.strip()) for part in text.split(",")) if text else ()
    return _typed(name, kind, text)


_TRUTHS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
_KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}


def _typed(name: str, kind: type, text: str) -> Any:
    try:
        return _TRUTHS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise errors.InputError(f"{name}: {text!r}; allowed: {_KINDS[kind]}") from None


def _statistic_weights(chosen: Config, statistic: Any) -> dict[str, Any]:
    """Returns the weights with which another statistic suits a config; none for its own and in other units.

    That of neighbours, which `style_weight` multiplies too, keeps its meaning.
    """
    own = chosen.style.statistics
    known = isinstance(statistic, str) and statistic in _STATISTIC_WEIGHTS
    if not known or statistic == own or chosen.style.normalization != "gatys_pytorch":
        return {}
    factor = _STATISTIC_WEIGHTS[statistic] / _STATISTIC_WEIGHTS[own]
    return {
        "style_weight": factor * chosen.style.weight,
        "neighbor_weight": chosen.neighbors.weight / factor,
    }


def _steps(chosen: Config, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the steps of each scale if one number is to be split or there are other scales."""
    if not {"steps", "scales"} & set(replaced):
        return {}  # a split would give the last scale a step that the preset may not have
    steps, scales = (
        replaced.get("steps", sum(chosen.scales.steps)),
        replaced.get("scales", chosen.scales.shares),
    )
    if isinstance(steps, tuple) and len(steps) == 1:  # as a flag has one number
        steps = steps[0]
    if not isinstance(steps, int) or isinstance(steps, bool) or not isinstance(scales, tuple):
        return {}
    errors.require(
        0 < steps <= settings.LARGEST_INTEGER, "steps", steps, f"from 1 to {settings.LARGEST_INTEGER}"
    )
    errors.require(scales, "scales", "none", "at least one, the last one 1")
    same = len(scales) == len(chosen.scales.steps)
    proportions = chosen.scales.steps if same else (1,) * len(scales)
    return {"steps": split_steps(steps, proportions, NUMBERS)}


def _scales(sized: Config, replaced: Mapping[str, Any], factor: Any) -> dict[str, Any]:
    """Returns `scales` from the smallest to the result's own size, about a factor apart.

    Args:
        sized: The config with the size of the result.
        replaced: The other overrides.
        factor: From one scale to the next; None keeps the number of scales.
    """
    own = sized.scales.shares
    smallest = replaced.get("min_scale", sized.scales.min_scale or round(own[0] * sized.scales.size))
    if factor is None and len(own) > 1:
        return {"min_scale": smallest}
    factor = _SCALE_FACTOR if factor is None else factor
    for name, value in {"min_scale": smallest, "scale_factor": factor}.items():
        good = isinstance(value, int | float) and not isinstance(value, bool)
        errors.require(good, name, errors.shown(value), "a number")
    errors.require(sized.scales.size > 0, "scale_factor", f"with size {sized.scales.size}", "with --size")
    good = _SMALLEST_FACTOR <= factor <= settings.LARGEST_NUMBER
    errors.require(good, "scale_factor", factor, f"{_SMALLEST_FACTOR} and above")
    errors.require(smallest > 0, "min_scale", smallest, "1 and above")
    ratio = max(1.0, sized.scales.size / smallest)
    count = round(math.log(ratio) / math.log(factor))
    shares = [ratio ** (-index / max(1, count)) for index in reversed(range(1, count + 1))]
    # The pass that compares each layer by itself follows at the result's size.
    last = (1.0, 1.0) if replaced.get("neighbor_split", sized.neighbors.split) else (1.0,)
    return {"min_scale": smallest if count else 0, "scales": (*shares, *last)}


def _plain(value: Any) -> Any:
    """Returns a value without NumPy's types, paths as text, sequences as tuples."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value
