"""What a process that paints again and again grows by, and how soon its later pictures begin."""

import gc
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import psutil

import nst_tf
from benchmark import contenders
from nst_tf import sweep
from nst_tf.io import inputs

# {what paints again and again: settings}; "evaluate", "Stylizer" and "sweep" are those of the package.
CASES: Mapping[str, Mapping[str, Any]] = {
    "float32, winograd": {"precision": "float32", "convolution": "winograd"},
    "float32, direct": {"precision": "float32", "convolution": "direct"},
    "bfloat16": {"precision": "bfloat16"},
    "tiles": {"precision": "float32", "tile": "64"},
    "regions": {"precision": "float32"},
    "Stylizer": {"precision": "float32"},
    "evaluate": {},
    "sweep": {"precision": "float32"},
}

# Pictures before the first measurement: the first builds and traces, the second settles the allocator.
_FIRST = 2

_MEGABYTE = 1e6


def measure(task: contenders.Task, source: str, case: str, count: int) -> dict[str, float]:
    """Returns the growth of resident memory in MB over some pictures, and seconds to a first step.

    Args:
        task: The pictures; small ones, since the growth does not depend on their size.
        source: The weights, as `nst_tf.stylize` takes them.
        case: A name from `CASES`.
        count: Pictures after the first two.
    """
    paint = _painter(task, source, case)
    seconds = [paint() for _ in range(_FIRST)]
    before = _resident()
    later = [paint() for _ in range(count)]
    return {
        "growth_mb": (_resident() - before) / _MEGABYTE,
        "resident_mb": before / _MEGABYTE,
        "first_s": seconds[0],
        "later_s": float(np.median(later)),
    }


def _resident() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss)


def _painter(task: contenders.Task, source: str, case: str) -> Callable[[], float]:
    """Returns a function that paints, or evaluates, once and returns the seconds to the first report."""
    content, style = task.content[0], task.style[0]
    options: dict[str, Any] = {**CASES[case], "weights": source}
    small = {"size": max(content.shape[:2]), "scales": (1.0,), "steps": 2}
    sizes = itertools.cycle((1.0, 0.9))  # later runs differ in size

    def evaluated() -> float:
        start = time.perf_counter()
        nst_tf.evaluate(content, content, style, **options)
        return time.perf_counter() - start

    def stylizer() -> float:
        start = time.perf_counter()
        config = nst_tf.get_config("default", **(small | options))
        nst_tf.Stylizer(task.content, [task.style], config).step()
        return time.perf_counter() - start

    def stylized() -> float:
        start, first = time.perf_counter(), []
        sized = small | {"size": round(small["size"] * next(sizes))}
        nst_tf.stylize(
            content,
            style,
            on_progress=lambda _: first.append(time.perf_counter() - start),
            **(_regions(content) if case == "regions" else {}),
            **(sized | options),
        )
        return first[0]

    def swept() -> float:
        start, first = time.perf_counter(), []
        chosen = nst_tf.get_config("default", **(small | options))
        paths = inputs.InputPaths(content=content, styles=[style])
        made = sweep.Sweep([sweep.Cell({}, paths, chosen, (), ())])
        made.paint(0, lambda _: first.append(time.perf_counter() - start))
        return first[0]

    return {"evaluate": evaluated, "Stylizer": stylizer, "sweep": swept}.get(case, stylized)


def _regions(content: np.ndarray) -> dict[str, Any]:
    """Returns two regions, of which the style goes into one."""
    height, width, _ = content.shape
    mask = np.zeros((height, width), np.float32)
    mask[:, : width // 2] = 1
    return {"content_mask": mask}
