"""Update rules for a picture, as pure functions on state.

An image is `[1, H, W, 3]` float32, loss a float32 scalar, gradient shaped as the image. State is a
NamedTuple of tensors, so that it can be a loop variable, be saved, and continue bit for bit. One
`update` consumes one evaluation of loss and gradient. `init` and `update` never look at anything but
their arguments, and trace with unknown height and width.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import lbfgs as _lbfgs

Tensor = Any  # TensorFlow ships no type information.


class Optimizer(NamedTuple):
    """An update rule."""

    init: Callable[[Tensor], Any]  # image -> state
    update: Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Any]]
    """(image, loss at image, gradient at image, state) -> (next image to evaluate, state)"""
    output: Callable[[Tensor, Any], Tensor]  # (image, state) -> the picture to show
    resize: Callable[[Any, Any, Any], Any]  # (state, height, width) -> state for that size


class AdamState(NamedTuple):
    """Running moments of the gradient."""

    step: Tensor  # [] int32, updates done
    mean: Tensor  # [1, H, W, 3]
    square: Tensor  # [1, H, W, 3]


def adam(
    learning_rate: float,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    clip: bool = False,
) -> Optimizer:
    """Returns Adam (Kingma and Ba, arXiv:1412.6980, end of section 2: epsilon "hat", as in Keras).

    Args:
        learning_rate: In units of the image.
        beta_1: Decay of the mean of the gradient.
        beta_2: Decay of the mean of its square.
        epsilon: In units of the gradient.
        clip: Whether to clip the image to [0, 1] after every update.
    """

    def init(image: Tensor) -> AdamState:
        return AdamState(tf.constant(0), tf.zeros_like(image), tf.zeros_like(image))

    def update(image: Tensor, loss: Tensor, gradient: Tensor, state: AdamState) -> tuple[Tensor, AdamState]:
        del loss
        step = state.step + 1
        time = tf.cast(step, tf.float32)
        mean = state.mean + (gradient - state.mean) * (1 - beta_1)
        square = state.square + (tf.square(gradient) - state.square) * (1 - beta_2)
        rate = learning_rate * tf.sqrt(1 - tf.pow(beta_2, time)) / (1 - tf.pow(beta_1, time))
        image = image - rate * mean / (tf.sqrt(square) + epsilon)
        image = tf.clip_by_value(image, 0.0, 1.0) if clip else image
        return image, AdamState(step, mean, square)

    def resize(state: AdamState, height: Any, width: Any) -> AdamState:
        mean, square = (tf.image.resize(m, (height, width)) for m in (state.mean, state.square))
        return AdamState(state.step, mean, square)

    return Optimizer(init, update, _current_image, resize)


def lbfgs(
    learning_rate: float = 1.0,
    *,
    history: int = 10,
    preconditioner: str = "none",
    first_step: float = 0.003,
    clip: bool = False,
) -> Optimizer:
    """Returns L-BFGS with a safeguard instead of a line search: one evaluation, one step.

    The direction is that of Nocedal's two-loop recursion with the initial inverse Hessian gamma T T^t,
    gamma = s.y / y.y, in the compact form of Byrd, Nocedal and Schnabel 1994 (eq. 3.1): two passes over
    the stacked history instead of 2 m small operations. A step is tried at full length; a trial that
    does not lower the loss enough (Armijo) is rejected and made again, shorter, from the last accepted
    image; a history that leads nowhere is dropped. Differs from PyTorch's LBFGS without a line search,
    which takes every step whatever the loss, by that safeguard and by the length of the first step.

    Args:
        learning_rate: Share of the quasi-Newton step that is tried first.
        history: Pairs remembered, m.
        preconditioner: A name from `lbfgs.PRECONDITIONERS`.
        first_step: Root mean square, in units of the image, of the first trial, which has no curvature
            to go by. Of 0.01, 0.003 and 0.001 the default was rejected least and got furthest on two
            picture pairs at 256 px.
        clip: Whether to keep the image within [0, 1] throughout. The optimiser knows of the bounds, so
            that its pairs stay true; clipping behind its back would break them.
    """
    settings = _lbfgs.Settings(learning_rate, _lbfgs.PRECONDITIONERS[preconditioner], first_step, clip)

    def update(image: Tensor, loss: Tensor, gradient: Tensor, state: Any) -> tuple[Tensor, Any]:
        return _lbfgs.update(image, loss, gradient, state, settings)

    def resize(state: Any, height: Any, width: Any) -> Any:
        # The curvature at one scale says little about the next: pairs are per pixel of that scale.
        return _lbfgs.init(tf.image.resize(state.image, (height, width)), history)

    return Optimizer(lambda image: _lbfgs.init(image, history), update, _accepted_image, resize)


def _current_image(image: Tensor, state: Any) -> Tensor:
    del state
    return image


def _accepted_image(image: Tensor, state: Any) -> Tensor:
    # `image` is a trial that has not been evaluated yet, except before the first evaluation.
    return tf.where(tf.math.is_inf(state.loss), image, state.image)


# Optimisers by name.
OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {"lbfgs": lbfgs, "adam": adam}
