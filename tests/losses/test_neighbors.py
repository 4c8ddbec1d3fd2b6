"""Nearest neighbours against NumPy: matches, loss, gradient; tiles, regions, styles, a resumed run."""

from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import nst_tf
from nst_tf.config import presets
from nst_tf.engine import checkpoints
from nst_tf.losses import neighbors, objective
from nst_tf.losses.objective import Masks
from tests import conftest

LAYERS = ("relu1_1", "relu2_2", "relu3_1", "relu4_2")
STRIDES = {"relu1_1": 1, "relu2_2": 2, "relu3_1": 4, "relu4_2": 8}
CHANGES: dict[str, Any] = {"neighbor_layers": LAYERS, "neighbor_weight": 1.0, "content_weight": 0.0}
SEED = tf.constant([3, 0])


def _picture(seed, height=44, width=60):
    return conftest.smooth_picture(seed, height, width)[np.newaxis].astype(np.float32)


def _objective(narrow_weights, tile=0, **changes):
    config = presets.get("gatys_pytorch", **CHANGES, **changes)
    # Gram matrices apart: the loss is the neighbours' alone.
    config = config.replace(style_layers=("relu1_1",), style_layer_weights=(0.0,))
    return objective.Objective(config, narrow_weights, "float32", tile)


def _to_grid(stride, rows, columns):
    """Matrices (A, B) with which a map [rows, columns] of a layer is A map B^T on the grid of cells."""
    return (
        _means(side, 4 // stride) if stride < 4 else _linear(side, stride // 4) for side in (rows, columns)
    )


def _means(side, factor):
    return np.repeat(np.eye(side // factor), factor, axis=1)[:, : side // factor * factor] / factor


def _linear(side, factor):
    """Linear interpolation between the middles of places, the first and the last beyond."""
    at = np.clip((np.arange(side * factor) + 0.5) / factor - 0.5, 0, side - 1)
    low = np.minimum(at.astype(int), side - 1)
    matrix = np.zeros((side * factor, side))
    matrix[np.arange(side * factor), low] += 1 - (at - low)
    matrix[np.arange(side * factor), np.minimum(low + 1, side - 1)] += at - low
    return matrix


def _columns(judge, image):
    """Hypercolumns by NumPy from the network's features, [h, w, C]."""
    parts = []
    for layer, features in judge._network.maps(tf.constant(image), LAYERS).items():
        part = features.numpy()[0].astype(np.float64) / features.shape[-1]
        if STRIDES[layer] < 4:
            side = 4 // STRIDES[layer]
            part = part[: part.shape[0] // side * side, : part.shape[1] // side * side]
        down, across = _to_grid(STRIDES[layer], *part.shape[:2])
        parts.append(np.einsum("hi,wj,ijc->hwc", down, across, part))
    rows, columns = (min(part.shape[axis] for part in parts) for axis in (0, 1))
    return np.concatenate([part[:rows, :columns] for part in parts], axis=-1)


def _nearest(queries, keys):
    """Indices of the keys [N, C] nearest to the queries [M, C], each set centred."""
    queries, keys = queries - queries.mean(0), keys - keys.mean(0)
    cosines = queries @ keys.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(keys, axis=1)
    return cosines.argmax(1)


def _targets(judge, styles, query, **options):
    return judge.targets(
        None, [tf.constant(s) for s in styles], query=tf.constant(query), seed=SEED, **options
    )


@pytest.mark.parametrize("rotations", [False, True])
def test_every_place_is_matched_to_the_nearest_in_the_painting(narrow_weights, rotations):
    judge = _objective(narrow_weights, style_rotations=rotations)
    query, style = _picture(1), _picture(2, 36, 52)
    (matches,) = _targets(judge, [style], query).neighbors
    turned = [np.rot90(style, turn, (1, 2)) for turn in range(4 if rotations else 1)]
    keys = np.concatenate([_columns(judge, each.copy()).reshape(-1, 22) for each in turned])
    wanted = _columns(judge, query)
    assert wanted.shape[:2] == (10, 14)  # whole cells of the deepest layer: 44 x 60 pixels have 5 x 7 of them
    expected = keys[_nearest(wanted.reshape(-1, 22), keys)]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    (vectors,) = matches.vectors
    assert vectors.shape == (1, len(keys), 1, 22)  # all of them: there are fewer than are drawn
    found = vectors.numpy()[0, :, 0][matches.index.numpy().ravel()]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def _loss_and_gradient(columns, wanted):
    """Mean of 1 - cos over cells, and its gradient by the columns [M, C]; wanted are of length 1."""
    lengths = np.linalg.norm(columns, axis=1, keepdims=True)
    cosines = (columns * wanted).sum(1, keepdims=True) / lengths
    gradient = -(wanted / lengths - cosines * columns / lengths**2) / len(columns)
    return (1 - cosines).mean(), gradient


def test_the_loss_and_its_gradient_by_features_are_numpys():
    generator = np.random.default_rng(0)
    features = {
        layer: generator.random((1, 16 // stride, 24 // stride, 3 + stride)).astype(np.float32)
        for layer, stride in STRIDES.items()
    }
    vectors = generator.normal(size=(9, sum(each.shape[-1] for each in features.values())))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = generator.integers(0, 9, (1, 4, 6, 1))
    matches = neighbors.Matches(
        (tf.constant(vectors[None, :, None], tf.float32),),
        tf.constant(index, tf.int32),
        tf.ones([1, 4, 6, 1]),
    )
    with tf.GradientTape() as tape:
        held = {layer: tf.constant(each) for layer, each in features.items()}
        tape.watch(held)
        made = neighbors.hypercolumns(held, LAYERS)
        loss = neighbors.distance_sum(made, neighbors.wanted(matches)) / 24
    gradients = tape.gradient(loss, held)
    columns = made.numpy()[0].reshape(24, -1)
    expected, by_columns = _loss_and_gradient(columns.astype(np.float64), vectors[index.ravel()])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    begin = 0
    for layer, stride in STRIDES.items():
        count = features[layer].shape[-1]
        part = by_columns.reshape(4, 6, -1)[..., begin : begin + count] / count
        begin += count
        down, across = _to_grid(stride, *features[layer].shape[1:3])
        part = np.einsum("hi,wj,hwc->ijc", down, across, part)
        np.testing.assert_allclose(gradients[layer][0], part, rtol=1e-4, atol=1e-8)


def test_what_several_styles_want_is_one_map():
    """Each of them has its own bank, and counts as its share of a cell says."""
    generator = np.random.default_rng(1)
    columns, numbers = generator.normal(size=(15, 6)), (7, 4)
    banks = [generator.normal(size=(number, 6)) for number in numbers]
    banks = [bank / np.linalg.norm(bank, axis=1, keepdims=True) for bank in banks]
    index = np.stack([generator.integers(0, number, 15) for number in numbers], axis=-1)
    shares = generator.random((15, 2))
    expected, by_columns = 0.0, np.zeros_like(columns)
    for cell in range(15):
        for style, bank in enumerate(banks):
            loss, gradient = _loss_and_gradient(columns[cell : cell + 1], bank[index[cell : cell + 1, style]])
            expected += shares[cell, style] * loss
            by_columns[cell] += shares[cell, style] * gradient[0]
    matches = neighbors.Matches(
        tuple(tf.constant(bank[None, :, None], tf.float32) for bank in banks),
        tf.constant(index.reshape(1, 3, 5, 2), tf.int32),
        tf.constant(shares.reshape(1, 3, 5, 2), tf.float32),
    )
    held = tf.constant(columns.reshape(1, 3, 5, 6), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(held)
        found = neighbors.distance_sum(held, neighbors.wanted(matches))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(found, held)[0], by_columns.reshape(3, 5, 6), atol=1e-6)


@pytest.mark.parametrize("tile", [0, pytest.param(32, marks=pytest.mark.slow)])
def test_targets_prepared_for_several_steps_are_the_same(narrow_weights, tile):
    judge, image = _objective(narrow_weights, tile), tf.constant(_picture(1))
    targets = _targets(judge, [_picture(2), _picture(4)], _picture(3), shares=[1.0, 3.0])
    prepared = judge.prepared(targets)
    # In tiles a map of hypercolumns of the whole picture would take too much memory.
    assert isinstance(prepared.neighbors[0], neighbors.Matches if tile else neighbors.Wanted)
    for one, other in zip(
        *(judge.value_and_gradient(image, each) for each in (targets, prepared)), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * np.abs(one).max())


def test_the_gradient_by_the_picture_is_that_of_finite_differences(narrow_weights):
    judge, image = _objective(narrow_weights), _picture(1)
    targets = _targets(judge, [_picture(2)], _picture(3))
    _, gradient = judge.value_and_gradient(tf.constant(image), targets)
    direction = gradient.numpy() / np.linalg.norm(gradient)
    step = 5e-4
    ahead, behind = (
        float(judge.value_and_gradient(tf.constant(image + sign * step * direction), targets)[0].total)
        for sign in (1, -1)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), np.linalg.norm(gradient), rtol=2e-2)


@pytest.mark.parametrize("size", [pytest.param((96, 128), marks=pytest.mark.slow), (90, 71)])
def test_tiles_are_exact(narrow_weights, size):
    image, style, query = _picture(1, *size), _picture(2, 100, 76), _picture(3, *size)
    found = []
    for tile in (0, 32):
        judge = _objective(narrow_weights, tile)
        targets = _targets(judge, [style], query)
        values, gradient = judge.value_and_gradient(tf.constant(image), targets)
        found.append((targets.neighbors[0], np.array(values), gradient.numpy()))
    (whole, values, gradient), (tiled, *of_tiles) = found
    np.testing.assert_allclose(tiled.vectors[0], whole.vectors[0], atol=1e-5)
    assert np.mean(tiled.index.numpy() != whole.index.numpy()) < 0.01  # but for ties within rounding
    np.testing.assert_allclose(of_tiles[0], values, rtol=1e-5)
    assert np.linalg.norm(of_tiles[1] - gradient) <= 1e-5 * np.linalg.norm(gradient)


def test_banks_are_drawn_by_the_seed_without_repetition(narrow_weights):
    judge = _objective(narrow_weights, style_vectors=40)
    style, query = _picture(2), _picture(1)
    one, same, other = (
        judge.targets(None, [tf.constant(style)], query=tf.constant(query), seed=tf.constant([seed, 0]))
        .neighbors[0]
        .vectors[0]
        .numpy()[0, :, 0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert one.shape == (40, 22)
    assert len(np.unique(one.round(6), axis=0)) == 40
    assert np.abs(one - other).max() > 1e-3


def test_a_region_is_matched_to_its_own_part_of_the_painting(narrow_weights):
    judge = _objective(narrow_weights, style_rotations=False)
    query, style = _picture(1, 48, 64), _picture(2, 48, 64)
    left = np.zeros((1, 48, 64, 2), np.float32)
    left[:, :, :32, 0] = left[:, :, 32:, 1] = 1
    targets = _targets(
        judge, [style], query, masks=Masks(tf.constant(left), (tf.constant(left[:, :, ::-1]),))
    )
    (matches,) = targets.neighbors
    columns = _columns(judge, style).reshape(12, 16, 22)
    columns /= np.linalg.norm(columns, axis=-1, keepdims=True)
    found = matches.vectors[0].numpy()[0, :, 0][matches.index.numpy()[0, ..., 0]]
    for own, theirs in ((slice(0, 8), slice(8, 16)), (slice(8, 16), slice(0, 8))):
        distances = np.linalg.norm(
            found[:, own].reshape(-1, 1, 22) - columns[:, theirs].reshape(1, -1, 22), axis=-1
        )
        assert distances.min(1).max() < 1e-4
    np.testing.assert_allclose(matches.shares, np.ones((1, 12, 16, 1)), atol=1e-6)


def test_a_region_of_dots_is_matched_to_the_cells_that_have_them(narrow_weights):
    judge = _objective(narrow_weights, style_rotations=False)
    query, style = _picture(1, 48, 64), _picture(2, 48, 64)
    own, theirs = np.zeros((1, 48, 64, 2), np.float32), np.zeros((1, 48, 64, 2), np.float32)
    own[..., :32, 0] = own[..., 32:, 1] = 1
    theirs[:, ::16, ::16, 1] = 1  # one pixel of sixteen in a cell
    theirs[..., 0] = 1 - theirs[..., 1]
    masks = Masks(tf.constant(own), (tf.constant(theirs),))
    (matches,) = _targets(judge, [style], query, masks=masks).neighbors
    found = matches.vectors[0].numpy()[0, :, 0][matches.index.numpy()[0, :, 8:, 0]].reshape(-1, 22)
    columns = _columns(judge, style)[::4, ::4].reshape(-1, 22)
    columns /= np.linalg.norm(columns, axis=-1, keepdims=True)
    assert np.linalg.norm(found[:, np.newaxis] - columns, axis=-1).min(1).max() < 1e-4


def test_a_style_with_nothing_in_whole_cells_counts_nowhere(narrow_weights):
    judge = _objective(narrow_weights, style_rotations=False)
    query, styles = _picture(1, 48, 64), [_picture(2, 50, 66), _picture(3, 50, 66)]
    edge, all_ = np.zeros((1, 50, 66, 1), np.float32), np.ones((1, 50, 66, 1), np.float32)
    edge[:, 48:, 64:] = 1  # beyond the last cell
    whole = tf.ones([1, 48, 64, 1])
    for masks, expected in (((edge, edge), (0, 0)), ((edge, all_), (0, 1)), ((all_, all_), (0.5, 0.5))):
        (matches,) = _targets(
            judge, styles, query, masks=Masks(whole, tuple(map(tf.constant, masks)))
        ).neighbors
        np.testing.assert_allclose(matches.shares, np.broadcast_to(expected, (1, 12, 16, 2)), atol=1e-6)


def test_losses_of_several_styles_are_added_by_their_shares(narrow_weights):
    judge, image = _objective(narrow_weights), tf.constant(_picture(1))
    styles, query = [_picture(2), _picture(4)], _picture(3)
    alone = [float(judge.evaluate(image, _targets(judge, [style], query)).style) for style in styles]
    # The bank of the second is drawn by another seed, but has all of its places.
    both = judge.evaluate(image, _targets(judge, styles, query, shares=[1.0, 3.0]))
    np.testing.assert_allclose(both.style, 0.25 * alone[0] + 0.75 * alone[1], rtol=1e-4)


RUN: dict[str, Any] = {
    **{"weights": "random", "size": 64, "steps": (4, 6), "scales": (0.5, 1.0), "precision": "float32"},
    **{"neighbor_weight": 1e4, "neighbor_layers": ("relu1_1", "relu3_1"), **conftest.SHALLOW},
}


@pytest.mark.slow
def test_a_run_matches_anew_at_each_scale_and_in_bfloat16_too():
    content, style = (conftest.smooth_picture(seed, 48, 64) for seed in (1, 2))
    result = nst_tf.stylize(content, style, **RUN)
    without = nst_tf.stylize(content, style, **{**RUN, "neighbor_weight": 0.0})
    assert np.abs(result.image - without.image).max() > 1e-3
    last = [row.total for row in result.trace if row.scale == 2]
    assert last[-1] < last[0]
    rounded = nst_tf.stylize(content, style, **{**RUN, "precision": "bfloat16"})
    assert np.abs(rounded.image - result.image).mean() < 0.05


def test_a_resumed_run_does_not_match_anew(tmp_path):
    content, style = (conftest.smooth_picture(seed, 48, 64) for seed in (1, 2))
    whole = nst_tf.stylize(content, style, **RUN)
    path = tmp_path / "a.checkpoint"
    options: dict[str, Any] = {**RUN, "checkpoint": path, "checkpoint_every": 1e-6}
    stopped = nst_tf.stylize(content, style, on_progress=lambda progress: progress.step >= 7, **options)
    assert stopped.outcome == "stopped"
    assert checkpoints.read(path).scale_index == 1
    resumed = nst_tf.stylize(content, style, **options)
    np.testing.assert_array_equal(resumed.image, whole.image)


@pytest.mark.parametrize("value", [-1, 2**31 - 1])
def test_matches_of_places_that_a_bank_lacks_are_refused(tmp_path, value):
    content, style = (conftest.smooth_picture(seed, 48, 64) for seed in (1, 2))
    options: dict[str, Any] = {**RUN, "checkpoint": tmp_path / "a.checkpoint"}
    nst_tf.stylize(content, style, on_progress=lambda progress: progress.step >= 3, **options)
    with safetensors.safe_open(options["checkpoint"], framework="np") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    tensors["matches"][0, -1, -1, 0] = value
    safetensors.numpy.save_file(tensors, options["checkpoint"], metadata)
    with pytest.raises(nst_tf.InputError, match=r"^checkpoint: .* numbers that no run makes"):
        nst_tf.stylize(content, style, **options)


def test_a_search_in_bfloat16_finds_places_as_near():
    rng = np.random.default_rng(5)
    columns = tf.nn.relu(tf.constant(rng.normal(size=(2000, 60)), tf.float32))
    queries = tf.nn.relu(tf.constant(rng.normal(size=(1, 10, 12, 60)), tf.float32))
    bank = neighbors.Bank(columns, tf.zeros([2000], tf.int32))
    regions, mean = tf.zeros([1, 10, 12, 1], tf.int32), tf.reduce_mean(queries, [0, 1, 2])
    exact, rounded = (neighbors.search_keys(bank, dtype) for dtype in (tf.float32, tf.bfloat16))
    centred = neighbors.unit(queries - mean)

    def cosines(keys):
        found = neighbors.nearest(queries, regions, mean, keys)[..., 0]
        return tf.reduce_sum(centred * tf.gather(exact.columns, found), axis=-1).numpy()

    assert (cosines(exact) >= cosines(rounded)).all()
    # Two roundings of relative 2^-9 each.
    np.testing.assert_allclose(cosines(rounded), cosines(exact), rtol=2**-7)


def test_the_gradient_of_cosines_is_tensorflows():
    rng = np.random.default_rng(6)
    columns = tf.constant(rng.normal(size=(1, 3, 4, 5)), tf.float32)
    columns *= tf.constant(rng.uniform(size=(1, 3, 4, 1)) > 0.2, tf.float32)  # some without any feature
    wanted = neighbors.Wanted(tf.constant(rng.normal(size=(1, 3, 4, 5)), tf.float32), tf.ones([1, 3, 4, 1]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(columns)
        found = 3.0 * neighbors.distance_sum(columns, wanted)
        plain = 3.0 * tf.reduce_sum(1.0 - tf.reduce_sum(neighbors.unit(columns) * wanted.columns, axis=-1))
    np.testing.assert_allclose(found, plain, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(found, columns), tape.gradient(plain, columns), rtol=1e-5)
