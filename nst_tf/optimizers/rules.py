"""Update rules for an image, as pure functions of a state.

An image is `[1, H, W, 3]` float32, the loss a float32 scalar, the gradient shaped as the image. A state is a
NamedTuple of tensors, so that it can be a loop variable, be saved, and continue a run bit for bit. One
`update` takes one evaluation of loss and gradient. All functions trace with unknown height and width.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config import settings
from nst_tf.optimizers import lbfgs as _lbfgs
from nst_tf.optimizers.preconditioners import PRECONDITIONERS
from nst_tf.tensors import Tensor


def _unchanged(state: Any) -> Any:
    return state


class Optimizer(NamedTuple):
    """An update rule."""

    init: Callable[[Tensor], Any]  # image -> state
    update: Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Any]]
    """(image, loss at image, gradient at image, state) -> (next image to evaluate, state)"""
    output: Callable[[Tensor, Any], Tensor]  # (image, state) -> the picture to show
    resize: Callable[[Any, Any, Any], Any]  # (state, height, width) -> state for that size
    carried: Callable[[Any], Any] = _unchanged
    """state -> the state without what `output` and `resize` do not read, the largest part with L-BFGS"""


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
        carry: Whether the resized moments continue at the next scale. By default they start from zero: the
            loss after 40 steps was about 30 % lower (two picture pairs).
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

    def restarted(state: AdamState, height: Any, width: Any) -> AdamState:
        return init(tf.image.resize(state.mean, (height, width)))

    return Optimizer(init, update, _current_image, _resized if carry else restarted)


class MomentumState(NamedTuple):
    """The velocity of the image."""

    step: Tensor  # [] int32, updates done
    rate: Tensor  # [], the learning rate before its decay
    velocity: Tensor  # [1, H, W, 3]


# Root mean square, in units of the image, of the first step for a learning rate of 0: half a level of 255.
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
            rate with which the first step changes the image by half a level, whatever the loss's scale.
        friction: The share of the velocity that is kept, Keras' `momentum`.
        decay_rate: The factor by which the rate falls over `decay_steps`, smoothly, as Keras'
            `ExponentialDecay`.
        decay_steps: In steps.
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
    """Returns plain gradient descent: `momentum` with a friction of 0."""
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
    """Returns a state with its pictures resized and its numbers unchanged."""

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

    The direction is that of Nocedal's two-loop recursion with the initial inverse Hessian gamma T T^t, gamma
    somewhat above s.y / y.y, in the compact form of Byrd, Nocedal and Schnabel 1994 (eq. 3.1): two passes
    over the stacked history instead of 2 m small operations. The safeguard: a step is tried at full length; a
    trial that does not lower the loss enough (Armijo) is rejected and repeated, shorter, from the last
    accepted image; after several rejections the history is dropped. PyTorch's LBFGS without a line search
    takes every step, whatever the loss.

    Args:
        learning_rate: Share of the quasi-Newton step that is tried first.
        history: Pairs remembered, m.
        history_precision: "float32", or "bfloat16" for half the memory.
        preconditioner: A name from `PRECONDITIONERS`.
        preconditioned_scales: "coarsest", where large shapes form, or "all". At later scales it moves large
            shapes further without lowering the default preset's loss.
        first_step: Root mean square, in units of the image, of the first trial, for which there is no
            curvature. 0.003: fewest rejections of 0.01, 0.003 and 0.001 on two picture pairs.
        longest_step: Root mean square, in units of the image, of the longest trial. Near a saddle point the
            small curvature predicts a minimum far outside [0, 1], from where pixels need many steps to come
            back. 0.03: fewest rejections of 1, 0.1, 0.05 and 0.03 on five picture pairs.
        clip: Whether to keep the image within [0, 1]. The optimiser takes the bounds into account; clipping
            its result instead would falsify its pairs.
    """
    settings = _lbfgs.Settings(learning_rate, PRECONDITIONERS[preconditioner], first_step, longest_step, clip)

    def update(image: Tensor, loss: Tensor, gradient: Tensor, state: Any) -> tuple[Tensor, Any]:
        return _lbfgs.update(image, loss, gradient, state, settings)

    def resize(state: Any, height: Any, width: Any) -> Any:
        # Pairs have the size of their scale, and its curvature differs from the next scale's.
        resized = tf.image.resize(state.image, (height, width))
        return init(resized, preconditioned=preconditioned_scales == "all")

    init = functools.partial(_lbfgs.init, history=history, precision=history_precision)
    return Optimizer(init, update, evaluated_image, resize, _lbfgs.without_pairs)


def _current_image(image: Tensor, state: Any) -> Tensor:
    del state
    return image


def evaluated_image(image: Tensor, state: Any) -> Tensor:
    """Returns the image of the state's loss; before the first evaluation the image to evaluate."""
    # Later `image` is a trial, whose loss is unknown. `tf.where` would copy the image.
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
