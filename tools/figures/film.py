"""Makes the film of the README: the sample town panned, and beside it painted, without flicker.

python tools/figures/film.py

That takes about two minutes on two cores.
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from PIL import Image

import nst_tf
from nst_tf import runtime, video
from nst_tf.io import pictures

_OUTPUT = flags.DEFINE_string("output", "tools/figures/pictures/film.webp", "the file to write to")
_COUNT = flags.DEFINE_integer("frames", 16, "how many are painted", lower_bound=2)

# Of each of the two pictures, as large as those of the preset.
_PRESET, _WIDTH, _HEIGHT, _GAP = "draft", 256, 160, 8
# A sixth of the preset's work would be two steps, which leave what comes into sight unpainted.
_FRAME_STEPS = 6
# How much of the town's width a frame shows, so that some 4 pixels come into sight with each.
_SHARE = 0.8
_MILLISECONDS = 83  # that a frame is shown: twelve a second

# By eye: at 40 strokes are smeared. The most that the README may load is 1 MB.
_QUALITY = 60


def _frames() -> list[np.ndarray]:
    """Returns frames [H, W, 3] uint8 of the town, seen through a window that moves to the right."""
    town = Image.fromarray(pictures.to_uint8(pictures.read("sample:town")[0]))
    width = _SHARE * town.width
    height = width * _HEIGHT / _WIDTH
    top = (town.height - height) / 2
    made = []
    for number in range(_COUNT.value):
        left = (town.width - width) * number / (_COUNT.value - 1)
        box = (left, top, left + width, top + height)
        made.append(np.asarray(town.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS, box)))
    return made


def _painted(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the frames painted, [H, W, 3] uint8."""
    made = []
    painted = video.stylize_frames(
        frames, "sample:strokes", preset=_PRESET, size=_WIDTH, frame_steps=_FRAME_STEPS, cuts=()
    )
    for picture in painted:
        made.append(pictures.to_uint8(picture))
        print(f"\rframe {len(made)} of {len(frames)}  ", end="", file=sys.stderr, flush=True)
    return made


def _beside(one: np.ndarray, other: np.ndarray) -> Image.Image:
    """Returns two pictures side by side."""
    gap = np.full((_HEIGHT, _GAP, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([one, gap, other], axis=1))


def main(_: list[str]) -> int:
    """Makes it."""
    runtime.prepare_process()
    try:
        frames = _frames()
        first, *others = map(_beside, frames, _painted(frames))
        path = pathlib.Path(_OUTPUT.value)
        shown = [*others, *others[-2::-1]]  # to the right and back, without a jump
        first.save(
            path,
            save_all=True,
            append_images=shown,
            duration=_MILLISECONDS,
            loop=0,
            quality=_QUALITY,
            method=6,
        )
    except (nst_tf.InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    app.run(main)
