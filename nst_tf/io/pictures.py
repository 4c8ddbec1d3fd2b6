"""Picture files and whatever else people have pictures in, in and out through Pillow.

Inside they are images: `[1, H, W, 3]` float32 sRGB in [0, 1]; see `images`.
"""

import functools
import hashlib
import io
import json
import math
import os
import pathlib
import stat
import struct
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from nst_tf import errors
from nst_tf.io import decoding, files, samples, sixteen_bits

# What pictures are in here; `as_picture` makes it of whatever else a user hands in.
Picture = str | os.PathLike[str] | Image.Image | np.ndarray

# (height, width) of a picture -> the size at which it is used.
Needed = Callable[[int, int], tuple[int, int]]

# Pixels of a photograph that is read whole whatever is needed of it: what most cameras make. Larger ones are
# read at twice the size that is needed, of which an antialiased reduction makes the same picture.
_LARGEST_WHOLE, _RESERVE = 24_000_000, 2
_READ_PIXELS = 2**18  # read at a time, of a larger picture: what caches of processors hold

# The grey behind what is transparent: of pictures that are looked at, and of masks and labels, where black
# stands for nothing.
WHITE, BLACK = 1.0, 0.0

# Formats written, by file extension, with Pillow's options. JPEG: no chroma subsampling, since brush
# strokes are colour edges; 95 is the highest quality Pillow recommends.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
}

# Pillow's names of the formats among them that have alpha.
_ALPHA_FORMATS = frozenset({"PNG", "WEBP", "TIFF"})

# Bits a channel that may be written, with Pillow's names of the formats that have them.
BIT_DEPTHS = (8, 16)
_SIXTEEN_BITS = frozenset({"PNG", "TIFF"})

# Pixels an inch that make sense; 1 is what Pillow says of a TIFF that says nothing.
_FEWEST_DPI, _MOST_DPI = 1.0, 1e6
# Pillow's names of the formats that have them, with the most: JPEG counts in sixteen bits.
_MOST_DPI_OF = {"PNG": _MOST_DPI, "JPEG": 65535.0, "TIFF": _MOST_DPI, "BMP": _MOST_DPI}

_SMALLEST_ALPHA = 1 / 512  # below half a level of 255 nothing is seen
_LONGEST_NAME = 255  # what file systems allow
_WRITTEN_AT_ONCE = 2**20  # numbers of a picture that are there as floats beside it, at most

# The longest sides that formats have, and the longest texts: libwebp's WEBP_MAX_DIMENSION, libjpeg's
# JPEG_MAX_DIMENSION, and a segment of JPEG with room for what EXIF has beside the text.
_LARGEST_SIDES = {"WEBP": 16_383, "JPEG": 65_500}
_LONGEST_TEXTS = {"JPEG": 60_000}

# What the name of a manifest has after its picture's, and the most bytes of one: many times what it has.
MANIFEST_SUFFIX = ".json"
_LONGEST_MANIFEST = 2**20

# Where a text is kept in a picture: a chunk of PNG by this name, EXIF's ImageDescription elsewhere.
_TEXT_KEY, _TEXT_TAG = "nst_tf", 0x010E

# The most bytes of a picture file: those of the largest picture that Pillow opens, 179 megapixels, with four
# channels of sixteen bits are 1.4e9.
_LARGEST_FILE, _READ_AT_ONCE = 2**31, 2**24


class PictureFile(os.PathLike[str]):
    """A picture file whose bytes are read once, when first needed: to be decoded and to be hashed."""

    def __init__(self, picture: str | os.PathLike[str], name: str = "picture") -> None:
        """Takes a path or a sample; whether the file can be read is found out later.

        Args:
            picture: As typed.
            name: What the picture is, for error messages.

        Raises:
            InputError: There is no such sample.
        """
        self.name = pathlib.PurePath(picture).name
        self.path = samples.to_path(picture, name)

    @classmethod
    def of_bytes(cls, data: bytes, name: str = "") -> Self:
        """Returns a picture file that is in memory already, with a name if it had one elsewhere."""
        made = cls(name or "the bytes given")
        made.name, made.data = name, data
        return made

    def __fspath__(self) -> str:
        return str(self.path)

    @functools.cached_property
    def data(self) -> bytes:
        """The file's bytes.

        Raises:
            OSError: It cannot be read, is too large, or is a device, which may never end.
        """
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                raise OSError("a device, not a file")
            size, parts = status.st_size, []
            # By parts: a pipe's size is unknown before, and a read of so many bytes takes memory for them.
            while size <= _LARGEST_FILE and (part := file.read(_READ_AT_ONCE)):
                parts.append(part)
                size = max(size, sum(map(len, parts)))
        if size > _LARGEST_FILE:
            raise OSError(f"over {_LARGEST_FILE:,} bytes, the most that are read")
        return b"".join(parts)

    @functools.cached_property
    def sha256(self) -> str:
        """Their SHA-256, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def as_picture(picture: Any, name: str = "picture") -> Picture:
    """Returns a picture of what a user handed in.

    Args:
        picture: A path or a sample, a Pillow image, an array or a tensor ([H, W, 3], [H, W], or [1, H, W, 3]
            as `read` returns it), the bytes of a picture file, or a file opened for them.
        name: What the picture is, for error messages.

    Raises:
        InputError: It is something else, or no bytes can be read from it.
    """
    if isinstance(picture, str | os.PathLike | Image.Image):
        return picture
    if isinstance(picture, bytes | bytearray | memoryview):
        return PictureFile.of_bytes(bytes(picture))
    if hasattr(picture, "__array__"):
        try:
            array = np.asarray(picture)
        except Exception as error:  # of a library that nobody knows here, as for a tensor on a GPU
            raise errors.InputError(
                f"{name}: a {type(picture).__name__} that is no array of this process:"
                f" {errors.one_line(error)}"
            ) from None
        return array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if callable(getattr(picture, "read", None)):
        return PictureFile.of_bytes(_bytes_of(picture, name))
    raise errors.InputError(
        f"{name}: a {type(picture).__name__}; allowed: a path, a Pillow image, an array or a tensor, or a"
        " picture file's bytes or an open one"
    )


def _bytes_of(file: Any, name: str) -> bytes:
    """Returns what a file opened for reading has."""
    try:
        data = file.read(_LARGEST_FILE + 1)
    except Exception as error:  # of whatever has a `read`: archives and connections have their own
        raise errors.InputError(f"{name}: the open file cannot be read: {errors.one_line(error)}") from None
    if isinstance(data, bytes) and len(data) > _LARGEST_FILE:
        raise errors.InputError(f"{name}: over {_LARGEST_FILE:,} bytes, the most that are read")
    if not isinstance(data, bytes):
        raise errors.InputError(f"{name}: a file opened for text; open it for bytes, as in open(path, 'rb')")
    return data


def as_file(picture: str | os.PathLike[str], name: str = "picture") -> PictureFile:
    """Returns the file of a path or a sample, as `PictureFile`."""
    return picture if isinstance(picture, PictureFile) else PictureFile(picture, name)


class Read(NamedTuple):
    """A picture as it was read."""

    image: np.ndarray  # [1, H, W, 3]
    alpha: np.ndarray | None  # [H, W] float32 in [0, 1]; None where it is opaque
    dpi: sixteen_bits.Dpi | None  # pixels an inch, across and down; None where nobody says


def read(
    picture: Picture, name: str = "picture", needed: Needed | None = None, background: float = WHITE
) -> np.ndarray:
    """Reads a picture, upright, as `[1, H, W, 3]` float32 sRGB in [0, 1]; what has alpha over a background.

    Args:
        picture: A path, the name of a sample such as "sample:town", a Pillow image, or an array: [H, W, 3] or
            [H, W], uint8, or floats in [0, 1]; or what else `as_picture` takes.
        name: What the picture is, for error messages.
        needed: The size at which it is used, by its own; a picture of over 24 megapixels is read at about
            twice that size. None reads all of it.
        background: The grey behind what is transparent.

    Raises:
        InputError: The file is missing or no picture, or the array is of the wrong shape or type.
    """
    return read_whole(picture, name, needed, background).image


def read_with_alpha(
    picture: Picture, name: str = "picture", needed: Needed | None = None, background: float = WHITE
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a picture as `read` does, and its alpha, [H, W] float32 in [0, 1]; None where it is opaque.

    Raises:
        InputError: As for `read`.
    """
    return read_whole(picture, name, needed, background)[:2]


def read_whole(
    picture: Picture, name: str = "picture", needed: Needed | None = None, background: float = WHITE
) -> Read:
    """Reads a picture as `read` does, with all that is kept of it.

    Raises:
        InputError: As for `read`.
    """
    picture = as_picture(picture, name)
    if isinstance(picture, np.ndarray):
        factor = 1 if picture.ndim < 2 else _factor(picture.shape[:2], needed)
        if factor == 1:
            return Read(_from_array(picture, name), None, None)
        parts = _by_parts(lambda *part: _from_array(picture[part], name), picture.shape, factor)
        return Read(parts, None, None)
    opened = decoded(picture, name, needed)
    with decoding.reading(name, _source(picture)):
        upright, meant = decoding.turned_upright(opened), decoding.meaning(opened)
        width, height = upright.size
        factor = _factor((height, width), needed)

        def read_part(rows: slice, columns: slice) -> np.ndarray:
            box = (columns.start, rows.start, columns.stop, rows.stop)
            part = upright.crop(box) if factor > 1 else upright
            return _flattened(*decoding.colors(part, name, meant), background)

        image = _by_parts(read_part, (height, width), factor)
    dpi = _dpi(opened)
    if image.shape[-1] == 3:
        return Read(image, None, dpi)
    alpha = image[0, ..., 3].copy()
    return Read(image[..., :3].copy(), None if alpha.min() == 1.0 else alpha, dpi)


def _dpi(picture: Image.Image) -> sixteen_bits.Dpi | None:
    """Returns the pixels an inch of a picture once it is upright; None where they make no sense."""
    try:
        across, down = (float(each) for each in picture.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not all(_FEWEST_DPI < each <= _MOST_DPI for each in (across, down)):  # which NaN is not
        return None
    return (down, across) if decoding.orientation(picture) in decoding.ON_ITS_SIDE else (across, down)


def read_codes(picture: Picture, name: str = "picture") -> np.ndarray:
    """Reads a picture's own numbers, upright, as [H, W, 3] uint8; black where it is transparent.

    Its colour profile is not applied. Of one of over 24 megapixels every second or third pixel is read.

    Raises:
        InputError: As for `read`.
    """
    picture = as_picture(picture, name)
    if isinstance(picture, np.ndarray):
        array = _from_array(picture, name)[0]
        step = _code_step(array.shape[:2])
        return to_uint8(array[::step, ::step])
    opened = decoded(picture, name)
    with decoding.reading(name, _source(picture)):
        upright, step = decoding.turned_upright(opened), _code_step(opened.size)
        if step > 1:
            # As slicing would, without a copy of all pixels: middles of blocks, moved to their first pixels.
            size, off = (-(-upright.width // step), -(-upright.height // step)), (1 - step) / 2
            box = (off, off, off + size[0] * step, off + size[1] * step)
            upright = upright.transform(size, Image.Transform.EXTENT, box, Image.Resampling.NEAREST)
        return decoding.codes(upright, name, decoding.meaning(opened))


def _code_step(size: Sequence[int]) -> int:
    """Returns n where every n-th row and column of a label picture is read."""
    return max(1, math.ceil(math.sqrt(math.prod(size) / _LARGEST_WHOLE)))


def _flattened(colors: np.ndarray, alpha: np.ndarray | None, background: float) -> np.ndarray:
    """Returns colours [H, W, 3] over a grey, as an image; with alpha as a fourth channel where there is any.

    Where nothing is seen the colours are the background's: nobody knows of those in the file.
    """
    if alpha is None:
        return colors[np.newaxis]
    image = np.empty((1, *alpha.shape, 4), np.float32)
    image[0, ..., 3] = alpha
    behind = np.float32(background) * (1 - alpha)
    for channel in range(3):  # one by one: NumPy is slow over an axis of three
        image[0, ..., channel] = colors[..., channel] * alpha + behind
    return image


def _factor(size: Sequence[int], needed: Needed | None) -> int:
    """Returns by which whole number a picture's sides are divided as it is read."""
    if needed is None or math.prod(size) <= _LARGEST_WHOLE:
        return 1
    shares = (own / (_RESERVE * side) for own, side in zip(size, needed(*size), strict=True))
    return max(1, math.floor(min(shares)))


def _by_parts(
    read_part: Callable[[slice, slice], np.ndarray], size: Sequence[int], factor: int
) -> np.ndarray:
    """Returns an image [1, h, w, C] of a picture that is read in parts and reduced by a factor.

    Args:
        read_part: (rows, columns) -> an image of them.
        size: Height and width of the picture.
        factor: Means over so many pixels a side; at the right and lower edge over those that are left.
    """
    height, width = size[:2]
    if factor == 1:
        return read_part(slice(0, height), slice(0, width))
    num_columns = factor * max(1, min(width, _READ_PIXELS // factor) // factor)
    num_rows = factor * max(1, _READ_PIXELS // (num_columns * factor))

    def row_of_parts(top: int) -> np.ndarray:
        rows = slice(top, min(top + num_rows, height))
        lefts = range(0, width, num_columns)
        parts = (read_part(rows, slice(left, min(left + num_columns, width))) for left in lefts)
        return np.concatenate([_reduced(part, factor) for part in parts], axis=2)

    return np.concatenate([row_of_parts(top) for top in range(0, height, num_rows)], axis=1)


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Returns means over blocks of an image [1, H, W, C]."""
    for axis in (1, 2):
        side = image.shape[axis]
        whole, rest = np.split(image, [side // factor * factor], axis=axis)
        # One row of each block after the other: sums over so short an axis are slow.
        rows = [whole[(slice(None),) * axis + (slice(first, None, factor),)] for first in range(factor)]
        means = [sum(rows[1:], start=rows[0]) / np.float32(factor)]
        means += [rest.mean(axis=axis, keepdims=True)] if rest.size else []
        image = np.concatenate(means, axis=axis)
    return np.clip(image, 0.0, 1.0)  # sums are rounded


def read_text(path: pathlib.Path, name: str = "picture") -> str | None:
    """Returns the text that `write` put into a picture; None where there is none.

    Raises:
        InputError: The file is missing or no picture.
    """
    opened = decoded(path, name)
    text = opened.info.get(_TEXT_KEY) or opened.getexif().get(_TEXT_TAG)
    return text if isinstance(text, str) else None


def decoded(picture: Picture, name: str, needed: Needed | None = None) -> Image.Image:
    """Returns a picture decoded (the first one of several), as it is stored.

    With `needed`, as for `read`, a large JPEG is decoded at an eighth, a quarter or half of its size.

    Raises:
        InputError: It cannot be read.
    """
    if isinstance(picture, Image.Image):
        with decoding.reading(name, _source(picture)):
            picture.load()
        return picture
    file = as_file(typing.cast(str | os.PathLike[str], picture), name)
    reduction = None if needed is None else lambda *size: _factor(size, needed)
    return decoding.load(_bytes_of_file(file, name), name, file.path, reduction)


def _source(picture: Picture) -> object:
    """Returns what messages call a picture."""
    return picture.path if isinstance(picture, PictureFile) else "the picture given"


def _bytes_of_file(file: PictureFile, name: str) -> bytes:
    """Returns a file's bytes.

    Raises:
        InputError: They cannot be read.
    """
    try:
        return file.data
    except FileNotFoundError:
        raise errors.InputError(f"{name}: there is no file {file.path}") from None
    except IsADirectoryError:
        raise errors.InputError(f"{name}: {file.path} is a folder, not a picture") from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a name with a null character
        raise errors.InputError(f"{name}: {file.path} cannot be read: {errors.one_line(error)}") from None


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    """Returns the image of an array of [H, W, 3] or [H, W]."""
    if array.ndim == 2:
        array = np.stack([array] * 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
        raise errors.InputError(f"{name}: shape {list(array.shape)}; allowed: [H, W, 3] or [H, W]")
    if array.dtype == np.uint8:
        return np.divide(array, 255.0, dtype=np.float32)[np.newaxis]  # with no copy beside
    if not np.issubdtype(array.dtype, np.floating):
        raise errors.InputError(f"{name}: {array.dtype} array; allowed: uint8, or floats in [0, 1]")
    # The negated form also catches NaN.
    if not (array.min() >= -decoding.ROUNDING and array.max() <= 1 + decoding.ROUNDING):
        raise errors.InputError(
            f"{name}: values from {array.min():g} to {array.max():g}; floats must lie in [0, 1]"
        )
    return np.clip(array, 0, 1).astype(np.float32, copy=False)[np.newaxis]


def check_size(place: files.Place, height: int, width: int) -> None:
    """Finds out before a run whether a format can hold a picture of that size.

    Raises:
        InputError: It cannot.
    """
    name, _ = format_of(place.path)
    largest = _LARGEST_SIDES.get(name, max(height, width))
    if max(height, width) > largest:
        raise errors.InputError(
            f"output: {width} x {height} pixels; allowed: {largest} a side in {name}; write PNG instead"
        )


def check_output(output: str | os.PathLike[str], overwrite: bool, name: str = "output") -> files.Place:
    """Finds out before a run whether a picture can be written there after it; returns its place.

    Raises:
        InputError: The format is unknown, the folder is missing or closed, or the file exists.
    """
    path = pathlib.Path(output)
    format_of(path, name)
    return check_file(path, overwrite, name)


def check_file(path: pathlib.Path, overwrite: bool, name: str = "output") -> files.Place:
    """Finds out before a run whether any file can be written there after it; returns its place.

    Raises:
        InputError: The folder is missing or closed, the path is no file, or the file exists.
    """
    # By os.path, whose functions are false where pathlib's raise: of names that no file can have.
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise errors.InputError(f"{name}: a file name of over {_LONGEST_NAME} bytes; choose a shorter one")
    if "\0" in str(path):
        raise errors.InputError(f"{name}: {str(path)!r} has a null character, which no file's name can have")
    if not os.path.isdir(path.parent):
        raise errors.InputError(f"{name}: there is no folder {path.parent}; make it first")
    if os.path.isdir(path):
        raise errors.InputError(f"{name}: {path} is a folder; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise errors.InputError(f"{name}: the folder {path.parent} cannot be written to")
    if os.path.exists(path) and not os.path.isfile(path):
        raise errors.InputError(f"{name}: {path} is not an ordinary file; name another")
    if os.path.lexists(path) and not overwrite:
        raise errors.InputError(f"{name}: {path} exists; use --overwrite to replace it")
    try:
        return files.Place(path, overwrite)
    except OSError as error:
        raise errors.InputError(f"{name}: {path} cannot be written: {errors.one_line(error)}") from None


def format_of(path: pathlib.Path, name: str = "output") -> tuple[str, dict[str, Any]]:
    """Returns Pillow's name of the format for the path's extension, if it has one, and its options."""
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise errors.unknown_name(f"{name} format", path.suffix, _FORMATS) from None


def check_bit_depth(bit_depth: int, output: str | os.PathLike[str]) -> None:
    """Checks that a file can have so many bits a channel.

    Raises:
        InputError: Its format cannot, or no format can.
    """
    errors.require(bit_depth in BIT_DEPTHS, "bit_depth", bit_depth, " or ".join(map(str, BIT_DEPTHS)))
    path = pathlib.Path(output)
    if bit_depth == 16 and format_of(path)[0] not in _SIXTEEN_BITS:
        allowed = ", ".join(suffix for suffix, (name, _) in _FORMATS.items() if name in _SIXTEEN_BITS)
        raise errors.InputError(f"bit_depth: 16 for {path.suffix}; allowed: 8, or a file in {allowed}")


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Returns `[H, W, 3]` uint8 of an image [1, H, W, 3] or [H, W, 3], clipped and rounded."""
    parts = np.array_split(np.asarray(image).reshape(image.shape[-3:]), 1 + image.size // _WRITTEN_AT_ONCE)
    return np.concatenate([np.rint(np.clip(255.0 * part, 0, 255)).astype(np.uint8) for part in parts])


def write(
    image: np.ndarray,
    output: str | os.PathLike[str],
    *,
    alpha: np.ndarray | None = None,
    text: str | None = None,
    bit_depth: int = 8,
    dpi: sixteen_bits.Dpi | None = None,
) -> None:
    """Writes an image as the file's extension says, whole or not at all.

    A manifest beside a file that is replaced goes with it: it describes the picture before.

    Args:
        image: [1, H, W, 3] or [H, W, 3], sRGB in [0, 1]; clipped.
        output: Where to, a path or a `files.Place`.
        alpha: [H, W] in [0, 1], of an image over white; kept where the format can.
        text: What to put into the file beside the picture, where the format can; `read_text` reads it.
        bit_depth: Bits a channel, one of `BIT_DEPTHS`.
        dpi: Pixels an inch, across and down, as `Read` has them; kept where the format can.

    Raises:
        InputError: The format is unknown, or has not that many bits.
        OSError: The file cannot be written.
    """
    name, options = format_of(pathlib.Path(output))
    check_bit_depth(bit_depth, output)
    image, alpha = image.reshape(image.shape[-3:]), alpha if name in _ALPHA_FORMATS else None
    if alpha is not None:
        image = _lifted(image, alpha)
    if dpi is not None and (name not in _MOST_DPI_OF or max(dpi) > _MOST_DPI_OF[name]):
        dpi = None
    if text is not None and len(text) > _LONGEST_TEXTS.get(name, math.inf):
        text = None
    # By way of memory: Pillow, which writes some formats itself, takes a short write for a whole one.
    if bit_depth == 16:
        parts: Iterable[bytes | memoryview] = _sixteen_bits(name, image, alpha, text, dpi)
    else:
        options = options | ({} if text is None else _text_options(name, text))
        parts = [_eight_bits(name, image, alpha, options | ({} if dpi is None else {"dpi": dpi}))]
    place = files.Place.of(output)
    with files.replacing(place, _outdated(place)) as file:
        for part in parts:
            file.write(part)


def _eight_bits(
    format_name: str, image: np.ndarray, alpha: np.ndarray | None, options: dict[str, Any]
) -> memoryview:
    """Returns a file of an image [H, W, 3] as Pillow makes it with some options.

    Raises:
        OSError: The format cannot hold it.
    """
    picture = Image.fromarray(to_uint8(image))
    if alpha is not None:
        picture.putalpha(Image.fromarray(np.rint(np.clip(alpha, 0.0, 1.0) * 255.0).astype(np.uint8)))
    encoded = io.BytesIO()
    try:
        picture.save(encoded, format=format_name, icc_profile=_srgb_profile(), **options)
    except ValueError as error:  # what a format cannot hold
        raise OSError(errors.one_line(error)) from None
    return encoded.getbuffer()


def _sixteen_bits(
    format_name: str,
    image: np.ndarray,
    alpha: np.ndarray | None,
    text: str | None,
    dpi: sixteen_bits.Dpi | None,
) -> list[bytes]:
    """Returns the parts of a file of an image [H, W, 3]; arguments as for `write`."""
    levels, profile = sixteen_bits.to_uint16(image), _srgb_profile()
    if alpha is not None:
        levels = np.dstack([levels, sixteen_bits.to_uint16(alpha)])
    if format_name == "PNG":
        return [*sixteen_bits.png(levels, profile, None if text is None else (_TEXT_KEY, text), dpi)]
    return [*sixteen_bits.tiff(levels, profile, text, dpi)]


def _outdated(place: files.Place) -> list[str]:
    """Returns the name of the manifest beside a picture, if there is one."""
    name = place.name + MANIFEST_SUFFIX
    path = place.path.with_name(name)
    if not os.path.isfile(path):  # a pipe would be waited for
        return []
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(_LONGEST_MANIFEST))
    except (OSError, ValueError, RecursionError):
        return []
    return [name] if isinstance(found, dict) and "config" in found else []


def over_white(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns an image [H, W, 3] as it can look with an alpha [H, W] over white: white where that is 0."""
    return np.maximum(image, WHITE - alpha[..., np.newaxis])


def _lifted(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns the colours [H, W, 3] that, with alpha, make an image over white; white where that is 0."""
    alpha = alpha[..., np.newaxis]
    return np.where(alpha > 0, WHITE + (image - WHITE) / np.maximum(alpha, _SMALLEST_ALPHA), WHITE)


def _srgb_profile() -> bytes:
    """Returns the sRGB profile, the same bytes whenever it is made.

    Bytes 24 to 35 of a profile's header are the time of its making (ICC.1:2010, 7.2.8), which would make
    every file of one picture another.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def _text_options(format_name: str, text: str) -> dict[str, Any]:
    """Returns Pillow's options that put a text into a file: PNG has a place for it, others have EXIF."""
    if format_name == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt(_TEXT_KEY, text)
        return {"pnginfo": info}
    if format_name == "BMP":
        return {}
    exif = Image.Exif()
    exif[_TEXT_TAG] = text
    return {"exif": exif}
