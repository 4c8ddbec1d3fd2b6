"""The frozen network, applied to a whole picture or, to save memory, tile by tile.

Results are sums over pixels, which are the same either way; see `tiling`. Images are `[1, H, W, 3]` float32
sRGB in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.config import layers as vgg_layers
from nst_tf.network import convolutions, tiling, vgg19, weights
from nst_tf.tensors import Tensor

Maps = dict[str, Tensor]  # {layer: [1, h, w, C]}

# (layer, map of the whole picture) -> its part at the same place as the features of the tile.
Part = Callable[[str, Tensor], Tensor]


class Derived(NamedTuple):
    """A map that is made of several layers' features, and then treated as a layer's."""

    make: Callable[[Maps], Tensor]  # features of a picture or a window -> [1, h, w, C]
    stride: int  # pixels that a place of it spans, each way
    reach: int  # pixels beyond a place whose features, at most, it is made of; at the network's stride


# (features of a tile, part) -> sums over their pixels, a structure of float32 tensors.
Statistics = Callable[[Maps, Part], Any]


class Network:
    """The network up to the deepest of the layers that it exposes."""

    def __init__(
        self,
        layers: Sequence[str],
        vgg_weights: weights.Weights,
        pooling: str,
        precision: str,
        tile: int = 0,
        *,
        padding: str = "zeros",
        convolution: str = "direct",
        derived: Mapping[str, Derived] = MappingProxyType({}),
    ) -> None:
        """Builds the network.

        Args:
            layers: The layers that it exposes, by paper name.
            vgg_weights: For every convolution that the layers need.
            pooling: A name from `vgg19.POOLING`.
            precision: The type of the convolutions, "float32" or "bfloat16".
            tile: Side of the tiles in pixels, without their halo; 0 for whole pictures.
            padding: Of the first convolution, a name from `vgg19.PADDING`.
            convolution: The algorithm of the convolutions, a name from `convolutions.LAYERS`.
            derived: {name: a map made of these layers' features}, exposed beside them.
        """
        self._layers, self._tile, self._derived = list(layers), tile, derived
        self._strides = {layer: vgg_layers.stride(layer) for layer in layers}
        self._strides |= {name: each.stride for name, each in derived.items()}
        self._model = vgg19.build(
            self._layers,
            vgg_weights.arrays,
            pooling=pooling,
            padding=padding,
            precision=precision,
            convolution=convolutions.LAYERS[convolution],
        )
        self._preprocess = vgg19.PREPROCESSING[vgg_weights.preprocessing]
        self._stride = max(vgg_layers.stride(layer) for layer in layers)

    @property
    def variables(self) -> list[tf.Variable]:
        """The weights."""
        return [variable.value for variable in self._model.variables]

    def channels(self, layer: str) -> int:
        """Returns the number of channels of a layer."""
        count: int = self._model.output[layer].shape[-1]
        return count

    def maps(self, image: Tensor, layers: Sequence[str]) -> Maps:
        """Returns the features of the whole picture at some of the layers."""
        if not self._tile:
            features = self._features(image)
            return {layer: features[layer] for layer in layers}
        grid = self._windows(image)

        def of_core(window: tiling.Window) -> list[Tensor]:
            features = self._core_features(tiling.cut(image, window), window)
            return [features[layer] for layer in layers]

        assembled = tiling.assemble(
            of_core,
            grid,
            [tiling.core_spans(grid, vgg_layers.stride(layer)) for layer in layers],
            [self._empty_map(layer, tf.shape(image)[2]) for layer in layers],
        )
        return dict(zip(layers, assembled, strict=True))

    def mapped(
        self, image: Tensor, function: Callable[[Maps, Part], Tensor], empty: Tensor, cell: int, whole: int
    ) -> Tensor:
        """Returns a map [1, h, w, C] that a function makes of features, cell by cell.

        Args:
            image: [1, H, W, 3].
            function: (features of a tile, part) -> its part of the map.
            empty: A map of no rows, [1, 0, w, C].
            cell: Pixels a side that a place of the map spans.
            whole: The map covers whole squares of so many pixels a side; a multiple of `cell`.
        """
        if not self._tile:
            return function(self._features(image), _whole)
        grid = self._windows(image)
        rows, lefts = tiling.core_spans(grid, whole)
        spans = tiling.Spans(rows * (whole // cell), lefts * (whole // cell))
        (found,) = tiling.assemble(
            lambda window: [self._window_sums(tiling.cut(image, window), window, function)],
            grid,
            [spans],
            [empty],
        )
        return found

    def sums(self, image: Tensor, statistics: Statistics, zeros: Any) -> Any:
        """Returns the sums over all pixels.

        Args:
            image: [1, H, W, 3].
            statistics: The function that sums.
            zeros: Sums of zero, of the same structure.
        """
        if not self._tile:
            return statistics(self._features(image), _whole)
        return tiling.accumulate(
            lambda window: self._window_sums(tiling.cut(image, window), window, statistics),
            self._windows(image),
            zeros,
        )

    def value_and_gradient(
        self, image: Tensor, statistics: Statistics, loss: Callable[[Any], Any], zeros: Any
    ) -> tuple[Any, Tensor]:
        """Returns a loss of sums over all pixels, and its gradient by the image.

        Args:
            image: [1, H, W, 3].
            statistics: The function that sums.
            loss: sums -> a NamedTuple of scalars, `total` among them.
            zeros: Sums of zero, of the same structure.
        """
        if self._tile:
            return tiling.value_and_gradient(
                lambda part, window: self._window_sums(part, window, statistics),
                loss,
                image,
                self._windows(image),
                zeros,
            )

        @tensors.noinline_function
        def of_whole(image: Tensor) -> tuple[Any, Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(image)
                values = loss(statistics(self._features(image), _whole))
            return values, tape.gradient(values.total, image)

        values, gradient = of_whole(image)
        return values, tf.ensure_shape(gradient, image.shape)

    def _features(self, image: Tensor) -> Maps:
        features = self._model(self._preprocess(image))
        return {**features, **{name: each.make(features) for name, each in self._derived.items()}}

    def _windows(self, image: Tensor) -> tiling.Grid:
        height, width = tf.shape(image)[1], tf.shape(image)[2]
        reach = max((each.reach for each in self._derived.values()), default=0)
        halo = vgg_layers.halo(self._layers) + -(-reach // self._stride) * self._stride
        return tiling.plan(height, width, self._tile, halo, self._stride)

    def _core_features(self, part: Tensor, window: tiling.Window) -> Maps:
        """Returns the features of a tile's core."""
        features = self._features(part)
        return {
            layer: tiling.core(features[layer], window, stride) for layer, stride in self._strides.items()
        }

    def _window_sums(self, part: Tensor, window: tiling.Window, statistics: Statistics) -> Any:
        return statistics(
            self._core_features(part, window),
            lambda layer, whole: tiling.cut_core(whole, window, self._strides[layer]),
        )

    def _empty_map(self, layer: str, width: Tensor) -> Tensor:
        """Returns the layer's map of a picture of no rows, [1, 0, w, C]."""
        channels, dtype = self.channels(layer), self._model.output[layer].dtype
        return tf.zeros(tf.stack([1, 0, width // vgg_layers.stride(layer), channels]), dtype)


def _whole(layer: str, whole: Tensor) -> Tensor:
    del layer
    return whole
