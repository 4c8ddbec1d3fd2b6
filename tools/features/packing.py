"""Trained convolutions, made ready to ship: eight bits, and about the size of ImageNet's features.

Arrays are {convolution: (kernel [3, 3, in, out], bias [out])}, float32, from the input up.
"""

import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from nst_tf.callbacks import figures
from nst_tf.network import vgg19
from nst_tf.network.weights import Arrays

# The pictures that features are measured on, and the longest side in pixels that `figures.fitted` gives them.
_CALIBRATION_PICTURES, _CALIBRATION_SIZE = ("sample:town", "sample:strokes", "sample:mosaic"), 256

# Mean square of each layer's output after the ReLU, of Oxford's ImageNet weights; a test compares it with the
# weights. With features of about that size a preset's weights mean the same.
IMAGENET_MEAN_SQUARES = {
    "relu1_1": 3131.2,
    "relu1_2": 57252.0,
    "relu2_1": 94894.0,
    "relu2_2": 156680.0,
    "relu3_1": 157154.0,
    "relu3_2": 183984.0,
    "relu3_3": 543208.0,
    "relu3_4": 1757328.0,
    "relu4_1": 1598519.0,
    "relu4_2": 947304.0,
    "relu4_3": 307976.0,
    "relu4_4": 47974.0,
    "relu5_1": 28126.0,
    "relu5_2": 5974.3,
}

# Factors of features over ImageNet's, by block. At ImageNet's sizes relu4_1 outweighs relu1_1 a thousand
# times, and unlike ImageNet's ours does not determine colours and grain: pictures end in rainbows of one
# pixel. The content layer then has to be larger, too. The best of seven sets over three pictures (README.md).
_EMPHASIS = {1: 7.0, 2: 3.2, 3: 2.2, 4: 1.0, 5: 1.6}
_CONTENT_EMPHASIS = {"relu4_2": 2.0}

# Mean square that each layer of the features is given.
TARGETS = {
    relu: value * (_EMPHASIS[int(relu[4])] * _CONTENT_EMPHASIS.get(relu, 1.0)) ** 2
    for relu, value in IMAGENET_MEAN_SQUARES.items()
}

# Symmetric: -127 .. 127, so that a kernel and its negative are equally exact.
_LEVELS = 127


def pack(arrays: Arrays, preprocessing: str, about: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a `.npz` file that `nst_tf.network.weights` reads.

    Args:
        arrays: As trained.
        preprocessing: A name from `vgg19.PREPROCESSING`.
        about: How they were trained, kept in the file as JSON.
    """
    quantized = {conv: quantize(kernel) for conv, (kernel, _) in arrays.items()}
    rounded = {
        conv: (kernel * scale, arrays[conv][1]) for conv, (kernel, scale) in quantized.items()
    }  # measured as it will be used
    measured = mean_squares(rounded, preprocessing)
    kernel_factors, bias_factors = calibration(measured, TARGETS)
    contents: dict[str, Any] = {}
    for conv, (kernel, scale) in quantized.items():
        contents[f"{conv}_kernel"] = kernel
        contents[f"{conv}_scale"] = (scale * kernel_factors[conv]).astype(np.float32)
        contents[f"{conv}_bias"] = (arrays[conv][1] * bias_factors[conv]).astype(np.float32)
    file = io.BytesIO()
    np.savez_compressed(file, preprocessing=preprocessing, about=json.dumps(dict(about)), **contents)
    return file.getvalue()


def about(file: pathlib.Path) -> dict[str, Any]:
    """Returns how the features in a file of `pack` were trained."""
    with np.load(file, allow_pickle=False) as contents:
        found: dict[str, Any] = json.loads(str(contents["about"]))
        return found


def quantize(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (int8 [3, 3, in, out], scale [out]) whose product is nearest to the kernel.

    The error is at most half a level, 1/254 of the filter's largest value.
    """
    largest = np.abs(kernel).max(axis=(0, 1, 2))
    scale = np.where(largest > 0, largest, 1.0) / _LEVELS
    return np.rint(kernel / scale).astype(np.int8), scale.astype(np.float32)


def mean_squares(arrays: Arrays, preprocessing: str) -> dict[str, float]:
    """Returns {ReLU: mean square of its output} over the sample pictures, for all layers there are."""
    relus = [conv.replace("conv", "relu") for conv in arrays]
    model = vgg19.build(relus, arrays)
    found: dict[str, list[float]] = {relu: [] for relu in relus}
    for picture in _CALIBRATION_PICTURES:
        pixels = np.asarray(figures.fitted(picture, _CALIBRATION_SIZE), np.float32)[np.newaxis] / 255
        features = model(vgg19.PREPROCESSING[preprocessing](pixels))
        for relu in relus:
            values = np.asarray(features[relu], np.float64)
            found[relu].append(float(np.mean(np.square(values))))
    return {relu: float(np.mean(values)) for relu, values in found.items()}


def calibration(
    measured: Mapping[str, float], targets: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns factors of kernels and biases with which every layer has its target mean square.

    With s = sqrt(target / measured) of a layer and s' that of the layer below (1 for the picture), kernels
    times s / s' and biases times s make features times s exactly: convolution, ReLU and pooling are
    homogeneous.

    Args:
        measured: {ReLU: mean square}, from the input up.
        targets: {ReLU: mean square}.

    Returns:
        {convolution: factor of the kernel}, {convolution: factor of the bias}.
    """
    kernels, biases, below = {}, {}, 1.0
    for relu, value in measured.items():
        conv, own = relu.replace("relu", "conv"), float(np.sqrt(targets[relu] / value))
        kernels[conv], biases[conv] = own / below, own
        below = own
    return kernels, biases
