"""Makes the pictures of the READMEs anew, from the sample pictures.

python tools/figures/make.py --output=tools/figures/pictures

That takes about half an hour on two cores; --only=steps makes steps.jpg alone.
"""

import functools
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from PIL import Image

import nst_tf
from nst_tf import runtime
from nst_tf.callbacks import figures
from nst_tf.io import samples

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the folder of the tools
import tool_flags

_OVERVIEW = "overview"
_PHOTOGRAPH = "sample:town"
_PAINTINGS = ("sample:strokes", "sample:mosaic")

# {flag: values}: a strip for each flag, which shows what it does to the first painting's picture. The values
# were chosen by eye: the default, and about as far to either side as pictures still differ.
_STRIPS: Mapping[str, Sequence[Any]] = {
    "content_weight": (0, 1, 5, 25),
    "steps": (8, 40, 140),
    "size": (128, 256, 512),
    "scales": ((1.0,), (0.25, 0.5, 1.0), (0.125, 0.25, 0.5, 1.0)),
    "preset": ("draft", "default", "gram"),
    "color": ("style", "luminance", "statistics", "only"),
    "style_scale": (0.5, 1.0, 2.0),
}

# {strip: its pictures, each by the flags below it}, of several flags.
_BOTH = "sample:strokes,sample:mosaic"
_SHOTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "style_statistics": tuple(
        {"preset": "gram", "style_statistics": name} for name in ("gram", "gram_mean_std", "wasserstein")
    ),
    "styles": (
        {"style": _BOTH, "style_blend_weights": (3, 1)},
        {"style": _BOTH, "style_blend_weights": (1, 1)},
        {"style": _BOTH, "style_blend_weights": (1, 3)},
    ),
    "regions": (
        {"style": "sample:strokes", "content_mask": "sample:town_mask"},
        {"style": "sample:strokes", "content_mask": "sample:town_mask", "outside": "free"},
        {"style": _BOTH, "content_regions": "sample:town_regions", "style_regions": "#ff0000,#0000ff"},
    ),
}


class _Command(NamedTuple):
    """A command that lays out pictures itself."""

    arguments: tuple[str, ...]  # of Python
    shown: tuple[str, ...]  # the flags that name files to show, one below the other


_BOTH_PICTURES = ("--content=sample:town", "--style=sample:strokes")
_COMMANDS: Mapping[str, _Command] = {
    "sweep": _Command(
        (
            *("-m", "nst_tf", "sweep"),
            "--content=sample:town",
            "--rows=content_weight=1,10",
            "--columns=style=sample:strokes,sample:mosaic",
            "--size=128",
        ),
        ("output",),
    ),
    "reconstruct_layers": _Command(("-m", "nst_tf", "reconstruct", *_BOTH_PICTURES), ("output",)),
    "watching": _Command(("-m", "nst_tf", *_BOTH_PICTURES, "--size=256"), ("comparison", "plot")),
}

_NAMES = [_OVERVIEW, *_STRIPS, *_SHOTS, *_COMMANDS]

_FLAGS = flags.FLAGS
flags.DEFINE_string("output", "tools/figures/pictures", "the folder to write to")
flags.DEFINE_multi_enum("only", None, _NAMES, "a picture to make; may be repeated [all]")
# A strip's pictures are up to 338 pixels wide.
flags.DEFINE_integer("size", 384, "the longest side of the runs for a strip", lower_bound=16)

# The width of a README page.
_WIDTH, _GAP = 1032, 8
# Small enough to keep in a repository.
_JPEG: Mapping[str, Any] = {"quality": 85, "optimize": True, "progressive": True}
# JPEG's chroma subsampling: none for the overview, whose strokes and tiles are colour edges.
_OVERVIEW_COLORS, _STRIP_COLORS = "4:4:4", "4:2:2"


def main(argv: Sequence[str]) -> int:
    """Makes every picture, or those asked for."""
    del argv
    output = pathlib.Path(_FLAGS.output)
    try:
        originals = [Image.open(samples.to_path(name)) for name in (_PHOTOGRAPH, *_PAINTINGS)]
        for name in _FLAGS.only or _NAMES:
            sheet = _overview(originals) if name == _OVERVIEW else _made(name)
            colors = _OVERVIEW_COLORS if name == _OVERVIEW else _STRIP_COLORS
            output.mkdir(parents=True, exist_ok=True)
            sheet.save(output / f"{name}.jpg", subsampling=colors, **_JPEG)
            print(output / f"{name}.jpg")
    except (nst_tf.InputError, OSError) as error:
        tool_flags.fail(str(error))
    except subprocess.CalledProcessError as error:  # the command has printed why
        return int(error.returncode)
    return 0


def _overview(originals: Sequence[Image.Image]) -> Image.Image:
    """Paints the photograph like each painting and lays all pictures out in two rows."""
    painted = [_paint((("style", painting),)) for painting in _PAINTINGS]
    return _stack([_row(originals), _row(painted)], _GAP)


def _made(name: str) -> Image.Image:
    """Returns any picture except the overview."""
    return _commanded(_COMMANDS[name]) if name in _COMMANDS else _strip(name)


def _commanded(command: _Command) -> Image.Image:
    """Returns what a command lays out, no wider than the other pictures."""
    with tempfile.TemporaryDirectory() as folder:
        # `output` is always needed, whether it is shown or not.
        named = {flag: pathlib.Path(folder) / f"{flag}.png" for flag in ("output", *command.shown)}
        arguments = [f"--{flag}={path}" for flag, path in named.items()]
        subprocess.run([sys.executable, *command.arguments, *arguments], check=True)
        rows = [Image.open(named[flag]).convert("RGB") for flag in command.shown]
    for row in rows:
        row.thumbnail((_WIDTH, _WIDTH), Image.Resampling.LANCZOS)
    return _stack(rows, _GAP, max(row.width for row in rows))


def _strip(name: str) -> Image.Image:
    """Paints the photograph with each of a strip's settings, and writes the flags below."""
    shots: Sequence[Mapping[str, Any]] = _SHOTS.get(name) or [{name: value} for value in _STRIPS[name]]
    common = {"style": _PAINTINGS[0], "size": _FLAGS.size}
    cells = [_paint(tuple(sorted({**common, **shot}.items()))) for shot in shots]
    width = _cell_width(len(shots))
    captions = [figures.caption(_caption(shot), width) for shot in shots]
    return _stack([_row(cells), figures.grid([captions], (_GAP, 0))], 0)


def _caption(shot: Mapping[str, Any]) -> str:
    """Returns flags as they are typed, marked if they are the default."""
    texts = [f"--{name}={_typed(value)}" for name, value in shot.items()]
    default = nst_tf.get_config("default")
    only_settings = shot.keys() <= default.to_settings().keys()
    is_default = only_settings and nst_tf.get_config("default", **shot) == default
    return " ".join(texts) + (" (default)" if is_default else "")


def _typed(value: Any) -> str:
    return ",".join(f"{item:g}" for item in value) if isinstance(value, tuple) else str(value)


@functools.cache
def _paint(settings: tuple[tuple[str, Any], ...]) -> Image.Image:
    """Returns the photograph painted with settings named as flags, once for all strips that show it."""
    options: dict[str, Any] = dict(settings)
    styles, colors = (options.pop(name, None) for name in ("style", "style_regions"))
    image = nst_tf.stylize(
        _PHOTOGRAPH if options.get("content_weight", 1) else None,
        styles.split(","),
        style_regions=colors.split(",") if colors else (),
        on_progress=_show,
        **options,
    ).image
    return Image.fromarray(np.rint(image * 255).astype(np.uint8))


def _show(progress: "nst_tf.Progress") -> None:  # quoted: evaluating it would load TensorFlow
    print(f"\rstep {progress.step} of {progress.num_steps}  ", end="", file=sys.stderr, flush=True)


def _row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Returns the pictures side by side, `_WIDTH` pixels in all."""
    width = _cell_width(len(pictures))
    height = round(width * pictures[0].height / pictures[0].width)
    row = Image.new("RGB", (_WIDTH, height), "white")
    for index, picture in enumerate(pictures):
        row.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (index * (width + _GAP), 0))
    return row


def _cell_width(count: int) -> int:
    return (_WIDTH - _GAP * (count - 1)) // count


def _stack(rows: Sequence[Image.Image], gap: int, width: int = _WIDTH) -> Image.Image:
    """Returns the rows below each other."""
    sheet = Image.new("RGB", (width, sum(row.height for row in rows) + gap * (len(rows) - 1)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + gap
    return sheet


if __name__ == "__main__":
    runtime.prepare_process()
    app.run(main, flags_parser=tool_flags.parse)
