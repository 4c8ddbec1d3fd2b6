"""Frames held to those before them, beside the same frames painted one by one: flicker, style, time."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

import nst_tf
from benchmark import town_film
from nst_tf import video
from nst_tf.io import pictures
from nst_tf.video import flow

# Height by width of frames, as films have.
_ASPECT = 9 / 16

# The first frames of each way, which trace its graphs: their time does not count.
_TRACED = 2


class Plan(NamedTuple):
    """What is measured."""

    preset: str
    size: int  # longest side in pixels
    num_frames: int
    stills: int  # the last so many frames are painted one by one too
    strip: str | None  # where a picture of the last frames goes, held above one by one; None for none


class _Painted(NamedTuple):
    """Pictures [H, W, 3] in [0, 1], and the seconds that each took."""

    pictures: list[np.ndarray]
    seconds: list[float]  # of the wall
    processor: list[float]  # of all cores together


def measure(style: np.ndarray, source: str, plan: Plan) -> dict[str, Any]:
    """Returns flicker in levels of 255, style losses and seconds a frame, held and one by one.

    The film is the town's of `town_film`, whose motion is known.

    Args:
        style: The painting, [1, h, w, 3] in [0, 1].
        source: The weights, as `nst_tf.stylize` takes them.
        plan: What is measured.
    """
    film = town_film.make(plan.num_frames, round(_ASPECT * plan.size), plan.size)
    settings: dict[str, Any] = {"preset": plan.preset, "size": plan.size, "weights": source}
    held = _timed(video.stylize_frames(film.frames, style[0], cuts=(), **settings))
    last = range(plan.num_frames - plan.stills, plan.num_frames)

    def alone(number: int) -> np.ndarray:
        return nst_tf.stylize(film.frames[number], style[0], **settings).image

    stills = _timed(map(alone, last))
    if plan.strip is not None:
        pictures.write(_strip(held.pictures[-plan.stills :], stills.pictures), plan.strip)
    filmed = [np.divide(frame, 255, dtype=np.float32) for frame in film.frames]

    def lost(picture: np.ndarray, number: int) -> float:
        return _style_loss(style, film.frames[number], picture, settings)

    return {
        "held_levels": flicker(film, held.pictures, last[1:]),
        "stills_levels": flicker(film, dict(zip(last, stills.pictures, strict=True)), last[1:]),
        "filmed_levels": flicker(film, filmed, last[1:]),
        "held_style": [lost(picture, number) for number, picture in enumerate(held.pictures)],
        "stills_style": [
            lost(picture, number) for number, picture in zip(last, stills.pictures, strict=True)
        ],
        "held_s": _median(held.seconds),
        "stills_s": _median(stills.seconds),
        "held_processor_s": _median(held.processor),
        "stills_processor_s": _median(stills.processor),
    }


def flicker(film: town_film.Film, painted: Any, numbers: Iterable[int]) -> float:
    """Returns the mean of |x_i - warp(x_i-1)| over the true motion, in levels of 255.

    Pixels whose thing was out of sight do not count.

    Args:
        film: What was painted.
        painted: Pictures [H, W, 3] in [0, 1] by number of frame.
        numbers: Frames that are compared with the one before.
    """
    found = []
    for number in numbers:
        warped = flow.warp(np.asarray(painted[number - 1], np.float32), film.backward[number])
        found.append(np.abs(painted[number] - warped)[film.seen[number]].mean())
    return 255 * float(np.mean(found))


def _timed(painted: Iterable[np.ndarray]) -> _Painted:
    made = _Painted([], [], [])
    clocks: Sequence[Callable[[], float]] = (time.perf_counter, time.process_time)
    before = [clock() for clock in clocks]
    for picture in painted:
        now = [clock() for clock in clocks]
        made.pictures.append(picture)
        for seconds, end, start in zip(made[1:], now, before, strict=True):
            seconds.append(end - start)
        before = [clock() for clock in clocks]
    return made


def _median(seconds: Sequence[float]) -> float:
    """Returns the median of frames that trace nothing; where there are none, of the last."""
    return float(np.median(seconds[_TRACED:] or seconds[-1:]))


def _style_loss(
    style: np.ndarray, filmed: np.ndarray, picture: np.ndarray, settings: dict[str, Any]
) -> float:
    """Returns the style loss of a painted frame, neighbours' included: that of a run that begins with it."""
    began = nst_tf.stylize(filmed, style[0], init=picture, scales=(1.0,), min_scale=0, steps=1, **settings)
    return float(began.trace[0].style)


def _strip(held: Sequence[np.ndarray], stills: Sequence[np.ndarray]) -> np.ndarray:
    """Returns held frames side by side, above the same frames painted one by one."""
    return np.concatenate([np.concatenate(row, axis=1) for row in (held, stills)], axis=0)
