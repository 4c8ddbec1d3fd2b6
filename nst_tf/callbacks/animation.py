"""A run as a moving picture: which moments of it are shown, for how long, in which file.

Moments are chosen even in visible change. Even in steps, most of the time nothing would happen: a picture
changes most in the first steps of a scale. A rule of steps alone would have to know the optimiser and the
scales; change can be measured on the pictures themselves, whatever made them, also of a run that was stopped.
"""

import io
import itertools
import logging
import os
import pathlib
import tempfile
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.callbacks import callback, figures
from nst_tf.config.scales import Scale
from nst_tf.io import files, films

if typing.TYPE_CHECKING:
    from nst_tf.engine.progress import Progress

_log = logging.getLogger(__name__)

# A GIF of 41 painted frames of 480 x 360 pixels had 4.1 MB, a WebP 1.2 MB, an MP4 1.6 MB; they play for less
# than seven seconds.
MAX_FRAMES, MAX_SIDE = 48, 480

# How long frames are shown: a GIF counts hundredths of a second. First and last long enough to be seen.
_FRAME_MS, _FIRST_MS, _LAST_MS = 80, 480, 2000

_WEBP_QUALITY = 80  # Pillow's own default, named here since files depend on it


class Animation(callback.Callback):
    """Keeps the picture of a run as it develops, and writes it as a GIF, a WebP or an MP4.

    The result's proportions, its longest side at most `MAX_SIDE` pixels; coarse scales are enlarged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Says where to.

        Raises:
            InputError: The format is unknown, or needs a library that is not installed.
        """
        self.path = path  # or a `files.Place`
        check_format(pathlib.Path(path))
        self._frames: list[Image.Image] = []
        self._steps: frozenset[int] = frozenset()
        self._size = (1, 1)

    def on_begin(self, scales: Sequence[Scale], picture: Callable[[], np.ndarray]) -> Collection[int]:
        """Keeps the first picture; returns the steps whose pictures it wants."""
        return self._begin(scales, picture, np.zeros([0]))

    def on_resume(
        self,
        scales: Sequence[Scale],
        picture: Callable[[], np.ndarray],
        step: int,
        kept: Mapping[str, np.ndarray],
    ) -> Collection[int]:
        """Takes up the frames of the checkpoint; without them says that the animation begins here."""
        frames = kept.get("frames", np.zeros([0]))
        width, height = _fitted(scales[-1].width, scales[-1].height)
        if frames.dtype != np.uint8 or frames.shape[1:] != (height, width, 3) or not frames.size:
            _log.warning("animation: the frames before step %d are missing: they were not kept", step)
            frames = np.zeros([0])
        return self._begin(scales, picture, frames)

    def to_keep(self) -> dict[str, np.ndarray]:
        """Returns the frames so far, [N, H, W, 3] uint8."""
        return {"frames": np.stack([np.asarray(frame) for frame in self._frames])} if self._frames else {}

    def _begin(
        self, scales: Sequence[Scale], picture: Callable[[], np.ndarray], frames: np.ndarray
    ) -> Collection[int]:
        self._size = _fitted(scales[-1].width, scales[-1].height)
        self._steps = frozenset(callback.report_steps(scales))
        self._frames = [Image.fromarray(frame) for frame in frames]
        if not self._frames:
            self._keep(picture())
        return self._steps

    def on_step(self, progress: "Progress") -> None:
        """Keeps the picture, if it is time."""
        if progress.step in self._steps:
            self._keep(progress.picture())

    def save(self, image: np.ndarray) -> None:
        """Writes the file, whole or not at all; replaces what is there.

        Args:
            image: The result, [H, W, 3] floats in [0, 1], which comes last.

        Raises:
            OSError: The file cannot be written.
        """
        kept = [*self._frames, figures.resized(image, *self._size)]
        frames = [kept[index] for index in even_changes(kept, MAX_FRAMES)]
        durations = [_FIRST_MS, *[_FRAME_MS] * (len(frames) - 2), _LAST_MS][-len(frames) :]
        data = _WRITERS[pathlib.Path(self.path).suffix.lower()](frames, durations)
        with files.replacing(self.path) as file:
            file.write(data)

    def _keep(self, picture: np.ndarray) -> None:
        if np.isfinite(picture).all():  # a run that diverges has no picture for a while
            self._frames.append(figures.resized(picture, *self._size))


def check_format(path: pathlib.Path) -> None:
    """Checks that an animation can be written in the format of the path's extension.

    Raises:
        InputError: The format is unknown, or needs a library that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise errors.unknown_name("animation format", path.suffix, _WRITERS)
    if suffix == ".mp4":
        films.library("animation", ", or use .webp or .gif")


def even_changes(frames: Sequence[Image.Image], count: int) -> list[int]:
    """Returns the indices of at most so many frames that change about alike from one to the next.

    A frame's place is the sum of mean absolute differences of pixels up to it; the frames nearest to even
    places are chosen. The first and the last are among them, unless they are the same.
    """
    pixels = [np.asarray(frame, np.int16) for frame in frames]
    changes = [np.abs(after - before).mean() for before, after in itertools.pairwise(pixels)]
    places = np.cumsum([0.0, *changes])
    wanted = np.linspace(0.0, places[-1], count)
    nearest = np.abs(places[:, np.newaxis] - wanted).argmin(axis=0)
    return [index for index in sorted(set(nearest.tolist())) if places[index] < places[-1]] + [
        len(frames) - 1
    ]


def _fitted(width: int, height: int) -> tuple[int, int]:
    """Returns the size of the frames: even, as video wants them."""
    share = min(1.0, MAX_SIDE / max(width, height))
    return max(2, 2 * round(width * share / 2)), max(2, 2 * round(height * share / 2))


def _gif(frames: Sequence[Image.Image], durations: Sequence[int]) -> bytes:
    return _pillow(frames, durations, "GIF")


def _webp(frames: Sequence[Image.Image], durations: Sequence[int]) -> bytes:
    return _pillow(frames, durations, "WEBP", quality=_WEBP_QUALITY)


def _pillow(
    frames: Sequence[Image.Image], durations: Sequence[int], format_name: str, **options: object
) -> bytes:
    file = io.BytesIO()
    frames[0].save(
        file,
        format_name,
        save_all=True,
        append_images=list(frames[1:]),
        duration=list(durations),
        loop=0,  # for ever
        **options,
    )
    return file.getvalue()


def _mp4(frames: Sequence[Image.Image], durations: Sequence[int]) -> bytes:
    """Returns an MP4 that every player and browser plays.

    Raises:
        OSError: It could not be made.
    """
    seconds = [Fraction(duration, 1000) for duration in durations]
    times = itertools.accumulate(seconds, initial=Fraction(0))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "film.mp4"
        shown = (
            films.Shown(time, duration, np.asarray(frame))
            for time, duration, frame in zip(times, seconds, frames, strict=False)
        )
        films.write(path, shown, time_base=Fraction(1, 1000))
        return path.read_bytes()


# Formats by file extension: (frames, milliseconds of each) -> the file.
_WRITERS: dict[str, Callable[[Sequence[Image.Image], Sequence[int]], bytes]] = {
    ".gif": _gif,
    ".webp": _webp,
    ".mp4": _mp4,
}
