"""What the sample pictures share: their canvas, its coordinates and its noise.

A picture is a float32 array [H, W, 3] of sRGB values in [0, 1], H, W = CANVAS_HEIGHT, CANVAS_WIDTH.
x grows to the right and y downwards, both in canvas pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Holds floats; in float32 where there is one value per pixel, for speed.
Array = NDArray[Any]

# Twice the default output in each direction: shrinking it is what anti-aliases every edge.
CANVAS_WIDTH, CANVAS_HEIGHT = 1536, 1152


def pixel_grid() -> tuple[Array, Array]:
    """Returns the x and y of every canvas pixel, two arrays [H, W]."""
    y, x = np.mgrid[0:CANVAS_HEIGHT, 0:CANVAS_WIDTH].astype(np.float32)
    return x, y


def smoothstep(start: float, end: float, value: Array) -> Array:
    """Goes smoothly from 0 at `start` to 1 at `end`, which may lie on either side of it."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def mix(below: Array, above: Array | Sequence[float], opacity: Array) -> Array:
    """Lays the colour(s) `above` over `below` [H, W, 3] with an `opacity` [H, W]."""
    over = np.asarray(above, np.float32)
    return np.asarray(below + (over - below) * opacity[..., None], np.float32)


def ramp(position: Array, stops: Sequence[float], colours: Sequence[Sequence[float]]) -> Array:
    """Interpolates `colours` [K, 3], given at `stops` [K], at each `position` [...]: [..., 3]."""
    table = np.asarray(colours, np.float32)
    channels = [np.interp(position, stops, table[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def fractal_noise(
    rng: np.random.Generator, x: Array, y: Array | float, octaves: int, gain: float = 0.5
) -> Array:
    """Sums octaves of smooth value noise at the points (`x`, `y`), given in lattice cells.

    Each octave is turned by an angle of its own: aligned lattices would show as a grid.

    Returns:
        Noise of mean 0 and about [-1, 1], in the broadcast shape of `x` and `y`.
    """
    x, y = np.broadcast_arrays(np.asarray(x, np.float32), np.asarray(y, np.float32))
    total, weight, norm = np.zeros(x.shape, np.float32), 1.0, 0.0
    for octave in range(octaves):
        angle = 0.4 + 1.9 * octave
        u = np.float32(np.cos(angle) * 2**octave) * x - np.float32(np.sin(angle) * 2**octave) * y
        v = np.float32(np.sin(angle) * 2**octave) * x + np.float32(np.cos(angle) * 2**octave) * y
        total += np.float32(weight) * _value_noise(rng, u, v)
        norm += weight * weight
        weight *= gain
    # Independent octaves add in variance; 1.8 brings the usual extremes to about +-1.
    return np.asarray(total * np.float32(1.8 / np.sqrt(norm)), np.float32)


def _value_noise(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Interpolates one periodic 256 x 256 lattice of random values in [-1, 1]."""
    lattice = rng.uniform(-1, 1, 256 * 256).astype(np.float32)
    column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    u, v = x - column, y - row
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    left, right = column & 255, (column + 1) & 255
    upper, lower = (row & 255) << 8, ((row + 1) & 255) << 8
    above = lattice[upper + left] * (1 - u) + lattice[upper + right] * u
    below = lattice[lower + left] * (1 - u) + lattice[lower + right] * u
    return np.asarray(above * (1 - v) + below * v, np.float32)


def to_image(picture: Array) -> Image.Image:
    """Rounds a picture [H, W, 3] or mask [H, W] in [0, 1] to an 8-bit Pillow image."""
    return Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))


def to_array(image: Image.Image) -> Array:
    """Reads an 8-bit Pillow image as floats in [0, 1]: [H, W, C], or [H, W] for mode L."""
    array: Array = np.asarray(image, np.float32) / np.float32(255)
    return array
