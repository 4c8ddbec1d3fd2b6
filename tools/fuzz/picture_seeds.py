"""Small pictures, well-formed, in every format that Pillow writes and in some that it only reads."""

import functools
import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from nst_tf import runtime
from nst_tf.io import samples

WIDTH, HEIGHT = 16, 12

MODES = (
    *("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F", "PA", "La"),
    "RGBa",
)
# PDF is written, not read; the others are written by programs that are not there.
_NOT_WRITTEN = frozenset({"PDF", "WMF", "BUFR", "GRIB", "HDF5"})

# Formats in which people have pictures: half of all inputs are of these.
COMMON = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "ICO", "PPM")

_OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "PNG": ({}, {"interlace": 1}),
    "JPEG": ({}, {"progressive": True}, {"quality": 5, "subsampling": 0}, {"restart_marker_blocks": 1}),
    "TIFF": tuple(
        {"compression": name}
        for name in (
            *(None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group3", "group4", "lzma", "zstd"),
        )
    ),
    "WEBP": ({}, {"lossless": True}),
    "JPEG2000": ({}, {"tile_size": (8, 8)}),
    "TGA": ({}, {"compression": "tga_rle"}),
}


# What libtiff compresses in these ways. Pillow 12.3 corrupts memory where libtiff refuses a mode.
_MODES_OF_TIFF = {
    "jpeg": ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
    "group3": ("1",),
    "group4": ("1",),
}


@functools.cache
def seeds() -> dict[str, tuple[bytes, ...]]:
    """Returns {Pillow's name of a format: files}."""
    with runtime.quiet():  # libtiff tells of what it does not write
        return _made()


def _made() -> dict[str, tuple[bytes, ...]]:
    Image.init()
    found: dict[str, list[bytes]] = {}
    for format_name in sorted(set(Image.SAVE) - _NOT_WRITTEN):
        for options in _OPTIONS.get(format_name, ({},)):
            for mode in _MODES_OF_TIFF.get(options.get("compression", ""), MODES):
                if data := _saved(picture(mode), format_name, **options):
                    found.setdefault(format_name, []).append(data)
    for format_name, data in (*_with_extras(), *_animated(), *_unwritten(), *_of_the_package()):
        found.setdefault(format_name, []).append(data)
    return {name: tuple(dict.fromkeys(files)) for name, files in found.items()}


def picture(mode: str) -> Image.Image:
    """Returns a picture of that mode."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    levels = np.stack([rows * 20, columns * 15, (rows + columns) * 9, 255 - rows * 18], axis=-1).astype(
        np.uint8
    )
    full = Image.fromarray(levels, "RGBA")
    if mode == "I;16":
        return Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    if mode == "LAB":
        profile = ImageCms.createProfile("sRGB")
        made = ImageCms.profileToProfile(
            full.convert("RGB"), profile, ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert made is not None
        made.info.clear()  # of the profile, which has the time of its making
        return made
    if mode == "PA":
        return full.convert("P").convert("PA")
    if mode in ("La", "RGBa"):
        return full.convert("LA" if mode == "La" else "RGBA").convert(mode)
    return full.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "HSV", "P") else full.convert(mode)


def profile() -> bytes:
    """Returns the sRGB profile, without the time of its making (ICC.1:2010, 7.2.8)."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data[:24] + bytes(12) + data[36:]


def exif(orientation: Any = 6, text: str = "") -> Image.Exif:
    """Returns EXIF data."""
    made = Image.Exif()
    made[0x0112], made[0x010F], made[0x011A] = orientation, "camera", 72.0
    if text:
        made[0x010E] = text
    return made


def _saved(image: Image.Image, format_name: str, **options: Any) -> bytes | None:
    """Returns a file; None where the format has no such pictures."""
    file = io.BytesIO()
    try:
        image.save(file, format_name, **options)
    except Exception:  # each of Pillow's writers has its own way to refuse
        return None
    return file.getvalue()


def _with_extras() -> Iterator[tuple[str, bytes]]:
    """Yields files with transparency, colour profiles, EXIF data and texts."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("nst_tf", "{}", zip=True)
    info.add_text("Comment", "text", zip=True)
    extras: tuple[dict[str, Any], ...] = (
        {"transparency": 3},
        {"transparency": bytes(range(0, 250, 10))},
        {"icc_profile": profile()},
        {"icc_profile": profile()[:200]},
        {"exif": exif()},
        {"exif": exif(5), "icc_profile": profile(), "pnginfo": info, "dpi": (72, 72), "comment": b"text"},
    )
    for format_name in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000", "MPO"):
        for mode in ("P", "RGB", "RGBA", "L", "CMYK"):
            for options in extras:
                if data := _saved(picture(mode), format_name, **options):
                    yield format_name, data


def _animated() -> Iterator[tuple[str, bytes]]:
    frames = [
        picture("RGB"),
        picture("RGB").rotate(90),
        picture("RGB").crop((4, 4, 9, 9)).resize((WIDTH, HEIGHT)),
    ]
    for format_name in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):  # an animated AVIF has the time of its making
        for mode in ("P", "RGB", "RGBA"):
            converted = [frame.convert(mode) for frame in frames]
            options: dict[str, Any] = {
                "save_all": True,
                "append_images": converted[1:],
                "duration": 20,
                "loop": 0,
            }
            if data := _saved(converted[0], format_name, **options):
                yield format_name, data


def _unwritten() -> Iterator[tuple[str, bytes]]:
    """Yields files of formats that Pillow reads and does not write, after its own readers of them."""
    count = WIDTH * HEIGHT
    grey = picture("L").tobytes()
    yield "PSD", b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, HEIGHT, WIDTH, 8, 1) + bytes(12) + b"\0\0" + grey
    yield "SUN", struct.pack(">8I", 0x59A66A95, WIDTH, HEIGHT, 8, count, 1, 0, 0) + grey
    rows = ",\n".join('"' + "ab" * (WIDTH // 2) + '"' for _ in range(HEIGHT))
    head = f'"{WIDTH} {HEIGHT} 2 1",\n"a c #000000",\n"b c #ffffff"'
    yield "XPM", f"/* XPM */\nstatic char *x[] = {{\n{head},\n{rows}\n}};\n".encode()
    yield (
        "FLI",
        struct.pack("<IHHHHHHI", 128, 0xAF11, 1, WIDTH, HEIGHT, 8, 3, 5)
        + bytes(108)
        + b"\x10\0\0\0\xfa\xf1"
        + bytes(80),
    )
    yield "GBR", struct.pack(">5I", 28, 2, WIDTH, HEIGHT, 1) + b"GIMP\0\0\0\x0a" + grey
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", f"NAXIS1  = {WIDTH}", f"NAXIS2  = {HEIGHT}", "END")
    yield "FITS", "".join(card.ljust(80) for card in cards).ljust(2880).encode() + grey
    yield "IMT", b"*\nwidth 16\nheight 12\n" + b"\x0c\n" + grey
    yield "XVTHUMB", b"P7 332\n#END_OF_COMMENTS\n16 12 255\n" + grey
    if icon := _saved(picture("RGBA"), "ICO", bitmap_format="bmp"):
        yield "CUR", b"\0\0\2\0" + icon[4:]
    if painted := _saved(picture("P"), "PCX"):
        yield "DCX", struct.pack("<III", 987654321, 12, 0) + painted


def _of_the_package() -> Iterator[tuple[str, bytes]]:
    """Yields the package's own sample pictures, small."""
    for name in samples.FILES:
        with Image.open(samples.to_path(name)) as opened:
            format_name = str(opened.format)
            small = opened.resize((WIDTH * 2, HEIGHT * 2))
            if data := _saved(small, format_name):
                yield format_name, data
