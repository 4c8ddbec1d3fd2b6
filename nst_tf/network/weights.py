"""VGG19's weights: Keras' download, the package itself, a file, or a seed; and the files that are read.

Weights are {convolution: (kernel [3, 3, in, out], bias [out])}, float32 NumPy. The caller says which
convolutions it needs and their shapes; the project's own features have half as many filters. What a file has
beyond the convolutions asked for is ignored.
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
# {convolution: VGG19's kernel shape}, from the input up with none left out: a `.weights.h5` file knows layers
# by their order only.
Shapes = Mapping[str, tuple[int, ...]]

# Keras' own file of Oxford's ImageNet weights, as `keras.applications.vgg19` names it, and the hash that
# Keras checks it by.
KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/" + KERAS_FILE
_KERAS_MD5 = "253f8cb515780f3b799900260a226db6"

# How long the first answer of the server may take, all in all, and how long a download may stand still:
# a firewall that drops packets gives no answer at all, and Keras would wait for ever.
ANSWER_TIMEOUT_S = 15.0
STALL_TIMEOUT_S = 30.0

# The features that this project trained itself; `tools/features/train.py` makes the file.
BUILTIN_FILE = pathlib.Path(__file__).parents[1] / "data" / "vgg19_builtin.npz"

# Seed of the random filters: fixed, so that their hash names them.
_RANDOM_SEED = 0


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a network and what they are."""

    name: str  # "imagenet", "builtin", "random filters" or the file's name
    sha256: str  # of the file, or of the arrays where there is none
    preprocessing: str  # a name from `vgg19.PREPROCESSING`
    arrays: Arrays = dataclasses.field(repr=False)


def load(source: str, shapes: Shapes) -> Weights:
    """Loads weights.

    Args:
        source: "imagenet" (Keras' download), "builtin" (the project's own features), "auto" (imagenet; where
            that cannot be reached, builtin, which is logged as a warning), "random" (seeded random filters),
            or the path of a `.h5`, `.weights.h5` or `.npz` file.
        shapes: {convolution: kernel shape} that must be there, from the input up. A file's convolutions
            may have fewer filters.

    Raises:
        InputError: The source cannot be had, or lacks a convolution, or has it in a shape that does not fit.
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
    """Returns Keras' ImageNet weights, or the built-in ones and a warning that says what they are."""
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
    """Returns seeded random filters, which keep the mean square of features from layer to layer.

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
    """Returns Keras' ImageNet weights from its cache, downloaded if they are not there."""
    path = _keras_file()
    if not _is_published(path):
        path = _download(KERAS_URL, path)
    return dataclasses.replace(_from_file(path, shapes), name="imagenet")


def _is_published(path: pathlib.Path) -> bool:
    """Returns whether Keras' own file is there, whole and readable."""
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
    """Downloads Keras' file to `path` through Keras, within bounded waits.

    Returns:
        Where it is: elsewhere than at `path` if Keras could not write there.

    Raises:
        InputError: The server cannot be reached, the download stopped, or the file is not the one expected.
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

    In a thread, since neither the look-up of a name nor trying all of a host's addresses in turn heeds a
    socket's time-out.

    Raises:
        OSError: It gave no answer in time, or an error.
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
    """Bounds how long sockets made inside may stand still; Keras' download sets no time-out itself."""
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

# What a person is told who gets them instead of ImageNet's.
_BUILTIN_WORTH = "trained by this project, quicker, and freer with the photograph than the ImageNet weights."


# What weights may expect of the pictures that they see, `vgg19.PREPROCESSING`. Files that do not say are in
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
