"""Guides at a layer against plain loops, and against what features really see."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_tf.config import layers as vgg_layers
from nst_tf.losses import guides, terms
from nst_tf.network import vgg19

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
SIDES = st.integers(1, 40)


def _rectangle(height, width, top, bottom, left, right):
    mask = np.zeros((1, height, width, 1), np.float32)
    mask[:, top:bottom, left:right] = 1
    return mask


def _partition(seed, height, width, regions=3):
    """Returns soft masks [1, H, W, R] that add up to 1."""
    masks = np.random.default_rng(seed).uniform(0, 1, (1, height, width, regions)).astype(np.float32)
    return masks / masks.sum(-1, keepdims=True)


def _eroded_in_loops(mask, stride, reach):
    """The least of the mask over each cell and `reach` pixels around it."""
    height, width = mask.shape
    guide = np.zeros((height // stride, width // stride), np.float32)
    for row in range(guide.shape[0]):
        for column in range(guide.shape[1]):
            top, left = row * stride, column * stride
            seen = mask[
                max(0, top - reach) : top + stride + reach, max(0, left - reach) : left + stride + reach
            ]
            guide[row, column] = seen.min()
    return guide


def _in_a_graph(function):
    """Returns the function traced once for masks of any size and number of regions."""
    signature = [tf.TensorSpec([1, None, None, None], tf.float32)]
    return tf.function(function, input_signature=signature, autograph=False)


@given(SIDES, SIDES, SIDES, SIDES, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_resizing_keeps_ones_zeros_the_range_and_partitions(height, width, new_height, new_width, regions):
    masks = _partition(0, height, width, regions)
    resized = guides.resize(tf.constant(masks), new_height, new_width).numpy()
    assert resized.shape == (1, new_height, new_width, regions)
    assert resized.min() >= 0
    assert resized.max() <= 1
    np.testing.assert_allclose(resized.astype(np.float64).sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        guides.resize(tf.ones_like(masks), new_height, new_width), np.ones_like(resized)
    )
    np.testing.assert_array_equal(guides.resize(tf.zeros_like(masks), new_height, new_width), 0 * resized)


def test_resizing_keeps_the_area_and_what_has_the_size():
    mask = _rectangle(90, 120, 20, 60, 33, 81)
    np.testing.assert_array_equal(guides.resize(mask, 90, 120), mask)
    for height, width in [(30, 40), (31, 37), (135, 180)]:
        resized = guides.resize(mask, height, width).numpy()
        assert resized.mean() == pytest.approx(mask.mean(), rel=0.01)
        np.testing.assert_array_equal(resized[:, height // 2, width // 2], 1)
        np.testing.assert_array_equal(resized[:, : height // 6], 0)


def test_a_line_of_one_pixel_survives_shrinking():
    mask = _rectangle(64, 64, 0, 64, 31, 32)
    assert guides.resize(mask, 7, 7).numpy().sum(axis=2).min() > 0


@pytest.mark.parametrize("layer", [*LAYERS, "relu5_1"])
@pytest.mark.parametrize("size", [(48, 64), (49, 67), (16, 16)])
def test_a_guide_has_the_size_of_the_features(narrow_weights, layer, size):
    features = vgg19.build([layer], narrow_weights.arrays)(tf.zeros([1, *size, 3]))[layer]
    for erosion in (0.0, 1.0):
        assert guides.at_layer(tf.ones([1, *size, 2]), layer, erosion).shape[1:3] == features.shape[1:3]


@pytest.mark.parametrize("layer", [*LAYERS, "relu5_1"])
@pytest.mark.parametrize("erosion", [0.0, 0.3, 1.0, 3.0])
def test_a_full_mask_gives_the_gram_matrix_of_none(layer, erosion):
    guide = guides.at_layer(tf.ones([1, 83, 50, 1]), layer, erosion)
    np.testing.assert_array_equal(guide, np.ones_like(guide))
    features = np.random.default_rng(0).normal(size=(*guide.shape[:3], 5)).astype(np.float32)
    np.testing.assert_array_equal(terms.gram_sums(features, guide[0]), terms.gram_sums(features))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_rectangles_gram_matrix_is_that_of_the_features_cut_out(layer):
    guide = guides.at_layer(_rectangle(66, 80, 16, 40, 24, 64), layer, 0.0)
    stride = vgg_layers.stride(layer)
    # Small whole numbers, whose sums have no rounding error in any order.
    features = np.random.default_rng(0).integers(-9, 9, (*guide.shape[:3], 5)).astype(np.float32)
    cut = features[:, 16 // stride : 40 // stride, 24 // stride : 64 // stride]
    np.testing.assert_array_equal(terms.gram_sums(features, guide[0]), terms.gram_sums(cut))
    assert tf.reduce_sum(guide) == cut[..., 0].size


@pytest.mark.parametrize(
    ("layer", "erosion", "reach"), [("relu1_2", 1, 2), ("relu2_1", 1, 4), ("relu3_1", 0.6, 6)]
)
def test_erosion_equals_plain_loops(layer, erosion, reach):
    masks = np.random.default_rng(0).uniform(0.5, 1, (1, 43, 38, 2)).astype(np.float32)
    masks[:, 30:, :9] = 0
    guide = _in_a_graph(lambda mask: guides.at_layer(mask, layer, erosion))(masks)
    for region in range(2):
        expected = _eroded_in_loops(masks[0, ..., region], vgg_layers.stride(layer), reach)
        np.testing.assert_array_equal(guide[0, ..., region], expected)


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_without_erosion_a_guide_is_the_mean_of_each_cell(layer):
    masks, stride = _partition(1, 43, 38), vgg_layers.stride(layer)
    guide = _in_a_graph(lambda mask: guides.at_layer(mask, layer, 0.0))(masks)
    whole = masks[:, : 43 // stride * stride, : 38 // stride * stride]
    cells = whole.reshape(1, 43 // stride, stride, 38 // stride, stride, 3)
    np.testing.assert_allclose(guide, cells.mean(axis=(2, 4)), rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(guide, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("layer", ["relu1_1", "conv2_2", "relu3_1", "relu4_1"])
def test_inside_features_do_not_see_the_other_region(narrow_weights, layer):
    """And the reach is not much longer than it must be: with half of it, features do see the other one."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:150, 0:140]
    inside = np.hypot(rows - 50, columns - 90) < 85  # cut off by three of the picture's borders
    mask = inside[np.newaxis, ..., np.newaxis].astype(np.float32)
    picture = generator.uniform(0, 1, (1, 150, 140, 3)).astype(np.float32)
    changed = np.where(mask > 0, picture, generator.uniform(0, 1, picture.shape)).astype(np.float32)
    model = vgg19.build([layer], narrow_weights.arrays, pooling="average")
    before, after = (model(vgg19.caffe255(image))[layer].numpy() for image in (picture, changed))
    guide = guides.at_layer(mask, layer, 1.0).numpy()[..., 0]
    # The whole reach is used: the region is large enough.
    expected = _eroded_in_loops(mask[0, ..., 0], vgg_layers.stride(layer), vgg_layers.radius(layer))
    np.testing.assert_array_equal(guide[0], expected)
    assert 0.1 < guide.mean() < 0.9
    atol = 1e-6 * np.abs(before).max()
    np.testing.assert_allclose(after[guide > 0], before[guide > 0], atol=atol)
    loose = guides.at_layer(mask, layer, 0.5).numpy()[..., 0]
    assert np.abs(after - before)[loose > 0].max() > 100 * atol


@given(st.integers(0, 10**6), st.integers(16, 50), st.integers(16, 50), st.floats(0, 2))
@settings(max_examples=30, deadline=None)
def test_no_region_vanishes_or_takes_from_another(seed, height, width, erosion):
    """Regions of any shape, thin ones too, keep a quarter; all of them together have no more than 1."""
    colors = np.random.default_rng(seed).integers(0, 3, (1, height // 3 + 1, width // 3 + 1))
    masks = np.eye(3, dtype=np.float32)[np.kron(colors, np.ones((1, 3, 3), int))[:, :height, :width]]
    for layer in ("relu1_2", "relu3_1", "relu5_1"):
        plain = guides.at_layer(masks, layer, 0.0).numpy()
        eroded = guides.at_layer(masks, layer, erosion).numpy()
        assert np.all(eroded.sum(axis=(0, 1, 2)) >= 0.25 * plain.sum(axis=(0, 1, 2)) - 1e-4)
        assert np.all(eroded <= plain)
        assert eroded.sum(axis=-1).max() <= 1 + 1e-6


def test_a_thin_region_is_eroded_less_than_a_wide_one():
    wide, thin = _rectangle(128, 128, 0, 128, 0, 100), _rectangle(128, 128, 0, 128, 100, 128)
    guide = guides.at_layer(np.concatenate([wide, thin], -1), "relu4_1", 1.0).numpy()
    np.testing.assert_array_equal(guide[0, ..., 0], _eroded_in_loops(wide[0, ..., 0], 8, 30))
    # 28 pixels lose all to a reach of 30; 15 leaves 8 of the 24 that cells lie in whole, or 28 in part.
    np.testing.assert_array_equal(guide[0, ..., 1], _eroded_in_loops(thin[0, ..., 0], 8, 15))


def test_a_lines_guide_is_its_share_of_each_cell():
    line = _rectangle(64, 64, 0, 64, 31, 32)
    for layer in LAYERS:
        guide = guides.at_layer(line, layer, 1.0)
        np.testing.assert_array_equal(guide, guides.at_layer(line, layer, 0.0))
        assert tf.reduce_max(guide) == 1 / vgg_layers.stride(layer)


@pytest.mark.parametrize("pixels", [0, 1, 2, 6, 8, 9])
def test_a_soft_edge_is_a_ramp_of_so_many_pixels(pixels):
    mask = _rectangle(40, 50, 0, 40, 24, 50)
    ramp = _in_a_graph(lambda mask: guides.soft_edge(mask, pixels))(mask).numpy()[0, ..., 0]
    np.testing.assert_array_equal(ramp, np.broadcast_to(ramp[:1], ramp.shape))
    between = np.flatnonzero((ramp[0] > 0) & (ramp[0] < 1))
    half = pixels // 2
    np.testing.assert_array_equal(between, np.arange(24 - half, 24 + half))
    assert np.all(np.diff(ramp[0]) >= 0)
    np.testing.assert_allclose(ramp[0, between] + ramp[0, between[::-1]], 1, atol=1e-6)


@given(SIDES, SIDES, st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_soft_edges_leave_full_and_empty_masks_alone(height, width, pixels):
    ones = np.ones((1, height, width, 1), np.float32)
    np.testing.assert_array_equal(guides.soft_edge(ones, pixels), ones)
    np.testing.assert_array_equal(guides.soft_edge(0 * ones, pixels), 0 * ones)


def test_sizes_may_be_unknown():
    """In graphs that a model server runs: the same values for any size."""

    def whole(mask):
        smaller = guides.resize(mask, tf.shape(mask)[1] // 2, tf.shape(mask)[2] // 2)
        return guides.at_layer(guides.soft_edge(smaller, 4), "relu3_1", 0.5)

    traced = _in_a_graph(whole)
    for size in [(64, 48), (41, 67)]:
        masks = _partition(2, *size)
        np.testing.assert_allclose(traced(masks), whole(tf.constant(masks)), atol=1e-6)
    assert traced.experimental_get_tracing_count() == 1
