"""Files that appear whole or not at all: made under a temporary name in the same folder, then renamed.

A process that is killed leaves a temporary. The next one that writes to the folder removes it: temporaries in
use are locked, and the lock ends with its process.
"""

import contextlib
import errno
import os
import pathlib
import secrets
import shutil
import tempfile
import typing
from collections.abc import Callable, Iterator
from typing import BinaryIO

from nst_tf import errors

try:
    import fcntl
except ImportError:  # Windows, where a file in use cannot be removed either
    fcntl = None  # type: ignore[assignment]

# The beginning of every temporary's name.
_PREFIX = ".nst_tf-"

# What a file system answers that cannot flush, which is no failure of writing.
_NO_FLUSH = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a new file that takes the place of `path` at the end, unless an error came.

    Raises:
        OSError: The file cannot be written.
    """
    path = path.resolve()  # a link stays one, and what it points to is replaced
    remove_abandoned(path.parent)
    temporary, handle = _locked(path.parent, _create_file)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            _flush(file.fileno())
            if fcntl is not None:
                os.replace(temporary, path)  # while it is locked
        if fcntl is None:
            os.replace(temporary, path)  # Windows renames no open file
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_somewhere(write: Callable[[pathlib.Path], object], path: pathlib.Path) -> tuple[pathlib.Path, str]:
    """Has a file written that must not be lost: where it should be, or else in a new temporary folder.

    Args:
        write: (path) -> writes it.
        path: Where it should be.

    Returns:
        Where it is; and, if that is elsewhere, a line that says why and where.

    Raises:
        OSError: It cannot be written anywhere.
    """
    try:
        write(path)
    except OSError as error:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="nst_tf-"))
        try:
            write(folder / path.name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        why = errors.one_line(error)
        return folder / path.name, f"{path} could not be written: {why}; it is {folder / path.name}"
    return path, ""


@contextlib.contextmanager
def temporary_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a folder for what `move` is to take out of it; removes it with what is left in it.

    Raises:
        OSError: It cannot be made.
    """
    remove_abandoned(parent)
    folder, handle = _locked(parent, _create_folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def move(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Moves a finished file of the same file system to `path`, in place of what is there.

    Raises:
        OSError: It cannot be moved.
    """
    handle = os.open(temporary, os.O_RDWR)
    try:
        _flush(handle)
    finally:
        os.close(handle)
    os.replace(temporary, path.resolve())


def _flush(handle: int) -> None:
    """Has the system write a file's bytes, before it is renamed: a power cut could leave the name alone."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def remove_abandoned(folder: pathlib.Path) -> None:
    """Removes the temporaries that processes left in a folder which have ended."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: pathlib.Path) -> None:
    if path.is_symlink():
        return
    is_folder = path.is_dir()
    if fcntl is None:
        # Without locks a folder could be in use.
        if not is_folder:
            path.unlink()
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_folder:
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(handle)


_Handle = typing.TypeVar("_Handle", int, int | None)


def _locked(parent: pathlib.Path, create: Callable[[pathlib.Path], _Handle]) -> tuple[pathlib.Path, _Handle]:
    """Returns a new temporary, which other processes leave alone, and its handle."""
    while True:
        path = parent / f"{_PREFIX}{secrets.token_hex(8)}"
        handle = create(path)
        if handle is None or fcntl is None:
            return path, handle
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():  # not removed by another process before it was locked
            return path, handle
        os.close(handle)


def _create_file(path: pathlib.Path) -> int:
    # With the mode that the process's mask leaves.
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)


def _create_folder(path: pathlib.Path) -> int | None:
    path.mkdir()
    return None if fcntl is None else os.open(path, os.O_RDONLY)
