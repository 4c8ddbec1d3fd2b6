"""The augmentation of crops: drawn on the host, computed on the device.

The host cuts a square window out of a picture and draws a few numbers for each. The device resamples the
window by two matrix products, which filter as well as interpolate, and then changes its colours. So little
data moves, and an accelerator does not wait for a processor that resizes pictures.
"""

from typing import Any

import keras
import numpy as np

# Share of the window's area in a crop, and its width over height before it becomes square: those of the usual
# ImageNet recipe (Szegedy et al. 2015, arXiv:1409.4842, section 6), with a larger least share, since a window
# is already a part of its picture.
_AREA = (0.2, 1.0)
_ASPECT = 4 / 3  # or its inverse

# Colours. Narrow ranges: features that ignore the light leave the colours of a picture undetermined
# (README.md).
_CONTRAST = 1.15  # up to this factor, or down by it
_BRIGHTNESS = 0.04  # levels of 0..1 up or down
_GAIN = 1.04  # of each channel, as by a wrong white balance
_SATURATION = (0.85, 1.15)
_HUE = np.pi / 40  # radians around grey

# Some crops are blurred or noisy: features that ignore that respond to shapes, not to single pixels, and a
# picture optimised through them has less noise.
_BLUR_SHARE, _BLUR = 0.2, 2.0  # up to this many times the width of the resampling filter
_NOISE_SHARE, _NOISE = 0.3, 0.04  # up to this standard deviation, levels of 0..1

# The largest distance of two views of a place, in pixels of the crop, and the largest factor between their
# sizes: less than half of the 16 pixels between places (`network.Contrast`), so that views of two places
# differ.
_SHIFT, _ZOOM = 4.0, 1.06

# More than the steps of a round.
_MOST_STEPS = 2**16

# Weights of red, green and blue in grey (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])


def draw(generator: np.random.Generator, count: int, window: int, crop: int) -> dict[str, np.ndarray]:
    """Draws the augmentation of `count` windows, whose second half are second views of the first half.

    The two views of a window show the same place, a little moved and zoomed; their colours, blur and noise
    are independent.

    Args:
        generator: Makes the random choices.
        count: The number of windows, even.
        window: Their side in pixels.
        crop: The side of the crops in pixels.

    Returns:
        `rows` and `columns` [count, crop], the positions of the crop's pixels in the window, for half of the
        crops from right to left; `blur` [count]; `colors` [count, 4, 3], a matrix for red, green, blue
        and 1; `noise` [count]. All float32.
    """
    places = count // 2
    area = generator.uniform(*_AREA, places)
    aspect = _factor(generator, _ASPECT, (places,))
    height = np.minimum(window, window * np.sqrt(area / aspect))
    width = np.minimum(window, window * np.sqrt(area * aspect))
    rows = _positions(generator, height, window, crop)
    columns = _positions(generator, width, window, crop)
    flipped = generator.random(places) < 0.5
    columns[flipped] = columns[flipped, ::-1]
    zoom = _factor(generator, _ZOOM, (places, 1))
    drawn = {
        "rows": np.concatenate([rows, _moved(generator, rows, zoom, window)]),
        "columns": np.concatenate([columns, _moved(generator, columns, zoom, window)]),
        "blur": 1 + (_BLUR - 1) * _sometimes(generator, count, _BLUR_SHARE),
        "colors": _colors(generator, count),
        "noise": _NOISE * _sometimes(generator, count, _NOISE_SHARE),
    }
    return {name: np.asarray(value, np.float32) for name, value in drawn.items()}


def _positions(generator: np.random.Generator, length: np.ndarray, window: int, crop: int) -> np.ndarray:
    """Returns the centres of `crop` pixels over a random stretch of the window, [count, crop]."""
    start = generator.uniform(0, window - length)
    return start[:, np.newaxis] + (np.arange(crop) + 0.5) * length[:, np.newaxis] / crop - 0.5


def _moved(
    generator: np.random.Generator, positions: np.ndarray, zoom: np.ndarray, window: int
) -> np.ndarray:
    """Returns the positions, [count, crop], in another view of the same place."""
    step = np.abs(positions[:, 1] - positions[:, 0])[:, np.newaxis]
    middle = positions.mean(axis=1, keepdims=True)
    shift = step * generator.uniform(-_SHIFT, _SHIFT, (len(positions), 1))
    return np.clip(middle + zoom * (positions - middle) + shift, 0, window - 1)


def _sometimes(generator: np.random.Generator, count: int, share: float) -> np.ndarray:
    """Returns numbers in [0, 1), of which only a share is not 0, [count]."""
    return generator.random(count) * (generator.random(count) < share)


def _colors(generator: np.random.Generator, count: int) -> np.ndarray:
    """Returns one affine change of colours for each window, [count, 4, 3]."""
    gray = np.broadcast_to(_LUMA[:, np.newaxis], (3, 3))
    saturation = generator.uniform(*_SATURATION, (count, 1, 1))
    matrix = saturation * np.eye(3) + (1 - saturation) * gray
    matrix = matrix @ _hue_rotations(generator.uniform(-_HUE, _HUE, count))
    contrast = _factor(generator, _CONTRAST, (count, 1))
    brightness = generator.uniform(-_BRIGHTNESS, _BRIGHTNESS, (count, 1))
    gains = contrast * _factor(generator, _GAIN, (count, 3))
    # Contrast turns about middle grey.
    offset = 0.5 * (1 - contrast) + brightness + np.zeros((count, 3))
    return np.concatenate([matrix * gains[:, np.newaxis], offset[:, np.newaxis]], axis=1)


def _factor(generator: np.random.Generator, most: float, shape: tuple[int, ...]) -> np.ndarray:
    """Returns factors between 1 / most and most, as likely above 1 as below."""
    return np.exp(generator.uniform(-np.log(most), np.log(most), shape))


def _hue_rotations(angles: np.ndarray) -> np.ndarray:
    """Returns rotations of colours about the axis of greys, [count, 3, 3] (Rodrigues' formula)."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.cross(np.eye(3), axis)
    cosine, sine = (f(angles)[:, np.newaxis, np.newaxis] for f in (np.cos, np.sin))
    return cosine * np.eye(3) + sine * cross + (1 - cosine) * np.outer(axis, axis)


class Augmentation(keras.layers.Layer):
    """Makes crops [B, crop, crop, 3], sRGB in [0, 1], of windows and what `draw` drew for them."""

    def __init__(self, seed: int, **options: Any) -> None:
        """Takes the seed of the noise."""
        super().__init__(dtype="float32", **options)
        self._seed, self._seeds = seed, keras.random.SeedGenerator(seed)

    def begin_round(self, number: int) -> None:
        """Seeds the noise of a round: a checkpoint of Keras does not keep the generator's state."""
        # Keras counts the second number up at every step.
        self._seeds.state.assign(np.array([self._seed, number * _MOST_STEPS % 2**32], "uint32"))

    def call(self, inputs: dict[str, Any]) -> Any:
        """Returns the crops of {"window": [B, window, window, 3] uint8, and the result of `draw`}."""
        ops = keras.ops
        window = ops.cast(inputs["window"], "float32") / 255.0
        side = window.shape[1]
        rows = _resampling(inputs["rows"], inputs["blur"], side)
        columns = _resampling(inputs["columns"], inputs["blur"], side)
        crops = ops.einsum("bjw,bhwc->bhjc", columns, ops.einsum("bih,bhwc->biwc", rows, window))
        colors = inputs["colors"]
        crops = ops.einsum("bijc,bcd->bijd", crops, colors[:, :3]) + colors[:, 3][:, None, None, :]
        noise = keras.random.normal(ops.shape(crops), seed=self._seeds)
        return ops.clip(crops + inputs["noise"][:, None, None, None] * noise, 0.0, 1.0)

    def compute_output_shape(self, input_shape: dict[str, Any]) -> tuple[int | None, ...]:
        """Returns [B, crop, crop, 3]."""
        batch, height = input_shape["rows"]
        return batch, height, input_shape["columns"][1], 3


def _resampling(positions: Any, blur: Any, side: int) -> Any:
    """Returns the matrices that resample a side of the window, [B, crop, side].

    A triangle filter: linear interpolation if the crop enlarges, as wide as a pixel of the crop if it
    reduces.
    """
    ops = keras.ops
    step = ops.abs(positions[:, 1] - positions[:, 0])
    width = (ops.maximum(step, 1.0) * blur)[:, None, None]
    distance = ops.abs(positions[:, :, None] - ops.arange(side, dtype="float32"))
    weights = ops.relu(1.0 - distance / width)
    return weights / ops.sum(weights, axis=-1, keepdims=True)
