"""Figures about a run: its pictures side by side, its losses as curves; written whole or not at all."""

import contextlib
import io
import itertools
import os
import pathlib
import sys
import typing
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nst_tf import errors, runtime
from nst_tf.io import files, pictures

if typing.TYPE_CHECKING:
    from nst_tf.engine.progress import TraceRow

# High enough to judge strokes by, low enough that three of them fit on a screen's width or two.
_HEIGHT = 768
# White between the pictures, and a caption of one line below them, in pixels.
_GAP, _CAPTION_HEIGHT, _FONT_SIZE = 8, 28, 16
# Further lines of a caption are closer, and begin where settings and names of files may be broken.
_LINE_HEIGHT, _BREAK_AFTER = 20, " ,;=_-/"


def resized(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """Returns an image [H, W, 3] or [1, H, W, 3] as a Pillow picture of another size."""
    pixels = Image.fromarray(pictures.to_uint8(picture))
    return pixels.resize((width, height), Image.Resampling.BICUBIC)


def save_comparison(
    image: np.ndarray,
    content: pictures.Picture | None,
    style: pictures.Picture | Sequence[pictures.Picture] | None,
    path: str | os.PathLike[str],
) -> None:
    """Writes one figure of a photograph, a painting and what came of them, side by side.

    Args:
        image: The result, [H, W, 3] floats in [0, 1].
        content: The photograph, as for `stylize`; None leaves it out.
        style: The painting, likewise, or a list of several.
        path: Where to; the extension decides the format as for results. What is there is replaced.

    Raises:
        InputError: The format is unknown, or a picture cannot be read.
        OSError: The file cannot be written.
    """
    styles: list[typing.Any] = list(style) if isinstance(style, list | tuple) else [style]
    names = ["painting"] if len(styles) == 1 else [f"painting {index + 1}" for index in range(len(styles))]
    given: dict[str, typing.Any] = {"photograph": content, **dict(zip(names, styles, strict=True))}
    shown = {name: pictures.read(picture, name) for name, picture in given.items() if picture is not None}
    sheet = _side_by_side(list({**shown, "result": pictures.read(image, "image")}.items()))
    pictures.write(np.asarray(sheet, np.float32) / 255.0, path)


def shrunk(image: np.ndarray) -> Image.Image:
    """Returns an image [1, H, W, 3] as large as a comparison needs it, to be kept during a run."""
    return _of_height(image, min(_HEIGHT, image.shape[1]))


def grid(rows: Sequence[Sequence[Image.Image]], gaps: tuple[int, int] = (_GAP, _GAP)) -> Image.Image:
    """Returns pictures in rows and columns on white, each in the middle of its place.

    A column is as wide as its widest picture, a row as high as its highest.

    Args:
        rows: From top to bottom; a shorter one leaves its last columns empty.
        gaps: Pixels between columns and between rows.
    """
    count = max(map(len, rows))
    widths = [max(row[column].width for row in rows if column < len(row)) for column in range(count)]
    heights = [max(picture.height for picture in row) for row in rows]
    size = (sum(widths) + gaps[0] * (count - 1), sum(heights) + gaps[1] * (len(rows) - 1))
    sheet = Image.new("RGB", size, "white")
    for number, row in enumerate(rows):
        top = sum(heights[:number]) + gaps[1] * number
        for column, picture in enumerate(row):
            left = sum(widths[:column]) + gaps[0] * column
            middle = ((widths[column] - picture.width) // 2, (heights[number] - picture.height) // 2)
            sheet.paste(picture, (left + middle[0], top + middle[1]))
    return sheet


def caption(text: str, width: int, broken: bool = True) -> Image.Image:
    """Returns a text in the middle of white, to be laid out in a `grid`.

    Args:
        text: What to write.
        width: In pixels; the height is what the lines need.
        broken: Whether what does not fit into one line is broken, after a comma, an underscore or the like
            if it can be; otherwise it is cut off.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    lines = _lines(text, lambda line: font.getlength(line) <= width) if broken else [text]
    picture = Image.new("RGB", (width, _CAPTION_HEIGHT + (len(lines) - 1) * _LINE_HEIGHT), "white")
    middle = (width / 2, picture.height / 2)
    draw = ImageDraw.Draw(picture)
    draw.text(middle, "\n".join(lines), "black", font, "mm", _LINE_HEIGHT - _FONT_SIZE, "center")
    return picture


def _lines(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Returns the text in lines that fit, or of one character where even that does not."""
    lines, rest = [], text
    while rest:
        ends = [end for end in range(1, len(rest) + 1) if fits(rest[:end].rstrip())] or [1]
        breaks = [
            end
            for end in ends
            if end == len(rest) or (rest[end - 1] in _BREAK_AFTER and not rest.startswith("-", end))
        ]
        end = max(breaks or ends)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines


def fitted(picture: pictures.Picture, side: int) -> Image.Image:
    """Returns a picture whose longest side has so many pixels.

    Raises:
        InputError: It cannot be read.
    """
    image = pictures.read(picture)
    factor = side / max(image.shape[1:3])
    height, width = (max(1, round(length * factor)) for length in image.shape[1:3])
    pixels = Image.fromarray(pictures.to_uint8(image))
    return pixels.resize((width, height), Image.Resampling.LANCZOS)


def save_plot(trace: Sequence["TraceRow"], path: str | os.PathLike[str]) -> None:
    """Writes the curves of a run's losses by term, on a logarithmic axis, with the borders of its scales.

    Args:
        trace: Of a `Result`.
        path: Where to: a PNG, an SVG or a PDF by its extension. What is there is replaced.

    Raises:
        InputError: The format is unknown, Matplotlib is not installed or cannot draw, or there were no steps.
        OSError: The file cannot be written.
    """
    check_plot(pathlib.Path(path))
    if not trace:
        raise errors.InputError("plot: a run without steps has no losses to draw")
    try:
        data = _draw(_figure_type(), trace, _PLOT_FORMATS[pathlib.Path(path).suffix.lower()])
    except RuntimeError as error:  # such as for text.usetex in a matplotlibrc, where there is no LaTeX
        raise errors.InputError(f"plot: Matplotlib cannot draw it: {errors.one_line(error)}") from None
    with files.replacing(path) as file:
        file.write(data)


def check_plot(path: pathlib.Path) -> None:
    """Checks that curves can be written in the format of the path's extension.

    Raises:
        InputError: The format is unknown, or matplotlib is not installed.
    """
    if path.suffix.lower() not in _PLOT_FORMATS:
        raise errors.unknown_name("plot format", path.suffix, _PLOT_FORMATS)
    _figure_type()


# Matplotlib's names of formats, by file extension.
_PLOT_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}

# Metadata that would differ from file to file of the same curves: the time of writing.
_NO_DATE: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}

# The terms, and how they are drawn: they differ by more than colour.
_TERMS: dict[str, dict[str, typing.Any]] = {
    "total": {"color": "black", "linewidth": 1.8},
    "content": {"color": "tab:blue", "linestyle": "--"},
    "style": {"color": "tab:orange", "linestyle": "-"},
    "total_variation": {"color": "tab:green", "linestyle": ":"},
}

# In inches and pixels to each: 1000 x 600 pixels, wide enough for a README.
_SIZE, _DPI = (10.0, 6.0), 100


def _draw(figure_type: typing.Any, trace: Sequence["TraceRow"], format_name: str) -> bytes:
    """Returns a file with the curves of every term, on a logarithmic axis, over the steps.

    Scales are divided by dotted lines. What is zero, infinite or NaN is left out.

    Args:
        figure_type: Matplotlib's `Figure`.
        trace: The rows of a run, one at least.
        format_name: One that matplotlib writes: "png", "svg" or "pdf".
    """
    figure = figure_type(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    steps = [row.step for row in trace]
    for term, style in _TERMS.items():
        values = np.array([getattr(row, term) for row in trace], np.float64)
        values[~(np.isfinite(values) & (values > 0))] = np.nan
        if not np.isnan(values).all():
            # With markers, since a value alone in a row is no line.
            axes.plot(steps, values, label=term.replace("_", " "), marker=".", markersize=3, **style)
    for before, after in itertools.pairwise(trace):
        if after.scale != before.scale:
            axes.axvline(before.step + 0.5, color="grey", linestyle=":")
    for scale, rows in itertools.groupby(trace, key=lambda row: row.scale):
        first = next(rows).step
        axes.annotate(
            f"scale {scale}",
            (first - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -12),
            textcoords="offset points",
            color="grey",
        )
    axes.set(yscale="log", xlabel="step", ylabel="weighted loss")
    axes.set_xlim(steps[0] - 0.5, steps[-1] + 0.5)
    axes.grid(alpha=0.3)
    if axes.get_lines():
        axes.legend(loc="upper right")
    file = io.BytesIO()
    # No date, so that the same curves make the same file.
    figure.savefig(file, format=format_name, metadata=_NO_DATE[format_name])
    return file.getvalue()


def _figure_type() -> typing.Any:
    """Returns Matplotlib's `Figure`, which needs no display.

    Raises:
        InputError: Matplotlib is not installed, or not in order.
    """
    try:
        with _any_backend():
            from matplotlib.figure import Figure
    except ValueError as error:
        raise errors.InputError(f"plot: Matplotlib cannot be loaded: {errors.one_line(error)}") from None
    except ImportError as error:
        raise errors.InputError(f"plot: it needs {error.name}: {runtime.install('plot')}") from None
    return Figure


@contextlib.contextmanager
def _any_backend() -> Iterator[None]:
    """Lets Matplotlib be imported whatever backend `MPLBACKEND` names, which files are drawn without.

    A notebook has its processes inherit one that they may lack, and Matplotlib then refuses to be imported.
    """
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        from matplotlib import rcParams

        with contextlib.suppress(ValueError):
            rcParams["backend"] = backend  # as it would have been, for others in this process


def _side_by_side(shown: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Returns named images in a row, all of the last one's height or `_HEIGHT`, with their names below."""
    height = min(_HEIGHT, shown[-1][1].shape[-3])
    cells = [_of_height(image, height) for _, image in shown]
    captions = [caption(name, cell.width, broken=False) for (name, _), cell in zip(shown, cells, strict=True)]
    return grid([cells, captions], gaps=(_GAP, 0))


def _of_height(image: np.ndarray, height: int) -> Image.Image:
    own_height, own_width = image.shape[-3:-1]
    return resized(image, max(1, round(own_width * height / own_height)), height)
