"""Optical flow between frames: estimated or read from files, what can be trusted of it, and warping along it.

A flow is [H, W, 2] float32: from each pixel of a frame the way to the same thing in another, (right, down) in
pixels. The backward flow leads from a frame to an earlier one, the forward flow from there to it.
Reliabilities are [H, W, 1] float32 in [0, 1]. The method and its constants are those of Ruder, Dosovitskiy
and Brox 2016 (arXiv:1604.08610) and of the authors' program.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nst_tf import errors, runtime

# How many frames back a frame is held to, the closest first: the paper's long-term consistency.
LAGS = (1, 2, 4)

# By how much two flows may disagree, and where a flow changes too fast (Sundaram, Brox and Keutzer 2010):
# shares of squared lengths, and squared pixels.
_DISAGREE_SHARE, _DISAGREE = 0.01, 0.5
_BOUNDARY_SHARE, _BOUNDARY = 0.01, 0.002

# The standard deviation, in pixels, by which the reliability is smoothed.
_SMOOTHING = 0.8

# The number that a .flo file begins with, its header, and from where on a length stands for "unknown" (Baker
# and others 2007, the Middlebury benchmark).
_FLO, _HEADER_BYTES, _UNKNOWN = 202021.25, 12, 1e9

# The smallest side that DIS takes: its patches have eight pixels, at half of the size.
_LEAST_SIDE = 16


class Pair(NamedTuple):
    """The flows between a frame and an earlier one."""

    backward: np.ndarray
    forward: np.ndarray


def library() -> Any:
    """Returns the module `cv2`.

    Raises:
        InputError: It is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise errors.InputError(f"video: flow needs {error.name}: {runtime.install('video')}") from None
    return cv2


def estimate(frame: np.ndarray, earlier: np.ndarray) -> Pair:
    """Returns the flows between two frames [H, W, 3] uint8 of one size, by dense inverse search.

    DIS (Kroeger and others 2016), preset medium: its mean error in four known motions was 0.06 to 0.21
    pixels, that of the preset fast 0.22 to 0.82, that of Farneback's method 0.23 and more.
    """
    cv2 = library()
    grey = [_enlarged(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY)) for each in (frame, earlier)]
    height, width = frame.shape[:2]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return Pair(*(search.calc(*each, None)[:height, :width] for each in (grey, grey[::-1])))


def _enlarged(grey: np.ndarray) -> np.ndarray:
    """Returns a picture [H, W] with its last rows and columns repeated up to what DIS takes."""
    return np.pad(grey, [(0, max(0, _LEAST_SIDE - side)) for side in grey.shape], mode="edge")


def shrunk(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a frame [H, W, 3] uint8 at a height and width, by means over areas where that is smaller."""
    cv2 = library()
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)


class Folder:
    """Flows that a person brings: files as the authors' program names them, frames counted from 1.

    `backward_5_4.flo` leads from frame 5 to frame 4, `forward_4_5.flo` from frame 4 to frame 5.
    """

    def __init__(self, path: pathlib.Path, count: int) -> None:
        """Finds out whether the flows between neighbouring frames are there.

        Args:
            path: The folder.
            count: The number of frames.

        Raises:
            InputError: One is missing.
        """
        self.path = path
        for index in range(1, count):
            for file in self._files(index, 1):
                if not os.path.isfile(file):
                    raise errors.InputError(f"flow: there is no {file}, which {count} frames need")

    def has(self, index: int, lag: int) -> bool:
        """Returns whether there are flows between a frame, from 0, and the one so many before it."""
        return index >= lag and all(os.path.isfile(file) for file in self._files(index, lag))

    def read(self, index: int, lag: int, size: tuple[int, int]) -> Pair:
        """Returns the flows between a frame, from 0, and the one so many before it.

        Args:
            index: Of the frame.
            lag: How many before it.
            size: Height and width of the result; the files may have another.

        Raises:
            InputError: A file cannot be read.
        """
        return Pair(*(resized(read(file), size) for file in self._files(index, lag)))

    def _files(self, index: int, lag: int) -> tuple[pathlib.Path, pathlib.Path]:
        later, earlier = index + 1, index + 1 - lag
        return (
            self.path / f"backward_{later}_{earlier}.flo",
            self.path / f"forward_{earlier}_{later}.flo",
        )


def read(path: pathlib.Path) -> np.ndarray:
    """Reads a flow from a .flo file.

    Raises:
        InputError: It cannot be read, or is no such file.
    """
    try:
        with open(path, "rb") as file:
            mark = np.frombuffer(file.read(4), "<f4")
            width, height = (int(side) for side in np.frombuffer(file.read(8), "<i4"))
            if mark != np.float32(_FLO) or min(width, height) < 1:
                raise ValueError("its first bytes are others")
            needed, found = width * height * 8, os.fstat(file.fileno()).st_size - _HEADER_BYTES
            if needed != found:
                raise ValueError(f"{width} x {height} pixels need {needed:,} bytes, not {found:,}")
            flow = np.frombuffer(file.read(), "<f4").reshape(height, width, 2)
    except (OSError, ValueError) as error:
        raise errors.InputError(f"flow: {path} is not a .flo file: {errors.one_line(error)}") from None
    return np.where(np.abs(flow) < _UNKNOWN, flow, np.float32(_UNKNOWN))  # NaN too


def resized(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a flow for pictures of another height and width."""
    height, width = size
    if flow.shape[:2] == size:
        return flow
    cv2 = library()
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    return cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale


def warp(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Returns a picture [H, W, C] taken from where a flow leads, bilinearly; outside of it are its edges."""
    cv2 = library()
    height, width = flow.shape[:2]
    place = flow + _grid(height, width)
    # Clipped, so that no unknown length overflows OpenCV's fixed-point numbers.
    place = np.clip(place, 0, np.array([width - 1, height - 1], np.float32))
    warped = cv2.remap(picture, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped.reshape(height, width, picture.shape[2])


def warp_result(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Returns a picture [H, W, 3] of floats in [0, 1] taken from where a flow leads, and not blurred.

    By Lanczos' kernel of eight pixels: a film is warped again with each frame, and after four frames warped
    bilinearly, as the paper has it, the style loss was 1.6 times that of the first, so 1.2 times (gram, 128
    px). Outside of the picture it is mirrored.
    """
    cv2 = library()
    height, width = flow.shape[:2]
    size = np.array([width, height], np.float32)
    place = np.clip(flow + _grid(height, width), -size, 2 * size)  # as in `warp`
    warped = cv2.remap(picture, place, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.clip(warped, 0.0, 1.0)


def leads_outside(flow: np.ndarray) -> np.ndarray:
    """Returns whether a flow leads outside of the picture, [H, W] bool."""
    height, width = flow.shape[:2]
    place = flow + _grid(height, width)
    return ((place < 0) | (place > np.array([width - 1, height - 1]))).any(axis=-1)


def _grid(height: int, width: int) -> np.ndarray:
    """Returns the place (x, y) of each pixel, [H, W, 2] float32."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)


def reliability(pair: Pair) -> np.ndarray:
    """Returns how far a pixel of a frame may be held to where its backward flow leads, [H, W, 1].

    0 where the flows disagree, which is where something has come into sight, where the flow leads outside and
    at boundaries of motion; 1 elsewhere; smoothed. Disagreement counts as -1 before that, as in the authors'
    program: what has come into sight gets nothing from its neighbours.
    """
    flow = pair.backward
    there = warp(pair.forward, flow)
    disagree = _squared(flow + there) >= _DISAGREE_SHARE * (_squared(flow) + _squared(there)) + _DISAGREE
    slopes = sum(_squared(slope) for slope in np.gradient(flow, axis=(0, 1)))
    boundary = slopes > _BOUNDARY_SHARE * _squared(flow) + _BOUNDARY
    trusted = np.select([leads_outside(flow), disagree, boundary], [0.0, -1.0, 0.0], 1.0).astype(np.float32)
    smooth = library().GaussianBlur(trusted, (0, 0), _SMOOTHING)
    return np.clip(smooth, 0.0, 1.0)[..., np.newaxis]


def _squared(flow: np.ndarray) -> np.ndarray:
    """Returns the squared lengths [H, W] of a flow."""
    return np.square(flow, dtype=np.float64).sum(axis=-1)  # unknown lengths overflow float32


def long_term(reliabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the weights of several earlier frames, [J, H, W, 1]: of each what closer ones leave over.

    Args:
        reliabilities: Of each, the closest first.
    """
    each = np.stack(reliabilities)
    closer = np.cumsum(each, axis=0) - each
    return np.maximum(each - closer, 0.0)


class Targets(NamedTuple):
    """What a frame is held to."""

    warped: np.ndarray  # [J, H, W, 3]: earlier results where their things are in the frame
    reliability: np.ndarray  # [J, H, W, 1]: how far each may be trusted


def targets(pairs: Sequence[Pair], results: Sequence[np.ndarray]) -> Targets:
    """Returns what a frame is held to by earlier ones, the closest first.

    Args:
        pairs: The flows between the frame and each earlier one.
        results: Their results, [H, W, 3] floats in [0, 1].
    """
    warped = [warp_result(result, pair.backward) for pair, result in zip(pairs, results, strict=True)]
    return Targets(np.stack(warped), long_term([reliability(pair) for pair in pairs]))
