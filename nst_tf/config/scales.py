"""The sizes of a run's pictures, from its config: arithmetic only."""

import math
from typing import NamedTuple

from nst_tf import errors
from nst_tf.config.config import Config
from nst_tf.config.layers import stride


class Scale(NamedTuple):
    """One size at which the image is optimised."""

    height: int
    width: int
    num_steps: int
    share: float  # of the final size


def plan_scales(config: Config, height: int, width: int) -> tuple[Scale, ...]:
    """Returns the scales of a run on a content image of that height and width, coarse to fine.

    The coarsest one has `min_scale` pixels, if that says how many, and those between are spread as `scales`
    has them: strokes laid there are as large in a large picture as in a small one. A coarse scale at which
    the deepest layer would have fewer than 2 x 2 pixels has nothing to match; its steps go to the next one.

    Raises:
        InputError: The picture or the result is too small for the deepest layer.
    """
    needed = pixels_needed(config)
    if min(height, width) < needed:
        raise errors.InputError(
            f"picture: {width} x {height} pixels; the deepest layer chosen needs {needed} a side"
        )
    plan: list[Scale] = []
    waiting = 0
    coarsest = _coarsest(config, height, width)
    for exponent, num_steps in zip(exponents(config), config.scales.steps, strict=True):
        share = coarsest**exponent
        size = _fit(config, share, height, width)
        waiting += num_steps
        if exponent and (share >= 1 or min(size) < 2 * needed or not num_steps):
            continue
        plan.append(Scale(*size, waiting, share))
        waiting = 0
    if min(plan[-1][:2]) < needed:
        raise errors.InputError(
            f"size: the result would have {plan[-1].width} x {plan[-1].height} pixels; the deepest"
            f" layer chosen needs {needed} a side: choose a larger size"
        )
    return tuple(plan)


def style_size(config: Config, scale: Scale, height: int, width: int) -> tuple[int, int]:
    """Returns the size (height, width) of a style picture at a scale.

    That is the size by the result's own rule, or the scale's own where the config squashes style pictures,
    times `style_scale`; or what `style_size` says. A narrow picture is kept large enough for the deepest
    layer.

    Raises:
        InputError: The picture itself is smaller than that.
    """
    needed = pixels_needed(config)
    if min(height, width) < needed:
        raise errors.InputError(
            f"style: {width} x {height} pixels; the deepest layer chosen needs {needed} a side"
        )
    sized, share = style_sized(config), scale.share * config.style.scale
    if config.style.shape == "content":
        height, width = scale.height, scale.width
        if not config.style.size:
            sized, share = sized.replace(size=0), config.style.scale
    size = _fit(sized, share, height, width)
    if min(size) >= needed:
        return size
    factor = needed / min(height, width)
    return max(needed, round(height * factor)), max(needed, round(width * factor))


def style_sized(config: Config) -> Config:
    """Returns the config for a style picture, which may have its own size; no aspect ratio stretches it."""
    if config.style.size:
        config = config.replace(size=config.style.size, size_side="longest")
    return config.replace(aspect_ratio=0.0)


def exponents(config: Config) -> list[float]:
    """Returns of every scale what power of the coarsest one's share its own is: from 1 down to 0."""
    if (
        config.scales.shares[0] == 1
    ):  # all of one size: the coarse ones are skipped, as their share is not below 1
        return [1.0] * (len(config.scales.shares) - 1) + [0.0]
    return [math.log(share) / math.log(config.scales.shares[0]) for share in config.scales.shares]


def _coarsest(config: Config, height: int, width: int) -> float:
    """Returns the share of the coarsest scale: of `scales`, or as many pixels as `min_scale` says."""
    if not config.scales.min_scale:
        return config.scales.shares[0]
    side = config.scales.size or _side(config, height, width)
    return min(1.0, config.scales.min_scale / side)


def _side(config: Config, height: float, width: float) -> float:
    """Returns the side that the config measures of a picture of that height and width."""
    exact_width = height * config.scales.aspect_ratio if config.scales.aspect_ratio else width
    return {"longest": max(height, exact_width), "shortest": min(height, exact_width), "height": height}[
        config.scales.size_side
    ]


def _fit(config: Config, share: float, height: int, width: int) -> tuple[int, int]:
    """Returns (height, width) scaled so that the side that the config measures has its size."""
    exact_width = height * config.scales.aspect_ratio if config.scales.aspect_ratio else width
    factor = share * (config.scales.size / _side(config, height, width) if config.scales.size else 1.0)
    return max(1, round(height * factor)), max(1, round(exact_width * factor))


def pixels_needed(config: Config) -> int:
    """Returns how many pixels a side the deepest layer needs, to have one of its own."""
    return max(stride(layer) for layers in config.used_layers() for layer in layers)
