"""A local stand-in for TensorFlow Serving, for tests and for trying a model out without Docker.

It answers the same requests for predictions, metadata and status, by gRPC and REST; README.md lists what
differs. A prediction ends at its gRPC deadline, at REST's time-out, or when its client has gone away, even
within a loop.
"""

import concurrent.futures
import contextlib
import logging
import math
import os
import pathlib
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from local_server import models, rest
from local_server.cancelling import Gone
from local_server.models import ServingError, Versions, invalid, numpy_type
from nst_tf import errors, runtime

_LOG = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}

# TensorFlow Serving's default for both kinds of threads (server.h).
_THREADS_PER_PROCESSOR = 4

# Of either kind one thread listens, and the others answer: fewer than two answer nothing.
_FEWEST_THREADS = 2

# Time between two reads of the folder; TensorFlow Serving reads it once a second.
_POLL_S = 0.5

# Time for running requests to end by themselves when the server stops.
_GRACE_S = 5.0

# The most of a message that TensorFlow Serving sends beside a status.
_LONGEST_MESSAGE_BYTES = 1024

# The fields of a TensorProto by type, as TensorFlow Serving fills them: some clients read no others.
_FIELDS = {"float32": "float_val", "float64": "double_val", "int32": "int_val", "int64": "int64_val"}
_FIELDS |= {"bool": "bool_val", "object": "string_val"}


@contextlib.contextmanager
def _aborting(context: Any) -> Iterator[None]:
    """Ends a request that fails with its status."""
    try:
        yield
    except ServingError as error:
        context.abort(_CODES[error.code], _cut(error.message))


def _cut(message: str) -> str:
    """Returns a message as TensorFlow Serving cuts it for gRPC (grpc_status_util.cc)."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST_MESSAGE_BYTES:
        return encoded.decode()
    return encoded[:_LONGEST_MESSAGE_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"


class _Services(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """PredictionService and ModelService; all other methods are UNIMPLEMENTED."""

    def __init__(self, versions: Versions, max_bytes: int) -> None:
        self._versions, self._max_bytes = versions, max_bytes

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        spec, response = request.model_spec, predict_pb2.PredictResponse()
        name = spec.signature_name or "serving_default"
        with _aborting(context), self._versions.use(spec) as version:
            timeout_ms, gone = _timeout_ms(context), Gone()
            if not context.add_callback(gone.tell):  # the call has ended already
                gone.tell()
            outputs = version.run(name, request.inputs, self._read, request.output_filter, timeout_ms, gone)
            for key, array in outputs.items():
                _write(array, response.outputs[key])
            response.model_spec.name, response.model_spec.signature_name = spec.name, name
            response.model_spec.version.value = version.number
        return response

    def _read(self, name: str, tensor: Any) -> np.ndarray:
        """Returns the array of a TensorProto."""
        sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
        unreadable = invalid(f"tensor parsing error: {name}")  # what `Tensor::FromProto` does not read
        if min(sizes, default=0) < 0:
            raise unreadable
        try:
            # One value may stand for all of a shape: a few bytes for more than any memory holds.
            if math.prod(sizes) * numpy_type(tensor).itemsize > self._max_bytes:
                raise invalid(f"{name}: shape {sizes}; allowed: up to {self._max_bytes} bytes")
            return tf.make_ndarray(tensor)
        except (LookupError, TypeError, ValueError):  # LookupError: a type that NumPy does not have
            raise unreadable from None

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with _aborting(context), self._versions.use(_spec(request)) as version:
            if set(request.metadata_field) != {"signature_def"}:
                raise invalid("metadata_field: allowed: signature_def")
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.signatures)
            response.metadata["signature_def"].Pack(signatures)
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version.number
        return response

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _aborting(context):
            return self._versions.status(_spec(request))


def _spec(request: Any) -> Any:
    """Returns the ModelSpec of a request for metadata or status."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def _timeout_ms(context: Any) -> int:
    """Returns the time until a request's deadline; 0 if it has none."""
    left_s = context.time_remaining()
    if left_s is None or left_s > 2**31:  # gRPC's infinity
        return 0
    if left_s <= 0:
        raise ServingError(tf.errors.DEADLINE_EXCEEDED, "the deadline has passed")
    return math.ceil(left_s * 1000)


def _write(array: np.ndarray, tensor: Any) -> None:
    """Fills a TensorProto."""
    field = _FIELDS.get(array.dtype.name)
    if field is None:
        tensor.CopyFrom(tf.make_tensor_proto(array))
        return
    tensor.dtype = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    getattr(tensor, field).extend(array.ravel().tolist())


class LocalServer:
    """Serves the model `name` at `host`, `grpc_port` and `rest_port` while its context lasts."""

    def __init__(
        self,
        model_base_path: str | os.PathLike[str],
        *,
        model_name: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        rest_api_port: int = 0,
        grpc_max_threads: int = 0,
        rest_api_num_threads: int = 0,
        max_body_mb: int = 512,
        rest_api_timeout_in_ms: int = 30_000,
    ) -> None:
        """Opens both ports; requests are answered within the context.

        Args:
            model_base_path: The folder of the version folders.
            model_name: The model's name in requests; by default the folder's name.
            host: The address to listen on; the default is reached from this machine only.
            port: gRPC's port; 0: any free one, as `grpc_port` says.
            rest_api_port: REST's port; 0: any free one, as `rest_port` says.
            grpc_max_threads: One more than the calls by gRPC that run at a time, status and metadata
                among them; others are refused. 0: four for each processor.
            rest_api_num_threads: One more than the requests by REST that run at a time; others wait. 0: four
                for each processor.
            max_body_mb: The longest request in MiB. The default has room for the state of a run at
                1024 x 1024 pixels: 288 MB, and a third more in base64.
            rest_api_timeout_in_ms: The longest time for a prediction by REST; 0: no limit.

        Raises:
            InputError: There is no such folder, a port cannot be listened on, or there are too few threads.
        """
        models.hide_loading_advice()
        base_path = pathlib.Path(model_base_path).expanduser()
        if not base_path.is_dir() or (base_path / "saved_model.pb").exists():
            raise errors.InputError(
                f"{base_path}: not a folder that holds folders named 1, 2, ...; export to it"
            )
        self.name, self.host = model_name or base_path.resolve().name, f"[{host}]" if ":" in host else host
        if not re.fullmatch("[^/:]+", self.name):
            raise errors.InputError(f"model name: {self.name!r}; allowed: any text without / and :")
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        calls = _answering("grpc_max_threads", grpc_max_threads)
        requests = _answering("rest_api_num_threads", rest_api_num_threads)
        self._versions = Versions(base_path, self.name, calls + requests)
        max_bytes, app = max_body_mb * 2**20, rest.make_app(self._versions, rest_api_timeout_in_ms)
        with contextlib.ExitStack() as opened:
            # REST's first, whose socket is closed at once where gRPC's port fails; gRPC's own is not.
            listening = opened.enter_context(_listen(host, rest_api_port))
            self._grpc = grpc.server(
                concurrent.futures.ThreadPoolExecutor(calls),
                # Without the last, a second server would share the port unnoticed.
                options=[
                    ("grpc.max_receive_message_length", max_bytes),
                    ("grpc.max_send_message_length", -1),
                    ("grpc.so_reuseport", 0),
                ],
                maximum_concurrent_rpcs=calls,
            )
            opened.callback(self._grpc.stop, None)  # without it a port that it has taken would stay open
            services = _Services(self._versions, max_bytes)
            prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, self._grpc)
            model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, self._grpc)
            self.grpc_port = _add_port(self._grpc, self.host, port)
            self._rest = rest.HttpServer(app, listening, requests, max_bytes)
            opened.pop_all()
        self.rest_port = self._rest.port

    def __enter__(self) -> Self:
        """Loads the newest version, if there is one yet, and starts to answer."""
        if not self._versions.refresh():
            _LOG.warning("%s: no version to serve yet; waiting for a folder named 1, 2, ...", self.name)
        self._watcher.start()
        self._grpc.start()
        self._rest.start()
        return self

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            self._versions.refresh()

    def __exit__(self, *_: object) -> None:
        """Refuses new requests, gives running ones a few seconds, then ends them."""
        self._stopping.set()
        ended = self._grpc.stop(_GRACE_S)
        self._rest.drain(_GRACE_S)
        ended.wait()
        self._watcher.join()
        self._versions.close()
        self._rest.stop()

    def wait(self) -> None:
        """Returns at SIGINT (Ctrl-C) or SIGTERM; a second one ends the process. For the main thread."""
        received: list[Any] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: received.append(signal.signal(number, signal.SIG_DFL)))
        while not received:
            time.sleep(0.1)  # not an event: its lock could be held when the signal comes


def _answering(name: str, threads: int) -> int:
    """Returns how many of a number of threads answer; 0 stands for TensorFlow Serving's default.

    Raises:
        InputError: None would.
    """
    threads = threads or max(_FEWEST_THREADS, _THREADS_PER_PROCESSOR * (os.cpu_count() or 1))
    errors.require(threads >= _FEWEST_THREADS, name, threads, f"{_FEWEST_THREADS} and above; one listens")
    return threads - 1


def _add_port(server: grpc.Server, host: str, port: int) -> int:
    """Has a gRPC server listen; returns its port.

    Raises:
        InputError: It cannot.
    """
    with runtime.quiet():  # gRPC logs what it raises
        try:
            number: int = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            _listen(host.strip("[]"), port).close()  # its error gives the reason, gRPC's does not
            raise errors.InputError(f"{host}:{port} cannot be listened on; 0: any free port") from None
    return number


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; raises `InputError` if that fails."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise errors.InputError(f"{host}:{port} cannot be listened on: {error}; 0: any free port") from None
