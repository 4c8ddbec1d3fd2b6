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

from local_server import cancelling
from local_server.cancelling import Cancelling, Gone
from nst_tf import errors

_LOG = logging.getLogger(__name__)

# A version is an int64, as in TensorFlow Serving: 18 digits always are one.
_NUMBER = re.compile(r"[0-9]{1,18}\Z")

# Returns the array of an input's name and value.
Reader = Callable[[str, Any], np.ndarray]


def hide_loading_advice() -> None:
    """Keeps out of TensorFlow's log its advice to load models in another way than model servers do."""
    logging.getLogger("tensorflow").addFilter(_is_no_loading_advice)


def _is_no_loading_advice(record: logging.LogRecord) -> bool:
    return "loader_impl" not in record.getMessage()


class ServingError(Exception):
    """A request that failed: a status code, numbered as in gRPC and TensorFlow, and a text that says why."""

    def __init__(self, code: int, message: str) -> None:
        """Takes the code and the message."""
        super().__init__(message)
        self.code, self.message = code, message


def invalid(message: str) -> ServingError:
    """Returns the error of a request that is wrong in itself."""
    return ServingError(tf.errors.INVALID_ARGUMENT, message)


def numpy_type(info: Any) -> np.dtype:
    """Returns the NumPy type of a TensorInfo or a TensorProto; strings are objects."""
    return np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)


def _feeds(inputs: Mapping[str, Any], values: Mapping[str, Any], read: Reader) -> dict[str, np.ndarray]:
    """Returns {tensor: array} for a signature's inputs, of any types and shapes, as TensorFlow Serving does.

    Raises:
        ServingError: The names are not those of the signature, or a value is no tensor.
    """
    if set(values) != set(inputs):
        raise invalid(_mismatch(inputs, set(values)))
    return {inputs[name].name: read(name, value) for name, value in values.items()}


def _mismatch(inputs: Mapping[str, Any], came: set[str]) -> str:
    """Returns what TensorFlow Serving says about names that are not a signature's.

    By predict_util.cc, and TensorFlow's cc/saved_model/util.cc.
    """
    known = set(inputs)
    if len(came) == len(known):
        alias = min(known - came)
        return (
            f"Signature input alias: {alias}(feed name: {inputs[alias].name}) not found in request and no"
            f" default value provided. Inputs expected to be in the request {_listed(came)}, or default"
            " input alias set: "
        )
    return (
        f"input size does not match signature: {len(came)}!={len(known)} len({_listed(came)}) !="
        f" len({_listed(known)}). Sent extra: {_listed(came - known)}. Missing but required:"
        f" {_listed(known - came)}."
    )


def _listed(names: Iterable[str]) -> str:
    """Returns names as TensorFlow Serving writes a set."""
    return f"{{{','.join(sorted(names))}}}"


def _fetches(outputs: Mapping[str, Any], output_filter: Iterable[str]) -> dict[str, str]:
    """Returns {output: tensor} of the outputs to return; a filter without any means all.

    Raises:
        ServingError: The filter has an output twice, or one that the signature does not have.
    """
    found: dict[str, str] = {}
    for name in output_filter:
        if name not in outputs:
            known = f"Outputs expected to be in the set {_listed(outputs)}."
            raise invalid(f"output tensor alias not found in signature: {name} {known}")
        if name in found:
            raise invalid(f"duplicate output tensor alias: {name}")
        found[name] = outputs[name].name
    return found or {name: info.name for name, info in outputs.items()}


class Version:
    """One loaded version: `number`, `session`, `signatures` {name: SignatureDef}, and count of `users`."""

    def __init__(self, number: int, folder: pathlib.Path, at_once: int) -> None:
        """Loads the version for so many runs at a time; raises whatever TensorFlow raises if that fails."""
        self.number, self.users = number, 0
        self.session = cancelling.session(at_once)
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
            read: Makes each value an array.
            output_filter: The outputs to return; none means all.
            timeout_ms: The longest time that the run may take; 0: no limit.
            gone: Ends the run once its client has gone away; None: nothing does.

        Raises:
            ServingError: The request does not fit, TensorFlow failed or ran out of time, or the client has
                gone away.
        """
        signature = self.signatures.get(signature_name)
        if signature is None or not signature.method_name:  # without one: the model's initialiser
            message = f'Serving signature key "{signature_name}" not found.'
            raise ServingError(tf.errors.FAILED_PRECONDITION, message)
        feeds, gone = _feeds(signature.inputs, values, read), gone or Gone()
        fetches = _fetches(signature.outputs, output_filter)
        try:
            results = self._cancelling.run(fetches, feeds, timeout_ms, gone)
        except tf.errors.OpError as error:
            if gone.happened:
                raise ServingError(tf.errors.CANCELLED, "the client has gone away") from None
            raise ServingError(error.error_code, error.message) from None
        return {name: np.asarray(results[name], numpy_type(signature.outputs[name])) for name in fetches}


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
            self._failed[number], message = files, errors.one_line(error)
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
