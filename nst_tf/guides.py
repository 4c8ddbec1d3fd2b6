"""Stand-in until the real module is merged."""

from typing import Any

import tensorflow as tf

from nst_tf import vgg

Tensor = Any


def resize(mask, height, width):
    return tf.clip_by_value(tf.image.resize(mask, (height, width), antialias=True), 0.0, 1.0)


def at_layer(mask, layer, erosion):
    stride = vgg.stride(layer)
    return tf.nn.avg_pool2d(mask, stride, stride, "VALID")


def soft_edge(mask, pixels):
    return mask
