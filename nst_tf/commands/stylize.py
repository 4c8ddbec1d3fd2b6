"""The command `nst_tf`: flags -> config -> `stylize` -> a picture on disk.

Loads TensorFlow only once flags and files have been found good.
"""

import io
import logging
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags
from nst_tf.config import config, presets, settings

_FLAGS = flags.FLAGS

# 128 + SIGINT, as shells have it.
_EXIT_INTERRUPTED = 130
_EXIT_CODES = {"finished": 0, "stopped": _EXIT_INTERRUPTED, "diverged": 1}

# Flags that name pictures of where the style goes.
_REGION_FLAGS = ("content_mask", "content_regions", "style_regions")

# Flags that name the files and the folder that show how a run went.
_SHOWN_IN = ("animation", "plot", "comparison", "logdir")


class _Interrupt:
    """Ctrl-C during a run: the first one asks it to stop, a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def watch(self) -> None:
        """Takes over the signal, once there is a picture to save."""
        if self._before is None and not self.asked:
            self._before = signal.signal(signal.SIGINT, self._ask)

    def restore(self) -> None:
        """Gives the signal back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _ask(self, *_: object) -> None:
        self.asked = True
        self.restore()


def main(argv: Sequence[str]) -> int:
    """Runs the command with parsed flags and returns its exit code."""
    del argv
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding lacks must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _list_presets() if _FLAGS.list_presets else _stylize()
    except errors.InputError as error:
        print(f"nst_tf: {_printable(str(error))}", file=sys.stderr)
        return run_flags.EXIT_MISTAKE
    except KeyboardInterrupt:
        print("nst_tf: interrupted; nothing was written", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _printable(text: str) -> str:
    """Returns the text on one line: what is not printable, as in some files' names, is escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _stylize() -> int:
    """Checks everything that can be checked early, paints, writes, says where the picture is."""
    with runtime.quiet():
        repeated, chosen, given, shown = _checked()
    if chosen.network.convolution != "direct":
        runtime.use_onednn()
    runtime.use_tensorflow_backend()
    _show_warnings()
    with runtime.quiet():
        from nst_tf import api
        from nst_tf.callbacks import report
        from nst_tf.io import manifest

    bar, interrupt = report.ProgressBar(), _Interrupt()

    def on_progress(progress: Any) -> bool:
        interrupt.watch()
        bar(progress)
        return interrupt.asked

    start = time.perf_counter()
    result = api.stylize(
        given.content,
        given.styles,
        preset=chosen,
        on_progress=on_progress,
        callbacks=shown.callbacks(),
        **{name: getattr(given, name) for name in _REGION_FLAGS},
    )
    bar.close()
    try:
        result.save(_path("output"))
        if _FLAGS.trace:
            report.write_trace(result.trace, _path("trace"))
    except OSError as error:
        print(f"nst_tf: the picture could not be written: {error}", file=sys.stderr)
        return 1
    failures = shown.write(result.image, result.trace)
    interrupt.restore()
    for line in manifest.differences(repeated, result.manifest) if repeated else ():
        print(f"nst_tf: {line}: the picture is not the same", file=sys.stderr)
    print(_summary(result, time.perf_counter() - start, report.describe_losses))
    if result.outcome == "diverged":
        print(f"nst_tf: {_divergence(result)}", file=sys.stderr)
    for line in failures:
        print(f"nst_tf: {line}", file=sys.stderr)
    return _EXIT_CODES[result.outcome] or int(bool(failures))


def _checked() -> tuple[dict[str, Any] | None, config.Config, Any, Any]:
    """Returns the manifest to repeat, if any, the run's config, inputs, and `Outputs` beside its result.

    Finds out all that can be found out before TensorFlow is loaded, which takes seconds.

    Raises:
        InputError: Something given cannot be used.
    """
    from nst_tf.callbacks import outputs
    from nst_tf.io import inputs, manifest

    changes, repeated = run_flags.overrides(), None
    if _FLAGS.config:
        repeated = manifest.read(_path("config"))
    chosen = presets.get(_base(repeated), **changes)
    _check_files_named(chosen)
    shown = outputs.Outputs(_path("output"), save_every=_FLAGS.save_every, **_paths(_SHOWN_IN))
    given = _given(chosen)
    _check_outputs(chosen, given, shown)
    inputs.read(given, chosen, changes)  # as the run will once more
    return repeated, chosen, given, shown


def _given(chosen: config.Config) -> Any:
    """Returns the `InputPaths` of the flags."""
    from nst_tf.io import inputs

    several = {name: inputs.listed(name, _FLAGS[name].value or []) for name in ("style", "style_regions")}
    single = _paths(("content", "content_mask", "content_regions"))
    init = None if chosen.start.init in settings.INITS else pathlib.Path(chosen.start.init)
    return inputs.InputPaths(
        styles=several["style"], style_regions=several["style_regions"], init=init, **single
    )


def check() -> config.Config:
    """Checks the flags, as `main` does before it loads TensorFlow; returns the config that they make.

    Raises:
        InputError: Something given cannot be used.
    """
    with runtime.quiet():
        return _checked()[1]


def _path(name: str) -> pathlib.Path:
    """Returns the path that a flag names; a leading ~ is the home folder, which shells leave in a flag."""
    return pathlib.Path(os.path.expanduser(_FLAGS[name].value))


def _paths(names: Sequence[str]) -> dict[str, pathlib.Path | None]:
    """Returns the path that each of some flags names, None where it is not given."""
    return {name: _path(name) if _FLAGS[name].value else None for name in names}


def _list_presets() -> int:
    print(_presets_table())
    return 0


def _base(repeated: dict[str, Any] | None) -> str | config.Config:
    """Returns what the run starts from: a preset's name, or the config in a manifest."""
    if repeated is None:
        return str(_FLAGS.preset)
    from nst_tf.io import manifest

    chosen = manifest.to_config(repeated, _path("config"))
    return manifest.find_weights(chosen, os.environ.get(presets.WEIGHTS_VARIABLE))


def _check_outputs(chosen: config.Config, given: Any, shown: Any) -> None:
    """Finds out before the run whether everything it writes can be written after it, and where to.

    Raises:
        InputError: It cannot, or would replace an input or another output, or would be empty.
    """
    from nst_tf.io import manifest, pictures

    for name in ("trace", "save_every", "animation", "plot", "logdir"):
        if _FLAGS[name].value and not chosen.takes_steps():
            raise errors.InputError(f"{name}: with --color={chosen.color.mode} there are no steps to show")
    output = _path("output")
    pictures.check_output(output, _FLAGS.overwrite)
    pictures.check_file(manifest.sidecar(output), _FLAGS.overwrite)
    written = {"output": output, "manifest": manifest.sidecar(output)}
    if _FLAGS.trace:
        written["trace"] = _path("trace")
        pictures.check_file(written["trace"], _FLAGS.overwrite, "trace")
    written |= shown.files
    inputs = dict(given.files())
    taken = {path.resolve(): name for name, path in inputs.items()}
    for name, path in written.items():
        other = taken.setdefault(path.resolve(), name)
        if other != name:
            raise errors.InputError(f"{name}: {path} is the {other} too; name another file")
    shown.check(inputs | written, _FLAGS.overwrite)
    shown.read(given.content, given.styles)


def _check_files_named(chosen: config.Config) -> None:
    """Checks that the files a run needs are named: pictures without weight are not needed."""
    needed = {"content": chosen.content.weight, "style": chosen.style.weight, "output": True}
    for name, what in (("content", "photograph"), ("style", "painting"), ("output", "picture")):
        if needed[name] and _FLAGS[name].value in (None, "", [], [""]):
            raise errors.InputError(f"--{name}=FILE is missing: which {what}? --help explains")
    if not (_FLAGS.content or _FLAGS.style):
        raise errors.InputError("--content=FILE and --style=FILE are both missing; name one at least")


def _presets_table() -> str:
    """Returns what --list_presets prints: name, cost relative to the default, source, character."""
    lines = [f"{'preset':<20} {'cost':>5}  source and character"]
    for name, preset in presets.PRESETS.items():
        cost = presets.relative_cost(name)
        lines.append(f"{name:<20} {cost:>5.{0 if cost >= 10 else 1}f}  {preset.source}")
        lines.append(f"{'':<20} {'':>5}  {preset.character}")
    return "\n".join(lines)


def _summary(result: Any, seconds: float, describe: Callable[[Any], str]) -> str:
    """Returns the line that says where the picture is and how it came about."""
    height, width = result.image.shape[:2]
    if not result.trace:
        return f"{_FLAGS.output}: {width} x {height} pixels recoloured, {seconds:.0f} s"
    done = {"finished": "in", "stopped": "stopped after", "diverged": "given up after"}[result.outcome]
    return (
        f"{_FLAGS.output}: {width} x {height} pixels {done} {len(result.trace)} steps, {seconds:.0f} s;"
        f" {describe(result.losses)}; {result.manifest['weights']['name']} weights,"
        f" {result.config.network.precision}"
    )


def _divergence(result: Any) -> str:
    """Returns why the loss of a run probably became infinite or NaN, and what to do."""
    saved = "the loss became infinite or NaN; the picture saved is the last good one"
    if result.config.optimizer.name == "lbfgs" or len(result.trace) <= 1:
        return f"{saved}. Weights so large that the loss overflows are the likely cause: make them smaller"
    rate = result.config.optimizer.learning_rate
    return f"{saved}. A learning rate of {rate:g} is the likely cause: try --learning_rate={rate / 10:g}"


def _show_warnings() -> None:
    """Shows this package's warnings as plain lines on standard error."""
    logger = logging.getLogger("nst_tf")
    if logger.propagate:  # once only, however many pictures this process paints
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False


def run() -> None:
    """The entry point."""
    runtime.settle_memory()  # until a run finds that memory is too short for that
    app.run(main, flags_parser=run_flags.parse)
