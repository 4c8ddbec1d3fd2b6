"""Asks a served model for a picture: a photograph, painted like a painting.

python tools/request_stylization.py --server=grpc://localhost:8500 --content=photo.jpg --style=painting.jpg
    --output=picture.png

Without any setting the model paints with its own. With --preset or --progress, or any of --size, --num_steps,
--seed and the three weights, those not given come from the preset, "default" unless named. Name the one that
the server's model was exported from: a client cannot see it. With --progress, Ctrl-C keeps the picture so
far, and so does a server that fails on the way.
"""

import contextlib
import logging
import os
import pathlib
import sys
import time
from collections.abc import Sequence

import tool_flags
from absl import app, flags
from tqdm import tqdm

from nst_tf import client, errors, pictures, presets, runtime

_FLAGS = flags.FLAGS
flags.DEFINE_string("server", None, "grpc://HOST:8500, http://HOST:8501 or https://HOST")
flags.DEFINE_string("model", "nst", "the model's name on the server")
flags.DEFINE_integer("version", None, "the model's version; the newest unless given")
flags.DEFINE_string("content", None, "the photograph: a picture file")
flags.DEFINE_string("style", None, "the painting: a picture file")
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

# Settings by what they are called in a config.
_SETTINGS = {
    "steps": "num_steps",
    **{name: name for name in ("size", "seed", "content_weight", "style_weight", "total_variation_weight")},
}

# Plain lines at about every tenth of a run, as the command `nst_tf` has them.
_LINES = 10


class _Watch:
    """Shows a run in steps, saves its previews and keeps its last picture."""

    def __init__(self) -> None:
        self.last: client.Answer | None = None
        self._bar: tqdm | None = None
        self._next_line = 0.0

    def __call__(self, answer: client.Answer) -> None:
        self.last = answer
        if _FLAGS.previews:
            _path("previews").mkdir(exist_ok=True)
            pictures.write(answer.image, _path("previews") / f"step_{answer.step:04d}.png")
        # A terminal that has gone away is no reason to end a run.
        with contextlib.suppress(OSError, ValueError):
            self._show(answer, answer.step or 0, answer.num_steps or 0)

    def _show(self, answer: client.Answer, step: int, num_steps: int) -> None:
        height, width = answer.image.shape[:2]
        text = f"step {step} of {num_steps}, {width} x {height}: {_losses(answer.losses)}"
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
    settings = _settings()
    _check_flags()
    with runtime.quiet():
        client.check_server(_FLAGS.server)
    watch, start = _Watch(), time.perf_counter()
    try:
        answer = client.request_stylization(
            _FLAGS.server,
            _path("content"),
            _path("style"),
            model=_FLAGS.model,
            version=_FLAGS.version,
            settings=settings,
            on_progress=watch if _in_steps() else None,
            steps_now=client.STEPS_NOW if _FLAGS.steps_now is None else _FLAGS.steps_now,
            timeout_s=_FLAGS.timeout_s,
        )
    except BaseException as error:
        watch.close()
        if watch.last is None:
            raise
        _write(watch.last, start)
        if isinstance(error, KeyboardInterrupt):
            return _say("interrupted; the picture is the last preview", _EXIT_INTERRUPTED)
        raise
    watch.close()
    _write(answer, start)
    return 0


def _in_steps() -> bool:
    return bool(_FLAGS.progress or _FLAGS.previews or _FLAGS.steps_now is not None)


def _settings() -> client.Settings | None:
    """Returns the run's settings, or None if the model's own are to be used."""
    given = {field: _FLAGS[name].value for field, name in _SETTINGS.items() if _FLAGS[name].value is not None}
    if not (given or _FLAGS.preset or _in_steps()):
        return None
    chosen = presets.get(_FLAGS.preset or "default", **given)
    values = {name: getattr(chosen, field) for field, name in _SETTINGS.items()}
    return client.Settings(**values | {"num_steps": sum(chosen.steps)})


def _check_flags() -> None:
    """Finds out before anything is sent whether files are named and the results can be written.

    Raises:
        InputError: They are not, or cannot, or an input would be replaced.
    """
    wanted = {"server": "ADDRESS", "content": "FILE", "style": "FILE", "output": "FILE"}
    for name, what in wanted.items():
        if not _FLAGS[name].value:
            raise errors.InputError(f"--{name}={what} is missing; --help explains")
    output = _path("output")
    pictures.check_output(output, _FLAGS.overwrite)
    for name in ("content", "style"):
        if _path(name).resolve() == output.resolve():
            raise errors.InputError(f"output: {output} is the {name} too; name another file")
    if _FLAGS.previews:
        _check_previews(_path("previews"))


def _check_previews(folder: pathlib.Path) -> None:
    """Finds out whether previews can be written to a folder, which need not be there yet.

    Raises:
        InputError: They cannot, or would replace others.
    """
    if folder.is_dir():
        pictures.check_file(folder / "step_0000.png", True, "previews")
        if not _FLAGS.overwrite and any(folder.glob("step_*.png")):
            raise errors.InputError(f"previews: {folder} holds some already; use --overwrite to replace them")
    elif folder.exists():
        raise errors.InputError(f"previews: {folder} is a file; name a folder")
    else:
        pictures.check_file(folder, False, "previews")


def _path(name: str) -> pathlib.Path:
    """Returns the path that a flag names; a leading ~ is the home folder, which shells leave in a flag."""
    return pathlib.Path(os.path.expanduser(_FLAGS[name].value))


def _write(answer: client.Answer, start: float) -> None:
    """Writes the picture and says where it is and how it came about."""
    pictures.write(answer.image, _path("output"))
    height, width = answer.image.shape[:2]
    stopped = f" after {answer.step} of {answer.num_steps} steps" if answer.step != answer.num_steps else ""
    seconds = time.perf_counter() - start
    print(f"{_FLAGS.output}: {width} x {height} pixels{stopped}, {seconds:.0f} s; {_losses(answer.losses)}")


def _losses(losses: client.Losses) -> str:
    text = f"content {losses.content:.3g}, style {losses.style:.3g}"
    return f"{text}, total variation {losses.total_variation:.3g}" if losses.total_variation else text


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
