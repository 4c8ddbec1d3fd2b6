"""What a request may choose: its settings, and its style pictures, as many as only the graph knows.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1].
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config.config import Config
from nst_tf.config.settings import COLORS
from nst_tf.engine import color
from nst_tf.losses.objective import loss_weights
from nst_tf.serving import codec
from nst_tf.tensors import Tensor

# What `color.statistics` returns of one picture.
COLOR_STATISTICS = color.ColorStatistics(tf.TensorSpec([3], tf.float64), tf.TensorSpec([3, 3], tf.float64))


class Settings(NamedTuple):
    """What a request may choose, scalars all."""

    num_steps: Tensor  # int32, of the whole run, over all scales
    size: Tensor  # int32; 0 keeps the content's own
    content_weight: Tensor  # float32
    style_weight: Tensor  # float32
    total_variation_weight: Tensor  # float32
    seed: Tensor  # int32


class Limits(NamedTuple):
    """What one request may ask for."""

    max_pixels: int  # of the result, and of the style picture at the size at which it is compared
    max_steps: int


class Styles(NamedTuple):
    """The style pictures of a request, and whose colours its result has."""

    count: Any  # an int, or [] int32 where only the graph knows it
    shares: Tensor  # [S] float32, of the style
    image: Callable[[Any], Tensor]  # index -> the style image as given, [1, h, w, 3]
    color: color.Color


def settings_of(config: Config) -> Settings:
    """Returns a config's own settings."""
    weights = loss_weights(config)
    return Settings(
        tf.constant(sum(config.scales.steps)),
        tf.constant(config.scales.size),
        weights.content,
        weights.style,
        weights.total_variation,
        tf.constant(config.start.seed),
    )


def checks(settings: Settings, limits: Limits) -> list[tf.Operation]:
    """Returns the checks of what a request chose; they fail with INVALID_ARGUMENT."""
    steps, size = settings.num_steps, settings.size
    most_steps = limits.max_steps
    found = [
        codec.check(
            (steps > 0) & (steps <= most_steps), "num_steps: ", steps, f"; allowed: 1 to {most_steps}"
        ),
        codec.check(size >= 0, "size: ", size, "; allowed: pixels of the longest side, or 0"),
        codec.check(settings.seed >= 0, "seed: ", settings.seed, "; allowed: 0 and above"),
        codec.check(
            (settings.content_weight > 0) | (settings.style_weight > 0),
            "content_weight and style_weight: both 0; allowed: at least one above 0",
        ),
    ]
    for name in ("content_weight", "style_weight", "total_variation_weight"):
        weight = getattr(settings, name)
        good = tf.math.is_finite(weight) & (weight >= 0)
        found.append(codec.check(good, f"{name}: ", weight, "; allowed: finite and not negative"))
    return found


def one_style(image: Tensor, chosen_color: str) -> Styles:
    """Returns a single style with a choice of colours by name."""
    return Styles(1, tf.constant([1.0]), lambda _: image, color.COLORS[chosen_color])


def each(styles: Styles, function: Callable[[Any], Any], spec: Any) -> Any:
    """Returns what a function makes of every style, stacked; one after the other.

    Args:
        styles: S of them.
        function: index -> a structure of tensors.
        spec: What it returns, as `tf.TensorSpec`s.
    """
    if isinstance(styles.count, int):
        made = [function(index) for index in range(styles.count)]
        return tf.nest.map_structure(lambda *parts: tf.stack(parts), *made)
    return tf.map_fn(function, tf.range(styles.count), fn_output_signature=spec, parallel_iterations=1)


def requested_color(name: Tensor, own: str) -> Tensor:
    """Returns whose colours are asked for, as an index into `COLORS`, [] int32.

    Args:
        name: [] string; an empty one stands for the model's own choice.
        own: That choice.

    Raises:
        InvalidArgumentError: When it runs: there is no such name.
    """
    is_chosen = tf.equal(tf.constant(COLORS), tf.where(tf.equal(name, ""), own, name))
    known = codec.check(
        tf.reduce_any(is_chosen),
        "color: ",
        name,
        f"; allowed: {', '.join(COLORS)}, or an empty one for the model's own",
    )
    return codec.with_checks([known], tf.argmax(is_chosen, output_type=tf.int32))
