"""What a person changes of a preset, and what that means for the rest of it."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from nst_tf import config, errors
from nst_tf.config import Config

# What a person may say instead of `scales`, with its help text.
SCALE_SETTINGS: Mapping[str, str] = {
    "min_scale": "the smallest scale, in pixels as --size; the scales are made by scale_factor from it up",
    "scale_factor": "from one scale to the next the picture grows so many times",
}

# From one scale to the next where only the smallest is named: the default preset's.
_SCALE_FACTOR = 2.0

# More scales than this differ by less than a pixel at the sizes that any machine has memory for.
_SMALLEST_FACTOR = 1.01


# What `style_weight` is multiplied by where Wasserstein distances take the place of Gram matrices that are
# normalised as in gatys_pytorch, which are that much larger. By looking (1, 100, 1000): with 1 the photograph
# stays as it is, with 1000 it becomes the painting.
_WASSERSTEIN_WEIGHT = 100.0


def override(chosen: Config, changes: Mapping[str, Any]) -> Config:
    """Returns the config with some fields replaced.

    Some mean what a person means by them: `size` is the longest side of the result, whatever side the
    preset measures and whatever aspect ratio it has; `steps` may be one number, the evaluations in all, split
    over the scales in the preset's proportions; `min_scale` and `scale_factor` stand for `scales`; a
    `style_size` makes nothing of the preset's `style_scale`; with another optimiser or another statistic
    comes a rate or a weight that suits it. Lists may be any sequence.

    Raises:
        InputError: There is no such field, or its value is not allowed.
    """
    names = [field.name for field in dataclasses.fields(Config) if field.name != "preset"]
    for name in changes:
        if name not in names and name not in SCALE_SETTINGS:
            raise errors.unknown_name("setting", name, [*names, *SCALE_SETTINGS])
    replaced = {name: _plain(value) for name, value in changes.items()}
    if "size" in replaced:
        replaced = {"size_side": "longest", "aspect_ratio": 0.0} | replaced
    for name, other, neutral in (("style_size", "style_scale", 1.0), ("style_scale", "style_size", 0)):
        if replaced.get(name):
            replaced = {other: neutral} | replaced
    if replaced.get("optimizer", chosen.optimizer) != chosen.optimizer:
        rate = config.LEARNING_RATES.get(str(replaced["optimizer"]), chosen.learning_rate)
        replaced = {"learning_rate": rate, "rate_pixels": 0} | replaced
    if replaced.get("style_statistics") == "wasserstein" and _compares_grams_as_gatys_pytorch(chosen):
        replaced = {"style_weight": _WASSERSTEIN_WEIGHT * chosen.style_weight} | replaced
    asked = {name: replaced.pop(name) for name in SCALE_SETTINGS if name in replaced}
    if asked:
        errors.require("scales" not in replaced, " and ".join(asked), "beside scales", "one or the other")
        replaced["scales"] = _shares(replaced.get("size", chosen.size), chosen.scales, asked)
    replaced |= _steps(chosen, replaced)
    return dataclasses.replace(chosen, **replaced)


def _compares_grams_as_gatys_pytorch(chosen: Config) -> bool:
    return (chosen.style_statistics, chosen.style_normalization) == ("gram", "gatys_pytorch")


def _steps(chosen: Config, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the steps of each scale, where one number is to be split or the scales are others."""
    if not {"steps", "scales"} & set(replaced):
        return {}  # also where the last scale was given no step, which a split never leaves it
    steps, scales = replaced.get("steps", sum(chosen.steps)), replaced.get("scales", chosen.scales)
    if isinstance(steps, tuple) and len(steps) == 1:  # as a flag has one number
        steps = steps[0]
    if not isinstance(steps, int) or isinstance(steps, bool) or not isinstance(scales, tuple):
        return {}
    errors.require(0 < steps <= config.LARGEST_INTEGER, "steps", steps, f"from 1 to {config.LARGEST_INTEGER}")
    errors.require(scales, "scales", "none", "at least one, the last one 1")
    same = len(scales) == len(chosen.steps)
    return {"steps": _split(steps, chosen.steps if same else (1,) * len(scales))}


def _shares(size: Any, own: Sequence[float], asked: Mapping[str, Any]) -> tuple[float, ...]:
    """Returns scales from the result's size down by a factor, as long as they are not below the smallest."""
    for name, value in asked.items():
        good = isinstance(value, int | float) and not isinstance(value, bool)
        errors.require(good, name, repr(value), "a number")
    errors.require(
        isinstance(size, int) and size > 0, " and ".join(asked), f"with size {size}", "with --size"
    )
    factor = asked.get("scale_factor", _SCALE_FACTOR)
    errors.require(
        _SMALLEST_FACTOR <= factor < math.inf, "scale_factor", factor, f"{_SMALLEST_FACTOR} and above"
    )
    smallest = asked.get("min_scale", max(1, own[0] * size))
    errors.require(1 <= smallest <= size, "min_scale", smallest, f"1 to {size}, the result's own size")
    # A scale that is the smallest but for rounding counts.
    count = 1 + math.floor(math.log(size / smallest) / math.log(factor) + 1e-6)
    return tuple(factor**-index for index in reversed(range(count)))


def _plain(value: Any) -> Any:
    """Returns a value without NumPy's types, paths as text, sequences as tuples."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value


def _split(total: int, proportions: Sequence[int]) -> tuple[int, ...]:
    """Returns whole numbers in these proportions that add up to `total`: largest remainders first."""
    exact = [total * share / sum(proportions) for share in proportions]
    parts = [math.floor(part) for part in exact]
    # Ties go to the finer scales, which the eye judges.
    order = sorted(range(len(exact)), key=lambda i: (exact[i] - parts[i], i), reverse=True)
    for index in order[: total - sum(parts)]:
        parts[index] += 1
    if parts and not parts[-1]:  # at least one at the result's own size
        parts[parts.index(max(parts))] -= 1
        parts[-1] = 1
    return tuple(parts)
