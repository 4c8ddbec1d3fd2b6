"""The front end of every command: which one is meant, its flags, its help, mistakes in one line, exit codes.

A command is a module here. It has an `INTRODUCTION` for its help, `define` for its flags, `groups` for the
order in which the help lists them, and `main`, which gets the parsed flags and returns the exit code.
"""

import contextlib
import faulthandler
import importlib
import io
import itertools
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import terminal


class Command(Protocol):
    """What the module of a command has."""

    INTRODUCTION: str

    def define(self, values: flags.FlagValues) -> None:
        """Defines the command's flags."""

    def groups(self) -> Mapping[str, Sequence[str]]:
        """Returns {heading: flags below it}."""

    def main(self, values: flags.FlagValues) -> int:
        """Runs the command with parsed flags and returns its exit code.

        Raises:
            InputError: Something that the user gave cannot be used.
        """


class _Entry(NamedTuple):
    """What is known of a command before its module is imported."""

    summary: str
    prepare: Callable[[], object] = lambda: None  # how its process treats memory and processor


COMMANDS: Mapping[str, _Entry] = {
    "stylize": _Entry(
        "paints a photograph like a painting; what is done without a command", runtime.prepare_memory
    ),
    "presets": _Entry("lists the formulations: source, character, cost in time"),
    "sweep": _Entry("paints a labelled sheet of pictures over the values of flags", runtime.prepare_memory),
    "reconstruct": _Entry(
        "draws what each layer keeps of a photograph and a painting", runtime.prepare_memory
    ),
    "video": _Entry("paints a film without flicker, and goes on where it was", runtime.prepare_memory),
    "batch": _Entry("paints many pictures, on one machine or a cluster"),
    "export": _Entry("writes the run as a SavedModel that TensorFlow Serving serves"),
    "request": _Entry("asks a server for a picture"),
    # Without `keep_freed_memory`: a page waits for hours, and others need what it does not.
    "page": _Entry("opens a page to paint in a browser", runtime.take_gpu_memory_as_needed),
}

_HELP_FLAGS = frozenset({"-h", "-help", "--help", "-?", "--helpshort", "--helpfull"})

# What absl puts after the help of a flag that may come several times; ours say so themselves.
_REPEATED = ";\n    repeat this option to specify a list of values"


def run() -> None:
    """The entry point of a process."""
    _open_standard_streams()
    with contextlib.suppress(Exception):  # a standard error without a file
        faulthandler.enable()  # a crash in TensorFlow's C++ then says where in Python it came from
    sys.exit(main(sys.argv, prepare=True))


def main(argv: Sequence[str], *, prepare: bool = False) -> int:
    """Runs a command line and returns its exit code.

    Args:
        argv: The program's name, the command unless it is the default one, and flags.
        prepare: Whether this process is the command's own, to be set up for it.
    """
    terminal.prepare_streams()
    command, arguments = terminal.DEFAULT_COMMAND, list(argv[1:])
    try:
        if arguments and not arguments[0].startswith("-"):
            command, arguments = _checked(arguments[0]), arguments[1:]
        if prepare:
            terminal.heed_signals()
            COMMANDS[command].prepare()
        return _run(command, arguments)
    except errors.InputError as error:
        terminal.complain(command, str(error))
        return terminal.EXIT_MISTAKE
    except KeyboardInterrupt as interrupt:
        terminal.complain(command, "interrupted; nothing was written")
        return terminal.interrupted_code(interrupt)
    except Exception as error:
        if (line := _failure(error)) is None:
            raise
        terminal.complain(command, line)
        return terminal.EXIT_FAILED


def _failure(error: Exception) -> str | None:
    """Returns the line for a failure that is the machine's; None for a defect, which keeps its traceback."""
    what = errors.one_line(error)
    if _ran_out(error):
        return f"memory ran out ({what}); a smaller --size or smaller pictures need less, or allow more"
    return what if isinstance(error, OSError) else None


def _ran_out(error: Exception) -> bool:
    """Returns whether memory ran out, which a limit on the process's own brings about before any plan can."""
    # The dynamic linker's words where TensorFlow's libraries do not fit.
    linker = ("failed to map segment", "cannot allocate memory")
    if isinstance(error, ImportError | OSError):
        return any(each in str(error).lower() for each in linker)
    # By name, since TensorFlow may not be loaded: what its own allocator raises, and oneDNN's.
    names = {"ResourceExhaustedError", "AbortedError"}
    return isinstance(error, MemoryError) or bool(names & {each.__name__ for each in type(error).__mro__})


def _run(command: str, arguments: Sequence[str]) -> int:
    """Runs a command with its arguments and returns its exit code.

    Raises:
        InputError: A flag or what it names cannot be used.
    """
    module = cast(Command, importlib.import_module(f"nst_tf.commands.{command}"))
    values = flags.FlagValues()
    module.define(values)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        # With the flags of files that --flagfile names.
        given = _refusing(lambda: values.read_flags_from_files(list(arguments), force_gnu=False))
    if warning := said.getvalue():  # a file that names itself, which absl leaves out
        raise errors.InputError(" ".join(warning.split()).removeprefix("Warning: "))
    if _HELP_FLAGS & set(itertools.takewhile(lambda argument: argument != "--", given)):
        return 0 if terminal.say(_help_text(command, module, values)) else terminal.EXIT_FAILED
    _, *rest = _refusing(lambda: values([terminal.program(command), *given]))
    if rest:
        raise _not_a_flag(command, rest[0])
    for name in values:
        if values[name].value != values[name].value:  # which NaN alone does, and no bound refuses
            raise errors.InputError(f"{name}: nan; allowed: a number; --help lists all flags")
    return module.main(values)


def _refusing(parse: Callable[[], list[str]]) -> list[str]:
    """Returns what absl makes of arguments.

    Raises:
        InputError: They are wrong.
    """
    try:
        return parse()
    # ValueError: --nooverwrite=3, a --flagfile that is no text; RecursionError: files that name one another
    except (flags.Error, ValueError, RecursionError) as error:
        raise errors.InputError(f"{errors.one_line(error)}; --help lists all flags") from None


def _checked(word: str) -> str:
    """Returns a word that names a command.

    Raises:
        InputError: It names none.
    """
    if word in COMMANDS:
        return word
    if os.path.splitext(word)[1] or os.path.exists(word):  # a file, rather
        raise _not_a_flag(terminal.DEFAULT_COMMAND, word)
    raise errors.unknown_name("command", word, COMMANDS)


def _not_a_flag(command: str, word: str) -> errors.InputError:
    """Returns the error for a word where a flag should be."""
    if command != terminal.DEFAULT_COMMAND:
        return errors.InputError(f"{word!r} is not a flag; --help lists all flags")
    if word in COMMANDS:
        return errors.InputError(f"{word!r}: a command comes before its flags, as in nst_tf {word} --help")
    return errors.InputError(f"{word!r}: not a flag; files are named as in --content=FILE")


def _help_text(command: str, module: Command, values: flags.FlagValues) -> str:
    """Returns what --help prints."""
    parts = [module.INTRODUCTION]
    if command == terminal.DEFAULT_COMMAND:
        parts += ["Commands; nst_tf COMMAND --help explains each:"]
        parts += [_entry(name, entry.summary) for name, entry in COMMANDS.items()]
        parts += [""]
    for number, (heading, names) in enumerate(module.groups().items()):
        parts += [f"\n{heading}:" if number else f"{heading}:", *(_flag_text(values[name]) for name in names)]
    return "\n".join(parts)


def _flag_text(flag: flags.Flag) -> str:
    """Returns a flag's part of the help: its name, and what it means, indented."""
    name = f"--{flag.name}" if flag.boolean else f"--{flag.name}=..."
    return _entry(name, (flag.help or "").removesuffix(_REPEATED))


def _entry(name: str, text: str) -> str:
    return textwrap.fill(
        text,
        width=100,
        initial_indent=f"  {name:<24} ",
        subsequent_indent=" " * 27,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _open_standard_streams() -> None:
    """Gives this process the standard streams that it was started without: they go nowhere."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
