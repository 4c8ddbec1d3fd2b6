"""Files of a batch, wherever they are: local paths, and URLs such as s3://bucket/photo.jpg by way of fsspec.

A path is a text: an absolute local path, a URL, or the name of a sample. fsspec is loaded for URLs alone.
"""

import contextlib
import errno
import glob
import math
import os
import pathlib
import posixpath
import secrets
import shutil
import typing
from collections.abc import Iterator

from nst_tf import errors, runtime
from nst_tf.config.settings import SAMPLE_PREFIX
from nst_tf.io import files, paths, pictures, samples

if typing.TYPE_CHECKING:
    import fsspec

# What is taken from a folder: the extensions of the formats that `pictures` reads.
_PICTURES = frozenset(
    f".{name}"
    for names in ("jpg jpeg png webp tif tiff bmp gif avif", "jp2 j2k ppm pgm pbm psd qoi tga heic heif")
    for name in names.split()
)

# Stores whose files appear once they are whole: objects, put in one request or in parts that are joined at
# the end.
_WHOLE = frozenset(["s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "memory"])

# What a full disk answers, and one of which no more is a person's.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_SCHEME = "://"
_LOCAL = f"file{_SCHEME}"
_MAGIC = frozenset("*?[")


def is_url(path: str) -> bool:
    """Returns whether a path is a URL of a store."""
    return _SCHEME in path


def is_sample(path: str) -> bool:
    """Returns whether a path is the name of one of the package's own pictures."""
    return path.startswith(SAMPLE_PREFIX)


def absolute(text: str, name: str, folder: str = "") -> str:
    """Returns a path or pattern as the workers can use it, which have working folders of their own.

    Args:
        text: As typed.
        name: What it is, for messages.
        folder: The folder that relative ones are in; empty for the current one.

    Raises:
        InputError: No file can have that path.
    """
    text = text.removeprefix(_LOCAL)
    if is_url(text) or is_sample(text):
        return text
    if folder and is_url(folder):
        return joined(folder, text)
    typed = paths.typed(text, name)
    return os.path.join(os.getcwd(), folder, typed)  # not without "..", which links give a meaning


def joined(folder: str, name: str) -> str:
    """Returns the path of a name below a folder; a name that is absolute or a URL stays."""
    if is_url(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def parent(path: str) -> str:
    """Returns the folder that a file is in."""
    return path.rpartition("/")[0] if is_url(path) else os.path.dirname(path)


def name_of(path: str) -> str:
    """Returns the name of a file, of a sample the part behind the colon."""
    if is_sample(path):
        return path.removeprefix(SAMPLE_PREFIX)
    return posixpath.basename(path) if is_url(path) else os.path.basename(path)


def stem_of(path: str) -> str:
    """Returns the name of a file without its extension."""
    return posixpath.splitext(name_of(path))[0]


def listed(pattern: str, name: str) -> list[str]:
    """Returns the pictures that a text names: a file, a folder's, or those that a glob finds, in order.

    Args:
        pattern: Absolute, a URL or a sample.
        name: What they are, for messages.

    Raises:
        InputError: There are none.
    """
    if is_sample(pattern):
        samples.to_path(pattern, name)
        return [pattern]
    found = _listed_at_url(pattern, name) if is_url(pattern) else _listed_locally(pattern)
    if not found:
        raise errors.InputError(
            f"{name}: {pattern} names no picture; allowed: a picture, a folder of pictures, or a pattern such"
            " as 'photos/*.jpg'"
        )
    return found


def _listed_locally(pattern: str) -> list[str]:
    if os.path.isfile(pattern):  # its name may have what patterns have
        return [pattern]
    if os.path.isdir(pattern):
        return _only_pictures(os.path.join(pattern, name) for name in os.listdir(pattern))
    if not _MAGIC & set(pattern):
        return []
    return sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))


def _listed_at_url(pattern: str, name: str) -> list[str]:
    with _explained(pattern, name):
        system, path = _opened(pattern)
        if _MAGIC & set(path):
            found = system.glob(path, detail=True)
            return sorted(system.unstrip_protocol(each) for each in found if found[each]["type"] == "file")
        if system.isdir(path):
            return _only_pictures(system.unstrip_protocol(each) for each in system.find(path, maxdepth=1))
        return [pattern] if system.exists(path) else []


def _only_pictures(found: Iterator[str]) -> list[str]:
    """Returns the paths that have the extension of a picture, in order; hidden ones are left out."""
    return sorted(
        path
        for path in found
        if os.path.splitext(path)[1].lower() in _PICTURES and not name_of(path).startswith(".")
    )


def names(folder: str) -> list[str]:
    """Returns the paths of what is in a folder, none where there is no folder.

    Raises:
        InputError: The store cannot be asked.
    """
    if not is_url(folder):
        found = os.listdir(folder) if os.path.isdir(folder) else []
        return [os.path.join(folder, name) for name in found]
    with _explained(folder, "output"):
        system, place = _opened(folder)
        if not system.exists(place):
            return []
        return [joined(folder, posixpath.basename(each)) for each in system.ls(place, detail=False)]


def exists(path: str) -> bool:
    """Returns whether there is a file.

    Raises:
        InputError: The store cannot be asked.
    """
    if not is_url(path):
        return is_sample(path) or os.path.lexists(path)
    with _explained(path, "output"):
        system, place = _opened(path)
        return bool(system.exists(place))


def read(path: str, name: str) -> bytes:
    """Returns the contents of a file.

    Args:
        path: Of the file.
        name: What it is, for messages.

    Raises:
        InputError: It cannot be read.
    """
    with _explained(path, name):
        if not is_url(path):
            return pathlib.Path(path).read_bytes()
        system, place = _opened(path)
        contents: bytes = system.cat_file(place)
        return contents


def picture(path: str, name: str) -> pictures.PictureFile:
    """Returns a picture file; one at a URL has been read.

    Args:
        path: Of the file.
        name: What it is, for messages.

    Raises:
        InputError: It cannot be read, or there is no such sample.
    """
    if not is_url(path):
        return pictures.PictureFile(path, name)
    return pictures.PictureFile.of_bytes(read(path, name), name_of(path))


def write(path: str, contents: bytes) -> None:
    """Writes a file, whole or not at all, and the folders that it is in.

    Raises:
        OSError: It cannot be written.
    """
    if not is_url(path):
        with naming(path):
            os.makedirs(parent(path), exist_ok=True)
            with files.replacing(path) as file:
                file.write(contents)
        return
    with _failing(path):
        system, place = _opened(path)
        if _WHOLE & set(_protocols(system)):
            system.pipe_file(place, contents)
            return
        folder, _, name = place.rpartition("/")
        system.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{name}-{secrets.token_hex(8)}"
        system.pipe_file(temporary, contents)
        system.mv(temporary, place)


def remove(path: str) -> None:
    """Removes a file, if it is there.

    Raises:
        OSError: It cannot be removed.
    """
    if not is_url(path):
        pathlib.Path(path).unlink(missing_ok=True)
        return
    with _failing(path):
        system, place = _opened(path)
        if system.exists(place):
            system.rm_file(place)


def _protocols(system: "fsspec.AbstractFileSystem") -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _opened(url: str) -> tuple["fsspec.AbstractFileSystem", str]:
    """Returns the store of a URL and the path in it.

    Raises:
        ImportError: A library is missing.
        ValueError: There is no such store.
    """
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    return system, path


@contextlib.contextmanager
def _explained(path: str, name: str) -> Iterator[None]:
    """Says in one line why a file cannot be used.

    Raises:
        InputError: It cannot.
    """
    try:
        yield
    except errors.InputError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise errors.InputError(f"{name}: {path} cannot be read: {_why(error)}") from None


@contextlib.contextmanager
def _failing(path: str) -> Iterator[None]:
    """Turns what a store raises into what a file system does.

    Raises:
        OSError: Something failed.
    """
    try:
        with naming(path):
            yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, _why(error), path) from None


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Has the error of a file that cannot be written name it: that of a full disk does not.

    Raises:
        OSError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or errors.one_line(error), path) from None


class Room:
    """Room on the disks of outputs: where one was full, nothing more is painted until more of it is free."""

    def __init__(self) -> None:
        """Knows of no disk that is full."""
        self._too_little = -1.0  # bytes that were free

    def check(self, path: str) -> None:
        """Checks that a file may find room.

        Raises:
            OSError: No more is free than when another found none.
        """
        if self._too_little >= 0 and _free(path) <= self._too_little:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def heed(self, error: Exception | None, path: str) -> None:
        """Takes into account why a file was not written, if it was not."""
        is_full = isinstance(error, OSError) and error.errno in _FULL
        if is_full and (free := _free(path)) < math.inf:
            self._too_little = free


def _free(path: str) -> float:
    """Returns how many bytes are free where a file is to be; infinity where nobody knows."""
    try:
        return math.inf if is_url(path) else shutil.disk_usage(parent(path)).free
    except OSError:
        return math.inf


def unwritten(error: OSError) -> str:
    """Returns which file could not be written and why."""
    if error.filename is None:
        return f"it could not be written: {errors.one_line(error)}"
    return f"{error.filename} could not be written: {error.strerror}"


def _why(error: Exception) -> str:
    """Returns why a store cannot be used; of a library that is missing, how to get it."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    line = errors.one_line(error)
    if isinstance(error, ImportError) and "fsspec" in line.split("'")[1:2]:
        return f"{line}: {runtime.install('batch')}"
    return line
