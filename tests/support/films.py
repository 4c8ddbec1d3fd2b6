"""A film whose motion is known: a picture panned by whole pixels."""

import itertools

import numpy as np

from nst_tf.io import pictures

# Pixels that the picture moves to the left from frame to frame.
STEP = 3


def pan(count: int, height: int, width: int) -> list[np.ndarray]:
    """Returns frames [1, height, width, 3] of the sample town, seen through a window that moves."""
    town = pictures.read("sample:town", "content")
    factor = town.shape[1] // (2 * height)  # half the town's height is seen
    town = town[:, : 2 * height * factor, : town.shape[2] // factor * factor]
    small = town.reshape(1, 2 * height, factor, -1, factor, 3).mean(axis=(2, 4), dtype=np.float32)
    top = height // 2
    return [small[:, top : top + height, STEP * n : STEP * n + width] for n in range(count)]


def warped(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a frame [1, H, W, 3] as the next one sees it, and its reliability [1, H, W, 1].

    What comes into sight has the colours of the border, and a reliability of 0.
    """
    moved = np.concatenate([picture[:, :, STEP:], *[picture[:, :, -1:]] * STEP], axis=2)
    reliability = np.ones_like(picture[..., :1])
    reliability[:, :, -STEP:] = 0
    return moved, reliability


def flicker(painted: list[np.ndarray]) -> float:
    """Returns the mean of c |x_t - warp(x_t-1)| over the pixels and channels of frames [1, H, W, 3]."""
    found = []
    for before, now in itertools.pairwise(painted):
        moved, reliability = warped(before)
        found.append(np.mean(reliability * np.abs(now - moved)))
    return float(np.mean(found))
