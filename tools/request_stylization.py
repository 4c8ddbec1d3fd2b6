"""Asks a served model for a picture: a photograph, painted like a painting or like several.

python tools/request_stylization.py --server=grpc://localhost:8500 --content=photo.jpg --style=painting.jpg
    --output=picture.png
python tools/request_stylization.py ... --style=one.jpg,two.jpg --style_blend_weights=3,7 --color=luminance

Without any setting the model paints with its own. With --preset or --progress, several styles, their weights
or --color, or any of --size, --num_steps, --seed and the three other weights, those not given come from the
preset, "default" unless named. Name the one that the server's model was exported from: a client cannot see
it. With --progress, Ctrl-C keeps the picture so far, and so does a server that fails on the way; it works
with one style and the model's own colours only.
"""

import logging
import os
import pathlib
import sys
import time
from collections.abc import Sequence

import tool_flags
from absl import app, flags
from requesting import files, settings, watching

from nst_tf import errors, runtime
from nst_tf.config.settings import COLORS
from nst_tf.io import inputs
from nst_tf.serving import client

_FLAGS = flags.FLAGS
flags.DEFINE_string("server", None, "grpc://HOST:8500, http://HOST:8501 or https://HOST")
flags.DEFINE_string("model", "nst", "the model's name on the server")
flags.DEFINE_integer("version", None, "the model's version; the newest unless given")
flags.DEFINE_string("content", None, "the photograph: a picture file")
flags.DEFINE_multi_string(
    "style", None, "the painting: a picture file; several with commas, or the flag several times"
)
flags.DEFINE_list(
    "style_blend_weights",
    None,
    "several styles: a weight for each, of which only the proportions count [equal]",
)
flags.DEFINE_string("color", None, f"whose colours: {', '.join(COLORS)} [the model's own choice]")
flags.DEFINE_string("output", None, "where to write the picture; the extension decides the format")
flags.DEFINE_boolean("overwrite", False, "replace files that exist")
flags.DEFINE_string("preset", None, "where settings that are not given come from: the server's own preset")
flags.DEFINE_integer("size", None, "the result's longest side in pixels")
flags.DEFINE_integer("num_steps", None, "steps in all")
flags.DEFINE_integer("seed", None, "seed of everything random")
flags.DEFINE_float("content_weight", None, "weight of the content loss")
flags.DEFINE_float("style_weight", None, "weight of the style loss")
flags.DEFINE_float("total_variation_weight", None, "weight of the total variation")
flags.DEFINE_boolean("progress", False, "ask for a few steps at a time and show how far it is")
flags.DEFINE_integer("steps_now", None, f"how many steps at a time [{client.STEPS_NOW}]; implies --progress")
flags.DEFINE_string("previews", None, "a folder for the picture after every call; implies --progress")
flags.DEFINE_float("timeout_s", client.TIMEOUT_S, "seconds without an answer after which to give up a call")

# 128 + SIGINT, as shells have it.
_EXIT_FAILED, _EXIT_INTERRUPTED = 1, 130


def main(argv: Sequence[str]) -> int:
    """Runs the tool with parsed flags and returns its exit code."""
    del argv
    try:
        return _request()
    except errors.InputError as error:
        tool_flags.fail(str(error))
    except client.ServerError as error:
        return _say(str(error), _EXIT_FAILED)
    except OSError as error:
        return _say(f"a picture could not be written: {error}", _EXIT_FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; no picture was written", _EXIT_INTERRUPTED)


def _say(line: str, exit_code: int) -> int:
    print(f"request_stylization: {line}", file=sys.stderr)
    return exit_code


def _request() -> int:
    """Checks everything that can be checked early, asks, writes, says where the picture is."""
    # Of requests that are repeated urllib3 says something in words of its own.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    given = {field: _FLAGS[name].value for field, name in settings.NAMES.items()}
    given = {field: value for field, value in given.items() if value is not None}
    set_all = bool(given or _FLAGS.preset or _in_steps() or _blended())
    chosen = settings.complete(given, _FLAGS.preset) if set_all else None
    weights, styles = settings.weights(_FLAGS.style_blend_weights), inputs.listed("style", _FLAGS.style or [])
    _check_flags(styles)
    with runtime.quiet():
        client.check_server(_FLAGS.server)
    watch, start = watching.Watch(_path("previews") if _FLAGS.previews else None), time.perf_counter()
    try:
        answer = client.request_stylization(
            _FLAGS.server,
            _path("content"),
            styles,
            style_blend_weights=weights,
            color=_FLAGS.color,
            model=_FLAGS.model,
            version=_FLAGS.version,
            settings=chosen,
            on_progress=watch if _in_steps() else None,
            steps_now=client.STEPS_NOW if _FLAGS.steps_now is None else _FLAGS.steps_now,
            timeout_s=_FLAGS.timeout_s,
        )
    except BaseException as error:
        watch.close()
        if watch.last is None:
            raise
        print(files.write(watch.last, _path("output"), time.perf_counter() - start))
        if isinstance(error, KeyboardInterrupt):
            return _say("interrupted; the picture is the last preview", _EXIT_INTERRUPTED)
        raise
    watch.close()
    print(files.write(answer, _path("output"), time.perf_counter() - start))
    return 0


def _in_steps() -> bool:
    return bool(_FLAGS.progress or _FLAGS.previews or _FLAGS.steps_now is not None)


def _blended() -> bool:
    several = len(inputs.listed("style", _FLAGS.style or [])) > 1
    return several or _FLAGS.style_blend_weights is not None or _FLAGS.color is not None


def _check_flags(styles: Sequence[pathlib.Path]) -> None:
    """Finds out before anything is sent whether files are named and the results can be written.

    Raises:
        InputError: They are not, or cannot, or an input would be replaced.
    """
    wanted = {"server": "ADDRESS", "content": "FILE", "style": "FILE", "output": "FILE"}
    for name, what in wanted.items():
        if not _FLAGS[name].value or _FLAGS[name].value == [""]:
            raise errors.InputError(f"--{name}={what} is missing; --help explains")
    if _in_steps() and _blended():
        raise errors.InputError(
            "progress: a run in steps takes one style, no --style_blend_weights and no --color; leave these"
            " out, or --progress, --steps_now and --previews"
        )
    named = [("content", _path("content")), *(("style", path) for path in styles)]
    files.check_output(_path("output"), _FLAGS.overwrite, named)
    if _FLAGS.previews:
        files.check_previews(_path("previews"), _FLAGS.overwrite)


def _path(name: str) -> pathlib.Path:
    """Returns the path that a flag names; a leading ~ is the home folder, which shells leave in a flag."""
    return pathlib.Path(os.path.expanduser(_FLAGS[name].value))


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
