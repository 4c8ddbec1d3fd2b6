"""A short film that a person asks a page for, and what is painted of it: `nst_tf.video` does that."""

import contextlib
import dataclasses
import importlib.util
import math
import os
import pathlib
import shutil
from fractions import Fraction

import numpy as np

from nst_tf import errors
from nst_tf.config.config import Config
from nst_tf.engine.progress import TimeLeft
from nst_tf.io import films, pictures
from nst_tf.page import fields
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order
from nst_tf.page.runs import Report, Watch
from nst_tf.video import frames, painting, run, work
from nst_tf.video.film import Film, FilmProgress, Made

# What nst_tf.video needs, by the names of its modules.
_LIBRARIES = ("av", "cv2")

# What a frame may have and a film show: 8K, and the slow motion of telephones. All of it is decoded.
_MOST_PIXELS, _MOST_RATE = 8192 * 4320, 240


def is_there() -> bool:
    """Returns whether the libraries are there that films need; loads none of them."""
    return all(importlib.util.find_spec(name) is not None for name in _LIBRARIES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmOrder:
    """A film to be painted.

    Raises:
        InputError: A number is outside its range.
    """

    order: Order  # its paintings and settings; the film is its content
    start: float  # seconds of the film before the part that is wanted
    duration: float  # seconds of that part
    fps: float  # frames a second, at most

    def __post_init__(self) -> None:
        for name in ("start", "duration", "fps"):
            value = getattr(self, name)
            good = isinstance(value, int | float) and math.isfinite(value)
            errors.require(good, name, value, "a number")
        self._part()

    def _part(self) -> frames.Part:
        start, duration, fps = (Fraction(str(each)) for each in (self.start, self.duration, self.fps))
        return frames.Part(start, duration, fps)

    def num_frames(self) -> int:
        """Returns the most frames that the part has."""
        return math.ceil(self.duration * self.fps)

    def config(self) -> Config:
        """Returns the config of a shot's first frame.

        Raises:
            InputError: There is no such preset or setting, or a value is not allowed.
        """
        if "init" in self.order.overrides:
            raise errors.InputError("init: a frame begins with the one before; leave it out")
        return self.order.config()

    def source(self) -> frames.Film:
        """Returns the frames that are wanted; the film's header is read.

        Raises:
            InputError: The file is no film, or too large.
        """
        assert self.order.content is not None
        found = frames.Film(self.order.content, self._part(), "film")
        height, width = found.size
        came = f"frames of {width} x {height} pixels"
        errors.require(height * width <= _MOST_PIXELS, "film", came, "8192 x 4320 at most")
        came = f"{float(found.rate):.0f} frames a second"
        errors.require(found.rate <= _MOST_RATE, "film", came, f"{_MOST_RATE} at most")
        return found

    def command(self, output: str) -> str:
        """Returns the command line that makes the same film, with names of files instead of paths."""
        times = {"start": self.start, "duration": self.duration, "fps": self.fps}
        more = [
            f"--{name}={fields.to_text(value)}" for name, value in times.items() if value or name != "start"
        ]
        return self.order.command(output, ("nst_tf", "video"), more)


@dataclasses.dataclass(frozen=True)
class PaintedFilm:
    """A film that was painted, or a part of it."""

    order: FilmOrder
    output: pathlib.Path  # where the film is, once it is whole
    path: pathlib.Path | None  # of the film, or of the frames so far; None without any
    made: Made
    is_mute: bool  # whether its sound was left out

    def is_stopped(self) -> bool:
        """Returns whether its run can go on."""
        return self.made.outcome == "stopped"

    def command(self) -> str:
        """Returns the command line that makes the whole film."""
        return self.order.command(self.output.name)

    def forget(self) -> None:
        """Removes the frames that a run which was stopped goes on from."""
        shutil.rmtree(work.place(self.output), ignore_errors=True)


def paint(
    order: FilmOrder, limits: Limits, output: pathlib.Path, part: pathlib.Path, report: Watch
) -> PaintedFilm:
    """Paints a film as `nst_tf video` does, or goes on after the frames that were finished.

    Args:
        order: What is asked for.
        limits: Of the page.
        output: Where the film goes, and beside it finished frames until it is whole.
        part: Where the frames so far go, if the run is stopped.
        report: Called before each frame, and about twice a second; its steps are frames.

    Raises:
        InputError: Something that was asked for cannot be used, or is over the limits.
        OSError: A frame or the film cannot be written.
    """
    limits.check_frames(order.num_frames(), order.duration, order.fps)
    config, source = order.config(), order.source()
    is_mute = _leave_out_sound(source, output)
    latest = [np.divide(next(iter(source)).picture, 255, dtype=np.float32)]
    paintings = [
        pictures.read(each, errors.numbered("style", n)) for n, each in enumerate(order.order.styles)
    ]
    limits.check(config, latest[0].shape[:2], [each.shape[1:3] for each in paintings])
    given, left = order.order.overrides, TimeLeft()
    chosen = painting.settings(config, given, None, ())
    film = Film(source, order.order.paths(), given, chosen, output, overwrite=True, part=part)

    def watch(progress: FilmProgress) -> bool:
        def picture() -> np.ndarray:
            if progress.picture is not None:
                latest[0] = progress.picture()
            return latest[0]

        _use(source.path, work.place(output))
        step, num_steps, text = progress.step, progress.num_steps, progress.describe()
        return report(Report(step, num_steps, (), picture, left(progress), text))

    made = run.paint_film(film, watch)
    path = part if made.outcome == "stopped" else output
    return PaintedFilm(order, output, path if path.is_file() else None, made, is_mute)


def _leave_out_sound(source: frames.Film, output: pathlib.Path) -> bool:
    """Leaves out sound that the output cannot hold; returns whether there is some.

    Raises:
        InputError: The output cannot be written either way.
    """
    try:
        films.check(output, films.Encoding(), source.sound)
    except errors.InputError:
        source.sound = None
        films.check(output, films.Encoding())
        return True
    return False


def _use(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Has the files of a run count as used now: it may take over an hour."""
    for path in (source, *folder.rglob("*")):
        with contextlib.suppress(OSError):
            os.utime(path)
