"""The settings of a request to a served model, and its limits: for the graph, the client and the export."""

import dataclasses
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from nst_tf import errors
from nst_tf.config.config import Config

_LARGEST = {np.int32: 2**31 - 1, np.float32: float(np.finfo(np.float32).max)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a request, all of them, since a signature needs all its inputs.

    An `int` is an int32 on the wire, a `float` a float32.

    Raises:
        InputError: A value is not of its type. The server checks the rest.
    """

    num_steps: int  # of the whole run, over all scales
    size: int  # longest side of the result in pixels; 0 keeps the photograph's own size
    content_weight: float
    style_weight: float
    total_variation_weight: float
    seed: int  # of everything random: the noise of a start, the places of a style that are drawn

    def __post_init__(self) -> None:
        self.tensors()

    @classmethod
    def of_config(cls, config: Config) -> Self:
        """Returns a config's own settings.

        Raises:
            InputError: A value is too large for its type on the wire.
        """
        return cls(
            num_steps=sum(config.scales.steps),
            size=config.scales.size,
            content_weight=config.content.weight,
            style_weight=config.style.weight,
            total_variation_weight=config.total_variation.weight,
            seed=config.start.seed,
        )

    def tensors(self) -> dict[str, np.int32 | np.float32]:
        """Returns {name: value} with the types of the signatures."""
        return {name: _scalar(name, kind, getattr(self, name)) for name, kind in KINDS.items()}


# {name of a setting: its type on the wire}, in the order of the signatures' inputs.
KINDS: Mapping[str, type[np.int32] | type[np.float32]] = {
    field.name: np.int32 if field.type is int else np.float32 for field in dataclasses.fields(Settings)
}


class Limits(NamedTuple):
    """The limits of a request."""

    max_pixels: int  # of the result, and of a style picture as resized for the last scale
    max_steps: int


def is_number(value: Any, kind: type) -> bool:
    """Returns whether a value is a number of an abstract type of `numbers`, and no `bool`."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _scalar(name: str, kind: type[np.int32] | type[np.float32], value: Any) -> np.int32 | np.float32:
    """Returns a setting with its type on the wire."""
    is_whole = kind is np.int32
    # NaN is not smaller than anything.
    good = is_number(value, numbers.Integral if is_whole else numbers.Real) and abs(value) <= _LARGEST[kind]
    errors.require(good, name, value, "a whole number" if is_whole else "a number")
    return kind(value)
