"""Independent versions of the formulas: Keras' own VGG19 and NumPy, nothing of `nst_tf`."""

import functools
from collections.abc import Callable

import keras
import numpy as np

S5 = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")
C4, C5, CONV4_2 = "block4_conv2", "block5_conv2", "conv4_2 before the ReLU"


@functools.cache
def vgg19(weights_file: str, pooling: str = "max", padding: str = "zeros") -> keras.Model:
    """Returns Keras' own VGG19 with a file's weights, with its max pooling and first padding replaced.

    With padding="replicate" its first convolution pads nothing: `features` replicates the picture's border.
    """
    model = keras.applications.VGG19(include_top=False, weights=weights_file)

    def replace(layer):
        settings = layer.get_config()
        if pooling == "average" and isinstance(layer, keras.layers.MaxPooling2D):
            return keras.layers.AveragePooling2D(2, name=layer.name)
        if padding == "replicate" and layer.name == "block1_conv1":
            settings["padding"] = "valid"
        return layer.__class__.from_config(settings)

    copy = keras.models.clone_model(model, clone_function=replace)
    copy.set_weights(model.get_weights())
    return copy


def features(model: keras.Model, image: np.ndarray, layers: tuple[str, ...]) -> dict:
    """Returns {Keras' layer name: features [h, w, C] after the ReLU} of [H, W, 3] in [0, 1]."""
    outputs = {name: model.get_layer(name).output for name in layers}
    preprocessed = keras.applications.vgg19.preprocess_input(255.0 * image[np.newaxis].astype(np.float64))
    if model.get_layer("block1_conv1").padding == "valid":
        preprocessed = np.pad(preprocessed, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    values = keras.Model(model.input, outputs)(preprocessed.astype(np.float32))
    return {name: np.asarray(value[0], np.float64) for name, value in values.items()}


def before_relu(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """Returns conv4_2 [h, w, C] before its ReLU."""
    below = features(model, image, ("block4_conv1",))["block4_conv1"]
    layer = model.get_layer("block4_conv2")
    convolved = keras.ops.conv(below[np.newaxis].astype(np.float32), layer.kernel, padding="same")
    return np.asarray(convolved[0] + layer.bias, np.float64)


def gram(feature: np.ndarray) -> np.ndarray:
    """Returns G = F^T F over pixels."""
    flat = feature.reshape(-1, feature.shape[-1])
    return flat.T @ flat


def n_and_m(feature: np.ndarray) -> tuple[int, int]:
    """Returns (channels, pixels)."""
    return feature.shape[-1], feature[..., 0].size


def m(x):
    """Returns the mean of squares over all elements."""
    return np.mean(x**2)


def S(x):  # noqa: N802 (the formulas' own name)
    """Returns the sum of squares over all elements."""
    return np.sum(x**2)


def absolute_differences(pixels):
    """Returns the sum of absolute differences of neighbours."""
    return np.abs(np.diff(pixels, axis=0)).sum() + np.abs(np.diff(pixels, axis=1)).sum()


def squared_differences(pixels):
    """Returns the sum of squared differences of neighbours."""
    return S(np.diff(pixels, axis=0)) + S(np.diff(pixels, axis=1))


def mean_squared_differences(pixels):
    """Returns the mean squared difference of rows plus that of columns."""
    return m(np.diff(pixels, axis=0)) + m(np.diff(pixels, axis=1))


def power_1_25(pixels):
    """Returns sum (dx^2 + dy^2)^1.25 over pixels with both neighbours."""
    down, right = np.diff(pixels, axis=0)[:, :-1], np.diff(pixels, axis=1)[:-1]
    return np.sum((down**2 + right**2) ** 1.25)


# The rows of the published table. Each takes dictionaries x (image), p (content), s (style) of features by
# Keras' layer name, and the image's pixels [H, W, 3] in 0..255; image, content and style have one size, so
# that M is the same for all. Returns (content, style, total variation), weighted.


def five_content_layers(x, p, s, pixels):
    content = sum(m(x[l] - p[l]) for l in S5)
    style = sum(S(gram(x[l]) - gram(s[l])) / (n_and_m(x[l])[0] ** 2 * n_and_m(x[l])[1] ** 2) for l in S5)
    return content, 10 * style, 0.0


def udacity(x, p, s, pixels):
    style = 0.0
    for weight, l in zip((1.0, 0.75, 0.2, 0.2, 0.2), S5, strict=True):
        n, pixels_of_layer = n_and_m(x[l])
        style += weight * m(gram(x[l]) - gram(s[l])) / (n * pixels_of_layer)
    return m(x[C4] - p[C4]), 1e6 * style, 0.0


def anhtu96(x, p, s, pixels):
    n, pixels_of_layer = n_and_m(x[C4])
    content = S(x[C4] - p[C4]) / (4 * n * pixels_of_layer)
    style = sum(0.2 * S(gram(x[l]) - gram(s[l])) / (2 * np.prod(n_and_m(x[l]))) ** 2 for l in S5)
    return content, 1e3 * style, 0.0


def gatys2015(x, p, s, pixels):
    style = sum(
        0.2 * S(gram(x[l]) - gram(s[l])) / (4.0 * n_and_m(x[l])[0] ** 2 * n_and_m(x[l])[1] ** 2) for l in S5
    )
    return 0.5 * S(x[C4] - p[C4]), 1e3 * style, 0.0


def gatys_pytorch(x, p, s, pixels):
    style = 0.0
    for l in S5:
        n, pixels_of_layer = n_and_m(x[l])
        style += 1e3 / n**2 * m(gram(x[l]) / pixels_of_layer - gram(s[l]) / pixels_of_layer)
    return m(x[C4] - p[C4]), style, 0.0


def johnson(x, p, s, pixels):
    style = sum(m((gram(x[l]) - gram(s[l])) / np.prod(n_and_m(x[l]))) for l in S5)
    return 5 * m(x[C4] - p[C4]), 100 * style, 1e-3 * 0.5 * squared_differences(pixels)


def neural_style_pt(x, p, s, pixels):
    return *johnson(x, p, s, pixels)[:2], 1e-3 * absolute_differences(pixels)


def cysmith(x, p, s, pixels):
    n, pixels_of_layer = n_and_m(x[CONV4_2])
    content = S(x[CONV4_2] - p[CONV4_2]) / (2 * np.sqrt(n) * np.sqrt(pixels_of_layer))
    style = sum(
        0.2 * S(gram(x[l]) - gram(s[l])) / (4.0 * n_and_m(x[l])[0] ** 2 * n_and_m(x[l])[1] ** 2) for l in S5
    )
    return 5 * content, 1e4 * style / 5, 1e-3 * absolute_differences(pixels)


def anishathalye(x, p, s, pixels):
    style = sum(0.2 * m((gram(x[l]) - gram(s[l])) / np.prod(n_and_m(x[l]))) for l in S5)
    return 5 * m(x[C4] - p[C4]), 500 * style, 100 * mean_squared_differences(pixels)


def gordicaleksa(x, p, s, pixels):
    style = sum(S((gram(x[l]) - gram(s[l])) / np.prod(n_and_m(x[l]))) for l in S5) / 5
    return 1e5 * m(x[C4] - p[C4]), 3e4 * style, absolute_differences(pixels)


def tf_tutorial(x, p, s, pixels):
    style = sum(m((gram(x[l]) - gram(s[l])) / n_and_m(x[l])[1]) for l in S5) / 5
    return 1e4 * m(x[C5] - p[C5]), 1e-2 * style, 30 * absolute_differences(pixels / 255)


def keras_example(x, p, s, pixels):
    size = pixels.shape[0] * pixels.shape[1]
    style = sum(S(gram(x[l]) - gram(s[l])) / (4.0 * 9 * size**2) for l in S5)
    return 2.5e-8 * S(x[C5] - p[C5]), 1e-6 / 5 * style, 1e-6 * power_1_25(pixels)


def covariance(feature: np.ndarray) -> np.ndarray:
    """Returns the covariance over pixels, with 1e-4 on its diagonal."""
    flat = feature.reshape(-1, feature.shape[-1])
    return np.cov(flat, rowvar=False, bias=True) + 1e-4 * np.eye(feature.shape[-1])


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the squared Wasserstein-2 distance of two features' Gaussians, per channel.

    The trace of (C_a^1/2 C_b C_a^1/2)^1/2 is the sum of the singular values of C_a^1/2 C_b^1/2.
    """

    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    first, second = covariance(a), covariance(b)
    overlap = np.linalg.svd(root(first) @ root(second), compute_uv=False).sum()
    means = np.sum((a.mean(axis=(0, 1)) - b.mean(axis=(0, 1))) ** 2)
    return (means + np.trace(first) + np.trace(second) - 2 * overlap) / len(first)


def nine_point(pixels):
    """Returns crowsonkb's total variation of pixels [H, W, 3]."""
    p = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    straight = m(np.diff(p[1:-1], axis=1)[:, 1:]) + m(np.diff(p[:, 1:-1], axis=0)[1:])
    diagonal = m(p[1:, 1:] - p[:-1, :-1]) + m(p[1:, :-1] - p[:-1, 1:])
    return 2 * (straight / 3 + diagonal / 12)


def crowsonkb(x, p, s, pixels):
    weights = zip((256, 64, 16, 4, 1), S5, strict=True)
    style = sum(weight / 341 * wasserstein(x[l], s[l]) for weight, l in weights)
    return 0.015 * m(x[C4] - p[C4]), style, 2 * nine_point(pixels / 255)


def spst(x, p, s, pixels):
    content, style, variation = gatys_pytorch(x, p, s, pixels)
    for l in S5:
        style += 1e4 * m(x[l].mean(axis=(0, 1)) - s[l].mean(axis=(0, 1)))
        style += 1e4 * m(x[l].std(axis=(0, 1)) - s[l].std(axis=(0, 1)))
    return content, style, variation


FORMULAS: dict[str, Callable[..., tuple[float, float, float]]] = {
    "five_content_layers": five_content_layers,
    "udacity": udacity,
    "anhtu96": anhtu96,
    "gatys2015": gatys2015,
    "gray_canvas": gatys2015,
    "gatys_pytorch": gatys_pytorch,
    "johnson": johnson,
    "neural_style_pt": neural_style_pt,
    "cysmith": cysmith,
    "anishathalye": anishathalye,
    "gordicaleksa": gordicaleksa,
    "tf_tutorial": tf_tutorial,
    "keras_example": keras_example,
    "crowsonkb": crowsonkb,
    "spst": spst,
}

# Published for RGB divided by its standard deviation; with Oxford's weights features are 57.6 times as large.
NORMALIZED = {"five_content_layers", "udacity", "anhtu96", "crowsonkb"}
REPLICATE_PADDING = {"crowsonkb"}
AVERAGE_POOLING = {"gatys2015", "gray_canvas", "cysmith"}


def evaluate(preset, weights_file, image, content, style):
    """Returns (content, style, total variation) of a preset for pictures [H, W, 3] in [0, 1] of one size."""
    model = vgg19(
        weights_file,
        "average" if preset in AVERAGE_POOLING else "max",
        "replicate" if preset in REPLICATE_PADDING else "zeros",
    )
    divisor = 57.6 if preset in NORMALIZED else 1.0
    found = []
    for picture in (image, content, style):
        values = features(model, picture, (*S5, C4, C5))
        values[CONV4_2] = before_relu(model, picture)
        found.append({name: value / divisor for name, value in values.items()})
    return FORMULAS[preset](*found, 255.0 * image.astype(np.float64))


def random_vgg19() -> keras.Model:
    """Returns Keras' VGG19 with seeded weights, biases included, that keep features at one size."""
    model = keras.applications.VGG19(include_top=False, weights=None)
    generator = np.random.default_rng(11)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights(
                [generator.normal(0, deviation, kernel.shape), generator.normal(0, 5, bias.shape)]
            )
    return model


# Ottosson's matrices (bottosson.github.io/posts/oklab): linear sRGB -> cones, and their cube roots -> OkLab.
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_oklab(srgb: np.ndarray) -> np.ndarray:
    """Returns colours [..., 3] in [0, 1] in OkLab, float64."""
    srgb = np.asarray(srgb, np.float64)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _CONES.T) @ _LAB.T


def of_oklab(lab: np.ndarray) -> np.ndarray:
    """Returns the inverse of `to_oklab`, clipped."""
    linear = np.clip((lab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_CONES).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
