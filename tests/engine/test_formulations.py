"""Structures of variables that are read, emptied and assigned."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.engine import formulations
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
