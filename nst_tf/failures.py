"""What is said about a call to a model server that failed: one line, with what to do."""

import contextlib
import re
from collections.abc import Iterator

from nst_tf import errors, transports


class ServerError(RuntimeError):
    """The server could not be reached, took too long or failed; the message is one line."""


# A code of this module's own: the server has the model, but not what was asked of it.
_NO_SIGNATURE = "NO_SIGNATURE"

# How TensorFlow Serving says so: by gRPC with FAILED_PRECONDITION (predict_util.cc), by REST with
# INVALID_ARGUMENT (http_rest_api_util.cc).
_MISSING = re.compile(r'Serving signature (?:key|name:) "(\w+)" not found')

# What to raise and to say, by code; `{server} refused: {detail}` and so on. A text names what it is about.
_FAILURES: dict[str, tuple[type[Exception], str]] = {
    **dict.fromkeys(
        ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"),
        (errors.InputError, "{server} refused: {detail}"),
    ),
    **dict.fromkeys(
        ("UNAUTHENTICATED", "PERMISSION_DENIED"),
        (errors.InputError, "server: {server} wants a login, which is not supported: {detail}"),
    ),
    _NO_SIGNATURE: (
        errors.InputError,
        "model: {server} serves {model} without the signature {signature}: it is older than this client, or"
        " no model of nst_tf; export it anew",
    ),
    "NOT_FOUND": (
        errors.InputError,
        "model: {server} has no model {model}: {detail}; name one that the server was started with",
    ),
    "UNIMPLEMENTED": (errors.InputError, "server: {server} serves no models: {detail}; name another"),
    "RESOURCE_EXHAUSTED": (
        errors.InputError,
        "size: {server} is too busy, or this is too large for it: {detail}; try later, or a smaller size",
    ),
    transports.WRONG_ANSWER: (
        errors.InputError,
        "server: {server} answered {detail}; name the server of an nst_tf model, and the port for its scheme",
    ),
    "UNAVAILABLE": (
        ServerError,
        "{server} cannot be reached: {detail}; check that it runs, and the port: TensorFlow Serving has 8500"
        " for grpc, 8501 for http",
    ),
    "DEADLINE_EXCEEDED": (
        ServerError,
        "{server} gave no answer within {timeout_s:g} s; allow more with timeout_s, or ask for fewer steps",
    ),
    transports.GATEWAY_TIMEOUT: (
        ServerError,
        "{server} gave up by a time-out of its own: {detail}; TensorFlow Serving's for REST is 30 s without"
        " --rest_api_timeout_in_ms: use grpc, or --progress with few --steps_now for a single style",
    ),
}
_OTHER_FAILURE = (ServerError, "{server} failed: {code}: {detail}")


@contextlib.contextmanager
def explaining(connection: transports.Connection) -> Iterator[None]:
    """Turns a call that failed into one line that says what to do."""
    try:
        yield
    except transports.CallError as error:
        missing = _MISSING.search(error.detail)
        kind, text = _FAILURES.get(_NO_SIGNATURE if missing else error.code, _OTHER_FAILURE)
        model = repr(connection.model) + (f" version {connection.version}" if connection.version else "")
        said = {"code": error.code, "detail": _clean(error.detail), "model": model}
        said["signature"] = missing[1] if missing else ""
        server = f"{connection.address.scheme}://{connection.address.netloc.rpartition('@')[2]}"
        raise kind(text.format(server=server, timeout_s=connection.timeout_s, **said)) from None


# What TensorFlow writes around a message: where in the graph, and which of several errors it is.
_NOISE = re.compile(
    r"\{\{.*?\}\}|\[\[.*?\]\]|^\d+ root error\(s\) found\.|^\s*\(\d+\) [A-Z_]+:|^Graph execution error:"
    r"|^Detected at node .*|^ +File \".*",
    re.MULTILINE,
)
# `tf.debugging.Assert` puts what it was given in brackets, with backslashes before quotes.
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]")


def _clean(detail: str) -> str:
    """Returns the first line with something to say of what a server said."""
    text = _NOISE.sub("", detail)
    if found := _ASSERTION.search(text):
        text = re.sub(r"\\(['\"])", r"\1", found[1].partition("] [Condition ")[0])
    lines = (" ".join(line.split()) for line in text.splitlines())
    return next(filter(None, lines), "it does not say why")
