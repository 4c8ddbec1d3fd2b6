"""A picture and what layers of the network keep of it: one row of the figure.

Figure 1 of Gatys, Ecker, Bethge 2015 (arXiv:1508.06576). Images are [H, W, 3] floats in [0, 1].
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import nst_tf
from nst_tf.callbacks import figures, report
from nst_tf.config import presets, scales
from nst_tf.engine import stylizer
from nst_tf.io import pictures

# The layers of the figure: the first of each block, after the ReLU.
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

# What the paper leaves open, chosen by looking at pictures of 160 pixels, for both rows ...
_OPEN: Mapping[str, Any] = {"init": "noise", "clip": True, "size": 192, "steps": 100}
# ... and for the photograph: preconditioned, without which relu5_1 gives noise even after 200 steps; and from
# faint noise: layers hardly see the finest noise and leave it there, twice as much of 32 levels as of 8.
# A texture is not preconditioned: relu1_1 sees no large shapes, and the filter would put some there.
_OPEN_FOR_CONTENT: Mapping[str, Any] = {"preconditioner": "inverse_sqrt_frequency", "noise_levels": 8.0}

# Of the rows' names, in pixels.
_NAME_WIDTH = 80


def _content(column: int) -> dict[str, Any]:
    """Returns the settings that make a photograph again by one layer: equation 1 alone."""
    return {"content_layers": (LAYERS[column],), "style_weight": 0.0}


def _style(column: int) -> dict[str, Any]:
    """Returns the settings of a texture by all layers up to one, which weigh the same: equation 5 alone."""
    count = column + 1
    weights = (1 / count,) * count
    return {"style_layers": LAYERS[:count], "style_layer_weights": weights, "content_weight": 0.0}


class _Kind(NamedTuple):
    """What a row is a reconstruction of, and by what."""

    original: str  # what the first picture is called
    open: Mapping[str, Any]  # what replaces the preset's settings unless a person says otherwise
    fixed: Callable[[int], dict[str, Any]]  # the settings that make a column, from 0, what it is
    caption: Callable[[int], str]


_KINDS: Mapping[str, _Kind] = {
    "content": _Kind("photograph", {**_OPEN, **_OPEN_FOR_CONTENT}, _content, lambda column: LAYERS[column]),
    "style": _Kind(
        "painting",
        _OPEN,
        _style,
        lambda column: f"{LAYERS[0]} to {LAYERS[column]}" if column else LAYERS[0],
    ),
}

# The settings that make the figure what it is.
FIXED = tuple({**_content(0), **_style(0)})


class Row:
    """A picture and its reconstructions."""

    def __init__(self, name: str, picture: pictures.Picture, preset: str, changes: Mapping[str, Any]) -> None:
        """Finds out whether all of them can be painted.

        Args:
            name: "content" or "style".
            picture: What is to be reconstructed.
            preset: The formulation by name.
            changes: Settings that a person has chosen beside it.

        Raises:
            InputError: The picture is missing or too small, or a setting or the weights cannot be used.
        """
        self.name, self._kind = name, _KINDS[name]
        self._original = pictures.read(picture, name)[0]
        self.captions = [self._kind.caption(column) for column in range(len(LAYERS))]
        self._configs = [
            presets.get(preset, **{**self._kind.open, **changes, **self._kind.fixed(column)})
            for column in range(len(LAYERS))
        ]
        for config in self._configs:
            scales.plan_scales(config, *self._original.shape[:2])
        stylizer.load_weights(self._configs[-1])

    def paint(self, column: int) -> np.ndarray:
        """Returns a reconstruction, and tells on standard error how it goes on."""
        given = (self._original, None) if self.name == "content" else (None, self._original)
        bar = report.ProgressBar()
        try:
            return nst_tf.stylize(*given, preset=self._configs[column], on_progress=bar).image
        finally:
            bar.close()

    def lines(self, painted: Sequence[np.ndarray]) -> tuple[list[Image.Image], list[Image.Image]]:
        """Returns a line of pictures, the original in their size, and a line of what stands below them."""
        height, width = painted[0].shape[:2]
        shown = [figures.resized(picture, width, height) for picture in (self._original, *painted)]
        below = [figures.caption(text, width) for text in (self._kind.original, *self.captions)]
        name = figures.caption(self.name, _NAME_WIDTH)
        return [name, *shown], [Image.new("RGB", (_NAME_WIDTH, 1), "white"), *below]


def figure(rows: Sequence[Row]) -> Image.Image:
    """Paints all that is in the rows and returns them below each other."""
    lines: list[list[Image.Image]] = []
    for number, row in enumerate(rows):
        painted = []
        for column, caption in enumerate(row.captions):
            count = f"{number * len(LAYERS) + column + 1} of {len(rows) * len(LAYERS)}"
            print(f"picture {count}: {row.name}, {caption}", file=sys.stderr, flush=True)
            painted.append(row.paint(column))
        lines.extend(row.lines(painted))
    return figures.grid(lines, gaps=(8, 0))
