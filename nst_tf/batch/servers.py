"""Model servers paint: the least busy one is asked, and one that refuses is left alone for a while."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nst_tf import errors
from nst_tf.batch.painting import Painted, Ready
from nst_tf.batch.rows import Row, Settings
from nst_tf.config.config import Config
from nst_tf.io import files, manifest, pictures
from nst_tf.serving import client, transports

# A server is left alone for so many seconds after a refusal, twice as long after each further one, up to a
# limit; a picture that is refused for longer than a whole run may take fails.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _PATIENCE_S = 1.0, 60.0, client.TIMEOUT_S

# What says that another server, or this one later, may do it.
_BUSY = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE"})

# Pictures that each server has at a time: one is painted, one is on its way.
AT_ONCE = 2

# The settings that a request may change; all others are the model's own.
_SETTINGS = frozenset({"steps", *(field.name for field in dataclasses.fields(client.Settings))})
_OPTIONS = frozenset({"color", "outside", "style_blend_weights"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """How model servers are asked; see `client.request_stylization`."""

    addresses: tuple[str, ...]
    model: str = "nst"
    timeout_s: float = client.TIMEOUT_S
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ca_file: str | None = None

    def __call__(self) -> "Servers":
        """Returns what asks them."""
        return Servers(self)


def check(planned: Sequence[Row], chosen: Settings, access: Access) -> None:
    """Checks that servers can be asked, and can do what is wanted.

    Raises:
        InputError: They cannot.
    """
    for address in access.addresses:
        client.check_server(address)
    for name in {name for row in planned for name in chosen.changed(row)}:
        errors.require(
            name in _SETTINGS | _OPTIONS,
            "server",
            f"with {name}, which the model has as it was exported",
            f"{', '.join(sorted(_SETTINGS | _OPTIONS))}",
        )


@dataclasses.dataclass
class _Server:
    """A server as this process knows it."""

    address: str
    busy: int = 0  # requests on their way
    pause_s: float = _FIRST_PAUSE_S  # after the next refusal
    rests_until: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Answered:
    """A picture that a server painted."""

    image: np.ndarray
    manifest: Mapping[str, Any]
    outcome: str = "finished"

    def save_picture(self, path: Any, *, bit_depth: int = 8) -> None:
        """Writes the picture."""
        pictures.write(self.image, path, text=manifest.to_text(self.manifest), bit_depth=bit_depth)

    def save_manifest(self, path: Any) -> None:
        """Writes the manifest beside it."""
        with files.replacing(manifest.sidecar(path)) as file:
            file.write(manifest.to_text(self.manifest).encode("ascii"))


class Servers:
    """Has model servers paint; several threads may."""

    def __init__(self, access: Access, now: Callable[[], float] = time.monotonic) -> None:
        """Asks nothing yet."""
        self._access, self._now = access, now
        self._servers = [_Server(address) for address in access.addresses]
        self._changed = threading.Condition()

    def weights(self, config: Config) -> None:
        """Returns None: a server does not say which weights its model has."""
        del config

    def paint(self, ready: Ready) -> Painted:
        """Paints a picture.

        Raises:
            InputError: A server refuses it for what it is, or all are busy for too long.
            ServerError: They cannot be reached for too long.
        """
        request = _request(ready, self._access)
        described = manifest.describe_inputs(ready.paths.named())
        end = self._now() + _PATIENCE_S
        while True:
            with self._server() as server:
                try:
                    answer = client.request_stylization(server.address, **request)
                except (errors.InputError, client.ServerError) as error:
                    if not _is_busy(error) or self._now() >= end:
                        raise
                    self._rest(server)
                    continue
                server.pause_s = _FIRST_PAUSE_S
            weights = {"name": f"those of the served model {self._access.model}", "sha256": ""}
            losses = answer.losses._asdict()
            return _Answered(answer.image, manifest.make(ready.config, described, weights, losses))

    @contextlib.contextmanager
    def _server(self) -> Iterator[_Server]:
        """Yields the server with the fewest requests, once there is one that does not rest."""
        with self._changed:
            while not (able := [each for each in self._servers if each.rests_until <= self._now()]):
                self._changed.wait(min(each.rests_until for each in self._servers) - self._now())
            server = min(able, key=lambda each: each.busy)
            server.busy += 1
        try:
            yield server
        finally:
            with self._changed:
                server.busy -= 1
                self._changed.notify_all()

    def _rest(self, server: _Server) -> None:
        """Leaves a server alone for a while."""
        with self._changed:
            if server.rests_until <= self._now():  # not yet by another request's refusal
                server.rests_until = self._now() + server.pause_s
                server.pause_s = min(2 * server.pause_s, _LONGEST_PAUSE_S)


def _is_busy(error: Exception) -> bool:
    """Returns whether another server, or this one later, may do what this one did not."""
    # The client replaces the call's error by a line for a person.
    cause = error.__context__
    return isinstance(cause, transports.CallError) and cause.code in _BUSY


def _request(ready: Ready, access: Access) -> dict[str, Any]:
    """Returns the arguments of `client.request_stylization` for a picture."""
    config = ready.config
    named = {"color": config.color.mode, "outside": config.regions.outside}
    return {
        "content": ready.paths.content,
        "style": list(ready.paths.styles),
        "style_blend_weights": config.style.blend_weights or None,
        "content_mask": ready.paths.content_mask,
        "content_regions": ready.paths.content_regions,
        "style_regions": list(ready.paths.style_regions) or None,
        "settings": client.Settings.of_config(config),
        "model": access.model,
        "timeout_s": access.timeout_s,
        "headers": access.headers,
        "ca_file": access.ca_file,
        **{name: value for name, value in named.items() if name in ready.changed},
    }
