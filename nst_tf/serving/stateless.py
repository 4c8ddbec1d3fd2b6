"""A whole run as functions of tensors: no variable is assigned, so that one model serves many at once.

The images are made by `engine.loop`, as those of the `Stylizer`, and the sizes by `config.scales`. Images are
`[1, H, W, 3]` float32 sRGB in [0, 1], of sizes that only the graph knows.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.config.settings import COLORS
from nst_tf.engine import color, images, loop
from nst_tf.losses import objective
from nst_tf.losses.objective import LossWeights, Targets
from nst_tf.losses.values import Losses
from nst_tf.serving import codec
from nst_tf.serving.settings import Limits
from nst_tf.tensors import Tensor

Settings = Mapping[str, Tensor]  # {name of `settings.KINDS`: scalar}


def _double(value: Any) -> Tensor:
    """Returns a scalar in double precision; Python's numbers do not become float32 on the way."""
    return tf.cast(value, tf.float64) if tf.is_tensor(value) else tf.constant(value, tf.float64)


TENSORS = scales.Arithmetic(
    double=_double,
    # An ordinary division by a constant becomes, in a graph, a product with its rounded reciprocal.
    divide=lambda value, divisor: tf.math.divide_no_nan(value, _double(divisor)),
    floor=lambda value: tf.cast(tf.floor(value), tf.int32),
    round=lambda value: tf.cast(tf.round(value), tf.int32),
    power=lambda base, exponent: tf.pow(base, tf.constant(exponent, tf.float64)),
    minimum=tf.minimum,
    maximum=tf.maximum,
    where=tf.where,
)


class Plan(NamedTuple):
    """The scales of a run, S of them, coarse to fine."""

    heights: Tensor  # [S] int32
    widths: Tensor  # [S] int32
    num_steps: Tensor  # [S] int32
    shares: Tensor  # [S] float64, of the final size

    def scale(self, index: Tensor) -> scales.Scale:
        """Returns one of them."""
        return scales.Scale(*(column[index] for column in self))


def plan_scales(config: Config, size: Tensor, num_steps: Tensor, height: Tensor, width: Tensor) -> Plan:
    """Returns what `scales.plan_scales` does for the config with that size and so many steps in all.

    The last scale may be too small for the network; whoever calls checks it.

    Args:
        config: Says which side `size` is, the scales, and how steps are split over them.
        size: [] int32, in pixels; 0 keeps the content's own.
        num_steps: [] int32, at least 1.
        height: [] int32, of the content picture.
        width: [] int32, of the content picture.
    """
    rule = scales.size_rule(config)._replace(size=size)
    steps = scales.split_steps(num_steps, config.scales.steps, TENSORS)
    found, is_used = zip(
        *scales.all_scales(config, rule, steps, height, width, TENSORS),
        strict=True,
    )
    columns = (tf.stack(column) for column in zip(*found, strict=True))
    return Plan(*(tf.boolean_mask(column, tf.stack(is_used)) for column in columns))


def style_size(
    config: Config, size: Tensor, plan: Plan, index: Tensor, height: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns what `scales.style_size` does for a style picture at a scale of the plan, int32 both.

    Args:
        config: As for `plan_scales`.
        size: As for `plan_scales`.
        plan: Its scales.
        index: [] int32, which of them.
        height: [] int32, of the style picture.
        width: [] int32, of the style picture.
    """
    rule = scales.size_rule(config)._replace(size=size)
    return scales.size_of_style(config, rule, plan.scale(index), height, width, TENSORS)


class Styles(NamedTuple):
    """The K style pictures of a request."""

    sizes: Tensor  # [K, 2] int32, height and width
    shares: Tensor  # [K] float32, of the style; they add up to 1
    each: Callable[[Callable[[Tensor], Any], Any], Any]
    """(function of an image [1, h, w, 3], the `tf.TensorSpec`s of what it returns) -> what it returns for
    every style, stacked"""


def one_style(image: Tensor) -> Styles:
    """Returns a single style picture, [1, h, w, 3]."""

    def each(function: Callable[[Tensor], Any], specs: Any) -> Any:
        del specs
        return tf.nest.map_structure(lambda tensor: tensor[tf.newaxis], function(image))

    return Styles(tf.shape(image)[tf.newaxis, 1:3], tf.constant([1.0]), each)


class Request(NamedTuple):
    """A request that has passed all checks; tensors only, so that it may be an argument of a graph."""

    content_image: Tensor  # [1, H, W, 3] as given
    prepared: Tensor  # the same with the colours that the run works on
    color_index: Tensor | None  # [] int32, whose colours the result has, in `COLORS`; None: the config's
    shares: Tensor  # [K] float32, of `Styles`
    settings: dict[str, Tensor]
    plan: Plan

    def steps_done(self, state: "State") -> Tensor:
        """Returns how many steps a run has done, over all scales, [] int32."""
        return tf.reduce_sum(self.plan.num_steps[: state.scale_index]) + state.step


class State(NamedTuple):
    """Where a run stands."""

    image: Tensor  # [1, H, W, 3], the next to evaluate
    optimizer: Any  # NamedTuple of tensors
    scale_index: Tensor  # [] int32
    step: Tensor  # [] int32, steps done at this scale


class _Moments(NamedTuple):
    """The moments of K styles at some scales in a row."""

    first_scale: Tensor  # [] int32
    moments: objective.StyleMoments  # [K, scales, R, ...] each

    def at(self, scale_index: Tensor) -> objective.StyleMoments:
        """Returns those at a scale, [K, R, ...] each."""
        index = scale_index - self.first_scale
        return tf.nest.map_structure(lambda stacked: tf.gather(stacked, index, axis=1), self.moments)


# What `color.statistics` returns of one picture.
_COLOR_STATISTICS = color.ColorStatistics(tf.TensorSpec([3], tf.float64), tf.TensorSpec([3, 3], tf.float64))


def all_terms(config: Config) -> Config:
    """Returns the config with a weight for every term, since a request may give it one."""
    return config.replace(
        content_weight=config.content.weight or 1.0,
        style_weight=config.style.weight or 1.0,
        total_variation_weight=config.total_variation.weight or 1.0,
    )


class StatelessRun:
    """Runs of one formulation on any pictures with any settings; holds no state of theirs.

    What is worth it is a `tf.function`, traced once for all signatures.
    """

    def __init__(self, config: Config, of: objective.Objective, limits: Limits) -> None:
        """Takes what all runs share; traces nothing yet.

        Args:
            config: With all terms; its steps are proportions, its size is not read.
            of: The objective of that config.
            limits: What is refused with INVALID_ARGUMENT.
        """
        self._config, self._objective, self._limits = config, of, limits
        self._check = tf.function(self._checked, autograph=False)
        self._moments = tf.function(self._moments_of_style, autograph=False)
        self.start = tf.function(self._started, autograph=False)
        self.blank = tf.function(self._blank, autograph=False)
        self._take_steps = tf.function(self._steps_taken, autograph=False)

    def request(
        self,
        content_image: Tensor,
        styles: Styles,
        settings: Settings,
        color_index: Tensor | None = None,
    ) -> Request:
        """Returns a request, whose picture and plan cannot be read before all checks have passed.

        Args:
            content_image: [1, H, W, 3].
            styles: Its style pictures, of which only sizes and shares are read.
            settings: Of the run.
            color_index: [] int32, whose colours the result has, in `COLORS`; None for the config's own,
                which makes a graph with less in it.
        """
        return self._check(content_image, styles.sizes, styles.shares, dict(settings), color_index)

    def stylize(self, request: Request, styles: Styles) -> tuple[Tensor, Tensor]:
        """Returns the picture of a whole run, [1, H, W, 3] in [0, 1], and its losses, [4]."""
        state, _ = self.start(request)
        return self.advance(request, styles, state, request.settings["num_steps"])[1:3]

    def advance(
        self, request: Request, styles: Styles, state: State, num_steps: Tensor
    ) -> tuple[State, Tensor, Tensor, Tensor]:
        """Takes some steps, from scale to scale; no more than are left.

        Each style picture is decoded once: what is kept of it are its moments at the scales ahead.

        Returns:
            The state; the picture so far, [1, H, W, 3] in [0, 1]; its losses, [4]; the steps done, [] int32.
        """
        ahead = _scales_ahead(request, state, num_steps)
        specs = tf.nest.map_structure(
            lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype), self._objective.moments_spec()
        )
        moments = styles.each(lambda image: self._moments(request, image, ahead), specs)
        return self._take_steps(request, _Moments(ahead[0], moments), state, num_steps)

    def recolored(self, request: Request, styles: Styles) -> Tensor:
        """Returns the content image with the styles' colours and no strokes, [1, H, W, 3] in [0, 1]."""
        found = styles.each(color.statistics, _COLOR_STATISTICS)
        recolored = color.recolor(request.content_image, found, request.shares, self._config.color.root)
        return images.resize(recolored, request.plan.heights[-1], request.plan.widths[-1])

    def _checked(
        self,
        content_image: Tensor,
        style_sizes: Tensor,
        shares: Tensor,
        settings: dict[str, Tensor],
        color_index: Tensor | None,
    ) -> Request:
        """Returns the request of these tensors."""
        limits, needed = self._limits, scales.pixels_needed(self._config)
        num_steps = codec.with_checks(_setting_checks(settings, limits), settings["num_steps"])
        height, width = tf.shape(content_image)[1], tf.shape(content_image)[2]
        plan = plan_scales(self._config, settings["size"], num_steps, height, width)
        checks = codec.check_size(
            plan.heights[-1], plan.widths[-1], "size: the result", limits.max_pixels, needed
        )

        def checked_style(size: Tensor) -> Tensor:
            last = tf.shape(plan.heights)[0] - 1
            largest = style_size(self._config, settings["size"], plan, last, size[0], size[1])
            what = "size: the style picture at that size"
            own = codec.check_size(*largest, what, limits.max_pixels, needed)
            return codec.with_checks(own, tf.constant(True))

        checks.append(tf.map_fn(checked_style, style_sizes, fn_output_signature=tf.bool))
        content_image = codec.with_checks(checks, content_image)
        plan = Plan(*(codec.with_checks(checks, column) for column in plan))
        prepared, _ = self._color(color_index).prepare(content_image, [], self._config.color.root)
        return Request(content_image, prepared, color_index, shares, settings, plan)

    def _color(self, index: Tensor | None) -> color.Color:
        return color.COLORS[self._config.color.mode] if index is None else color.switched(index)

    def _started(self, request: Request) -> tuple[State, Tensor]:
        """Returns the state before the first step, and its picture."""
        algorithm, plan = self._algorithm(request), request.plan
        image = algorithm.first_image(
            request.prepared, plan.heights[0], plan.widths[0], request.settings["seed"]
        )
        state = State(image, algorithm.optimizer.init(image), tf.constant(0), tf.constant(0))
        return state, algorithm.picture(state.image, state.optimizer, request.content_image)

    def _blank(self, request: Request, scale_index: Tensor) -> State:
        """Returns a state of the shapes that one has at a scale; fails where there is no such scale."""
        plan = request.plan
        known = codec.check(
            (scale_index >= 0) & (scale_index < tf.shape(plan.heights)[0]),
            "state_bytes: at scale ",
            scale_index,
        )
        index = codec.with_checks([known], scale_index)
        image = tf.zeros([1, plan.heights[index], plan.widths[index], 3])
        return State(image, self._algorithm(request).optimizer.init(image), index, tf.constant(0))

    def _moments_of_style(
        self, request: Request, style_image: Tensor, scale_indices: Tensor
    ) -> objective.StyleMoments:
        """Returns the moments of a style picture [1, h, w, 3] at some scales [n], [n, R, ...] each."""
        prepare = self._color(request.color_index).prepare
        _, (image,) = prepare(request.content_image, [style_image], self._config.color.root)
        height, width = tf.shape(image)[1], tf.shape(image)[2]

        def at_scale(index: Tensor) -> objective.StyleMoments:
            size = style_size(self._config, request.settings["size"], request.plan, index, height, width)
            return self._objective.style_moments(images.resize(image, *size))

        specs = self._objective.moments_spec()
        return tf.map_fn(at_scale, scale_indices, fn_output_signature=specs, parallel_iterations=1)

    def _steps_taken(
        self, request: Request, moments: _Moments, state: State, num_steps: Tensor
    ) -> tuple[State, Tensor, Tensor, Tensor]:
        """Returns what `advance` does, the styles' moments being there."""
        plan, algorithm = request.plan, self._algorithm(request)

        def work(_: Tensor, left: Tensor, state: State, __: Tensor) -> tuple[Any, ...]:
            state = _next_scale_if_due(algorithm, request, state)
            targets = self._targets(request, moments, state.scale_index)
            count = tf.minimum(left, plan.num_steps[state.scale_index] - state.step)
            image, inner, _ = algorithm.take_steps(state.image, state.optimizer, targets, count)
            state = State(image, inner, state.scale_index, state.step + count)
            values = tf.cond(
                tf.equal(left, count),
                lambda: tf.stack(algorithm.evaluate(_picture(algorithm, request, state), targets)),
                lambda: tf.zeros([len(Losses._fields)]),
            )
            return tf.constant(False), left - count, state, values

        left = tf.minimum(num_steps, request.settings["num_steps"] - request.steps_done(state))
        variables = (tf.constant(True), left, state, tf.zeros([len(Losses._fields)]))
        # Once at least: what has no steps left still has its losses.
        _, _, state, values = tf.while_loop(
            lambda first, left, *_: first | (left > 0),
            work,
            variables,
            shape_invariants=tf.nest.map_structure(_any_size, variables),
            parallel_iterations=1,
        )
        check = _finite(algorithm.optimizer.output(state.image, state.optimizer), values)
        picture = codec.with_checks([check], _picture(algorithm, request, state))
        return state, picture, codec.with_checks([check], values), request.steps_done(state)

    def _targets(self, request: Request, moments: _Moments, index: Tensor) -> Targets:
        """Returns the targets at a scale."""
        scale = request.plan.scale(index)
        content = images.resize(request.prepared, scale.height, scale.width)
        weights = (request.settings[f"{term}_weight"] for term in LossWeights._fields)
        return Targets(
            self._objective.content_targets(content),
            self._objective.style_targets(moments.at(index), request.shares[:, tf.newaxis]),
            LossWeights(*weights),
            {},
            (),
        )

    def _algorithm(self, request: Request) -> loop.Algorithm:
        pixels = request.plan.heights[-1] * request.plan.widths[-1]
        return loop.Algorithm(
            self._config,
            self._color(request.color_index),
            self._objective,
            loop.make_optimizer(self._config, pixels),
        )


def color_index(name: Tensor, own: str) -> Tensor:
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


def _setting_checks(settings: Settings, limits: Limits) -> list[tf.Operation]:
    """Returns the checks of what a request sets; they fail with INVALID_ARGUMENT."""
    steps, size = settings["num_steps"], settings["size"]
    most = limits.max_steps
    found = [
        codec.check((steps > 0) & (steps <= most), "num_steps: ", steps, f"; allowed: 1 to {most}"),
        codec.check(size >= 0, "size: ", size, "; allowed: pixels of the longest side, or 0"),
        codec.check(settings["seed"] >= 0, "seed: ", settings["seed"], "; allowed: 0 and above"),
        codec.check(
            (settings["content_weight"] > 0) | (settings["style_weight"] > 0),
            "content_weight and style_weight: both 0; allowed: at least one above 0",
        ),
    ]
    for name in (f"{term}_weight" for term in LossWeights._fields):
        weight = settings[name]
        good = tf.math.is_finite(weight) & (weight >= 0)
        found.append(codec.check(good, f"{name}: ", weight, "; allowed: finite and not negative"))
    return found


def _scales_ahead(request: Request, state: State, num_steps: Tensor) -> Tensor:
    """Returns the indices of the scales at which the next steps are taken, [n] int32, at least one."""
    ends = tf.cumsum(request.plan.num_steps)  # [S], steps done when a scale ends
    done = request.steps_done(state)
    goal = done + tf.minimum(num_steps, ends[-1] - done)
    first = tf.minimum(_count(ends <= done), tf.size(ends) - 1)
    return tf.range(first, tf.maximum(first, _count(ends < goal)) + 1)


def _count(conditions: Tensor) -> Tensor:
    return tf.reduce_sum(tf.cast(conditions, tf.int32))


def _next_scale_if_due(algorithm: loop.Algorithm, request: Request, state: State) -> State:
    """Returns the state at the next scale, if the steps of this one are done and it is not the last."""
    plan, index = request.plan, state.scale_index

    def following() -> State:
        scale = plan.scale(index + 1)
        image, inner = algorithm.next_scale(
            state.image,
            state.optimizer,
            request.prepared,
            scale.height,
            scale.width,
            request.settings["content_weight"],
        )
        return State(image, inner, index + 1, tf.constant(0))

    due = tf.equal(state.step, plan.num_steps[index]) & (index < tf.shape(plan.heights)[0] - 1)
    return tf.cond(due, following, lambda: state)


def _picture(algorithm: loop.Algorithm, request: Request, state: State) -> Tensor:
    return algorithm.picture(state.image, state.optimizer, request.content_image)


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
