"""Checkpoints: the state of a run in one file, from which the run goes on after its process has ended.

The file is safetensors. Its tensors are the image, the optimiser's state, the trace and what callbacks keep,
each by its path; its metadata has, as JSON, what the run was. Loads no TensorFlow.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import pathlib
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.config.config import Config
from nst_tf.config.scales import Scale
from nst_tf.engine.progress import Progress, TimeLeft, TraceRow
from nst_tf.io import files, manifest

if typing.TYPE_CHECKING:
    import tensorflow as tf

_LOG = logging.getLogger(__name__)

# Seconds between two checkpoints: what a run that is killed loses at most, where writing takes no longer.
EVERY_S = 30.0

# Shorter runs are cheaper to begin anew than to go on with.
_SHORTEST_RUN_S = 60.0

# The share of a run's time that checkpoints may take.
SHARE = 0.01

# The key of the metadata, with which those of other commands begin, and the version of what is behind it.
KEY, _VERSION = "nst_tf", 1

_TRACE = "trace"

# Settings that decide how a run fits into memory. A run may go on with another tile, with which gradients
# differ by rounding alone.
_FITTED = ("history", "history_precision", "precision", "convolution")
_TILE = "tile"


def beside(output: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path beside a picture: picture.png.checkpoint for picture.png."""
    path = pathlib.Path(output)
    return path.parent / f"{path.name}.checkpoint"  # of a path without a name, too, which is refused later


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a run is made from: a run goes on from a checkpoint of the same origin only."""

    config: Config  # before it is fitted to memory
    inputs: Mapping[str, Mapping[str, str]]  # as `manifest.describe_inputs` returns them


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is there: its header is in memory, its tensors are in the file."""

    path: pathlib.Path
    origin: Origin
    config: Config  # as it was fitted to memory, without "auto"
    weights: Mapping[str, str]  # {"name", "sha256"}
    versions: Mapping[str, str]  # of packages
    scale_index: int
    steps_done: int  # at this scale
    trace: tuple[TraceRow, ...]

    def check(self, origin: Origin) -> None:
        """Checks that a run of this origin may go on from here; logs what may change last bits.

        Raises:
            InputError: Settings or inputs differ.
        """
        found = list(_differences(self.origin, origin))
        if found:
            raise errors.InputError(
                f"checkpoint: {self.path} is of another run: {'; '.join(found)}. Name the same settings and"
                " pictures to go on with it, or remove it to begin anew"
            )
        for name, version in manifest.versions().items():
            if self.versions.get(name) != version:
                _LOG.warning(
                    "checkpoint: made with %s %s, goes on with %s: the picture may differ in its last bits",
                    *(name, self.versions.get(name), version),
                )

    def check_weights(self, sha256: str, name: str) -> None:
        """Checks that the network has the weights that it had.

        Raises:
            InputError: It has others.
        """
        if self.weights["sha256"] != sha256:
            raise errors.InputError(
                f"checkpoint: {self.path} was made with the {self.weights['name']} weights; these, {name},"
                " are others"
            )

    def check_scales(self, scales: Sequence[Scale]) -> None:
        """Checks that a run has the scale and the steps of the checkpoint.

        Raises:
            InputError: It has not.
        """
        index = self.scale_index
        if index >= len(scales) or self.steps_done > scales[index].num_steps:
            raise errors.InputError(
                f"checkpoint: {self.path} is of scale {index + 1} after {self.steps_done} steps, which this"
                " run does not have; remove it to begin anew"
            )

    def fitted(self, config: Config) -> Config:
        """Returns the config with the choices that were made to fit the run into memory."""
        names = (*_FITTED, _TILE) if config.memory.tile == "auto" else _FITTED
        made = self.config.to_settings()
        return config.replace(**{name: made[name] for name in names})

    def fill(
        self,
        variables: Mapping[str, "tf.Variable"],
        put: Callable[["tf.Variable", int, np.ndarray], object],
    ) -> None:
        """Assigns the run's variables; stacks of pictures one by one, with one of them in memory beside.

        Args:
            variables: As `Stylizer.state` returns them, of the size that they had.
            put: (variable [N, H, W, C], index, picture [1, H, W, C]) -> assigns a picture of a stack.

        Raises:
            InputError: The file cannot be read, or has other tensors.
        """
        with reading(self.path) as file:
            names = set(file.keys())
            for name, variable in variables.items():
                shape = variable.value().shape.as_list()
                parts = _part_names(name, shape)
                own = [1, *shape[1:]] if len(parts) > 1 else shape
                if not names.issuperset(parts) or not all(
                    list(file.get_slice(part).get_shape()) == own
                    and file.get_slice(part).get_dtype() == _DTYPES[variable.dtype.name]
                    for part in parts
                ):
                    raise errors.InputError(f"checkpoint: {self.path} has no {name} of this run's shape")
                for row, part in enumerate(parts):
                    if len(parts) > 1:
                        put(variable, row, file.get_tensor(part))
                    else:
                        variable.assign(file.get_tensor(part))

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Returns {rest of the name: array} of the tensors below a path.

        Raises:
            InputError: The file cannot be read.
        """
        with reading(self.path) as file:
            names = list(file.keys())
            found = [name for name in names if name.startswith(f"{prefix}/")]
            return {name.removeprefix(f"{prefix}/"): tensor(file, name) for name in found}


# safetensors' names of TensorFlow's types.
_DTYPES = {
    "float32": "F32",
    "bfloat16": "BF16",
    "float64": "F64",
    "int32": "I32",
    "int64": "I64",
    "bool": "BOOL",
}


def _part_names(name: str, shape: Sequence[int]) -> list[str]:
    """Returns the names of a variable's tensors in the file: of a stack of pictures one for each."""
    is_stack = len(shape) == 4 and shape[0] > 1
    return [f"{name}/{row}" for row in range(shape[0])] if is_stack else [name]


def _parts(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the tensors in the file of a variable's value, views of it."""
    names = _part_names(name, array.shape)
    if names == [name]:
        return {name: array}
    return {part: array[row : row + 1] for row, part in enumerate(names)}


def _differences(before: Origin, now: Origin) -> Iterator[str]:
    """Yields what of two origins differs, for a person."""
    ignored = {_TILE, "max_memory", "weights"}  # weights are compared by their contents
    files_named = [origin.config.start.init not in settings.INITS for origin in (before, now)]
    if all(files_named):
        ignored.add("init")  # compared by its contents too
    earlier, later = before.config.to_settings(), now.config.to_settings()
    for name in later:
        if name not in ignored and earlier[name] != later[name]:
            yield f"{name} was {_typed(earlier[name])}, now {_typed(later[name])}"
    yield from different_inputs(before.inputs, now.inputs)


def different_inputs(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yields which inputs of two runs differ, for a person; {name: {"name", "sha256"}} of each."""
    for name in {**before, **now}:
        was, is_now = before.get(name), now.get(name)
        if was is None or is_now is None:
            yield f"there was {'no' if was is None else 'a'} {name}"
        elif was["sha256"] != is_now["sha256"]:
            yield f"{name} was another picture ({was['name'] or 'an array'})"


def _typed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint's header.

    Raises:
        InputError: It is no checkpoint of this version, or cannot be read.
    """
    path = pathlib.Path(path)
    with reading(path) as file:
        text = read_header(file, KEY, path)
        names = list(file.keys())
        rows = tensor(file, _TRACE) if _TRACE in names else np.zeros([0, len(TraceRow._fields)])
    try:
        header = json.loads(text)
        check_version(header["version"], _VERSION, path)
        _check_header(header, rows)
        return Checkpoint(
            path,
            Origin(_to_config(header["origin"], path), header["inputs"]),
            _to_config(header["config"], path),
            header["weights"],
            header["versions"],
            header["scale_index"],
            header["steps_done"],
            tuple(TraceRow(int(scale), int(step), *map(float, rest)) for scale, step, *rest in rows),
        )
    except errors.InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):  # ValueError: no JSON, too
        raise errors.InputError(f"checkpoint: {path} is none of this program; remove it") from None


def read_header(file: Any, key: str, path: pathlib.Path) -> str:
    """Returns the JSON in a checkpoint's metadata, "{}" where there is none.

    Args:
        file: The checkpoint, opened.
        key: Of this command's checkpoints.
        path: Of the file.

    Raises:
        InputError: Another command left it.
    """
    found = file.metadata() or {}
    for other in found:
        if other != key and other.startswith(KEY):
            command = f"nst_tf {other.removeprefix(KEY).strip('_')}".strip()
            raise errors.InputError(
                f"checkpoint: {path} was left by {command}; go on with that, or remove it to begin anew"
            )
    text: str = found.get(key, "{}")
    return text


def check_version(found: object, known: int, path: pathlib.Path) -> None:
    """Checks the version of a checkpoint's header.

    Raises:
        InputError: It is not the one that this program knows.
    """
    if found != known:
        raise errors.InputError(
            f"checkpoint: {path} is of version {found}, this program's is {known}; remove it to begin anew"
        )


def _check_header(header: Mapping[str, Any], rows: np.ndarray) -> None:
    """Checks that a header and a trace are as this program writes them, but for the configs.

    Raises:
        KeyError: A part is missing.
        ValueError: One is not.
    """
    counts = [header["scale_index"], header["steps_done"]]
    are_good = [
        manifest.wrong_part({part: header[part] for part in ("inputs", "weights", "versions")}) is None,
        all(type(count) is int and 0 <= count <= settings.LARGEST_INTEGER for count in counts),
        rows.dtype == np.float64 and rows.ndim == 2 and rows.shape[1] == len(TraceRow._fields),
        header["weights"],
    ]
    # Scales and steps of the trace; losses may be infinite.
    if not all(are_good) or not np.isfinite(rows[:, :2]).all():
        raise ValueError("not as this program writes it")


def _to_config(values: Mapping[str, Any], path: pathlib.Path) -> Config:
    return manifest.to_config({"config": values}, path)


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[Any]:
    """Opens a checkpoint.

    Raises:
        InputError: It cannot be read.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would block
        raise errors.InputError(f"checkpoint: {path} is not an ordinary file; remove it")
    try:
        # "pread": parts of a file that is mapped into memory would count as this process's.
        with safetensors.safe_open(path, framework="np", backend="pread") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        why = errors.one_line(error)
        raise errors.InputError(
            f"checkpoint: {path} cannot be read: {why}; remove it to begin anew"
        ) from None


def tensor(file: Any, name: str) -> np.ndarray:
    """Returns a tensor of a file that has been opened.

    Raises:
        SafetensorError: NumPy has not its type.
    """
    try:
        found: np.ndarray = file.get_tensor(name)
    except AttributeError as error:
        raise safetensors.SafetensorError(errors.one_line(error)) from None
    return found


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its checkpoint, how often it is written, and the one that the run goes on from."""

    path: pathlib.Path
    every_s: float = EVERY_S
    of_short_runs: bool = True  # whether runs of less than a minute have any, unless they are stopped
    resumed: Checkpoint | None = None


class Source(typing.Protocol):
    """A run whose state is kept: a `Stylizer`."""

    @property
    def config(self) -> Config:
        """As it was fitted to memory."""

    @property
    def scale_index(self) -> int:
        """Of the current scale."""

    def steps_done(self) -> int:
        """Returns the steps done at this scale."""

    def is_sound(self) -> bool:
        """Returns whether the latest losses and the image are finite."""

    def state(self) -> Mapping[str, "tf.Variable"]:
        """Returns the variables by name, stacks of pictures among them."""


class Writer:
    """Writes the checkpoints of a run, now and then or at once; what cannot be written is a warning."""

    def __init__(self, kept: Checkpoints, run: Source, origin: Origin, weights: Mapping[str, str]) -> None:
        """Starts the clock.

        Args:
            kept: Where, and how often.
            run: The run.
            origin: What it is made from.
            weights: {"name", "sha256"} of its network.
        """
        self._kept, self._run, self._origin, self._weights = kept, run, origin, weights
        self._start = self._last = time.perf_counter()
        self._wait_s = kept.every_s
        self._time_left = TimeLeft()
        self._has_warned = False

    def is_due(self, progress: Progress) -> bool:
        """Returns whether a checkpoint is due at a report."""
        left, now = self._time_left(progress), time.perf_counter()
        if now - self._last < self._wait_s or left is None:
            return False
        return self._kept.of_short_runs or now - self._start + left >= _SHORTEST_RUN_S

    def write(self, trace: Sequence[TraceRow], observed: Mapping[str, Mapping[str, np.ndarray]]) -> bool:
        """Writes the checkpoint, whole or not at all; returns whether it is there.

        A run that may be diverging keeps the checkpoint before.

        Args:
            trace: Of the run so far.
            observed: {callback: {name: array}} of what callbacks keep.
        """
        if not self._run.is_sound():
            return self._kept.path.exists()
        start = time.perf_counter()
        try:
            self._write(trace, observed)
        except (OSError, safetensors.SafetensorError, MemoryError) as error:
            if not self._has_warned:
                why = errors.one_line(error)
                _LOG.warning("checkpoint: %s could not be written: %s", self._kept.path, why)
            self._has_warned = True
            return False
        finally:
            self._last = time.perf_counter()
            self._wait_s = max(self._kept.every_s, (self._last - start) / SHARE)
        return True

    def _write(self, trace: Sequence[TraceRow], observed: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        arrays: dict[str, np.ndarray] = {}
        for name, variable in self._run.state().items():
            arrays |= _parts(name, np.asarray(variable.value()))
        arrays[_TRACE] = np.array(trace, np.float64).reshape(-1, len(TraceRow._fields))
        for callback, kept in observed.items():
            arrays |= {f"{callback}/{name}": np.ascontiguousarray(array) for name, array in kept.items()}
        header = {
            "version": _VERSION,
            "origin": manifest.to_values(self._origin.config),
            "inputs": dict(self._origin.inputs),
            "config": manifest.to_values(self._run.config),
            "weights": dict(self._weights),
            "versions": manifest.versions(),
            "scale_index": self._run.scale_index,
            "steps_done": self._run.steps_done(),
        }
        path = self._kept.path
        with files.temporary_folder(path.parent) as folder:
            made = folder / "checkpoint"
            safetensors.numpy.save_file(arrays, made, {KEY: json.dumps(header)})
            files.move(made, path)


def is_to_be_resumed(path: pathlib.Path, resume: bool, overwrite: bool) -> bool:
    """Returns whether a command goes on from the checkpoint beside its output.

    Args:
        path: Of the checkpoint, which need not be there.
        resume: Whether the command is to go on from it.
        overwrite: Whether what is there may be replaced.

    Raises:
        InputError: It is there, and the command says neither.
    """
    is_left = os.path.exists(path)
    if is_left and not resume and not overwrite:
        raise errors.InputError(
            f"checkpoint: {path} is there, left by a run that ended early; --resume goes on with it,"
            " --overwrite begins anew"
        )
    return is_left and resume


def wait_s(every_s: float | None) -> float:
    """Returns the seconds between two checkpoints for what a person asks for: None the usual, 0 none."""
    return EVERY_S if every_s is None else every_s or math.inf


def remove(path: pathlib.Path) -> None:
    """Removes a checkpoint that is no longer needed, if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # so that there was none
            _LOG.warning("checkpoint: %s could not be removed: %s", path, error)
