"""Makes the thumbnails of the presets, which `nst_tf page` shows, from the sample pictures.

python tools/figures/thumbnails.py

That takes about five minutes on two cores; --only=gram makes gram.jpg alone.
"""

import pathlib

from absl import app, flags
from PIL import Image

import nst_tf
from nst_tf import runtime
from nst_tf.config import presets
from nst_tf.io import pictures
from nst_tf.page import thumbnails

_ONLY = flags.DEFINE_multi_string("only", [], "the presets to make; all unless named")

# The longest side: a third of a phone's width.
_SIDE = 128

# After so many steps pictures of this size show the preset's character.
_MOST_STEPS = 120


def _picture(preset: str) -> Image.Image:
    """Returns the sample photograph in a preset."""
    steps = min(sum(presets.get(preset).scales.steps), _MOST_STEPS)
    made = nst_tf.stylize("sample:town", "sample:strokes", preset=preset, size=_SIDE, steps=steps)
    return Image.fromarray(pictures.to_uint8(made.image))


def main(_: list[str]) -> None:
    """Makes them."""
    runtime.prepare_process()
    for preset in _ONLY.value or presets.PRESETS:
        path: pathlib.Path = thumbnails.path(preset)
        path.parent.mkdir(exist_ok=True)
        _picture(preset).save(path, quality=88)
        print(path)


if __name__ == "__main__":
    app.run(main)
