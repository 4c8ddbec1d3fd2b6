"""How a picture came about, as JSON: kept beside the picture and in it, enough to make it again.

Holds names of files, never their folders: a manifest travels with its picture.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.config import config, settings
from nst_tf.io import masks, pictures

# Versions that decide the picture's last bits.
_PACKAGES = ("nst_tf", "tensorflow", "keras", "numpy", "pillow")

# Far more bytes than a manifest has, which are some 3000 and 100 for each picture.
_MOST_BYTES = 2**20


def describe_inputs(inputs: Mapping[str, pictures.Picture]) -> dict[str, dict[str, str]]:
    """Returns {name: name and SHA-256} of the inputs.

    Call it before a run, which may be long: a file may be gone after it.
    """
    return {name: _describe_input(given) for name, given in inputs.items()}


def _describe_input(picture: pictures.Picture) -> dict[str, str]:
    """Returns the name and the SHA-256 of an input: of a file its bytes, otherwise its pixels."""
    if isinstance(picture, np.ndarray | Image.Image):
        pixels = np.ascontiguousarray(picture)
        return {"name": "", "sha256": hashlib.sha256(pixels.data).hexdigest()}
    if masks.is_color(picture):
        return {"name": str(picture), "sha256": hashlib.sha256(str(picture).encode()).hexdigest()}
    file = pictures.as_file(picture)
    return {"name": file.name, "sha256": file.sha256}


def make(
    chosen: config.Config,
    inputs: Mapping[str, Mapping[str, str]],
    weights: Mapping[str, str],
    losses: Mapping[str, float],
) -> dict[str, Any]:
    """Returns the manifest of a run.

    Args:
        chosen: The config, its precision and weights resolved.
        inputs: What `describe_inputs` returned.
        weights: {"name", "sha256"} of what was used.
        losses: {term: value} of the finished picture.
    """
    return {
        "config": to_values(chosen),
        "weights": dict(weights),
        "inputs": dict(inputs),
        "losses": dict(losses),
        "versions": versions(),
    }


def with_earlier(manifest: Mapping[str, Any], earlier: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Returns the manifest of a picture that was made from earlier ones.

    Args:
        manifest: As `make` returns it.
        earlier: {"name", "sha256"} of the files of these pictures, the first one first.
    """
    return {**manifest, "earlier": [dict(each) for each in earlier]}


def to_values(chosen: config.Config) -> dict[str, Any]:
    """Returns the preset's name and every setting, of files the name alone; `to_config` reads them."""
    values = {"preset": chosen.preset} | chosen.to_settings()
    for name in settings.PATHS:
        values[name] = pathlib.PurePath(values[name]).name
    return values


def sidecar(output: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the manifest's path beside a picture: picture.png.json for picture.png."""
    path = pathlib.Path(output)
    return path.with_name(path.name + pictures.MANIFEST_SUFFIX)


def to_text(manifest: Mapping[str, Any]) -> str:
    """Returns the manifest as JSON in ASCII, which every format can hold; infinite losses and NaN as null."""
    losses = {term: value if math.isfinite(value) else None for term, value in manifest["losses"].items()}
    return json.dumps({**manifest, "losses": losses}, indent=2, allow_nan=False)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a manifest, from its own file or out of a picture, and checks all but the values of settings.

    Raises:
        InputError: There is no such file, or no manifest in it.
    """
    path = pathlib.Path(path)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise errors.InputError(f"config: {path} is not an ordinary file; name another")  # a pipe would block
    is_alone = path.suffix.lower() == pictures.MANIFEST_SUFFIX
    return parse(_text_of_file(path) if is_alone else pictures.read_text(path, "config") or "", path)


def parse(text: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the manifest that a text is, as `read` does.

    Args:
        text: As `to_text` wrote it.
        path: Where it was, for messages.

    Raises:
        InputError: It is none.
    """
    try:
        manifest = json.loads(text) if len(text) <= _MOST_BYTES else None
    except (ValueError, RecursionError):  # ValueError: no JSON, or a number of more digits than Python reads
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("config"), dict):
        raise errors.InputError(f"config: {path} holds no manifest of this program")
    if (part := wrong_part(manifest)) is not None:
        raise errors.InputError(f"config: {path}: its {part!r} is not as this program writes it")
    return {**{part: {} for part in _PARTS}, **manifest}


def wrong_part(manifest: Mapping[str, Any]) -> str | None:
    """Returns the name of a part beside the config that is not as this program writes it; None if all are."""
    checks = {**_PARTS, "earlier": _is_chain}
    return next((part for part in checks if part in manifest and not checks[part](manifest[part])), None)


def _is_chain(value: object) -> bool:
    """Returns whether a part is the list of earlier pictures."""
    return isinstance(value, list) and all(map(_is_entry, value))


def _text_of_file(path: pathlib.Path) -> str:
    """Returns the text of a manifest's own file, with or without a byte order mark.

    Raises:
        InputError: It cannot be read, or is too large or no file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: other bytes than UTF-8, a path with a NUL character
        raise errors.InputError(f"config: {path} cannot be read: {errors.one_line(error)}") from None


def _is_entry(value: object) -> bool:
    """Returns whether a value is the name and the SHA-256 of something."""
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("name", "sha256"))


def _is_number(value: object) -> bool:
    """Returns whether a value is a loss: a number, or null for one that is infinite or NaN."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _all(is_good: Callable[[object], bool]) -> Callable[[object], bool]:
    """Returns what tells whether a value is an object all of whose values are good."""
    return lambda value: isinstance(value, dict) and all(map(is_good, value.values()))


# The parts of a manifest beside its config, each with what its value has to be. One that is missing is empty.
_PARTS: Mapping[str, Callable[[object], bool]] = {
    "weights": lambda value: value == {} or _is_entry(value),
    "inputs": _all(_is_entry),
    "losses": _all(_is_number),
    "versions": _all(lambda value: isinstance(value, str)),
}


def to_config(manifest: Mapping[str, Any], path: str | os.PathLike[str]) -> config.Config:
    """Returns the config in a manifest that `read` returned for `path`.

    Raises:
        InputError: A field is missing, unknown or not allowed.
    """
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in manifest["config"].items()
    }
    known = ["preset", *settings.SETTINGS]
    for name in values:
        if name not in known:
            raise errors.unknown_name(f"config: {path}: setting", name, known)
    required = [name for name, field in settings.SETTINGS.items() if field.default is dataclasses.MISSING]
    missing = [name for name in ("preset", *required) if name not in values]
    if missing:
        raise errors.InputError(f"config: {path} lacks {', '.join(missing)}")
    preset: Any = values.pop("preset")
    # A manifest that does not speak of it is of a version that read all pictures whole.
    values.setdefault("large_inputs", "whole")
    return config.Config.from_settings(preset, values)


# A setting that a run resolves by the machine it is on, and those that tell nothing of a picture beside its
# last bits (`tile`) or are compared by what they came to (`weights`).
_OPEN, _NOT_COMPARED = "auto", frozenset({"tile", "weights"})


def agrees(
    manifest: Mapping[str, Any], chosen: config.Config, inputs: Mapping[str, str], weights: str | None
) -> bool:
    """Returns whether a manifest is that of a run that is wanted.

    What the run resolves by the machine it is on ("auto", a shorter history) may be anything in the manifest.

    Args:
        manifest: As `read` returned it.
        chosen: The config of the run.
        inputs: {input: SHA-256}.
        weights: Their SHA-256; empty without a network, None if any will do.
    """
    try:
        kept = to_config(manifest, "")
    except errors.InputError:
        return False
    before, now = to_values(kept), to_values(chosen)
    shortened = now["history_precision"] == _OPEN and before["history_precision"] == "bfloat16"
    if shortened and before["history"] < now["history"]:
        before["history"] = now["history"]
    return (
        all(before[name] == now[name] for name in now if now[name] != _OPEN and name not in _NOT_COMPARED)
        and {name: entry.get("sha256") for name, entry in manifest["inputs"].items()} == inputs
        and weights in (None, manifest["weights"].get("sha256", ""))
    )


def differences(manifest: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """Returns what of a run differs from the manifest it was to repeat, a line each; settings aside."""
    lines = []
    for name in {**manifest.get("inputs", {}), **made.get("inputs", {})}:
        before, now = (m.get("inputs", {}).get(name, {}) for m in (manifest, made))
        if not before:
            lines.append(f"{name} is given, of which the manifest names none")
        elif not now:
            lines.append(f"{name} is missing; the manifest names one ({before.get('name')})")
        elif before.get("sha256") != now.get("sha256"):
            lines.append(f"{name} is not the picture that the manifest names ({before.get('name')})")
    if manifest.get("weights", {}).get("sha256") != made["weights"]["sha256"]:
        lines.append(f"weights are not those of the manifest ({manifest.get('weights', {}).get('name')})")
    return lines


def find_weights(chosen: config.Config, elsewhere: str | None) -> config.Config:
    """Returns the config with weights that can be found.

    A manifest names a file of weights without its folder; where it is not at hand, `elsewhere` (what the
    environment names) stands in.
    """
    if (
        chosen.network.weights in settings.WEIGHTS
        or os.path.isfile(chosen.network.weights)  # unlike pathlib's, false for a name that no file can have
        or not elsewhere
    ):
        return chosen
    return chosen.replace(weights=elsewhere)


def versions() -> dict[str, str]:
    """Returns {package: version} of what decides a picture's last bits."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


@functools.cache  # to find it takes a millisecond
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from its folder, not installed
        return "unknown"
