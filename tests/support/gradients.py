"""Values with their gradients, as the tests of every way of convolution compare them."""

import keras
import numpy as np
import tensorflow as tf

from nst_tf.config import presets
from nst_tf.losses import objective
from tests import conftest


def of_layer(layer, features):
    """Returns what a built layer makes of features, the gradient of a loss of it, and the graph.

    The loss is not linear in what comes out, so that a wrong upstream gradient would show.
    """
    model = keras.Sequential([keras.Input((None, None, features.shape[-1])), layer])

    @tf.function(autograph=False)
    def value_and_gradient(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            result = model(features)
            loss = tf.reduce_sum(tf.sin(result))
        return result, tape.gradient(loss, features)

    return *value_and_gradient(features), value_and_gradient.get_concrete_function(features).graph


def of_objective(weights, tile, **changes):
    """Returns the losses and the gradient of gatys_pytorch, with changes, in float32 of small pictures."""
    pictures = [tf.constant(conftest.smooth_picture(seed)[np.newaxis]) for seed in (1, 2, 3)]
    judge = objective.Objective(presets.get("gatys_pytorch", **changes), weights, "float32", tile)

    @tf.function(autograph=False)
    def value_and_gradient(image, content, style):
        return judge.value_and_gradient(image, judge.targets(content, [style]))

    losses, gradient = value_and_gradient(*pictures)
    return np.array(losses), gradient.numpy()
