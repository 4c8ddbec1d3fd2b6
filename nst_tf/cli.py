"""Paints a photograph like a painting.

nst_tf --content=photo.jpg --style=painting.jpg --output=picture.png
"""

# This module: flags -> config -> `stylize` -> a picture on disk. TensorFlow is loaded only once the flags
# have been found good.

import contextlib
import dataclasses
import logging
import os
import pathlib
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags

from nst_tf import config, errors, presets, runtime

_FLAGS = flags.FLAGS

# Exit codes: a user's mistake, as Python's own argument parser has it; and 128 + SIGINT, as shells do.
_EXIT_MISTAKE = 2
_EXIT_INTERRUPTED = 130

_HELP_FLAGS = frozenset({"-h", "-help", "--help", "-?", "--helpshort", "--helpfull"})


def _define_flags() -> None:
    """Defines the command's own flags, then one for every field of the config that can be one."""
    flags.DEFINE_string("content", None, "the photograph: a picture file")
    flags.DEFINE_string("style", None, "the painting: a picture file")
    flags.DEFINE_string("output", None, "where to write the picture; the extension decides the format")
    flags.DEFINE_string("trace", None, "where to write every evaluation's losses, as CSV")
    flags.DEFINE_boolean("overwrite", False, "replace files that exist")
    flags.DEFINE_string("preset", "default", f"the formulation: {', '.join(presets.PRESETS)}")
    for field in _flag_fields():
        if field.name == "steps" or _kind(field) is int:
            flags.DEFINE_integer(field.name, None, _help(field))
        elif _is_list(field):
            flags.DEFINE_list(field.name, None, _help(field))
        elif _kind(field) is bool:
            flags.DEFINE_boolean(field.name, None, _help(field))
        elif _kind(field) is float:
            flags.DEFINE_float(field.name, None, _help(field))
        else:
            flags.DEFINE_string(field.name, None, _help(field))


def _flag_fields() -> list[dataclasses.Field[Any]]:
    """Returns the config's fields that are flags: all that have a help text."""
    return [field for field in dataclasses.fields(config.Config) if field.metadata.get("help")]


def _kind(field: dataclasses.Field[Any]) -> type:
    return config.element_type(field)


def _is_list(field: dataclasses.Field[Any]) -> bool:
    return field.type != _kind(field)


def _help(field: dataclasses.Field[Any]) -> str:
    """Returns the field's help with the allowed names and the default preset's value."""
    default = getattr(presets.PRESETS["default"].config, field.name)
    if field.name == "steps":
        default = sum(default)
    names = field.metadata["names"]
    listed = f": {', '.join(names)}" if 0 < len(names) <= _MOST_NAMES_LISTED else ""
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{field.metadata['help']}{listed} [{shown}]"


# The thirty-two layer names would drown the help text.
_MOST_NAMES_LISTED = 10

# The flags most people need, in the order in which they meet them; the others follow under their own heading.
_MAIN_FLAGS = (
    *("content", "style", "output", "preset", "size", "steps", "weights", "precision", "seed", "trace"),
    "overwrite",
)


def _help_text() -> str:
    """Returns what --help prints."""
    rest = [field.name for field in _flag_fields() if field.name not in _MAIN_FLAGS]
    return "\n".join(
        [
            (__doc__ or "").strip(),
            "\nFlags; in brackets what the default preset has:",
            *map(_flag_text, _MAIN_FLAGS),
            "\nFlags that change the preset's formulation:",
            *map(_flag_text, rest),
        ]
    )


def _flag_text(name: str) -> str:
    """Returns a flag's part of the help: its name, and what it means, indented."""
    head = f"--{name}" if _FLAGS[name].boolean else f"--{name}=..."
    indent = " " * 27
    return textwrap.fill(
        _FLAGS[name].help,
        width=100,
        initial_indent=f"  {head:<24} ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags; prints the help, or one line about a wrong flag, and exits where it must."""
    if _HELP_FLAGS & set(argv[1:]):
        print(_help_text())
        sys.exit(0)
    try:
        rest: list[str] = _FLAGS(list(argv))
    except flags.Error as error:
        _fail(f"{' '.join(str(error).split())}; --help lists all flags")
    if rest[1:]:
        _fail(f"{rest[1]!r}: not a flag; files are named as in --content={rest[1]}")
    return rest


def _fail(message: str) -> None:
    print(f"nst_tf: {message}", file=sys.stderr)
    sys.exit(_EXIT_MISTAKE)


def _overrides() -> dict[str, Any]:
    """Returns {field: value} of the config's flags that were given."""
    changes: dict[str, Any] = {}
    for field in _flag_fields():
        value = _FLAGS[field.name].value
        if value is None:
            continue
        if isinstance(value, list):
            value = tuple(_number(field, item) if _kind(field) is float else item for item in value)
        changes[field.name] = value
    return changes


def _number(field: dataclasses.Field[Any], text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise errors.InputError(f"{field.name}: {text!r}; allowed: numbers, with commas") from None


class _Interrupt:
    """Ctrl-C during a run: the first one asks it to stop, a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def watch(self) -> None:
        """Takes over the signal, once there is a picture to save."""
        if self._before is None:
            self._before = signal.signal(signal.SIGINT, self._ask)

    def restore(self) -> None:
        """Gives the signal back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _ask(self, *_: object) -> None:
        self.asked = True
        self.restore()


def main(argv: Sequence[str]) -> int:
    """Runs the command with parsed flags and returns its exit code."""
    del argv
    try:
        return _stylize()
    except errors.InputError as error:
        print(f"nst_tf: {error}", file=sys.stderr)
        return _EXIT_MISTAKE
    except OSError as error:
        print(f"nst_tf: the picture could not be written: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nst_tf: interrupted; nothing was written", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _stylize() -> int:
    """Checks everything that can be checked early, paints, writes, says where the picture is."""
    for name, what in (("content", "photograph"), ("style", "painting"), ("output", "picture")):
        if not _FLAGS[name].value:
            raise errors.InputError(f"--{name}=FILE is missing: which {what}? --help explains")
    overrides = _overrides()
    presets.get(_FLAGS.preset, **overrides)
    runtime.use_tensorflow_backend()
    _show_warnings()
    with _quiet_import():
        from nst_tf import api, images, report

    output = pathlib.Path(_FLAGS.output)
    images.check_output(output, _FLAGS.overwrite)
    trace = pathlib.Path(_FLAGS.trace) if _FLAGS.trace else None
    if trace is not None:
        images.check_file(trace, _FLAGS.overwrite)
    bar, interrupt = report.ProgressBar(), _Interrupt()

    def on_progress(progress: Any) -> bool:
        interrupt.watch()
        bar(progress)
        return interrupt.asked

    start = time.perf_counter()
    result = api.stylize(
        _FLAGS.content, _FLAGS.style, preset=_FLAGS.preset, on_progress=on_progress, **overrides
    )
    bar.close()
    result.save(output)
    if trace is not None:
        report.write_trace(result.trace, trace)
    interrupt.restore()
    print(_summary(result, output, time.perf_counter() - start, report.describe_losses))
    return _EXIT_INTERRUPTED if result.stopped else 0


def _summary(result: Any, output: pathlib.Path, seconds: float, describe: Callable[[Any], str]) -> str:
    """Returns the line that says where the picture is and how it came about."""
    height, width = result.image.shape[:2]
    done = "stopped after" if result.stopped else "in"
    return (
        f"{output}: {width} x {height} pixels {done} {len(result.trace)} steps, {seconds:.0f} s;"
        f" {describe(result.losses)}; {result.weights} weights, {result.precision}"
    )


def _show_warnings() -> None:
    """Shows this package's warnings as plain lines on standard error."""
    logger = logging.getLogger("nst_tf")
    logger.addHandler(logging.StreamHandler())
    logger.propagate = False


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Keeps TensorFlow's start-up notes off the terminal; shows them if the import fails.

    Some of them heed no log level, since they are written before TensorFlow's log is set up.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def run() -> None:
    """The entry point."""
    app.run(main, flags_parser=_parse)


_define_flags()
