"""Files of VGG19's weights: every format that is read, and the checks on what is in one.

Arrays are {convolution: (kernel [3, 3, in, out], bias [out])}, float32 NumPy. What a file has beyond the
convolutions asked for is ignored.
"""

import hashlib
import pathlib
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import h5py
import numpy as np

from nst_tf import errors

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
# {convolution: VGG19's kernel shape}, from the input up with none left out: a `.weights.h5` file knows layers
# by their order only.
Shapes = Mapping[str, tuple[int, ...]]

# What weights may expect of the pictures that they see, `vgg.PREPROCESSING`. Files that do not say are in
# Oxford's form, as Keras saves it.
PREPROCESSING = ("caffe255", "signed")

# The extension of compressed and of plain files that NumPy writes.
_NUMPY = ".npz"


class Contents(NamedTuple):
    """What is in a file of weights."""

    arrays: Arrays
    preprocessing: str  # a name from `PREPROCESSING`
    sha256: str  # of the file


def read(path: pathlib.Path, shapes: Shapes) -> Contents:
    """Reads HDF5 as Keras writes it, old or new, or NumPy's `.npz`.

    Args:
        path: A file that is there.
        shapes: {convolution: kernel shape} that must be in it, from the input up; with fewer filters than
            that, too.

    Raises:
        InputError: It cannot be read, or lacks a convolution, or has it in a shape that does not fit.
    """
    if path.suffix not in _READERS:
        raise errors.unknown_name("weights file format", path.suffix, _READERS)
    try:
        found = _READERS[path.suffix](path, shapes)
        preprocessing = _read_preprocessing(path) if path.suffix == _NUMPY else PREPROCESSING[0]
        sha256 = digest(path, "sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        # What h5py and NumPy raise for files that are damaged or of another kind.
        raise errors.InputError(f"weights: {path} cannot be read: {error}") from None
    if preprocessing not in PREPROCESSING:
        raise errors.unknown_name(f"weights: {path}: preprocessing", preprocessing, PREPROCESSING)
    return Contents(_checked(path, found, shapes), preprocessing, sha256)


def digest(path: pathlib.Path, algorithm: str) -> str:
    """Returns the file's hash in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _checked(path: pathlib.Path, found: Arrays, shapes: Shapes) -> Arrays:
    """Returns `found` if every convolution is there, finite, and fits: VGG19's, or one of fewer filters."""
    missing = [name for name in shapes if name not in found]
    if missing:
        raise errors.InputError(
            f"weights: {path} lacks {', '.join(missing)}; choose layers below, or weights that have them"
        )
    below = next(iter(shapes.values()))[2]
    for name, shape in shapes.items():
        kernel, bias = found[name]
        filters = min(bias.size, shape[-1])
        if kernel.shape != (*shape[:2], below, filters) or bias.shape != (filters,) or not filters:
            raise errors.InputError(
                f"weights: {path} has {name} as {list(kernel.shape)} with bias {list(bias.shape)};"
                f" VGG19 has {list(shape)} with {list(shape[-1:])}, and may have fewer filters in a layer and"
                " as many fewer inputs in the next"
            )
        below = filters
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise errors.InputError(f"weights: {path} has infinite or NaN values in {name}")
    return found


def _read_hdf5(path: pathlib.Path, shapes: Shapes) -> Arrays:
    """Reads `.weights.h5` (Keras 3) or `.h5` (Keras 1 and 2)."""
    with h5py.File(path, "r") as file:
        root = file.get("layers") or file.get("model_weights") or file
        found = {}
        for order, name in enumerate(shapes):
            by_order = f"conv2d_{order}" if order else "conv2d"
            group = next(
                (
                    root[key]
                    for key in (name, name.replace("conv", "block", 1).replace("_", "_conv"), by_order)
                    if key in root
                ),
                None,
            )
            if group is not None:
                found[name] = _kernel_and_bias(group)
    return found


def _kernel_and_bias(group: h5py.Group) -> tuple[np.ndarray, np.ndarray]:
    """Returns the one four-dimensional and the one one-dimensional array below a layer's group."""
    arrays: list[np.ndarray] = []

    def collect(_: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            arrays.append(np.asarray(node, np.float32))

    group.visititems(collect)
    ranks = sorted(array.ndim for array in arrays)
    if ranks != [1, 4]:
        raise ValueError(f"{group.name} holds arrays of {ranks} dimensions, not a kernel and a bias")
    bias, kernel = sorted(arrays, key=lambda array: array.ndim)
    return kernel, bias


def _read_npz(path: pathlib.Path, shapes: Shapes) -> Arrays:
    """Reads a `.npz` file of arrays named conv1_1_kernel, conv1_1_bias and so on.

    A kernel of 8-bit whole numbers is multiplied by conv1_1_scale, one number for each filter.
    """
    with np.load(path, allow_pickle=False) as file:
        found = {}
        for name in shapes:
            if f"{name}_kernel" in file and f"{name}_bias" in file:
                kernel = np.asarray(file[f"{name}_kernel"])
                scale = file[f"{name}_scale"] if kernel.dtype == np.int8 else 1.0
                found[name] = (
                    np.asarray(kernel * np.float32(scale), np.float32),
                    np.asarray(file[f"{name}_bias"], np.float32),
                )
        return found


def _read_preprocessing(path: pathlib.Path) -> str:
    """Returns what a `.npz` file says of the pictures that its weights expect."""
    with np.load(path, allow_pickle=False) as file:
        return str(file["preprocessing"]) if "preprocessing" in file else PREPROCESSING[0]


# Readers by file extension.
_READERS = {".h5": _read_hdf5, _NUMPY: _read_npz}
