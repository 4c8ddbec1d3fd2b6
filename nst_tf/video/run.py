"""The run of a film: read once, painted into a folder frame by frame, written from there. And from Python."""

import dataclasses
import errno
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from nst_tf import errors
from nst_tf.config import presets
from nst_tf.config.config import Config
from nst_tf.io import films, inputs, pictures
from nst_tf.video import cuts, flow, frames, shots, styles, work
from nst_tf.video.film import Film, FilmProgress, Made, Painting, Survey, prepared, survey
from nst_tf.video.frames import Frame
from nst_tf.video.painting import FrameRun, Settings, load, settings, suited


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
            run = FrameRun(load(named, frame.picture, chosen.config, changed), suited(chosen))
        if is_first:
            run.begin_shot()
        result = run.paint(frame)
        kept = work.rounded(result.image)
        run.add(frame, kept, result.manifest)
        yield kept


def paint_film(
    film: Film,
    on_progress: Callable[[FilmProgress], object] | None = None,
    known: Survey | None = None,
) -> Made:
    """Paints a film, or goes on with one, and writes it.

    Args:
        film: What is to be painted.
        on_progress: Called before each frame and about twice a second; returning anything true stops the run,
            whose finished frames are kept.
        known: What `survey` returned for the film; None to read it.

    Raises:
        InputError: An input cannot be used, memory does not suffice, or another run paints the same film.
        OSError: A frame or the film cannot be written; finished frames are kept.
    """
    known = known or survey(film)
    loaded = load(film.named, known.picture, film.settings.config, film.changed)
    run, record = prepared(film, known, loaded)
    with work.locked(film.output):
        folder = work.WorkFolder(film.output, record, film.overwrite)
        if film.address is None:
            made = Painting(film, known, run, folder).paint(film.frames, on_progress)
        else:
            made = shots.paint(film, known, loaded, run, folder, on_progress)
        if made.outcome == "finished":
            _write(film, known.times, folder)
        elif film.part is not None and made.frames:
            _write_part(film, known.times, folder, made.frames)
    return made


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
