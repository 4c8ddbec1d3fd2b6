"""A run as functions of tensors that assign no variable, so that one model serves many requests at once.

`engine.loop` computes the images, as it does for the `Stylizer`, and `config.scales` the sizes. Images are
`[1, H, W, 3]` float32 sRGB in [0, 1], of any size.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.engine import color, images, inputs, loop
from nst_tf.losses import guides, neighbors
from nst_tf.losses.neighbors import Wanted
from nst_tf.losses.objective import (
    LossWeights,
    Objective,
    Outside,
    StyleMoments,
    Targets,
    region_shares,
    weighed_by_area,
)
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
    # TensorFlow turns an ordinary division by a constant into a product with its rounded reciprocal.
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
        """Returns the scale at an index."""
        return scales.Scale(*(column[index] for column in self))


def plan_scales(config: Config, size: Tensor, num_steps: Tensor, height: Tensor, width: Tensor) -> Plan:
    """Returns the scales that `scales.plan_scales` returns for the config with that size and number of steps.

    Does not check that the last scale is large enough for the network.

    Args:
        config: Which side `size` is, the scales, and the proportions in which steps are split over them.
        size: [] int32, in pixels; 0 keeps the content's own.
        num_steps: [] int32, over all scales, at least 1.
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
    """Returns the size (height, width) of a style picture at a scale, [] int32 each, as `scales.style_size`.

    Args:
        config: As for `plan_scales`.
        size: As for `plan_scales`.
        plan: The scales.
        index: [] int32, the scale's.
        height: [] int32, of the style picture.
        width: [] int32, of the style picture.
    """
    rule = scales.size_rule(config)._replace(size=size)
    return scales.size_of_style(config, rule, plan.scale(index), height, width, TENSORS)


class Style(NamedTuple):
    """A style picture of a request."""

    number: Tensor  # [] int32, among the request's, from 0
    image: Tensor  # [1, h, w, 3]
    mask: Tensor | None = None  # [1, h, w, R]; None for one region, the whole picture


class Styles(NamedTuple):
    """The K style pictures of a request."""

    sizes: Tensor  # [K, 2] int32, height and width
    shares: Tensor  # [K] float32, of each style in the style loss; they add up to 1
    each: Callable[[Callable[[Style], Any], Any], Any]
    """(function of a style, the `tf.TensorSpec`s of its result) -> its results for all styles, stacked"""
    fold: Callable[[Callable[[Style, Any], Any], Any], Any]
    """(function of a style and a value that returns the next value, the first value) -> the value after the
    last style"""


def one_style(image: Tensor) -> Styles:
    """Returns the styles of a request with a single style picture [1, h, w, 3]."""
    style = Style(tf.constant(0), image)

    def each(function: Callable[[Style], Any], specs: Any) -> Any:
        del specs
        return tf.nest.map_structure(lambda tensor: tensor[tf.newaxis], function(style))

    def fold(function: Callable[[Style, Any], Any], value: Any) -> Any:
        return function(style, value)

    return Styles(tf.shape(image)[tf.newaxis, 1:3], tf.constant([1.0]), each, fold)


class Options(NamedTuple):
    """What a request may choose beside its pictures and settings."""

    color_index: Tensor  # [] int32, the choice of colours in `COLORS`
    mask: Tensor  # [1, H, W, R], the regions of the content image
    has_regions: Tensor  # [] bool, whether the request has a mask or label pictures
    keeps_outside: Tensor  # [] bool, whether the photograph is kept outside the regions


class Request(NamedTuple):
    """A request that has passed all checks; tensors only, so that it may be an argument of a graph."""

    content_image: Tensor  # [1, H, W, 3]
    prepared: Tensor  # [1, H, W, 3], the content image with the config's colours
    # None for the config's colours and one region, which makes a smaller graph. It keeps the photograph
    # outside the regions only where there is an outside.
    options: Options | None
    shares: Tensor  # [K] float32, as in `Styles`
    settings: dict[str, Tensor]
    plan: Plan
    palette: color.Palette | None = None  # of the styles; None where no choice of colours needs it

    @property
    def color_index(self) -> Tensor | None:
        """The choice of colours in `COLORS`; None for the config's."""
        return None if self.options is None else self.options.color_index

    def steps_done(self, state: "State") -> Tensor:
        """Returns the number of steps done, over all scales, [] int32."""
        return tf.reduce_sum(self.plan.num_steps[: state.scale_index]) + state.step

    def mask_at(self, index: Tensor) -> Tensor | None:
        """Returns the regions at a scale, [1, h, w, R]; None for one region, the whole picture."""
        if self.options is None:
            return None
        scale = self.plan.scale(index)
        return guides.resize(self.options.mask, scale.height, scale.width)


class State(NamedTuple):
    """The state of a run between two steps."""

    image: Tensor  # [1, H, W, 3], the image to evaluate next
    optimizer: Any  # NamedTuple of tensors
    # With neighbours [1, h, w, K] int32, for each style the index into its bank; before a scale's first step
    # zeros of no meaning. Without neighbours ().
    matches: tuple[Tensor, ...]
    scale_index: Tensor  # [] int32
    step: Tensor  # [] int32, steps done at this scale


class _Regions(NamedTuple):
    """The regions of a style at a scale, or of several at several."""

    present: Tensor  # [..., R] bool, whether it has the region
    drawn: tuple[Tensor, ...]  # with neighbours one, [..., R] bool, whether its bank has something of it


class _Moments(NamedTuple):
    """The moments of K styles at consecutive scales, and which regions they have there."""

    first_scale: Tensor  # [] int32, index of the first one
    moments: StyleMoments  # [K, scales, R, ...] each
    regions: tuple[_Regions, ...]  # at most one, [K, scales, R]; () for one region, the whole picture

    def at(self, scale_index: Tensor) -> StyleMoments:
        """Returns the moments at a scale, [K, R, ...] each."""
        return tf.nest.map_structure(lambda stacked: self._at(stacked, scale_index), self.moments)

    def shares_at(self, scale_index: Tensor, shares: Tensor) -> Tensor:
        """Returns the shares of the styles in the regions at a scale, [K, R], from shares [K]."""
        if not self.regions:
            return shares[:, tf.newaxis]
        return region_shares(shares, self._at(self.regions[0].present, scale_index))

    def matched_shares_at(self, scale_index: Tensor, shares: Tensor) -> Tensor:
        """Returns the same of places that are matched to the styles' banks."""
        present = self.shares_at(scale_index, shares)
        if not self.regions:
            return present
        (drawn,) = self.regions[0].drawn
        return neighbors.shares_of_drawn(present, self._at(drawn, scale_index))

    def _at(self, stacked: Tensor, scale_index: Tensor) -> Tensor:
        return tf.gather(stacked, scale_index - self.first_scale, axis=1)


def all_terms(config: Config) -> Config:
    """Returns the config with a weight for every term of the loss, since a request may set each of them."""
    return config.replace(
        content_weight=config.content.weight or 1.0,
        style_weight=config.style.weight or 1.0,
        total_variation_weight=config.total_variation.weight or 1.0,
    )


class StatelessRun:
    """The functions of one formulation, for any pictures and settings; holds no state of a run.

    Its larger parts are `tf.function`s, each traced once for all signatures.
    """

    def __init__(self, config: Config, objective: Objective, limits: Limits) -> None:
        """Traces nothing yet.

        Args:
            config: As `all_terms` returns it; its steps are proportions, its size is not read.
            objective: Of that config.
            limits: Of a request; one beyond them fails with INVALID_ARGUMENT.
        """
        self._config, self._objective, self._limits = config, objective, limits
        self._check = tf.function(self._checked, autograph=False)
        self._moments = tf.function(self._moments_of_style, autograph=False)
        self.start = tf.function(self._started, autograph=False)
        self.blank = tf.function(self._blank, autograph=False)
        self._enter_scale = tf.function(self._scale_entered, autograph=False)
        self._match = tf.function(self._style_matched, autograph=False)
        self._take_steps = tf.function(self._steps_taken, autograph=False)
        self._pictured = tf.function(self._picture_of, autograph=False)

    def request(
        self,
        content_image: Tensor,
        styles: Styles,
        settings: Settings,
        options: Options | None = None,
    ) -> Request:
        """Returns a request, whose picture and plan depend on all checks: they fail with INVALID_ARGUMENT.

        Args:
            content_image: [1, H, W, 3].
            styles: The style pictures; only sizes and shares are read, and colours where they are needed.
            settings: Of the run.
            options: None for the config's colours and one region.
        """
        if options is not None:
            framed = options.keeps_outside & inputs.has_outside(options.mask)
            options = options._replace(keeps_outside=framed)
        request = self._check(content_image, styles.sizes, styles.shares, dict(settings), options)
        return request._replace(palette=self._palette(request, styles))

    def stylize(self, request: Request, styles: Styles) -> tuple[Tensor, Tensor]:
        """Returns the picture of a whole run, [1, H, W, 3] in [0, 1], and its losses, [4]."""
        return self.advance(request, styles, self.start(request), request.settings["num_steps"])[1:3]

    def advance(
        self, request: Request, styles: Styles, state: State, num_steps: Tensor
    ) -> tuple[State, Tensor, Tensor, Tensor]:
        """Takes some steps, over several scales if need be; at most those that are left.

        Reads every style picture once, and keeps its moments at the scales of these steps; with neighbours
        once more at each scale, to make its bank.

        Returns:
            The state; the picture so far, [1, H, W, 3] in [0, 1]; its losses, [4]; the steps done, [] int32.
        """
        ahead = _scales_ahead(request, state, num_steps)
        specs = tf.nest.map_structure(
            lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype), self._moments_spec(request)
        )
        moments = _Moments(ahead[0], *styles.each(lambda style: self._moments(request, style, ahead), specs))

        def work(_: Tensor, left: Tensor, state: State, *__: Tensor) -> tuple[Any, ...]:
            state = self._enter_scale(request, state)
            state, wanted = self._matched(request, styles, moments, state)
            return tf.constant(False), *self._take_steps(request, moments, wanted, state, left)

        left = tf.minimum(num_steps, request.settings["num_steps"] - request.steps_done(state))
        variables = (tf.constant(True), left, state, *_no_result())
        # At least once, so that a run without steps left has losses too.
        _, _, state, picture, values = tf.while_loop(
            lambda first, left, *_: first | (left > 0),
            work,
            variables,
            shape_invariants=tf.nest.map_structure(any_size, variables),
            parallel_iterations=1,
        )
        check = _finite(self._algorithm(request).optimizer.output(state.image, state.optimizer), values)
        picture, values = (codec.with_checks([check], each) for each in (picture, values))
        return state, picture, values, request.steps_done(state)

    def _matched(
        self, request: Request, styles: Styles, moments: _Moments, state: State
    ) -> tuple[State, tuple[Wanted, ...]]:
        """Returns the state with its matches, and what they want of each cell; () without neighbours.

        Args:
            request: The request.
            styles: Its styles.
            moments: Of these.
            state: At a scale.
        """
        if not state.matches:
            return state, ()
        shares = moments.matched_shares_at(state.scale_index, request.shares)
        # Of one row and column: it is broadcast, so that no map of zeros takes memory.
        nothing = Wanted(tf.zeros([1, 1, 1, self._objective.num_column_channels()]), tf.zeros([1, 1, 1, 1]))

        def add(style: Style, value: Any) -> Any:
            return self._match(request, state, style, shares, value)

        index, wanted = styles.fold(add, (state.matches[0], nothing))
        return state._replace(matches=(index,)), (wanted,)

    def _palette(self, request: Request, styles: Styles) -> color.Palette | None:
        """Returns the palette of the styles, zeros where the request's choice of colours needs none."""

        def found() -> color.Palette:
            of_styles = styles.each(lambda style: self._palette_of(request, style), color.PALETTE)
            return color.blended(of_styles, request.shares)

        if request.color_index is None:
            return found() if color.COLORS[self._config.color.mode].has_palette else None
        needed = tf.gather([choice.has_palette for choice in color.COLORS.values()], request.color_index)
        blank = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), color.PALETTE)
        return tf.cond(needed, found, lambda: blank)

    def _palette_of(self, request: Request, style: Style) -> color.Palette:
        """Returns the palette of the part of a style picture that is used."""
        if style.mask is None or request.options is None:
            return color.palette(style.image)
        counted = tf.reduce_sum(style.mask, axis=-1, keepdims=True)
        return tf.cond(
            request.options.has_regions,
            lambda: color.palette(style.image, counted),
            lambda: color.palette(style.image),
        )

    def recolored(self, request: Request, styles: Styles) -> Tensor:
        """Returns the content image with the styles' colours, without any step, [1, H, W, 3] in [0, 1]."""
        found = styles.each(lambda style: color.statistics(style.image), color.PALETTE.statistics)
        recolored = color.recolor(request.content_image, found, request.shares, self._config.color.root)
        return images.resize(recolored, request.plan.heights[-1], request.plan.widths[-1])

    def _checked(
        self,
        content_image: Tensor,
        style_sizes: Tensor,
        shares: Tensor,
        settings: dict[str, Tensor],
        options: Options | None,
    ) -> Request:
        """Returns the request; see `request`."""
        limits, needed = self._limits, scales.pixels_needed(self._config)
        num_steps = codec.with_checks(_setting_checks(settings, limits), settings["num_steps"])
        height, width = tf.shape(content_image)[1], tf.shape(content_image)[2]
        plan = plan_scales(self._config, settings["size"], num_steps, height, width)
        checks = codec.check_size(
            plan.heights[-1], plan.widths[-1], "size: the result", limits.max_pixels, needed
        )

        def checked_style(parts: tuple[Tensor, Tensor]) -> Tensor:
            size, number = parts
            last = tf.shape(plan.heights)[0] - 1
            largest = style_size(self._config, settings["size"], plan, last, size[0], size[1])
            what = tf.strings.join(["size: style picture ", tf.strings.as_string(number), " at that size"])
            own = codec.check_size(*largest, what, limits.max_pixels, needed)
            return codec.with_checks(own, tf.constant(True))

        numbers = tf.range(tf.shape(style_sizes)[0]) + 1
        checks.append(tf.map_fn(checked_style, (style_sizes, numbers), fn_output_signature=tf.bool))
        content_image = codec.with_checks(checks, content_image)
        plan = Plan(*(codec.with_checks(checks, column) for column in plan))
        prepared = self._prepare_content(None if options is None else options.color_index, content_image)
        return Request(content_image, prepared, options, shares, settings, plan)

    def _prepare_content(self, color_index: Tensor | None, content_image: Tensor) -> Tensor:
        """Returns the content image with the config's colours, as `inputs.prepare` does for a local run."""
        choice, root = self._color(color_index), self._config.color.root
        if choice is not color.COLORS["luminance"]:
            return choice.prepare(content_image, [], root)[0]
        # Not inlined: TensorFlow would merge it with what follows, and round otherwise than a local run.
        prepare = tensors.noinline_function(lambda image: choice.prepare(image, [], root)[0])
        return prepare(content_image)

    def _color(self, index: Tensor | None) -> color.Color:
        return color.COLORS[self._config.color.mode] if index is None else color.switched(index)

    def picture(self, request: Request, state: State) -> Tensor:
        """Returns the picture so far, [1, H, W, 3] in [0, 1]."""
        found: Tensor = self._pictured(request, state)
        return found

    def count_tensors(self) -> int:
        """Returns the number of tensors in a state."""
        with tf.Graph().as_default():
            inner = loop.make_optimizer(self._config, tf.constant(1)).init(tf.zeros([1, 1, 1, 3]))
        parts = State(0, inner, (0,) * bool(self._config.neighbor_layers()), 0, 0)
        return len(tf.nest.flatten(parts))

    def _started(self, request: Request) -> State:
        """Returns the state before the first step."""
        algorithm, plan = self._algorithm(request), request.plan
        image = algorithm.first_image(
            request.prepared, plan.heights[0], plan.widths[0], request.settings["seed"]
        )
        inner = algorithm.optimizer.init(image)
        matches = _unmatched(self._config, request, plan.heights[0], plan.widths[0])
        return State(image, inner, matches, tf.constant(0), tf.constant(0))

    def _picture_of(self, request: Request, state: State) -> Tensor:
        algorithm = self._algorithm(request)
        reference = color.Reference(request.content_image, None, request.palette)

        def picture(outside: tuple[Outside, ...] = ()) -> Tensor:
            return algorithm.picture(state.image, state.optimizer, reference, outside)

        if request.options is None:
            return picture()
        found = _outside(request, state.scale_index)
        # Colours are finished otherwise where a part of the picture alone counts.
        return tf.cond(request.options.keeps_outside, lambda: picture(found), picture)

    def _blank(self, request: Request, scale_index: Tensor) -> State:
        """Returns a state with the shapes of a state at that scale; fails if the run has no such scale."""
        plan = request.plan
        known = codec.check(
            (scale_index >= 0) & (scale_index < tf.shape(plan.heights)[0]),
            *("state_bytes: at scale ", scale_index, "; allowed: 0 to ", tf.shape(plan.heights)[0] - 1),
        )
        index = codec.with_checks([known], scale_index)
        height, width = plan.heights[index], plan.widths[index]
        image = tf.zeros([1, height, width, 3])
        inner = self._algorithm(request).optimizer.init(image)
        return State(image, inner, _unmatched(self._config, request, height, width), index, tf.constant(0))

    def _moments_spec(self, request: Request) -> Any:
        """Returns the `tf.TensorSpec`s of a style's moments at a scale, and of the regions that it has."""
        if request.options is None:
            return self._objective.moments_spec(), ()
        spec = tf.TensorSpec([None], tf.bool)
        drawn = (spec,) * bool(self._config.neighbor_layers())
        return self._objective.moments_spec(None), (_Regions(spec, drawn),)

    def _moments_of_style(
        self, request: Request, style: Style, scale_indices: Tensor
    ) -> tuple[StyleMoments, tuple[_Regions, ...]]:
        """Returns a style's moments at some scales, [n, R, ...], and its regions there, [n, R]."""
        prepared = style._replace(image=self._prepare_style(request, style.image))

        def at_scale(index: Tensor) -> tuple[StyleMoments, tuple[_Regions, ...]]:
            found = self._style_at(request, index, prepared)
            moments = self._objective.style_moments(found.image, found.mask)
            return moments, self._regions_of_style(request, found)

        specs = self._moments_spec(request)
        return tf.map_fn(at_scale, scale_indices, fn_output_signature=specs, parallel_iterations=1)

    def _regions_of_style(self, request: Request, style: Style) -> tuple[_Regions, ...]:
        """Returns the regions of a style at its size at a scale; () for one region, the whole picture."""
        if style.mask is None:
            return ()
        drawn: tuple[Tensor, ...] = ()
        if self._config.neighbor_layers():
            seed = _seed_of_places(request)
            drawn = (self._objective.has_drawn(style.image, style.number, seed, style.mask),)
        return (_Regions(guides.present(style.mask), drawn),)

    def _style_matched(
        self,
        request: Request,
        state: State,
        style: Style,
        shares: Tensor,
        value: tuple[Tensor, Wanted],
    ) -> tuple[Tensor, Wanted]:
        """Matches a style, unless the scale has begun before, and adds what it wants.

        Makes the style's bank, which is the same each time.

        Args:
            request: The request.
            state: At the scale.
            style: The style.
            shares: Of all styles in the regions, as far as they are matched, [K, R].
            value: The index of all styles [1, h, w, K], and what the styles before want.

        Returns:
            The same with this style.
        """
        index, before = value
        objective, algorithm, number = self._objective, self._algorithm(request), style.number
        prepared = style._replace(image=self._prepare_style(request, style.image))
        found = self._style_at(request, state.scale_index, prepared)
        bank = objective.bank(found.image, number, _seed_of_places(request), found.mask)
        guide = objective.cells(state.image, request.mask_at(state.scale_index))

        def nearest() -> Tensor:
            content = _content_at(request, state.scale_index)
            before = request.plan.scale(tf.maximum(state.scale_index - 1, 0))[:2]
            is_first = tf.equal(state.scale_index, 0)
            (query,) = algorithm.query(state.image, [content], is_first, before)
            return objective.matched(query, guide, [bank])[..., 0]

        own = tf.cond(tf.equal(state.step, 0), nearest, lambda: index[..., number])
        known = codec.check(
            tf.reduce_all((own >= 0) & (own < tf.size(bank.regions))),
            *("state_bytes: matches of places that style picture ", number + 1, " does not have"),
        )
        own = codec.with_checks([known], own)
        is_own = tf.equal(tf.range(tf.size(request.shares)), number)
        index = tf.ensure_shape(tf.where(is_own, own[..., tf.newaxis], index), index.shape)
        of_cells = neighbors.cell_shares(guide, shares[number, tf.newaxis])[..., 0]
        wanted = neighbors.wanted_of_style(neighbors.unit(bank.columns), own, of_cells)
        return index, tf.nest.map_structure(tf.add, before, wanted)

    def _prepare_style(self, request: Request, style_image: Tensor) -> Tensor:
        """Returns a style image [1, h, w, 3] with the request's colours."""
        prepare = self._color(request.color_index).prepare
        return prepare(request.content_image, [style_image], self._config.color.root)[1][0]

    def _style_at(self, request: Request, index: Tensor, style: Style) -> Style:
        """Returns a prepared style at its size at a scale."""
        own = tf.unstack(tf.shape(style.image)[1:3])
        size = style_size(self._config, request.settings["size"], request.plan, index, *own)
        mask = None if style.mask is None else guides.resize(style.mask, *size)
        return Style(style.number, images.resize(style.image, *size), mask)

    def _scale_entered(self, request: Request, state: State) -> State:
        """Returns the state at the scale of the next step."""
        return _next_scale_if_due(self._algorithm(request), request, state)

    def _steps_taken(
        self,
        request: Request,
        moments: _Moments,
        wanted: tuple[Wanted, ...],
        state: State,
        left: Tensor,
    ) -> tuple[Tensor, State, Tensor, Tensor]:
        """Takes steps at one scale.

        Args:
            request: The request.
            moments: Of the styles, at this scale and perhaps others.
            wanted: By neighbours at this scale.
            state: At this scale.
            left: [] int32, the most steps that are taken.

        Returns:
            The steps left; the state; if none are left the picture [1, H, W, 3] in [0, 1] and its losses [4],
            or else zeros.
        """
        algorithm = self._algorithm(request)
        targets = self._targets(request, moments, wanted, state.scale_index)
        count = tf.minimum(left, request.plan.num_steps[state.scale_index] - state.step)
        image, inner, _ = algorithm.take_steps(state.image, state.optimizer, targets, count)
        state = state._replace(image=image, optimizer=inner, step=state.step + count)

        def result() -> tuple[Tensor, Tensor]:
            picture = self._pictured(request, state)
            return picture, tf.stack(algorithm.evaluate(picture, targets))

        return left - count, state, *tf.cond(tf.equal(left, count), result, _no_result)

    def _targets(
        self, request: Request, moments: _Moments, wanted: tuple[Wanted, ...], index: Tensor
    ) -> Targets:
        """Returns the targets at a scale."""
        content, mask = _content_at(request, index), request.mask_at(index)
        weights = (request.settings[f"{term}_weight"] for term in LossWeights._fields)
        shares = moments.shares_at(index, request.shares)
        shares = shares if mask is None else weighed_by_area(shares, mask)
        return Targets(
            self._objective.content_targets(content),
            self._objective.style_targets(moments.at(index), shares),
            LossWeights(*weights),
            {} if mask is None else self._objective.guides(mask),
            _outside(request, index),
            wanted,
        )

    def _algorithm(self, request: Request) -> loop.Algorithm:
        pixels = request.plan.heights[-1] * request.plan.widths[-1]
        return loop.Algorithm(
            self._config,
            self._color(request.color_index),
            self._objective,
            loop.make_optimizer(self._config, pixels),
        )


def _setting_checks(settings: Settings, limits: Limits) -> list[tf.Operation]:
    """Returns the checks of a request's settings."""
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
    """Returns the indices of the scales of the next steps, [n] int32 with n at least 1."""
    ends = tf.cumsum(request.plan.num_steps)  # [S], steps done when a scale ends
    done = request.steps_done(state)
    goal = done + tf.minimum(num_steps, ends[-1] - done)
    first = tf.minimum(_count(ends <= done), tf.size(ends) - 1)
    return tf.range(first, tf.maximum(first, _count(ends < goal)) + 1)


def _count(conditions: Tensor) -> Tensor:
    return tf.reduce_sum(tf.cast(conditions, tf.int32))


def _next_scale_if_due(algorithm: loop.Algorithm, request: Request, state: State) -> State:
    """Returns the state at the next scale if this one has no steps left and is not the last."""
    plan, index = request.plan, state.scale_index

    def following() -> State:
        scale = plan.scale(index + 1)
        image = algorithm.next_image(
            state.image,
            state.optimizer,
            request.prepared,
            scale.height,
            scale.width,
            request.settings["content_weight"],
        )
        inner = algorithm.optimizer.resize(state.optimizer, scale.height, scale.width)
        matches = _unmatched(algorithm.config, request, scale.height, scale.width)
        return State(image, inner, matches, index + 1, tf.constant(0))

    due = tf.equal(state.step, plan.num_steps[index]) & (index < tf.shape(plan.heights)[0] - 1)
    return tf.cond(due, following, lambda: state)


def _content_at(request: Request, index: Tensor) -> Tensor:
    """Returns the prepared content image at a scale."""
    scale = request.plan.scale(index)
    return images.resize(request.prepared, scale.height, scale.width)


def _seed_of_places(request: Request) -> Tensor:
    """Returns the seed of the places of styles that are drawn, [2] int32."""
    return tf.stack([request.settings["seed"], 0])


def _unmatched(config: Config, request: Request, height: Tensor, width: Tensor) -> tuple[Tensor, ...]:
    """Returns the `matches` of a `State` of that height and width before its first step."""
    layers = config.neighbor_layers()
    if not layers:
        return ()
    cells = neighbors.size(layers, height, width)
    zeros = tf.zeros([1, *cells, tf.size(request.shares)], tf.int32)
    return (tf.ensure_shape(zeros, [1, None, None, request.shares.shape[0]]),)


def _outside(request: Request, index: Tensor) -> tuple[Outside, ...]:
    """Returns the surroundings of the painted part at a scale; with options always, perhaps empty ones."""
    mask = request.mask_at(index)
    if mask is None or request.options is None:
        return ()
    whole = tf.ones_like(mask[..., :1])
    frame = tf.cond(request.options.keeps_outside, lambda: inputs.frame(mask), lambda: whole)
    return (Outside(tf.ensure_shape(frame, [1, None, None, 1]), _content_at(request, index)),)


def _no_result() -> tuple[Tensor, Tensor]:
    """Returns a picture and losses of zeros."""
    return tf.zeros([1, 1, 1, 3]), tf.zeros([len(Losses._fields)])


def _finite(image: Tensor, values: Tensor) -> tf.Operation:
    """Returns the check that a run has not diverged.

    Checks the unclipped image too: in a graph TensorFlow's ReLU turns NaN into zeros.
    """
    return codec.check(
        tf.math.is_finite(tf.reduce_sum(image)) & tf.reduce_all(tf.math.is_finite(values)),
        "the loss became infinite or NaN; allowed: smaller content_weight, style_weight and"
        " total_variation_weight",
    )


def any_size(tensor: Tensor) -> tf.TensorShape:
    """Returns the tensor's shape; a tensor of rank 4 with any height and width."""
    shape = tensor.shape.as_list()
    if len(shape) == 4:
        shape[1:3] = [None, None]
    return tf.TensorShape(shape)
