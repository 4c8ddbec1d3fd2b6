"""What is minimised: targets from the pictures, and the loss with its gradient.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1], content and style image already at the size of the
scale. The pixels' gradient comes from `tf.GradientTape` through the frozen network.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import losses, network, vgg, weights
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

    def __init__(self, config: Config, vgg_weights: weights.Weights, precision: str, tile: int = 0) -> None:
        """Builds the network.

        Args:
            config: The formulation.
            vgg_weights: For every convolution that the formulation's layers need.
            precision: The type of the convolutions, "float32" or "bfloat16".
            tile: Pixels of the side of the windows in which the network looks at pictures, beside their halo;
                0 for whole pictures.
        """
        self._config = config
        self._content_layers, self._style_layers = config.used_layers()
        layers = list(dict.fromkeys((*self._content_layers, *self._style_layers)))
        self._network = network.Network(layers, vgg_weights, config.pooling, precision, tile)

    @property
    def variables(self) -> list[tf.Variable]:
        """The network's weights."""
        return self._network.variables

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
        layers = self._content_layers
        return Targets(
            self._network.maps(content_image, layers) if layers else {},
            tuple(
                losses.StyleTarget(self._gram_means(image), tf.constant(1.0 / len(styles)))
                for image in styles
            ),
            weights or loss_weights(self._config),
        )

    def evaluate(self, image: Tensor, targets: Targets) -> losses.Losses:
        """Returns the weighted losses of an image of the size of the targets' content image."""
        statistics = self._network.sums(
            image, self._statistics(targets.content), self._zeros(targets.content)
        )
        return self._losses(statistics, self._variation(image), image, targets)

    def value_and_gradient(self, image: Tensor, targets: Targets) -> tuple[losses.Losses, Tensor]:
        """Returns the losses of an image and the gradient of their total, shaped as the image."""
        with tf.GradientTape() as tape:
            tape.watch(image)
            variation = self._variation(image)
            weighted = targets.weights.total_variation * variation
        values, gradient = self._network.value_and_gradient(
            image,
            self._statistics(targets.content),
            lambda statistics: self._losses(statistics, variation, image, targets),
            self._zeros(targets.content),
        )
        # The total variation needs no network, so that its gradient comes beside.
        if self._config.total_variation_weight:
            gradient += tape.gradient(weighted, image)
        return values, gradient

    def _losses(
        self, statistics: losses.Statistics, variation: Tensor, image: Tensor, targets: Targets
    ) -> losses.Losses:
        """Returns the weighted losses of the image's sums over pixels."""
        config, weights = self._config, targets.weights
        sizes = self._sizes(image, targets)
        # Dividing the features divides what is quadratic and quartic in them.
        content = (weights.content / config.feature_divisor**2) * losses.content_loss(
            statistics.content_error, sizes, config.content_normalization
        )
        layer_weights = dict(zip(config.style_layers, config.style_layer_weights, strict=True))
        style = (weights.style / config.feature_divisor**4) * losses.style_loss(
            statistics.gram_sums, targets.styles, sizes, layer_weights, config.style_normalization
        )
        weighted = weights.total_variation * variation
        return losses.Losses(content + style + weighted, content, style, weighted)

    def _variation(self, image: Tensor) -> Tensor:
        """Returns the image's total variation; without weight it is not computed."""
        config = self._config
        if not config.total_variation_weight:
            return tf.constant(0.0)
        return losses.TOTAL_VARIATION[config.total_variation](PIXEL_LEVELS * image)

    def _statistics(self, content: dict[str, Tensor]) -> network.Statistics:
        """Returns what is summed over pixels: Gram matrices, and the distance to the content's features."""

        def statistics(features: network.Maps, part: network.Part) -> losses.Statistics:
            return losses.Statistics(
                {layer: losses.gram_sums(features[layer]) for layer in self._style_layers},
                {
                    layer: losses.content_error(features[layer], part(layer, target))
                    for layer, target in content.items()
                },
            )

        return statistics

    def _zeros(self, content: dict[str, Tensor]) -> losses.Statistics:
        """Returns the sums over no pixels."""
        channels = {layer: self._network.channels(layer) for layer in self._style_layers}
        return losses.Statistics(
            {layer: tf.zeros([1, count, count]) for layer, count in channels.items()},
            {layer: tf.constant(0.0) for layer in content},
        )

    def _gram_means(self, style_image: Tensor) -> dict[str, Tensor]:
        """Returns {layer: G / M} of a style image, [1, C, C] each."""
        sums = self._network.sums(style_image, self._statistics({}), self._zeros({})).gram_sums
        return {layer: total / _pixels(style_image, layer) for layer, total in sums.items()}

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
