"""Pictures painted with several weights, each judged, hung side by side."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import nst_tf
from feature_training import judging
from nst_tf.callbacks import figures
from nst_tf.config import layers as vgg_layers
from nst_tf.network import weights

# A cell of the contact sheet in pixels, and what lies between columns.
_CELL, _GAP = 320, 4
QUALITY = 88  # of the contact sheet's JPEG: fine enough to see noise, small enough to keep


class Row(NamedTuple):
    """One photograph and painting, painted with every weights."""

    name: str
    pictures: Mapping[str, np.ndarray]  # {what it is: [H, W, 3] in [0, 1]}, photograph and painting first
    verdicts: Mapping[str, judging.Verdict]

    def line(self) -> str:
        """Returns the verdicts in one line."""
        verdicts = (f"{name} {v.style:.3f} / {v.content:.3f}" for name, v in self.verdicts.items())
        return f"{self.name} (style / content): {', '.join(verdicts)}"


class Painter:
    """Paints with one kind of weights; what it has painted it keeps."""

    def __init__(self, source: str, folder: pathlib.Path, options: Mapping[str, Any]) -> None:
        """Takes the weights.

        Args:
            source: The weights, as for --weights.
            folder: Where finished pictures are kept.
            options: What else `nst_tf.stylize` is given.
        """
        self._folder, self._options = folder, {**options, "weights": source}
        # Names a kept picture: other weights, sizes and steps make another.
        sha256 = weights.load(source, vgg_layers.kernel_shapes(["relu5_1"])).sha256
        self._prefix = "_".join([pathlib.PurePath(source).stem, sha256[:8], *map(str, options.values())])

    def paint(self, content: pathlib.Path, style: pathlib.Path) -> np.ndarray:
        """Returns the finished picture, [H, W, 3]."""
        path = self._folder / f"{self._prefix}_{content.stem}_{style.stem}.png"
        if not path.exists():
            nst_tf.stylize(content, style, **self._options).save(path)
        return read(path)


def read(path: pathlib.Path) -> np.ndarray:
    """Returns a picture, [H, W, 3] floats in [0, 1]."""
    picture: np.ndarray = nst_tf.read_image(path)[0]
    return picture


def hang(
    content: pathlib.Path, style: pathlib.Path, painters: Mapping[str, Painter], judge: judging.Judge
) -> Row:
    """Has a photograph painted like a painting by every painter, and judged."""
    photograph, painting = read(content), read(style)
    painted = {name: painter.paint(content, style) for name, painter in painters.items()}
    verdicts = {name: judge.verdict(picture, photograph, painting) for name, picture in painted.items()}
    pictures = {"photograph": photograph, "painting": painting, **painted}
    return Row(f"{content.stem}, {style.stem}", pictures, verdicts)


def contact_sheet(rows: Sequence[Row]) -> Image.Image:
    """Returns all pictures in a grid, a row for each pair, their names above them."""
    hung: list[list[Image.Image]] = []
    for row in rows:
        judged = {name: f"{name} {verdict.style:.3f}" for name, verdict in row.verdicts.items()}
        hung.append([figures.caption(judged.get(name, name), _CELL) for name in row.pictures])
        hung.append([figures.fitted(pixels, _CELL) for pixels in row.pictures.values()])
    return figures.grid(hung, gaps=(_GAP, 0))
