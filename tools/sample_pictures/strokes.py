"""A style sample: a painting in thick brush strokes, in the post-impressionist manner.

A plan gives every point a colour and the direction the brush moves in. Strokes from broad to fine
then follow the directions, each a bundle of bristles; their relief is lit from the upper left.
A composition of its own, after no particular work. See `canvas` for conventions.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sample_pictures.canvas import (
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    Array,
    fractal_noise,
    mix,
    pixel_grid,
    ramp,
    smoothstep,
    to_array,
    to_image,
)

_HORIZON = 0.62 * CANVAS_HEIGHT
# Where the furrows of the field meet.
_FURROWS_X = 560.0

# Each disc of light: x, y, radius. Each swirl: x, y, reach, sense of rotation.
_DISCS = [(470.0, 560.0, 120.0), (1010.0, 170.0, 62.0), (170.0, 190.0, 48.0)]
_SWIRLS = [
    (760.0, 300.0, 210.0, 1.0),
    (1330.0, 420.0, 170.0, -1.0),
    (330.0, 330.0, 120.0, -1.0),
    (60.0, 520.0, 130.0, 1.0),
]
# Each tree: x, half width, height, y of its foot.
_TREES = [
    (960.0, 34.0, 230.0, 830.0),
    (1060.0, 46.0, 330.0, 880.0),
    (1225.0, 92.0, 800.0, 1030.0),
    (1395.0, 78.0, 560.0, 1090.0),
]

# Colours by position: (stops, colours) for `ramp`.
_SKY = (
    [0.0, 0.15, 0.3, 0.55, 0.8, 1.0],
    [
        (0.93, 0.70, 0.28), (0.86, 0.66, 0.35), (0.36, 0.60, 0.62),
        (0.13, 0.33, 0.62), (0.10, 0.20, 0.50), (0.07, 0.12, 0.36),
    ],
)  # fmt: skip
_SWIRL = (
    [-1, -0.2, 0.5, 1],
    [(0.06, 0.13, 0.40), (0.15, 0.36, 0.66), (0.45, 0.70, 0.72), (0.90, 0.88, 0.62)],
)
_DISC = (
    [0, 0.55, 0.8, 1.05, 1.4, 1.75, 2.3],
    [
        (1.0, 0.96, 0.66), (1.0, 0.83, 0.25), (0.93, 0.45, 0.12), (0.98, 0.80, 0.28),
        (0.86, 0.50, 0.20), (0.95, 0.82, 0.45), (0.55, 0.66, 0.50),
    ],
)  # fmt: skip
_HILL = ([0, 0.5, 1], [(0.08, 0.20, 0.36), (0.14, 0.38, 0.38), (0.30, 0.50, 0.30)])
_WHEAT = (
    [-1, -0.5, 0.1, 0.7, 1],
    [
        (0.36, 0.22, 0.12), (0.40, 0.42, 0.16), (0.80, 0.55, 0.15),
        (0.95, 0.76, 0.25), (0.99, 0.90, 0.52),
    ],
)  # fmt: skip
_TREE = (
    [-1, 0, 0.8, 1],
    [(0.03, 0.07, 0.10), (0.05, 0.17, 0.14), (0.16, 0.32, 0.14), (0.45, 0.36, 0.12)],
)
# One stroke in twenty leans halfway to a colour from elsewhere on the palette.
_ACCENTS = np.array([(0.85, 0.25, 0.10), (0.98, 0.86, 0.45), (0.10, 0.42, 0.45)])
_ACCENT_SHARE = 0.05

# Points along the longest stroke, this share of its width apart: strokes 2 to 4 widths long.
_POINTS, _PACE = 20, 0.2


class _Brush(NamedTuple):
    width: float
    strokes: int
    bristles: int


_BRUSHES = [_Brush(52.0, 800, 17), _Brush(31.0, 2600, 11), _Brush(18.0, 5500, 7)]


class _Plan:
    """What to paint: `colour` [H, W, 3] and the brush's direction (`dx`, `dy`), each [H, W]."""

    def __init__(self, x: Array, y: Array, wave: Array) -> None:
        """Starts with an open sky that the slow noise `wave` [H, W] stirs."""
        height = (_HORIZON - y) / _HORIZON + 0.10 * wave + 0.05 * np.sin(x / 130 + 5 * wave)
        self.colour = ramp(height, *_SKY)
        self.dx, self.dy = np.ones_like(x), 0.55 * np.cos(x / 150 + 3 * wave) + 0.4 * wave

    def bend(self, dx: Array, dy: Array, pull: Array) -> None:
        """Turns the brush towards (`dx`, `dy`), the more so the stronger the `pull`."""
        norm = np.hypot(dx, dy) + 1
        self.dx, self.dy = self.dx + pull * dx / norm, self.dy + pull * dy / norm

    def cover(self, colour: Array, dx: Array, dy: Array, opacity: Array) -> None:
        """Puts a thing with its own colour and direction in front."""
        self.colour = mix(self.colour, colour, opacity)
        self.dx = np.where(opacity > 0.5, dx, self.dx)
        self.dy = np.where(opacity > 0.5, dy, self.dy)

    def heading(self, points: Array) -> Array:
        """Returns the unit vectors [N, 2] along which the brush moves at `points` [N, 2]."""
        row, column = _pixels(points)
        ahead = np.stack([self.dx[row, column], self.dy[row, column]], axis=-1)
        return np.asarray(ahead / (np.linalg.norm(ahead, axis=-1, keepdims=True) + 1e-6))


def draw_strokes(rng: np.random.Generator) -> Array:
    """Draws the painting: a picture [H, W, 3]."""
    plan = _compose(rng)
    paint, relief = to_image(plan.colour), Image.new("L", (CANVAS_WIDTH, CANVAS_HEIGHT), 90)
    for brush in _BRUSHES:
        _lay_strokes(rng, plan, brush, paint, relief)
    return _light_relief(to_array(paint), relief)


def _compose(rng: np.random.Generator) -> _Plan:
    """Plans the picture from back to front."""
    x, y = pixel_grid()
    wave = fractal_noise(rng, x / 420, y / 260, 3)
    plan = _Plan(x, y, wave)
    for swirl in _SWIRLS:
        _plan_swirl(plan, x, y, *swirl)
    for disc in _DISCS:
        _plan_disc(plan, x, y, *disc)
    _plan_land(plan, x, y, wave, _HORIZON + 26 * fractal_noise(rng, x / 330, 3.0, 3))
    for tree in _TREES:
        _plan_tree(plan, x, y, *tree)
    return plan


def _plan_swirl(plan: _Plan, x: Array, y: Array, cx: float, cy: float, reach: float, spin: float) -> None:
    """Winds the sky's strokes around a point, in two spiral arms."""
    dx, dy = x - cx, (y - cy) * 1.25
    radius = np.hypot(dx, dy)
    plan.bend(-spin * dy - 0.25 * dx, spin * dx - 0.25 * dy, 4 * np.exp(-((radius / reach) ** 2)))
    arms = np.sin(2 * spin * np.arctan2(dy, dx) - radius / (0.13 * reach))
    plan.colour = mix(plan.colour, ramp(arms, *_SWIRL), 0.9 * np.exp(-((radius / reach) ** 4)))


def _plan_disc(plan: _Plan, x: Array, y: Array, cx: float, cy: float, size: float) -> None:
    """Sets a light into the sky: strokes circle within its disc and radiate outside it."""
    dx, dy = x - cx, y - cy
    radius = np.hypot(dx, dy) / size
    out = smoothstep(0.95, 1.1, radius)
    pull = 9 * np.exp(-((radius / 2.3) ** 4))
    plan.bend(out * dx - (1 - out) * dy, out * dy + (1 - out) * dx, pull)
    rings = radius + 0.12 * np.sin(9 * np.arctan2(dy, dx))
    plan.colour = mix(plan.colour, ramp(rings, *_DISC), smoothstep(2.5, 1.5, rings))


def _plan_land(plan: _Plan, x: Array, y: Array, wave: Array, ridge: Array) -> None:
    """Lays green hills below the sky, and before them a field with furrows."""
    folds = np.abs(np.sin((y - ridge) / 26 + 2 * wave + x / 300))
    along = np.ones_like(x)
    plan.cover(ramp(folds, *_HILL), along, 0.35 * np.cos(x / 140), smoothstep(-64, -56, y - ridge))
    # The furrows meet some way beyond the edge of the field, or they would form a star.
    edge = ridge + 34
    dx, dy = x - _FURROWS_X, y - edge + 60
    furrows = np.sin(30 * np.arctan2(dx, dy) + 1.5 * wave)
    plan.cover(ramp(furrows, *_WHEAT), dx, dy + 40 * np.sin(x / 60), smoothstep(-4, 4, y - edge))


def _plan_tree(plan: _Plan, x: Array, y: Array, at: float, half: float, tall: float, foot: float) -> None:
    """Raises a dark, flame-like tree, `half` being half its width."""
    up = np.clip((foot - y) / tall, 0, 1)
    # Rounding can take sin(pi) below zero, where a root has no value.
    bulge = np.maximum(np.sin(np.pi * up**0.75), 0) ** 0.7 * (1 + 0.18 * np.sin(38 * up + at))
    side = (x - at - 0.25 * half * np.sin(9 * up + at)) / (half * bulge + 1)
    inside = smoothstep(1.06, 0.94, np.abs(side)) * ((up > 0) & (up < 1))
    flames = 0.45 * np.sin(19 * up + at) + 0.3 * side
    plan.cover(ramp(np.sin(5 * side + 26 * up), *_TREE), flames, -np.ones_like(x), inside)


def _lay_strokes(
    rng: np.random.Generator, plan: _Plan, brush: _Brush, paint: Image.Image, relief: Image.Image
) -> None:
    """Draws one layer of strokes: their colours on `paint`, their thickness on `relief`."""
    start = rng.uniform((-20, -20), (CANVAS_WIDTH, CANVAS_HEIGHT), (brush.strokes, 2))
    path, aside = _follow(plan, start, _PACE * brush.width)
    shape = (brush.strokes, brush.bristles)
    offset = (np.arange(brush.bristles) + 0.5) / brush.bristles - 0.5 + rng.normal(0, 0.03, shape)
    tone = _bristle_tones(rng, shape)
    colour = _stroke_colours(rng, plan, path)[:, None] + tone[..., None]
    # The brush presses hardest in its middle; each bristle leaves a ridge as high as it is light.
    body = 1 - (2 * offset) ** 2
    inks = np.rint(255 * np.clip(colour, 0, 1)).astype(int).tolist()
    heights = np.rint(np.clip(105 + 75 * body + 520 * tone, 0, 255)).astype(int).tolist()
    spans = _bristle_spans(rng, body).tolist()
    # Wider than their spacing, or the layer below would shine through every stroke.
    line_width = max(2, round(1.6 * brush.width / brush.bristles))
    colours, bumps = ImageDraw.Draw(paint), ImageDraw.Draw(relief)
    for i in range(brush.strokes):
        for j in rng.permutation(brush.bristles).tolist():
            part = slice(*spans[i][j])
            line = (path[i, part] + offset[i, j] * brush.width * aside[i, part]).ravel().tolist()
            colours.line(line, fill=tuple(inks[i][j]), width=line_width, joint="curve")
            bumps.line(line, fill=heights[i][j], width=line_width, joint="curve")


def _follow(plan: _Plan, start: Array, pace: float) -> tuple[Array, Array]:
    """Moves from `start` [N, 2] in the plan's directions.

    Returns:
        The paths [N, _POINTS, 2] and their unit normals, of the same shape.
    """
    path = [start]
    for _ in range(_POINTS - 1):
        path.append(path[-1] + pace * plan.heading(path[-1]))
    points = np.stack(path, axis=1)
    ahead = np.gradient(points, axis=1)
    aside = np.stack([-ahead[..., 1], ahead[..., 0]], axis=-1)
    return points, aside / (np.linalg.norm(aside, axis=-1, keepdims=True) + 1e-6)


def _pixels(points: Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows and columns of the canvas pixels nearest to `points` [..., 2]."""
    column = np.clip(points[..., 0], 0, CANVAS_WIDTH - 1).astype(int)
    return np.clip(points[..., 1], 0, CANVAS_HEIGHT - 1).astype(int), column


def _stroke_colours(rng: np.random.Generator, plan: _Plan, path: Array) -> Array:
    """Takes each stroke's colour [N, 3] from the plan, and varies it."""
    count = len(path)
    colour = plan.colour[_pixels(path[:, _POINTS // 3])] + rng.normal(0, 0.035, (count, 3))
    colour += rng.normal(0, 0.05, (count, 1))
    accent = _ACCENTS[rng.integers(len(_ACCENTS), size=count)]
    weight = 0.5 * (rng.random((count, 1)) < _ACCENT_SHARE)
    return np.asarray(colour + (accent - colour) * weight)


def _bristle_tones(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Returns lightness offsets [strokes, bristles]: neighbours are alike, as paint mixes."""
    tone = 0.35 * rng.normal(0, 0.055, shape).cumsum(axis=1) + rng.normal(0, 0.045, shape)
    return np.asarray(tone - tone.mean(axis=1, keepdims=True))


def _bristle_spans(rng: np.random.Generator, body: Array) -> np.ndarray:
    """Returns the first and past-the-last path point of each bristle, [..., 2], for ragged ends."""
    late = (3 * (1 - body)).astype(int)
    begin = rng.integers(0, 4, body.shape) + late
    end = rng.integers(11, _POINTS, (len(body), 1)) - rng.integers(0, 5, body.shape) - late
    return np.stack([begin, np.maximum(end, begin + 2)], axis=-1)


def _light_relief(paint: Array, relief: Image.Image) -> Array:
    """Lights the ridges of the paint from the upper left, with a wet shine on the steepest."""
    height = to_array(relief.filter(ImageFilter.GaussianBlur(1.3)))
    down, right = np.gradient(height)
    slope = 0.7 * (right + down)
    light = np.clip(1 + 4.0 * slope, 0.55, 1.35)
    shine = 0.22 * smoothstep(0.05, 0.16, slope)
    return np.asarray(np.clip(paint * light[..., None] + shine[..., None], 0, 1))
