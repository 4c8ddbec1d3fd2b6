"""Pictures of a run on its way, saved beside its result every so many steps.

They are all of the result's size, so that they can be leafed through; they carry no manifest and no alpha.
"""

import logging
import os
import pathlib
import re
import typing
from collections.abc import Callable, Collection, Sequence

import numpy as np

from nst_tf import errors
from nst_tf.callbacks import figures
from nst_tf.callbacks.callback import Callback
from nst_tf.config.scales import Scale
from nst_tf.io import files, pictures

if typing.TYPE_CHECKING:
    from nst_tf.engine.progress import Progress

_log = logging.getLogger(__name__)

# Digits of the step in a name, at least: names then sort as the steps do.
_DIGITS = 4


class Snapshots(Callback):
    """Saves the picture so far every so many steps: picture-step0020.png beside picture.png.

    A file that is there is replaced. One that cannot be written is a warning, and the run goes on.
    """

    def __init__(self, output: str | os.PathLike[str], every: int) -> None:
        """Says where and how often.

        Args:
            output: The result's own path, whose extension decides the format.
            every: Steps from one snapshot to the next, over all scales.

        Raises:
            InputError: The format is unknown, or `every` is not positive.
        """
        if every < 1:
            raise errors.InputError(f"save_every: {every}; allowed: 1 and above")
        self._every = every
        self._output = pathlib.Path(output)
        self.place: files.Place | None = None  # of the result, where it has been checked
        self.failed = False  # whether one could not be written
        pictures.format_of(self._output)
        self._last_scale: Scale | None = None
        self._digits = _DIGITS

    def on_begin(self, scales: Sequence[Scale], picture: Callable[[], np.ndarray]) -> Collection[int]:
        """Returns the steps to save at."""
        del picture
        num_steps = sum(scale.num_steps for scale in scales)
        self._last_scale, self._digits = scales[-1], max(_DIGITS, len(str(num_steps)))
        return range(self._every, num_steps + 1, self._every)

    def on_step(self, progress: "Progress") -> None:
        """Saves the picture, if it is time and there is one: a run that diverges has none."""
        picture = None if progress.step % self._every else progress.picture()
        if picture is None or self._last_scale is None or not np.isfinite(picture).all():
            return
        path = self.path(progress.step)
        try:
            shown = figures.resized(picture, self._last_scale.width, self._last_scale.height)
            place = path if self.place is None else self.place.with_name(path.name)
            pictures.write(np.asarray(shown, np.float32) / 255.0, place)
        except OSError as error:
            self.failed = True
            _log.warning("save_every: %s could not be written: %s", path, errors.one_line(error))

    def path(self, step: int) -> pathlib.Path:
        """Returns the file of a step."""
        name = f"{self._output.stem}-step{step:0{self._digits}d}{self._output.suffix}"
        return self._output.with_name(name)

    def may_write(self, path: pathlib.Path) -> bool:
        """Returns whether a path is one that a snapshot may have, of any step."""
        pattern = re.escape(self._output.stem) + r"-step\d+" + re.escape(self._output.suffix)
        same_folder = path.parent.resolve() == self._output.parent.resolve()
        return same_folder and re.fullmatch(pattern, path.name) is not None

    def existing(self) -> list[pathlib.Path]:
        """Returns the files that are there and that snapshots may replace."""
        return sorted(path for path in self._output.parent.iterdir() if self.may_write(path))
