"""Hostile command lines: the flags that exist with values that do not fit them, and files named by them."""

import contextlib
import functools
import importlib
import io
import logging
import os
import pathlib
import random
import shutil
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn
from unittest import mock

from absl import flags

from fuzz import checkpoints, json_values, manifests, mutations, picture_seeds
from fuzz.inputs import Input
from nst_tf import errors, runtime
from nst_tf.commands import main, terminal
from nst_tf.config import settings

_PICTURES = ["--content=content.png", "--style=style.png", "--output=out.png"]
_RUN = [*_PICTURES, "--weights=random", "--size=32", "--steps=1"]
# Command lines that are accepted, by command; each starts from one of its own or from nothing.
SOUND: Mapping[str, Sequence[str]] = {
    "stylize": _RUN,
    "sweep": [*_RUN, "--rows=content_weight=1,2"],
    "reconstruct": [*_PICTURES, "--weights=random", "--size=32", "--steps=1"],
    "export": ["--output=model", "--precision=float32"],
    "request": [*_PICTURES, "--server=http://127.0.0.1:9"],
    "presets": [],
}
# Most people's first, and the one that checks most.
_SHARES = {
    "stylize": 0.6,
    "sweep": 0.16,
    "reconstruct": 0.06,
    "export": 0.06,
    "request": 0.1,
    "presets": 0.02,
}

_NUMBERS = (
    *("0", "-1", "1", "2", "3", "64", "1e3", "-0", "1e308", "1e-320", "nan", "inf", "-inf", "1e999"),
    *("0x10", "1_000"),
    *("9" * 30, "9" * 400, "9" * 5000, "-" + "9" * 5000, "0." + "0" * 400 + "1", "\u0661\u0662", "\u00bd"),
    *("\u221e", "1 ", "+1"),
    *("2147483647", "2147483648", "4294967296", "9223372036854775807", "18446744073709551616", "True"),
    "none",
)
_WORDS = (
    *("", " ", "a", ",", ",,", "a,b", "1,2", "1,,2", "=", "a=b", "[]", "{}", "'", '"', "\\", "%s", "{0}"),
    *("--", "-", "*"),
    *("\n", "\t", "\r", "\x1b[31m", "\x7f", "\x01", "\u2028", "\u202e", "\u00e9"),
    *("\U0001f600", "\udcff", "a\nb", "\ufeff"),
    *("x" * 300, "x" * 5000, "x" * 100_000, "," * 5000, "1," * 5000 + "1", "auto", "default", "random"),
    *("builtin", "true"),
    *("#ff0000", "#ff", "#", "#gggggg", "sample:", "sample:town", "sample:x", "relu1_1"),
    *("relu1_1,relu1_1", "conv9_9"),
    *("4GiB", "-4GiB", "nanGiB", "infGiB", "1e999GiB", "GiB", "4 GiB", "9" * 5000 + "GiB", "0GiB", "1B"),
    *("1;2", "1;0.5,1", ";", "size=32,48", "size=", "=1", "style=content.png,style.png", "rows=1"),
    "size=" + "9" * 5000,
    *("http://", "http://[", "grpc://", "grpc://a:99999999", "http://\udcff"),
    *("http://u:p@h:1/x?y#z", "ftp://a", "://", "http://a b"),
)
_PATHS = (
    *("content.png", "style.png", "mask.png", "labels.png", "out.png", "out.jpg", "out.gif", "out.webp"),
    *("out.mp4", "out"),
    *("out.svg", "out.csv", "out.PNG", "out.xyz", ".png", "content.png,style.png", "content.png,"),
    *("folder", "folder/x.png"),
    *("missing/x.png", "content.png/x.png", "../..", "/", ".", "..", "~", "~nobody/x.png", "/dev/null"),
    "/dev/null/x.png",
    *("/proc/self/mem", "/proc/1/mem", "/dev/full", "binary.bin", "empty", "manifest.json"),
    *("damaged.json", "random.npz"),
    *("x" * 255 + ".png", "x" * 250 + ".png", "link.png", "/".join("a" * 2000), "resumed.png", "damaged.png"),
)
_FLAGFILES = (
    *("binary.bin", "empty", "flags.txt", "circular.txt", "nul.txt", "folder", "missing", "/dev/null", ""),
    *(",", "content.png"),
)

_NO_FLAGS = ("--help", "-h", "--helpfull", "--helpxml", "--undefok=size", "--undefok", "--x=1", "--=1", "-")


@functools.cache
def _files() -> Mapping[str, bytes]:
    """Returns {name: contents} of the files in the folder in which a command runs."""
    chance = random.Random(0)
    encoded = {name: io.BytesIO() for name in ("content.png", "style.png", "mask.png", "labels.png")}
    for name, file in encoded.items():
        mode = {"mask.png": "L", "content.png": "RGBA"}.get(name, "RGB")
        picture_seeds.picture(mode).resize((32, 32)).save(file, "PNG")
    value = json_values.to_text(json_values.to_pairs(manifests.made()))
    return {name: file.getvalue() for name, file in encoded.items()} | {
        "binary.bin": chance.randbytes(2000),
        "empty": b"",
        "damaged.png": encoded["content.png"].getvalue()[:60],
        "manifest.json": value.encode(),
        "damaged.json": value.replace("512", "[]", 1).encode(),
        "random.npz": mutations.blindly(chance, b"PK\3\4" * 100),
        "resumed.png.checkpoint": checkpoints.sound(),
        "flags.txt": b"--size=abc\n# a remark\n--steps\n5\n",
        "circular.txt": b"--flagfile=circular.txt\n",
        "nul.txt": b"--content=a\0b.png\n--style=\0\n--output=\0.png\n",
    }


@functools.cache
def _flags(command: str) -> Mapping[str, Any]:
    """Returns {name: flag} of a command."""
    values = flags.FlagValues()
    importlib.import_module(f"nst_tf.commands.{command}").define(values)
    return {name: values[name] for name in values}


def make(chance: random.Random) -> Input:
    """Returns a command line."""
    command = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
    words = [] if command == terminal.DEFAULT_COMMAND and chance.random() < 0.7 else [command]
    arguments = list(SOUND[command]) if chance.random() < 0.9 else []
    for _ in range(chance.choice((1, 1, 2, 3))):
        added = _arguments(chance, command)
        at = len(arguments) if chance.random() < 0.8 else chance.randint(0, len(arguments))
        arguments[at:at] = added
    if chance.random() < 0.02:
        words = [chance.choice((*_WORDS, *_PATHS))]
    if chance.random() < 0.1 and arguments:
        del arguments[chance.randrange(len(arguments))]
    # The system's arguments have no NUL.
    return Input(arguments=tuple(each.replace("\0", "") for each in [*words, *arguments]))


def _arguments(chance: random.Random, command: str) -> list[str]:
    """Returns a flag with a value, or something like it."""
    kind = chance.random()
    if kind < 0.04:
        return [f"--flagfile={chance.choice(_FLAGFILES)}"]
    if kind < 0.08:
        return [chance.choice((*_WORDS, *_NO_FLAGS))]
    name = chance.choice(list(_flags(command)) or ["size"])
    value = _value(chance, name)
    if kind < 0.12:
        forms = (
            f"--no{name}",
            f"--{name}",
            f"--{name[:-1]}={value}",
            f"-{name}={value}",
            f"--{name.upper()}=1",
        )
        return [chance.choice(forms)]
    return [f"--{name}", value] if kind < 0.2 else [f"--{name}={value}"]


def _value(chance: random.Random, name: str) -> str:
    """Returns a value for a flag: half of them of the kind that it takes, or of one that it might."""
    field = settings.SETTINGS.get(name)
    names = list(field.metadata["names"]) if field is not None else []
    tables: list[Sequence[str]] = [_NUMBERS, _WORDS, _PATHS]
    if names and chance.random() < 0.5:
        tables = [names]
    elif field is not None and chance.random() < 0.5:
        tables = [_NUMBERS]
    elif field is None and chance.random() < 0.5:
        tables = [_PATHS]
    value = chance.choice(chance.choice(tables))
    if chance.random() < 0.1:
        value = ",".join([value] * chance.choice((2, 5)))
    if chance.random() < 0.05:
        value = os.fsdecode(mutations.flip_bits(chance, os.fsencode(value[:200])))
    return value


class Accepted(BaseException):
    """All that is checked before painting is good. No `Exception`, so that no command catches it."""


def _accept(*_: Any, **__: Any) -> NoReturn:
    raise Accepted


@contextlib.contextmanager
def stopped_before_painting() -> Iterator[None]:
    """Loads TensorFlow, and has every command stop where it would paint, export or ask a server."""
    runtime.use_tensorflow_backend()
    with runtime.quiet():
        stops = [
            (importlib.import_module("nst_tf.api"), "paint", _accept),
            (importlib.import_module("nst_tf.serving.export"), "export", _accept),
            (importlib.import_module("nst_tf.serving.transports"), "connect", _accept),
            # Random weights alone take half a second.
            (
                importlib.import_module("nst_tf.engine.formulations"),
                "load_weights",
                lambda *_: types.SimpleNamespace(sha256="0" * 64),
            ),
        ]
    with contextlib.ExitStack() as stack:
        for module, name, function in stops:
            stack.enter_context(mock.patch.object(module, name, function))
        yield


class UntidyRefusalError(Exception):
    """A command refused with several lines or none."""


class LeftoverError(Exception):
    """A command refused, and left files that were not there before."""


def read(given: Input, folder: pathlib.Path) -> str:
    """Runs a command line in a folder, which is the current one; returns what came of it.

    Raises:
        InputError: It is refused, in one line and without a trace.
        UntidyRefusalError: It is refused otherwise.
        LeftoverError: It is refused with a trace.
    """
    before = _prepare(folder)
    try:
        with _captured(folder) as notes:
            code = main.main(["nst_tf", *given.arguments])
    except Accepted:
        return "accepted"
    finally:
        left = _tidy(folder, before)
    if code == 0:
        return "done"
    lines = notes.read_text("utf-8", "replace").splitlines()
    if len(lines) != 1 or not lines[0].startswith("nst_tf"):
        raise UntidyRefusalError(f"exit code {code}, {len(lines)} lines: {''.join(lines[:1])}")
    if left:
        raise LeftoverError(f"exit code {code}: {', '.join(left)}")
    raise errors.InputError(lines[0])


@contextlib.contextmanager
def _captured(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Has standard output go nowhere and standard error, also that of libraries in C, to a file: its path."""
    path, terminal_error = folder.parent / "captured", os.dup(2)
    try:
        with path.open("w+", encoding="utf-8") as notes, open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(notes.fileno(), 2)
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(notes):
                yield path
    finally:
        os.dup2(terminal_error, 2)
        os.close(terminal_error)
        logger = logging.getLogger("nst_tf")  # to which a command has added this file
        logger.handlers.clear()
        logger.propagate = True


def _prepare(folder: pathlib.Path) -> set[str]:
    """Makes the files that command lines name; returns the names in the folder."""
    for name, data in _files().items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            path.write_bytes(data)
    (folder / "folder").mkdir(exist_ok=True)
    if not (folder / "link.png").is_symlink():
        (folder / "link.png").symlink_to("link.png")
    return set(os.listdir(folder))


def _tidy(folder: pathlib.Path, before: set[str]) -> list[str]:
    """Removes what is new in the folder; returns its names."""
    left = sorted(set(os.listdir(folder)) - before)
    for name in left:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return left
