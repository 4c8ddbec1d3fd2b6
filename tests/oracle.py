"""Independent versions of the formulas: Keras' own VGG19 and NumPy, nothing of `nst_tf`."""

import functools

import keras
import numpy as np

S5 = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")


@functools.cache
def vgg19(weights_file: str, pooling: str = "max") -> keras.Model:
    """Returns Keras' own VGG19 with a file's weights, with its max pooling replaced if so wished."""
    model = keras.applications.VGG19(include_top=False, weights=weights_file)
    if pooling == "max":
        return model

    def replace(layer):
        if isinstance(layer, keras.layers.MaxPooling2D):
            return keras.layers.AveragePooling2D(2, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=replace)
    copy.set_weights(model.get_weights())
    return copy


def features(model: keras.Model, image: np.ndarray, layers: tuple[str, ...]) -> dict:
    """Returns {Keras' layer name: features [h, w, C] after the ReLU} of [H, W, 3] in [0, 1]."""
    outputs = {name: model.get_layer(name).output for name in layers}
    preprocessed = keras.applications.vgg19.preprocess_input(255.0 * image[np.newaxis].astype(np.float64))
    values = keras.Model(model.input, outputs)(preprocessed.astype(np.float32))
    return {name: np.asarray(value[0], np.float64) for name, value in values.items()}


def gram(feature: np.ndarray) -> np.ndarray:
    """Returns G = F^T F over pixels."""
    flat = feature.reshape(-1, feature.shape[-1])
    return flat.T @ flat


def gatys_pytorch(model, image, content, style) -> tuple[float, float, float]:
    """Returns (content, style, total variation) of the authors' notebook, weighted."""
    x, s = features(model, image, S5), features(model, style, S5)
    f = features(model, image, ("block4_conv2",))["block4_conv2"]
    p = features(model, content, ("block4_conv2",))["block4_conv2"]
    style_loss = 0.0
    for name in S5:
        n, m = x[name].shape[-1], x[name][..., 0].size
        style_loss += 1e3 / n**2 * np.mean((gram(x[name]) / m - gram(s[name]) / m) ** 2)
    return float(np.mean((f - p) ** 2)), float(style_loss), 0.0


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
