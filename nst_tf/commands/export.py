"""The command `export`: a formulation -> the run as a SavedModel in a version folder."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags, terminal
from nst_tf.config import presets

INTRODUCTION = """Exports the whole optimisation loop as a SavedModel that TensorFlow Serving serves.

  nst_tf export --output=saved_models/nst --precision=float32

  nst_tf export --check=saved_models/nst

A preset's L-BFGS history above 10 is shortened to 10, since a client carries the pairs between two requests.
--max_pixels and --max_steps bound what a request takes of a server's memory and time. --check exports
nothing: before a roll-out it loads an export as a model server does, replays its warm-up requests, times a
step.
"""

# The flags by type, with their help.
_STRINGS: Mapping[str, tuple[str | None, str]] = {
    "output": ("saved_models/nst", "the model's folder; its name is the model's name"),
    "preset": ("default", "the formulation; nst_tf presets lists them"),
    "weights": (None, "VGG19 weights, as for nst_tf"),
    "precision": (None, "type of the convolutions, float32 or bfloat16: what suits the server"),
    "check": (
        None,
        "a model's folder, whose newest version is tried, or a version's; nothing is exported",
    ),
}
_INTEGERS: Mapping[str, str] = {
    "version": "the version's number; the next free one unless given",
    "size": "longest side of a result in pixels; as the preset unless given",
    "steps": "evaluations in all; as the preset unless given",
    "history": "pairs that L-BFGS remembers, at most 10; as the preset unless given",
    "max_pixels": "pixels of the largest result; 1024 x 1024 or size x size unless given",
    "max_steps": "steps of the longest run; 6000 unless given",
}


def define(values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    for name, (default, text) in _STRINGS.items():
        flags.DEFINE_string(name, default, text, flag_values=values)
    for name, text in _INTEGERS.items():
        flags.DEFINE_integer(name, None, text, flag_values=values)


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    return {
        "Flags of the model": ("output", "version", "precision", "weights"),
        "Flags of what a request does not say": ("preset", "size", "steps", "history"),
        "Flags of what a request may ask for": ("max_pixels", "max_steps"),
        "Flags of a trial": ("check",),
    }


def main(values: flags.FlagValues) -> int:
    """Writes the version folder and says where it is, or checks one.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    if values["check"].present:
        return _check(values)
    if not values["precision"].value:
        raise errors.InputError(
            "--precision is missing; allowed: float32, or bfloat16 for a server with instructions for it"
        )
    output = run_flags.to_path(values, "output")
    if output is None:
        raise errors.InputError("--output=FOLDER is missing: the model's folder; --help explains")
    names = ("size", "steps", "history", "weights", "precision")
    changes = {name: values[name].value for name in names if values[name].value is not None}
    chosen = presets.get(values["preset"].value, **changes)
    export = _loaded("export")
    note = ""
    if chosen.optimizer.history > export.MAX_HISTORY and values["history"].value is None:
        note = f"; history {chosen.optimizer.history} shortened to {export.MAX_HISTORY}"
        chosen = presets.get(chosen, history=export.MAX_HISTORY)
    given = {name: values[name].value for name in ("max_pixels", "max_steps")}
    limits = export.default_limits(chosen)._replace(
        **{name: value for name, value in given.items() if value is not None}
    )
    try:
        folder = export.export(chosen, output, limits=limits, version=values["version"].value)
    except OSError as error:
        terminal.complain("export", f"the model could not be written: {errors.one_line(error)}")
        return terminal.EXIT_FAILED
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    bounds = f"results up to {limits.max_pixels} pixels and {limits.max_steps} steps"
    terminal.say(f"{folder}: {megabytes:.0f} MB; {bounds}{note}")
    return 0


def _loaded(name: str) -> Any:
    """Returns a module of the room `serving`, which loads TensorFlow.

    Raises:
        InputError: A library that it needs is missing.
    """
    runtime.use_tensorflow_backend()
    try:
        with runtime.quiet():
            return importlib.import_module(f"nst_tf.serving.{name}")
    except ImportError as error:
        raise errors.InputError(
            f"{error}; install what serving needs: {runtime.install('serving')}"
        ) from None


def _check(values: flags.FlagValues) -> int:
    """Says what a model server would find in an export.

    Raises:
        InputError: There is none, or other flags came too.
    """
    for name in (*_STRINGS, *_INTEGERS):
        if name != "check" and values[name].present:
            raise errors.InputError(
                f"{name}: it does nothing with --check, which exports nothing; leave it out"
            )
    folder = run_flags.to_path(values, "check")
    if folder is None:
        raise errors.InputError("--check=FOLDER: name the folder of an export")
    check = _loaded("check")
    try:
        with runtime.quiet():
            for line in check.check(folder):
                terminal.say(line)
    except check.ExportError as error:
        terminal.complain("export", str(error))
        return terminal.EXIT_FAILED
    return 0
