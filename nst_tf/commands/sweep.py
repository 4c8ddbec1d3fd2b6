"""The command `sweep`: the values of one or two flags -> runs -> a sheet of their pictures."""

import copy
import sys
import time
import typing
from collections.abc import Mapping, Sequence

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags, stylize, terminal

if typing.TYPE_CHECKING:
    from PIL import Image

    from nst_tf.io.files import Place
    from nst_tf.sweep import Shown, Sweep

INTRODUCTION = """Paints a picture for each value of one or two flags, and lays them out on a labelled sheet.

  nst_tf sweep --content=photo.jpg --style=painting.jpg --output=sheet.png \\
    --rows=content_weight=10,50,200 --columns=style_weight=1,10 --size=256
  nst_tf sweep ... --columns=style=one.jpg,two.jpg,three.jpg --rows=color=style,luminance
  nst_tf sweep ... --columns='scales=1;0.5,1;0.25,0.5,1'    semicolons where values have commas
  nst_tf sweep ... --keep=swept    finished pictures stay there, and the same command paints the rest

Every flag about one picture holds for all of them, or may be swept. All values are checked before the first
picture is painted. One that cannot be painted later leaves its place empty, and the sweep exits with 1; so it
does where one diverges or cannot be kept, which is on the sheet all the same.
"""

_NAME = "sweep"
_OWN = {
    "rows": "FLAG=VALUE,VALUE,...: a row of pictures for each value",
    "columns": "FLAG=VALUE,VALUE,...: a column of pictures for each value",
    "keep": "the folder to keep every finished picture in, with its manifest",
}

# Flags of a run that are not about one picture of a sheet.
_NOT_SWEPT = frozenset({"output", "overwrite", *run_flags.OF_ONE_RUN})


def define(values: flags.FlagValues) -> None:
    """Defines the flags of the sheet and those of a run."""
    run_flags.define(values)
    for name, text in _OWN.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_integer(
        "cell",
        None,
        "longest side of a picture on the sheet; the largest's, at most 384",
        32,
        flag_values=values,
    )


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    own = [*_OWN, "cell", "output", "overwrite"]
    return {"Flags of the sheet, which --output names": own, **run_flags.groups(without=_NOT_SWEPT)}


def swept() -> list[str]:
    """Returns the flags that may be swept: those of a run that are about one picture."""
    return [name for name in run_flags.names() if name not in _NOT_SWEPT]


def main(values: flags.FlagValues) -> int:
    """Checks, paints, lays out.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    terminal.hide_tensorflow_warnings()
    try:
        return _sweep(values)
    except KeyboardInterrupt as interrupt:
        kept = "what was finished is kept" if values["keep"].value else "with --keep=FOLDER it could go on"
        terminal.complain(_NAME, f"interrupted; no sheet was written; {kept}")
        return terminal.interrupted_code(interrupt)


def _sweep(values: flags.FlagValues) -> int:
    """Makes the sheet; returns the exit code.

    Raises:
        InputError: Something that the user gave cannot be used.
        Interrupted: A signal has come.
    """
    from nst_tf import sweep

    run_flags.refuse(values, run_flags.OF_ONE_RUN, "a sheet has many runs")
    if run_flags.to_path(values, "output") is None:
        raise errors.InputError("--output=FILE is missing: where to write the sheet")
    given = {side: values[side].value for side in ("rows", "columns") if values[side].value}
    if not given:
        raise errors.InputError("--rows and --columns are both missing; give one: --rows=FLAG=VALUE,VALUE")
    axes = {side: sweep.parse_axis(side, text, swept()) for side, text in given.items()}
    rows, columns = axes.get("rows"), axes.get("columns")
    settings = sweep.product(rows, columns)
    of_cells = [_values_of(values, of_cell) for of_cell in settings]
    runs, (place, *_) = zip(*(_checked(of_cell) for of_cell in of_cells), strict=True)
    cells = [
        sweep.Cell(of_cell, run.paths, run.config, run.overrides, _asked(own))
        for of_cell, own, run in zip(settings, of_cells, runs, strict=True)
    ]
    terminal.show_warnings()
    if all(run.config.network.convolution != "direct" for run in runs):
        runtime.use_onednn()
    side = values["cell"].value
    made = sweep.Sweep(cells, run_flags.to_path(values, "keep"), side, runtime.quiet)
    shown, codes = [], []
    for number, (cell, run) in enumerate(zip(cells, runs, strict=True)):
        name = f"picture {number + 1} of {len(cells)}"
        terminal.say(f"{name}: {sweep.label(cell.settings)}", sys.stderr)
        one, code = _paint(made, number, run, name)
        shown.append(one)
        codes.append(code)
    if all(one.picture is None for one in shown):
        terminal.complain(_NAME, "no picture could be painted; no sheet was written")
        return terminal.EXIT_FAILED
    return max(*codes, _write(sweep.sheet(shown, rows, columns, side), place, shown))


def _write(sheet: "Image.Image", output: "Place", shown: Sequence["Shown"]) -> int:
    """Writes the sheet and says where it is; returns the exit code."""
    import numpy as np

    from nst_tf.io import files, pictures

    try:
        written, failure = files.write_somewhere(
            lambda path: pictures.write(np.asarray(sheet, np.float32) / 255.0, path), output
        )
    except OSError as error:
        terminal.complain(_NAME, f"the sheet could not be written: {errors.one_line(error)}")
        return terminal.EXIT_FAILED
    count = sum(one.picture is not None for one in shown)
    of_all = str(count) if count == len(shown) else f"{count} of {len(shown)}"
    terminal.say(f"{written}: {of_all} pictures on {sheet.width} x {sheet.height} pixels")
    if failure:
        terminal.complain(_NAME, failure)
    return terminal.EXIT_FAILED if failure else 0


def _paint(made: "Sweep", number: int, run: run_flags.Run, name: str) -> tuple["Shown", int]:
    """Paints a picture, or takes the one that is kept; returns its cell and how its run exits.

    One that cannot be painted or kept does not end the sweep, whose other pictures have taken time.

    Raises:
        Interrupted: A signal has come.
    """
    from nst_tf import sweep

    start = time.perf_counter()
    try:
        if (found := made.kept(number)) is not None:
            terminal.say(f"{found.path} is kept", sys.stderr)
            return sweep.Shown(found.shown), 0
        with terminal.RunWatch() as watch:
            result = made.paint(number, watch)
            watch.end_steps()
            painted = made.keep(number, result)
    except (errors.InputError, MemoryError) as error:
        terminal.complain(_NAME, f"{name} could not be painted: {errors.one_line(error)}")
        return sweep.Shown(None, "not painted"), terminal.EXIT_FAILED
    seconds = time.perf_counter() - start
    stylize.tell(_NAME, run, result, str(painted.path or name), seconds, sys.stderr)
    if painted.failure:
        terminal.complain(_NAME, painted.failure)
    if watch.stop_asked:  # during the steps, or while it was written
        raise watch.interrupt()
    note = "diverged: the last good picture" if result.outcome == "diverged" else ""
    code = watch.exit_code(result.outcome) or (terminal.EXIT_FAILED if painted.failure else 0)
    return sweep.Shown(painted.shown, note), code


def _values_of(values: flags.FlagValues, settings: Mapping[str, str]) -> flags.FlagValues:
    """Returns the flags as if a picture's settings had been typed in place of what was.

    Raises:
        InputError: A value is not of the flag's type.
    """
    own = copy.deepcopy(values)
    for name, text in settings.items():
        own[name].unparse()  # or a flag that may be repeated would keep its earlier values
        try:
            own[name].parse(text)
        except flags.Error as error:
            raise errors.InputError(errors.one_line(error)) from None
    return own


def _checked(values: flags.FlagValues) -> tuple[run_flags.Run, "Place"]:
    """Returns the run of a picture's flags, checked as the painting command does, and the place of the sheet.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    with runtime.quiet():
        run = run_flags.to_run(values)
        place, _ = run_flags.check_outputs(values, run)
    return run, place


def _asked(values: flags.FlagValues) -> list[str]:
    """Returns the flags about one picture that were given, as text."""
    return sorted(values[name].serialize() for name in swept() if values[name].present)
