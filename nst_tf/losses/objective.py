"""The objective: targets computed from the pictures, and the loss of an image with its gradient.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1], content and style images at the sizes of the scale. The
gradient by the pixels comes from `tf.GradientTape` through the frozen network. Moments of several styles have
leading axes [K, R]: K styles, R regions.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.config import layers as vgg_layers
from nst_tf.config import settings
from nst_tf.config.config import Config
from nst_tf.losses import guides, neighbors, splitting, style_statistics, temporal, terms
from nst_tf.losses.neighbors import Matches, Wanted
from nst_tf.losses.style_statistics import Moments
from nst_tf.losses.values import AnyLosses, FrameLosses, Losses
from nst_tf.network import network, weights
from nst_tf.tensors import Tensor


class LossWeights(NamedTuple):
    """The weights of the terms of the loss, float32 scalars."""

    content: Tensor
    style: Tensor
    total_variation: Tensor


class Masks(NamedTuple):
    """The masks of R regions, 1 inside and 0 outside."""

    content: Tensor  # [1, H, W, R], at the size of the content image
    styles: tuple[Tensor, ...]  # for each style image [1, h, w, R], at its size


class Outside(NamedTuple):
    """The surroundings of the painted part, which the optimiser does not change."""

    mask: Tensor  # [1, H, W, 1], 1 in the painted part
    photograph: Tensor  # [1, H, W, 3]


class Targets(NamedTuple):
    """The targets of one scale and the weights of the losses; tensors only, as an argument of a graph."""

    content: dict[str, Tensor]  # {layer: features [1, h, w, C]}
    styles: terms.StyleTargets
    weights: LossWeights
    guides: dict[str, Tensor]  # {style layer: [1, h, w, R]}; {} for one region, the whole picture
    outside: tuple[Outside, ...]  # at most one; () if the whole picture is painted
    neighbors: tuple[Matches | Wanted, ...] = ()  # at most one
    split: tuple[splitting.Split, ...] = ()  # at most one, instead of the neighbours
    earlier: tuple[temporal.Target, ...] = ()  # at most one, of a frame that is held to earlier ones


def loss_weights(config: Config) -> LossWeights:
    """Returns a config's weights of the terms."""
    return LossWeights(
        tf.constant(config.content.weight, tf.float32),
        tf.constant(config.style.weight, tf.float32),
        tf.constant(config.total_variation.weight, tf.float32),
    )


def framed(image: Tensor, outside: Outside) -> Tensor:
    """Returns the image composited over the photograph that surrounds it, by the mask.

    Where the mask is 1 the image is the same, bit for bit.
    """
    mixed = outside.photograph + outside.mask * (image - outside.photograph)
    return tf.where(outside.mask < 1, mixed, image)


# {style layer: moments, [R, ...] of one style or [K, R, ...] of several}
StyleMoments = dict[str, Moments]


class StyleParts(NamedTuple):
    """The part of the targets that K style pictures decide alone, whatever the content image."""

    moments: StyleMoments  # [K, R, ...] each
    present: tuple[Tensor, ...]  # at most one, [K, R] bool, the regions of each; () for the whole picture
    banks: tuple[neighbors.Bank, ...]  # of each; () without neighbours


def stack_moments(moments: Sequence[StyleMoments]) -> StyleMoments:
    """Returns the moments of several styles, stacked along a new first axis, [K, R, ...]."""
    return {
        layer: Moments(*(tf.stack(parts) for parts in zip(*(own[layer] for own in moments), strict=True)))
        for layer in moments[0]
    }


def _as_losses(moments: StyleMoments, shares: Tensor) -> tuple[StyleMoments, Tensor]:
    """Returns all styles: the loss is the weighted sum of their losses."""
    return moments, shares


def _as_targets(moments: StyleMoments, shares: Tensor) -> tuple[StyleMoments, Tensor]:
    """Returns one style, whose moments are the weighted mean of those of several."""
    total = tf.reduce_sum(shares, axis=0, keepdims=True)
    parts = tf.math.divide_no_nan(shares, total)

    def mean(values: Tensor) -> Tensor:
        """Returns the weighted mean of values [K, R, ...], [1, R, ...]."""
        shape = tf.concat([tf.shape(parts), tf.ones([tf.rank(values) - 2], tf.int32)], axis=0)
        return tf.reduce_sum(tf.reshape(parts, shape) * values, axis=0, keepdims=True)

    return tf.nest.map_structure(mean, moments), total


# Blends of several styles by name: (moments, shares [K, R]) -> moments and shares to compute targets of.
BLENDS: Mapping[str, Callable[[StyleMoments, Tensor], tuple[StyleMoments, Tensor]]] = (
    settings.STYLE_BLENDS.table(
        losses=_as_losses,
        targets=_as_targets,
    )
)


def region_shares(shares: Tensor, present: Tensor | None = None) -> Tensor:
    """Returns the shares of K styles in each of R regions, [K, R]; they add up to 1 in each.

    Args:
        shares: [K], of the styles, in any proportions.
        present: [K, R], whether a style has the region; None for one region that all have.
    """
    blend = shares[:, tf.newaxis]
    if present is not None:
        blend *= tf.cast(present, tf.float32)
    return tf.math.divide_no_nan(blend, tf.reduce_sum(blend, axis=0))


def weighed_by_area(shares: Tensor, mask: Tensor) -> Tensor:
    """Returns shares [K, R] times the regions' areas, so that all pixels of a picture have the same weight.

    Args:
        shares: As `region_shares` returns them.
        mask: Of the content image, [1, H, W, R].
    """
    return shares * tf.reduce_mean(mask, axis=[0, 1, 2])


class Objective:
    """The loss of an image with given targets, and its gradient.

    Holds the network and the formulation, but no state: all scales and requests may share one objective.
    """

    def __init__(self, config: Config, vgg_weights: weights.Weights, precision: str, tile: int = 0) -> None:
        """Builds the network.

        Args:
            config: The formulation.
            vgg_weights: For every convolution that the formulation's layers need.
            precision: The type of the convolutions, "float32" or "bfloat16".
            tile: Side in pixels of the tiles that the network processes, without their halo; 0 for whole
                pictures.
        """
        self._config, self._in_tiles = config, bool(tile)
        self._content_layers, self._style_layers = config.used_layers()
        self._statistic = style_statistics.STYLE_STATISTICS[config.style.statistics]
        self._mean_layers = self._style_layers if self._statistic.needs_mean else ()
        self._neighbor_layers = config.neighbor_layers()
        self._search_type = tf.as_dtype(precision)
        self._network = network.Network(
            config.all_layers(),
            vgg_weights,
            config.network.pooling,
            precision,
            tile,
            padding=config.network.padding,
            convolution=config.network.convolution,
            derived=self._hypercolumns(),
        )

    def _hypercolumns(self) -> dict[str, network.Derived]:
        """Returns the map of hypercolumns, where neighbours have weight."""
        layers = self._neighbor_layers
        if not layers:
            return {}
        # Interpolation reaches one place of the deepest layer further.
        reach = neighbors.whole(layers)
        make = functools.partial(neighbors.hypercolumns, layers=layers)
        return {neighbors.NAME: network.Derived(make, vgg_layers.GRID, reach)}

    @property
    def variables(self) -> list[tf.Variable]:
        """The network's weights."""
        return self._network.variables

    def targets(
        self,
        content_image: Tensor,
        style_images: Sequence[Tensor],
        weights: LossWeights | None = None,
        *,
        shares: Sequence[float] | Tensor | None = None,
        masks: Masks | None = None,
        outside: tuple[Outside, ...] = (),
        query: Tensor | None = None,
        seed: Tensor | None = None,
        split: tuple[Tensor, Tensor] | None = None,
        parts: StyleParts | None = None,
    ) -> Targets:
        """Returns the targets of a content image and of K style images.

        A term without weight in the config has no targets.

        Args:
            content_image: [1, H, W, 3]; None where the content has no weight.
            style_images: Each [1, h, w, 3].
            weights: Of the terms; None for the config's own.
            shares: Of the styles; None for equal ones. They are divided by their sum, in each region.
            masks: Of regions, each with its own statistics; None for one region, the whole picture.
            outside: The surroundings of the painted part, at the size of the content image.
            query: [1, H, W, 3], whose places are looked for in the styles; None without neighbours.
            seed: [2] int32, of the places of the styles that are drawn; likewise.
            split: Height and width of the picture, for the pass that compares each layer by itself, which
                has no query; None for hypercolumns.
            parts: What `style_parts` returned for these style images, instead of them, without `split`.
        """
        styles = style_images if self._style_layers or self._neighbor_layers else ()
        contents = self.content_targets(content_image)
        weights = weights or loss_weights(self._config)
        if not styles and parts is None:
            return Targets(contents, terms.StyleTargets({}, tf.zeros([0, 1])), weights, {}, outside)
        style_masks = masks.styles if masks else ()
        if parts is None:
            # After the content image, with the memory of one picture.
            with tf.control_dependencies(list(contents.values())):
                images = [tf.identity(image) for image in styles]
            parts = self.style_parts(images, style_masks, None if split else seed)
        shares = [1.0] * len(styles) if shares is None else shares
        blend = region_shares(tf.convert_to_tensor(shares, tf.float32), *parts.present)
        matches: tuple[Matches, ...] = ()
        splits: tuple[splitting.Split, ...] = ()
        if parts.banks:
            with tf.control_dependencies(tf.nest.flatten(parts.moments)):
                query = tf.identity(query)
            matches = (self._matches(query, parts.banks, masks, blend),)
        elif self._neighbor_layers:
            splits = (self._split(split, styles, masks, blend, seed),)
        guided = self.guides(masks.content) if masks else {}
        blend = weighed_by_area(blend, masks.content) if masks else blend
        aims = self.style_targets(parts.moments, blend)
        return Targets(contents, aims, weights, guided, outside, matches, splits)

    def style_parts(
        self, styles: Sequence[Tensor], masks: Sequence[Tensor] = (), seed: Tensor | None = None
    ) -> StyleParts:
        """Returns the part of the targets that K style images decide alone.

        Args:
            styles: [1, h, w, 3] each.
            masks: Of their regions, [1, h, w, R] each; () for one region, the whole picture.
            seed: As for `targets`; None for no banks.
        """
        own = masks or [None] * len(styles)
        each: list[StyleMoments] = []
        for image, mask in zip(styles, own, strict=True):
            # One picture after the other, with the memory of one.
            with tf.control_dependencies(tf.nest.flatten(each[-1:])):
                seen = tf.identity(image)
            each.append(self.style_moments(seen, mask))
        banks: list[neighbors.Bank] = []
        searched = self._neighbor_layers and seed is not None
        for number, (image, mask) in enumerate(zip(styles, own, strict=True) if searched else ()):
            with tf.control_dependencies(tf.nest.flatten((each, banks[-1:]))):
                seen = tf.identity(image)
            banks.append(self.bank(seen, number, seed, mask))
        present = (tf.stack([guides.present(mask) for mask in masks]),) if masks else ()
        return StyleParts(stack_moments(each), present, tuple(banks))

    def _split(
        self, size: Any, styles: Sequence[Tensor], masks: Masks | None, shares: Tensor, seed: Tensor
    ) -> splitting.Split:
        """Returns the targets of the pass that compares each layer by itself.

        Args:
            size: Height and width of the picture.
            styles: [1, h, w, 3] each.
            masks: Of regions; None for one region, the whole picture.
            shares: [K, R], of the styles in each region.
            seed: [2] int32.
        """
        config = self._config.neighbors
        count = min(config.vectors, splitting.MOST_VECTORS)
        drawing = splitting.Drawing(self._neighbor_layers, config.rotations, count, seed)
        held = () if masks is None else (masks.content, *masks.styles)
        return splitting.targets(self._network, drawing, size, styles, held, shares)

    def _matches(
        self,
        query: Tensor,
        banks: Sequence[neighbors.Bank],
        masks: Masks | None,
        shares: Tensor,
    ) -> Matches:
        """Returns what the cells of a query are matched to in the styles.

        Args:
            query: [1, H, W, 3].
            banks: Of the styles.
            masks: Of regions; None for one region, the whole picture.
            shares: [K, R], of the styles in each region.
        """
        guide = self.cells(query, None if masks is None else masks.content)
        index = self.matched(query, guide, banks)
        vectors = tuple(neighbors.unit(bank.columns)[tf.newaxis, :, tf.newaxis] for bank in banks)
        if masks is not None:
            shares = neighbors.shares_of_banks(shares, banks)
        return Matches(vectors, index, neighbors.cell_shares(guide, shares))

    def matched(self, query: Tensor, guide: Tensor, banks: Sequence[neighbors.Bank]) -> Tensor:
        """Returns the index of the nearest hypercolumn in each of K banks, [1, h, w, K] int32.

        Args:
            query: [1, H, W, 3].
            guide: Of the query, as `cells` returns it.
            banks: Of the style pictures.
        """
        stride, regions = neighbors.whole(self._neighbor_layers), neighbors.regions(guide)
        keys = [neighbors.search_keys(bank, self._search_type) for bank in banks]  # once, not for each tile
        count = tf.cast(tf.size(regions), tf.float32)

        def found(features: network.Maps, part: network.Part, mean: Tensor) -> Tensor:
            queries, own = features[neighbors.NAME], part(neighbors.NAME, regions)
            return tf.concat([neighbors.nearest(queries, own, mean, each) for each in keys], axis=-1)

        def summed(features: network.Maps, _: network.Part) -> Tensor:
            return tf.reduce_sum(features[neighbors.NAME], axis=[0, 1, 2])

        def of_whole(features: network.Maps, part: network.Part) -> Tensor:
            return found(features, part, summed(features, part) / count)

        if not self._in_tiles:
            index = self._network.sums(query, of_whole, None)
            return tf.ensure_shape(index, [1, None, None, len(banks)])
        mean = self._network.sums(query, summed, tf.zeros([self.num_column_channels()])) / count
        of_tile = functools.partial(found, mean=mean)
        empty = tf.zeros(tf.stack([1, 0, tf.shape(regions)[2], len(banks)]), tf.int32)
        index = self._network.mapped(query, of_tile, empty, vgg_layers.GRID, stride)
        return tf.ensure_shape(index, [1, None, None, len(banks)])

    def bank(
        self, image: Tensor, number: Tensor | int, seed: Tensor, mask: Tensor | None = None
    ) -> neighbors.Bank:
        """Returns the bank of a style image.

        Args:
            image: [1, h, w, 3].
            number: Of the style among those of the run, from 0: each has other random numbers.
            seed: [2] int32.
            mask: Of regions, [1, h, w, R]; None for one region, the whole picture.
        """
        turns = range(self._num_turns())
        places, regions = self._drawn(image, number, seed, mask)
        size, count = tf.size(regions), self.num_column_channels()
        nothing = tf.zeros([size, count])

        def add(turn: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
            seen = _chosen(turn, [neighbors.turned(image, None, each)[0] for each in turns])
            place = functools.partial(self._placed, _chosen(turn, places), size)
            return turn + 1, columns + self._network.sums(seen, place, nothing)

        # A loop, whose graph has the network once.
        _, columns = tf.while_loop(
            lambda turn, _: turn < len(turns), add, (tf.constant(0), nothing), parallel_iterations=1
        )
        return neighbors.Bank(tf.ensure_shape(columns, [None, count]), regions)

    def has_drawn(self, image: Tensor, number: Tensor, seed: Tensor, mask: Tensor) -> Tensor:
        """Returns whether the bank of a style image has something of each region, [R] bool; makes no bank.

        Arguments are those of `bank`.
        """
        _, regions = self._drawn(image, number, seed, mask)
        return neighbors.has_drawn(regions, tf.shape(mask)[-1])

    def _drawn(
        self, image: Tensor, number: Tensor | int, seed: Tensor, mask: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Returns what `neighbors.draw` does for a style image; arguments are those of `bank`."""
        guides_turned = [
            self.cells(*neighbors.turned(image, mask, turn)) for turn in range(self._num_turns())
        ]
        regions_of = neighbors.regions if mask is None else neighbors.regions_of_style
        vectors = self._config.neighbors.vectors
        return neighbors.draw(
            [regions_of(each) for each in guides_turned], vectors, seed + tf.stack([0, number])
        )

    def _num_turns(self) -> int:
        """Returns how many rotations of a style image are in its bank."""
        return 4 if self._config.neighbors.rotations else 1

    def _placed(self, places: Tensor, number: Tensor, features: network.Maps, part: network.Part) -> Tensor:
        """Returns the hypercolumns of a tile at their places in a bank of that number."""
        return neighbors.placed(features[neighbors.NAME], part(neighbors.NAME, places), number)

    def cells(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns how much of each cell of an image is in each region, [1, h, w, R]; ones without a mask."""
        rows, columns = neighbors.size(self._neighbor_layers, *tf.unstack(tf.shape(image)[1:3]))
        if mask is None:
            return tf.ones(tf.stack([1, rows, columns, 1]))
        return guides.at_stride(mask, vgg_layers.GRID)[:, :rows, :columns]

    def num_column_channels(self) -> int:
        """Returns the numbers in a hypercolumn."""
        return sum(self._network.channels(layer) for layer in self._neighbor_layers)

    def content_targets(self, content_image: Tensor) -> dict[str, Tensor]:
        """Returns the features of a content image at the content layers, {layer: [1, h, w, C]}."""
        layers = self._content_layers
        return self._network.maps(content_image, layers) if layers else {}

    def moments_spec(self, num_regions: int | None = 1) -> Any:
        """Returns the `tf.TensorSpec`s of what `style_moments` returns; None for any number of regions."""
        counts = {layer: self._network.channels(layer) for layer in self._style_layers}
        return {
            layer: style_statistics.Moments(
                tf.TensorSpec([num_regions, count, count]),
                tf.TensorSpec([num_regions, count if layer in self._mean_layers else 1]),
            )
            for layer, count in counts.items()
        }

    def parts_spec(self, num_styles: int, num_regions: int) -> Any:
        """Returns the `tf.TensorSpec`s of what `style_parts` returns; of no regions without masks."""
        column, regions = tf.TensorSpec([None, self.num_column_channels()]), tf.TensorSpec([None], tf.int32)
        present = tf.TensorSpec([num_styles, num_regions], tf.bool)
        return StyleParts(
            tf.nest.map_structure(
                lambda spec: tf.TensorSpec([num_styles, *spec.shape]), self.moments_spec(num_regions or 1)
            ),
            (present,) if num_regions else (),
            (neighbors.Bank(column, regions),) * (num_styles if self._neighbor_layers else 0),
        )

    def style_moments(self, style_image: Tensor, mask: Tensor | None = None) -> StyleMoments:
        """Returns the moments of a style image [1, h, w, 3], for each region of its mask [1, h, w, R]."""
        guided = {} if mask is None else self.guides(mask)
        sums = self._network.sums(style_image, self._statistics({}, guided), self._zeros({}, guided))
        return self._moments(sums, style_image, guided)

    def style_targets(self, moments: StyleMoments, shares: Tensor) -> terms.StyleTargets:
        """Returns the targets of K styles.

        Args:
            moments: Of the styles, [K, R, ...] each.
            shares: [K, R], of the style loss.
        """
        moments, shares = BLENDS[self._config.style.blend](moments, shares)
        return terms.StyleTargets(
            {layer: self._statistic.target(of_layer) for layer, of_layer in moments.items()}, shares
        )

    def prepared(self, targets: Targets) -> Targets:
        """Returns targets for several steps, with what each step would otherwise compute again.

        That is what the neighbours want of each cell, except in tiles, where it would take more memory than
        the index into the banks.
        """
        if self._in_tiles:
            return targets
        found = (neighbors.wanted(each) if isinstance(each, Matches) else each for each in targets.neighbors)
        return targets._replace(neighbors=tuple(found))

    def evaluate(self, image: Tensor, targets: Targets) -> AnyLosses:
        """Returns the weighted losses of an image, which has the size of the targets' content image."""
        statistics = self._network.sums(
            image,
            self._statistics_of(targets, tf.constant(0)),
            self._zeros(targets.content, targets.guides),
        )
        losses = self._losses(statistics, self._variation(image), image, targets)
        return _with_temporal(losses, image, targets)

    def value_and_gradient(
        self, image: Tensor, targets: Targets, step: Tensor | None = None
    ) -> tuple[AnyLosses, Tensor]:
        """Returns the losses of an image and the gradient of their total, shaped as the image.

        The losses are those of the image composited with its surroundings, if the targets have any.

        Args:
            image: [1, H, W, 3].
            targets: Of that size.
            step: [] int32, the step of the scale, which decides what `splitting` compares; None for the
                first.
        """
        for outside in targets.outside:
            image = framed(image, outside)
        with tf.GradientTape() as tape:
            tape.watch(image)
            variation = self._variation(image)
            weighted = targets.weights.total_variation * variation
        values, gradient = self._network.value_and_gradient(
            image,
            self._statistics_of(targets, tf.constant(0) if step is None else step),
            lambda statistics: self._losses(statistics, variation, image, targets),
            self._zeros(targets.content, targets.guides),
        )
        # Total variation and earlier frames do not depend on the network.
        if self._config.total_variation.weight:
            gradient += tape.gradient(weighted, image)
        for target in targets.earlier:
            gradient += temporal.gradient(image, target)
        for outside in targets.outside:
            gradient *= outside.mask
        return _with_temporal(values, image, targets), gradient

    def _losses(
        self, statistics: terms.Statistics, variation: Tensor, image: Tensor, targets: Targets
    ) -> Losses:
        """Returns the weighted losses of the image's sums over pixels."""
        config, weights = self._config, targets.weights
        sizes = self._sizes(image, targets)
        # A loss that is quadratic in the features is divided by the square of their divisor.
        content = (weights.content / config.network.feature_divisor**2) * terms.content_loss(
            statistics.content_error, sizes, config.content.normalization
        )
        layer_weights = dict(zip(config.style.layers, config.style.layer_weights, strict=True))
        style = terms.style_loss(
            self._moments(statistics, image, targets.guides),
            targets.styles,
            sizes,
            layer_weights,
            config.style.normalization,
            self._compared,
        )
        if targets.split:
            style += config.neighbors.weight * statistics.neighbor_distance
        elif targets.neighbors:
            cells = tf.cast(tf.size(targets.neighbors[0].shares[..., 0]), tf.float32)
            style += config.neighbors.weight * statistics.neighbor_distance / cells
        style *= weights.style
        weighted = weights.total_variation * variation
        return Losses(content + style + weighted, content, style, weighted)

    def _variation(self, image: Tensor) -> Tensor:
        """Returns the image's total variation; 0 if it has no weight."""
        config = self._config
        if not config.total_variation.weight:
            return tf.constant(0.0)
        return terms.TOTAL_VARIATION[config.total_variation.formula](terms.PIXEL_LEVELS * image)

    def _compared(
        self, moments: style_statistics.Moments, target: Mapping[str, Tensor], factor: Tensor
    ) -> Tensor:
        return self._statistic.loss(moments, target, factor, self._config.style.moment_weight)

    def _statistics_of(self, targets: Targets, step: Tensor) -> network.Statistics:
        """Returns the function of features that gives the sums for the losses against the targets."""
        sums = self._statistics(targets.content, targets.guides, targets.neighbors)
        if not targets.split:
            return sums

        def with_split(features: network.Maps, part: network.Part) -> terms.Statistics:
            distance = splitting.distance(features, targets.split[0], step)
            return sums(features, part)._replace(neighbor_distance=distance)

        return with_split

    def _statistics(
        self,
        content: dict[str, Tensor],
        guided: dict[str, Tensor],
        matched: tuple[Matches | Wanted, ...] = (),
    ) -> network.Statistics:
        """Returns the function of features that gives the sums over pixels for all losses."""

        def statistics(features: network.Maps, part: network.Part) -> terms.Statistics:
            own = {layer: part(layer, guide)[0] for layer, guide in guided.items()}
            return terms.Statistics(
                {layer: terms.gram_sums(features[layer], own.get(layer)) for layer in self._style_layers},
                {layer: terms.feature_sums(features[layer], own.get(layer)) for layer in self._mean_layers},
                {
                    layer: terms.content_error(features[layer], part(layer, target))
                    for layer, target in content.items()
                },
                _distance_sum(features, matched, part),
            )

        return statistics

    def _zeros(self, content: dict[str, Tensor], guided: dict[str, Tensor]) -> terms.Statistics:
        """Returns sums of zero, shaped as the sums over pixels."""
        channels = {layer: self._network.channels(layer) for layer in self._style_layers}
        regions = {layer: _count(guided[layer]) if guided else 1 for layer in self._style_layers}
        return terms.Statistics(
            {layer: tf.zeros([regions[layer], count, count]) for layer, count in channels.items()},
            {layer: tf.zeros([regions[layer], channels[layer]]) for layer in self._mean_layers},
            {layer: tf.constant(0.0) for layer in content},
            tf.constant(0.0),
        )

    def _moments(self, sums: terms.Statistics, image: Tensor, guided: dict[str, Tensor]) -> StyleMoments:
        """Returns the means over pixels of the divided features of an image, [R, ...] for R regions."""
        divisor = self._config.network.feature_divisor
        moments = {}
        for layer, gram in sums.gram_sums.items():
            # A region that a style picture lacks has no pixels; its share of the loss is 0.
            pixels = (
                tf.maximum(tf.reduce_sum(guided[layer], axis=[0, 1, 2]), _FEWEST_PIXELS)
                if guided
                else _pixels(image, layer)[tf.newaxis]
            )
            mean = sums.feature_sums.get(layer, tf.zeros([1, 1]))
            moments[layer] = style_statistics.Moments(
                gram / (pixels[:, tf.newaxis, tf.newaxis] * divisor**2),
                mean / (pixels[:, tf.newaxis] * divisor),
            )
        return moments

    def guides(self, mask: Tensor) -> dict[str, Tensor]:
        """Returns the guides of masks [1, H, W, R] at every style layer."""
        erosion = self._config.regions.guide_erosion
        return {layer: guides.at_layer(mask, layer, erosion) for layer in self._style_layers}

    def _sizes(self, image: Tensor, targets: Targets) -> dict[str, terms.LayerSize]:
        """Returns the size of every layer's features, from the image's size."""
        layers = dict.fromkeys((*targets.content, *targets.styles.statistics))
        image_pixels = tf.cast(tf.reduce_prod(tf.shape(image)[1:3]), tf.float32)
        return {
            layer: terms.LayerSize(float(self._network.channels(layer)), _pixels(image, layer), image_pixels)
            for layer in layers
        }


def _with_temporal(losses: Losses, image: Tensor, targets: Targets) -> AnyLosses:
    """Returns the losses of an image with that of the earlier frames in its targets, if there are any."""
    if not targets.earlier:
        return losses
    found = temporal.loss(image, targets.earlier[0])
    return FrameLosses(losses.total + found, *losses[1:], found)


def _chosen(index: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Returns one of several maps [1, h, w, C], which may differ in height and width."""
    found = tf.switch_case(index, [functools.partial(tf.identity, each) for each in maps])
    return tf.ensure_shape(found, [1, None, None, maps[0].shape[-1]])


def _distance_sum(
    features: network.Maps, matched: tuple[Matches | Wanted, ...], part: network.Part
) -> Tensor:
    """Returns the sum over cells of how far each is from what it is matched to, []; 0 without neighbours."""
    if not matched:
        return tf.constant(0.0)
    (found,) = matched
    cut = functools.partial(part, neighbors.NAME)
    if isinstance(found, Matches):
        wanted = neighbors.wanted(found._replace(index=cut(found.index), shares=cut(found.shares)))
    else:
        wanted = Wanted(*map(cut, found))
    return neighbors.distance_sum(features[neighbors.NAME], wanted)


def _count(guide: Tensor) -> Any:
    """Returns the number of regions of a guide, a tensor where the graph does not know it."""
    known = guide.shape[-1]
    return tf.shape(guide)[-1] if known is None else known


# The least sum of a guide to divide by: below it a guide is empty but for rounding errors.
_FEWEST_PIXELS = 1e-6


def _pixels(image: Tensor, layer: str) -> Tensor:
    """Returns M, the number of pixels of the layer's features of the image, as float32."""
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    stride = vgg_layers.stride(layer)
    return tf.cast((height // stride) * (width // stride), tf.float32)
