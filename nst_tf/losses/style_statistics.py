"""Style statistics and their losses: functions of a layer's first two moments.

`Moments` are sums over pixels divided by the number of pixels, so that those of a picture can be computed
from its tiles. Leading axes (styles, regions) of the picture's moments and the target's broadcast; a loss has
them too. All tensors are float32. Gradients flow to the picture's moments, not to the target.

F is a layer's features as [M, C], M its pixels, G = F^T F, D a difference generated minus target, S(.) a sum
and m(.) a mean of squares.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.config import settings
from nst_tf.tensors import Tensor

Target = Mapping[str, Tensor]


class Moments(NamedTuple):
    """The first two moments of a layer's features over pixels, not centred."""

    gram: Tensor  # [..., C, C], G / M
    mean: Tensor  # [..., C], the mean of F


class StyleStatistic(NamedTuple):
    """A statistic: the target of a style, and the loss of a picture."""

    needs_mean: bool  # whether it reads `Moments.mean`
    target: Callable[[Moments], dict[str, Tensor]]  # style's moments -> target, once for each scale
    loss: Callable[[Moments, Target, Tensor, float], Tensor]
    """(picture's moments, target, gram_factor, moment_weight) -> loss [...]

    `gram_factor`, [] or shaped as the leading axes, multiplies S(D(G/M)); `moment_weight` multiplies the
    losses of means and deviations. A statistic may use neither.
    """


# Added to every variance before its root, to bound the root's slope at constant channels: as in the authors'
# program of AdaIN (Huang and Belongie 2017, arXiv:1703.06868). Changes deviations above 1 by less than 5e-6.
_VARIANCE_EPSILON = 1e-5

# Added to the diagonal of every covariance, in units of features squared: crowsonkb/style-transfer-pytorch.
_COVARIANCE_EPSILON = 1e-4


def _gram_target(moments: Moments) -> dict[str, Tensor]:
    return {"gram": tf.stop_gradient(moments.gram)}


def _gram_loss(moments: Moments, target: Target, gram_factor: Tensor, moment_weight: float) -> Tensor:
    """Returns gram_factor * S(D(G/M)): Gatys et al. 2015 (arXiv:1508.06576), eq. 4."""
    del moment_weight
    return gram_factor * tf.reduce_sum(tf.square(moments.gram - target["gram"]), axis=[-2, -1])


def _gram_relative_loss(
    moments: Moments, target: Target, gram_factor: Tensor, moment_weight: float
) -> Tensor:
    """Returns S(DG) / S(A), A the style's Gram matrix: layers count alike whatever their features' size."""
    del gram_factor, moment_weight
    of_style = tf.reduce_sum(tf.square(target["gram"]), axis=[-2, -1])
    difference = tf.reduce_sum(tf.square(moments.gram - target["gram"]), axis=[-2, -1])
    return tf.math.divide_no_nan(difference, of_style)


def _gram_mean_std_target(moments: Moments) -> dict[str, Tensor]:
    target = {"gram": moments.gram, "mean": moments.mean, "deviation": _deviation(moments)}
    return {name: tf.stop_gradient(value) for name, value in target.items()}


def _gram_mean_std_loss(
    moments: Moments, target: Target, gram_factor: Tensor, moment_weight: float
) -> Tensor:
    """Returns gram_factor * S(D(G/M)) + moment_weight * (m(D mean) + m(D deviation)), as SPST adds them."""
    means = _mean_square(moments.mean - target["mean"])
    deviations = _mean_square(_deviation(moments) - target["deviation"])
    return _gram_loss(moments, target, gram_factor, moment_weight) + moment_weight * (means + deviations)


def _deviation(moments: Moments) -> Tensor:
    """Returns each channel's standard deviation over pixels, [..., C]."""
    variance = tf.linalg.diag_part(moments.gram) - tf.square(moments.mean)
    # Rounding may make the variance of a constant channel negative.
    return tf.sqrt(tf.maximum(variance, 0.0) + _VARIANCE_EPSILON)


def _mean_square(values: Tensor) -> Tensor:
    return tf.reduce_mean(tf.square(values), axis=-1)


def _wasserstein_target(moments: Moments) -> dict[str, Tensor]:
    covariance = _covariance(moments)
    values, vectors = tf.linalg.eigh(covariance)
    root = _spectral(tf.sqrt(tf.maximum(values, 0.0)), vectors)
    target = {"mean": moments.mean, "trace": tf.linalg.trace(covariance), "root": root}
    return {name: tf.stop_gradient(tf.cast(value, tf.float32)) for name, value in target.items()}


def _wasserstein_loss(moments: Moments, target: Target, gram_factor: Tensor, moment_weight: float) -> Tensor:
    """Returns the squared Wasserstein-2 distance of two Gaussians, divided by the number of channels.

    W^2 = |mu - mu_s|^2 + tr(C_s + C - 2 (C_s^1/2 C C_s^1/2)^1/2): Olkin and Pukelsheim 1982, theorem 4. As in
    crowsonkb/style-transfer-pytorch, 1e-4 I is added to both covariances, and means over channels replace
    sums. Differs from that program by exact roots instead of twelve Newton-Schulz iterations.
    """
    del gram_factor, moment_weight
    covariance, root = _covariance(moments), tf.cast(target["root"], tf.float64)
    overlap = root_trace(tf.matmul(root, tf.matmul(covariance, root)))
    # In float64, as a small difference of large sums.
    spread = tf.linalg.trace(covariance) + tf.cast(target["trace"], tf.float64) - 2.0 * overlap
    channels = tf.cast(tf.shape(covariance)[-1], tf.float64)
    return _mean_square(moments.mean - target["mean"]) + tf.cast(spread / channels, tf.float32)


def _covariance(moments: Moments) -> Tensor:
    """Returns the features' covariance + `_COVARIANCE_EPSILON` I, [..., C, C] float64."""
    gram, mean = tf.cast(moments.gram, tf.float64), tf.cast(moments.mean, tf.float64)
    covariance = gram - mean[..., :, tf.newaxis] * mean[..., tf.newaxis, :]
    identity = tf.eye(tf.shape(gram)[-1], dtype=tf.float64)
    return covariance + tf.constant(_COVARIANCE_EPSILON, tf.float64) * identity


@tensors.custom_gradient
def root_trace(matrix: Tensor) -> Any:
    """Returns tr(A^1/2) of symmetric positive semidefinite matrices A [..., C, C] float64, [...].

    d tr(A^1/2) / dA = A^(-1/2) / 2, both from one eigendecomposition, which is quicker than Newton-Schulz
    iterations: at C = 512 on two cores 0.05 s against 0.14 s for twelve in float32.

    `_COVARIANCE_EPSILON`^2 bounds A = R C R from below where both covariances have the epsilon on their
    diagonals. An eigenvalue below it is the rounding of a float32 Gram matrix, and has no gradient: with the
    bound's own slope the gradient at relu4_1 was off by 4 %, without by 0.1 %.
    """
    finite = tf.reduce_all(tf.math.is_finite(matrix), axis=[-2, -1])
    values, vectors = _eigh(matrix, finite)
    roots = tf.sqrt(tf.maximum(values, 0.0))

    def gradient(upstream: Tensor) -> Tensor:
        slopes = tf.where(values < _COVARIANCE_EPSILON**2, 0.0 * values, tf.math.divide_no_nan(0.5, roots))
        return _known(upstream, finite)[..., tf.newaxis, tf.newaxis] * _spectral(slopes, vectors)

    return _known(tf.reduce_sum(roots, axis=-1), finite), gradient


def _eigh(matrix: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues and eigenvectors; those of the identity for a matrix with infinity or NaN.

    TensorFlow's `eigh` fails for such a matrix, but a diverging run is to end with a loss of NaN.
    """
    identity = tf.eye(tf.shape(matrix)[-1], dtype=matrix.dtype)
    # The decomposition reads one triangle only; rounding makes the product slightly asymmetric.
    symmetric = (matrix + tf.linalg.adjoint(matrix)) / 2.0
    values, vectors = tf.linalg.eigh(tf.where(finite[..., tf.newaxis, tf.newaxis], symmetric, identity))
    return values, vectors


def _known(values: Tensor, finite: Tensor) -> Tensor:
    return tf.where(finite, values, tf.constant(float("nan"), values.dtype))


def _spectral(values: Tensor, vectors: Tensor) -> Tensor:
    """Returns the symmetric matrices of these eigenvalues [..., C] and eigenvectors [..., C, C]."""
    return tf.matmul(vectors * values[..., tf.newaxis, :], vectors, adjoint_b=True)


# Statistics by name.
STYLE_STATISTICS: Mapping[str, StyleStatistic] = settings.STYLE_STATISTICS.table(
    gram=StyleStatistic(False, _gram_target, _gram_loss),
    gram_relative=StyleStatistic(False, _gram_target, _gram_relative_loss),
    gram_mean_std=StyleStatistic(True, _gram_mean_std_target, _gram_mean_std_loss),
    wasserstein=StyleStatistic(True, _wasserstein_target, _wasserstein_loss),
)
