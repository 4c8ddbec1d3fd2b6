"""A whole run as functions of tensors: no variable is assigned, so that one model serves many at once.

The steps, the scales and the pictures are those of `stylizer`, through the same `minimize` and `enlarge`.
Images are `[1, H, W, 3]` float32 sRGB in [0, 1], of sizes that only the graph knows.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.engine import color, images, loop
from nst_tf.losses import objective
from nst_tf.losses.objective import LossWeights, Targets
from nst_tf.losses.values import Losses
from nst_tf.serving import codec, requested, tensor_scales
from nst_tf.serving.codec import check_size
from nst_tf.serving.requested import Limits, Settings, Styles, each
from nst_tf.tensors import Tensor


class State(NamedTuple):
    """Where a run stands."""

    image: Tensor  # [1, H, W, 3], the next to evaluate
    optimizer: Any  # NamedTuple of tensors
    scale_index: Tensor  # [] int32
    step: Tensor  # [] int32, steps done at this scale


def all_terms(config: Config) -> Config:
    """Returns the config with a weight for every term, since a request may give it one."""
    return config.replace(
        content_weight=config.content.weight or 1.0,
        style_weight=config.style.weight or 1.0,
        total_variation_weight=config.total_variation.weight or 1.0,
    )


class StatelessRun:
    """Runs of one formulation on any pictures with any settings; holds no state of theirs."""

    def __init__(self, config: Config, judge: objective.Objective, limits: Limits) -> None:
        """Takes what all runs share.

        Args:
            config: With all terms; its steps are proportions, its size is not looked at.
            judge: The objective of that config.
            limits: What is refused with INVALID_ARGUMENT.
        """
        self._config, self._objective, self._limits = config, judge, limits

    def start(self, content_image: Tensor, styles: Styles, settings: Settings) -> State:
        """Returns the state before the first step."""
        plan, content_image = self._checked(content_image, styles, settings)
        prepared = self._prepared(content_image, styles)
        image = images.resize(prepared, plan.heights[0], plan.widths[0])
        image = images.INITS[self._config.start.init](image, settings.seed, self._config.start.noise_levels)
        image = styles.color.judged(image)
        return State(image, self._optimizer(plan).init(image), tf.constant(0), tf.constant(0))

    def blank(self, content_image: Tensor, styles: Styles, settings: Settings, scale_index: Tensor) -> State:
        """Returns a state of the shapes that one has at a scale; fails where there is no such scale."""
        plan, _ = self._checked(content_image, styles, settings)
        known = codec.check(
            (scale_index >= 0) & (scale_index < tf.shape(plan.heights)[0]),
            "state_bytes: at scale ",
            scale_index,
        )
        index = codec.with_checks([known], scale_index)
        image = tf.zeros([1, plan.heights[index], plan.widths[index], 3])
        return State(image, self._optimizer(plan).init(image), index, tf.constant(0))

    def steps_done(self, content_image: Tensor, settings: Settings, state: State) -> Tensor:
        """Returns how many steps a run has done, over all scales, [] int32."""
        plan = self._plan(content_image, settings)
        return tf.reduce_sum(plan.num_steps[: state.scale_index]) + state.step

    def advance(
        self, content_image: Tensor, styles: Styles, settings: Settings, state: State, num_steps: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        """Takes some steps, from scale to scale; no more than are left.

        Returns:
            The state; the picture so far, [1, H, W, 3] in [0, 1]; its losses, [4].
        """
        plan, content_image = self._checked(content_image, styles, settings)
        state = self._checked_state(plan, state)
        optimizer, prepared = self._optimizer(plan), self._prepared(content_image, styles)

        def work(_: Tensor, left: Tensor, state: State, __: Tensor) -> tuple[Any, ...]:
            state = self._next_scale_if_due(plan, optimizer, state, prepared, settings)
            targets = self._targets(plan, state.scale_index, prepared, content_image, styles, settings)
            count = tf.minimum(left, plan.num_steps[state.scale_index] - state.step)
            image, inner, _ = loop.minimize(
                lambda image: self._value_and_gradient(image, targets, styles),
                optimizer,
                state.image,
                state.optimizer,
                count,
            )
            state = State(image, inner, state.scale_index, state.step + count)
            values = tf.cond(
                tf.equal(left, count),
                lambda: tf.stack(
                    self._objective.evaluate(
                        styles.color.judged(_picture(optimizer, state, content_image, styles)), targets
                    )
                ),
                lambda: tf.zeros([len(Losses._fields)]),
            )
            return tf.constant(False), left - count, state, values

        done = tf.reduce_sum(plan.num_steps[: state.scale_index]) + state.step
        left = tf.minimum(num_steps, settings.num_steps - done)
        variables = (tf.constant(True), left, state, tf.zeros([len(Losses._fields)]))
        # Once at least: what has no steps left still has its losses.
        _, _, state, values = tf.while_loop(
            lambda first, left, *_: first | (left > 0),
            work,
            variables,
            shape_invariants=tf.nest.map_structure(_any_size, variables),
            parallel_iterations=1,
        )
        check = _finite(optimizer.output(state.image, state.optimizer), values)
        picture = _picture(optimizer, state, content_image, styles)
        return state, codec.with_checks([check], picture), codec.with_checks([check], values)

    def picture(self, content_image: Tensor, styles: Styles, settings: Settings, state: State) -> Tensor:
        """Returns the picture so far, [1, H, W, 3] in [0, 1]."""
        return _picture(self._optimizer(self._plan(content_image, settings)), state, content_image, styles)

    def recolored(self, content_image: Tensor, styles: Styles, settings: Settings) -> Tensor:
        """Returns the content image with the styles' colours and no strokes, [1, H, W, 3] in [0, 1]."""
        plan, content_image = self._checked(content_image, styles, settings)
        found = each(styles, lambda index: color.statistics(styles.image(index)), requested.COLOR_STATISTICS)
        recolored = color.recolor(content_image, found, styles.shares, self._config.color.root)
        return images.resize(recolored, plan.heights[-1], plan.widths[-1])

    def _prepared(self, content_image: Tensor, styles: Styles) -> Tensor:
        return styles.color.prepare(content_image, [], self._config.color.root)[0]

    def _value_and_gradient(self, image: Tensor, targets: Targets, styles: Styles) -> tuple[Losses, Tensor]:
        values, gradient = self._objective.value_and_gradient(image, targets)
        return values, styles.color.project(gradient)

    def _plan(self, content_image: Tensor, settings: Settings) -> tensor_scales.Plan:
        height, width = tf.shape(content_image)[1], tf.shape(content_image)[2]
        return tensor_scales.plan_scales(self._config, settings.size, settings.num_steps, height, width)

    def _optimizer(self, plan: tensor_scales.Plan) -> Any:
        return loop.make_optimizer(self._config, plan.heights[-1] * plan.widths[-1])

    def _checked(
        self, content_image: Tensor, styles: Styles, settings: Settings
    ) -> tuple[tensor_scales.Plan, Tensor]:
        """Returns the plan and the content image, neither of which can be read before all checks."""
        settings = settings._replace(
            num_steps=codec.with_checks(requested.checks(settings, self._limits), settings.num_steps)
        )
        plan = self._plan(content_image, settings)
        needed, most = scales.pixels_needed(self._config), self._limits.max_pixels
        checks = check_size(plan.heights[-1], plan.widths[-1], "size: the result", most, needed)

        def checked_style(index: Any) -> Tensor:
            last = tf.shape(plan.heights)[0] - 1
            size = self._style_size(plan, last, styles.image(index), settings)
            own = check_size(*size, "size: the style picture at that size", most, needed)
            return codec.with_checks(own, tf.constant(True))

        checks.append(each(styles, checked_style, tf.TensorSpec([], tf.bool)))
        return (
            tensor_scales.Plan(*(codec.with_checks(checks, tensor) for tensor in plan)),
            codec.with_checks(checks, content_image),
        )

    def _checked_state(self, plan: tensor_scales.Plan, state: State) -> State:
        """Returns the state, whose place in the plan there is."""
        steps = plan.num_steps[state.scale_index]
        good = codec.check(state.step <= steps, "state_bytes: at step ", state.step, " of ", steps)
        return state._replace(step=codec.with_checks([good], state.step))

    def _next_scale_if_due(
        self, plan: tensor_scales.Plan, optimizer: Any, state: State, prepared: Tensor, settings: Settings
    ) -> State:
        index = state.scale_index
        last = tf.shape(plan.heights)[0] - 1
        detail = tf.where(settings.content_weight > 0, self._config.scales.detail, 0.0)

        def following() -> State:
            content = images.resize(prepared, plan.heights[index + 1], plan.widths[index + 1])
            image, inner = loop.enlarge(optimizer, state.image, state.optimizer, content, detail)
            return State(image, inner, index + 1, tf.constant(0))

        due = tf.equal(state.step, plan.num_steps[index]) & (index < last)
        return tf.cond(due, following, lambda: state)

    def _targets(
        self,
        plan: tensor_scales.Plan,
        index: Tensor,
        prepared: Tensor,
        content_image: Tensor,
        styles: Styles,
        settings: Settings,
    ) -> Targets:
        """Returns the targets at a scale, of the content image as prepared and as given."""
        weights = LossWeights(settings.content_weight, settings.style_weight, settings.total_variation_weight)
        content = images.resize(prepared, plan.heights[index], plan.widths[index])

        def moments(style: Any) -> Any:
            _, (image,) = styles.color.prepare(content_image, [styles.image(style)], self._config.color.root)
            size = self._style_size(plan, index, image, settings)
            return self._objective.style_moments(images.resize(image, *size))

        stacked = each(styles, moments, self._objective.moments_spec())
        asked = self._objective.style_targets(stacked, styles.shares[:, tf.newaxis])
        return self._objective.targets_of(content, asked, weights)

    def _style_size(
        self, plan: tensor_scales.Plan, index: Tensor, style_image: Tensor, settings: Settings
    ) -> tuple[Tensor, Tensor]:
        height, width = tf.shape(style_image)[1], tf.shape(style_image)[2]
        return tensor_scales.style_size(self._config, settings.size, plan, index, height, width)


def _picture(optimizer: Any, state: State, content_image: Tensor, styles: Styles) -> Tensor:
    picture = tf.clip_by_value(optimizer.output(state.image, state.optimizer), 0.0, 1.0)
    if styles.color.finish is None:
        return picture
    own = images.resize(content_image, tf.shape(picture)[1], tf.shape(picture)[2])
    return tf.clip_by_value(styles.color.finish(picture, own), 0.0, 1.0)


def _finite(image: Tensor, values: Tensor) -> tf.Operation:
    """Returns the check that a run has not diverged.

    The image is looked at itself, unclipped: in a graph TensorFlow's ReLU makes zeros of NaN.
    """
    return codec.check(
        tf.math.is_finite(tf.reduce_sum(image)) & tf.reduce_all(tf.math.is_finite(values)),
        "the loss became infinite or NaN; allowed: smaller content_weight, style_weight and"
        " total_variation_weight",
    )


def _any_size(tensor: Tensor) -> tf.TensorShape:
    """Returns the tensor's shape; of pictures any height and width will do."""
    shape = tensor.shape.as_list()
    if len(shape) == 4:
        shape[1:3] = [None, None]
    return tf.TensorShape(shape)
