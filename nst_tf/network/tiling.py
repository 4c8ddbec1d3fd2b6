"""Windows of a picture, and the exact gradient of a loss of sums over them.

If all that a loss sees of a picture are sums over pixels, then they may be taken window by window, and so may
their gradient: first the sums, then the small loss's gradient by them, then each window's by way of its own
sums. The result is that of the whole picture but for rounding; the memory is one window's. That takes two
passes through the network forward instead of one.

A window is a core and a halo around it. Cores lie side by side; only their features count. The halo is as
wide as a feature sees, so that what a network's padding does at a window's border, where the picture goes on,
reaches no core. At the picture's own border there is no halo, and padding acts as for the whole picture.

What is as large as the picture is put together row by row of windows. To add each window to a whole picture
of zeros would hold three pictures, and take time that grows with the square of their size.
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
    """The windows of a picture: each of n spans of rows with each of m spans of columns.

    A span is begin and end of a window along a side, begin and end of its core.
    """

    rows: Tensor  # [n, 4] int32
    columns: Tensor  # [m, 4] int32

    def counts(self) -> tuple[Tensor, Tensor]:
        """Returns n and m."""
        return tf.shape(self.rows)[0], tf.shape(self.columns)[0]

    def window(self, row: Tensor, column: Tensor) -> Window:
        """Returns one of them."""
        return Window(*tf.unstack(self.rows[row]), *tf.unstack(self.columns[column]))


def plan(height: Tensor, width: Tensor, tile: int, halo: int, stride: int) -> Grid:
    """Returns the windows of a picture.

    Args:
        height: Of the picture.
        width: Of the picture.
        tile: Pixels of a core's side, at most, but for rounding up to the stride.
        halo: Pixels around a core; a multiple of the stride.
        stride: What windows and cores begin at multiples of: that of the deepest layer.
    """
    return Grid(_spans(height, tile, halo, stride), _spans(width, tile, halo, stride))


def _spans(side: Tensor, tile: int, halo: int, stride: int) -> Tensor:
    """Returns spans [n, 4] along a side, whose cores are as many as need be and about equally long."""
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
    """Returns what belongs to the core, of the features [1, h, w, C] of a window, `stride` pixels a step."""
    top, left = window.top // stride, window.left // stride
    rows = slice(window.core_top // stride - top, window.core_bottom // stride - top)
    columns = slice(window.core_left // stride - left, window.core_right // stride - left)
    return features[:, rows, columns]


def cut_core(features: Tensor, window: Window, stride: int) -> Tensor:
    """Returns what belongs to the core, of the features [1, h, w, C] of the whole picture."""
    rows = slice(window.core_top // stride, window.core_bottom // stride)
    columns = slice(window.core_left // stride, window.core_right // stride)
    return features[:, rows, columns]


class Spans(NamedTuple):
    """Where the parts that windows make stand in a picture or a map."""

    rows: Tensor  # [n, 2] int32, begin and end
    lefts: Tensor  # [m] int32


def core_spans(grid: Grid, stride: int) -> Spans:
    """Returns where the features of cores stand in a layer's map, `stride` pixels a step."""
    return Spans(grid.rows[:, 2:] // stride, grid.columns[:, 2] // stride)


def accumulate(function: Callable[[Window], Any], grid: Grid, zeros: Any) -> Any:
    """Returns the sum of a function over windows, one after the other.

    Args:
        function: (window) -> a structure of tensors.
        grid: The windows.
        zeros: The sum of none: the same structure and, where the graph knows them, the same shapes.
    """
    rows, columns = grid.counts()
    return _sum(lambda index: function(grid.window(index // columns, index % columns)), rows * columns, zeros)


def assemble(
    function: Callable[[Window], Sequence[Tensor]],
    grid: Grid,
    spans: Sequence[Spans],
    empty: Sequence[Tensor],
) -> list[Tensor]:
    """Returns pictures or maps made of windows' parts, which are added where they overlap.

    Args:
        function: (window) -> a part of each result, [1, h, w, C].
        grid: The windows.
        spans: For each result where the parts stand.
        empty: Each result without its rows, [1, 0, W, C].
    """
    count, num_columns = grid.counts()

    def row(index: Tensor, open_rows: Sequence[Tensor]) -> list[Tensor]:
        """Returns a row of windows, added to what the one before left open."""

        def pasted(column: Tensor) -> list[Tensor]:
            parts = function(grid.window(index, column))
            return [
                _pad(part, 2, each.lefts[column], tf.shape(none)[2])
                for part, each, none in zip(parts, spans, empty, strict=True)
            ]

        lengths = [each.rows[index, 1] - each.rows[index, 0] for each in spans]
        begun = [_pad(rows, 1, 0, length) for rows, length in zip(open_rows, lengths, strict=True)]
        return _sum(pasted, num_columns, begun)

    def step(index: Tensor, open_rows: list[Tensor], finished: list[Any]) -> tuple[Any, ...]:
        """Adds a row of windows; what the next row does not reach is finished."""
        for position, part in enumerate(row(index, open_rows)):
            done = until[position][index] - spans[position].rows[index, 0]
            finished[position] = finished[position].write(index, part[0, :done])
            open_rows[position] = part[:, done:]
        return index + 1, open_rows, finished

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
        What `loss` returns, and the gradient of its total, shaped as the image.
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
    """Returns a part with zeros before and after it along an axis, of that size."""
    paddings = [[0, 0] for _ in part.shape]
    paddings[axis] = [before, size - before - tf.shape(part)[axis]]
    return tf.pad(part, paddings)


def _sum(function: Callable[[Tensor], Any], count: Tensor, zeros: Any) -> Any:
    """Returns the sum of a function of 0, 1 ... count - 1."""

    def step(index: Tensor, total: Any) -> tuple[Tensor, Any]:
        return index + 1, tf.nest.map_structure(tf.add, total, function(index))

    return _loop(step, count, (zeros,))[1]


def _loop(step: Callable[..., tuple[Any, ...]], count: Tensor, variables: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns what comes out of (index, *variables) -> (index + 1, *variables), so many times."""

    def invariant(variable: Any) -> Any:
        if isinstance(variable, tf.TensorArray):
            return tf.TensorShape([])
        shape = variable.shape.as_list()
        # A picture's rows may grow and shrink.
        return tf.TensorShape([shape[0], None, *shape[2:]] if len(shape) == 4 else shape)

    # One after the other, or the memory of several would be taken at once.
    return tuple(
        tf.while_loop(
            lambda index, *_: index < count,
            step,
            (tf.constant(0), *variables),
            shape_invariants=(tf.TensorShape([]), *tf.nest.map_structure(invariant, variables)),
            parallel_iterations=1,
        )
    )
