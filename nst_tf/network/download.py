"""Download of one file into a cache: to a temporary, which takes its place once its hash is right.

Any number of processes and threads may download the same file at the same time.
"""

import contextlib
import hashlib
import logging
import pathlib
import secrets
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import BinaryIO

from nst_tf import errors

_LOG = logging.getLogger(__name__)

# Time-outs of the server's first answer and of a stalled download: without them a firewall that drops packets
# would have a person wait for ever.
ANSWER_TIMEOUT_S = 15.0
# Of the first answer where there is something else to use: many times what an answer takes, and little beside
# a run, since a firewall has a person wait at each.
BRIEF_ANSWER_TIMEOUT_S = 3.0
STALL_TIMEOUT_S = 30.0

# What has to arrive within each STALL_TIMEOUT_S: 80 MB then take 10 hours at most.
_LEAST_BYTES = 2**16
_PIECE_BYTES = 2**18

# More than Keras' file of VGG19 without dense layers has, 80 MB: a server that sends something else ends.
_MOST_BYTES = 2**27

# A temporary this old has lost its process, since every second of a download writes to it.
_ABANDONED_S = 3600.0


def fetch(url: str, path: pathlib.Path, md5: str, answer_timeout_s: float) -> None:
    """Downloads a file to `path`; whatever fails leaves nothing there.

    Args:
        url: Of the file.
        path: Where it is to be; its folder is created.
        md5: Its hash, in hexadecimal.
        answer_timeout_s: How long to wait for the server's first answer.

    Raises:
        OSError: The server cannot be reached, stalls, or sends less or something else; or the disk is full.
        InputError: The folder cannot be written to.
    """
    with _replacing(path) as file:
        with _answer(url, answer_timeout_s) as response:
            _LOG.warning("Downloading %s to %s", url, path.parent)
            found = _copy(response, file)
        if found != md5:
            raise OSError(f"the server sent another file: its MD5 hash is {found}, not {md5}")


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a new file that takes the place of `path` at the end, unless an error came.

    Raises:
        InputError: The folder cannot be written to.
        OSError: What is written there cannot take the place of `path`.
    """
    # With the mode that the process's mask leaves, so that others may read a shared cache.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        file = temporary.open("xb")
    except OSError as error:
        raise errors.InputError(
            f"weights: Keras' cache {path.parent} cannot be written to ({error.strerror}); set KERAS_HOME to"
            " a folder that can, or name a file with --weights=FILE"
        ) from None
    try:
        with file:
            yield file
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _remove_abandoned(path: pathlib.Path) -> None:
    """Removes what processes left that were killed."""
    for each in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):  # another process may be removing it
            if time.time() - each.stat().st_mtime > _ABANDONED_S:
                each.unlink()


def _answer(url: str, timeout_s: float) -> HTTPResponse:
    """Returns the server's answer.

    Asks in a thread, since a socket's time-out bounds neither the look-up of a name nor the attempts at all
    of a host's addresses.

    Raises:
        OSError: The server gave no answer in time, or an error.
    """
    answers: list[HTTPResponse | Exception] = []

    def ask() -> None:
        try:
            answers.append(urllib.request.urlopen(url, timeout=STALL_TIMEOUT_S))
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not answers:
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _copy(response: HTTPResponse, file: BinaryIO) -> str:
    """Writes what a server sends to a file; returns its MD5 hash.

    Raises:
        OSError: It sends less than it announced, too much, or too slowly; or the disk is full.
    """
    digest = hashlib.md5(usedforsecurity=False)
    size = in_time = 0
    deadline = time.monotonic() + STALL_TIMEOUT_S
    while piece := response.read1(_PIECE_BYTES):
        digest.update(piece)
        file.write(piece)
        size, in_time = size + len(piece), in_time + len(piece)
        if size > _MOST_BYTES:
            raise OSError(f"the server sent another file: it has more than {_MOST_BYTES} bytes")
        if in_time >= _LEAST_BYTES:
            in_time, deadline = 0, time.monotonic() + STALL_TIMEOUT_S
        elif time.monotonic() > deadline:
            raise TimeoutError(f"the server sent only {in_time} bytes in {STALL_TIMEOUT_S:g} s")
    announced = response.headers.get("Content-Length")
    if announced is not None and announced.isdecimal() and size < int(announced):
        raise OSError(f"the connection ended after {size} of {announced} bytes")
    return digest.hexdigest()
