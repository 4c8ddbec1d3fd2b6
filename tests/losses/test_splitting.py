"""Feature splitting against NumPy: loss, gradient, places; regions, styles; runs in parts and resumed."""

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import errors
from nst_tf.config import presets
from nst_tf.engine import checkpoints, memory
from nst_tf.losses import objective, splitting
from nst_tf.losses.objective import Masks
from nst_tf.serving import export
from tests import conftest

LAYERS = ("relu1_1", "relu2_2", "relu3_1")
CHANGES: dict[str, Any] = {
    **{"neighbor_layers": LAYERS, "neighbor_weight": 2.0, "neighbor_split": True, "content_weight": 0.0},
    **{"style_layers": (), "style_layer_weights": ()},
}
SEED = tf.constant([3, 0])
SIZE = (100, 130)  # every second place each way at the first layer, whose longest side is 130


def _picture(seed, height=48, width=40):
    return conftest.smooth_picture(seed, height, width)[np.newaxis].astype(np.float32)


def _objective(narrow_weights, **changes):
    return objective.Objective(presets.get("gatys_pytorch", **CHANGES, **changes), narrow_weights, "float32")


def _targets(judge, styles, size=SIZE, **options):
    return judge.targets(None, [tf.constant(style) for style in styles], seed=SEED, split=size, **options)


def _features(judge, image):
    """{layer: [h, w, C]} in double precision."""
    maps = judge._network.maps(tf.constant(image), LAYERS)
    return {layer: each.numpy()[0].astype(np.float64) for layer, each in maps.items()}


def _keys(judge, style, turns=4):
    """{layer: [N, C]} of a style and its rotations, centred, of length 1."""
    turned = [_features(judge, np.rot90(style, turn, (1, 2)).copy()) for turn in range(turns)]
    found = {}
    for layer in LAYERS:
        keys = np.concatenate([each[layer].reshape(-1, each[layer].shape[-1]) for each in turned])
        keys -= keys.mean(0)
        found[layer] = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    return found


def _distances(features, keys):
    """The smallest 1 - cos of every place [h, w] to the keys."""
    centred = features - features.mean((0, 1))
    centred /= np.linalg.norm(centred, axis=-1, keepdims=True)
    return 1 - (centred @ keys.T).max(-1)


def test_the_loss_is_the_smallest_distance_of_the_places_of_a_grid(narrow_weights):
    judge, image, style = _objective(narrow_weights), _picture(1, *SIZE), _picture(2)
    targets = _targets(judge, [style])
    features, keys = _features(judge, image), _keys(judge, style)
    distances = {layer: _distances(features[layer], keys[layer]) for layer in LAYERS}
    rest = distances["relu2_2"].mean() + distances["relu3_1"].mean()  # of 65 places a side: all of them
    expected = {
        offset: 2.0 * (rest + distances["relu1_1"][offset[0] :: 2, offset[1] :: 2].mean())
        for offset in itertools.product((0, 1), repeat=2)
    }
    seen = set()
    for step in range(12):
        losses, _ = judge.value_and_gradient(tf.constant(image), targets, tf.constant(step))
        near = [each for each, value in expected.items() if np.isclose(value, losses.style, rtol=2e-5)]
        assert len(near) == 1
        seen.update(near)
    assert len(seen) == 4, "every place has its turn"
    first = judge.value_and_gradient(tf.constant(image), targets)[0].style
    np.testing.assert_array_equal(judge.evaluate(tf.constant(image), targets).style, first)


def test_the_gradient_by_features_is_numpys_with_that_of_the_mean(narrow_weights):
    judge, style = _objective(narrow_weights), _picture(2)
    split = _targets(judge, [style]).split[0]
    features = _features(judge, _picture(1, 40, 52))
    held = {layer: tf.constant(each[np.newaxis], tf.float32) for layer, each in features.items()}
    split = split._replace(
        layers={
            layer: each._replace(shares=tf.ones([1, *features[layer].shape[:2], 1]))
            for layer, each in split.layers.items()
        }
    )
    with tf.GradientTape() as tape:
        tape.watch(held)
        loss = splitting.distance(held, split, tf.constant(0))
    found = tape.gradient(loss, held)
    keys = _keys(judge, style)
    for layer, each in features.items():
        flat = each.reshape(-1, each.shape[-1])
        centred = flat - flat.mean(0)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        cosines = centred @ keys[layer].T / lengths
        wanted, best = keys[layer][cosines.argmax(1)], cosines.max(1, keepdims=True)
        gradient = -(wanted / lengths - best * centred / lengths**2) / len(flat)
        of_mean = gradient.mean(0)
        gradient -= of_mean  # by way of the mean
        # A place of two keys that are equally near but for rounding may have the other one.
        error = np.linalg.norm(found[layer][0] - gradient.reshape(each.shape)) / np.linalg.norm(gradient)
        assert error < 5e-3
        assert np.linalg.norm(of_mean) * len(flat) ** 0.5 > 10 * error * np.linalg.norm(gradient)


def test_the_gradient_by_the_picture_is_that_of_finite_differences(narrow_weights):
    judge, image = _objective(narrow_weights), _picture(1, *SIZE)
    targets = _targets(judge, [_picture(2)])
    _, gradient = judge.value_and_gradient(tf.constant(image), targets, tf.constant(5))
    direction = gradient.numpy() / np.linalg.norm(gradient)
    step = 1e-4  # with a larger one, places find other keys
    ahead, behind = (
        float(
            judge.value_and_gradient(tf.constant(image + sign * step * direction), targets, tf.constant(5))[
                0
            ].total
        )
        for sign in (1, -1)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), np.linalg.norm(gradient), rtol=1e-2)


def test_a_painting_has_no_more_vectors_than_are_asked_for(narrow_weights):
    judge, style = _objective(narrow_weights, style_vectors=300), _picture(2)
    own = _keys(judge, style)
    one, same = (_targets(judge, [style]).split[0] for _ in range(2))
    for layer in LAYERS:
        found = one.layers[layer].vectors[0].numpy()
        np.testing.assert_array_equal(found, same.layers[layer].vectors[0])
        assert found.shape[1] == min(300, len(own[layer]))
    assert one.layers["relu1_1"].regions == ()


def test_losses_of_several_styles_are_added_by_their_shares(narrow_weights):
    judge, image = _objective(narrow_weights), tf.constant(_picture(1))
    styles = [_picture(2), _picture(4, 36, 52)]
    alone = [float(judge.evaluate(image, _targets(judge, [style], (48, 40))).style) for style in styles]
    both = judge.evaluate(image, _targets(judge, styles, (48, 40), shares=[1.0, 3.0]))
    np.testing.assert_allclose(both.style, 0.25 * alone[0] + 0.75 * alone[1], rtol=1e-4)


def test_a_region_is_compared_with_its_own_part_of_the_painting(narrow_weights):
    judge = _objective(narrow_weights, style_rotations=False)
    image, style = _picture(1, 48, 64), _picture(2, 48, 64)
    left = np.zeros((1, 48, 64, 2), np.float32)
    left[:, :, :32, 0] = left[:, :, 32:, 1] = 1
    masks = Masks(tf.constant(left), (tf.constant(left[:, :, ::-1]),))
    found = judge.evaluate(tf.constant(image), _targets(judge, [style], (48, 64), masks=masks)).style
    features, keys = _features(judge, image), _keys(judge, style, 1)
    expected = 0.0
    for layer in LAYERS:
        height, width, channels = features[layer].shape
        of_places = keys[layer].reshape(height, width, channels)
        halves = [slice(0, width // 2), slice(width // 2, width)]
        parts = [
            (1 - np.einsum("hwc,nc->hwn", _centred(features[layer])[:, own], _flat(of_places[:, theirs])))
            for own, theirs in zip(halves, halves[::-1], strict=True)
        ]
        expected += np.concatenate([part.min(-1) for part in parts], axis=1).mean()
    np.testing.assert_allclose(found, 2.0 * expected, rtol=2e-5)


def _centred(features):
    centred = features - features.mean((0, 1))
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True)


def _flat(keys):
    return keys.reshape(-1, keys.shape[-1])


# The last scale has every second place at relu1_1.
RUN: dict[str, Any] = {
    **{"preset": "nnst", "weights": "random", "size": 136, "steps": (3, 2, 6), "scales": (0.3, 1.0, 1.0)},
    **{"precision": "float32", "neighbor_layers": ("relu1_1", "relu3_1"), "style_vectors": 200},
    "max_memory": "8GiB",
}


@pytest.fixture(name="whole", scope="module")
def _whole():
    return nst_tf.stylize(*_pictures(), **RUN)


def _pictures():
    return [conftest.smooth_picture(seed, 102, 136) for seed in (1, 2)]


@pytest.mark.slow
def test_the_last_scale_lowers_its_own_loss(whole):
    last = [row.style for row in whole.trace if row.scale == 3]
    assert len(last) == 6
    assert min(last[-2:]) < last[0]
    assert whole.losses.content == whole.losses.total_variation == 0
    without = nst_tf.stylize(*_pictures(), **{**RUN, "neighbor_split": False})
    assert np.abs(without.image - whole.image).max() > 1e-3
    other = nst_tf.stylize(*_pictures(), **{**RUN, "seed": 1})
    assert np.abs(other.image - whole.image).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 8])
def test_a_resumed_run_is_the_same(whole, tmp_path, stop):
    path = tmp_path / "a.checkpoint"
    options: dict[str, Any] = {**RUN, "checkpoint": path, "checkpoint_every": 1e-6}
    stopped = nst_tf.stylize(*_pictures(), on_progress=lambda progress: progress.step >= stop, **options)
    assert stopped.outcome == "stopped"
    assert checkpoints.read(path).scale_index == (2 if stop > 5 else 1)
    resumed = nst_tf.stylize(*_pictures(), **options)
    np.testing.assert_array_equal(resumed.image, whole.image)


def test_a_run_stopped_early_has_the_whole_size():
    found = nst_tf.stylize(*_pictures(), on_progress=lambda _: True, **RUN)
    assert found.outcome == "stopped"
    assert found.image.shape == (102, 136, 3)


def test_tiles_are_refused():
    with pytest.raises(
        errors.InputError, match="tile: 512 with neighbor_split; allowed: auto or off"
    ) as caught:
        presets.get("nnst", tile="512")
    assert "\n" not in str(caught.value)
    presets.get("nnst", tile="512", neighbor_split=False)


def test_what_does_not_fit_at_once_is_refused_with_a_size_that_does():
    inputs = memory.Inputs((3000, 4000), [(3000, 4000)])
    chosen = presets.get("nnst", size=4000)
    with pytest.raises(errors.InputError, match=r"largest size that fits is --size=\d+$") as caught:
        memory.fit(chosen, "float32", inputs, limit=8e9)
    size = int(str(caught.value).rpartition("=")[2])
    assert 256 < size < 4000
    assert memory.fit(presets.get("nnst", size=size), "float32", inputs, limit=8e9).memory.tile == "off"


def test_a_server_refuses_it(tmp_path):
    with pytest.raises(errors.InputError, match=r"^neighbor_(split|weight): ") as caught:
        export.export(presets.get("nnst", precision="float32"), tmp_path / "model")
    assert "\n" not in str(caught.value)
