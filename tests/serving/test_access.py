"""Servers behind gateways: TLS, headers with keys, proxies; over real sockets, by both protocols."""

import base64
import contextlib
import http.server
import io
import json
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.parse
from concurrent import futures
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf import client, errors
from nst_tf.serving import access, transports
from tests import conftest
from tests.support import command as running

SECRET = "s3cr3t-0123456789"
PICTURE = conftest.smooth_picture(2, 8, 8)
LOSSES = [np.float32(value) for value in (1.0, 0.5, 0.25, 0.25)]


def _png():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The paths of a key and of its own certificate, for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("without the program openssl no certificate can be made")
    folder = tmp_path_factory.mktemp("certificate")
    key, file = folder / "key.pem", folder / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = [openssl, "req", "-x509", *kind, *names, "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    return key, file


class Handler(http.server.BaseHTTPRequestHandler):
    """TensorFlow Serving's REST interface, and a proxy that refuses; `server.seen` has the headers."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})  # type: ignore[attr-defined]
        picture = {"b64": base64.b64encode(_png()).decode()}
        good = {"predictions": [{"image_bytes": picture, "losses": [float(loss) for loss in LOSSES]}]}
        self._answer(*self.server.answer or (200, json.dumps(good)))  # type: ignore[attr-defined]

    def do_CONNECT(self):
        self._answer(403, "")

    def _answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _rest(certificate=None, answer=None):
    """Yields a server with `seen`; `answer` is (status, text) to answer with."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.answer, server.daemon_threads = [], answer, True
    server.connections, accept = 0, server.get_request

    def counted():
        server.connections += 1
        return accept()

    server.get_request = counted
    server.handle_error = lambda *_: None  # a client that does not trust the certificate goes away
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate[1], certificate[0])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.address = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def _grpc(certificate=None):
    """Yields a server as `_rest` does; it refuses a call without the right header."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    seen: list[dict[str, str]] = []

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802 - gRPC's name
            del request
            seen.append(dict(context.invocation_metadata()))
            response = predict_pb2.PredictResponse()
            response.outputs["image_bytes"].CopyFrom(tf.make_tensor_proto(np.array([_png()], object)))
            response.outputs["losses"].CopyFrom(tf.make_tensor_proto(np.array([LOSSES])))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(), server)
    if certificate:
        pair = (certificate[0].read_bytes(), certificate[1].read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    server.seen, server.address = seen, f"{'grpcs' if certificate else 'grpc'}://127.0.0.1:{port}"
    yield server
    server.stop(0).wait()


SERVE = {"grpc": _grpc, "http": _rest}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxies but those of a test, and short pauses before calls are repeated."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transports, "_FIRST_PAUSE_S", 0.02)


def _ask(server, **options):
    return client.request_stylization(server, PICTURE, PICTURE, **options)


@pytest.mark.parametrize("protocol", SERVE)
def test_headers_arrive_by_an_encrypted_connection(protocol, certificate, tmp_path, monkeypatch):
    # Neither a login of ~/.netrc nor a variable's certificates take their place.
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    headers = {"Authorization": f"Bearer {SECRET}", "x-api-key": "7"}
    with SERVE[protocol](certificate) as server:
        answer = _ask(server.address, headers=headers, ca_file=certificate[1])
        (seen,) = server.seen
    assert np.rint(answer.image[0, 0] * 255).tolist() == [200, 100, 50]
    assert (seen["authorization"], seen["x-api-key"]) == (f"Bearer {SECRET}", "7")


@pytest.mark.parametrize("protocol", SERVE)
def test_headers_arrive_without_tls_too(protocol):
    with SERVE[protocol]() as server:
        _ask(server.address, headers={"x-api-key": SECRET})
        assert server.seen[0]["x-api-key"] == SECRET


@pytest.mark.parametrize("protocol", SERVE)
def test_a_certificate_that_is_not_trusted_gets_one_line(protocol, certificate):
    with SERVE[protocol](certificate) as server:
        with pytest.raises(errors.InputError) as caught:
            _ask(server.address)
        assert not server.seen
    plain = "grpc" if protocol == "grpc" else "http"
    assert str(caught.value).startswith(f"server: no encrypted connection to {server.address}: ")
    assert "certificate verify failed" in str(caught.value).lower().replace("_", " ")
    assert f"{plain}:// for one that does not, or with ca_file the certificates" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", SERVE)
def test_tls_at_a_port_without_it_gets_one_line(protocol):
    with SERVE[protocol]() as server:
        address = server.address.replace(f"{protocol}:", f"{protocol}s:")
        with pytest.raises(errors.InputError, match=f"^server: no encrypted connection to {address}: "):
            _ask(address)
        if protocol == "http":
            assert server.connections == 1  # it is not tried again


def test_https_at_a_silent_port_is_no_late_answer(monkeypatch):
    monkeypatch.setattr(transports, "_CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # TensorFlow Serving waits for the end of a line
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(errors.InputError, match=f"{address}: no TLS handshake within 0.2 s; name the po"):
            _ask(address)
        # With less time for the answer than for a connection, it is late all the same.
        with pytest.raises(client.ServerError, match=r"gave no answer within 0\.1 s"):
            _ask(address, timeout_s=0.1)


def test_grpc_at_an_https_port_is_no_server_that_is_away(certificate):
    with _rest(certificate) as server:
        address = server.address.replace("https:", "grpcs:")
        with pytest.raises(errors.InputError, match=f"^server: no encrypted connection to {address}: .*ALPN"):
            _ask(address, ca_file=certificate[1])


@pytest.mark.parametrize("protocol", SERVE)
def test_a_port_with_tls_asked_without_it_is_told_of(protocol, certificate):
    with SERVE[protocol](certificate) as server:
        address = server.address.replace("s:", ":")
        with pytest.raises(
            client.ServerError, match=f"^{address} cannot be .*with TLS wants grpcs or https$"
        ):
            _ask(address)


def _dead_port():
    """Returns a socket that is bound, but does not listen, and its port."""
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    return closed, closed.getsockname()[1]


@pytest.mark.parametrize("scheme", ["grpc", "http", "https"])
@pytest.mark.parametrize("refuses", [False, True])
def test_what_a_proxy_does_is_said_to_be_the_proxys(scheme, refuses, monkeypatch):
    closed, dead = _dead_port()
    with closed, _rest(answer=(403, "<html>no")) as proxy:
        port = proxy.server_port if refuses else dead
        variable = "https_proxy" if scheme == "https" else "http_proxy"
        monkeypatch.setenv(variable, f"http://me:{SECRET}@127.0.0.1:{port}")
        address = f"{scheme}://127.0.0.1:9"
        with pytest.raises(client.ServerError) as caught:
            _ask(address)
    text = (
        f"{address} was asked through the proxy http://127.0.0.1:{port}, from {variable}, and that failed: "
    )
    assert str(caught.value).startswith(text)
    assert ("403" if refuses else "refused") in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("protocol", SERVE)
def test_a_host_in_no_proxy_is_asked_itself(protocol, monkeypatch):
    closed, dead = _dead_port()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead}")
    monkeypatch.setenv("no_proxy", "example.org, 127.0.0.1")
    with closed, SERVE[protocol]() as server:
        _ask(server.address)
        assert len(server.seen) == 1
    with pytest.raises(client.ServerError, match=f"^{server.address} cannot be reached"):
        _ask(server.address)


def test_through_a_proxy_a_servers_own_words_are_the_servers(monkeypatch):
    with _rest(answer=(400, '{"error": "size: 9"}')) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        with pytest.raises(errors.InputError, match=r"^http://far\.invalid refused: size: 9$"):
            _ask("http://far.invalid")


@pytest.mark.parametrize(
    ("address", "environment", "found"),
    [
        ("http://a.b", {}, ""),
        ("http://a.b", {"https_proxy": "http://p"}, ""),
        ("http://a.b", {"HTTP_PROXY": "http://p"}, "http://p, from HTTP_PROXY"),
        ("https://a.b", {"all_proxy": "http://u:p@p:1"}, "http://p:1, from all_proxy"),
        ("grpcs://a.b", {"http_proxy": "p:1", "grpc_proxy": ""}, "p:1, from http_proxy"),
        ("grpc://a.b", {"HTTP_PROXY": "http://p"}, ""),
        ("grpc://a.b", {"https_proxy": "http://p", "no_proxy": "b", "no_grpc_proxy": "c"}, "http://p, from"),
        ("http://a.b", {"http_proxy": "http://p", "no_proxy": "c, .b"}, ""),
        ("http://ab", {"http_proxy": "http://p", "no_proxy": "b"}, "http://p, from http_proxy"),
        ("http://a.b", {"http_proxy": "http://p", "NO_PROXY": "*"}, ""),
        ("http://10.1.2.3", {"http_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, ""),
        (
            "http://11.1.2.3",
            {"http_proxy": "http://p", "no_proxy": "10.0.0.0/8"},
            "http://p, from http_proxy",
        ),
    ],
)
def test_the_proxy_of_an_address(address, environment, found, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert access.proxy(urllib.parse.urlsplit(address)).startswith(found)
    assert bool(found) == bool(access.proxy(urllib.parse.urlsplit(address)))


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_that_is_refused_is_not_shown(status):
    with _rest(answer=(status, json.dumps({"error": f"who is {SECRET}? Bearer {SECRET}"}))) as server:
        with pytest.raises(errors.InputError) as caught:
            _ask(server.address, headers={"authorization": f"Bearer {SECRET}"})
        with pytest.raises(errors.InputError, match="wants a login: who is s3cr3t-0123456789"):
            _ask(server.address)
    assert str(caught.value) == (
        f"server: {server.address} wants a login other than authorization sent: who is ***? ***; send one"
        " in a header, as --header='authorization=Bearer $TOKEN' does"
    )


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("http://far.invalid", True),
        ("grpc://10.0.0.1:8500", True),
        ("https://far.invalid", False),
        ("grpcs://far.invalid", False),
        ("http://localhost:1", False),
        ("grpc://127.0.0.2", False),
        ("http://[::1]:1", False),
    ],
)
def test_a_key_that_anybody_can_read_is_warned_of(address, warned, caplog):
    access.check(urllib.parse.urlsplit(address), {"x-api-key": SECRET}, None)
    text = "header: x-api-key goes unencrypted, for anybody on the way to read; use TLS"
    assert caplog.messages == ([text] if warned else [])


def test_no_record_shows_a_secret():
    way = access.check(urllib.parse.urlsplit("http://h"), {"x-api-key": SECRET}, None)
    connection = transports.connect(urllib.parse.urlsplit("http://h"), "nst", None, 1.0, way)
    assert SECRET not in repr(way) + repr(connection)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"a b": SECRET}, "header: 'a b'; allowed: letters, digits"),
        ({"": SECRET}, "header: ''"),
        ({3: SECRET}, "header: 3"),
        ({"x-bin": SECRET}, "header: 'x-bin'"),
        ({"grpc-timeout": SECRET}, "header: 'grpc-timeout'"),
        ({"Content-Type": SECRET}, "header: 'Content-Type'"),
        ({"Host": SECRET}, "header: 'Host'"),
        ({"a": SECRET, "A": SECRET}, "header: a twice"),
        ({"a": f"{SECRET}\r\nb: c"}, "header: the value of a, not shown; allowed: visible ASCII"),
        ({"a": ""}, "header: the value of a, not shown"),
        ({"a": f"{SECRET} "}, "header: the value of a, not shown"),
        ({"a": f"{SECRET}\u00e9"}, "header: the value of a, not shown"),
        ({"a": SECRET.encode()}, "header: the value of a, not shown"),
    ],
)
def test_mistakes_in_headers_are_told_without_their_values(headers, message):
    with pytest.raises(errors.InputError) as caught:
        _ask("http://127.0.0.1:9", headers=headers)
    assert str(caught.value).startswith(message)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_a_file_without_certificates_gets_one_line(content, tmp_path):
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    for scheme in ("https", "grpcs"):
        with pytest.raises(
            errors.InputError, match=r"^ca_file: .*ca\.pem cannot be used: .*; name a PEM file"
        ):
            _ask(f"{scheme}://127.0.0.1:9", ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("authorization=Bearer $NST_TOKEN", f"Bearer {SECRET}"),
        ("x-api-key=${NST_TOKEN}", SECRET),
        ("x=a=$NST_TOKEN=", f"a={SECRET}="),
        ("x=$$$NST_TOKEN", f"${SECRET}"),
    ],
)
def test_values_come_from_the_environment(text, value, monkeypatch):
    monkeypatch.setenv("NST_TOKEN", SECRET)
    assert access.headers_from_environment([text]) == {text.partition("=")[0]: value}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([SECRET], "header: a text without NAME=; allowed: NAME=VALUE, as in --header='auth"),
        (["=$NST_TOKEN"], "header: a text without NAME="),
        ([f"a={SECRET}"], "header: a with a value that is not from the environment; allowed: a $VARIABLE in"),
        ([f"a=$NST_TOKEN${SECRET}$"], "header: a with a value that is not from the environment"),
        (["a="], "header: a with a value that is not from the environment"),
        (
            ["a=$NO_SUCH_VARIABLE"],
            "header: the $VARIABLE in the value of a is not set in the environment; ex",
        ),
        (["a=$NST_TOKEN", "a=$NST_TOKEN"], "header: a twice; allowed: each name once"),
    ],
)
def test_mistakes_in_typed_headers_are_told_without_their_values(typed, message, monkeypatch):
    monkeypatch.setenv("NST_TOKEN", SECRET)
    with pytest.raises(errors.InputError) as caught:
        access.headers_from_environment(typed)
    assert str(caught.value).startswith(message)
    assert SECRET not in str(caught.value)


def test_the_command_sends_a_header_and_shows_it_nowhere(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("NST_TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("photo.png")
    ask = ["request", "--content=photo.png", "--style=photo.png", f"--ca_file={certificate[1]}"]
    ask += ["--output=out.png", "--header=authorization=Bearer $NST_TOKEN", "--header=x-tenant=$NST_TOKEN"]
    with _rest(certificate) as server:
        code, out, err = running.answer([*ask, f"--server={server.address}"])
        assert (code, err) == (0, "")
        assert server.seen[0]["authorization"] == f"Bearer {SECRET}"
        assert server.seen[0]["x-tenant"] == SECRET
        server.answer = (403, f"no {SECRET}")
        code, again, err = running.answer([*ask, f"--server={server.address}", "--overwrite"])
    assert code == 2
    assert err.startswith(
        f"nst_tf request: server: {server.address} wants a login other than authorization, x"
    )
    assert SECRET not in out + again + err
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
