"""The REST side of the local server: TensorFlow Serving's routes, its JSON and its HTTP codes.

JSON becomes arrays by the types of a signature's inputs. Arrays become JSON as TensorFlow Serving writes it:
base64 for the strings of outputs whose names end in `_bytes`, no name around a single output.
"""

import base64
import itertools
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flask
import numpy as np
import waitress.server
import waitress.wasyncore
import werkzeug.exceptions
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from local_server.models import ServingError, Versions, invalid, numpy_type

_LOG = logging.getLogger(__name__)

# The HTTP codes that TensorFlow Serving answers status codes with, which are numbered as in gRPC; else 500.
_HTTP_CODES = {1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501}
_HTTP_CODES |= {14: 503, 16: 401}

# TensorFlow Serving's routes but :classify, :regress and labels; upper and lower case are one.
_MODEL = "(?i)/v1/models/([^/:]+)(?:/versions/([0-9]{1,18}))?"
_ROUTES = {"GET": re.compile(_MODEL + "(/metadata)?"), "POST": re.compile(_MODEL + ":(predict)")}
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]

# The JSON types for an array's kind (NumPy's letter): true and false are no numbers, 1.0 is no integer.
_JSON_TYPES: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}

# How one value of a kind is written; a float as its own type prints it: 0.2, not a double's 0.20000000298.
_WRITERS: dict[str, Callable[[Any], Any]] = {
    "f": lambda value: float(str(value)),
    "i": int,
    "u": int,
    "b": bool,
    "O": lambda value: value.decode("utf-8", "replace"),
    "_bytes": lambda value: {"b64": base64.b64encode(value).decode("ascii")},
}


def make_app(versions: Versions, slot: Callable[[], AbstractContextManager], timeout_ms: int) -> flask.Flask:
    """Returns the WSGI application.

    Args:
        versions: The model.
        slot: Returns a context to hold while a prediction is read, computed and written.
        timeout_ms: The longest time that TensorFlow may take for a prediction; 0: no limit.
    """
    app = flask.Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False

    def answer(path: str = "") -> flask.Response:
        spec, action = _route(flask.request.method, "/" + path)
        if action == "predict":
            with slot():
                return _reply(_predict(versions, spec, flask.request.get_data(), timeout_ms))
        return _reply(_metadata(versions, spec) if action else _dict(versions.status(spec)))

    for rule in ("/", "/<path:path>"):
        app.add_url_rule(rule, view_func=answer, methods=_METHODS, provide_automatic_options=False)
    app.register_error_handler(Exception, _failure)
    return app


def _reply(content: Any, code: int = 200) -> flask.Response:
    return flask.Response(json.dumps(content), code, mimetype="application/json")


def _failure(error: Exception) -> flask.Response:
    if isinstance(error, ServingError):
        return _reply({"error": error.message}, _HTTP_CODES.get(error.code, 500))
    if isinstance(error, werkzeug.exceptions.HTTPException):
        return _reply({"error": error.description}, error.code or 500)
    _LOG.error("a request failed", exc_info=error)
    return _reply({"error": f"{type(error).__name__}: a defect of the local server"}, 500)


def _route(method: str, path: str) -> tuple[Any, str | None]:
    """Returns the ModelSpec of a path and the action on it: "metadata", "predict", or None for its status."""
    match = _ROUTES[method].fullmatch(path) if method in _ROUTES else None
    if match is None:
        if not path.lower().startswith("/v1/"):
            raise werkzeug.exceptions.NotFound(f"There is nothing at {path}")
        raise invalid(f"Malformed request: {method} {path}")
    name, version, action = match.groups()
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        spec.version.value = int(version)
    return spec, action and action.lower()


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
    document = _parse(body)
    form = [key for key in ("instances", "inputs") if key in document]
    if len(form) != 1:
        raise invalid("expected one of 'instances' (rows) and 'inputs' (columns)")
    by_row, values = form == ["instances"], document[form[0]]
    columns = _columns(values) if by_row else values
    name = document.get("signature_name") or "serving_default"
    if not isinstance(name, str):
        raise invalid("signature_name: allowed: a string")
    with versions.use(spec) as version:
        inputs = columns if _is_named(columns) else {"": columns}
        outputs = version.run(name, inputs, _read, timeout_ms=timeout_ms)
    written = {key: _write(key, array) for key, array in outputs.items()}
    only = next(iter(written.values())) if len(written) == 1 else None
    if not by_row:
        return {"outputs": written if only is None else only}
    sizes = {array.shape[:1] for array in outputs.values()}
    if len(sizes) > 1 or () in sizes:
        raise invalid("the outputs have no rows, or not equally many; ask with 'inputs', not 'instances'")
    rows = [dict(zip(written, row, strict=True)) for row in zip(*written.values(), strict=True)]
    return {"predictions": rows if only is None else only}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply") from None
    except ValueError as error:  # bad UTF-8 is one too
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid("JSON Parse error: expected an object")
    return document


def _is_named(value: Any) -> bool:
    """Returns whether a value is an object of named inputs: any but {"b64": "..."}, which is a string."""
    return isinstance(value, dict) and not (value.keys() == {"b64"} and isinstance(value["b64"], str))


def _columns(rows: Any) -> Any:
    """Returns rows as columns: {name: list} where they are objects, otherwise as they are."""
    if not isinstance(rows, list) or not rows:
        raise invalid("instances: allowed: a list that is not empty")
    if not _is_named(rows[0]):
        return rows
    if any(not _is_named(row) or row.keys() != rows[0].keys() for row in rows):
        raise invalid(f"instances: allowed: objects that each have the same inputs: {', '.join(rows[0])}")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _read(name: str, value: Any, info: Any) -> np.ndarray:
    """Returns the array of nested JSON lists."""
    dtype, leaves, shape = numpy_type(info), [value], []
    while leaves and isinstance(leaves[0], list):
        sizes = {len(leaf) if isinstance(leaf, list) else -1 for leaf in leaves}
        if len(sizes) > 1:
            raise invalid(f"{name}: lists of different lengths; allowed: all of one level alike")
        shape.append(sizes.pop())
        leaves = list(itertools.chain.from_iterable(leaves))
    types = set(map(type, leaves))
    if not types <= _JSON_TYPES.get(dtype.kind, set()):
        found = ", ".join(sorted(one.__name__ for one in types))
        raise invalid(f"{name}: JSON of the types {found}; allowed: what stands for {dtype}")
    if dtype.kind == "O":
        leaves = [_read_string(name, leaf) for leaf in leaves]
    elif dtype.kind == "f" and int in types:
        # TensorFlow Serving does not round integers, only what has a decimal point or an exponent.
        whole = 2 ** (np.finfo(dtype).nmant + 1)
        if any(isinstance(leaf, int) and abs(leaf) >= whole for leaf in leaves):
            raise invalid(f"{name}: an integer that {dtype} would round; write it with a decimal point")
    try:
        with np.errstate(over="raise"):
            return np.array(leaves, dtype).reshape(shape)
    except (ArithmeticError, ValueError) as error:  # out of range; more dimensions than NumPy has
        raise invalid(f"{name}: {error}") from None


def _read_string(name: str, value: Any) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode("utf-8")
        if _is_named(value):
            raise ValueError('an object; allowed: {"b64": "..."}')
        text = "".join(value["b64"].split())  # the command `base64` breaks lines
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:  # bad base64, or half a surrogate pair
        raise invalid(f"{name}: {error}") from None


def _write(name: str, array: np.ndarray) -> Any:
    """Returns an array as nested JSON lists."""
    as_bytes = array.dtype.kind == "O" and name.endswith("_bytes")
    write = _WRITERS.get("_bytes" if as_bytes else array.dtype.kind)
    if write is None:
        raise invalid(f"{name}: there is no JSON for {array.dtype}")
    values = np.empty(array.size, object)
    values[:] = [write(value) for value in array.ravel()]
    return values.reshape(array.shape).tolist()


class HttpServer(threading.Thread):
    """Serves a WSGI application at `port`, in a thread that `start` starts."""

    def __init__(self, app: flask.Flask, listening: socket.socket, threads: int, max_body_bytes: int) -> None:
        """Takes over the socket; answers as many requests at a time as it has threads."""
        super().__init__(daemon=True)
        # Flask answers in JSON to a body that is too long; waitress does not even read one twice as long.
        app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
        self.port: int = listening.getsockname()[1]
        self._server = waitress.server.create_server(
            app, sockets=[listening], threads=threads, max_request_body_size=2 * max_body_bytes
        )

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
