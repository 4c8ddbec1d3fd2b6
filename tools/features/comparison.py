"""Weights compared by the pictures that they paint: distances by Oxford's ImageNet weights, a contact sheet.

Pictures are arrays [H, W, 3], floats in [0, 1]. Distances are relative to the norm of the target, so that
layers and pictures count alike: 0 is a picture whose features are the target's.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import errors
from nst_tf.callbacks import figures
from nst_tf.config import layers as vgg_layers
from nst_tf.engine import images
from nst_tf.losses import terms
from nst_tf.network import vgg19, weights

# The layers of Gatys et al. 2015 (arXiv:1508.06576).
_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_CONTENT_LAYER = "relu4_2"

# Each picture is compared at its size, at half and at a quarter of it: strokes are larger than the network's
# field of view.
_SCALES = (1.0, 0.5, 0.25)

# A cell of the contact sheet and the gap between columns, in pixels.
_CELL, _GAP = 320, 4
QUALITY = 88  # of the contact sheet's JPEG: fine enough to show noise, small enough to keep


# The deepest layer's field of view is pooled four times by two.
_SHORTEST_SIDE = round(2**4 / min(_SCALES))


class Distances(NamedTuple):
    """How far a picture's style is from the painting's, and its content from the photograph's."""

    style: float
    content: float


class Metric:
    """Distances between pictures, by the ImageNet network."""

    def __init__(self, source: str) -> None:
        """Loads the network.

        Args:
            source: ImageNet weights, as for --weights.

        Raises:
            InputError: The weights cannot be had.
        """
        layers = [*_STYLE_LAYERS, _CONTENT_LAYER]
        loaded = weights.load(source, vgg_layers.kernel_shapes(layers))
        self._model = vgg19.build(layers, loaded.arrays)
        self._preprocess = vgg19.PREPROCESSING[loaded.preprocessing]

    def distances(self, picture: np.ndarray, content: np.ndarray, style: np.ndarray) -> Distances:
        """Returns the distances of a picture, means over the scales.

        Style is the mean over the layers of |G - A|^2 / |A|^2 for Gram matrices G of the picture and A of the
        painting, each divided by its number of pixels; content is |F - P|^2 / |P|^2 for features F of the
        picture and P of the photograph.

        Args:
            picture: The finished picture.
            content: The photograph, at any size.
            style: The painting, at any size.
        """
        height, width = picture.shape[:2]
        style_height, style_width = _fitted(style.shape, max(height, width))
        styles, contents = [], []
        for scale in _SCALES:
            found, kept = (self._features(p, scale * height, scale * width) for p in (picture, content))
            target = self._features(style, scale * style_height, scale * style_width)
            contents.append(_share(found[_CONTENT_LAYER], kept[_CONTENT_LAYER]))
            styles += [_share(_gram(found[layer]), _gram(target[layer])) for layer in _STYLE_LAYERS]
        return Distances(float(np.mean(styles)), float(np.mean(contents)))

    def _features(self, picture: np.ndarray, height: float, width: float) -> Mapping[str, tf.Tensor]:
        """Returns the picture's features at a size."""
        image = tf.constant(picture[np.newaxis], tf.float32)
        found: Mapping[str, tf.Tensor] = self._model(
            self._preprocess(images.resize(image, round(height), round(width)))
        )
        return found


def _gram(features: tf.Tensor) -> tf.Tensor:
    """Returns G / M of a layer's features, [1, C, C]."""
    return terms.gram_sums(features) / float(features.shape[1] * features.shape[2])


def _share(found: tf.Tensor, target: tf.Tensor) -> float:
    """Returns |found - target|^2 / |target|^2."""
    return float(tf.reduce_sum(tf.square(found - target)) / tf.reduce_sum(tf.square(target)))


def _fitted(shape: Sequence[int], size: int) -> tuple[float, float]:
    """Returns (height, width) of a picture whose longest side is `size`."""
    factor = size / max(shape[:2])
    return shape[0] * factor, shape[1] * factor


class Row(NamedTuple):
    """One photograph painted like one painting with each of the weights."""

    name: str
    pictures: Mapping[str, np.ndarray]  # {caption: [H, W, 3] in [0, 1]}, photograph and painting first
    distances: Mapping[str, Distances]  # by weights

    def line(self) -> str:
        """Returns the distances in one line."""
        texts = (f"{name} {each.style:.3f} / {each.content:.3f}" for name, each in self.distances.items())
        return f"{self.name} (style / content): {', '.join(texts)}"


class CachedStylizer:
    """Paints with one kind of weights and keeps the pictures in a folder."""

    def __init__(self, source: str, folder: pathlib.Path, options: Mapping[str, Any]) -> None:
        """Takes the weights.

        Args:
            source: The weights, as for --weights.
            folder: Where finished pictures are kept.
            options: Other arguments of `nst_tf.stylize`.
        """
        self._folder, self._options = folder, {**options, "weights": source}
        # Names a kept picture: other weights, sizes and steps make another.
        sha256 = weights.load(source, vgg_layers.kernel_shapes(["relu5_1"])).sha256
        self._prefix = "_".join([pathlib.PurePath(source).stem, sha256[:8], *map(str, options.values())])

    def stylize(self, content: pathlib.Path, style: pathlib.Path) -> np.ndarray:
        """Returns the finished picture, [H, W, 3]."""
        path = self._folder / f"{self._prefix}_{content.stem}_{style.stem}.png"
        if not path.exists():
            nst_tf.stylize(content, style, **self._options).save(path)
        return _read(path)


def _read(path: pathlib.Path) -> np.ndarray:
    """Returns a picture, [H, W, 3] floats in [0, 1]."""
    picture: np.ndarray = nst_tf.read_image(path)[0]
    return picture


def check_size(pairs: Sequence[Sequence[pathlib.Path]], size: int) -> None:
    """Finds out before anything is painted whether all pictures can be measured.

    Args:
        pairs: Photographs and paintings.
        size: The longest side that they are painted at.

    Raises:
        InputError: A picture cannot be read, or is too small at that size.
    """
    for path in dict.fromkeys(path for pair in pairs for path in pair):
        shape = _read(path).shape
        longest = math.ceil(_SHORTEST_SIDE * max(shape[:2]) / min(shape[:2]))
        errors.require(
            min(map(round, _fitted(shape, size))) >= _SHORTEST_SIDE,
            "size",
            size,
            f"from {longest} for {path}, whose shorter side then has {_SHORTEST_SIDE} to be measured by",
        )


def compare(
    content: pathlib.Path, style: pathlib.Path, stylizers: Mapping[str, CachedStylizer], metric: Metric
) -> Row:
    """Returns a photograph painted like a painting by every stylizer, with the distances."""
    photograph, painting = _read(content), _read(style)
    painted = {name: stylizer.stylize(content, style) for name, stylizer in stylizers.items()}
    distances = {name: metric.distances(picture, photograph, painting) for name, picture in painted.items()}
    pictures = {"photograph": photograph, "painting": painting, **painted}
    return Row(f"{content.stem}, {style.stem}", pictures, distances)


def contact_sheet(rows: Sequence[Row]) -> Image.Image:
    """Returns all pictures in a grid, a row for each pair, their names above them."""
    cells: list[list[Image.Image]] = []
    for row in rows:
        captions = {name: f"{name} {each.style:.3f}" for name, each in row.distances.items()}
        cells.append([figures.caption(captions.get(name, name), _CELL) for name in row.pictures])
        cells.append([figures.fitted(pixels, _CELL) for pixels in row.pictures.values()])
    return figures.grid(cells, gaps=(_GAP, 0))


def table(distances: Mapping[str, Mapping[str, Distances]]) -> str:
    """Returns a table in Markdown.

    Args:
        distances: {pair: {weights: distances}}; a line below the table says what share of the gap between
            weights named "random" and "imagenet" each of the others closes.
    """
    names = list(next(iter(distances.values())))
    head = ["picture", *(f"{name}: {term}" for term in Distances._fields for name in names)]
    rows = [
        [pair, *(f"{getattr(row[name], term):.3f}" for term in Distances._fields for name in names)]
        for pair, row in distances.items()
    ]
    means = {
        name: Distances(*np.mean([row[name] for row in distances.values()], axis=0).tolist())
        for name in names
    }
    rows.append(["mean", *(f"{getattr(means[n], term):.3f}" for term in Distances._fields for n in names)])
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", *gap_lines(means)])


def gap_lines(means: Mapping[str, Distances]) -> list[str]:
    """Returns what share of the style gap from random to ImageNet each of the other weights closes."""
    ends = ("random", "imagenet")
    if not set(ends) <= set(means):
        return []
    worst, best = (means[name].style for name in ends)
    return [
        f"Style: {name} closes {(worst - mean.style) / (worst - best):.0%} of random's gap to imagenet."
        for name, mean in means.items()
        if name not in ends
    ]
