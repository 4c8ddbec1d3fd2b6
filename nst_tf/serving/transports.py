"""How a request reaches a model server and its answer comes back: gRPC or REST, by the server's address.

Values go in and come out without the batch dimension, which is 1 on the wire. Inputs are bytes, lists of
bytes, and NumPy scalars and arrays, whose type is the tensor's; outputs are bytes, numbers, and lists of
them.
Importing this loads no library for either way: gRPC's brings TensorFlow with it.
"""

import abc
import base64
import dataclasses
import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Input = bytes | list[bytes] | np.int32 | np.float32 | np.ndarray

# The largest gRPC message either way. L-BFGS with its ten pairs takes 288 bytes a pixel, so that this is the
# state of a picture of 3.7 million pixels; protobuf itself ends at twice as much.
_MESSAGE_BYTES = 2**30

# Attempts in all, the most that gRPC's retry policy allows, and the pause after the first in seconds, which
# doubles: together about 8 s, in which a server behind a name can give way to another.
_ATTEMPTS, _FIRST_PAUSE_S = 5, 0.5

# For each of REST's attempts; Linux itself asks again for a connection after 1 and 3 seconds.
_CONNECT_TIMEOUT_S = 4.0

# TensorFlow Serving's own port for gRPC.
_GRPC_PORT = 8500

# Codes beside gRPC's: a server, or a proxy before it, gave up by a time-out of its own; an answer that no
# model of this package gives.
GATEWAY_TIMEOUT, WRONG_ANSWER = "GATEWAY_TIMEOUT", "WRONG_ANSWER"

# REST's codes by gRPC's names: what TensorFlow Serving (http_server.cc) and proxies before it answer.
_HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: GATEWAY_TIMEOUT,
}


class CallError(Exception):
    """A call failed.

    Attributes:
        code: gRPC's name of the status, `GATEWAY_TIMEOUT`, `WRONG_ANSWER`, or a text for anything else.
        detail: What the server or the library said, perhaps in several lines.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Keeps what is known."""
        super().__init__(code, detail)
        self.code, self.detail = code, detail


# What TensorFlow writes around a message: where in the graph and in the program, and which of several errors.
_NOISE = re.compile(
    r"\{\{.*?\}\}|\[\[.*?\]\]|^\d+ root error\(s\) found\.|^\s*\(\d+\) [A-Z_]+:|^Graph execution error:"
    r"|^Detected at node .*|^ +File .*|^Node: .*",
    re.MULTILINE,
)
# `tf.debugging.Assert` puts each thing that it was given into brackets, with backslashes before quotes.
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]")


def readable(message: str) -> str:
    """Returns the first line with something to say of what TensorFlow or a server said; "" if none has."""
    text = _NOISE.sub("", message)
    if found := _ASSERTION.search(text):
        said = found[1].partition("] [Condition ")[0].replace("] [", " ")
        text = re.sub(r"\\(['\"])", r"\1", said)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return next(filter(None, lines), "")


@dataclasses.dataclass
class Connection(abc.ABC):
    """A way to one model. Calls that meet no server are repeated, which does no harm: they change nothing.

    Attributes:
        address: The server's, taken apart; it has a host, and a scheme of `LIBRARIES`.
        model: The model's name on the server.
        version: Its version; None for the server's choice, the newest.
        timeout_s: After how many seconds without an answer to give up a call.
    """

    address: urllib.parse.SplitResult
    model: str
    version: int | None
    timeout_s: float

    @abc.abstractmethod
    def __post_init__(self) -> None:
        """Prepares to ask; nothing is sent yet."""

    def predict(self, signature: str, inputs: Mapping[str, Input], outputs: Sequence[str]) -> dict[str, Any]:
        """Runs a signature of the model.

        Args:
            signature: Its name.
            inputs: {name: value}, without the batch dimension.
            outputs: The names of what the answer must contain.

        Raises:
            CallError: There is no such answer.
        """
        answer = self._ask(signature, inputs)
        for name in outputs:
            if name not in answer:
                raise CallError(WRONG_ANSWER, f"without {name}")
        return answer

    @abc.abstractmethod
    def _ask(self, signature: str, inputs: Mapping[str, Input]) -> dict[str, Any]:
        """Returns all outputs of a signature."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the connection."""


class _GrpcConnection(Connection):
    """Asks by the official stubs of TensorFlow Serving's PredictionService."""

    def __post_init__(self) -> None:
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        host = self.address.netloc.rpartition("@")[2]
        port = "" if self.address.port else f":{_GRPC_PORT}"
        self._channel = grpc.insecure_channel(host.rstrip(":") + port, options=_channel_options())
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def _ask(self, signature: str, inputs: Mapping[str, Input]) -> dict[str, Any]:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        for name, value in inputs.items():
            # As objects: NumPy's own type for bytes would lose zeros at their end.
            dtype = None if isinstance(value, np.generic | np.ndarray) else object
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray([value], dtype)))
        try:
            response = self._stub.Predict(request, timeout=self.timeout_s, wait_for_ready=False)
        except grpc.RpcError as error:
            raise CallError(error.code().name, error.details() or "") from None
        try:
            return {name: tf.make_ndarray(value).tolist()[0] for name, value in response.outputs.items()}
        except (IndexError, TypeError, ValueError):
            raise CallError(WRONG_ANSWER, "with tensors that are not a batch of one") from None

    def close(self) -> None:
        self._channel.close()


def _channel_options() -> list[tuple[str, Any]]:
    """Returns how large messages may be, and when calls are repeated.

    gRPC repeats only what it has kept, 256 KiB of a call unless told, which is less than a photograph. There
    is no `retryThrottling`: it spares servers many calls at once, and this client makes one after the other.
    """
    policy = {
        "maxAttempts": _ATTEMPTS,
        "initialBackoff": f"{_FIRST_PAUSE_S:g}s",
        "maxBackoff": f"{_FIRST_PAUSE_S * 2**_ATTEMPTS:g}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    service = {"service": "tensorflow.serving.PredictionService"}
    return [
        ("grpc.max_send_message_length", _MESSAGE_BYTES),
        ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ("grpc.per_rpc_retry_buffer_size", _MESSAGE_BYTES),
        # Otherwise a second, in which a repeated call would only hear again that connecting failed.
        ("grpc.initial_reconnect_backoff_ms", round(_FIRST_PAUSE_S * 1000)),
        ("grpc.service_config", json.dumps({"methodConfig": [{"name": [service], "retryPolicy": policy}]})),
    ]


class _RestConnection(Connection):
    """Asks by TensorFlow Serving's REST interface, in its row format."""

    def __post_init__(self) -> None:
        import requests

        chosen = "" if self.version is None else f"/versions/{self.version}"
        name = urllib.parse.quote(self.model, safe="")
        self._url = f"{self.address.geturl().rstrip('/')}/v1/models/{name}{chosen}:predict"
        self._timeouts = (min(_CONNECT_TIMEOUT_S, self.timeout_s), self.timeout_s)
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(max_retries=_retry_policy())
        self._session.mount(f"{self.address.scheme}://", adapter)

    def _ask(self, signature: str, inputs: Mapping[str, Input]) -> dict[str, Any]:
        import requests

        instance = {name: _to_json(value) for name, value in inputs.items()}
        body: Any = {"signature_name": signature, "instances": [instance]}
        try:
            # Redirected, requests would turn this into a GET without a body.
            response = self._session.post(self._url, json=body, timeout=self._timeouts, allow_redirects=False)
        except requests.exceptions.ReadTimeout:
            raise CallError("DEADLINE_EXCEEDED", "") from None
        except requests.exceptions.RequestException as error:
            raise CallError("UNAVAILABLE", _root_cause(error)) from None
        status = response.status_code
        if status != 200:
            raise CallError(_HTTP_CODES.get(status, f"HTTP {status}"), _error_text(response))
        try:
            (outputs,) = response.json()["predictions"]
            return {name: _from_json(value) for name, value in outputs.items()}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CallError(WRONG_ANSWER, "with something else than JSON with a prediction") from None

    def close(self) -> None:
        self._session.close()


# What each scheme of an address needs beside this package's own requirements.
LIBRARIES = {
    "grpc": ("grpc", "tensorflow_serving.apis.prediction_service_pb2_grpc"),
    "http": ("requests",),
    "https": ("requests",),
}
_CONNECTIONS: dict[str, type[Connection]] = {
    "grpc": _GrpcConnection,
    "http": _RestConnection,
    "https": _RestConnection,
}


def connect(
    address: urllib.parse.SplitResult, model: str, version: int | None, timeout_s: float
) -> Connection:
    """Returns a way to a model, by its attributes; nothing is sent yet."""
    return _CONNECTIONS[address.scheme](address, model, version, timeout_s)


def _retry_policy() -> Any:
    """Returns when REST calls are repeated: where no server is there, or none behind a proxy.

    Not after a time-out, when the server may still be busy with the call.
    """
    import urllib3

    class Policy(urllib3.Retry):
        def increment(self, *args: Any, **options: Any) -> Any:
            if isinstance(error := options.get("error"), urllib3.exceptions.ReadTimeoutError):
                raise error
            return super().increment(*args, **options)

    return Policy(
        total=_ATTEMPTS - 1,
        backoff_factor=_FIRST_PAUSE_S,
        status_forcelist=(502, 503),
        allowed_methods=None,  # any
        respect_retry_after_header=False,  # which may name any time
        raise_on_status=False,
    )


def _root_cause(error: BaseException) -> str:
    """Returns what the first of a chain of exceptions says; requests' own words name its inner workings."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return str(error) or type(error).__name__


def _error_text(response: Any) -> str:
    """Returns what a server says about a call that failed: TensorFlow Serving has JSON with an `error`."""
    try:
        return str(response.json()["error"])
    except (KeyError, TypeError, ValueError):
        return f"HTTP {response.status_code} {response.reason}"


def _to_json(value: Input) -> Any:
    """Returns a value as TensorFlow Serving's JSON has it; a float keeps its point, an integer has none."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return [_to_json(item) for item in value] if isinstance(value, list) else value.tolist()


def _from_json(value: Any) -> Any:
    """Returns a value out of TensorFlow Serving's JSON."""
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return [_from_json(item) for item in value] if isinstance(value, list) else value
