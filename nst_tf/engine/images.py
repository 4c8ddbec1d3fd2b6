"""Images as tensors: checks, resizing, and the images that a run may start from.

The image convention of this project: `[1, H, W, 3]` float32 sRGB in [0, 1]. Only `pictures.read` makes images
of files, Pillow images and arrays, and only `pictures.write` makes files of images.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.io.decoding import ROUNDING
from nst_tf.tensors import Tensor

# ImageNet's mean colour, which preprocessing maps to zero: `keras.applications.vgg19.preprocess_input`.
_MEAN_COLOR = (123.68 / 255, 116.779 / 255, 103.939 / 255)


def check(picture: Any) -> None:
    """Checks that a picture keeps to the image convention.

    Raises:
        InputError: It has another shape, or values outside [0, 1].
    """
    array = np.asarray(picture)
    if array.ndim != 4 or array.shape[0] != 1 or array.shape[-1] != 3 or 0 in array.shape:
        raise errors.InputError(f"picture: shape {list(array.shape)}; allowed: [1, H, W, 3]")
    # The negated form also catches NaN.
    if not (array.min() >= -ROUNDING and array.max() <= 1 + ROUNDING):
        raise errors.InputError(f"picture: values from {array.min():g} to {array.max():g}; allowed: 0 to 1")


def resize(image: Tensor, height: Any, width: Any) -> Tensor:
    """Returns the image at another size: bicubic, antialiased where it shrinks, clipped to [0, 1].

    An image that already has the size is not resampled, which would change its last bits.
    """
    same = tf.reduce_all(tf.equal(tf.shape(image)[1:3], (height, width)))
    resized = tf.cond(
        same,
        lambda: tf.identity(image),
        lambda: tf.image.resize(image, (height, width), method="bicubic", antialias=True),
    )
    return tf.clip_by_value(resized, 0.0, 1.0)


def high_frequency_residual(image: Tensor, height: Any, width: Any) -> Tensor:
    """Returns the high-frequency residual: the image minus itself shrunk to that size and enlarged again."""
    size = tf.shape(image)
    return image - resize(resize(image, height, width), size[1], size[2])


def content(content_image: Tensor, seed: int, noise_levels: float) -> Tensor:
    """Returns the content image."""
    del seed, noise_levels
    return tf.identity(content_image)


def noise(content_image: Tensor, seed: int, noise_levels: float) -> Tensor:
    """Returns normal noise around the mean colour of photographs, the same for the same seed."""
    normal = tf.random.stateless_normal(tf.shape(content_image), (seed, 0))
    return tf.constant(_MEAN_COLOR) + noise_levels / 255.0 * normal


def gray(content_image: Tensor, seed: int, noise_levels: float) -> Tensor:
    """Returns a canvas of middle grey."""
    del seed, noise_levels
    return tf.fill(tf.shape(content_image), 0.5)


# Images that a run may start from, by name: (content image, seed, noise in levels) -> image of its size.
INITS: Mapping[str, Callable[[Tensor, int, float], Tensor]] = settings.INITS.table(
    content=content, noise=noise, gray=gray
)
