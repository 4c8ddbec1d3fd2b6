"""The sample pictures by name, at any size: each size shows the same pictures."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from sample_pictures.canvas import CANVAS_HEIGHT, CANVAS_WIDTH, Array, to_image
from sample_pictures.mosaic import draw_mosaic
from sample_pictures.scene import draw_photograph
from sample_pictures.strokes import draw_strokes

PICTURES: dict[str, Callable[[np.random.Generator], Array]] = {
    "photograph.jpg": draw_photograph,
    "strokes.jpg": draw_strokes,
    "mosaic.jpg": draw_mosaic,
}


def draw(name: str, size: int, seed: int = 0) -> Image.Image:
    """Draws a sample picture.

    Args:
        name: Of `PICTURES`.
        size: The longest side in pixels.
        seed: Each picture has its own random numbers, so that none depends on another.
    """
    picture = PICTURES[name](np.random.default_rng([seed, list(PICTURES).index(name)]))
    height = round(size * CANVAS_HEIGHT / CANVAS_WIDTH)
    return to_image(picture).resize((size, height), Image.Resampling.LANCZOS)
