"""The rows of the benchmark, on one photograph, one painting and one set of weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarking import arithmetic, contenders, in_turn, processes, quality
from nst_tf import images, pictures, presets, scales, vgg, weights

_GIB = 2.0**30

# What the two presets look at.
_LAYERS = ("relu5_2",)


class Bench:
    """The rows; each returns what can be written as JSON."""

    def __init__(self, content: str, style: str, source: str, rounds: int, *, bfloat16: bool) -> None:
        """Reads the pictures and the weights.

        Args:
            content: The photograph's file.
            style: The painting's.
            source: Of the weights, as `weights.load` takes it.
            rounds: How often each is measured.
            bfloat16: Whether to measure bfloat16 too; where it is emulated, it takes ten times as long.

        Raises:
            InputError: One cannot be had.
        """
        self._content, self._style = pictures.read(content, "content"), pictures.read(style, "style")
        self.weights = weights.load(source, vgg.kernel_shapes(_LAYERS))
        self._rounds = rounds
        self._contenders = contenders.available(bfloat16=bfloat16)
        self._precisions = ("float32", "bfloat16") if bfloat16 else ("float32",)

    def steps(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Returns the seconds of a step of every contender, and the ratios that there are aims for."""
        found: dict[str, Any] = {}
        for size in sizes:
            seconds: dict[str, float] = {}
            ratios: dict[str, float] = {}
            task = self._task(size)
            for contending in self._contenders.values():
                times = in_turn.measure({name: make(task) for name, make in contending.items()}, self._rounds)
                seconds |= in_turn.medians(times)
                ratios |= {
                    f"{slow} / {fast}": in_turn.ratio(times, slow, fast)
                    for slow, fast in contenders.AIMS
                    if {slow, fast} <= set(times)
                }
            found[str(size)] = {"seconds": seconds, "ratios": ratios}
        return found

    def arithmetic(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Returns the rates of a step's arithmetic, by size and precision."""
        found = {}
        for size in sizes:
            task = self._task(size)
            found[str(size)] = {
                precision: arithmetic.measure(task, precision, self._rounds) for precision in self._precisions
            }
        return found

    def processes(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Returns start-up and peak memory, by size and contender."""
        found = {}
        for size in sizes:
            task = self._task(size)
            found[str(size)] = {name: _cost(name, task) for row in self._contenders.values() for name in row}
        return found

    def quality(
        self, size: int, evaluations: Sequence[int], steps: Sequence[int], every_road: bool
    ) -> dict[str, Any]:
        """Returns the baselines' values and times, and the seconds until nst_tf has them, by road."""
        task, found = self._task(size), {}
        baselines: list[Any] = [("TensorFlow's tutorial", "tf_tutorial", quality.tutorial, steps)]
        if contenders.has_pytorch():
            baselines.append(("PyTorch's L-BFGS", "gatys_pytorch", quality.pytorch, evaluations))
        for name, preset, run, counts in baselines:
            judge = quality.Judge(preset, task)
            baseline = run(task, judge, counts)
            found[name] = {
                "preset": preset,
                "evaluations": list(baseline.evaluations),
                "values": list(baseline.values),
                "seconds": list(baseline.seconds),
                "roads": {
                    road: quality.seconds_to(baseline, changes, task, judge)
                    for road, changes in quality.roads(every_road).items()
                },
            }
        return found

    def _task(self, size: int) -> contenders.Task:
        """Returns both pictures at a size, the painting as large as the photograph."""
        config = presets.get("default", size=size)
        height, width = scales.plan_scales(config, *self._content.shape[1:3])[-1][:2]
        content, style = (
            np.asarray(images.resize(image, height, width), np.float32)
            for image in (self._content, self._style)
        )
        return contenders.Task(content, style, self.weights)


def _cost(name: str, task: contenders.Task) -> dict[str, float | None]:
    """Returns what a contender's process needs."""
    cost = processes.measure(name, task)
    peak = None if cost.peak_bytes is None else cost.peak_bytes / _GIB
    return {"startup_s": cost.startup_s, "peak_gib": peak}
