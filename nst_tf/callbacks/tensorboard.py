"""A run as TensorBoard summaries: the losses of every step, and some pictures.

TensorFlow writes them, with code that TensorBoard has; both are loaded when a run begins.
"""

import importlib.util
import logging
import os
import pathlib
import typing
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from nst_tf import errors, runtime
from nst_tf.callbacks import callback
from nst_tf.config.scales import Scale

if typing.TYPE_CHECKING:
    from nst_tf.engine.progress import Progress

_log = logging.getLogger(__name__)

# As TensorBoard names its files.
_PATTERN = "events.out.tfevents.*"

# TensorBoard shows ten pictures of a series unless it is told otherwise, chosen at random from more.
_MAX_PICTURES = 10


class TensorBoard(callback.Callback):
    """Writes TensorBoard summaries of a run while it goes on. A folder holds one run."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Says where to; the folder is made when the run begins, in one that there is.

        Args:
            folder: Summaries of an earlier run in it are removed then: TensorBoard would draw both as one.

        Raises:
            InputError: TensorBoard is not installed.
        """
        if importlib.util.find_spec("tensorboard") is None:
            raise errors.InputError(f"logdir: it needs tensorboard: {runtime.install('tensorboard')}")
        self.failed = False  # whether something could not be written
        self._folder = pathlib.Path(folder)
        self._writer: typing.Any = None
        self._steps: frozenset[int] = frozenset()

    def on_begin(self, scales: Sequence[Scale], picture: Callable[[], np.ndarray]) -> Collection[int]:
        """Writes the first picture; returns the steps at which others are due."""
        self._guarded(self._remove_existing)
        self._guarded(self._open)
        self._guarded(lambda: self._write_picture(picture(), 0))
        return self._choose_steps(scales)

    def on_resume(
        self,
        scales: Sequence[Scale],
        picture: Callable[[], np.ndarray],
        step: int,
        kept: Mapping[str, np.ndarray],
    ) -> Collection[int]:
        """Adds to the summaries that are there: steps that come again have the same values."""
        del picture, kept
        if not existing(self._folder):
            _log.warning("logdir: the steps before %d are missing: %s has no summaries", step, self._folder)
        self._guarded(self._open)
        return self._choose_steps(scales)

    def _choose_steps(self, scales: Sequence[Scale]) -> Collection[int]:
        steps = callback.report_steps(scales)
        every = -(-len(steps) // (_MAX_PICTURES - 1))
        self._steps = frozenset(steps[::-1][::every])  # backwards, so that the last is among them
        return self._steps

    def on_step(self, progress: "Progress") -> None:
        """Writes the losses since the last report, and the picture if it is due."""
        self._guarded(lambda: self._write(progress))

    def _open(self) -> None:
        import tensorflow as tf

        self._folder.mkdir(exist_ok=True)
        self._writer = tf.summary.create_file_writer(str(self._folder))

    def _remove_existing(self) -> None:
        for path in existing(self._folder):
            path.unlink()

    def _write(self, progress: "Progress") -> None:
        if self._writer is None:
            return
        from tensorflow import summary

        first = progress.step - len(progress.losses) + 1
        with self._writer.as_default():
            for step, losses in enumerate(progress.losses, start=first):
                for term, value in losses._asdict().items():
                    summary.scalar(f"losses/{term}", value, step=step)
                summary.scalar("scale", progress.scale_index + 1, step=step)
        if progress.step in self._steps:
            self._write_picture(progress.picture(), progress.step)
        self._writer.flush()

    def _write_picture(self, picture: np.ndarray, step: int) -> None:
        from tensorflow import summary

        if self._writer is not None and np.isfinite(picture).all():
            with self._writer.as_default():
                summary.image("picture", picture[np.newaxis], step=step)

    def _guarded(self, write: Callable[[], None]) -> None:
        """Writes; what cannot be written is a warning once, and the run goes on without summaries."""
        from tensorflow.errors import OpError

        try:
            write()
        except (OSError, OpError) as error:
            self._writer, self.failed = None, True
            why = errors.one_line(error).rpartition("}} ")[2]  # without the name of TensorFlow's operation
            _log.warning("logdir: %s cannot be written to: %s", self._folder, why)


def existing(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files with summaries in a folder."""
    return sorted(folder.glob(_PATTERN))
