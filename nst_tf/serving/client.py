"""Asks a served model for a picture: the user's pictures and settings in, a picture or one line out.

A run in steps keeps its state here and nowhere else, so that any replica of the server can go on with it.
"""

import contextlib
import dataclasses
import importlib
import io
import math
import numbers
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from nst_tf import errors
from nst_tf.config.settings import COLORS, LARGEST_NUMBER, WITHOUT_STEPS
from nst_tf.io import inputs, pictures
from nst_tf.losses.values import Losses
from nst_tf.serving import transports
from nst_tf.serving.settings import Settings as Settings
from nst_tf.serving.settings import is_number

# A whole run takes minutes on a processor: the default preset one and a half to three at 512 pixels on two
# cores, and four times that at 1024.
TIMEOUT_S = 600.0

# At 512 pixels on two cores 10 to 20 s, within the 30 s of TensorFlow Serving's REST; less at coarser scales.
STEPS_NOW = 10

# What only `stylize_blend` takes, as messages name it.
_BLENDED = "style_blend_weights or color"

_PAINTED = ("image_bytes", "losses")
_ADVANCED = ("preview_bytes", "losses", "state_bytes", "steps_done")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a run has come to, at its end or on the way.

    Attributes:
        image: The picture, [H, W, 3] float32 in [0, 1]; smaller while the run is at a coarse scale.
        losses: Of this picture.
        step: Steps done; None for a run with the model's own settings, which the server does not tell.
        num_steps: Steps in all, or None; a run that was stopped has done fewer.
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
    model: str = "nst",
    version: int | None = None,
    settings: Settings | None = None,
    on_progress: Callable[[Answer], object] | None = None,
    steps_now: int = STEPS_NOW,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Asks a model server for a photograph, painted like a painting.

    Pictures are sent as PNG: upright, in sRGB, with 8 bits a channel and no alpha. Without `on_progress`
    there is one call. With it there is one for every few steps, of one style, and `settings` are needed.
    They are needed too for several styles, weights or a colour, which the signature `stylize_blend` takes.

    Args:
        server: `grpc://host:8500`, `http://host:8501` or `https://host`.
        content: The photograph: a path, a Pillow image or an array.
        style: The painting, likewise, or a list of several.
        style_blend_weights: One for each painting, of which only the proportions count; None for equal ones.
        color: Whose colours, one of `COLORS`; None for the model's own choice.
        model: The model's name on the server.
        version: Its version; None for the newest.
        settings: Of the run; None for the model's own.
        on_progress: Called with every answer on the way; if it returns something true, the run stops there.
            Only for one style, without weights and colour.
        steps_now: How many steps to ask for at a time; halved where the server's own time-out is too short.
        timeout_s: After how many seconds without an answer to give up a call.

    Raises:
        InputError: Something given cannot be used, by this side or by the server.
        ServerError: The server could not be reached, took too long or failed.
    """
    address = check_server(server)
    errors.require(settings or not on_progress, "settings", settings, "all of them, for a run with progress")
    errors.require(model, "model", repr(model), "a name")
    errors.require(version is None or version > 0, "version", version, "1 and above")
    errors.require(steps_now > 0, "steps_now", steps_now, "1 and above")
    errors.require(timeout_s > 0 and math.isfinite(timeout_s), "timeout_s", timeout_s, "above 0")
    styles, signature = inputs.as_list(style), "stylize" if settings else "serving_default"
    asked: dict[str, transports.Input] = {}
    if len(styles) != 1 or style_blend_weights is not None or color is not None:
        asked, signature = _blend(len(styles), style_blend_weights, color), "stylize_blend"
        errors.require(not on_progress, "on_progress", "given", f"with one style and without {_BLENDED}")
        errors.require(settings, "settings", settings, f"all of them, for several styles or {_BLENDED}")
    asked |= {"content_bytes": _encode(content, "content")}
    asked |= settings.tensors() if settings else {}
    encoded = [_encode(picture, errors.numbered("style", index)) for index, picture in enumerate(styles)]
    asked |= {"style_bytes": encoded if signature == "stylize_blend" else encoded[0]}
    connection = transports.connect(address, model, version, timeout_s)
    with contextlib.closing(connection), explaining(connection):
        if settings and on_progress:
            return _paint_in_steps(
                connection, asked, settings.num_steps, on_progress, min(steps_now, settings.num_steps)
            )
        outputs = connection.predict(signature, asked, _PAINTED)
        steps = settings.num_steps if settings else None
        steps = 0 if color in WITHOUT_STEPS else steps
        return _answer(outputs["image_bytes"], outputs["losses"], steps, steps)


def check_server(server: str) -> urllib.parse.SplitResult:
    """Returns a server's address, taken apart, and loads the libraries that asking it needs.

    Raises:
        InputError: It is no address as `request_stylization` takes them, or a library is missing.
    """
    try:
        address = urllib.parse.urlsplit(server)
        # Reading a port that is no number raises ValueError, as does half a pair of brackets.
        usable = address.hostname and address.port != 0 and not (address.query or address.fragment)
        grpc_path = address.scheme == "grpc" and address.path.strip("/")
        usable = usable and address.scheme in transports.LIBRARIES and not grpc_path
    except ValueError:
        usable = False
    errors.require(usable, "server", repr(server), "grpc://HOST:PORT, http://HOST:PORT, https://HOST")
    try:
        for library in transports.LIBRARIES[address.scheme]:
            importlib.import_module(library)
    except ImportError as error:
        needs = f"{address.scheme} needs libraries that are missing ({error})"
        raise errors.InputError(f"server: {needs}: pip install 'nst_tf[serving]'") from None
    return address


def _paint_in_steps(
    connection: transports.Connection,
    asked: Mapping[str, transports.Input],
    num_steps: int,
    on_progress: Callable[[Answer], object],
    steps_now: int,
) -> Answer:
    """Asks for a few steps at a time; the state that comes back goes in again, unchanged."""
    state, step = connection.predict("start", asked, ("state_bytes",))["state_bytes"], 0
    while True:
        now = {"state_bytes": state, "steps_now": np.int32(steps_now)}
        try:
            outputs = connection.predict("advance", {**asked, **now}, _ADVANCED)
        except transports.CallError as error:
            if error.code != transports.GATEWAY_TIMEOUT or steps_now == 1:
                raise
            steps_now = steps_now // 2
            continue
        before, step, state = step, outputs["steps_done"], outputs["state_bytes"]
        if not (isinstance(step, int) and before < step <= num_steps):
            raise _wrong_answer(f"that {step!r} of {num_steps} steps are done, after {before}")
        answer = _answer(outputs["preview_bytes"], outputs["losses"], step, num_steps)
        if on_progress(answer) or step == num_steps:
            return answer


def _blend(count: int, weights: Iterable[float] | None, color: str | None) -> dict[str, transports.Input]:
    """Returns what `stylize_blend` takes beside the pictures and the settings.

    Args:
        count: How many style pictures there are.
        weights: One for each, or None.
        color: A name, or None; to the server an empty one is its own choice.

    Raises:
        InputError: They do not go together, or are not allowed.
    """
    name = "style_blend_weights"
    errors.require(count, "style", "no picture", "one or more")
    errors.require(weights is None or isinstance(weights, Iterable), name, repr(weights), "a list of numbers")
    given = [1.0] * count if weights is None else list(weights)
    errors.require(len(given) == count, name, f"{len(given)} for {count} style pictures", "one for each")
    for weight in given:
        errors.require(
            is_number(weight, numbers.Real) and 0 <= weight <= LARGEST_NUMBER,
            name,
            weight,
            f"numbers from 0 to {LARGEST_NUMBER:g}",
        )
    shares = np.array(given, np.float32)
    errors.require(
        np.any(shares > 0), name, ", ".join(f"{weight:g}" for weight in given), "at least one above 0"
    )
    if color is not None and color not in COLORS:
        raise errors.unknown_name("color", color, COLORS)
    return {name: shares, "color": (color or "").encode()}


def _encode(picture: pictures.Picture, name: str) -> bytes:
    """Returns the PNG bytes of a picture."""
    file = io.BytesIO()
    Image.fromarray(pictures.to_uint8(pictures.read(picture, name))).save(file, "PNG")
    return file.getvalue()


def _answer(data: Any, losses: Any, step: int | None, num_steps: int | None) -> Answer:
    """Returns the answer with a picture file's bytes and four numbers."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            image = pictures.read(picture)[0]
    except (TypeError, UnidentifiedImageError, errors.InputError):
        raise _wrong_answer("with something else than a picture") from None
    try:
        return Answer(image, Losses(*(float(np.float32(value)) for value in losses)), step, num_steps)
    except (TypeError, ValueError):
        raise _wrong_answer("with something else than four losses") from None


def _wrong_answer(what: str) -> transports.CallError:
    return transports.CallError(transports.WRONG_ANSWER, what)


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
        said = {
            "code": error.code,
            "detail": transports.readable(error.detail) or "it does not say why",
            "model": model,
        }
        said["signature"] = missing[1] if missing else ""
        server = f"{connection.address.scheme}://{connection.address.netloc.rpartition('@')[2]}"
        raise kind(text.format(server=server, timeout_s=connection.timeout_s, **said)) from None
