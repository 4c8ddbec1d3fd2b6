"""A run that no network is needed for: for those who watch runs."""

from collections.abc import Sequence

import numpy as np

from nst_tf.callbacks import callback
from nst_tf.config import scales
from nst_tf.engine.progress import Progress
from nst_tf.losses.values import Losses

# Two scales of a picture with an odd height.
SCALES = (scales.Scale(17, 24, 6, 0.5), scales.Scale(35, 48, 4, 1.0))


def picture(step: int, height: int, width: int) -> np.ndarray:
    """Returns a picture [H, W, 3] that changes quickly in the first steps of a run: grey, ever lighter."""
    return np.full((height, width, 3), 1 - 0.8 / (1 + step), np.float32)


def run(watching: Sequence[callback.Callback], diverges_at: int = 1000) -> None:
    """Tells observers of a run, a report after every step; from `diverges_at` on its pictures are NaN."""
    for observer in watching:
        observer.on_begin(SCALES, lambda: picture(0, *SCALES[0][:2]))
    step = 0
    for index, scale in enumerate(SCALES):
        for _ in range(scale.num_steps):
            step += 1
            shown = picture(step, scale.height, scale.width)
            if step >= diverges_at:
                shown = np.full_like(shown, np.nan)
            values = (Losses(10.0 / step, 4.0 / step, 6.0 / step, 0.0),)
            progress = Progress(index, SCALES, step, 10, values, lambda shown=shown: shown)  # type: ignore[misc]
            for observer in watching:
                observer.on_step(progress)
