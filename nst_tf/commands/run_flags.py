"""The flags of a run, which several commands share: defined from the settings, read into a `Run`.

Loads no TensorFlow: mistakes are found before that takes seconds.
"""

import dataclasses
import os
import pathlib
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from absl import flags

from nst_tf import errors
from nst_tf.config import presets, settings
from nst_tf.config.config import Config
from nst_tf.config.overrides import SCALE_SETTINGS
from nst_tf.io import paths

if typing.TYPE_CHECKING:
    from nst_tf.callbacks.outputs import Outputs
    from nst_tf.engine.checkpoints import Checkpoints
    from nst_tf.io.files import Place
    from nst_tf.io.inputs import InputPaths, LoadedInputs

# Flags that name one file or folder, or say one thing, with their help.
_SINGLE: Mapping[str, str] = {
    "content": "the photograph: a picture file",
    "content_mask": "a grey picture of the photograph's shape: style only where white",
    "content_regions": "the photograph's regions in flat colours, each with a style of its own",
    "output": "where to write the picture; the extension decides the format",
    "trace": "where to write every evaluation's losses, as CSV",
    "animation": "where to write the picture as it develops: .gif, .webp or .mp4",
    "comparison": "where to write photograph, painting and result in one figure",
    "plot": "where to write the losses as curves: .png, .svg or .pdf",
    "logdir": "a folder for TensorBoard summaries of the run",
    "config": "start from a picture's manifest (its .json, or the picture itself)",
}
# Those that name several.
_SEVERAL: Mapping[str, str] = {
    "style": "the painting: a picture file; several with commas, or the flag several times",
    "style_regions": (
        "for each painting, what part of it the region of that colour is to look like: a picture in flat"
        " colours, or one colour as '#ff0000' for all of it; with commas, or the flag several times"
    ),
}

# The flags most people need, in the order in which they meet them.
MAIN = (
    *(
        "content",
        "style",
        "output",
        "bit_depth",
        "preset",
        "size",
        "steps",
        "weights",
        "precision",
        "seed",
        "trace",
    ),
    *("config", "overwrite"),
)
# Those that say how large strokes are, and how several paintings go together.
_OF_STYLES = ("style_scale", "style_size", "style_blend", "style_blend_weights")
# Those that say where which style goes.
_OF_REGIONS = ("content_mask", "outside", "content_regions", "style_regions", "guide_erosion")
# Those that show how the picture comes about.
_SHOWING = ("save_every", "animation", "comparison", "plot", "logdir")

# Those that a long or a large run needs.
_OF_LONG_RUNS = (
    *("checkpoint_every", "resume", "max_memory", "tile", "history", "history_precision", "large_inputs"),
)

# Those of them that name a file or a folder.
_SHOWN_IN = ("animation", "comparison", "plot", "logdir")

# Those that a command with many runs refuses.
OF_ONE_RUN = ("bit_depth", "trace", "checkpoint_every", "resume", *_SHOWING)

# The thirty-two layer names would drown the help text.
_MOST_NAMES_LISTED = 10


def define(values: flags.FlagValues, without: Collection[str] = ()) -> None:
    """Defines the flags of inputs and outputs, then one for every setting.

    Args:
        values: Where to.
        without: Flags that name one file, which the command defines itself or has not.
    """
    for name, text in _SINGLE.items():
        if name not in without:
            flags.DEFINE_string(name, None, text, flag_values=values)
    for name, text in _SEVERAL.items():
        flags.DEFINE_multi_string(name, None, text, flag_values=values)
    for name, text in SCALE_SETTINGS.items():
        flags.DEFINE_float(name, None, f"instead of scales: {text}", flag_values=values)
    flags.DEFINE_integer(
        "save_every", None, "save OUTPUT-step0020.EXT and so on, every so many steps", 1, flag_values=values
    )
    flags.DEFINE_float(
        "checkpoint_every",
        None,
        "keep the state of the run in OUTPUT.checkpoint, every so many seconds; 0: never [30, for runs of"
        " over a minute]",
        0.0,
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "resume", False, "go on from OUTPUT.checkpoint, which a run that ended early left", flag_values=values
    )
    flags.DEFINE_integer(
        "bit_depth",
        8,
        "bits a channel of the picture: 8, or 16 in PNG and TIFF, where smooth skies need them [8]",
        flag_values=values,
    )
    flags.DEFINE_boolean("overwrite", False, "replace files that exist", flag_values=values)
    flags.DEFINE_string(
        "preset", "default", "the formulation by name; nst_tf presets lists them", flag_values=values
    )
    of_type = {int: flags.DEFINE_integer, bool: flags.DEFINE_boolean, float: flags.DEFINE_float}
    for name, field in settings.SETTINGS.items():
        if settings.is_list(field):
            flags.DEFINE_list(name, None, _help(name), flag_values=values)
        else:
            of_type.get(settings.element_type(field), flags.DEFINE_string)(
                name, None, _help(name), flag_values=values
            )


def names() -> list[str]:
    """Returns the names of the flags that `define` defines."""
    own = ["save_every", "checkpoint_every", "resume", "bit_depth", "overwrite", "preset"]
    return [*_SINGLE, *_SEVERAL, *SCALE_SETTINGS, *own, *settings.SETTINGS]


def groups(without: Collection[str] = ()) -> dict[str, list[str]]:
    """Returns {heading: flags} for a command's help, without some flags, and without headings of none."""
    listed_above = MAIN + _OF_STYLES + _OF_REGIONS + _OF_LONG_RUNS
    rest = [name for name in settings.SETTINGS if name not in listed_above]
    rest[rest.index("scales") : rest.index("scales")] = list(SCALE_SETTINGS)
    all_groups: Mapping[str, Sequence[str]] = {
        "Flags; in brackets what the default preset has": MAIN,
        "Flags for the size of strokes, and for several paintings": _OF_STYLES,
        "Flags for a style in places, or a style for each place": _OF_REGIONS,
        "Flags that show how the picture comes about": _SHOWING,
        "Flags for long runs and large pictures": _OF_LONG_RUNS,
        "Flags that change the preset's formulation": rest,
    }
    left = {
        heading: [name for name in listed if name not in without] for heading, listed in all_groups.items()
    }
    return {heading: listed for heading, listed in left.items() if listed}


def _help(name: str) -> str:
    """Returns a setting's help with the allowed names and the default preset's value."""
    field, default = settings.SETTINGS[name], presets.DEFAULT.to_settings()[name]
    if name == "steps":
        default = sum(default)
    names = field.metadata["names"]
    listed = f": {', '.join(names)}" if 0 < len(names) <= _MOST_NAMES_LISTED else ""
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{field.metadata['help']}{listed} [{shown}]"


def refuse(values: flags.FlagValues, refused: Collection[str], why: str) -> None:
    """Checks that some flags were not given.

    Raises:
        InputError: One was.
    """
    for name in refused:
        if values[name].present:
            raise errors.InputError(f"--{name}: {why}; leave it out")


def to_path(values: flags.FlagValues, name: str) -> pathlib.Path | None:
    """Returns the path that a flag names, if any, as `paths.typed` does.

    Raises:
        InputError: No file can have that path.
    """
    text = values[name].value
    return paths.typed(text, name) if text else None


def overrides(values: flags.FlagValues) -> dict[str, Any]:
    """Returns {setting: value} of the flags that were given.

    Raises:
        InputError: An item of a list is no number.
    """
    given: dict[str, Any] = {name: values[name].value for name in SCALE_SETTINGS}
    for name, field in settings.SETTINGS.items():
        value = values[name].value
        if isinstance(value, list) and settings.element_type(field) is not str:
            value = tuple(_number(name, item) for item in value)
        given[name] = tuple(value) if isinstance(value, list) else value
    return {name: value for name, value in given.items() if value is not None}


def _number(name: str, text: str) -> float:
    kind = settings.element_type(settings.SETTINGS[name])
    try:
        number: float = kind(text)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise errors.InputError(f"{name}: {text!r}; allowed: {what}, with commas") from None
    return number


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as a person asks for it: what goes in, what is to be done, where what comes out goes."""

    paths: "InputPaths"
    config: Config
    overrides: Mapping[str, Any]  # the settings that were given
    output: pathlib.Path
    outputs: "Outputs"  # the files beside the picture
    repeated: Mapping[str, Any] | None  # the manifest that --config names

    def load(self) -> "LoadedInputs":
        """Reads the pictures and keeps what a comparison will show of them.

        Raises:
            InputError: One cannot be read, or they do not go with the settings.
        """
        from nst_tf.io import inputs

        loaded = inputs.load(self.paths, self.config, self.overrides)
        self.outputs.keep(loaded.content, loaded.styles)
        return loaded


def to_run(values: flags.FlagValues, *, preset: str | None = None, either: bool = False) -> Run:
    """Returns the run that flags ask for; no picture is read yet.

    Args:
        values: The flags, parsed.
        preset: The one to start from where none is given; None for the flag's default.
        either: Whether a photograph or a painting alone is enough whatever has weight.

    Raises:
        InputError: A value is not allowed, or a file that is needed is not named.
    """
    from nst_tf.callbacks import outputs
    from nst_tf.io import inputs

    changes, repeated = overrides(values), _repeated(values)
    config = presets.get(_base(values, repeated, preset), **changes)
    _check_files_named(values, config, either)
    output = to_path(values, "output")
    assert output is not None  # as was checked
    beside = outputs.Outputs(
        output, save_every=values["save_every"].value, **{name: to_path(values, name) for name in _SHOWN_IN}
    )
    several = {name: inputs.listed(name, values[name].value or []) for name in _SEVERAL}
    pictures = inputs.InputPaths(
        content=to_path(values, "content"),
        styles=several["style"],
        init=inputs.init_path(config),
        content_mask=to_path(values, "content_mask"),
        content_regions=to_path(values, "content_regions"),
        style_regions=several["style_regions"],
    )
    config = inputs.with_start(config, pictures, changes)
    return Run(pictures, config, changes, output, beside, repeated)


def to_base(values: flags.FlagValues) -> str | Config:
    """Returns what the settings that were given replace settings of: a preset, or what --config names.

    Raises:
        InputError: That cannot be used.
    """
    return _base(values, _repeated(values), None)


def _base(values: flags.FlagValues, repeated: Mapping[str, Any] | None, preset: str | None) -> str | Config:
    if repeated is not None:
        return _repeated_config(values, repeated)
    named: str = values["preset"].value
    return preset if preset and not values["preset"].present else named


def _repeated(values: flags.FlagValues) -> dict[str, Any] | None:
    """Returns the manifest that --config names, if it names one."""
    from nst_tf.io import manifest

    path = to_path(values, "config")
    return None if path is None else manifest.read(path)


def _repeated_config(values: flags.FlagValues, repeated: Mapping[str, Any]) -> Config:
    from nst_tf.io import manifest

    config = manifest.to_config(repeated, str(to_path(values, "config")))
    return manifest.find_weights(config, os.environ.get(presets.WEIGHTS_VARIABLE))


def _check_files_named(values: flags.FlagValues, config: Config, either: bool) -> None:
    """Checks that the files a run needs are named: pictures without weight are not needed."""
    needed = {"content": config.content.weight, "style": config.style.weight, "output": True}
    for name, what in (("content", "photograph"), ("style", "painting"), ("output", "picture")):
        required = name == "output" if either else needed[name]
        if required and values[name].value in (None, "", [], [""]):
            raise errors.InputError(f"--{name}=FILE is missing: which {what}? --help explains")
    if not (values["content"].value or values["style"].value):
        raise errors.InputError("--content=FILE and --style=FILE are both missing; name one at least")


def to_checkpoints(values: flags.FlagValues, run: Run) -> "Checkpoints | None":
    """Returns how the run keeps its checkpoint, and the one that it goes on from; None where it has none.

    Raises:
        InputError: There is one that the flags do not speak of, or it cannot be read.
    """
    from nst_tf.engine import checkpoints

    path, every_s = checkpoints.beside(run.output), values["checkpoint_every"]
    if not run.config.takes_steps():
        refuse(values, ("checkpoint_every", "resume"), f"--color={run.config.color.mode} takes no steps")
        return None
    is_resumed = checkpoints.is_to_be_resumed(path, values["resume"].value, values["overwrite"].value)
    resumed = checkpoints.read(path) if is_resumed else None
    if every_s.value == 0 and resumed is None:
        return None
    return checkpoints.Checkpoints(
        path,
        checkpoints.wait_s(every_s.value),
        of_short_runs=every_s.value is not None,
        resumed=resumed,
    )


def check_outputs(
    values: flags.FlagValues, run: Run, resumed: bool = False
) -> tuple["Place", "Place | None"]:
    """Finds out before a run whether everything it writes can be written after it, and where to.

    Args:
        values: The flags, parsed.
        run: The run that they ask for.
        resumed: Whether it goes on from a checkpoint: what it has written is replaced.

    Returns:
        The places of the picture and, if it is wanted, of the trace.

    Raises:
        InputError: It cannot, or would replace an input or another output, or would be empty.
    """
    from nst_tf.engine import checkpoints
    from nst_tf.io import manifest, pictures

    overwrite = values["overwrite"].value or resumed
    for name in ("trace", "save_every", "animation", "plot", "logdir"):
        if values[name].value and not run.config.takes_steps():
            raise errors.InputError(
                f"{name}: with --color={run.config.color.mode} there are no steps to show"
            )
    place = pictures.check_output(run.output, overwrite)
    pictures.check_bit_depth(values["bit_depth"].value, run.output)
    pictures.check_file(manifest.sidecar(run.output), overwrite)
    of_trace = None
    written = {"output": run.output, "manifest": manifest.sidecar(run.output)}
    if trace := to_path(values, "trace"):
        written["trace"] = trace
        of_trace = pictures.check_file(trace, overwrite, "trace")
    written |= {**run.outputs.files, "checkpoint": checkpoints.beside(run.output)}
    read = dict(run.paths.files())
    taken = {os.path.realpath(path): name for name, path in read.items()}
    for name, path in written.items():
        other = taken.setdefault(os.path.realpath(path), name)
        if other != name:
            raise errors.InputError(f"{name}: {path} is the {other} too; name another file")
    run.outputs.check(place, read | written, overwrite)
    return place, of_trace
