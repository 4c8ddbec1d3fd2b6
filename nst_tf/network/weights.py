"""VGG19's weights from Keras' download, the package, a file or a seed, and the formats of files.

Weights are {convolution: (kernel [3, 3, in, out], bias [out])}, float32 NumPy. The caller names the
convolutions that it needs and their shapes; the project's own features have half as many filters. Other
convolutions in a file are ignored.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import pathlib
import socket
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import NamedTuple

import h5py
import numpy as np

from nst_tf import errors
from nst_tf.config import settings

_LOG = logging.getLogger(__name__)

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
# {convolution: VGG19's kernel shape}, from the input up with none left out: a `.weights.h5` file identifies
# layers by their order.
Shapes = Mapping[str, tuple[int, ...]]

# Keras' own file of Oxford's ImageNet weights, as `keras.applications.vgg19` names it, and the hash that
# Keras checks it by.
KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/" + KERAS_FILE
_KERAS_MD5 = "253f8cb515780f3b799900260a226db6"

# Time-outs of the server's first answer and of a stalled download. Without them Keras would wait for ever
# behind a firewall that drops packets.
ANSWER_TIMEOUT_S = 15.0
STALL_TIMEOUT_S = 30.0

# The features that this project trained itself; `tools/features/train.py` makes the file.
BUILTIN_FILE = pathlib.Path(__file__).parents[1] / "data" / "vgg19_builtin.npz"

# Seed of the random filters: fixed, so that their hash names them.
_RANDOM_SEED = 0


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a network, their name and hash."""

    name: str  # "imagenet", "builtin", "random filters" or the file's name
    sha256: str  # of the file, or of the arrays where there is none
    preprocessing: str  # a name from `vgg19.PREPROCESSING`
    arrays: Arrays = dataclasses.field(repr=False)


def load(source: str, shapes: Shapes) -> Weights:
    """Loads weights.

    Args:
        source: "imagenet" (Keras' download), "builtin" (the project's own features), "auto" (imagenet, or
            with a warning builtin if imagenet cannot be reached), "random" (seeded random filters), or the
            path of a `.h5`, `.weights.h5` or `.npz` file.
        shapes: {convolution: kernel shape} of the needed convolutions, from the input up. A file's
            convolutions may have fewer filters.

    Raises:
        InputError: The source is missing, lacks a convolution, or has one of another shape.
    """
    if source in _NAMED:
        return _NAMED[source](shapes)
    return _from_file(pathlib.Path(os.path.expanduser(source)), shapes)


def identity(source: str) -> Hashable:
    """Returns what tells the weights of a source from others, without reading them.

    Of a file its path, size and time of change. Where "auto" finds no file it stays with what it came to.
    """
    if source in ("builtin", "random"):
        return source
    named = source in _NAMED
    path = _keras_file() if named else pathlib.Path(os.path.expanduser(source))
    try:
        status = path.stat()
    except OSError:
        return source
    return (source if named else str(path.resolve()), status.st_size, status.st_mtime_ns)


def _auto(shapes: Shapes) -> Weights:
    """Returns Keras' ImageNet weights, or the built-in ones with a warning."""
    try:
        return _imagenet(shapes)
    except errors.InputError as error:
        _LOG.warning("%s", error)
        loaded = _builtin(shapes)
        _LOG.warning("Using the built-in features instead: %s", _BUILTIN_WORTH)
        return loaded


def _builtin(shapes: Shapes) -> Weights:
    """Returns the project's own features."""
    return dataclasses.replace(_from_file(BUILTIN_FILE, shapes), name="builtin")


def _random(shapes: Shapes) -> Weights:
    """Returns seeded random filters, which preserve the mean square of features from layer to layer.

    He et al. 2015 (arXiv:1502.01852), eq. 10: standard deviation sqrt(2 / inputs of a filter).
    """
    generator = np.random.default_rng(_RANDOM_SEED)
    arrays: Arrays = {}
    for name, shape in shapes.items():
        deviation = np.sqrt(2.0 / np.prod(shape[:-1]))
        kernel = generator.normal(0.0, deviation, shape).astype(np.float32)
        arrays[name] = (kernel, np.zeros(shape[-1], np.float32))
    digest = hashlib.sha256()
    for kernel, bias in arrays.values():
        digest.update(kernel.tobytes() + bias.tobytes())
    return Weights("random filters", digest.hexdigest(), "caffe255", arrays)


def _imagenet(shapes: Shapes) -> Weights:
    """Returns Keras' ImageNet weights from its cache; downloads them first if need be."""
    path = _keras_file()
    if not _is_published(path):
        path = _download(KERAS_URL, path)
    return dataclasses.replace(_from_file(path, shapes), name="imagenet")


def _is_published(path: pathlib.Path) -> bool:
    """Returns whether a path is Keras' own file, complete and readable."""
    try:
        return digest(path, "md5") == _KERAS_MD5
    except OSError:
        return False


def _keras_file() -> pathlib.Path:
    return _keras_cache() / "models" / KERAS_FILE


def _keras_cache() -> pathlib.Path:
    """Returns the folder of Keras' cache, as Keras finds it."""
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def _download(url: str, path: pathlib.Path) -> pathlib.Path:
    """Downloads Keras' file to `path` through Keras, with time-outs.

    Returns:
        The file's path, another one than `path` if Keras could not write there.

    Raises:
        InputError: The server cannot be reached, the download stalled, or the file has another hash.
    """
    import keras

    try:
        _probe(url)
        with _stall_timeout(STALL_TIMEOUT_S), contextlib.redirect_stdout(sys.stderr):
            downloaded = keras.utils.get_file(
                path.name,
                url,
                cache_dir=path.parents[1],
                cache_subdir=path.parent.name,
                file_hash=_KERAS_MD5,
            )
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise errors.InputError(
            f"weights: Keras' VGG19 cannot be downloaded ({error}); fetch {url} on a machine that can"
            f" and put it at {path}, or name it with --weights=FILE"
        ) from None
    return pathlib.Path(downloaded)


def _probe(url: str) -> None:
    """Returns once the server has answered for `url`.

    Asks in a thread, since a socket's time-out bounds neither the look-up of a name nor the attempts at all
    of a host's addresses.

    Raises:
        OSError: The server gave no answer in time, or an error.
    """
    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S):
                outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_TIMEOUT_S)
    if not outcome:
        raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
    if outcome[0] is not None:
        raise outcome[0]


@contextlib.contextmanager
def _stall_timeout(seconds: float) -> Iterator[None]:
    """Sets the time-out of sockets created inside, since Keras' download sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_file(path: pathlib.Path, shapes: Shapes) -> Weights:
    """Returns the weights in a file, checked and hashed."""
    if not os.path.isfile(path):  # unlike pathlib's, false also for names that no file can have
        raise errors.InputError(
            f"weights: there is no file {path}; allowed: {', '.join(_NAMED)}, or the path of a"
            " .h5, .weights.h5 or .npz file"
        )
    contents = read(path, shapes)
    return Weights(path.name, contents.sha256, contents.preprocessing, contents.arrays)


# Sources by name; anything else is a path.
_NAMED: Mapping[str, Callable[[Shapes], Weights]] = settings.WEIGHTS.table(
    auto=_auto,
    imagenet=_imagenet,
    builtin=_builtin,
    random=_random,
)

# For the warning of `_auto`.
_BUILTIN_WORTH = "trained by this project, quicker, and freer with the photograph than the ImageNet weights."


# Names from `vgg19.PREPROCESSING`. A file without a name has Oxford's, as in Keras' file.
PREPROCESSING = ("caffe255", "signed")

# The extension of compressed and of plain files that NumPy writes.
_NUMPY = ".npz"


class Contents(NamedTuple):
    """The contents of a file of weights."""

    arrays: Arrays
    preprocessing: str  # a name from `PREPROCESSING`
    sha256: str  # of the file


def read(path: pathlib.Path, shapes: Shapes) -> Contents:
    """Reads Keras' HDF5 files, old and new, and NumPy's `.npz`.

    Args:
        path: An existing file.
        shapes: {convolution: kernel shape} of the needed convolutions, from the input up. The file's may have
            fewer filters.

    Raises:
        InputError: The file cannot be read, lacks a convolution, or has one of another shape.
    """
    if path.suffix not in _READERS:
        raise errors.unknown_name("weights file format", path.suffix, _READERS)
    try:
        found = _READERS[path.suffix](path, shapes)
        preprocessing = _read_preprocessing(path) if path.suffix == _NUMPY else PREPROCESSING[0]
        sha256 = digest(path, "sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        # h5py and NumPy raise these for damaged files and files of another format.
        raise errors.InputError(f"weights: {path} cannot be read: {error}") from None
    if preprocessing not in PREPROCESSING:
        raise errors.unknown_name(f"weights: {path}: preprocessing", preprocessing, PREPROCESSING)
    return Contents(_checked(path, found, shapes), preprocessing, sha256)


def digest(path: pathlib.Path, algorithm: str) -> str:
    """Returns the file's hash in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _checked(path: pathlib.Path, found: Arrays, shapes: Shapes) -> Arrays:
    """Returns `found` if it has every convolution, finite, with the shape of VGG19's or fewer filters."""
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
    """Returns the only four-dimensional and the only one-dimensional array in a layer's group."""
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

    A kernel of 8-bit integers is multiplied by conv1_1_scale, one number for each filter.
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
    """Returns the name of the preprocessing in a `.npz` file."""
    with np.load(path, allow_pickle=False) as file:
        return str(file["preprocessing"]) if "preprocessing" in file else PREPROCESSING[0]


# Readers by file extension.
_READERS = {".h5": _read_hdf5, _NUMPY: _read_npz}
