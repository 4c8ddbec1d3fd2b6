"""Python's way in: `stylize` a photograph, `evaluate` a formulation.

Pictures for people come as paths, Pillow images or arrays; see `images.read`.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import errors, images, objective, presets, report, runtime, stylizer
from nst_tf.losses import Losses


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished picture and how it came about."""

    image: np.ndarray  # [H, W, 3] float32 sRGB in [0, 1]
    losses: Losses  # of `image`, as floats, weighted as the config weights them
    config: Any  # nst_tf.Config, complete
    weights: str  # which weights made it, such as "imagenet"
    precision: str  # of the convolutions: "float32" or "bfloat16"
    trace: tuple[report.TraceRow, ...] = dataclasses.field(repr=False)  # one row for each evaluation
    stopped: bool = False  # whether `on_progress` stopped the run before its end

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture, replacing a file that is there; the extension decides the format.

        Raises:
            InputError: The format is unknown.
            OSError: The file cannot be written.
        """
        images.write(self.image, path)


def stylize(
    content: images.Picture | None,
    style: images.Picture | None,
    *,
    preset: str = "default",
    on_progress: Callable[[stylizer.Progress], object] | None = None,
    **overrides: Any,
) -> Result:
    """Paints a photograph like a painting.

    Args:
        content: The photograph: a path, a Pillow image, or an array [H, W, 3], uint8 or floats in [0, 1].
            None with `content_weight=0`: a texture from the painting alone, which starts from noise unless
            `init` says otherwise.
        style: The painting, likewise. None with `style_weight=0`: the content reconstructed.
        preset: The formulation by name.
        on_progress: Called about twice a second, or once a step if that is rarer, with a
            `Progress`; returning True stops the run, and the picture so far is the result.
        **overrides: Fields of the config to replace, such as `size=1024` (longest side of the result
            in pixels) or `steps=100` (evaluations in all).

    Returns:
        The picture with its losses.

    Raises:
        InputError: A picture, a name or a value cannot be used; nothing has been computed then.
    """
    if content is None:
        overrides.setdefault("init", "noise")
    chosen = presets.get(preset, **overrides)
    content_image = None if content is None else images.read(content, "content")
    style_images = [] if style is None else [images.read(style, "style")]
    init_image = None if chosen.init in images.INITS else images.read(chosen.init, "init")
    run = stylizer.Stylizer(content_image, style_images, chosen, init_image=init_image)
    recorder = report.Recorder()

    def report_progress(progress: stylizer.Progress) -> object:
        recorder(progress)
        return on_progress(progress) if on_progress is not None else None

    finished = run.run(report_progress)
    run.last_scale()  # a run that was stopped early has a picture of full size all the same
    return Result(
        run.picture(),
        run.evaluate(),
        chosen,
        run.weights.name,
        run.precision,
        tuple(recorder.rows),
        stopped=not finished,
    )


def evaluate(
    image: np.ndarray,
    content: np.ndarray,
    style: np.ndarray,
    *,
    preset: str = "default",
    weights: str | None = None,
    **overrides: Any,
) -> Losses:
    """Returns the losses of a picture under a formulation, weighted as the preset weights them.

    Nothing is resized. Convolutions run in float32 unless `precision` says otherwise, so that the
    values are the formulation's own.

    Args:
        image: The picture to judge, [H, W, 3] floats in [0, 1].
        content: The photograph, an array of the same shape.
        style: The painting, an array of the same shape.
        preset: The formulation by name.
        weights: Which VGG19, as for `stylize`; None for the default.
        **overrides: Fields of the config to replace.

    Returns:
        Floats: the total and its terms.

    Raises:
        InputError: A picture, a name or a value cannot be used.
    """
    overrides.setdefault("precision", "float32")
    if weights is not None:
        overrides["weights"] = weights
    chosen = presets.get(preset, **overrides)
    arrays = {"image": image, "content": content, "style": style}
    pictures = {name: images.read(np.asarray(array), name) for name, array in arrays.items()}
    shapes = {name: list(picture.shape[1:]) for name, picture in pictures.items()}
    if len({tuple(shape) for shape in shapes.values()}) > 1:
        raise errors.InputError(f"shapes: {shapes}; allowed: arrays of one size")
    judge = objective.Objective(
        chosen, stylizer.load_weights(chosen), runtime.resolve_precision(chosen.precision)
    )
    tensors = {name: tf.constant(picture) for name, picture in pictures.items()}
    targets = judge.targets(tensors["content"], [tensors["style"]])
    return Losses(*(float(value) for value in judge.evaluate(tensors["image"], targets)))
