"""Feature statistics as sums over pixels, and the losses made of them.

Everything that passes through the network ends in `Statistics`: sums over pixels, so that the
statistics of a picture are the sum of those of its tiles. The losses are functions of these small sums
alone. Features are `[1, h, w, C]` of any float type; statistics and losses are always float32.

N is a layer's number of channels, M its number of pixels (of a region: the sum of its guide), F its
features as [M, N], G = F^T F the Gram matrix, S(.) a sum of squares, D a difference generated minus target.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any  # TensorFlow ships no type information.


class Losses(NamedTuple):
    """The weighted terms, each a float32 scalar, and their sum."""

    total: Tensor
    content: Tensor
    style: Tensor
    total_variation: Tensor


class Statistics(NamedTuple):
    """Sums over pixels; add those of several tiles field by field.

    R is the number of regions of the picture; a picture without regions has R = 1.
    """

    gram_sums: dict[str, Tensor]  # {layer: [R, C, C]}, sum over pixels of guide * F_i F_j
    content_error: dict[str, Tensor]  # {layer: []}, sum over pixels and channels of (DF)^2
    total_variation: Tensor  # [], sum over neighbouring pixels


class LayerSize(NamedTuple):
    """How large a layer's features of the whole picture are."""

    channels: float  # N
    pixels: Tensor  # [R] float32, M of each region


class StyleTarget(NamedTuple):
    """What one style picture asks for."""

    gram_means: dict[str, Tensor]  # {layer: [R, C, C]}, Gram matrices divided by the style's own M
    blend_weight: Tensor  # [], this style's share


@tf.custom_gradient
def _self_product(features: Tensor) -> Any:
    """Returns F^T F in float32 for F [M, C] of any float type.

    The sum runs in float32 also for bfloat16 features: rounded sums would drown small entries. The
    gradient, F (U + U^T), is rounded to the features' type in any case, so that it is also computed in it.
    """
    wide = tf.cast(features, tf.float32)

    def gradient(upstream: Tensor) -> Tensor:
        symmetric = tf.cast(upstream + tf.transpose(upstream), features.dtype)
        return tf.matmul(features, symmetric)

    return tf.matmul(wide, wide, transpose_a=True), gradient


def gram_sums(features: Tensor, guide: Tensor | None = None) -> Tensor:
    """Returns the Gram matrix as a sum over pixels, one for each region.

    G_r = sum over pixels p of guide[p, r] F[p]^T F[p]: Gatys et al. 2015 (arXiv:1508.06576), eq. 3, and
    with a guide Gatys et al. 2017 (arXiv:1611.07865), eq. 5, whose guide is the square root of ours.

    Args:
        features: [1, h, w, C].
        guide: [h, w, R] in [0, 1], or None for one region that is the whole picture.

    Returns:
        [R, C, C] float32.
    """
    channels = features.shape[-1]
    flat = tf.reshape(features, [-1, channels])
    if guide is None:
        return _self_product(flat)[tf.newaxis]
    roots = tf.cast(tf.sqrt(tf.reshape(guide, [-1, guide.shape[-1]])), features.dtype)
    return tf.stack([_self_product(flat * root[:, tf.newaxis]) for root in tf.unstack(roots, axis=1)])


def content_error(features: Tensor, target: Tensor) -> Tensor:
    """Returns S(DF), the sum of squared differences between features and target, [1, h, w, C] each."""
    return tf.reduce_sum(tf.square(tf.cast(features, tf.float32) - tf.cast(target, tf.float32)))


def sum_absolute(image: Tensor) -> Tensor:
    """Returns the sum of absolute differences of neighbouring pixels, as `tf.image.total_variation`."""
    return tf.reduce_sum(tf.image.total_variation(image))


def half_sum_squares(image: Tensor) -> Tensor:
    """Returns half the sum of squared differences of neighbouring pixels (Mahendran and Vedaldi 2015)."""
    rows, columns = image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]
    return 0.5 * (tf.reduce_sum(tf.square(rows)) + tf.reduce_sum(tf.square(columns)))


# Total variation by name: image [1, H, W, 3] -> sum over neighbouring pixels.
TOTAL_VARIATION: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sum_absolute": sum_absolute,
    "half_sum_squares": half_sum_squares,
}

# What multiplies S(DF) in the content loss, by name, from (N, M).
CONTENT_NORMALIZATION: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda n, m: 1 / (n * m),  # a mean of squares, as most programs have it
    "half_sum": lambda _n, _m: 0.5,  # Gatys et al. 2015, eq. 1
}

# What multiplies S(D(G/M)) in the style loss, by name, from (N, M). Gram matrices are compared per
# pixel, so that no target depends on the size of the style picture.
STYLE_NORMALIZATION: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gatys2015": lambda n, _m: 1 / (4 * n**2),  # S(DG) / (4 N^2 M^2): Gatys et al. 2015, eq. 4
    "gatys_pytorch": lambda n, _m: 1e3 / n**4,  # (1e3 / N^2) mean((D(G/M))^2): the authors' notebook
}


def content_loss(
    content_error: Mapping[str, Tensor], sizes: Mapping[str, LayerSize], normalization: str
) -> Tensor:
    """Returns the sum over the content layers of normalisation(N, M) * S(DF).

    Args:
        content_error: As in `Statistics`.
        sizes: {layer: its size}.
        normalization: A name from `CONTENT_NORMALIZATION`.
    """
    factor = CONTENT_NORMALIZATION[normalization]
    terms = [
        factor(sizes[layer].channels, tf.reduce_sum(sizes[layer].pixels)) * error
        for layer, error in content_error.items()
    ]
    return tf.add_n(terms) if terms else tf.constant(0.0)


def style_loss(
    gram_sums: Mapping[str, Tensor],
    styles: Sequence[StyleTarget],
    sizes: Mapping[str, LayerSize],
    layer_weights: Mapping[str, float],
    normalization: str,
) -> Tensor:
    """Returns the sum over styles, style layers and regions of weights * normalisation(N, M) * S(D(G/M)).

    Args:
        gram_sums: As in `Statistics`.
        styles: One target for each style picture; their losses are added by blend weight.
        sizes: {layer: its size}.
        layer_weights: {layer: weight}.
        normalization: A name from `STYLE_NORMALIZATION`.
    """
    factor = STYLE_NORMALIZATION[normalization]
    terms = []
    for layer, sums in gram_sums.items():
        channels, pixels = sizes[layer]
        means = sums / pixels[:, tf.newaxis, tf.newaxis]
        weights = layer_weights[layer] * factor(channels, pixels)
        for style in styles:
            errors = tf.reduce_sum(tf.square(means - style.gram_means[layer]), axis=[1, 2])
            terms.append(style.blend_weight * tf.reduce_sum(weights * errors))
    return tf.add_n(terms) if terms else tf.constant(0.0)
