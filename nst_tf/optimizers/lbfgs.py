"""L-BFGS with a safeguard instead of a line search, for an image.

Images are `[1, H, W, 3]` float32, the state a NamedTuple of tensors; `rules` has the contract. With a
preconditioner T, a symmetric linear map on images, the pairs are in the space z, where image = T z. The state
says whether it is applied at the current scale.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.optimizers.preconditioners import Filter, Preconditioner
from nst_tf.tensors import Tensor

# The decrease of the loss that an accepted step needs, as a share of the linear prediction: the constant of
# the sufficient-decrease rule in Nocedal and Wright, "Numerical Optimization", section 3.1.
_SUFFICIENT_DECREASE = 1e-4

# A rejected step is shortened to the minimum of the interpolating parabola, within these shares of its length
# (Nocedal and Wright, section 3.5).
_SHORTEST_CUT, _LONGEST_CUT = 0.1, 0.5

# The history is dropped when rejections have shortened a step below this share of its full length.
_GIVE_UP_LENGTH = 1e-3

# The next step is longer by this factor after a step without positive curvature, which gives no pair, to
# leave a saddle point in a few steps. The usual factor of trust regions (Nocedal and Wright, algorithm 4.1).
_LENGTHENING = 2.0

# A pair (s, y) is kept if s.y > this * |s| |y|: float32 sums over 1e6 pixels are accurate to about 1e-6.
_CURVATURE = 1e-6

# The position of gamma between Barzilai and Borwein's step lengths s.y / y.y (0) and s.s / s.y (1):
# "Two-point step size gradient methods", IMA J. Numer. Anal. 8 (1988). 0.2: losses 1 to 8 % lower after 150
# evaluations than with 0, the usual choice (two picture pairs).
_GAIN_POSITION = 0.2

# Keeps a division by the size of a zero gradient finite.
_TINY = 1e-30


class State(NamedTuple):
    """The last accepted image, with its loss and gradient, and the history of m pairs.

    The pairs are a ring buffer: the step s = z_k+1 - z_k of pair k is in row 2 (k mod m), the change of
    gradient y = T (g_k+1 - g_k) in the row after it. Rows that are not filled yet come last, and are not
    read. The state has 2 m + 2 pictures.
    """

    preconditioned: Tensor  # [] int32, 1 if the preconditioner is applied, else 0
    image: Tensor  # [1, H, W, 3], the last accepted one
    loss: Tensor  # [], of that image; infinite before the first evaluation
    gradient: Tensor  # [1, H, W, 3], at that image
    step_length: Tensor  # [], length of the trial as a share of the quasi-Newton step
    count: Tensor  # [] int32, pairs kept since the history was last dropped
    pairs: Tensor  # [2 m, H, W, 3], float32 or bfloat16
    products: Tensor  # [2 m, 2 m], inner products of the rows of pairs with each other


class Settings(NamedTuple):
    """The options that stay the same over a run; `rules.lbfgs` explains them."""

    learning_rate: float
    preconditioner: Preconditioner
    first_step: float
    longest_step: float
    clip: bool


def init(image: Tensor, history: int, *, precision: str = "float32", preconditioned: bool = True) -> State:
    """Returns the state before the evaluation of `image`, the first; `precision` is the type of the pairs."""
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


def without_pairs(state: State) -> State:
    """Returns the state with pairs of no rows of pixels."""
    return state._replace(pairs=state.pairs[:, :0])


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
    direction, products = _direction(state, settings)
    longest = settings.longest_step / (_root_mean_square(direction) + _TINY)
    state = state._replace(step_length=tf.minimum(state.step_length, longest), products=products)
    trial = state.image + state.step_length * direction
    return tf.clip_by_value(trial, 0.0, 1.0) if settings.clip else trial, state


def _acceptable(image: Tensor, loss: Tensor, gradient: Tensor, bound: Tensor) -> Tensor:
    """Returns whether the trial, its loss and its gradient are finite and the loss is at most `bound`.

    An image of NaN may have a finite loss: in a graph TensorFlow's ReLU turns NaN into zeros.
    """
    finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.reduce_sum(image) + tf.reduce_sum(gradient))
    return finite & (loss <= bound)


def _accept(image: Tensor, loss: Tensor, gradient: Tensor, state: State, settings: Settings) -> State:
    """Returns the state at the trial, with a new pair if its curvature is positive."""
    step = _filtered(settings.preconditioner.invert, image - state.image, state)
    change = _filtered(settings.preconditioner.apply, gradient - state.gradient, state)
    # In the precision of the history, so that products are those of the stored pairs.
    step, change = (tf.cast(each, state.pairs.dtype) for each in (step, change))
    is_first = tf.math.is_inf(state.loss)  # without an earlier gradient
    own = inner_products([step, change], [step, change])
    keep = (own[0, 1] > _CURVATURE * tf.sqrt(own[0, 0] * own[1, 1])) & ~is_first
    pairs = tf.cond(keep, lambda: _remember(step, change, state), lambda: state.pairs)
    own_length = tf.constant(float(settings.learning_rate))
    return State(
        preconditioned=state.preconditioned,
        image=image,
        loss=loss,
        gradient=gradient,
        step_length=tf.where(keep | is_first, own_length, _LENGTHENING * state.step_length),
        count=state.count + tf.cast(keep, tf.int32),
        pairs=pairs,
        products=state.products,  # `_inverse_hessian_product` updates them
    )


def _remember(step: Tensor, change: Tensor, state: State) -> Tensor:
    """Returns the pairs with the new pair in the place of the oldest."""
    row = 2 * (state.count % (tf.shape(state.pairs)[0] // 2))
    return replace(replace(state.pairs, row, step), row + 1, change)


def _reject(loss: Tensor, slope: Tensor, state: State, settings: Settings) -> State:
    """Returns the state for a shorter step from the last accepted image, perhaps without its history."""
    parabola = tf.math.divide_no_nan(-0.5 * slope, loss - state.loss - slope)
    share = tf.where(tf.math.is_finite(loss), parabola, _SHORTEST_CUT)
    shorter = state.step_length * tf.clip_by_value(share, _SHORTEST_CUT, _LONGEST_CUT)
    drop = (shorter < _GIVE_UP_LENGTH * settings.learning_rate) & (state.count > 0)
    return state._replace(
        step_length=tf.where(drop, float(settings.learning_rate), shorter),
        count=tf.where(drop, 0, state.count),
    )


def _direction(state: State, settings: Settings) -> tuple[Tensor, Tensor]:
    """Returns the quasi-Newton step, an image, and the updated products of the pairs.

    Without pairs the step has the length of the first step.

    Pixels at a bound whose descent direction points out of [0, 1] are fixed, and left out of the product:
    the two-metric projection of Bertsekas 1982 ("Projected Newton methods ...", SIAM J. Control Optim. 20).
    """

    def move(image: Tensor) -> Tensor:
        return image * tf.cast(_free(state), tf.float32) if settings.clip else image

    def precondition(image: Tensor) -> Tensor:
        return _filtered(settings.preconditioner.apply, image, state)

    gradient = precondition(move(state.gradient))

    def first_gain() -> Tensor:
        return settings.first_step / (_root_mean_square(precondition(gradient)) + _TINY)

    product, products = _inverse_hessian_product(state, gradient, first_gain)
    step = precondition(product)
    # `move` computes the free pixels again after all else, so that no mask is in memory meanwhile.
    with tf.control_dependencies([step]):
        return -move(step), products


def _filtered(function: Filter, image: Tensor, state: State) -> Tensor:
    """Returns the preconditioner's function of the image, or the image if none is applied."""
    return tf.cond(state.preconditioned > 0, lambda: function(image), lambda: tf.identity(image))


def _free(state: State) -> Tensor:
    """Returns for every pixel whether it can follow its negative gradient within [0, 1]."""
    held = ((state.image <= 0) & (state.gradient > 0)) | ((state.image >= 1) & (state.gradient < 0))
    return ~held


def _inverse_hessian_product(
    state: State, gradient: Tensor, first_gain: Callable[[], Tensor]
) -> tuple[Tensor, Tensor]:
    """Returns H g for the state's pairs and a gradient in their space, and the updated products of the pairs.

    Without pairs H g is first_gain() g.
    """
    half = state.products.shape[0] // 2
    filled = state.pairs[: 2 * tf.minimum(state.count, half)]
    newest = 2 * (tf.maximum(state.count - 1, 0) % half)
    # One pass over the pairs for products with the newest pair and with the gradient: reading them takes the
    # time.
    found = inner_products([filled], [state.pairs[newest : newest + 2], gradient])
    found = tf.ensure_shape(tf.pad(found, [[0, 2 * half - tf.shape(found)[0]], [0, 0]]), [2 * half, 3])
    stored = state.products
    for column in range(2):
        stored = _replace_row_and_column(stored, newest + column, tf.cast(found[:, column], tf.float32))
    # Oldest pair first; in a ring that is not full the empty rows come first and are masked.
    order = 2 * ((state.count + tf.range(half)) % half)
    valid = tf.cast(tf.range(half) >= half - state.count, tf.float64)
    both, mask = tf.concat([order, order + 1], axis=0), tf.concat([valid, valid], axis=0)
    products = tf.gather(tf.gather(tf.cast(stored, tf.float64), both), both, axis=1)
    products *= mask * mask[:, tf.newaxis]
    gamma = tf.cond(
        state.count > 0,
        lambda: _gain(products[half - 1, half - 1], products[half - 1, -1], products[-1, -1]),
        lambda: tf.cast(first_gain(), tf.float64),
    )
    coefficients = _compact(products, tf.gather(found[:, 2], both) * mask, gamma, 1 - valid)
    coefficients = tf.cast(tf.gather(coefficients, tf.math.invert_permutation(both)), tf.float32)
    combined = combination(coefficients[: tf.shape(filled)[0]], filled)
    return tf.cast(gamma, tf.float32) * gradient + combined, stored


def _gain(s_s: Tensor, s_y: Tensor, y_y: Tensor) -> Tensor:
    """Returns gamma from the newest pair's inner products; 0 where they vanish."""
    ratio = tf.math.divide_no_nan(s_s * y_y, tf.square(s_y))
    return tf.math.divide_no_nan(s_y, y_y) * tf.pow(ratio, _GAIN_POSITION)


def _compact(products: Tensor, with_gradient: Tensor, gamma: Tensor, empty: Tensor) -> Tensor:
    """Returns the coefficients [2 m] of the pairs in H g - gamma g, oldest pair first.

    Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices and their use in limited
    memory methods" (1994), eq. 3.1, with R the upper triangle of S^t Y and D its diagonal:
    u = R^-1 S^t g;  H g = gamma g + S R^-t ((D + gamma Y^t Y) u - gamma Y^t g) - gamma Y u.

    Args:
        products: [2 m, 2 m] float64, inner products of [S, Y]; zero where there is no pair.
        with_gradient: [2 m] float64, inner products of [S, Y] with g.
        gamma: [] float64.
        empty: [m] float64, 1 where there is no pair, so that R is invertible.
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


# Pictures of more than `_WHOLE` numbers are multiplied in spans of `_SPAN` numbers, of which those of 20
# pictures (10 MB) fit into caches. Smaller pictures are multiplied at once, without the copies of spans.
_SPAN, _WHOLE = 2**17, 2**20


def replace(stack: Tensor, row: Tensor, picture: Tensor) -> Tensor:
    """Returns the stack with `picture` [1, H, W, 3] in a row.

    TensorFlow writes in place if nothing else reads the stack, otherwise into a copy.
    `tf.tensor_scatter_nd_update` always copies on a CPU (TensorFlow 2.21).
    """
    flat = tf.raw_ops.TensorStridedSliceUpdate(
        input=_flat(stack), begin=[row], end=[row + 1], strides=[1], value=_flat(picture)
    )
    return tf.ensure_shape(tf.reshape(flat, tf.shape(stack)), stack.shape)


def inner_products(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Returns the inner products of the pictures of `left` with those of `right`.

    Args:
        left: Stacks with n pictures in all.
        right: Stacks with k pictures in all.

    Returns:
        [n, k] float64.
    """
    return _inner_products([_flat(each) for each in left], [_flat(each) for each in right])


def combination(factors: Tensor, stack: Tensor) -> Tensor:
    """Returns the sum of factors [n] times a stack's pictures, [1, H, W, 3] float32."""
    if stack.dtype == tf.float32:
        return tf.einsum("n,nhwc->hwc", factors, stack)[tf.newaxis]  # a matrix product would copy the stack

    def step(row: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        return row + 1, total + factors[row] * tf.cast(stack[row], tf.float32)

    # One at a time, so that one picture of the stack is in memory in float32.
    start = tf.constant(0), tf.zeros(tf.shape(stack)[1:])
    _, total = tf.while_loop(lambda row, _: row < tf.shape(stack)[0], step, start, parallel_iterations=1)
    return tf.ensure_shape(total, stack.shape[1:])[tf.newaxis]


@tensors.noinline_function(reduce_retracing=True)
def _inner_products(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Returns `inner_products` of flat stacks: sums in float32 within a span, in float64 over spans.

    A float32 sum over the 25 million numbers of a picture at 4096 pixels is 1.1 % too small.
    """
    size = tf.shape(left[0])[1]
    span = tf.where(size > _WHOLE, _SPAN, size)
    count, width = (tf.add_n([tf.shape(each)[0] for each in side]) for side in (left, right))

    def step(begin: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        end = tf.minimum(begin + span, size)
        parts = [
            tf.concat([tf.cast(each[:, begin:end], tf.float32) for each in side], axis=0)
            for side in (left, right)
        ]
        return end, total + tf.cast(tf.matmul(*parts, transpose_b=True), tf.float64)

    start = tf.constant(0), tf.zeros([count, width], tf.float64)
    _, total = tf.while_loop(lambda begin, _: begin < size, step, start, parallel_iterations=1)
    return total


def _flat(stack: Tensor) -> Tensor:
    return tf.reshape(stack, [tf.shape(stack)[0], -1])
