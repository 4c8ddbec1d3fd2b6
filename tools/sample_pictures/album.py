"""The sample pictures by name, at any size: each size shows the same pictures."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from sample_pictures.canvas import CANVAS_HEIGHT, CANVAS_WIDTH, Array, to_image
from sample_pictures.mosaic import draw_mosaic
from sample_pictures.scene import draw_photograph
from sample_pictures.strokes import draw_strokes
from sample_pictures.town import WATERLINE

PICTURES: dict[str, Callable[[np.random.Generator], Array]] = {
    "photograph.jpg": draw_photograph,
    "strokes.jpg": draw_strokes,
    "mosaic.jpg": draw_mosaic,
}

# The photograph's land and water in flat colours, as flags of nst_tf take them: its regions, and a mask.
_FLAT = {
    "regions.png": ((255, 0, 0), (0, 0, 255)),
    "mask.png": ((255, 255, 255), (0, 0, 0)),
}

NAMES = (*PICTURES, *_FLAT)


def draw(name: str, size: int, seed: int = 0) -> Image.Image:
    """Draws a sample picture.

    Args:
        name: Of `NAMES`.
        size: The longest side in pixels.
        seed: Each picture has its own random numbers, so that none depends on another.
    """
    height = round(size * CANVAS_HEIGHT / CANVAS_WIDTH)
    if name in _FLAT:
        land, water = _FLAT[name]
        flat = Image.new("RGB", (size, height), water)
        flat.paste(land, (0, 0, size, round(height * WATERLINE / CANVAS_HEIGHT)))
        return flat
    picture = PICTURES[name](np.random.default_rng([seed, list(PICTURES).index(name)]))
    return to_image(picture).resize((size, height), Image.Resampling.LANCZOS)
