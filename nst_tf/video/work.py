"""The finished frames of a film, kept in a folder beside it until the film is whole.

`painted.mp4.frames` holds `run.json`, what the frames were painted from, and `frames/000001.png` and so on,
lossless. A frame is there whole or not at all, so that a run that was killed goes on after its last one.
"""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from nst_tf import errors
from nst_tf.io import files, films, manifest, pictures

_SUFFIX, _RECORD, _FRAMES, _PICTURE = ".frames", "run.json", "frames", ".png"

# What names in the folder begin with: also those of a film that is half written, and of temporaries.
_OURS = (_FRAMES, _RECORD, "film.", files.PREFIX)

_ALONE = Fraction(1, 25)  # seconds that the frame of a film with one is shown


def check_output(
    output: pathlib.Path,
    overwrite: bool,
    encoding: films.Encoding,
    sound: films.Sound | None = None,
) -> None:
    """Finds out before a run whether its film, or a folder of frames, can be written there after it.

    Args:
        output: A film's file, or a name without an extension for a folder, which is not there or empty.
        overwrite: Whether a film that is there may be replaced.
        encoding: Of a film.
        sound: That is copied into a film.

    Raises:
        InputError: It cannot.
    """
    if not is_folder(output):
        films.check(output, encoding, sound)
        pictures.check_file(output, overwrite)
    elif os.path.lexists(output):
        if not os.path.isdir(output) or os.listdir(output):
            raise errors.InputError(f"output: {output} is no empty folder; name another, for the frames")
    else:
        pictures.check_file(output, overwrite)


def is_folder(output: pathlib.Path) -> bool:
    """Returns whether a name is that of a folder of frames: it has no extension, or there is a folder."""
    return not output.suffix or os.path.isdir(output)


def place(output: pathlib.Path) -> pathlib.Path:
    """Returns the path of the folder of a film."""
    return output.with_name(output.name + _SUFFIX)


@contextlib.contextmanager
def locked(output: pathlib.Path) -> Iterator[None]:
    """Keeps other runs from painting the same film; leaves no folder that has nothing in it.

    Args:
        output: The film.

    Raises:
        InputError: Another run paints it.
        OSError: Its folder cannot be made.
    """
    with files.locked_folder(place(output)) as is_free:
        if not is_free:
            raise errors.InputError(f"output: another run is painting {output}; wait for it, or name another")
        yield


class WorkFolder:
    """The folder of one film, which its run has `locked`."""

    def __init__(self, output: pathlib.Path, record: Mapping[str, Any], overwrite: bool = False) -> None:
        """Makes the folder, or takes up the one that an earlier run left.

        Args:
            output: The film.
            record: All that decides its frames, which JSON can hold: settings, hashes of inputs.
            overwrite: Whether frames of another run may be removed.

        Raises:
            InputError: There are frames of another run, or something else is there.
            OSError: The folder cannot be made.
        """
        self.path = place(output)
        self._frames = self.path / _FRAMES
        text = json.dumps(record, indent=2, sort_keys=True)
        wanted, before = json.loads(text), _record(self.path)
        if os.path.lexists(self.path):
            _check(self.path, before, wanted, overwrite)
        if before != wanted:
            _empty(self.path)
        self._frames.mkdir(parents=True, exist_ok=True)
        if before != wanted:
            with files.replacing(self.path / _RECORD) as file:
                file.write(text.encode())

    def get(self, index: int) -> np.ndarray | None:
        """Returns a finished frame, [H, W, 3] float32 in [0, 1]; None where there is none.

        Args:
            index: Of the frame, from 0.
        """
        path = self._file(index)
        if not os.path.isfile(path):
            return None
        try:
            return pictures.read(path)[0]
        except errors.InputError:  # damaged, by whatever: it is painted again
            return None

    def made(self, index: int) -> Mapping[str, Any]:
        """Returns the manifest of a finished frame; {} where it has none."""
        try:
            return manifest.read(self._file(index))
        except errors.InputError:
            return {}

    def finished(self) -> set[int]:
        """Returns the indices of the frames that are there, whole or damaged."""
        stems = (name.removesuffix(_PICTURE) for name in os.listdir(self._frames) if name.endswith(_PICTURE))
        return {int(stem) - 1 for stem in stems if stem.isdecimal()}

    def put(self, index: int, picture: np.ndarray, text: str | None = None) -> np.ndarray:
        """Keeps a finished frame; returns it as it is kept, which is what `get` returns.

        A run has to go on with that, so that one that was interrupted paints the same.

        Args:
            index: Of the frame, from 0.
            picture: [H, W, 3] floats in [0, 1].
            text: Its manifest.

        Raises:
            OSError: It cannot be written.
        """
        kept = rounded(picture)
        pictures.write(kept, self._file(index), text=text)
        return kept

    def shown(self, times: Sequence[Fraction]) -> Iterator[films.Shown]:
        """Yields the finished frames as a film shows them; the last one as long as the one before.

        Args:
            times: Of all frames.

        Raises:
            OSError: One is not there.
        """
        ends = [*times[1:], 2 * times[-1] - times[-2] if len(times) > 1 else times[-1] + _ALONE]
        for index, (time, end) in enumerate(zip(times, ends, strict=True)):
            picture = self.get(index)
            if picture is None:
                raise OSError(f"{self._file(index)} is not there")
            yield films.Shown(time, end - time, pictures.to_uint8(picture))

    def finish(self, output: pathlib.Path, write: Callable[[pathlib.Path], None]) -> None:
        """Has the film written in the folder, moves it to its place and removes the folder.

        Args:
            output: Its place, as at the beginning.
            write: Writes it to a path with the same extension.

        Raises:
            OSError: It cannot be written; the frames stay.
        """
        film = self.path / f"film{output.suffix}"
        try:
            write(film)
            files.move(film, output)
        except BaseException:
            film.unlink(missing_ok=True)
            raise
        shutil.rmtree(self.path, ignore_errors=True)

    def finish_folder(self, output: pathlib.Path) -> None:
        """Makes the frames themselves the result: moves them to a folder, which is not there or empty.

        Raises:
            OSError: They cannot be moved.
        """
        os.replace(self._frames, output)
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, index: int) -> pathlib.Path:
        return self._frames / f"{index + 1:06d}{_PICTURE}"


def rounded(picture: np.ndarray) -> np.ndarray:
    """Returns a picture [H, W, 3] in [0, 1] as a file with eight bits a channel holds it, float32."""
    return np.divide(pictures.to_uint8(picture), 255, dtype=np.float32)


def _empty(path: pathlib.Path) -> None:
    """Removes what is in a folder, which may be locked, but not the folder."""
    for each in path.iterdir() if path.is_dir() else ():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink()


def _check(path: pathlib.Path, before: Any, wanted: Mapping[str, Any], overwrite: bool) -> None:
    """Checks that what is there may be gone on with, or removed.

    Args:
        path: Of the folder.
        before: Its record; None where there is none.
        wanted: The record of this run.
        overwrite: Whether frames of another run may be removed.

    Raises:
        InputError: It may not.
    """
    names = os.listdir(path) if os.path.isdir(path) else [""]
    is_ours = all(name.startswith(_OURS) for name in names)
    if not is_ours or (_RECORD in names and not isinstance(before, dict)):
        raise errors.InputError(f"output: {path}, where finished frames go, is something else; rename it")
    if overwrite or before in (None, wanted):
        return
    name = next(name for name in sorted({*before, *wanted}) if before.get(name) != wanted.get(name))
    raise errors.InputError(
        f"output: {path} has frames of another run: {name} was {before.get(name)} and is {wanted.get(name)};"
        " use --overwrite to paint anew"
    )


def _record(path: pathlib.Path) -> Any:
    """Returns the record in a folder; None where there is none that can be read."""
    try:
        return json.loads((path / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
