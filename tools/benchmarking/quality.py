"""Time to quality: seconds until an objective is as low as a baseline's after some numbers of evaluations.

The objective is that of the baseline's preset, evaluated apart in float32 while the clock stands, of the
image as the optimiser has it. The clock runs from the pictures on: targets and tracing count, starting Python
does not.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarking import contenders
from nst_tf.config import config
from nst_tf.engine import stylizer
from nst_tf.losses import objective

# Steps between two evaluations apart: as fine as seconds are worth.
_STRIDE = 5

# The steps that coarser scales take before the last, by their share of its side. After them it took 70 and
# 110 at the last scale to the values of 150 and 300 evaluations (gatys_pytorch, 256 px, one pair); 60 and 100
# after 150 and 120, 80 and 130 after 100 and 60, 80 and 140 after 80 and 80. In time all is within a tenth.
_COARSE_STEPS = {0.25: 150, 0.5: 60}

# Pixels of a scale's shorter side, at least: the deepest layer then has two by two of them.
_SHORTEST_SIDE = 32

# Pairs of L-BFGS: after 240 evaluations 25, 50 and 100 had 1.55, 1.47 and 1.48e6 of gatys_pytorch (256 px);
# a step with 100 took 16 ms beside the network's 77 in bfloat16 (two cores with AMX-BF16), with 20 it took 3.
_HISTORY = 50

# {road: what it changes in the formulation of the preset}, each on top of those before.
_LBFGS: Mapping[str, Any] = {"optimizer": "lbfgs", "learning_rate": 1.0, "history": _HISTORY}
ROADS: Mapping[str, Mapping[str, Any]] = {
    "L-BFGS": _LBFGS,
    "and bfloat16 where it is fast": {"precision": "auto"},
    "and 1/sqrt(frequency)": {
        "preconditioner": "inverse_sqrt_frequency",
        "preconditioned_scales": "all",
    },
    "and coarser scales first": {"scales": (*_COARSE_STEPS, 1.0)},
    "and the photograph's detail with it": {"scale_detail": 1.0},
}


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What is to be reached."""

    preset: str
    evaluations: tuple[int, ...]
    seconds: tuple[float, ...]  # until each of them
    values: tuple[float, ...]  # of the objective after each of them


class Judge:
    """The objective of a preset in float32."""

    def __init__(self, preset: str, task: contenders.Task) -> None:
        """Computes the targets."""
        chosen = contenders.formulation(preset, task, "float32")
        judge = objective.Objective(chosen, task.weights, "float32")
        targets = judge.targets(tf.constant(task.content), [tf.constant(task.style)])
        any_image = tf.TensorSpec([1, None, None, 3])
        self._evaluate = tf.function(
            lambda image: judge.evaluate(image, targets).total, [any_image], autograph=False
        )

    def __call__(self, image: Any) -> float:
        """Returns the value of an image [1, H, W, 3]."""
        return float(self._evaluate(tf.convert_to_tensor(image, tf.float32)))


def pytorch(task: contenders.Task, evaluations: Sequence[int]) -> Baseline:
    """Runs the PyTorch baseline's L-BFGS, in float32."""
    from baselines import pytorch_gatys

    start = time.perf_counter()
    gatys = pytorch_gatys.Gatys(task.weights.arrays, task.content, task.style)
    prepared = time.perf_counter() - start
    noted = pytorch_gatys.run(gatys, pytorch_gatys.to_pixels(task.content), evaluations, time.perf_counter)
    return _baseline("gatys_pytorch", evaluations, prepared, noted, task)


def tutorial(task: contenders.Task, steps: Sequence[int]) -> Baseline:
    """Runs TensorFlow's tutorial."""
    from baselines import tensorflow_tutorial

    start = time.perf_counter()
    made = tensorflow_tutorial.Tutorial(task.weights.arrays, task.content, task.style)
    prepared = time.perf_counter() - start
    noted = tensorflow_tutorial.run(made, steps, time.perf_counter)
    return _baseline("tf_tutorial", steps, prepared, noted, task)


def _baseline(
    preset: str,
    evaluations: Sequence[int],
    prepared: float,
    noted: Sequence[tuple[float, np.ndarray]],
    task: contenders.Task,
) -> Baseline:
    judge = Judge(preset, task)
    seconds, pictures = zip(*noted, strict=True)
    return Baseline(
        preset,
        tuple(evaluations),
        tuple(prepared + passed for passed in seconds),
        tuple(judge(picture) for picture in pictures),
    )


def roads(every: bool) -> dict[str, dict[str, Any]]:
    """Returns what each road changes, all that comes before included: the last road alone, or every one."""
    changes: dict[str, Any] = {}
    made = {}
    for name, more in ROADS.items():
        changes = {**changes, **more}
        made[name] = changes
    return made if every else {name: changes}


def seconds_to(baseline: Baseline, changes: Mapping[str, Any], task: contenders.Task) -> list[float | None]:
    """Returns the seconds until each of the baseline's values; None where that takes more evaluations."""
    side = min(task.content.shape[1:3])
    scales = tuple(
        scale for scale in changes.get("scales", (1.0,)) if scale == 1 or scale * side >= _SHORTEST_SIDE
    )
    steps = (*(_COARSE_STEPS[scale] for scale in scales[:-1]), baseline.evaluations[-1])
    options = {"precision": "float32", **changes, "scales": scales, "steps": steps}
    chosen = contenders.formulation(baseline.preset, task, **options)
    return _until(baseline.values, chosen, task, Judge(baseline.preset, task))


def _until(
    values: Sequence[float], chosen: config.Config, task: contenders.Task, judge: Callable[[Any], float]
) -> list[float | None]:
    """Runs nst_tf until the last of the values, or to its end; returns the seconds until each."""
    reached: list[float | None] = [None] * len(values)
    clock = _Stopwatch()
    run = stylizer.Stylizer(task.content, [task.style], chosen, task.weights)
    for scale in run.scales[:-1]:
        run.advance(tf.constant(scale.num_steps))
        run.next_scale()
    for _ in range(0, chosen.scales.steps[-1], _STRIDE):
        run.advance(tf.constant(_STRIDE)).numpy()
        with clock.stopped():
            value = judge(run.image)
        for index, wanted in enumerate(values):
            if reached[index] is None and value <= wanted:
                reached[index] = clock.seconds()
        if reached[-1] is not None:
            break
    return reached


class _Stopwatch:
    """Seconds since its making, less those in which it is stopped."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Returns the seconds that counted."""
        return time.perf_counter() - self._start

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Leaves out the seconds of a block."""
        before = time.perf_counter()
        yield
        self._start += time.perf_counter() - before
