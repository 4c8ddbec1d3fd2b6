"""Makes the README's pictures anew, from the sample pictures and the default preset.

python tools/draw_samples.py --output=samples
python tools/make_pictures.py --samples=samples --output=tools/pictures
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tool_flags
from absl import app, flags
from PIL import Image

import nst_tf

_FLAGS = flags.FLAGS
flags.DEFINE_string("samples", "samples", "the folder that draw_samples.py wrote")
flags.DEFINE_string("output", "tools/pictures", "the folder to write to")

# Wide enough for a README at its full width, small enough to keep in a repository.
_WIDTH, _GAP, _QUALITY = 1032, 8, 85
_PAINTINGS = ("strokes.jpg", "mosaic.jpg")


def main(argv: Sequence[str]) -> int:
    """Paints the photograph like each painting and lays all pictures out in two rows."""
    del argv
    samples, output = pathlib.Path(_FLAGS.samples), pathlib.Path(_FLAGS.output)
    try:
        given = [Image.open(samples / name) for name in ("photograph.jpg", *_PAINTINGS)]
        results = [nst_tf.stylize(given[0], painting, on_progress=_show).image for painting in given[1:]]
    except (nst_tf.InputError, OSError) as error:
        tool_flags.fail(str(error))
    painted = [Image.fromarray(np.rint(image * 255).astype(np.uint8)) for image in results]
    sheet = _stack([_row(given), _row(painted)])
    output.mkdir(parents=True, exist_ok=True)
    # Colours at full resolution: strokes and tiles are colour edges.
    sheet.save(output / "overview.jpg", quality=_QUALITY, subsampling=0)
    print(output / "overview.jpg")
    return 0


def _show(progress: "nst_tf.Progress") -> None:  # quoted: evaluating it would load TensorFlow
    print(f"\rstep {progress.step} of {progress.num_steps}  ", end="", file=sys.stderr, flush=True)


def _row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Returns the pictures side by side, `_WIDTH` pixels in all."""
    width = (_WIDTH - _GAP * (len(pictures) - 1)) // len(pictures)
    height = round(width * pictures[0].height / pictures[0].width)
    row = Image.new("RGB", (_WIDTH, height), "white")
    for index, picture in enumerate(pictures):
        row.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (index * (width + _GAP), 0))
    return row


def _stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Returns the rows below each other."""
    sheet = Image.new("RGB", (_WIDTH, sum(row.height for row in rows) + _GAP * (len(rows) - 1)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
