"""The reported losses of an image; a module of its own, since it loads no TensorFlow."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Losses(NamedTuple):
    """The weighted terms and their sum: float32 scalars in a graph, floats outside of it."""

    total: Any
    content: Any
    style: Any
    total_variation: Any


class FrameLosses(NamedTuple):
    """The same of a frame of a film that is held to earlier frames.

    A record of its own, so that the tables, traces, checkpoints and signatures of all other runs have no
    column that is always 0.
    """

    total: Any
    content: Any
    style: Any
    total_variation: Any
    temporal: Any


AnyLosses = Losses | FrameLosses


def of_row(row: Iterable[Any]) -> AnyLosses:
    """Returns the record of a row of a table of losses, which has as many columns as the record fields."""
    values = tuple(row)
    return Losses(*values) if len(values) == len(Losses._fields) else FrameLosses(*values)
