"""The regions of a request in a graph: masks and label pictures as `io.masks` reads them for a local run.

Masks are [h, w, R] float32 in [0, 1] at the size of the picture that they belong to. A colour is the number
0xrrggbb. Checks fail with INVALID_ARGUMENT and name the picture at fault.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.io import masks
from nst_tf.serving import codec
from nst_tf.tensors import Tensor

_MASK, _CONTENT, _STYLE = "content_mask", "content_regions", "style_regions"

# The only region where there are no label pictures; no colour.
_ALL = -1

# Fills up the colours of a picture with fewer than `MAX_REGIONS`.
_NONE = -2

_BLACK = 0x000000

# Masks of so many regions take as much memory as decoding a picture; of more the pictures must be smaller.
_REGIONS_AT_FULL_SIZE = 4

_HEX = list("0123456789abcdef")
_SHIFTS = (20, 16, 12, 8, 4, 0)  # of the six digits of a colour
_IS_COLOR = "#[0-9a-fA-F]{6}"


class Files(NamedTuple):
    """The files of a request's regions; empty strings where there are none."""

    mask: Tensor  # [] string
    content: Tensor  # [] string, the photograph's label picture
    styles: Tensor  # [K] string, of each style that counts its label picture, or "#rrggbb"
    names: Tensor  # [K] string, what messages call these


class Reader:
    """Reads masks and label pictures up to a size."""

    def __init__(self, max_pixels: int) -> None:
        """Takes the most pixels of a picture."""
        self._max_pixels = max_pixels
        # Not inlined, so that TensorFlow optimises each once, however often a graph has it.
        text, sizes = tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int32)
        colors = tf.TensorSpec([None], tf.int32)
        self._style_masks = tensors.noinline_function(
            functools.partial(self._of_colors, kind=_STYLE), input_signature=[text, text, colors, sizes]
        )
        self._style_colors = tensors.noinline_function(
            functools.partial(self._colors_of, kind=_STYLE), input_signature=[text, text]
        )

    def colors(self, files: Files) -> Tensor:
        """Returns the colours of the regions, [R] int32, ascending; one that is none without label pictures.

        Fails unless label pictures are there for the photograph and for each style, with the same colours.
        """
        has_content = tf.strings.length(files.content) > 0
        missing = tf.reduce_sum(tf.cast(tf.equal(tf.strings.length(files.styles), 0), tf.int32))
        count = tf.size(files.styles)
        there = codec.check(
            tf.equal(missing, tf.where(has_content, 0, count)),
            f"{_STYLE}: ",
            count - missing,
            " for ",
            count,
            f" styles; allowed: one for each with {_CONTENT}, none without",
        )
        has_content = codec.with_checks([there], has_content)
        return tf.cond(has_content, lambda: self._matched(files), lambda: tf.constant([_ALL]))

    def content_masks(self, files: Files, colors: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the photograph's masks [h, w, R], and the colours of these regions [R].

        The mask takes away from every region; one of which nothing is left is dropped.

        Args:
            files: Of the request.
            colors: As `colors` returns them.
            size: [2] int32, height and width of the photograph.
        """
        painted = self._of_colors(files.content, tf.constant(_CONTENT), colors, size, kind=_CONTENT)

        def with_mask() -> Tensor:
            guide = _fitted(self._mask(files.mask)[..., tf.newaxis], size, tf.constant(_MASK))
            return painted * guide

        painted = tf.cond(tf.strings.length(files.mask) > 0, with_mask, lambda: painted)
        is_left = tf.reduce_any(painted > 0, axis=[0, 1])
        something = codec.check(
            tf.reduce_any(is_left),
            f"{_MASK}: it is black on all that {_CONTENT} gives a colour, so that nothing would be painted;"
            " white is where the style goes",
        )
        left = codec.with_checks([something], tf.where(is_left)[:, 0])
        return tf.gather(painted, left, axis=-1), tf.gather(colors, left)

    def style_masks(self, file: Tensor, name: Tensor, colors: Tensor, size: Tensor) -> Tensor:
        """Returns a style's masks [h, w, R]; 0 everywhere of a region that it lacks.

        Args:
            file: [] string, its label picture.
            name: [] string, what messages call that.
            colors: [R] int32, of the regions.
            size: [2] int32, height and width of the style picture.
        """
        found: Tensor = self._style_masks(file, name, colors, size)
        return found

    def _of_colors(self, file: Tensor, name: Tensor, colors: Tensor, size: Tensor, *, kind: str) -> Tensor:
        """Returns the masks of colours in a label picture, [h, w, R]; ones where it is all one region."""
        regions = tf.size(colors)
        most = _REGIONS_AT_FULL_SIZE * self._max_pixels
        small = codec.check(
            tf.cast(tf.reduce_prod(tf.cast(size, tf.int64)), tf.float64) * tf.cast(regions, tf.float64)
            <= most,
            *(name, ": ", regions, " regions of ", size[1], " x ", size[0]),
            f" pixels; allowed: {most} pixels in all regions together",
        )
        regions = codec.with_checks([small], regions)

        def labelled() -> Tensor:
            codes = self._codes(file, name, kind)
            return _fitted(tf.cast(tf.equal(codes[..., tf.newaxis], colors), tf.float32), size, name)

        def whole() -> Tensor:
            own = tf.cond(
                _is_color(file),
                lambda: tf.cast(tf.equal(_parsed(file), colors), tf.float32),
                lambda: tf.ones([regions]),
            )
            return tf.broadcast_to(own, tf.concat([size, [regions]], axis=0))

        is_whole = tf.equal(tf.strings.length(file), 0) | _is_color(file)
        return tf.cond(is_whole, whole, labelled)

    def _matched(self, files: Files) -> Tensor:
        """Returns the colours that the photograph's label picture shares with those of the styles, [R]."""
        content = self._colors_of(files.content, tf.constant(_CONTENT), kind=_CONTENT)
        styles = tf.map_fn(
            lambda parts: self._style_colors(*parts),
            (files.styles, files.names),
            fn_output_signature=tf.TensorSpec([masks.MAX_REGIONS], tf.int32),
            parallel_iterations=1,
        )
        common = _shared(content, tf.reshape(styles, [-1]))
        each = tf.unique(tf.concat([content, tf.reshape(styles, [-1])], axis=0)).y
        is_alone = ~_is_in(each, common) & (each != _BLACK) & (each != _NONE)
        alone = tf.sort(tf.boolean_mask(each, is_alone))
        partners = codec.check(
            tf.equal(tf.size(alone), 0) & (tf.size(common) > 0),
            "labels: ",
            tf.where(
                tf.size(alone) > 0,
                tf.strings.join([_listed(alone), " has no partner"]),
                "no colour in common",
            ),
            f"; {_CONTENT}: ",
            _listed(content),
            f"; {_STYLE}: ",
            tf.strings.reduce_join(tf.map_fn(_listed, styles, fn_output_signature=tf.string), separator=", "),
            f"; every colour but black must be in {_CONTENT} and in those of a style (JPEG changes colours:"
            " keep labels as PNG)",
        )
        has_common = tf.reduce_any(_is_in(styles, common), axis=-1)
        each_has = codec.check(
            tf.reduce_all(has_common),
            tf.strings.reduce_join(tf.boolean_mask(files.names, ~has_common), separator=", "),
            f": nothing but black, which {_CONTENT} does not have; give it colours of those",
        )
        return tf.sort(codec.with_checks([partners, each_has], common))

    def _colors_of(self, file: Tensor, name: Tensor, *, kind: str) -> Tensor:
        """Returns the colours of a label picture, [MAX_REGIONS] int32, filled up; fails if it has more."""
        found = tf.cond(
            _is_color(file),
            lambda: _parsed(file)[tf.newaxis],
            lambda: tf.unique(tf.reshape(self._codes(file, name, kind), [-1])).y,
        )
        most = masks.MAX_REGIONS
        few = codec.check(
            tf.size(found) <= most,
            name,
            ": ",
            tf.size(found),
            f" colours; allowed: at most {most}. JPEG and smoothed edges make thousands: paint flat colours"
            " without smoothing (antialiasing) and save as PNG",
        )
        checked = codec.with_checks([few], found)
        filled = tf.pad(checked, [[0, most - tf.size(checked)]], constant_values=_NONE)
        return tf.ensure_shape(filled, [most])

    def _codes(self, file: Tensor, name: Tensor, kind: str) -> Tensor:
        """Returns the colours of a label picture's pixels, [h, w] int32; black what is transparent."""
        levels = codec.decode_levels(file, name, kind, self._max_pixels)
        numbers = tf.cast(levels, tf.int32)
        codes = numbers[..., 0] * 2**16 + numbers[..., 1] * 2**8 + numbers[..., 2]
        return tf.where(numbers[..., 3] > 0, codes, _BLACK)

    def _mask(self, file: Tensor) -> Tensor:
        """Returns a mask, [h, w]; fails if it is black everywhere."""
        levels = codec.values(codec.decode_levels(file, _MASK, _MASK, self._max_pixels))
        colors = tf.cast(levels[..., :3] * levels[..., 3:], tf.float64)
        red, green, blue = (
            share * channel
            for share, channel in zip(masks.LUMA_1000, tf.unstack(colors, axis=-1), strict=True)
        )
        # Divided by a tensor: TensorFlow turns a division by a constant into a product.
        mask = tf.math.divide_no_nan(red + green + blue, tf.constant(1000.0, tf.float64))
        seen = codec.check(
            tf.reduce_any(mask > 0),
            f"{_MASK}: black everywhere, so that nothing would be painted; white is where the style goes"
            " (what is transparent counts as black)",
        )
        return codec.with_checks([seen], tf.cast(mask, tf.float32))


def _is_color(text: Tensor) -> Tensor:
    """Returns whether a text, [] string, is "#rrggbb"."""
    short = tf.where(tf.equal(tf.strings.length(text), 7), text, "")
    return tf.strings.regex_full_match(short, _IS_COLOR)


def _parsed(text: Tensor) -> Tensor:
    """Returns the colour "#rrggbb" as a number, [] int32."""
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(text, 1, 6), tf.uint8), tf.int32)
    # The letters a to f begin at 97 in ASCII, and A to F 32 before them.
    values = tf.where(digits < 65, digits - 48, tf.bitwise.bitwise_or(digits, 32) - 97 + 10)
    return tf.reduce_sum(tf.bitwise.left_shift(values, tf.constant(_SHIFTS)))


def _listed(colors: Tensor) -> Tensor:
    """Returns colours [n] as a text, [] string, ascending."""
    known = tf.sort(tf.boolean_mask(colors, colors != _NONE))
    shifted = tf.bitwise.right_shift(known[:, tf.newaxis], tf.constant(_SHIFTS))
    digits = tf.strings.reduce_join(tf.gather(tf.constant(_HEX), tf.bitwise.bitwise_and(shifted, 15)), axis=1)
    return tf.strings.reduce_join(tf.strings.join(["#", digits]), separator=" ")


def _is_in(colors: Tensor, others: Tensor) -> Tensor:
    """Returns for each colour, of any shape, whether it is among others [n]."""
    return tf.reduce_any(tf.equal(colors[..., tf.newaxis], others), axis=-1)


def _shared(colors: Tensor, others: Tensor) -> Tensor:
    """Returns the colours that are among others too, without what fills up."""
    return tf.boolean_mask(colors, _is_in(colors, others) & (colors != _NONE))


@tensors.noinline_function(
    input_signature=[
        tf.TensorSpec([None, None, None], tf.float32),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.string),
    ]
)
def _fitted(found: Tensor, size: Tensor, name: Tensor) -> Tensor:
    """Returns masks [h, w, R] at the size of their picture, as `io.masks` does: means where they shrink.

    Sums in float64, in Pillow's order, so that not even the last bit differs.
    """
    own = tf.shape(found)[:2]
    sides = [tf.cast(side, tf.float64) for side in (*tf.unstack(own), *tf.unstack(size))]
    ratio = (sides[1] * sides[2]) / (sides[0] * sides[3])
    alike = codec.check(
        tf.abs(ratio - 1) <= masks.RATIO_TOLERANCE,
        *(name, ": ", own[1], " x ", own[0], " pixels for a picture of ", size[1], " x ", size[0]),
        "; the aspect ratios may differ by 1 % at most: give it the size of the picture",
    )
    found = codec.with_checks([alike], found)
    shrinks = tf.reduce_all(own >= size)

    def resized() -> Tensor:
        wide = _resampled(tf.transpose(found, [1, 0, 2]), size[1], shrinks)
        return tf.clip_by_value(_resampled(tf.transpose(wide, [1, 0, 2]), size[0], shrinks), 0.0, 1.0)

    return tf.cond(tf.reduce_all(tf.equal(own, size)), lambda: found, resized)


def _resampled(rows: Tensor, height: Tensor, is_box: Tensor) -> Tensor:
    """Returns rows [h, w, R] resampled to a height as by Pillow: by a box filter, or a triangle's.

    `ImagingResample` in Pillow: centres of pixels are at halves, the filter is as wide as a pixel of the
    smaller picture, weights add up to 1, and a row is the float32 of a sum in float64.
    """
    before = tf.shape(rows)[0]
    scale = tf.cast(before, tf.float64) / tf.cast(height, tf.float64)
    wide = tf.maximum(scale, 1.0)
    support = tf.where(is_box, tf.constant(0.5, tf.float64), 1.0) * wide
    center = (tf.cast(tf.range(height), tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(center - support + 0.5, tf.int32), 0)
    last = tf.minimum(tf.cast(center + support + 0.5, tf.int32), before)
    inverse = tf.ones([], tf.float64) / wide

    def weight(tap: Tensor) -> Tensor:
        place = (tf.cast(first + tap, tf.float64) - center + 0.5) * inverse
        box = tf.cast((place > -0.5) & (place <= 0.5), tf.float64)
        triangle = tf.maximum(1.0 - tf.abs(place), 0.0)
        return tf.where(first + tap < last, tf.where(is_box, box, triangle), 0.0)

    taps = tf.reduce_max(last - first)
    total = _sum_over(taps, weight, tf.zeros_like(center))

    def share(tap: Tensor) -> Tensor:
        own = tf.math.divide_no_nan(weight(tap), total)[:, tf.newaxis, tf.newaxis]
        return own * tf.cast(tf.gather(rows, tf.minimum(first + tap, before - 1)), tf.float64)

    shape = tf.concat([[height], tf.shape(rows)[1:]], axis=0)
    resampled = _sum_over(taps, share, tf.zeros(shape, tf.float64))
    return tf.ensure_shape(tf.cast(resampled, tf.float32), [None, *rows.shape[1:]])


def _sum_over(count: Tensor, term: Callable[[Tensor], Tensor], zeros: Tensor) -> Tensor:
    """Returns the sum of term(0), term(1) and so on, in this order."""
    return tf.while_loop(
        lambda index, _: index < count,
        lambda index, total: (index + 1, total + term(index)),
        (tf.constant(0), zeros),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None] * zeros.shape.rank)),
        parallel_iterations=1,
    )[1]
