"""Measures nst_tf beside a plain PyTorch program and TensorFlow's tutorial, in one run and in turn.

Leave the machine to it: other work slows PyTorch, whose threads wait for each other, more than the rest.

pip install -e '.[benchmark]'                     # PyTorch, for its baseline
python tools/benchmark/benchmark.py --json=benchmark.json
python tools/benchmark/benchmark.py --quick       # under three minutes; sizes too small to compare by

Rows: steps (seconds of a step of the same objective), quality (seconds until an objective is as low as a
baseline's), arithmetic (floating-point operations against a large matrix product's), processes (start-up and
peak memory, each in a process of its own), growth (memory of a process that paints again and again), plans
(what the memory plan predicts and what runs take; an hour), device (for a machine with an accelerator: memory
against its plan, growth, resuming, a step), load (a served model asked by several clients at a time; needs
the extra local_server too), film (flicker, style and time of frames held to those before; needs the extra
video too); the last four on request only.
tools/benchmark/README.md has results.
"""

import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags

from nst_tf import errors, runtime
from nst_tf.config import presets, settings
from nst_tf.io import pictures

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the folder of the tools
import tool_flags

from benchmark import plans

_FLAGS = flags.FLAGS
ROWS = ("steps", "arithmetic", "processes", "quality", "growth", "plans", "device", "load", "film")
_ON_REQUEST = ("plans", "device", "load", "film")
flags.DEFINE_multi_enum(
    "rows", [row for row in ROWS if row not in _ON_REQUEST], ROWS, "what to measure; may be repeated"
)
flags.DEFINE_list("sizes", ["128", "256", "512", "1024", "2048"], "longest sides in pixels; not of quality")
flags.DEFINE_integer("rounds", 5, "how often each is measured, in turn", lower_bound=1)
flags.DEFINE_integer("quality_size", 256, "quality: longest side in pixels", lower_bound=32)
flags.DEFINE_integer("pictures", 100, "growth, device: pictures after the first two", lower_bound=1)
flags.DEFINE_list("plan_sizes", ["512", "1024", "2048", "4096", "8192"], "plans: longest sides in pixels")
flags.DEFINE_list("device_sizes", ["512", "1024"], "device: longest sides in pixels")
flags.DEFINE_list("plan_presets", list(plans.PRESETS), "plans: presets")
flags.DEFINE_list("limits", ["4GiB", "8GiB", "16GiB"], "plans: limits, as nst_tf's --max_memory")
flags.DEFINE_list("clients", ["1", "4", "16"], "load: numbers of clients; ratios are to the first")
flags.DEFINE_integer("load_size", 256, "load: longest side in pixels", lower_bound=32)
flags.DEFINE_integer("load_steps", 12, "load: steps of a request, over all scales", lower_bound=1)
flags.DEFINE_integer("load_pictures", 16, "load: by each number of clients in a round", lower_bound=1)
flags.DEFINE_integer(
    "load_sequence", 200, "load: requests, one after another, over which memory may grow", lower_bound=10
)
flags.DEFINE_list("film_presets", ["default", "gram"], "film: presets")
flags.DEFINE_integer("film_size", 160, "film: longest side in pixels", lower_bound=64)
flags.DEFINE_integer("film_frames", 5, "film: frames", lower_bound=3)
flags.DEFINE_integer("film_stills", 3, "film: the last so many are painted one by one too", lower_bound=2)
flags.DEFINE_string("film_strip", None, "film: a picture of these for the last preset, held above one by one")
flags.DEFINE_list("evaluations", ["150", "300", "500"], "quality: of PyTorch, ascending; empty: without it")
flags.DEFINE_list("tutorial_steps", ["300", "1000"], "quality: of the tutorial, likewise")
flags.DEFINE_bool("every_road", False, "quality: what each change of the optimiser brings, not all at once")
flags.DEFINE_bool("quick", False, "small sizes and few steps: whether it works, in under three minutes")
flags.DEFINE_string("content", "sample:town", "the photograph")
flags.DEFINE_string("style", "sample:strokes", "the painting")
flags.DEFINE_string("weights", None, "VGG19's weights, as nst_tf takes them, and where it does")
flags.DEFINE_bool("bfloat16", None, "measure it too [if the machine has instructions for it]")
flags.DEFINE_string("json", None, "a file to write the results to")

# An empty one leaves its baseline out.
_OF_QUALITY = ("evaluations", "tutorial_steps")

_QUICK: Mapping[str, Any] = {
    "sizes": ["64"],
    "rounds": 3,
    "quality_size": 96,
    "pictures": 3,
    "plan_sizes": ["64"],
    "limits": ["4GiB"],
    "device_sizes": ["64"],
    "clients": ["1", "2"],
    "load_size": 64,
    "load_steps": 4,
    "load_pictures": 4,
    "load_sequence": 10,
    "film_presets": ["draft"],
    "film_size": 64,
    "film_frames": 3,
    "film_stills": 2,
    "evaluations": ["5", "15"],
    "tutorial_steps": ["10", "30"],
}


def main(argv: Sequence[str]) -> int:
    """Measures, prints a table for each row, and writes all of it as JSON."""
    del argv
    # TensorFlow warns of every new graph, and each contender has its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        if _FLAGS.quick:
            for name, value in _QUICK.items():
                if not _FLAGS[name].present:
                    setattr(_FLAGS, name, value)
        found = _measure()
    except errors.InputError as error:
        tool_flags.fail(str(error))
    if _FLAGS.json:
        try:
            pathlib.Path(_FLAGS.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            tool_flags.fail(f"json: {errors.one_line(error)}")
        print(f"\n{_FLAGS.json}: all of it as JSON")
    return 0


def _measure() -> dict[str, Any]:
    """Returns the results by row; prints each as soon as it is measured."""
    sizes, clients = _numbers("sizes", lowest=32), _numbers("clients")
    evaluations, steps = (_numbers(name) if _FLAGS[name].value else [] for name in _OF_QUALITY)
    if _FLAGS.json:
        pictures.check_file(pathlib.Path(_FLAGS.json), True, "json")
    if _FLAGS.film_strip:
        pictures.check_output(_FLAGS.film_strip, True, "film_strip")
    most = _FLAGS.film_frames
    errors.require(_FLAGS.film_stills <= most, "film_stills", _FLAGS.film_stills, f"2 to {most}, the frames")
    for limit in _FLAGS.limits:
        settings.to_bytes(limit)
    # Before TensorFlow is loaded, so that mistakes are reported at once.
    content, style = (pictures.read(_FLAGS[name].value, name) for name in ("content", "style"))
    with runtime.quiet():
        runtime.use_tensorflow_backend()
        from benchmark import contenders, measuring, report
    machine, source = _machine(), _FLAGS.weights or presets.get("default").network.weights
    bfloat16 = machine["bfloat16 instructions"] if _FLAGS.bfloat16 is None else _FLAGS.bfloat16
    bench = measuring.Bench(content, style, source, _FLAGS.rounds, bfloat16=bfloat16)
    if not contenders.has_pytorch():
        print("PyTorch is not here: nothing is measured against it; pip install -e '.[benchmark]' brings it")
    found: dict[str, Any] = {"machine": machine, "weights": bench.weights.name, "rounds": _FLAGS.rounds}
    measures: dict[str, Callable[[], Any]] = {
        "steps": lambda: bench.steps(sizes),
        "arithmetic": lambda: bench.arithmetic(sizes),
        "processes": lambda: bench.processes(sizes),
        "growth": lambda: bench.growth(_FLAGS.pictures),
        "plans": lambda: bench.plans(
            _FLAGS.content,
            _FLAGS.style,
            plans.cases(_plan_presets(), _numbers("plan_sizes", lowest=32), _FLAGS.limits),
        ),
        "device": lambda: bench.device(_numbers("device_sizes", lowest=32), _FLAGS.pictures),
        "load": lambda: bench.load(
            _FLAGS.load_size, _FLAGS.load_steps, clients, _FLAGS.load_pictures, _FLAGS.load_sequence
        ),
        "film": lambda: bench.film(
            _FLAGS.film_presets, _FLAGS.film_size, _FLAGS.film_frames, _FLAGS.film_stills, _FLAGS.film_strip
        ),
        "quality": lambda: bench.quality(_FLAGS.quality_size, evaluations, steps, _FLAGS.every_road),
    }
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    for row in [name for name in ROWS if name in _FLAGS.rows]:
        found[row] = measures[row]()
        print(f"\n{getattr(report, row)(found[row])}", flush=True)
    return found


def _numbers(flag: str, lowest: int = 1) -> list[int]:
    """Returns the whole numbers that a flag lists.

    Raises:
        InputError: One is no whole number or too small, or they do not ascend.
    """
    texts = _FLAGS[flag].value
    good = bool(texts) and all(text.isdecimal() and int(text) >= lowest for text in texts)
    numbers = [int(text) for text in texts] if good else []
    errors.require(
        good and numbers == sorted(set(numbers)),
        flag,
        ",".join(texts) or "none",
        f"whole numbers from {lowest}, ascending",
    )
    return numbers


def _plan_presets() -> list[str]:
    """Returns the presets of the row `plans`.

    Raises:
        InputError: One is none of them.
    """
    for name in _FLAGS.plan_presets:
        if name not in plans.PRESETS:
            raise errors.unknown_name("plan_presets", name, plans.PRESETS)
    found: list[str] = _FLAGS.plan_presets
    return found


def _machine() -> dict[str, Any]:
    """Returns the properties of the machine that results depend on."""
    packages = {}
    for name in ("tensorflow", "keras", "torch"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "none"
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "bfloat16 instructions": runtime.resolve_precision("auto") == "bfloat16",
        "python": platform.python_version(),
        **packages,
    }


if __name__ == "__main__":
    sys.exit(app.run(main, flags_parser=tool_flags.parse))
