"""The command `video`: flags -> a `Film`, checked before TensorFlow is loaded."""

import dataclasses
import os
import pathlib
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction

from absl import flags

from nst_tf import errors
from nst_tf.commands import run_flags

if typing.TYPE_CHECKING:
    from nst_tf.io.films import Encoding
    from nst_tf.video.frames import Frames

INTRODUCTION = """Paints a film like a painting, without flicker.

  nst_tf video --content=film.mp4 --style=painting.jpg --output=painted.mp4
  nst_tf video ... --start=1:30 --duration=10 --size=512
  nst_tf video ... --style=one.jpg,two.jpg --style_times=0,5    mixed in between
  nst_tf video --content=frames --fps=24 --style=painting.jpg --output=painted    folders of pictures

The sound is copied as it is. Finished frames are kept in OUTPUT.frames until the film is whole: the same
command goes on after an interruption.
"""

# Flags of a run that say something about one picture, or are decided frame by frame.
_REFUSED = (*run_flags.OF_ONE_RUN, "init")

_TEXTS: Mapping[str, str] = {
    "start": "where in the film to begin: seconds, or times as in 1:30 [0]",
    "duration": "how much of it to paint: seconds, or times as in 1:30 [all]",
    "fps": "frames a second at most; of a folder of pictures: how many there are [all; 25]",
    "style_times": "seconds at which each of several styles is alone, with commas; mixed in between",
    "flow": "a folder of optical flow, backward_2_1.flo and forward_1_2.flo and so on, instead of DIS",
}
_DEFAULTS: Mapping[str, tuple[str, str]] = {
    "cuts": ("auto", "the times at which shots begin, with commas; auto finds them, none is one shot [auto]"),
    "codec": ("h264", "how the film is compressed: h264, hevc, vp9, av1 [h264]"),
}
# The flags of a run that mean something else here.
_CHANGED: Mapping[str, str] = {
    "content": "the film: a file, or a folder of pictures in the order of their names",
    "output": "where to write it: .mp4, .mov, .mkv or .webm, or a name without an extension for a folder",
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
    for name, text in _CHANGED.items():
        values[name].help = text


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    return {
        "Flags of the film": [*_TEXTS, *_DEFAULTS, "quality"],
        **run_flags.groups(without=_REFUSED),
    }


@dataclasses.dataclass(frozen=True)
class Film:
    """What is to be painted of which film, and how it is written."""

    run: run_flags.Run  # of one frame; its content is the film
    frames: "Frames"
    encoding: "Encoding"
    cuts: Sequence[Fraction] | None  # the times at which shots begin; None to find them
    style_times: Sequence[Fraction]  # () for the same styles throughout
    flow: pathlib.Path | None  # a folder of flow; None to estimate it


def to_film(values: flags.FlagValues) -> Film:
    """Returns what flags ask for; the film's header is read, none of its frames.

    Raises:
        InputError: A value is not allowed, the film cannot be read, or the result not be written.
    """
    from nst_tf.io import films
    from nst_tf.video import cuts, frames, work

    run_flags.refuse(values, _REFUSED, "a film has many pictures")
    if not values["content"].value:
        raise errors.InputError("--content=FILE is missing: which film? --help explains")
    run = run_flags.to_run(values)
    encoding = films.Encoding(values["codec"].value, values["quality"].value)
    shots, times = cuts.parse(values["cuts"].value), _style_times(values, len(run.paths.styles))
    flow = run_flags.to_path(values, "flow")
    if flow is not None and not os.path.isdir(flow):
        raise errors.InputError(f"flow: there is no folder {flow}")
    content = run_flags.to_path(values, "content")
    assert content is not None  # as was checked
    found = frames.of(content, _part(values))
    if os.path.realpath(run.output) == os.path.realpath(content):
        raise errors.InputError(f"output: {run.output} is the content too; name another")
    work.check_output(run.output, values["overwrite"].value, encoding, found.sound)
    return Film(run, found, encoding, shots, times, flow)


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
