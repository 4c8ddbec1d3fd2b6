"""The command that paints: flags -> `Run` -> `api.paint` -> a picture on disk.

Loads TensorFlow only once flags and files have been found good.
"""

import functools
import os
import pathlib
import sys
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import presets, run_flags, terminal
from nst_tf.io import samples

if typing.TYPE_CHECKING:
    from nst_tf.api import Result
    from nst_tf.engine.checkpoints import Checkpoint
    from nst_tf.io.files import Place

INTRODUCTION = f"""Paints a photograph like a painting.

  nst_tf --content=photo.jpg --style=painting.jpg --output=picture.png
  nst_tf --content=sample:town --style=sample:strokes --output=picture.png

Wherever a picture file may be named, so may one of the package's own:
  {", ".join(samples.FILES)}
"""

_NAME = "stylize"


def define(values: flags.FlagValues) -> None:
    """Defines the flags of a run, and one that lists presets instead."""
    run_flags.define(values)
    flags.DEFINE_boolean(
        "list_presets", False, "list the presets: source, character, cost in time", flag_values=values
    )


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    first, *rest = run_flags.groups().items()
    return {first[0]: [*first[1], "list_presets"], **dict(rest)}


def main(values: flags.FlagValues) -> int:
    """Checks everything that can be checked early, paints, writes, says where the picture is.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    if values["list_presets"].value:
        return 0 if terminal.say(presets.table()) else terminal.EXIT_FAILED
    from nst_tf.engine import checkpoints
    from nst_tf.io import inputs, pictures
    from nst_tf.network.weights import suited

    with runtime.quiet():
        run = run_flags.to_run(values)
        kept = run_flags.to_checkpoints(values, run)
        resumed = None if kept is None else kept.resumed
        place, trace = run_flags.check_outputs(values, run, resumed is not None)
        loaded = [run.load()]  # to be taken out: a large picture's memory is wanted during the run
        pictures.check_size(place, *inputs.result_size(run.config, loaded[0]))
        if resumed is not None:
            resumed.check(checkpoints.Origin(suited(run.config), loaded[0].descriptions))
    if run.config.network.convolution != "direct":
        runtime.use_onednn()
    runtime.use_tensorflow_backend()
    terminal.show_warnings()
    path = checkpoints.beside(run.output)
    _tell_checkpoint(values["resume"].value, resumed, path)
    with runtime.quiet():
        from nst_tf import api

    start = time.perf_counter()
    with terminal.RunWatch() as watch:
        result = api.paint(
            loaded.pop(), run.config, on_progress=watch, callbacks=run.outputs.callbacks(), kept=kept
        )
        watch.end_steps()
        written, failures = _write(result, run, place, trace, values["bit_depth"].value)
        if written == run.output and result.checkpoint is None:
            checkpoints.remove(path)
    if written is not None:
        shown = values["output"].value if written == run.output else str(written)
        tell(_NAME, run, result, shown, time.perf_counter() - start)
    for line in failures:
        terminal.complain(_NAME, line)
    return watch.exit_code(result.outcome) or int(bool(failures) or run.outputs.failed())


def _write(
    result: "Result", run: run_flags.Run, place: "Place", trace: "Place | None", bit_depth: int
) -> tuple[pathlib.Path | None, list[str]]:
    """Writes the picture and the files beside it, each whether the others could be written or not.

    Returns:
        Where the picture is, if anywhere, and a line for each file that could not be written.
    """
    from nst_tf.callbacks import report
    from nst_tf.io import files

    failures = []
    written: pathlib.Path | None = None
    try:
        save = functools.partial(result.save_picture, bit_depth=bit_depth)
        written, line = files.write_somewhere(save, place)
        failures += [line] if line else []
    except OSError as error:
        failures.append(f"the picture could not be written: {errors.one_line(error)}")
    others: dict[str, Callable[[], None]] = {}
    if written is not None:
        others["manifest"] = lambda: result.save_manifest(place if written == place.path else written)
    if trace is not None:
        others["trace"] = lambda: report.write_trace(result.trace, trace)
    for name, write in others.items():
        try:
            write()
        except OSError as error:
            failures.append(f"the {name} could not be written: {errors.one_line(error)}")
    return written, [*failures, *run.outputs.write(result.image, result.trace)]


def _tell_checkpoint(resume: bool, resumed: "Checkpoint | None", path: pathlib.Path) -> None:
    """Says what becomes of a checkpoint that is there, or is not."""
    if resumed is not None:
        terminal.say(f"{path}: goes on after step {len(resumed.trace)}", sys.stderr)
    elif resume:
        terminal.complain(_NAME, f"resume: there is no {path}; the run begins anew")
    elif os.path.exists(path):
        terminal.complain(_NAME, f"overwrite: {path}, left by a run that ended early, will be replaced")


def tell(
    command: str,
    run: run_flags.Run,
    result: "Result",
    output: str,
    seconds: float,
    stream: TextIO | None = None,
) -> None:
    """Says where a picture is and how it came about, and what is wrong with it, if anything.

    Args:
        command: In whose name to complain.
        run: What was asked for.
        result: What came of it.
        output: Where the picture is.
        seconds: That it took.
        stream: Where to say it; None for standard output.
    """
    from nst_tf.io import manifest

    for line in manifest.differences(run.repeated, result.manifest) if run.repeated else ():
        terminal.complain(command, f"{line}: the picture is not the same")
    terminal.say(_summary(result, output, seconds), sys.stdout if stream is None else stream)
    if result.checkpoint is not None:
        terminal.complain(command, f"stopped; --resume goes on from {result.checkpoint}")
    if result.outcome == "diverged":
        terminal.complain(command, _divergence(result))
    elif hint := _hint(result):
        terminal.complain(command, hint)


def _summary(result: "Result", output: str, seconds: float) -> str:
    """Returns the line that says where the picture is and how it came about."""
    from nst_tf.callbacks import report

    height, width = result.image.shape[:2]
    if not result.trace:
        return f"{output}: {width} x {height} pixels recoloured, {seconds:.0f} s"
    done = {"finished": "in", "stopped": "stopped after", "diverged": "given up after"}[result.outcome]
    return (
        f"{output}: {width} x {height} pixels {done} {len(result.trace)} steps, {seconds:.0f} s;"
        f" {report.describe_losses(result.losses)}; {result.manifest['weights']['name']} weights,"
        f" {result.config.network.precision}"
    )


def _divergence(result: "Result") -> str:
    """Returns why the loss of a run probably became infinite or NaN, and what to do."""
    saved = "the loss became infinite or NaN; the picture saved is the last good one"
    if result.config.optimizer.name == "lbfgs" or len(result.trace) <= 1:
        return f"{saved}. Weights so large that the loss overflows are the likely cause: make them smaller"
    rate = result.config.optimizer.learning_rate
    return f"{saved}. A learning rate of {rate:g} is the likely cause: try --learning_rate={rate / 10:g}"


# A run of fewer steps at its last scale says nothing about its settings.
_FEWEST_STEPS = 10

# Products of gradients overflow float32 from about the square of this on.
_LARGE_LOSS = 1e15

# The largest standard deviation of a colour channel in a picture that looks uniform: two levels of 255.
_UNIFORM = 2 / 255


def _hint(result: "Result") -> str | None:
    """Returns why a picture is probably useless, and what to do; None for one that may be good."""
    totals = [row.total for row in result.trace if row.scale == result.trace[-1].scale]
    rate = result.config.optimizer.learning_rate
    if len(totals) >= _FEWEST_STEPS and min(totals[1:]) >= totals[0]:
        never = "the loss never fell at the last scale"
        if result.config.optimizer.name == "lbfgs" or not rate:
            small, larger = ("large", "smaller") if totals[0] > _LARGE_LOSS else ("small", "larger")
            return f"{never}. Weights too {small} for float32 are the likely cause: make them {larger}"
        return f"{never}. A learning rate of {rate:g} is the likely cause: try --learning_rate={rate / 10:g}"
    if result.trace and result.image.std(axis=(0, 1)).max() < _UNIFORM:
        return (
            "the picture is almost uniform. A painting without any shapes, or a total_variation_weight far"
            " above the other losses, is the likely cause"
        )
    return None
