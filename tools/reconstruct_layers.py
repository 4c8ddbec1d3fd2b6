"""Draws what each layer of the network keeps of a photograph and of a painting.

python tools/reconstruct_layers.py --content=photo.jpg --style=painting.jpg --output=figure.png

That is figure 1 of Gatys, Ecker, Bethge 2015 (arXiv:1508.06576). Above: the photograph, made again from noise
by the features of one layer alone. Below: textures with the painting's Gram matrices of more and more layers.
One of the two pictures is enough for its row. It takes some minutes.

Every flag of nst_tf that rows and columns do not set may be given, such as --size [192], --steps [100],
--preset [gatys2015], --weights, --precision, --seed and --overwrite; nst_tf --help lists them.
"""

import logging
import os
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tool_flags
from absl import app, flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags
from nst_tf.config import presets
from nst_tf.io import pictures

_FLAGS = flags.FLAGS

# The paper's formulation.
_PRESET = "gatys2015"
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Checks, paints, writes."""
    del argv
    # TensorFlow warns of every new graph, and each picture has its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        tool_flags.refuse([*tool_flags.OF_ONE_RUN, "config"], "the figure has many runs")
        if not (_FLAGS.content or _FLAGS.style):
            raise errors.InputError("--content=FILE and --style=FILE are both missing; name one at least")
        if not _FLAGS.output:
            raise errors.InputError("--output=FILE is missing: where to write the figure")
        output = pathlib.Path(os.path.expanduser(_FLAGS.output))
        pictures.check_output(output, _FLAGS.overwrite)
        changes, preset = run_flags.overrides(), _FLAGS.preset if _FLAGS["preset"].present else _PRESET
        presets.get(preset, **changes)  # mistakes are found before TensorFlow is loaded, which takes seconds
        runtime.use_tensorflow_backend()
        with runtime.quiet():
            from reconstructing import rows
        tool_flags.refuse(rows.FIXED, "rows and columns of the figure set it")
        given = {name: _FLAGS[name].value for name in ("content", "style") if _FLAGS[name].value}
        figure = rows.figure([rows.Row(name, _path(name), preset, changes) for name in given])
        pictures.write(np.asarray(figure, np.float32) / 255.0, output)
    except (errors.InputError, OSError) as error:
        tool_flags.fail(str(error))
    except KeyboardInterrupt:
        print("reconstruct_layers: interrupted; nothing was written", file=sys.stderr)
        return _EXIT_INTERRUPTED
    print(f"{output}: {figure.width} x {figure.height} pixels")
    return 0


def _path(name: str) -> str:
    """Returns the one file that a flag names."""
    value = _FLAGS[name].value
    return os.path.expanduser(",".join(value) if isinstance(value, list) else value)


if __name__ == "__main__":
    runtime.settle_process()
    sys.exit(app.run(main, flags_parser=tool_flags.parse))
