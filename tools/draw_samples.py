"""Draws the sample pictures: a photograph-like scene with its regions, and two paintings for its style.

Writes photograph.jpg, its regions.png and mask.png, strokes.jpg and mosaic.jpg:

  python tools/draw_samples.py --output=samples

Every picture is a float array [H, W, 3] of sRGB values in [0, 1] on one fixed canvas, and is only
then brought to the size asked for: each size shows the same pictures. The same seed draws the
same pixels on one platform.
"""

import pathlib
from collections.abc import Sequence

import tool_flags
from absl import app, flags
from PIL import Image
from sample_pictures import album

_FLAGS = flags.FLAGS
flags.DEFINE_string("output", None, "the folder to write to; made where it is missing")
flags.DEFINE_integer("size", 768, "the longest side in pixels", lower_bound=64, upper_bound=4096)
flags.DEFINE_integer("seed", 0, "another seed draws other clouds, houses, strokes and tiles", 0)
flags.DEFINE_boolean("overwrite", False, "replace files that exist")

# High enough to keep the edges of strokes and tiles free of JPEG blocks.
_QUALITY = 92


def main(argv: Sequence[str]) -> None:
    """Draws and writes every picture."""
    del argv
    _check_output()
    folder = pathlib.Path(_FLAGS.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in album.NAMES:
            image = album.draw(name, _FLAGS.size, _FLAGS.seed)
            _write(image, folder / name)
            print(f"{folder / name}: {image.width} x {image.height} pixels")
    except OSError as error:
        tool_flags.fail(f"{error.filename or folder}: {error.strerror or error}")


def _write(image: Image.Image, path: pathlib.Path) -> None:
    """Writes a picture; without --overwrite never to a file that exists."""
    with path.open("wb" if _FLAGS.overwrite else "xb") as file:
        if path.suffix == ".png":
            image.save(file, "PNG")
            return
        # Colours at full resolution: halved, they would bleed over the edges of the tiles.
        image.save(file, "JPEG", quality=_QUALITY, subsampling=0)


def _check_output() -> None:
    """Refuses what cannot be written, before the first picture is drawn, which takes seconds."""
    if not _FLAGS.output:
        tool_flags.fail("--output is missing: the folder to write to")
    existing = [name for name in album.NAMES if (pathlib.Path(_FLAGS.output) / name).exists()]
    if existing and not _FLAGS.overwrite:
        tool_flags.fail(f"{_FLAGS.output} already has {', '.join(existing)}; --overwrite replaces them")


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
