"""The command `request`: pictures and settings -> a model server -> a picture on disk."""

import dataclasses
import logging
import os
import pathlib
import sys
import time
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import server_flags, terminal
from nst_tf.config import presets
from nst_tf.config.scales import Scale
from nst_tf.config.settings import COLORS, OUTSIDES
from nst_tf.io import paths

if typing.TYPE_CHECKING:
    from nst_tf.io.files import Place
    from nst_tf.serving.checkpoints import Checkpoint, Kept
    from nst_tf.serving.client import Answer, Settings

INTRODUCTION = """Asks a served model for a picture: a photograph, painted like a painting or like several.

  nst_tf request --server=grpc://localhost:8500 --content=photo.jpg --style=painting.jpg \\
    --output=picture.png
  nst_tf request ... --style=one.jpg,two.jpg --style_blend_weights=3,7 --color=luminance
  nst_tf request ... --content_mask=mask.png
  nst_tf request ... --progress     # and then, whatever ended it: nst_tf request ... --progress --resume

Without any setting the model paints with its own. With --preset, a run in parts, several styles, their
weights, --color, a mask or regions, or any of --size, --num_steps, --seed and the three other weights, those
not given come from the preset, "default" unless named. Name the one that the server's model was exported
from: a client cannot see it. --progress, --steps_now, --previews, --checkpoint_every and --resume make a run
in parts. Then Ctrl-C keeps the picture so far, as does a server that fails on the way, and the state of the
run is kept in OUTPUT.checkpoint, from which --resume goes on with any server of the same model.

A server behind a gateway may want TLS and a key, which comes from the environment and is never shown:

  nst_tf request --server=https://HOST --ca_file=ca.pem --header='authorization=Bearer $TOKEN' ...
"""

_NAME = "request"

# The flags by type, with their help; in brackets what `serving.client` has where they are not given.
_STRINGS: Mapping[str, str] = {
    "content": "the photograph: a picture file",
    "color": f"whose colours: {', '.join(COLORS)} [the model's own choice]",
    "content_mask": "a grey picture of the photograph's shape: style only where white",
    "content_regions": "the photograph's regions in flat colours, each with a style of its own",
    "outside": f"the photograph outside mask and regions: {', '.join(OUTSIDES)} [the model's own choice]",
    "output": "where to write the picture; the extension decides the format",
    "preset": "where settings that are not given come from: the server's own preset",
    "previews": "a folder for the picture after every call; implies --progress",
}
_INTEGERS: Mapping[str, str] = {
    "size": "the result's longest side in pixels",
    "num_steps": "steps in all",
    "seed": "seed of everything random",
    "steps_now": "how many steps at a time [10]; implies --progress",
}
_FLOATS: Mapping[str, str] = {
    "content_weight": "weight of the content loss",
    "style_weight": "weight of the style loss",
    "total_variation_weight": "weight of the total variation",
}


def define(values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    server_flags.define(values)
    for name, text in _STRINGS.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    for name, text in _INTEGERS.items():
        flags.DEFINE_integer(name, None, text, flag_values=values)
    for name, text in _FLOATS.items():
        flags.DEFINE_float(name, None, text, flag_values=values)
    flags.DEFINE_multi_string(
        "style",
        None,
        "the painting: a picture file; several with commas, or the flag several times",
        flag_values=values,
    )
    flags.DEFINE_float(
        "checkpoint_every",
        None,
        "in parts: keep the state in OUTPUT.checkpoint, every so many seconds; 0: never [30]",
        0.0,
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "style_regions",
        None,
        "for each painting its regions in the same colours, or one such as #ff0000 for all of it; several"
        " with commas, or the flag several times",
        flag_values=values,
    )
    flags.DEFINE_list(
        "style_blend_weights",
        None,
        "several styles: a weight for each, of which only the proportions count [equal]",
        flag_values=values,
    )
    flags.DEFINE_boolean("overwrite", False, "replace files that exist", flag_values=values)
    flags.DEFINE_boolean(
        "progress", False, "ask for a few steps at a time and show how far it is", flag_values=values
    )
    flags.DEFINE_boolean(
        "resume",
        False,
        "go on from OUTPUT.checkpoint, which a run in parts that ended early left",
        flag_values=values,
    )


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    return {
        "Flags of the server": server_flags.NAMES,
        "Flags of the pictures": ("content", "style", "output", "overwrite"),
        "Flags of the run": (
            *("preset", "size", "num_steps", "seed"),
            *("content_weight", "style_weight", "total_variation_weight"),
        ),
        "Flags for several paintings, and for colours": ("style_blend_weights", "color"),
        "Flags for a style in places": ("content_mask", "outside", "content_regions", "style_regions"),
        "Flags that show how the picture comes about": ("progress", "steps_now", "previews"),
        "Flags for a run that may end early and go on": ("checkpoint_every", "resume"),
    }


def main(values: flags.FlagValues) -> int:
    """Asks, and says what came of it.

    Raises:
        InputError: Something that the user gave cannot be used, by this side or by the server.
    """
    from nst_tf.serving import client

    try:
        return _request(values)
    except client.ServerError as error:
        terminal.complain(_NAME, str(error))
        return terminal.EXIT_FAILED
    except OSError as error:
        terminal.complain(_NAME, f"the picture could not be written: {errors.one_line(error)}")
        return terminal.EXIT_FAILED
    except KeyboardInterrupt as interrupt:
        terminal.complain(_NAME, "interrupted; no picture was written")
        return terminal.interrupted_code(interrupt)


def _request(values: flags.FlagValues) -> int:
    """Checks everything that can be checked early, asks, writes, says where the picture is."""
    from nst_tf.io import inputs
    from nst_tf.serving import client

    terminal.show_warnings()
    # Of requests that are repeated urllib3 says something in words of its own.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    styles = inputs.listed("style", values["style"].value or [])
    options: dict[str, Any] = {
        "style_blend_weights": _weights(values["style_blend_weights"].value),
        "style_regions": inputs.listed("style_regions", values["style_regions"].value or []),
        "settings": _settings(values, len(styles)),
        **{name: values[name].value for name in ("color", "outside")},
        **{name: _path(values, name) for name in _REGIONS if values[name].value},
        **server_flags.options(values),
    }
    if values["steps_now"].value is not None:
        options["steps_now"] = values["steps_now"].value
    kept = _kept(values)
    place = _check(values, styles, kept is not None and kept.resumed is not None)
    with runtime.quiet():
        client.check_server(values["server"].value)
    previews = _path(values, "previews") if values["previews"].value else None
    watch = _Watch(previews, values["overwrite"].value or values["resume"].value)
    if values["resume"].value and (kept is None or kept.resumed is None):
        terminal.complain(_NAME, "resume: there is no checkpoint beside the output; the run begins anew")
    start = time.perf_counter()
    try:
        answer = client.request_stylization(
            values["server"].value,
            _path(values, "content"),
            styles,
            on_progress=watch if _in_parts(values) else None,
            checkpoint=kept,
            **options,
        )
    except BaseException as error:
        watch.close()
        if watch.last is None:
            raise
        if kept is not None and os.path.exists(kept.path):
            terminal.complain(_NAME, f"--resume goes on from {kept.path}")
        _write(watch.last, place, time.perf_counter() - start)
        if isinstance(error, KeyboardInterrupt):
            terminal.complain(_NAME, "interrupted; the picture is the last preview")
            return terminal.interrupted_code(error)
        raise
    watch.close()
    code = _write(answer, place, time.perf_counter() - start)
    if kept is not None and code == 0:
        kept.remove()
    if watch.failure:
        terminal.complain(_NAME, watch.failure)
    return terminal.EXIT_FAILED if watch.failure else code


# The flags of pictures that say where the style goes.
_REGIONS = ("content_mask", "content_regions")


def _in_parts(values: flags.FlagValues) -> bool:
    """Returns whether the run takes a few steps in each call."""
    asked = any(values[name].value for name in ("progress", "previews", "resume", "checkpoint_every"))
    return asked or values["steps_now"].value is not None


def _kept(values: flags.FlagValues) -> "Kept | None":
    """Returns how a run in parts keeps its checkpoint, and the one that it goes on from; None for none.

    Raises:
        InputError: There is one that the flags do not speak of, or it cannot be read.
    """
    from nst_tf.engine import checkpoints as local
    from nst_tf.serving import checkpoints

    if not (values["output"].value and _in_parts(values)):
        return None
    path = local.beside(_path(values, "output"))
    every_s = values["checkpoint_every"].value
    is_resumed = local.is_to_be_resumed(path, values["resume"].value, values["overwrite"].value)
    resumed = checkpoints.read(path) if is_resumed else None
    if every_s == 0 and resumed is None:
        return None
    return checkpoints.Kept(path, local.wait_s(every_s), resumed, _tell_resumed)


def _tell_resumed(resumed: "Checkpoint") -> None:
    terminal.say(f"{resumed.path}: goes on after step {resumed.steps_done}", sys.stderr)


def _needs_settings(values: flags.FlagValues, num_styles: int) -> bool:
    """Returns whether the signatures that do what is asked for take all settings."""
    options = ("style_blend_weights", "color", *_REGIONS, "style_regions")
    return num_styles > 1 or _in_parts(values) or any(values[name].value is not None for name in options)


def _settings(values: flags.FlagValues, num_styles: int) -> "Settings | None":
    """Returns all settings of the run, where one is given or all are needed; None for the model's own.

    Raises:
        InputError: A value is not allowed, or there is no such preset.
    """
    from nst_tf.serving import client

    # {setting of a config: its name in a request}
    names = {
        "steps" if field.name == "num_steps" else field.name: field.name
        for field in dataclasses.fields(client.Settings)
    }
    given = {setting: values[name].value for setting, name in names.items()}
    given = {setting: value for setting, value in given.items() if value is not None}
    if not (given or values["preset"].value or _needs_settings(values, num_styles)):
        return None
    chosen = presets.get(values["preset"].value or "default", **given)
    of_config = chosen.to_settings() | {"steps": sum(chosen.scales.steps)}
    return client.Settings(**{name: of_config[setting] for setting, name in names.items()})


def _weights(typed: Sequence[str] | None) -> list[float] | None:
    """Returns the weights of several styles, None if none were typed.

    Raises:
        InputError: One is no number.
    """
    if typed is None:
        return None
    try:
        return [float(text) for text in typed]
    except ValueError:
        came = ",".join(typed)
        raise errors.InputError(
            f"style_blend_weights: {came!r}; allowed: a number for each style, with commas"
        ) from None


def _check(values: flags.FlagValues, styles: Sequence[pathlib.Path], resumed: bool) -> "Place":
    """Finds out before anything is sent whether files are named and the results can be written, and where.

    Args:
        values: The flags, parsed.
        styles: The paintings.
        resumed: Whether the run goes on from a checkpoint: what it has written is replaced.

    Raises:
        InputError: They are not, or cannot, or an input would be replaced.
    """
    from nst_tf.io import pictures, samples

    wanted = {"server": "ADDRESS", "content": "FILE", "style": "FILE", "output": "FILE"}
    for name, what in wanted.items():
        if not values[name].value or values[name].value == [""]:
            raise errors.InputError(f"--{name}={what} is missing; --help explains")
    output, overwrite = _path(values, "output"), values["overwrite"].value or resumed
    place = pictures.check_output(output, overwrite)
    read = [("style", path) for path in styles]
    read += [(name, _path(values, name)) for name in ("content", *_REGIONS) if values[name].value]
    read += [("style_regions", path) for path in _labels(values)]
    for name, path in read:
        if samples.to_path(path, name).resolve() == output.resolve():
            raise errors.InputError(f"output: {output} is the {name} too; name another file")
    if values["previews"].value:
        _check_previews(_path(values, "previews"), overwrite)
    return place


def _check_previews(folder: pathlib.Path, overwrite: bool) -> None:
    """Finds out whether previews can be written to a folder, which need not be there yet.

    Raises:
        InputError: They cannot, or would replace others.
    """
    from nst_tf.io import pictures

    if folder.is_dir():
        pictures.check_file(folder / "step_0000.png", True, "previews")
        if not overwrite and any(folder.glob("step_*.png")):
            raise errors.InputError(f"previews: {folder} holds some already; use --overwrite to replace them")
    elif folder.exists():
        raise errors.InputError(f"previews: {folder} is a file; name a folder")
    else:
        pictures.check_file(folder, False, "previews")


def _labels(values: flags.FlagValues) -> list[pathlib.Path]:
    """Returns the label pictures of the styles that are files."""
    from nst_tf.io import inputs, masks

    named = inputs.listed("style_regions", values["style_regions"].value or [])
    return [label for label in named if not masks.is_color(label)]


def _path(values: flags.FlagValues, name: str) -> pathlib.Path:
    """Returns the path that a flag names, as `paths.typed` does.

    Raises:
        InputError: No file can have that path.
    """
    return paths.typed(values[name].value, name)


def _write(answer: "Answer", output: "Place", seconds: float) -> int:
    """Writes the picture, says where it is and how it came about; returns the exit code.

    Raises:
        OSError: It cannot be written anywhere.
    """
    from nst_tf.io import files, pictures

    written, failure = files.write_somewhere(lambda path: pictures.write(answer.image, path), output)
    terminal.say(_summary(answer, written, seconds))
    if failure:
        terminal.complain(_NAME, failure)
    return terminal.EXIT_FAILED if failure else 0


def _summary(answer: "Answer", output: pathlib.Path, seconds: float) -> str:
    """Returns the line that says where the picture is and how it came about."""
    from nst_tf.callbacks import report

    height, width = answer.image.shape[:2]
    text = f"{output}: {width} x {height} pixels"
    if answer.step == 0:
        return f"{text} recoloured, {seconds:.0f} s"
    stopped = f" after {answer.step} of {answer.num_steps} steps" if answer.step != answer.num_steps else ""
    return f"{text}{stopped}, {seconds:.0f} s; {report.describe_losses(answer.losses)}"


class _Watch:
    """Takes the answers of a run in steps: shows how far it is, saves previews, keeps the last picture."""

    def __init__(self, previews: pathlib.Path | None, overwrite: bool) -> None:
        """Takes the folder for the pictures on the way, which is made for the first; None saves none."""
        from nst_tf.callbacks import report

        self.last: Answer | None = None
        self.failure = ""  # why previews could not be written, if so
        self._previews, self._overwrite = previews, overwrite
        self._bar = report.ProgressBar()
        self._scales: list[Scale] = []  # as far as they have been seen

    def __call__(self, answer: "Answer") -> None:
        """Takes an answer, for `client.request_stylization`."""
        from nst_tf.engine.progress import Progress
        from nst_tf.io import files, pictures

        before, self.last = self.last, answer
        if self._previews:
            try:
                self._previews.mkdir(exist_ok=True)
                place = files.Place(self._previews / f"step_{answer.step:04d}.png", self._overwrite)
                pictures.write(answer.image, place)
            except OSError as error:  # the picture itself may be written all the same
                self._previews, self.failure = None, f"previews end here: {errors.one_line(error)}"
        step, num_steps = answer.step or 0, answer.num_steps or 0
        height, width = answer.image.shape[:2]
        self._see(height, width, (before and before.step) or 0, num_steps)
        self._bar(
            Progress(
                len(self._scales) - 1,
                tuple(self._scales),
                step,
                num_steps,
                (answer.losses,),
                lambda: answer.image,
            )
        )

    def close(self) -> None:
        """Leaves the terminal's line."""
        self._bar.close()

    def _see(self, height: int, width: int, step_before: int, num_steps: int) -> None:
        """Adds a picture's scale, if it is another; the one before ended about at its own last picture."""
        if self._scales and self._scales[-1][:2] == (height, width):
            return
        earlier = sum(scale.num_steps for scale in self._scales[:-1])
        if self._scales:
            self._scales[-1] = self._scales[-1]._replace(num_steps=step_before - earlier)
        self._scales.append(Scale(height, width, num_steps - step_before, 1.0))
