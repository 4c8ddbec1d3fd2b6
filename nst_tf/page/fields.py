"""The fields of the page for the settings of a run: which stand open, and what is typed into the others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nst_tf import errors
from nst_tf.config import presets, settings

# Settings that have a control of their own in the page.
OPEN = ("content_weight", "style_scale", "size", "color", "style_blend_weights")

# Settings that only the person who starts the page decides: what the machine gives to one run.
HELD_BACK = ("max_memory",)

# Settings that elsewhere may name a file; here they take names alone.
_NAMES_ONLY = {"weights": settings.WEIGHTS, "init": settings.INITS}

# What a field of a yes or no takes.
_BOOLEANS = {"yes": True, "no": False}

# The step of the control of the photograph's share, as a factor of the preset's content weight: at 5 houses
# are clear that at 1 are broad strokes, and at 25 they have the photograph's colours (the README's figure).
_CONTENT_BASE = 5.0


class Field(NamedTuple):
    """A field of the folded part."""

    name: str  # of the setting
    help: str
    choices: tuple[str, ...]  # none where any text may be typed


def folded() -> dict[str, list[Field]]:
    """Returns {heading: fields} of the settings that have no control of their own, group by group."""
    found = {}
    for group in settings.GROUPS.values():
        heading = (group.__doc__ or "").strip().removesuffix(".")
        found[heading] = [
            _field(field.metadata["name"])
            for field in group.__dataclass_fields__.values()
            if field.metadata["name"] not in (*OPEN, *HELD_BACK)
        ]
    return {heading: fields for heading, fields in found.items() if fields}


def _field(name: str) -> Field:
    metadata = settings.SETTINGS[name].metadata
    choices = tuple(_NAMES_ONLY.get(name, metadata["names"]))
    if settings.element_type(settings.SETTINGS[name]) is bool:
        choices = tuple(_BOOLEANS)
    if settings.is_list(settings.SETTINGS[name]) or (metadata["beside"] and name not in _NAMES_ONLY):
        choices = ()
    return Field(name, metadata["help"], choices)


def parse(name: str, text: str) -> Any:
    """Returns the value of a setting that was typed.

    Raises:
        InputError: There is no such setting on a page, or the text is not of its type.
    """
    if name not in settings.SETTINGS or name in HELD_BACK:
        known = [each for each in settings.SETTINGS if each not in HELD_BACK]
        raise errors.unknown_name("setting", name, known)
    if name in _NAMES_ONLY and text not in _NAMES_ONLY[name]:
        raise errors.unknown_name(name, text, _NAMES_ONLY[name])
    field = settings.SETTINGS[name]
    if settings.is_list(field):
        return tuple(_item(name, part.strip()) for part in text.split(","))
    return _item(name, text.strip())


def _item(name: str, text: str) -> Any:
    """Returns one value of a setting."""
    kind = settings.element_type(settings.SETTINGS[name])
    allowed = {int: "a whole number", float: "a number", bool: "yes or no"}
    try:
        return _BOOLEANS[text] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise errors.InputError(f"{name}: {text!r}; allowed: {allowed[kind]}") from None


def overrides(typed: Mapping[str, str | None]) -> dict[str, Any]:
    """Returns {setting: value} of the fields into which anything was typed.

    Raises:
        InputError: As for `parse`.
    """
    return {name: parse(name, text) for name, text in typed.items() if text is not None and text.strip()}


def of_controls(preset: str, *, content: float, stroke: float, size: float, color: str) -> dict[str, Any]:
    """Returns {setting: value} of the controls that stand open, without those that are the preset's own.

    Args:
        preset: Its name.
        content: How much of the photograph: 0 as the preset has it, each 1 more five times its weight.
        stroke: The size of strokes, as a share of the painting's own.
        size: Longest side of the result in pixels.
        color: One of `settings.COLORS`.

    Raises:
        InputError: There is no such preset.
    """
    usual = presets.get(preset).to_settings()
    found = {
        "content_weight": usual["content_weight"] * _CONTENT_BASE**content,
        "style_scale": float(stroke),
        "size": round(size),
        "color": color,
    }
    # A style_size of the preset's would go with a style_scale beside it.
    return {name: value for name, value in found.items() if value != usual[name]}


def to_text(value: Any) -> str:
    """Returns a value as a flag takes it."""
    if isinstance(value, tuple | list):
        return ",".join(map(to_text, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
