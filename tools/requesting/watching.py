"""Somebody who watches a run in steps: shows how far it is, saves its previews, keeps its last picture."""

import contextlib
import pathlib
import sys

from tqdm import tqdm

from nst_tf.io import pictures
from nst_tf.serving import client
from requesting import files

# Plain lines at about every tenth of a run, as the command `nst_tf` has them.
_LINES = 10


class Watch:
    """Takes the answers on the way; `last` is the last of them."""

    def __init__(self, previews: pathlib.Path | None) -> None:
        """Takes the folder for the pictures on the way, which is made for the first; None saves none."""
        self.last: client.Answer | None = None
        self._previews = previews
        self._bar: tqdm | None = None
        self._next_line = 0.0

    def __call__(self, answer: client.Answer) -> None:
        """Takes an answer, for `client.request_stylization`."""
        self.last = answer
        if self._previews:
            self._previews.mkdir(exist_ok=True)
            pictures.write(answer.image, self._previews / f"step_{answer.step:04d}.png")
        # A terminal that has gone away is no reason to end a run.
        with contextlib.suppress(OSError, ValueError):
            self._show(answer, answer.step or 0, answer.num_steps or 0)

    def _show(self, answer: client.Answer, step: int, num_steps: int) -> None:
        height, width = answer.image.shape[:2]
        text = f"step {step} of {num_steps}, {width} x {height}: {files.describe(answer.losses)}"
        if sys.stderr.isatty():
            layout = "{percentage:3.0f}%|{bar}| {elapsed}{postfix}"
            if self._bar is None:
                self._bar = tqdm(total=num_steps, bar_format=layout, dynamic_ncols=True, leave=False)
            self._bar.n = step
            self._bar.set_postfix_str(text)  # shows it
        elif step >= self._next_line or step == num_steps:
            self._next_line = step + num_steps / _LINES
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the terminal's line."""
        if self._bar is not None:
            self._bar.close()
