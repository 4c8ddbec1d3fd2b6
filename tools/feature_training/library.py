"""The pictures to learn from, all of them in memory.

A picture is uint8 [H, W, 3] sRGB, kept at several sizes: its own and smaller ones, so that a window of one
size sees now a detail and now the whole.
"""

import concurrent.futures
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from nst_tf import errors

# What Pillow is asked to open; anything else in the folder is left alone.
_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp"})

# A size is added below another where it is at least this much smaller.
_SIZE_STEP = 1.25

# Pillow decodes outside of Python's lock; more threads than cores do no harm.
_THREADS = 16

# The folder of pictures that lie in none.
NO_FOLDER = -1


class Library(NamedTuple):
    """The pictures and the folders that they came from."""

    pictures: Sequence[Sequence[np.ndarray]]  # [sizes of it] each [H, W, 3] uint8, sides >= window
    folders: np.ndarray  # [N] int32, which of `folder_names`, or NO_FOLDER
    folder_names: Sequence[str]


def load(folder: str | pathlib.Path, window: int) -> Library:
    """Reads every picture below a folder.

    Pictures in `folder/set/class/` are of that class; those in `folder/set/` are of none: such a set is a
    mixture.

    Args:
        folder: Where the pictures are.
        window: The smallest side that a picture is kept at, in pixels; smaller ones are enlarged.

    Raises:
        InputError: There are no pictures, or one cannot be read.
    """
    root = pathlib.Path(folder)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in _EXTENSIONS)
    if not paths:
        raise errors.InputError(
            f"images: no pictures below {folder}; allowed: a folder with {', '.join(sorted(_EXTENSIONS))}"
        )
    places = [path.parent.relative_to(root) for path in paths]
    names = sorted({place.as_posix() for place in places if len(place.parts) > 1})
    numbers = {name: number for number, name in enumerate(names)}
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        pictures = list(pool.map(lambda path: _read(path, window), paths))
    folders = [numbers.get(place.as_posix(), NO_FOLDER) for place in places]
    return Library(pictures, np.array(folders, np.int32), names)


def cut(generator: np.random.Generator, sizes: Sequence[np.ndarray], window: int) -> np.ndarray:
    """Returns a window [window, window, 3] out of one of a picture's sizes, each [H, W, 3], by chance."""
    picture = sizes[int(generator.integers(len(sizes)))]
    top, left = (generator.integers(side - window + 1) for side in picture.shape[:2])
    return picture[top : top + window, left : left + window]


def _read(path: pathlib.Path, window: int) -> list[np.ndarray]:
    """Returns a picture at all its sizes, the largest first."""
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError) as error:
        raise errors.InputError(f"images: {path} cannot be read: {error}") from None
    return [np.asarray(_resized(picture, short)) for short in _short_sides(min(picture.size), window)]


def _short_sides(own: int, window: int) -> list[int]:
    """Returns the short sides at which to keep a picture: its own, halves of it, and the window's."""
    sides = [max(own, window)]
    while sides[-1] > 2 * window:
        sides.append(sides[-1] // 2)
    if sides[-1] > _SIZE_STEP * window:
        sides.append(window)
    return sides


def _resized(picture: Image.Image, short: int) -> Image.Image:
    """Returns the picture with a short side of `short` pixels."""
    if short == min(picture.size):
        return picture
    scale = short / min(picture.size)
    width, height = (max(short, round(scale * side)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
