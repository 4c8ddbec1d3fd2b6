"""The files that show how a run went: checked before it, fed while it goes on, written after it.

Importing this loads neither TensorFlow nor the optional libraries.
"""

import os
import pathlib
import typing
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.callbacks import figures, tensorboard
from nst_tf.callbacks.animation import Animation
from nst_tf.callbacks.snapshots import Snapshots
from nst_tf.io import files, pictures

if typing.TYPE_CHECKING:
    from nst_tf.callbacks.callback import Callback
    from nst_tf.engine.progress import TraceRow


class Outputs:
    """The files beside a result that a person asked for."""

    def __init__(
        self,
        output: pathlib.Path,
        *,
        save_every: int | None = None,
        animation: pathlib.Path | None = None,
        plot: pathlib.Path | None = None,
        comparison: pathlib.Path | None = None,
        logdir: pathlib.Path | None = None,
    ) -> None:
        """Says which; None leaves one out.

        Raises:
            InputError: A format is unknown, or a library is not installed.
        """
        named = {"animation": animation, "plot": plot, "comparison": comparison}
        self.files = {name: path for name, path in named.items() if path is not None}
        self._snapshots = None if save_every is None else Snapshots(output, save_every)
        self._animation = None if animation is None else Animation(animation)
        if plot is not None:
            figures.check_plot(plot)
        self._tensorboard = None if logdir is None else tensorboard.TensorBoard(logdir)
        self._comparison, self._logdir = comparison, logdir
        self._places: dict[str, os.PathLike[str]] = dict(self.files)  # until they have been checked
        self._compared: tuple[Image.Image | None, list[Image.Image]] = (None, [])

    def check(self, output: files.Place, taken: Mapping[str, pathlib.Path], overwrite: bool) -> None:
        """Finds out before a run whether everything can be written.

        Args:
            output: The result's place.
            taken: The run's inputs and other outputs, by name.
            overwrite: Whether files that exist may be replaced.

        Raises:
            InputError: It cannot, or would replace one of these.
        """
        for name, path in self.files.items():
            self._places[name] = pictures.check_file(path, overwrite, name)
        if self._animation is not None:
            self._animation.path = self._places["animation"]
        if self._comparison is not None:
            pictures.format_of(self._comparison, "comparison")
        if self._logdir is not None:
            _check_folder(self._logdir, overwrite)
        if self._snapshots is not None:
            _check_snapshots(self._snapshots, taken, overwrite)
            self._snapshots.place = output

    def keep(self, content: np.ndarray | None, styles: Sequence[np.ndarray]) -> None:
        """Keeps, small, what a comparison will show of the inputs: images [1, H, W, 3]."""
        if self._comparison is not None:
            self._compared = (
                None if content is None else figures.shrunk(content),
                [figures.shrunk(style) for style in styles],
            )

    def callbacks(self) -> list["Callback"]:
        """Returns what is to watch the run."""
        found: list[Callback | None] = [self._snapshots, self._animation, self._tensorboard]
        return [each for each in found if each is not None]

    def failed(self) -> bool:
        """Returns whether something could not be written during the run, of which a warning has told."""
        return any(each.failed for each in (self._snapshots, self._tensorboard) if each is not None)

    def write(self, image: np.ndarray, trace: Sequence["TraceRow"]) -> list[str]:
        """Writes the files that need the whole run; returns a line for each that could not be written.

        Args:
            image: The result, [H, W, 3] floats in [0, 1].
            trace: One row for each evaluation.
        """
        writers: dict[str, Callable[[os.PathLike[str]], None]] = {
            "animation": lambda _: self._animation.save(image) if self._animation else None,
            "plot": lambda path: figures.save_plot(trace, path),
            "comparison": lambda path: figures.save_comparison(image, *self._compared, path),
        }
        failures = []
        for name, path in self._places.items():
            try:
                writers[name](path)
            except (OSError, errors.InputError) as error:
                failures.append(f"{name}: {path} could not be written: {errors.one_line(error)}")
        return failures


def _check_folder(folder: pathlib.Path, overwrite: bool) -> None:
    """Checks that summaries can be written to a folder.

    Raises:
        InputError: They cannot, or there are some.
    """
    if not folder.exists():
        pictures.check_file(folder, overwrite, "logdir")
        return
    if not folder.is_dir():
        raise errors.InputError(f"logdir: {folder} is not a folder; name another")
    if not os.access(folder, os.W_OK):
        raise errors.InputError(f"logdir: the folder {folder} cannot be written to")
    if not overwrite and tensorboard.existing(folder):
        raise errors.InputError(
            f"logdir: {folder} holds the summaries of another run; name another folder, or use --overwrite to"
            " replace them"
        )


def _check_snapshots(snapshots: Snapshots, taken: Mapping[str, pathlib.Path], overwrite: bool) -> None:
    """Checks that snapshots replace no file that they should not.

    Raises:
        InputError: They may.
    """
    for name, path in taken.items():
        if snapshots.may_write(path):
            raise errors.InputError(f"save_every: {path} is the {name} too; rename it, or the output")
    if not overwrite and (found := snapshots.existing()):
        raise errors.InputError(f"save_every: {found[0]} exists; use --overwrite to replace it")
