"""What the photograph builds with: flat faces that take shadows, plaster and roof tiles.

See `canvas` for conventions.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sample_pictures.canvas import CANVAS_HEIGHT, CANVAS_WIDTH, Array, fractal_noise, to_array

Colour = Sequence[float] | np.ndarray
Point = tuple[float, float]


class Street:
    """Flat faces in `colour`, and in `detail` a map of (cover, shadow, roof), both 8-bit images."""

    def __init__(self) -> None:
        """Makes empty maps of the canvas' size."""
        size = (CANVAS_WIDTH, CANVAS_HEIGHT)
        self.colour, self.detail = Image.new("RGB", size), Image.new("RGB", size)
        self._paint, self._note = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.detail)

    def face(self, points: Sequence[Point], colour: Colour, roof: bool = False) -> None:
        """Draws a surface that hides what is behind it."""
        self._paint.polygon(points, fill=ink(colour))
        self._note.polygon(points, fill=(255, 0, 255 * roof))

    def trim(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Paints a rectangle on a surface already there."""
        self._paint.rectangle((left, top, right, bottom), fill=ink(colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Paints a disc on a surface already there."""
        self._paint.circle((x, y), radius, fill=ink(colour))

    def bar(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draws a beam, a mast or a branch, which may stand free against the sky."""
        pixels = max(1, round(width))
        self._paint.line(points, fill=ink(colour), width=pixels, joint="curve")
        self._note.line(points, fill=(255, 0, 0), width=pixels, joint="curve")

    def shadow(self, points: Sequence[Point], depth: float) -> None:
        """Darkens part of a surface already there."""
        self._note.polygon(points, fill=(255, round(255 * depth), 0))

    def shade(self, rng: np.random.Generator, scale: float, x: Array, y: Array) -> Array:
        """Returns the faces with plaster, tile courses and soft shadows: [H, W, 3]."""
        _, _, roof = np.moveaxis(to_array(self.detail), -1, 0)
        blur = ImageFilter.GaussianBlur(2.2 * scale)
        shadow = to_array(self.detail.getchannel(1).filter(blur))[..., None]
        stain = fractal_noise(rng, x / 160, y / 160, 7, 0.6)
        streak = fractal_noise(rng, x / 6, y / 80, 3)
        courses = np.sin(y * (2 * math.pi / (6.5 * scale)) + 2 * stain)
        courses += fractal_noise(rng, x / 8, y / 5, 3)
        texture = 1.03 + 0.08 * stain + 0.035 * streak + 0.13 * roof * courses
        # Shadows keep more of the sky's blue than of the sun's red.
        dim = 1 - shadow * np.array((0.64, 0.57, 0.46))
        return np.asarray(to_array(self.colour) * texture[..., None] * dim)


def ink(colour: Colour) -> tuple[int, int, int]:
    """Rounds a colour to 8 bits for Pillow."""
    red, green, blue = (round(255 * min(max(float(value), 0), 1)) for value in colour)
    return red, green, blue


def box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """Returns the corners of an upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
