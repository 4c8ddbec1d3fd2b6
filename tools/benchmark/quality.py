"""Time to quality: seconds until an objective is as low as a baseline's after some numbers of evaluations.

The objective is that of the baseline's preset in float32, of the optimiser's image, evaluated while the clock
is stopped. The clock starts once the pictures are read: targets and tracing count, starting Python does not.
A road is a way for nst_tf to that value: a set of overrides of the preset.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmark import contenders, timing
from nst_tf.config import config
from nst_tf.engine import stylizer
from nst_tf.losses import objective

# Steps between two evaluations of the objective.
_STRIDE = 5

# {share of the last scale's side: steps at that coarser scale}; fewer save no time (README.md).
_COARSE_STEPS = {0.25: 150, 0.5: 60}

# The least shorter side of a scale in pixels: the deepest layer then has two by two.
_SHORTEST_SIDE = 32

# Pairs of L-BFGS: 25 end 5 % higher after 240 evaluations, 100 no lower.
_HISTORY = 50

# {road: its overrides of the preset}, each on top of those before.
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
    """The values to be reached."""

    preset: str
    evaluations: tuple[int, ...]
    seconds: tuple[float, ...]  # until each of them
    values: tuple[float, ...]  # of the objective after each of them


class Objective:
    """The objective of a preset in float32."""

    def __init__(self, preset: str, task: contenders.Task) -> None:
        """Computes the targets."""
        chosen = contenders.formulation(preset, task, "float32")
        preset_loss = objective.Objective(chosen, task.weights, "float32")
        targets = preset_loss.targets(tf.constant(task.content), [tf.constant(task.style)])
        any_image = tf.TensorSpec([1, None, None, 3])
        self._evaluate = tf.function(
            lambda image: preset_loss.evaluate(image, targets).total, [any_image], autograph=False
        )

    def __call__(self, image: Any) -> float:
        """Returns the value of an image [1, H, W, 3]."""
        return float(self._evaluate(tf.convert_to_tensor(image, tf.float32)))


def pytorch(task: contenders.Task, evaluations: Sequence[int]) -> Baseline:
    """Runs the PyTorch baseline's L-BFGS, in float32."""
    from benchmark import pytorch_gatys

    start = time.perf_counter()
    gatys = pytorch_gatys.Gatys(task.weights.arrays, task.content, task.style)
    prepared = time.perf_counter() - start
    noted = pytorch_gatys.run(gatys, pytorch_gatys.to_pixels(task.content), evaluations, time.perf_counter)
    return _baseline("gatys_pytorch", evaluations, prepared, noted, task)


def tutorial(task: contenders.Task, steps: Sequence[int]) -> Baseline:
    """Runs TensorFlow's tutorial."""
    from benchmark import tensorflow_tutorial

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
    value = Objective(preset, task)
    seconds, pictures = zip(*noted, strict=True)
    return Baseline(
        preset,
        tuple(evaluations),
        tuple(prepared + passed for passed in seconds),
        tuple(value(picture) for picture in pictures),
    )


def roads(every: bool) -> dict[str, dict[str, Any]]:
    """Returns {road: its overrides and those of all roads before it}; only the last unless `every`."""
    overrides: dict[str, Any] = {}
    found = {}
    for name, more in ROADS.items():
        overrides = {**overrides, **more}
        found[name] = overrides
    return found if every else {name: overrides}


def seconds_to(baseline: Baseline, overrides: Mapping[str, Any], task: contenders.Task) -> list[float | None]:
    """Returns the seconds until each of the baseline's values; None if that takes more evaluations."""
    side = min(task.content.shape[1:3])
    scales = tuple(
        scale for scale in overrides.get("scales", (1.0,)) if scale == 1 or scale * side >= _SHORTEST_SIDE
    )
    steps = (*(_COARSE_STEPS[scale] for scale in scales[:-1]), baseline.evaluations[-1])
    options = {"precision": "float32", **overrides, "scales": scales, "steps": steps}
    chosen = contenders.formulation(baseline.preset, task, **options)
    return _until(baseline.values, chosen, task, Objective(baseline.preset, task))


def _until(
    values: Sequence[float], chosen: config.Config, task: contenders.Task, value_of: Callable[[Any], float]
) -> list[float | None]:
    """Runs nst_tf until the last of the values, or to its end; returns the seconds until each."""
    reached: list[float | None] = [None] * len(values)
    clock = timing.Stopwatch()
    run = stylizer.Stylizer(task.content, [task.style], chosen, task.weights)
    for scale in run.scales[:-1]:
        run.advance(tf.constant(scale.num_steps))
        run.next_scale()
    for _ in range(0, chosen.scales.steps[-1], _STRIDE):
        run.advance(tf.constant(_STRIDE)).numpy()
        with clock.stopped():
            value = value_of(run.image)
        for index, wanted in enumerate(values):
            if reached[index] is None and value <= wanted:
                reached[index] = clock.seconds()
        if reached[-1] is not None:
            break
    return reached
