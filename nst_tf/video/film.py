"""A film to be painted, what is known of it once it has been read, and the painting of its frames."""

import dataclasses
import hashlib
import logging
import pathlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from nst_tf import errors, runtime
from nst_tf.io import films, inputs, manifest, pictures
from nst_tf.video import cuts, flow, work
from nst_tf.video.frames import Frame, Frames
from nst_tf.video.painting import FrameRun, Settings, suited

_log = logging.getLogger(__name__)

# Settings that say how a run fits into memory.
_OF_MEMORY = ("tile", "max_memory")

# Seconds between two reports of how much of a film has been read, as between those of a run.
_REPORT_S = 0.5


@dataclasses.dataclass(frozen=True)
class Film:
    """A film to be painted into a file or a folder."""

    frames: Frames
    named: inputs.InputPaths  # the other pictures
    changed: Collection[str]  # the settings that were named
    settings: Settings
    output: pathlib.Path
    encoding: films.Encoding = dataclasses.field(default_factory=films.Encoding)
    cuts: Sequence[Fraction] | None = None  # the times at which shots begin; None to find them
    flow: pathlib.Path | None = None  # a folder of flow; None to estimate it
    overwrite: bool = False
    preview: pathlib.Path | None = None  # where to write the latest frame
    # Where shots are painted side by side: on this machine ("local"), or a Ray cluster; None for one by one.
    address: str | None = None
    actors: int = 0  # shots at a time; 0 for as many as memory and cores allow
    # Where to write the film so far if a run without `address` is stopped; None for none.
    part: pathlib.Path | None = None


class FilmProgress(NamedTuple):
    """The progress of a film."""

    step: int  # frames finished
    num_steps: int  # frames in all
    shot: int  # of the frame that is painted, from 1
    size: tuple[int, int]  # height and width of the result
    seconds: float | None  # that the latest frame took; None before there is one
    done: int  # evaluated pixels
    total: int
    picture: Callable[[], np.ndarray] | None = None  # () -> the frame so far; None before its first step

    def work(self) -> tuple[int, int]:
        """Returns (done, in all) in evaluated pixels."""
        return self.done, self.total

    def describe(self) -> str:
        """Returns where the run is, for a person."""
        height, width = self.size
        text = f"frame {min(self.step + 1, self.num_steps)} of {self.num_steps}, shot {self.shot}"
        pace = "" if self.seconds is None else f"; {self.seconds:.1f} s a frame"
        return f"{text}, {width} x {height}{pace}"


class Survey(NamedTuple):
    """What is known of a film once it has been read."""

    times: Sequence[Fraction]  # when its frames are shown
    firsts: Sequence[int]  # the frames that begin shots
    picture: np.ndarray  # the first frame
    sha256: str  # of the frames and their times


class Reading(NamedTuple):
    """How much of a film has been read, to find its shots."""

    step: int  # frames
    num_steps: int  # about how many there are

    def work(self) -> tuple[int, int]:
        """Returns (done, in all) in frames."""
        return self

    def describe(self) -> str:
        """Returns where the reading is, for a person."""
        return f"{self.step} frames read"


def survey(film: Film, on_read: Callable[[Reading], object] | None = None) -> Survey:
    """Reads a film once: its times, its cuts, what to recognise it by.

    Args:
        film: What is to be painted.
        on_read: Called about twice a second.

    Raises:
        InputError: It has no frames, or one cannot be read.
    """
    times, firsts, digest = [], [], hashlib.sha256()
    picture, reported = None, time.monotonic()
    for frame, is_first in cuts.marked(film.frames, film.cuts):
        picture = frame.picture if picture is None else picture
        digest.update(f"{frame.time} {frame.picture.shape}".encode())
        digest.update(frame.picture.data)
        times.append(frame.time)
        firsts += [frame.number] if is_first else []
        if on_read is not None and time.monotonic() - reported >= _REPORT_S:
            reported = time.monotonic()
            # Where nobody knows how many there are, half of them have been read.
            on_read(Reading(len(times), max(film.frames.about or 2 * len(times), len(times))))
    assert picture is not None  # `Frames` are never empty
    return Survey(times, firsts, picture, digest.hexdigest())


class Made(NamedTuple):
    """What a run of a film has come to."""

    outcome: str  # "finished" or "stopped"
    frames: int  # that are finished, of `num_frames`
    num_frames: int
    shots: int
    size: tuple[int, int]  # height and width of the result
    diverged: int  # frames whose loss became infinite or NaN in this run: they are the last good pictures


def prepared(film: Film, known: Survey, loaded: inputs.LoadedInputs) -> tuple[FrameRun, Mapping[str, Any]]:
    """Returns what paints the frames of a film, and all that decides them, as `work.WorkFolder` takes it.

    Args:
        film: What is to be painted.
        known: Of the film.
        loaded: What its frames have in common.

    Raises:
        InputError: An input cannot be used.
    """
    flows = None if film.flow is None else flow.Folder(film.flow, len(known.times))
    chosen = suited(film.settings)
    run = FrameRun(loaded, chosen, flows)
    return run, _record(film, known, loaded, chosen, run.steps)


def _record(
    film: Film, known: Survey, loaded: inputs.LoadedInputs, chosen: Settings, steps: int
) -> Mapping[str, Any]:
    """Returns all that decides the frames of a film, as `work.WorkFolder` takes it."""
    from nst_tf.engine import formulations

    config = chosen.config
    values = manifest.to_values(config.replace(precision=runtime.resolve_precision(config.network.precision)))
    used = formulations.load_weights(config).sha256 if config.takes_steps() else ""
    others = {name: entry["sha256"] for name, entry in loaded.descriptions.items()}
    return {
        **{name: value for name, value in values.items() if name not in _OF_MEMORY},
        **others,
        "content": known.sha256,
        "weights": used,
        "cuts": list(known.firsts),
        "flow": film.flow and str(film.flow),
        "frame_steps": steps,
        "style_times": list(map(str, chosen.style_times)),
        "temporal_weight": chosen.temporal_weight,
    }


class Painting:
    """A film that is being painted: its frames so far, and what is said of them."""

    def __init__(self, film: Film, known: Survey, run: FrameRun, folder: work.WorkFolder) -> None:
        """Begins before the film's first frame; `run` is what `prepared` returned."""
        self._film, self._known, self._run, self._folder = film, known, run, folder
        self._firsts = frozenset(known.firsts)
        self._total = sum(run.work(number in self._firsts) for number in range(len(known.times)))
        self._finished = self._shot = self._done = self._diverged = 0
        self._seconds: float | None = None
        self._preview = film.preview

    def paint(
        self, chosen: Iterable[Frame], on_progress: Callable[[FilmProgress], object] | None = None
    ) -> Made:
        """Paints frames that are not there yet.

        Args:
            chosen: All frames of the film, or of some of its shots, in their order.
            on_progress: As for `run.paint_film`.

        Raises:
            InputError: Memory does not suffice, or an input cannot be read.
            OSError: A frame cannot be written.
        """
        outcome = "finished"
        for frame in chosen:
            if frame.number in self._firsts:
                self._run.begin_shot()
                self._shot += 1
            if not self._take(frame) and not self._make(frame, on_progress or (lambda _: None)):
                outcome = "stopped"
                break
            self._finished += 1
            self._done += self._run.work(frame.number in self._firsts)
        shots, size = len(self._firsts), self._run.size
        return Made(outcome, self._finished, len(self._known.times), shots, size, self._diverged)

    def _take(self, frame: Frame) -> bool:
        """Goes on with a frame that an earlier run has finished; returns whether there is one."""
        kept = self._folder.get(frame.number)
        if kept is None:
            return False
        self._run.add(frame, kept, self._folder.made(frame.number))
        return True

    def _make(self, frame: Frame, on_progress: Callable[[FilmProgress], object]) -> bool:
        """Paints a frame and keeps it; returns whether that was not stopped."""
        start = time.perf_counter()
        if on_progress(self._progress(0)):
            return False
        result = self._run.paint(
            frame, lambda progress: on_progress(self._progress(progress.work()[0], progress.picture))
        )
        if result.outcome == "stopped":
            return False
        self._diverged += result.outcome == "diverged"
        kept = self._folder.put(frame.number, result.image, manifest.to_text(result.manifest))
        self._run.add(frame, kept, result.manifest)
        self._show(kept)
        self._seconds = time.perf_counter() - start
        return True

    def _progress(self, done: int, picture: Callable[[], np.ndarray] | None = None) -> FilmProgress:
        """Returns the progress of the film after so many evaluated pixels of a frame, which it may show."""
        return FilmProgress(
            self._finished,
            len(self._known.times),
            self._shot,
            self._run.size,
            self._seconds,
            self._done + done,
            self._total,
            picture,
        )

    def _show(self, picture: np.ndarray) -> None:
        """Writes the preview; where that fails, says so and writes none from then on."""
        if self._preview is None:
            return
        try:
            pictures.write(picture, self._preview)
        except OSError as error:
            _log.warning("preview: %s could not be written: %s", self._preview, errors.one_line(error))
            self._preview = None
