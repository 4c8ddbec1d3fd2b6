"""`scales` for sizes and steps that only the graph knows: the same plan, as tensors.

Arithmetic is float64, as Python's: the same operations in the same order, so that every rounding is the same.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.tensors import Tensor


class Plan(NamedTuple):
    """The scales of a run, S of them, coarse to fine."""

    heights: Tensor  # [S] int32
    widths: Tensor  # [S] int32
    num_steps: Tensor  # [S] int32
    shares: Tensor  # [S] float64, of the final size


def plan_scales(config: Config, size: Tensor, num_steps: Tensor, height: Tensor, width: Tensor) -> Plan:
    """Returns what `scales.plan_scales` does for the config with that size and so many steps in all.

    The last scale may be too small for the network; whoever calls checks it.

    Args:
        config: Says which side `size` is, the scales, and how steps are split over them.
        size: [] int32, in pixels; 0 keeps the content's own.
        num_steps: [] int32, at least 1.
        height: [] int32, of the content picture.
        width: [] int32, of the content picture.
    """
    needed = scales.pixels_needed(config)
    steps = _split(num_steps, config.scales.steps)
    waiting = tf.constant(0)
    rows, kept, shares = [], [], []
    coarsest = _coarsest(config, size, height, width)
    for index, exponent in enumerate(scales.exponents(config)):
        share = tf.pow(coarsest, tf.constant(exponent, tf.float64))
        shares.append(share)
        rows.append([*_fit(config, size, share, height, width), waiting + steps[index]])
        small = tf.minimum(rows[-1][0], rows[-1][1]) < 2 * needed
        kept.append((exponent == 0) | ~((share >= 1) | small | tf.equal(steps[index], 0)))
        waiting = tf.where(kept[-1], 0, waiting + steps[index])
    table = tf.boolean_mask(tf.stack([tf.stack(row) for row in rows]), tf.stack(kept))
    return Plan(table[:, 0], table[:, 1], table[:, 2], tf.boolean_mask(tf.stack(shares), tf.stack(kept)))


def style_size(
    config: Config, size: Tensor, plan: Plan, index: Tensor, height: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns what `scales.style_size` does for a style picture at a scale of the plan, int32 both.

    Args:
        config: As for `plan_scales`.
        size: As for `plan_scales`.
        plan: Its scales.
        index: [] int32, which of them.
        height: [] int32, of the style picture.
        width: [] int32, of the style picture.
    """
    needed, sized = scales.pixels_needed(config), scales.style_sized(config)
    share = plan.shares[index] * config.style.scale
    if config.style.size:
        size = tf.constant(config.style.size)
    if config.style.shape == "content":
        height, width = plan.heights[index], plan.widths[index]
        if not config.style.size:
            size, share = tf.constant(0), tf.constant(config.style.scale, tf.float64)
    fitted = tf.stack(_fit(sized, size, share, height, width))
    sides = tf.cast(tf.stack([height, width]), tf.float64)
    enlarged = tf.maximum(needed, _rounded(sides * (needed / tf.reduce_min(sides))))
    chosen = tf.where(tf.reduce_min(fitted) >= needed, fitted, enlarged)
    return chosen[0], chosen[1]


def _coarsest(config: Config, size: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Returns the share of the coarsest scale, [] float64."""
    if not config.scales.min_scale:
        return tf.constant(config.scales.shares[0], tf.float64)
    own = _side(config, tf.cast(height, tf.float64), tf.cast(width, tf.float64))
    side = tf.where(size > 0, tf.cast(size, tf.float64), own)
    return tf.minimum(tf.constant(1.0, tf.float64), config.scales.min_scale / side)


def _side(config: Config, height: Tensor, width: Tensor) -> Tensor:
    """Returns the side that the config measures, [] float64."""
    exact_width = height * config.scales.aspect_ratio if config.scales.aspect_ratio else width
    return _SIDES[config.scales.size_side](height, exact_width)


def _fit(config: Config, size: Tensor, share: Any, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (height, width) scaled so that the side that the config measures has its size."""
    exact_height, exact_width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    if config.scales.aspect_ratio:
        exact_width = exact_height * config.scales.aspect_ratio
    side = _side(config, exact_height, exact_width)
    factor = share * tf.where(size > 0, tf.cast(size, tf.float64) / side, 1.0)
    return tf.maximum(1, _rounded(exact_height * factor)), tf.maximum(1, _rounded(exact_width * factor))


# The side of the result that `size` is, by name: (height, width) -> pixels.
_SIDES = {"longest": tf.maximum, "shortest": tf.minimum, "height": lambda height, _: height}


def _split(total: Tensor, proportions: tuple[int, ...]) -> Tensor:
    """Returns [S] int32: whole numbers in these proportions that add up to `total`, as `config` splits."""
    products = tf.cast(total, tf.float64) * tf.constant(proportions, tf.float64)
    exact = products / tf.constant(float(sum(proportions)), tf.float64)
    parts = tf.cast(tf.floor(exact), tf.int32)
    remainder, index = exact - tf.floor(exact), tf.range(len(proportions))
    # How many others come first: larger remainders, and of equal ones the finer scale.
    first = remainder > remainder[:, tf.newaxis]
    equal = tf.equal(remainder, remainder[:, tf.newaxis]) & (index > index[:, tf.newaxis])
    rank = tf.reduce_sum(tf.cast(first | equal, tf.int32), axis=1)
    parts += tf.cast(rank < total - tf.reduce_sum(parts), tf.int32)
    # At least one at the result's own size, taken from the first of the largest.
    largest = tf.argmax(parts * len(proportions) - index, output_type=tf.int32)
    moved = tf.one_hot(len(proportions) - 1, len(proportions), dtype=tf.int32)
    moved -= tf.one_hot(largest, len(proportions), dtype=tf.int32)
    return tf.where(tf.equal(parts[-1], 0), parts + moved, parts)


def _rounded(value: Tensor) -> Tensor:
    return tf.cast(tf.round(value), tf.int32)
