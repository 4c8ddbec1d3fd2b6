"""What masks and label pictures mean: which pixels of each picture belong to which region.

A mask is grey, white where the style goes. A label picture is painted in flat colours, one for each region;
the same colour in a style's label picture says which part of that style the region is to look like. Masks are
[H, W, R] float32 in [0, 1], at the size of the picture that they belong to; sizes are (height, width).
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.io import pictures
from nst_tf.io.pictures import Picture

Size = tuple[int, int]  # height, width

# A region costs a mask as large as the picture and a Gram matrix in each layer of each step. No more colours
# than the palette of sixteen that simple painting programs offer are what a person has painted on purpose;
# a JPEG's have thousands.
MAX_REGIONS = 16

# Of the aspect ratio, as a share: rounding when a picture of 100 pixels or more was scaled stays below it.
RATIO_TOLERANCE = 0.01

# Unlabelled where it has no partner: what a label picture is before anything is painted on it.
_BLACK = 0x000000

# The name of the only region.
_ALL = "#ffffff"

# Pillow's "L", ITU-R BT.601 luma, in thousandths: whole numbers, so that white is exactly 1.
LUMA_1000 = (299.0, 587.0, 114.0)


class Regions(NamedTuple):
    """Which pixels belong to which of R regions; one outside all of them gets no style."""

    colors: tuple[str, ...]  # "#rrggbb" of each region, ascending; "#ffffff" for a mask alone
    content: np.ndarray  # [H, W, R], none of them 0 everywhere
    styles: tuple[np.ndarray, ...]  # [h_k, w_k, R] each; 0 everywhere where a style has no such region
    # Of the content picture and of each style: how much of a pixel is seen, [H, W] in [0, 1]; None for an
    # opaque one, () where all are. A pixel counts by as much.
    alphas: tuple[np.ndarray | None, ...] = ()

    def alpha(self, index: int) -> np.ndarray | None:
        """Returns the alpha of the content picture, 0, or of a style, 1 and above."""
        return self.alphas[index] if self.alphas else None


def plan(
    content_size: Size,
    style_sizes: Sequence[Size],
    mask: Picture | None = None,
    content_regions: Picture | None = None,
    style_regions: Sequence[Picture] | None = None,
    needed: pictures.Needed | None = None,
) -> Regions | None:
    """Returns the regions that a user's mask and label pictures ask for; None without any.

    A mask alone is one region, whose style is all of each style picture. With labels the mask takes away from
    every region; one of which nothing is left is dropped.

    Args:
        content_size: Of the picture to be painted, upright.
        style_sizes: Of each style picture, upright.
        mask: White where the style goes; see `read_mask`.
        content_regions: The picture's regions; see `read_labels`.
        style_regions: For each style a label picture, or a colour "#rrggbb" that stands for all of it.
        needed: For the mask, as for `pictures.read`.

    Raises:
        InputError: Label pictures are missing or too many, a size does not fit, colours do not match, or
            nothing is left to paint.
    """
    labelled = _labelled(content_size, style_sizes, content_regions, style_regions)
    if mask is None:
        return labelled
    read = read_mask(mask, "content_mask", needed)
    guide = _fitted(read[..., np.newaxis], content_size, "content_mask")
    if labelled is None:
        return Regions((_ALL,), guide, tuple(np.ones((*size, 1), np.float32) for size in style_sizes))
    masked = labelled._replace(content=labelled.content * guide)
    return _with_pixels(
        masked,
        masked.content,
        "content_mask: it is black on all that content_regions gives a colour, so that nothing would be"
        " painted; white is where the style goes",
    )


def with_alpha(
    regions: Regions | None, sizes: Sequence[Size], alphas: Sequence[np.ndarray | None]
) -> Regions | None:
    """Returns regions in which pixels count as far as they are seen; one of everything where there are none.

    Args:
        regions: What a user's masks and label pictures ask for.
        sizes: Of the picture to be painted and of each style picture.
        alphas: Of the same.

    Raises:
        InputError: Nothing of the regions is seen.
    """
    if all(alpha is None for alpha in alphas):
        return regions
    if regions is None:
        content, *styles = (np.ones((*size, 1), np.float32) for size in sizes)
        regions = Regions((_ALL,), content, tuple(styles))
    seen = regions.content if alphas[0] is None else regions.content * (alphas[0] > 0)[..., np.newaxis]
    return _with_pixels(
        regions._replace(alphas=tuple(alphas)),
        seen,
        "content: all that a mask or regions choose is transparent, so that nothing would be painted",
    )


def _with_pixels(regions: Regions, counted: np.ndarray, nothing: str) -> Regions:
    """Returns those of some regions of which anything counts.

    Args:
        regions: Which.
        counted: [H, W, R], how much of each pixel of the content picture counts.
        nothing: The message where nothing counts.

    Raises:
        InputError: Nothing counts.
    """
    left = np.flatnonzero(counted.any(axis=(0, 1)))
    if not left.size:
        raise errors.InputError(nothing)
    return regions._replace(
        colors=tuple(regions.colors[index] for index in left),
        content=regions.content[..., left],
        styles=tuple(style[..., left] for style in regions.styles),
    )


def read_mask(picture: Picture, name: str = "mask", needed: pictures.Needed | None = None) -> np.ndarray:
    """Reads a mask, upright, as [H, W] float32 in [0, 1]: 1 where it is white; colours count by luminance.

    What is transparent is black: nothing has been painted there.

    Raises:
        InputError: The file is missing or no picture, or it is black everywhere.
    """
    channels = np.moveaxis(pictures.read(picture, name, needed, pictures.BLACK)[0], -1, 0)
    # A channel at a time, in float64.
    mask = sum(share * channel.astype(np.float64) for share, channel in zip(LUMA_1000, channels, strict=True))
    mask /= 1000.0
    if not mask.any():
        raise errors.InputError(
            f"{name}: black everywhere, so that nothing would be painted; white is where the style goes"
            " (what is transparent counts as black)"
        )
    return mask.astype(np.float32)


def read_labels(picture: Picture, name: str = "labels", size: Size = (1, 1)) -> np.ndarray:
    """Reads a label picture, upright, as [H, W, 3] uint8.

    The colours are the file's own numbers: its colour profile is not applied, since the same colour must
    match in files with and without one. What is transparent is black.

    Args:
        picture: A path, a Pillow image, an array as `pictures.read` takes it, or a colour "#rrggbb".
        name: What the picture is, for error messages.
        size: Of the picture that a colour fills.

    Raises:
        InputError: The file is missing or no picture, or the colour is none.
    """
    if is_color(picture):
        return np.broadcast_to(np.array(_parsed(str(picture), name), np.uint8), (*size, 3))
    return pictures.read_codes(picture, name)


def is_color(picture: Picture) -> bool:
    """Returns whether a label picture is given as a colour, which no file is called."""
    return isinstance(picture, str) and picture.startswith("#") and not os.path.exists(picture)


def match(content_regions: np.ndarray, style_regions: Sequence[np.ndarray]) -> Regions:
    """Returns the regions of label pictures [H, W, 3] uint8: one for each colour of the content's.

    Every colour must be in the content's picture and in at least one style's; black without such a partner is
    unlabelled, and not used.

    Raises:
        InputError: There are too many colours, or some have no partner.
    """
    named = {"content_regions": _codes(content_regions)}
    named |= {
        errors.numbered("style_regions", index): _codes(labels) for index, labels in enumerate(style_regions)
    }
    found = {name: _colors(codes, name) for name, codes in named.items()}
    content, *styles = found.values()
    common = content & set().union(*styles)
    alone = content.union(*styles) - common - {_BLACK}
    if alone or not common:
        what = f"{_listed(alone)} has no partner" if common else "no colour in common"
        listed = "; ".join(f"{name}: {_listed(colors)}" for name, colors in found.items())
        raise errors.InputError(
            f"labels: {what}; {listed}; every colour but black must be in content_regions and in a style's"
            " (JPEG changes colours: keep labels as PNG)"
        )
    for name, colors in found.items():
        if not colors & common:
            raise errors.InputError(
                f"{name}: nothing but black, which content_regions does not have; give it colours of those"
            )
    order = sorted(common)
    content_masks, *style_masks = (_masks(codes, order) for codes in named.values())
    return Regions(tuple(map(_hex, order)), content_masks, tuple(style_masks))


def _labelled(
    content_size: Size,
    style_sizes: Sequence[Size],
    content_regions: Picture | None,
    style_regions: Sequence[Picture] | None,
) -> Regions | None:
    """Returns the regions of label pictures, at the sizes of the pictures they belong to."""
    if content_regions is None and not style_regions:
        return None
    if content_regions is None or not style_regions:
        missing, given = ("content_regions", "style_regions")[:: 1 if content_regions is None else -1]
        raise errors.InputError(
            f"{missing}: missing; {given} needs them, since colours are matched between both"
        )
    if len(style_regions) != len(style_sizes):
        raise errors.InputError(
            f"style_regions: {len(style_regions)} for {len(style_sizes)} styles; give one for each, a picture"
            " or a colour such as #ff0000 for all of a style"
        )
    names = ["content_regions", *(errors.numbered("style_regions", n) for n in range(len(style_sizes)))]
    sizes = [content_size, *style_sizes]
    labels = [read_labels(*one) for one in zip([content_regions, *style_regions], names, sizes, strict=True)]
    matched = match(labels[0], labels[1:])
    masks = [matched.content, *matched.styles]
    content, *styles = (_fitted(*one) for one in zip(masks, sizes, names, strict=True))
    return Regions(matched.colors, content, tuple(styles))


def _fitted(masks: np.ndarray, size: Size, name: str) -> np.ndarray:
    """Returns masks [h, w, R] at the size of their picture, float32: means where they shrink, else linear.

    Pillow sums in float64, so that ones stay exactly 1.
    """
    _check_ratio(masks.shape[:2], size, name)
    if masks.shape[:2] == tuple(size):
        return masks.astype(np.float32)
    shrinks = masks.shape[0] >= size[0] and masks.shape[1] >= size[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    one_by_one = (Image.fromarray(mask.astype(np.float32)) for mask in np.moveaxis(masks, -1, 0))
    scaled = [one.resize((size[1], size[0]), how) for one in one_by_one]
    return np.clip(np.stack([np.asarray(one) for one in scaled], axis=-1), 0.0, 1.0)


def _check_ratio(own: Sequence[int], size: Size, name: str) -> None:
    """Checks that a mask or label picture has its picture's aspect ratio within 1 %."""
    if abs(own[1] * size[0] / (own[0] * size[1]) - 1) > RATIO_TOLERANCE:
        raise errors.InputError(
            f"{name}: {own[1]} x {own[0]} pixels for a picture of {size[1]} x {size[0]}; the aspect ratios"
            " may differ by 1 % at most: give it the picture's size"
        )


def _parsed(code: str, name: str) -> tuple[int, ...]:
    """Returns red, green and blue of "#rrggbb"."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", code):
        raise errors.InputError(
            f"{name}: {code!r} is neither a file nor a colour; write #rrggbb, as in #ff0000"
        )
    return tuple(bytes.fromhex(code[1:]))


def _codes(labels: np.ndarray) -> np.ndarray:
    """Returns 0xrrggbb of each pixel, [H, W]."""
    codes = np.zeros(labels.shape[:2], np.int32)
    for channel in range(3):
        codes = codes << 8 | labels[..., channel]
    return codes


def _colors(codes: np.ndarray, name: str) -> set[int]:
    """Returns the colours of a label picture, checked for being few."""
    colors = np.unique(codes)
    if len(colors) > MAX_REGIONS:
        raise errors.InputError(
            f"{name}: {len(colors):,} colours; allowed: at most {MAX_REGIONS}. JPEG and smoothed edges make"
            " thousands: paint flat colours without smoothing (antialiasing) and save as PNG"
        )
    return set(colors.tolist())


def _masks(codes: np.ndarray, colors: Sequence[int]) -> np.ndarray:
    """Returns [H, W, R] of booleans: whether a pixel is of that colour."""
    return np.stack([codes == color for color in colors], axis=-1)


def _hex(color: int) -> str:
    return f"#{color:06x}"


def _listed(colors: set[int]) -> str:
    return " ".join(map(_hex, sorted(colors)))
