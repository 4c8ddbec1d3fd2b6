"""Nearest neighbours: every place of the picture is to look like the place of the painting nearest to it.

Kolkin, Kucera, Paris, Sykora, Shechtman and Shakhnarovich 2022, "Neural Neighbor Style Transfer"
(arXiv:2203.13215). A cell is `GRID` x `GRID` pixels; its hypercolumn is the features of several layers there,
each divided by its number of channels, one after the other, C in all. A bank is hypercolumns of a style
picture, drawn at random. Once a scale every cell is matched to a hypercolumn of each style's bank; the loss
is the mean over cells of 1 - cos, a sum over pixels like all losses here.

Maps are [1, h, w, ...] for the h x w whole cells of a picture. All functions are pure and trace with unknown
sizes; numbers are float32.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.config import layers as vgg_layers
from nst_tf.config.layers import GRID
from nst_tf.tensors import Tensor

# The most products of queries and a bank that are in memory at once: 134 MB.
_PRODUCTS_AT_ONCE = 2**25

# What keeps a division by the length of a hypercolumn without any feature finite.
_SMALLEST = 1e-12

# The name of hypercolumns among a network's layers.
NAME = "hypercolumns"


class Bank(NamedTuple):
    """Hypercolumns of a style picture, [N, C], and their regions."""

    columns: Tensor  # [N, C], not divided by their lengths
    regions: Tensor  # [N] int32


class Matches(NamedTuple):
    """What the cells of a picture are matched to in each of K style pictures."""

    vectors: tuple[Tensor, ...]  # for each style [1, N, 1, C]: its bank's hypercolumns, of length 1
    index: Tensor  # [1, h, w, K] int32, into them
    shares: Tensor  # [1, h, w, K], how much each counts


class Wanted(NamedTuple):
    """What the cells of a picture are to look like in all style pictures together."""

    columns: Tensor  # [1, h, w, C], the sum over styles of share * the hypercolumn of length 1
    shares: Tensor  # [1, h, w, 1], the sum over styles


def whole(layers: Sequence[str]) -> int:
    """Returns the side in pixels of the squares that the cells of a picture cover: the deepest stride."""
    return max(GRID, *map(vgg_layers.stride, layers))


def size(layers: Sequence[str], height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows and columns of cells of a picture."""
    side = whole(layers)
    return height // side * (side // GRID), width // side * (side // GRID)


def hypercolumns(features: Mapping[str, Tensor], layers: Sequence[str]) -> Tensor:
    """Returns the hypercolumns of a picture, [1, h, w, C].

    Features of shallow layers are averaged over a cell, those of deep ones interpolated, bilinear.
    """
    parts = []
    for layer in layers:
        own, part = vgg_layers.stride(layer), features[layer]
        if own < GRID:  # in the features' own type: the largest maps here, of which a copy would take time
            part = tf.nn.avg_pool2d(part, GRID // own, GRID // own, "VALID")
        elif own > GRID:
            part = tf.image.resize(part, own // GRID * tf.shape(part)[1:3], method="bilinear")
        parts.append(tf.cast(part, tf.float32) / float(part.shape[-1]))
    rows, columns = (tf.reduce_min([tf.shape(part)[axis] for part in parts]) for axis in (1, 2))
    return tf.concat([part[:, :rows, :columns] for part in parts], axis=-1)


def turned(image: Tensor, mask: Tensor | None, turn: int) -> tuple[Tensor, Tensor | None]:
    """Returns a style image and its mask, turned by so many quarters against the clock."""
    return _turned_map(image, turn), None if mask is None else _turned_map(mask, turn)


def _turned_map(whole: Tensor, turn: int) -> Tensor:
    """Returns a map [1, h, w, C] turned as by `tf.image.rot90`, whose graph has all four branches."""
    own = tf.transpose(whole, [0, 2, 1, 3]) if turn % 2 else whole
    flipped = [[], [1], [1, 2], [2]][turn]
    return tf.reverse(own, flipped) if flipped else own


def regions(guide: Tensor) -> Tensor:
    """Returns the region that most of each cell belongs to, [1, h, w, 1] int32; -1 for none.

    Args:
        guide: [1, h, w, R], how much of a cell is in each region.
    """
    found = tf.argmax(guide, axis=-1, output_type=tf.int32)
    return tf.where(tf.reduce_sum(guide, axis=-1) >= 0.5, found, -1)[..., tf.newaxis]


def regions_of_style(guide: Tensor) -> Tensor:
    """Returns the region of each cell of a style picture, as `regions` does.

    A region that most of no cell belongs to, of lines or dots, has the cells with most of it.
    """
    most = tf.reduce_max(guide, axis=[1, 2], keepdims=True)
    return regions(tf.where(most > 0.5, guide, tf.math.divide_no_nan(guide, most)))


def has_drawn(regions: Tensor, count: Tensor) -> Tensor:
    """Returns whether a bank has something of each region, [R] bool.

    Args:
        regions: Of the bank, [N] int32.
        count: R.
    """
    return tf.reduce_any(tf.equal(regions[:, tf.newaxis], tf.range(count)), axis=0)


def shares_of_drawn(shares: Tensor, drawn: Tensor) -> Tensor:
    """Returns the shares [K, R] of styles of which something was drawn in a region, adding up to the same.

    In a region of which no style has anything drawn they are 0: its places are matched to nothing.

    Args:
        shares: [K, R].
        drawn: [K, R] bool, for each style as `has_drawn` returns it.
    """
    left = shares * tf.cast(drawn, tf.float32)
    return left * tf.math.divide_no_nan(tf.reduce_sum(shares, axis=0), tf.reduce_sum(left, axis=0))


def shares_of_banks(shares: Tensor, banks: Sequence[Bank]) -> Tensor:
    """Returns the shares [K, R] of styles as `shares_of_drawn` does, by their banks."""
    drawn = [has_drawn(bank.regions, tf.shape(shares)[1]) for bank in banks]
    return shares_of_drawn(shares, tf.stack(drawn))


def cell_shares(guide: Tensor, shares: Tensor) -> Tensor:
    """Returns the shares [1, h, w, K] of K styles at each place of a guide [1, h, w, R], from [K, R]."""
    return tf.reduce_sum(guide[:, :, :, tf.newaxis] * shares, axis=-1)


def draw(found: Sequence[Tensor], count: int, seed: Tensor) -> tuple[list[Tensor], Tensor]:
    """Draws cells of a style picture and of its rotations, without repetition.

    Args:
        found: For each rotation the regions of its cells; those of -1 are not drawn, but for one where there
            are no others.
        count: The most that are drawn.
        seed: [2] int32.

    Returns:
        For each rotation the cells' places in the bank, [1, h, w, 1] int32, -1 for those not drawn; and the
        regions of the bank, [N] int32.
    """
    flat = tf.concat([tf.reshape(each, [-1]) for each in found], axis=0)
    keys = tf.where(flat < 0, -1.0, tf.random.stateless_uniform(tf.shape(flat), seed))
    number = tf.minimum(count, tf.maximum(1, tf.reduce_sum(tf.cast(flat >= 0, tf.int32))))
    drawn = tf.math.top_k(keys, number).indices
    places = tf.tensor_scatter_nd_update(tf.fill(tf.shape(flat), -1), drawn[:, tf.newaxis], tf.range(number))
    parts = tf.split(places, tf.stack([tf.size(each) for each in found]), num=len(found))
    shaped = [tf.reshape(part, tf.shape(each)) for part, each in zip(parts, found, strict=True)]
    return shaped, tf.gather(flat, drawn)


def placed(columns: Tensor, places: Tensor, number: Tensor) -> Tensor:
    """Returns the drawn hypercolumns of a tile at their places in the bank, [N, C], and zeros elsewhere.

    Args:
        columns: The tile's, [1, h, w, C].
        places: The tile's part of what `draw` returned.
        number: N.
    """
    flat = tf.reshape(places, [-1])
    channels = columns.shape[-1]
    rows = tf.where(flat >= 0)
    picked = tf.gather_nd(tf.reshape(columns, [-1, channels]), rows)
    return tf.scatter_nd(tf.gather_nd(flat, rows)[:, tf.newaxis], picked, [number, channels])


def bank_size(cells: tuple[Tensor, Tensor], rotations: bool, vectors: int) -> Tensor:
    """Returns N, the hypercolumns in a bank of a style picture without regions, [] int32.

    Args:
        cells: The rows and columns of the style picture's cells, as `size` returns them.
        rotations: Whether its rotations by quarters are in the bank too.
        vectors: The most that are drawn.
    """
    return tf.minimum(vectors, cells[0] * cells[1] * (4 if rotations else 1))


def unit(columns: Tensor) -> Tensor:
    """Returns hypercolumns [..., C] divided by their lengths."""
    return tf.math.l2_normalize(columns, axis=-1, epsilon=_SMALLEST**2)


def search_keys(bank: Bank, dtype: tf.DType = tf.float32) -> Bank:
    """Returns a bank as `nearest` searches it: centred by its own mean, then of length 1.

    Args:
        bank: Of a style picture.
        dtype: Of the products by which places are found. In bfloat16 the cosines of what is found are 0.0002
            smaller on average than in float32 (two pairs at 512 pixels).
    """
    return bank._replace(columns=tf.cast(unit(bank.columns - tf.reduce_mean(bank.columns, axis=0)), dtype))


def nearest(queries: Tensor, query_regions: Tensor | None, mean: Tensor, keys: Bank) -> Tensor:
    """Returns the index in the bank of each cell's nearest hypercolumn of its region, [1, h, w, 1] int32.

    By the cosine of hypercolumns from which the mean of their own picture is subtracted. Where the bank has
    nothing of a region, 0.

    Args:
        queries: [1, h, w, C], of a picture or a tile.
        query_regions: As `regions` returns them; None for one region, all of the picture and of the bank.
        mean: [C], of the queries of the whole picture.
        keys: Of a style picture's bank, from `search_keys`.
    """
    flat = tf.cast(tf.reshape(queries, [-1, queries.shape[-1]]) - mean, keys.columns.dtype)
    at_once = tf.maximum(1, _PRODUCTS_AT_ONCE // tf.maximum(1, tf.shape(keys.columns)[0]))
    count = tf.maximum(1, -(-tf.shape(flat)[0] // at_once))  # 1 for no cells: TensorFlow joins no empty list

    def of_part(number: Tensor) -> Tensor:
        rows = slice(number * at_once, (number + 1) * at_once)
        # The length of a query changes no order.
        products = tf.matmul(flat[rows], keys.columns, transpose_b=True)
        if query_regions is not None:
            same = tf.equal(tf.reshape(query_regions, [-1, 1])[rows], keys.regions)
            products = tf.where(same, products, products.dtype.min)
        return tf.argmax(products, axis=-1, output_type=tf.int32)

    found = tf.TensorArray(tf.int32, size=count, element_shape=[None], infer_shape=False)
    _, found = tf.while_loop(
        lambda number, _: number < count,
        lambda number, parts: (number + 1, parts.write(number, of_part(number))),
        (tf.constant(0), found),
        parallel_iterations=1,
    )
    return tf.reshape(found.concat(), tf.concat([tf.shape(queries)[:-1], [1]], axis=0))


def wanted_of_style(vectors: Tensor, index: Tensor, shares: Tensor) -> Wanted:
    """Returns what the cells of a picture are to look like in one style picture.

    Args:
        vectors: The bank's hypercolumns, of length 1, [N, C].
        index: [1, h, w] int32, into them.
        shares: [1, h, w], how much the style counts.
    """
    counted = shares[..., tf.newaxis]
    return Wanted(counted * tf.gather(vectors, index), counted)


def wanted(matches: Matches) -> Wanted:
    """Returns what the cells of a picture or a tile are to look like: constants, without a gradient."""
    total: Wanted | None = None
    for number, vectors in enumerate(matches.vectors):
        # One style after the other, so that two maps of hypercolumns are in memory at most.
        with tf.control_dependencies([] if total is None else [total.columns]):
            index = tf.identity(matches.index[..., number])
        of_style = wanted_of_style(vectors[0, :, 0], index, matches.shares[..., number])
        total = of_style if total is None else tf.nest.map_structure(tf.add, total, of_style)
    assert total is not None
    return total


def distance_sum(columns: Tensor, wanted: Wanted) -> Tensor:
    """Returns the sum over cells and style pictures of share * (1 - cos), [].

    That is, the sum over cells of the shares less the product of what is wanted with the hypercolumn divided
    by its length: cosines of several styles are linear in what each wants.

    Args:
        columns: Hypercolumns of a picture or a tile, [1, h, w, C].
        wanted: Of the same cells.
    """

    # Its own gradient passes over the maps half as often as TensorFlow's of `unit`.
    @tensors.custom_gradient
    def of_columns(columns: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        squares = tf.reduce_sum(tf.square(columns), axis=-1, keepdims=True)
        inverse = tf.math.rsqrt(tf.maximum(squares, _SMALLEST**2))
        cosines = inverse * tf.reduce_sum(wanted.columns * columns, axis=-1, keepdims=True)

        def gradient(by_sum: Tensor) -> Tensor:
            # Columns shorter than `_SMALLEST` are divided by a constant.
            along = tf.where(squares > _SMALLEST**2, cosines * tf.square(inverse), 0.0)
            return by_sum * along * columns - by_sum * inverse * wanted.columns

        return tf.reduce_sum(wanted.shares - cosines), gradient

    found: Tensor = of_columns(columns)
    return found
