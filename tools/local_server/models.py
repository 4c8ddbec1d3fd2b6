"""The versions of one SavedModel in a model server: found, loaded, run, replaced.

Each version is restored as TensorFlow Serving restores it: a graph and a v1 Session of its own, the tag
"serve", feeds and fetches by SignatureDef. Of the folders named by whole numbers the newest that loads is
served. The version that it replaces is closed once its last request has ended.
"""

import contextlib
import logging
import pathlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2

from local_server.cancelling import Cancelling, Gone

_LOG = logging.getLogger(__name__)

# TensorFlow Serving cuts its messages here too: longer ones do not fit beside a status of gRPC.
_LONGEST_MESSAGE_BYTES = 1024

# A version is an int64, as in TensorFlow Serving: 18 digits always are one.
_NUMBER = re.compile(r"[0-9]{1,18}\Z")

# TensorFlow's text before a message (where its node was made) and after it (nodes, the error again).
_BEFORE = re.compile(
    r"(?s)(Graph execution error:\s*)?(Detected at node .*?\nNode: [^\n]*\n)*(\d+ root err.*?\(0\) [^:]*: )?"
)
_AFTER = re.compile(r"(?s)\n\s*(\[\[|\(1\) |Original stack trace|Errors may have originated).*")
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]")

# Returns the array of an input's name, value and TensorInfo, in the TensorInfo's type.
Reader = Callable[[str, Any, Any], np.ndarray]


def hide_loading_advice() -> None:
    """Keeps out of TensorFlow's log its advice to load models in another way than model servers do."""
    logging.getLogger("tensorflow").addFilter(_is_no_loading_advice)


def _is_no_loading_advice(record: logging.LogRecord) -> bool:
    return "loader_impl" not in record.getMessage()


class ServingError(Exception):
    """A request that failed: a status code, numbered as in gRPC and TensorFlow, and a line that says why."""

    def __init__(self, code: int, message: str) -> None:
        """Takes the code and the message."""
        encoded = message.encode("utf-8", "replace")[:_LONGEST_MESSAGE_BYTES]
        self.code, self.message = code, encoded.decode("utf-8", "ignore")
        super().__init__(self.message)


def invalid(message: str) -> ServingError:
    """Returns the error of a request that is wrong in itself."""
    return ServingError(tf.errors.INVALID_ARGUMENT, message)


def readable(message: str) -> str:
    """Returns TensorFlow's message in one line, without node traces; of an assertion only its text."""
    text = " ".join(_AFTER.sub("", _BEFORE.sub("", message.strip(), count=1)).split())
    assertion = _ASSERTION.fullmatch(text)
    return assertion[1].replace("] [", " ") if assertion else text


def numpy_type(info: Any) -> np.dtype:
    """Returns the NumPy type of a TensorInfo; strings are objects."""
    return np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)


def _feeds(inputs: Mapping[str, Any], values: Mapping[str, Any], read: Reader) -> dict[str, np.ndarray]:
    """Returns {tensor: array} for a signature's inputs.

    Raises:
        ServingError: The values do not fit the signature.
    """
    if set(values) != set(inputs):
        raise invalid(_mismatch(set(inputs), set(values)))
    feeds = {}
    for name, value in values.items():
        array, shape = read(name, value, inputs[name]), tf.TensorShape(inputs[name].tensor_shape)
        if not shape.is_compatible_with(array.shape):
            allowed = ", ".join("any" if size is None else str(size) for size in shape)
            raise invalid(f"{name}: shape {list(array.shape)}; allowed: [{allowed}]")
        feeds[inputs[name].name] = array
    return feeds


def _mismatch(inputs: set[str], came: set[str]) -> str:
    """Returns what TensorFlow Serving (predict_util.cc) says about names that are not a signature's."""

    def joined(names: set[str]) -> str:
        return f"{{{','.join(sorted(names))}}}"

    if len(came) == len(inputs):
        alias, known = min(came - inputs), joined(inputs)
        return (
            f"input tensor alias not found in signature: {alias}. Inputs expected to be in the set {known}."
        )
    return (
        f"input size does not match signature: {len(came)}!={len(inputs)} len({joined(came)}) !="
        f" len({joined(inputs)}). Sent extra: {joined(came - inputs)}. Missing but required:"
        f" {joined(inputs - came)}."
    )


class Version:
    """One loaded version: `number`, `session`, `signatures` {name: SignatureDef}, and count of `users`."""

    def __init__(self, number: int, folder: pathlib.Path, at_once: int) -> None:
        """Loads the version for so many runs at a time; raises whatever TensorFlow raises if that fails."""
        self.number, self.users = number, 0
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            load = tf.compat.v1.saved_model.loader.load
            saved = load(self.session, [tf.saved_model.SERVING], str(folder))
        self._cancelling = Cancelling(self.session, at_once)
        self.signatures = dict(saved.signature_def.items())

    def run(
        self,
        signature_name: str,
        values: Mapping[str, Any],
        read: Reader,
        output_filter: Iterable[str] = (),
        timeout_ms: int = 0,
        gone: Gone | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns {output: array} of a signature.

        Args:
            signature_name: The signature.
            values: {input: value}.
            read: Makes each value an array of its input's type.
            output_filter: The outputs to return; none means all.
            timeout_ms: The longest time that the run may take; 0: no limit.
            gone: Ends the run once its client has gone away; None: nothing does.

        Raises:
            ServingError: The request does not fit, TensorFlow failed or ran out of time, or the client has
                gone away.
        """
        signature = self.signatures.get(signature_name)
        if signature is None or not signature.method_name:  # without one: the model's initialiser
            known = ", ".join(sorted(name for name, one in self.signatures.items() if one.method_name))
            message = f'Serving signature key "{signature_name}" not found; there are {known}'
            raise ServingError(tf.errors.FAILED_PRECONDITION, message)
        wanted = list(output_filter) or list(signature.outputs)
        if len(set(wanted) & set(signature.outputs)) < len(wanted):
            raise invalid(f"output_filter: allowed, each once: {', '.join(sorted(signature.outputs))}")
        fetches = {name: signature.outputs[name].name for name in wanted}
        feeds, gone = _feeds(signature.inputs, values, read), gone or Gone()
        try:
            results = self._cancelling.run(fetches, feeds, timeout_ms, gone)
        except tf.errors.OpError as error:
            if gone.happened:
                raise ServingError(tf.errors.CANCELLED, "the client has gone away") from None
            raise ServingError(error.error_code, readable(error.message)) from None
        except RuntimeError:  # the session was closed
            raise ServingError(tf.errors.UNAVAILABLE, "the server is being stopped") from None
        except (TypeError, ValueError) as error:  # the session refuses to feed a value
            raise invalid(readable(str(error))) from None
        return {name: np.asarray(results[name], numpy_type(signature.outputs[name])) for name in wanted}


def _status(number: int, state: str, code: int = tf.errors.OK, message: str = "") -> Any:
    """Returns a ModelVersionStatus."""
    status = get_model_status_pb2.ModelVersionStatus(version=number, state=state)
    status.status.error_code, status.status.error_message = code, message
    return status


def _number(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _require_known(spec: Any) -> None:
    """Fails for a ModelSpec that names no model, or a label: this server has none."""
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    if spec.version_label:
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")


class Versions:
    """The version folders of the model `name`, one of them served."""

    def __init__(self, base_path: pathlib.Path, name: str, at_once: int = 1) -> None:
        """Takes the folder of the version folders, the model's name, and the most runs at a time."""
        self.name, self._folder, self._at_once = name, base_path, at_once
        self._lock = threading.Lock()  # guards the fields below and the `users` of every version
        self._current: Version | None = None
        self._statuses: dict[int, Any] = {}  # {version: ModelVersionStatus}
        self._failed: dict[int, set[tuple]] = {}  # {version that failed to load: its files}

    def refresh(self) -> bool:
        """Reads the folder once and serves the newest version that loads; returns whether any is served.

        A version that failed to load is not tried again until its files change. If none loads, or the folder
        cannot be read, the current version stays; if no version folder is left, none is served.
        """
        with contextlib.suppress(OSError):  # files come and go; the next refresh reads the folder again
            self._scan()
        return self._current is not None

    def _scan(self) -> None:
        folders = {int(one.name): one for one in self._folder.iterdir() if _NUMBER.match(one.name)}
        for number in sorted(folders, reverse=True):
            if self._current is not None and self._current.number == number:
                return
            version = self._load(number, folders[number])
            if version is not None:
                self._replace(version)
                return
        if not folders:
            self._replace(None)

    def _load(self, number: int, folder: pathlib.Path) -> Version | None:
        files = {(path, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}
        if self._failed.get(number) == files:
            return None
        self._set(number, "LOADING")
        try:
            return Version(number, folder, self._at_once)
        except Exception as error:  # damaged files raise almost anything
            self._failed[number], message = files, readable(str(error)) or type(error).__name__
            self._set(number, "END", getattr(error, "error_code", tf.errors.UNKNOWN), message)
            _LOG.warning("%s: version %d cannot be loaded: %s", self.name, number, message)
            return None

    def _replace(self, version: Version | None) -> None:
        with self._lock:  # nobody sees that a version is available before requests reach it
            old, self._current = self._current, version
            if version is not None:
                self._statuses[version.number] = _status(version.number, "AVAILABLE")
            if old is not None:
                self._statuses[old.number] = _status(old.number, "UNLOADING")
        if version is not None:
            _LOG.info("%s: version %d is served from now on", self.name, version.number)
        if old is not None:
            self._close_if_unused(old)

    def _close_if_unused(self, version: Version) -> None:
        with self._lock:
            unused = version is not self._current and not version.users
        if unused:
            version.session.close()
            self._set(version.number, "END")

    def _set(self, number: int, state: str, code: int = tf.errors.OK, message: str = "") -> None:
        status = _status(number, state, code, message)
        with self._lock:
            self._statuses[number] = status

    @contextlib.contextmanager
    def use(self, spec: Any) -> Iterator[Version]:
        """Yields the version that a ModelSpec names, or the current one, and keeps it loaded meanwhile.

        Raises:
            ServingError: It is not loaded.
        """
        _require_known(spec)
        number = _number(spec)
        with self._lock:
            version = self._current
            if spec.name != self.name or version is None or number not in (None, version.number):
                which = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
                raise ServingError(tf.errors.NOT_FOUND, f"Servable not found for request: {which}")
            version.users += 1
        try:
            yield version
        finally:
            with self._lock:
                version.users -= 1
            self._close_if_unused(version)

    def status(self, spec: Any) -> Any:
        """Returns the GetModelStatusResponse of the version that a ModelSpec names, or of all seen so far.

        TensorFlow Serving pays no heed to a label here.
        """
        number = _number(spec)
        with self._lock:
            known = sorted(self._statuses.items(), reverse=True) if spec.name == self.name else []
        found = [status for one, status in known if number in (None, one)]
        if not found:
            which = "any versions" if number is None else f"version {number}"
            raise ServingError(tf.errors.NOT_FOUND, f"Could not find {which} of model {spec.name}")
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=found)

    def close(self) -> None:
        """Closes the version served; requests that still run end with CANCELLED."""
        if self._current is not None:
            self._current.session.close()
