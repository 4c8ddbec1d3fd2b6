"""How much of the machine a step uses: its rate against a large matrix product's, and its overhead."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmark import contenders, timing
from nst_tf.config import config
from nst_tf.config import layers as vgg_layers
from nst_tf.engine import stylizer
from nst_tf.losses import objective
from nst_tf.network import weights

# Large enough that a product runs at the machine's full rate, and no larger: 17 GFLOP.
_MATRIX_SIDE = 2048


def flops(chosen: config.Config, arrays: weights.Arrays, height: int, width: int) -> float:
    """Returns the floating-point operations of one evaluation: convolutions and Gram matrices.

    A convolution costs 2 * 9 * in * out a pixel, and its gradient by its input, the only one needed, as much
    again; a Gram matrix 2 * N^2 a pixel, and its gradient as much again. All else is negligible. Counted
    by the definition: convolutions by Winograd do fewer multiplications than that.

    Args:
        chosen: The formulation.
        arrays: The network: {convolution: (kernel [3, 3, in, out], bias [out])}.
        height: Of the picture, in pixels.
        width: Likewise.
    """
    content, styles = chosen.used_layers()
    shapes = {conv: arrays[conv][0].shape for conv in vgg_layers.kernel_shapes([*content, *styles])}
    total = sum(4.0 * math.prod(shape) * _pixels(name, height, width) for name, shape in shapes.items())
    for layer in styles:
        channels = shapes[layer.replace("relu", "conv")][-1]
        total += 4.0 * channels**2 * _pixels(layer, height, width)
    return total


def _pixels(layer: str, height: int, width: int) -> int:
    stride = vgg_layers.stride(layer)
    return (height // stride) * (width // stride)


def measure(task: contenders.Task, precision: str, rounds: int) -> dict[str, float]:
    """Measures a step of gatys_pytorch, its network alone, and a matrix product, in turn.

    Returns:
        `gflops` and `matrix_gflops` a second; `share`, the first divided by the second; and `other_share`,
        the share of a step that is spent outside the network and its losses.
    """
    chosen = contenders.formulation("gatys_pytorch", task, precision)
    run = stylizer.Stylizer(task.content, [task.style], chosen, task.weights)
    times = timing.measure(
        {
            "step": lambda: run.step().total.numpy(),
            "network": _network(task, run.config),  # with the run's choice of convolutions
            "product": _product(precision),
        },
        rounds,
    )
    seconds = timing.medians(times)
    gflop = flops(chosen, task.weights.arrays, *task.content.shape[1:3]) / 1e9
    rate, matrix_rate = gflop / seconds["network"], 2 * _MATRIX_SIDE**3 / 1e9 / seconds["product"]
    return {
        "gflops": rate,
        "matrix_gflops": matrix_rate,
        "share": rate / matrix_rate,
        "other_share": 1 - 1 / timing.ratio(times, "step", "network"),
    }


def _network(task: contenders.Task, chosen: config.Config) -> Callable[[], Any]:
    """Returns one evaluation of loss and gradient."""
    preset_loss = objective.Objective(chosen, task.weights, chosen.network.precision)
    targets = preset_loss.targets(tf.constant(task.content), [tf.constant(task.style)])
    image = tf.constant(task.content)
    any_image = tf.TensorSpec([1, None, None, 3])
    evaluate = tf.function(
        lambda image: preset_loss.value_and_gradient(image, targets), [any_image], autograph=False
    )
    return lambda: evaluate(image)[1].numpy()


def _product(precision: str) -> Callable[[], Any]:
    """Returns a product of two large matrices of a type."""
    matrix = tf.cast(tf.random.stateless_normal([_MATRIX_SIDE] * 2, [0, 0]), precision)
    product = tf.function(tf.matmul, autograph=False)
    return lambda: product(matrix, matrix).numpy()
