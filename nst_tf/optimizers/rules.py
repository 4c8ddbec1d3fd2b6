"""Update rules for a picture, as pure functions on state.

An image is `[1, H, W, 3]` float32, loss a float32 scalar, gradient shaped as the image. State is a
NamedTuple of tensors, so that it can be a loop variable, be saved, and continue bit for bit. One
`update` consumes one evaluation of loss and gradient. `init` and `update` never look at anything but
their arguments, and trace with unknown height and width.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config import settings
from nst_tf.optimizers import lbfgs as _lbfgs
from nst_tf.optimizers.preconditioners import PRECONDITIONERS
from nst_tf.tensors import Tensor


class Optimizer(NamedTuple):
    """An update rule."""

    init: Callable[[Tensor], Any]  # image -> state
    update: Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Any]]
    """(image, loss at image, gradient at image, state) -> (next image to evaluate, state)"""
    output: Callable[[Tensor, Any], Tensor]  # (image, state) -> the picture to show
    resize: Callable[[Any, Any, Any], Any]  # (state, height, width) -> state for that size


# The state of the rules below is a count of updates and some pictures of running moments.


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
    carry: bool = False,
) -> Optimizer:
    """Returns Adam (Kingma and Ba, arXiv:1412.6980, end of section 2: epsilon "hat", as in Keras).

    Args:
        learning_rate: In units of the image.
        beta_1: Decay of the mean of the gradient.
        beta_2: Decay of the mean of its square.
        epsilon: In units of the gradient.
        clip: Whether to clip the image to [0, 1] after every update.
        carry: Whether the moments, resized, go on at the next scale. They do not by default: 40 steps after
            a scale of half the size, from moments anew, the loss was about 30 % lower (two picture pairs).
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
        return _clipped(image, clip), AdamState(step, mean, square)

    def anew(state: AdamState, height: Any, width: Any) -> AdamState:
        return init(tf.image.resize(state.mean, (height, width)))

    return Optimizer(init, update, _current_image, _resized if carry else anew)


class MomentumState(NamedTuple):
    """The velocity of the image."""

    step: Tensor  # [] int32, updates done
    rate: Tensor  # [], the learning rate before its decay
    velocity: Tensor  # [1, H, W, 3]


# Root mean square, in units of the image, of the first step where no rate is given: half a level of 255.
_FIRST_STEP = 0.5 / 255


def momentum(
    learning_rate: float,
    *,
    friction: float = 0.9,
    decay_rate: float = 1.0,
    decay_steps: int = 1,
    clip: bool = False,
) -> Optimizer:
    """Returns gradient descent with momentum, as Keras' SGD: v <- friction v - rate g; x <- x + v.

    Polyak 1964, "Some methods of speeding up the convergence of iteration methods".

    Args:
        learning_rate: In units of the image over units of the gradient, a number or a tensor. 0 chooses the
            rate by which the first step changes the image by half a level, since a gradient's size is its
            loss's own affair.
        friction: The share of the velocity that is kept, Keras' `momentum`.
        decay_rate: The rate falls by this factor ...
        decay_steps: ... over so many steps, smoothly, as Keras' `ExponentialDecay`.
        clip: Whether to clip the image to [0, 1] after every update.
    """

    def init(image: Tensor) -> MomentumState:
        return MomentumState(tf.constant(0), tf.cast(learning_rate, tf.float32), tf.zeros_like(image))

    def update(
        image: Tensor, loss: Tensor, gradient: Tensor, state: MomentumState
    ) -> tuple[Tensor, MomentumState]:
        del loss
        chosen = tf.math.divide_no_nan(_FIRST_STEP, tf.sqrt(tf.reduce_mean(tf.square(gradient))))
        rate = tf.where(state.rate > 0, state.rate, chosen)
        decay = tf.pow(decay_rate, tf.cast(state.step, tf.float32) / decay_steps)
        velocity = friction * state.velocity - rate * decay * gradient
        return _clipped(image + velocity, clip), MomentumState(state.step + 1, rate, velocity)

    return Optimizer(init, update, _current_image, _resized)


def sgd(
    learning_rate: float, *, decay_rate: float = 1.0, decay_steps: int = 1, clip: bool = False
) -> Optimizer:
    """Returns plain gradient descent: `momentum` without any."""
    return momentum(learning_rate, friction=0.0, decay_rate=decay_rate, decay_steps=decay_steps, clip=clip)


class RmspropState(NamedTuple):
    """The running mean of the gradient's square."""

    square: Tensor  # [1, H, W, 3]


def rmsprop(
    learning_rate: float, *, rho: float = 0.9, epsilon: float = 1e-7, clip: bool = False
) -> Optimizer:
    """Returns RMSprop (Hinton's lecture 6e), as in Keras: x <- x - rate g / sqrt(square + epsilon).

    Args:
        learning_rate: In units of the image.
        rho: Decay of the mean of the gradient's square.
        epsilon: In units of the gradient's square.
        clip: Whether to clip the image to [0, 1] after every update.
    """

    def update(
        image: Tensor, loss: Tensor, gradient: Tensor, state: RmspropState
    ) -> tuple[Tensor, RmspropState]:
        del loss
        square = rho * state.square + (1 - rho) * tf.square(gradient)
        image = image - learning_rate * gradient / tf.sqrt(square + epsilon)
        return _clipped(image, clip), RmspropState(square)

    return Optimizer(lambda image: RmspropState(tf.zeros_like(image)), update, _current_image, _resized)


def _clipped(image: Tensor, clip: bool) -> Tensor:
    return tf.clip_by_value(image, 0.0, 1.0) if clip else image


def _resized(state: Any, height: Any, width: Any) -> Any:
    """Returns a state whose pictures are resized; numbers stay as they are."""

    def resize(tensor: Tensor) -> Tensor:
        return tf.image.resize(tensor, (height, width)) if tensor.shape.rank == 4 else tensor

    return tf.nest.map_structure(resize, state)


def lbfgs(
    learning_rate: float = 1.0,
    *,
    history: int = 10,
    history_precision: str = "float32",
    preconditioner: str = "none",
    preconditioned_scales: str = "coarsest",
    first_step: float = 0.003,
    longest_step: float = 0.03,
    clip: bool = False,
) -> Optimizer:
    """Returns L-BFGS with a safeguard instead of a line search: one evaluation, one step.

    The direction is that of Nocedal's two-loop recursion with the initial inverse Hessian gamma T T^t,
    gamma somewhat above s.y / y.y, in the compact form of Byrd, Nocedal and Schnabel 1994 (eq. 3.1): two
    passes over the stacked history instead of 2 m small operations. A step is tried at full length; a trial
    that does not lower the loss enough (Armijo) is rejected and made again, shorter, from the last accepted
    image; a history that leads nowhere is dropped. Differs from PyTorch's LBFGS without a line search,
    which takes every step whatever the loss, by that safeguard and by the lengths of steps.

    Args:
        learning_rate: Share of the quasi-Newton step that is tried first.
        history: Pairs remembered, m.
        history_precision: "float32", or "bfloat16" for half the memory.
        preconditioner: A name from `PRECONDITIONERS`.
        preconditioned_scales: "coarsest", where it lays large shapes, or "all". At later ones it moved large
            shapes three times as far, and for the default preset neither lowered nor raised the loss at
            256 px (three picture pairs, within 5 % after 40 evaluations) and raised it by 12 % in a part of
            a 1024 px picture (one pair). For the preset gatys_pytorch, with 100 pairs, it saved a tenth to
            a fifth of the evaluations at 128 px (two pairs).
        first_step: Root mean square, in units of the image, of the first trial, which has no curvature
            to go by. Of 0.01, 0.003 and 0.001 the default was rejected least and got furthest on two
            picture pairs at 256 px.
        longest_step: Root mean square, in units of the image, of the longest trial. Near a saddle, as where
            a painting's finest strokes are still missing, curvature is next to nothing and promises a
            minimum far outside the picture's range; pixels thrown there take many steps to come back. Of
            1, 0.1, 0.05 and 0.03 the last was rejected least, and its final losses were the lowest or within
            1 % of that (three pairs at 256 px; from noise at 128 px, two pairs, without 0.05).
        clip: Whether to keep the image within [0, 1] throughout. The optimiser knows of the bounds, so
            that its pairs stay true; clipping behind its back would break them.
    """
    settings = _lbfgs.Settings(learning_rate, PRECONDITIONERS[preconditioner], first_step, longest_step, clip)

    def update(image: Tensor, loss: Tensor, gradient: Tensor, state: Any) -> tuple[Tensor, Any]:
        return _lbfgs.update(image, loss, gradient, state, settings)

    def resize(state: Any, height: Any, width: Any) -> Any:
        # The curvature at one scale says little about the next: pairs are per pixel of that scale.
        resized = tf.image.resize(state.image, (height, width))
        return init(resized, preconditioned=preconditioned_scales == "all")

    init = functools.partial(_lbfgs.init, history=history, precision=history_precision)
    return Optimizer(init, update, evaluated_image, resize)


def _current_image(image: Tensor, state: Any) -> Tensor:
    del state
    return image


def evaluated_image(image: Tensor, state: Any) -> Tensor:
    """Returns the image in a state that has the loss of one; before there is any, the image to evaluate."""
    # `image` is a trial that has not been evaluated yet, except before the first evaluation.
    # A choice and no `tf.where`, which would be a copy.
    is_first = tf.math.is_inf(state.loss)
    return tf.cond(is_first, lambda: tf.identity(image), lambda: tf.identity(state.image))


# Optimisers by name.
OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = settings.OPTIMIZERS.table(
    lbfgs=lbfgs,
    adam=adam,
    sgd=sgd,
    momentum=momentum,
    rmsprop=rmsprop,
)
