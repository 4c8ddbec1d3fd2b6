"""The client against a model server that is plain Python: it paints flat pictures, and fails when told to."""

import base64
import collections
import contextlib
import dataclasses
import errno
import http.server
import io
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent import futures
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from nst_tf import errors
from nst_tf.commands import main
from nst_tf.config import presets
from nst_tf.engine import checkpoints as local_checkpoints
from nst_tf.io import pictures
from nst_tf.serving import checkpoints, client, transports
from tests import conftest
from tests.support import command as running
from tests.support import odd_tensors
from tests.support.served import stripes

SETTINGS = client.Settings(
    num_steps=25, size=64, seed=3, content_weight=2.5, style_weight=0.1, total_variation_weight=0.0
)

# What the signatures take, as the interface has it: a server's own table of types.
TYPES = {
    **dict.fromkeys(("content_bytes", "style_bytes", "state_bytes", "color", "outside"), "string"),
    **dict.fromkeys(("content_mask_bytes", "content_regions_bytes", "style_regions_bytes"), "string"),
    **dict.fromkeys(("num_steps", "size", "seed", "steps_now"), "int32"),
    **dict.fromkeys(("content_weight", "style_weight", "total_variation_weight"), "float32"),
    "style_blend_weights": "float32",
}
PICTURES = {"content_bytes", "style_bytes"}
RUN = PICTURES | {*SETTINGS.tensors()}
SIGNATURES = {
    "serving_default": PICTURES,
    "stylize": RUN,
    "stylize_blend": RUN | {"style_blend_weights", "color"},
    "start": RUN,
    "advance": RUN | {"state_bytes", "steps_now"},
}
REGIONS = {"content_mask_bytes", "content_regions_bytes", "style_regions_bytes", "outside"}
SIGNATURES["run"] = SIGNATURES["stylize_blend"] | SIGNATURES["advance"] | REGIONS
STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
}
STATUS |= {"PERMISSION_DENIED": 403, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}


class Fault(Exception):  # noqa: N818 - a status of the server's, no error of the tests
    """A status to answer with."""

    def __init__(self, code, text=""):
        """Keeps what to answer."""
        super().__init__(code, text)
        self.code, self.text = code, text


def png(value, height=24, width=32):
    """Returns a flat picture's PNG bytes."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (value, 100, 50)).save(file, "PNG")
    return file.getvalue()


def bomb():
    """Returns a small file of a picture of four thousand million pixels."""
    data = bytearray(png(0))
    data[16:24] = struct.pack(">II", 65_000, 65_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


class Page(Exception):  # noqa: N818 - an answer
    """Over REST: a status and bytes to answer with."""


class FakeModel:
    """What both servers serve. Keeps what came; `plan` holds what happens to the next calls instead.

    An item of the plan is an exception to raise, a function of (signature, inputs), an outputs dict to
    answer with, or None for the ordinary answer.
    """

    def __init__(self):
        """Has nothing planned."""
        self.calls: list[Any] = []
        self.plan: collections.deque[Any] = collections.deque()
        self.asked, self.wake = threading.Semaphore(0), threading.Event()
        self.states = 0

    def predict(self, model, version, signature, inputs):
        self.calls.append((signature, inputs))
        self.asked.release()
        planned = self.plan.popleft() if self.plan else None
        if model != "nst" or version not in (None, 7):
            raise Fault("NOT_FOUND", f"Servable not found for request: Latest({model})")
        if set(inputs) != SIGNATURES[signature]:
            raise Fault("INVALID_ARGUMENT", f"inputs are {sorted(inputs)}")
        if isinstance(planned, Exception):
            raise planned
        if callable(planned):
            planned = planned(signature, inputs)
        return self.paint(signature, inputs) if planned is None else planned

    def hang(self, *_):
        """An item of the plan: never answers, until `wake`."""
        self.wake.wait(60)
        raise Fault("INTERNAL", "woken")

    def paint(self, signature, inputs):
        losses = [np.float32(value) for value in (1.1, 0.3, 0.7, 0.1)]
        if signature in ("serving_default", "stylize", "stylize_blend"):
            return {"image_bytes": png(200), "losses": losses}
        if signature == "start":
            return {"state_bytes": self.state(0), "preview_bytes": png(0)}
        is_new = signature == "run" and inputs["state_bytes"] == [b""]
        done = 0 if is_new else int(inputs["state_bytes"][0].split(b"\0")[1])
        now = int(inputs["steps_now"]) or int(inputs["num_steps"])
        done = min(done + now, int(inputs["num_steps"]))
        size = (24, 32) if done == inputs["num_steps"] else (6, 8)
        return {
            "state_bytes": self.state(done),
            "image_bytes" if signature == "run" else "preview_bytes": png(done, *size),
            "losses": losses,
            "steps_done": np.int32(done),
        }

    def state(self, done):
        """Three strings with zeros at their ends, the last as large as a photograph."""
        self.states += 1
        return [b"\0%d\0" % done, b"\xff\0\0", bytes(300_000) + b"%d\0" % self.states]


def serve_grpc(model, port=0):
    """Starts a server by the official servicer; returns (port, stop)."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    def plain(name, tensor):
        """Returns an input of a batch of one: bytes, a NumPy scalar, or a list of them."""
        assert tf.as_dtype(tensor.dtype).name == TYPES[name]
        (value,) = tf.make_ndarray(tensor)
        return [*value] if isinstance(value, np.ndarray) else value

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802 - gRPC's name
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else None
            inputs = {name: plain(name, tensor) for name, tensor in request.inputs.items()}
            try:
                outputs = model.predict(spec.name, version, spec.signature_name, inputs)
            except Fault as fault:
                context.abort(getattr(grpc.StatusCode, fault.code), fault.text)
            response = predict_pb2.PredictResponse()
            for name, value in outputs.items():
                dtype = object if name.endswith("_bytes") else None
                response.outputs[name].CopyFrom(tf.make_tensor_proto(np.asarray([value], dtype)))
            return response

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return port, lambda: server.stop(0).wait()


def serve_rest(model, port=0):
    """Starts a server with TensorFlow Serving's REST interface; returns (port, stop)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as TensorFlow Serving keeps them

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", self.path)
            assert path is not None
            (instance,) = body["instances"]
            inputs = {name: _from_json(TYPES[name], value) for name, value in instance.items()}
            version = int(path[2]) if path[2] else None
            try:
                outputs = model.predict(path[1], version, body["signature_name"], inputs)
                self.answer(
                    200, {"predictions": [{name: _to_json(value) for name, value in outputs.items()}]}
                )
            except Fault as fault:
                self.answer(STATUS.get(fault.code, fault.code), {"error": fault.text})
            except Page as page:
                self.answer(*page.args)
            except ConnectionError:  # planned: gone without a word
                self.close_connection = True

        def answer(self, status, body):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After", "3600")
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # a client that was interrupted has gone
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        connections: ClassVar[list[Any]] = []

        def get_request(self):
            self.connections.append(got := super().get_request())
            return got

        def stop(self):
            self.shutdown()
            self.server_close()
            for connection, _ in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    server = Server(("127.0.0.1", port), Handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    return server.server_port, server.stop


def _from_json(kind, value):
    """Returns a JSON value as TensorFlow Serving reads it: an integer has no point."""
    if isinstance(value, list):
        return [_from_json(kind, item) for item in value]
    if kind == "string":
        return base64.b64decode(value["b64"])
    assert type(value) is {"int32": int, "float32": float}[kind]
    return np.dtype(kind).type(value)


def _to_json(value):
    """Returns an output as TensorFlow Serving writes it: a float32 with no more digits than it needs."""
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return json.loads(str(value)) if isinstance(value, np.generic) else value


SERVE = {"grpc": serve_grpc, "http": serve_rest}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxies between the client and the servers here, and short pauses before calls are repeated."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transports, "_FIRST_PAUSE_S", 0.05)


@pytest.fixture(params=["grpc", "http"])
def served(request):
    """Yields (a fake model, its server's address), over gRPC and over REST."""
    model = FakeModel()
    port, stop = SERVE[request.param](model)
    yield model, f"{request.param}://127.0.0.1:{port}"
    model.wake.set()
    stop()


@pytest.fixture
def rest():
    """Yields (a fake model, its REST server's address)."""
    model = FakeModel()
    port, stop = serve_rest(model)
    yield model, f"http://127.0.0.1:{port}"
    model.wake.set()
    stop()


@pytest.fixture
def folder(tmp_path):
    """A folder with a photograph and a painting; the photograph is turned, and half transparent."""
    pixels = np.rint(conftest.smooth_picture(2, 40, 60) * 255).astype(np.uint8)
    photo = Image.fromarray(pixels)
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn clockwise
    photo.save(tmp_path / "photo.png", exif=exif)
    Image.fromarray(pixels[:30]).save(tmp_path / "painting.jpg")
    return tmp_path


CONTENT, STYLE = conftest.smooth_picture(2), conftest.smooth_picture(3)


def opened(data):
    return Image.open(io.BytesIO(data))


def test_pictures_arrive_upright_as_png_over_white(served, folder):
    model, server = served
    answer = client.request_stylization(server, folder / "photo.png", STYLE)
    ((signature, inputs),) = model.calls
    assert signature == "serving_default"
    with opened(inputs["content_bytes"]) as content, Image.open(folder / "photo.png") as photo:
        assert (content.format, content.mode, content.size) == ("PNG", "RGB", (40, 60))
        white = Image.new("RGB", photo.size, "white")
        white.paste(photo, mask=photo)
        assert np.abs(np.asarray(content, int) - np.rot90(np.asarray(white, int), -1)).max() <= 1
        assert not content.getexif()
    with opened(inputs["style_bytes"]) as style:
        np.testing.assert_array_equal(np.asarray(style), pictures.to_uint8(STYLE))
    np.testing.assert_array_equal(pictures.to_uint8(answer.image)[0, 0], [200, 100, 50])
    assert answer.image.shape == (24, 32, 3)
    assert answer.image.dtype == np.float32
    assert (answer.step, answer.num_steps) == (None, None)
    assert answer.losses == tuple(float(np.float32(value)) for value in (1.1, 0.3, 0.7, 0.1))


def test_settings_arrive_with_their_types(served):
    model, server = served
    answer = client.request_stylization(server, CONTENT, STYLE, settings=SETTINGS, version=7)
    ((signature, inputs),) = model.calls
    assert signature == "stylize"
    for name, kind in TYPES.items():
        if name in RUN - PICTURES:
            assert inputs[name] == np.dtype(kind).type(getattr(SETTINGS, name))
    assert (answer.step, answer.num_steps) == (25, 25)


def test_a_run_in_steps_hands_the_state_on_unchanged(served):
    model, server = served
    given: list[Any] = []
    seen: list[client.Answer] = []

    def remember(signature, inputs):
        given.append(outputs := model.paint(signature, inputs))
        return outputs

    model.plan.extend([remember] * 4)
    answer = client.request_stylization(server, CONTENT, STYLE, settings=SETTINGS, on_progress=seen.append)
    assert [signature for signature, _ in model.calls] == ["start", "advance", "advance", "advance"]
    for before, (_, inputs) in zip(given, model.calls[1:], strict=False):
        assert inputs["state_bytes"] == before["state_bytes"]
        assert inputs["steps_now"] == 10
        assert {name: inputs[name] for name in RUN} == model.calls[0][1]
    assert [(progress.step, progress.image.shape) for progress in seen] == [
        *((10, (6, 8, 3)), (20, (6, 8, 3)), (25, (24, 32, 3)))
    ]
    assert answer is seen[-1]
    np.testing.assert_array_equal(pictures.to_uint8(answer.image)[0, 0], [25, 100, 50])


MASK = np.where(np.arange(64) < 44, 255, 0).astype(np.uint8) * np.ones((48, 1), np.uint8)
LABELS = stripes((255, 0, 0), (0, 0, 255))


def test_regions_arrive_as_pictures(served):
    model, server = served
    regions = {"content_mask": MASK, "content_regions": LABELS, "style_regions": ["#ff0000", LABELS]}
    answer = _blend(server, **regions, outside="free", style_blend_weights=[3, 7])
    ((signature, asked),) = model.calls
    assert signature == "run"
    with opened(asked["content_mask_bytes"]) as sent:
        np.testing.assert_array_equal(np.asarray(sent.convert("L")), MASK)
    for data in (asked["content_regions_bytes"], asked["style_regions_bytes"][1]):
        with opened(data) as sent:
            np.testing.assert_array_equal(np.asarray(sent), LABELS)
    assert asked["style_regions_bytes"][0] == b"#ff0000"
    assert (asked["outside"], asked["color"]) == (b"free", b"")
    assert (asked["state_bytes"], asked["steps_now"]) == ([b""], 0)
    assert (answer.step, answer.num_steps) == (25, 25)


def test_several_styles_are_painted_in_parts_too(served):
    model, server = served
    seen: list[client.Answer] = []
    answer = _blend(server, color="luminance", on_progress=seen.append, steps_now=20)
    assert [signature for signature, _ in model.calls] == ["run", "run"]
    assert [asked["steps_now"] for _, asked in model.calls] == [20, 20]
    assert model.calls[0][1]["style_regions_bytes"] == [b"", b""]
    assert model.calls[0][1]["state_bytes"] == [b""]
    assert model.calls[1][1]["state_bytes"][0] == b"\x0020\0"
    assert ([each.step for each in seen], answer.step) == ([20, 25], 25)


@pytest.mark.parametrize("several", [False, True])
def test_a_run_goes_on_from_its_checkpoint_with_another_client(served, several, tmp_path):
    model, server = served
    path = tmp_path / "x.checkpoint"

    def ask(style=STYLE, **changes):
        settings = dataclasses.replace(SETTINGS, **changes)
        styles = [style, CONTENT] if several else style
        seen: list[int | None] = []
        client.request_stylization(
            *(server, CONTENT, styles),
            settings=settings,
            checkpoint=path,
            on_progress=lambda answer: seen.append(answer.step),
        )
        return seen

    model.plan.extend([None] * (2 if several else 3) + [Fault("INTERNAL", "gone")])
    with pytest.raises(client.ServerError, match="gone"):
        ask()
    given = model.calls[-1][1]["state_bytes"]
    count = len(model.calls)
    for changes, message in (
        ({"size": 65}, "size was 64, now 65"),
        ({"style": CONTENT}, "style was another picture"),
    ):
        with pytest.raises(errors.InputError, match=f"checkpoint: .* is of another run: {message}"):
            ask(**changes)
    assert len(model.calls) == count
    assert ask() == [25]
    assert model.calls[-1][1]["state_bytes"] == given
    assert len(model.calls) == count + 1
    assert not path.exists()


def test_a_checkpoint_with_a_tensor_that_numpy_lacks_gets_one_line(tmp_path):
    path = tmp_path / "x.checkpoint"
    safetensors.numpy.save_file({"0": np.zeros(4, np.uint8)}, path, {"nst_tf_request": "{}"})
    odd_tensors.retype(path, "0")
    with pytest.raises(errors.InputError, match=r"^checkpoint: .* cannot be read"):
        checkpoints.read(path)


@pytest.mark.parametrize("seconds", ["often", 0, True])
def test_seconds_between_checkpoints_are_a_number_above_0(seconds, tmp_path):
    with pytest.raises(errors.InputError, match=r"^checkpoint_every: .* above 0"):
        client.request_stylization(
            "http://localhost:1",
            *(CONTENT, STYLE),
            settings=SETTINGS,
            checkpoint=tmp_path / "x.checkpoint",
            checkpoint_every=seconds,
        )


def test_a_stopped_run_leaves_its_checkpoint(rest, tmp_path):
    path = tmp_path / "x.checkpoint"
    client.request_stylization(
        *(rest[1], CONTENT, STYLE), settings=SETTINGS, checkpoint=path, on_progress=lambda _: True
    )
    assert path.exists()
    rest[0].plan.append(Fault("INVALID_ARGUMENT", "assertion failed: [state_bytes: damaged, or of another]"))
    with pytest.raises(errors.InputError, match=r"refuses the state in .*: state_bytes: damaged, .* remove"):
        client.request_stylization(rest[1], CONTENT, STYLE, settings=SETTINGS, checkpoint=path)
    assert path.exists()
    with pytest.raises(errors.InputError, match=r"was left by nst_tf request; go on with that, or remove it"):
        local_checkpoints.read(path)
    safetensors.numpy.save_file({"image": np.zeros(1)}, path, {"nst_tf": "{}"})
    with pytest.raises(errors.InputError, match=r"was left by nst_tf; go on with that, or remove it"):
        client.request_stylization(rest[1], CONTENT, STYLE, settings=SETTINGS, checkpoint=path)
    path.write_bytes(b"something else")
    with pytest.raises(errors.InputError, match=r"checkpoint: .* cannot be read"):
        client.request_stylization(rest[1], CONTENT, STYLE, settings=SETTINGS, checkpoint=path)


def test_a_damaged_picture_is_named(rest):
    model, server = rest
    text = "Invalid PNG data, size 572\n\t [[{{node map/while/content_mask_cannot_be_decoded}}]]"
    model.plan.append(Fault("INVALID_ARGUMENT", text))
    with pytest.raises(errors.InputError, match="refused: content_mask: the file is damaged, or of a kind"):
        client.request_stylization(server, CONTENT, STYLE)


def _blend(server, style=(STYLE, CONTENT), **options):
    return client.request_stylization(server, CONTENT, [*style], **{"settings": SETTINGS} | options)


def test_several_styles_arrive_with_their_weights_and_the_colours(served):
    model, server = served
    answer = _blend(server, style_blend_weights=np.array([0.1, 7]), color="luminance")
    ((signature, asked),) = model.calls
    assert signature == "stylize_blend"
    for data, picture in zip(asked["style_bytes"], (STYLE, CONTENT), strict=True):
        with opened(data) as style:
            np.testing.assert_array_equal(np.asarray(style), pictures.to_uint8(picture))
    assert asked["style_blend_weights"] == [np.float32(0.1), np.float32(7)]
    assert asked["color"] == b"luminance"
    assert {name: asked[name] for name in SETTINGS.tensors()} == SETTINGS.tensors()
    assert (answer.step, answer.num_steps) == (25, 25)


@pytest.mark.parametrize(
    ("style", "options", "weights", "color"),
    [
        ((STYLE, STYLE, STYLE), {}, [1, 1, 1], b""),
        ((STYLE,), {"color": "style"}, [1], b"style"),
        ((STYLE,), {"style_blend_weights": [2]}, [2], b""),
        ((STYLE, STYLE), {"style_blend_weights": (0, 3.5)}, [0, 3.5], b""),
    ],
)
def test_what_of_a_blend_is_not_given_is_equal_weights_and_the_models_own_colours(
    rest, style, options, weights, color
):
    model, server = rest
    _blend(server, style, **options)
    ((signature, asked),) = model.calls
    assert signature == "stylize_blend"
    assert len(asked["style_bytes"]) == len(style)
    assert (asked["style_blend_weights"], asked["color"]) == (weights, color)


def test_a_list_of_one_style_needs_no_blend(rest):
    model, server = rest
    client.request_stylization(server, CONTENT, [STYLE])
    _blend(server, (STYLE,))
    assert [signature for signature, _ in model.calls] == ["serving_default", "stylize"]


def test_where_only_colours_are_wanted_no_step_is_done(rest):
    answer = _blend(rest[1], color="only")
    assert (answer.step, answer.num_steps) == (0, 0)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("FAILED_PRECONDITION", 'Serving signature key "stylize_blend" not found.'),
        ("INVALID_ARGUMENT", 'Serving signature name: "stylize_blend" not found in signature def'),
    ],
)
def test_a_model_without_the_signature_has_to_be_exported_anew(served, code, text):
    model, server = served
    model.plan.append(Fault(code, text))
    with pytest.raises(errors.InputError) as caught:
        _blend(server)
    assert str(caught.value) == (
        f"model: {server} serves 'nst' without the signature stylize_blend: it is older than this client, or"
        " no model of nst_tf; export it anew"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": []}, "style: no picture; allowed: one or more"),
        ({"style": [STYLE, "gone.png"]}, "style 2: there is no file gone.png"),
        (
            {"settings": None},
            "settings: None; allowed: all of them, for several styles or style_blend_weights",
        ),
        ({"settings": None, "style": STYLE, "color": "only"}, "settings: None; allowed: all of them, for"),
        ({"on_progress": print, "color": "only"}, "color: color=only takes no steps of which some could be"),
        ({"checkpoint": "x.checkpoint", "settings": None}, "settings: None; allowed: all of them, for a run"),
        ({"content_mask": MASK, "settings": None}, "settings: None; allowed: all of them, for a mask or"),
        ({"content_mask": MASK, "color": "only"}, "color: color=only takes no steps, so that nothing could"),
        ({"content_mask": 0 * MASK}, "content_mask: black everywhere"),
        ({"content_mask": MASK[:, :40]}, "content_mask: 40 x 48 pixels for a picture of 64 x 48"),
        ({"content_regions": LABELS}, "style_regions: missing; content_regions needs them"),
        ({"content_regions": LABELS, "style_regions": ["#ff0000"]}, "style_regions: 1 for 2 styles"),
        ({"content_regions": LABELS, "style_regions": ["#ff0000"] * 2}, "labels: #0000ff has no partner"),
        ({"outside": "free"}, "outside: it does nothing without content_mask or content_regions"),
        ({"outside": "fre", "content_mask": MASK}, "outside: 'fre' is not one of keep, free; did you mean"),
        (
            {"content_mask": MASK, "settings": dataclasses.replace(SETTINGS, style_weight=0.0)},
            "style_weight: 0 with a mask or regions",
        ),
        ({"style_blend_weights": [1]}, "style_blend_weights: 1 for 2 style pictures; allowed: one for each"),
        ({"style_blend_weights": []}, "style_blend_weights: 0 for 2 style pictures"),
        ({"style_blend_weights": 3}, "style_blend_weights: 3; allowed: a list of numbers"),
        ({"style_blend_weights": "12"}, "style_blend_weights: 1; allowed: numbers from 0 to 1e+30"),
        ({"style_blend_weights": [1, -1]}, "style_blend_weights: -1; allowed: numbers from 0"),
        ({"style_blend_weights": [1, float("nan")]}, "style_blend_weights: nan; allowed: numbers"),
        ({"style_blend_weights": [1, 1e31]}, "style_blend_weights: 1e+31; allowed: numbers"),
        ({"style_blend_weights": [True, 1]}, "style_blend_weights: True; allowed: numbers"),
        ({"style_blend_weights": [0, 1e-60]}, "style_blend_weights: 0, 1e-60; allowed: at least one above 0"),
        (
            {"color": "luminence"},
            "color: 'luminence' is not one of style, luminance, statistics, only, match; did",
        ),
        ({"color": ""}, "color: '' is not one of style, luminance, statistics, only, match"),
    ],
)
def test_mistakes_in_a_blend(rest, changes, message):
    model, server = rest
    arguments = {"server": server, "content": CONTENT, "style": [STYLE, CONTENT], "settings": SETTINGS}
    with pytest.raises(errors.InputError, match=f"^{re.escape(message)}") as caught:
        client.request_stylization(**arguments | changes)
    assert "\n" not in str(caught.value)
    assert not model.calls


def test_a_run_stops_when_told(rest):
    model, server = rest
    answer = client.request_stylization(
        server, CONTENT, STYLE, settings=SETTINGS, on_progress=lambda so_far: so_far.step == 8, steps_now=4
    )
    assert (answer.step, answer.num_steps) == (8, 25)
    assert len(model.calls) == 3


def test_a_server_that_is_away_is_asked_again(served):
    """With requests larger than what gRPC keeps of a call unless told."""
    model, server = served
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    model.plan.extend(
        [None, Fault("UNAVAILABLE", "moving"), Fault("UNAVAILABLE"), None, Fault("UNAVAILABLE")]
    )
    seen: list[client.Answer] = []
    client.request_stylization(server, noise, STYLE, settings=SETTINGS, on_progress=seen.append)
    assert len(model.calls[0][1]["content_bytes"]) > 2**18
    assert [progress.step for progress in seen] == [10, 20, 25]
    assert len(model.calls) == 7
    model.plan.extend([Fault("UNAVAILABLE", "moving")] * 5)
    with pytest.raises(client.ServerError, match=f"^{server} cannot be reached: moving; check that it runs"):
        client.request_stylization(server, CONTENT, STYLE)
    assert len(model.calls) == 12


@pytest.mark.parametrize("scheme", SERVE)
@pytest.mark.parametrize("gap_s", [0, 0.2])
def test_a_run_goes_on_with_another_server(scheme, gap_s):
    first, second = FakeModel(), FakeModel()
    seen: list[int] = []
    port, stop = SERVE[scheme](first)
    started: futures.Future[Any] = futures.Future()

    def move(progress):
        seen.append(progress.step)
        if progress.step == 10:
            stop()
            threading.Timer(gap_s, lambda: started.set_result(SERVE[scheme](second, port))).start()

    server = f"{scheme}://127.0.0.1:{port}"
    client.request_stylization(server, CONTENT, STYLE, settings=SETTINGS, on_progress=move)
    assert seen == [10, 20, 25]
    assert [signature for signature, _ in second.calls] == ["advance", "advance"]
    started.result()[1]()


def test_a_connection_that_breaks_is_made_again(rest):
    model, server = rest
    model.plan.append(ConnectionError())
    client.request_stylization(server, CONTENT, STYLE)
    assert len(model.calls) == 2


def test_an_answer_that_takes_too_long_is_given_up_and_not_asked_for_again(served):
    model, server = served
    model.plan.append(model.hang)
    start = time.monotonic()
    with pytest.raises(client.ServerError, match=f"^{server} gave no answer within 0.3 s; allow more"):
        client.request_stylization(server, CONTENT, STYLE, timeout_s=0.3)
    assert time.monotonic() - start < 5
    assert len(model.calls) == 1


def test_a_server_with_a_short_time_out_of_its_own_is_asked_for_less(rest):
    model, server = rest
    timeout = Fault("DEADLINE_EXCEEDED", "Timed out waiting for notification")
    seen: list[client.Answer] = []

    def run(steps_now):
        client.request_stylization(
            server, CONTENT, STYLE, settings=SETTINGS, on_progress=seen.append, steps_now=steps_now
        )

    model.plan.extend([None, None, timeout, timeout])
    run(9)
    assert [progress.step for progress in seen] == [9, *range(11, 26, 2)]
    model.plan.extend([None, timeout, timeout])
    with pytest.raises(client.ServerError, match="time-out of its own: Timed out waiting"):
        run(2)
    model.plan.append(timeout)
    with pytest.raises(
        client.ServerError, match="30 s without --rest_api_timeout_in_ms: use grpc, or --prog"
    ):
        client.request_stylization(server, CONTENT, STYLE)


# What a server says, and what of it is worth a person's time.
ASSERTION = (
    "2 root error(s) found.\n  (0) INVALID_ARGUMENT: {{function_node __inference_12}} assertion failed:"
    " [size: 9; it\\'s [16] at least]\n\t [[{{node map/while/Assert}}]]\n\t [[map/while/_5]]\n  (1) INVALID"
)
PYTHON_ASSERTION = (
    "Graph execution error:\n\nDetected at node Assert defined at (most recent call last):\n"
    '  File "x.py", line 9, in f\n\nassertion failed: [size: 9] [Condition x > y did not hold:] [x]\n'
    "\t [[{{node Assert}}]]"
)


@pytest.mark.parametrize(
    ("code", "text", "kind", "message"),
    [
        (
            "NOT_FOUND",
            "no version 3",
            errors.InputError,
            "model: {} has no model 'nst' version 7: no version 3",
        ),
        ("INVALID_ARGUMENT", ASSERTION, errors.InputError, "{} refused: size: 9; it's [16] at least"),
        ("INVALID_ARGUMENT", PYTHON_ASSERTION, errors.InputError, "{} refused: size: 9"),
        (
            "INVALID_ARGUMENT",
            "{{function_node f}} assertion failed: [labels: [1, 2] #00ff...TRUNCATED",
            errors.InputError,
            "{} refused: labels: [1, 2] #00ff",
        ),
        ("INVALID_ARGUMENT", "", errors.InputError, "{} refused: it does not say why"),
        (
            "RESOURCE_EXHAUSTED",
            "OOM when\tallocating",
            errors.InputError,
            "size: {} is too busy, or this is too",
        ),
        ("PERMISSION_DENIED", "who?", errors.InputError, "server: {} wants a login: who?; send one in"),
        ("UNIMPLEMENTED", "Method not found!", errors.InputError, "server: {} serves no models: Method not"),
        ("UNAVAILABLE", "loading", client.ServerError, "{} cannot be reached: loading; check that it runs"),
        ("INTERNAL", "oh\n{{node x}}\n", client.ServerError, "{} failed: INTERNAL: oh"),
    ],
)
def test_what_a_server_says_becomes_one_line(served, code, text, kind, message):
    model, server = served
    model.plan.extend([Fault(code, text)] * 5)
    with pytest.raises(kind) as caught:
        client.request_stylization(server, CONTENT, STYLE, version=7)
    message = message.format(server)
    if server.startswith("http"):
        message = message.replace("INTERNAL", "HTTP 500")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


GOOD = FakeModel().paint("stylize", {})


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"losses": GOOD["losses"]}, "without image_bytes"),
        (GOOD | {"image_bytes": b"no picture"}, "with something else than a picture"),
        (GOOD | {"image_bytes": GOOD["image_bytes"][:50]}, "with something else than a picture"),
        (GOOD | {"losses": np.float32(1)}, "with something else than four losses"),
        (GOOD | {"losses": GOOD["losses"][:3]}, "with something else than four losses"),
        (GOOD | {"image_bytes": bomb()}, "with something else than a picture"),
        (GOOD | {"image_bytes": b""}, "with something else than a picture"),
    ],
)
def test_an_answer_of_another_model_gets_one_line(served, outputs, message):
    model, server = served
    model.plan.append(outputs)
    with pytest.raises(
        errors.InputError, match=f"^server: {server} answered {message}; name the server of an"
    ):
        client.request_stylization(server, CONTENT, STYLE)


@pytest.mark.parametrize("done", [0, 26, np.float32(10)])
def test_a_run_that_does_not_move_on_ends(served, done):
    model, server = served
    advanced = {**model.paint("start", {}), "losses": GOOD["losses"], "steps_done": done}
    model.plan.extend([None, advanced])
    with pytest.raises(errors.InputError, match="of 25 steps are done, after 0; name the server"):
        client.request_stylization(server, CONTENT, STYLE, settings=SETTINGS, on_progress=print)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (200, b"<html>", errors.InputError, "answered with something else than JSON with a prediction"),
        (200, b"[]", errors.InputError, "answered with something else than JSON with a prediction"),
        (200, b'{"predictions": []}', errors.InputError, "answered with something else than JSON"),
        (200, b'{"predictions": [1]}', errors.InputError, "answered with something else than JSON"),
        (200, b'{"predictions": [{"x": {"b64": "?"}}]}', errors.InputError, "answered with something else"),
        (200, b"[" * 100_000, errors.InputError, "answered with something else than JSON"),
        (200, b"\xff\xfe\x00", errors.InputError, "answered with something else than JSON"),
        (
            200,
            json.dumps({"predictions": [{"image_bytes": "x", "losses": [10**400] * 4}]}).encode(),
            errors.InputError,
            "answered with something else than a picture",
        ),
        (
            200,
            json.dumps(
                {
                    "predictions": [
                        {
                            "image_bytes": {"b64": base64.b64encode(png(1)).decode()},
                            "losses": [10**400] * 4,
                        }
                    ]
                }
            ).encode(),
            errors.InputError,
            "answered with something else than four losses",
        ),
        (500, b"[" * 100_000, client.ServerError, "failed: HTTP 500: HTTP 500 Internal Server Error"),
        (301, b"", client.ServerError, "failed: HTTP 301: HTTP 301 Moved Permanently"),
        (404, b"<html>", errors.InputError, "has no model 'nst': HTTP 404 Not Found"),
        (405, b"", errors.InputError, "serves no models: HTTP 405 Method Not Allowed"),
        (413, b"", errors.InputError, "or this is too large for it: HTTP 413"),
        (429, b'{"error": "queue full"}', errors.InputError, "too large for it: queue full; try later"),
        (502, b"<html>", client.ServerError, "cannot be reached: HTTP 502 Bad Gateway"),
    ],
)
def test_what_a_web_server_answers_becomes_one_line(rest, status, body, kind, message):
    model, server = rest
    model.plan.extend([Page(status, body)] * 5)
    with pytest.raises(kind) as caught:
        client.request_stylization(server, CONTENT, STYLE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(model.calls) == (5 if status == 502 else 1)


def test_what_a_server_says_is_cut(rest):
    model, server = rest
    model.plan.append(Fault("INTERNAL", "so much " * 100_000))
    with pytest.raises(client.ServerError) as caught:
        client.request_stylization(server, CONTENT, STYLE)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("state", [5, "text", [1.0]])
def test_a_state_that_is_no_bytes_gets_one_line(rest, state):
    model, server = rest
    model.plan.append({"state_bytes": state})
    with pytest.raises(errors.InputError, match="answered with a state that is no bytes; name the server"):
        client.request_stylization(server, CONTENT, STYLE, settings=SETTINGS, on_progress=print)
    assert len(model.calls) == 1


def _talking(say):
    """Starts a server that says something by its connections' sockets; returns (its address, stop)."""
    listening, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    say(connection, ended)

    threading.Thread(target=serve, daemon=True).start()

    def stop():
        ended.set()
        listening.close()

    return f"http://127.0.0.1:{listening.getsockname()[1]}", stop


def _drip(head):
    def say(connection, ended):
        connection.sendall(head)
        while not ended.wait(0.05):
            connection.sendall(b" ")

    return say


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{"]
)
def test_a_server_that_drips_is_given_up_in_time(head):
    server, stop = _talking(_drip(head))
    start = time.perf_counter()
    try:
        with pytest.raises(client.ServerError, match=r"gave no answer within 0\.5 s"):
            client.request_stylization(server, CONTENT, STYLE, timeout_s=0.5)
    finally:
        stop()
    assert 0.4 < time.perf_counter() - start < 3


def test_an_answer_without_an_end_is_given_up(monkeypatch):
    def flood(connection, ended):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not ended.is_set():
            connection.sendall(bytes(65536))

    monkeypatch.setattr(transports, "_ANSWER_BYTES", 3_000_000)
    server, stop = _talking(flood)
    try:
        with pytest.raises(errors.InputError, match="answered with over 3000000 bytes; name the server"):
            client.request_stylization(server, CONTENT, STYLE)
    finally:
        stop()


def test_a_tensor_larger_than_a_message_is_not_made(monkeypatch):
    import tensorflow as tf

    tensor = tf.make_tensor_proto(np.array([[1.5]], np.float32))
    assert transports._from_tensor(tensor) == [1.5]
    for size in (10**6, 10**6, 10**6):
        tensor.tensor_shape.dim.add(size=size)
    monkeypatch.setattr(tf, "make_ndarray", lambda _: pytest.fail("it was made"))
    with pytest.raises(ValueError, match=str(10**18)):
        transports._from_tensor(tensor)


@pytest.mark.parametrize("scheme", SERVE)
def test_a_host_that_is_not_there_gets_one_line(scheme):
    with pytest.raises(client.ServerError, match=f"^{scheme}://no.invalid:9 (cannot be reached|gave no)"):
        client.request_stylization(f"{scheme}://no.invalid:9", CONTENT, STYLE, timeout_s=5)


@pytest.mark.parametrize("scheme", SERVE)
def test_nobody_there_gets_one_line(scheme):
    with socket.socket() as closed:  # bound, but not listening
        closed.bind(("127.0.0.1", 0))
        server = f"{scheme}://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(
            client.ServerError, match=f"^{server} cannot be reached: .*refused; check that it"
        ):
            client.request_stylization(server, CONTENT, STYLE)


def test_the_wrong_port_gets_one_line(served):
    _, server = served
    other = "http" if server.startswith("grpc") else "grpc"
    with pytest.raises(client.ServerError, match="8500 for grpc, 8501 for http"):
        client.request_stylization(server.replace(server.partition(":")[0], other), CONTENT, STYLE)


@pytest.mark.parametrize(
    "server", ["grpc://host:8500", "grpc://host", "grpcs://host", "http://host/path/", "https://[::1]:1"]
)
def test_addresses(server):
    assert client.check_server(server).geturl() == server


def test_a_password_is_not_shown(rest):
    _, server = rest
    with pytest.raises(errors.InputError) as caught:
        client.request_stylization(server.replace("//", "//me:secret@"), CONTENT, STYLE, model="other")
    assert "secret" not in str(caught.value)
    assert f"{server} has no model 'other'" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"server": "host:8500"},
            "server: 'host:8500'; allowed: grpc://HOST:PORT, http://HOST:PORT, grpcs://H",
        ),
        ({"server": "ftp://host"}, "server: 'ftp://host'"),
        ({"server": "http://"}, "server: 'http://'"),
        ({"server": "http://host:port"}, "server: 'http://host:port'"),
        ({"server": "http://host:99999"}, "server: 'http://host:99999'"),
        ({"server": "http://[::1"}, "server:"),
        ({"server": "http://host?x"}, "server:"),
        ({"server": "http://me:secret@host:99999"}, "server: 'http://host:99999'"),
        ({"server": "grpc://"}, "server: 'grpc://'"),
        ({"server": "http://a..b"}, "server: 'http://a..b'"),
        ({"server": f"http://{'a' * 64}"}, "server: 'http://aaa"),
        ({"server": "http://a b"}, "server: 'http://a b'"),
        ({"server": "grpc://a\udcff:1"}, "server: 'grpc://a"),
        ({"server": None}, "server: None"),
        ({"server": 8500}, "server: 8500"),
        ({"model": "a\udcff"}, "model: "),
        ({"model": 3}, "model: 3"),
        ({"version": 2**63}, "version: 9223372036854775808; allowed: 1 and above, below 2**63"),
        ({"version": "3"}, "version: 3; allowed: 1 and above"),
        ({"steps_now": 1.5}, "steps_now: 1.5"),
        ({"timeout_s": 1e9}, "timeout_s: 1000000000.0; allowed: above 0, up to 2000000"),
        ({"timeout_s": "1"}, "timeout_s: 1; allowed: above 0"),
        ({"server": "grpc://host:1/path"}, "server:"),
        ({"server": "grpcs://host:1/path"}, "server:"),
        ({"on_progress": print}, "settings: None; allowed: all of them"),
        ({"model": ""}, "model: ''"),
        ({"version": 0}, "version: 0; allowed: 1 and above"),
        ({"steps_now": 0}, "steps_now: 0"),
        ({"timeout_s": 0}, "timeout_s: 0"),
        ({"timeout_s": float("inf")}, "timeout_s: inf"),
        ({"content": "gone.png"}, "content: there is no file gone.png"),
        ({"style": np.zeros([2, 2, 4])}, "style: shape"),
    ],
)
def test_mistakes_in_a_call(rest, changes, message):
    model, server = rest
    arguments = {"server": server, "content": CONTENT, "style": STYLE, **changes}
    with pytest.raises(errors.InputError, match=f"^{re.escape(message)}"):
        client.request_stylization(**arguments)
    assert not model.calls


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 2.0}, "size: 2.0; allowed: a whole number"),
        ({"seed": 2**31}, "seed: 2147483648"),
        ({"num_steps": True}, "num_steps: True"),
        ({"content_weight": float("nan")}, "content_weight: nan; allowed: a number"),
        ({"style_weight": 1e39}, "style_weight: 1e\\+39"),
        ({"style_weight": "1"}, "style_weight: 1; allowed: a number"),
    ],
)
def test_mistakes_in_settings(changes, message):
    values = dataclasses.asdict(SETTINGS)
    with pytest.raises(errors.InputError, match=f"^{message}"):
        client.Settings(**values | changes)


@pytest.mark.parametrize(("scheme", "library"), [("grpc", "grpc"), ("http", "requests")])
def test_a_library_that_is_missing_gets_one_line(monkeypatch, scheme, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(errors.InputError, match=r"pip install '\.\[serving\]' in "):
        client.check_server(f"{scheme}://host:1")


def test_rest_needs_no_tensorflow():
    code = "import sys; from nst_tf import client; client.check_server('http://x'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert "requests" in loaded.stdout.split(), loaded.stderr
    assert not {"tensorflow", "grpc", "keras"} & set(loaded.stdout.split())


# The command: in this process, and as a person runs it where that may matter.

COMMAND = [sys.executable, "-m", "nst_tf", "request"]
ENVIRONMENT = {"PYTHONPATH": str(conftest.ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
FILES = ["--content=photo.png", "--style=painting.jpg"]


def _run(folder, *arguments):
    with contextlib.chdir(folder):
        code, out, err = running.answer(["request", *arguments])
    return subprocess.CompletedProcess(arguments, code, out, err)


def _run_apart(folder, *arguments):
    command = [*COMMAND, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)


def _pixel(path):
    with Image.open(path) as picture:
        return picture.size, picture.getpixel((0, 0))


def test_the_tool_writes_the_picture(served, folder):
    model, server = served
    finished = _run_apart(folder, f"--server={server}", *FILES, "--output=out.png")
    assert finished.returncode == 0, finished.stderr
    assert re.fullmatch(
        r"out.png: 32 x 24 pixels, \d+ s; content 0.3, style 0.7, total variation 0.1\n", finished.stdout
    )
    assert finished.stderr == ""
    assert _pixel(folder / "out.png") == ((32, 24), (200, 100, 50))
    assert [signature for signature, _ in model.calls] == ["serving_default"]


def test_the_tool_sends_samples(rest, folder):
    model, server = rest
    named = ["--content=sample:town", "--style=sample:strokes"]
    finished = _run(folder, f"--server={server}", *named, "--output=sample:town.png")
    assert (finished.returncode, finished.stderr) == (0, "")
    ((_, inputs),) = model.calls
    for name, sample in (("content_bytes", "sample:town"), ("style_bytes", "sample:strokes")):
        with opened(inputs[name]) as sent:
            np.testing.assert_array_equal(np.asarray(sent), pictures.to_uint8(pictures.read(sample)))


def test_the_command_needs_no_tensorflow_for_rest(rest, folder):
    code = (
        "import sys; from nst_tf.commands import main; sys.argv.insert(1, 'request');"
        " code = main.main(sys.argv); print(*sys.modules); sys.exit(code)"
    )
    ask = [f"--server={rest[1]}", *FILES, "--num_steps=25", "--progress", "--output=out.png"]
    finished = subprocess.run(
        [sys.executable, "-c", code, *ask], cwd=folder, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert finished.returncode == 0, finished.stderr
    assert not {"tensorflow", "grpc", "keras"} & set(finished.stdout.split())


def test_repeated_calls_are_not_talked_about(rest, folder):
    model, server = rest
    model.plan.append(ConnectionError())
    finished = _run_apart(folder, f"--server={server}", *FILES, "--output=out.png")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(model.calls) == 2


def test_settings_not_given_come_from_the_preset(rest, folder):
    model, server = rest
    ask = [f"--server={server}", *FILES, "--output=out.png", "--overwrite"]
    assert _run(folder, *ask, "--num_steps=7", "--style_weight=3").returncode == 0
    assert _run(folder, *ask, "--preset=johnson").returncode == 0
    assert _run(folder, *ask, "--steps_now=500").returncode == 0
    assert [signature for signature, _ in model.calls] == ["stylize", "stylize", "start", "advance"]
    for index, preset, given in (
        (0, "default", {"num_steps": 7, "style_weight": 3}),
        (1, "johnson", {}),
        (2, "default", {}),
        (3, "default", {}),
    ):
        chosen = presets.PRESETS[preset].config
        expected = {
            "num_steps": sum(chosen.scales.steps),
            "style_weight": chosen.style.weight,
            "size": chosen.scales.size,
        }
        expected |= {"content_weight": chosen.content.weight, "seed": chosen.start.seed} | given
        for name, value in expected.items():
            assert model.calls[index][1][name] == np.float32(value), (preset, name)


@pytest.mark.parametrize(
    ("styles", "options", "weights", "color"),
    [
        (["painting.jpg,photo.png"], ["--style_blend_weights=3,7"], [3, 7], b""),
        (["painting.jpg", "photo.png"], ["--color=luminance"], [1, 1], b"luminance"),
        (["painting.jpg"], ["--color=statistics", "--num_steps=7"], [1], b"statistics"),
    ],
)
def test_the_tool_asks_for_a_blend(rest, folder, styles, options, weights, color):
    model, server = rest
    named = [f"--style={style}" for style in styles]
    ask = [f"--server={server}", "--content=photo.png", *named, *options, "--output=out.png"]
    finished = _run(folder, *ask)
    white = "style 2: what is transparent is white for the server, and counts\n" if len(weights) > 1 else ""
    assert (finished.returncode, finished.stderr) == (0, white)
    ((signature, asked),) = model.calls
    assert signature == "stylize_blend"
    assert len(asked["style_bytes"]) == len(weights)
    assert (asked["style_blend_weights"], asked["color"]) == (weights, color)
    steps = 7 if "--num_steps=7" in options else sum(presets.DEFAULT.scales.steps)
    assert asked["num_steps"] == steps


def test_colours_alone_are_said_to_be_that(rest, folder):
    finished = _run(folder, f"--server={rest[1]}", *FILES, "--color=only", "--output=out.png")
    assert re.fullmatch(r"out.png: 32 x 24 pixels recoloured, \d+ s\n", finished.stdout), finished.stderr


def test_progress_is_shown_and_previews_are_saved(rest, folder):
    model, server = rest
    ask = [f"--server={server}", *FILES, "--num_steps=25", "--progress", "--previews=previews"]
    finished = _run(folder, *ask, "--output=out.png")
    assert finished.returncode == 0, finished.stderr
    assert [line.partition(":")[0] for line in finished.stderr.splitlines()] == [
        "step 10 of 25, 8 x 6",
        "step 20 of 25, 8 x 6",
        "step 25 of 25, 32 x 24",
    ]
    assert len(finished.stdout.splitlines()) == 1
    names = sorted(path.name for path in (folder / "previews").iterdir())
    assert names == ["step_0010.png", "step_0020.png", "step_0025.png"]
    assert (folder / "out.png").read_bytes() == (folder / "previews" / "step_0025.png").read_bytes()
    again = _run(folder, *ask, "--output=other.png")
    assert again.returncode == 2
    assert "previews: previews holds some already; use --overwrite" in again.stderr
    assert len(model.calls) == 4


def test_previews_that_cannot_be_written_cost_no_picture(rest, folder, monkeypatch, capsys):
    write = pictures.write

    def full(image, path):
        if pathlib.Path(path).parent.name == "previews":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(image, path)

    monkeypatch.setattr(pictures, "write", full)
    monkeypatch.chdir(folder)
    ask = [f"--server={rest[1]}", *FILES, "--num_steps=25", "--previews=previews", "--output=out.png"]
    assert main.main(["nst_tf", "request", *ask]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("out.png: 32 x 24 pixels, ")
    assert told.err.splitlines()[-1] == (
        "nst_tf request: previews end here: [Errno 28] No space left on device"
    )
    assert _pixel(folder / "out.png") == ((32, 24), (25, 100, 50))


def test_a_terminal_gets_a_bar(rest, folder):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    _, server = rest
    ask = [f"--server={server}", *FILES, "--num_steps=25", "--progress", "--output=out.png"]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    finished = subprocess.run(
        [*COMMAND, *ask], cwd=folder, stdout=subprocess.PIPE, stderr=theirs, env=ENVIRONMENT
    )
    os.set_blocking(ours, False)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(theirs)
    assert finished.returncode == 0, shown
    assert "step 10 of 25" in shown
    assert "100%" in shown


# Starts a program that heeds Ctrl-C though what started it does not, as a shell's background job.
# `preexec_fn` would run Python in a forked child, which beside gRPC's threads can hang.
_HEEDING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def _interrupt_at(model, call, folder, *arguments):
    """Runs the command, sends Ctrl-C while it waits for an answer; returns (exit code, stdout, stderr)."""
    model.plan.extend([None] * (call - 1) + [model.hang])
    with subprocess.Popen(
        [sys.executable, "-c", _HEEDING, *COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        for _ in range(call):
            assert model.asked.acquire(timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def test_ctrl_c_keeps_the_picture_so_far(served, folder):
    model, server = served
    ask = [f"--server={server}", *FILES, "--num_steps=25", "--progress", "--output=out.png"]
    code, out, err = _interrupt_at(model, 4, folder, *ask)
    assert code == 130, err
    assert out.startswith("out.png: 8 x 6 pixels after 20 of 25 steps, ")
    assert err.splitlines()[-1] == "nst_tf request: interrupted; the picture is the last preview"
    assert "Traceback" not in err
    assert _pixel(folder / "out.png") == ((8, 6), (20, 100, 50))


def test_ctrl_c_before_any_picture_writes_nothing(rest, folder):
    model, server = rest
    before = sorted(folder.iterdir())
    ask = [f"--server={server}", *FILES, "--previews=previews", "--output=out.png"]
    code, out, err = _interrupt_at(model, 2, folder, *ask)
    assert (code, out) == (130, "")
    assert err == "nst_tf request: interrupted; no picture was written\n"
    assert sorted(folder.iterdir()) == before


def test_a_server_that_fails_on_the_way_leaves_the_picture_so_far(rest, folder):
    model, server = rest
    model.plan.extend([None, None, Fault("INTERNAL", "a bolt came loose")])
    ask = [f"--server={server}", *FILES, "--num_steps=25", "--progress", "--output=out.png"]
    finished = _run(folder, *ask)
    assert finished.returncode == 1
    assert finished.stdout.startswith("out.png: 8 x 6 pixels after 10 of 25 steps, ")
    assert finished.stderr.splitlines()[1:] == [
        "nst_tf request: --resume goes on from out.png.checkpoint",
        f"nst_tf request: {server} failed: HTTP 500: a bolt came loose",
    ]
    assert _pixel(folder / "out.png") == ((8, 6), (10, 100, 50))
    again = _run(folder, *ask)
    assert "out.png.checkpoint is there, left by a run that ended early; --resume goes on" in again.stderr
    other = _run(folder, *ask, "--resume", "--seed=7")
    assert (other.returncode, len(other.stderr.splitlines())) == (2, 1)
    assert "is of another run: seed was none, now 7" in other.stderr
    resumed = _run(folder, *ask, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.splitlines()[0] == "out.png.checkpoint: goes on after step 10"
    assert resumed.stdout.startswith("out.png: 32 x 24 pixels, ")
    assert not (folder / "out.png.checkpoint").exists()
    anew = _run(folder, *ask, "--resume", "--overwrite")
    assert "resume: there is no checkpoint beside the output; the run begins anew" in anew.stderr


@pytest.mark.slow
def test_a_client_that_is_killed_goes_on(rest, folder):
    model, server = rest
    ask = [f"--server={server}", *FILES, "--num_steps=25", "--checkpoint_every=0.001", "--output=out.png"]
    model.plan.extend([None] * 3 + [model.hang])
    with subprocess.Popen([*COMMAND, *ask], cwd=folder, env=ENVIRONMENT) as process:
        for _ in range(4):
            assert model.asked.acquire(timeout=60)
        process.kill()
    assert not (folder / "out.png").exists()
    resumed = _run(folder, *ask, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert re.match(r"out.png.checkpoint: goes on after step [12]0\n", resumed.stderr), (
        "as often as 1 % allows"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["out.png", "painting.jpg", "photo.png"]


def test_help():
    finished = _run(conftest.ROOT, "--help")
    assert finished.returncode == 0
    for flag in (
        "server",
        "model",
        "content",
        "style",
        "style_blend_weights",
        "color",
        "output",
        "preset",
        "progress",
        "previews",
        "timeout_s",
        "header",
        "ca_file",
    ):
        assert f"--{flag}" in finished.stdout or f"--[no]{flag}" in finished.stdout


# (arguments, part of the one line): what is wrong is found before anything is sent.
ASK = ["--server=http://127.0.0.1:9", *FILES]
MISTAKES = [
    (["--contnt=x"], "Did you mean: content"),
    (["--size=big"], "--size=big"),
    ([*FILES, "--output=out.png"], "--server=ADDRESS is missing"),
    (["--server=http://h", "--style=painting.jpg"], "--content=FILE is missing"),
    ([*ASK], "--output=FILE is missing"),
    ([*ASK, "--output=out.docx"], "'.docx' is not one of"),
    ([*ASK, "--output=missing/out.png"], "no folder missing"),
    ([*ASK, "--output=photo.png"], "--overwrite"),
    ([*ASK, "--output=photo.png", "--overwrite"], "output: photo.png is the content too"),
    ([*ASK, "--output=out.png", "--previews=photo.png"], "previews: photo.png is a file"),
    ([*ASK, "--output=out.png", "--previews=a/b"], "previews: there is no folder a"),
    ([*ASK, "--output=out.png", "--preset=jonson"], "did you mean 'johnson'"),
    ([*ASK, "--output=out.png", "--size=-1"], "size: -1"),
    ([*ASK, "--output=out.png", "--steps_now=0"], "steps_now: 0"),
    ([*ASK, "--output=out.png", "--timeout_s=-1"], "timeout_s: -1"),
    ([*ASK, "--output=out.png", "--style=gone.jpg"], "style 2: there is no file gone.jpg"),
    ([*ASK[:2], "--style=", "--output=out.png"], "--style=FILE is missing"),
    ([*ASK, "--style=out.png", "--output=out.png", "--overwrite"], "output: out.png is the style too"),
    ([*ASK, "--output=out.png", "--style_blend_weights=1,2"], "style_blend_weights: 2 for 1 style pictures"),
    (
        [*ASK, "--output=out.png", "--style_blend_weights=a"],
        "style_blend_weights: 'a'; allowed: a number for",
    ),
    ([*ASK, "--output=out.png", "--color=blue"], "color: 'blue' is not one of style, luminance, statistics,"),
    ([*ASK, "--output=out.png", "--color=only", "--progress"], "color: color=only takes no steps of which"),
    ([*ASK, "--output=out.png", "--outside=free"], "outside: it does nothing without content_mask or"),
    ([*ASK, "--output=out.png", "--content_mask=gone.png"], "content_mask: there is no file gone.png"),
    ([*ASK, "--output=out.png", "--style_regions=#ff0000"], "content_regions: missing; style_regions needs"),
    (
        [*ASK, "--content_mask=out.png", "--output=out.png", "--overwrite"],
        "output: out.png is the content_mask too",
    ),
    ([*ASK, "--output=out.png", "--header=a"], "header: a text without NAME=; allowed: NAME=VALUE"),
    (
        [*ASK, "--output=out.png", "--ca_file=ca.pem"],
        "ca_file: ca.pem for http://; allowed: with grpcs:// or",
    ),
    ([*ASK, "--output=out.png", "--checkpoint_every=-1"], "checkpoint_every"),
    (["--server=ftp://h", *FILES, "--output=out.png"], "server: 'ftp://h'"),
    ([*ASK, "--output=out.png", "--style=sample:strok"], "style: 'sample:strok' is not one of sample:town, "),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_gets_one_line_and_writes_nothing(folder, arguments, message):
    before = sorted(folder.iterdir())
    finished = _run(folder, *arguments)
    assert finished.returncode == 2, finished.stderr
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert finished.stdout == ""
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault("NOT_FOUND", "x"), 2), (Fault("INVALID_ARGUMENT", "x"), 2), (Fault("INTERNAL", "x"), 1)],
)
def test_exit_codes_of_what_a_server_says(rest, folder, fault, code):
    model, server = rest
    model.plan.append(fault)
    finished = _run(folder, f"--server={server}", *FILES, "--output=out.png", "--previews=new")
    assert finished.returncode == code
    assert len(finished.stderr.splitlines()) == 1
    assert not {"out.png", "new"} & {path.name for path in folder.iterdir()}
