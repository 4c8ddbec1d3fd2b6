"""Tiles of a picture, and the exact gradient of a loss that depends on sums over pixels.

Such a loss can be computed tile by tile, and so can its gradient: first the sums over all tiles, then the
gradient of the loss by the sums, then the gradient of each tile through its own sums. Except for rounding,
the result is that of the whole picture, with the memory of one tile. It takes two forward passes instead of
one.

A window is a core, the tile itself, with a halo around it. Cores do not overlap, and only their features
count. The halo is as wide as the receptive field of a feature, so that the network's padding at a window's
border does not affect the core. There is no halo at the picture's border, where padding acts as in the whole
picture.

Pictures and maps are assembled from rows of windows. Adding each window to a whole picture of zeros would
hold three pictures in memory and take time quadratic in the number of pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.tensors import Tensor


class Window(NamedTuple):
    """A part of a picture, in pixels; [] int32 each."""

    top: Tensor
    bottom: Tensor
    core_top: Tensor
    core_bottom: Tensor
    left: Tensor
    right: Tensor
    core_left: Tensor
    core_right: Tensor


class Grid(NamedTuple):
    """The windows of a picture: all combinations of n spans of rows and m spans of columns.

    A span is the begin and end of a window along a side, then the begin and end of its core.
    """

    rows: Tensor  # [n, 4] int32
    columns: Tensor  # [m, 4] int32

    def counts(self) -> tuple[Tensor, Tensor]:
        """Returns n and m."""
        return tf.shape(self.rows)[0], tf.shape(self.columns)[0]

    def window(self, row: Tensor, column: Tensor) -> Window:
        """Returns the window in that row and column of the grid."""
        return Window(*tf.unstack(self.rows[row]), *tf.unstack(self.columns[column]))


def plan(height: Tensor, width: Tensor, tile: int, halo: int, stride: int) -> Grid:
    """Returns the windows of a picture.

    Args:
        height: Of the picture.
        width: Of the picture.
        tile: The longest side of a core in pixels, before rounding up to the stride.
        halo: Pixels around a core; a multiple of the stride.
        stride: Of the deepest layer; windows and cores begin at multiples of it.
    """
    return Grid(_spans(height, tile, halo, stride), _spans(width, tile, halo, stride))


def _spans(side: Tensor, tile: int, halo: int, stride: int) -> Tensor:
    """Returns spans [n, 4] along a side with the fewest cores possible, all of about the same length."""
    count = -(-side // tile)
    steps = -(-side // stride)
    length = stride * -(-steps // count)
    begin = tf.range(0, side, length)
    end = tf.minimum(begin + length, side)
    return tf.stack([tf.maximum(begin - halo, 0), tf.minimum(end + halo, side), begin, end], axis=1)


def cut(image: Tensor, window: Window) -> Tensor:
    """Returns the window of an image [1, H, W, C]."""
    return image[:, window.top : window.bottom, window.left : window.right]


def core(features: Tensor, window: Window, stride: int) -> Tensor:
    """Returns the core's part of the features [1, h, w, C] of a window, at a layer of that stride."""
    top, left = window.top // stride, window.left // stride
    rows = slice(window.core_top // stride - top, window.core_bottom // stride - top)
    columns = slice(window.core_left // stride - left, window.core_right // stride - left)
    return features[:, rows, columns]


def cut_core(features: Tensor, window: Window, stride: int) -> Tensor:
    """Returns the core's part of the features [1, h, w, C] of the whole picture."""
    rows = slice(window.core_top // stride, window.core_bottom // stride)
    columns = slice(window.core_left // stride, window.core_right // stride)
    return features[:, rows, columns]


class Spans(NamedTuple):
    """The positions of the windows' parts in a picture or a map."""

    rows: Tensor  # [n, 2] int32, begin and end
    lefts: Tensor  # [m] int32


def core_spans(grid: Grid, stride: int) -> Spans:
    """Returns the positions of the cores' features in the map of a layer of that stride."""
    return Spans(grid.rows[:, 2:] // stride, grid.columns[:, 2] // stride)


def accumulate(function: Callable[[Window], Any], grid: Grid, zeros: Any) -> Any:
    """Returns the sum of a function over windows, one after the other.

    Args:
        function: (window) -> a structure of tensors.
        grid: The windows.
        zeros: Zeros of the structure and the static shapes of the function's result.
    """
    rows, columns = grid.counts()
    return _sum(lambda index: function(grid.window(index // columns, index % columns)), rows * columns, zeros)


def assemble(
    function: Callable[[Window], Sequence[Tensor]],
    grid: Grid,
    spans: Sequence[Spans],
    empty: Sequence[Tensor],
) -> list[Tensor]:
    """Returns pictures or maps assembled from the windows' parts, which are added where they overlap.

    Args:
        function: (window) -> a part of each result, [1, h, w, C].
        grid: The windows.
        spans: For each result the positions of the parts.
        empty: For each result a tensor of no rows, [1, 0, W, C].
    """
    count, num_columns = grid.counts()

    def row(index: Tensor, overlaps: Sequence[Tensor]) -> list[Tensor]:
        """Returns the sum of a row of windows and the overlap of the previous row."""

        def pasted(column: Tensor) -> list[Tensor]:
            parts = function(grid.window(index, column))
            return [
                _pad(part, 2, each.lefts[column], tf.shape(none)[2])
                for part, each, none in zip(parts, spans, empty, strict=True)
            ]

        lengths = [each.rows[index, 1] - each.rows[index, 0] for each in spans]
        begun = [_pad(rows, 1, 0, length) for rows, length in zip(overlaps, lengths, strict=True)]
        return _sum(pasted, num_columns, begun)

    def step(index: Tensor, overlaps: list[Tensor], finished: list[Any]) -> tuple[Any, ...]:
        """Adds a row of windows, and splits it into finished rows and the overlap with the next one."""
        for position, part in enumerate(row(index, overlaps)):
            done = until[position][index] - spans[position].rows[index, 0]
            finished[position] = finished[position].write(index, part[0, :done])
            overlaps[position] = part[:, done:]
        return index + 1, overlaps, finished

    until = [tf.concat([each.rows[1:, 0], each.rows[-1:, 1]], axis=0) for each in spans]
    finished = [
        tf.TensorArray(none.dtype, size=count, element_shape=[None, None, none.shape[3]], infer_shape=False)
        for none in empty
    ]
    *_, finished = _loop(step, count, (list(empty), finished))
    return [parts.concat()[tf.newaxis] for parts in finished]


def value_and_gradient(
    statistics: Callable[[Tensor, Window], Any],
    loss: Callable[[Any], Any],
    image: Tensor,
    grid: Grid,
    zeros: Any,
) -> tuple[Any, Tensor]:
    """Returns a loss of sums over pixels, and its gradient by the image.

    Args:
        statistics: (image of a window, window) -> sums over its core, a structure of float32 tensors.
        loss: sums -> a NamedTuple of scalars, `total` among them.
        image: [1, H, W, 3].
        grid: The windows of the image.
        zeros: As for `accumulate`.

    Returns:
        The result of `loss`, and the gradient of its total, shaped as the image.
    """
    sums = accumulate(lambda window: statistics(cut(image, window), window), grid, zeros)
    with tf.GradientTape() as tape:
        tape.watch(sums)
        values = loss(sums)
    upstream = tf.nest.flatten(tape.gradient(values.total, sums, unconnected_gradients="zero"))

    @tensors.noinline_function
    def pull(window: Window) -> list[Tensor]:
        part = cut(image, window)
        with tf.GradientTape() as tape:
            tape.watch(part)
            of_window = tf.nest.flatten(statistics(part, window))
        gradient = tape.gradient(of_window, part, output_gradients=upstream)
        return [tf.ensure_shape(gradient, part.shape)]

    spans = Spans(grid.rows[:, :2], grid.columns[:, 0])
    (gradient,) = assemble(pull, grid, [spans], [image[:, :0]])
    return values, tf.ensure_shape(gradient, image.shape)


def _pad(part: Tensor, axis: int, before: Tensor, size: Tensor) -> Tensor:
    """Returns a part padded with zeros along an axis to that size."""
    paddings = [[0, 0] for _ in part.shape]
    paddings[axis] = [before, size - before - tf.shape(part)[axis]]
    return tf.pad(part, paddings)


def _sum(function: Callable[[Tensor], Any], count: Tensor, zeros: Any) -> Any:
    """Returns the sum of a function of 0, 1 ... count - 1."""

    def step(index: Tensor, total: Any) -> tuple[Tensor, Any]:
        return index + 1, tf.nest.map_structure(tf.add, total, function(index))

    return _loop(step, count, (zeros,))[1]


def _loop(step: Callable[..., tuple[Any, ...]], count: Tensor, variables: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the results of `count` calls of (index, *variables) -> (index + 1, *variables)."""

    def invariant(variable: Any) -> Any:
        if isinstance(variable, tf.TensorArray):
            return tf.TensorShape([])
        shape = variable.shape.as_list()
        # The number of rows of a picture may change.
        return tf.TensorShape([shape[0], None, *shape[2:]] if len(shape) == 4 else shape)

    # One iteration at a time, to take the memory of one.
    return tuple(
        tf.while_loop(
            lambda index, *_: index < count,
            step,
            (tf.constant(0), *variables),
            shape_invariants=(tf.TensorShape([]), *tf.nest.map_structure(invariant, variables)),
            parallel_iterations=1,
        )
    )
