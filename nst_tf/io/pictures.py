"""Picture files and whatever else people have pictures in, in and out through Pillow.

Inside they are images: `[1, H, W, 3]` float32 sRGB in [0, 1]; see `images`.
"""

import contextlib
import functools
import hashlib
import io
import math
import os
import pathlib
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from nst_tf import errors
from nst_tf.io import files, samples

# What pictures are in here; `given` makes it of whatever else a user hands in.
Picture = str | os.PathLike[str] | Image.Image | np.ndarray

# (height, width) of a picture -> the size at which it is used.
Needed = Callable[[int, int], tuple[int, int]]

# Pixels of a photograph that is read whole whatever is needed of it: what most cameras make. Larger ones are
# read at twice the size that is needed, of which an antialiased reduction makes the same picture.
_LARGEST_WHOLE, _RESERVE = 24_000_000, 2
_STRIP_ROWS = 256  # read at a time, of a larger picture

# Pillow's names of the formats that can be decoded at a fraction of their size.
_WITH_DRAFTS = frozenset({"JPEG", "MPO"})

# What Pillow raises for damaged EXIF data.
_DAMAGED_EXIF = (OSError, SyntaxError, ValueError, TypeError, struct.error)

# EXIF's orientations with rows and columns exchanged.
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})

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
_WITH_ALPHA = frozenset({"PNG", "WEBP", "TIFF"})

_ROUNDING = 1e-6  # by which floats may lie outside [0, 1]
_LONGEST_NAME = 255  # what file systems allow
_PART = 2**20  # numbers of a picture that are there as floats beside it, at most

# Where a text is kept in a picture: a chunk of PNG by this name, EXIF's ImageDescription elsewhere.
_TEXT_KEY, _TEXT_TAG, _ORIENTATION_TAG = "nst_tf", 0x010E, 0x0112


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
    def of_bytes(cls, data: bytes) -> Self:
        """Returns a picture file that is in memory already."""
        made = cls("the bytes given")
        made.name, made.data = "", data
        return made

    def __fspath__(self) -> str:
        return str(self.path)

    @functools.cached_property
    def data(self) -> bytes:
        """The file's bytes.

        Raises:
            OSError: It cannot be read.
        """
        return self.path.read_bytes()

    @functools.cached_property
    def sha256(self) -> str:
        """Their SHA-256, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def given(picture: Any, name: str = "picture") -> Picture:
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
        array = np.asarray(picture)
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
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed, or a text that cannot be decoded
        raise errors.InputError(f"{name}: the open file cannot be read: {errors.one_line(error)}") from None
    if not isinstance(data, bytes):
        raise errors.InputError(f"{name}: a file opened for text; open it for bytes, as in open(path, 'rb')")
    return data


def as_file(picture: str | os.PathLike[str], name: str = "picture") -> PictureFile:
    """Returns the file of a path or a sample, as `PictureFile`."""
    return picture if isinstance(picture, PictureFile) else PictureFile(picture, name)


def read(picture: Picture, name: str = "picture", needed: Needed | None = None) -> np.ndarray:
    """Reads a picture, upright, as `[1, H, W, 3]` float32 sRGB in [0, 1]; of alpha only the colours stay.

    Args:
        picture: A path, the name of a sample such as "sample:town", a Pillow image, or an array: [H, W, 3] or
            [H, W], uint8, or floats in [0, 1]; or what else `given` takes.
        name: What the picture is, for error messages.
        needed: The size at which it is used, by its own; a picture of over 24 megapixels is read at about
            twice that size. None reads all of it.

    Raises:
        InputError: The file is missing or no picture, or the array is of the wrong shape or type.
    """
    return read_with_alpha(picture, name, needed)[0]


def read_with_alpha(
    picture: Picture, name: str = "picture", needed: Needed | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a picture as `read` does, and its alpha, [H, W] float32 in [0, 1]; None where it is opaque.

    Raises:
        InputError: As for `read`.
    """
    picture = given(picture, name)
    if isinstance(picture, np.ndarray):
        factor = 1 if picture.ndim < 2 else _factor(picture.shape[:2], needed)
        if factor == 1:
            return _from_array(picture, name), None
        return _by_strips(lambda rows: _from_array(picture[rows], name), len(picture), factor), None
    with decoded(picture, name, needed) as opened:
        upright = turned_upright(opened)
        width, height = upright.size
        factor = _factor((height, width), needed)
        profile = opened.info.get("icc_profile")

        def strip(rows: slice) -> Image.Image:
            return upright.crop((0, rows.start, width, rows.stop)) if factor > 1 else upright

        image = _by_strips(lambda rows: _from_pillow(strip(rows), name, profile), height, factor)
        if not opened.has_transparency_data:
            return image, None
        return image, _by_strips(lambda rows: _alpha(strip(rows)), height, factor)[0, :, :, 0]


def _factor(size: Sequence[int], needed: Needed | None) -> int:
    """Returns by which whole number a picture's sides are divided as it is read."""
    if needed is None or math.prod(size) <= _LARGEST_WHOLE:
        return 1
    shares = (own / (_RESERVE * side) for own, side in zip(size, needed(*size), strict=True))
    return max(1, math.floor(min(shares)))


def _by_strips(read_rows: Callable[[slice], np.ndarray], height: int, factor: int) -> np.ndarray:
    """Returns an image [1, h, w, C] of a picture whose rows are read in parts and reduced by a factor.

    Args:
        read_rows: (rows) -> an image of them.
        height: Of the picture.
        factor: Means over so many pixels a side; at the right and lower edge over those that are left.
    """
    if factor == 1:
        return read_rows(slice(0, height))
    step = factor * max(1, _STRIP_ROWS // factor)
    strips = (read_rows(slice(top, min(top + step, height))) for top in range(0, height, step))
    return np.concatenate([_reduced(strip, factor) for strip in strips], axis=1)


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Returns means over blocks of an image [1, H, W, C]."""
    for axis in (1, 2):
        begins = np.arange(0, image.shape[axis], factor)
        counts = np.diff(np.append(begins, image.shape[axis])).astype(np.float32)
        shape = [-1 if each == axis else 1 for each in range(4)]
        image = np.add.reduceat(image, begins, axis=axis) / counts.reshape(shape)
    return np.clip(image, 0.0, 1.0)  # sums are rounded


def read_text(path: pathlib.Path) -> str | None:
    """Returns the text that `write` put into a picture; None where there is none.

    Raises:
        InputError: The file is missing or no picture.
    """
    with decoded(path, "picture") as opened:
        text = opened.info.get(_TEXT_KEY) or opened.getexif().get(_TEXT_TAG)
        return text if isinstance(text, str) else None


@contextlib.contextmanager
def decoded(
    picture: str | os.PathLike[str] | Image.Image, name: str, needed: Needed | None = None
) -> Iterator[Image.Image]:
    """Opens and decodes a picture (the first one of several), as `InputError` where that fails.

    With `needed`, as for `read`, a large JPEG is decoded at an eighth, a quarter or half of its size.
    """
    if not isinstance(picture, Image.Image):
        picture = as_file(picture, name)
    path = picture.path if isinstance(picture, PictureFile) else "the picture given"
    try:
        if isinstance(picture, Image.Image):
            picture.load()
            yield picture
            return
        with warnings.catch_warnings():
            # Pillow warns at half of the size that it refuses, and about data that it skips; neither is a
            # mistake of the user's.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(io.BytesIO(picture.data)) as opened:
                if needed is not None and opened.format in _WITH_DRAFTS:
                    factor = _factor(opened.size[::-1], _turned(opened, needed))
                    opened.draft(opened.mode, (opened.width // factor, opened.height // factor))
                opened.load()
                yield opened
    except errors.InputError:
        raise
    except FileNotFoundError:
        raise errors.InputError(f"{name}: there is no file {path}") from None
    except IsADirectoryError:
        raise errors.InputError(f"{name}: {path} is a folder, not a picture") from None
    except UnidentifiedImageError:
        raise errors.InputError(f"{name}: {path} is not a picture in a known format") from None
    except Image.DecompressionBombError:
        raise errors.InputError(
            f"{name}: {path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, the limit that"
            " keeps a small file from filling the memory; make it smaller first"
        ) from None
    except (OSError, SyntaxError, ValueError, RuntimeError, MemoryError, struct.error) as error:
        # Pillow raises all of these for damaged files: SyntaxError for PNG, RuntimeError for AVIF.
        raise errors.InputError(f"{name}: {path} cannot be read: {errors.one_line(error)}") from None


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
    if not (array.min() >= -_ROUNDING and array.max() <= 1 + _ROUNDING):
        raise errors.InputError(
            f"{name}: values from {array.min():g} to {array.max():g}; floats must lie in [0, 1]"
        )
    return np.clip(array, 0, 1).astype(np.float32, copy=False)[np.newaxis]


def _from_pillow(upright: Image.Image, name: str, profile: bytes | None) -> np.ndarray:
    """Returns the image of an upright Pillow picture with a colour profile: in sRGB, alpha dropped."""
    if upright.mode.startswith("I;16") or upright.mode == "I":
        # Sixteen-bit grey; Pillow's own conversion to RGB would clip it at 255.
        grey = np.asarray(upright, dtype=np.float32) / 65535.0
        return _from_array(np.clip(grey, 0.0, 1.0), name)
    if upright.mode in ("P", "PA", "RGBA", "RGBa") or "transparency" in upright.info:
        # By way of RGBA, which keeps the colours of what is transparent; then without it.
        upright = upright.convert("RGBA").convert("RGB")
    elif upright.mode in ("LA", "La"):
        upright = upright.getchannel("L")
    return _from_array(np.asarray(_to_srgb(upright, profile)), name)


def _alpha(upright: Image.Image) -> np.ndarray:
    """Returns the alpha of an upright Pillow picture that has any, [1, H, W, 1]."""
    alpha = upright.convert("RGBA").getchannel("A")
    return (np.asarray(alpha, np.float32) / 255.0)[np.newaxis, :, :, np.newaxis]


def _turned(picture: Image.Image, needed: Needed) -> Needed:
    """Returns `needed` by the size of a picture as it is stored, which may lie on its side."""
    if _orientation(picture) not in _ON_ITS_SIDE:
        return needed
    return lambda height, width: needed(width, height)[::-1]


def turned_upright(picture: Image.Image) -> Image.Image:
    """Returns the picture, turned as its EXIF data says; damaged data says nothing."""
    if _orientation(picture) == 1:
        return picture  # of which Pillow would make a copy
    try:
        return ImageOps.exif_transpose(picture)
    except _DAMAGED_EXIF:
        return picture


def _orientation(picture: Image.Image) -> int:
    """Returns EXIF's orientation; 1, upright, where there is none or it is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except _DAMAGED_EXIF:
        return 1


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Returns the picture in mode RGB, converted from its embedded colour profile if it has one."""
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a broken profile: as if it had none
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def check_output(output: str | os.PathLike[str], overwrite: bool, name: str = "output") -> None:
    """Finds out before a run whether a picture can be written there after it.

    Raises:
        InputError: The format is unknown, the folder is missing or closed, or the file exists.
    """
    path = pathlib.Path(output)
    format_of(path, name)
    check_file(path, overwrite, name)


def check_file(path: pathlib.Path, overwrite: bool, name: str = "output") -> None:
    """Finds out before a run whether any file can be written there after it.

    Raises:
        InputError: The folder is missing or closed, the path is no file, or the file exists.
    """
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise errors.InputError(f"{name}: a file name of over {_LONGEST_NAME} bytes; choose a shorter one")
    if not path.parent.is_dir():
        raise errors.InputError(f"{name}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise errors.InputError(f"{name}: {path} is a folder; name a file in it")
    if not os.access(path.resolve().parent, os.W_OK):
        raise errors.InputError(f"{name}: the folder {path.resolve().parent} cannot be written to")
    if path.exists() and not path.is_file():
        raise errors.InputError(f"{name}: {path} is not an ordinary file; name another")
    if path.exists() and not overwrite:
        raise errors.InputError(f"{name}: {path} exists; use --overwrite to replace it")


def format_of(path: pathlib.Path, name: str = "output") -> tuple[str, dict[str, Any]]:
    """Returns Pillow's name of the format for the path's extension, if it has one, and its options."""
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise errors.unknown_name(f"{name} format", path.suffix, _FORMATS) from None


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Returns `[H, W, 3]` uint8 of an image [1, H, W, 3] or [H, W, 3], clipped and rounded."""
    parts = np.array_split(np.asarray(image).reshape(image.shape[-3:]), 1 + image.size // _PART)
    return np.concatenate([np.rint(np.clip(255.0 * part, 0, 255)).astype(np.uint8) for part in parts])


def write(
    image: np.ndarray,
    output: str | os.PathLike[str],
    *,
    alpha: np.ndarray | None = None,
    text: str | None = None,
) -> None:
    """Writes an image as the file's extension says, whole or not at all.

    Args:
        image: [1, H, W, 3] or [H, W, 3], sRGB in [0, 1]; clipped.
        output: Where to; an existing file is replaced.
        alpha: [H, W] in [0, 1]; kept where the format can.
        text: What to put into the file beside the picture, where the format can; `read_text` reads it.

    Raises:
        InputError: The format is unknown.
        OSError: The file cannot be written.
    """
    path = pathlib.Path(output)
    name, options = format_of(path)
    picture = Image.fromarray(to_uint8(image))
    if alpha is not None and name in _WITH_ALPHA:
        picture.putalpha(Image.fromarray(np.rint(np.clip(alpha, 0.0, 1.0) * 255.0).astype(np.uint8)))
    if text is not None:
        options = options | _text_options(name, text)
    # By way of memory: Pillow, which writes some formats itself, takes a short write for a whole one.
    encoded = io.BytesIO()
    picture.save(encoded, format=name, icc_profile=_srgb_profile(), **options)
    with files.replacing(path) as file:
        file.write(encoded.getbuffer())


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
