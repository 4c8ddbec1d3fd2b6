"""What the pictures of one scale ask for: tensors only, so that it may be an argument of a graph."""

from typing import NamedTuple

import tensorflow as tf

from nst_tf import losses
from nst_tf.config.config import Config
from nst_tf.tensors import Tensor


class LossWeights(NamedTuple):
    """What multiplies the terms of the loss, each a float32 scalar."""

    content: Tensor
    style: Tensor
    total_variation: Tensor


class Masks(NamedTuple):
    """Where the R regions are, each 1 inside and 0 outside; a style picture has them too."""

    content: Tensor  # [1, H, W, R], at the size of the content image
    styles: tuple[Tensor, ...]  # each [1, h, w, R], at the style image's size


class Outside(NamedTuple):
    """What the picture shows where it is not painted."""

    mask: Tensor  # [1, H, W, 1], 1 where it is painted
    photograph: Tensor  # [1, H, W, 3]


class Targets(NamedTuple):
    """What one scale's pictures ask for, and how much; tensors only: it may be an argument of a graph."""

    content: dict[str, Tensor]  # {layer: features [1, h, w, C]}
    styles: losses.StyleTargets
    weights: LossWeights
    guides: dict[str, Tensor]  # {style layer: [1, h, w, R]}; none: one region that is the whole picture
    outside: tuple[Outside, ...]  # none: all of it is painted


def loss_weights(config: Config) -> LossWeights:
    """Returns the weights of the terms that a config names."""
    return LossWeights(
        tf.constant(config.content_weight, tf.float32),
        tf.constant(config.style_weight, tf.float32),
        tf.constant(config.total_variation_weight, tf.float32),
    )


def framed(image: Tensor, outside: Outside) -> Tensor:
    """Returns the image within the photograph that surrounds it, with the mask's soft edge between."""
    return outside.photograph + outside.mask * (image - outside.photograph)
