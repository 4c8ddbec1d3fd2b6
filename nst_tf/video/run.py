"""The run of a film: the first frame of a shot is a still picture, each later one begins with the one before.

Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610). The result before, warped along the flow, is where a
frame begins, and with older ones what its temporal loss holds it to. Frames go on from results of eight bits,
as they are kept, so that a film whose run was interrupted is the same. TensorFlow is loaded once a film has
been read.
"""

import dataclasses
import errno
import hashlib
import logging
import math
import os
import pathlib
import time
import typing
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from nst_tf import errors, runtime
from nst_tf.config import presets, scales
from nst_tf.config.config import Config
from nst_tf.io import films, inputs, manifest, pictures
from nst_tf.video import cuts, flow, frames, styles, work
from nst_tf.video.frames import Frame, Frames

if typing.TYPE_CHECKING:
    from nst_tf.api import Result
    from nst_tf.engine.frames import Earlier
    from nst_tf.engine.progress import Progress

_log = logging.getLogger(__name__)

# The share of a still picture's work, in evaluated pixels, that the steps of a later frame are: its targets
# and its flow take the rest of a fifth of the time.
_FRAME_SHARE = 1 / 6

# The temporal loss weighs as much as all losses of the shot's first frame, finished, do where a frame is so
# many levels of 255 from the one before.
_BALANCED_LEVELS = 10.0

# Settings that say how a run fits into memory.
_OF_MEMORY = ("tile", "max_memory")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the frames of a film are painted.

    Raises:
        InputError: A number is outside its range, or the settings do not go together.
    """

    config: Config  # of a shot's first frame; complete
    temporal_weight: float | None = None  # of the temporal loss; None balances it
    frame_steps: int | None = None  # of each later frame; None for what a sixth of a still picture's work is
    style_times: Sequence[Fraction] = ()  # when each of several styles is alone; () for a constant mixture

    def __post_init__(self) -> None:
        steps = self.frame_steps
        errors.require(steps is None or steps >= 1, "frame_steps", steps, "1 or more")
        if self.style_times and self.config.style.blend_weights:
            raise errors.InputError(
                "style_blend_weights: style_times say how styles are mixed; name one of them"
            )

    def steps_of(self, planned: Sequence[scales.Scale]) -> int:
        """Returns the steps of a later frame, by the scales of a still picture."""
        if self.frame_steps is not None:
            return self.frame_steps
        return max(1, round(_FRAME_SHARE * _work(planned) / _work([planned[-1]._replace(num_steps=1)])))


def settings(
    config: Config, changed: Mapping[str, Any], frame_steps: int | None, style_times: Sequence[Fraction]
) -> Settings:
    """Returns settings by what a person named.

    Args:
        config: The config.
        changed: The settings in it that were named.
        frame_steps: As in `Settings`.
        style_times: Likewise.

    Raises:
        InputError: As for `Settings`.
    """
    is_named = "temporal_weight" in changed or config.temporal.weight > 0
    return Settings(config, config.temporal.weight if is_named else None, frame_steps, style_times)


def _work(planned: Iterable[scales.Scale]) -> int:
    """Returns the pixels that are evaluated over all steps of some scales."""
    return sum(scale.height * scale.width * scale.num_steps for scale in planned)


class _Past(NamedTuple):
    """A frame that is finished."""

    picture: np.ndarray  # as filmed, [h, w, 3] uint8, at the size at which flow is estimated
    result: np.ndarray  # [H, W, 3] float32


class FrameRun:
    """Paints the frames of a film in their order; holds the last few."""

    def __init__(
        self, loaded: inputs.LoadedInputs, chosen: Settings, flows: flow.Folder | None = None
    ) -> None:
        """Prepares a film.

        Args:
            loaded: What frames have in common; its content is the first frame.
            chosen: The settings, their config as `weights.suited` returns it.
            flows: Flow that a person brings; None estimates it.

        Raises:
            InputError: Frames are too small.
        """
        from nst_tf.engine.frames import Film

        assert loaded.content is not None
        self._inputs, self._settings, self._flows = loaded, chosen, flows
        self.scales = scales.plan_scales(chosen.config, *loaded.content.shape[1:3])
        self.size = self.scales[-1].height, self.scales[-1].width
        self.steps = chosen.steps_of(self.scales)
        self._shared = Film()
        self._past: deque[_Past] = deque(maxlen=max(flow.LAGS))
        self._weight = 0.0

    def begin_shot(self) -> None:
        """Forgets the frames before: the next one is the first of a shot."""
        self._past.clear()

    def paint(self, frame: Frame, on_progress: Callable[["Progress"], object] | None = None) -> "Result":
        """Paints the frame that follows those added.

        Args:
            frame: As filmed.
            on_progress: As for `api.stylize`.

        Raises:
            InputError: Memory does not suffice, or a file of flow cannot be read.
        """
        from nst_tf import api
        from nst_tf.engine.frames import Frame as OfFilm

        content = np.divide(frame.picture, 255, dtype=np.float32)[np.newaxis]
        described = {**self._inputs.descriptions, **manifest.describe_inputs({"content": frame.picture})}
        earlier = self._earlier(frame) if self._past and self._settings.config.takes_steps() else None
        loaded = dataclasses.replace(
            self._inputs,
            content=content,
            init=None if earlier is None else earlier.pictures[:1],
            descriptions=described,
        )
        config = self._config(frame)
        return api.paint(loaded, config, on_progress=on_progress, frame=OfFilm(self._shared, earlier))

    def add(self, frame: Frame, result: np.ndarray, losses: Mapping[str, Any]) -> None:
        """Takes note of a finished frame.

        Args:
            frame: As filmed.
            result: [H, W, 3] float32 in [0, 1], with eight bits.
            losses: Of the result, by its manifest.
        """
        if not self._past:
            self._weight = self._balanced(losses)
        self._past.append(_Past(self._small(frame.picture), result))

    def work(self, is_first: bool) -> int:
        """Returns the pixels that are evaluated for a frame, the first of a shot or a later one."""
        return _work(self.scales if is_first else [self.scales[-1]._replace(num_steps=self.steps)])

    def _balanced(self, losses: Mapping[str, Any]) -> float:
        """Returns the weight of the temporal loss in a shot, by the losses of its first frame."""
        if self._settings.temporal_weight is not None:
            return self._settings.temporal_weight
        total = losses.get("total") or 0.0
        return total / _BALANCED_LEVELS**2 if math.isfinite(total) else 0.0

    def _config(self, frame: Frame) -> Config:
        """Returns the config of the frame that follows."""
        from nst_tf.engine.frames import later_config

        config, times = self._settings.config, self._settings.style_times
        if times:
            config = config.replace(style_blend_weights=styles.shares(times, frame.time))
        if not self._past or not config.takes_steps():
            return config
        return later_config(config, self.steps).replace(temporal_weight=self._weight)

    def _earlier(self, frame: Frame) -> "Earlier":
        """Returns what a frame is held to: results that are not too long ago, as the frame sees them."""
        from nst_tf.engine.frames import Earlier

        picture, pairs, results = self._small(frame.picture), [], []
        for lag in flow.LAGS:
            if lag <= len(self._past) and (self._flows is None or self._flows.has(frame.number, lag)):
                pairs.append(self._flow(frame.number, picture, lag))
                results.append(self._past[-lag].result)
        return Earlier(*flow.targets(pairs, results))

    def _flow(self, number: int, picture: np.ndarray, lag: int) -> flow.Pair:
        """Returns the flows between a frame and the one so many before it, at the size of results."""
        if self._flows is not None:
            return self._flows.read(number, lag, self.size)
        pair = flow.estimate(picture, self._past[-lag].picture)
        return flow.Pair(*(flow.resized(each, self.size) for each in pair))

    def _small(self, picture: np.ndarray) -> np.ndarray:
        """Returns a frame [H, W, 3] uint8 no larger than its result, which is fine enough for its flow."""
        height, width = map(min, self.size, picture.shape[:2])
        return picture if (height, width) == picture.shape[:2] else flow.shrunk(picture, (height, width))


def load(
    named: inputs.InputPaths, picture: np.ndarray, config: Config, changed: Collection[str]
) -> inputs.LoadedInputs:
    """Reads what the frames of a film have in common.

    Args:
        named: The pictures of the run; its content is the film.
        picture: The film's first frame, [H, W, 3] uint8.
        config: Of the run.
        changed: The settings that were named.

    Raises:
        InputError: A picture cannot be read, or pictures and settings do not go together.
    """
    still = dataclasses.replace(named, content=picture)
    return inputs.load(still, config, set(changed) - {"temporal_weight"})  # which films have a use for


def stylize_frames(
    film: Iterable[pictures.Picture],
    style: pictures.Picture | Sequence[pictures.Picture],
    *,
    preset: str | Config = "default",
    cuts: Sequence[float] | None = None,
    fps: float = 25,
    frame_steps: int | None = None,
    style_times: Sequence[float] = (),
    content_mask: pictures.Picture | None = None,
    content_regions: pictures.Picture | None = None,
    style_regions: pictures.Picture | Sequence[pictures.Picture] = (),
    **overrides: Any,
) -> Iterator[np.ndarray]:
    """Yields the frames of a film, painted without flicker.

    Args:
        film: Its frames, each as the `content` of `nst_tf.stylize`, all of one size; they are read as they
            are needed, up to four ahead.
        style: The painting or paintings.
        preset: The formulation by name, or a config.
        cuts: The times at which shots begin, in seconds; None finds them, () is one shot.
        fps: Frames a second, for `cuts` and `style_times`.
        frame_steps: Steps of each frame after the first of a shot; None for what makes a sixth of its work.
        style_times: The time at which each of several styles is alone; mixed in between.
        content_mask: As for `nst_tf.stylize`, of every frame.
        content_regions: Likewise.
        style_regions: Likewise.
        **overrides: Settings to replace, as for `nst_tf.stylize`; with `temporal_weight`, how far a frame is
            held to those before.

    Returns:
        A generator of pictures [H, W, 3] float32 sRGB in [0, 1], of eight bits.

    Raises:
        InputError: A picture, a name or a value cannot be used.
    """
    if "init" in overrides:
        raise errors.InputError("init: a frame begins with the one before; leave it out")
    errors.require(fps > 0, "fps", fps, "frames a second, above 0")
    config = presets.get(preset, **overrides)
    named = inputs.InputPaths(
        styles=inputs.as_list(style),
        content_mask=content_mask,
        content_regions=content_regions,
        style_regions=inputs.as_list(style_regions),
    )
    times = [Fraction(time) for time in style_times]
    if times:
        styles.check_times(times, len(named.styles))
    chosen = settings(config, overrides, frame_steps, times)
    flow.library()
    starts = None if cuts is None else sorted(map(Fraction, cuts))
    return _stylized(frames.of_pictures(film, Fraction(fps)), starts, named, chosen, overrides)


def _stylized(
    film: Iterator[Frame],
    starts: Sequence[Fraction] | None,
    named: inputs.InputPaths,
    chosen: Settings,
    changed: Collection[str],
) -> Iterator[np.ndarray]:
    """Yields what `stylize_frames` does; arguments as there and for `load`."""
    run: FrameRun | None = None
    for frame, is_first in cuts.marked(film, starts):
        if run is None:
            run = FrameRun(load(named, frame.picture, chosen.config, changed), _suited(chosen))
        if is_first:
            run.begin_shot()
        result = run.paint(frame)
        kept = work.rounded(result.image)
        run.add(frame, kept, result.manifest["losses"])
        yield kept


def _suited(chosen: Settings) -> Settings:
    """Returns settings with the config that suits the features of its weights; loads TensorFlow."""
    with runtime.tensorflow_backend():
        from nst_tf.network import weights
    return dataclasses.replace(chosen, config=weights.suited(chosen.config))


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
    part: pathlib.Path | None = None  # the film so far, written where a run is stopped; None for none


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


class _Survey(NamedTuple):
    """What is known of a film once it has been read."""

    times: Sequence[Fraction]  # when its frames are shown
    firsts: Sequence[int]  # the frames that begin shots
    picture: np.ndarray  # the first frame
    sha256: str  # of the frames and their times


def _surveyed(film: Film) -> _Survey:
    """Reads a film once: its times, its cuts, what to recognise it by.

    Raises:
        InputError: It has no frames, or one cannot be read.
    """
    times, firsts, digest = [], [], hashlib.sha256()
    picture = None
    for frame, is_first in cuts.marked(film.frames, film.cuts):
        picture = frame.picture if picture is None else picture
        digest.update(f"{frame.time} {frame.picture.shape}".encode())
        digest.update(frame.picture.data)
        times.append(frame.time)
        firsts += [frame.number] if is_first else []
    assert picture is not None  # `Frames` are never empty
    return _Survey(times, firsts, picture, digest.hexdigest())


class Made(NamedTuple):
    """What a run of a film has come to."""

    outcome: str  # "finished" or "stopped"
    frames: int  # that are finished, of `num_frames`
    num_frames: int
    shots: int
    size: tuple[int, int]  # height and width of the result
    diverged: int  # frames whose loss became infinite or NaN in this run: they are the last good pictures


def paint_film(film: Film, on_progress: Callable[[FilmProgress], object] | None = None) -> Made:
    """Paints a film, or goes on with one, and writes it.

    Args:
        film: What is to be painted.
        on_progress: Called before each frame and about twice a second; returning anything true stops the run,
            whose finished frames are kept.

    Raises:
        InputError: An input cannot be used, memory does not suffice, or another run paints the same film.
        OSError: A frame or the film cannot be written; finished frames are kept.
    """
    survey = _surveyed(film)
    loaded = load(film.named, survey.picture, film.settings.config, film.changed)
    flows = None if film.flow is None else flow.Folder(film.flow, len(survey.times))
    chosen = _suited(film.settings)
    run = FrameRun(loaded, chosen, flows)
    record = _record(film, survey, loaded, chosen, run.steps)
    with work.locked(film.output):
        folder = work.WorkFolder(film.output, record, film.overwrite)
        made = _Painting(film, survey, run, folder).paint(on_progress)
        if made.outcome == "finished":
            _write(film, survey.times, folder)
        elif film.part is not None and made.frames:
            _write_part(film, survey.times, folder, made.frames)
    return made


def _record(
    film: Film, survey: _Survey, loaded: inputs.LoadedInputs, chosen: Settings, steps: int
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
        "content": survey.sha256,
        "weights": used,
        "cuts": list(survey.firsts),
        "flow": film.flow and str(film.flow),
        "frame_steps": steps,
        "style_times": list(map(str, chosen.style_times)),
        "temporal_weight": chosen.temporal_weight,
    }


def _write(film: Film, times: Sequence[Fraction], folder: work.WorkFolder) -> None:
    """Makes a film, or a folder, of the finished frames.

    Raises:
        OSError: It cannot be written.
    """
    if work.is_folder(film.output):
        folder.finish_folder(film.output)
        return
    if os.path.lexists(film.output) and not film.overwrite:
        raise FileExistsError(errno.EEXIST, "a file has appeared there meanwhile", str(film.output))

    folder.finish(film.output, lambda path: _encode(film, path, folder.shown(times), film.frames.sound))


def _write_part(film: Film, times: Sequence[Fraction], folder: work.WorkFolder, count: int) -> None:
    """Makes a film of the first frames, fewer than all; they stay.

    Raises:
        OSError: It cannot be written.
    """
    assert film.part is not None
    sound = film.frames.sound
    if sound is not None:
        sound = dataclasses.replace(sound, end=sound.origin + times[count])
    _encode(film, film.part, folder.shown(times[:count]), sound)


def _encode(film: Film, path: pathlib.Path, shown: Iterable[films.Shown], sound: films.Sound | None) -> None:
    """Writes frames as a film.

    Raises:
        OSError: It cannot be written.
    """
    films.write(path, shown, time_base=film.frames.time_base, encoding=film.encoding, sound=sound)


class _Painting:
    """A film that is being painted: its frames so far, and what is said of them."""

    def __init__(self, film: Film, survey: _Survey, run: FrameRun, folder: work.WorkFolder) -> None:
        self._film, self._survey, self._run, self._folder = film, survey, run, folder
        self._firsts = frozenset(survey.firsts)
        self._total = sum(run.work(number in self._firsts) for number in range(len(survey.times)))
        self._finished = self._shot = self._done = self._diverged = 0
        self._seconds: float | None = None
        self._preview = film.preview

    def paint(self, on_progress: Callable[[FilmProgress], object] | None) -> Made:
        """Paints the frames that are not there yet."""
        outcome = "finished"
        for frame in self._film.frames:
            if frame.number in self._firsts:
                self._run.begin_shot()
                self._shot += 1
            if not self._take(frame) and not self._make(frame, on_progress or (lambda _: None)):
                outcome = "stopped"
                break
            self._finished += 1
            self._done += self._run.work(frame.number in self._firsts)
        shots, size = len(self._firsts), self._run.size
        return Made(outcome, self._finished, len(self._survey.times), shots, size, self._diverged)

    def _take(self, frame: Frame) -> bool:
        """Goes on with a frame that an earlier run has finished; returns whether there is one."""
        kept = self._folder.get(frame.number)
        if kept is None:
            return False
        self._run.add(frame, kept, self._folder.losses(frame.number))
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
        self._run.add(frame, kept, result.manifest["losses"])
        self._show(kept)
        self._seconds = time.perf_counter() - start
        return True

    def _progress(self, done: int, picture: Callable[[], np.ndarray] | None = None) -> FilmProgress:
        """Returns the progress of the film after so many evaluated pixels of a frame, which it may show."""
        return FilmProgress(
            self._finished,
            len(self._survey.times),
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
