"""Adam on the coefficients of a Laplacian pyramid of the image, instead of on its pixels.

Kolkin and others 2022 (arXiv:2203.13215): large shapes move as fast as fine ones, since every coefficient
moves by about the learning rate. A pyramid is bands from fine to coarse, [1, h, w, 3] each: every band but
the last is what halving a picture loses (Burt and Adelson 1983), the last is the smallest picture.

The conventions are those of `rules`.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.optimizers import rules
from nst_tf.tensors import Tensor

# The longest side, in pixels, of a picture that is not halved again: the smallest of the program's pyramid
# has 2 pixels for a picture of 64 to 512.
_SMALLEST = 3

Bands = tuple[Tensor, ...]


class PyramidState(NamedTuple):
    """The pyramid of the image, and Adam's moments of its gradient."""

    step: Tensor  # [] int32, updates done
    bands: Bands
    mean: Bands
    square: Bands


def decomposed(image: Tensor, levels: int) -> Bands:
    """Returns the pyramid of an image, `levels` bands and the smallest picture.

    A picture of at most `_SMALLEST` pixels a side is not halved: its band is zeros of its own size, so that
    the number of bands does not depend on the image.

    Args:
        image: [1, H, W, 3].
        levels: How often it is halved at most; 1 or more.
    """
    bands = []
    for _ in range(levels):
        size = tf.shape(image)[1:3]
        is_large = tf.reduce_max(size) > _SMALLEST
        half = tf.where(is_large, tf.maximum(size // 2, 1), size)
        smaller = _resized(image, half)
        bands.append(image - _resized(smaller, size))
        image = smaller
    return (*bands, image)


def synthesized(bands: Sequence[Tensor]) -> Tensor:
    """Returns the image of a pyramid; what `decomposed` took apart, but for rounding."""
    *finer, image = bands
    for band in reversed(finer):
        image = band + _resized(image, tf.shape(band)[1:3])
    return image


def gradients(gradient: Tensor, bands: Bands) -> list[Tensor]:
    """Returns the gradient by the bands from that by the image, [1, H, W, 3]: the adjoint of the synthesis.

    That of a band which is not halved is 0: the next one is the same picture, which would move twice.
    """
    with tf.GradientTape() as tape:
        tape.watch(bands)
        image = synthesized(bands)
    found = tape.gradient(image, list(bands), output_gradients=gradient)
    for index, (band, coarser) in enumerate(itertools.pairwise(bands)):
        is_halved = tf.reduce_any(tf.shape(band) != tf.shape(coarser))
        found[index] *= tf.cast(is_halved, tf.float32)
    return found


def adam(
    learning_rate: float,
    levels: int,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> rules.Optimizer:
    """Returns Adam, as `rules.adam`, on the bands of the image.

    Args:
        learning_rate: In units of the image.
        levels: Of the pyramid, as for `decomposed`.
        beta_1: Decay of the mean of the gradient.
        beta_2: Decay of the mean of its square.
        epsilon: In units of the gradient.
    """
    of_band = rules.adam(learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)

    def init(image: Tensor) -> PyramidState:
        bands = decomposed(image, levels)
        return PyramidState(
            tf.constant(0), bands, tuple(map(tf.zeros_like, bands)), tuple(map(tf.zeros_like, bands))
        )

    def update(
        image: Tensor, loss: Tensor, gradient: Tensor, state: PyramidState
    ) -> tuple[Tensor, PyramidState]:
        moved = []
        for own, *held in zip(gradients(gradient, state.bands), *state[1:], strict=True):
            band, mean, square = held
            moved.append(of_band.update(band, loss, own, rules.AdamState(state.step, mean, square)))
        bands = tuple(band for band, _ in moved)
        moments = [own for _, own in moved]
        found = PyramidState(
            state.step + 1,
            bands,
            tuple(own.mean for own in moments),
            tuple(own.square for own in moments),
        )
        return tf.ensure_shape(synthesized(bands), image.shape), found

    def resize(state: PyramidState, height: Any, width: Any) -> PyramidState:
        return init(tf.image.resize(synthesized(state.bands), (height, width)))

    def output(image: Tensor, state: PyramidState) -> Tensor:
        del state
        return image

    return rules.Optimizer(init, update, output, resize)


def _resized(image: Tensor, size: Tensor) -> Tensor:
    """Returns an image at a size (height, width): bilinear, of two by two pixels where it is halved."""
    return tf.image.resize(image, size, method="bilinear")
