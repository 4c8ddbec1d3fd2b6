"""The REST side of the local server: TensorFlow Serving's routes and HTTP codes; `json_tensors` has its JSON.

A path is matched as it was sent, with its query: `/v1/models/nst?x=1` asks for a model named `nst?x=1`.
"""

import contextlib
import json
import logging
import re
import socket
import threading
import time
import urllib.parse
import zlib
from collections.abc import Iterator
from typing import Any

import flask
import waitress.adjustments
import waitress.server
import waitress.wasyncore
import werkzeug.exceptions
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from local_server import json_tensors
from local_server.cancelling import Gone
from local_server.models import ServingError, Versions, invalid

_LOG = logging.getLogger(__name__)

# The HTTP codes that TensorFlow Serving answers status codes with, which are numbered as in gRPC; else 500.
_HTTP_CODES = {1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501}
_HTTP_CODES |= {14: 503, 16: 401}

# TensorFlow Serving's routes (http_rest_api_util.cc). They match in upper and lower case, but of what they
# name only `predict` and `metadata` in lower case are known.
_SPEC = "/v1/models{name}(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_ROUTES = {
    "GET": re.compile(f"(?i){_SPEC.format(name='(?:/([^/:]+))?')}(?:/(metadata))?"),
    "POST": re.compile(f"(?i){_SPEC.format(name='/([^/:]+)')}:(classify|regress|predict)"),
}
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]

# The most bytes that TensorFlow Serving unpacks from a gzip body (gzip_zlib.h); of a longer one it sees none.
_MOST_UNPACKED = 10 * 2**20

# Time between two looks at whether the client of a prediction is still there.
_LOOK_S = 0.2

# Open connections at most; beyond, those that have been idle longest are closed. A third of the 1024 files
# that a process may usually open.
_MOST_CONNECTIONS = 340


def make_app(versions: Versions, timeout_ms: int) -> flask.Flask:
    """Returns the WSGI application.

    Args:
        versions: The model.
        timeout_ms: The longest time that TensorFlow may take for a prediction; 0: no limit.
    """
    app = flask.Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False

    def answer(path: str = "") -> flask.Response:
        del path  # decoded, and without the query
        method, target = flask.request.method, _target(flask.request.environ)
        if not target.lower().startswith("/v1/"):
            raise werkzeug.exceptions.NotFound
        spec, action = _route(method, target)
        if action == "predict":
            return _reply(_predict(versions, spec, _body(), timeout_ms))
        if action == "metadata":
            return _reply(_metadata(versions, spec))
        return _reply(_dict(versions.status(spec)))

    for rule in ("/", "/<path:path>"):
        app.add_url_rule(rule, view_func=answer, methods=_METHODS, provide_automatic_options=False)
    app.register_error_handler(Exception, _failure)
    return app


def _target(environ: Any) -> str:
    """Returns the path and query of a request as they were sent."""
    target = environ["REQUEST_URI"]
    return re.sub(r"(?i)^https?://[^/?#]*", "", target) or "/"


def _body() -> bytes:
    """Returns the body, unpacked; none if it cannot be unpacked, as in TensorFlow Serving."""
    body = flask.request.get_data()
    if "gzip" not in flask.request.headers.get("Content-Encoding", ""):
        return body
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: gzip's header
    try:
        unpacked = unpacking.decompress(body, _MOST_UNPACKED)
    except zlib.error:
        return b""
    return unpacked if unpacking.eof else b""


def _reply(content: Any, code: int = 200) -> flask.Response:
    return flask.Response(json.dumps(content), code, mimetype="application/json")


def _failure(error: Exception) -> flask.Response:
    if isinstance(error, _NoNumberError):
        return flask.Response("", 400, mimetype="application/json")
    if isinstance(error, ServingError):
        return _reply({"error": error.message}, _HTTP_CODES.get(error.code, 500))
    if isinstance(error, werkzeug.exceptions.RequestEntityTooLarge):
        return _page(413, "Request Entity Too Large")
    if isinstance(error, werkzeug.exceptions.MethodNotAllowed):
        return _page(501, "Not Implemented")
    if isinstance(error, werkzeug.exceptions.NotFound):
        return _page(404, "Not Found")
    if isinstance(error, werkzeug.exceptions.HTTPException):
        return _page(error.code or 500, error.name)
    _LOG.error("a request failed", exc_info=error)
    return _reply({"error": f"{type(error).__name__}: a defect of the local server"}, 500)


def _page(code: int, reason: str) -> flask.Response:
    """Returns the page that TensorFlow Serving's web server answers with before a request reaches a model."""
    text = f"<HTML><HEAD>\n<TITLE>{code} {reason}</TITLE>\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"
    return flask.Response(text, code, mimetype="text/html")


class _NoNumberError(Exception):
    """A version that is no int64, which TensorFlow Serving answers without a text."""


def _route(method: str, target: str) -> tuple[Any, str | None]:
    """Returns the ModelSpec of a target, and "metadata", "predict", or None for the model's status."""
    match = _ROUTES[method].fullmatch(target) if method in _ROUTES else None
    name, version, label, action = match.groups() if match else (None, None, None, None)
    if match is None or (method == "POST" and action != "predict"):
        raise invalid(f"Malformed request: {method} {target}")
    if not name:
        raise invalid("Missing model name in request.")
    spec = model_pb2.ModelSpec(name=_decoded(name))
    if version is not None:
        if int(version[-20:]) >= 2**63 or len(version.lstrip("0")) > 19:
            raise _NoNumberError
        spec.version.value = int(version[-20:])
    if label is not None:
        spec.version_label = _decoded(label)
    return spec, action if action in ("predict", "metadata") else None


def _decoded(text: str) -> str:
    return urllib.parse.unquote_to_bytes(text).decode("utf-8", "replace")


def _dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _metadata(versions: Versions, spec: Any) -> dict[str, Any]:
    with versions.use(spec) as version:
        found = {"name": spec.name, "signature_name": "", "version": str(version.number)}
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.signatures)
    return {"model_spec": found, "metadata": {"signature_def": _dict(signatures)}}


def _predict(versions: Versions, spec: Any, body: bytes, timeout_ms: int) -> dict[str, Any]:
    document = json_tensors.parse(body)
    name = json_tensors.signature_name(document)
    with versions.use(spec) as version:
        if name not in version.signatures:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        infos = version.signatures[name].inputs
        if not infos:
            raise invalid(f"Failed to get input map for signature: {name}")
        by_row, arrays = json_tensors.read_request(document, infos)
        with _client() as gone:
            outputs = version.run(name, arrays, lambda _name, array: array, timeout_ms=timeout_ms, gone=gone)
    return json_tensors.write_response(outputs, by_row)


@contextlib.contextmanager
def _client() -> Iterator[Gone]:
    """Yields whether the client of the current request has gone away, which is noticed during the block."""
    gone, ended = Gone(), threading.Event()
    disconnected = flask.request.environ["waitress.client_disconnected"]

    def look() -> None:
        while not ended.wait(_LOOK_S):
            if disconnected():
                gone.tell()
                break

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield gone
    finally:
        ended.set()
        looking.join()


class _WebServer(waitress.server.TcpWSGIServer):
    """waitress, which closes connections that are idle before it accepts no more."""

    def readable(self) -> bool:
        """Is called between any two events; closes what is idle longest where connections are too many."""
        for channel in self._idle()[: max(0, len(self.active_channels) - _MOST_CONNECTIONS)]:
            channel.will_close = True
        return bool(super().readable())

    def _idle(self) -> list[Any]:
        """Returns the open connections without a request, the longest idle first."""
        channels = [*self.active_channels.values()]
        idle = [one for one in channels if not (one.requests or one.total_outbufs_len or one.will_close)]
        return sorted(idle, key=lambda one: one.last_activity)


class HttpServer(threading.Thread):
    """Serves a WSGI application at `port`, in a thread that `start` starts."""

    def __init__(self, app: flask.Flask, listening: socket.socket, threads: int, max_body_bytes: int) -> None:
        """Takes over the socket; answers as many requests at a time as it has threads, others wait."""
        super().__init__(daemon=True)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # waiting is no event
        # Flask answers to a body that is too long; waitress does not even read one twice as long.
        app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
        self.port: int = listening.getsockname()[1]
        settings = waitress.adjustments.Adjustments(
            sockets=[listening],
            threads=threads,
            max_request_body_size=2 * max_body_bytes,
            # Busy ones too; `select` knows no file above 1023.
            connection_limit=2 * _MOST_CONNECTIONS,
            asyncore_use_poll=True,
            # Reads while a request is answered, so that the end of a connection is noticed meanwhile.
            channel_request_lookahead=1,
        )
        address = (listening.family, listening.type, listening.proto, listening.getsockname())
        self._server = _WebServer(app, _sock=listening, adj=settings, bind_socket=False, sockinfo=address)

    def run(self) -> None:
        """Serves until `stop`."""
        self._server.run()

    def drain(self, timeout_s: float) -> None:
        """Waits until no request is being answered."""
        end, channels = time.monotonic() + timeout_s, self._server.active_channels
        while time.monotonic() < end and any(
            one.requests or one.total_outbufs_len for one in [*channels.values()]
        ):
            time.sleep(0.02)

    def stop(self) -> None:
        """Closes all connections."""
        # In the server's own thread, which would fail on a socket that another thread closes.
        self._server.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(self._server._map))
        self.join()
        self._server.task_dispatcher.shutdown()
