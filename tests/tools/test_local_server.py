"""The local server over loopback, by TensorFlow Serving's own stubs and by HTTP, with a small model."""

import base64
import concurrent.futures
import contextlib
import gzip
import http.client
import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import grpc
import hypothesis
import numpy as np
import psutil
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from local_server import json_tensors, models, rest, server
from local_server.cancelling import Gone
from local_server.server import LocalServer
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from nst_tf import errors
from tests import conftest
from tests.support import predictions

TensorProto = type(tf.make_tensor_proto(0))

_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE

ENDLESS = 10**9  # steps that would take hours


class Toy(tf.Module):
    """A signature of each kind; `scale` multiplies by the version."""

    def __init__(self, version):
        """Takes the version."""
        super().__init__()
        self.factor = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "content_bytes")])
    def shout(self, content_bytes):
        return {"image_bytes": tf.strings.join([content_bytes, "!"]), "text": content_bytes}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def scale(self, x):
        return {"y": self.factor * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "num_steps")])
    def loop(self, num_steps):
        body = lambda step, x: (step + 1, tf.tanh(x @ x))  # noqa: E731
        steps, _ = tf.while_loop(lambda step, _: step < num_steps[0], body, [0, tf.eye(32)])
        return {"steps_done": tf.fill([tf.size(num_steps)], steps)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "content_bytes")])
    def short(self, content_bytes):
        def check(one):
            tf.debugging.Assert(tf.strings.length(one) <= 4, ["content_bytes: longer than 4 bytes"])
            return tf.strings.length(one)

        return {"length": tf.map_fn(check, content_bytes, fn_output_signature=tf.int32)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, "a"), tf.TensorSpec([None], tf.bool, "flag")],
    )
    def pair(self, a, flag):
        return {"a": a, "flag": flag, "rank": tf.rank(a)}

    def save(self, folder):
        names = {"serving_default": self.shout}
        names |= {name: getattr(self, name) for name in ("scale", "loop", "short", "pair")}
        tf.saved_model.save(self, folder, signatures=names)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Versions 1 and 2, to be copied."""
    folder = tmp_path_factory.mktemp("saved") / "toy"
    for version in (1, 2):
        Toy(version).save(str(folder / str(version)))
    return folder


class Client:
    """One server's two ways in."""

    def __init__(self, server):
        """Takes the server."""
        self.port, self.grpc_port, self.name = server.rest_port, server.grpc_port, server.name
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def raw(self, method, path, body=None, headers=()):
        """Returns the status, the type of what comes, and its bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.headers.get_content_type(), response.read()
        finally:
            connection.close()

    def http(self, method, path, body=None, headers=()):
        """Returns the status and what the JSON says."""
        status, _, answer = self.raw(method, path, body, headers)
        return status, json.loads(answer or "null")

    def post(self, body, path="", headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body)
        return self.http("POST", f"/v1/models/{self.name}{path}:predict", body, headers)

    def request(self, signature, version=None, **inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.name, signature
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            proto = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(proto)
        return request

    def predict(self, signature, version=None, timeout=30.0, **inputs):
        response = self.predictions.Predict(self.request(signature, version, **inputs), timeout=timeout)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def loops_forever(self, seconds):
        """Starts a prediction that only its deadline ends."""
        return self.predictions.Predict.future(self.request("loop", num_steps=[ENDLESS]), timeout=seconds)


# Of either kind one thread listens.
GRPC_THREADS, REST_THREADS, REST_TIMEOUT_MS = 4, 3, 700

# How late an answer may be: a quiet machine needs less than a tenth of it.
SLACK_S = 2.0


@pytest.fixture(scope="module")
def client(saved):
    with LocalServer(
        saved,
        grpc_max_threads=GRPC_THREADS,
        rest_api_num_threads=REST_THREADS,
        max_body_mb=1,
        rest_api_timeout_in_ms=REST_TIMEOUT_MS,
    ) as server:
        yield Client(server)


def _code(call):
    """Returns the status code and the text of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def _b64(data):
    return {"b64": base64.b64encode(data).decode()}


def _until(found, seconds=8.0):
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


BYTES = b"\xff\x00\x89PNG"


def test_grpc_predicts(client):
    outputs = client.predict("", content_bytes=[BYTES, b"b"])
    assert outputs["image_bytes"].tolist() == [BYTES + b"!", b"b!"]
    np.testing.assert_array_equal(client.predict("scale", x=[[1.5, -2.0]])["y"], [[3.0, -4.0]])
    assert client.predict("loop", num_steps=[7])["steps_done"].tolist() == [7]
    assert client.predict("pair", a=np.array([2**40]), flag=[True])["a"].tolist() == [2**40]


def test_grpc_says_which_version_and_keeps_to_the_filter(client):
    request = client.request("", version=2, content_bytes=[b"a"])
    request.output_filter.append("text")
    response = client.predictions.Predict(request)
    assert list(response.outputs) == ["text"]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("toy", "serving_default", 2)
    # The field that TensorFlow Serving fills, not tensor_content.
    y = client.predictions.Predict(client.request("scale", x=[[1.0, 2.0]])).outputs["y"]
    assert list(y.float_val) == [2.0, 4.0]
    request.output_filter.append("text")
    found = _code(lambda: client.predictions.Predict(request))
    assert found == ("INVALID_ARGUMENT", "duplicate output tensor alias: text")
    request.output_filter[:] = ["shape"]
    found = _code(lambda: client.predictions.Predict(request))
    known = "Outputs expected to be in the set {image_bytes,text}."
    assert found == ("INVALID_ARGUMENT", f"output tensor alias not found in signature: shape {known}")


@pytest.mark.parametrize(
    ("name", "body", "answer"),
    [
        # Several outputs are named, a single one is not; bytes and text.
        ("", {"inputs": ["a", _b64(b"b")]}, {"image_bytes": [_b64(b"a!"), _b64(b"b!")], "text": ["a", "b"]}),
        ("", {"inputs": {"content_bytes": []}}, {"image_bytes": [], "text": []}),
        (
            "",
            {"instances": [_b64(BYTES)]},
            [{"image_bytes": _b64(BYTES + b"!"), "text": "\ufffd\0\ufffdPNG"}],
        ),
        (
            "",
            {"instances": [{"content_bytes": "\u00e9"}]},
            [{"image_bytes": _b64(b"\xc3\xa9!"), "text": "\u00e9"}],
        ),
        ("scale", {"instances": [[1, 0.1], [0.5, 3]]}, [[2.0, 0.2], [1.0, 6.0]]),
        ("scale", {"instances": [{"x": [1, 0.1]}]}, [[2.0, 0.2]]),
        ("scale", {"inputs": {"x": [[1, 0.1]]}}, [[2.0, 0.2]]),
        # Shapes that the signature does not have are handed on to the graph.
        ("scale", {"inputs": [[1, 2, 3]]}, [[2.0, 4.0, 6.0]]),
        ("scale", {"inputs": 3}, 6.0),
        ("", {"inputs": "a"}, {"image_bytes": _b64(b"a!"), "text": "a"}),
        # TensorFlow Serving rounds integers that a float does not hold.
        ("scale", {"inputs": [[16777217, -16777217]]}, [[33554432.0, -33554432.0]]),
        ("loop", {"instances": [7, 9]}, [7, 7]),
        # Columns may have names that the signature does not.
        ("", {"inputs": {"content_bytes": ["a"], "more": 1}}, {"image_bytes": [_b64(b"a!")], "text": ["a"]}),
        (
            "pair",
            {"inputs": {"a": [2**53 + 1], "flag": [True]}},
            {"a": [2**53 + 1], "flag": [True], "rank": 1},
        ),
    ],
)
def test_rest_predicts(client, name, body, answer):
    key = "predictions" if "instances" in body else "outputs"
    for path in ("", "/versions/2"):
        assert client.post({"signature_name": name, **body}, path) == (200, {key: answer})


def test_rest_writes_what_json_has_no_numbers_for(client):
    code, answer = client.post(b'{"signature_name": "scale", "inputs": [[NaN, -Infinity]]}')
    assert code == 200
    np.testing.assert_array_equal(answer["outputs"], [[np.nan, -np.inf]])


def test_metadata_and_status_are_the_same_both_ways(client):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    response = client.predictions.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 2
    assert signatures.signature_def["scale"].inputs["x"].dtype == tf.float32.as_datatype_enum
    code, found = client.http("GET", "/v1/models/toy/metadata")
    assert code == 200
    assert found["model_spec"] == {"name": "toy", "signature_name": "", "version": "2"}
    described = found["metadata"]["signature_def"]["signature_def"]["scale"]["inputs"]["x"]
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False}
    assert described == {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "scale_x:0"}

    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "toy"
    (version,) = client.models.GetModelStatus(status).model_version_status
    assert (version.version, version.state, version.status.error_code) == (2, version.AVAILABLE, 0)
    one = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    # What is no `metadata` in lower case is the status, and the status pays no heed to a label.
    for path in ("toy", "toy/versions/2", "to%79", "toy/METADATA", "toy/labels/new"):
        assert client.http("GET", f"/V1/models/{path}") == (200, {"model_version_status": [one]})


@pytest.mark.parametrize(
    ("method", "path", "code", "text"),
    [
        ("GET", "/v1/models/toy/versions/1", 404, "Could not find version 1 of model toy"),
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        (
            "POST",
            "/v1/models/toy/versions/1:predict",
            404,
            "Servable not found for request: Specific(toy, 1)",
        ),
        ("POST", "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("GET", "/v1/models/toy?x=1", 404, "Could not find any versions of model toy?x=1"),
        ("GET", "/v1/models/to%79/versions/1", 404, "Could not find version 1 of model toy"),
        ("GET", "/v1/models/toy/versions/2?x=1", 400, "Malformed request: GET /v1/models/toy/versions/2?x=1"),
        ("GET", "/v1/models/toy/metadata?x=1", 400, "Malformed request"),
        ("POST", "/v1/models/toy:predict?x=1", 400, "Malformed request: POST /v1/models/toy:predict?x=1"),
        ("POST", "/v1/models/toy:PREDICT", 400, "Malformed request: POST /v1/models/toy:PREDICT"),
        ("POST", "/v1/models/toy/labels/new:predict", 400, "Unrecognized servable version label: new"),
        ("GET", "/v1/models/toy/labels/new/metadata", 400, "Unrecognized servable version label: new"),
        ("GET", "/v1/models/toy:predict", 400, "Malformed request: GET /v1/models/toy:predict"),
        ("POST", "/v1/models/toy", 400, "Malformed request: POST /v1/models/toy"),
        ("DELETE", "/v1/models/toy", 400, "Malformed request: DELETE /v1/models/toy"),
        ("GET", "/v1/models/toy/versions/x", 400, "Malformed request"),
        ("GET", "/v1//models/%ff%00/../toy", 400, "Malformed request"),
    ],
)
def test_what_is_not_there_is_said_to_be_so(client, method, path, code, text):
    found, answer = client.http(method, path, '{"inputs": ["a"]}' if method == "POST" else None)
    assert found == code
    assert text in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("GET", "/", 404, "Not Found"),
        ("GET", "/v1", 404, "Not Found"),
        ("GET", "/monitoring/prometheus/metrics", 404, "Not Found"),
        ("POST", "/v2/models/toy:predict", 404, "Not Found"),
        ("BREW", "/v1/models/toy", 501, "Not Implemented"),
    ],
)
def test_what_reaches_no_model_gets_the_web_servers_page(client, method, path, code, reason):
    """The texts of libevent's evhttp_send_error."""
    page = f"<HTML><HEAD>\n<TITLE>{code} {reason}</TITLE>\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"
    assert client.raw(method, path) == (code, "text/html", page.encode())


def test_a_version_that_is_no_int64_gets_no_text(client):
    for number in ("9" * 30, "9223372036854775808"):
        assert client.raw("GET", f"/v1/models/toy/versions/{number}") == (400, "application/json", b"")
    assert client.http("GET", "/v1/models/toy/versions/9223372036854775807")[0] == 404
    assert client.http("GET", f"/v1/models/toy/versions/{'0' * 30}2")[0] == 200


def test_a_gzip_body_is_unpacked(client):
    packed, named = gzip.compress(b'{"inputs": ["a"]}'), {"Content-Encoding": "gzip"}
    assert client.post(packed, headers=named) == client.post({"inputs": ["a"]})
    # What is damaged, cut or over 10 MiB is nothing to TensorFlow Serving.
    bomb = gzip.compress(b'{"inputs": ["' + b"a" * 11_000_000 + b'"]}')
    for body in (b"no gzip", packed[:-12], bomb):
        found = client.post(body, headers=named)
        assert found == (400, {"error": "JSON Parse error: The document is empty"})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[]", "JSON Value: [] Is not object"),
        (b'{"inputs": ["a"]', "JSON Parse error"),
        (b'{"inputs": ["\xff"]}', "JSON Parse error: 'utf-8'"),
        (b'{"inputs": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"[" * 100 + b"]" * 100 + b"}", "tensor parsing error: content_bytes"),
        (b'{"inputs": ["\\ud800"]}', "JSON Parse error: The surrogate pair in string is invalid."),
        (b'{"inputs": [' + b"1" * 5000 + b"]}", "JSON Parse error"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": ["a"], "instances": ["a"]}, "expecting only one of 'inputs' or 'instances' keys"),
        ({"inputs": ["a"], "signature_name": 3}, "'signature_name' key must be a string value."),
        ({"inputs": ["a"], "signature_name": None}, "'signature_name' key must be a string value."),
        ({"inputs": 1, "signature_name": "shout"}, 'signature name: "shout" not found in signature def'),
        (
            {"inputs": {}, "signature_name": "__saved_model_init_op"},
            "Failed to get input map for signature: __saved_model_init_op",
        ),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": "a"}, "Excepting 'instances' to be an list/array"),
        ({"instances": [{"content_bytes": "a"}, "b"]}, "Expecting object but got list at item 1 of input"),
        ({"instances": ["b", {"content_bytes": "a"}]}, "Expecting value/list but got object at item 1"),
        ({"inputs": {"content": ["a"]}}, "Missing named input: content_bytes in 'inputs' object."),
        ({"signature_name": "pair", "inputs": {"a": [1]}}, "Missing named input: flag in 'inputs' object."),
        ({"signature_name": "pair", "inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
        ({"signature_name": "pair", "instances": [1]}, "instances is a plain list, but expecting list of"),
        ({"inputs": [{"b64": "a*"}]}, "Unable to base64 decode"),
        ({"inputs": [{"b64": "a"}]}, "Unable to base64 decode"),
        ({"inputs": [{"b64": 3}]}, 'JSON Value: {\n    "b64": 3\n} not formatted correctly for base64 data'),
        ({"inputs": [3]}, "JSON Value: 3 Type: Number is not of expected type: string"),
        ({"inputs": [None]}, "JSON Value: null Type: Null is not of expected type: string"),
        ({"inputs": [["a"], "b"]}, 'JSON Value: "b" found at incorrect level: 2 in the JSON DOM.'),
        ({"inputs": [["a"], ["b", "c"]]}, "list at unexpected size: 2 at level: 1 expected size: 1"),
        ({"inputs": ["a", ["b"]]}, "Encountered list at unexpected level: 1 expected < 1"),
        (
            {"signature_name": "scale", "inputs": [[True, 2]]},
            "true Type: True is not of expected type: float",
        ),
        (
            {"signature_name": "scale", "inputs": [[1e39, 2]]},
            "Cannot convert JSON value: 1e+39 to float without loss of precision.",
        ),
        ({"signature_name": "loop", "inputs": [1.0]}, "1.0 Type: Number is not of expected type: int32"),
        (
            {"signature_name": "loop", "inputs": [2**31]},
            "2147483648 Type: Number is not of expected type: int",
        ),
        (
            {"instances": [{"content_bytes": "a"}, {"content_bytes": 3}]},
            "Failed to process element: 1 key: content_bytes of 'instances' list. Error: INVALID_ARGUMENT:"
            " JSON Value: 3 Type: Number is not of expected type: string",
        ),
        (
            {"instances": [{"content_bytes": "a", "more": 1}]},
            "Failed to process element: 0 key: more of 'instances' list. Error: INVALID_ARGUMENT: JSON"
            " object: does not have named input: more",
        ),
        (
            {"signature_name": "pair", "instances": [{"a": 1}]},
            "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": 1\n} keys must be"
            " equal to: a,flag",
        ),
        (
            {"signature_name": "scale", "instances": [[1, 2], [3]]},
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting"
            " tensor size: 2 but got: 1",
        ),
        (
            {"signature_name": "scale", "instances": [[1, 2], [[3], [4]]]},
            "Expecting shape [2] but got: [2,1]",
        ),
        (
            {"signature_name": "pair", "instances": [{"a": 1, "flag": True}]},
            "Tensor name: rank has no shape information ",
        ),
        ({"signature_name": "short", "inputs": ["a", "long one"]}, "content_bytes: longer than 4 bytes"),
    ],
)
def test_a_bad_body_gets_tensorflow_servings_text(client, body, text):
    """The texts of json_tensor.cc."""
    code, answer = client.post(body)
    assert code == 400, answer
    assert text in answer["error"]


def test_rows_of_different_numbers_are_refused():
    refused = r"^Tensor name: b has inconsistent batch size: 3 expecting: 2$"
    with pytest.raises(models.ServingError, match=refused):
        json_tensors.write_response({"a": np.zeros(2), "b": np.zeros(3)}, by_row=True)


def test_what_the_graph_refuses_is_told_in_tensorflows_own_text(client):
    """With the node, without what Python adds; by both protocols."""
    code, by_grpc = _code(lambda: client.predict("short", content_bytes=[b"too long"]))
    assert code == "INVALID_ARGUMENT"
    _, answer = client.post({"signature_name": "short", "inputs": ["too long"]})
    for text in (by_grpc, answer["error"]):
        said, _, where = text.partition("\n\t ")
        assert said == "assertion failed: [content_bytes: longer than 4 bytes]"
        assert re.fullmatch(
            r"\[\[(\{\{function_node \w+\}\})?\{\{node map/while/Assert/Assert\}\}\]\]", where
        )
    # A shape that the graph can do nothing with: which of its nodes says so first differs.
    code, answer = client.post({"signature_name": "short", "inputs": "too long"})
    assert code == 400
    assert "{{node map/" in answer["error"]


def test_a_long_value_hides_no_reason(client):
    _, answer = client.post({"instances": [{"content_bytes": "a" * 5000, "more": "b"}]})
    assert answer["error"].endswith("does not have named input: more")
    _, answer = client.post({"instances": [{"more": "a" * 5000}]})
    assert answer["error"].startswith("Failed to process element: 0 key: more")


def _tensor(dtype=tf.float32, sizes=(1, 2), **fields):
    proto = TensorProto(dtype=dtype.as_datatype_enum, **fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("inputs", "code", "text"),
    [
        (
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but"
            " required: {x}.",
        ),
        (
            {"y": [[1.0, 2.0]]},
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: scale_x:0) not found in request and no default value"
            " provided. Inputs expected to be in the request {y}, or default input alias set: ",
        ),
        # By TensorFlow's session.
        ({"x": [[1, 2]]}, "INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided"),
        ({"x": ["a"]}, "INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"),
        (
            {"x": _tensor(sizes=[2**40, 2], float_val=[1.0])},
            "INVALID_ARGUMENT",
            "allowed: up to 1048576 bytes",
        ),
        ({"x": _tensor(sizes=[-1, 2])}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        ({"x": _tensor(tensor_content=b"abc")}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        ({"x": _tensor(float_val=[1.0] * 9)}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        ({"x": _tensor(tf.variant)}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        ({"x": _tensor(tf.resource, [0])}, "INVALID_ARGUMENT", "tensor parsing error: x"),
    ],
)
def test_grpc_refuses_tensors_that_do_not_fit(client, inputs, code, text):
    found, details = _code(lambda: client.predict("scale", **inputs))
    assert found == code
    assert text in details


def test_grpc_has_tensorflow_servings_codes(client):
    found = _code(lambda: client.predict("no", x=[1.0]))
    assert found == ("FAILED_PRECONDITION", 'Serving signature key "no" not found.')
    assert _code(lambda: client.predict("scale", version=1, x=[1.0]))[0] == "NOT_FOUND"
    request = client.request("scale", x=[1.0])
    request.model_spec.version_label = "stable"
    found = _code(lambda: client.predictions.Predict(request))
    assert found == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")
    request.model_spec.name = ""
    found = _code(lambda: client.predictions.Predict(request))
    assert found == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(model_spec={"name": "toy"})
    assert _code(lambda: client.predictions.GetModelMetadata(metadata))[0] == "INVALID_ARGUMENT"
    nothing = get_model_status_pb2.GetModelStatusRequest()
    assert _code(lambda: client.models.GetModelStatus(nothing)) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    status = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "other"})
    assert _code(lambda: client.models.GetModelStatus(status))[0] == "NOT_FOUND"


def test_what_is_too_long_is_refused(client):
    for size in (1_100_000, 9_000_000):
        body = b'{"inputs": ["' + b"a" * size + b'"]}'
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            head = f"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[:1_000_000])
            if size < 2_000_000:
                connection.sendall(body[1_000_000:])
            assert connection.recv(12) == b"HTTP/1.1 413"
    found, details = _code(lambda: client.predict("", content_bytes=[b"a" * 1_100_000]))
    assert (found, "larger than max" in details) == ("RESOURCE_EXHAUSTED", True)
    assert client.post({"inputs": ["a" * 900_000]})[0] == 200


def test_a_body_that_breaks_off_hurts_no_one(client):
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(b'POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"inp')
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert b" 400 " in connection.recv(100)
    assert client.post({"inputs": ["a"]})[0] == 200


def test_a_deadline_ends_a_loop(client):
    start = time.monotonic()
    code, answer = client.post({"signature_name": "loop", "inputs": [ENDLESS]})
    assert (code, answer["error"]) == (504, "Timed out waiting for notification")
    assert time.monotonic() - start < REST_TIMEOUT_MS / 1000 + SLACK_S
    start = time.monotonic()
    assert _code(client.loops_forever(0.5).result)[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - start < 0.5 + SLACK_S
    # All have ended on the server too: there is room for as many as may run.
    _until(lambda: client.post({"inputs": ["a"]})[0] == 200, SLACK_S)


def _grpc_status(client):
    """Returns the code of a request for the status."""
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "toy"})
    try:
        client.models.GetModelStatus(request, timeout=30.0)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_calls_beyond_the_threads_of_grpc_are_refused_and_rest_has_its_own(client, monkeypatch):
    """As in TensorFlow Serving: N threads allow N - 1 calls; others, status among them, are refused."""
    with predictions.held(monkeypatch) as have_begun:
        request = client.request("scale", x=[[1.0, 1.0]])
        running = [client.predictions.Predict.future(request, timeout=30.0) for _ in range(GRPC_THREADS - 2)]
        have_begun(GRPC_THREADS - 2)
        _until(lambda: _grpc_status(client) == "OK", SLACK_S)
        running += [client.predictions.Predict.future(request, timeout=30.0)]
        have_begun(1)
        assert _grpc_status(client) == "RESOURCE_EXHAUSTED"
        assert _code(lambda: client.predict("scale", x=[[1.0, 1.0]]))[0] == "RESOURCE_EXHAUSTED"
        assert client.http("GET", "/v1/models/toy")[0] == 200
    for call in running:
        assert tf.make_ndarray(call.result().outputs["y"]).tolist() == [[2.0, 2.0]]
    _until(lambda: _grpc_status(client) == "OK", SLACK_S)


def test_requests_beyond_the_threads_of_rest_wait(client, monkeypatch):
    """As in TensorFlow Serving: N threads allow N - 1 requests; others, status among them, wait."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with predictions.held(monkeypatch) as have_begun:
            asked = [pool.submit(client.post, {"inputs": ["a"]}) for _ in range(REST_THREADS - 2)]
            have_begun(REST_THREADS - 2)
            assert client.http("GET", "/v1/models/toy")[0] == 200
            asked += [pool.submit(client.post, {"inputs": ["a"]})]
            have_begun(1)
            asked += [pool.submit(client.http, "GET", "/v1/models/toy")]
            assert not concurrent.futures.wait(asked, timeout=0.3).done
            assert _grpc_status(client) == "OK"
        assert [one.result()[0] for one in asked] == [200] * REST_THREADS


# Between a client's end and that of its prediction; a quiet machine needs 0.3 s.
FREED_S = 5.0


@pytest.fixture(scope="module")
def single(saved):
    """A server with room for one prediction each way, and no limit to its time."""
    with LocalServer(saved, grpc_max_threads=2, rest_api_num_threads=2, rest_api_timeout_in_ms=0) as server:
        yield Client(server)


# Programs that send standard input as a request for a prediction, to a port.
_ASKS_BY_GRPC = """
import sys, grpc
channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(sys.stdin.buffer.read())
"""
_ASKS_BY_REST = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("POST", "/v1/models/toy:predict", sys.stdin.buffer.read())
connection.getresponse()
"""


@pytest.mark.parametrize("by", ["grpc", "rest"])
def test_a_killed_client_frees_its_place(single, by, monkeypatch):
    """TensorFlow ends the prediction, which would run for ever; the next one has its queue and its thread."""
    begun, ends, run = threading.Semaphore(0), [], models.Version.run

    def noted(*args, **kwargs):
        begun.release()
        try:
            return run(*args, **kwargs)
        except models.ServingError as error:
            ends.append((error.code, error.message))
            raise

    monkeypatch.setattr(models.Version, "run", noted)
    program, port, body = {
        "grpc": (
            _ASKS_BY_GRPC,
            single.grpc_port,
            single.request("loop", num_steps=[ENDLESS]).SerializeToString(),
        ),
        "rest": (
            _ASKS_BY_REST,
            single.port,
            json.dumps({"signature_name": "loop", "inputs": [ENDLESS]}).encode(),
        ),
    }[by]
    for _ in range(2):
        asking = subprocess.Popen([sys.executable, "-c", program, str(port)], stdin=subprocess.PIPE)
        assert asking.stdin is not None
        try:
            asking.stdin.write(body)
            asking.stdin.close()
            assert begun.acquire(timeout=30.0)
            if by == "grpc":
                assert _grpc_status(single) == "RESOURCE_EXHAUSTED"
        finally:
            asking.kill()
            asking.wait()
        start = time.monotonic()
        if by == "grpc":
            _until(lambda: _grpc_status(single) == "OK", FREED_S)
        else:
            assert single.http("GET", "/v1/models/toy")[0] == 200  # waits for the one place
        assert time.monotonic() - start < FREED_S
    assert ends == [(tf.errors.CANCELLED, "the client has gone away")] * 2
    assert single.predict("loop", num_steps=[3])["steps_done"].tolist() == [3]


def test_a_client_that_went_away_before_its_prediction_began_gets_none(saved):
    versions, gone = models.Versions(saved, "toy"), Gone()
    assert versions.refresh()
    with versions.use(model_pb2.ModelSpec(name="toy")) as version:
        gone.tell()
        loop = {"num_steps": np.array([ENDLESS], np.int32)}
        with pytest.raises(models.ServingError, match="the client has gone away"):
            version.run("loop", loop, lambda _name, value: value, gone=gone)
        # The queue is as good as new, with a time-out too.
        for _ in range(2):
            with pytest.raises(models.ServingError, match="Timed out"):
                version.run("loop", loop, lambda _name, value: value, timeout_ms=50)
            few = {"num_steps": np.array([2], np.int32)}
            found = version.run("loop", few, lambda _name, value: value)
            assert found["steps_done"].tolist() == [2]
    versions.close()


def test_each_of_more_predictions_than_cores_can_be_ended(saved):
    """Though a loop keeps one of TensorFlow's threads busy for as long as it runs."""
    count = (os.cpu_count() or 1) + 1
    versions, gone = models.Versions(saved, "toy", count), [Gone() for _ in range(count)]
    assert versions.refresh()
    loop = {"num_steps": np.array([ENDLESS], np.int32)}
    with (
        versions.use(model_pb2.ModelSpec(name="toy")) as version,
        concurrent.futures.ThreadPoolExecutor(count) as pool,
    ):

        def run(each):
            # What cannot be ended would run for hours.
            return version.run("loop", loop, lambda _name, value: value, timeout_ms=20_000, gone=each)

        running = [pool.submit(run, each) for each in gone]
        time.sleep(0.5)  # they loop
        for each, asked in zip(gone, running, strict=True):
            each.tell()
            with pytest.raises(models.ServingError, match="the client has gone away"):
                asked.result(timeout=FREED_S)
    versions.close()


def test_idle_connections_lock_nobody_out(client):
    """More than the server keeps open; those that are closed are idle longest, never one with a request."""
    with contextlib.ExitStack() as opened:
        idle = [
            opened.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            for _ in range(rest._MOST_CONNECTIONS + 30)
        ]
        start = time.monotonic()
        assert client.http("GET", "/v1/models/toy")[0] == 200
        assert time.monotonic() - start < SLACK_S
        idle[0].settimeout(SLACK_S)
        assert idle[0].recv(1) == b""  # closed
        idle[-1].sendall(b"GET /v1/models/toy HTTP/1.1\r\n\r\n")
        assert idle[-1].recv(12) == b"HTTP/1.1 200"


KEYS = st.sampled_from(["b64", "x", "content_bytes", "num_steps"]) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "instances": JSON,
        "inputs": JSON,
        "signature_name": st.sampled_from(["scale", "short", "pair"]) | JSON,
    },
)
# Whatever quick machines take for one example, a busy one may take much longer.
HOSTILE = hypothesis.settings(max_examples=30, deadline=None, database=None)


@HOSTILE
@hypothesis.given(body=st.binary(max_size=60) | BODIES)
def test_no_body_does_harm(client, body):
    code, answer = client.post(body)
    assert code == 200 or (400 <= code < 500 and set(answer) == {"error"}), answer
    assert client.post({"inputs": ["a"]})[0] == 200


TENSORS = st.builds(
    _tensor,
    st.sampled_from(
        [tf.string, tf.float32, tf.int64, tf.half, tf.bfloat16, tf.qint8, tf.complex64, tf.bool, tf.resource]
    ),
    st.lists(st.sampled_from([-1, 0, 1, 2, 2**40, 2**62]), max_size=4),
    string_val=st.lists(st.binary(max_size=8), max_size=3),
    tensor_content=st.binary(max_size=8),
)


@HOSTILE
@hypothesis.given(value=st.lists(st.binary(max_size=8), min_size=1, max_size=3) | TENSORS)
def test_no_tensor_does_harm(client, value):
    code = grpc.StatusCode.OK
    try:
        lengths = client.predict("short", content_bytes=value)["length"].tolist()
        assert isinstance(value, TensorProto) or lengths == [len(one) for one in value]
    except grpc.RpcError as error:
        code = error.code()
    if isinstance(value, list) and max(map(len, value)) <= 4:
        assert code == grpc.StatusCode.OK
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
    assert client.predict("short", content_bytes=[b"abc"])["length"].tolist() == [3]


def test_what_is_no_message_does_no_harm(client):
    call = client.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert _code(lambda: call(b"\xff\xfe garbage"))[0] == "INTERNAL"
    call = client.channel.unary_unary("/tensorflow.serving.PredictionService/Classify")
    assert _code(lambda: call(b""))[0] == "UNIMPLEMENTED"
    assert client.predict("loop", num_steps=[1])["steps_done"].tolist() == [1]


def _place(source, target):
    """Copies a version to where it is seen only once it is complete."""
    shutil.copytree(source, target.with_name("new"))
    target.with_name("new").rename(target)


def _ask_all_the_time(client, by_rest, stop):
    """Returns the different answers: versions, or what failed."""
    answers: set[Any] = set()
    while not stop.is_set():
        try:
            if by_rest:
                code, answer = client.post({"signature_name": "scale", "inputs": [[1, 1]]})
                answers.add(answer["outputs"][0][0] if code == 200 else str(answer))
            else:
                answers.add(float(client.predict("scale", x=[[1.0, 1.0]])["y"][0, 0]))
        except Exception as error:
            answers.add(error)
    return answers


def test_versions_come_and_go_and_no_request_fails(saved, tmp_path, caplog):
    _place(saved / "1", tmp_path / "1")
    stop = threading.Event()
    with (
        LocalServer(tmp_path, model_name="toy", rest_api_timeout_in_ms=2500) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        client = Client(server)
        asking = [pool.submit(_ask_all_the_time, client, by_rest, stop) for by_rest in (True, False, True)]

        def serves(version):
            return client.predict("scale", x=[[1.0, 1.0]])["y"][0, 0] == version

        def states():
            found = client.http("GET", "/v1/models/toy")[1]["model_version_status"]
            return {int(one["version"]): one["state"] for one in found}

        try:
            slow = pool.submit(client.post, {"signature_name": "loop", "inputs": [ENDLESS]})
            _place(saved / "2", tmp_path / "2")
            _until(lambda: serves(2))
            assert states() == {2: "AVAILABLE", 1: "UNLOADING"}
            assert _code(lambda: client.predict("scale", version=1, x=[[1.0, 1.0]]))[0] == "NOT_FOUND"
            # It was kept until its request had its time.
            assert slow.result()[0] == 504
            _until(lambda: states() == {2: "AVAILABLE", 1: "END"})

            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "saved_model.pb").write_bytes(b"no model")
            (tmp_path / "new").rename(tmp_path / "3")
            _until(lambda: states().get(3) == "END")
            why = client.http("GET", "/v1/models/toy/versions/3")[1]["model_version_status"][0]["status"]
            assert why["error_code"] != "OK"
            assert serves(2)
            (tmp_path / "3").rename(tmp_path / "gone")
            shutil.rmtree(tmp_path / "2")
            _until(lambda: serves(1))
        finally:
            stop.set()
        for asked in asking:
            assert asked.result() == {1.0, 2.0}
        shutil.rmtree(tmp_path / "1")
        _until(lambda: client.post({"inputs": ["a"]})[0] == 404)
    assert len([one for one in caplog.messages if one.startswith("toy: version 3 cannot be loaded: ")]) == 1


def test_a_version_that_failed_is_tried_again_once_its_files_change(saved, tmp_path):
    versions = models.Versions(tmp_path, "toy")
    assert not versions.refresh()
    (tmp_path / "1").mkdir()
    assert not versions.refresh()
    for path in ("x1", "1x", "-1", "1.5", "9" * 19):
        (tmp_path / path).mkdir()
    shutil.copytree(saved / "1", tmp_path / "1", dirs_exist_ok=True)
    assert versions.refresh()
    versions.close()


class _Watched:
    """A lock that checks something each time before it is given back."""

    def __init__(self, check):
        """Takes the check."""
        self._lock, self._check = threading.Lock(), check

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._check()
        self._lock.release()


def test_what_is_said_to_be_available_is_what_is_served(saved, tmp_path, monkeypatch):
    versions = models.Versions(tmp_path, "toy")
    seen = []

    def check():
        available = [one for one, status in versions._statuses.items() if status.state == _AVAILABLE]
        seen.append((available, versions._current.number if versions._current else None))

    monkeypatch.setattr(versions, "_lock", _Watched(check))
    for number in ("1", "2"):
        _place(saved / number, tmp_path / number)
        assert versions.refresh()
    versions.close()
    assert all(available == ([] if current is None else [current]) for available, current in seen), seen
    assert seen[-1][1] == 2


def test_stopping_lets_what_runs_end_and_takes_no_more(saved, monkeypatch):
    begun, stopping, run = threading.Semaphore(0), threading.Event(), models.Version.run

    def waits(*args, **kwargs):
        begun.release()
        assert stopping.wait(timeout=30.0)
        time.sleep(0.5)  # runs on while the server stops, a tenth of the time that it gives
        return run(*args, **kwargs)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        with LocalServer(saved) as server:
            client = Client(server)
            client.predict("scale", x=[[1.0, 1.0]])  # connects, which takes seconds on a busy machine
            monkeypatch.setattr(models.Version, "run", waits)
            by_rest = pool.submit(client.post, {"signature_name": "loop", "inputs": [5]})
            by_grpc = client.predictions.Predict.future(client.request("loop", num_steps=[5]), timeout=30.0)
            for _ in range(2):  # a server that stops refuses what has not come in
                assert begun.acquire(timeout=30.0)
            stopping.set()
        assert by_rest.result() == (200, {"outputs": [5]})
    assert tf.make_ndarray(by_grpc.result().outputs["steps_done"]).tolist() == [5]
    assert _code(lambda: client.predict("scale", x=[[1.0, 1.0]]))[0] == "UNAVAILABLE"
    with pytest.raises(ConnectionError):
        client.post({"inputs": ["a"]})


def test_long_messages_are_cut_for_grpc_as_by_tensorflow_serving():
    """By grpc_status_util.cc: after 1024 bytes."""
    assert server._cut("x" * 1024) == "x" * 1024
    assert server._cut("x" * 1025) == "x" * 1024 + "...TRUNCATED"
    assert server._cut("\u00e9" * 600) == "\u00e9" * 512 + "...TRUNCATED"
    assert server._cut("a\ud800") == "a?"


def test_mistakes_are_input_errors(saved, tmp_path):
    with pytest.raises(errors.InputError, match="not a folder that holds"):
        LocalServer(tmp_path / "none")
    with pytest.raises(errors.InputError, match="not a folder that holds"):
        LocalServer(saved / "1")
    with pytest.raises(errors.InputError, match="model name"):
        LocalServer(saved, model_name="a/b")
    too_few: list[dict[str, Any]] = [{"grpc_max_threads": 1}, {"rest_api_num_threads": 1}]
    for setting in too_few:
        with pytest.raises(errors.InputError, match=f"{next(iter(setting))}: 1; allowed: 2 and above"):
            LocalServer(saved, **setting)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("port", "rest_api_port"):
            with pytest.raises(errors.InputError, match=f"{port} cannot be listened on"):
                LocalServer(saved, **{name: port})
    with pytest.raises(errors.InputError, match="cannot be listened on"):
        LocalServer(saved, host="a..b")


def _listening():
    """Returns the ports that this process listens on."""
    return {
        each.laddr.port
        for each in psutil.Process().net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr
    }


@pytest.mark.parametrize("name", ["port", "rest_api_port"])
def test_a_server_that_cannot_listen_leaves_no_port_open(name, saved):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = _listening()
        with pytest.raises(errors.InputError, match="cannot be listened on"):
            LocalServer(saved, **{name: taken.getsockname()[1]})
        assert _listening() == before


def test_no_port_is_tried_out_before_it_is_bound(saved, monkeypatch):
    bound: list[Any] = []
    create = socket.create_server

    def noted(*arguments, **options):
        bound.append(create(*arguments, **options))
        return bound[-1]

    monkeypatch.setattr(socket, "create_server", noted)
    with LocalServer(saved) as server:
        assert [each.getsockname()[1] for each in bound] == [server.rest_port]
        assert {server.grpc_port, server.rest_port} <= _listening()


@pytest.fixture
def tool():
    """Starts the tool as a person does; what still runs at the end is killed."""
    started = []

    def start(*arguments):
        command = [sys.executable, str(conftest.ROOT / "tools" / "local_server" / "serve.py"), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(conftest.ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_tool_serves_until_a_signal(tool, saved, tmp_path):
    """Three at once, since each takes seconds to load TensorFlow."""
    free = ("--port=0", "--rest_api_port=0")
    serving = tool(f"--model_base_path={saved}", *free)
    waiting = tool(f"--model_base_path={tmp_path}", "--model_name=later", *free)
    mistaken = tool(f"--model_base_path={tmp_path / 'none'}")
    line = serving.stdout.readline()
    assert line.startswith("toy: gRPC at 127.0.0.1:")
    channel = grpc.insecure_channel(line.split()[3].rstrip(","))
    status = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "toy"})
    found = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=30)
    assert found.model_version_status[0].version == 2
    serving.send_signal(signal.SIGINT)
    assert waiting.stdout.readline().startswith("later: gRPC at")
    waiting.send_signal(signal.SIGTERM)
    ends = [process.communicate(timeout=60)[1] for process in (serving, waiting, mistaken)]
    assert [process.returncode for process in (serving, waiting, mistaken)] == [0, 0, 2], ends
    assert ends[0] == "toy: version 2 is served from now on\n"
    assert ends[1] == "later: no version to serve yet; waiting for a folder named 1, 2, ...\n"
    assert ends[2].startswith("serve: ")
    assert len(ends[2].splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model_base_path is missing"),
        (["--model_base_path=x", "--prt=1"], "Unknown command line flag 'prt'"),
        (["--model_base_path=x", "--port=70000"], "--port=70000"),
    ],
)
def test_a_bad_flag_gets_one_line_at_once(tool, arguments, message):
    process = tool(*arguments)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert message in stderr
    assert len(stderr.splitlines()) == 1


def test_help_lists_the_librarys_defaults(tool):
    process = tool("--help")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    defaults = inspect.signature(LocalServer).parameters
    for name in ("host", "grpc_max_threads", "rest_api_num_threads", "max_body_mb", "rest_api_timeout_in_ms"):
        described = stdout.partition(f"--{name}:")[2].partition("\n  --")[0]
        assert f"default: '{defaults[name].default}'" in described
