"""The command `video`: flags -> a `Film`, checked before TensorFlow is loaded -> the painted film."""

import contextlib
import importlib
import os
import sys
import time
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags, terminal

if typing.TYPE_CHECKING:
    from nst_tf.video.film import Film, Made, Survey

INTRODUCTION = """Paints a film like a painting, without flicker.

  nst_tf video --content=film.mp4 --style=painting.jpg --output=painted.mp4
  nst_tf video ... --start=1:30 --duration=10 --size=512
  nst_tf video ... --style=one.jpg,two.jpg --style_times=0,5    mixed in between
  nst_tf video ... --address=local    its shots side by side
  nst_tf video --content=frames --fps=24 --style=painting.jpg --output=painted    folders of pictures

The first frame of each shot is painted as a still picture, later ones begin with the one before, moved along
with what is seen. The sound is copied as it is. Finished frames are kept in OUTPUT.frames until the film is
whole: the same command goes on after an interruption.
"""

_NAME = "video"

# Flags of a run that say something about one picture, or are decided frame by frame.
_REFUSED = (*run_flags.OF_ONE_RUN, "init")

_TEXTS: Mapping[str, str] = {
    "start": "where in the film to begin: seconds, or times as in 1:30 [0]",
    "duration": "how much of it to paint: seconds, or times as in 1:30 [all]",
    "fps": "frames a second at most; of a folder of pictures: how many there are [all; 25]",
    "style_times": "seconds at which each of several styles is alone, with commas; mixed in between",
    "flow": "a folder of optical flow, backward_2_1.flo and forward_1_2.flo and so on, instead of DIS",
    "preview": "where to write the latest frame, a picture file, after each one",
}
_DEFAULTS: Mapping[str, tuple[str, str]] = {
    "cuts": ("auto", "the times at which shots begin, with commas; auto finds them, none is one shot [auto]"),
    "codec": ("h264", "how the film is compressed: h264, hevc, vp9, av1 [h264]"),
}
# The flags of a run that mean something else here.
_CHANGED: Mapping[str, str] = {
    "content": "the film: a file, or a folder of pictures in the order of their names",
    "output": "where to write it: .mp4, .mov, .mkv or .webm, or a name without an extension for a folder",
    "temporal_weight": "weight of how far a frame is from earlier ones, warped along the motion between them"
    " [as much as all losses of a still picture at fourteen levels of 255]",
}


def define(values: flags.FlagValues) -> None:
    """Defines the flags of a run, and those of a film."""
    run_flags.define(values)
    for name, text in _TEXTS.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    for name, (default, text) in _DEFAULTS.items():
        flags.DEFINE_string(name, default, text, flag_values=values)
    flags.DEFINE_integer(
        "quality",
        None,
        "constant rate factor of the codec, lower is better and larger: 0 to 51 in h264 and hevc, to 63 in"
        " the others [18, 22, 24, 24]",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "frame_steps",
        None,
        "steps of each frame after the first of a shot [a sixth of a still picture's work]",
        1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "address",
        None,
        "paint shots side by side, on Ray: local is this machine alone; a running cluster is auto, or"
        " HOST:PORT",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "actors", None, "shots at a time [as many as memory and cores allow]", 1, flag_values=values
    )
    for name, text in _CHANGED.items():
        values[name].help = text


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    return {
        "Flags of the film": [*_TEXTS, *_DEFAULTS, "quality", "frame_steps"],
        "Flags of the machines": ["address", "actors"],
        **run_flags.groups(without=_REFUSED),
    }


def main(values: flags.FlagValues) -> int:
    """Checks everything that can be checked early, paints, writes, says where the film is.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    terminal.hide_tensorflow_warnings()
    with runtime.quiet():
        film = to_film(values)
        from nst_tf.video.shots import BatchError
    try:
        return _paint(film)
    except KeyboardInterrupt as interrupt:
        terminal.complain(_NAME, f"interrupted; {_WAY_ON}")
        return terminal.interrupted_code(interrupt)
    except (OSError, BatchError) as error:
        terminal.complain(_NAME, f"{errors.one_line(error)}; {_WAY_ON}")
        return terminal.EXIT_FAILED


_WAY_ON = "finished frames are kept, and the same command goes on after them"


def _paint(film: "Film") -> int:
    """Paints a film and says where it is; returns the exit code.

    Raises:
        InputError: Something that the user gave cannot be used.
        Interrupted: A signal has come.
    """
    if film.settings.config.network.convolution != "direct":
        runtime.use_onednn()
    runtime.use_tensorflow_backend()
    terminal.show_warnings()
    with runtime.quiet():
        importlib.import_module("nst_tf.api")
        from nst_tf.video import film as films
        from nst_tf.video import run

    start, known = time.perf_counter(), _read(film)
    with terminal.RunWatch(films.FilmProgress.describe) as watch:
        made = run.paint_film(film, watch, known)
    seconds = time.perf_counter() - start
    if made.outcome == "stopped":
        terminal.complain(_NAME, f"stopped after {made.frames} of {made.num_frames} frames; {_WAY_ON}")
        return watch.interrupt().exit_code
    terminal.say(_summary(film, made, seconds))
    if made.diverged:
        terminal.complain(
            _NAME,
            f"the loss of {made.diverged} frames became infinite or NaN: they are the last good pictures;"
            " smaller weights or a smaller learning rate may help",
        )
    return terminal.EXIT_FAILED if made.diverged else 0


def _read(film: "Film") -> "Survey":
    """Reads a film once, and shows how far that is.

    Raises:
        InputError: It has no frames, or one cannot be read.
    """
    from nst_tf.callbacks import report
    from nst_tf.video.film import Reading, survey

    terminal.say(f"{film.named.content}: reading it, to find its shots", sys.stderr)
    with contextlib.closing(report.ProgressBar(describe=Reading.describe)) as bar:
        return survey(film, bar)


def _summary(film: "Film", made: "Made", seconds: float) -> str:
    """Returns the line that says where a film is and how it came about."""
    height, width = made.size
    shots = "1 shot" if made.shots == 1 else f"{made.shots} shots"
    return f"{film.output}: {made.num_frames} frames of {width} x {height} pixels in {shots}, {seconds:.0f} s"


def to_film(values: flags.FlagValues) -> "Film":
    """Returns what flags ask for; the film's header is read, none of its frames.

    Raises:
        InputError: A value is not allowed, the film cannot be read, or the result not be written.
    """
    from nst_tf.io import films
    from nst_tf.video import cuts, flow, frames, painting, shots
    from nst_tf.video.film import Film

    run_flags.refuse(values, _REFUSED, "a film has many pictures")
    if not values["content"].value:
        raise errors.InputError("--content=FILE is missing: which film? --help explains")
    still = run_flags.to_run(values)
    times = _style_times(values, len(still.paths.styles))
    settings = painting.settings(still.config, still.overrides, values["frame_steps"].value, times)
    content, flows = run_flags.to_path(values, "content"), run_flags.to_path(values, "flow")
    assert content is not None  # as was checked
    if flows is not None and not os.path.isdir(flows):
        raise errors.InputError(f"flow: there is no folder {flows}")
    flow.library()
    address, actors = values["address"].value, values["actors"].value
    if address is None and actors is not None:
        raise errors.InputError("actors: shots at a time, on Ray; add --address=local, or a cluster's")
    shots.check(address)
    film = Film(
        frames.of(content, _part(values)),
        still.paths,
        still.overrides,
        settings,
        still.output,
        films.Encoding(values["codec"].value, values["quality"].value),
        cuts.parse(values["cuts"].value),
        flows,
        values["overwrite"].value,
        run_flags.to_path(values, "preview"),
        address,
        actors or 0,
    )
    _check_written(film)
    return film


def _check_written(film: "Film") -> None:
    """Finds out before a run whether what it writes can be written after it.

    Raises:
        InputError: It cannot, or would replace an input.
    """
    from nst_tf.io import pictures
    from nst_tf.video import work

    written = {"output": film.output, "frames": work.place(film.output)}
    if film.preview is not None:
        written["preview"] = film.preview
        # That of an earlier run, which this one goes on with, may be replaced.
        is_resumed = os.path.isdir(work.place(film.output))
        pictures.check_output(film.preview, film.overwrite or is_resumed, "preview")
    taken = {os.path.realpath(path): name for name, path in film.named.files()}
    for name, path in written.items():
        other = taken.setdefault(os.path.realpath(path), name)
        if other != name:
            raise errors.InputError(f"{name}: {path} is the {other} too; name another")
    work.check_output(film.output, film.overwrite, film.encoding, film.frames.sound)


def _part(values: flags.FlagValues) -> typing.Any:
    """Returns which part of the film is wanted."""
    from nst_tf.video import frames

    given = {name: values[name].value for name in ("start", "duration", "fps") if values[name].value}
    times = {name: frames.seconds(text, name) for name, text in given.items() if name != "fps"}
    if "fps" in given:
        times["fps"] = _rate(given["fps"])
    return frames.Part(**times)


def _rate(text: str) -> Fraction:
    """Returns frames a second; fractions such as 30000/1001 are exact."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise errors.InputError(f"fps: {text!r}; allowed: frames a second, as in 24 or 30000/1001") from None


def _style_times(values: flags.FlagValues, count: int) -> Sequence[Fraction]:
    """Returns when each of so many styles is alone; () where nobody says."""
    from nst_tf.video import frames, styles

    text = values["style_times"].value
    if not text:
        return ()
    times = [frames.seconds(item, "style_times") for item in text.split(",")]
    styles.check_times(times, count)
    return times
