"""How good features are: by the pictures that they paint, as Oxford's ImageNet weights see them.

Pictures are arrays [H, W, 3], floats in [0, 1]. Losses here are shares of what is to be matched, so that
layers and pictures count alike: 0 is a picture whose features are the target's.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.config import layers as vgg_layers
from nst_tf.engine import images
from nst_tf.losses import terms
from nst_tf.network import vgg19, weights

# Gatys et al. 2015 (arXiv:1508.06576): what style and content are.
_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_CONTENT_LAYER = "relu4_2"

# Each picture is judged at its size, at half and at a quarter of it: strokes are larger than what the
# network sees at once.
_SCALES = (1.0, 0.5, 0.25)


class Verdict(NamedTuple):
    """How far a picture is from its painting and from its photograph."""

    style: float
    content: float


class Judge:
    """The ImageNet network that looks at finished pictures."""

    def __init__(self, source: str) -> None:
        """Loads the network.

        Args:
            source: ImageNet weights, as for --weights.

        Raises:
            InputError: They cannot be had.
        """
        layers = [*_STYLE_LAYERS, _CONTENT_LAYER]
        loaded = weights.load(source, vgg_layers.kernel_shapes(layers))
        self._model = vgg19.build(layers, loaded.arrays)
        self._preprocess = vgg19.PREPROCESSING[loaded.preprocessing]

    def verdict(self, picture: np.ndarray, content: np.ndarray, style: np.ndarray) -> Verdict:
        """Returns the losses of a picture, means over the scales.

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
            own, kept = (self._features(p, scale * height, scale * width) for p in (picture, content))
            wanted = self._features(style, scale * style_height, scale * style_width)
            contents.append(_share(own[_CONTENT_LAYER], kept[_CONTENT_LAYER]))
            styles += [_share(_gram(own[layer]), _gram(wanted[layer])) for layer in _STYLE_LAYERS]
        return Verdict(float(np.mean(styles)), float(np.mean(contents)))

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


def table(verdicts: Mapping[str, Mapping[str, Verdict]]) -> str:
    """Returns a table in Markdown.

    Args:
        verdicts: {pair: {weights: verdict}}; weights named "random" and "imagenet" are the ends of the gap
            that is said to be closed.
    """
    names = list(next(iter(verdicts.values())))
    head = ["picture", *(f"{name}: {term}" for term in Verdict._fields for name in names)]
    rows = [
        [pair, *(f"{getattr(row[name], term):.3f}" for term in Verdict._fields for name in names)]
        for pair, row in verdicts.items()
    ]
    means = {
        name: Verdict(*np.mean([row[name] for row in verdicts.values()], axis=0).tolist()) for name in names
    }
    rows.append(["mean", *(f"{getattr(means[n], term):.3f}" for term in Verdict._fields for n in names)])
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", *gap_lines(means)])


def gap_lines(means: Mapping[str, Verdict]) -> list[str]:
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
