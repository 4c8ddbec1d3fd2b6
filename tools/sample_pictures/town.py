"""The town of the photograph: rows of houses, a tower, and a quay with boats.

The sun stands at the upper left. See `canvas` for conventions.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sample_pictures.canvas import CANVAS_WIDTH, Array, mix, smoothstep, to_array
from sample_pictures.street import Point, Street, box
from sample_pictures.trees import Crown, grow_crown, lay_leaves

WATERLINE = 752
HAZE = (0.85, 0.79, 0.74)
_QUAY_TOP = WATERLINE - 16
# Lines into the depth meet at eye level, in mid-picture.
_VANISHING_X, _VANISHING_Y = 0.5 * CANVAS_WIDTH, WATERLINE - 60.0
# A side turned from the sun loses half its light, and least of the sky's blue.
_LIT_SIDE, _DARK_SIDE = np.array((1.10, 1.06, 0.98)), np.array((0.48, 0.50, 0.58))


class Row(NamedTuple):
    """One row of houses: `green` is the share of its plots left to trees."""

    ground: float
    scale: float
    haze: float
    green: float
    has_tower: bool = False


ROWS = [Row(632, 0.60, 0.30, 0.4), Row(690, 0.78, 0.15, 0.35, True), Row(_QUAY_TOP, 1.0, 0.05, 0.2)]
_TOWER_LEFT = 0.60 * CANVAS_WIDTH
_BOATS_X = (60, 330, 520, 690, 840, 1010, 1180)

_WALLS = [
    (0.90, 0.70, 0.42), (0.80, 0.42, 0.31), (0.93, 0.86, 0.72), (0.80, 0.56, 0.47),
    (0.90, 0.77, 0.46), (0.64, 0.71, 0.68), (0.88, 0.60, 0.50), (0.94, 0.91, 0.84),
    (0.57, 0.66, 0.75), (0.84, 0.60, 0.32),
]  # fmt: skip
_SHUTTERS = [(0.15, 0.30, 0.25), (0.24, 0.35, 0.45), (0.36, 0.21, 0.14), (0.32, 0.42, 0.38)]
_AWNINGS = [(0.78, 0.27, 0.19), (0.90, 0.72, 0.35), (0.20, 0.40, 0.36)]
_HULLS = [(0.92, 0.91, 0.87), (0.16, 0.28, 0.45), (0.70, 0.24, 0.17), (0.20, 0.42, 0.40)]
_STONE, _SLATE, _TILES = (0.86, 0.77, 0.64), (0.45, 0.41, 0.40), (0.64, 0.36, 0.25)
_WHITE, _DARK, _WOOD = (0.93, 0.91, 0.85), (0.19, 0.18, 0.19), (0.36, 0.26, 0.18)


@dataclass(frozen=True)
class _House:
    """A house front; `scale` is the canvas pixels in a unit, of which a floor has about 47."""

    left: float
    base: float
    width: float
    height: float
    scale: float
    wall: np.ndarray

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def middle(self) -> float:
        return self.left + 0.5 * self.width

    @property
    def top(self) -> float:
        return self.base - self.height

    @property
    def shows_right_side(self) -> bool:
        return self.middle < _VANISHING_X

    @property
    def side_light(self) -> np.ndarray:
        return _DARK_SIDE if self.shows_right_side else _LIT_SIDE

    @property
    def corner(self) -> float:
        """The x where the front meets the side that is seen."""
        return self.right if self.shows_right_side else self.left


def _recede(point: Point, share: float = 1.0) -> Point:
    """Moves a point of a front to `share` of its house's depth, towards the vanishing point."""
    nearness = 1 - 0.13 * share
    dx, dy = point[0] - _VANISHING_X, point[1] - _VANISHING_Y
    return _VANISHING_X + nearness * dx, _VANISHING_Y + nearness * dy


def add_row(rng: np.random.Generator, picture: Array, row: Row, x: Array, y: Array) -> Array:
    """Adds one row of houses and trees; the nearest row stands on the quay."""
    street, crowns = Street(), []
    # Outer houses first: each hides the far side of its neighbour nearer the edge.
    for house in sorted(_plots(rng, row), key=lambda each: -abs(each.middle - _VANISHING_X)):
        if rng.random() < row.green:
            crowns += _draw_tree(rng, street, house)
        else:
            _draw_house(rng, street, house)
    if row.has_tower:
        _draw_tower(street, row)
    if row.ground == _QUAY_TOP:
        _draw_quay(rng, street)
    # Light falls off towards the right and near the ground, where little sky is seen.
    light = (1.10 - 0.16 * x / CANVAS_WIDTH) * (1 - 0.22 * smoothstep(-90, 0, y - row.ground))
    houses = street.shade(rng, row.scale, x, y) * light[..., None] * (1.03, 1.0, 0.94)
    houses = mix(houses, HAZE, np.full(x.shape, row.haze, np.float32))
    return lay_leaves(mix(picture, houses, to_array(street.detail)[..., 0]), crowns)


def _plots(rng: np.random.Generator, row: Row) -> list[_House]:
    """Divides a row into plots; no two neighbours share a hue."""
    plots, left, hue = [], -rng.uniform(0, 60), 0
    while left < CANVAS_WIDTH:
        width, height = row.scale * rng.uniform(78, 150), row.scale * rng.triangular(95, 150, 255)
        hue = (hue + int(rng.integers(1, len(_WALLS)))) % len(_WALLS)
        wall = np.array(_WALLS[hue]) * rng.uniform(0.90, 1.04)
        plots.append(_House(left, row.ground, width, height, row.scale, wall))
        left += width + row.scale * (rng.uniform(8, 26) if rng.random() < 0.4 else 0)
    return plots


def _draw_tree(rng: np.random.Generator, street: Street, plot: _House) -> list[Crown]:
    """Draws the trunks of two trees on a plot and returns their crowns."""
    crowns = []
    for share in (0.28, 0.75):
        x, height = plot.left + share * plot.width, rng.uniform(95, 150) * plot.scale
        street.bar([(x, plot.base), (x + 2, plot.base - 0.5 * height)], _DARK, 7 * plot.scale)
        half = rng.uniform(0.30, 0.42) * height
        leaf = 3.4 * plot.scale
        crowns.append(grow_crown(rng, x, plot.base - 0.62 * height, half, 0.42 * height, leaf))
    return crowns


def _draw_house(rng: np.random.Generator, street: Street, house: _House) -> None:
    roof = np.array(_TILES) * rng.uniform(0.78, 1.12) + rng.uniform(-0.03, 0.03, 3)
    pitch = house.scale * rng.uniform(28, 48)
    upper, lower = (house.corner, house.top), (house.corner, house.base)
    side = [upper, _recede(upper), _recede(lower), lower]
    street.face(side, house.wall * house.side_light)
    if rng.random() < 0.4:
        _draw_gable(street, house, roof, 1.3 * pitch)
    else:
        _draw_eaves(rng, street, house, roof, pitch)
    _draw_windows(rng, street, house)


def _draw_gable(street: Street, house: _House, roof: np.ndarray, pitch: float) -> None:
    """Draws the front of a house whose gable faces the water, and its roof."""
    s, apex = house.scale, (house.middle, house.top - pitch)
    left, right = (house.left - 5 * s, house.top + 5 * s), (house.right + 5 * s, house.top + 5 * s)
    eave = right if house.shows_right_side else left
    street.face([apex, _recede(apex), _recede(eave), eave], roof * house.side_light, roof=True)
    street.face(box(house.left, house.top, house.right, house.base), house.wall)
    street.face([(house.left, house.top), apex, (house.right, house.top)], house.wall)
    under = [(right[0], right[1] + 6 * s), (apex[0], apex[1] + 11 * s), (left[0], left[1] + 6 * s)]
    street.shadow([left, apex, right, *under], 0.7)
    street.bar([left, apex, right], roof * 1.05, 6 * s)
    street.disc(apex[0], house.top - 0.35 * pitch, 5 * s, _DARK)


def _draw_eaves(
    rng: np.random.Generator, street: Street, house: _House, roof: np.ndarray, pitch: float
) -> None:
    """Draws the front of a house whose roof slopes to the water, and its roof and chimneys."""
    s, corner = house.scale, (house.corner, house.top)
    street.face(box(house.left, house.top, house.right, house.base), house.wall)
    ends = (house.left - 5 * s, house.right + 5 * s)
    ridge = [_recede((end, house.top - pitch), 0.5) for end in ends]
    gable = [corner, ridge[house.shows_right_side], _recede(corner)]
    street.face(gable, house.wall * house.side_light)
    eaves = [(end, house.top + 3 * s) for end in reversed(ends)]
    street.face([*ridge, *eaves], roof, roof=True)
    street.shadow(box(house.left, house.top + 4 * s, house.right, house.top + 12 * s), 0.75)
    for _ in range(rng.integers(0, 3)):
        x, y = house.left + rng.uniform(0.15, 0.8) * house.width, house.top - pitch - 10 * s
        street.face(box(x, y, x + 10 * s, y + 0.7 * pitch), house.wall * 0.9)
        street.face(box(x + 6 * s, y, x + 10 * s, y + 0.7 * pitch), house.wall * _DARK_SIDE)
        street.face(box(x - 2 * s, y - 3 * s, x + 12 * s, y), roof * 0.8)


def _draw_windows(rng: np.random.Generator, street: Street, house: _House) -> None:
    """Draws the windows in regular floors and columns, and doors on the ground floor."""
    s = house.scale
    floors, columns = max(2, round(house.height / (47 * s))), max(2, round(house.width / (34 * s)))
    shutter = np.array(_SHUTTERS[rng.integers(len(_SHUTTERS))]) * rng.uniform(0.8, 1.2)
    has_shutters, blind = rng.random() < 0.7, 0.15 * rng.random()
    for floor, column in np.ndindex(floors, columns):
        x = house.left + (column + 0.5) * house.width / columns
        y = house.base - (floor + 0.5) * house.height / floors
        if floor == 0 and rng.random() < 0.6:
            _draw_door(rng, street, house, x, shutter)
        elif rng.random() > blind:
            _draw_window(rng, street, house, x, y, shutter if has_shutters else None)


def _draw_window(
    rng: np.random.Generator,
    street: Street,
    house: _House,
    x: float,
    y: float,
    shutter: np.ndarray | None,
) -> None:
    s, frame = house.scale, house.wall * 0.4 + 0.52
    left, top, right, bottom = x - 6 * s, y - 11 * s, x + 6 * s, y + 11 * s
    street.trim(left - 2 * s, top - 2 * s, right + 2 * s, bottom + 2 * s, frame)
    # Few panes mirror the bright sky; most look into dark rooms.
    glass = rng.choice([0.13, 0.18, 0.25, 0.55], p=[0.4, 0.3, 0.2, 0.1]) * np.array((0.86, 1, 1.1))
    street.trim(left, top, right, bottom, glass)
    street.trim(left, top, right, y - 3 * s, glass * 0.65)
    street.trim(x - 0.7 * s, top, x + 0.7 * s, bottom, frame * 0.9)
    street.shadow(box(left, top, right, top + 4 * s), 0.6)
    if shutter is not None:
        fold = rng.uniform(5.4, 7.2) * s
        for hinge in (left - fold - s, right + s):
            street.trim(hinge, top - s, hinge + fold, bottom + s, shutter)
            street.shadow(box(hinge + fold, top, hinge + fold + 2 * s, bottom + s), 0.5)
    street.trim(left - 4 * s, bottom + s, right + 4 * s, bottom + 4 * s, frame)
    street.shadow(box(left - 3 * s, bottom + 4 * s, right + 5 * s, bottom + 8 * s), 0.6)


def _draw_door(rng: np.random.Generator, street: Street, house: _House, x: float, colour: np.ndarray) -> None:
    s, top = house.scale, house.base - 33 * house.scale
    for half, wood in ((10.5 * s, house.wall * 0.4 + 0.5), (8 * s, colour * 0.6)):
        street.disc(x, top, half, wood)
        street.trim(x - half, top, x + half, house.base, wood)
    if rng.random() < 0.3:
        cloth = _AWNINGS[rng.integers(len(_AWNINGS))]
        for stripe in range(6):
            left = x + (6 * stripe - 18) * s
            paint = cloth if stripe % 2 else _WHITE
            street.trim(left, top - 4 * s, left + 6 * s, top + 9 * s, paint)
        street.shadow(box(x - 16 * s, top + 9 * s, x + 20 * s, top + 22 * s), 0.7)


def _draw_tower(street: Street, row: Row) -> None:
    """Draws the church tower: belfry, clock and eight-sided spire."""
    s, wall = row.scale, np.array(_STONE)
    tower = _House(_TOWER_LEFT, row.ground, 74 * s, 370 * s, s, wall)
    x, top = tower.middle, tower.top
    upper, lower = (tower.corner, top), (tower.corner, tower.base)
    street.face([upper, _recede(upper), _recede(lower), lower], wall * tower.side_light)
    street.face(box(tower.left, top, tower.right, tower.base), wall * 0.84)
    for y in (top, top + 100 * s, top + 185 * s):
        street.trim(tower.left - 3 * s, y, tower.right + 3 * s, y + 7 * s, wall)
        street.shadow(box(tower.left, y + 7 * s, tower.right, y + 14 * s), 0.7)
    for opening in (x - 14 * s, x + 14 * s):
        street.disc(opening, top + 36 * s, 8 * s, _DARK)
        street.trim(opening - 8 * s, top + 36 * s, opening + 8 * s, top + 80 * s, _DARK)
    clock = top + 144 * s
    street.disc(x, clock, 19 * s, wall * 0.6)
    street.disc(x, clock, 16 * s, _WHITE)
    street.trim(x - s, clock - 11 * s, x + s, clock, _DARK)
    street.trim(x, clock - s, x + 8 * s, clock + s, _DARK)
    apex, foot = _recede((x, top - 165 * s), 0.5), (tower.right + 5 * s, top)
    street.face([(tower.left - 5 * s, top), apex, foot], _SLATE, roof=True)
    street.face([(x + 15 * s, top), apex, foot], np.array(_SLATE) * 0.62, roof=True)
    street.bar([apex, (apex[0], apex[1] - 24 * s)], _DARK, 2)


def _draw_quay(rng: np.random.Generator, street: Street) -> None:
    """Draws the stone quay in front of the nearest row, and the boats moored to it."""
    street.face(box(0, _QUAY_TOP, CANVAS_WIDTH, WATERLINE), (0.50, 0.45, 0.39))
    street.trim(0, _QUAY_TOP, CANVAS_WIDTH, _QUAY_TOP + 4, (0.70, 0.64, 0.56))
    for left in range(0, CANVAS_WIDTH, 21):
        x = left + rng.uniform(-5, 5)
        street.shadow(box(x, _QUAY_TOP + 4, x + 2, WATERLINE), 0.6)
    street.shadow(box(0, WATERLINE - 5, CANVAS_WIDTH, WATERLINE), 0.8)
    for place in _BOATS_X:
        _draw_boat(rng, street, place + rng.uniform(-25, 25), rng.uniform(75, 125))


def _draw_boat(rng: np.random.Generator, street: Street, stern: float, length: float) -> None:
    """Draws a sailing boat from the side, its sail furled."""
    hull = np.array(_HULLS[rng.integers(len(_HULLS))])
    bow, deck = stern + length, WATERLINE - 0.2 * length
    keel = [(bow - 0.14 * length, WATERLINE), (stern + 0.05 * length, WATERLINE)]
    street.face([(stern, deck), (bow, deck - 6), *keel], hull)
    bilge = [(stern + 0.03 * length, WATERLINE - 8), (bow - 0.09 * length, WATERLINE - 8)]
    street.face([*bilge, *keel], hull * 0.6)
    street.trim(stern, deck, bow, deck + 3, hull * 0.5 + 0.45)
    cabin = (stern + 0.3 * length, deck - 0.12 * length, stern + 0.62 * length, deck)
    street.face(box(*cabin), _WHITE)
    street.trim(cabin[0] + 4, cabin[1] + 3, cabin[2] - 4, cabin[1] + 0.07 * length, _DARK)
    mast, top = stern + 0.55 * length, deck - 1.35 * length
    street.bar([(mast, deck), (mast, top)], _WOOD, 3)
    boom = deck - 0.21 * length
    street.bar([(mast, boom), (stern + 0.05 * length, boom)], _WHITE, 5)
    for end in (stern, bow):
        street.bar([(end, deck), (mast, top)], (0.35, 0.33, 0.32), 1)
