"""Feature splitting: each layer by itself is to look like the painting's nearest places, matched every step.

The last pass of Kolkin and others 2022 (arXiv:2203.13215), after `neighbors`: the loss is the sum over layers
of the mean over places of the smallest 1 - cos to the painting's features at that layer, both centred by
their means. The features are a layer's own, not resized. At each step the places are those of a grid of at
least `SIDE` places along the longest side, with a random offset.

The picture's mean is that of all its places, with its gradient, so that there are no tiles. Maps are
[1, h, w, ...] at a layer's size. All functions are pure and trace with unknown sizes.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from nst_tf.config import layers as vgg_layers
from nst_tf.losses import guides, neighbors
from nst_tf.network import network
from nst_tf.tensors import Tensor

# The authors' program takes every n-th place each way, n the longest side // 64, from a random one on.
SIDE = 64

# The most places of a painting and its rotations: as many as the program takes of a square one, at each step.
MOST_VECTORS = 4 * SIDE**2


class LayerTargets(NamedTuple):
    """What a layer's features are compared with, in K style pictures."""

    vectors: tuple[Tensor, ...]  # for each style [1, N, 1, C], centred, of length 1
    of_region: tuple[Tensor, ...]  # for each style [1, N, 1, 1] int32, the regions of these; () for one
    regions: tuple[Tensor, ...]  # [1, h, w, 1] int32, of the picture's places, -1 for none; () for one region
    shares: Tensor  # [1, h, w, K], how much each style counts


class Split(NamedTuple):
    """The targets of the pass."""

    layers: dict[str, LayerTargets]
    seed: Tensor  # [2] int32, of the places of each step


class Drawing(NamedTuple):
    """How places of a style picture are drawn."""

    layers: Sequence[str]
    rotations: bool  # also of the picture turned by quarters
    most: int  # of each layer
    seed: Tensor  # [2] int32


def targets(
    net: network.Network,
    drawing: Drawing,
    size: Sequence[Tensor],
    styles: Sequence[Tensor],
    masks: tuple[Tensor, ...],
    shares: Tensor,
) -> Split:
    """Returns the targets of a picture.

    Args:
        net: Exposes the layers.
        drawing: How the styles' places are drawn.
        size: Height and width of the picture.
        styles: K of them, [1, h, w, 3] each.
        masks: Of R regions: the picture's [1, H, W, R], then the styles'; () for one region, all of it.
        shares: [K, R], of the styles in each region.
    """
    banks: list[dict[str, neighbors.Bank]] = []
    for number, image in enumerate(styles):
        with tf.control_dependencies(tf.nest.flatten(banks[-1:])):  # one after the other
            seen = tf.identity(image)
        mask = masks[number + 1] if masks else None
        own = drawing._replace(seed=drawing.seed + tf.constant([0, number]))
        banks.append(_banks(net, own, seen, mask))
    found = {}
    for layer in drawing.layers:
        keys = [neighbors.search_keys(of_style[layer]) for of_style in banks]
        guide = _guide(layer, size, masks[0] if masks else None)
        found[layer] = LayerTargets(
            tuple(each.columns[tf.newaxis, :, tf.newaxis] for each in keys),
            tuple(each.regions[tf.newaxis, :, tf.newaxis, tf.newaxis] for each in keys) if masks else (),
            (neighbors.regions(guide),) if masks else (),
            neighbors.cell_shares(guide, neighbors.shares_of_banks(shares, keys) if masks else shares),
        )
    return Split(found, drawing.seed)


def _banks(
    net: network.Network, drawing: Drawing, image: Tensor, mask: Tensor | None
) -> dict[str, neighbors.Bank]:
    """Returns for each layer the bank of a style image [1, h, w, 3] with its regions' mask [1, h, w, R]."""
    turns = range(4 if drawing.rotations else 1)
    sized = []
    for turn in turns:
        seen, own = neighbors.turned(image, mask, turn)
        sized.append((tf.unstack(tf.shape(seen)[1:3]), own))
    places, regions = {}, {}
    for index, layer in enumerate(drawing.layers):
        regions_of = neighbors.regions if mask is None else neighbors.regions_of_style
        found = [regions_of(_guide(layer, *each)) for each in sized]
        seed = drawing.seed + tf.constant([index + 1, 0])
        places[layer], regions[layer] = neighbors.draw(found, drawing.most, seed)
    columns = {layer: tf.zeros([tf.size(each), net.channels(layer)]) for layer, each in regions.items()}
    for turn in turns:
        with tf.control_dependencies(list(columns.values())):  # one after the other
            seen = neighbors.turned(tf.identity(image), None, turn)[0]
        of_turn = {layer: each[turn] for layer, each in places.items()}
        place = functools.partial(_placed, of_turn, regions)
        added = net.sums(seen, place, columns)
        columns = {layer: columns[layer] + added[layer] for layer in columns}
    return {layer: neighbors.Bank(columns[layer], regions[layer]) for layer in columns}


def _placed(
    places: Mapping[str, Tensor],
    regions: Mapping[str, Tensor],
    features: network.Maps,
    part: network.Part,
) -> dict[str, Tensor]:
    """Returns the drawn features of a picture at their places in the banks."""
    return {
        layer: neighbors.placed(
            tf.cast(features[layer], tf.float32), part(layer, each), tf.size(regions[layer])
        )
        for layer, each in places.items()
    }


def _guide(layer: str, size: Sequence[Tensor], mask: Tensor | None) -> Tensor:
    """Returns how much of each place of a layer is in each region, [1, h, w, R]; ones without a mask."""
    stride = vgg_layers.stride(layer)
    if mask is not None:
        return guides.at_stride(mask, stride)
    return tf.ones(tf.stack([1, size[0] // stride, size[1] // stride, 1]))


def distance(features: Mapping[str, Tensor], split: Split, step: Tensor) -> Tensor:
    """Returns the loss of a picture's features, [].

    Args:
        features: {layer: [1, h, w, C]}, of the whole picture.
        split: The targets.
        step: [] int32, whose places are compared.
    """
    seed = tf.random.experimental.stateless_fold_in(split.seed, step)
    return tf.add_n(
        [
            _layer_distance(features[layer], each, seed + tf.constant([0, index], seed.dtype))
            for index, (layer, each) in enumerate(split.layers.items())
        ]
    )


def _layer_distance(features: Tensor, aim: LayerTargets, seed: Tensor) -> Tensor:
    """Returns the mean over places of a layer of the smallest 1 - cos, weighted by the styles' shares."""
    sides = tf.shape(features)[1:3]
    stride = tf.maximum(1, tf.reduce_max(sides) // SIDE)
    first = tf.random.stateless_uniform([2], seed, 0, stride, tf.int32)
    # A narrow picture has a place in any case.
    first = tf.minimum(first, sides - 1)

    def picked(whole: Tensor) -> Tensor:
        found = whole[:, first[0] :: stride, first[1] :: stride]
        return tf.ensure_shape(found, [1, None, None, whole.shape[-1]])

    mean = tf.reduce_mean(tf.cast(features, tf.float32), axis=[0, 1, 2])
    queries, shares = tf.cast(picked(features), tf.float32), picked(aim.shares)
    regions = picked(aim.regions[0]) if aim.regions else None
    own = neighbors.unit(queries - mean)[0]
    sums = []
    for number, vectors in enumerate(aim.vectors):
        of_region = aim.of_region[number][0, :, 0, 0] if aim.of_region else tf.zeros([0], tf.int32)
        keys = neighbors.Bank(vectors[0, :, 0], of_region)
        index = neighbors.nearest(tf.stop_gradient(queries), regions, tf.stop_gradient(mean), keys)
        cosines = tf.reduce_sum(tf.gather(keys.columns, index[0, ..., 0]) * own, axis=-1)
        sums.append(tf.reduce_sum(shares[0, ..., number] * (1.0 - cosines)))
    return tf.add_n(sums) / tf.cast(tf.size(shares[..., 0]), tf.float32)
