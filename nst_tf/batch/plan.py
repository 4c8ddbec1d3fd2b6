"""How many pictures a cluster paints at a time: by the memory that one takes, and by cores and GPUs."""

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from nst_tf import errors
from nst_tf.config.config import Config

if typing.TYPE_CHECKING:
    from nst_tf.engine import memory

# The photograph that memory is planned for, a square of 12 megapixels: cameras' usual size, and the shape
# with the most pixels for its longest side.
_PHOTOGRAPH = (3464, 3464)

# By how much more than estimated a worker's memory is planned with. 1.3 is what lets it keep the memory that
# it frees (`memory._KEPT_RESERVE`); that takes 1.1 times as much where TensorFlow uses oneDNN.
_RESERVE = 1.3 * 1.1


@dataclasses.dataclass(frozen=True)
class Plan:
    """The workers of a batch."""

    actors: int
    cpus: float  # of each
    gpus: int  # of each
    memory: float  # bytes that each may take; 0 where a worker plans for the machine it is on
    at_once: int = 1  # pictures that each has at a time, which are painted elsewhere

    def threads(self) -> int:
        """Returns how many threads an operation of TensorFlow's has; 0 for as many as it likes."""
        return 0 if self.gpus else max(1, int(self.cpus))

    def told(self) -> str:
        """Returns the plan for a person."""
        count = self.actors * self.at_once
        at_once = f"{count} pictures at a time" if count > 1 else "one picture at a time"
        if self.at_once > 1:
            return at_once
        share = f"{self.cpus:g} core{'s' * (self.cpus != 1)}"
        if self.gpus:
            share = f"a GPU and {share}"
        return f"{at_once}, with {share}{f' and {self.memory / 1e9:.1f} GB' if self.memory else ''} each"


def needed_memory(configs: Sequence[Config], inputs: "memory.Inputs | None" = None) -> float:
    """Returns about how many bytes a worker takes for the largest picture of some runs; loads TensorFlow.

    Args:
        configs: Of the runs.
        inputs: The sizes of their pictures; None where nobody knows them.
    """
    from nst_tf import runtime
    from nst_tf.engine import memory

    found, inputs = [], inputs or memory.Inputs(_PHOTOGRAPH, [_PHOTOGRAPH])
    for config in configs:
        precision = runtime.resolve_precision(config.network.precision)
        try:
            found.append(memory.peak(config, precision, inputs))
        except errors.InputError:  # too small for its layers, which its own pictures may not be
            continue
    return _RESERVE * max(found, default=0.0)


def make(
    nodes: Sequence[Mapping[str, float]], needed: float, actors: int, most: int, grows: bool = False
) -> Plan:
    """Returns the plan for the machines of a cluster.

    Args:
        nodes: What each has: "CPU", "GPU", and "memory" in bytes.
        needed: The bytes that a picture takes.
        actors: Pictures at a time in the whole cluster; 0 for as many as fit.
        most: Pictures in all.
        grows: Whether machines may join, which then take workers that fit on none yet.
    """
    if actors and grows:
        on_these = make(nodes, needed, 0, max(most, len(nodes)))
        return dataclasses.replace(on_these, actors=min(actors, most))
    if gpus := int(sum(node.get("GPU", 0) for node in nodes)):
        of_each = [node["CPU"] / node["GPU"] for node in nodes if node.get("GPU")]
        return Plan(min(actors or gpus, most), max(1, int(min(of_each))), 1, 0.0)
    able = [node for node in nodes if node.get("CPU", 0) >= 1]
    if actors:
        return _of_so_many(able, needed, min(actors, most))
    counts = [_fitting(node, needed) for node in able]
    if not any(counts):  # each machine by itself finds tiles that fit
        cpus = min((int(node["CPU"]) for node in able), default=1)
        return Plan(min(max(1, len(able)), most), cpus, 0, 0.0)
    if sum(counts) > most:
        return _of_so_many(able, needed, most)
    cpus = min(int(node["CPU"]) // count for node, count in zip(able, counts, strict=True) if count)
    share = min(node["memory"] / count for node, count in zip(able, counts, strict=True) if count)
    return Plan(sum(counts), cpus, 0, share)


def _of_so_many(nodes: Sequence[Mapping[str, float]], needed: float, actors: int) -> Plan:
    """Returns the plan for a number of pictures at a time, which share the cores."""
    cores = sum(node["CPU"] for node in nodes)
    fits = sum(_fitting(node, needed) for node in nodes) >= actors
    cpus = cores / actors if actors > cores else int(cores / actors)
    return Plan(actors, cpus, 0, needed if fits else 0.0)


def _fitting(node: Mapping[str, float], needed: float) -> int:
    """Returns how many pictures a machine has memory and cores for at a time."""
    by_memory = node.get("memory", 0.0) // needed if needed else math.inf
    return int(min(node["CPU"], by_memory))


def alone(plan: Plan, nodes: Sequence[Mapping[str, float]]) -> Plan:
    """Returns the plan with one picture at a time on each machine, which then has all of it."""
    if plan.at_once > 1:
        return plan
    able = [node for node in nodes if node.get("CPU", 0) >= plan.cpus and node.get("GPU", 0) >= plan.gpus]
    cpus = min((node["CPU"] for node in able), default=plan.cpus)
    gpus = int(min(node.get("GPU", 0) for node in able)) if plan.gpus and able else plan.gpus
    return Plan(max(1, len(able)), cpus, gpus, 0.0)


def resources(plan: Plan) -> dict[str, Any]:
    """Returns what Ray keeps free for a worker: it puts no more of them on a machine than fit."""
    asked: dict[str, Any] = {"num_cpus": plan.cpus}
    if plan.gpus:
        asked["num_gpus"] = plan.gpus
    if plan.memory:
        asked["memory"] = int(plan.memory)
    return asked
