"""The command's flags: made from the settings, parsed, and turned into changes of a config.

Importing this defines them on `absl.flags.FLAGS`.
"""

import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from absl import flags

from nst_tf import errors
from nst_tf.config import presets, settings
from nst_tf.config.overrides import SCALE_SETTINGS
from nst_tf.io import samples

_FLAGS = flags.FLAGS

# What a user's mistake exits with, as in Python's own argument parser.
EXIT_MISTAKE = 2

_HELP_FLAGS = frozenset({"-h", "-help", "--help", "-?", "--helpshort", "--helpfull"})

_INTRODUCTION = f"""Paints a photograph like a painting.

  nst_tf --content=photo.jpg --style=painting.jpg --output=picture.png
  nst_tf --content=sample:town --style=sample:strokes --output=picture.png

Wherever a picture file may be named, so may one of the package's own:
  {", ".join(samples.FILES)}
"""


def _define_flags() -> None:
    """Defines the command's own flags, then one for every field of the config that can be one."""
    flags.DEFINE_string("content", None, "the photograph: a picture file")
    flags.DEFINE_multi_string(
        "style", None, "the painting: a picture file; several with commas, or the flag several times"
    )
    flags.DEFINE_string(
        "content_mask", None, "a grey picture of the photograph's shape: style only where white"
    )
    flags.DEFINE_string(
        "content_regions", None, "the photograph's regions in flat colours, each with a style of its own"
    )
    flags.DEFINE_multi_string(
        "style_regions",
        None,
        "for each painting, what part of it the region of that colour is to look like: a picture in flat"
        " colours, or one colour as '#ff0000' for all of it; with commas, or the flag several times",
    )
    for name, text in SCALE_SETTINGS.items():
        flags.DEFINE_float(name, None, f"instead of scales: {text}")
    flags.DEFINE_string("output", None, "where to write the picture; the extension decides the format")
    flags.DEFINE_string("trace", None, "where to write every evaluation's losses, as CSV")
    flags.DEFINE_integer("save_every", None, "save OUTPUT-step0020.EXT and so on, every so many steps", 1)
    flags.DEFINE_string("animation", None, "where to write the picture as it develops: .gif, .webp or .mp4")
    flags.DEFINE_string("comparison", None, "where to write photograph, painting and result in one figure")
    flags.DEFINE_string("plot", None, "where to write the losses as curves: .png, .svg or .pdf")
    flags.DEFINE_string("logdir", None, "a folder for TensorBoard summaries of the run")
    flags.DEFINE_boolean("overwrite", False, "replace files that exist")
    flags.DEFINE_string("preset", "default", "the formulation by name; --list_presets lists them")
    flags.DEFINE_string("config", None, "start from a picture's manifest (its .json, or the picture itself)")
    flags.DEFINE_boolean("list_presets", False, "list the presets: source, character, cost in time")
    define = {int: flags.DEFINE_integer, bool: flags.DEFINE_boolean, float: flags.DEFINE_float}
    for name, field in settings.SETTINGS.items():
        if settings.is_list(field):
            flags.DEFINE_list(name, None, _help(name))
        else:
            define.get(settings.element_type(field), flags.DEFINE_string)(name, None, _help(name))


def _help(name: str) -> str:
    """Returns a setting's help with the allowed names and the default preset's value."""
    field, default = settings.SETTINGS[name], presets.DEFAULT.to_settings()[name]
    if name == "steps":
        default = sum(default)
    names = field.metadata["names"]
    listed = f": {', '.join(names)}" if 0 < len(names) <= _MOST_NAMES_LISTED else ""
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{field.metadata['help']}{listed} [{shown}]"


# The thirty-two layer names would drown the help text.
_MOST_NAMES_LISTED = 10

# The flags most people need, in the order in which they meet them; the others follow under their own heading.
_MAIN_FLAGS = (
    *("content", "style", "output", "preset", "size", "steps", "weights", "precision", "seed", "trace"),
    *("config", "overwrite", "list_presets"),
)

# Those that say where which style goes.
_REGION_FLAGS = ("content_mask", "outside", "content_regions", "style_regions", "guide_erosion")

# Those that say how large strokes are, and how several paintings go together.
_STYLE_FLAGS = ("style_scale", "style_size", "style_blend", "style_blend_weights")

# Those that let one see how the picture comes about.
_SHOWING_FLAGS = ("save_every", "animation", "comparison", "plot", "logdir")


def _help_text() -> str:
    """Returns what --help prints."""
    shown = _MAIN_FLAGS + _STYLE_FLAGS + _REGION_FLAGS
    rest = [name for name in settings.SETTINGS if name not in shown]
    rest[rest.index("scales") : rest.index("scales")] = list(SCALE_SETTINGS)
    return "\n".join(
        [
            _INTRODUCTION,
            "Flags; in brackets what the default preset has:",
            *map(_flag_text, _MAIN_FLAGS),
            "\nFlags for the size of strokes, and for several paintings:",
            *map(_flag_text, _STYLE_FLAGS),
            "\nFlags for a style in places, or a style for each place:",
            *map(_flag_text, _REGION_FLAGS),
            "\nFlags that show how the picture comes about:",
            *map(_flag_text, _SHOWING_FLAGS),
            "\nFlags that change the preset's formulation:",
            *map(_flag_text, rest),
        ]
    )


# What absl puts after the help of a flag that may come several times; ours says so itself.
_REPEATED = ";\n    repeat this option to specify a list of values"


def _flag_text(name: str) -> str:
    """Returns a flag's part of the help: its name, and what it means, indented."""
    head = f"--{name}" if _FLAGS[name].boolean else f"--{name}=..."
    indent = " " * 27
    return textwrap.fill(
        _FLAGS[name].help.removesuffix(_REPEATED),
        width=100,
        initial_indent=f"  {head:<24} ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags; prints the help, or one line about a wrong flag, and exits where it must."""
    if _HELP_FLAGS & set(argv[1:]):
        print(_help_text())
        sys.exit(0)
    try:
        rest: list[str] = _FLAGS(list(argv))
    except flags.Error as error:
        _fail(f"{' '.join(str(error).split())}; --help lists all flags")
    if rest[1:]:
        _fail(f"{rest[1]!r}: not a flag; files are named as in --content=FILE")
    return rest


def _fail(message: str) -> NoReturn:
    print(f"nst_tf: {message}", file=sys.stderr)
    sys.exit(EXIT_MISTAKE)


def overrides() -> dict[str, Any]:
    """Returns {field: value} of the config's flags that were given, and of those that stand for a field."""
    given: dict[str, Any] = {name: _FLAGS[name].value for name in SCALE_SETTINGS}
    for name, field in settings.SETTINGS.items():
        value = _FLAGS[name].value
        if isinstance(value, list) and settings.element_type(field) is not str:
            value = tuple(_number(name, item) for item in value)
        given[name] = tuple(value) if isinstance(value, list) else value
    return {name: value for name, value in given.items() if value is not None}


def _number(name: str, text: str) -> float:
    kind = settings.element_type(settings.SETTINGS[name])
    try:
        number: float = kind(text)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise errors.InputError(f"{name}: {text!r}; allowed: {what}, with commas") from None
    return number


_define_flags()
