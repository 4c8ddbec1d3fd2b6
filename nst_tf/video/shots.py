"""The shots of a film side by side, on Ray: each worker paints whole shots into the film's folder.

Each shot begins anew, so that its frames are those of a run that paints one shot after the other.
"""

import bisect
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nst_tf.batch import calls, cluster, plan
from nst_tf.batch.cluster import BatchError as BatchError
from nst_tf.io.inputs import LoadedInputs
from nst_tf.video import work
from nst_tf.video.film import Film, FilmProgress, Made, Painting, Survey, prepared
from nst_tf.video.frames import Frame
from nst_tf.video.painting import FrameRun

# The address of no cluster: Ray runs on this machine, for the time of the film.
LOCAL = "local"

# Seconds between two looks at the folder, as between two reports of a run.
_POLL_S = 0.5


class _Shot(NamedTuple):
    """Frames from the first one on, without the last."""

    first: int
    end: int


def check(address: str | None) -> None:
    """Checks that shots can be painted side by side, if they are to be.

    Raises:
        InputError: Ray is not installed.
    """
    if address is not None:
        cluster.load("address")


def paint(
    film: Film,
    known: Survey,
    loaded: LoadedInputs,
    run: FrameRun,
    folder: work.WorkFolder,
    on_progress: Callable[[FilmProgress], object] | None = None,
) -> Made:
    """Paints the frames of a film that are not there yet.

    Args:
        film: What is painted; workers have to see its files, and the folder, by the same paths.
        known: Of the film.
        loaded: What its frames have in common.
        run: What paints them, here for its settings alone.
        folder: Of the finished frames.
        on_progress: As for `run.paint_film`.

    Raises:
        InputError: An input cannot be used, or memory does not suffice.
        OSError: A frame cannot be written.
        BatchError: The workers do not start, or keep dying.
    """
    watched = _Watched(known, run, folder)
    missing = [shot for shot in _shots(known) if _misses(folder, shot)]
    diverged, tell = 0, on_progress or (lambda _: None)
    if not missing:
        return watched.made("finished", 0)
    make = functools.partial(_Painter, film, known, loaded, os.getcwd())
    with cluster.connected(None if film.address == LOCAL else film.address):
        workers = _plan(film, known, loaded, len(missing))
        onednn = film.settings.config.network.convolution != "direct"
        for found in calls.each(make, missing, workers, onednn=onednn, poll_s=_POLL_S):
            diverged += found or 0
            if tell(watched.progress()):
                return watched.made("stopped", diverged)
    return watched.made("finished", diverged)


def _shots(known: Survey) -> list[_Shot]:
    """Returns the shots of a film."""
    return [_Shot(*each) for each in itertools.pairwise((*known.firsts, len(known.times)))]


def _misses(folder: work.WorkFolder, shot: _Shot) -> bool:
    """Returns whether a frame of a shot is not there, or damaged."""
    return any(folder.get(number) is None for number in range(*shot))


def _plan(film: Film, known: Survey, loaded: LoadedInputs, most: int) -> plan.Plan:
    """Returns the plan for the machines that there are, with so many workers at most."""
    from nst_tf.engine import memory

    num_regions = 0 if loaded.regions is None else len(loaded.regions.colors)
    sizes = memory.Inputs(known.picture.shape[:2], [image.shape[1:3] for image in loaded.styles], num_regions)
    needed = plan.needed_memory([film.settings.config], sizes)
    return plan.make(cluster.machines(), needed, film.actors, most, grows=film.address != LOCAL)


class _Painter:
    """Paints shots, in a worker's process."""

    def __init__(self, film: Film, known: Survey, loaded: LoadedInputs, place: str) -> None:
        os.chdir(place)  # so that relative paths are those of the command
        self._run, record = prepared(film, known, loaded)
        # Not overwritten, so that a machine with other weights is refused.
        self._folder = work.WorkFolder(film.output, record)
        self._film, self._known = film, known
        self._frames: Iterator[Frame] = iter(())
        self._next: int | None = None  # the number of the frame that comes next of these

    def __call__(self, shot: _Shot) -> int:
        """Returns how many frames of a shot diverged."""
        painting = Painting(self._film, self._known, self._run, self._folder)
        return painting.paint(self._of(shot)).diverged

    def _of(self, shot: _Shot) -> Iterator[Frame]:
        """Yields the frames of a shot; goes on reading where the one before ended."""
        if self._next is None or self._next > shot.first:
            self._frames, self._next = iter(self._film.frames), 0
        for frame in itertools.islice(self._frames, shot.first - self._next, shot.end - self._next):
            self._next = frame.number + 1
            yield frame


class _Watched:
    """The finished frames of a film, as its folder has them."""

    def __init__(self, known: Survey, run: FrameRun, folder: work.WorkFolder) -> None:
        self._known, self._run, self._folder = known, run, folder
        self._start, self._before = time.perf_counter(), len(folder.finished())
        self._total = self._work(range(len(known.times)))

    def progress(self) -> FilmProgress:
        """Returns the progress of the film; of the shots, the one of the first frame that is missing."""
        finished, count = self._folder.finished(), len(self._known.times)
        missing = next((number for number in range(count) if number not in finished), count)
        painted = len(finished) - self._before
        pace = (time.perf_counter() - self._start) / painted if painted > 0 else None
        shot = bisect.bisect_right(self._known.firsts, min(missing, count - 1))
        done = self._work(finished)
        return FilmProgress(len(finished), count, shot, self._run.size, pace, done, self._total)

    def made(self, outcome: str, diverged: int) -> Made:
        """Returns what the run has come to."""
        count, shots = len(self._known.times), len(self._known.firsts)
        return Made(outcome, len(self._folder.finished()), count, shots, self._run.size, diverged)

    def _work(self, numbers: Iterable[int]) -> int:
        """Returns the pixels that are evaluated for frames."""
        firsts = frozenset(self._known.firsts)
        return sum(self._run.work(number in firsts) for number in numbers)
