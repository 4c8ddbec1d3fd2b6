"""What a reader is, and what it makes of an input: accepted, refused in one line, or anything else."""

import contextlib
import dataclasses
import pathlib
import random
import traceback
import warnings
from collections.abc import Callable

from fuzz import inputs
from fuzz.inputs import Input
from nst_tf import errors


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader under test."""

    make: Callable[[random.Random], Input]
    read: Callable[[Input, pathlib.Path], object]  # (input, folder, the current one) -> anything; may raise
    prepared: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a reader made of an input."""

    kind: str  # "accepted"; "error", one line; "traceback", anything else
    text: str = ""  # the error's line, or the exception
    place: str = ""  # of an exception: the last line of the package that it came through


def made(name: str, number: int, reader: Reader) -> Input:
    """Returns a reader's input of that number, always the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow and NumPy say of odd files that they write
        return reader.make(inputs.chance(name, number))


def outcome_of(reader: Reader, given: Input, folder: pathlib.Path) -> Outcome:
    """Returns what a reader makes of an input in a folder of its own."""
    try:
        with contextlib.chdir(folder), warnings.catch_warnings():
            warnings.filterwarnings("error", module=r"nst_tf\b")  # which would be lines beside the one
            reader.read(given, folder)
    except errors.InputError as error:
        text = str(error)
        if len(text.splitlines()) == 1:
            return Outcome("error", text)
        return Outcome("traceback", f"InputError of {len(text.splitlines())} lines: {text}", _place(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Outcome("traceback", f"{type(error).__name__}: {error}", _place(error))
    return Outcome("accepted")


def _place(error: BaseException) -> str:
    """Returns file, line and function of the package's last frame in an error's traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/nst_tf/" in frame.filename]
    if not frames:
        return "outside of the package"
    last = frames[-1]
    return f"{last.filename.rpartition('/nst_tf/')[2]}:{last.lineno} {last.name}"
