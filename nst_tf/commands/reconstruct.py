"""The command `reconstruct`: what each layer of the network keeps of a photograph and of a painting, drawn.

Figure 1 of Gatys, Ecker, Bethge 2015 (arXiv:1508.06576). Images are [H, W, 3] floats in [0, 1].
"""

import importlib
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags, terminal
from nst_tf.config import presets, scales

if typing.TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from nst_tf.api import Result
    from nst_tf.io.pictures import Picture

INTRODUCTION = """Draws what each layer of the network keeps of a photograph and of a painting.

  nst_tf reconstruct --content=photo.jpg --style=painting.jpg --output=figure.png

That is figure 1 of Gatys, Ecker, Bethge 2015 (arXiv:1508.06576). Above: the photograph, made again from noise
by the features of one layer alone. Below: textures with the painting's Gram matrices of more and more layers.
One of the two pictures is enough for its row. It takes some minutes.

What rows and columns do not set may be set, such as --size [192], --steps [100] and --preset [gatys2015].
"""

# The paper's formulation, and the layers of its figure: the first of each block, after the ReLU.
_PRESET = "gatys2015"
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

# What the paper leaves open, chosen by looking at pictures of 160 pixels, for both rows ...
_OPEN: Mapping[str, Any] = {"init": "noise", "clip": True, "size": 192, "steps": 100}
# ... and for the photograph: preconditioned, without which relu5_1 gives noise even after 200 steps; and from
# faint noise: layers hardly see the finest noise and leave it there, twice as much of 32 levels as of 8.
# A texture is not preconditioned: relu1_1 sees no large shapes, and the filter would put some there.
_OPEN_FOR_CONTENT: Mapping[str, Any] = {"preconditioner": "inverse_sqrt_frequency", "noise_levels": 8.0}

# Of a picture whose run has diverged.
_DIVERGED = "the loss became infinite or NaN; the picture drawn is the last good one"

# Of the rows' names, in pixels.
_NAME_WIDTH = 80


def _content(column: int) -> dict[str, Any]:
    """Returns the settings that make a photograph again by one layer: equation 1 alone."""
    return {"content_layers": (LAYERS[column],), "style_weight": 0.0}


def _style(column: int) -> dict[str, Any]:
    """Returns the settings of a texture by all layers up to one, which weigh the same: equation 5 alone."""
    count = column + 1
    weights = (1 / count,) * count
    return {"style_layers": LAYERS[:count], "style_layer_weights": weights, "content_weight": 0.0}


class _Kind(NamedTuple):
    """What a row is a reconstruction of, and by what."""

    original: str  # what the first picture is called
    open: Mapping[str, Any]  # what replaces the preset's settings unless a person says otherwise
    fixed: Callable[[int], dict[str, Any]]  # the settings that make a column, from 0, what it is
    caption: Callable[[int], str]


_KINDS: Mapping[str, _Kind] = {
    "content": _Kind("photograph", {**_OPEN, **_OPEN_FOR_CONTENT}, _content, lambda column: LAYERS[column]),
    "style": _Kind(
        "painting",
        _OPEN,
        _style,
        lambda column: f"{LAYERS[0]} to {LAYERS[column]}" if column else LAYERS[0],
    ),
}

# The settings that make the figure what it is.
_FIXED = tuple({**_content(0), **_style(0)})

# Flags of a run that are refused, or do nothing, here.
_REFUSED = (*run_flags.OF_ONE_RUN, "config")
_UNUSED = ("content_mask", "content_regions", "style_regions", "outside", "guide_erosion", "style_blend")


def define(values: flags.FlagValues) -> None:
    """Defines the flags of a run."""
    run_flags.define(values)


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    return run_flags.groups(without={*_FIXED, *_REFUSED, *_UNUSED, "style_blend_weights"})


def main(values: flags.FlagValues) -> int:
    """Checks, paints, writes.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    import numpy as np

    from nst_tf.io import files, pictures

    run_flags.refuse(values, _REFUSED, "the figure has many runs")
    run_flags.refuse(values, _FIXED, "rows and columns of the figure set it")
    with runtime.quiet():
        run = run_flags.to_run(values, preset=_PRESET, either=True)
        place = pictures.check_output(run.output, values["overwrite"].value)
    if len(run.paths.styles) > 1:
        named = ", ".join(map(str, run.paths.styles))
        raise errors.InputError(f"style: {named}; allowed: one painting, for its row")
    if run.config.network.convolution != "direct":
        runtime.use_onednn()
    runtime.use_tensorflow_backend()
    with runtime.quiet():
        importlib.import_module("nst_tf.api")  # and with it TensorFlow, whose notes would be shown
    terminal.hide_tensorflow_warnings()
    terminal.show_warnings()
    given = {"content": run.paths.content, "style": next(iter(run.paths.styles), None)}
    preset = values["preset"].value if values["preset"].present else _PRESET
    rows = [
        Row(name, picture, preset, run.overrides) for name, picture in given.items() if picture is not None
    ]
    drawn, diverged = figure(rows)
    failures = [f"{name}: {_DIVERGED}" for name in diverged]
    try:
        written, failure = files.write_somewhere(
            lambda path: pictures.write(np.asarray(drawn, np.float32) / 255.0, path), place
        )
        failures += [failure] if failure else []
        terminal.say(f"{written}: {drawn.width} x {drawn.height} pixels")
    except OSError as error:
        failures.append(f"the figure could not be written: {errors.one_line(error)}")
    for line in failures:
        terminal.complain("reconstruct", line)
    return terminal.EXIT_FAILED if failures else 0


class Row:
    """A picture and what layers of the network keep of it: one row of the figure."""

    def __init__(self, name: str, picture: "Picture", preset: str, changes: Mapping[str, Any]) -> None:
        """Finds out whether all of them can be painted.

        Args:
            name: "content" or "style".
            picture: What is to be reconstructed.
            preset: The formulation by name.
            changes: Settings that a person has chosen beside it.

        Raises:
            InputError: The picture is missing or too small, or a setting or the weights cannot be used.
        """
        from nst_tf.engine import formulations
        from nst_tf.engine.inputs import check
        from nst_tf.io import inputs

        self.name, self._kind = name, _KINDS[name]
        self.captions = [self._kind.caption(column) for column in range(len(LAYERS))]
        configs = [
            presets.get(preset, **{**self._kind.open, **changes, **self._kind.fixed(column)})
            for column in range(len(LAYERS))
        ]
        init = inputs.init_path(configs[0])
        paths = (
            inputs.InputPaths(content=picture, init=init)
            if name == "content"
            else inputs.InputPaths(styles=[picture], init=init)
        )
        self._configs = [inputs.with_start(config, paths, changes) for config in configs]
        self._loaded = inputs.load(paths, self._configs[0])
        check(self._loaded.content, self._loaded.styles, self._configs[0], self._loaded.init)
        image = self._loaded.styles[0] if self._loaded.content is None else self._loaded.content
        self._original: np.ndarray = image[0]
        for config in self._configs:
            scales.plan_scales(config, *self._original.shape[:2])
        formulations.load_weights(self._configs[-1])

    def paint(self, column: int) -> "Result":
        """Returns a reconstruction's result, and tells on standard error how it goes on."""
        from nst_tf import api
        from nst_tf.callbacks import report

        bar = report.ProgressBar()
        try:
            return api.paint(self._loaded, self._configs[column], on_progress=bar)
        finally:
            bar.close()

    def lines(self, painted: "Sequence[np.ndarray]") -> "tuple[list[Image.Image], list[Image.Image]]":
        """Returns a line of pictures, the original in their size, and a line of what stands below them."""
        from PIL import Image

        from nst_tf.callbacks import figures

        height, width = painted[0].shape[:2]
        shown = [figures.resized(picture, width, height) for picture in (self._original, *painted)]
        below = [figures.caption(text, width) for text in (self._kind.original, *self.captions)]
        name = figures.caption(self.name, _NAME_WIDTH)
        return [name, *shown], [Image.new("RGB", (_NAME_WIDTH, 1), "white"), *below]


def figure(rows: Sequence[Row]) -> "tuple[Image.Image, list[str]]":
    """Paints all that is in the rows.

    Returns:
        The rows below each other, and which pictures are of runs that have diverged.
    """
    from nst_tf.callbacks import figures

    lines: list[list[Image.Image]] = []
    diverged = []
    for number, row in enumerate(rows):
        painted = []
        for column, caption in enumerate(row.captions):
            count = number * len(LAYERS) + column + 1
            name = f"picture {count} of {len(rows) * len(LAYERS)}: {row.name}, {caption}"
            terminal.say(name, sys.stderr)
            result = row.paint(column)
            painted.append(result.image)
            diverged += [name] if result.outcome == "diverged" else []
        lines.extend(row.lines(painted))
    return figures.grid(lines, gaps=(8, 0)), diverged
