"""A run in a thread of its own, and what another thread sees of it."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.io import pictures
from nst_tf.losses.values import AnyLosses

# Seconds between two previews, where steps are not longer.
PREVIEW_S = 1.0

# The longest side of a preview: about what a page's column has.
_PREVIEW_SIDE = 768

# Points of a picture's curve of losses that are kept: as many as its drawing has pixels, or so.
_MOST_POINTS = 400

Point = tuple[int, AnyLosses]  # a step, counted from 1, and its losses


class Report(NamedTuple):
    """How far a run is."""

    step: int
    num_steps: int
    losses: Sequence[AnyLosses]  # of the steps since the last report
    picture: Callable[[], np.ndarray]  # () -> the picture so far, [H, W, 3] in [0, 1]
    seconds_left: float | None = None  # None where nothing is known
    text: str = ""  # where the run is, for a person; "" where steps and pixels say it


Watch = Callable[[Report], bool]  # -> whether to stop


class Update(NamedTuple):
    """What a person sees of a run on the way."""

    picture: Image.Image
    size: tuple[int, int]  # height and width of the picture so far, which may be shown smaller
    step: int
    num_steps: int
    points: Sequence[Point]  # of the run so far
    seconds_left: float | None
    text: str = ""  # as in `Report`


Updates = Generator[Update, None, None]  # which are closed where nobody waits for more


class LeftError(Exception):
    """Nobody waits for a run any more."""


# What a run leaves.
_Made = TypeVar("_Made")


class Run(Generic[_Made]):
    """A run in a thread of its own, which another thread follows."""

    def __init__(self, paint: Callable[[Watch], _Made], points: Sequence[Point] = ()) -> None:
        """Starts it.

        Args:
            paint: (what to call on the way) -> what was made.
            points: Of an earlier part of the same run.
        """
        self._paint, self._points = paint, list(points)
        self._news = threading.Condition()
        self._update: Update | None = None
        self._shown_at = 0.0
        self._is_stopped = self._is_left = self._has_ended = False
        self._made: _Made | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Has the run end after the present step, with the picture so far."""
        self._is_stopped = True

    def leave(self) -> None:
        """Has the run end after the present step, without a picture."""
        self._is_left = True

    def follow(self) -> Updates:
        """Yields what there is to see, each time the latest, until the run ends; closed before, leaves it."""
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._update is not None or self._has_ended)
                    update, self._update = self._update, None
                if update is None:
                    return
                yield update
        finally:
            if not self._has_ended:
                self.leave()

    def made(self) -> _Made:
        """Returns what was made by a run that has ended.

        Raises:
            InputError: As its `paint`; so does whatever else it raises.
        """
        made, error, self._made, self._error = self._made, self._error, None, None
        if error is not None:
            raise error
        assert made is not None
        return made

    @property
    def points(self) -> list[Point]:
        """Steps and losses, few enough to draw."""
        every = -(-len(self._points) // _MOST_POINTS)
        return self._points[:: every or 1]

    def _run(self) -> None:
        try:
            self._made = self._paint(self._watch)
        except (LeftError, errors.InputError) as error:
            # Without the frames, whose pictures would stay in memory with it.
            error.__context__ = None
            self._error = error.with_traceback(None)
        except BaseException as error:  # `made` raises it
            self._error = error
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def _watch(self, report: Report) -> bool:
        """Takes a report; shows it if the last one is long enough ago. Returns whether to stop."""
        if self._is_left:
            raise LeftError
        first = report.step - len(report.losses) + 1
        self._points += [(first + index, losses) for index, losses in enumerate(report.losses)]
        now = time.monotonic()
        if now - self._shown_at >= PREVIEW_S or self._is_stopped or report.step == report.num_steps:
            self._shown_at = now
            self._show(report)
        return self._is_stopped

    def _show(self, report: Report) -> None:
        image = report.picture()
        size = (image.shape[0], image.shape[1])
        shown = preview(image)
        update = Update(
            shown, size, report.step, report.num_steps, self.points, report.seconds_left, report.text
        )
        with self._news:
            self._update = update
            self._news.notify_all()


def preview(image: pictures.Picture) -> Image.Image:
    """Returns a picture no larger than a page shows it: an image [H, W, 3], or a file.

    An image may be of a run that diverges: what is infinite or NaN is black.
    """
    if isinstance(image, np.ndarray):
        levels = np.nan_to_num(np.clip(image, 0.0, 1.0))
    else:
        levels = pictures.read(image)
    found = Image.fromarray(pictures.to_uint8(levels))
    found.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    return found
