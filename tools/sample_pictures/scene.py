"""The content sample: a waterfront town in late light, made to look like a photograph.

Drawn from back to front: sky, hills, the rows of the town; then water mirrors what stands above
it, a near tree frames the view and the lens leaves its marks. See `canvas` for conventions.
"""

import numpy as np

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
)
from sample_pictures.street import Street
from sample_pictures.town import HAZE, ROWS, WATERLINE, add_row
from sample_pictures.trees import grow_crown, lay_leaves

_SUN_X, _SUN_Y = 190.0, 205.0
_SUNLIGHT = (1.0, 0.92, 0.74)
_DEEP_WATER = (0.05, 0.16, 0.20)

# From the horizon to the zenith; then clouds in the shade and in the sun, far from it and near it.
_SKY = (
    [0.2, 0.42, 0.7, 1.0],
    [(0.98, 0.84, 0.68), (0.83, 0.84, 0.85), (0.50, 0.67, 0.84), (0.24, 0.44, 0.70)],
)
_CLOUD_SHADE = ([0, 1], [(0.62, 0.66, 0.74), (0.82, 0.72, 0.68)])
_CLOUD_LIGHT = ([0, 1], [(1.0, 0.97, 0.92), (1.0, 0.95, 0.82)])

# Each ridge: mean y, relief in pixels, bumps across the picture, colour, clearness of the air.
_RIDGES = [
    (440, 115, 2.2, (0.36, 0.42, 0.52), 0.40),
    (520, 75, 3.0, (0.25, 0.35, 0.34), 0.60),
    (585, 90, 2.0, (0.20, 0.28, 0.16), 0.85),
]

# The near tree. Its limbs: width, then the points they pass. Its crowns and the bushes below:
# x, y, half width, half height.
_BARK, _NEAR_LEAF = np.array((0.21, 0.165, 0.125)), (0.22, 0.28, 0.09)
_LIMBS = [
    (54, [(1512, 1152), (1500, 1000), (1498, 860)]),
    (44, [(1498, 870), (1502, 740), (1512, 590)]),
    (34, [(1511, 600), (1506, 480), (1530, 330)]),
    (20, [(1507, 650), (1470, 500), (1410, 390)]),
    (12, [(1412, 394), (1350, 320), (1270, 262)]),
    (10, [(1440, 445), (1400, 330), (1362, 170)]),
    (7, [(1390, 370), (1300, 372), (1225, 392)]),
]
_CROWNS = [
    (1490, 330, 240, 190), (1330, 215, 170, 115), (1240, 390, 110, 62),
    (1510, 575, 110, 80), (1430, 110, 230, 115),
]  # fmt: skip
_BUSHES = [(1440, 1110, 190, 85), (1290, 1145, 130, 42)]


def draw_photograph(rng: np.random.Generator) -> Array:
    """Draws the whole scene: a picture [H, W, 3]."""
    x, y = pixel_grid()
    picture = _draw_sky(rng, x, y)
    picture = _add_hills(rng, picture, x, y)
    for row in ROWS:
        picture = add_row(rng, picture, row, x, y)
    picture = _add_water(rng, picture, x, y)
    picture = _add_near_tree(rng, picture, x, y)
    return _develop(rng, picture, x, y)


def _draw_sky(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Draws the sky from zenith to horizon, the sun and its glow, and the clouds."""
    distance = np.hypot(x - _SUN_X, y - _SUN_Y)
    glow = 0.75 * np.exp(-distance / 90) + 0.42 * np.exp(-distance / 420)
    sky = mix(ramp(1 - y / WATERLINE, *_SKY), _SUNLIGHT, np.minimum(glow, 1))
    opacity, light = _form_clouds(rng, x, y)
    near = np.exp(-distance / 500)
    shade = ramp(near, *_CLOUD_SHADE)
    sky = mix(sky, mix(shade, ramp(near, *_CLOUD_LIGHT), light), opacity)
    disc = smoothstep(38, 24, distance) + 0.6 * np.exp(-distance / 55)
    return mix(sky, (1.0, 0.97, 0.86), np.minimum(disc, 1))


def _form_clouds(rng: np.random.Generator, x: Array, y: Array) -> tuple[Array, Array]:
    """Returns the clouds' opacity and how much sunlight each point of them gets, both [H, W]."""
    # Clouds hang from a flat ceiling, so they shrink and flatten towards the horizon.
    depth = 1 / (1.15 - np.minimum(y, WATERLINE) / WATERLINE)
    u, v = (x - 0.5 * CANVAS_WIDTH) * depth / 400 + 20, 4.2 * depth + 9
    bend = 0.22 * fractal_noise(rng, u, v, 3)
    seed = int(rng.integers(2**31))

    def thickness(du: float, dv: float) -> Array:
        same_noise = np.random.default_rng(seed)
        return fractal_noise(same_noise, u + bend + du, v - bend + dv, 8, 0.56)

    thick = thickness(0, 0)
    # A point is bright where the cloud thins towards the sun, dark behind its own bulk.
    thinning = thick - thickness(-0.14, -0.10)
    light = np.clip(0.66 + 0.75 * thinning - 0.30 * smoothstep(0.35, 1.1, thick), 0, 1)
    return 0.95 * smoothstep(0.0, 0.55, thick) * smoothstep(1.0, 0.78, y / WATERLINE), light


def _add_hills(rng: np.random.Generator, picture: Array, x: Array, y: Array) -> Array:
    """Adds the ridges, each nearer one darker and clearer (aerial perspective)."""
    near_sun = np.exp(-np.abs(x - _SUN_X) / 700)
    for number, (base, relief, bumps, colour, clear) in enumerate(_RIDGES):
        across = np.arange(CANVAS_WIDTH) / CANVAS_WIDTH * bumps
        crest = base - relief * fractal_noise(rng, across, 7.0 * number, 7, 0.46)
        height = fractal_noise(rng, x / 150, (y - 0.6 * crest) / 120, 6, 0.55)
        facing = 0.5 + 3.5 * (height - np.roll(height, (5, 6), (0, 1)))
        ground = np.asarray(colour) * (0.70 + 0.55 * np.clip(facing, 0, 1.5))[..., None]
        # Haze lies thickest in the valleys and under the sun.
        clearness = clear * (1 - 0.45 * smoothstep(0, 260, y - crest)) * (1 - 0.25 * near_sun)
        picture = mix(picture, mix(ground, HAZE, 1 - clearness), smoothstep(-1.5, 1.5, y - crest))
    return picture


def _add_water(rng: np.random.Generator, picture: Array, x: Array, y: Array) -> Array:
    """Puts water below the waterline: the mirrored scene, bent by ripples, over a dark depth."""
    x, y = x[WATERLINE:], y[WATERLINE:]
    nearness = (y - WATERLINE) / (CANVAS_HEIGHT - WATERLINE)
    depth = 1 / (nearness + 0.07)
    u, v = (x - 0.5 * CANVAS_WIDTH) * depth / 150, 10 * depth
    swell = fractal_noise(rng, u, v, 4, 0.6)
    chop = fractal_noise(rng, 3.5 * u + 50, 3.5 * v, 3, 0.6)
    slope = 0.65 * swell + 0.35 * chop
    image = _mirror(picture, x, y, nearness, slope, 2 * chop + swell)
    # The steeper one looks into the water, the less it mirrors.
    share = np.clip(0.84 - 0.42 * nearness + 0.22 * slope, 0.1, 0.95)
    water = mix(np.broadcast_to(np.asarray(_DEEP_WATER), image.shape), image, share)
    path = np.exp(-(((x - _SUN_X) / (60 + 160 * nearness)) ** 2))
    glitter = smoothstep(0.30, 0.9, slope + 0.35 * path) * (0.08 + 0.75 * path)
    return np.concatenate([picture[:WATERLINE], mix(water, _SUNLIGHT, glitter)])


def _mirror(picture: Array, x: Array, y: Array, nearness: Array, slope: Array, sideways: Array) -> Array:
    """Returns what water pixels (`x`, `y`) reflect, [h, W, 3], the near ones more disturbed."""
    total = np.zeros((*x.shape, 3), np.float32)
    # A pixel sees many facets: five of them blur the image upwards, as water does.
    facets = np.linspace(-1, 1, 5)
    for facet in facets:
        disturbed = (slope + 0.35 * facet) * (5 + 60 * nearness)
        row = 2 * WATERLINE - 1 - y + disturbed - 40 * nearness**2
        column = x + sideways * (1 + 7 * nearness) + 2 * facet
        row = np.clip(np.abs(row), 0, WATERLINE - 1).astype(int)
        total += picture[row, np.clip(column, 0, CANVAS_WIDTH - 1).astype(int)]
    return total / len(facets) * np.array((0.92, 0.97, 1.0), np.float32)


def _add_near_tree(rng: np.random.Generator, picture: Array, x: Array, y: Array) -> Array:
    """Frames the right of the view with a tree on the near bank."""
    limbs = Street()
    for width, points in _LIMBS:
        limbs.bar(points, _BARK, width)
        # The side towards the sun is lighter, in two steps that the bark's roughness hides.
        limbs.bar([(px - 0.22 * width, py) for px, py in points], 1.6 * _BARK, 0.55 * width)
        limbs.bar([(px - 0.34 * width, py) for px, py in points], 2.2 * _BARK, 0.2 * width)
    rough = fractal_noise(rng, x / 7, y / 40, 4, 0.7) + 0.5 * fractal_noise(rng, x / 3, y / 9, 2)
    bark = to_array(limbs.colour) * (1 + 0.45 * rough)[..., None]
    picture = mix(picture, bark, to_array(limbs.detail)[..., 0])
    leaves = [grow_crown(rng, *crown, 7.5, 2300, _NEAR_LEAF) for crown in _CROWNS]
    leaves += [grow_crown(rng, *bush, 8.5, 1700, _NEAR_LEAF) for bush in _BUSHES]
    return lay_leaves(picture, leaves)


def _develop(rng: np.random.Generator, picture: Array, x: Array, y: Array) -> Array:
    """Adds what a camera does: contrast, darker corners and grain."""
    contrast = picture + 0.35 * (smoothstep(0, 1, picture) - picture)
    off_axis = 2 * ((x / CANVAS_WIDTH - 0.5) ** 2 + (y / CANVAS_HEIGHT - 0.5) ** 2)
    grain = rng.normal(0, 0.016, x.shape)
    developed = contrast * (1 - 0.32 * off_axis**1.3)[..., None] + grain[..., None]
    return np.clip(developed, 0, 1).astype(np.float32)
