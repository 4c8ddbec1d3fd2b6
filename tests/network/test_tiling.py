"""Tiles are exact: the gradient of the whole picture, window by window, on any size, pooling and layers."""

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import layers as vgg_layers
from nst_tf.config import presets
from nst_tf.config.settings import PADDING, POOLING, STYLE_STATISTICS
from nst_tf.losses import objective, terms
from nst_tf.losses.objective import Masks, Outside
from nst_tf.losses.values import Losses
from nst_tf.network import network, tiling, vgg19
from tests import conftest

ANY = tf.TensorSpec([1, None, None, 3], tf.float32)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu5_1")


def _config(**changes):
    base = presets.get("gatys_pytorch").replace(
        style_layers=STYLE_LAYERS,
        style_layer_weights=(1.0,) * 4,
        content_weight=0.1,
    )
    return base.replace(**changes)


def _judge(narrow_weights, config, tile):
    return objective.Objective(config, narrow_weights, "float32", tile)


def _value_and_gradient(judge, image, content, style):
    def whole(image, content, style):
        return judge.value_and_gradient(image, judge.targets(content, [style]))

    values, gradient = tf.function(whole, [ANY] * 3, autograph=False)(image, content, style)
    return np.array(values), gradient.numpy()


def _pictures(height, width):
    image, content = (conftest.smooth_picture(seed, height, width)[np.newaxis] for seed in (1, 2))
    return image, content, conftest.smooth_picture(3, 150, 90)[np.newaxis]


@pytest.mark.parametrize(
    ("size", "tile", "changes"),
    [
        ((201, 131), 64, {}),
        pytest.param((203, 250), 48, {"pooling": "average"}, marks=pytest.mark.slow),
        ((160, 170), 96, {"total_variation_weight": 1.0}),
        pytest.param((177, 190), 50, {"content_layers": ("conv1_2", "relu3_4")}, marks=pytest.mark.slow),
        ((40, 50), 64, {}),
        pytest.param((190, 180), 32, {"content_weight": 0.0}, marks=pytest.mark.slow),
        pytest.param((190, 180), 64, {"style_weight": 0.0}, marks=pytest.mark.slow),
        # Each statistic is tiled below too, with regions; each padding with each pooling.
        *(
            pytest.param(
                *((133, 118), 48, {"style_statistics": statistic, "padding": "replicate"}),
                marks=pytest.mark.slow,
            )
            for statistic in ("gram_mean_std", "wasserstein")
        ),
    ],
)
def test_the_tiled_gradient_is_the_whole_one(size, tile, changes, narrow_weights):
    config, pictures = _config(**changes), _pictures(*size)
    expected, whole = _value_and_gradient(_judge(narrow_weights, config, 0), *pictures)
    came, tiled = _value_and_gradient(_judge(narrow_weights, config, tile), *pictures)
    np.testing.assert_allclose(came, expected, rtol=2e-5)
    error = np.linalg.norm(tiled - whole) / np.linalg.norm(whole)
    assert error < 2e-5
    assert np.abs(tiled - whole).max() < 1e-4 * np.abs(whole).max()


def _steps_across(gradient, columns):
    """Returns how much a gradient [1, H, W, 3] changes from the pixel before to each of some columns."""
    return np.mean([np.abs(gradient[:, :, column] - gradient[:, :, column - 1]).mean() for column in columns])


@pytest.mark.slow
def test_no_seam_where_tiles_meet(narrow_weights, monkeypatch):
    """Across a tile's border the gradient changes as it does where the whole picture has no border."""
    config, pictures = _config(), _pictures(96, 256)
    borders = (64, 128, 192)

    def ratio():
        _, tiled = _value_and_gradient(_judge(narrow_weights, config, 64), *pictures)
        return _steps_across(tiled, borders) / _steps_across(whole, borders)

    _, whole = _value_and_gradient(_judge(narrow_weights, config, 0), *pictures)
    assert abs(ratio() - 1) < 1e-3
    monkeypatch.setattr(vgg_layers, "halo", lambda *_: 0)
    assert abs(ratio() - 1) > 1e-3


def _gram_distance(narrow_weights, picture, style, tile, **options):
    """Returns the squared distance of Gram matrices and its gradient, from the network alone."""
    judge = network.Network(
        STYLE_LAYERS, narrow_weights, options.pop("pooling", "max"), "float32", tile, **options
    )

    def statistics(features, part):
        del part
        return [terms.gram_sums(features[layer])[0] for layer in STYLE_LAYERS]

    zeros = [tf.zeros([judge.channels(layer)] * 2) for layer in STYLE_LAYERS]

    def distances(sums):
        total = tf.add_n([tf.reduce_sum((a - b) ** 2) for a, b in zip(sums, goal, strict=True)])
        return Losses(total, total, total, total)

    @tf.function(input_signature=[ANY], autograph=False)
    def value_and_gradient(image):
        return judge.value_and_gradient(image, statistics, distances, zeros)

    goal = [0.9 * total for total in judge.sums(tf.constant(style), statistics, zeros)]
    values, gradient = value_and_gradient(picture)
    return float(values.total), gradient.numpy()


@pytest.mark.parametrize(
    ("pooling", "padding"),
    [
        pytest.param(*each, marks=pytest.mark.slow if each[1] == "zeros" else ())
        for each in zip(POOLING, itertools.cycle(PADDING), strict=False)
    ],
)
def test_tiles_are_exact_whatever_the_padding_and_the_pooling(padding, pooling, narrow_weights):
    picture, style = (conftest.smooth_picture(seed, 133, 118)[np.newaxis] for seed in (1, 2))
    options = {"padding": padding, "pooling": pooling}
    expected, whole = _gram_distance(narrow_weights, picture, style, 0, **options)
    came, tiled = _gram_distance(narrow_weights, picture, style, 48, **options)
    np.testing.assert_allclose(came, expected, rtol=2e-5)
    assert np.linalg.norm(tiled - whole) / np.linalg.norm(whole) < 2e-5
    assert np.abs(tiled - whole).max() < 1e-4 * np.abs(whole).max()


def _regions(height, width):
    """Returns the masks of two regions, a crooked edge between them, [1, H, W, 2], some pixels neither's."""
    rows, columns = np.mgrid[0:height, 0:width]
    first = columns + 5 * np.sin(rows / 9) < 0.55 * width
    neither = rows > 0.8 * height
    masks = np.stack([first & ~neither, ~first & ~neither], axis=-1)
    return masks[np.newaxis].astype(np.float32)


def _guided_gradient(narrow_weights, config, tile, size, precision="float32"):
    """Returns value and gradient with two regions, two styles and a frame."""
    judge = objective.Objective(config, narrow_weights, precision, tile)
    image, content, first = _pictures(*size)
    second, mask = conftest.smooth_picture(4, 75, 133)[np.newaxis], _regions(*size)
    # The first region is in both styles, the second in one: shares differ.
    masks = Masks(mask, (_regions(150, 90), _regions(75, 133) * [1, 0]))
    soft = (0.25 + 0.5 * mask.sum(axis=-1, keepdims=True)).astype(np.float32)
    specs = tf.nest.map_structure(
        lambda array: tf.TensorSpec([1, None, None, array.shape[-1]]),
        [image, content, [first, second], masks, soft],
    )

    def whole(image, content, styles, masks, frame):
        outside = (Outside(frame, content),)
        targets = judge.targets(content, styles, shares=[1.0, 2.0], masks=masks, outside=outside)
        return judge.value_and_gradient(image, targets)

    arguments = tf.nest.map_structure(
        lambda array: tf.constant(array, tf.float32), [image, content, [first, second], masks, soft]
    )
    values, gradient = tf.function(whole, specs, autograph=False)(*arguments)
    return np.array(values), gradient.numpy()


def _error(gradient, expected):
    return np.linalg.norm(gradient - expected) / np.linalg.norm(expected)


# A statistic with what else matters once: the size, the tile, how guides are eroded, how styles are blended.
GUIDED: dict[str, tuple[tuple[int, int], int, dict[str, Any]]] = {
    "gram": ((117, 150), 48, {"guide_erosion": 0.3, "total_variation_weight": 1e-3}),
    "gram_relative": ((101, 133), 37, {}),
    "gram_mean_std": ((133, 101), 37, {"guide_erosion": 1.0, "style_blend": "targets"}),
    "wasserstein": ((143, 131), 64, {"guide_erosion": 0.0, "content_weight": 0.0}),
}


@pytest.mark.parametrize(
    "statistic",
    [
        pytest.param(name, marks=() if name == "gram_relative" else pytest.mark.slow)
        for name in STYLE_STATISTICS
    ],
)
def test_with_regions_styles_and_a_frame_too(statistic, narrow_weights):
    size, tile, changes = GUIDED[statistic]
    config = _config(style_statistics=statistic, **changes)
    expected, whole = _guided_gradient(narrow_weights, config, 0, size)
    came, tiled = _guided_gradient(narrow_weights, config, tile, size)
    np.testing.assert_allclose(came, expected, rtol=2e-5)
    assert _error(tiled, whole) < 1e-5


@pytest.mark.slow
def test_with_regions_a_smaller_halo_would_not_do_either(narrow_weights, monkeypatch):
    config = _config(style_layers=("relu5_1",), style_layer_weights=(1.0,), content_weight=0.0)
    _, whole = _guided_gradient(narrow_weights, config, 0, (143, 131))
    monkeypatch.setattr(vgg_layers, "halo", lambda _: 32)
    _, tiled = _guided_gradient(narrow_weights, config, 64, (143, 131))
    assert _error(tiled, whole) > 1e-3


@pytest.mark.slow
def test_with_regions_bfloat16_is_as_near_as_rounding_lets_it(narrow_weights):
    config = _config(style_layers=("relu1_1", "relu3_1"), style_layer_weights=(1.0, 1.0))
    _, exact = _guided_gradient(narrow_weights, config, 0, (61, 75))
    _, rounded = _guided_gradient(narrow_weights, config, 32, (61, 75), "bfloat16")
    assert np.sum(exact * rounded) / (np.linalg.norm(exact) * np.linalg.norm(rounded)) > 0.98


@pytest.mark.slow
def test_a_smaller_halo_would_not_do(narrow_weights, monkeypatch):
    deep = {"style_layers": ("relu5_1",), "style_layer_weights": (1.0,), "content_weight": 0.0}
    config, pictures = _config(**deep), _pictures(201, 190)
    _, whole = _value_and_gradient(_judge(narrow_weights, config, 0), *pictures)
    _, right = _value_and_gradient(_judge(narrow_weights, config, 64), *pictures)
    monkeypatch.setattr(vgg_layers, "halo", lambda _: 32)
    _, tiled = _value_and_gradient(_judge(narrow_weights, config, 64), *pictures)
    assert np.linalg.norm(right - whole) / np.linalg.norm(whole) < 2e-5
    assert np.linalg.norm(tiled - whole) / np.linalg.norm(whole) > 1e-3


def test_losses_of_a_picture_are_those_of_its_tiles(narrow_weights):
    config, (image, content, style) = _config(total_variation_weight=0.5), _pictures(150, 170)
    values = []
    for tile in (0, 48):
        judge = _judge(narrow_weights, config, tile)
        targets = judge.targets(tf.constant(content), [tf.constant(style)])
        values.append([float(value) for value in judge.evaluate(tf.constant(image), targets)])
    np.testing.assert_allclose(values[1], values[0], rtol=2e-5)


@pytest.mark.parametrize(("layer", "expected"), [("conv1_1", 1), ("relu1_2", 2), ("relu3_1", 12)])
def test_halos(layer, expected):
    assert vgg_layers.halo([layer]) == expected


def test_the_halo_of_the_papers_layers_is_80():
    """2*1 + 2*2 + 4*4 + 4*8 + 16 = 70, rounded up to the stride."""
    assert vgg_layers.halo(["relu1_1", "relu5_1"]) == 80


def test_a_feature_sees_no_further_than_the_halo(narrow_weights):
    """Finite reach, measured: a change beyond the halo of a feature leaves it as it was."""
    model = vgg19.build(["relu4_1"], narrow_weights.arrays)
    picture = np.random.default_rng(0).normal(size=(1, 160, 160, 3)).astype(np.float32)
    before = model(picture)["relu4_1"][0, 10, 10].numpy()
    halo, first, last = vgg_layers.halo(["relu4_1"]), 80, 88  # the feature's own pixels
    changed = picture.copy()
    changed[:, : first - halo] += 10
    changed[:, last + halo :] += 10
    np.testing.assert_array_equal(model(changed)["relu4_1"][0, 10, 10], before)
    changed[:, first - halo + 8] += 10
    assert np.any(model(changed)["relu4_1"][0, 10, 10] != before)


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(100, 64, 32), (17, 16, 16), (33, 500, 100), (5, 5, 9)]
)
def test_windows_cover_every_pixel_once(height, width, tile):
    grid = tiling.plan(tf.constant(height), tf.constant(width), tile, 16, 8)
    seen = np.zeros((height, width), int)
    for row, column in itertools.product(*map(range, grid.counts())):
        one = tiling.Window(*map(int, grid.window(row, column)))
        seen[one.core_top : one.core_bottom, one.core_left : one.core_right] += 1
        assert one.top % 8 == one.left % 8 == one.core_top % 8 == one.core_left % 8 == 0
        assert one.top == max(0, one.core_top - 16)
        assert one.bottom == min(height, one.core_bottom + 16)
        assert one.right == min(width, one.core_right + 16)
        assert one.core_bottom - one.core_top <= tile + 7
    assert np.all(seen == 1)
