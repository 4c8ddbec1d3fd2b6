"""Changes of bytes that know no format: each takes a `random.Random` and bytes, and returns other bytes."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

# What fields of files overflow by: around 0, the sign bits, and all ones of each width.
EXTREMES = (
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1),
    2**64 - 1,
)
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_LONGEST_RUN = 64  # bytes that are replaced or inserted in one change

Mutation = Callable[[random.Random, bytes], bytes]


def packed(value: int, width: int, order: str) -> bytes:
    """Returns a whole number in so many bytes, of which it keeps the lowest; order is "<" or ">"."""
    return struct.pack(order + _WIDTHS[width], value & (256**width - 1))


def extreme(chance: random.Random, width: int, order: str) -> bytes:
    """Returns a field with an extreme value."""
    return packed(chance.choice(EXTREMES), width, order)


def flip_bits(chance: random.Random, data: bytes) -> bytes:
    """Flips one to eight bits."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def replace_run(chance: random.Random, data: bytes) -> bytes:
    """Replaces a run of bytes: by noise, or by one byte again and again."""
    start, stop = _span(chance, data, _LONGEST_RUN)
    return data[:start] + _run(chance, stop - start) + data[stop:]


def insert(chance: random.Random, data: bytes) -> bytes:
    """Inserts a run of bytes."""
    at = chance.randint(0, len(data))
    return data[:at] + _run(chance, chance.randint(1, _LONGEST_RUN)) + data[at:]


def truncate(chance: random.Random, data: bytes) -> bytes:
    """Cuts the end off."""
    return data[: chance.randint(0, len(data))]


def remove(chance: random.Random, data: bytes) -> bytes:
    """Cuts a part out."""
    start, stop = _span(chance, data, max(1, len(data) // 2))
    return data[:start] + data[stop:]


def duplicate(chance: random.Random, data: bytes) -> bytes:
    """Repeats a part, up to eight times."""
    start, stop = _span(chance, data, max(1, len(data) // 2))
    return data[:stop] + data[start:stop] * chance.randint(1, 8) + data[stop:]


def set_field(chance: random.Random, data: bytes) -> bytes:
    """Sets an integer field somewhere to an extreme; in half of the cases among the first 64 bytes."""
    width, order = chance.choice(tuple(_WIDTHS)), chance.choice("<>")
    end = min(len(data), 64) if chance.random() < 0.5 else len(data)
    at = chance.randrange(max(1, end))
    return data[:at] + extreme(chance, width, order) + data[at + width :]


_BLIND: Sequence[Mutation] = (
    *(flip_bits, replace_run, insert, truncate, remove, duplicate),
    *(set_field,) * 3,  # most often past the first checks
)


def blindly(chance: random.Random, data: bytes) -> bytes:
    """Makes one to three changes; in one case of 40 replaces all."""
    if chance.random() < 1 / 40:
        return _run(chance, chance.randint(0, 4 * _LONGEST_RUN))
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = chance.choice(_BLIND)(chance, data)
    return data


def splice(chance: random.Random, first: bytes, second: bytes) -> bytes:
    """Joins the beginning of one file and the end of another."""
    return first[: chance.randint(0, len(first))] + second[chance.randint(0, len(second)) :]


def set_known(chance: random.Random, data: bytes, known: Sequence[int]) -> bytes:
    """Sets fields that hold a known number, such as a width, to an extreme; unchanged where there is none."""
    number, width, order = chance.choice(known), chance.choice((2, 4)), chance.choice("<>")
    field = packed(number, width, order)
    places = [at for at in range(len(data) - width + 1) if data[at : at + width] == field]
    if not places:
        return data
    at = chance.choice(places)
    return data[:at] + extreme(chance, width, order) + data[at + width :]


# Zeros that are deflated at once, and what deflate makes of them: full flushes can be repeated.
_BLOCK = 2**20


def deflated_zeros(count: int, wbits: int = zlib.MAX_WBITS) -> bytes:
    """Returns a deflated stream of about so many zeros, a bomb, without deflating all of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * max(0, count // _BLOCK - 1) + packer.flush()


def _span(chance: random.Random, data: bytes, longest: int) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.randint(1, longest))


def _run(chance: random.Random, count: int) -> bytes:
    if chance.random() < 0.5:
        return chance.randbytes(count)
    return bytes([chance.choice((0, 0xFF, 0x20, 0x41, chance.randrange(256)))]) * count
