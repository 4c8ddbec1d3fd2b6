"""Plans: how many pictures at a time the machines of a cluster paint."""

import pytest

from nst_tf.batch import plan
from nst_tf.config import presets

GB = 1e9


def _node(cpus, memory=64.0, gpus=0):
    return {"CPU": float(cpus), "memory": memory * GB, **({"GPU": float(gpus)} if gpus else {})}


# (machines, GB that a picture takes, actors asked for, pictures): the plan, with GB.
CASES = {
    "two cores": ([_node(2, 16)], 2, 0, 100, (2, 1, 0, 8.0)),
    "little memory": ([_node(8, 7)], 2, 0, 100, (3, 2, 0, 7 / 3)),
    "memory for none": ([_node(8, 1)], 2, 0, 100, (1, 8, 0, 0)),
    "fewer pictures than cores": ([_node(8)], 2, 0, 2, (2, 4, 0, 2)),
    "three machines, one small": ([_node(4), _node(4), _node(4, 5)], 2, 0, 100, (10, 1, 0, 2.5)),
    "a head that only leads": ([_node(0, 8), _node(4)], 2, 0, 100, (4, 1, 0, 16)),
    "so many": ([_node(8)], 2, 2, 100, (2, 4, 0, 2)),
    "more than cores": ([_node(2)], 2, 4, 100, (4, 0.5, 0, 0)),
    "nobody knows how much": ([_node(4)], 0, 0, 100, (4, 1, 0, 16)),
    "GPUs": ([_node(16, 64, 4), _node(8, 64, 1), _node(32)], 2, 0, 100, (5, 4, 1, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan(case):
    nodes, needed, actors, most, (count, cpus, gpus, memory) = CASES[case]
    made = plan.make(nodes, needed * GB, actors, most)
    assert (made.actors, made.cpus, made.gpus) == (count, cpus, gpus)
    assert made.memory == pytest.approx(memory * GB)
    asked = plan.resources(made)
    assert asked["num_cpus"] == cpus
    assert asked.get("num_gpus", 0) == gpus
    # What is asked for is there.
    assert sum(node["CPU"] for node in nodes) >= count * cpus
    assert made.threads() == (0 if gpus else max(1, int(cpus)))


def test_workers_for_machines_that_are_to_join():
    made = plan.make([_node(0), _node(8, 17)], 2 * GB, 40, 1000, grows=True)
    assert (made.actors, made.cpus) == (40, 1)
    assert made.memory == pytest.approx(17 / 8 * GB)


def test_one_at_a_time_on_each_machine():
    nodes = [_node(4), _node(8), _node(0)]
    made = plan.alone(plan.make(nodes, 2 * GB, 0, 100), nodes)
    assert (made.actors, made.cpus, made.memory) == (2, 4, 0)
    assert plan.alone(plan.Plan(1, 1, 0, 0.0, at_once=8), nodes).at_once == 8


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (plan.Plan(2, 1, 0, 2.5 * GB), "2 pictures at a time, with 1 core and 2.5 GB each"),
        (plan.Plan(1, 8, 0, 0.0), "one picture at a time, with 8 cores each"),
        (plan.Plan(2, 4, 1, 0.0), "2 pictures at a time, with a GPU and 4 cores each"),
        (plan.Plan(1, 1, 0, 0.0, at_once=6), "6 pictures at a time"),
    ],
)
def test_what_is_told(made, told):
    assert made.told() == told


def test_a_larger_picture_needs_more_memory():
    small, large = (presets.get("gram", size=size, weights="builtin") for size in (128, 1024))
    assert 0.5 * GB < plan.needed_memory([small]) < plan.needed_memory([large])
    assert plan.needed_memory([small, large]) == plan.needed_memory([large])
