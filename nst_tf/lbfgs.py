"""L-BFGS with a safeguard instead of a line search, for a picture.

Images are `[1, H, W, 3]` float32, the state a NamedTuple of tensors; see `optimizers` for the contract.
With a preconditioner T, a symmetric linear map on images, the pairs live in the space z, image = T z. Whether
it acts the state says, scale by scale.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import graphs, stacks

Tensor = Any  # TensorFlow ships no type information.
Filter = Callable[[Tensor], Tensor]

# An accepted step must lower the loss by at least this share of what the slope promises: the constant
# of the sufficient-decrease rule in Nocedal and Wright, "Numerical Optimization", section 3.1.
_SUFFICIENT_DECREASE = 1e-4

# A rejected step is shortened to the minimum of the parabola through what is known, kept within these
# shares of its length (Nocedal and Wright, section 3.5: neither hardly shorter nor next to nothing).
_SHORTEST_CUT, _LONGEST_CUT = 0.1, 0.5

# Below this share of its full length a step says that the history misleads: it is dropped.
_GIVE_UP_LENGTH = 1e-3

# After a step along which the loss falls faster than its slope says, which leaves no pair to learn from, the
# next one goes this much further: a saddle is left in a few steps. Doubling is the usual trust region's rule
# (Nocedal and Wright, algorithm 4.1).
_LENGTHENING = 2.0

# A pair (s, y) is kept if s.y > this * |s| |y|: float32 sums over 1e6 pixels are good to about 1e-6.
_CURVATURE = 1e-6

# Keeps a division by the size of a vanished gradient finite.
_TINY = 1e-30


class State(NamedTuple):
    """The last accepted image and what is known about the loss around it; m is the history.

    The pairs are a ring buffer: the step s = z_k+1 - z_k of pair k is in row k mod m, the change of
    gradient y = T (g_k+1 - g_k) in row m + k mod m. That is 2 m + 2 pictures in all.
    """

    preconditioned: Tensor  # [] int32, 1 where the preconditioner acts, else 0
    image: Tensor  # [1, H, W, 3], the last accepted one
    loss: Tensor  # [], there; infinite before the first evaluation
    gradient: Tensor  # [1, H, W, 3], there
    step_length: Tensor  # [], share of the quasi-Newton step that the trial goes
    count: Tensor  # [] int32, pairs kept since the history was last dropped
    pairs: Tensor  # [2 m, H, W, 3], float32 or bfloat16
    products: Tensor  # [2 m, 2 m], inner products of the pairs with each other


class Preconditioner(NamedTuple):
    """A symmetric linear map on images with its inverse."""

    apply: Filter  # T
    invert: Filter  # T^-1


def frequency_filter(image: Tensor, exponent: float) -> Tensor:
    """Returns `image` [B, H, W, C] filtered by f^exponent: symmetric, positive, of the same size.

    f counts in cycles per longer side of the picture; f = 0 is treated as f = 1.
    """
    return tf.ensure_shape(_frequency_filter(image, exponent), image.shape)


@graphs.apart(reduce_retracing=True)
def _frequency_filter(image: Tensor, exponent: float) -> Tensor:
    """Returns what `frequency_filter` does, of a size that the graph does not know."""
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    rows, columns = _frequencies(height, height), _frequencies(width, width // 2 + 1)
    side = tf.cast(tf.maximum(height, width), tf.float32)
    frequency = side * tf.sqrt(tf.square(rows)[:, tf.newaxis] + tf.square(columns))
    gain = tf.cast(tf.pow(tf.maximum(frequency, 1.0), exponent), tf.complex64)
    spectrum = tf.signal.rfft2d(tf.transpose(image, [0, 3, 1, 2])) * gain
    filtered = tf.signal.irfft2d(spectrum, fft_length=[height, width])
    return tf.reshape(tf.transpose(filtered, [0, 2, 3, 1]), tf.shape(image))


def _frequencies(size: Tensor, count: Tensor) -> Tensor:
    """Returns the absolute frequency, in cycles per pixel, of the first `count` of `size` FFT terms."""
    index = tf.range(count)
    return tf.cast(tf.minimum(index, size - index), tf.float32) / tf.cast(size, tf.float32)


# Preconditioners by name. The filter lets large shapes move first, whose gradients a network spreads thin.
PRECONDITIONERS: Mapping[str, Preconditioner] = {
    "none": Preconditioner(tf.identity, tf.identity),
    "inverse_sqrt_frequency": Preconditioner(
        functools.partial(frequency_filter, exponent=-0.5), functools.partial(frequency_filter, exponent=0.5)
    ),
}


class Settings(NamedTuple):
    """What stays the same over a run; `optimizers.lbfgs` explains it."""

    learning_rate: float
    preconditioner: Preconditioner
    first_step: float
    longest_step: float
    clip: bool


def init(image: Tensor, history: int, *, precision: str = "float32", preconditioned: bool = True) -> State:
    """Returns the state before the first evaluation, which is to be that of `image`; pairs in a precision."""
    zeros = tf.zeros_like(image)
    return State(
        preconditioned=tf.constant(int(preconditioned)),
        image=image,
        loss=tf.constant(float("inf")),
        gradient=zeros,
        step_length=tf.constant(1.0),
        count=tf.constant(0),
        pairs=tf.tile(tf.cast(zeros, precision), [2 * history, 1, 1, 1]),
        products=tf.zeros([2 * history, 2 * history]),
    )


def update(
    image: Tensor, loss: Tensor, gradient: Tensor, state: State, settings: Settings
) -> tuple[Tensor, State]:
    """Returns the next image to evaluate and the state, from one evaluation."""
    slope = tf.minimum(_dot(state.gradient, image - state.image), 0.0)
    state = tf.cond(
        _acceptable(image, loss, gradient, state.loss + _SUFFICIENT_DECREASE * slope),
        lambda: _accept(image, loss, gradient, state, settings),
        lambda: _reject(loss, slope, state, settings),
    )
    direction = _direction(state, settings)
    longest = settings.longest_step / (_root_mean_square(direction) + _TINY)
    state = state._replace(step_length=tf.minimum(state.step_length, longest))
    trial = state.image + state.step_length * direction
    return tf.clip_by_value(trial, 0.0, 1.0) if settings.clip else trial, state


def _acceptable(image: Tensor, loss: Tensor, gradient: Tensor, bound: Tensor) -> Tensor:
    """Returns whether the trial, its loss and its gradient are finite and the loss is at most `bound`.

    A finite loss does not say that the image is: in a graph TensorFlow's ReLU makes zeros of NaN.
    """
    finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.reduce_sum(image) + tf.reduce_sum(gradient))
    return finite & (loss <= bound)


def _accept(image: Tensor, loss: Tensor, gradient: Tensor, state: State, settings: Settings) -> State:
    """Returns the state that has moved to the trial and remembers its pair, if that has curvature."""
    step = _filtered(settings.preconditioner.invert, image - state.image, state)
    change = _filtered(settings.preconditioner.apply, gradient - state.gradient, state)
    # As they will be remembered: products of other numbers would not be those of the pairs.
    step, change = (tf.cast(each, state.pairs.dtype) for each in (step, change))
    is_first = tf.math.is_inf(state.loss)  # and there is no gradient to differ from
    own = stacks.inner_products([step, change], [step, change])
    keep = (own[0, 1] > _CURVATURE * tf.sqrt(own[0, 0] * own[1, 1])) & ~is_first
    pairs, products = tf.cond(
        keep, lambda: _remember(step, change, state), lambda: (state.pairs, state.products)
    )
    own_length = tf.constant(float(settings.learning_rate))
    return State(
        preconditioned=state.preconditioned,
        image=image,
        loss=loss,
        gradient=gradient,
        step_length=tf.where(keep | is_first, own_length, _LENGTHENING * state.step_length),
        count=state.count + tf.cast(keep, tf.int32),
        pairs=pairs,
        products=products,
    )


def _remember(step: Tensor, change: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """Returns pairs and products with a pair in the place of the oldest."""
    half = tf.shape(state.pairs)[0] // 2
    slot = state.count % half
    rows = tf.stack([slot, half + slot])
    pairs = stacks.replace(stacks.replace(state.pairs, rows[0], step), rows[1], change)
    with_new = tf.cast(stacks.inner_products([pairs], [step, change]), tf.float32)
    products = _replace_row_and_column(state.products, rows[0], with_new[:, 0])
    return pairs, _replace_row_and_column(products, rows[1], with_new[:, 1])


def _reject(loss: Tensor, slope: Tensor, state: State, settings: Settings) -> State:
    """Returns the state that tries a shorter step from the last accepted image, or drops the history."""
    parabola = tf.math.divide_no_nan(-0.5 * slope, loss - state.loss - slope)
    share = tf.where(tf.math.is_finite(loss), parabola, _SHORTEST_CUT)
    shorter = state.step_length * tf.clip_by_value(share, _SHORTEST_CUT, _LONGEST_CUT)
    drop = (shorter < _GIVE_UP_LENGTH * settings.learning_rate) & (state.count > 0)
    return state._replace(
        step_length=tf.where(drop, float(settings.learning_rate), shorter),
        count=tf.where(drop, 0, state.count),
    )


def _direction(state: State, settings: Settings) -> Tensor:
    """Returns the quasi-Newton step, an image; of the first step's length where there are no pairs.

    Pixels at a bound whose gradient points out of it stay there, and tell the others nothing: the
    two-metric projection of Bertsekas 1982 ("Projected Newton methods ...", SIAM J. Control Optim. 20).
    """

    def move(image: Tensor) -> Tensor:
        return image * tf.cast(_free(state), tf.float32) if settings.clip else image

    def precondition(image: Tensor) -> Tensor:
        return _filtered(settings.preconditioner.apply, image, state)

    gradient = precondition(move(state.gradient))

    def first_gain() -> Tensor:
        return settings.first_step / (_root_mean_square(precondition(gradient)) + _TINY)

    step = precondition(_inverse_hessian_product(state, gradient, first_gain))
    # Which pixels move is found out anew, when all else is done: a picture less to keep meanwhile.
    with tf.control_dependencies([step]):
        return -move(step)


def _filtered(function: Filter, image: Tensor, state: State) -> Tensor:
    """Returns the image as the preconditioner's function makes it, or as it is where none acts."""
    return tf.cond(state.preconditioned > 0, lambda: function(image), lambda: tf.identity(image))


def _free(state: State) -> Tensor:
    """Returns whether a pixel can follow its negative gradient within [0, 1]."""
    held = ((state.image <= 0) & (state.gradient > 0)) | ((state.image >= 1) & (state.gradient < 0))
    return ~held


def _inverse_hessian_product(state: State, gradient: Tensor, first_gain: Callable[[], Tensor]) -> Tensor:
    """Returns H g for the state's pairs and a gradient in their space; first_gain() g without pairs."""
    half = state.products.shape[0] // 2
    # Oldest pair first; where the ring is not full the empty rows come first and are masked.
    order = (state.count + tf.range(half)) % half
    valid = tf.cast(tf.range(half) >= half - state.count, tf.float64)
    both, mask = tf.concat([order, half + order], axis=0), tf.concat([valid, valid], axis=0)
    products = tf.gather(tf.gather(tf.cast(state.products, tf.float64), both), both, axis=1)
    products *= mask * mask[:, tf.newaxis]
    with_gradient = tf.gather(stacks.inner_products([state.pairs], [gradient])[:, 0], both) * mask
    gamma = tf.cond(
        state.count > 0,
        lambda: tf.math.divide_no_nan(products[half - 1, -1], products[-1, -1]),
        lambda: tf.cast(first_gain(), tf.float64),
    )
    coefficients = _compact(products, with_gradient, gamma, 1 - valid)
    coefficients = tf.cast(tf.gather(coefficients, tf.math.invert_permutation(both)), tf.float32)
    return tf.cast(gamma, tf.float32) * gradient + stacks.combination(coefficients, state.pairs)


def _compact(products: Tensor, with_gradient: Tensor, gamma: Tensor, empty: Tensor) -> Tensor:
    """Returns the coefficients [2 m] of the pairs in H g - gamma g, oldest pair first.

    Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices and their use in limited
    memory methods" (1994), eq. 3.1, with R the upper triangle of S^t Y and D its diagonal:
    u = R^-1 S^t g;  H g = gamma g + S R^-t ((D + gamma Y^t Y) u - gamma Y^t g) - gamma Y u.

    Args:
        products: [2 m, 2 m] float64, inner products of [S, Y]; zero where there is no pair.
        with_gradient: [2 m] float64, inner products of [S, Y] with g.
        gamma: [] float64.
        empty: [m] float64, 1 where there is no pair; keeps R invertible.
    """
    half = products.shape[0] // 2
    s_y, y_y = products[:half, half:], products[half:, half:]
    triangle = tf.linalg.band_part(s_y, 0, -1) + tf.linalg.diag(empty)
    s_g, y_g = with_gradient[:half, tf.newaxis], with_gradient[half:, tf.newaxis]
    u = tf.linalg.triangular_solve(triangle, s_g, lower=False)
    inner = tf.linalg.diag_part(s_y)[:, tf.newaxis] * u + gamma * (tf.matmul(y_y, u) - y_g)
    for_steps = tf.linalg.triangular_solve(triangle, inner, lower=False, adjoint=True)
    return tf.concat([for_steps, -gamma * u], axis=0)[:, 0]


def _replace_row_and_column(matrix: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Returns the symmetric `matrix` with `values` in the row and the column `index`."""
    chosen = tf.range(tf.shape(matrix)[0]) == index
    matrix = tf.where(chosen[:, tf.newaxis], values, matrix)
    return tf.where(chosen, values[:, tf.newaxis], matrix)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return tf.reduce_sum(a * b)


def _root_mean_square(image: Tensor) -> Tensor:
    return tf.sqrt(tf.reduce_mean(tf.square(image)))
