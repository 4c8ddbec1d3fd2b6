"""VGG19's layers by their paper names, and what follows from their places in the network: arithmetic only.

VGG19 is configuration E of Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition" (arXiv:1409.1556, table 1). `conv4_2` is a convolution's output before the ReLU, `relu4_2` after
it.
"""

from collections.abc import Sequence

# (convolutions, filters) of each block: arXiv:1409.1556, table 1, column E.
BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))

# The names of the convolutions, from the input up.
CONVOLUTIONS = tuple(
    f"conv{block}_{index}"
    for block, (count, _) in enumerate(BLOCKS, start=1)
    for index in range(1, count + 1)
)

# Every layer that can be exposed, from the input up: each convolution, then its ReLU.
LAYERS = tuple(name for conv in CONVOLUTIONS for name in (conv, conv.replace("conv", "relu")))

# Pixels a side of a cell of nearest neighbours: the grid of Kolkin et al. 2022 (arXiv:2203.13215) is a
# quarter of the picture's size.
GRID = 4


def block(layer: str) -> int:
    """Returns the number of the layer's block: 4 for "conv4_2" and for "relu4_2"."""
    return int(layer[4])


def depth(layer: str) -> int:
    """Returns the index of the layer's convolution in `CONVOLUTIONS`."""
    return CONVOLUTIONS.index(layer.replace("relu", "conv"))


def kernel_shapes(layers: Sequence[str]) -> dict[str, tuple[int, int, int, int]]:
    """Returns the kernel shape [3, 3, in, out] of each convolution that `layers` need."""
    shapes, channels = {}, 3
    for name in CONVOLUTIONS[: 1 + max(depth(layer) for layer in layers)]:
        filters = BLOCKS[block(name) - 1][1]
        shapes[name] = (3, 3, channels, filters)
        channels = filters
    return shapes


def stride(layer: str) -> int:
    """Returns how many pixels of the image one step in `layer`'s features spans, each way."""
    return int(2 ** (block(layer) - 1))


def radius(layer: str) -> int:
    """Returns how many pixels beyond its own cell of stride x stride a feature of `layer` sees, each way.

    Each 3x3 convolution sees one step of its own stride to each side; pooling sees no further than its cell.
    """
    return sum(stride(name) for name in CONVOLUTIONS[: depth(layer) + 1])


def halo(layers: Sequence[str]) -> int:
    """Returns the radius of the deepest of `layers`, rounded up to its stride."""
    deepest = max(layers, key=depth)
    return -(-radius(deepest) // stride(deepest)) * stride(deepest)
