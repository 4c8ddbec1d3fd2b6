"""A film whose motion is known: the sample town panned, zoomed and turned, an object before it."""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

from nst_tf.io import pictures

# Of each frame against the one before: pixels to the right and down, a factor, degrees.
PAN, ZOOM, TURN = (1.5, 0.5), 1.01, 0.7
# Of the object, in shares of the height: its side, and its motion to the right and down.
OBJECT_SIDE, OBJECT_MOTION = 1 / 3, (1 / 32, 1 / 64)


class Film(NamedTuple):
    """Frames, and what is true of each and the one before it."""

    frames: list[np.ndarray]  # [H, W, 3] uint8
    backward: list[np.ndarray]  # [H, W, 2] float32, from each frame to the one before; of the first, zeros
    seen: list[np.ndarray]  # [H, W] bool: whether a pixel's thing was in sight in the frame before


# The share of the town's height that the first frame shows.
SHARE = 0.6


@functools.cache
def _town(height: int) -> np.ndarray:
    """The town as large as frames of that height show it, so that none of them has to be reduced."""
    whole = pictures.to_uint8(pictures.read("sample:town"))
    factor = height / SHARE / whole.shape[0]
    return cv2.resize(whole, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _camera(number: int, height: int, width: int) -> np.ndarray:
    """The matrix [3, 3] from a frame's places to those of the town, which is seen about its middle."""
    town_height, town_width = _town(height).shape[:2]
    scale = ZOOM**-number
    angle = math.radians(TURN * number)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([town_width, town_height]) / 2 + scale * number * np.array(PAN)
    offset = middle - turn @ (np.array([width - 1, height - 1]) / 2)
    return np.vstack([np.column_stack([turn, offset]), [0, 0, 1]])


def _object(number: int, height: int) -> tuple[np.ndarray, int]:
    """The upper left corner (x, y) of the object in a frame, in whole pixels, and its side."""
    motion = np.rint(height * np.array(OBJECT_MOTION))
    return (np.array([height // 4, height // 4]) + number * motion).astype(int), round(height * OBJECT_SIDE)


def _mask(number: int, height: int, width: int) -> np.ndarray:
    """Where the object is."""
    (left, top), side = _object(number, height)
    mask = np.zeros((height, width), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def _frame(number: int, height: int, width: int) -> np.ndarray:
    matrix = _camera(number, height, width)
    frame = cv2.warpAffine(
        _town(height), matrix[:2], (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    (left, top), side = _object(number, height)
    part = frame[top : top + side, left : left + side]
    part[...] = _town(height)[-side:, :side][: part.shape[0], : part.shape[1]]
    return frame


def make(count: int, height: int, width: int) -> Film:
    """Returns a film of so many frames."""
    frames = [_frame(number, height, width) for number in range(count)]
    backward, seen = [np.zeros((height, width, 2), np.float32)], [np.zeros((height, width), bool)]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    places = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64)
    for number in range(1, count):
        before = np.linalg.inv(_camera(number - 1, height, width)) @ _camera(number, height, width)
        there = (places @ before.T)[..., :2]
        mask = _mask(number, height, width)
        there[mask] = places[mask][:, :2] - (_object(number, height)[0] - _object(number - 1, height)[0])
        backward.append((there - places[..., :2]).astype(np.float32))
        inside = ((there >= 0) & (there <= [width - 1, height - 1])).all(axis=-1)
        nearest = np.clip(np.rint(there).astype(int), 0, [width - 1, height - 1])
        covered = _mask(number - 1, height, width)[nearest[..., 1], nearest[..., 0]]
        seen.append(inside & (covered == mask))
    return Film(frames, backward, seen)
