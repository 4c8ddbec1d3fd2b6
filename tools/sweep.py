r"""Paints a picture for each value of one or two flags of nst_tf, and lays them out on one labelled sheet.

python tools/sweep.py --content=photo.jpg --style=painting.jpg --output=sheet.png \
  --rows=content_weight=10,50,200 --columns=style_weight=1,10 --size=256
python tools/sweep.py ... --columns=style=one.jpg,two.jpg,three.jpg --rows=color=style,luminance
python tools/sweep.py ... --columns='scales=1;0.5,1;0.25,0.5,1'    # semicolons where values have commas
python tools/sweep.py ... --keep=swept    # finished pictures stay there, and the same command paints the rest

Every other flag of nst_tf that is about one picture may be given, and holds for all of them; nst_tf --help
lists them. --output=FILE is the sheet, and --overwrite replaces one. All values are checked before the first
picture is painted.
"""

import logging
import os
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tool_flags
from absl import app, flags
from PIL import Image
from sweeping import axes, painting

from nst_tf import errors, runtime
from nst_tf.callbacks import figures
from nst_tf.io import pictures

_FLAGS = flags.FLAGS
flags.DEFINE_string("rows", None, "FLAG=VALUE,VALUE,...: a row of pictures for each value")
flags.DEFINE_string("columns", None, "FLAG=VALUE,VALUE,...: a column of pictures for each value")
flags.DEFINE_string("keep", None, "the folder to keep every finished picture in, with its manifest")
flags.DEFINE_integer("cell", None, "longest side of a picture on the sheet; the largest's, at most 384", 32)

# As wide as the README's pictures where there are three: a sheet is looked at whole.
_LARGEST_CELL = 384
# A row's label is narrower than its pictures, but not narrower than a flag's name.
_LABEL_SHARE, _LABEL_WIDTH = 0.5, 128
_EXIT_INTERRUPTED, _EXIT_DIVERGED = 130, 1


def main(argv: Sequence[str]) -> int:
    """Checks, paints, lays out."""
    del argv
    # TensorFlow warns of every new graph, and each picture has its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        return _sweep()
    except (errors.InputError, OSError) as error:
        tool_flags.fail(str(error))
    except KeyboardInterrupt:
        return _interrupted()


def _sweep() -> int:
    """Makes the sheet; returns the exit code."""
    tool_flags.refuse(tool_flags.OF_ONE_RUN, "a sheet has many runs")
    if not _FLAGS.output:
        raise errors.InputError("--output=FILE is missing: where to write the sheet")
    given = {side: _FLAGS[side].value for side in ("rows", "columns") if _FLAGS[side].value}
    if not given:
        raise errors.InputError("--rows and --columns are both missing; give one: --rows=FLAG=VALUE,VALUE")
    sides = {side: axes.parse(side, text, painting.allowed()) for side, text in given.items()}
    rows = list(axes.product(sides.get("rows"), sides.get("columns")))
    wanted, output = axes.flatten(rows), pathlib.Path(os.path.expanduser(_FLAGS.output))
    keep = pathlib.Path(os.path.expanduser(_FLAGS.keep)) if _FLAGS.keep else None
    sweep = painting.Sweep(wanted, keep)
    with sweep.folder() as folder:
        painted = []
        for number, settings in enumerate(wanted):
            text = f"picture {number + 1} of {len(wanted)}: {axes.label(settings)}"
            print(text, file=sys.stderr, flush=True)
            painted.append(sweep.paint(number, pathlib.Path(folder)))
            if painted[-1].exit_code == _EXIT_INTERRUPTED:
                return _interrupted()
            if painted[-1].exit_code not in (0, _EXIT_DIVERGED):
                return painted[-1].exit_code
        sheet = _sheet([picture.path for picture in painted], sides.get("rows"), sides.get("columns"))
        pictures.write(np.asarray(sheet, np.float32) / 255.0, output)
    print(f"{output}: {len(painted)} pictures on {sheet.width} x {sheet.height} pixels")
    return max(picture.exit_code for picture in painted)


def _interrupted() -> int:
    kept = "what was finished is kept" if _FLAGS.keep else "with --keep=FOLDER it could go on"
    print(f"sweep: interrupted; no sheet was written; {kept}", file=sys.stderr)
    return _EXIT_INTERRUPTED


def _sheet(paths: Sequence[pathlib.Path], rows: axes.Axis | None, columns: axes.Axis | None) -> Image.Image:
    """Returns the pictures in a grid of cells of one size, with labels to the left and above."""
    side = _FLAGS.cell or min(_LARGEST_CELL, max(max(pictures.read(path).shape) for path in paths))
    nothing = Image.new("RGB", (1, 1), "white")
    narrow = max(_LABEL_WIDTH, round(side * _LABEL_SHARE))
    heads, tops = axes.settings(rows), [_label(settings, side) for settings in axes.settings(columns)]
    grid = []
    for number, head in enumerate(heads):
        cells = [figures.fitted(path, side) for path in paths[number * len(tops) : (number + 1) * len(tops)]]
        grid.append([_label(head, narrow), *cells] if rows else cells)
    if columns:
        grid.insert(0, [nothing, *tops] if rows else tops)
    return figures.grid(grid)


def _label(settings: axes.Settings, width: int) -> Image.Image:
    """Returns the text of some settings and, where they name a picture, that picture above it."""
    shown = [figures.caption(axes.label(settings), width)]
    for flag, value in settings.items():
        if flag in ("content", "style", "init"):
            shown = [*(figures.fitted(path, width // 2) for path in axes.files(value)), *shown]
    return figures.grid([[picture] for picture in shown], gaps=(0, 4))


if __name__ == "__main__":
    runtime.settle_process()
    sys.exit(app.run(main, flags_parser=tool_flags.parse))
