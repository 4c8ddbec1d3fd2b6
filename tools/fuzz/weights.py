"""Damaged and hostile files of weights: HDF5 as Keras writes it, old and new, and NumPy's `.npz`."""

import contextlib
import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from fuzz import mutations
from fuzz.inputs import Input
from nst_tf.config import layers

# The convolutions that the reader is asked for, and the filters that small files have.
SHAPES = layers.kernel_shapes(["conv2_1"])
_FILTERS = (4, 4, 5)

# Sides of arrays that no file holds; the second is one that a machine may have memory for.
_HUGE = (2**62, 2**29, 2**40, 2**31, -1)


def arrays() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns small weights for `SHAPES`."""
    made, inputs = {}, 3
    for name, filters in zip(SHAPES, _FILTERS, strict=True):
        kernel = np.linspace(-1, 1, 9 * inputs * filters, dtype=np.float32).reshape(3, 3, inputs, filters)
        made[name] = kernel, np.zeros(filters, np.float32)
        inputs = filters
    return made


def make(chance: random.Random) -> Input:
    """Returns a file of weights."""
    kinds: Mapping[Callable[[random.Random], tuple[str, bytes]], float] = {
        _changed_hdf5: 0.3,
        _built_hdf5: 0.25,
        _changed_npz: 0.2,
        _built_npz: 0.24,
        _other_name: 0.01,
    }
    name, data = chance.choices(list(kinds), list(kinds.values()))[0](chance)
    return Input(name, data)


# HDF5

_NEW, _OLD, _BARE = "w.weights.h5", "w.h5", "bare.h5"


@functools.cache
def _hdf5_seeds() -> dict[str, bytes]:
    return {name: _hdf5(name) for name in (_NEW, _OLD, _BARE)}


def _paths(layout: str) -> Iterator[tuple[str, str, str]]:
    """Yields (convolution, its kernel's path, its bias' path) in a file of that layout."""
    for order, name in enumerate(SHAPES):
        if layout == _NEW:
            group = f"layers/conv2d_{order}/vars" if order else "layers/conv2d/vars"
            yield name, f"{group}/0", f"{group}/1"
        else:
            layer = name.replace("conv", "block", 1).replace("_", "_conv")
            group = f"model_weights/{layer}/{layer}" if layout == _OLD else layer
            yield name, f"{group}/kernel:0", f"{group}/bias:0"


def _hdf5(layout: str, instead: Callable[[h5py.File, str], None] | None = None, at: int = 0) -> bytes:
    """Returns a file; with `instead` the array number `at` of it is what that function writes."""
    buffer, made = io.BytesIO(), arrays()
    with h5py.File(buffer, "w") as file:
        written: list[tuple[str, np.ndarray]] = []
        for name, kernel, bias in _paths(layout):
            written += [(kernel, made[name][0]), (bias, made[name][1])]
        for number, (path, array) in enumerate(written):
            if instead is not None and number == at:
                instead(file, path)
            else:
                file.create_dataset(path, data=array)
        file.attrs["backend"] = "tensorflow"
    return buffer.getvalue()


def _changed_hdf5(chance: random.Random) -> tuple[str, bytes]:
    found = _hdf5_seeds()
    name = chance.choice(list(found))
    if chance.random() < 0.1:
        return name, mutations.splice(chance, found[name], chance.choice(list(found.values())))
    if chance.random() < 0.3:  # sides of arrays, and their sizes in bytes
        known = (3, 4, 5, 432, 576, 720, 16, 20)
        data = mutations.set_known(chance, found[name], known)
        return name, mutations.set_known(chance, data, known)
    return name, mutations.blindly(chance, found[name])


def _built_hdf5(chance: random.Random) -> tuple[str, bytes]:
    """Returns a file that HDF5's own library wrote, with something else in the place of an array."""
    layout = chance.choice((_NEW, _OLD, _BARE))
    if chance.random() < 0.1:
        return layout, _hdf5_root(chance, layout)
    number = chance.randrange(2 * len(SHAPES))
    shape = list(arrays().values())[number // 2][number % 2].shape
    instead = chance.choice((_odd_array, _odd_array, _odd_object))
    return layout, _hdf5(layout, lambda file, path: instead(chance, file, path, shape), number)


def _odd_array(chance: random.Random, file: h5py.File, path: str, shape: tuple[int, ...]) -> None:
    """Writes an array of another type, another rank, or far too large."""
    values = np.ones(shape, np.float32)
    compound, variable = np.dtype([("a", "f4"), ("b", "i4")]), h5py.vlen_dtype(np.float32)
    huge = (3, 3, 3, chance.choice(_HUGE[:4])) if len(shape) == 4 else (chance.choice(_HUGE[:4]),)
    text = h5py.string_dtype()
    writers: Sequence[Callable[[], Any]] = (
        lambda: file.create_dataset(path, huge, np.float32, chunks=(1,) * (len(shape) - 1) + (1024,)),
        lambda: file.create_dataset(path, data=np.full(shape, b"x")),
        lambda: file.create_dataset(path, data=np.full(shape, "x", object), dtype=text),
        lambda: file.create_dataset(path, data=values.astype(chance.choice(("f2", "f8", "i1", "u8", "?")))),
        lambda: file.create_dataset(path, data=values + 1j),
        lambda: file.create_dataset(path, data=np.zeros(shape, compound)),
        lambda: file.create_dataset(path, shape, variable),
        lambda: file.create_dataset(path, shape, h5py.ref_dtype),
        lambda: file.create_dataset(path, data=h5py.Empty("f4")),
        lambda: file.create_dataset(path, data=np.float32(1)),
        lambda: file.create_dataset(path, data="text"),
        lambda: file.create_dataset(path, data=values[np.newaxis]),
        lambda: file.create_dataset(path, data=values[:0]),
        lambda: file.create_dataset(path, data=values * np.float32(chance.choice(("nan", "inf", "-inf")))),
        lambda: file.create_dataset(path, data=values.astype("V4")),
        lambda: file.create_dataset(path, data=np.full(shape, 1e300)),
        lambda: file.create_dataset(path, (2**12, 2**12, 1, 1), "f4", compression="gzip", fillvalue=1.0),
    )
    with contextlib.suppress(Exception):  # some of them HDF5 does not write: the array is missing then
        chance.choice(writers)()


def _odd_object(chance: random.Random, file: h5py.File, path: str, shape: tuple[int, ...]) -> None:
    """Writes what is no array: a link to nowhere, to itself or into another file, a group, many arrays."""
    del shape
    parent, _, name = path.rpartition("/")
    group = file.require_group(parent)

    def nest() -> None:
        inner = group
        for _ in range(300):
            inner = inner.create_group("g")

    writers: Sequence[Callable[[], Any]] = (
        lambda: group.__setitem__(name, h5py.SoftLink("/nowhere")),
        lambda: group.__setitem__(name, h5py.SoftLink(f"/{path}")),
        lambda: group.__setitem__(name, h5py.ExternalLink("other.h5", "/")),
        lambda: group.__setitem__(name, h5py.ExternalLink("/dev/null", "/")),
        lambda: group.__setitem__(name, group),
        lambda: group.__setitem__(name, np.dtype("f4")),
        lambda: group.create_group(name),
        lambda: [group.create_dataset(f"{name}{number}", data=np.ones(1)) for number in range(200)],
        lambda: file.create_dataset(path, (1024,), "f4", external=[("nowhere.bin", 0, h5py.h5f.UNLIMITED)]),
        nest,
        lambda: None,
    )
    with contextlib.suppress(Exception):  # as above
        chance.choice(writers)()


def _hdf5_root(chance: random.Random, layout: str) -> bytes:
    """Returns a file in which one of the groups that the reader asks for is something else."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        name = chance.choice(("layers", "model_weights", "layers/conv2d", "block1_conv1", "conv1_1"))
        parts = name.rpartition("/")
        group = file.require_group(parts[0]) if parts[0] else file
        other: Sequence[Callable[[], Any]] = (
            lambda: file.create_dataset(name, data=np.ones(3)),
            lambda: file.create_dataset(name, data="text"),
            lambda: file.create_dataset(name, data=h5py.Empty("f4")),
            lambda: group.__setitem__(parts[2], np.dtype("f4")),
            lambda: group.__setitem__(parts[2], h5py.SoftLink("/" + name)),
            lambda: group.__setitem__(parts[2], h5py.ExternalLink(layout, "/")),
            lambda: group.create_group(parts[2]),
            lambda: None,
        )
        chance.choice(other)()
    return buffer.getvalue()


# NumPy

_NPZ = "w.npz"
_COMPRESSIONS = (
    *(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA),
)
# (offset, width) in an archive's directory of flags, method, checksum, sizes, lengths and offset of a member:
# PKWARE's APPNOTE, 4.3.12. The first two decide most.
_RECORD_FIELDS = (
    *((6, 2), (8, 2), (8, 2), (10, 2), (10, 2)),
    *((16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)),
)
# The type in a `.npy` file's header, which is Python, and headers that are something else.
_DESCRIPTIONS = (
    *("'<f4'", "'|O'", "'<f4x'", "'|V999999999999'", "'<U99999999'", "[('a', '<f4')]", "[]", "None"),
    *("'i1'", "1", "{}", "'<f4', 1", "('<f4', (2**9,))", "'<M8'", "''", "[" * 500 + "]" * 500),
)
_HEADERS = (
    *("", "{", "{}", "[]", "1", "None", "x", "\\", "'" * 3, "(" * 9000, "-" * 9000, "\0", "{'descr': 1}"),
    "é",
)


def npy(array: np.ndarray) -> bytes:
    """Returns a `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@functools.cache
def _members() -> dict[str, bytes]:
    """Returns {name in the archive: file} of small weights, one kernel in eight bits."""
    made: dict[str, bytes] = {}
    for name, (kernel, bias) in arrays().items():
        made[f"{name}_kernel.npy"], made[f"{name}_bias.npy"] = npy(kernel), npy(bias)
    kernel = arrays()["conv1_1"][0]
    made["conv1_1_kernel.npy"] = npy((kernel * 100).astype(np.int8))
    made["conv1_1_scale.npy"] = npy(np.full(kernel.shape[-1], 0.01, np.float32))
    made["preprocessing.npy"] = npy(np.array("signed"))
    return made


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Returns a ZIP archive, the same bytes whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def _changed_npz(chance: random.Random) -> tuple[str, bytes]:
    data = zipped(_members(), chance.choice(_COMPRESSIONS))
    if chance.random() < 0.5:
        return _NPZ, mutations.blindly(chance, data)
    return _NPZ, _with_other_record(chance, data)


def _with_other_record(chance: random.Random, data: bytes) -> bytes:
    """Changes a field of the archive's directory, and of a member's own header in half of the cases.

    The two have the same fields up to the lengths, in places that differ by two bytes (4.3.7 and 4.3.12).
    """
    directory = [at for at in range(len(data)) if data.startswith(b"PK\1\2", at)]
    if not directory:
        return data
    at = chance.choice(directory)
    changed = bytearray(data)
    offset, width = chance.choice(_RECORD_FIELDS)
    value = mutations.extreme(chance, width, "<")
    if offset == 10:
        value = struct.pack("<H", chance.choice((0, 1, 6, 8, 9, 12, 14, 93, 99)))
    if offset == 8:
        value = struct.pack("<H", chance.choice((1, 0x20, 0x40, 0x41, 0x800, 0x2000, 8, 0xFFFF)))
    changed[at + offset : at + offset + width] = value
    if offset < 32 and chance.random() < 0.5:
        local = int.from_bytes(data[at + 42 : at + 46], "little")
        changed[local + offset - 2 : local + offset - 2 + width] = value
    return bytes(changed)


def _built_npz(chance: random.Random) -> tuple[str, bytes]:
    """Returns a sound archive in which one array, or its header, is something else."""
    members = dict(_members())
    name = chance.choice(list(members))
    if chance.random() < 0.1:
        other = chance.choice(("", "..", "/abs", "é", "?", name[:-4], "x" * 60_000))
        members[other] = members.pop(name)
    elif chance.random() < 0.01:
        return _NPZ, _npz_bomb(name, chance.choice((2**28, 2**30)))
    else:
        members[name] = chance.choice((_odd_npy, _odd_npy_header, _odd_npy_header))(chance, members[name])
    return _NPZ, zipped(members)


def _odd_npy(chance: random.Random, data: bytes) -> bytes:
    """Returns another array, or no array."""
    shape = chance.choice(((3, 3, 3, 4), (4,), (5,), (3, 3, 4, 4)))
    values: Sequence[Any] = (
        np.zeros(shape, object),
        np.zeros(
            shape,
            chance.choice(("f2", "f8", "i1", "i1", "u8", "?", "c8", "M8[s]", "m8", "S3", "U3", "V5")),
        ),
        np.zeros(shape, [("a", "f4"), ("b", "i4")]),
        np.full(shape, chance.choice((np.nan, np.inf, 1e300))),
        np.array(chance.choice(("signed", "caffe255", "", "x" * 10_000, "a\nb", b"signed", "\ud800"))),
        np.zeros((0,), np.float32),
        np.float32(1),
        np.zeros((1,) * 32),
        np.array([["signed"] * 50] * 50),
    )
    what = chance.randrange(len(values) + 3)
    if what < len(values):
        return npy(values[what])
    return (b"", mutations.blindly(chance, data), data + data)[what - len(values)]


def _odd_npy_header(chance: random.Random, data: bytes) -> bytes:
    """Returns an array whose header, a Python literal, says something else."""
    shapes = (
        *(f"({chance.choice(_HUGE)},)", "(3, 3, 3, -4)", "()", "(3, 3, 3, 4.0)", "(True,)", "4"),
        *("[3, 3, 3, 4]", "('a',)", "(0,)", "(" * 300 + ")" * 300, "(3,)*99", f"({2**29},)"),
        *(f"({'9' * 5000},)", f"(3, 3, 3, {2**27})", f"({2**32}, {2**32})", "(3, 3, 3, 4, 1)"),
    )
    description, shape = chance.choice(_DESCRIPTIONS), chance.choice(shapes)
    order, other = chance.choice(("True", "1", "None", "[]")), chance.choice(_HEADERS)
    header = chance.choice(
        (
            f"{{'descr': {description}, 'fortran_order': False, 'shape': (4,), }}",
            f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}",
            f"{{'descr': '<f4', 'fortran_order': {order}, 'shape': (3, 3, 3, 4), }}",
            other,
        )
    )
    version = chance.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\0\0", b"\xff\xff"))
    text = header.encode("utf-8" if version == b"\3\0" else "latin1", "replace") + b"\n"
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(text))
    if chance.random() < 0.05:
        length = mutations.extreme(chance, len(length), "<")
    return b"\x93NUMPY" + version + length + text + data[128:]


def _npz_bomb(name: str, count: int) -> bytes:
    """Returns an archive of one array of so many bytes, all zero, in a thousandth of them."""
    header = (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count // 4},), }}".encode().ljust(117) + b"\n"
    )
    start = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += mutations.deflated_zeros(count, -zlib.MAX_WBITS)
    check = _checksum_of_zeros(zlib.crc32(start), count)
    encoded, size = name.encode(), len(start) + count
    fields = struct.pack("<HHHHIIIHH", 0, 8, 0, 0x21, check, len(packed), size, len(encoded), 0)
    local = b"PK\3\4\x14\0" + fields + encoded + packed
    directory = b"PK\1\2\x14\0\x14\0" + fields + bytes(14) + encoded
    return local + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), len(local), 0)


@functools.cache
def _checksum_of_zeros(check: int, count: int) -> int:
    block = bytes(2**20)
    for _ in range(count // len(block)):
        check = zlib.crc32(block, check)
    return check


def _other_name(chance: random.Random) -> tuple[str, bytes]:
    """Returns a file with the extension of another format, or of none."""
    found = [*_hdf5_seeds().values(), zipped(_members()), b"", npy(np.ones(3))]
    return chance.choice(("w.npz", "w.h5", "w.weights.h5", "w.npy", "w", "w.H5", "w.")), chance.choice(found)
