"""The rows of the benchmark, on one photograph, one painting and one set of weights.

Each contender has a process of its own; nst_tf's are prepared as its command prepares them.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmark import arithmetic, contenders, device, growth, plans, processes, quality, report, timing
from nst_tf import errors, runtime
from nst_tf.config import layers as vgg_layers
from nst_tf.config import presets, scales
from nst_tf.engine import images, memory
from nst_tf.network import weights

# Longest side in pixels of pictures whose painting is repeated.
_GROWTH_SIZE = 96

# load: the smallest size that the benchmark takes, and the pairs of L-BFGS that an export may have.
_SMALLEST_SIZE, _HISTORY = 32, 10

_GIB = 2.0**30

# The deepest layer that the two presets use.
_LAYERS = ("relu5_2",)


class Bench:
    """The rows; each returns what can be written as JSON."""

    def __init__(
        self, content: np.ndarray, style: np.ndarray, source: str, rounds: int, *, bfloat16: bool
    ) -> None:
        """Reads the weights.

        Args:
            content: The photograph, [1, H, W, 3] in [0, 1].
            style: The painting, likewise.
            source: Of the weights, as `weights.load` takes it.
            rounds: How often each is measured.
            bfloat16: Whether to measure bfloat16 too; emulated, it takes ten times as long.

        Raises:
            InputError: The weights cannot be had, or are of a network with fewer filters than VGG19.
        """
        self._content, self._style, self._source = content, style, source
        self.weights = _of_vgg19(source)
        self._rounds = rounds
        self._contenders = contenders.available(bfloat16=bfloat16)
        self._precisions = ("float32", "bfloat16") if bfloat16 else ("float32",)

    def steps(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Returns the seconds of a step of every contender, and the ratios in `contenders.AIMS`."""
        found: dict[str, Any] = {}
        for size, task in self._tasks("steps", sizes, max(map(len, self._contenders))):
            seconds: dict[str, float] = {}
            ratios: dict[str, float] = {}
            for contending in self._contenders:
                times = self._in_turn(contending, task)
                seconds |= timing.medians(times)
                ratios |= {
                    f"{slow} / {fast}": timing.ratio(times, slow, fast)
                    for slow, fast in contenders.AIMS
                    if {slow, fast} <= set(times)
                }
            found[str(size)] = {"seconds": seconds, "ratios": ratios}
        return found

    def arithmetic(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Returns the rates of a step's arithmetic, by size and precision."""
        found = {}
        for size, task in self._tasks("arithmetic", sizes):
            found[str(size)] = {
                precision: processes.call(
                    arithmetic.measure, task, precision, self._rounds, prepare=_preparation(task)
                )
                for precision in self._precisions
            }
        return found

    def processes(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Returns start-up and peak memory, by size and contender."""
        found = {}
        for size, task in self._tasks("processes", sizes):
            found[str(size)] = {name: _cost(name, task) for row in self._contenders for name in row}
        return found

    def growth(self, count: int) -> dict[str, Any]:
        """Returns what a process grows by over so many pictures of `_GROWTH_SIZE`, by case."""
        task = self._task(_GROWTH_SIZE)
        return {
            case: processes.call(growth.measure, task, self._source, case, count, prepare=_preparation(task))
            for case in growth.CASES
            if case in self._precisions or case != "bfloat16"
        }

    def plans(self, content: str, style: str, cases: Sequence[plans.Case]) -> list[dict[str, Any]]:
        """Returns what was planned and what was taken, by run; prints each as soon as it is measured.

        Args:
            content: The photograph, as the command takes it.
            style: The painting.
            cases: The runs.
        """
        found = []
        for each in plans.measure(content, style, self._source, cases):
            print(report.plan(each), flush=True)
            found.append(each)
        return found

    def device(self, sizes: Sequence[int], count: int) -> dict[str, Any]:
        """Returns what `device.measure` found, by size; memory grows alike at all sizes."""
        prepare = (runtime.use_onednn, runtime.take_gpu_memory_as_needed)
        return {
            str(size): processes.call(
                device.measure, self._task(size), self._source, size, count, prepare=prepare
            )
            for size in sizes
        }

    def load(
        self, size: int, steps: int, clients: Sequence[int], pictures: int, count: int
    ) -> dict[str, Any]:
        """Returns what a server with the exported preset `default` does under load, as `load.measure` does.

        Args:
            size: Longest side in pixels.
            steps: Of a request, over all scales.
            clients: Numbers of clients, ascending.
            pictures: Of each number of clients in each of the rounds.
            count: Requests over which memory may grow.

        Raises:
            InputError: What serving needs is not installed, or so many clients do not fit into memory.
        """
        try:
            from benchmark import load
        except ImportError as error:
            raise errors.InputError(f"{error}; pip install -e '.[benchmark,local_server]'") from None
        task = self._task(size)
        # A process takes its own memory once, a request's for each client.
        own = _needed(self._task(_SMALLEST_SIZE))
        needed = own + clients[-1] * (_needed(task) - own)
        allowed = memory.allowed(presets.DEFAULT)
        errors.require(
            needed <= allowed,
            "clients",
            clients[-1],
            f"as many as fit into {allowed / 1e9:.0f} GB; {clients[-1]} would take about {needed / 1e9:.0f}",
        )
        chosen = presets.get(
            "default", size=size, steps=steps, precision=self._precisions[-1], history=_HISTORY
        )
        plan = load.Plan(clients, pictures, self._rounds, count)
        return {
            "size": size,
            "steps": steps,
            "precision": self._precisions[-1],
            **load.measure(task, chosen, plan),
        }

    def film(
        self, names: Sequence[str], size: int, num_frames: int, stills: int, strip: str | None
    ) -> dict[str, Any]:
        """Returns what `film.measure` does, by preset; the arguments are those of its plan.

        Raises:
            InputError: What films need is not installed, or a preset is unknown.
        """
        try:
            from benchmark import film
        except ImportError as error:
            raise errors.InputError(f"{error}; pip install -e '.[benchmark,video]'") from None
        for name in names:
            presets.get(name)
        prepare = _preparation(self._task(size))
        return {
            name: processes.call(
                film.measure,
                self._style,
                self._source,
                film.Plan(name, size, num_frames, stills, strip),
                prepare=prepare,
            )
            for name in names
        }

    def quality(
        self, size: int, evaluations: Sequence[int], steps: Sequence[int], every_road: bool
    ) -> dict[str, Any]:
        """Returns the baselines' values and times, and the seconds until nst_tf reaches them, by road.

        Args:
            size: Longest side in pixels.
            evaluations: Of the PyTorch baseline; empty: without it.
            steps: Of TensorFlow's tutorial, likewise.
            every_road: Whether to take every one of `quality.ROADS`, not the last alone.
        """
        task, found = self._task(size), {}
        baselines: list[Any] = [("TensorFlow's tutorial", "tf_tutorial", quality.tutorial, steps)]
        if contenders.has_pytorch():
            baselines.append(("PyTorch's L-BFGS", "gatys_pytorch", quality.pytorch, evaluations))
        for name, preset, run, counts in baselines:
            if not counts:
                continue
            baseline = processes.call(run, task, counts)
            found[name] = {
                "preset": preset,
                "evaluations": list(baseline.evaluations),
                "values": list(baseline.values),
                "seconds": list(baseline.seconds),
                "roads": {
                    road: processes.call(
                        quality.seconds_to, baseline, overrides, task, prepare=_preparation(task)
                    )
                    for road, overrides in quality.roads(every_road).items()
                },
            }
        return found

    def _in_turn(self, names: Iterable[str], task: contenders.Task) -> timing.Times:
        """Returns the seconds of steps of some contenders, all of them running."""
        with contextlib.ExitStack() as stack:
            steps = {
                name: stack.enter_context(processes.running(name, task, _of_contender(name, task))).step
                for name in names
            }
            return timing.measure(steps, self._rounds)

    def _tasks(
        self, row: str, sizes: Iterable[int], at_once: int = 1
    ) -> Iterator[tuple[int, contenders.Task]]:
        """Yields each size at which `at_once` contenders fit into memory, and their input.

        Raises:
            InputError: No size does.
        """
        fits = False
        for size in sizes:
            task = self._task(size)
            needed = at_once * _needed(task)
            if needed <= memory.allowed(presets.DEFAULT):
                fits = True
                yield size, task
            else:
                print(f"{row} at {size} pixels: left out, would take about {needed / 1e9:.0f} GB of memory")
        if not fits:
            raise errors.InputError(
                f"sizes: {','.join(map(str, sizes))} do not fit into memory; allowed: smaller ones"
            )

    def _task(self, size: int) -> contenders.Task:
        """Returns both pictures at a size, the painting as large as the photograph."""
        config = presets.get("default", size=size)
        height, width = scales.plan_scales(config, *self._content.shape[1:3])[-1][:2]
        content, style = (
            np.asarray(images.resize(image, height, width), np.float32)
            for image in (self._content, self._style)
        )
        return contenders.Task(content, style, self.weights)


def _of_vgg19(source: str) -> weights.Weights:
    """Returns weights of all of VGG19's filters, which the baselines need.

    If "auto" cannot get ImageNet's they are random: a step takes the same time with any weights.
    """
    shapes = vgg_layers.kernel_shapes(_LAYERS)
    loaded = weights.load(source, shapes)
    if all(loaded.arrays[name][0].shape == shape for name, shape in shapes.items()):
        return loaded
    allowed = "imagenet, random, or a file of VGG19's weights"
    if source != "auto":
        raise errors.InputError(f"weights: {source} has fewer filters than VGG19; allowed: {allowed}")
    print(
        f"weights: the {loaded.name} ones have fewer filters than the baselines; random filters instead."
        f" Their quality is not that of trained ones; allowed: {allowed}"
    )
    return weights.load("random", shapes)


def _cost(name: str, task: contenders.Task) -> dict[str, float | None]:
    """Returns the start-up time and the peak memory of a contender's process."""
    with processes.running(name, task, _of_contender(name, task)) as contender:
        contender.step()  # the first step allocates the network's memory, this one the optimiser's
        peak = contender.peak_bytes()
        return {"startup_s": contender.startup_s, "peak_gib": None if peak is None else peak / _GIB}


def _needed(task: contenders.Task) -> float:
    """Returns about how many bytes nst_tf needs; the others are assumed to need no more."""
    chosen, shape = contenders.formulation("gatys_pytorch", task, "float32"), task.content.shape[1:3]
    return memory.peak(chosen, "float32", memory.Inputs(shape, [task.style.shape[1:3]]))


def _of_contender(name: str, task: contenders.Task) -> processes.Preparation:
    """Returns the calls that a contender's process begins with."""
    return _preparation(task) if name.startswith("nst_tf") else ()


def _preparation(task: contenders.Task) -> processes.Preparation:
    """Returns the calls that a process of nst_tf begins with, as its command does.

    Freed memory is kept if enough is available now for the larger of the two precisions.
    """
    chosen = contenders.formulation("gatys_pytorch", task, "float32")
    keeps = memory.can_be_kept(
        chosen, "float32", memory.Inputs(task.content.shape[1:3], [task.style.shape[1:3]])
    )
    return (runtime.use_onednn, *((runtime.keep_freed_memory,) if keeps else ()))
