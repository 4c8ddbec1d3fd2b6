"""Connections to a model server, by gRPC or REST, and the errors of a call.

Values have no batch dimension here; it is 1 on the wire. Inputs are bytes, lists of bytes, and NumPy scalars
and arrays, whose type is the tensor's; outputs are bytes, numbers, and lists of them. This module imports
gRPC's and REST's libraries only when a connection is made, since gRPC's import TensorFlow.
"""

import abc
import base64
import dataclasses
import json
import math
import queue
import re
import threading
import time
import typing
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nst_tf.serving import access

_Answer = typing.TypeVar("_Answer")

Input = bytes | list[bytes] | np.int32 | np.float32 | np.ndarray

# The largest gRPC message in either direction: the state of L-BFGS with ten pairs for 3.7 million pixels.
# protobuf's own limit is twice as much.
_MESSAGE_BYTES = 2**30

# The longest answer by REST, whose base64 is a third longer; it is read in parts of this size.
_ANSWER_BYTES, _PART_BYTES = _MESSAGE_BYTES // 3 * 4, 2**20

# Attempts in all, the most that gRPC's retry policy allows, and seconds of the first pause, which doubles:
# together about 8 s, in which one server can replace another.
_ATTEMPTS, _FIRST_PAUSE_S = 5, 0.5

# For each of REST's attempts; Linux itself retries a connection after 1 and 3 seconds.
_CONNECT_TIMEOUT_S = 4.0

# The ports for gRPC where none is named: TensorFlow Serving's own, and that of gateways.
_GRPC_PORTS = {"grpc": 8500, "grpcs": 443}

# Codes in addition to gRPC's: a time-out of the server's own or of a gateway before it; an answer that no
# model of this package gives; no connection by TLS; a failure that may be that of a proxy.
GATEWAY_TIMEOUT, WRONG_ANSWER = "GATEWAY_TIMEOUT", "WRONG_ANSWER"
TLS_FAILED, PROXY_FAILED = "TLS_FAILED", "PROXY_FAILED"

# How gRPC says that TLS failed: the handshake, a certificate, or what a server speaks within TLS (ALPN).
_GRPC_TLS = re.compile(r"(?i)handshake|certificate|\bSSL|\bALPN\b")

# gRPC's names of the HTTP codes of TensorFlow Serving (http_server.cc) and of proxies before it.
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
        code: gRPC's name of the status, a code of this module, or another text.
        detail: The message of the server or the library, perhaps in several lines.
    """

    def __init__(self, code: str, detail: str) -> None:
        """Takes the code and the detail."""
        super().__init__(code, detail)
        self.code, self.detail = code, detail


# Text that TensorFlow writes around a message: nodes of the graph, lines of the program, numbers of errors.
_NOISE = re.compile(
    r"\{\{.*?\}\}|\[\[.*?\]\]|^\d+ root error\(s\) found\.|^\s*\(\d+\) [A-Z_]+:|^Graph execution error:"
    r"|^Detected at node .*|^ +File .*|^Node: .*",
    re.MULTILINE,
)
# `tf.debugging.Assert` puts each of its data into brackets, with backslashes before quotes. TensorFlow
# Serving cuts a long message for gRPC.
_ASSERTION = re.compile(r"assertion failed: \[(.*)(?:\]|\.\.\.TRUNCATED)")


def readable(message: str) -> str:
    """Returns the first line of a message without what TensorFlow writes around it; may be empty."""
    text = _NOISE.sub("", message)
    if found := _ASSERTION.search(text):
        data = found[1].partition("] [Condition ")[0].replace("] [", " ")
        text = re.sub(r"\\(['\"])", r"\1", data)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return next(filter(None, lines), "")


@dataclasses.dataclass
class Connection(abc.ABC):
    """A connection to one model. Repeats calls that reach no server, since calls change nothing on a server.

    Attributes:
        address: Parts of the server's address, with a host and a scheme of `LIBRARIES`.
        model: The model's name on the server.
        version: Its version; None for the server's choice, the newest.
        timeout_s: Seconds without an answer after which a call is given up.
        access: Headers to send, and certificates to trust.
    """

    address: urllib.parse.SplitResult
    model: str
    version: int | None
    timeout_s: float
    access: access.Access

    @property
    def proxy(self) -> str:
        """The proxy that the environment names for this server, and by which variable; "" for none."""
        return access.proxy(self.address)

    @abc.abstractmethod
    def __post_init__(self) -> None:
        """Prepares the connection; sends nothing yet."""

    def predict(self, signature: str, inputs: Mapping[str, Input], outputs: Sequence[str]) -> dict[str, Any]:
        """Runs a signature of the model.

        Args:
            signature: Its name.
            inputs: {name: value}, without the batch dimension.
            outputs: Names that the answer must contain.

        Raises:
            CallError: The call failed, or the answer lacks an output.
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
        """Closes the connection."""


class _GrpcConnection(Connection):
    """Calls TensorFlow Serving's PredictionService through its official stubs."""

    def __post_init__(self) -> None:
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        host = self.address.netloc.rpartition("@")[2]
        port = "" if self.address.port else f":{_GRPC_PORTS[self.address.scheme]}"
        target, options = host.rstrip(":") + port, _channel_options()
        if self.address.scheme in access.ENCRYPTED:
            trusted = self.access.ca_file.read_bytes() if self.access.ca_file else None
            credentials = grpc.ssl_channel_credentials(trusted)
            self._channel = grpc.secure_channel(target, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(target, options=options)
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
            # As objects: NumPy's type for bytes drops zeros at the end.
            dtype = None if isinstance(value, np.generic | np.ndarray) else object
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray([value], dtype)))
        try:
            response = self._stub.Predict(
                request,
                timeout=self.timeout_s,
                wait_for_ready=False,
                metadata=tuple(self.access.headers.items()),
            )
        except grpc.RpcError as error:
            raise self._failed(error.code().name, error.details() or "") from None
        try:
            return {name: _from_tensor(value) for name, value in response.outputs.items()}
        except (IndexError, TypeError, ValueError):
            raise CallError(WRONG_ANSWER, "with tensors that are not a batch of one") from None

    def _failed(self, code: str, details: str) -> CallError:
        encrypted = self.address.scheme in access.ENCRYPTED
        if code == "UNAVAILABLE" and encrypted and _GRPC_TLS.search(details):
            return CallError(TLS_FAILED, details)
        return CallError(PROXY_FAILED if code == "UNAVAILABLE" and self.proxy else code, details)

    def close(self) -> None:
        self._channel.close()


def _from_tensor(tensor: Any) -> Any:
    """Returns the only item of a batch in a TensorProto.

    Raises:
        ValueError: The tensor would be larger than a message: one value may stand for all of a shape.
    """
    import tensorflow as tf

    count = math.prod(max(0, dimension.size) for dimension in tensor.tensor_shape.dim)
    if count * np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype).itemsize > _MESSAGE_BYTES:
        raise ValueError(count)
    return tf.make_ndarray(tensor).tolist()[0]


def _channel_options() -> list[tuple[str, Any]]:
    """Returns the options for large messages and repeated calls.

    gRPC repeats a call only if it has buffered it whole; its default buffer of 256 KiB is smaller than a
    photograph. No `retryThrottling`, since this client makes one call at a time.
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
        # The default is 1 s, in which a repeated call fails at once with the same error.
        ("grpc.initial_reconnect_backoff_ms", round(_FIRST_PAUSE_S * 1000)),
        ("grpc.service_config", json.dumps({"methodConfig": [{"name": [service], "retryPolicy": policy}]})),
    ]


class _RestConnection(Connection):
    """Calls TensorFlow Serving's REST interface, in its row format."""

    def __post_init__(self) -> None:
        import requests

        chosen = "" if self.version is None else f"/versions/{self.version}"
        name = urllib.parse.quote(self.model, safe="")
        self._url = f"{self.address.geturl().rstrip('/')}/v1/models/{name}{chosen}:predict"
        self._timeouts = (min(_CONNECT_TIMEOUT_S, self.timeout_s), self.timeout_s)
        self._session = requests.Session()
        if self.access.headers:
            # As an authentication, since requests would put a login of ~/.netrc in the place of a header.
            self._session.auth = self._authenticate
        adapter = requests.adapters.HTTPAdapter(max_retries=_retry_policy())
        self._session.mount(f"{self.address.scheme}://", adapter)

    def _authenticate(self, request: Any) -> Any:
        request.headers.update(self.access.headers)
        return request

    def _ask(self, signature: str, inputs: Mapping[str, Input]) -> dict[str, Any]:
        instance = {name: _to_json(value) for name, value in inputs.items()}
        body: Any = {"signature_name": signature, "instances": [instance]}
        status, reason, answer = _within(self.timeout_s, lambda: self._post(body))
        if status != 200:
            text = _error_text(answer)
            code = _HTTP_CODES.get(status, f"HTTP {status}")
            # A proxy answers for plain http itself, and never in TensorFlow Serving's JSON.
            by_proxy = text is None and self.address.scheme == "http" and self.proxy
            raise CallError(
                PROXY_FAILED if by_proxy else code, f"HTTP {status} {reason}" if text is None else text
            )
        try:
            (outputs,) = json.loads(answer)["predictions"]
            return {name: _from_json(value) for name, value in outputs.items()}
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            raise CallError(WRONG_ANSWER, "with something else than JSON with a prediction") from None

    def _post(self, body: Any) -> tuple[int, str, bytes]:
        """Returns the status of an answer, the server's word for it, and its body."""
        import requests
        import urllib3

        deadline = time.monotonic() + self.timeout_s
        try:
            # requests follows a redirection with a GET without a body. Without `verify` here it would trust
            # the certificates of an environment variable rather than those of the session.
            with self._session.post(
                self._url,
                json=body,
                timeout=self._timeouts,
                allow_redirects=False,
                stream=True,
                verify=str(self.access.ca_file) if self.access.ca_file else None,
            ) as response:
                parts = bytearray()
                for part in response.iter_content(_PART_BYTES):
                    parts += part
                    if len(parts) > _ANSWER_BYTES:
                        raise CallError(WRONG_ANSWER, f"with over {_ANSWER_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise CallError("DEADLINE_EXCEEDED", "")
                return response.status_code, response.reason or "", bytes(parts)
        except requests.exceptions.ReadTimeout:
            # The time-out of a connection, which is shorter, is the handshake's too.
            if self.address.scheme in access.ENCRYPTED and time.monotonic() < deadline:
                raise CallError(TLS_FAILED, f"no TLS handshake within {_CONNECT_TIMEOUT_S:g} s") from None
            raise CallError("DEADLINE_EXCEEDED", "") from None
        except requests.exceptions.SSLError as error:
            raise CallError(TLS_FAILED, _root_cause(error)) from None
        # urllib3's own, of a host's name with an empty or overlong part, comes through requests as it is.
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            late = isinstance(error.args and error.args[0], urllib3.exceptions.ReadTimeoutError)
            if late:
                raise CallError("DEADLINE_EXCEEDED", "") from None
            raise CallError(PROXY_FAILED if self.proxy else "UNAVAILABLE", _root_cause(error)) from None

    def close(self) -> None:
        self._session.close()


# Libraries for each scheme of an address, from the extra `serving`.
_GRPC_LIBRARIES = ("grpc", "tensorflow_serving.apis.prediction_service_pb2_grpc")
LIBRARIES = {
    "grpc": _GRPC_LIBRARIES,
    "grpcs": _GRPC_LIBRARIES,
    "http": ("requests",),
    "https": ("requests",),
}
_CONNECTIONS: dict[str, type[Connection]] = {
    "grpc": _GrpcConnection,
    "grpcs": _GrpcConnection,
    "http": _RestConnection,
    "https": _RestConnection,
}


def connect(
    address: urllib.parse.SplitResult,
    model: str,
    version: int | None,
    timeout_s: float,
    way: access.Access,
) -> Connection:
    """Returns a connection with these attributes; sends nothing yet."""
    return _CONNECTIONS[address.scheme](address, model, version, timeout_s, way)


def _retry_policy() -> Any:
    """Returns the retry policy of REST calls: after a failed connection, or a proxy's answer of 502 or 503.

    Calls are not repeated after a time-out, when the server may still be busy with them, nor if TLS failed.
    """
    import urllib3

    final = (urllib3.exceptions.ReadTimeoutError, urllib3.exceptions.SSLError)

    class Policy(urllib3.Retry):
        def increment(self, *args: Any, **options: Any) -> Any:
            if isinstance(error := options.get("error"), final):
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
    """Returns the message of the first exception in a chain, plainer than requests' own."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return re.sub(r" \(_ssl\.c:\d+\)", "", str(error)) or type(error).__name__


def _error_text(answer: bytes) -> str | None:
    """Returns the message of a failed call, the `error` in TensorFlow Serving's JSON; None without such."""
    try:
        return str(json.loads(answer)["error"])
    except (KeyError, RecursionError, TypeError, ValueError):
        return None


def _within(timeout_s: float, call: Callable[[], _Answer]) -> _Answer:
    """Returns what a call returns, or gives it up after a time; its thread ends with its socket's time-out.

    A socket's own time-out begins anew with every byte, and a host's name is looked up without any.

    Raises:
        CallError: The call raised it, or took too long.
    """
    answers: queue.SimpleQueue[tuple[_Answer | None, BaseException | None]] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # raised in the thread that waits for it
            answers.put((None, error))

    threading.Thread(target=answer, daemon=True).start()
    try:
        value, error = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise CallError("DEADLINE_EXCEEDED", "") from None
    if error is not None:
        raise error
    return typing.cast(_Answer, value)


def _to_json(value: Input) -> Any:
    """Returns a value for TensorFlow Serving's JSON, where a float needs a point and an integer has none."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return [_to_json(item) for item in value] if isinstance(value, list) else value.tolist()


def _from_json(value: Any) -> Any:
    """Returns a value from TensorFlow Serving's JSON."""
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return [_from_json(item) for item in value] if isinstance(value, list) else value
