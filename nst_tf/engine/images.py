"""Images as tensors: checks, resizing, and the images that a run may start from.

The image convention of this project: `[1, H, W, 3]` float32 sRGB in [0, 1]. Only `pictures.read` makes images
of files, Pillow images and arrays, and only `pictures.write` makes files of images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.io.decoding import ROUNDING
from nst_tf.tensors import Tensor

# ImageNet's mean colour, which preprocessing maps to zero: `keras.applications.vgg19.preprocess_input`.
_MEAN_COLOR = (123.68 / 255, 116.779 / 255, 103.939 / 255)

# Of an image that is computed by rows: temporary tensors of so many pixels take some megabytes.
_PIXELS_AT_ONCE = 2**18


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


def by_rows(
    function: Callable[..., Tensor], given: Sequence[Tensor], channels: int, around: int = 0
) -> Tensor:
    """Returns a function's image, [1, H, W, channels], computed over some rows at a time to save memory.

    Args:
        function: (rows of each image) -> [1, n, W, channels].
        given: The images, [1, H + 2 * around, any, any] each.
        channels: Of the result.
        around: Rows that the function wants above and below those that it returns.
    """
    height = tf.shape(given[0])[1] - 2 * around
    count = tf.maximum(1, _PIXELS_AT_ONCE // tf.shape(given[0])[2])
    num_parts = -(-height // count)

    def step(index: Tensor, found: Any) -> tuple[Tensor, Any]:
        rows = [each[:, index * count : (index + 1) * count + 2 * around] for each in given]
        return index + 1, found.write(index, function(*rows)[0])

    parts = tf.TensorArray(
        tf.float32, size=num_parts, infer_shape=False, element_shape=[None, None, channels]
    )
    _, parts = tf.while_loop(
        lambda index, _: index < num_parts, step, (tf.constant(0), parts), parallel_iterations=1
    )
    return tf.reshape(parts.concat(), [1, height, -1, channels])


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
