"""Nearest neighbours in a served model: its pictures are the local ones, and its states keep the matches."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf.config import presets
from nst_tf.engine import stylizer
from nst_tf.io import masks, pictures
from nst_tf.serving import codec, export
from nst_tf.serving.settings import KINDS, Limits
from tests import conftest
from tests.support import served

pytestmark = pytest.mark.slow  # of the same code as test_export's, by another objective

# Fewer places than STYLE has with its rotations at the last scale, and more than OTHER_STYLE has.
CONFIG = presets.get(
    served.CONFIG,
    style_statistics="gram_relative",
    style_weight=1e4,
    neighbor_weight=100.0,
    neighbor_layers=("relu1_1", "relu3_1"),
    style_vectors=300,
    convolution="direct",
)
OTHER_STYLE = served.encode(conftest.smooth_picture(7, 20, 60))

# The strings of a state, from its end.
FINGERPRINT, STEP, SCALE, MATCHES = -1, -2, -3, -4


@pytest.fixture(scope="module")
def folder(tmp_path_factory, narrow_weights):
    """The version folder of a small model with neighbours."""
    output = tmp_path_factory.mktemp("models") / "nst"
    return export.export(CONFIG, output, limits=Limits(64 * 64, 1000), vgg_weights=narrow_weights)


@pytest.fixture(scope="module")
def server(folder):
    return served.Server(folder)


def _local(narrow_weights, styles=(served.STYLE,), **changes):
    """Returns a finished local run."""
    images = [pictures.read(served.decode(data), "picture") for data in (served.CONTENT, *styles)]
    run = stylizer.Stylizer(images[0], images[1:], presets.get(CONFIG, **changes), narrow_weights)
    run.run()
    return run


def test_a_served_picture_is_the_local_one(server, narrow_weights):
    run = _local(narrow_weights)
    answer = server("serving_default", served.pictures())
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), pictures.to_uint8(run.picture()))
    np.testing.assert_array_equal(answer["losses"][0], np.array(run.evaluate(), np.float32))
    without = _local(narrow_weights, neighbor_weight=0.0)
    assert np.abs(without.picture() - run.picture()).max() > 0.05


def test_a_request_has_its_own_seed_of_places(server, narrow_weights):
    changes = {"size": 60, "seed": 5}
    run = _local(narrow_weights, steps=7, **changes)
    answer = server("stylize", served.pictures() | served.settings(CONFIG, num_steps=7, **changes))
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), pictures.to_uint8(run.picture()))
    other = server("stylize", served.pictures() | served.settings(CONFIG, num_steps=7, size=60, seed=6))
    assert other["image_bytes"][0] != answer["image_bytes"][0]


def test_pixels_in_and_out(server, narrow_weights):
    content, style = (conftest.smooth_picture(seed, *size) for seed, size in ((5, (40, 44)), (6, (30, 60))))
    run = stylizer.Stylizer(
        content[np.newaxis], [style[np.newaxis]], presets.get(CONFIG, size=0), narrow_weights
    )
    run.run()
    answer = server("stylize_pixels", {"content": content[np.newaxis], "style": style[np.newaxis]})
    np.testing.assert_array_equal(answer["image"][0], run.picture())


@pytest.mark.parametrize("color", ["style", "luminance"])
def test_served_styles_are_blended_as_local_ones(color, server, narrow_weights):
    """Their banks differ in size."""
    styles, weights = (served.STYLE, OTHER_STYLE), (3.0, 7.0)
    run = _local(narrow_weights, styles, style_blend_weights=weights, color=color)
    one, other = (bank.numpy().shape[1] for bank in run._targets.variables.neighbors[0].vectors)
    assert one == 300 > other
    inputs = served.settings(CONFIG) | {
        "content_bytes": np.array([served.CONTENT], object),
        "style_bytes": np.array([styles], object),
        "style_blend_weights": np.array([weights], np.float32),
        "color": np.array([color], object),
    }
    answer = server("stylize_blend", inputs)
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), pictures.to_uint8(run.picture()))
    np.testing.assert_allclose(answer["losses"][0], run.evaluate(), rtol=1e-6)


MASK = np.where(np.arange(64) < 44, 255, 0) * np.ones((48, 1))
LABELS = served.stripes((255, 0, 0), (0, 0, 255))


def test_served_regions_in_parts_are_the_local_ones(server, narrow_weights):
    """Each region has places of its own, of which a part falls in the middle of a scale."""
    images = [
        pictures.read(served.decode(data), "picture") for data in (served.CONTENT, served.STYLE, OTHER_STYLE)
    ]
    sizes = [image.shape[1:3] for image in images]
    files = [Image.fromarray(np.ascontiguousarray(each, np.uint8)) for each in (MASK, LABELS)]
    planned = masks.plan(sizes[0], sizes[1:], files[0], files[1], ["#ff0000", "#0000ff"])
    run = stylizer.Stylizer(images[0], images[1:], CONFIG, narrow_weights, regions=planned)
    run.run()
    state = [b""]
    for steps in (1, 4, 4):
        inputs = served.record(
            (served.STYLE, OTHER_STYLE),
            (1.0, 1.0),
            config=CONFIG,
            mask=served.png(MASK),
            regions=served.png(LABELS),
            style_regions=[b"#ff0000", b"#0000ff"],
            state=state,
            steps_now=steps,
        )
        answer = server("run", inputs)
        state = list(answer["state_bytes"][0])
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), pictures.to_uint8(run.picture()))
    np.testing.assert_allclose(answer["losses"][0], run.evaluate(), rtol=1e-6)


def _with_a_corner(size):
    """Returns a label picture of red with a corner of blue, which is one of the cells at 64 pixels."""
    labels = np.full((*size, 3), (255, 0, 0), np.uint8)
    labels[:5, :5] = (0, 0, 255)
    return labels


# Of which nothing of that corner of STYLE is drawn at 64 pixels, where four of 704 cells show it.
SEED = 8


@pytest.mark.parametrize("styles", [(served.STYLE,), (served.STYLE, OTHER_STYLE)])
def test_a_region_of_which_nothing_was_drawn_is_left_out_as_locally(styles, server, narrow_weights):
    """By the only style, so that its places are matched to nothing, or by one of two."""
    images = [pictures.read(served.decode(data), "picture") for data in (served.CONTENT, *styles)]
    sizes = [image.shape[1:3] for image in images]
    labels = [LABELS, *map(_with_a_corner, sizes[1:])]
    files = [Image.fromarray(np.ascontiguousarray(each)) for each in labels]
    planned = masks.plan(sizes[0], sizes[1:], None, files[0], files[1:])
    changes: dict[str, Any] = {"size": 64, "seed": SEED}
    run = stylizer.Stylizer(
        images[0], images[1:], presets.get(CONFIG, **changes), narrow_weights, regions=planned
    )
    run.run()
    shares = run._targets.variables.neighbors[0].shares.numpy()[0, 0]
    np.testing.assert_array_equal(shares[[0, -1]], [[0.5, 0.5], [0, 1]] if len(styles) > 1 else [[1], [0]])
    answer = server(
        "run",
        served.record(
            styles,
            [1.0] * len(styles),
            config=CONFIG,
            regions=served.png(labels[0]),
            style_regions=[*map(served.png, labels[1:])],
            **changes,
        ),
    )
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), pictures.to_uint8(run.picture()))
    np.testing.assert_allclose(answer["losses"][0], run.evaluate(), rtol=1e-6)


def _advance(server, run, state, steps):
    return server("advance", run | {"state_bytes": state, "steps_now": np.array([steps], np.int32)})


@pytest.mark.parametrize("calls", [[9], [1, 2, 6], [4, 1, 1, 100]])
def test_a_run_in_parts_is_the_whole_run(server, calls):
    """With parts that end within a scale and at its end."""
    run = served.pictures() | served.settings(CONFIG)
    whole, answer = server("stylize", run), server("start", run)
    for steps in calls:
        answer = _advance(server, run, answer["state_bytes"], steps)
    assert answer["preview_bytes"][0] == whole["image_bytes"][0]
    np.testing.assert_array_equal(answer["losses"], whole["losses"])


@pytest.fixture(scope="module")
def begun(server):
    """A request and the strings of its state within the second scale."""
    run = served.pictures() | served.settings(CONFIG)
    started = server("start", run)["state_bytes"]
    return run, list(_advance(server, run, started, 5)["state_bytes"][0])


def _forged(folder, run, texts, index):
    """Returns a state with another index of matches, signed by what anybody can know of the model."""
    description = json.loads((folder / "assets.extra" / "nst_tf.json").read_text())
    known = json.dumps([description["config"], description["weights"]]).encode()
    own = [hashlib.sha256(known).hexdigest()] + [run[name][0] for name in ("content_bytes", "style_bytes")]
    own += [tf.io.serialize_tensor(tf.constant(run[name][0])) for name in KINDS]
    owner = codec.fingerprint([tf.constant(each) for each in own])
    changed = [tf.constant(text) for text in texts[:FINGERPRINT]]
    changed[MATCHES - FINGERPRINT] = tf.io.serialize_tensor(tf.constant(index, tf.int32))
    signed = [*changed, codec.fingerprint([owner, *changed])]
    return np.array([[each.numpy() for each in signed]], object)


def _matches(texts):
    """Returns the index of matches in a state's strings."""
    return tf.io.parse_tensor(texts[MATCHES], tf.int32).numpy()


def test_a_state_holds_the_matches_and_steps_follow_them(folder, server, begun):
    run, texts = begun
    index = _matches(texts)
    assert index.shape == (1, 4, 6, 1)  # 18 x 24 pixels have so many whole cells
    steps = tuple(int(tf.io.parse_tensor(texts[part], tf.int32)) for part in (SCALE, STEP))
    assert steps == (1, 1)
    same = _advance(server, run, _forged(folder, run, texts, index), 1)
    own = _advance(server, run, np.array([texts], object), 1)
    assert same["preview_bytes"][0] == own["preview_bytes"][0]
    other = _advance(server, run, _forged(folder, run, texts, np.zeros_like(index)), 1)
    assert other["losses"][0, 2] != own["losses"][0, 2]


def test_a_forged_index_of_matches_is_refused(folder, server, begun):
    run, texts = begun
    index = _matches(texts)
    number = 4 * 6 * 4  # four rotations of the cells of 24 x 17 pixels
    for wrong, message in (
        (-1, "numbers that no run makes"),
        (number, "places that style picture 1 does not have"),
    ):
        forged = index.copy()
        forged[0, 1, 2, 0] = wrong
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"state_bytes: .*{message}"):
            _advance(server, run, _forged(folder, run, texts, forged), 1)
    forged[0, 1, 2, 0] = number - 1
    _advance(server, run, _forged(folder, run, texts, forged), 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="state_bytes"):
        _advance(server, run, _forged(folder, run, texts, index[:, 1:]), 1)
