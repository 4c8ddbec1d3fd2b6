"""The task that needs no labels: to know a place of a picture again in another view of it."""

from typing import Any

import keras

from nst_tf.config import layers as vgg_layers

# The loss between two views: van den Oord et al. 2018 (arXiv:1807.03748), eq. 4, both ways round as in Chen
# et al. 2020 (arXiv:2002.05709), whose numbers of a place (128) and temperature (0.1) these are.
_NUMBERS = 128
_TEMPERATURE = 0.1

# Places lie this many pixels apart in a crop: a step of the deepest layers.
_PLACE = 16

# Added to a sum of squares, so that a place without features has a gradient.
_EPSILON = 1e-6


class Contrast(keras.layers.Layer):
    """Adds a loss to the model: how badly a layer's features tell the places of a batch apart."""

    def __init__(self, layer: str, weight: float, **options: Any) -> None:
        """Takes the layer whose features this is given, "relu4_2", and the weight of its loss."""
        super().__init__(dtype="float32", **options)
        self._step = max(1, _PLACE // vgg_layers.stride(layer))
        self._weight = weight
        self._project = keras.layers.Dense(_NUMBERS, dtype="float32")
        self._accuracy = keras.metrics.Mean(name=f"{layer}_accuracy")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the projection."""
        self._project.build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Adds the loss of features [B, h, w, C], whose second half of B are second views.

        Returns:
            Zeros, [B, 1]: what Keras' graph of layers takes this one in by.
        """
        ops = keras.ops
        first = self._step // 2
        places = self._project(ops.cast(inputs[:, first :: self._step, first :: self._step], "float32"))
        places = ops.reshape(places, (2, -1, _NUMBERS))
        places = places / ops.sqrt(ops.sum(ops.square(places), axis=-1, keepdims=True) + _EPSILON)
        likeness = ops.matmul(places[0], ops.transpose(places[1])) / _TEMPERATURE
        own = ops.diagonal(likeness)
        self._accuracy.update_state(own >= ops.max(likeness, axis=1))
        both_ways = ops.logsumexp(likeness, axis=0) + ops.logsumexp(likeness, axis=1) - 2 * own
        self.add_loss(self._weight * ops.mean(both_ways) / 2)
        return ops.zeros((ops.shape(inputs)[0], 1))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns [B, 1]."""
        return input_shape[0], 1
