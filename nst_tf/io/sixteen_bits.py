"""PNG and TIFF files of sixteen bits a channel, which Pillow does not write in colour.

Pixels are `[H, W, C]` uint16 sRGB with C 3, or 4 with alpha that colours are not multiplied by. Files come in
parts, to be written one after the other: a large picture is compressed strip by strip.
"""

import fractions
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

Dpi = tuple[float, float]  # pixels an inch, across and down

_STRIP_BYTES = (
    2**20
)  # of rows that are filtered and compressed at once: their copies are small beside a picture

# PNG (W3C, third edition): signature; names of colour types; the kind of a text without compression.
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TYPES = {3: 2, 4: 6}
_PLAIN_TEXT = b"\0\0\0\0"  # after a keyword: not compressed, no language, no translated keyword
_PER_METRE, _INCH = b"\1", 0.0254  # the unit of pHYs, and an inch in it

# TIFF 6.0: types of fields with their bytes and struct's letter, and tags.
_SHORT, _LONG, _RATIONAL, _ASCII, _UNDEFINED = 3, 4, 5, 2, 7
_LETTERS = {_SHORT: "H", _LONG: "I", _RATIONAL: "I"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _TEXT = 256, 257, 258, 259, 262, 270
_STRIPS, _CHANNELS, _STRIP_ROWS, _STRIP_SIZES, _ACROSS, _DOWN = 273, 277, 278, 279, 282, 283
_UNIT, _PREDICTOR, _EXTRA, _PROFILE = 296, 317, 338, 34675
_DEFLATE, _RGB, _INCHES, _DIFFERENCES, _ALPHA = 8, 2, 2, 2, 2  # values of some of them
_LARGEST_RATIO = 10**6  # of the parts of a fraction, which have 32 bits


def to_uint16(image: np.ndarray) -> np.ndarray:
    """Returns an image [H, ...] of floats as levels from 0 to 65535, clipped and rounded."""
    levels = np.empty(image.shape, np.uint16)
    for own, row in zip(levels, image, strict=True):  # in float64, whose products are exact
        own[:] = np.rint(np.clip(row.astype(np.float64), 0.0, 1.0) * 65535.0)
    return levels


def png(pixels: np.ndarray, profile: bytes, text: tuple[str, str] | None, dpi: Dpi | None) -> Iterator[bytes]:
    """Yields the parts of a PNG.

    Args:
        pixels: As above.
        profile: The colour profile, ICC.
        text: A keyword and what it stands for; None for none.
        dpi: None for none.
    """
    height, width, channels = pixels.shape
    yield _PNG
    yield _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_TYPES[channels], 0, 0, 0))
    yield _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile))
    if dpi is not None:
        across, down = (round(each / _INCH) for each in dpi)
        yield _chunk(b"pHYs", struct.pack(">II", across, down) + _PER_METRE)
    if text is not None:
        keyword, said = text
        yield _chunk(b"iTXt", keyword.encode("latin-1") + b"\0" + _PLAIN_TEXT + said.encode())
    compressor = zlib.compressobj()
    above = np.zeros((1, 2 * width * channels), np.uint8)
    for rows in _strips(pixels):
        own = pixels[rows].astype(">u2").view(np.uint8).reshape(rows.stop - rows.start, -1)
        filtered = _filtered(own, np.concatenate([above, own[:-1]]), 2 * channels)
        above = own[-1:]
        if data := compressor.compress(filtered):
            yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", compressor.flush())
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a chunk of PNG (5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _filtered(rows: np.ndarray, above: np.ndarray, step: int) -> bytes:
    """Returns rows of bytes, each with the number of its filter before it and filtered (PNG, 9.2).

    The filter of a row is the one with the smallest sum of signed bytes, as 12.7 of the standard has it.

    Args:
        rows: [n, bytes] uint8.
        above: The row above each, likewise.
        step: Bytes of a pixel.
    """
    left, corner = (np.pad(each, ((0, 0), (step, 0)))[:, :-step] for each in (rows, above))
    mean = (left.astype(np.uint16) + above) // 2
    guesses = (np.zeros_like(rows), left, above, mean.astype(np.uint8), _paeth(left, above, corner))
    kinds = np.stack([rows - guess for guess in guesses])
    sums = np.abs(kinds.view(np.int8).astype(np.int16)).sum(axis=-1, dtype=np.int64)
    best = np.argmin(sums, axis=0)
    chosen = kinds[best, np.arange(len(rows))]
    return np.concatenate([best.astype(np.uint8)[:, np.newaxis], chosen], axis=1).tobytes()


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Returns which of three neighbours is nearest to left + above - corner (PNG, 9.4)."""
    a, b, c = (each.astype(np.int16) for each in (left, above, corner))
    far_a, far_b, far_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(far_b <= far_c, above, corner)
    return np.where((far_a <= far_b) & (far_a <= far_c), left, nearest)


def tiff(pixels: np.ndarray, profile: bytes, text: str | None, dpi: Dpi | None) -> Iterator[bytes]:
    """Yields the parts of a TIFF; arguments as for `png`, but for the text, which needs no keyword.

    Strips of pixels come first, then the directory that says where they are; hence the list in between.

    Raises:
        OSError: It would be larger than places in it can be.
    """
    height, width, channels = pixels.shape
    rows_of_strips = [*_strips(pixels)]
    strips = [zlib.compress(_differences(pixels[rows])) for rows in rows_of_strips]
    sizes = [len(strip) for strip in strips]
    starts = [8 + sum(sizes[:number]) for number in range(len(sizes))]
    fields: dict[int, tuple[int, Sequence[int] | bytes]] = {
        _WIDTH: (_LONG, [width]),
        _HEIGHT: (_LONG, [height]),
        _BITS: (_SHORT, [16] * channels),
        _COMPRESSION: (_SHORT, [_DEFLATE]),
        _PHOTOMETRIC: (_SHORT, [_RGB]),
        **({} if text is None else {_TEXT: (_ASCII, text.encode("ascii", "replace") + b"\0")}),
        _STRIPS: (_LONG, starts),
        _CHANNELS: (_SHORT, [channels]),
        _STRIP_ROWS: (_LONG, [rows_of_strips[0].stop]),
        _STRIP_SIZES: (_LONG, sizes),
        **({} if dpi is None else _resolution(dpi)),
        _PREDICTOR: (_SHORT, [_DIFFERENCES]),
        **({_EXTRA: (_SHORT, [_ALPHA])} if channels == 4 else {}),
        _PROFILE: (_UNDEFINED, profile),
    }
    padding = bytes(sum(sizes) % 2)  # a directory begins at an even place
    end = 8 + sum(sizes) + len(padding)
    try:
        directory = _directory(fields, end)
    except struct.error:
        raise OSError("over 4 GB, the most that a TIFF can have; write PNG instead") from None
    yield struct.pack("<2sHI", b"II", 42, end)
    yield from strips
    yield padding + directory


def _resolution(dpi: Dpi) -> Mapping[int, tuple[int, Sequence[int]]]:
    """Returns the fields of TIFF for pixels an inch."""
    across, down = (
        fractions.Fraction(each).limit_denominator(int(_LARGEST_RATIO / each) or 1).as_integer_ratio()
        for each in dpi
    )
    return {_ACROSS: (_RATIONAL, across), _DOWN: (_RATIONAL, down), _UNIT: (_SHORT, [_INCHES])}


def _differences(rows: np.ndarray) -> bytes:
    """Returns pixels [n, W, C] as their differences from the ones to the left (TIFF 6.0, 14)."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return differences.astype("<u2").tobytes()


def _directory(fields: Mapping[int, tuple[int, Sequence[int] | bytes]], start: int) -> bytes:
    """Returns the directory of a TIFF that begins at that place (TIFF 6.0, 2), with what it points to."""
    entries, behind = [], b""
    values_at = start + 2 + 12 * len(fields) + 4
    for tag, (kind, values) in sorted(fields.items()):
        if isinstance(values, bytes):
            data, count = values, len(values)
        else:
            data = struct.pack(f"<{len(values)}{_LETTERS[kind]}", *values)
            count = len(values) // 2 if kind == _RATIONAL else len(values)
        if len(data) <= 4:
            place = data.ljust(4, b"\0")
        else:
            place = struct.pack("<I", values_at + len(behind))
            behind += data + bytes(len(data) % 2)
        entries.append(struct.pack("<HHI", tag, kind, count) + place)
    return struct.pack("<H", len(fields)) + b"".join(entries) + bytes(4) + behind


def _strips(pixels: np.ndarray) -> Iterator[slice]:
    """Yields rows of the picture that are handled at once."""
    count = max(1, _STRIP_BYTES // pixels[0].nbytes)
    for top in range(0, len(pixels), count):
        yield slice(top, min(top + count, len(pixels)))
