"""TensorFlow and Keras in states of a user's making: the same picture, or one line that names the state."""

import contextlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import errors
from nst_tf.network import prepared
from nst_tf.serving import export
from tests import conftest

CONTENT, STYLE = (conftest.smooth_picture(seed, 32, 40) for seed in (2, 3))
SETTINGS = {**conftest.SHALLOW, "size": 32, "steps": 3, "weights": "builtin", "precision": "float32"}


def _paint():
    return nst_tf.stylize(CONTENT, STYLE, **SETTINGS).image


@pytest.fixture(name="usual", scope="module")
def _usual():
    """The picture of a process without such a state."""
    return _paint()


def _set(setter, value, before):
    """Returns a context in which a global state has another value."""
    context = contextlib.ExitStack()
    setter(value)
    context.callback(setter, before)
    return context


# Each of them gives the same picture, bit for bit.
SAME = {
    "a gradient tape": tf.GradientTape,
    "a device": lambda: tf.device("CPU:0"),
    "a device that is missing": lambda: tf.device("GPU:7"),
    "no soft placement": lambda: _set(tf.config.set_soft_device_placement, False, True),
    "mixed precision of Keras": lambda: _set(
        keras.mixed_precision.set_global_policy, "mixed_float16", "float32"
    ),
    "half floats of Keras": lambda: _set(keras.config.set_floatx, "float16", "float32"),
    "double floats of Keras": lambda: _set(keras.config.set_floatx, "float64", "float32"),
    "channels first": lambda: _set(keras.config.set_image_data_format, "channels_first", "channels_last"),
    "errors of NumPy": lambda: np.errstate(all="raise"),
    "a seed": lambda: _set(tf.random.set_seed, 3, 0),
}

# Each of them is refused in a line with these words.
REFUSED = {
    "checks of numbers": (
        lambda: _set(
            lambda on: (tf.debugging.enable_check_numerics if on else tf.debugging.disable_check_numerics)(),
            True,
            False,
        ),
        "it stops at infinite numbers",
    ),
    "a graph of version 1": (lambda: tf.Graph().as_default(), "eager execution is off"),
    "a strategy": (lambda: tf.distribute.MirroredStrategy(["CPU:0"]).scope(), "a tf.distribute strategy"),
    "an unknown device": (lambda: tf.device("/job:worker/task:7/CPU:0"), "paint outside of that tf.device"),
    "a scope that computes anew": (
        lambda: keras.RematScope(mode="full"),
        "a run inside a keras.RematScope; call it outside",
    ),
    "an init scope": (tf.init_scope, "inside a tf.init_scope"),
    "a graph optimiser": (
        lambda: _set(
            lambda on: tf.config.optimizer.set_experimental_options({"auto_mixed_precision": on}), True, False
        ),
        "types of its own (auto_mixed_precision)",
    ),
}


@pytest.mark.parametrize(
    "state", [pytest.param(name, marks=pytest.mark.slow if "tape" in name else ()) for name in SAME]
)
def test_a_state_changes_no_picture(state, usual):
    with SAME[state]():
        np.testing.assert_array_equal(_paint(), usual)


@pytest.mark.skipif(not prepared.is_available(), reason="TensorFlow has no such convolutions here")
def test_a_tape_changes_no_picture_of_prepared_convolutions():
    deep = {**SETTINGS, "content_layers": ("relu4_2",), "precision": "bfloat16", "convolution": "prepared"}
    with tf.GradientTape():
        made = nst_tf.stylize(CONTENT, STYLE, **deep).image
    np.testing.assert_array_equal(made, nst_tf.stylize(CONTENT, STYLE, **deep).image)


def test_functions_that_run_eagerly_change_no_more_than_rounding(usual):
    with _set(tf.config.run_functions_eagerly, True, False):
        np.testing.assert_allclose(_paint(), usual, atol=1e-5)


@pytest.mark.parametrize("state", REFUSED)
def test_a_state_in_which_no_run_works_is_named(state, usual):
    enter, message = REFUSED[state]
    with enter(), pytest.raises(errors.InputError, match=r"^(TensorFlow|Keras): ") as caught:
        _paint()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(_paint(), usual)


def test_a_run_inside_a_function_is_named():
    with pytest.raises(errors.InputError, match=r"a run inside a tf\.function; call it outside of one"):
        tf.function(_paint, autograph=False)()


@pytest.mark.parametrize("way", ["evaluate", "export", "Stylizer"])
def test_every_way_in_names_the_state(way, tmp_path):
    def go():
        if way == "export":
            return export.export(nst_tf.get_config("gram", **SETTINGS), tmp_path / "model")
        if way == "evaluate":
            return nst_tf.evaluate(CONTENT, CONTENT, CONTENT, **SETTINGS)
        images = [picture[np.newaxis] for picture in (CONTENT, STYLE)]
        return nst_tf.Stylizer(images[0], images[1:], nst_tf.get_config("gram", **SETTINGS))

    with tf.Graph().as_default(), pytest.raises(errors.InputError, match="eager execution is off"):
        go()


# States that a process cannot leave again; what each prints.
FOR_EVER = {
    "tf.experimental.numpy.experimental_enable_numpy_behavior()": "the same",
    "tf.experimental.numpy.experimental_enable_numpy_behavior(dtype_conversion_mode='all')": (
        "TensorFlow: it converts types by itself"
    ),
    "tf.compat.v1.disable_v2_tensorshape()": "TensorFlow: shapes are those of version 1",
    "tf.compat.v1.disable_eager_execution()": "TensorFlow: eager execution is off",
}
CODE = """
import sys
import numpy as np
import tensorflow as tf
from tests import test_states
exec(sys.argv[1])
try:
    print("the same" if (test_states._paint() == np.load(sys.argv[2])).all() else "another")
except test_states.errors.InputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", FOR_EVER)
def test_a_state_that_lasts(state, usual, tmp_path):
    np.save(tmp_path / "usual.npy", usual)
    finished = subprocess.run(
        [sys.executable, "-c", CODE, state, str(tmp_path / "usual.npy")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(conftest.ROOT)},
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(FOR_EVER[state])
    assert len(finished.stdout.splitlines()) == 1
