"""Windows of a picture, and the exact gradient of a loss of sums over them.

If all that a loss sees of a picture are sums over pixels, then they may be taken window by window, and so may
their gradient: first the sums, then the small loss's gradient by them, then each window's by way of its own
sums. The result is that of the whole picture but for rounding; the memory is one window's. That takes two
passes through the network forward instead of one.

A window is a core and a halo around it. Cores lie side by side; only their features count. The halo is as
wide as a feature sees, so that what a network's padding does at a window's border, where the picture goes on,
reaches no core. At the picture's own border there is no halo, and padding acts as for the whole picture.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any  # TensorFlow ships no type information.


class Window(NamedTuple):
    """A part of a picture, in pixels; [] int32 each, or [T] for T windows."""

    top: Tensor
    bottom: Tensor
    core_top: Tensor
    core_bottom: Tensor
    left: Tensor
    right: Tensor
    core_left: Tensor
    core_right: Tensor


def plan(height: Tensor, width: Tensor, tile: int, halo: int, stride: int) -> Window:
    """Returns the windows of a picture, [T] each.

    Args:
        height: Of the picture.
        width: Of the picture.
        tile: Pixels of a core's side, at most, but for rounding up to the stride.
        halo: Pixels around a core; a multiple of the stride.
        stride: What windows and cores begin at multiples of: that of the deepest layer.
    """
    rows, columns = _spans(height, tile, halo, stride), _spans(width, tile, halo, stride)
    count = tf.shape(rows)[0], tf.shape(columns)[0]
    table = tf.concat([tf.repeat(rows, count[1], axis=0), tf.tile(columns, [count[0], 1])], axis=1)
    return Window(*tf.unstack(table, axis=1))


def _spans(side: Tensor, tile: int, halo: int, stride: int) -> Tensor:
    """Returns [n, 4] int32: begin and end of each window along a side, begin and end of its core.

    Cores are as many as need be and about equally long.
    """
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


def paste(part: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Returns [1, height, width, C] with `part` at (top, left) and zeros around it."""
    below, beside = height - top - tf.shape(part)[1], width - left - tf.shape(part)[2]
    return tf.pad(part, [[0, 0], [top, below], [left, beside], [0, 0]])


def accumulate(function: Callable[[Window], Any], windows: Window, zeros: Any) -> Any:
    """Returns the sum of a function over windows, one after the other.

    Args:
        function: (window) -> a structure of tensors.
        windows: [T] each.
        zeros: The sum of none: the same structure and, where the graph knows them, the same shapes.
    """

    def step(index: Tensor, total: Any) -> tuple[Tensor, Any]:
        added = function(Window(*(tensor[index] for tensor in windows)))
        return index + 1, tf.nest.map_structure(tf.add, total, added)

    count = tf.shape(windows.top)[0]
    # One after the other, or the memory of several would be taken at once.
    return tf.while_loop(
        lambda index, _: index < count,
        step,
        (tf.constant(0), zeros),
        shape_invariants=(tf.TensorShape([]), tf.nest.map_structure(lambda tensor: tensor.shape, zeros)),
        parallel_iterations=1,
    )[1]


def value_and_gradient(
    statistics: Callable[[Tensor, Window], Any],
    loss: Callable[[Any], Any],
    image: Tensor,
    windows: Window,
    zeros: Any,
) -> tuple[Any, Tensor]:
    """Returns a loss of sums over pixels, and its gradient by the image.

    Args:
        statistics: (image of a window, window) -> sums over its core, a structure of float32 tensors.
        loss: sums -> a NamedTuple of scalars, `total` among them.
        image: [1, H, W, 3].
        windows: Of the image.
        zeros: As for `accumulate`.

    Returns:
        What `loss` returns, and the gradient of its total, shaped as the image.
    """
    sums = accumulate(lambda window: statistics(cut(image, window), window), windows, zeros)
    with tf.GradientTape() as tape:
        tape.watch(sums)
        values = loss(sums)
    upstream = tape.gradient(values.total, sums, unconnected_gradients="zero")
    height, width = tf.shape(image)[1], tf.shape(image)[2]

    def pull(window: Window) -> Tensor:
        part = cut(image, window)
        with tf.GradientTape() as tape:
            tape.watch(part)
            of_window = statistics(part, window)
        gradient = tape.gradient(tf.nest.flatten(of_window), part, output_gradients=tf.nest.flatten(upstream))
        return paste(gradient, window.top, window.left, height, width)

    gradient = accumulate(pull, windows, tf.zeros_like(image))
    return values, tf.ensure_shape(gradient, image.shape)
