"""What is minimised: targets from the pictures, and the loss with its gradient.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1], content and style image already at the size of the
scale. The pixels' gradient comes from `tf.GradientTape` through the frozen network.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import losses, vgg, weights
from nst_tf.config import Config

Tensor = Any  # TensorFlow ships no type information.

# The published programs measure total variation and learning rates on the scale 0..255.
PIXEL_LEVELS = 255.0


class LossWeights(NamedTuple):
    """What multiplies the terms of the loss, each a float32 scalar."""

    content: Tensor
    style: Tensor
    total_variation: Tensor


class Targets(NamedTuple):
    """What one scale's pictures ask for, and how much; tensors only: it may be an argument of a graph."""

    content: dict[str, Tensor]  # {layer: features [1, h, w, C]}
    styles: tuple[losses.StyleTarget, ...]
    weights: LossWeights


class Objective:
    """The loss of an image against targets, with its gradient.

    Holds the network and the choices, no state: any number of scales and requests may share one.
    """

    def __init__(self, config: Config, vgg_weights: weights.Weights, precision: str) -> None:
        """Builds the network.

        Args:
            config: The formulation.
            vgg_weights: For every convolution that the formulation's layers need.
            precision: The type of the convolutions, "float32" or "bfloat16".
        """
        self._config = config
        self._content_layers, self._style_layers = config.used_layers()
        layers = dict.fromkeys((*self._content_layers, *self._style_layers))
        self._model = vgg.build(list(layers), vgg_weights.arrays, pooling=config.pooling, precision=precision)
        self._preprocess = vgg.PREPROCESSING[vgg_weights.preprocessing]

    @property
    def variables(self) -> list[tf.Variable]:
        """The network's weights."""
        return [variable.value for variable in self._model.variables]

    def targets(
        self,
        content_image: Tensor,
        style_images: Sequence[Tensor],
        weights: LossWeights | None = None,
    ) -> Targets:
        """Returns the targets of a content image and of style images, which share the style equally.

        What has no weight in the config has no targets.

        Args:
            content_image: [1, H, W, 3]; None where the content has no weight.
            style_images: Each [1, h, w, 3].
            weights: Of the terms; None for the config's own.
        """
        styles = style_images if self._style_layers else ()
        content = self._features(content_image) if self._content_layers else {}
        return Targets(
            {layer: content[layer] for layer in self._content_layers},
            tuple(
                losses.StyleTarget(self._gram_means(image), tf.constant(1.0 / len(styles)))
                for image in styles
            ),
            weights or loss_weights(self._config),
        )

    def evaluate(self, image: Tensor, targets: Targets) -> losses.Losses:
        """Returns the weighted losses of an image of the size of the targets' content image."""
        config, weights = self._config, targets.weights
        statistics = self._statistics(image, targets)
        sizes = self._sizes(image, targets)
        # Dividing the features divides what is quadratic and quartic in them.
        content = (weights.content / config.feature_divisor**2) * losses.content_loss(
            statistics.content_error, sizes, config.content_normalization
        )
        layer_weights = dict(zip(config.style_layers, config.style_layer_weights, strict=True))
        style = (weights.style / config.feature_divisor**4) * losses.style_loss(
            statistics.gram_sums, targets.styles, sizes, layer_weights, config.style_normalization
        )
        variation = weights.total_variation * statistics.total_variation
        return losses.Losses(content + style + variation, content, style, variation)

    def value_and_gradient(self, image: Tensor, targets: Targets) -> tuple[losses.Losses, Tensor]:
        """Returns the losses of an image and the gradient of their total, shaped as the image."""
        with tf.GradientTape() as tape:
            tape.watch(image)
            values = self.evaluate(image, targets)
        gradient = tape.gradient(values.total, image)
        return values, tf.ensure_shape(gradient, image.shape)

    def _statistics(self, image: Tensor, targets: Targets) -> losses.Statistics:
        """Returns the image's sums over pixels; a total variation without weight is not computed."""
        config, features = self._config, self._features(image)
        variation = tf.constant(0.0)
        if config.total_variation_weight:
            variation = losses.TOTAL_VARIATION[config.total_variation](PIXEL_LEVELS * image)
        return losses.Statistics(
            {layer: losses.gram_sums(features[layer]) for layer in self._style_layers},
            {
                layer: losses.content_error(features[layer], target)
                for layer, target in targets.content.items()
            },
            variation,
        )

    def _gram_means(self, style_image: Tensor) -> dict[str, Tensor]:
        """Returns {layer: G / M} of a style image, [1, C, C] each."""
        features = self._features(style_image)
        return {
            layer: losses.gram_sums(features[layer]) / _pixels(style_image, layer)
            for layer in self._style_layers
        }

    def _sizes(self, image: Tensor, targets: Targets) -> dict[str, losses.LayerSize]:
        """Returns the size of every layer's features, from the targets' channels and the image's size."""
        channels = {layer: target.shape[-1] for layer, target in targets.content.items()}
        for style in targets.styles:
            channels |= {layer: means.shape[-1] for layer, means in style.gram_means.items()}
        image_pixels = tf.cast(tf.reduce_prod(tf.shape(image)[1:3]), tf.float32)
        return {
            layer: losses.LayerSize(float(count), _pixels(image, layer)[tf.newaxis], image_pixels)
            for layer, count in channels.items()
        }

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        return self._model(self._preprocess(image))


def loss_weights(config: Config) -> LossWeights:
    """Returns the weights of the terms that a config names."""
    return LossWeights(
        tf.constant(config.content_weight, tf.float32),
        tf.constant(config.style_weight, tf.float32),
        tf.constant(config.total_variation_weight, tf.float32),
    )


def _pixels(image: Tensor, layer: str) -> Tensor:
    """Returns M, the number of pixels of the layer's features of the image, as float32."""
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    stride = vgg.stride(layer)
    return tf.cast((height // stride) * (width // stride), tf.float32)
