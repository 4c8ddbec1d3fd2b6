"""The programs that are measured: nst_tf and the baselines, each as a function that takes one step.

The two objectives are those of the presets gatys_pytorch and tf_tutorial, with a photograph and a painting of
one size. TensorFlow and PyTorch are imported only when a contender's step is made, so that the process of
one does not hold the other.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nst_tf.config import config, presets
from nst_tf.network import weights

Step = Callable[[], object]

# Enough for any benchmark; a run of nst_tf needs a number of steps.
_MANY = 100_000


@dataclasses.dataclass(frozen=True)
class Task:
    """The input of every contender of a row."""

    content: np.ndarray  # [1, H, W, 3] in [0, 1]
    style: np.ndarray  # likewise
    weights: weights.Weights


def formulation(preset: str, task: Task, precision: str, **overrides: Any) -> config.Config:
    """Returns a preset's formulation and optimiser at one scale, the size of the task's pictures."""
    own: dict[str, Any] = {
        "size": max(task.content.shape[1:3]),
        "size_side": "longest",
        "min_scale": 0,
        "scales": (1.0,),
        "steps": (_MANY,),
        "tile": "off",
        "precision": precision,
    }
    return presets.get(preset).replace(**{**own, **overrides})


def _nst_tf(preset: str, precision: str) -> Callable[[Task], Step]:
    def make(task: Task) -> Step:
        from nst_tf.engine import stylizer

        chosen = formulation(preset, task, precision)
        run = stylizer.Stylizer(task.content, [task.style], chosen, task.weights)
        return lambda: run.step().total.numpy()

    return make


def _pytorch(*, bfloat16: bool) -> Callable[[Task], Step]:
    def make(task: Task) -> Step:
        from benchmark import pytorch_gatys

        gatys = pytorch_gatys.Gatys(task.weights.arrays, task.content, task.style, bfloat16=bfloat16)
        return pytorch_gatys.stepper(gatys, pytorch_gatys.to_pixels(task.content))

    return make


def _tutorial(task: Task) -> Step:
    from benchmark import tensorflow_tutorial

    tutorial = tensorflow_tutorial.Tutorial(task.weights.arrays, task.content, task.style)

    def step() -> Any:
        tutorial.step()
        return tutorial.image.numpy()

    return step


# {name: how to make its step}, by objective.
_CONTENDERS: Mapping[str, Mapping[str, Callable[[Task], Step]]] = {
    "gatys_pytorch": {
        "nst_tf float32": _nst_tf("gatys_pytorch", "float32"),
        "nst_tf bfloat16": _nst_tf("gatys_pytorch", "bfloat16"),
        "PyTorch float32": _pytorch(bfloat16=False),
        "PyTorch bfloat16": _pytorch(bfloat16=True),
    },
    "tf_tutorial": {
        "nst_tf float32, tutorial": _nst_tf("tf_tutorial", "float32"),
        "TensorFlow's tutorial": _tutorial,
    },
}

# {(slower, faster): the aim for their ratio on two cores}; None: both do the same work in a step.
AIMS: Mapping[tuple[str, str], float | None] = {
    ("PyTorch float32", "nst_tf float32"): 1.25,
    ("PyTorch float32", "nst_tf bfloat16"): 2.5,
    ("PyTorch bfloat16", "nst_tf bfloat16"): 1.3,
    ("TensorFlow's tutorial", "nst_tf float32, tutorial"): None,
}


def has_pytorch() -> bool:
    """Returns whether PyTorch is installed; it is an extra."""
    return importlib.util.find_spec("torch") is not None


def available(*, bfloat16: bool) -> list[list[str]]:
    """Returns the contenders' names, those of one objective together; PyTorch's only if it is installed.

    Args:
        bfloat16: Whether to include those of that precision.
    """
    left_out = [name for name, wanted in (("bfloat16", bfloat16), ("PyTorch", has_pytorch())) if not wanted]
    return [
        [name for name in row if not any(word in name for word in left_out)] for row in _CONTENDERS.values()
    ]


def named(name: str) -> Callable[[Task], Step]:
    """Returns how to make the step of a contender."""
    return next(row[name] for row in _CONTENDERS.values() if name in row)
