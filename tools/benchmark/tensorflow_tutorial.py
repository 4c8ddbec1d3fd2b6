"""TensorFlow's tutorial "Neural style transfer", as its text describes it: Keras' VGG19, Adam, a tf.function.

Written from the published algorithm: a sub-model of keras.applications.VGG19 with the tutorial's layers, Gram
matrices over pixels, means of squares, the total variation of tf.image, Adam with its rates, and the image
clipped to [0, 1] after every step. The same formulation as nst_tf's preset tf_tutorial.

Images are [1, H, W, 3] float32 sRGB in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_CONTENT_LAYERS = ("block5_conv2",)
_STYLE_LAYERS = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")
_STYLE_WEIGHT, _CONTENT_WEIGHT, _VARIATION_WEIGHT = 1e-2, 1e4, 30.0

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray]]  # {convolution: (kernel [3, 3, in, out], bias [out])}


class Tutorial:
    """The objective of one photograph and one painting, and the step that lowers it."""

    def __init__(self, arrays: Arrays, content: np.ndarray, style: np.ndarray) -> None:
        """Computes the targets and begins with the photograph, [1, H, W, 3] in [0, 1] like the painting."""
        self._model = _extractor(arrays)
        self._content = self._outputs(tf.constant(content))[0]
        self._style = self._outputs(tf.constant(style))[1]
        self._optimizer = keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=1e-1)
        self.image = tf.Variable(content)
        self.step = tf.function(self._step)

    def loss(self, image: Any) -> Any:
        """Returns the loss of an image."""
        content, style = self._outputs(image)
        style_loss = tf.add_n([tf.reduce_mean((a - b) ** 2) for a, b in zip(style, self._style, strict=True)])
        content_loss = tf.add_n(
            [tf.reduce_mean((a - b) ** 2) for a, b in zip(content, self._content, strict=True)]
        )
        weighted = _STYLE_WEIGHT * style_loss / len(_STYLE_LAYERS)
        weighted += _CONTENT_WEIGHT * content_loss / len(_CONTENT_LAYERS)
        return weighted + _VARIATION_WEIGHT * tf.image.total_variation(image)[0]

    def _step(self) -> None:
        with tf.GradientTape() as tape:
            loss = self.loss(self.image)
        gradient = tape.gradient(loss, self.image)
        self._optimizer.apply_gradients([(gradient, self.image)])
        self.image.assign(tf.clip_by_value(self.image, 0.0, 1.0))

    def _outputs(self, image: Any) -> tuple[list[Any], list[Any]]:
        """Returns the content features, and the Gram matrices of the style features."""
        outputs = self._model(keras.applications.vgg19.preprocess_input(image * 255.0))
        return outputs[len(_STYLE_LAYERS) :], [_gram(features) for features in outputs[: len(_STYLE_LAYERS)]]


def run(
    tutorial: Tutorial, steps: Sequence[int], clock: Callable[[], float]
) -> list[tuple[float, np.ndarray]]:
    """Takes steps; returns the seconds so far and the image after each of some numbers, ascending."""
    noted, start = [], clock()
    for step in range(1, steps[-1] + 1):
        tutorial.step()
        if step in steps:
            noted.append((clock() - start, tutorial.image.numpy()))
    return noted


def _extractor(arrays: Arrays) -> keras.Model:
    """Returns the sub-model of Keras' own VGG19 that gives out the style and then the content features."""
    vgg = keras.applications.VGG19(include_top=False, weights=None)
    model = keras.Model(
        vgg.input, [vgg.get_layer(name).output for name in (*_STYLE_LAYERS, *_CONTENT_LAYERS)]
    )
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(arrays[layer.name.replace("block", "conv").replace("_conv", "_")])
    model.trainable = False
    return model


def _gram(features: Any) -> Any:
    """Returns the Gram matrix of features [1, h, w, N] over pixels, [1, N, N]."""
    pixels = tf.cast(tf.reduce_prod(tf.shape(features)[1:3]), tf.float32)
    return tf.einsum("bijc,bijd->bcd", features, features) / pixels
