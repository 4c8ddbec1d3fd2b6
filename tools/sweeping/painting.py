"""The pictures of a sweep: each one a run of the command `nst_tf` in this process, checked, painted, kept.

Whatever flags the command has may be swept: a picture's flags are set as if they had been typed.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import tool_flags
from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags, stylize
from nst_tf.config import config
from nst_tf.io import manifest, pictures
from sweeping import axes

_FLAGS = flags.FLAGS

# Flags of the command that are not about one picture.
_NOT_SWEPT = frozenset({"output", "overwrite", *tool_flags.OF_ONE_RUN})

# Settings that a run itself resolves, by the machine and by what pictures there are: a manifest has what came
# of them. What was asked for is in the name of the picture that is kept.
_RESOLVED = frozenset({"weights", "precision", "convolution", "tile", "history", "history_precision", "init"})

# Enough of a settings' text in a file's name to be recognised, and of a digest to tell names apart.
_NAME_LENGTH, _DIGEST_LENGTH = 80, 10


class Painted(NamedTuple):
    """How a picture came to be where it is."""

    path: pathlib.Path
    exit_code: int  # the command's


class _Wanted(NamedTuple):
    """What a picture has to be, found out before any is painted."""

    name: str
    config: config.Config
    inputs: frozenset[str]  # SHA-256 of the files that go in
    weights: str  # SHA-256; empty without a network


def allowed() -> list[str]:
    """Returns the flags that may be swept: those of the command that are about one picture."""
    return [name for name in _command_flags() if name not in _NOT_SWEPT]


def _command_flags() -> dict[str, flags.Flag]:
    own: list[flags.Flag] = _FLAGS.flags_by_module_dict()[run_flags.__name__]
    return {flag.name: flag for flag in own}


def _given() -> dict[str, flags.Flag]:
    """Returns the flags about one picture that have been given."""
    return {name: flag for name, flag in _command_flags().items() if flag.present and name in allowed()}


class Sweep:
    """All pictures of a sheet."""

    def __init__(self, wanted: Sequence[axes.Settings], keep: pathlib.Path | None) -> None:
        """Finds out for every picture whether it can be painted.

        Args:
            wanted: The pictures' own flags; all other flags are as the tool was given them.
            keep: The folder that pictures are kept in, made once all is found good; None keeps none.

        Raises:
            InputError: One cannot be painted.
        """
        if keep is not None and keep.exists() and not keep.is_dir():
            raise errors.InputError(f"keep: {keep} is not a folder; name another")
        # First what needs no TensorFlow, which takes seconds to load.
        chosen = []
        for settings in wanted:
            _set(settings)
            chosen.append(stylize.check())
        runtime.use_tensorflow_backend()
        self._settings = list(wanted)
        self._wanted = []
        for settings, of_picture in zip(wanted, chosen, strict=True):
            _set(settings)
            self._wanted.append(_find_out(settings, of_picture))
        self._keep = keep

    def paint(self, number: int, folder: pathlib.Path) -> Painted:
        """Paints a picture, or takes the one that is kept.

        Args:
            number: Which, from 0.
            folder: For what is being painted, and for what is not kept.
        """
        wanted = self._wanted[number]
        kept = folder / wanted.name if self._keep is None else self._keep / wanted.name
        if self._keep is not None and _agrees(kept, wanted):
            print(f"{kept} is kept", file=sys.stderr, flush=True)
            return Painted(kept, 0)
        _set(self._settings[number])
        _FLAGS.output = str(folder / wanted.name)
        # The tool's own output is the sheet.
        with contextlib.redirect_stdout(sys.stderr):
            code = stylize.main([])
        made = folder / wanted.name
        if code == 0 and self._keep is not None:
            # The picture last: without its manifest beside it it would not be found to agree.
            for path in (manifest.sidecar(made), made):
                path.replace(kept.with_name(path.name))
            made = kept
        return Painted(made, code)

    def folder(self) -> tempfile.TemporaryDirectory[str]:
        """Returns a new folder for `paint`: in the one that keeps pictures, where they are moved to."""
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".sweep-", dir=self._keep)


def _set(settings: axes.Settings) -> None:
    """Sets flags of the command as if they had been typed.

    Raises:
        InputError: A value is not of the flag's type.
    """
    for name, text in settings.items():
        _FLAGS[name].present = 0  # or a flag that may be repeated would keep its earlier values
        try:
            _FLAGS[name].parse(text)
        except flags.Error as error:
            raise errors.InputError(" ".join(str(error).split())) from None


def _find_out(settings: axes.Settings, chosen: config.Config) -> _Wanted:
    """Returns what a picture has to be; its flags are set.

    Raises:
        InputError: The weights cannot be had, a picture is too small, or the run does not fit into memory.
    """
    with runtime.quiet():
        from nst_tf.engine import memory, stylizer
    shapes = [
        pictures.read(path, name).shape[1:3]
        for name in ("content", "style")
        for path in axes.files(_FLAGS[name].value)
    ]
    memory.fit(chosen, runtime.resolve_precision(chosen.network.precision), shapes[0], shapes[1:])
    weights = stylizer.load_weights(chosen).sha256 if chosen.takes_steps() else ""
    inputs = {name: axes.files(flag.value) for name, flag in _given().items() if name != "weights"}
    hashes = [_sha256(path) for paths in inputs.values() for path in paths]
    asked = "\n".join([*sorted(flag.serialize() for flag in _given().values()), *hashes])
    digest = hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_LENGTH]
    text = re.sub(r"[^\w.=-]+", "_", axes.label(settings), flags=re.ASCII)[:_NAME_LENGTH]
    return _Wanted(f"{text}-{digest}.png", chosen, frozenset(hashes), weights)


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _agrees(path: pathlib.Path, wanted: _Wanted) -> bool:
    """Returns whether a picture is there and its manifest says that it is what is wanted."""
    try:
        found: dict[str, Any] = manifest.read(manifest.sidecar(path))
        kept = manifest.to_config(found, path)
        pictures.read(path)
    except errors.InputError:
        return False
    inputs = {described.get("sha256") for described in found.get("inputs", {}).values()}
    compared = [field.name for field in dataclasses.fields(kept) if field.name not in _RESOLVED]
    return (
        all(kept.to_settings()[name] == wanted.config.to_settings()[name] for name in compared)
        and inputs <= wanted.inputs
        and found.get("weights", {}).get("sha256") == wanted.weights
    )
