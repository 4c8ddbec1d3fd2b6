"""Draws the sample pictures: a photograph-like scene and two paintings for its style.

Writes photograph.jpg, strokes.jpg and mosaic.jpg:

  python tools/draw_samples.py --output=samples

Every picture is a float array [H, W, 3] of sRGB values in [0, 1] on one fixed canvas, and is only
then brought to the size asked for: each size shows the same pictures. The same seed draws the
same pixels on one platform.
"""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tool_flags
from absl import app, flags
from PIL import Image
from sample_pictures.canvas import CANVAS_HEIGHT, CANVAS_WIDTH, Array, to_image
from sample_pictures.mosaic import draw_mosaic
from sample_pictures.scene import draw_photograph
from sample_pictures.strokes import draw_strokes

_FLAGS = flags.FLAGS
flags.DEFINE_string("output", None, "the folder to write to; made where it is missing")
flags.DEFINE_integer("size", 768, "the longest side in pixels", lower_bound=64, upper_bound=4096)
flags.DEFINE_integer("seed", 0, "another seed draws other clouds, houses, strokes and tiles", 0)
flags.DEFINE_boolean("overwrite", False, "replace files that exist")

# High enough to keep the edges of strokes and tiles free of JPEG blocks.
_QUALITY = 92

_PICTURES: dict[str, Callable[[np.random.Generator], Array]] = {
    "photograph.jpg": draw_photograph,
    "strokes.jpg": draw_strokes,
    "mosaic.jpg": draw_mosaic,
}


def main(argv: Sequence[str]) -> None:
    """Draws and writes every picture."""
    del argv
    _check_output()
    folder = pathlib.Path(_FLAGS.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in _PICTURES.items():
            image = _resize(draw(_generator(name)), _FLAGS.size)
            _write(image, folder / name)
            print(f"{folder / name}: {image.width} x {image.height} pixels")
    except OSError as error:
        tool_flags.fail(f"{error.filename or folder}: {error.strerror or error}")


def _generator(name: str) -> np.random.Generator:
    """Returns the picture's own random numbers, so that no picture depends on another."""
    return np.random.default_rng([_FLAGS.seed, list(_PICTURES).index(name)])


def _resize(picture: Array, size: int) -> Image.Image:
    """Brings a canvas to a longest side of `size` pixels."""
    height = round(size * CANVAS_HEIGHT / CANVAS_WIDTH)
    return to_image(picture).resize((size, height), Image.Resampling.LANCZOS)


def _write(image: Image.Image, path: pathlib.Path) -> None:
    """Writes a JPEG; without --overwrite never to a file that exists."""
    with path.open("wb" if _FLAGS.overwrite else "xb") as file:
        # Colours at full resolution: halved, they would bleed over the edges of the tiles.
        image.save(file, "JPEG", quality=_QUALITY, subsampling=0)


def _check_output() -> None:
    """Refuses what cannot be written, before the first picture is drawn, which takes seconds."""
    if not _FLAGS.output:
        tool_flags.fail("--output is missing: the folder to write to")
    existing = [name for name in _PICTURES if (pathlib.Path(_FLAGS.output) / name).exists()]
    if existing and not _FLAGS.overwrite:
        tool_flags.fail(f"{_FLAGS.output} already has {', '.join(existing)}; --overwrite replaces them")


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
