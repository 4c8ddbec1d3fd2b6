"""Damaged and hostile picture files: changed seeds, fields of their formats at extremes, bombs."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from fuzz import mutations, picture_seeds
from fuzz.inputs import Input

_KNOWN = (picture_seeds.WIDTH, picture_seeds.HEIGHT, picture_seeds.WIDTH - 1, picture_seeds.HEIGHT - 1)

# Sides (width, height) that no file of a few bytes fills. Those below Pillow's limit of pixels take time to
# decode and are among the rare ones.
_SIDES = (
    *((65535, 65535), (2**31 - 1, 1), (1, 2**31 - 1), (2**32 - 1, 2**32 - 1), (0, 0), (0, 12), (16, 0)),
    (2**31, 1),
)
_LARGE_SIDES = ((100_000, 100), (1, 1_000_000), (5000, 5000), (2_000_000, 1))

Chunk = tuple[bytes, bytes]


def make(chance: random.Random) -> Input:
    """Returns a picture file."""
    kinds: Sequence[tuple[Callable[[random.Random], bytes], float]] = (
        (_changed, 0.55),
        (_aware, 0.36),
        (_spliced, 0.06),
        (_large, 0.01),
        (_bomb, 0.0004),
        (_many_scans, 0.0002),
    )
    build = chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
    data = build(chance)
    return Input(chance.choice(("a.png", "a.jpg", "a")), data, (chance.choice(("bytes", "path", "mask")),))


def seed(chance: random.Random, format_name: str = "") -> bytes:
    """Returns a well-formed file; of a common format in half of the cases."""
    found = picture_seeds.seeds()
    if not format_name:
        common = chance.random() < 0.5
        format_name = chance.choice(picture_seeds.COMMON if common else sorted(found))
    return chance.choice(found[format_name])


def _changed(chance: random.Random) -> bytes:
    return mutations.blindly(chance, seed(chance))


def _spliced(chance: random.Random) -> bytes:
    return mutations.splice(chance, seed(chance), seed(chance))


def _aware(chance: random.Random) -> bytes:
    """Returns a file of a common format with changes that its reader does not see at once."""
    by_format: dict[str, Callable[[random.Random, bytes], bytes]] = {"PNG": png, "JPEG": jpeg, "TIFF": tiff}
    format_name = chance.choice((*by_format, *by_format, "WEBP", "GIF", "BMP", "ICO", "PPM", ""))
    data = seed(chance, format_name)
    if format_name == "PPM":
        return _with_other_numbers(chance, data)
    data = by_format.get(format_name, _with_other_sides)(chance, data)
    return mutations.blindly(chance, data) if chance.random() < 0.1 else data


def _with_other_sides(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randint(1, 3)):
        data = mutations.set_known(chance, data, _KNOWN)
    return data


def _with_other_numbers(chance: random.Random, data: bytes) -> bytes:
    """Returns a file of the PPM family with other numbers in its header."""
    head, body = data[:16], data[16:]
    texts = (
        *(b"0", b"-1", b"65536", b"99999", b"4294967296", b"9" * 30, b"1e9", b"nan", b"", b"#", b"1.5"),
        b"\xff",
    )
    for known in (b"16", b"12", b"255", b"P6", b"P5"):
        if chance.random() < 0.4:
            head = head.replace(known, chance.choice(texts), 1)
    return head + body


# PNG


def png(chance: random.Random, data: bytes) -> bytes:
    """Changes chunks of a PNG, and mends their checksums, so that the change is read."""
    chunks = list(_chunks(data))
    for _ in range(chance.randint(1, 3)):
        if not chunks:
            break
        change = chance.choice((_png_header, _png_payload, _png_payload, _png_order, _png_extra, _png_pixels))
        change(chance, chunks)
    return png_of(chunks, chance if chance.random() < 0.15 else None)


def png_of(chunks: Sequence[Chunk], chance: random.Random | None = None) -> bytes:
    """Returns a PNG of (type, payload) chunks; with `chance` a length or a checksum may be wrong."""
    written = b"\x89PNG\r\n\x1a\n"
    for kind, payload in chunks:
        length, check = struct.pack(">I", len(payload)), struct.pack(">I", zlib.crc32(kind + payload))
        if chance is not None and chance.random() < 0.3:
            length = mutations.extreme(chance, 4, ">")
        if chance is not None and chance.random() < 0.2:
            check = chance.randbytes(4)
        written += length + kind + payload + check
    return written


def _chunks(data: bytes) -> Iterator[Chunk]:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _png_header(chance: random.Random, chunks: list[Chunk]) -> None:
    """Changes IHDR: sides, depth, colour type, compression, filter, interlace."""
    kind, payload = chunks[0]
    width, height, *rest = struct.unpack(">IIBBBBB", payload.ljust(13, b"\0")[:13])
    if chance.random() < 0.4:
        width, height = (side & 0xFFFFFFFF for side in chance.choice(_SIDES))
    else:
        rest[chance.randrange(5)] = chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    chunks[0] = kind, struct.pack(">IIBBBBB", width, height, *rest)


def _png_payload(chance: random.Random, chunks: list[Chunk]) -> None:
    index = chance.randrange(len(chunks))
    kind, payload = chunks[index]
    chunks[index] = kind, mutations.blindly(chance, payload)


def _png_order(chance: random.Random, chunks: list[Chunk]) -> None:
    """Removes, repeats or moves a chunk."""
    index = chance.randrange(len(chunks))
    chunk = chunks.pop(index) if chance.random() < 0.6 else chunks[index]
    if chance.random() < 0.7:
        chunks[:] = [*chunks[: (at := chance.randint(0, len(chunks)))], chunk, *chunks[at:]]


def _png_extra(chance: random.Random, chunks: list[Chunk]) -> None:
    """Adds a chunk: a bomb of text or of a colour profile, damaged EXIF, an animation that is none."""
    bomb = mutations.deflated_zeros(chance.choice((2**20, 2**26)))
    made: Sequence[Chunk] = (
        (b"iTXt", b"nst_tf\0\1\0\0\0" + bomb),
        (b"zTXt", b"nst_tf\0\0" + bomb),
        (b"tEXt", b"nst_tf\0" + b"x" * 100_000),
        (b"iTXt", b"nst_tf\0\0\0\0\0\xff\xfe"),
        (b"iCCP", b"icc\0\0" + bomb),
        (b"iCCP", b"icc\0\0" + zlib.compress(mutations.blindly(chance, picture_seeds.profile()))),
        (b"eXIf", mutations.blindly(chance, picture_seeds.exif().tobytes()[6:])),
        (b"acTL", mutations.extreme(chance, 4, ">") + mutations.extreme(chance, 4, ">")),
        (b"fcTL", struct.pack(">5I", 0, 2**31, 2**31, 2**31, 2**31) + bytes(6)),
        (b"tRNS", chance.randbytes(chance.randint(0, 300))),
        (b"PLTE", chance.randbytes(chance.randint(0, 800))),
        (chance.choice((b"gAMA", b"cHRM", b"sRGB", b"pHYs")), chance.randbytes(chance.randint(0, 8))),
    )
    chunks.insert(chance.randint(1, len(chunks)), chance.choice(made))


def _png_pixels(chance: random.Random, chunks: list[Chunk]) -> None:
    """Changes the pixels before they are deflated: among them the bytes that name filters."""
    for index, (kind, payload) in enumerate(chunks):
        if kind == b"IDAT":
            try:
                raw = zlib.decompress(payload)
            except zlib.error:
                return
            chunks[index] = kind, zlib.compress(mutations.blindly(chance, raw), chance.randint(0, 9))


# JPEG


def jpeg(chance: random.Random, data: bytes) -> bytes:
    """Changes segments of a JPEG: sides, lengths, EXIF, order; or repeats its scans."""
    segments, scans = _segments(data)
    if not segments:
        return mutations.blindly(chance, data)
    index = chance.randrange(len(segments))
    marker, payload = segments[index]
    what = chance.choice(("sides", "payload", "length", "exif", "order", "scans", "profile"))
    if what == "sides":
        segments = [(m, _jpeg_sides(chance, p) if 0xC0 <= m <= 0xC2 else p) for m, p in segments]
    elif what == "payload":
        segments[index] = marker, mutations.blindly(chance, payload)
    elif what == "exif":
        exif = mutations.blindly(chance, picture_seeds.exif(chance.choice((3, 6, 9, 2**16 - 1))).tobytes())
        segments.insert(0, (0xE1, exif[:65533]))
    elif what == "profile":
        profile = mutations.blindly(chance, picture_seeds.profile())
        segments.insert(
            0, (0xE2, (b"ICC_PROFILE\0" + chance.choice((b"\1\1", b"\0\0", b"\2\1")) + profile)[:65533])
        )
    elif what == "order":
        chance.shuffle(segments)
    elif what == "scans":
        scans = scans * chance.choice((2, 20, 200))
    written = b"\xff\xd8"
    for number, (marker, payload) in enumerate(segments):
        length = struct.pack(">H", min(len(payload) + 2, 65535))
        if what == "length" and number == index:
            length = mutations.extreme(chance, 2, ">")
        written += bytes((0xFF, marker)) + length + payload
    return written + scans


def _jpeg_sides(chance: random.Random, payload: bytes) -> bytes:
    width, height = chance.choice(((65535, 65535), (65535, 1), (1, 65535), (0, 12), (16, 0), (8000, 8000)))
    return payload[:1] + struct.pack(">HH", height, width) + payload[5:]


def _segments(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Returns the segments before the first scan as (marker, payload), and the rest."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return segments, data[at:]


# TIFF


def tiff(chance: random.Random, data: bytes) -> bytes:
    """Changes entries of a TIFF's directory: tags, types, counts, values, where the next one is."""
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack(order + "I", data[4:8].ljust(4, b"\0"))[0]
    count = struct.unpack(order + "H", data[start : start + 2].ljust(2, b"\0"))[0]
    if not 0 < count < 100 or start + 2 + 12 * count > len(data):
        return mutations.blindly(chance, data)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = start + 2 + 12 * chance.randrange(count)
        # Tag, type, count, value; twice as often the last two.
        offset, width = chance.choice(((0, 2), (2, 2), (4, 4), (4, 4), (8, 4), (8, 4), (8, 2)))
        value = mutations.extreme(chance, width, order)
        if offset == 0:
            value = struct.pack(
                order + "H",
                chance.choice((256, 257, 258, 259, 262, 273, 277, 279, 322, 323, 324, 34675, 34665)),
            )
        elif offset == 2:
            value = struct.pack(order + "H", chance.randint(0, 18))
        changed[at + offset : at + offset + width] = value
    if chance.random() < 0.1:
        end = start + 2 + 12 * count
        changed[end : end + 4] = struct.pack(order + "I", chance.choice((start, 1, len(data), 2**32 - 1)))
    return bytes(changed)


# Large pictures in small files


def _large(chance: random.Random) -> bytes:
    """Returns a small file that says, truly or not, that it holds a large picture of medium size."""
    width, height = chance.choice(_LARGE_SIDES)
    if chance.random() < 0.5:
        return _png_of_zeros(width, height, *chance.choice(((1, 0), (8, 0), (8, 2), (8, 3), (8, 6), (16, 0))))
    mode, format_name = chance.choice(
        (("1", "TIFF"), ("L", "GIF"), ("L", "PPM"), ("1", "BMP"), ("L", "TIFF"))
    )
    head = Image.new(mode, (16, 12))
    file = io.BytesIO()
    head.save(file, format_name)
    data = file.getvalue()
    if format_name == "PPM":
        return data.replace(b"16 12", f"{width} {height}".encode(), 1)
    order = "<"
    for known, side in ((16, width), (12, height)):
        for size in (4, 2):
            field = mutations.packed(known, size, order)
            data = data.replace(field, mutations.packed(side, size, order), 1)
    return data


def _bomb(chance: random.Random) -> bytes:
    """Returns a well-formed picture of 100 to 178 million pixels, Pillow's limit, in few bytes."""
    width, height = chance.choice(((13_000, 13_000), (20_000, 8_000), (1_000_000, 170)))
    return _png_of_zeros(width, height, *chance.choice(((1, 0), (8, 0), (8, 2), (8, 3), (8, 6))))


def _many_scans(chance: random.Random) -> bytes:
    """Returns a progressive JPEG of 9 megapixels whose scans come again and again, each for all pixels."""
    file = io.BytesIO()
    Image.new("L", (3000, 3000), 99).save(file, "JPEG", progressive=True)
    _, scans = _segments(file.getvalue())
    head = file.getvalue()[: -len(scans)]
    return head + scans.removesuffix(b"\xff\xd9") * chance.choice((20, 400)) + b"\xff\xd9"


def _png_of_zeros(width: int, height: int, depth: int, color: int) -> bytes:
    """Returns a black PNG of that depth and colour type, in which only the checksum of its zeros is wrong."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[color]
    count = height * (1 + -(-width * depth * channels // 8))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))]
    chunks += [(b"PLTE", b"\0\0\0\xff\xff\xff")] if color == 3 else []
    return png_of([*chunks, (b"IDAT", mutations.deflated_zeros(count + 2**20)), (b"IEND", b"")])
