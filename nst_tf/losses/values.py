"""The reported losses of an image; a module of its own, since it loads no TensorFlow."""

from typing import Any, NamedTuple


class Losses(NamedTuple):
    """The weighted terms and their sum: float32 scalars in a graph, floats outside of it."""

    total: Any
    content: Any
    style: Any
    total_variation: Any
