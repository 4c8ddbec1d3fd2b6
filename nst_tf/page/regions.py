"""Regions drawn on a photograph: strokes of a few brushes -> a label picture, a colour for each painting."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

# A brush for each painting, in their order. Six hues that differ most.
BRUSHES = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0")
# Black has no painting: the photograph's own pixels stay there.
KEEP = "#000000"

# Alpha from which a pixel at the edge of a stroke counts as painted: half.
_PAINTED = 128

# Pixels a side of the window in which the most frequent label wins: the smoothed edge between two strokes is
# one to two pixels wide, and may be nearest to a third brush.
_WINDOW = 5


class Drawn(NamedTuple):
    """What has been drawn."""

    labels: Image.Image | None  # flat colours; None where one painting is for all of the photograph
    used: tuple[int, ...]  # the paintings, from 0, that have a region
    colors: tuple[str, ...]  # of their regions


def read(layers: Sequence[Image.Image], num_styles: int) -> Drawn:
    """Returns the regions of strokes; what is not drawn on is the first painting's.

    Args:
        layers: With alpha, all of the photograph's shape, from the lowest to the uppermost. Without any, all
            paintings go together, everywhere.
        num_styles: Paintings; strokes of a brush without one are the nearest brush's.
    """
    if not layers:
        return Drawn(None, tuple(range(num_styles)), ())
    palette = [*BRUSHES[:num_styles], KEEP]
    found = np.zeros(layers[0].size[::-1], np.uint8)
    for layer in layers:
        pixels = np.asarray(layer.convert("RGBA"))
        found = np.where(pixels[..., 3] >= _PAINTED, _nearest(pixels[..., :3], palette), found)
    if len(np.unique(found)) > 1:
        found = np.asarray(Image.fromarray(found).filter(ImageFilter.ModeFilter(_WINDOW)))
    used = [index for index in np.unique(found).tolist() if index < num_styles]
    if len(np.unique(found)) == 1 and used:
        return Drawn(None, tuple(used), ())
    colors = np.array([_rgb(color) for color in palette], np.uint8)
    return Drawn(Image.fromarray(colors[found]), tuple(used), tuple(palette[index] for index in used))


def _nearest(pixels: np.ndarray, palette: Sequence[str]) -> np.ndarray:
    """Returns the index of the nearest colour of a palette for each pixel [H, W, 3] uint8."""
    distances = [np.sum((pixels.astype(np.int32) - np.array(_rgb(color))) ** 2, axis=-1) for color in palette]
    return np.argmin(distances, axis=0).astype(np.uint8)


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))
