"""Picture files as Pillow opens them, and what the numbers of each of its modes mean.

Only named formats are opened: others would start programs, as EPS starts Ghostscript, or hold no picture.
"""

import contextlib
import importlib.util
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from nst_tf import errors

# (height, width) of a picture -> by which whole number its sides may be divided as it is read.
Reduction = Callable[[int, int], int]

# Pillow's names of the formats that are read; MPO, of several JPEGs, is opened as JPEG.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "PSD", "QOI", "TGA", "TIFF", "WEBP")
_SUGGESTED = "PNG, JPEG or TIFF"  # to convert to
_PNG = b"\x89PNG\r\n\x1a\n"

# Pillow's names of the formats that can be decoded at a fraction of their size.
_WITH_DRAFTS = frozenset({"JPEG", "MPO"})

# The marker that begins a scan of a JPEG (ITU-T T.81, B.2.3). A progressive one has about ten; each goes over
# all pixels. More than so many pixels in all, with more scans than usual, are there to take time.
_JPEG_SCAN, _USUAL_SCANS, _MOST_SCANNED = b"\xff\xda", 64, 2 * 10**9

# What Pillow raises for damaged files: SyntaxError for PNG, RuntimeError for AVIF, others for a header whose
# fields contradict each other.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError),
    *(MemoryError, ArithmeticError, EOFError, struct.error, zlib.error, AssertionError),
    ImportError,  # a pillow-heif that does not fit this system
)

# What is behind the first bytes of files that people take for pictures: (offset, bytes, what it is).
_OTHERS = (
    (0, b"%!PS", "an EPS file"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"\xff\x0a", "a JPEG XL file"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL file"),
    (4, b"ftypcrx", "a camera's raw file"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (0, b"IIRO", "a camera's raw file"),
    (0, b"IIRS", "a camera's raw file"),
    (0, b"IIU\0", "a camera's raw file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (0, b"#?RADIANCE", "a Radiance HDR file"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"version https://git-lfs", "the pointer of a file that Git LFS keeps elsewhere"),
    (4, b"ftypisom", "a video"),
    (4, b"ftypmp4", "a video"),
    (4, b"ftypqt", "a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
)
_MARKUP = ((b"<svg", "an SVG drawing"), (b"<html", "a web page"), (b"<!doctype html", "a web page"))

# Brands of HEIF files with HEVC pictures (ISO/IEC 23008-12, annex B).
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

# TIFF's tags and what they say here (TIFF 6.0; DNG 1.7).
_SUBFILE, _BITS, _PHOTOMETRIC, _DNG_VERSION = 254, 258, 262, 50706
_IS_REDUCED, _WHITE_IS_ZERO = 1, 0
# Where Canon's raw files, which are TIFFs of their preview, say that they are.
_CANON_RAW = slice(8, 10), b"CR"

# EXIF's orientations with rows and columns exchanged.
ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_ORIENTATION_TAG = 0x0112

# The largest value of deep modes: what is white.
_DEEP = {"I;16": 65535.0, "I;16L": 65535.0, "I;16B": 65535.0, "I;16N": 65535.0, "I": 65535.0, "F": 1.0}
# The other modes, all of 0..255, by what they are converted to first: with alpha, or without.
_WITH_ALPHA = {"LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}
_OPAQUE = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})

_LEVELS = 255
ROUNDING = 1e-6  # by which floats may lie outside [0, 1]

# The colour spaces of profiles, as they name them, by the mode that they are applied to.
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


class Meaning(NamedTuple):
    """What the numbers of a picture mean beside its mode."""

    profile: bytes | None  # the colour profile, ICC
    white: float  # of a deep mode
    inverted: bool  # of a deep mode: 0 is white


def load(data: bytes, name: str, path: object, reduction: Reduction | None = None) -> Image.Image:
    """Decodes the bytes of a picture file, the first picture of several.

    Args:
        data: The file's.
        name: What the picture is, for error messages.
        path: Its file, for error messages.
        reduction: JPEGs are decoded at an eighth, a quarter or half of their size where it allows that.

    Raises:
        InputError: It is no picture, damaged, too large, or of a format that is not read.
    """
    with reading(name, path):
        try:
            picture = _opened(data, reduction)
        except UnidentifiedImageError:
            raise errors.InputError(f"{name}: {path} {_refusal(data)}") from None
        except Image.DecompressionBombError:
            raise errors.InputError(
                f"{name}: {path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, the limit that"
                " keeps a small file from filling the memory; make it smaller first"
            ) from None
        _check_developed(picture, data, name, path)
        return picture


@contextlib.contextmanager
def reading(name: str, path: object) -> Iterator[None]:
    """Turns what Pillow raises for damaged pictures into an error of one line; arguments as for `load`.

    Raises:
        InputError: The picture cannot be read.
    """
    try:
        yield
    except errors.InputError:
        raise
    except _DAMAGED as error:
        raise errors.InputError(f"{name}: {path} cannot be read: {errors.one_line(error)}") from None


def _opened(data: bytes, reduction: Reduction | None) -> Image.Image:
    try:
        return _loaded(data, reduction)
    except UnidentifiedImageError:
        if not (_is_heic(data) and importlib.util.find_spec("pillow_heif")):
            raise
        return _heic(data)
    except ValueError:
        if not data.startswith(_PNG):
            raise
        # Pillow refuses long texts, which are nothing to a picture.
        return _loaded(_without_texts(data), reduction)


def _loaded(data: bytes, reduction: Reduction | None) -> Image.Image:
    Image.init()
    known = [each for each in FORMATS if each in Image.OPEN]  # Pillow may be built without some
    opened = Image.open(io.BytesIO(data), formats=known)
    scans = data.count(_JPEG_SCAN) if opened.format in _WITH_DRAFTS else 1
    if scans * opened.width * opened.height > _MOST_SCANNED and scans > _USUAL_SCANS:
        raise ValueError(f"a JPEG of {scans:,} scans, which would take minutes")
    if reduction is not None and opened.format in _WITH_DRAFTS:
        factor = _turned(opened, reduction)
        opened.draft(opened.mode, (opened.width // factor, opened.height // factor))
    opened.load()
    return opened


def _turned(picture: Image.Image, reduction: Reduction) -> int:
    """Returns the reduction of a picture that may lie on its side as it is stored."""
    height, width = picture.size[::-1]
    return reduction(width, height) if orientation(picture) in ON_ITS_SIDE else reduction(height, width)


def _is_heic(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC


def _heic(data: bytes) -> Image.Image:
    """Returns the picture of a HEIC file, upright, by the optional `pillow-heif`."""
    import pillow_heif

    opened = pillow_heif.open_heif(io.BytesIO(data))
    width, height = opened.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    picture: Image.Image = opened.to_pillow()
    return picture


def _without_texts(data: bytes) -> bytes:
    """Returns a PNG without its texts, but for those of this program, which are short."""
    parts, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at : at + 12 + length]
        own = chunk[8:].startswith(b"nst_tf\0") and length < PngImagePlugin.MAX_TEXT_CHUNK
        if own or kind not in (b"tEXt", b"zTXt", b"iTXt"):
            parts.append(chunk)
        at += len(chunk)
    return b"".join(parts)


def _check_developed(picture: Image.Image, data: bytes, name: str, path: object) -> None:
    """Checks that a TIFF is not a camera's raw file, of which Pillow sees the preview.

    Raises:
        InputError: It is.
    """
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return
    where, mark = _CANON_RAW
    tags = picture.tag_v2
    is_reduced = int(tags.get(_SUBFILE, 0)) & _IS_REDUCED
    if is_reduced or _DNG_VERSION in tags or data[where] == mark:
        raise errors.InputError(
            f"{name}: {path} is a camera's raw file, of which only a preview of {picture.width} x"
            f" {picture.height} pixels could be read; develop it first, into {_SUGGESTED}"
        )


def _refusal(data: bytes) -> str:
    """Returns what a file is that is no picture in one of `FORMATS`, and what to do."""
    if not data:
        return "is empty, not a picture"
    if _is_heic(data):
        return (
            "is a HEIC file, which the optional package pillow-heif reads: pip install pillow-heif; or"
            f" convert it to {_SUGGESTED}"
        )
    start = data[:1024].lower()
    found = [what for offset, mark, what in _OTHERS if data[offset : offset + len(mark)] == mark]
    found += [what for mark, what in _MARKUP if mark in start]
    if found:
        return f"is {found[0]}, which is not read; convert it to {_SUGGESTED}"
    return f"is not a picture in a known format; allowed: {', '.join(FORMATS)}"


def meaning(picture: Image.Image) -> Meaning:
    """Returns what the numbers of a picture as it was loaded mean."""
    profile, white = picture.info.get("icc_profile"), _DEEP.get(picture.mode, float(_LEVELS))
    if picture.mode not in _DEEP or not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return Meaning(profile, white, False)
    bits = picture.tag_v2.get(_BITS)
    depth = bits[0] if isinstance(bits, tuple) else bits
    if picture.mode.startswith("I;16") and isinstance(depth, int) and 8 < depth < 16:
        white = 2.0**depth - 1  # twelve bits, which Pillow does not stretch to sixteen
    # Pillow turns eight-bit ones round itself.
    return Meaning(profile, white, picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def colors(picture: Image.Image, name: str, meant: Meaning) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the colours of a Pillow picture, and its alpha.

    Args:
        picture: Upright, of any size: a part of what `meant` was made of.
        name: What the picture is, for error messages.
        meant: What its numbers mean; with a profile the colours are converted to sRGB.

    Returns:
        [H, W, 3] float32 sRGB in [0, 1], not multiplied by alpha; and alpha [H, W], likewise, or None.

    Raises:
        InputError: Its mode is unknown, or a value is outside the mode's range.
    """
    if picture.mode in _DEEP:
        return _deep(picture, name, meant)
    opaque, alpha = _split(picture, name)
    levels = np.asarray(_to_srgb(opaque, meant.profile))
    return (
        np.divide(levels, _LEVELS, dtype=np.float32),
        None if alpha is None else np.divide(np.asarray(alpha), _LEVELS, dtype=np.float32),
    )


def codes(picture: Image.Image, name: str, meant: Meaning) -> np.ndarray:
    """Returns the numbers of a label picture, [H, W, 3] uint8: not converted, black where it is transparent.

    Raises:
        InputError: As for `colors`.
    """
    if picture.mode in _DEEP:
        grey, seen = _deep(picture, name, meant._replace(profile=None))
        levels = np.rint(grey * _LEVELS).astype(np.uint8)
        return levels if seen is None else levels * (seen[..., np.newaxis] > 0)
    opaque, alpha = _split(picture, name)
    own = np.asarray(_to_srgb(opaque, None))
    return own if alpha is None else own * (np.asarray(alpha)[..., np.newaxis] > 0)


def _split(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Returns a picture of eight bits without its alpha, and that.

    Raises:
        InputError: Its mode is unknown.
    """
    if "transparency" in picture.info and picture.mode not in _WITH_ALPHA:
        picture = _keyed(picture)
    if picture.mode in _WITH_ALPHA:
        picture = picture.convert(_WITH_ALPHA[picture.mode])
        opaque = picture.getchannel("L") if picture.mode == "LA" else picture.convert("RGB")
        return opaque, picture.getchannel("A")
    if picture.mode not in _OPAQUE:
        raise _unknown_mode(picture.mode, name)
    return picture, None


def _keyed(picture: Image.Image) -> Image.Image:
    """Returns a picture in which one colour is transparent as one with alpha."""
    key = picture.info["transparency"]
    if isinstance(key, tuple) and max(key) > _LEVELS:  # of sixteen bits, whose upper eight Pillow reads
        picture = picture.copy()
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    return picture.convert("RGBA")


def _deep(picture: Image.Image, name: str, meant: Meaning) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the colours and the alpha of a grey picture of more than eight bits."""
    values = np.asarray(picture, np.float32)
    key = picture.info.get("transparency")
    alpha = (values != key).astype(np.float32) if isinstance(key, int) else None
    least, most = float(values.min()), float(values.max())
    # The negated form also catches NaN.
    if not (least >= -ROUNDING and most <= meant.white * (1 + ROUNDING)):
        raise errors.InputError(
            f"{name}: a picture of mode {picture.mode} with values from {least:g} to {most:g}; they must be"
            f" from 0 (black) to {meant.white:g} (white)"
        )
    grey = np.clip(values / np.float32(meant.white), 0.0, 1.0)
    if meant.inverted:
        grey = 1.0 - grey
    # A profile is applied to eight bits; between two of its levels the curve is straight.
    ramp = np.arange(_LEVELS + 1)
    curve = np.asarray(_to_srgb(Image.fromarray(ramp[np.newaxis].astype(np.uint8)), meant.profile))[0]
    channels = [np.interp(grey, ramp / _LEVELS, channel / _LEVELS) for channel in curve.T]
    return np.stack(channels, axis=-1).astype(np.float32), alpha


def _unknown_mode(mode: str, name: str) -> errors.InputError:
    allowed = ", ".join(sorted({*_OPAQUE, *_WITH_ALPHA, *_DEEP}))
    return errors.InputError(f"{name}: a picture of mode {mode}; allowed: {allowed}")


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Returns the picture in mode RGB, converted from its colour profile if that can be applied."""
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = _SPACES[source.profile.xcolor_space.strip()]
            if mode == "RGB" and picture.mode in ("CMYK", "LAB"):
                raise ValueError(picture.mode)
            if mode != "RGB" and picture.mode != mode:
                raise ValueError(picture.mode)
            own = picture if picture.mode == mode else picture.convert(mode)
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(own, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def turned_upright(picture: Image.Image) -> Image.Image:
    """Returns the picture, turned as its EXIF data says; damaged data says nothing."""
    if orientation(picture) == 1:
        return picture  # of which Pillow would make a copy
    try:
        return ImageOps.exif_transpose(picture)
    except _DAMAGED:
        return picture


def orientation(picture: Image.Image) -> int:
    """Returns EXIF's orientation; 1, upright, where there is none or it is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except _DAMAGED:
        return 1
