"""The leafy crowns of the photograph's trees.

See `canvas` for conventions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from sample_pictures.canvas import CANVAS_HEIGHT, CANVAS_WIDTH, Array, mix, to_array
from sample_pictures.street import Colour, ink

_LEAF = (0.26, 0.33, 0.12)


class Crown(NamedTuple):
    """The leaves of a tree: outlines [N, 4, 2], colours [N, 3] and drawing ranks [N]."""

    outline: np.ndarray
    colour: np.ndarray
    rank: np.ndarray


def grow_crown(
    rng: np.random.Generator,
    x: float,
    y: float,
    half_width: float,
    half_height: float,
    leaf: float,
    count: int = 1100,
    hue: Colour = _LEAF,
) -> Crown:
    """Scatters `count` leaves, each about 2 * `leaf` long, over round clumps about (`x`, `y`)."""
    clumps = max(7, count // 80)
    angle, reach = rng.uniform(0, 2 * math.pi, clumps), 0.78 * np.sqrt(rng.random(clumps))
    heart = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1)
    clump = rng.integers(clumps, size=count)
    normal = rng.normal(size=(count, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    radius = rng.uniform(0.22, 0.5, clumps)[clump] * rng.uniform(0.3, 1, count) ** 0.5
    place = heart[clump] + normal[:, :2] * radius[:, None]
    # The sun lights the upper left of each clump, and of the crown as a whole.
    light = 0.5 + 0.34 * normal @ (-0.62, -0.62, 0.48) - 0.16 * place.sum(axis=1)
    light = np.clip(light + rng.normal(0, 0.11, count), 0.1, 1.4)
    colour = (np.array(hue) + rng.normal(0, 0.025, (count, 3))) * light[:, None] * 1.3
    # Leaves in full sun let some of it through, which is yellow.
    colour += np.maximum(light - 0.7, 0)[:, None] * (0.35, 0.28, 0.0)
    turn, size = rng.uniform(0, math.pi, count), leaf * rng.uniform(0.6, 1.3, count)
    along = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * size[:, None]
    across = 0.45 * along[:, ::-1] * (-1, 1)
    centre = (x, y) + place * (half_width, half_height)
    corners = [centre - along, centre + across, centre + along, centre - across]
    return Crown(np.stack(corners, axis=1), colour, normal[:, 2] + 0.4 * light)


def lay_leaves(picture: Array, crowns: Sequence[Crown]) -> Array:
    """Draws the leaves of `crowns` over a picture, the deepest of each crown first."""
    layer = Image.new("RGBA", (CANVAS_WIDTH, CANVAS_HEIGHT))
    draw = ImageDraw.Draw(layer)
    for crown in crowns:
        for i in np.argsort(crown.rank):
            draw.polygon(crown.outline[i].ravel().tolist(), fill=(*ink(crown.colour[i]), 255))
    leaves = to_array(layer)
    return mix(picture, leaves[..., :3], leaves[..., 3])
