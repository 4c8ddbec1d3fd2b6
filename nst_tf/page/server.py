"""The process of a page: its address, its passwords, its folder, from start to end. Needs Gradio."""

import contextlib
import hmac
import ipaddress
import os
import pathlib
import re
import socket
import tempfile
import threading
from collections.abc import Mapping
from typing import Any, Self

from PIL import Image

from nst_tf import errors
from nst_tf.io import samples
from nst_tf.page import files, thumbnails
from nst_tf.page.backends import Backend
from nst_tf.page.limits import Limits
from nst_tf.page.quota import Quota
from nst_tf.page.session import Sessions

# The most pixels of a picture that is read: what the largest cameras make. Pillow refuses what has twice
# `MAX_IMAGE_PIXELS` before it decodes it.
_MOST_READ = 128_000_000

# Beside a file, a request has names and a few numbers.
_BESIDE_FILES = 2**20

# What Gradio would fetch for a browser that names it, and what it passes on to other pages.
_ELSEWHERE = re.compile(r"/gradio_api/(?:file|proxy)=+(?:\w+:|//)", re.IGNORECASE)

# Where files are uploaded to.
_UPLOAD = re.compile(r"/gradio_api/upload/?\Z")
_NOT_LOGGED_IN = 401


def is_loopback(host: str) -> bool:
    """Returns whether an address is this machine's own, which no other reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, port: int) -> None:
    """Finds out whether a page can listen at an address.

    Raises:
        InputError: It cannot.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(found[0][4])
    except (OSError, UnicodeError) as error:  # UnicodeError: a host's name that no name server takes
        raise errors.InputError(
            f"port: {host}:{port} cannot be listened at: {errors.one_line(error)}; name another --port or"
            " --host"
        ) from None


def read_people(path: pathlib.Path) -> dict[str, str]:
    """Returns {name: password} of a file with a line NAME:PASSWORD for each person.

    Raises:
        InputError: It cannot be read, or has another line, or none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:  # ValueError: no text
        raise errors.InputError(f"password_file: {path} cannot be read: {errors.one_line(error)}") from None
    people: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, found, password = line.partition(":")
        if line.strip() and not (found and name.strip() and password):
            raise errors.InputError(f"password_file: line {number} of {path}; allowed: NAME:PASSWORD")
        people |= {name.strip(): password} if line.strip() else {}
    errors.require(people, "password_file", f"{path} without a line", "NAME:PASSWORD for each person")
    return people


class Page:
    """A page that is served from `__enter__` to `__exit__`."""

    def __init__(
        self, backend: Backend, limits: Limits, host: str, port: int, people: Mapping[str, str]
    ) -> None:
        """Serves nothing yet.

        Args:
            backend: What paints.
            limits: Of what one person may ask for.
            host: To listen at.
            port: Likewise; 0 takes a free one.
            people: {name: password} of those who may log in; empty for a page without a login.
        """
        self._limits, self._host, self._port, self._people = limits, host, port, dict(people)
        self._backend = backend
        self._ending = contextlib.ExitStack()
        self.address = ""

    def __enter__(self) -> Self:
        with self._ending:
            self._start()
            self._ending = self._ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def wait(self) -> None:
        """Waits for a signal, which is raised here."""
        threading.Event().wait()

    def _start(self) -> None:
        """Makes the folder and serves the page."""
        store = files.Store()
        self._ending.callback(store.close)
        self._ending.enter_context(contextlib.chdir(store.working))
        self._ending.enter_context(_settings(store))
        store.keep_swept()
        self.sessions = Sessions(self._backend, store)
        self._ending.callback(self.sessions.close)
        from nst_tf.page import layout

        blocks = layout.build(self.sessions, self._limits)
        store.keep()
        self._ending.callback(blocks.close, verbose=False)
        _, self.address, _ = blocks.queue(max_size=self._limits.max_queue).launch(
            server_name=self._host,
            server_port=self._port or None,
            auth=self._login if self._people else None,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=["api", "settings"],
            max_file_size=f"{self._limits.max_upload_mb}mb",
            allowed_paths=[str(samples.folder()), str(thumbnails.folder())],
            app_kwargs={"middleware": [_guard(self._limits)]},
            theme=layout.THEME,
            css=layout.CSS,
        )

    def _login(self, name: str, password: str) -> bool:
        """Returns whether a person may come in; takes as long for a wrong name as for a wrong password."""
        expected = self._people.get(name, "")
        return hmac.compare_digest(expected.encode(), password.encode()) and name in self._people


@contextlib.contextmanager
def _settings(store: files.Store) -> Any:
    """Sets what Gradio, Pillow and others take from the process, and puts it back."""
    named = {
        "GRADIO_TEMP_DIR": str(store.uploads),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    before = {name: os.environ.get(name) for name in named}
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, _MOST_READ // 2
    # What libraries put into the folder of temporaries, which Gradio serves from, goes with the page too.
    system, tempfile.tempdir = tempfile.tempdir, str(store.uploads)
    os.environ.update(named)
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, tempfile.tempdir = most, system
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _guard(limits: Limits) -> Any:
    from starlette.middleware import Middleware

    return Middleware(Guard, limits=limits)


# A refusal: its status and its text.
Refusal = tuple[int, str]


class Guard:
    """Refuses requests before they are read: those that are too large or too many, or have the page fetch."""

    def __init__(self, app: Any, limits: Limits) -> None:
        """Takes the application, and the limits of the page."""
        self._app, self._limits = app, limits
        self._most_bytes = round(limits.max_upload_mb * 1e6) + _BESIDE_FILES
        self._quota = Quota(round(limits.max_hourly_mb * 1e6))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and _UPLOAD.search(scope["path"]) and scope["method"] == "POST":
            refusal = await self._upload(scope, receive, send)
        elif refusal is None:
            await self._app(scope, receive, send)
        if refusal is not None:
            await _refuse(send, *refusal)

    async def _upload(self, scope: Any, receive: Any, send: Any) -> Refusal | None:
        """Passes an upload on and counts it; returns the refusal of one that is too much."""
        sender, _ = scope["client"] or ("", 0)
        taken = self._quota.take(sender, _length(scope))
        if taken is None:
            most = self._limits.max_hourly_mb
            text = f"too much was uploaded within an hour; this page takes {most} MB; wait, then try again"
            return 429, text
        status = 0

        async def watched(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if status == _NOT_LOGGED_IN:  # of all others something may have been kept
                self._quota.give_back(taken)
        return None

    def _refusal(self, scope: Any) -> Refusal | None:
        """Returns the refusal of a request; None for one that may come in."""
        if _ELSEWHERE.search(scope["path"]):
            return 403, "this page fetches nothing from elsewhere"
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        if _length(scope) < 0:
            return 411, "the length of the request is missing"
        if _length(scope) > self._most_bytes:
            return 413, f"larger than {self._most_bytes / 1e6:.0f} MB, the most that this page takes"
        return None


def _length(scope: Any) -> int:
    """Returns the bytes that a request says it has; -1 where it does not say."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else -1


async def _refuse(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
