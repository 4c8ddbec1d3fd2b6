"""What a run paints from: its pictures at any scale, with their regions, and the targets made of them.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1], masks `[1, H, W, R]` in [0, 1] for R regions.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nst_tf import images, sources
from nst_tf.config.config import Config
from nst_tf.config.scales import Scale, style_size
from nst_tf.io.masks import Regions
from nst_tf.losses import guides, objective
from nst_tf.losses.objective import Masks, Outside, Targets
from nst_tf.sources import ANY_IMAGE
from nst_tf.tensors import Tensor

# Width of the soft edge between what is painted and the photograph around it, as a share of the longest
# side: a stroke's width or so, 8 pixels of 512.
_EDGE_SHARE = 1 / 64


class Scene:
    """The pictures of a run, prepared."""

    def __init__(
        self,
        content_image: Tensor | None,
        style_images: Sequence[Tensor],
        config: Config,
        regions: Regions | None = None,
    ) -> None:
        """Checks and prepares the pictures; those of styles without weight are left out.

        Args:
            content_image: [1, H, W, 3], of any size; None only where the content has no weight.
            style_images: One or more like it; none only where the style has no weight.
            config: Of the run.
            regions: One style statistic for each; None for the whole picture as one.

        Raises:
            InputError: A picture is missing or cannot be used.
        """
        weights = config.blend_weights(len(style_images))
        used = [index for index, weight in enumerate(weights) if weight > 0]
        self._config = config
        self._shares = [weights[index] for index in used]
        self.content_image, self.style_images = sources.prepare(
            content_image, [style_images[index] for index in used], config
        )
        self._masks = None
        if regions is not None:
            self._masks = Masks(
                _batched(regions.content), tuple(_batched(regions.styles[index]) for index in used)
            )
        # Of any size, as in all graphs here: a graph that knows sizes is rewritten, and rounds otherwise.
        any_mask = tf.TensorSpec([1, None, None, 0 if regions is None else regions.content.shape[-1]])
        self._framed = self._is_framed()
        self._specs = [
            [ANY_IMAGE] * (content_image is not None),
            [ANY_IMAGE] * len(used),
            [] if regions is None else [any_mask] * (1 + len(used)),
            [tf.TensorSpec([1, None, None, 1])] * self._framed,
        ]

    @property
    def shaping_image(self) -> Tensor:
        """The image whose shape the result has: a texture, which has no content, has the painting's."""
        return self.style_images[0] if self.content_image is None else self.content_image

    def check(self, scale: Scale) -> None:
        """Checks that the style pictures are large enough at a scale.

        Raises:
            InputError: One is not.
        """
        for image in self.style_images:
            style_size(self._config, scale, *image.shape[1:3])

    def builder(self, judge: objective.Objective) -> Any:
        """Returns the graph that makes targets of what `at` returns."""
        return tf.function(
            lambda *pictures: self._build(judge, *pictures),
            self._specs,
            autograph=False,
        )

    def at(self, scale: Scale) -> tuple[list[Tensor], ...]:
        """Returns what the graph takes at a scale: content image, styles, masks, and the frame's mask."""
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
        return contents, styles, masks, [self._frame(masks[0])] if self._framed else []

    def _build(
        self,
        judge: objective.Objective,
        contents: Sequence[Tensor],
        styles: Sequence[Tensor],
        masks: Sequence[Tensor],
        frames: Sequence[Tensor],
    ) -> Targets:
        content = contents[0] if contents else None
        return judge.targets(
            content,
            styles,
            shares=self._shares,
            masks=Masks(masks[0], tuple(masks[1:])) if masks else None,
            outside=tuple(Outside(frame, content) for frame in frames),
        )

    def _is_framed(self) -> bool:
        """Returns whether the photograph is kept where there is no region, and there is such a place."""
        if self._masks is None or self._config.outside != "keep":
            return False
        return bool(tf.reduce_any(tf.reduce_sum(self._masks.content, axis=-1) < 1))

    def _frame(self, mask: Tensor) -> Tensor:
        """Returns what is painted of the content image, [1, H, W, 1], with a soft edge."""
        painted = tf.clip_by_value(tf.reduce_sum(mask, axis=-1, keepdims=True), 0.0, 1.0)
        return guides.soft_edge(painted, round(_EDGE_SHARE * max(mask.shape[1:3])))


def _batched(mask: Any) -> Tensor:
    return tf.constant(mask, tf.float32)[tf.newaxis]
