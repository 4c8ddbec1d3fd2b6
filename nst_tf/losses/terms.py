"""Feature statistics as sums over pixels, and the losses computed from them.

`Statistics` are sums over pixels, so that those of a picture are the sums of those of its tiles. All losses
but total variation are functions of these small sums alone. Features are `[1, h, w, C]` of any float type;
statistics and losses are always float32.

N is a layer's number of channels, M its number of pixels (of a region: the sum of its guide), F its
features as [M, N], G = F^T F the Gram matrix, S(.) a sum of squares, D a difference generated minus target.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.config import settings
from nst_tf.tensors import Tensor

# The published programs measure pixels in the losses of the image itself, and learning rates, on the scale
# 0..255.
PIXEL_LEVELS = 255.0


class Statistics(NamedTuple):
    """Sums over pixels; add those of several tiles field by field.

    R is the number of regions of the picture; a picture without regions has R = 1.
    """

    gram_sums: dict[str, Tensor]  # {layer: [R, C, C]}, sum over pixels of guide * F_i F_j
    feature_sums: dict[str, Tensor]  # {layer: [R, C]}, sum over pixels of guide * F_i; {} unless needed
    content_error: dict[str, Tensor]  # {layer: []}, sum over pixels and channels of (DF)^2
    neighbor_distance: Tensor  # [], of `neighbors` or `splitting`; 0 without neighbours


# (moments of the picture [R, ...], targets [K, R, ...], factor of Gram matrices' losses) -> losses, [K, R].
StatisticLoss = Callable[[Any, Mapping[str, Tensor], Any], Tensor]


class LayerSize(NamedTuple):
    """The size of a layer's features of the whole picture."""

    channels: float  # N
    pixels: Tensor  # [] float32, M
    image_pixels: Tensor  # [] float32, of the image itself


class StyleTargets(NamedTuple):
    """The targets of K style pictures for each of R regions."""

    statistics: dict[str, dict[str, Tensor]]  # {layer: target of its statistic, [K, R, ...] each}
    shares: Tensor  # [K, R], of the style loss: blend weights times the region's share of the picture


@functools.cache
def _self_product_function(dtype: tf.DType) -> Any:
    """Returns the function of features [M, C] that is F^T F in float32, traced once for a type."""

    @tf.custom_gradient
    def product(features: Tensor) -> Any:
        return _wide_product(features), lambda upstream: _product_gradient(features, upstream)

    return tensors.noinline_function(product, input_signature=[tf.TensorSpec([None, None], dtype)])


@functools.cache
def _guided_product_function(dtype: tf.DType) -> Any:
    """Returns the function (F [M, C], roots of guides [M, R]) -> F^T diag(guide) F, [R, C, C].

    Traced once for a type, whatever the number of regions: a loop takes them one after the other, so that one
    product of features is in memory. A guide of ones multiplies nothing.
    """

    @tf.custom_gradient
    def products(features: Tensor, roots: Tensor) -> Any:
        is_whole = _is_whole(roots)

        def of_region(root: Tensor) -> Tensor:
            return _wide_product(features * root[:, tf.newaxis])

        def of_regions() -> Tensor:
            spec = tf.TensorSpec([None, None], tf.float32)
            by_region = tf.transpose(roots)
            return tf.map_fn(of_region, by_region, fn_output_signature=spec, parallel_iterations=1)

        def gradient(upstream: Tensor) -> tuple[Tensor, None]:
            def add(region: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
                root = roots[:, region, tf.newaxis]
                return region + 1, total + root * _product_gradient(features * root, upstream[region])

            def of_all() -> Tensor:
                start = (tf.constant(0), tf.zeros_like(features))
                count = tf.shape(roots)[1]
                return tf.while_loop(lambda region, _: region < count, add, start, parallel_iterations=1)[1]

            return tf.cond(is_whole, lambda: _product_gradient(features, upstream[0]), of_all), None

        return tf.cond(is_whole, lambda: _wide_product(features)[tf.newaxis], of_regions), gradient

    specs = [tf.TensorSpec([None, None], dtype)] * 2
    return tensors.noinline_function(products, input_signature=specs)


@functools.cache
def _guided_sum_function() -> Any:
    """Returns the function (F [M, C], guides [M, R]) -> the sum over pixels of guide * F, [R, C].

    With a guide of ones the sum is that without a guide, bit for bit.
    """

    @tf.custom_gradient
    def sums(features: Tensor, guides: Tensor) -> Any:
        def gradient(upstream: Tensor) -> tuple[Tensor, None]:
            return tf.matmul(guides, upstream), None

        found = tf.cond(
            _is_whole(guides),
            lambda: tf.reduce_sum(features, axis=0, keepdims=True),
            lambda: tf.matmul(guides, features, transpose_a=True),
        )
        return found, gradient

    specs = [tf.TensorSpec([None, None], tf.float32)] * 2
    return tensors.noinline_function(sums, input_signature=specs)


def _is_whole(guides: Tensor) -> Tensor:
    """Returns whether guides [M, R] are of one region that is the whole picture."""
    return tf.equal(tf.shape(guides)[1], 1) & tf.reduce_all(tf.equal(guides, 1))


def _wide_product(features: Tensor) -> Tensor:
    """Returns F^T F in float32.

    The sum is in float32 even for bfloat16 features, since rounded sums would lose small entries.
    """
    wide = tf.cast(features, tf.float32)
    return tf.matmul(wide, wide, transpose_a=True)


def _product_gradient(features: Tensor, upstream: Tensor) -> Tensor:
    """Returns F (U + U^T), the gradient of `_wide_product`; it has the features' type."""
    symmetric = tf.cast(upstream + tf.transpose(upstream), features.dtype)
    return tf.matmul(features, symmetric)


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
        return tf.ensure_shape(_self_product_function(flat.dtype)(flat), [channels, channels])[tf.newaxis]
    roots = tf.cast(tf.sqrt(_by_pixel(guide)), features.dtype)
    products = _guided_product_function(flat.dtype)(flat, roots)
    return tf.ensure_shape(products, [guide.shape[-1], channels, channels])


def feature_sums(features: Tensor, guide: Tensor | None = None) -> Tensor:
    """Returns the sum over pixels of guide * F, one for each region, [R, C] float32.

    Args:
        features: [1, h, w, C].
        guide: [h, w, R] in [0, 1], or None for one region that is the whole picture.
    """
    flat = tf.cast(tf.reshape(features, [-1, features.shape[-1]]), tf.float32)
    if guide is None:
        return tf.reduce_sum(flat, axis=0, keepdims=True)
    return tf.ensure_shape(_guided_sum_function()(flat, _by_pixel(guide)), [guide.shape[-1], flat.shape[-1]])


def _by_pixel(guide: Tensor) -> Tensor:
    """Returns a guide [h, w, R] as [h w, R]; the number of regions may be unknown in a graph."""
    return tf.reshape(guide, [-1, tf.shape(guide)[-1]])


def content_error(features: Tensor, target: Tensor) -> Tensor:
    """Returns S(DF), the sum of squared differences between features and target, [1, h, w, C] each."""
    return tf.reduce_sum(tf.square(tf.cast(features, tf.float32) - tf.cast(target, tf.float32)))


def sum_absolute(image: Tensor) -> Tensor:
    """Returns the sum of absolute differences of neighbouring pixels, as `tf.image.total_variation`."""
    return tf.reduce_sum(tf.image.total_variation(image))


def half_sum_squares(image: Tensor) -> Tensor:
    """Returns half the sum of squared differences of neighbouring pixels (Mahendran and Vedaldi 2015)."""
    return 0.5 * tf.add_n([tf.reduce_sum(tf.square(difference)) for difference in _differences(image)])


def sum_of_means_of_squares(image: Tensor) -> Tensor:
    """Returns the mean squared difference down the rows plus that along the columns."""
    squares = [tf.square(difference) for difference in _differences(image)]
    # A picture of one row or one column has no differences in one direction.
    return tf.add_n(
        [tf.math.divide_no_nan(tf.reduce_sum(s), tf.cast(tf.size(s), tf.float32)) for s in squares]
    )


def sum_power_1_25(image: Tensor) -> Tensor:
    """Returns the sum of (dx^2 + dy^2)^1.25 over the pixels that have both neighbours (Keras' example)."""
    rows, columns = _differences(image)
    squares = tf.square(rows[:, :, :-1]) + tf.square(columns[:, :-1])
    return tf.reduce_sum(tf.pow(squares, 1.25))


def nine_point_squares(image: Tensor) -> Tensor:
    """Returns 2 (m(dx) / 3 + m(dy) / 3 + m(d down-right) / 12 + m(d down-left) / 12), the border replicated.

    A total variation of squares on a nine-point stencil, whose diagonals make it nearly isotropic:
    crowsonkb/style-transfer-pytorch. Means m(.) of squares are over one difference for each pixel, of
    diagonals over one for each corner of a pixel.
    """
    padded = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    inner = padded[:, 1:-1, 1:-1]
    straight = [padded[:, 1:-1, 2:] - inner, padded[:, 2:, 1:-1] - inner]
    diagonal = [padded[:, 1:, 1:] - padded[:, :-1, :-1], padded[:, 1:, :-1] - padded[:, :-1, 1:]]
    terms = [tf.reduce_mean(tf.square(difference)) / 3.0 for difference in straight]
    terms += [tf.reduce_mean(tf.square(difference)) / 12.0 for difference in diagonal]
    return 2.0 * tf.add_n(terms)


def _differences(image: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the differences between neighbouring rows and between neighbouring columns."""
    return image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]


# Total variation by name: image [1, H, W, 3] -> scalar.
TOTAL_VARIATION: Mapping[str, Callable[[Tensor], Tensor]] = settings.TOTAL_VARIATION.table(
    sum_absolute=sum_absolute,
    half_sum_squares=half_sum_squares,
    sum_of_means_of_squares=sum_of_means_of_squares,
    sum_power_1_25=sum_power_1_25,
    nine_point_squares=nine_point_squares,
)

# Factors of S(DF) in the content loss, by name: size of a layer -> factor. A name is the formula or its
# publisher; `config/presets.py` shows which preset uses which.
CONTENT_NORMALIZATION: Mapping[str, Callable[[LayerSize], Tensor]] = settings.CONTENT_NORMALIZATION.table(
    mean=lambda size: 1 / (size.channels * size.pixels),  # a mean of squares
    sum=lambda _: 1.0,
    half_sum=lambda _: 0.5,  # Gatys et al. 2015, eq. 1
    quarter_mean=lambda size: 1 / (4 * size.channels * size.pixels),
    half_root=lambda size: 1 / (2 * tf.sqrt(size.channels * size.pixels)),
)

# Factors of S(D(G/M)) in the style loss, by name: size of a layer -> factor. Gram matrices are divided by the
# number of pixels, so that no target depends on the size of the style picture; a formula of the undivided G
# has a factor M^2 here.
STYLE_NORMALIZATION: Mapping[str, Callable[[LayerSize], Tensor]] = settings.STYLE_NORMALIZATION.table(
    gatys2015=lambda size: 1 / (4 * size.channels**2),  # S(DG) / (4 N^2 M^2): Gatys et al. 2015, eq. 4
    gatys_pytorch=lambda size: 1e3 / size.channels**4,  # (1e3 / N^2) mean((D(G/M))^2): their notebook
    sum=lambda size: 1 / size.channels**2,  # S(D(G / (N M)))
    mean=lambda size: 1 / size.channels**4,  # mean((D(G / (N M)))^2)
    udacity=lambda size: size.pixels / size.channels**3,  # mean((DG)^2) / (N M)
    # S(DG) / (4 * 3^2 * (pixels of the image)^2): the example uses the image's size at every layer.
    keras_example=lambda size: tf.square(size.pixels / size.image_pixels) / 36,
)


def content_loss(
    content_error: Mapping[str, Tensor], sizes: Mapping[str, LayerSize], normalization: str
) -> Tensor:
    """Returns the sum over the content layers of normalisation * S(DF).

    Args:
        content_error: As in `Statistics`.
        sizes: {layer: its size}.
        normalization: A name from `CONTENT_NORMALIZATION`.
    """
    factor = CONTENT_NORMALIZATION[normalization]
    terms = [factor(sizes[layer]) * error for layer, error in content_error.items()]
    return tf.add_n(terms) if terms else tf.constant(0.0)


def style_loss(
    moments: Mapping[str, Any],
    styles: StyleTargets,
    sizes: Mapping[str, LayerSize],
    layer_weights: Mapping[str, float],
    normalization: str,
    statistic: StatisticLoss,
) -> Tensor:
    """Returns the sum over style layers, styles and regions of weight * share * the statistic's loss.

    Args:
        moments: {layer: the picture's moments, [R, ...]}.
        styles: The styles' targets.
        sizes: {layer: its size}.
        layer_weights: {layer: weight}.
        normalization: A name from `STYLE_NORMALIZATION`, of Gram matrices.
        statistic: The loss of the picture's moments against the targets.
    """
    factor = STYLE_NORMALIZATION[normalization]
    terms = [
        layer_weights[layer]
        * tf.reduce_sum(styles.shares * statistic(of_picture, styles.statistics[layer], factor(sizes[layer])))
        for layer, of_picture in moments.items()
    ]
    return tf.add_n(terms) if terms else tf.constant(0.0)
