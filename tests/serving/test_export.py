"""The exported model, restored and run the way a model server does it."""

import concurrent.futures
import functools
import json
import os
import re
import subprocess
import sys
import time
from typing import Any

import hypothesis
import hypothesis.strategies
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

import nst_tf
from nst_tf import errors
from nst_tf.config import presets
from nst_tf.config.settings import COLORS
from nst_tf.engine import stylizer
from nst_tf.io import masks, pictures
from nst_tf.serving import check, export, interface, signatures
from nst_tf.serving.settings import Limits
from tests import conftest
from tests.support import asserted, command, served

LIMITS = Limits(64 * 64, 100_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, narrow_weights):
    """The version folder of a small model."""
    output = tmp_path_factory.mktemp("models") / "nst"
    return export.export(served.CONFIG, output, limits=LIMITS, vgg_weights=narrow_weights)


@pytest.fixture(scope="module")
def server(folder):
    return served.Server(folder)


def _local(config, narrow_weights, content=served.CONTENT, style=served.STYLE):
    """Returns the finished picture and its losses by the command line's own way."""
    images = [pictures.read(served.decode(data), "picture") for data in (content, style)]
    run = stylizer.Stylizer(images[0], [images[1]], config, narrow_weights)
    run.run()
    return pictures.to_uint8(run.picture()), np.array(run.evaluate())


def test_a_served_picture_is_the_local_one(server, narrow_weights):
    picture, losses = _local(served.CONFIG, narrow_weights)
    answer = server("serving_default", served.pictures())
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), picture)
    np.testing.assert_array_equal(answer["losses"][0], losses.astype(np.float32))
    same = server("stylize", served.pictures() | served.settings())
    assert same["image_bytes"][0] == answer["image_bytes"][0]


OTHER_STYLE = served.encode(conftest.smooth_picture(7, 40, 60))


def _blend(styles=(served.STYLE, OTHER_STYLE), weights=(3.0, 7.0), color="style", **changes):
    """Returns the inputs of `stylize_blend` for one item."""
    return served.settings(**changes) | {
        "content_bytes": np.array([served.CONTENT], object),
        "style_bytes": np.array([styles], object),
        "style_blend_weights": np.array([weights], np.float32),
        "color": np.array([color], object),
    }


@pytest.mark.parametrize(
    "color",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("style", "match", "luminance", "statistics"))],
)
def test_served_styles_are_blended_as_local_ones(color, server, narrow_weights):
    changes = {"style_blend_weights": (3.0, 7.0), "color": color}
    images = [
        pictures.read(served.decode(data), "picture") for data in (served.CONTENT, served.STYLE, OTHER_STYLE)
    ]
    run = stylizer.Stylizer(images[0], images[1:], presets.get(served.CONFIG, **changes), narrow_weights)
    run.run()
    answer = server("stylize_blend", _blend(color=color))
    np.testing.assert_array_equal(
        served.decode(answer["image_bytes"][0]).astype(int), pictures.to_uint8(run.picture())
    )
    np.testing.assert_allclose(answer["losses"][0], run.evaluate(), rtol=1e-6)


@pytest.mark.parametrize("own", COLORS)
def test_without_a_name_the_colours_are_the_models_own(own):
    for name in COLORS:
        assert COLORS[int(signatures._index(tf.constant(name), "color", COLORS, own))] == name
    assert COLORS[int(signatures._index(tf.constant(""), "color", COLORS, own))] == own


@pytest.mark.slow
def test_of_a_blend_only_the_colours_may_be_asked_for(server):
    answer = server("stylize_blend", _blend(color="only"))
    images = [served.decode(data) for data in (served.CONTENT, served.STYLE, OTHER_STYLE)]
    expected = nst_tf.stylize(
        images[0], images[1:], preset=served.CONFIG, color="only", style_blend_weights=(3, 7)
    )
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), pictures.to_uint8(expected.image))
    np.testing.assert_array_equal(answer["losses"], np.zeros([1, 4]))


MASK = np.where(np.arange(64) < 44, 255, 0) * np.ones((48, 1))
LABELS = served.stripes((255, 0, 0), (0, 0, 255), (0, 0, 0))
RED_AND_BLUE = served.stripes((255, 0, 0), (0, 0, 255), size=(70, 50))


def _local_run(narrow_weights, mask=None, regions=None, style_regions=None, **changes):
    """Returns a finished run of both styles with regions."""
    images = [
        pictures.read(served.decode(data), "picture") for data in (served.CONTENT, served.STYLE, OTHER_STYLE)
    ]
    sizes = [image.shape[1:3] for image in images]
    files = [None if each is None else Image.fromarray(each.astype(np.uint8)) for each in (mask, regions)]
    planned = masks.plan(sizes[0], sizes[1:], files[0], files[1], style_regions)
    changes |= {"style_blend_weights": (3.0, 7.0)}
    chosen = presets.get(served.CONFIG, **changes)
    run = stylizer.Stylizer(images[0], images[1:], chosen, narrow_weights, regions=planned)
    run.run()
    return run


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        pytest.param({}, {}, marks=pytest.mark.slow),
        pytest.param({"mask": MASK}, {"color": "match"}, marks=pytest.mark.slow),
        pytest.param({"mask": MASK[::2, ::2]}, {"outside": "free"}, marks=pytest.mark.slow),
        (
            {"mask": MASK, "regions": LABELS, "style_regions": (RED_AND_BLUE, b"#0000ff")},
            {"color": "luminance"},
        ),
    ],
)
def test_served_regions_and_styles_in_parts_are_the_local_ones(given, changes, server, narrow_weights):
    local = dict(given)
    if "style_regions" in given:
        local["style_regions"] = [Image.fromarray(np.ascontiguousarray(RED_AND_BLUE)), "#0000ff"]
    run = _local_run(narrow_weights, **local, **changes)
    pixels = {name: value for name, value in given.items() if name != "style_regions"}
    files: dict[str, Any] = {name: served.png(value) for name, value in pixels.items()}
    if "style_regions" in given:
        files["style_regions"] = [served.png(RED_AND_BLUE), b"#0000ff"]
    state, done = [b""], 0
    for steps in (1, 3, 5):
        inputs = served.record((served.STYLE, OTHER_STYLE), (3.0, 7.0), **files, **changes)
        inputs |= {"state_bytes": np.array([state], object), "steps_now": np.array([steps], np.int32)}
        answer = server("run", inputs)
        state, done = list(answer["state_bytes"][0]), done + steps
        assert list(answer["steps_done"]) == [done]
    assert state == [b""] * len(state), "no steps are left"
    picture = served.decode(answer["image_bytes"][0])
    np.testing.assert_array_equal(picture, pictures.to_uint8(run.picture()))
    np.testing.assert_allclose(answer["losses"][0], run.evaluate(), rtol=1e-6)
    whole = _local_run(narrow_weights).picture() if given else run.picture()
    assert (np.abs(whole - run.picture()).max() > 0.1) == bool(given)


def test_a_whole_record_at_once_is_stylize(server):
    alone = server("stylize", served.pictures() | served.settings())
    answer = server("run", served.record((b"no picture", served.STYLE), (0.0, 2.0)))
    assert answer["image_bytes"][0] == alone["image_bytes"][0]
    assert list(answer["steps_done"]) == [9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": served.CONTENT[:200]}, "content_mask: the file was cut short"),
        ({"mask": served.png(0 * MASK)}, "content_mask: black everywhere"),
        ({"regions": served.png(LABELS)}, "style_regions: 0 for 1 styles; allowed: one for each with"),
        ({"style_regions": [b"#ff0000", b""]}, "style_regions_bytes: 2 for 1 style pictures"),
        ({"outside": "none"}, "outside: none; allowed: keep, free, or an empty one"),
        (
            {"mask": served.png(MASK), "color": "only"},
            "color: only; allowed with a mask or regions: one that",
        ),
        ({"steps_now": -1}, "steps_now: -1; allowed: 1 and above, or 0 for all that are left"),
        ({"state": (b"", b"1")}, "state_bytes: 2 strings; allowed: the "),
        (
            {"styles": (served.STYLE, served.STYLE[:9]), "weights": (1.0, 1.0)},
            "style 2: the file was cut short, after 9 bytes",
        ),
        (
            {"styles": (served.STYLE, served.STYLE, b"GIF"), "weights": (1.0, 0.0, 1.0)},
            "style 3: not a PNG or JPEG",
        ),
    ],
)
def test_what_a_record_may_not_ask_for(changes, message, server):
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        server("run", served.record(**changes))


def test_a_style_without_weight_is_not_looked_at(server):
    alone = server("stylize", served.pictures() | served.settings())
    blended = server("stylize_blend", _blend((served.STYLE, b"no picture", b""), (2.0, 0.0, 0.0)))
    assert blended["image_bytes"][0] == alone["image_bytes"][0]
    np.testing.assert_array_equal(blended["losses"], alone["losses"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": (0.0, 0.0)}, "style_blend_weights: 0, 0; allowed: finite and not negative, of which 1"),
        ({"weights": (1.0, -1.0)}, "style_blend_weights: 1, -1"),
        ({"weights": (1.0, np.nan)}, "style_blend_weights: 1, nan"),
        ({"styles": (served.STYLE,) * 17, "weights": (1.0,) * 17}, "of which 1 to 16"),
        ({"weights": (1.0,)}, "style_blend_weights: 1 for 2 style pictures; allowed: one for each"),
        ({"color": "blue"}, "color: blue; allowed: style, luminance, statistics, only, match, or an empty"),
        ({"styles": (served.STYLE, b"x")}, "style 2: not a PNG or JPEG"),
        ({"color": "only", "size": -1}, "size: -1"),
    ],
)
def test_what_a_blend_may_not_ask_for(changes, message, server):
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        server("stylize_blend", _blend(**changes))


def test_a_request_has_its_own_settings(server, narrow_weights):
    changes = {"size": 40, "content_weight": 0.0, "total_variation_weight": 0.5, "seed": 5}
    config = presets.get(served.CONFIG, steps=7, **changes)
    picture, losses = _local(config, narrow_weights)
    answer = server("stylize", served.pictures() | served.settings(num_steps=7, **changes))
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), picture)
    np.testing.assert_array_equal(answer["losses"][0], losses.astype(np.float32))


def test_size_0_keeps_the_photographs_own(server, narrow_weights):
    content = served.encode(conftest.smooth_picture(4, 36, 52), "JPEG", quality=90)
    picture, _ = _local(presets.get(served.CONFIG, size=0), narrow_weights, content)
    answer = server("stylize", served.pictures(content) | served.settings(size=0))
    assert picture.shape == (36, 52, 3)
    np.testing.assert_array_equal(served.decode(answer["image_bytes"][0]), picture)


def test_pixels_in_and_out(server, narrow_weights):
    content, style = conftest.smooth_picture(5, 40, 44), conftest.smooth_picture(6, 30, 60)
    run = stylizer.Stylizer(
        content[np.newaxis], [style[np.newaxis]], presets.get(served.CONFIG, size=0), narrow_weights
    )
    run.run()
    answer = server("stylize_pixels", {"content": content[np.newaxis], "style": style[np.newaxis]})
    np.testing.assert_array_equal(answer["image"][0], run.picture())


def test_the_smallest_photograph_is_painted_in_one_step(server):
    """By the signatures without settings: for warm-up, and for probes."""
    content = served.encode(conftest.smooth_picture(8, 4, 4))
    once = server("stylize", served.pictures(content) | served.settings(num_steps=1, size=0))
    answer = server("serving_default", served.pictures(content))
    assert answer["image_bytes"][0] == once["image_bytes"][0]
    np.testing.assert_array_equal(answer["losses"], once["losses"])
    wide = server("serving_default", served.pictures(served.encode(conftest.smooth_picture(8, 4, 5))))
    assert served.decode(wide["image_bytes"][0]).shape == (38, 48, 3)


def test_the_items_of_a_batch_are_worked_on_apart(server):
    other = served.encode(conftest.smooth_picture(7, 60, 40))
    one = server("stylize", served.pictures() | served.settings())
    two = server("stylize", served.pictures(other, served.CONTENT) | served.settings(num_steps=4, seed=1))
    items = [
        served.pictures() | served.settings(),
        served.pictures(other, served.CONTENT) | served.settings(num_steps=4, seed=1),
    ]
    both = server("stylize", {name: np.concatenate([item[name] for item in items]) for name in items[0]})
    assert list(both["image_bytes"]) == [one["image_bytes"][0], two["image_bytes"][0]]
    assert server("serving_default", {name: value[:0] for name, value in served.pictures().items()})[
        "losses"
    ].shape == (0, 4)


@pytest.mark.parametrize("calls", [[9], [1, 2, 6], [3, 1, 1, 1, 1, 1, 1], [4, 100]])
def test_a_run_in_parts_is_the_whole_run(server, calls):
    run = served.pictures() | served.settings()
    whole = server("stylize", run)
    state = server("start", run)
    assert served.decode(state["preview_bytes"][0]).shape == (9, 12, 3)
    done = 0
    for steps in calls:
        inputs = {"state_bytes": state["state_bytes"], "steps_now": np.array([steps], np.int32)}
        state = server("advance", run | inputs)
        done = min(9, done + steps)
        assert state["steps_done"][0] == done
    assert state["preview_bytes"][0] == whole["image_bytes"][0]
    np.testing.assert_array_equal(state["losses"], whole["losses"])


def test_concurrent_requests_do_not_mix(server):
    requests = [served.pictures() | served.settings(seed=i, size=32 + 2 * i) for i in range(8)]
    alone = [server("stylize", request)["image_bytes"][0] for request in requests]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda request: server("stylize", request)["image_bytes"][0], requests))
    assert together == alone
    assert len(set(alone)) == 8


def test_a_deadline_stops_a_long_loop(server):
    endless = served.pictures() | served.settings(num_steps=100_000)
    start = time.monotonic()
    with pytest.raises(tf.errors.DeadlineExceededError):
        server("stylize", endless, timeout_s=1.0)
    assert time.monotonic() - start < 2


# Runs where `nst_tf` cannot be imported.
_FRESH = """
import sys
sys.modules["nst_tf"] = None
import numpy as np, tensorflow as tf
folder, inputs, output = sys.argv[1:]
given = dict(np.load(inputs, allow_pickle=True))
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    signature = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder).signature_def["stylize"]
    feeds = {signature.inputs[name].name: value for name, value in given.items()}
    data = session.run(signature.outputs["image_bytes"].name, feeds)[0]
open(output, "wb").write(data)
"""


@pytest.mark.slow
def test_a_process_without_this_package_makes_the_same_picture(folder, server, tmp_path):
    run = served.pictures() | served.settings()
    np.savez(tmp_path / "inputs.npz", **run)
    command = [sys.executable, "-c", _FRESH, folder, tmp_path / "inputs.npz", tmp_path / "out.png"]
    environment = {"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "out.png").read_bytes() == server("stylize", run)["image_bytes"][0]


@pytest.mark.slow
def test_the_c_api_makes_the_same_picture(folder, server, tmp_path):
    inputs = {
        "content": conftest.smooth_picture(5, 40, 44)[np.newaxis],
        "style": conftest.smooth_picture(6, 30, 60)[np.newaxis],
    }
    signature = server.signatures["stylize_pixels"]
    names = [signature.inputs[name].name for name in inputs] + [signature.outputs["image"].name]
    for name, value in inputs.items():
        np.save(tmp_path / f"{name}.npy", value)
    script = conftest.ROOT / "tests" / "support" / "c_api_process.py"
    command = [sys.executable, script, folder, *names, tmp_path]
    environment = {"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    expected = server("stylize_pixels", inputs)["image"]
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), expected)


def test_warm_up_records_are_small_and_work(folder, server):
    """Of one item each, since TensorFlow Serving's batching waits for ever for an empty batch."""
    records = export.read_warmup(folder / export.WARMUP_FILE)
    assert {signature for signature, _ in records} == set(server.signatures) - {"__saved_model_init_op"}
    for signature, inputs in records:
        known = server.signatures[signature]
        assert set(inputs) == set(known.inputs)
        assert {len(value) for value in inputs.values()} == {1}
        outputs = server(signature, inputs)
        assert set(outputs) == set(known.outputs)
        if "image_bytes" in outputs:
            assert served.decode(outputs["image_bytes"][0]).shape == (4, 4, 3)
    assert (folder / export.WARMUP_FILE).stat().st_size < 200_000


def test_no_python_no_xla_no_assignment_in_the_graph(folder):
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    functions = graph.library.function
    nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
    kinds = {node.op for node in nodes}
    assert "Conv2D" in kinds
    assert not [kind for kind in kinds if "PyFunc" in kind or kind.startswith("Xla")]
    assert not [node.name for node in nodes if node.attr["_XlaMustCompile"].b]
    assert not [function.signature.name for function in functions if function.attr["_XlaMustCompile"].b]
    # Only what restores the weights assigns, before the first request.
    restoring = {function.signature.name for function in functions if "restore" in function.signature.name}
    assigning = {
        function.signature.name
        for function in functions
        if any("Assign" in node.op for node in function.node_def)
    }
    assert assigning <= restoring
    outside = [node for node in graph.node if "Assign" in node.op]
    assert all(node.name.startswith(("Assign", "save/", "AssignVariableOp")) for node in outside)


def test_what_the_graph_says_arrives_as_it_is(folder):
    """TensorFlow's Assert escapes quotes, backslashes and what is not printable ASCII (absl::CEscape)."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    texts = asserted.texts(saved.meta_graphs[0].graph_def)
    # Of checks in branches, loops and functions, and of names that are handed on to these.
    for known in (b"num_steps: ", b"; allowed: one for each with content_regions, ", b"content_mask"):
        assert any(known in text for text in texts), (known, texts)
    assert len(texts) > 80
    for text in texts:
        assert re.fullmatch(rb"[ -~]*", text), text
        assert not set(b"'\"\\") & set(text), text


# (inputs that differ from a good request's, part of the message)
BAD = [
    ({"content_bytes": b""}, "content: not a PNG or JPEG"),
    ({"content_bytes": b"GIF89a" + bytes(100)}, "content: not a PNG or JPEG"),
    ({"style_bytes": b"\x89PNG\r\n\x1a\n"}, "style: not a PNG or JPEG"),
    ({"style_bytes": served.STYLE[:200]}, "style: the file was cut short, after 200 bytes; allowed: all"),
    ({"content_bytes": served.CONTENT[:200]}, "content: the file was cut short, after 200 bytes"),
    ({"style_bytes": served.STYLE[:200] + b"\xff\xd9"}, "style_cannot_be_decoded"),
    (
        {"content_bytes": served.CONTENT[:300] + bytes(200) + served.CONTENT[500:]},
        "content_cannot_be_decoded",
    ),
    ({"content_bytes": served.encode(np.zeros((257, 257, 3)))}, "257 x 257 pixels; allowed: at most 65536"),
    ({"style_bytes": served.encode(np.zeros((3, 40, 3)))}, "style: 40 x 3 pixels; allowed: at least 4"),
    ({"content_bytes": served.encode(np.zeros((2, 60, 3)))}, "content: 60 x 2 pixels; allowed: at least 4"),
    ({"content_bytes": served.encode(np.zeros((4, 60, 3)))}, "size: the result: 48 x 3 pixels"),
    ({"num_steps": 0}, "num_steps: 0; allowed: 1 to 100000"),
    ({"num_steps": 100_001}, "num_steps: 100001"),
    ({"size": -1}, "size: -1"),
    ({"size": 3}, "allowed: at least 4 a side"),
    ({"size": 2**31 - 1}, "allowed: at most 4096 in all"),
    ({"seed": -1}, "seed: -1"),
    ({"content_weight": np.nan}, "content_weight: nan"),
    ({"style_weight": np.inf}, "style_weight: inf"),
    ({"total_variation_weight": -1.0}, "total_variation_weight: -1"),
    ({"content_weight": 0.0, "style_weight": 0.0}, "both 0"),
    ({"style_weight": 3e38}, "the loss became infinite or NaN"),
]


def _changed(inputs, changes):
    """Returns inputs of one item with some values replaced."""
    return inputs | {name: np.array([value], inputs[name].dtype) for name, value in changes.items()}


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_a_request_may_not_ask_for(changes, message, server):
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        server("stylize", _changed(served.pictures() | served.settings(), changes))


def test_batches_of_different_lengths_are_refused(server):
    inputs = served.pictures() | served.settings()
    inputs["size"] = np.array([48, 48], np.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many of each"):
        server("stylize", inputs)


@pytest.mark.parametrize(
    ("signature", "name", "value", "message"),
    [
        ("serving_default", "content_bytes", served.CONTENT, "content_bytes: 0 dimensions; allowed: 1, [B]"),
        (
            "stylize",
            "style_bytes",
            [[served.STYLE]],
            "style_bytes: 2 dimensions; allowed: 1, [B] for a batch",
        ),
        ("stylize", "seed", np.int32(0), "seed: 0 dimensions; allowed: 1, [B]"),
        ("stylize_blend", "style_bytes", [served.STYLE], "style_bytes: 1 dimensions; allowed: 2, [B, S]"),
        ("advance", "state_bytes", [b"", b""], "state_bytes: 1 dimensions; allowed: 2, [B, K]"),
        ("run", "style_regions_bytes", [b""], "style_regions_bytes: 1 dimensions; allowed: 2, [B, S]"),
        ("stylize_pixels", "style", np.zeros((48, 48, 3)), "style: 3 dimensions; allowed: 4, [B, h, w, 3]"),
        ("stylize_pixels", "content", np.zeros((1, 48, 48, 4)), "content: 3 wanted along axis 3; it has 4"),
        ("stylize", "num_steps", np.zeros([3], np.int32), "have 1, 1, 3, 1, 1, 1, 1, 1 items"),
    ],
)
def test_tensors_of_another_shape_are_refused_by_name(signature, name, value, message, server):
    pixels = np.full((1, 48, 48, 3), 0.5, np.float32)
    every = {"content": pixels, "style": pixels, **served.record()}
    inputs = {each: every[each] for each in interface.SIGNATURES[signature].inputs}
    if not interface.SIGNATURES[signature].has_several_styles and "style_bytes" in inputs:
        inputs["style_bytes"] = served.pictures()["style_bytes"]
    inputs[name] = np.array(value, inputs[name].dtype)
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        server.unchecked(signature, inputs)


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("content", np.zeros((1, 0, 5, 3)), "content: 5 x 0 pixels"),
        ("content", np.zeros((1, 65, 65, 3)), "at most 4096 in all"),
        ("content", np.full((1, 30, 30, 3), 1.1), "values from 1.1"),
        ("style", np.full((1, 30, 30, 3), np.nan), "style: values from"),
        ("style", np.zeros((1, 3, 30, 3)), "at least 4 a side"),
    ],
)
def test_pixels_that_are_no_picture_are_refused(name, pixels, message, server):
    good = np.full((1, 30, 30, 3), 0.5, np.float32)
    inputs = {"content": good, "style": good} | {name: pixels.astype(np.float32)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        server("stylize_pixels", inputs)


@pytest.fixture(scope="module")
def started(server):
    """A request and the answer of `start` to it."""
    run = served.pictures() | served.settings()
    return run, server("start", run)["state_bytes"]


def _advance(server, run, state, steps=1):
    return server("advance", run | {"state_bytes": state, "steps_now": np.array([steps], np.int32)})


@pytest.mark.parametrize("changes", [{"seed": 1}, {"num_steps": 8}, {"content_bytes": served.STYLE}])
def test_a_state_belongs_to_its_pictures_and_settings(changes, server, started):
    run, state = started
    with pytest.raises(tf.errors.InvalidArgumentError, match="state_bytes: damaged, or of another model"):
        _advance(server, _changed(run, changes), state)


def test_a_damaged_state_is_refused(server, started):
    run, state = started
    with pytest.raises(tf.errors.InvalidArgumentError, match="steps_now: 0"):
        _advance(server, run, state, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="3 strings; allowed: the"):
        _advance(server, run, state[:, :3])
    for index in range(state.shape[1]):
        for damaged in (b"", state[0, index][:-1], state[0, index][:-1] + b"\x7f", state[0, index - 1]):
            changed = state.copy()
            if damaged == state[0, index]:  # two tensors of the same value
                continue
            changed[0, index] = damaged
            with pytest.raises(tf.errors.InvalidArgumentError, match="state_bytes"):
                _advance(server, run, changed)
    assert _advance(server, run, state)["steps_done"][0] == 1


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    data=hypothesis.strategies.binary(max_size=200),
    start=hypothesis.strategies.sampled_from(
        [b"", served.CONTENT[:8], served.CONTENT[:33], served.STYLE[:30]]
    ),
)
def test_any_bytes_get_an_answer(server, data, start):
    with pytest.raises(tf.errors.InvalidArgumentError):
        server("serving_default", served.pictures(start + data))


@pytest.mark.parametrize(
    ("make", "version", "message"),
    [
        (lambda output: (output / "1").mkdir(parents=True), 1, "1 exists; choose another"),
        (lambda output: output.write_text("a file"), None, "cannot be used: .*Not a directory"),
        (os.mkfifo, None, "cannot be used: .*Not a directory"),
        (lambda output: output.symlink_to("nowhere"), None, "nst; allowed: a folder"),
        (lambda _: None, 0, "version: 0; allowed: 1 and above"),
        (lambda _: None, 2**63, "version: 9223372036854775808; allowed"),
        (lambda output: (output / str(2**63 - 1)).mkdir(parents=True), None, "version: 9223372036854775808"),
    ],
)
def test_a_version_that_cannot_be_written_is_refused_at_once(make, version, message, tmp_path):
    make(tmp_path / "nst")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.InputError, match=message):
        export.export(served.CONFIG, tmp_path / "nst", version=version, limits=LIMITS)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_refused(name, tmp_path):
    with pytest.raises(errors.InputError, match=r"^output: .* cannot be used: "):
        export.export(served.CONFIG, tmp_path / name, limits=LIMITS)


def test_the_next_version_has_the_next_number(tmp_path):
    for name in ("1", "3", "x9", "new"):
        (tmp_path / name).mkdir()
    assert export._version_folder(tmp_path, None) == tmp_path / "4"
    assert export._version_folder(tmp_path / "new" / "er", None) == tmp_path / "new" / "er" / "1"
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_an_export_that_fails_leaves_nothing(there, tmp_path):
    output = tmp_path / "models" / "nst"
    (output if there else output.parent).mkdir(parents=True)

    def write():
        with export._appearing(output / "1") as temporary, export._as_os_errors():
            (temporary / "saved_model.pb").touch()
            raise tf.errors.ResourceExhaustedError(None, None, "No space\nleft on device")

    with pytest.raises(OSError, match=r"^No space left on device$"):
        write()
    assert list(tmp_path.rglob("*")) == ([output.parent, output] if there else [output.parent])


def test_a_version_that_appears_meanwhile_stays(tmp_path):
    def write():
        with export._appearing(tmp_path / "1") as temporary:
            (temporary / "saved_model.pb").touch()
            (tmp_path / "1").mkdir()
            (tmp_path / "1" / "other").touch()

    with pytest.raises(errors.InputError, match="has appeared meanwhile; try again"):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "other"]


def test_a_full_disk_gets_one_line(tmp_path, monkeypatch):
    """TensorFlow's own writing fails, by a limit on this process's files."""
    resource = pytest.importorskip("resource")
    saved = tf.Module()
    saved.weights = [tf.Variable(tf.zeros([100_000]))]

    def write(_, output, **__):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        with export._appearing(output / "2") as temporary, export._as_os_errors():
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
            try:
                tf.saved_model.save(saved, str(temporary))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

    (tmp_path / "nst" / "1").mkdir(parents=True)
    monkeypatch.setattr(export, "export", write)
    code, out, err = command.answer(["export", f"--output={tmp_path / 'nst'}", "--precision=float32"])
    assert (code, out) == (1, "")
    # TensorFlow's own log is hidden only in the command's own process.
    (line,) = [line for line in err.splitlines() if not line.startswith("W0000 ")]
    assert line.startswith("nst_tf export: the model could not be written: ")
    assert "File too large" in line
    assert [path.name for path in (tmp_path / "nst").iterdir()] == ["1"]


def test_the_description_says_what_the_model_is(folder):
    description = json.loads((folder / "assets.extra" / "nst_tf.json").read_text())
    assert description["config"]["history"] == 4
    assert description["limits"] == {
        "max_pixels": 4096,
        "max_steps": 100_000,
        "max_input_pixels": 65536,
    }
    assert description["weights"] == {"name": "narrow", "sha256": "0" * 64}


def test_signatures_are_as_the_description_and_the_readme_say(folder, server):
    described = json.loads((folder / "assets.extra" / "nst_tf.json").read_text())["signatures"]
    assert described == interface.describe()
    assert set(described) == set(server.signatures) - {"__saved_model_init_op"}
    for name, parts in described.items():
        for part, infos in (
            ("inputs", server.signatures[name].inputs),
            ("outputs", server.signatures[name].outputs),
        ):
            assert set(infos) == set(parts[part])
            for key, value in parts[part].items():
                assert tf.as_dtype(infos[key].dtype).name == value["type"], key
                sizes = [size if isinstance(size, int) else None for size in value["shape"]]
                assert tf.TensorShape(infos[key].tensor_shape).rank == len(sizes), (name, key)
    readme = (conftest.ROOT / "nst_tf" / "serving" / "README.md").read_text().splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in readme if line.startswith("| `")
    ]
    for name, signature in interface.SIGNATURES.items():
        quoted = [", ".join(f"`{each}`" for each in part) for part in (signature.inputs, signature.outputs)]
        assert [f"`{name}`", *quoted] in rows
    for table, columns in ((interface.INPUTS, 4), (interface.OUTPUTS, 3)):
        for name, value in table.items():
            kind = f"{value.type} [{', '.join(map(str, value.shape))}]"
            assert [f"`{name}`", kind, value.meaning, value.neutral][:columns] in rows
    assert all(value["neutral"] for name, value in described["run"]["inputs"].items() if name in _OPTIONAL)


_OPTIONAL = ("color", "content_mask_bytes", "content_regions_bytes", "style_regions_bytes", "outside")


@pytest.mark.parametrize(
    ("changes", "limits", "message"),
    [
        ({"precision": "auto"}, LIMITS, "float32 or bfloat16"),
        ({"convolution": "winograd"}, LIMITS, "direct or auto"),
        ({"convolution": "prepared"}, LIMITS, "direct or auto"),
        ({"init": "picture.png"}, LIMITS, "is a file"),
        ({"color": "only"}, LIMITS, "ask run for"),
        ({"normalize_activations": True}, LIMITS, "cannot depend on a request"),
        ({"temporal_weight": 1.0}, LIMITS, "temporal_weight: 1; allowed: 0"),
        ({"size": 65}, LIMITS, "max_pixels"),
        ({"steps": 2_000_000}, LIMITS, "max_steps"),
        ({"history": 11}, LIMITS, "up to 10"),
        ({"history_precision": "bfloat16"}, LIMITS, "float32, which is what a state holds"),
        ({"history": 10}, Limits(10_000_000, 10), "steps|2 GB"),
        ({"steps": 3}, Limits(4096, 0), "limits"),
    ],
)
def test_what_cannot_be_served_is_refused(changes, limits, message, tmp_path):
    with pytest.raises(errors.InputError, match=message):
        export.export(presets.get(served.CONFIG, **changes), tmp_path / "nst", limits=limits)
    assert not (tmp_path / "nst").exists()


@pytest.mark.slow
def test_a_check_replays_the_warm_up_and_times_a_step(folder):
    """Of the newest version of a model."""
    code, out, err = command.answer(["export", f"--check={folder.parent}"])
    assert (code, err) == (0, "")
    first, loaded, *calls, step, memory = out.splitlines()
    assert first.startswith(f"{folder}: gram, narrow weights, float32, TensorFlow {tf.__version__} (here ")
    assert first.endswith("results up to 4096 pixels and 100000 steps")
    assert re.fullmatch(r"loaded: [\d.]+ s, [\d.]+ GB", loaded)
    assert {line.partition(":")[0] for line in calls} == set(interface.SIGNATURES)
    assert re.fullmatch(r"48 x 48 pixels: [\d.e-]+ s a step, [\d.]+ s for 10 steps", step)
    assert re.fullmatch(r"memory: [\d.]+ GB at most", memory)


def test_a_check_says_what_fails(folder, server):
    """A request that a record holds, and one that fails."""
    (good,) = [record for record in export.read_warmup(folder / export.WARMUP_FILE) if record[0] == "start"]
    (line,) = check.replay(server, [good])
    assert re.fullmatch(r"start: [\d.]+ s, answers preview_bytes, state_bytes", line)
    bad = ("start", good[1] | {"size": np.array([-1], np.int32)})
    with pytest.raises(check.ExportError, match=r"^start fails: .*size: -1"):
        list(check.replay(server, [bad]))


def _describe(text, folder):
    """Makes a version of a model whose description is this text."""
    extra = folder / "7" / export.EXTRA
    extra.mkdir(parents=True)
    (extra / export.DESCRIPTION).write_text(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "check: .* cannot be read: No such file or directory"),
        (lambda folder: folder.mkdir(), "check: .* has no version; name the folder of an export"),
        (
            lambda folder: (folder / "7").mkdir(parents=True),
            "check: .*/7 is no export of nst_tf",
        ),
        *(
            (functools.partial(_describe, text), "check: .*/7 is no export of nst_tf")
            for text in (
                "[1]",
                '{"config": 1}',
                '{"config": {}, "weights": {}, "versions": {}, "limits": {}}',
            )
        ),
    ],
)
def test_what_cannot_be_checked_gets_one_line(make, message, tmp_path):
    make(tmp_path / "nst")
    code, out, err = command.answer(["export", f"--check={tmp_path / 'nst'}"])
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(message, err)
    code, out, err = command.answer(["export", f"--check={tmp_path / 'nst'}", "--size=3"])
    assert (code, "size: it does nothing with --check" in err) == (2, True)


@pytest.mark.slow
def test_the_tool_exports_a_published_formulation(tmp_path):
    """With a longer history than can be served, which is shortened."""
    arguments = ["--preset=gatys_pytorch", "--size=32", "--steps=2", "--weights=builtin"]
    limits = ["--max_pixels=4096", "--max_steps=7"]
    output = ["export", f"--output={tmp_path / 'nst'}", "--precision=bfloat16"]
    code, out, err = command.answer([*output, *arguments, *limits])
    assert (code, err) == (0, "")
    assert "results up to 4096 pixels and 7 steps" in out
    assert out.startswith(f"{tmp_path / 'nst' / '1'}: ")
    assert len(out.splitlines()) == 1
    assert "history 100 shortened to 10" in out
    description = json.loads((tmp_path / "nst" / "1" / "assets.extra" / "nst_tf.json").read_text())
    assert description["config"]["history"] == 10
    assert description["config"]["precision"] == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--precision is missing"),
        (["--precision=auto"], "precision: 'auto'; allowed: float32 or bfloat16"),
        (["--precision=float16"], "precision: 'float16' is not one of"),
        (["--precision=float32", "--preset=defualt"], "did you mean 'default'"),
        (["--precison=float32"], "Did you mean: precision"),
        (["--precision=float32", "--weights=gone.h5"], "there is no file gone.h5"),
        (["--precision=float32", "--output="], "--output=FOLDER is missing"),
    ],
)
def test_a_mistake_with_the_tool_gets_one_line(arguments, message, tmp_path):
    code, out, err = command.answer(["export", f"--output={tmp_path / 'nst'}", *arguments])
    assert (code, out) == (2, ""), err
    assert message in err
    assert len(err.splitlines()) == 1, err
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "nst").touch()
    code, _, err = command.answer(["export", "--output=~/nst", "--precision=float32", "--weights=builtin"])
    assert code == 2
    assert f"output: {tmp_path / 'nst'} cannot be used" in err
