"""The client of a served model: sends pictures and settings, returns a picture or raises a one-line error.

Only the client keeps the state of a run in parts, so that any replica of the server can continue it.
"""

import contextlib
import dataclasses
import importlib
import numbers
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nst_tf import errors, runtime
from nst_tf.config.settings import WITHOUT_STEPS
from nst_tf.engine.checkpoints import EVERY_S
from nst_tf.io import inputs, paths, pictures
from nst_tf.losses.values import Losses
from nst_tf.serving import access, checkpoints, record, transports
from nst_tf.serving.settings import Settings as Settings
from nst_tf.serving.settings import is_number

# A whole run takes minutes: the default preset up to 3 at 512 pixels on two cores, and up to 12 at 1024.
TIMEOUT_S = 600.0

# 10 to 20 s at 512 pixels on two cores: less than the 30 s time-out of TensorFlow Serving's REST interface.
STEPS_NOW = 10

# A version is an int64 on the wire; a socket counts its time-out's milliseconds in an int32.
_LAST_VERSION, _LONGEST_S = 2**63 - 1, 2_000_000

_ADDRESSES = "grpc://HOST:PORT, http://HOST:PORT, grpcs://HOST, https://HOST"

# Characters of what a server says: a line or two.
_LONGEST_DETAIL = 500

_PAINTED = ("image_bytes", "losses")

# {signature of a run in parts: its output with the picture so far}
_PICTURE_SO_FAR = {"advance": "preview_bytes", "run": "image_bytes"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """The picture of a run, at its end or on the way.

    Attributes:
        image: The picture, [H, W, 3] float32 in [0, 1]; smaller at a coarse scale.
        losses: Of this picture.
        step: Steps done; None for a run with the model's own settings, which a client does not know.
        num_steps: Steps in all, or None as for `step`; a stopped run has done fewer.
    """

    image: np.ndarray
    losses: Losses
    step: int | None = None
    num_steps: int | None = None


def request_stylization(
    server: str,
    content: pictures.Picture,
    style: pictures.Picture | Sequence[pictures.Picture],
    *,
    style_blend_weights: Iterable[float] | None = None,
    color: str | None = None,
    content_mask: pictures.Picture | None = None,
    content_regions: pictures.Picture | None = None,
    style_regions: pictures.Picture | Sequence[pictures.Picture] | None = None,
    outside: str | None = None,
    model: str = "nst",
    version: int | None = None,
    settings: Settings | None = None,
    on_progress: Callable[[Answer], object] | None = None,
    steps_now: int = STEPS_NOW,
    checkpoint: str | os.PathLike[str] | checkpoints.Kept | None = None,
    checkpoint_every: float = EVERY_S,
    timeout_s: float = TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
    ca_file: str | os.PathLike[str] | None = None,
) -> Answer:
    """Requests a photograph, painted like a painting, from a model server.

    Sends pictures as PNG: upright, in sRGB, with 8 bits a channel and no alpha. One call runs all steps; with
    `on_progress` or `checkpoint` each call runs a few. These, several styles, their weights, a colour, a mask
    and regions need `settings`.

    Args:
        server: `grpc://host:8500`, `http://host:8501`, or, for a gateway with TLS, `grpcs://host` or
            `https://host`.
        content: The photograph: a path, a Pillow image or an array.
        style: The painting, likewise, or a list of several.
        style_blend_weights: One weight for each painting, of which only the proportions count; None for equal
            ones.
        color: The choice of colours, one of `COLORS`; None for the model's own.
        content_mask: White where the style goes; None for everywhere.
        content_regions: The photograph's regions in flat colours.
        style_regions: For each style a picture of its regions in the same colours, or "#rrggbb" for all of
            it.
        outside: What becomes of the photograph outside the mask and regions, "keep" or "free"; None for the
            model's own choice.
        model: The model's name on the server.
        version: Its version; None for the newest.
        settings: Of the run; None for the model's own.
        on_progress: Called with every answer on the way; returning something true stops the run.
        steps_now: Steps of one call; halved when the server's own time-out is too short.
        checkpoint: A file that keeps the state of the run while it goes on. Where it is there, the run goes
            on from it, with any server of the same model; it is removed once all steps are done.
        checkpoint_every: Seconds between two checkpoints; more where writing one takes over 1 % of them.
        timeout_s: Seconds without an answer after which a call is given up.
        headers: {name: value} to send with every call, such as an API key; the values are in no message.
        ca_file: A PEM file of the certificates to trust, with `grpcs://` and `https://`; None for the usual.

    Raises:
        InputError: An argument is not allowed, by this client or by the server.
        ServerError: The server could not be reached, took too long or failed.
    """
    address = check_server(server)
    way = access.check(address, headers, ca_file)
    _check(model, version, steps_now, timeout_s)
    in_parts = on_progress is not None or checkpoint is not None
    given = record.Given(
        content=content,
        styles=inputs.as_list(style),
        style_blend_weights=style_blend_weights,
        color=color,
        content_mask=content_mask,
        content_regions=content_regions,
        style_regions=inputs.as_list(style_regions),
        outside=outside,
        settings=settings,
        in_parts=in_parts,
    )
    asked, kept = record.make(given), _kept(checkpoint, checkpoint_every)
    if kept is not None:
        kept.begin(checkpoints.Origin(asked.signature, asked.choices(), asked.described))
    connection = transports.connect(address, model, version, timeout_s, way)
    with contextlib.closing(connection), explaining(connection):
        if settings and in_parts:
            parts = _Parts(connection, asked, settings.num_steps, min(steps_now, settings.num_steps), kept)
            answer = parts.run(on_progress)
            if kept is not checkpoint and kept is not None and answer.step == answer.num_steps:
                kept.remove()
            return answer
        whole: dict[str, transports.Input] = {"state_bytes": [b""], "steps_now": np.int32(0)}
        sent = {**asked.inputs, **(whole if asked.signature == "run" else {})}
        outputs = connection.predict(asked.signature, sent, _PAINTED)
        steps = settings.num_steps if settings else None
        steps = 0 if color in WITHOUT_STEPS else steps
        return _answer(outputs["image_bytes"], outputs["losses"], steps, steps)


def _kept(
    checkpoint: str | os.PathLike[str] | checkpoints.Kept | None, every_s: float
) -> checkpoints.Kept | None:
    """Returns how a run keeps its checkpoint, and the one that is there.

    Raises:
        InputError: It cannot be read or written, or is of no request.
    """
    if checkpoint is None or isinstance(checkpoint, checkpoints.Kept):
        return checkpoint
    good = is_number(every_s, numbers.Real) and every_s > 0
    errors.require(good, "checkpoint_every", every_s, "above 0; leave checkpoint out to write none")
    path = paths.typed(checkpoint, "checkpoint")
    pictures.check_file(path, True, "checkpoint")
    return checkpoints.Kept(path, every_s, checkpoints.read(path) if os.path.exists(path) else None)


def check_call(
    server: str,
    *,
    model: str = "nst",
    version: int | None = None,
    timeout_s: float = TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
    ca_file: str | os.PathLike[str] | None = None,
) -> None:
    """Checks how a server is to be asked, without a call; arguments as for `request_stylization`.

    Raises:
        InputError: An argument is not allowed, or a library is missing.
    """
    access.check(check_server(server), headers, ca_file)
    _check(model, version, STEPS_NOW, timeout_s)


def _check(model: str, version: int | None, steps_now: int, timeout_s: float) -> None:
    """Checks the arguments of every call.

    Raises:
        InputError: One is not allowed.
    """
    errors.require(isinstance(model, str) and model and _is_text(model), "model", repr(model), "a name")
    good = version is None or (is_number(version, numbers.Integral) and 0 < version <= _LAST_VERSION)
    errors.require(good, "version", version, "1 and above, below 2**63")
    good = is_number(steps_now, numbers.Integral) and steps_now > 0
    errors.require(good, "steps_now", steps_now, "1 and above")
    good = is_number(timeout_s, numbers.Real) and 0 < timeout_s <= _LONGEST_S
    errors.require(good, "timeout_s", timeout_s, f"above 0, up to {_LONGEST_S}")


def _is_text(text: str) -> bool:
    """Returns whether a text can be sent: a command's arguments may have bytes that are none."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def check_server(server: str) -> urllib.parse.SplitResult:
    """Returns the parts of a server's address, and loads the libraries that a connection to it needs.

    Raises:
        InputError: The address is none that `request_stylization` takes, or a library is missing.
    """
    try:
        address = urllib.parse.urlsplit(server)
        # Reading a port that is no number raises ValueError, as does half a pair of brackets, and a host's
        # name with an empty or overlong part.
        named = bool(address.hostname and address.hostname.rstrip(".").encode("idna")) and address.port != 0
        printable = server.isprintable() and " " not in server
        is_grpc = address.scheme.startswith("grpc")
        rest = address.query or address.fragment or (is_grpc and address.path.strip("/"))
        usable = named and printable and not rest and address.scheme in transports.LIBRARIES
    except (AttributeError, TypeError, ValueError):  # the former two: it is no text
        usable = False
    server = re.sub("//[^/]*@", "//", server) if isinstance(server, str) else server  # without a password
    errors.require(usable, "server", repr(server), _ADDRESSES)
    try:
        for library in transports.LIBRARIES[address.scheme]:
            importlib.import_module(library)
    except ImportError as error:
        needs = f"{address.scheme} needs libraries that are missing ({error})"
        raise errors.InputError(f"server: {needs}: {runtime.install('serving')}") from None
    return address


class _Parts:
    """A run of a few steps in each call; each answer's state goes unchanged into the next call."""

    def __init__(
        self,
        connection: transports.Connection,
        asked: record.Record,
        num_steps: int,
        steps_now: int,
        kept: checkpoints.Kept | None,
    ) -> None:
        """Asks nothing yet.

        Args:
            connection: To the server.
            asked: The record of the whole run.
            num_steps: Of the whole run.
            steps_now: Of a call.
            kept: The checkpoint; None for none.
        """
        self._connection, self._asked, self._num_steps = connection, asked, num_steps
        self._steps_now, self._kept = steps_now, kept

    def run(self, on_progress: Callable[[Answer], object] | None) -> Answer:
        """Returns the answer after the last step, or after the one at which `on_progress` stops the run."""
        try:
            return self._run(on_progress)
        except BaseException:
            if self._kept is not None:
                self._kept.write()
            raise

    def _run(self, on_progress: Callable[[Answer], object] | None) -> Answer:
        state, step = self._start()
        while True:
            outputs = self._advance(state, step)
            before, step, state = step, outputs["steps_done"], outputs["state_bytes"]
            if not (isinstance(step, int) and before < step <= self._num_steps):
                raise _wrong_answer(f"that {step!r} of {self._num_steps} steps are done, after {before}")
            picture = outputs[_PICTURE_SO_FAR[self._asked.signature]]
            answer = _answer(picture, outputs["losses"], step, self._num_steps)
            is_last = step == self._num_steps
            if self._kept is not None and not is_last:
                self._kept.keep(_checked_state(state), step)
            stops = on_progress is not None and on_progress(answer)
            if stops and self._kept is not None:
                self._kept.write()
            if stops or is_last:
                return answer

    def _start(self) -> tuple[Any, int]:
        """Returns the state of a run that begins or goes on, and the steps done."""
        if self._kept is not None and self._kept.resumed is not None:
            return self._kept.resumed.state, self._kept.resumed.steps_done
        if self._asked.signature == "run":
            return [b""], 0
        return self._connection.predict("start", self._asked.inputs, ("state_bytes",))["state_bytes"], 0

    def _advance(self, state: Any, step: int) -> dict[str, Any]:
        """Returns the outputs of a call; asks for less where the server's own time-out is too short."""
        wanted = (_PICTURE_SO_FAR[self._asked.signature], "losses", "state_bytes", "steps_done")
        while True:
            now = {"state_bytes": _checked_state(state), "steps_now": np.int32(self._steps_now)}
            try:
                return self._connection.predict(self._asked.signature, {**self._asked.inputs, **now}, wanted)
            except transports.CallError as error:
                resumed = None if self._kept is None else self._kept.resumed
                if resumed is not None and step == resumed.steps_done and "state_bytes" in error.detail:
                    raise _of_another_model(resumed.path, _detail(self._connection, error)) from None
                if error.code != transports.GATEWAY_TIMEOUT or self._steps_now == 1:
                    raise
                self._steps_now //= 2


def _of_another_model(path: os.PathLike[str], detail: str) -> errors.InputError:
    """Returns the error of a server that refuses a checkpoint's state."""
    return errors.InputError(
        f"checkpoint: the server refuses the state in {path}: {detail};"
        " ask one with the model that the run began with, or remove the file to begin anew"
    )


def _checked_state(state: Any) -> Any:
    """Returns a state; fails if it is not what a state is sent as.

    Raises:
        CallError: It is no bytes, and no list of them.
    """
    if not _is_state(state):
        raise _wrong_answer("with a state that is no bytes")
    return state


def _is_state(value: Any) -> bool:
    """Returns whether a value is what a state is sent as: bytes, or a list of them."""
    return all(isinstance(part, bytes) for part in (value if isinstance(value, list) else [value]))


def _answer(data: Any, losses: Any, step: int | None, num_steps: int | None) -> Answer:
    """Returns the answer made of a picture file's bytes and four losses."""
    try:
        image = pictures.read(pictures.as_picture(data if isinstance(data, bytes) else b""))[0]
    except errors.InputError:
        raise _wrong_answer("with something else than a picture") from None
    try:
        return Answer(image, Losses(*(float(np.float32(value)) for value in losses)), step, num_steps)
    except (OverflowError, TypeError, ValueError):
        raise _wrong_answer("with something else than four losses") from None


def _wrong_answer(what: str) -> transports.CallError:
    return transports.CallError(transports.WRONG_ANSWER, what)


class ServerError(RuntimeError):
    """The server could not be reached, took too long or failed; the message is one line."""


# A code of this module's own: the server has the model, but not the signature.
_NO_SIGNATURE = "NO_SIGNATURE"

# How TensorFlow Serving says so: by gRPC with FAILED_PRECONDITION (predict_util.cc), by REST with
# INVALID_ARGUMENT (http_rest_api_util.cc).
_MISSING = re.compile(r'Serving signature (?:key|name:) "(\w+)" not found')

# Exceptions and messages by code. A message begins with the argument at fault, or with the server.
_FAILURES: dict[str, tuple[type[Exception], str]] = {
    **dict.fromkeys(
        ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"),
        (errors.InputError, "{server} refused: {detail}"),
    ),
    **dict.fromkeys(
        ("UNAUTHENTICATED", "PERMISSION_DENIED"),
        (
            errors.InputError,
            "server: {server} wants a login{other}: {detail}; send one in a header, as"
            " --header='authorization=Bearer $TOKEN' does",
        ),
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
        " for grpc, 8501 for http, a gateway with TLS wants grpcs or https",
    ),
    transports.TLS_FAILED: (
        errors.InputError,
        "server: no encrypted connection to {server}: {detail}; name the port that speaks TLS, {plain}:// for"
        " one that does not, or with ca_file the certificates to trust",
    ),
    transports.PROXY_FAILED: (
        ServerError,
        "{server} was asked through the proxy {proxy}, and that failed: {detail}; if it is no proxy for this"
        " server, add the host to no_proxy",
    ),
    "DEADLINE_EXCEEDED": (
        ServerError,
        "{server}{through} gave no answer within {timeout_s:g} s; allow more with timeout_s, or ask for fewer"
        " steps",
    ),
    transports.GATEWAY_TIMEOUT: (
        ServerError,
        "{server}{through} gave up by a time-out of its own: {detail}; TensorFlow Serving's for REST is 30 s"
        " without --rest_api_timeout_in_ms: use grpc, or --progress with few --steps_now",
    ),
}
_OTHER_FAILURE = (ServerError, "{server} failed: {code}: {detail}")


# The node that failed to decode a picture: TensorFlow's message says no more of which one it was.
_UNDECODED = re.compile(r"(\w+)_cannot_be_decoded")


def _detail(connection: transports.Connection, error: transports.CallError) -> str:
    """Returns what of a failure's text is worth a person's time, without secrets that a server repeats."""
    if found := _UNDECODED.search(error.detail):
        return f"{found[1]}: the file is damaged, or of a kind that servers do not read"
    text = connection.access.without_secrets(error.detail)
    return transports.readable(text)[:_LONGEST_DETAIL]


@contextlib.contextmanager
def explaining(connection: transports.Connection) -> Iterator[None]:
    """Turns a failed call into an exception whose message, one line, says what to do."""
    try:
        yield
    except transports.CallError as error:
        missing = _MISSING.search(error.detail)
        kind, text = _FAILURES.get(_NO_SIGNATURE if missing else error.code, _OTHER_FAILURE)
        model = repr(connection.model) + (f" version {connection.version}" if connection.version else "")
        parts = {
            "code": error.code,
            "detail": _detail(connection, error) or "it does not say why",
            "other": f" other than {sent} sent" if (sent := ", ".join(connection.access.headers)) else "",
            "plain": connection.address.scheme.removesuffix("s"),
            "proxy": connection.proxy,
            "through": f" (through the proxy {connection.proxy})" if connection.proxy else "",
            "model": model,
        }
        parts["signature"] = missing[1] if missing else ""
        server = f"{connection.address.scheme}://{connection.address.netloc.rpartition('@')[2]}"
        raise kind(text.format(server=server, timeout_s=connection.timeout_s, **parts)) from None
