"""The files of a page: a folder removed at the end; what has not been used for an hour goes before."""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
import threading
import time

from nst_tf import errors
from nst_tf.io import samples
from nst_tf.io.files import temporary_folder

# An hour, after which nobody is expected to come back for a picture; and how often that is looked after.
AGE_S, _EVERY_S = 3600.0, 60.0


class Store:
    """The folder of a page, made for it and removed with it.

    Attributes:
        uploads: What browsers have sent, and the copies that Gradio serves to them.
        working: An empty folder for the process to work in, so that no relative path leads anywhere.
    """

    def __init__(self) -> None:
        """Makes the folder, where only this user can read; removes those of pages that were killed."""
        self._ending = contextlib.ExitStack()
        system = pathlib.Path(tempfile.gettempdir()).resolve()
        self._root = self._ending.enter_context(temporary_folder(system))
        self._root.chmod(0o700)  # before anything is in it
        self.uploads, self.working = self._root / "uploads", self._root / "working"
        self._sessions = self.uploads / "sessions"  # where Gradio serves files from
        for folder in (self.uploads, self.working, self._sessions):
            folder.mkdir()
        self._end = threading.Event()
        self._kept: frozenset[pathlib.Path] = frozenset()

    def keep(self) -> None:
        """Keeps the uploads that are there as long as the page: Gradio's copies of what stands on it."""
        self._kept = frozenset(self.uploads.rglob("*"))

    def session_folder(self) -> pathlib.Path:
        """Returns a new folder for the pictures of a session."""
        return pathlib.Path(tempfile.mkdtemp(dir=self._sessions))

    def accept(self, path: str | os.PathLike[str], name: str, max_mb: int) -> pathlib.Path:
        """Returns the path of a picture that a browser has sent, which counts as used now.

        Args:
            path: As Gradio has it: below `uploads`, or of one of the package's own pictures.
            name: What the picture is, for error messages.
            max_mb: The most megabytes of it.

        Raises:
            InputError: It is none of these, too large, or gone.
        """
        found = pathlib.Path(path).resolve()
        if found in {samples.to_path(sample).resolve() for sample in samples.FILES}:
            return found
        if not found.is_relative_to(self.uploads):
            raise errors.InputError(f"{name}: not a file of this page; upload it")
        try:
            size = found.stat().st_size
            os.utime(found)
        except OSError:
            raise errors.InputError(f"{name}: deleted an hour after its last use; upload it again") from None
        errors.require(size <= max_mb * 1e6, name, f"{size / 1e6:.1f} MB", f"{max_mb} MB on this page")
        return found

    def without_folders(self, text: str) -> str:
        """Returns a message with the names of this page's files instead of their paths, for a browser."""
        return re.sub(rf"{re.escape(str(self._root))}/(?:[^/\s]+/)*", "", text)

    def remove(self, folder: pathlib.Path) -> None:
        """Removes the folder of a session."""
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, now: float | None = None) -> None:
        """Removes what was last used over an hour before a time, by default now."""
        oldest = (time.time() if now is None else now) - AGE_S
        for folder, _, names in os.walk(self._root, topdown=False):
            for path in (pathlib.Path(folder, name) for name in names):
                with contextlib.suppress(OSError):  # it was removed meanwhile
                    if path not in self._kept and _used_at(path) < oldest:
                        path.unlink()
            if pathlib.Path(folder).is_relative_to(self.uploads) and not self._is_own(folder):
                with contextlib.suppress(OSError):  # something is in it
                    if _used_at(folder) < oldest:
                        os.rmdir(folder)

    def _is_own(self, folder: str) -> bool:
        """Returns whether a folder is there as long as the page is."""
        return pathlib.Path(folder) in (self.uploads, self._sessions)

    def keep_swept(self) -> None:
        """Sweeps every minute, in a thread of its own, until the page is closed."""
        threading.Thread(target=self._keep_swept, daemon=True).start()

    def _keep_swept(self) -> None:
        while not self._end.wait(_EVERY_S):
            self.sweep()

    def close(self) -> None:
        """Removes everything."""
        self._end.set()
        self._ending.close()


def _used_at(path: str | os.PathLike[str]) -> float:
    """Returns when a file was last changed or named: a copy may have the time of what it is a copy of."""
    status = os.stat(path)
    return max(status.st_mtime, status.st_ctime)
