"""Checkpoints of runs in parts: the state that a server sent, in one file, from which another client goes on.

The file is safetensors, as a local run's. Its tensors are the strings of the state; its metadata says, as
JSON, what the request was. Loads no TensorFlow.
"""

import dataclasses
import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from nst_tf import errors
from nst_tf.engine import checkpoints as local
from nst_tf.io import files

_LOG = logging.getLogger(__name__)

# The key of the metadata, and the version of what is behind it.
_KEY, _VERSION = f"{local.KEY}_request", 1


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a run in parts is made from: it goes on from a checkpoint of the same origin only."""

    signature: str
    choices: Mapping[str, Any]  # settings and options by name, as JSON has them
    inputs: Mapping[str, Mapping[str, str]]  # {picture: {"name", "sha256"}}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is there."""

    path: pathlib.Path
    origin: Origin
    steps_done: int
    state: list[bytes]

    def check(self, origin: Origin) -> None:
        """Checks that a run of this origin may go on from here.

        Raises:
            InputError: Settings or pictures differ.
        """
        if found := list(_differences(self.origin, origin)):
            raise errors.InputError(
                f"checkpoint: {self.path} is of another run: {'; '.join(found)}. Name the same settings and"
                " pictures to go on with it, or remove it to begin anew"
            )


def _differences(before: Origin, now: Origin) -> Iterator[str]:
    """Yields what of two origins differs, for a person."""
    missing = object()
    for name in {**before.choices, **now.choices}:
        was, is_now = (origin.choices.get(name, missing) for origin in (before, now))
        if missing in (was, is_now):
            yield f"there was {'no' if was is missing else 'a'} {name}"
        elif was != is_now:
            yield f"{name} was {was or 'none'}, now {is_now or 'none'}"
    yield from local.different_inputs(before.inputs, now.inputs)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        InputError: It is no checkpoint of a request, or cannot be read.
    """
    path = pathlib.Path(path)
    with local.reading(path) as file:
        text = local.read_header(file, _KEY, path)
        names = list(file.keys())
        state = [local.tensor(file, name).tobytes() for name in sorted(names, key=_number)]
    try:
        header = json.loads(text)
        local.check_version(header["version"], _VERSION, path)
        origin = Origin(header["signature"], dict(header["choices"]), dict(header["inputs"]))
        steps_done = header["steps_done"]
        hashes = [each["sha256"] for each in origin.inputs.values()]
        if not (type(steps_done) is int and steps_done > 0 and state and all(map(_is_text, hashes))):
            raise ValueError("not as this program writes it")
    except errors.InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):  # ValueError: no JSON, too
        raise errors.InputError(f"checkpoint: {path} is of no request to a server; remove it") from None
    return Checkpoint(path, origin, steps_done, state)


def _number(name: str) -> int:
    """Returns the place of a string in the state, by its name in the file."""
    return int(name) if name.isdecimal() else -1


def _is_text(value: object) -> bool:
    return isinstance(value, str)


class Kept:
    """Where a run in parts keeps its checkpoint, and the one that it goes on from."""

    def __init__(
        self,
        path: pathlib.Path,
        every_s: float = local.EVERY_S,
        resumed: Checkpoint | None = None,
        on_resume: Callable[[Checkpoint], object] | None = None,
    ) -> None:
        """Starts the clock.

        Args:
            path: The file.
            every_s: Seconds between two checkpoints; more where writing one takes over 1 % of them.
            resumed: The checkpoint to go on from; None to begin anew.
            on_resume: Called with it once it has been found to be of this run.
        """
        self.path, self.resumed, self._on_resume = path, resumed, on_resume
        self._every_s = self._wait_s = every_s
        self._last = time.perf_counter()
        self._origin: Origin | None = None
        self._latest: tuple[Sequence[bytes], int] | None = None  # what is not written yet
        self._has_warned = False

    def begin(self, origin: Origin) -> None:
        """Says what the run is made from.

        Raises:
            InputError: It goes on from the checkpoint of another run.
        """
        if self.resumed is not None:
            self.resumed.check(origin)
            if self._on_resume is not None:
                self._on_resume(self.resumed)
        self._origin = origin

    def keep(self, state: Sequence[bytes], steps_done: int) -> None:
        """Takes the state after a call; writes it if a checkpoint is due."""
        self._latest = (state, steps_done)
        if time.perf_counter() - self._last >= self._wait_s:
            self.write()

    def write(self) -> None:
        """Writes the latest state, whole or not at all; what cannot be written is a warning, once."""
        if self._latest is None or self._origin is None:
            return
        start = time.perf_counter()
        try:
            self._write(self._origin, *self._latest)
            self._latest = None
        except (OSError, safetensors.SafetensorError, MemoryError) as error:
            if not self._has_warned:
                why = errors.one_line(error)
                _LOG.warning("checkpoint: %s could not be written: %s", self.path, why)
            self._has_warned = True
        self._last = time.perf_counter()
        self._wait_s = max(self._every_s, (self._last - start) / local.SHARE)

    def _write(self, origin: Origin, state: Sequence[bytes], steps_done: int) -> None:
        header = {"version": _VERSION, **dataclasses.asdict(origin), "steps_done": steps_done}
        arrays = {str(number): np.frombuffer(part, np.uint8) for number, part in enumerate(state)}
        with files.temporary_folder(self.path.parent) as folder:
            made = folder / "checkpoint"
            safetensors.numpy.save_file(arrays, made, {_KEY: json.dumps(header)})
            files.move(made, self.path)

    def remove(self) -> None:
        """Removes the checkpoint of a run whose picture is there."""
        local.remove(self.path)
