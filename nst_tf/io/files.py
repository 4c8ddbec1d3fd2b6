"""Files that appear whole or not at all: made under a temporary name in the same folder, then renamed.

A process that is killed leaves a temporary. The next one removes it when it first writes to the folder:
temporaries in use are locked, and the lock ends with its process.
"""

import contextlib
import copy
import errno
import functools
import os
import pathlib
import re
import secrets
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from nst_tf import errors

try:
    import fcntl
except ImportError:  # Windows, where a file in use cannot be removed either
    fcntl = None  # type: ignore[assignment]

# The name of every temporary: this, and so many random bytes in hexadecimal.
PREFIX, _RANDOM_BYTES = ".nst_tf-", 8
_NAME = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{{2 * _RANDOM_BYTES}}}")

# What a file system answers that cannot flush, which is no failure of writing.
_NO_FLUSH = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})

# What one answers that gives no file a second name.
_NO_LINKS = frozenset({*_NO_FLUSH, errno.EMLINK, errno.EACCES})

_PERMISSIONS = 0o777  # those that are copied: set-uid, set-gid and sticky are not

# Whether files can be named by an open folder and a name in it, which Windows cannot.
_HAS_HANDLES = hasattr(os, "link") and os.supports_dir_fd.issuperset(
    {os.open, os.stat, os.unlink, os.link, os.rename}
)


class _Folder:
    """A folder that has been opened: the same one whatever its path comes to mean."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens it.

        Raises:
            OSError: It cannot be opened.
        """
        self.path = path
        self._handle: int | None = None
        if _HAS_HANDLES:
            self._handle = os.open(path, os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY))
            weakref.finalize(self, os.close, self._handle)

    def create(self, name: str) -> int:
        """Makes a new file with the mode that the process's mask leaves; returns its handle."""
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
        return os.open(self._at(name), flags, 0o666, dir_fd=self._handle)

    def status(self, name: str) -> os.stat_result | None:
        """Returns the status of a file, of a link its own; None where there is none."""
        try:
            return os.stat(self._at(name), dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def replace(self, old: str, new: str) -> None:
        """Renames a file, in place of another."""
        os.replace(self._at(old), self._at(new), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def link(self, old: str, new: str) -> None:
        """Gives a file a second name, which must be free."""
        os.link(self._at(old), self._at(new), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._handle)

    def _at(self, name: str) -> str:
        return name if self._handle is not None else str(self.path / name)


class Place(os.PathLike[str]):
    """Where a file is to be written: its name in a folder that is opened once, before the run."""

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Opens the folder.

        Args:
            path: Of the file. A link is not followed: it is replaced itself.
            overwrite: Whether a file that is there when this one is written may be replaced.

        Raises:
            OSError: The folder cannot be opened.
        """
        self.path, self.overwrite = pathlib.Path(path), overwrite
        self.folder = _Folder(self.path.parent)

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "Place":
        """Returns a place as it is, and that of a path."""
        return path if isinstance(path, Place) else cls(path)

    def with_name(self, name: str) -> "Place":
        """Returns another place in the same folder."""
        beside = copy.copy(self)
        beside.path = self.path.with_name(name)
        return beside

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], outdated: Sequence[str] = ()) -> Iterator[BinaryIO]:
    """Opens a new file that takes its place at the end, unless an error came.

    Args:
        path: A `Place`; or a path, where a file that is there is replaced.
        outdated: Names of files beside it that go as a file is replaced, which they describe.

    Raises:
        OSError: The file cannot be written.
    """
    place = Place.of(path)
    _tidy(os.path.abspath(place.path.parent))
    temporary, handle = _locked_file(place.folder)
    try:
        with os.fdopen(handle, "wb") as file:
            _take_mode(place, handle)
            yield file
            file.flush()
            _flush(file.fileno())
            if fcntl is not None:
                _put(place, temporary, outdated)  # while it is locked
        if fcntl is None:
            _put(place, temporary, outdated)  # Windows renames no open file
    except BaseException:
        with contextlib.suppress(OSError):
            place.folder.remove(temporary)
        raise


def _take_mode(place: Place, handle: int) -> None:
    """Gives an open file the permissions of the one that it is to replace, where that can be done."""
    status = place.folder.status(place.name)
    if status is not None and stat.S_ISREG(status.st_mode) and hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):
            os.fchmod(handle, stat.S_IMODE(status.st_mode) & _PERMISSIONS)


def _put(place: Place, temporary: str, outdated: Sequence[str]) -> None:
    """Gives a temporary its name.

    Raises:
        OSError: It cannot, or the name is taken and must not be.
    """
    folder = place.folder
    if place.overwrite:
        for name in outdated:
            with contextlib.suppress(OSError):  # it is another's
                folder.remove(name)
        folder.replace(temporary, place.name)
        return
    try:
        folder.link(temporary, place.name)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "a file has appeared there meanwhile", str(place)) from None
    except (
        OSError,
        NotImplementedError,
        AttributeError,
    ) as error:  # AttributeError: of a system without links
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
        os.close(folder.create(place.name))  # which fails where there is one
        try:
            folder.replace(temporary, place.name)
        except OSError:
            folder.remove(place.name)
            raise
    else:
        folder.remove(temporary)


def write_somewhere(
    write: Callable[[Place | pathlib.Path], object], path: Place | pathlib.Path
) -> tuple[pathlib.Path, str]:
    """Has a picture written that must not be lost: where it should be, or else in a new temporary folder.

    There it is a PNG, which has no limits, whatever it should have been.

    Args:
        write: (path) -> writes it, in the format of the path's extension.
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
        saved = folder / pathlib.Path(path).with_suffix(".png").name
        try:
            write(saved)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return saved, f"{path} could not be written: {errors.one_line(error)}; it is {saved}"
    return pathlib.Path(path), ""


@contextlib.contextmanager
def temporary_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a folder for what `move` is to take out of it; removes it with what is left in it.

    Raises:
        OSError: It cannot be made.
    """
    _tidy(os.path.abspath(parent))
    folder, handle = _locked_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def locked_folder(path: pathlib.Path) -> Iterator[bool]:
    """Makes a folder, unless it is there, and locks it: no other process has it at the same time.

    The lock ends with the process, however that ends. Removes the folder at the end if nothing is in it.

    Args:
        path: Of the folder; where something else is there, or files cannot be locked, there is no lock.

    Yields:
        Whether it is this process's.

    Raises:
        OSError: It cannot be made.
    """
    handle = _taken_folder(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                path.rmdir()
            if handle >= 0:
                os.close(handle)


def _taken_folder(path: pathlib.Path) -> int | None:
    """Returns the handle of a folder, locked; -1 without a lock, None where another process has it."""
    while True:
        if os.path.lexists(path) and not os.path.isdir(path):
            return -1
        path.mkdir(exist_ok=True)
        if fcntl is None:
            return -1
        try:
            handle = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return None
            except OSError:  # a file system without locks
                return handle
            if os.path.samestat(os.fstat(handle), os.stat(path)):  # not removed before it was locked
                return handle
        except FileNotFoundError:
            continue
        os.close(handle)


def move(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Moves a finished file of the same file system to `path`, in place of what is there, a link too.

    Raises:
        OSError: It cannot be moved.
    """
    flush(temporary)
    os.replace(temporary, path)


def flush(path: pathlib.Path) -> None:
    """Has the system write the bytes of a file, before it is renamed.

    Raises:
        OSError: It cannot.
    """
    handle = os.open(path, os.O_RDWR)
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    """Has the system write a file's bytes, before it is renamed: a power cut could leave the name alone."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


# Once in a process: to list a folder of a million files takes longer than to write one.
@functools.lru_cache(maxsize=4096)
def _tidy(folder: str) -> None:
    """Removes what is abandoned in a folder."""
    remove_abandoned(pathlib.Path(folder))


def remove_abandoned(folder: pathlib.Path) -> None:
    """Removes the temporaries that processes left in a folder which have ended."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                if _NAME.fullmatch(path.name):  # another's name may begin like ours
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


def _locked_file(folder: _Folder) -> tuple[str, int]:
    """Returns the name of a new temporary, which other processes leave alone, and its handle."""
    while True:
        name = _new_name()
        handle = folder.create(name)
        _lock(handle)
        if folder.status(name) is not None:  # not removed by another process before it was locked
            return name, handle
        os.close(handle)


def _locked_folder(parent: pathlib.Path) -> tuple[pathlib.Path, int | None]:
    """Returns a new temporary folder, which other processes leave alone, and its handle."""
    while True:
        path = parent / _new_name()
        path.mkdir()
        if fcntl is None:
            return path, None
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # another process took it for abandoned
            continue
        _lock(handle)
        if path.exists():
            return path, handle
        os.close(handle)


def _new_name() -> str:
    return f"{PREFIX}{secrets.token_hex(_RANDOM_BYTES)}"


def _lock(handle: int) -> None:
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
