"""The pictures that a run begins with: checked, and with the colours that the config asks for.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import color, errors, images
from nst_tf.config.config import Config
from nst_tf.network import activation_normalization, weights
from nst_tf.tensors import Tensor

# An image of any size, for the graphs.
ANY_IMAGE = tf.TensorSpec([1, None, None, 3], tf.float32)


# Longest side of the pictures over which a network is normalised: means over more positions are hardly
# others, and the features of all its layers are in memory at once.
_NORMALIZING_SIDE = 512


def check(content: object, styles: Sequence[object], config: Config, init: object) -> None:
    """Checks that what has weight has a picture, and that there is a picture to start from.

    Raises:
        InputError: One is missing, or is no image.
    """
    if content is None and config.content_weight:
        raise errors.InputError("content: no photograph; without one the content_weight must be 0")
    if not styles and config.style_weight:
        raise errors.InputError("style: no painting; without one the style_weight must be 0")
    config.blend_weights(len(styles))
    color.check(config.color, content=content, style=styles or None)
    for picture in (content, *styles, init):
        if picture is not None:
            images.check(picture)
    if init is None and config.init not in images.INITS:
        raise errors.InputError(f"init: {config.init!r} is a file; read it and give it as init_image")
    if content is None and init is None and config.init == "content":
        raise errors.InputError("init: 'content' needs a photograph; without one start from noise or gray")


def prepare(content: Tensor | None, styles: Sequence[Tensor], config: Config) -> tuple[Any, list[Tensor]]:
    """Returns the content image, if there is one, and the style images with the config's colours."""
    chosen, contents = color.COLORS[config.color], [] if content is None else [content]

    def traced(contents: Sequence[Tensor], styles: Sequence[Tensor]) -> tuple[Any, list[Tensor]]:
        return chosen.prepare(contents[0] if contents else None, styles, config.color_root)

    # Of any size, as in all graphs here: a graph that knows sizes is rewritten, and rounds otherwise.
    specs = [[ANY_IMAGE] * len(contents), [ANY_IMAGE] * len(styles)]
    # As arrays: of one that becomes a tensor here, TensorFlow keeps two copies as long as the tensor.
    arguments = [[np.asarray(image, np.float32) for image in group] for group in (contents, styles)]
    prepared, prepared_styles = tf.function(traced, specs, autograph=False)(*arguments)
    return prepared, list(prepared_styles)


def network_weights(
    config: Config, loaded: weights.Weights, content: Tensor | None, styles: Sequence[Tensor]
) -> weights.Weights:
    """Returns the weights of the config's network: normalised over a run's own pictures if so wished.

    Args:
        config: Of the run.
        loaded: The weights that it names.
        content: The content image [1, H, W, 3] as prepared, if there is one.
        styles: The style images, likewise.
    """
    if not config.normalize_activations:
        return loaded
    return activation_normalization.normalized(
        loaded,
        [_small(image) for image in ([] if content is None else [content]) + list(styles)],
        [*sum(config.used_layers(), ())],
        pooling=config.pooling,
        padding=config.padding,
    )


def _small(image: Tensor) -> Tensor:
    """Returns the image, made smaller where its longest side is above `_NORMALIZING_SIDE`."""
    height, width = image.shape[1:3]
    factor = min(1.0, _NORMALIZING_SIDE / max(height, width))
    return images.resize(image, max(1, round(height * factor)), max(1, round(width * factor)))
