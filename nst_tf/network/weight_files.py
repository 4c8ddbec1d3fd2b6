"""VGG19's layers in files: Keras' HDF5, old and new, and NumPy's `.npz`.

A file may come from anywhere. Headers are read first, array by array; the data of an array are read, and
unpacked, only when the caller has found its shape good. Data in other files, links and pickles are refused.
"""

import contextlib
import itertools
import math
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np

# {convolution: VGG19's kernel shape}, from the input up with none left out: a `.weights.h5` file identifies
# layers by their order.
Shapes = Mapping[str, tuple[int, ...]]


class Stored(NamedTuple):
    """An array in an open file: its shape and what reads it, as float32."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


class Layers(NamedTuple):
    """What an open file has of the needed convolutions."""

    arrays: dict[str, tuple[Stored, Stored]]  # {convolution: (kernel, bias)}
    preprocessing: str | None  # a name, if the file has one


@contextlib.contextmanager
def opened(path: pathlib.Path, shapes: Shapes) -> Iterator[Layers]:
    """Opens a file whose extension is one of `FORMATS`; arrays are read while it is open.

    Args:
        path: An existing file.
        shapes: The needed convolutions.

    Raises:
        Exception: The file is damaged or of another format; the libraries have many types for it.
    """
    with FORMATS[path.suffix.lower()](path, shapes) as layers:
        yield layers


# HDF5.

# The mark of a file and the bytes that say its layout (HDF5 File Format Specification, II).
_HDF5_MARK, _SUPERBLOCK_BYTES = b"\x89HDF\r\n\x1a\n", 60
# The node of a tree (HDF5 File Format Specification, III): mark, kind (0 names, 1 chunks), level above the
# leaves, children, two neighbours; then each child's key and address. Keys have up to 8 + 8 * 33 bytes, nodes
# up to 64 children by HDF5's defaults.
_NODE, _LONGEST_CHILD_BYTES, _MOST_CHILDREN = struct.Struct("<4sBBH16x"), 280, 64
# A heap of names (likewise): mark, size, first free block, address. A free block begins with the next one's
# offset; 1 is none. Free blocks come of deleted names: a heap of Keras' has one at most.
_HEAP, _NO_MORE_BLOCKS, _MOST_FREE_BLOCKS = struct.Struct("<8s3Q"), 1, 2**10
# The most nodes and entries that are checked in a file, in 2 s. VGG19 with an optimiser's state has 8,000.
_MOST_PLACES = 2**20
_PIECE_BYTES = 2**20

# Members of a group and groups within each other that Keras writes for a layer: two arrays, three deep
# (block1_conv1/vgg19/block1_conv1/kernel), with room for more.
_MOST_MEMBERS = 8
_DEEPEST = 4

# The only types of numbers, as Keras and h5py write them.
_FLOATS = tuple(getattr(h5py.h5t, f"IEEE_F{bits}{order}") for bits in (16, 32, 64) for order in ("LE", "BE"))

# What an array in chunks may take up with the chunks' overhang: VGG19's largest kernel has 19 MB in float64.
_MOST_CHUNKED_BYTES = 2**26

# Chunks of an array, as many as its tree can have here; h5py cuts VGG19's largest kernel into 300.
_MOST_CHUNKS = _MOST_CHILDREN**2

# Filters of chunks that can be read: none, shuffle, gzip, or both in this order.
_SHUFFLE, _GZIP = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE
_FILTERS: tuple[list[int], ...] = ([], [_SHUFFLE], [_GZIP], [_SHUFFLE, _GZIP])


@contextlib.contextmanager
def _hdf5(path: pathlib.Path, shapes: Shapes) -> Iterator[Layers]:
    """Opens `.weights.h5` (Keras 3) or `.h5` (Keras 1 and 2)."""
    with contextlib.ExitStack() as opened_files:
        plain = opened_files.enter_context(path.open("rb"))
        _check_superblock(plain)
        _check_marks(plain)
        file = opened_files.enter_context(h5py.File(path, "r"))
        parents = (_member(file, key) for key in ("layers", "model_weights"))
        root = next((each for each in parents if isinstance(each, h5py.Group)), file)
        found = {}
        for order, name in enumerate(shapes):
            by_order = f"conv2d_{order}" if order else "conv2d"
            members = (_member(root, key) for key in (name, keras_name(name), by_order))
            group = next((each for each in members if isinstance(each, h5py.Group)), None)
            if group is not None:
                found[name] = _kernel_and_bias(group, plain)
        yield Layers(found, None)


def keras_name(name: str) -> str:
    """Returns Keras' name of a convolution: block1_conv2 of conv1_2."""
    return name.replace("conv", "block", 1).replace("_", "_conv")


def _check_superblock(file: BinaryIO) -> None:
    """Checks that a file begins as h5py and Keras have it begin, for `_check_marks` to know its layout.

    Raises:
        ValueError: It does not.
    """
    start = file.read(_SUPERBLOCK_BYTES)
    version = start[8] if len(start) == _SUPERBLOCK_BYTES and start.startswith(_HDF5_MARK) else None
    if version is None:
        raise ValueError("it is no HDF5 file")
    # Where it says the sizes of addresses, the beginning of the file, and the place of a driver's settings or
    # of an extension, which may hold the headers of all else.
    sizes, base, more = (13, 24 + 4 * version, 48 + 4 * version) if version < 2 else (9, 12, 20)
    if start[sizes : sizes + 2] != b"\x08\x08" or any(start[base : base + 8]):
        raise ValueError("it is no HDF5 file with addresses of 8 bytes from its beginning, as Keras writes")
    if start[more : more + 8] != b"\xff" * 8:
        raise ValueError("it is an HDF5 file with a driver or an extension, as Keras writes none")


def _check_marks(file: BinaryIO) -> None:
    """Refuses structures on which HDF5 1.14 crashes or never ends; they are found by their marks.

    Fractal heaps, newer trees and newer lists of chunks, which no file of Keras has, divide by numbers in the
    file, and count to them. Older trees, and lists of free space in heaps of names, may run in a circle. What
    else may be wrong HDF5 refuses.

    Raises:
        ValueError: A file has one of these.
    """
    end = file.seek(0, 2)
    places = 0
    for start in range(0, end, _PIECE_BYTES):
        file.seek(start)
        piece = file.read(_PIECE_BYTES + _MARK_BYTES - 1)
        for mark, check in _CHECKS.items():
            found = piece.find(mark)
            while found >= 0:
                places += check(file, start + found, end)
                if places > _MOST_PLACES:
                    raise ValueError("it has far more groups than VGG19")
                found = piece.find(mark, found + 1)


def _refuse(file: BinaryIO, place: int, end: int) -> int:  # noqa: ARG001
    raise ValueError("it has groups or chunks of a kind that Keras does not write; save it with Keras")


def _check_tree(file: BinaryIO, place: int, end: int) -> int:
    """Checks the node of a tree at a place in a file that ends at `end`; see `_check_marks`.

    Returns:
        At how many places it has looked.
    """
    file.seek(place)
    node = file.read(_NODE.size + _MOST_CHILDREN * _LONGEST_CHILD_BYTES)
    if len(node) < _NODE.size:
        return 1
    mark, kind, level, children = _NODE.unpack_from(node)
    if level > 1 or children > _MOST_CHILDREN:
        raise ValueError("it has a tree of groups or chunks that is larger than VGG19's")
    if not level:
        return 1
    # The length of a key: of names, or of chunks of any number of dimensions, which the node does not say.
    keys = (8,) if kind == 0 else range(16 + 8, _LONGEST_CHILD_BYTES - 8 + 1, 8)
    for key, index in itertools.product(keys, range(children)):
        start = _NODE.size + key + index * (key + 8)
        child = int.from_bytes(node[start : start + 8], "little")
        file.seek(min(child, end))
        below = file.read(_NODE.size)
        if len(below) == _NODE.size and below.startswith(mark) and _NODE.unpack(below)[2] >= level:
            raise ValueError("a tree of groups or chunks in it runs in a circle")
    return len(keys) * children + 1


def _check_heap(file: BinaryIO, place: int, end: int) -> int:
    """Checks the heap at a place in a file that ends at `end`; see `_check_marks`.

    Returns:
        At how many places it has looked.
    """
    file.seek(place)
    header = file.read(_HEAP.size)
    if len(header) < _HEAP.size:
        return 1
    _, size, block, address = _HEAP.unpack(header)
    if address + size > end:
        return 1
    for looked in range(_MOST_FREE_BLOCKS):
        if block >= size - 8 or block == _NO_MORE_BLOCKS:
            return looked + 1
        file.seek(address + block)
        block = int.from_bytes(file.read(8), "little")
    raise ValueError("a list of free space in it runs in a circle, or is very long")


# Checks by what they find places by: marks with a version or kind after them, each found by one quick search
# where a regular expression of all takes five times as long.
_MARK_BYTES = 5
_CHECKS: Mapping[bytes, Callable[[BinaryIO, int, int], int]] = {
    b"HEAP\0": _check_heap,
    b"TREE\0": _check_tree,
    b"TREE\1": _check_tree,
    **dict.fromkeys((b"FRHP\0", b"BTHD\0", b"FAHD\0", b"EAHD\0"), _refuse),
}


def _member(group: h5py.Group, name: str) -> Any:
    """Returns a group's member, None where there is none.

    Raises:
        ValueError: It is a link, which may point to another file.
    """
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{group.name} has a link named {name}, in place of data")
    return group[name]


def _kernel_and_bias(group: h5py.Group, plain: BinaryIO) -> tuple[Stored, Stored]:
    """Returns the only four-dimensional and the only one-dimensional array in a layer's group."""
    # One more than there should be is enough to refuse.
    arrays = [_dataset(each, plain) for each in itertools.islice(_datasets(group, _DEEPEST), 3)]
    ranks = sorted(len(array.shape) for array in arrays)
    if ranks != [1, 4]:
        raise ValueError(f"{group.name} holds arrays of {ranks} dimensions, not a kernel and a bias")
    bias, kernel = sorted(arrays, key=lambda array: len(array.shape))
    return kernel, bias


def _datasets(group: h5py.Group, depth: int) -> Iterator[h5py.Dataset]:
    """Yields the arrays in a group and in groups within it."""
    if len(group) > _MOST_MEMBERS or not depth:
        raise ValueError(f"{group.name} is larger or deeper than a layer of VGG19 is")
    for name in group:
        member = _member(group, name)
        if isinstance(member, h5py.Group):
            yield from _datasets(member, depth - 1)
        elif isinstance(member, h5py.Dataset):
            yield member


def _dataset(dataset: h5py.Dataset, plain: BinaryIO) -> Stored:
    """Returns an array of a file by its header; `plain` is the file, from which its data are read.

    HDF5 reads only headers: it writes beyond its memory where a chunk's size in the file is not what it is.
    """
    plan = dataset.id.get_create_plist()
    # Before the shape, which HDF5 would look for in the other files.
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise ValueError(f"{dataset.name} has its data in other files; keep them in one")
    if not any(dataset.id.get_type().equal(each) for each in _FLOATS):
        raise ValueError(f"{dataset.name} has no floating-point numbers of 16, 32 or 64 bits")
    space = dataset.id.get_space()
    if space.get_simple_extent_type() != h5py.h5s.SIMPLE:
        raise ValueError(f"{dataset.name} is no array")
    shape = space.get_simple_extent_dims()
    if plan.get_layout() == h5py.h5d.CHUNKED:
        return Stored(shape, lambda: _as_float32(_read_chunks(dataset, shape, plain)))
    return Stored(shape, lambda: _as_float32(_read_contiguous(dataset, shape, plain)))


def _as_float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # what becomes infinite is refused later, in words
        return np.asarray(values, np.float32)


def _read_contiguous(dataset: h5py.Dataset, shape: tuple[int, ...], plain: BinaryIO) -> np.ndarray:
    size = math.prod(shape) * dataset.dtype.itemsize
    if dataset.id.get_storage_size() != size:
        raise ValueError(f"{dataset.name} has a shape and no data")
    place = dataset.id.get_offset()
    if place is None:  # a few numbers inside the header
        return np.asarray(dataset[()])
    return np.frombuffer(_piece(plain, place, size), dataset.dtype).reshape(shape)


def _piece(plain: BinaryIO, place: int, size: int) -> bytes:
    """Returns bytes at a place in a file."""
    plain.seek(place)
    data = plain.read(size)
    if len(data) != size:
        raise ValueError(f"the file ends within the {size} bytes at {place}")
    return data


def _read_chunks(dataset: h5py.Dataset, shape: tuple[int, ...], plain: BinaryIO) -> np.ndarray:
    """Reads an array in chunks, unpacked here: HDF5 would unpack a chunk to any size."""
    plan, dtype = dataset.id.get_create_plist(), dataset.dtype
    chunk = plan.get_chunk()
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    if filters not in _FILTERS:
        raise ValueError(f"{dataset.name} is packed; allowed: gzip, with or without shuffle")
    counts = [-(-side // part) for side, part in zip(shape, chunk, strict=True)]
    size = math.prod(chunk) * dtype.itemsize
    if math.prod(counts) > _MOST_CHUNKS or math.prod(counts) * size > _MOST_CHUNKED_BYTES:
        raise ValueError(f"{dataset.name} is cut into {math.prod(counts)} chunks of {size} bytes")
    found = np.empty(shape, dtype)
    for corner in itertools.product(*map(range, itertools.repeat(0), shape, chunk)):
        data = _unpacked(_chunk(dataset, corner, size, plain), filters, size, dtype.itemsize)
        place = tuple(slice(start, start + part) for start, part in zip(corner, chunk, strict=True))
        kept = found[place].shape
        found[place] = np.frombuffer(data, dtype).reshape(chunk)[tuple(map(slice, kept))]
    return found


def _chunk(dataset: h5py.Dataset, corner: tuple[int, ...], size: int, plain: BinaryIO) -> bytes:
    """Returns a chunk as it is stored, of `size` bytes when unpacked."""
    stored = dataset.id.get_chunk_info_by_coord(corner)
    # zlib makes what it cannot compress larger by 0.03 % and some bytes.
    if stored.byte_offset is None or stored.size > size * 1.01 + 100:
        raise ValueError(f"{dataset.name} lacks a chunk, or has one that is too large")
    if stored.filter_mask:
        raise ValueError(f"{dataset.name} has a chunk without its filters")
    return _piece(plain, stored.byte_offset, stored.size)


def _unpacked(data: bytes, filters: list[int], size: int, itemsize: int) -> bytes:
    """Returns a chunk of `size` bytes, of numbers of `itemsize` bytes."""
    if _GZIP in filters:
        data = zlib.decompressobj().decompress(data, size + 1)
    if len(data) != size:
        raise ValueError(f"a chunk has {len(data)} bytes, not {size}")
    if _SHUFFLE in filters:
        return np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()
    return data


# NumPy's archives.

# The end of an archive without a comment, and the mark of the longer form in the 20 bytes before it.
_END, _END_MARK, _LONG_END_MARK, _LONG_END_BYTES = struct.Struct("<4s4H2LH"), b"PK\5\6", b"PK\6\7", 20

# Arrays in an archive: three for each of 16 convolutions, a few notes, and room for other networks.
_MOST_ARRAYS = 1000

# Characters of a preprocessing's name.
_LONGEST_NAME = 100


class _Array(NamedTuple):
    """An array in an archive by its header."""

    dtype: np.dtype
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@contextlib.contextmanager
def _npz(path: pathlib.Path, shapes: Shapes) -> Iterator[Layers]:
    """Opens arrays named conv1_1_kernel, conv1_1_bias and so on.

    A kernel of 8-bit integers is multiplied by conv1_1_scale, one number for each filter.
    """
    with path.open("rb") as file:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            found = {
                name: (_kernel(archive, name), _floats(archive, f"{name}_bias"))
                for name in shapes
                if {f"{name}_kernel.npy", f"{name}_bias.npy"} <= names
            }
            yield Layers(found, _text(archive, "preprocessing") if "preprocessing.npy" in names else None)


def _check_directory(file: BinaryIO) -> None:
    """Checks that an archive's directory is short, since `zipfile` reads all of it at once.

    Raises:
        ValueError: It is long, or the file has none.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - _END.size - _LONG_END_BYTES))
    tail = file.read()
    if len(tail) < _END.size or not tail[-_END.size :].startswith(_END_MARK):
        raise ValueError("it is no archive as NumPy writes it, or a part of one")
    _, _, _, _, entries, size, _, _ = _END.unpack(tail[-_END.size :])
    # Names of arrays have fewer than 100 characters, and an entry 46 bytes beside its name.
    if entries > _MOST_ARRAYS or size > _MOST_ARRAYS * 200 or tail.startswith(_LONG_END_MARK):
        raise ValueError(f"it has more than {_MOST_ARRAYS} arrays")


def _kernel(archive: zipfile.ZipFile, name: str) -> Stored:
    """Returns a kernel of floating-point numbers, or of 8-bit integers with a scale for each filter."""
    kernel = _array(archive, f"{name}_kernel")
    if kernel.dtype != np.int8:
        return _floats(archive, f"{name}_kernel")
    if f"{name}_scale.npy" not in archive.namelist():
        raise ValueError(f"{name}_kernel has 8-bit integers, and there is no {name}_scale")
    scale = _floats(archive, f"{name}_scale")
    if scale.shape != kernel.shape[-1:]:
        raise ValueError(
            f"{name}_scale has the shape {list(scale.shape)}; one number for each filter belongs"
        )
    return Stored(kernel.shape, lambda: kernel.read() * scale.read())


def _floats(archive: zipfile.ZipFile, name: str) -> Stored:
    array = _array(archive, name)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8):
        raise ValueError(f"{name} has no floating-point numbers of 16, 32 or 64 bits")
    return Stored(array.shape, lambda: _as_float32(array.read()))


def _text(archive: zipfile.ZipFile, name: str) -> str:
    array = _array(archive, name)
    if array.dtype.kind != "U" or array.shape != () or array.dtype.itemsize > 4 * _LONGEST_NAME:
        raise ValueError(f"{name} is no text of up to {_LONGEST_NAME} characters")
    return str(array.read())


def _array(archive: zipfile.ZipFile, name: str) -> _Array:
    """Returns an array by its header, after a check that its data have the size that the header says."""
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed as NumPy packs no array")
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # others have headers of any length, for arrays of records
            raise ValueError(f"{name} has a header of version {version}")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
        start = stream.tell()
    if dtype.hasobject or entry.file_size != start + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has data of another type or size than its header says")

    def read() -> np.ndarray:
        data = archive.read(entry)  # all of it, so that its checksum is looked at
        return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if by_columns else "C")

    return _Array(dtype, shape, read)


# Formats by file extension.
FORMATS = {".h5": _hdf5, ".npz": _npz}
