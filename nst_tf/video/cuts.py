"""Where a film cuts from one shot to the next."""

import bisect
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

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


def marked(film: Iterable[Frame], times: Sequence[Fraction] | None = None) -> Iterator[tuple[Frame, bool]]:
    """Yields frames, and whether each begins a shot, as the first one does.

    Args:
        film: The frames.
        times: When shots begin, in order, each with the first frame from then on; None to find them.
    """
    return _found(film) if times is None else _forced(film, times)


def _forced(film: Iterable[Frame], times: Sequence[Fraction]) -> Iterator[tuple[Frame, bool]]:
    """Yields what `marked` does where a person says when shots begin."""
    before = None
    for frame in film:
        count = bisect.bisect_right(times, frame.time)
        yield frame, count != before
        before = count


def _found(film: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Yields what `marked` does where shots are found.

    A frame begins one if too little of it comes from the frame before; unless that frame comes back within
    three frames, as after a flash. Four frames more are read than are yielded.
    """
    compared = ((frame, small(frame.picture)) for frame in film)
    ahead = deque(itertools.islice(compared, _FLASH + 2))
    if ahead:
        yield ahead[0][0], True
    while len(ahead) > 1:
        (_, before), (_, after), *later = ahead
        differs = share_kept(before, after) < _LEAST_SHARE
        back = _first_alike(before, [picture for _, picture in later]) if differs else None
        for _ in range(0 if back is None else back + 1):  # the flash
            yield ahead[1][0], False
            del ahead[1]
        yield ahead[1][0], differs and back is None
        ahead.popleft()
        ahead.extend(itertools.islice(compared, _FLASH + 2 - len(ahead)))


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
