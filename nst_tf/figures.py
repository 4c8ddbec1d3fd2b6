"""Figures about a run: its pictures side by side, its losses as curves; written whole or not at all."""

import os
import pathlib
import typing
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nst_tf import errors, pictures

if typing.TYPE_CHECKING:
    from nst_tf.report import TraceRow

# High enough to judge strokes by, low enough that three of them fit on a screen's width or two.
_HEIGHT = 768
# White between the pictures, and a caption below them, in pixels.
_GAP, _CAPTION_HEIGHT, _FONT_SIZE = 8, 28, 16


def resized(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """Returns an image [H, W, 3] or [1, H, W, 3] as a Pillow picture of another size."""
    pixels = Image.fromarray(pictures.to_uint8(picture))
    return pixels.resize((width, height), Image.Resampling.BICUBIC)


def save_comparison(
    image: np.ndarray,
    content: pictures.Picture | None,
    style: pictures.Picture | None,
    path: str | os.PathLike[str],
) -> None:
    """Writes one figure of a photograph, a painting and what came of them, side by side.

    Args:
        image: The result, [H, W, 3] floats in [0, 1].
        content: The photograph, as for `stylize`; None leaves it out.
        style: The painting, likewise.
        path: Where to; the extension decides the format as for results. What is there is replaced.

    Raises:
        InputError: The format is unknown, or a picture cannot be read.
        OSError: The file cannot be written.
    """
    given = {"photograph": content, "painting": style}
    shown = {name: pictures.read(picture, name) for name, picture in given.items() if picture is not None}
    sheet = _side_by_side(list({**shown, "result": image}.items()))
    pictures.write(np.asarray(sheet, np.float32) / 255.0, path)


def shrunk(picture: pictures.Picture, name: str) -> Image.Image:
    """Returns a picture no larger than a comparison needs it, to be kept until there is a result.

    Raises:
        InputError: It cannot be read.
    """
    image = pictures.read(picture, name)
    return _of_height(image, min(_HEIGHT, image.shape[1]))


def save_plot(trace: Sequence["TraceRow"], path: str | os.PathLike[str]) -> None:
    """Writes the curves of a run's losses by term, on a logarithmic axis, with the borders of its scales.

    Args:
        trace: Of a `Result`.
        path: Where to: a PNG, an SVG or a PDF by its extension. What is there is replaced.

    Raises:
        InputError: The format is unknown, matplotlib is not installed, or there were no steps.
        OSError: The file cannot be written.
    """
    check_plot(pathlib.Path(path))
    if not trace:
        raise errors.InputError("plot: a run without steps has no losses to draw")
    data = _plots_module().draw(trace, _PLOT_FORMATS[pathlib.Path(path).suffix.lower()])
    with pictures.replacing(pathlib.Path(path)) as file:
        file.write(data)


def check_plot(path: pathlib.Path) -> None:
    """Checks that curves can be written in the format of the path's extension.

    Raises:
        InputError: The format is unknown, or matplotlib is not installed.
    """
    if path.suffix.lower() not in _PLOT_FORMATS:
        raise errors.unknown_name("plot format", path.suffix, _PLOT_FORMATS)
    _plots_module()


# matplotlib's names of formats, by file extension.
_PLOT_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


def _plots_module() -> typing.Any:
    """Returns the module that draws curves.

    Raises:
        InputError: The library it needs is not installed.
    """
    try:
        from nst_tf import plots
    except ImportError as error:
        raise errors.InputError(f"plot: it needs {error.name}: pip install 'nst_tf[plot]'") from None
    return plots


def _side_by_side(shown: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Returns named images in a row, all of the last one's height or `_HEIGHT`, with their names below."""
    height = min(_HEIGHT, shown[-1][1].shape[-3])
    cells = [_of_height(image, height) for _, image in shown]
    width = sum(cell.width for cell in cells) + _GAP * (len(cells) - 1)
    sheet = Image.new("RGB", (width, height + _CAPTION_HEIGHT), "white")
    draw, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE), 0
    for (name, _), cell in zip(shown, cells, strict=True):
        sheet.paste(cell, (left, 0))
        middle = (left + cell.width / 2, height + _CAPTION_HEIGHT / 2)
        draw.text(middle, name, fill="black", font=font, anchor="mm")
        left += cell.width + _GAP
    return sheet


def _of_height(image: np.ndarray, height: int) -> Image.Image:
    own_height, own_width = image.shape[-3:-1]
    return resized(image, max(1, round(own_width * height / own_height)), height)
