"""Checks an export before a roll-out: loaded as by a model server, warm-up requests replayed, a step timed.

TensorFlow Serving restores a version into a graph and a version 1 session, and runs signatures by the names
of their tensors. So does this module, without the code that made the export.
"""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from nst_tf import errors
from nst_tf.serving import export
from nst_tf.serving.settings import KINDS

# Steps of the two runs whose difference tells the seconds of a step; enough to reach every scale of a preset.
_FEW, _MORE = 10, 20

# Side of the pictures where the model's size is the photograph's own.
_SIDE = 512

# What is read of a version's description: {part: names in it}.
_DESCRIBED: Mapping[str, tuple[str, ...]] = {
    "config": ("preset", "precision", "size", *(name for name in KINDS if name.endswith("weight")), "seed"),
    "weights": ("name",),
    "versions": ("tensorflow",),
    "limits": ("max_pixels", "max_steps"),
}


class Model:
    """A version in a session of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Restores the version."""
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], str(folder))
        self._signatures = meta.signature_def

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature.

        Raises:
            tf.errors.OpError: It failed.
        """
        known = self._signatures[signature]
        feeds = {known.inputs[name].name: value for name, value in inputs.items()}
        found: dict[str, np.ndarray] = self._session.run(
            {name: info.name for name, info in known.outputs.items()}, feeds
        )
        return found


def check(folder: pathlib.Path) -> Iterator[str]:
    """Yields lines about an export, each once it is known.

    Args:
        folder: Of a version, or of a model, whose newest version is checked.

    Raises:
        InputError: There is no export of this program.
        ExportError: It cannot be loaded, or a request fails.
    """
    version = _version(folder)
    described = _described(version)
    config = described["config"]
    limits = described["limits"]
    made = described["versions"]["tensorflow"]
    yield (
        f"{version}: {config['preset'] or 'no preset'}, {described['weights']['name']} weights,"
        f" {config['precision']}, TensorFlow {made} (here {tf.__version__}); results up to"
        f" {limits['max_pixels']} pixels and {limits['max_steps']} steps"
    )
    start = time.perf_counter()
    with _failing("it cannot be loaded"):
        model = Model(version)
    yield f"loaded: {time.perf_counter() - start:.1f} s, {_gigabytes():.2f} GB"
    yield from replay(model.run, export.read_warmup(version / export.WARMUP_FILE))
    yield measured(model.run, config["size"] or _SIDE, config)
    yield f"memory: {_gigabytes(most=True):.2f} GB at most"


class ExportError(RuntimeError):
    """An export does not do what a model server needs; the message is one line."""


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    """Turns TensorFlow's errors into one line."""
    try:
        yield
    except (tf.errors.OpError, OSError, KeyError, ValueError) as error:
        raise ExportError(f"{what}: {errors.one_line(error)}") from None


def _version(folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a version.

    Raises:
        InputError: There is none.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise errors.InputError(f"check: {folder} cannot be read: {error.strerror}") from None
    if "saved_model.pb" in names:
        return folder
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal()]
    if not numbers:
        raise errors.InputError(f"check: {folder} has no version; name the folder of an export")
    return folder / str(max(numbers))


def _described(version: pathlib.Path) -> Any:
    """Returns the description of a version.

    Raises:
        InputError: There is none, or it is of an export before signatures were described.
    """
    try:
        described = json.loads((version / export.EXTRA / export.DESCRIPTION).read_text(encoding="ascii"))
        if all(name in described[part] for part, names in _DESCRIBED.items() for name in names):
            return described
    except (OSError, ValueError, TypeError, LookupError):
        pass
    raise errors.InputError(f"check: {version} is no export of nst_tf; name another folder")


# (signature, inputs) -> outputs.
Run = Callable[[str, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def replay(run: Run, records: export.Requests) -> Iterator[str]:
    """Yields a line for each warm-up request: its signature, and what the first call took."""
    for signature, inputs in records:
        start = time.perf_counter()
        with _failing(f"{signature} fails"):
            outputs = run(signature, inputs)
        yield f"{signature}: {time.perf_counter() - start:.1f} s, answers {', '.join(sorted(outputs))}"


def measured(run: Run, side: int, config: Mapping[str, Any]) -> str:
    """Returns a line with the seconds of a step at a size."""
    content, style = np.linspace(0, 1, side * side * 6, dtype=np.float32).reshape([2, 1, side, side, 3])
    pictures = {"content_bytes": export.png(content), "style_bytes": export.png(style)}
    inputs = {name: np.array([data], object) for name, data in pictures.items()}
    own = {"num_steps": _FEW, "size": side} | {
        name: config[name] for name in ("content_weight", "style_weight", "total_variation_weight", "seed")
    }
    inputs |= {name: np.array([own[name]], kind) for name, kind in KINDS.items()}
    seconds = []
    for steps in (_FEW, _MORE):
        start = time.perf_counter()
        with _failing(f"stylize of {side} x {side} pixels fails"):
            run("stylize", inputs | {"num_steps": np.array([steps], np.int32)})
        seconds.append(time.perf_counter() - start)
    of_step = (seconds[1] - seconds[0]) / (_MORE - _FEW)
    return f"{side} x {side} pixels: {max(of_step, 0.0):.2g} s a step, {seconds[0]:.1f} s for {_FEW} steps"


def _gigabytes(most: bool = False) -> float:
    """Returns the memory of this process, or the most that it had where the system knows that."""
    if most:
        try:
            import resource
        except ImportError:  # Windows
            pass
        else:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts kibibytes
    return psutil.Process().memory_info().rss / 1e9
