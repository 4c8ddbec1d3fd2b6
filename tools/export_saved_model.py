"""Exports the whole optimisation loop as a SavedModel that TensorFlow Serving serves.

python tools/export_saved_model.py --output=saved_models/nst --precision=float32

A preset's L-BFGS history above 10 is shortened to 10, since a client carries the pairs between two requests.
The limits of a request bound a server's memory: see "Serve it" in README.md.
"""

from collections.abc import Sequence

import tool_flags
from absl import app, flags, logging

from nst_tf import errors, runtime
from nst_tf.config import presets

_FLAGS = flags.FLAGS
flags.DEFINE_string("output", "saved_models/nst", "the model's folder; its name is the model's name")
flags.DEFINE_integer("version", None, "the version's number; the next free one unless given")
flags.DEFINE_string("preset", "default", "the formulation; nst_tf --list_presets lists them")
flags.DEFINE_integer("size", None, "longest side of a result in pixels; as the preset unless given")
flags.DEFINE_integer("steps", None, "evaluations in all; as the preset unless given")
flags.DEFINE_integer("history", None, "pairs that L-BFGS remembers, at most 10; as the preset unless given")
flags.DEFINE_string("weights", None, "VGG19 weights, as for nst_tf")
flags.DEFINE_string("precision", None, "type of the convolutions, float32 or bfloat16: what suits the server")
flags.DEFINE_integer(
    "max_pixels", None, "pixels of the largest result; 1024 x 1024 or size x size unless given"
)
flags.DEFINE_integer("max_steps", None, "steps of the longest run; 6000 unless given")


def main(argv: Sequence[str]) -> int:
    """Writes the version folder and says where it is."""
    del argv
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every file that it writes
    if not _FLAGS.precision:
        tool_flags.fail(
            "--precision is missing; allowed: float32, or bfloat16 for a server with instructions for it"
        )
    changes = {
        name: _FLAGS[name].value
        for name in ("size", "steps", "history", "weights", "precision")
        if _FLAGS[name].value is not None
    }
    try:
        chosen = presets.get(_FLAGS.preset, **changes)
        runtime.use_tensorflow_backend()
        try:
            with runtime.quiet():
                from nst_tf.serving import export
        except ImportError as error:
            raise errors.InputError(
                f"{error}; install what serving needs: pip install '.[serving]'"
            ) from None
        note = ""
        if chosen.optimizer.history > export.MAX_HISTORY and _FLAGS.history is None:
            note = f"; history {chosen.optimizer.history} shortened to {export.MAX_HISTORY}"
            chosen = presets.get(chosen, history=export.MAX_HISTORY)
        default = export.default_limits(chosen)
        limits = default._replace(
            max_pixels=default.max_pixels if _FLAGS.max_pixels is None else _FLAGS.max_pixels,
            max_steps=default.max_steps if _FLAGS.max_steps is None else _FLAGS.max_steps,
        )
        folder = export.export(chosen, _FLAGS.output, limits=limits, version=_FLAGS.version)
    except errors.InputError as error:
        tool_flags.fail(str(error))
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    bounds = f"results up to {limits.max_pixels} pixels and {limits.max_steps} steps"
    print(f"{folder}: {megabytes:.0f} MB; {bounds}{note}")
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
