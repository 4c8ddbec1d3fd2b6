"""The pictures of a run and their regions: checked, given the config's colours, resized for each scale.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1], masks `[1, H, W, R]` in [0, 1] for R regions.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import errors
from nst_tf.config.config import Config
from nst_tf.config.scales import Scale, style_size
from nst_tf.engine import color, images
from nst_tf.io.masks import Regions
from nst_tf.losses import guides
from nst_tf.losses.objective import Masks
from nst_tf.network import activation_normalization, weights
from nst_tf.tensors import Tensor

# The type of an image of any size.
ANY_IMAGE = tf.TensorSpec([1, None, None, 3], tf.float32)
_ANY_MASK = tf.TensorSpec([1, None, None, 1], tf.float32)

# Longest side of the pictures over which a network is normalised: means over more positions hardly differ,
# and the features of all its layers are in memory at once.
_NORMALIZING_SIDE = 512

# Width of the soft edge between the painted part and the photograph around it, as a share of the longest
# side: about a stroke's width, 8 pixels of 512.
_EDGE_SHARE = 1 / 64


def check(content: object, styles: Sequence[object], config: Config, init: object) -> None:
    """Checks that every loss with a weight has its picture, and that the run has a picture to start from.

    Raises:
        InputError: A picture is missing, or is no image.
    """
    if content is None and config.content.weight:
        raise errors.InputError("content: no photograph; without one the content_weight must be 0")
    if not styles and config.style.weight:
        raise errors.InputError("style: no painting; without one the style_weight must be 0")
    config.blend_weights(len(styles))
    color.check(config.color.mode, content=content, style=styles or None)
    for picture in (content, *styles, init):
        if picture is not None:
            images.check(picture)
    if init is None and config.start.init not in images.INITS:
        raise errors.InputError(f"init: {config.start.init!r} is a file; read it and give it as init_image")
    if content is None and init is None and config.start.init == "content":
        raise errors.InputError("init: 'content' needs a photograph; without one start from noise or gray")


def prepare(
    content: Tensor | None, styles: Sequence[Tensor], config: Config, alphas: color.Alphas = ()
) -> tuple[Any, list[Tensor]]:
    """Returns the content image (None without one) and the style images, with the config's colours."""
    contents = [] if content is None else [content]
    groups = (contents, styles, alphas)
    traced = _traced_preparation(config.color.mode, config.color.root, *map(len, groups))
    # As arrays: TensorFlow would keep two copies of an array that becomes a tensor here.
    arguments = [[np.asarray(image, np.float32) for image in group] for group in groups]
    prepared, prepared_styles = traced(*arguments)
    return prepared, list(prepared_styles)


@functools.lru_cache(maxsize=16)
def _traced_preparation(mode: str, root: str, num_contents: int, num_styles: int, num_alphas: int) -> Any:
    """Returns the function that gives pictures of any size the colours of a choice."""

    def traced(
        contents: Sequence[Tensor], styles: Sequence[Tensor], alphas: color.Alphas
    ) -> tuple[Any, list[Tensor]]:
        return color.COLORS[mode].prepare(contents[0] if contents else None, styles, root, alphas)

    # Of unknown size, as in all graphs here: TensorFlow rewrites graphs of known sizes, with other rounding.
    specs = [[ANY_IMAGE] * num_contents, [ANY_IMAGE] * num_styles, [_ANY_MASK] * num_alphas]
    return tf.function(traced, specs, autograph=False)


def network_weights(
    config: Config, loaded: weights.Weights, content: Tensor | None, styles: Sequence[Tensor]
) -> weights.Weights:
    """Returns the network's weights, normalised over the run's own pictures where the config says so.

    Args:
        config: Of the run.
        loaded: The weights that the config names.
        content: The prepared content image [1, H, W, 3], or None.
        styles: The prepared style images.
    """
    if not config.network.normalize_activations:
        return loaded
    return activation_normalization.normalized(
        loaded,
        [_small(image) for image in ([] if content is None else [content]) + list(styles)],
        config.all_layers(),
        pooling=config.network.pooling,
        padding=config.network.padding,
    )


def _small(image: Tensor) -> Tensor:
    """Returns the image, shrunk so that its longest side is at most `_NORMALIZING_SIDE`."""
    height, width = image.shape[1:3]
    factor = min(1.0, _NORMALIZING_SIDE / max(height, width))
    return images.resize(image, max(1, round(height * factor)), max(1, round(width * factor)))


class Inputs:
    """The pictures of a run, prepared."""

    def __init__(
        self,
        content_image: Tensor | None,
        style_images: Sequence[Tensor],
        config: Config,
        regions: Regions | None = None,
    ) -> None:
        """Checks and prepares the pictures; leaves out styles without weight.

        Args:
            content_image: [1, H, W, 3], of any size; None only where the content has no weight.
            style_images: One or more, likewise; none only where the style has no weight.
            config: Of the run.
            regions: Regions, each with its own style statistics; None for one region, the whole picture.

        Raises:
            InputError: A picture is missing or cannot be used.
        """
        weights = config.blend_weights(len(style_images))
        used = [index for index, weight in enumerate(weights) if weight > 0]
        self._config = config
        self.shares = [weights[index] for index in used]
        chosen = [style_images[index] for index in used]
        alphas = [] if regions is None else _alphas(regions, used)
        self.content_image, self.style_images = prepare(content_image, chosen, config, alphas)
        self._alpha = alphas[0] if alphas else None
        self._masks = None
        self._frames: list[Tensor] = []
        if regions is not None:
            painted = [_batched(regions.content), *(_batched(regions.styles[index]) for index in used)]
            seen = [mask * alpha for mask, alpha in zip(painted, alphas, strict=True)] if alphas else painted
            self._masks = Masks(seen[0], tuple(seen[1:]))
            self._frames = self._framed(painted[0], regions.alpha(0))

    @property
    def shaping_image(self) -> Tensor:
        """The image whose shape the result has: the content image, or without one the first style image."""
        return self.style_images[0] if self.content_image is None else self.content_image

    def reference(self, content_image: Any, scale: Scale) -> color.Reference | None:
        """Returns what the run's picture is finished by; None where it is the picture of the optimiser.

        Args:
            content_image: As the run was given it, not prepared.
            scale: The last one.
        """
        choice, size = color.COLORS[self._config.color.mode], (scale.height, scale.width)
        if choice.finish is None:
            return None
        return color.Reference(
            images.resize(tf.constant(content_image), *size),
            None if self._alpha is None else images.resize(self._alpha, *size),
            self._palette() if choice.has_palette else None,
        )

    def _palette(self) -> color.Palette:
        """Returns the palette of the parts of the style pictures that are used."""
        counted: Sequence[Any] = [None] * len(self.style_images)
        if self._masks is not None:
            counted = [tf.reduce_sum(mask, axis=-1, keepdims=True) for mask in self._masks.styles]
        found = [color.palette(image, own) for image, own in zip(self.style_images, counted, strict=True)]
        stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *found)
        return color.blended(stacked, tf.constant(self.shares) / sum(self.shares))

    def check(self, scale: Scale) -> None:
        """Checks that the style pictures are large enough at a scale.

        Raises:
            InputError: One is too small.
        """
        for image in self.style_images:
            style_size(self._config, scale, *image.shape[1:3])

    def at(self, scale: Scale) -> tuple[list[Tensor], ...]:
        """Returns the pictures at a scale: lists of content images, styles, masks, and painted parts."""
        contents = []
        if self.content_image is not None:
            contents.append(images.resize(self.content_image, scale.height, scale.width))
        sizes = [style_size(self._config, scale, *image.shape[1:3]) for image in self.style_images]
        styles = [images.resize(image, *size) for image, size in zip(self.style_images, sizes, strict=True)]
        masks = []
        if self._masks is not None:
            masks.append(guides.resize(self._masks.content, scale.height, scale.width))
            masks += [
                guides.resize(mask, *size) for mask, size in zip(self._masks.styles, sizes, strict=True)
            ]
        return contents, styles, masks, self._frame(scale)

    def _framed(self, painted: Tensor, alpha: Any) -> list[Tensor]:
        """Returns the masks [1, H, W, R] and [1, H, W, 1] that frame the painted part; () where nothing does.

        The photograph is kept outside the regions, if the config says so, and the background where nothing is
        seen.

        Args:
            painted: The content image's regions.
            alpha: Of the content image, [H, W], or None.
        """
        kept = self._config.regions.outside == "keep"
        is_framed = kept and bool(has_outside(painted))
        if not is_framed and alpha is None:
            return []
        masks = [painted if is_framed else tf.ones_like(painted)]
        return masks if alpha is None else [*masks, _batched(alpha[..., np.newaxis])]

    def _frame(self, scale: Scale) -> list[Tensor]:
        """Returns the mask of the painted part of the content image, [1, H, W, 1], if there is a frame.

        The edge of a region is soft, that of what is seen is not.
        """
        if not self._frames:
            return []
        mask, *alphas = (guides.resize(each, scale.height, scale.width) for each in self._frames)
        edge = frame(mask)
        return [edge * tf.cast(alphas[0] > 0, tf.float32) if alphas else edge]


def has_outside(mask: Tensor) -> Tensor:
    """Returns whether any part of a picture is outside the regions of its mask [1, H, W, R], [] bool."""
    return tf.reduce_any(tf.reduce_sum(mask, axis=-1) < 1)


def frame(mask: Tensor) -> Tensor:
    """Returns the mask of the part in any region, [1, H, W, 1], with a soft edge.

    Args:
        mask: Of regions, [1, H, W, R], at the size of a scale.
    """
    painted = tf.clip_by_value(tf.reduce_sum(mask, axis=-1, keepdims=True), 0.0, 1.0)
    longest = tf.cast(tf.reduce_max(tf.shape(mask)[1:3]), tf.float32)
    return guides.soft_edge(painted, tf.cast(tf.round(_EDGE_SHARE * longest), tf.int32))


def _alphas(regions: Regions, used: Sequence[int]) -> list[Tensor]:
    """Returns the alphas of the content image and of the styles that are used; none where all is opaque."""
    if not regions.alphas:
        return []
    masks = (regions.content, *(regions.styles[index] for index in used))
    found = (regions.alpha(0), *(regions.alpha(index + 1) for index in used))
    return [
        _batched(np.ones((*mask.shape[:2], 1)) if alpha is None else alpha[..., np.newaxis])
        for mask, alpha in zip(masks, found, strict=True)
    ]


def _batched(mask: Any) -> Tensor:
    return tf.constant(mask, tf.float32)[tf.newaxis]
