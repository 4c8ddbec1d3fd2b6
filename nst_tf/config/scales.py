"""The sizes and steps of a run's scales, computed with numbers or, in a graph, with tensors.

`Scalar` is a number or a tensor, and `Arithmetic` holds the operations that differ between them. Both give
the same sizes, since both compute in double precision in the same order.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nst_tf import errors
from nst_tf.config.config import Config
from nst_tf.config.layers import GRID, stride

Scalar = Any  # a number or a tensor


class Arithmetic(NamedTuple):
    """Operations on scalars."""

    double: Callable[[Scalar], Scalar]  # integer -> the same in double precision
    divide: Callable[[Scalar, int], Scalar]
    floor: Callable[[Scalar], Scalar]  # to an integer
    round: Callable[[Scalar], Scalar]  # to an integer, halves to the even one
    power: Callable[[Scalar, float], Scalar]
    minimum: Callable[[Scalar, Scalar], Scalar]
    maximum: Callable[[Scalar, Scalar], Scalar]
    where: Callable[[Scalar, Scalar, Scalar], Scalar]  # (condition, value if it holds, value if not)


NUMBERS = Arithmetic(
    double=lambda value: value,  # Python converts integers where it divides
    divide=operator.truediv,
    floor=math.floor,
    round=round,
    power=lambda base, exponent: base**exponent,
    minimum=min,
    maximum=max,
    where=lambda condition, value, other: value if condition else other,
)


class Scale(NamedTuple):
    """One size at which the image is optimised."""

    height: Scalar
    width: Scalar
    num_steps: Scalar
    share: Scalar  # of the final size


class SizeRule(NamedTuple):
    """The rule for the size of a picture."""

    size: Scalar  # pixels of one side; 0 keeps the picture's own size
    side: str  # that side, one of `settings.SIZE_SIDES`
    aspect_ratio: float  # width over height of the stretched picture; 0 keeps the picture's own

    def exact(self, height: Scalar, width: Scalar, ops: Arithmetic) -> tuple[Scalar, Scalar]:
        """Returns (height, width) of a picture stretched to the aspect ratio, in double precision."""
        height, width = ops.double(height), ops.double(width)
        return height, height * self.aspect_ratio if self.aspect_ratio else width

    def measured(self, height: Scalar, width: Scalar, ops: Arithmetic) -> Scalar:
        """Returns the length of the rule's side of a picture."""
        height, width = self.exact(height, width, ops)
        if self.side == "height":
            return height
        return (ops.maximum if self.side == "longest" else ops.minimum)(height, width)

    def fit(self, share: Scalar, height: Scalar, width: Scalar, ops: Arithmetic) -> tuple[Scalar, Scalar]:
        """Returns (height, width) of a picture by this rule times a share, at least 1 pixel a side."""
        size, side = ops.double(self.size), self.measured(height, width, ops)
        factor = share * ops.where(self.size > 0, size / side, 1.0)
        sides = self.exact(height, width, ops)
        exact_height, exact_width = (ops.maximum(1, ops.round(each * factor)) for each in sides)
        return exact_height, exact_width


def size_rule(config: Config) -> SizeRule:
    """Returns the rule for the size of the result of a run."""
    return SizeRule(config.scales.size, config.scales.size_side, config.scales.aspect_ratio)


def plan_scales(config: Config, height: int, width: int) -> tuple[Scale, ...]:
    """Returns the scales of a run on a content image of that height and width, coarse to fine.

    Raises:
        InputError: The picture or the result is too small for the deepest layer.
    """
    needed = pixels_needed(config)
    if min(height, width) < needed:
        raise errors.InputError(
            f"picture: {width} x {height} pixels; the deepest layer chosen needs {needed} a side"
        )
    scales = all_scales(config, size_rule(config), config.scales.steps, height, width, NUMBERS)
    plan = tuple(scale for scale, is_used in scales if is_used)
    if min(plan[-1][:2]) < needed:
        raise errors.InputError(
            f"size: the result would have {plan[-1].width} x {plan[-1].height} pixels; the deepest"
            f" layer chosen needs {needed} a side: choose a larger size"
        )
    return plan


def all_scales(
    config: Config,
    rule: SizeRule,
    steps: Sequence[Scalar],
    height: Scalar,
    width: Scalar,
    ops: Arithmetic,
) -> list[tuple[Scale, Scalar]]:
    """Returns every scale of a config, coarse to fine, each with a boolean: whether a run uses it.

    With a `min_scale` the coarsest scale has that many pixels, so that strokes are as large in a large
    picture as in a small one, and the other scales lie between in the proportions of `scales`. A coarse scale
    at which the deepest layer has fewer than 2 x 2 pixels is not used; its steps go to the next one.

    Args:
        config: Of the run; its own size and steps are not read.
        rule: Of the result's size.
        steps: Of every scale of the config.
        height: Of the content image.
        width: Of the content image.
        ops: The operations on these scalars.
    """
    needed = pixels_needed(config)
    found: list[tuple[Scale, Scalar]] = []
    waiting: Scalar = 0  # steps of the scales left out just before
    coarsest = _coarsest(config, rule, height, width, ops)
    for exponent, own_steps in zip(_exponents(config), steps, strict=True):
        share = ops.power(coarsest, exponent)
        scale = Scale(*rule.fit(share, height, width, ops), waiting + own_steps, share)
        is_large = ops.minimum(scale.height, scale.width) >= 2 * needed
        # Scales whose exponent is 0 have the result's size; the last one is used in any case.
        has_size = (exponent == 0) | ((share < 1) & is_large)
        is_used = (len(found) + 1 == len(steps)) | (has_size & (own_steps > 0))
        found.append((scale, is_used))
        waiting = ops.where(is_used, 0, scale.num_steps)
    return found


def steps_taken(config: Config, height: int, width: int, done: int) -> tuple[int, ...]:
    """Returns the `steps` of a config by which a run ends where one was stopped.

    Args:
        config: Of the run that was stopped.
        height: Of the content image.
        width: Of the content image.
        done: The steps that it took, over all scales; 1 at least.
    """
    taken = []
    rule = size_rule(config)
    for scale, is_used in all_scales(config, rule, config.scales.steps, height, width, NUMBERS):
        taken.append(min(done, scale.num_steps) if is_used else 0)
        done -= taken[-1]
    return tuple(taken)


def style_size(config: Config, scale: Scale, height: int, width: int) -> tuple[int, int]:
    """Returns the size (height, width) of a style picture at a scale.

    Raises:
        InputError: The picture itself is smaller than the deepest layer needs.
    """
    needed = pixels_needed(config)
    if min(height, width) < needed:
        raise errors.InputError(
            f"style: {width} x {height} pixels; the deepest layer chosen needs {needed} a side"
        )
    return size_of_style(config, size_rule(config), scale, height, width, NUMBERS)


def size_of_style(
    config: Config, rule: SizeRule, scale: Scale, height: Scalar, width: Scalar, ops: Arithmetic
) -> tuple[Scalar, Scalar]:
    """Returns the size (height, width) of a style picture at a scale.

    That is the size by the result's rule, or the scale's own size where the config squashes style pictures,
    times `style_scale`; or the config's `style_size`. A narrow picture becomes large enough for the deepest
    layer.

    Args:
        config: Of the run; its own size is not read.
        rule: Of the result's size; its aspect ratio does not apply to style pictures.
        scale: One of the run.
        height: Of the style picture.
        width: Of the style picture.
        ops: The operations on these scalars.
    """
    needed, style = pixels_needed(config), config.style
    rule = SizeRule(style.size, "longest", 0.0) if style.size else rule._replace(aspect_ratio=0.0)
    share = scale.share * style.scale
    if style.shape == "content":
        height, width = scale.height, scale.width
        if not style.size:
            rule, share = rule._replace(size=0), style.scale
    fitted = rule.fit(share, height, width, ops)
    is_enough = ops.minimum(*fitted) >= needed
    factor = needed / ops.double(ops.minimum(height, width))
    enlarged = (ops.maximum(needed, ops.round(ops.double(side) * factor)) for side in (height, width))
    fitted_height, fitted_width = (
        ops.where(is_enough, one, other) for one, other in zip(fitted, enlarged, strict=True)
    )
    return fitted_height, fitted_width


def split_steps(total: Scalar, proportions: Sequence[int], ops: Arithmetic) -> tuple[Scalar, ...]:
    """Returns integers in these proportions that add up to `total`, by the method of largest remainders.

    The last one is at least 1, so that the result's own size has a step.
    """
    exact = [ops.divide(ops.double(total) * share, sum(proportions)) for share in proportions]
    parts = [ops.floor(each) for each in exact]
    remainders = [each - ops.double(part) for each, part in zip(exact, parts, strict=True)]
    missing = total - sum(parts)
    for index, own in enumerate(remainders):
        # Of equal remainders the finer scale's comes first, since finer scales matter more to the eye.
        earlier = [other > own for other in remainders[:index]]
        earlier += [other >= own for other in remainders[index + 1 :]]
        rank = sum(ops.where(each, 1, 0) for each in earlier)
        parts[index] += ops.where(rank < missing, 1, 0)
    is_empty = parts[-1] < 1
    largest = functools.reduce(ops.maximum, parts)
    is_missing = is_empty  # a step for the last scale, which comes from the first of the largest parts
    for index, part in enumerate(parts):
        parts[index] = ops.where(is_missing & (part >= largest), part - 1, part)
        is_missing = is_missing & (part < largest)
    return *parts[:-1], ops.where(is_empty, 1, parts[-1])


def _exponents(config: Config) -> list[float]:
    """Returns for each scale the exponent e in share = coarsest share ** e, from 1 down to 0."""
    shares = config.scales.shares
    if shares[0] == 1:  # all of one size: only the last one is used, since the others' share is not below 1
        used = min(2 if config.splits_features() else 1, len(shares))  # the pass after it is one of its own
        return [1.0] * (len(shares) - used) + [0.0] * used
    return [math.log(share) / math.log(shares[0]) for share in shares]


def _coarsest(config: Config, rule: SizeRule, height: Scalar, width: Scalar, ops: Arithmetic) -> Scalar:
    """Returns the share of the coarsest scale, from `scales` or `min_scale`."""
    if not config.scales.min_scale:
        return ops.double(config.scales.shares[0])
    side = ops.where(rule.size > 0, ops.double(rule.size), rule.measured(height, width, ops))
    return ops.minimum(ops.double(1.0), config.scales.min_scale / side)


def pixels_needed(config: Config) -> int:
    """Returns the fewest pixels a side for which the deepest layer has a pixel, and neighbours a cell."""
    return max(GRID if config.neighbor_layers() else 1, *map(stride, config.all_layers()))
