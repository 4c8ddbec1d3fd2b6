"""The filters that training begins with: slow features, computed layer by layer from a few pictures.

Random filters respond to an edge and to flat grey much alike, the more so the deeper, and training leaves the
first layers with few different responses (README.md). Slow feature analysis (Wiskott and Sejnowski 2002)
finds features that differ between places, but stay while a picture moves a little. Filters here are random
mixtures of the slowest ones.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from features import augmentation, dataset
from nst_tf import errors
from nst_tf.config import layers as vgg_layers
from nst_tf.network import vgg19
from nst_tf.network.weights import Arrays


class _View(NamedTuple):
    """How another view of a picture differs from the picture."""

    shift: float  # at most, in pixels in each direction
    zoom: float  # at most, a factor
    light: float  # at most, as a share: brighter or darker
    noise: float  # at most, a standard deviation in levels of 0..1


# Two further views of each picture, a near one and a far one, and the weights of the change of features from
# the picture to each of them, by block: deep filters see more pixels and shall stay while more changes. All
# numbers below were tuned by the pictures that such filters paint without training.
_VIEWS = (_View(0.7, 1.005, 0.02, 0.04), _View(3.0, 1.02, 0.2, 0.06))
_SHARES = {1: (1.0, 0.0), 2: (0.8, 0.2), 3: (0.5, 0.5), 4: (0.0, 1.0), 5: (0.0, 1.0)}

# The number of slow features that filters are mixed of, as a share of VGG19's number of filters; the first
# layer uses all 27.
_KEPT = {1: 0.4, 2: 0.4, 3: 0.35, 4: 0.3, 5: 0.3}

# Added to the change between views, as a share of the variance, so that features nearly without variance are
# not amplified. More for the first layer, whose finest features are the camera's noise.
_RIDGE, _FIRST_RIDGE = 0.03, 0.06

# Patches for each number in one, bounded to save memory.
_PATCHES_PER_NUMBER, _FEWEST_PATCHES, _MOST_PATCHES = 10, 20_000, 50_000

# Pictures in a batch.
_BATCH = 10


def begin(model: keras.Model, pictures: dataset.Library, *, window: int, count: int, seed: int) -> None:
    """Gives the convolutions of an untrained network their filters, and the normalisations their statistics.

    Args:
        model: As `network.build` returned it.
        pictures: The dataset.
        window: The side of the windows in pixels.
        count: The number of pictures. Features of all of them are kept at once, 7 MB a picture of 112 pixels
            at half VGG19's filters.
        seed: Of all random choices.

    Raises:
        InputError: The pictures are too few or too flat.
    """
    generator = np.random.default_rng([2, seed])
    filters = {layer.name: layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    windows = _windows(generator, pictures, window, count)
    for conv, (kernel, bias) in slow_filters(windows, filters, generator).items():
        model.get_layer(conv).set_weights([kernel])
        norm = model.get_layer(conv.replace("conv", "norm"))
        ones = np.ones_like(bias)
        norm.set_weights([ones, np.zeros_like(bias), -bias, ones])  # gamma, beta, mean, variance


def slow_filters(windows: np.ndarray, filters: Mapping[str, int], generator: np.random.Generator) -> Arrays:
    """Returns convolutions whose outputs on the windows have mean 0 and variance 1, and are slow.

    Args:
        windows: Pictures, uint8 [N, window, window, 3].
        filters: {convolution: number of filters}, from the input up.
        generator: Makes the random choices.

    Returns:
        {convolution: (kernel [3, 3, in, out], bias [out])}, float32.

    Raises:
        InputError: Too little changes in the windows, or between them.
    """
    views = [_signed(windows), *(_signed(_moved(generator, windows, view)) for view in _VIEWS)]
    found: Arrays = {}
    full = vgg_layers.kernel_shapes(list(filters))
    for conv, number in filters.items():
        block = int(conv[4])
        if conv.endswith("_1") and block > 1:
            views = [_in_batches(view, _pooled) for view in views]
        patches = _patches(generator, views)
        mean = patches[0].mean(axis=0)
        total = _covariance(patches[0] - mean)
        changes = [_covariance(moved - moved.mean(axis=0)) for moved in (patches[0] - s for s in patches[1:])]
        change = np.tensordot(_SHARES[block], changes, 1) / 2
        first = conv == vgg_layers.CONVOLUTIONS[0]
        kept = len(mean) if first else round(_KEPT[block] * full[conv][-1])
        try:
            slow = slow_features(total, change, kept, _FIRST_RIDGE if first else _RIDGE)
        except np.linalg.LinAlgError:
            raise errors.InputError(
                f"images: {len(windows)} windows of them differ too little to compute the filters of {conv};"
                " allowed: more pictures, a larger window, or --slow_pictures=0"
            ) from None
        kernel = slow @ generator.normal(size=(slow.shape[1], number))
        kernel /= np.sqrt(np.sum(kernel * (total @ kernel), axis=0))
        shaped = np.asarray(kernel.reshape(3, 3, -1, number), np.float32)
        found[conv] = (shaped, np.asarray(-mean @ kernel, np.float32))
        views = [_in_batches(view, functools.partial(_layer, kernel_and_bias=found[conv])) for view in views]
    return found


def slow_features(total: np.ndarray, change: np.ndarray, count: int, ridge: float) -> np.ndarray:
    """Returns the linear features with the most variance for their change, [d, count], the slowest first.

    They are uncorrelated, and each has the standard deviation 1 - 1/s, where s is its variance divided by its
    change: features that do not stay at all have none.

    Args:
        total: Covariance of the inputs, [d, d].
        change: Half the covariance of the change of the inputs, [d, d]; equal to `total` if nothing stays.
        count: The number of features, at most d.
        ridge: Added to the change, as a share of the mean variance.

    Raises:
        LinAlgError: Nothing varies, or nothing stays.
    """
    smallest = ridge * np.trace(total) / len(total)
    root = np.linalg.cholesky(change + smallest * np.eye(len(total)))
    whitened = np.linalg.solve(root, np.linalg.solve(root, total).T)
    stays, vectors = np.linalg.eigh((whitened + whitened.T) / 2)  # ascending
    if not stays[-1] > 1:
        raise np.linalg.LinAlgError("no feature stays")
    stays, vectors = stays[::-1][:count], vectors[:, ::-1][:, :count]
    stays = np.maximum(stays, 1)  # a feature that does not stay gets the factor 0
    return np.asarray(np.linalg.solve(root.T, vectors) * (1 - 1 / stays) / np.sqrt(stays))


def _windows(
    generator: np.random.Generator, pictures: dataset.Library, window: int, count: int
) -> np.ndarray:
    """Returns windows of different pictures, uint8 [count, window, window, 3]; fewer if there are fewer."""
    numbers = generator.permutation(len(pictures.pictures))[:count]
    return np.stack([dataset.cut(generator, pictures.pictures[number], window) for number in numbers])


def _moved(generator: np.random.Generator, windows: np.ndarray, view: _View) -> np.ndarray:
    """Returns another view of every window, float32 [N, window, window, 3] in [0, 1]."""
    side = windows.shape[1]
    around = np.arange(side) - (side - 1) / 2

    def positions(count: int) -> np.ndarray:
        zoom = np.exp(generator.uniform(-1, 1, (count, 1)) * np.log(view.zoom))
        shift = generator.uniform(-view.shift, view.shift, (count, 1))
        return np.clip(zoom * around + (side - 1) / 2 + shift, 0, side - 1)

    def drawn(count: int) -> dict[str, np.ndarray]:
        brighter = 1 + view.light * generator.uniform(-1, 1, (count, 1, 1))
        return {
            "rows": positions(count),
            "columns": positions(count),
            "blur": np.ones(count),
            "colors": brighter * np.concatenate([np.eye(3), np.zeros((1, 3))]),
            "noise": view.noise * generator.random(count),
        }

    augment = augmentation.Augmentation(int(generator.integers(2**31)))
    batches = [windows[first : first + _BATCH] for first in range(0, len(windows), _BATCH)]
    return np.concatenate(
        [
            keras.ops.convert_to_numpy(
                augment(
                    {"window": batch}
                    | {name: value.astype(np.float32) for name, value in drawn(len(batch)).items()}
                )
            )
            for batch in batches
        ]
    )


def _signed(pictures: np.ndarray) -> np.ndarray:
    """Returns the network's input for pictures, uint8 or in [0, 1], as float16 [N, H, W, 3]."""
    levels = 255 if pictures.dtype == np.uint8 else 1
    return np.asarray(vgg19.signed(pictures / np.float32(levels)), np.float16)


def _in_batches(view: np.ndarray, function: Callable[[Any], Any]) -> np.ndarray:
    """Returns a function of features [N, h, w, C], float16, computed in float32."""
    batches = (view[first : first + _BATCH].astype(np.float32) for first in range(0, len(view), _BATCH))
    results = (function(keras.ops.convert_to_tensor(x)) for x in batches)
    return np.concatenate([keras.ops.convert_to_numpy(x).astype(np.float16) for x in results])


def _pooled(features: Any) -> Any:
    """Returns the features after the pooling between two blocks."""
    return keras.ops.max_pool(features, 2, data_format="channels_last")


def _layer(features: Any, kernel_and_bias: tuple[np.ndarray, np.ndarray]) -> Any:
    """Returns the features of the layer above."""
    kernel, bias = (keras.ops.convert_to_tensor(value) for value in kernel_and_bias)
    convolved = keras.ops.conv(features, kernel, padding="same", data_format="channels_last")
    return keras.ops.relu(convolved + bias)


def _patches(generator: np.random.Generator, views: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the inputs of a filter at the same random places of each view, float32 [places, 9 C]."""
    if min(views[0].shape[1:3]) < 3:  # then its inputs are padded with zeros, as at every border
        views = [np.pad(view, ((0, 0), (1, 1), (1, 1), (0, 0))) for view in views]
    number, height, width, channels = views[0].shape
    count = int(np.clip(_PATCHES_PER_NUMBER * 9 * channels, _FEWEST_PATCHES, _MOST_PATCHES))
    # Away from the border, which differs between views.
    border = min(4, height // 5)
    which = generator.integers(number, size=count)
    top = generator.integers(border, height - 2 - border, size=count)
    left = generator.integers(border, width - 2 - border, size=count)
    return [
        np.concatenate(
            [view[which, top + row, left + column] for row in range(3) for column in range(3)], axis=1
        ).astype(np.float32)
        for view in views
    ]


def _covariance(values: np.ndarray) -> np.ndarray:
    """Returns the covariance of values [n, d] with mean 0, float64 [d, d]."""
    return np.asarray(values.T @ values, np.float64) / len(values)
