"""The configurations for stock TensorFlow Serving: by its own protos, by their arithmetic, and in use.

The stand-in has the threads of TensorFlow Serving; nginx, where it is installed, is the balancer itself.
"""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from local_server.server import LocalServer
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from nst_tf.serving import export
from tests import conftest
from tests.support import predictions

FOLDER = conftest.ROOT / "tools" / "deployment"
COMPOSE = (FOLDER / "compose.yaml").read_text()
NGINX = (FOLDER / "nginx.conf").read_text()

# Calls that have to be answered while pictures are painted: a health check, a client's status, Prometheus.
PROBES = 3

TOKEN = "the-key"


def _flag(name):
    """Returns the whole number of a flag of the server."""
    return int(re.findall(rf"^ +- --{name}=(\d+)$", COMPOSE, re.MULTILINE)[0])


def _numbers(pattern, text):
    return {int(number) for number in re.findall(pattern, text)}


def test_the_model_config_names_the_model():
    text = (FOLDER / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("nst", "/models/nst", "tensorflow")


def test_the_monitoring_config_turns_it_on():
    # The package of the protos leaves this one out.
    text = re.sub(r"#.*", "", (FOLDER / "monitoring.config").read_text())
    path = "/monitoring/prometheus/metrics"
    assert text.split() == f'prometheus_config {{ enable: true path: "{path}" }}'.split()


def test_the_compose_file_uses_what_lies_beside_it():
    assert "--enable_batching\n" not in COMPOSE
    named = set(re.findall(r"/config/(\S+)", COMPOSE)) | set(re.findall(r"- \./(\S+?):", COMPOSE))
    assert {"models.config", "monitoring.config", "nginx.conf"} <= named
    for name in named:
        assert (FOLDER / name).exists()


def test_probes_find_a_thread_while_pictures_are_painted():
    for protocol, flag in (("grpc", "grpc_max_threads"), ("rest", "rest_api_num_threads")):
        block = re.findall(rf"upstream {protocol}_pictures {{(.*?)}}", NGINX, re.DOTALL)[0]
        (pictures,) = _numbers(r"max_conns=(\d+)", block)
        assert _flag(flag) - 1 >= pictures + PROBES  # N threads allow N - 1 calls
        assert "max_conns" not in re.findall(rf"upstream {protocol}_probes {{(.*?)}}", NGINX, re.DOTALL)[0]


def test_as_many_pictures_are_let_through_as_the_replicas_paint():
    (replicas,), (each,) = _numbers(r"replicas: (\d+)", COMPOSE), _numbers(r"max_conns=(\d+)", NGINX)
    assert _numbers(r"limit_conn pictures (\d+);", NGINX) == {replicas * each}


def test_a_replica_has_memory_for_its_pictures():
    """Of the default limit's size, by the figures in the README of nst_tf/serving."""
    assert export.DEFAULT_MAX_PIXELS == 1024 * 1024
    readme = (conftest.ROOT / "nst_tf" / "serving" / "README.md").read_text()
    (picture_gb,) = map(float, re.findall(r"^\| 1024 x 1024 pixels \| ([\d.]+) GB \|", readme, re.MULTILINE))
    (model_gb,) = map(float, re.findall(r"beside the loaded model's ([\d.]+) GB", readme))
    (memory_gb,), (each,) = _numbers(r"memory: (\d+)g", COMPOSE), _numbers(r"max_conns=(\d+)", NGINX)
    assert model_gb + 2 * each * picture_gb <= memory_gb  # by both protocols


def test_what_is_published_is_shielded():
    ports = re.findall(r"ports: \[(.*)\]", COMPOSE)
    assert ports == ['"127.0.0.1:8500:8500", "127.0.0.1:8501:8501"']
    assert COMPOSE.count("restart: unless-stopped") == COMPOSE.count("healthcheck:") == 2
    assert "image: tensorflow/serving:${TF_SERVING_TAG:?" in COMPOSE
    assert "NST_TOKEN: ${NST_TOKEN:?" in COMPOSE
    # A call that ends a replica is not sent to the next one.
    assert "non_idempotent" not in re.sub(r"#.*", "", NGINX)
    servers = NGINX.split("  server {\n")[1:]
    assert len(servers) == 2
    for server in servers:
        assert 'if ($http_authorization != "Bearer ${NST_TOKEN}") {' in server.partition("location")[0]


class Echo(tf.Module):
    """Gives back what it gets."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def echo(self, x):
        return {"y": x}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The stand-in for a replica, with the threads of the compose file."""
    folder, echo = tmp_path_factory.mktemp("models") / "nst", Echo()
    tf.saved_model.save(echo, str(folder / "1"), signatures=echo.echo)
    threads = {name: _flag(name) for name in ("grpc_max_threads", "rest_api_num_threads")}
    with LocalServer(folder, **threads) as running:
        yield running


def _check_of(service):
    """Returns the command by which a service's health is checked, as Docker runs it."""
    after = COMPOSE.partition(f"  {service}:\n")[2].partition("healthcheck:")[2]
    return re.findall(r"- (exec .*)", after)[0]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_health_check_sees_a_server_and_a_missing_one(server):
    def run(port):
        command = _check_of("serving").replace("/8501 ", f"/{port} ")
        assert f"/{port} " in command
        return subprocess.run(["bash", "-c", command], capture_output=True, timeout=30).returncode

    assert run(server.rest_port) == 0
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert run(closed.getsockname()[1]) != 0


def _nginx_config(server, folder, ports, most_pictures):
    """Returns the file's text with this machine's addresses, and without what an older nginx lacks."""
    text = NGINX.replace("${NST_TOKEN}", TOKEN)
    text = re.sub(r"serving:8500 resolve", f"127.0.0.1:{server.grpc_port}", text)
    text = re.sub(r"serving:8501 resolve", f"127.0.0.1:{server.rest_port}", text)
    text = text.replace("listen 8500;\n    http2 on;", f"listen 127.0.0.1:{ports[0]} http2;")
    text = text.replace("listen 8501;", f"listen 127.0.0.1:{ports[1]};")
    text = text.replace("limit_conn pictures 3;", f"limit_conn pictures {most_pictures};")
    text = text.replace("client_max_body_size 512m;", "client_max_body_size 1m;")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {folder / kind};\n" for kind in kinds)
    text = text.replace("http {\n", f"http {{\n  access_log off;\n{paths}")
    return f"pid {folder / 'pid'};\ndaemon off;\nworker_processes 1;\nerror_log stderr;\n{text}"


def _free_ports(count):
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def _nginx(server, folder, most_pictures):
    """Runs nginx with the file's own configuration before the stand-in; yields its two ports."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    ports = _free_ports(2)
    (folder / "nginx.conf").write_text(_nginx_config(server, folder, ports, most_pictures))
    command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until_listening(ports, process)
            yield ports
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def balancer(server, tmp_path_factory):
    """Yields the ports of a balancer with as many pictures at a time as the one replica here has."""
    with _nginx(server, tmp_path_factory.mktemp("nginx"), most_pictures=1) as ports:
        yield ports


def _until_listening(ports, process, seconds=10.0):
    end = time.monotonic() + seconds
    for port in ports:
        while True:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)


def _get(port, path, token=TOKEN, body=None):
    """Returns the status of a request by REST, and the bytes of the answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


PREDICT = ("/v1/models/nst:predict", TOKEN, b'{"inputs": [1.5]}')


class Calls:
    """Calls by gRPC with a key."""

    def __init__(self, channel, token=TOKEN):
        """Takes the channel."""
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._options: dict[str, Any] = {"timeout": 30.0}
        if token:
            self._options["metadata"] = (("authorization", f"Bearer {token}"),)

    def predict(self, count=1):
        request = predict_pb2.PredictRequest(model_spec={"name": "nst"})
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros([count], np.float32)))
        return self._predictions.Predict.future(request, **self._options)

    def status(self):
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "nst"})
        return self._models.GetModelStatus(request, **self._options)

    def metadata(self):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "nst"
        return self._predictions.GetModelMetadata(request, **self._options)

    def reload(self):
        return self._models.HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest(), **self._options
        )


def _code(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name


def test_a_balancer_asks_for_the_key_and_passes_on_what_is_needed(balancer):
    grpc_port, rest_port = balancer
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        for token in ("", "other", TOKEN.upper()):
            assert _get(rest_port, "/v1/models/nst", token)[0] == 401
            calls = Calls(channel, token)
            assert {_code(calls.status), _code(calls.predict().result)} == {"UNAUTHENTICATED"}
        calls = Calls(channel)
        assert calls.status().model_version_status[0].version == 1
        assert calls.metadata().model_spec.version.value == 1
        assert tf.make_ndarray(calls.predict().result().outputs["y"]).tolist() == [0.0]
        assert _code(calls.reload) == "UNIMPLEMENTED"
        assert _code(calls.predict(1_000_000).result) == "RESOURCE_EXHAUSTED"
    assert b'"AVAILABLE"' in _get(rest_port, "/v1/models/nst")[1]
    assert _get(rest_port, "/v1/models/nst/metadata")[0] == 200
    answer = _get(rest_port, "/v1/models/nst:predict", body=b'{"inputs": [1.5]}')
    assert (answer[0], json.loads(answer[1])) == (200, {"outputs": [1.5]})
    assert _get(rest_port, "/v1/models/nst:predict", body=bytes(2_000_000))[0] == 413
    for path in ("/", "/monitoring/prometheus/metrics", "/v2"):
        assert _get(rest_port, path)[0] == 404


def test_probes_are_answered_while_pictures_are_painted(balancer, monkeypatch):
    grpc_port, rest_port = balancer
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, futures.ThreadPoolExecutor() as pool:
        calls = Calls(channel)
        with predictions.held(monkeypatch) as have_begun:
            painted, posted = calls.predict(), pool.submit(_get, rest_port, *PREDICT)
            for _ in range(2):
                have_begun(1)
            start = time.monotonic()
            assert calls.status().model_version_status[0].version == 1
            assert _get(rest_port, "/v1/models/nst")[0] == 200
            # One picture more is refused at once, by both.
            assert _code(calls.predict().result) == "RESOURCE_EXHAUSTED"
            code, text = _get(rest_port, *PREDICT)
            assert (code, "being painted" in json.loads(text)["error"]) == (429, True)
            assert time.monotonic() - start < 5.0
        assert tf.make_ndarray(painted.result().outputs["y"]).tolist() == [0.0]
        assert posted.result()[0] == 200


def test_a_picture_that_finds_no_replica_free_is_told_so(server, tmp_path, monkeypatch):
    """As when one of three replicas is gone, and three pictures are let through."""
    with _nginx(server, tmp_path, most_pictures=3) as (grpc_port, rest_port):
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            with predictions.held(monkeypatch) as have_begun:
                painted = Calls(channel).predict()
                have_begun(1)
                assert _code(Calls(channel).predict().result) == "UNAVAILABLE"
            assert painted.result().model_spec.version.value == 1
        with futures.ThreadPoolExecutor() as pool, predictions.held(monkeypatch) as have_begun:
            posted = pool.submit(_get, rest_port, *PREDICT)
            have_begun(1)
            text = b'{"error": "no replica is free, or it has ended meanwhile"}'
            assert _get(rest_port, *PREDICT) == (503, text)
        assert posted.result()[0] == 200
