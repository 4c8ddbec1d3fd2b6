"""A style sample: a mosaic of a leaping fish, with rows of tesserae that follow every contour.

A cartoon gives every point its region, its colour and the row of tiles it lies in. Tiles are dealt
along the rows and evened out (a centroidal Voronoi diagram in a metric that makes cells square and
turns them with the rows, after Hausner's "Simulating decorative mosaics", 2001). A tile never
leaves its region, so outlines stay sharp. See `canvas` for conventions.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import ImageFilter

from sample_pictures.canvas import (
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    Array,
    fractal_noise,
    mix,
    pixel_grid,
    smoothstep,
    to_array,
    to_image,
)

# The side of a tile in canvas pixels, half of that in the picture as written.
_TILE = 25.0
# Steps of Lloyd's algorithm; the rows hardly move after these.
_SETTLING_STEPS = 6

_Colour = tuple[float, float, float]
_IVORY, _GOLD, _TERRACOTTA = (0.93, 0.88, 0.76), (0.86, 0.64, 0.20), (0.76, 0.36, 0.22)
_RUST, _GREEN, _TURQUOISE = (0.50, 0.18, 0.12), (0.08, 0.26, 0.20), (0.10, 0.58, 0.62)
_PALE, _DEEP, _GROUT = (0.52, 0.79, 0.76), (0.05, 0.33, 0.42), (0.30, 0.26, 0.22)

_SUN = (480.0, 430.0)
_SEA_TOP, _WAVE = 640.0, 132.0
# The fish bends along a circle: x, y, radius; angles of its tail and its mouth.
_BEND, _BEND_RADIUS, _TAIL_ANGLE, _BODY_ANGLE = (965.0, 915.0), 350.0, -2.75, 2.35
_BODY_LENGTH = _BEND_RADIUS * _BODY_ANGLE
_TOOTH = 96.0


class _Cartoon:
    """The design, each array [H, W]: `region` numbers, `row` offsets in pixels, the `angle` across.

    The rows of tiles are the contours of `row`; `colour` is [H, W, 3].
    """

    def __init__(self) -> None:
        shape = (CANVAS_HEIGHT, CANVAS_WIDTH)
        self.region = np.zeros(shape, np.int32)
        self.row, self.angle = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.colour = np.zeros((*shape, 3), np.float32)
        self._fills = 0

    def fill(self, inside: np.ndarray, row: Array, colour: Array | _Colour, part: Array | int = 0) -> None:
        """Covers `inside` [H, W]; tiles stop where `part` (integers below 1000) changes."""
        self._fills += 1
        down, right = np.gradient(row)
        numbers = 1000 * self._fills + np.broadcast_to(part, inside.shape).astype(np.int32)
        self.region[inside] = numbers[inside]
        self.row[inside] = row[inside]
        self.angle[inside] = np.arctan2(down, right)[inside]
        self.colour[inside] = np.broadcast_to(colour, self.colour.shape)[inside]


def draw_mosaic(rng: np.random.Generator) -> Array:
    """Draws the mosaic: a picture [H, W, 3]."""
    x, y = pixel_grid()
    cartoon = _Cartoon()
    _design_sky(cartoon, x, y)
    _design_sea(cartoon, x, y)
    _design_fish(cartoon, x, y)
    _design_border(cartoon, x, y)
    return _set_tiles(rng, cartoon, _place_tiles(rng, cartoon), x, y)


def _bands(value: Array, edges: Sequence[float], colours: Sequence[_Colour]) -> Array:
    """Returns colours [H, W, 3] that change abruptly where `value` [H, W] passes `edges`."""
    return np.asarray(colours, np.float32)[np.digitize(value, edges)]


def _design_sky(cartoon: _Cartoon, x: Array, y: Array) -> None:
    """A sun with sixteen rays; the sky lies in rings around it."""
    dx, dy = x - _SUN[0], y - _SUN[1]
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    rings = [300, 350, 525, 575, 750, 800, 975]
    sky = _bands(radius, rings, [_IVORY, _PALE] * 4)
    cartoon.fill(radius >= 0, radius, sky)
    wave = np.cos(8 * angle)
    ray = np.floor((angle + math.pi) / (math.pi / 8) + 0.5).astype(np.int32)
    for colour, sign, reach in ((_GOLD, 1, 120), (_TERRACOTTA, -1, 80)):
        tip = 140 + reach * np.maximum(sign * wave, 0) ** 0.8
        cartoon.fill((radius < tip) & (sign * wave > 0), radius, colour, ray)
    disc = _bands(radius, [25, 50, 100, 125], [_RUST, _TERRACOTTA, _GOLD, _IVORY, _RUST])
    cartoon.fill(radius < 150, radius, disc)


def _design_sea(cartoon: _Cartoon, x: Array, y: Array) -> None:
    """Rows of round waves, each row hiding the lower half of the one behind it."""
    calm = [_PALE, _DEEP, _TURQUOISE, _PALE, _DEEP]
    gilt = [_GOLD, _TURQUOISE, _DEEP, _TURQUOISE, _GREEN]
    for number in range(9):
        offset = x - (number % 2) * _WAVE
        column = np.floor(offset / (2 * _WAVE))
        centre_y = _SEA_TOP + _WAVE * (1 + 0.5 * number)
        radius = np.hypot(offset - (2 * column + 1) * _WAVE, y - centre_y)
        colour = _bands(radius, [26, 52, 78, 105], calm if number % 2 else gilt)
        # Columns start at -1.
        cartoon.fill(radius < _WAVE, radius, colour, column + 1)


def _design_fish(cartoon: _Cartoon, x: Array, y: Array) -> None:
    """A fish leaping to the right, with an outline of one dark row."""
    dx, dy = x - _BEND[0], y - _BEND[1]
    # Angles start anew below the fish, away from its tail.
    turn = (np.arctan2(dy, dx) - _TAIL_ANGLE + 1.5) % (2 * math.pi) - 1.5
    along = turn / _BODY_ANGLE
    across = np.hypot(dx, dy) - _BEND_RADIUS
    t = np.clip(along, 0, 1)
    # Rounding can take sin(pi) below zero, where a root has no value.
    bulge = np.maximum(np.sin(math.pi * t**0.85), 0) ** 0.75
    half = 108 * bulge * (0.75 + 0.25 * t) + 18 * (1 - t)
    trunk = (along > 0) & (along < 1)
    _design_fins(cartoon, along, across, half)
    cartoon.fill(trunk & (np.abs(across) < half + _TILE), across, _GREEN)
    share = across / np.maximum(half, 1)
    flank = _bands(share, [-0.45, 0.05, 0.55], [_IVORY, _GOLD, _TERRACOTTA, _RUST])
    body = trunk & (np.abs(share) < 1)
    cartoon.fill(body, across, flank)
    face = _bands(share, [-0.2], [_IVORY, _TERRACOTTA])
    cartoon.fill(body & (along > 0.80), _BODY_LENGTH * along, face)
    angle = _TAIL_ANGLE + 0.87 * _BODY_ANGLE
    eye_x = _BEND[0] + (_BEND_RADIUS + 30) * math.cos(angle)
    eye_y = _BEND[1] + (_BEND_RADIUS + 30) * math.sin(angle)
    eye = np.hypot(x - eye_x, y - eye_y)
    cartoon.fill(eye < 37, eye, _bands(eye, [14], [_GREEN, _IVORY]))


def _design_fins(cartoon: _Cartoon, along: Array, across: Array, half: Array) -> None:
    """The forked tail and the back fin, each within its dark outline."""
    length = _BODY_LENGTH * along
    opening = np.clip(-along / 0.26, 0, 1)
    spread = 16 + 125 * opening**0.8
    tail = (along < 0.03) & (along > -0.26) & (np.abs(across) < spread)
    tail &= np.abs(across) >= 90 * np.clip((opening - 0.45) / 0.55, 0, 1)
    rim = (along < 0.03) & (along > -0.295) & (np.abs(across) < spread + _TILE)
    cartoon.fill(rim, length, _IVORY)
    cartoon.fill(tail, length, _bands(along, [-0.2, -0.09], [_RUST, _TERRACOTTA, _GOLD]))
    height = half + 60 * np.sin(math.pi * np.clip((along - 0.30) / 0.4, 0, 1))
    fin = (across > 0) & (along > 0.30) & (along < 0.70)
    cartoon.fill(fin & (across < height + _TILE), across - height, _GREEN)
    cartoon.fill(fin & (across < height), length - 0.5 * across, _TURQUOISE)


def _design_border(cartoon: _Cartoon, x: Array, y: Array) -> None:
    """Straight courses around the picture, with a band of teeth between two gold ones."""
    from_side = np.minimum(x + 1, CANVAS_WIDTH - x)
    from_end = np.minimum(y + 1, CANVAS_HEIGHT - y)
    depth = np.minimum(from_side, from_end)
    along = np.where(from_side < from_end, y, x)
    cartoon.fill(depth < 152, depth, _GOLD)
    cartoon.fill(depth < 126, depth, _IVORY)
    tooth = np.abs(2 * (along / _TOOTH % 1) - 1)
    number = np.floor(along / _TOOTH + 0.5)
    cartoon.fill((depth < 126) & (depth - 50 < 76 * tooth), depth, _TERRACOTTA, number)
    cartoon.fill(depth < 50, depth, _GOLD)
    cartoon.fill(depth < 25, depth, _GREEN)


def _place_tiles(rng: np.random.Generator, cartoon: _Cartoon) -> Array:
    """Returns the centres (x, y) of the tiles, [N, 2], evenly spread along their rows."""
    # Places need no more than every second pixel.
    region, angle = cartoon.region[::2, ::2], cartoon.angle[::2, ::2]
    points = _deal_tiles(rng, region, cartoon.row[::2, ::2] / 2, _TILE / 2)
    for _ in range(_SETTLING_STEPS):
        column, row = points.astype(int).T
        weight = np.ones(len(points), np.float32)
        label = _claim_pixels(points, angle[row, column], region, _TILE / 2, weight)
        points = _to_centroids(points, label, region)
    return 2 * points + 0.5


def _deal_tiles(rng: np.random.Generator, region: np.ndarray, row: Array, tile: float) -> Array:
    """Takes points nearest the middle of a row first, none too near another of its region."""
    height, width = region.shape
    # A little disorder keeps the rows from starting all at the same place.
    off_row = np.abs(row / tile % 1 - 0.5) + rng.uniform(0, 0.12, row.shape)
    spacing = 0.86 * tile
    reach = int(spacing)
    steps = np.arange(-reach, reach + 1)
    disc = np.hypot(steps[:, None], steps) < spacing
    free = np.ones((height, width), bool)
    flat, found = free.reshape(-1), []
    for index in np.argsort(off_row, axis=None).tolist():
        if not flat[index]:
            continue
        y, x = divmod(index, width)
        found.append((x, y))
        top, left = max(y - reach, 0), max(x - reach, 0)
        window = np.s_[top : y + reach + 1, left : x + reach + 1]
        around = region[window]
        first_row, first_column = top - y + reach, left - x + reach
        near = disc[first_row:, first_column:][: around.shape[0], : around.shape[1]]
        free[window] &= ~(near & (around == region[y, x]))
    return np.array(found, np.float32)


def _claim_pixels(points: Array, angle: Array, region: np.ndarray, tile: float, weight: Array) -> np.ndarray:
    """Returns the number of the tile nearest to each pixel among those of its region, or -1.

    Distance is max(|u|, |v|) * `weight`, u and v lying across and along the tile's row.
    """
    height, width = region.shape
    column, row = np.rint(points).astype(int).T
    own = region[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    cos, sin = np.cos(angle), np.sin(angle)
    best, label = np.full(region.size, np.inf), np.full(region.size, -1)
    reach = math.ceil(tile)
    # One offset at a time: all tiles then look at different pixels, so no write is lost.
    for dy, dx in np.ndindex(2 * reach + 1, 2 * reach + 1):
        x, y = column + dx - reach, row + dy - reach
        ok = np.flatnonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
        at, u, v = (y * width + x)[ok], (x - points[:, 0])[ok], (y - points[:, 1])[ok]
        turned = np.maximum(np.abs(cos[ok] * u + sin[ok] * v), np.abs(cos[ok] * v - sin[ok] * u))
        distance = turned * weight[ok]
        wins = (distance < best[at]) & (region.reshape(-1)[at] == own[ok])
        best[at[wins]], label[at[wins]] = distance[wins], ok[wins]
    return label.reshape(height, width)


def _to_centroids(points: Array, label: np.ndarray, region: np.ndarray) -> Array:
    """Moves each tile to the middle of its pixels, unless that lies outside its region."""
    row, column = np.nonzero(label >= 0)
    owner = label[row, column]
    size = np.bincount(owner, minlength=len(points))
    middle = [np.bincount(owner, at, len(points)) / np.maximum(size, 1) for at in (column, row)]
    new = np.stack(middle, axis=-1).astype(np.float32)
    (old_x, old_y), (new_x, new_y) = points.astype(int).T, new.astype(int).T
    stays = (size > 0) & (region[new_y, new_x] == region[old_y, old_x])
    return np.where(stays[:, None], new, points)


def _set_tiles(rng: np.random.Generator, cartoon: _Cartoon, points: Array, x: Array, y: Array) -> Array:
    """Cuts, colours and lights the tiles and lays grout between them."""
    column, row = points.astype(int).T
    angle = cartoon.angle[row, column] + rng.normal(0, 0.06, len(points))
    # Unequal weights make unequal tiles.
    weight = rng.uniform(0.94, 1.06, len(points))
    label = _claim_pixels(points, angle, cartoon.region, _TILE, weight)
    seam = (label != np.roll(label, 1, 0)) | (label != np.roll(label, 1, 1)) | (label < 0)
    colour = cartoon.colour[row, column] * rng.normal(1, 0.09, (len(points), 1))
    colour += rng.normal(0, 0.022, colour.shape)
    grain = fractal_noise(rng, x / 7, y / 7, 4, 0.7)
    light = _light_tiles(rng, points, label, seam, x, y) + 0.05 * grain
    grout = np.asarray(_GROUT, np.float32) * (1 + 0.18 * grain)[..., None]
    face = smoothstep(0.27, 0.18, _blur(seam, 1.7))
    return np.clip(mix(grout, colour[label] * light[..., None], face), 0, 1)


def _light_tiles(
    rng: np.random.Generator, points: Array, label: np.ndarray, seam: Array, x: Array, y: Array
) -> Array:
    """Returns the light on each pixel, about 1: rounded edges, and faces tilted a little each."""
    height = smoothstep(0.36, 0.0, _blur(seam, 2.4))
    down, right = np.gradient(height)
    tilt = rng.normal(0, 0.05, points.shape)[label]
    away = np.stack([x, y], axis=-1) - points[label]
    return np.asarray(1 + 1.3 * (right + down) + (tilt * away).sum(axis=-1) / (0.5 * _TILE))


def _blur(mask: np.ndarray, radius: float) -> Array:
    """Blurs a mask [H, W]."""
    return to_array(to_image(mask.astype(np.float32)).filter(ImageFilter.GaussianBlur(radius)))
