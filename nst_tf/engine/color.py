"""The colours of the result: the photograph's, the painting's, or a mixture.

A choice of colours changes the pictures before a run and its picture afterwards.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1]; statistics of colours are float64. The methods are those of
Gatys, Bethge, Hertzmann and Shechtman, "Preserving Color in Neural Artistic Style Transfer"
(arXiv:1606.05897), and "match" is that of Kolkin and others 2022, "Neural Neighbor Style Transfer"
(arXiv:2203.13215). All functions are pure and trace with unknown sizes. Pixels go through no matrix product,
which GPUs would round to ten bits.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import errors, tensors
from nst_tf.config import settings
from nst_tf.engine import images, oklab
from nst_tf.tensors import Tensor

# Y of YIQ, the space the paper names (ITU-R BT.601, 2.5.1).
_LUMINANCE = (0.299, 0.587, 0.114)

# A standard deviation of one level of 255. Smaller variation is the rounding of a picture file, which must
# not be amplified. The authors' program adds about its square, 1e-5, to all variances.
_SMALLEST_DEVIATION = 1 / 255

# The most pixels of a painting that are read for its palette: a million tell the covariance to a thousandth.
_PALETTE_PIXELS = 2**20

# Of the filter on a and b, from the authors' program (utils/colorization.py): how often it is applied, and by
# how much weights fall with a difference in lightness, to 1/e over a tenth of the way from black to white.
_FILTERINGS, _EDGE_SLOPE = 5, 10.0
_ONE_AROUND = [[0, 0], [1, 1], [1, 1], [0, 0]]


class ColorStatistics(NamedTuple):
    """Mean and covariance of an image's C channels, which `match` makes equal to those of another."""

    mean: Tensor  # [C] float64
    covariance: Tensor  # [C, C] float64, over all pixels


class Palette(NamedTuple):
    """The colours of the paintings in OkLab, one number for each of L, a and b."""

    statistics: ColorStatistics
    low: Tensor  # [3] float32, the smallest value of each
    high: Tensor  # [3] float32, the largest


_ANY_IMAGE, _ANY_ALPHA = tf.TensorSpec([1, None, None, 3]), tf.TensorSpec([1, None, None, 1])
# The type of a palette.
PALETTE = Palette(
    ColorStatistics(tf.TensorSpec([3], tf.float64), tf.TensorSpec([3, 3], tf.float64)),
    tf.TensorSpec([3], tf.float32),
    tf.TensorSpec([3], tf.float32),
)


class Reference(NamedTuple):
    """What a picture is finished by."""

    content: Tensor  # [1, H, W, 3], the photograph, not prepared
    alpha: Tensor | None = None  # [1, H, W, 1], how much each pixel counts; None where all do alike
    palette: Palette | None = None  # None only for choices without `Color.has_palette`


class Color(NamedTuple):
    """One choice of colours."""

    needs: tuple[str, ...]  # pictures that it cannot do without, of "content" and "style"
    prepare: Callable[..., tuple[Tensor, list[Tensor]]]
    """(content image, style images, root, alphas) -> content image and style images to run with; alphas as in
    `Alphas`, () where all pixels are seen"""
    finish: Callable[[Tensor, Reference, str], Tensor] | None
    """(picture of the run, reference of its size, root) -> the picture to show, not clipped; None where the
    two are the same"""
    to_loss_space: Callable[[Tensor], Tensor]
    """picture to show -> the image of which its losses are computed"""
    project: Callable[[Tensor], Tensor]
    """gradient by the image -> the part of it that keeps the image in the loss space"""
    has_palette: bool = False  # whether `finish` needs the paintings' palette


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
    """Returns the statistics of an image's colours, or of any channels.

    Rows are summed in float32, whose rounding errors stay small over so few pixels, and then in float64.

    Args:
        image: [1, H, W, C].
        alpha: [1, H, W, 1], how much each pixel counts; None where all do alike.
    """
    if alpha is not None:
        return _weighted_statistics(image[0], alpha[0, ..., 0])
    mean = tf.reduce_mean(tf.cast(tf.reduce_mean(image[0], axis=1), tf.float64), axis=0)
    channels = tf.unstack(image[0] - tf.cast(mean, tf.float32), axis=-1)
    rows = tf.stack([[tf.reduce_mean(one * other, axis=1) for other in channels] for one in channels])
    return ColorStatistics(mean, tf.reduce_mean(tf.cast(rows, tf.float64), axis=-1))


def _weighted_statistics(image: Tensor, weights: Tensor) -> ColorStatistics:
    """Returns the statistics of an image [H, W, C] whose pixels have weights [H, W]."""
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
        image: [1, H, W, C].
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
    """Returns the image [1, H, W, C] with a matrix [D, C] applied to every pixel."""
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


# Matrices A of `match` by name: (covariance, target covariance), [C, C] each -> A, [C, C].
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
    """Returns a grey image with the content's mean and deviation, clipped."""
    return _clipped(_rescaled(style, alpha, content))


def _rescaled(image: Tensor, alpha: Tensor | None, target: ColorStatistics) -> Tensor:
    """Returns L' = target deviation / deviation (L - mean) + target mean, of one channel or alike ones.

    Without an eigenvalue, which TensorFlow fails to find of NaN, as the picture of a diverged run has.
    """
    mean, covariance = statistics(image, alpha)
    enough = covariance[0, 0] > _SMALLEST_DEVIATION**2
    gain = tf.where(enough, tf.sqrt(target.covariance[0, 0] / tf.where(enough, covariance[0, 0], 1.0)), 0.0)
    centred = image - tf.cast(mean, tf.float32)
    return tf.cast(target.mean, tf.float32) + tf.cast(gain, tf.float32) * centred


def _put_chroma_back(picture: Tensor, reference: Reference, root: str) -> Tensor:
    """Returns Y of the picture with I and Q of the content.

    I and Q are differences of channels: adding the same amount to all three channels changes Y alone.
    """
    del root
    content = reference.content
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
    return _clipped(match(content, _mean_statistics(found, shares), root, alpha))


def _mean_statistics(found: ColorStatistics, shares: Tensor) -> ColorStatistics:
    """Returns the weighted means of statistics [S, ...]; shares as for `recolor`."""
    wide = tf.cast(shares, tf.float64)
    return ColorStatistics(
        tf.reduce_sum(wide[:, tf.newaxis] * found.mean, axis=0),
        tf.reduce_sum(wide[:, tf.newaxis, tf.newaxis] * found.covariance, axis=0),
    )


def palette(image: Tensor, alpha: Tensor | None = None, most_pixels: int = _PALETTE_PIXELS) -> Palette:
    """Returns the palette of a painting.

    Args:
        image: [1, H, W, 3].
        alpha: Of the image, as for `statistics`.
        most_pixels: Of a painting with more, every second, third ... row and column is read.
    """
    return _traced_palette(alpha is not None, most_pixels)(image, [] if alpha is None else [alpha])


@functools.lru_cache(maxsize=8)
def _traced_palette(has_alpha: bool, most_pixels: int) -> Any:
    """Returns the function (image, alphas) -> `palette`, of any size; not inlined, as for `_repaint`."""

    def traced(image: Tensor, alphas: Alphas) -> Palette:
        pixels = tf.cast(tf.shape(image)[1], tf.float32) * tf.cast(tf.shape(image)[2], tf.float32)
        step = tf.maximum(tf.cast(tf.math.ceil(tf.sqrt(pixels / most_pixels)), tf.int32), 1)
        lab, alpha = oklab.of_srgb(_thinned(image, step)), _alpha(alphas, 0)
        if alpha is None:
            return Palette(statistics(lab), tf.reduce_min(lab, (0, 1, 2)), tf.reduce_max(lab, (0, 1, 2)))
        alpha = _thinned(alpha, step)
        low, high = (tf.where(alpha > 0, lab, end) for end in (lab.dtype.max, lab.dtype.min))
        return Palette(statistics(lab, alpha), tf.reduce_min(low, (0, 1, 2)), tf.reduce_max(high, (0, 1, 2)))

    specs = [_ANY_IMAGE, [_ANY_ALPHA] * has_alpha]
    return tensors.noinline_function(traced, input_signature=specs)


def _thinned(image: Tensor, step: Tensor) -> Tensor:
    """Returns one of every `step` rows and columns of an image [1, H, W, C]."""
    return tf.ensure_shape(image[:, ::step, ::step], [1, None, None, image.shape[-1]])


def blended(found: Palette, shares: Tensor) -> Palette:
    """Returns the palette of S paintings: the weighted mean of their statistics, and the range of all.

    Args:
        found: Of each painting, [S, ...] each.
        shares: [S], weights above 0 that add up to 1.
    """
    low, high = tf.reduce_min(found.low, axis=0), tf.reduce_max(found.high, axis=0)
    return Palette(_mean_statistics(found.statistics, shares), low, high)


def _repaint(picture: Tensor, reference: Reference, root: str) -> Tensor:
    """Returns the picture with the paintings' palette, in places as the photograph has its colours.

    L of the picture and a, b of the photograph take the palette's mean and (co)variance; a, b are smoothed
    along the edges of L; all are clamped to the palette's range. Unlike here, the authors' program matches L
    by clamping alone, and takes sRGB for linear light.
    """
    content, alpha, palette = reference
    assert palette is not None  # which `Color.has_palette` asks for
    return _traced_repainting(root, alpha is not None)(
        picture, content, palette, [] if alpha is None else [alpha]
    )


@functools.lru_cache(maxsize=8)
def _traced_repainting(root: str, has_alpha: bool) -> Any:
    """Returns the function (picture, content, palette, alphas) -> `_repaint`, of pictures of any size.

    Not inlined, so that TensorFlow optimises it, and rounds, in a server's graph as it does here.
    """

    def traced(picture: Tensor, content: Tensor, palette: Palette, alphas: Alphas) -> Tensor:
        (target, low, high), alpha = palette, _alpha(alphas, 0)
        of_lightness = ColorStatistics(target.mean[:1], target.covariance[:1, :1])
        lightness = images.by_rows(oklab.lightness, [picture], 1)
        lightness = tf.clip_by_value(_rescaled(lightness, alpha, of_lightness), low[0], high[0])
        chroma = images.by_rows(oklab.chroma, [content], 2)
        of_chroma = ColorStatistics(target.mean[1:], target.covariance[1:, 1:])
        chroma = match(chroma, of_chroma, root, alpha)
        # A loop, whose graph has the filter once.
        _, chroma = tf.while_loop(
            lambda count, _: count < _FILTERINGS,
            lambda count, chroma: (count + 1, filtered(chroma, lightness, alpha)),
            (tf.constant(0), chroma),
            parallel_iterations=1,
        )
        chroma = tf.clip_by_value(chroma, low[1:], high[1:])
        return images.by_rows(oklab.to_srgb, [lightness, chroma], 3)

    specs = [_ANY_IMAGE, _ANY_IMAGE, PALETTE, [_ANY_ALPHA] * has_alpha]
    return tensors.noinline_function(traced, input_signature=specs)


def filtered(values: Tensor, guide: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Returns means over 3 x 3 pixels, each weighted by how near its guide is to that of the middle one.

    Args:
        values: [1, H, W, C].
        guide: [1, H, W, 1] in [0, 1].
        alpha: [1, H, W, 1], a further weight of each pixel; 0 comes out where no pixel has any.
    """
    given = [each for each in (values, guide, alpha) if each is not None]
    padded = [tf.pad(each, _ONE_AROUND, "SYMMETRIC") for each in given]  # the pixels at the edge once more
    return images.by_rows(_filtered_rows, padded, values.shape[-1], around=1)


def _filtered_rows(values: Tensor, guide: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Returns `filtered` without the outermost pixels, which have no neighbours."""
    height, width = tf.shape(guide)[1] - 2, tf.shape(guide)[2] - 2
    guide, own = guide[..., 0], guide[:, 1:-1, 1:-1, 0]
    channels = tf.unstack(values, axis=-1)  # TensorFlow is slow over a last axis so short
    totals, weights = [tf.zeros([])] * len(channels), tf.zeros([])
    for row, column in itertools.product(range(3), repeat=2):
        there = (slice(None), slice(row, row + height), slice(column, column + width))
        weight = tf.exp(-_EDGE_SLOPE * tf.abs(guide[there] - own))
        weight = weight if alpha is None else weight * alpha[..., 0][there]
        totals = [total + weight * channel[there] for total, channel in zip(totals, channels, strict=True)]
        weights += weight
    return tf.stack([tf.math.divide_no_nan(total, weights) for total in totals], axis=-1)


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
    match=Color(("content", "style"), _keep, _repaint, _as_it_is, _as_it_is, has_palette=True),
)


def switched(index: Tensor) -> Color:
    """Returns the choice at an index of `COLORS`, a tensor [] int32.

    Its `prepare` takes one style or none; its `finish` needs a palette, whatever one where the choice needs
    none.
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

    return Color(
        (), pick("prepare"), pick("finish"), pick("to_loss_space"), pick("project"), has_palette=True
    )


def _first(picture: Tensor, reference: Reference, root: str) -> Tensor:
    """Returns the picture unchanged: `Color.finish` of choices that have none."""
    del reference, root
    return picture
