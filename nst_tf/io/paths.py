"""Paths as people type them: expanded, and refused where no system could have such a file."""

import os
import pathlib

from nst_tf import errors
from nst_tf.config import settings


def typed(text: str | os.PathLike[str], name: str) -> pathlib.Path:
    """Returns a path that a person typed; a leading ~, which shells leave in a flag, is expanded.

    Args:
        text: As typed. Whether there is a file, and whether it may be used, its reader or writer finds out.
        name: What the path is, for error messages.

    Raises:
        InputError: It is no path, no file can have it, or it is relative to a folder that has been removed.
    """
    errors.require(isinstance(text, str | os.PathLike), name, f"a {type(text).__name__}", "a path")
    path = pathlib.Path(os.path.expanduser(text))
    if str(path).startswith(settings.SAMPLE_PREFIX):  # no path, but the name of one of the package's pictures
        return path
    try:
        if not path.is_absolute():
            os.getcwd()
    except OSError:
        raise errors.InputError(
            f"{name}: {path} is relative to the current folder, which has been removed; go to another folder,"
            " or name the whole path"
        ) from None
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except OSError as error:  # a name longer than the file system allows, a loop of links
        raise errors.InputError(f"{name}: {path} cannot be used: {error.strerror}; name another") from None
    except ValueError as error:  # a NUL character, or one that no file's name can have
        raise errors.InputError(
            f"{name}: {str(path)!r} cannot be used: {errors.one_line(error)}; name another"
        ) from None
    return path
