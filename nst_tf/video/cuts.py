"""Where a film cuts from one shot to the next."""

import bisect
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from nst_tf.video import flow, frames
from nst_tf.video.frames import Frame

# The longest side at which frames are compared: shots differ at any size, and fast motion is short here.
_SIDE = 128

# How far a colour may be, in levels of 255, from the one that its flow leads to.
_SAME_COLOR = 32

# The least share of a frame that comes from the one before within a shot. Of 500 frames of three films with
# five cuts it was at most 0.09 over the cuts and at least 0.41 within shots, and 0.23 in a pan by a fifth of
# the width a frame.
_LEAST_SHARE = 0.15

# The most frames that a flash lasts.
_FLASH = 3


def find(film: Iterable[Frame]) -> list[int]:
    """Returns the indices of the frames with which new shots begin, without 0.

    A frame begins one if too little of it comes from the frame before; unless that frame comes back within
    three frames, as after a flash.
    """
    compared = ((frame.number, small(frame.picture)) for frame in film)
    ahead = deque(itertools.islice(compared, _FLASH + 2))
    found = []
    while len(ahead) > 1:
        (_, before), (index, after), *later = ahead
        if share_kept(before, after) < _LEAST_SHARE:
            back = _first_alike(before, [picture for _, picture in later])
            if back is None:
                found.append(index)
            else:
                for _ in range(back + 1):
                    del ahead[1]
        ahead.popleft()
        ahead.extend(itertools.islice(compared, _FLASH + 2 - len(ahead)))
    return found


def _first_alike(before: np.ndarray, later: Sequence[np.ndarray]) -> int | None:
    """Returns the index of the first of several frames that shows what an earlier one did, if any."""
    alike = (index for index, frame in enumerate(later) if share_kept(before, frame) >= _LEAST_SHARE)
    return next(alike, None)


def share_kept(before: np.ndarray, after: np.ndarray) -> float:
    """Returns the share of a frame's pixels that come from another, along a flow that both agree on.

    Args:
        before: The earlier frame, [H, W, 3] uint8.
        after: The frame.
    """
    pair = flow.estimate(after, before)
    warped = flow.warp(before.astype(np.float32), pair.backward)
    difference = np.abs(after - warped).mean(axis=-1)
    return float(((flow.reliability(pair)[..., 0] > 0.5) & (difference < _SAME_COLOR)).mean())


def small(picture: np.ndarray) -> np.ndarray:
    """Returns a frame [H, W, 3] as it is compared: its longest side at most 128 pixels."""
    height, width = picture.shape[:2]
    factor = min(1.0, _SIDE / max(height, width))
    return flow.shrunk(picture, (max(1, round(height * factor)), max(1, round(width * factor))))


def parse(text: str) -> list[Fraction] | None:
    """Returns the times at which shots begin by what a person typed; None for "auto", where they are found.

    Raises:
        InputError: It is neither times with commas, nor "none".
    """
    if text in ("auto", "none"):
        return None if text == "auto" else []
    return sorted({frames.seconds(item, "cuts") for item in text.split(",")})


def forced(times: Sequence[Fraction], shown: Sequence[Fraction]) -> list[int]:
    """Returns the indices of the frames with which new shots begin where a person says so, without 0.

    Args:
        times: When shots begin; each with the first frame from then on.
        shown: When the frames are shown.
    """
    firsts = {bisect.bisect_left(shown, time) for time in times}
    return sorted(firsts - {0, len(shown)})


class Shot(NamedTuple):
    """The frames from one cut to the next."""

    first: int
    end: int  # the index after the last


def shots(cuts: Sequence[int], count: int) -> Iterator[Shot]:
    """Yields the shots of a film of so many frames."""
    yield from itertools.starmap(Shot, itertools.pairwise([0, *cuts, count]))
