"""The colours of the result: the photograph's, the painting's, or a mixture.

A choice of colours changes the pictures before a run and its picture afterwards.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1]; statistics of colours are float64. The methods are those of
Gatys, Bethge, Hertzmann and Shechtman, "Preserving Color in Neural Artistic Style Transfer"
(arXiv:1606.05897). All functions are pure and trace with unknown sizes. Pixels go through no matrix product,
which GPUs would round to ten bits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.engine import images
from nst_tf.tensors import Tensor

# Y of YIQ, the space the paper names (ITU-R BT.601, 2.5.1).
_LUMINANCE = (0.299, 0.587, 0.114)

# A standard deviation of one level of 255. Smaller variation is the rounding of a picture file, which must
# not be amplified. The authors' program adds about its square, 1e-5, to all variances.
_SMALLEST_DEVIATION = 1 / 255


class ColorStatistics(NamedTuple):
    """Mean and covariance of an image's colours, which `match` makes equal to those of another."""

    mean: Tensor  # [3] float64
    covariance: Tensor  # [3, 3] float64, over all pixels


class Color(NamedTuple):
    """One choice of colours."""

    needs: tuple[str, ...]  # pictures that it cannot do without, of "content" and "style"
    prepare: Callable[..., tuple[Tensor, list[Tensor]]]
    """(content image, style images, root, alphas) -> content image and style images to run with; alphas as in
    `Alphas`, () where all pixels are seen"""
    finish: Callable[[Tensor, Tensor], Tensor] | None
    """(picture of the run, content image of any size) -> the picture to show, not clipped; None where the two
    are the same"""
    to_loss_space: Callable[[Tensor], Tensor]
    """picture to show -> the image of which its losses are computed"""
    project: Callable[[Tensor], Tensor]
    """gradient by the image -> the part of it that keeps the image in the loss space"""


def check(name: str, **images: object) -> None:
    """Checks that a choice of colours has the pictures that it needs.

    Args:
        name: The choice.
        **images: "content" and "style"; None for a missing one.

    Raises:
        InputError: One is missing.
    """
    what = {"content": "photograph", "style": "painting"}
    for image in COLORS[name].needs:
        if images[image] is None:
            raise errors.InputError(f"color: {name!r} needs a {what[image]}; without one use 'style'")


# Of the content image and of each style image, [1, H, W, 1]: how much each pixel counts.
Alphas = Sequence[Tensor]


def statistics(image: Tensor, alpha: Tensor | None = None) -> ColorStatistics:
    """Returns the statistics of an image's colours, or of any three channels.

    Rows are summed in float32, whose rounding errors stay small over so few pixels, and then in float64.

    Args:
        image: [1, H, W, 3].
        alpha: [1, H, W, 1], how much each pixel counts; None where all do alike.
    """
    if alpha is not None:
        return _weighted_statistics(image[0], alpha[0, ..., 0])
    mean = tf.reduce_mean(tf.cast(tf.reduce_mean(image[0], axis=1), tf.float64), axis=0)
    channels = tf.unstack(image[0] - tf.cast(mean, tf.float32), axis=-1)
    rows = tf.stack([[tf.reduce_mean(one * other, axis=1) for other in channels] for one in channels])
    return ColorStatistics(mean, tf.reduce_mean(tf.cast(rows, tf.float64), axis=-1))


def _weighted_statistics(image: Tensor, weights: Tensor) -> ColorStatistics:
    """Returns the statistics of an image [H, W, 3] whose pixels have weights [H, W]."""
    total = tf.reduce_sum(tf.cast(tf.reduce_sum(weights, axis=1), tf.float64))

    def mean(values: Tensor) -> Tensor:
        """Returns the weighted mean over [H, W], the first axes."""
        rows = tf.einsum("hw,hwc->hc", weights, values)
        return tf.reduce_sum(tf.cast(rows, tf.float64), axis=0) / total

    center = mean(image)
    channels = tf.unstack(image - tf.cast(center, tf.float32), axis=-1)
    products = tf.stack([one * other for one in channels for other in channels], axis=-1)
    return ColorStatistics(center, tf.reshape(mean(products), [len(channels), len(channels)]))


def _alpha(alphas: Alphas, index: int) -> Tensor | None:
    return alphas[index] if alphas else None


def match(image: Tensor, target: ColorStatistics, root: str, alpha: Tensor | None = None) -> Tensor:
    """Returns the image with its colours transformed to the target's mean and covariance, not clipped.

    p' = A (p - mean) + target mean, with A covariance A^T = target covariance. A is determined up to a
    rotation, which the root chooses. Where the image has no variance in some direction, the result has none
    either: a grey image becomes shades of one colour.

    Args:
        image: [1, H, W, 3].
        target: The statistics that the result has.
        root: One of `ROOTS`.
        alpha: Of the image, as for `statistics`.
    """
    source = statistics(image, alpha)
    matrix = ROOTS[root](source.covariance, target.covariance)
    return tf.cast(target.mean, tf.float32) + _linear(image - tf.cast(source.mean, tf.float32), matrix)


def luminance(image: Tensor) -> Tensor:
    """Returns Y of YIQ as a grey image, [1, H, W, 3]."""
    return _linear(image, tf.constant([_LUMINANCE] * 3))


def _linear(image: Tensor, matrix: Tensor) -> Tensor:
    """Returns the image with a matrix [3, 3] applied to every pixel."""
    columns = tf.unstack(tf.cast(matrix, tf.float32), axis=1)
    return tf.add_n([image[..., index, tf.newaxis] * column for index, column in enumerate(columns)])


def _pca(source: Tensor, target: Tensor) -> Tensor:
    """Returns A = target^(1/2) source^(-1/2) with symmetric roots, the paper's "Image Analogies" method."""
    return _root(target) @ _inverse_root(source)


def _cholesky(source: Tensor, target: Tensor) -> Tensor:
    """Returns A = L_target L_source^(-1) with Cholesky factors of channels in the order red, green, blue."""
    rotation = _triangular(source)[1]
    return _triangular(target)[0] @ tf.transpose(rotation) @ _inverse_root(source)


def _transport(source: Tensor, target: Tensor) -> Tensor:
    """Returns A = S^(-1) (S target S)^(1/2) S^(-1), S = source^(1/2), which moves colours least on average.

    Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping"; "sym" in the authors'
    program.
    """
    root, inverse = _root(source), _inverse_root(source)
    return inverse @ _root(root @ target @ root) @ inverse


# Matrices A of `match` by name: (covariance, target covariance), [3, 3] each -> A, [3, 3].
ROOTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = settings.COLOR_ROOTS.table(
    pca=_pca,
    cholesky=_cholesky,
    transport=_transport,
)


def _root(covariance: Tensor) -> Tensor:
    """Returns the symmetric square root; eigenvalues that rounding made negative count as zero."""
    values, vectors = tf.linalg.eigh(covariance)
    return vectors * tf.sqrt(tf.maximum(values, 0.0)) @ tf.transpose(vectors)


def _inverse_root(covariance: Tensor) -> Tensor:
    """Returns the inverse of the symmetric root, zero in directions with less than `_SMALLEST_DEVIATION`."""
    values, vectors = tf.linalg.eigh(covariance)
    enough = values > _SMALLEST_DEVIATION**2
    inverse = tf.where(enough, tf.math.rsqrt(tf.where(enough, values, 1.0)), 0.0)
    return vectors * inverse @ tf.transpose(vectors)


def _triangular(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the Cholesky factor L and the rotation Q with L = S Q, S the symmetric root.

    Computed by QR of the symmetric root, which works for covariances of any rank.
    """
    root = _root(covariance)
    rotation, upper = tf.linalg.qr(root)
    signs = tf.where(tf.linalg.diag_part(upper) < 0, -1.0, 1.0)
    signs = tf.cast(signs, covariance.dtype)
    return tf.transpose(upper) * signs, rotation * signs


def _keep(
    content: Tensor, styles: Sequence[Tensor], root: str, alphas: Alphas = ()
) -> tuple[Tensor, list[Tensor]]:
    """Returns the pictures unchanged: the result has the painting's colours."""
    del root, alphas
    return content, list(styles)


def _to_luminance(
    content: Tensor, styles: Sequence[Tensor], root: str, alphas: Alphas = ()
) -> tuple[Tensor, list[Tensor]]:
    """Returns grey pictures, each style's with the mean and the standard deviation of the content's."""
    del root
    grey = luminance(content)
    target = statistics(grey, _alpha(alphas, 0))
    found = [
        _match_luminance(luminance(style), _alpha(alphas, index + 1), target)
        for index, style in enumerate(styles)
    ]
    return grey, found


def _match_luminance(style: Tensor, alpha: Tensor | None, content: ColorStatistics) -> Tensor:
    """Returns L' = deviation_C / deviation_S (L - mean_S) + mean_C, clipped, of a grey image."""
    (source_mean, source), (target_mean, target) = statistics(style, alpha), content
    enough = source[0, 0] > _SMALLEST_DEVIATION**2
    gain = tf.where(enough, tf.sqrt(target[0, 0] / tf.where(enough, source[0, 0], 1.0)), 0.0)
    centred = style - tf.cast(source_mean, tf.float32)
    return _clipped(tf.cast(target_mean, tf.float32) + tf.cast(gain, tf.float32) * centred)


def _put_chroma_back(picture: Tensor, content: Tensor) -> Tensor:
    """Returns Y of the picture with I and Q of the content.

    I and Q are differences of channels: adding the same amount to all three channels changes Y alone.
    """
    content = images.resize(content, tf.shape(picture)[1], tf.shape(picture)[2])
    return content + (luminance(picture) - luminance(content))


def _grey_part(gradient: Tensor) -> Tensor:
    """Returns the gradient's mean over channels, with which a grey image stays grey.

    One channel is optimised, as in the paper: colour that the image took on would be lost at the end.
    """
    return tf.repeat(tf.reduce_mean(gradient, axis=-1, keepdims=True), 3, axis=-1)


def _match_styles(
    content: Tensor, styles: Sequence[Tensor], root: str, alphas: Alphas = ()
) -> tuple[Tensor, list[Tensor]]:
    """Returns the content and every style with the content's colours."""
    target = statistics(content, _alpha(alphas, 0))
    matched = [
        _clipped(match(style, target, root, _alpha(alphas, index + 1))) for index, style in enumerate(styles)
    ]
    return content, matched


def recolor(
    content: Tensor, found: ColorStatistics, shares: Tensor, root: str, alpha: Tensor | None = None
) -> Tensor:
    """Returns the content image with the weighted mean of the colour statistics of S styles.

    Args:
        content: [1, H, W, 3].
        found: Statistics of the styles, [S, ...] each.
        shares: [S], weights that add up to 1.
        root: One of `ROOTS`.
        alpha: Of the content image, as for `statistics`.
    """
    wide = tf.cast(shares, tf.float64)
    mean = tf.reduce_sum(wide[:, tf.newaxis] * found.mean, axis=0)
    covariance = tf.reduce_sum(wide[:, tf.newaxis, tf.newaxis] * found.covariance, axis=0)
    return _clipped(match(content, ColorStatistics(mean, covariance), root, alpha))


def _clipped(image: Tensor) -> Tensor:
    return tf.clip_by_value(image, 0.0, 1.0)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


# The choices by name.
COLORS: Mapping[str, Color] = settings.COLORS.table(
    style=Color((), _keep, None, _as_it_is, _as_it_is),
    luminance=Color(("content",), _to_luminance, _put_chroma_back, luminance, _grey_part),
    statistics=Color(("content",), _match_styles, None, _as_it_is, _as_it_is),
    # `recolor` makes the result, without steps.
    only=Color(("content", "style"), _keep, None, _as_it_is, _as_it_is),
)


def switched(index: Tensor) -> Color:
    """Returns the choice at an index of `COLORS`, a tensor [] int32.

    Its `prepare` takes one style or none.
    """

    def pick(attribute: str) -> Callable[..., Any]:
        """Returns a function that calls this attribute of the choice."""
        functions = [getattr(choice, attribute) or _first for choice in COLORS.values()]
        distinct = list(dict.fromkeys(functions))  # one branch each: TensorFlow optimises every branch
        branch = tf.gather([distinct.index(function) for function in functions], index)

        def call(*arguments: Any) -> Any:
            def called(function: Callable[..., Any]) -> Callable[[], Any]:
                return lambda: tf.nest.map_structure(tf.identity, function(*arguments))

            return tf.switch_case(branch, [called(function) for function in distinct])

        return call

    return Color((), pick("prepare"), pick("finish"), pick("to_loss_space"), pick("project"))


def _first(picture: Tensor, content: Tensor) -> Tensor:
    """Returns the picture unchanged: `Color.finish` of choices that have none."""
    del content
    return picture
