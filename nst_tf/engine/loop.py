"""The optimisation loop, the images of a run, and the optimiser that a config names.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1]. All functions are pure: they assign no variable.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from nst_tf.config.config import Config
from nst_tf.engine import color, images
from nst_tf.engine.color import Reference
from nst_tf.losses.objective import Objective, Outside, Targets, framed
from nst_tf.losses.terms import PIXEL_LEVELS
from nst_tf.losses.values import AnyLosses, FrameLosses, Losses
from nst_tf.optimizers import pyramid, rules, wrappers
from nst_tf.tensors import Tensor

# (image, number of the step in this call, from 0) -> (losses, gradient)
ValueAndGradient = Callable[[Tensor, Tensor], tuple[AnyLosses, Tensor]]


def minimize(
    value_and_gradient: ValueAndGradient,
    optimizer: rules.Optimizer,
    image: Tensor,
    state: Any,
    num_steps: Tensor,
    columns: Sequence[str] = Losses._fields,
) -> tuple[Tensor, Any, Tensor]:
    """Runs steps of an optimiser in one `tf.while_loop`.

    The returned state continues the run: 12 steps and then 8 are 20 steps, bit for bit. A step is one
    evaluation of losses and gradient.

    Args:
        value_and_gradient: (image, number of the step in this call, from 0) -> (losses, gradient).
        optimizer: The update rule.
        image: [1, H, W, 3], the image to evaluate first.
        state: The optimiser's state.
        num_steps: An integer or an int32 scalar.
        columns: The fields of the losses.

    Returns:
        The image to evaluate next, the state, and the losses of each evaluation, [num_steps, columns].
    """

    def step(index: Tensor, image: Tensor, state: Any, rows: Any) -> tuple[Any, ...]:
        values, gradient = value_and_gradient(image, index)
        image, state = optimizer.update(image, values.total, gradient, state)
        return index + 1, image, state, rows.write(index, tf.stack(values))

    rows = tf.TensorArray(tf.float32, size=num_steps, element_shape=[len(columns)])
    _, image, state, rows = tf.while_loop(
        lambda index, *_: index < num_steps,
        step,
        (tf.constant(0), image, state, rows),
        maximum_iterations=num_steps,
        parallel_iterations=1,  # iterations depend on each other: keep buffers for one
    )
    return image, state, rows.stack()


def enlarge(
    optimizer: rules.Optimizer,
    image: Tensor,
    state: Any,
    content_image: Tensor,
    detail: Tensor,
) -> Tensor:
    """Returns the image with which the next scale begins: the enlarged picture so far.

    Args:
        optimizer: The update rule.
        image: [1, h, w, 3], the image to evaluate next at the scale that ends.
        state: The optimiser's state there.
        content_image: [1, H, W, 3], at the next scale.
        detail: [], the share of the content image's high-frequency residual that is added to the picture.
            An enlarged picture has no fine features, and without them the style loss, of fourth order in
            the features, has a saddle point.
    """
    picture = optimizer.output(image, state)
    (height, width), small = (tf.unstack(tf.shape(each)[1:3]) for each in (content_image, picture))
    fine = detail * images.high_frequency_residual(content_image, *small)
    del content_image  # like `fine` below, so that the optimiser's state has the memory
    enlarged = images.resize(picture, height, width) + fine
    del fine
    return tf.clip_by_value(enlarged, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """The choices that stay the same over a run, and the functions that make the run's images.

    Two drivers share them: the `Stylizer`, which keeps the image in variables, and `serving.stateless`, which
    keeps it in a loop.
    """

    config: Config
    color: color.Color
    objective: Objective
    optimizer: rules.Optimizer

    def first_image(
        self, shaping_image: Tensor, height: Any, width: Any, seed: Any, init_image: Tensor | None = None
    ) -> Tensor:
        """Returns the image that the run starts from, [1, height, width, 3].

        Args:
            shaping_image: The prepared content image; without one the style image whose shape the result has.
            height: Of the first scale.
            width: Of the first scale.
            seed: Of the noise, where the config starts from noise.
            init_image: An image of any size to start from; None to start as the config says.
        """
        start = self.config.start
        if init_image is None:
            resized = images.resize(shaping_image, height, width)
            image = images.INITS[start.init](resized, seed, start.noise_levels)
        else:
            image = images.resize(init_image, height, width)
        return self.color.to_loss_space(image)

    def take_steps(
        self, image: Tensor, state: Any, targets: Targets, num_steps: Tensor, steps_done: Any = 0
    ) -> tuple[Tensor, Any, Tensor]:
        """Minimises the objective with the targets of one scale; arguments and results as of `minimize`.

        `steps_done` are those of this scale that were taken before.
        """
        targets = self.objective.prepared(targets)

        def value_and_gradient(image: Tensor, index: Tensor) -> tuple[AnyLosses, Tensor]:
            values, gradient = self.objective.value_and_gradient(image, targets, steps_done + index)
            return values, self.color.project(gradient)

        columns = (FrameLosses if targets.earlier else Losses)._fields
        return minimize(value_and_gradient, self.optimizer, image, state, num_steps, columns)

    def next_image(
        self,
        image: Tensor,
        state: Any,
        shaping_image: Tensor,
        height: Any,
        width: Any,
        content_weight: Any,
        has_photograph: bool = True,
    ) -> Tensor:
        """Returns the image with which the scale of that height and width begins.

        Args:
            image: [1, h, w, 3], the image to evaluate next at the scale that ends.
            state: The optimiser's state there.
            shaping_image: As for `first_image`.
            height: Of the scale that begins.
            width: Of the scale that begins.
            content_weight: [], of the content loss.
            has_photograph: Whether the shaping image is one.
        """
        detail = self.config.scales.detail * self._detail_share(content_weight, has_photograph)
        return enlarge(self.optimizer, image, state, images.resize(shaping_image, height, width), detail)

    def _detail_share(self, content_weight: Any, has_photograph: bool) -> Tensor:
        """Returns the share of the photograph's detail that joins at a new scale, [] in [0, 1].

        It joins where the photograph takes part in the picture: by the content loss, or by what neighbours
        look for.

        Args:
            content_weight: [], of the content loss.
            has_photograph: Whether there is one.
        """
        full = self.config.scales.detail_content_weight
        if full:
            return tf.minimum(tf.cast(content_weight, tf.float32) / full, 1.0)
        looked_for = has_photograph and bool(self.config.neighbor_layers())
        return tf.where(looked_for | (content_weight > 0), 1.0, 0.0)

    def query(
        self,
        image: Tensor,
        contents: Sequence[Tensor],
        is_first: Tensor | bool,
        before: tuple[Any, Any] | None = None,
    ) -> list[Tensor]:
        """Returns the image whose places are looked for in the paintings; none where neighbours do not count.

        Kolkin et al. 2022: the photograph at the first scale, later a mixture of it and the picture so far,
        to which the photograph's detail that the picture could not have before is added in any case.

        Args:
            image: [1, H, W, 3], with which the scale begins.
            contents: The content image of that size, if there is one.
            is_first: Whether the scale is the first.
            before: Height and width of the scale before; None where the image has all the detail.
        """
        if not self.config.neighbor_layers():
            return []
        if not contents:
            return [image]
        missing = max(0.0, 1.0 - self.config.scales.detail)
        if before is not None and missing:
            image += missing * images.high_frequency_residual(contents[0], *before)
        mixture = image + self.config.neighbors.content * (contents[0] - image)
        return [tf.where(is_first, contents[0], mixture)]

    def picture(
        self,
        image: Tensor,
        state: Any,
        reference: Reference | None,
        outside: Sequence[Outside] = (),
    ) -> Tensor:
        """Returns the picture so far, [1, h, w, 3] in [0, 1].

        Args:
            image: [1, h, w, 3], the image to evaluate next.
            state: The optimiser's state.
            reference: Of any size; None only where `Color.finish` is None.
            outside: The surroundings of the painted part, at the size of the image.
        """
        picture = self.optimizer.output(image, state)
        if self.color.finish is not None:
            assert reference is not None
            reference = _at_size_of(picture, reference, outside)
            picture = self.color.finish(
                tf.clip_by_value(picture, 0.0, 1.0), reference, self.config.color.root
            )
            # The photograph around the painted part keeps its colours.
            outside = [each._replace(photograph=reference.content) for each in outside]
        for each in outside:
            picture = framed(picture, each)
        return tf.clip_by_value(picture, 0.0, 1.0)

    def evaluate(self, picture: Tensor, targets: Targets) -> AnyLosses:
        """Returns the losses of a picture, as `picture` returns it, with the targets of its scale."""
        return self.objective.evaluate(self.color.to_loss_space(picture), targets)


def _at_size_of(picture: Tensor, reference: Reference, outside: Sequence[Outside]) -> Reference:
    """Returns a reference at the size of a picture, of which the painted part alone counts."""
    content, alpha, palette = reference
    height, width = tf.unstack(tf.shape(picture)[1:3])
    counted = [] if alpha is None else [images.resize(alpha, height, width)]
    counted += [each.mask for each in outside]
    return Reference(images.resize(content, height, width), math.prod(counted) if counted else None, palette)


def make_optimizer(config: Config, pixels: Tensor) -> rules.Optimizer:
    """Returns the config's optimiser for a result with that number of pixels, in units of the image.

    The config's units are levels of 0..255; an image in [0, 1] has a gradient 255 times as large. Adam and
    RMSprop, whose steps do not depend on the gradient's size, have their rate divided by 255, gradient
    descent by 255^2.
    """
    levels = PIXEL_LEVELS
    share = (
        tf.cast(pixels, tf.float64) / config.optimizer.rate_pixels if config.optimizer.rate_pixels else 1.0
    )
    decay = {"decay_rate": config.optimizer.decay_rate, "decay_steps": config.optimizer.decay_steps}
    options: dict[str, dict[str, Any]] = {
        "lbfgs": {
            "learning_rate": config.optimizer.learning_rate,
            "history": config.optimizer.history,
            "history_precision": config.optimizer.pairs_precision(),
            "preconditioner": config.optimizer.preconditioner,
            "preconditioned_scales": config.optimizer.preconditioned_scales,
        },
        "adam": {
            "learning_rate": config.optimizer.learning_rate / levels,
            "beta_1": config.optimizer.beta_1,
            "beta_2": config.optimizer.beta_2,
            "epsilon": config.optimizer.epsilon * levels,
            "carry": config.optimizer.carry_moments,
        },
        "rmsprop": {
            "learning_rate": config.optimizer.learning_rate / levels,
            "rho": config.optimizer.rho,
            "epsilon": config.optimizer.epsilon * levels**2,
        },
        "sgd": {"learning_rate": config.optimizer.learning_rate * share / levels**2, **decay},
        "momentum": {
            "learning_rate": config.optimizer.learning_rate * share / levels**2,
            "friction": config.optimizer.friction,
            **decay,
        },
    }
    chosen = options[config.optimizer.name]
    if config.optimizer.name == "adam" and config.optimizer.pyramid_levels:
        del chosen["carry"]  # which the settings refuse here, like `clip`
        optimizer = pyramid.adam(**chosen, levels=config.optimizer.pyramid_levels)
    else:
        optimizer = rules.OPTIMIZERS[config.optimizer.name](**chosen, clip=config.optimizer.clip)
    return wrappers.OUTPUTS[config.optimizer.output_image](optimizer)
