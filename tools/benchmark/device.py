"""One script for a machine with an accelerator: memory against its plan, growth, resuming, a step's time.

Runs in a process of its own, on the first GPU that TensorFlow sees, or on the processor.
"""

import pathlib
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

import nst_tf
from benchmark import contenders
from nst_tf import runtime
from nst_tf.config import presets
from nst_tf.config.config import Config
from nst_tf.engine import checkpoints, memory, stylizer

# Steps of the run that is interrupted, at its two scales, and where.
_STEPS, _CUT = (6, 6), 9

_GIGABYTE = 1e9


def measure(task: contenders.Task, source: str, size: int, count: int) -> dict[str, Any]:
    """Returns what was measured at a size.

    Args:
        task: The pictures, of that size.
        source: The weights, as `nst_tf.stylize` takes them.
        size: Longest side in pixels.
        count: Pictures after the first two over which memory may grow.
    """
    chosen = nst_tf.get_config("default", weights=source, size=size, scales=(0.5, 1.0), steps=_STEPS)
    return {
        "device": _device(),
        "precision": runtime.resolve_precision(chosen.network.precision),
        **_peak(task, chosen),  # first: the peak is the process's
        "step_ms": 1000 * _step_s(task, chosen),
        "resumed_difference": _resumed(task, chosen),
        "growth_mb": _growth(task, chosen, count) / 1e6,
    }


def _device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "processor"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))


def _run(task: contenders.Task, chosen: Config) -> stylizer.Stylizer:
    return stylizer.Stylizer(task.content, [task.style], chosen)


def _peak(task: contenders.Task, chosen: Config) -> dict[str, Any]:
    """Returns the memory that a whole run was planned to take, and what it took."""
    if runtime.has_gpu():
        tf.config.experimental.reset_memory_stats("GPU:0")
    precision = runtime.resolve_precision(chosen.network.precision)
    sizes = memory.Inputs(task.content.shape[1:3], [task.style.shape[1:3]])
    plan = memory.Plan(chosen, precision, sizes)
    run = _run(task, plan.config)
    run.run()
    run.evaluate()
    taken = memory.peak_so_far()
    planned = memory.peak(plan.config, precision, sizes)
    return {
        "planned_gb": planned / _GIGABYTE,
        "taken_gb": None if taken is None else taken / _GIGABYTE,
        "tile": plan.config.memory.tile,
    }


def _step_s(task: contenders.Task, chosen: Config) -> float:
    """Returns the seconds of a step at the last scale, the median of five."""
    run, seconds = _run(task, chosen), []
    run.last_scale()
    for _ in range(6):
        start = time.perf_counter()
        run.step().total.numpy()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def _resumed(task: contenders.Task, chosen: Config) -> float:
    """Returns the largest difference between the picture of a run and of one that goes on half-way."""
    chosen = chosen.replace(precision="float32")
    whole = _run(task, chosen)
    whole.run()
    first = _run(task, chosen)
    first.run(lambda progress: progress.step >= _CUT, range(1, _CUT + 1))
    weights = {"name": first.weights.name, "sha256": first.weights.sha256}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "checkpoint"
        origin = checkpoints.Origin(chosen, {})
        checkpoints.Writer(checkpoints.Checkpoints(path), first, origin, weights).write([], {})
        later = stylizer.Stylizer(task.content, [task.style], chosen, checkpoint=checkpoints.read(path))
        later.run()
    return float(np.abs(later.picture() - whole.picture()).max())


def _growth(task: contenders.Task, chosen: Config, count: int) -> float:
    """Returns by how many bytes the memory in use grows over pictures after the first two."""
    chosen = presets.get(chosen, scales=(1.0,), steps=2)

    def paint() -> None:
        nst_tf.stylize(task.content[0], task.style[0], preset=chosen)

    paint()
    paint()
    before = memory.in_use()
    for _ in range(count):
        paint()
    return memory.in_use() - before
