"""Trains the project's own VGG19 features and writes the file that --weights=builtin reads.

python tools/features/train.py --images=pictures --output=nst_tf/data/vgg19_builtin.npz --minutes=60

Pictures in FOLDER/set/class/ belong to a class; those in FOLDER/set/ to none. The network learns to classify
crops, to find a place again in a second view of it, and, with --picture_weight, to tell which picture a crop
is from. The run is kept beside the output (--run): the same command continues a run that was killed, and with
more --minutes one that ended. Runs on any backend of Keras 3: set KERAS_BACKEND to tensorflow, jax or torch.
"""

import dataclasses
import hashlib
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from nst_tf import errors, runtime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the folder of the tools
import tool_flags

_FLAGS = flags.FLAGS
flags.DEFINE_string("images", None, "the folder of pictures to learn from")
flags.DEFINE_string("output", None, "the .npz file to write")
flags.DEFINE_string("run", None, "the folder to keep the run in [the output's name with .run]")
flags.DEFINE_float("minutes", 60.0, "how long to train in all, after the first filters", 0.01)
flags.DEFINE_float("width", 0.5, "share of VGG19's filters that each convolution gets", 1 / 64, 1.0)
flags.DEFINE_list(
    "crops",
    ["64", "64", "64", "96"],
    "sides of crops in pixels, multiples of 16; each for an equal share of the time",
)
flags.DEFINE_integer(
    "window", 112, "side of the windows that crops are cut out of; smaller pictures are enlarged", 16
)
flags.DEFINE_integer(
    "slow_pictures", 400, "pictures that the first filters are computed from; 0: random filters", 0
)
flags.DEFINE_integer("batch", 64, "crops in a step, two of each place", 2)
flags.register_validator("batch", lambda batch: batch % 2 == 0, "it is odd; allowed: an even number")
flags.DEFINE_integer("round_steps", 50, "steps between two checkpoints", 1)
flags.DEFINE_float("learning_rate", 0.05, "of SGD, for a batch of 256; it falls along a cosine", 0.0)
flags.DEFINE_float("picture_weight", 0.0, "weight of telling the picture that a crop is from", 0.0)
flags.DEFINE_float("folder_weight", 1.0, "weight of telling the class of the picture", 0.0)
flags.DEFINE_float("contrast_weight", 0.25, "weight of telling places apart, for each of four layers", 0.0)
flags.DEFINE_enum(
    "precision",
    "auto",
    ["auto", "float32", "mixed_bfloat16"],
    "arithmetic; auto: mixed_bfloat16 on a processor with instructions for it, else float32; name it for an"
    " accelerator",
)
flags.DEFINE_integer("workers", 1, "threads that cut windows; 8 for an accelerator", 1)
flags.DEFINE_integer("seed", 0, "of the initial weights, crops and colours", 0)

_MEGABYTE = 1e6


def main(argv: Sequence[str]) -> int:
    """Loads, trains, packs, writes."""
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On processors without AVX-512 TensorFlow leaves oneDNN off, which trains a fifth fewer crops a second.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    output = _output()
    crops = _crops()
    from features import dataset, network, packing, training  # they load Keras

    try:
        start = time.monotonic()
        pictures = dataset.load(_FLAGS.images, _FLAGS.window)
        print(
            f"{len(pictures.pictures)} pictures, {len(pictures.folder_names)} classes,"
            f" loaded in {time.monotonic() - start:.0f} s; computing in {_precision()}",
            flush=True,
        )
        resolved: dict[str, Any] = {"crops": crops, "precision": _precision()}
        own = [field.name for field in dataclasses.fields(training.Settings) if field.name not in resolved]
        settings = training.Settings(**resolved, **{name: _FLAGS[name].value for name in own})
        run = pathlib.Path(_FLAGS.run) if _FLAGS.run else output.with_suffix(".run")
        model, progress = training.train(pictures, settings, run)
    except errors.InputError as error:
        tool_flags.fail(str(error))
    about = training.describe(pictures, settings, progress)
    contents = packing.pack(network.fold(model), network.PREPROCESSING, about)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(contents)
    print(f"{output}: {len(contents) / _MEGABYTE:.1f} MB, SHA-256 {hashlib.sha256(contents).hexdigest()}")
    return 0


def _output() -> pathlib.Path:
    """Returns the file to write; refuses bad flags before hours are spent."""
    if not _FLAGS.images:
        tool_flags.fail("--images is missing: the folder of pictures to learn from")
    if not _FLAGS.output or not _FLAGS.output.endswith(".npz"):
        tool_flags.fail(f"--output={_FLAGS.output or ''}; allowed: a file that ends in .npz")
    return pathlib.Path(_FLAGS.output)


def _precision() -> str:
    """Returns the type of the arithmetic: emulated bfloat16 is far slower than float32."""
    if _FLAGS.precision != "auto":
        return str(_FLAGS.precision)
    return "mixed_bfloat16" if runtime.has_bfloat16_instructions() else "float32"


def _crops() -> tuple[int, ...]:
    """Returns the sides of crops, each a multiple of the network's stride."""
    try:
        crops = tuple(int(crop) for crop in _FLAGS.crops)
    except ValueError:
        crops = ()
    if not crops or any(crop < 16 or crop % 16 for crop in crops):
        tool_flags.fail(f"--crops={','.join(_FLAGS.crops)}; allowed: multiples of 16, such as 64,96")
    return crops


if __name__ == "__main__":
    sys.exit(app.run(main, flags_parser=tool_flags.parse))
