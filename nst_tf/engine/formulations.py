"""Networks and traced functions of formulations, each shared by all runs of a process, of any size.

A formulation is the part of a config on which graphs depend: layers, weights, precision, optimiser, tiles.
Images are `[1, H, W, 3]` float32 sRGB in [0, 1].
"""

import collections
import dataclasses
import functools
import gc
import threading
from collections.abc import Hashable, Sequence
from typing import Any

import tensorflow as tf

from nst_tf import runtime
from nst_tf.config import layers as vgg_layers
from nst_tf.config.config import Config
from nst_tf.engine import color, inputs, loop
from nst_tf.engine.inputs import ANY_IMAGE
from nst_tf.losses.objective import LossWeights, Masks, Objective, Outside, StyleParts, Targets
from nst_tf.losses.values import AnyLosses
from nst_tf.network import weights
from nst_tf.optimizers import lbfgs
from nst_tf.tensors import Tensor

# The most formulations that a process caches: a network with Winograd's kernels takes 0.6 GB with ImageNet's
# weights.
_MOST_KEPT = 2

# Settings on which no graph depends, each with a neutral value: arguments of graphs, or used outside of them.
_OUTSIDE_OF_GRAPHS: dict[str, Any] = {
    **{"size": 0, "size_side": "longest", "aspect_ratio": 0.0, "scales": (1.0,), "min_scale": 0},
    **{"scale_detail": 0.0, "detail_content_weight": 0.0, "steps": (1,)},
    **{"init": "gray", "noise_levels": 0.0, "seed": 0},
    **{"style_blend_weights": (), "style_scale": 1.0, "style_size": 0, "style_shape": "own"},
    **{"outside": "keep", "rate_pixels": 0, "weights": "auto"},
    **{"large_inputs": "reduced", "max_memory": "auto", "neighbor_content": 0.0},
    "temporal_weight": 0.0,
}


class Formulation:
    """The network, the optimiser and the traced functions of a formulation; holds no state of a run.

    A run's variables are arguments of these functions, so that threads may share a formulation.
    """

    def __init__(
        self, config: Config, vgg_weights: weights.Weights, network_weights: weights.Weights, precision: str
    ) -> None:
        """Builds the network; traces nothing yet.

        Args:
            config: Of a run; its convolution is resolved.
            vgg_weights: The weights that the run's manifest names.
            network_weights: The weights of the network: the same, or rescaled for the run's pictures.
            precision: The type of the convolutions, "float32" or "bfloat16".
        """
        # Without the arrays, of which the network has copies.
        self.weights = dataclasses.replace(vgg_weights, arrays={})
        # "auto" means whole pictures here: `memory.fit`, which chooses a tile, comes before.
        tile = int(config.memory.tile) if config.memory.tile.isdecimal() else 0
        self.objective = Objective(config, network_weights, precision, tile)
        self._algorithm = loop.Algorithm(
            config, color.COLORS[config.color.mode], self.objective, loop.make_optimizer(config, 1)
        )
        self._traced_targets = functools.lru_cache(maxsize=8)(self._trace_targets)
        self._traced_parts = functools.lru_cache(maxsize=8)(self._trace_parts)
        self.advance = tf.function(self._advance, autograph=False)
        self._traced_evaluate = tf.function(self._evaluate, autograph=False)

    def targets(
        self,
        pictures: tuple[Sequence[Tensor], ...],
        shares: Sequence[float],
        loss_weights: LossWeights,
        seed: int,
        split: tuple[int, int] | None = None,
        parts: StyleParts | None = None,
    ) -> Targets:
        """Returns the targets of one scale.

        Args:
            pictures: As `Inputs.at` returns them: content images, styles, masks, painted parts; and, as
                `Algorithm.query` returns them, the queries of neighbours.
            shares: Of the styles.
            loss_weights: Of the terms.
            seed: Of everything random.
            split: Height and width of the picture in the pass of `splitting`; None in others.
            parts: What `style_parts` returned for the styles, in their place; not with `split`.
        """
        masks = pictures[2]
        num_regions = masks[0].shape[-1] if masks else 0
        if parts is not None:  # the content image's mask alone
            pictures = (pictures[0], (), masks[:1], *pictures[3:])
        traced = self._traced_targets(
            tuple(map(len, pictures)), num_regions, len(shares), bool(split), parts is not None
        )
        size = tf.constant(split or (0, 0))
        known = [] if parts is None else [parts]
        blend = tf.constant(shares, tf.float32)
        return traced(blend, *map(list, pictures), known, loss_weights, tf.constant([seed, 0]), size)

    def _trace_targets(
        self,
        counts: tuple[int, ...],
        num_regions: int,
        num_styles: int,
        is_split: bool,
        has_parts: bool,
    ) -> Any:
        """Returns the function that computes targets of these numbers of pictures, of any size.

        Sizes and shares are unknown: TensorFlow rewrites graphs by what it knows, with other rounding.
        """
        contents, styles, masks, frames, queries = counts
        specs = [
            tf.TensorSpec([num_styles]),
            [ANY_IMAGE] * contents,
            [ANY_IMAGE] * styles,
            [tf.TensorSpec([1, None, None, num_regions])] * masks,
            [tf.TensorSpec([1, None, None, 1])] * frames,
            [ANY_IMAGE] * queries,
            [self.objective.parts_spec(num_styles, num_regions)] * has_parts,
            LossWeights(*[tf.TensorSpec([])] * len(LossWeights._fields)),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([2], tf.int32),
        ]
        make = functools.partial(self._make_targets, is_split)
        return tf.function(make, specs, autograph=False)

    def _make_targets(
        self,
        is_split: bool,
        shares: Tensor,
        contents: Sequence[Tensor],
        styles: Sequence[Tensor],
        masks: Sequence[Tensor],
        frames: Sequence[Tensor],
        queries: Sequence[Tensor],
        parts: Sequence[StyleParts],
        loss_weights: LossWeights,
        seed: Tensor,
        size: Tensor,
    ) -> Targets:
        content = contents[0] if contents else None
        return self.objective.targets(
            content,
            styles,
            loss_weights,
            shares=shares,
            masks=Masks(masks[0], tuple(masks[1:])) if masks else None,
            outside=tuple(Outside(frame, content) for frame in frames),
            query=queries[0] if queries else None,
            seed=seed,
            split=tuple(tf.unstack(size)) if is_split else None,
            parts=parts[0] if parts else None,
        )

    def style_parts(self, styles: Sequence[Tensor], masks: Sequence[Tensor], seed: int) -> StyleParts:
        """Returns the part of the targets that styles decide alone, for `targets`.

        Args:
            styles: [1, h, w, 3] each.
            masks: Of their regions, [1, h, w, R] each; () without regions.
            seed: Of everything random.
        """
        num_regions = masks[0].shape[-1] if masks else 0
        traced = self._traced_parts(len(styles), num_regions)
        found: StyleParts = traced(list(styles), list(masks), tf.constant([seed, 0]))
        return found

    def _trace_parts(self, num_styles: int, num_regions: int) -> Any:
        """Returns the function that computes the parts of so many styles, of any size."""
        of_mask = tf.TensorSpec([1, None, None, num_regions])
        specs = [
            [ANY_IMAGE] * num_styles,
            [of_mask] * (num_styles if num_regions else 0),
            tf.TensorSpec([2], tf.int32),
        ]
        return tf.function(self.objective.style_parts, specs, autograph=False)

    def _advance(
        self, image: tf.Variable, steps_done: tf.Variable, state: Any, targets: Any, num_steps: Tensor
    ) -> Tensor:
        """Takes steps: assigns the variables, returns the losses of each evaluation, [num_steps, columns]."""
        found, new_state, rows = self._algorithm.take_steps(
            image.value(), take_values(state), values(targets), num_steps, steps_done.value()
        )
        image.assign(found)
        steps_done.assign_add(num_steps)
        assign(state, new_state)
        return rows

    def evaluate(self, picture: Tensor, targets: Any) -> AnyLosses:
        """Returns the losses of a picture that `Algorithm.picture` returned.

        Args:
            picture: [1, H, W, 3].
            targets: Variables, of that size.
        """
        # Of unknown size: TensorFlow rewrites graphs of known sizes, with other rounding.
        traced = self._traced_evaluate.get_concrete_function(ANY_IMAGE, targets)
        found: AnyLosses = traced(picture, targets)
        return found

    def _evaluate(self, picture: Tensor, targets: Any) -> AnyLosses:
        return self._algorithm.evaluate(picture, values(targets))


def for_pictures(
    config: Config,
    precision: str,
    content_image: Tensor | None,
    style_images: Sequence[Tensor],
    vgg_weights: weights.Weights | None = None,
) -> Formulation:
    """Returns the formulation of a run: one that others share, unless its network depends on the pictures.

    Args:
        config: Of the run; its convolution is resolved.
        precision: The type of the convolutions, "float32" or "bfloat16".
        content_image: [1, H, W, 3] as prepared, if there is one.
        style_images: Likewise.
        vgg_weights: The network's weights; None for those that the config names.

    Raises:
        InputError: The weights cannot be had, or lack a layer.
    """
    runtime.check_process()
    if not config.network.normalize_activations:
        return get(config, precision, vgg_weights)
    loaded = vgg_weights or load_weights(config)
    rescaled = inputs.network_weights(config, loaded, content_image, style_images)
    _free_graphs()  # of earlier runs, which no other run shares
    return Formulation(config, loaded, rescaled, precision)


def get(config: Config, precision: str, vgg_weights: weights.Weights | None = None) -> Formulation:
    """Returns the formulation of a config whose network does not depend on the run's pictures.

    Args:
        config: Of a run; its convolution is resolved.
        precision: The type of the convolutions, "float32" or "bfloat16".
        vgg_weights: The network's weights; None for those that the config names.

    Raises:
        InputError: The weights are missing, or lack a layer.
    """
    identity = id(vgg_weights) if vgg_weights else weights.identity(config.network.weights)
    key = (_key(config), precision, identity)
    with _LOCK:
        if key in _KEPT:
            weights.warn_of_fallback(_KEPT[key][0].weights)  # as loading them did for the run before
        else:
            loaded = vgg_weights or load_weights(config)
            # With the weights, so that no other object gets their id.
            _KEPT[key] = Formulation(config, loaded, loaded, precision), vgg_weights
        _KEPT.move_to_end(key)
        found = _KEPT[key][0]
        evicted = len(_KEPT) > _MOST_KEPT
        while len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
    if evicted:
        _free_graphs()
    return found


def _free_graphs() -> None:
    """Frees graphs without a user: cycles of references, which Python collects once many have piled up."""
    gc.collect()


_LOCK = threading.Lock()
_KEPT: collections.OrderedDict[Hashable, tuple[Formulation, weights.Weights | None]] = (
    collections.OrderedDict()
)


def _key(config: Config) -> Config:
    """Returns the config with neutral values of the settings on which its graphs do not depend."""
    present = {
        "content_weight": float(config.content.weight > 0),
        "style_weight": float(config.style.weight > 0),
        "total_variation_weight": float(config.total_variation.weight > 0),
    }
    return config.replace(preset="", **_OUTSIDE_OF_GRAPHS, **present)


def load_weights(config: Config) -> weights.Weights:
    """Loads the weights that the config names, for the layers that it uses.

    Raises:
        InputError: They are missing, or lack a layer.
    """
    return weights.load(config.network.weights, vgg_layers.kernel_shapes(config.all_layers()))


# Structures of `tf.Variable`: NamedTuples, dicts and tuples with variables as leaves. Variables of rank 4,
# [B, H, W, C], take any height and width.


def variables(structure: Any) -> Any:
    """Returns a variable for every tensor in a structure."""
    return tf.nest.map_structure(variable, structure)


def variable(value: Tensor) -> tf.Variable:
    """Returns a variable for a tensor; one of rank 4 takes any height and width."""
    shape = value.shape.as_list()
    if len(shape) == 4:
        shape[1:3] = [None, None]
    return tf.Variable(value, trainable=False, shape=tf.TensorShape(shape))


def values(held: Any) -> Any:
    """Returns the values of a structure of variables."""
    return tf.nest.map_structure(lambda each: each.value(), held)


def take_values(held: Any) -> Any:
    """Returns the values and empties the variables of rank 4 until they are assigned again.

    This saves one copy in memory while the new value is computed.
    """
    return tf.nest.map_structure(_taken, held)


def assign(held: Any, structure: Any) -> None:
    """Assigns a structure of values."""
    tf.nest.map_structure(lambda each, value: each.assign(value), held, structure)


def put(held: tf.Variable, row: int, picture: Any) -> None:
    """Assigns a picture [1, H, W, C] of a variable [N, H, W, C], in place."""
    _traced_put(held, tf.constant(row), tf.constant(picture))


@tf.function(autograph=False)
def _traced_put(held: tf.Variable, row: Tensor, picture: Tensor) -> None:
    held.assign(lbfgs.replace(_taken(held), row, picture))


def _taken(held: tf.Variable) -> Tensor:
    """Returns the variable's value; empties a variable of rank 4."""
    value = held.value()
    if held.shape.rank != 4:
        return value
    # 0, hidden from TensorFlow, which would infer the shape of the value read from the shape assigned.
    nothing = tf.minimum(tf.shape(value)[1], 0)
    with tf.control_dependencies([value]):
        emptied = held.assign(tf.zeros([held.shape[0], nothing, nothing, held.shape[3]], held.dtype))
    with tf.control_dependencies([emptied]):
        return tf.identity(value)
