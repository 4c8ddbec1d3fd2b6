"""Pictures: read, write, resize.

THE image convention of this project: `[1, H, W, 3]` float32 sRGB in [0, 1]. A picture for people (a
file, a Pillow image, an array) becomes that on entry and leaves it on the way out, nowhere else.
"""

import contextlib
import io
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from nst_tf import errors

Tensor = Any  # TensorFlow ships no type information.

# ImageNet's mean colour, which networks see as zero: `keras.applications.vgg19.preprocess_input`.
_MEAN_COLOR = (123.68 / 255, 116.779 / 255, 103.939 / 255)

# What a user may hand in as a picture.
Picture = str | os.PathLike[str] | Image.Image | np.ndarray

# Formats written, by file extension, with Pillow's options. JPEG: no chroma subsampling, since brush
# strokes are colour edges; 95 is the highest quality Pillow recommends.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
}


def read(picture: Picture, name: str = "picture") -> np.ndarray:
    """Reads a picture, upright, as `[1, H, W, 3]` float32 sRGB in [0, 1].

    Args:
        picture: A path, a Pillow image, or an array: [H, W, 3] or [H, W], uint8, or floats in [0, 1].
        name: What the picture is, for error messages.

    Raises:
        InputError: The file is missing or no picture, or the array is of the wrong shape or type.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture, name)
    if isinstance(picture, Image.Image):
        return _from_pillow(picture)
    path = pathlib.Path(picture)
    try:
        with warnings.catch_warnings():
            # Pillow warns at half of the size that it refuses; a large picture is no mistake.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                return _from_pillow(opened)
    except FileNotFoundError:
        raise errors.InputError(f"{name}: there is no file {path}") from None
    except IsADirectoryError:
        raise errors.InputError(f"{name}: {path} is a folder, not a picture") from None
    except UnidentifiedImageError:
        raise errors.InputError(f"{name}: {path} is not a picture in a known format") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow raises all of these for damaged files, SyntaxError for a broken PNG.
        raise errors.InputError(f"{name}: {path} cannot be read: {error}") from None


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    """Returns the image of an array of [H, W, 3] or [H, W]."""
    if array.ndim == 2:
        array = np.stack([array] * 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
        raise errors.InputError(f"{name}: shape {list(array.shape)}; allowed: [H, W, 3] or [H, W]")
    if array.dtype == np.uint8:
        return (array.astype(np.float32) / 255.0)[np.newaxis]
    if not np.issubdtype(array.dtype, np.floating):
        raise errors.InputError(f"{name}: {array.dtype} array; allowed: uint8, or floats in [0, 1]")
    # The negated form also catches NaN.
    if not (array.min() >= 0 and array.max() <= 1):
        raise errors.InputError(
            f"{name}: values from {array.min():g} to {array.max():g}; floats must lie in [0, 1]"
        )
    return array.astype(np.float32)[np.newaxis]


def _from_pillow(picture: Image.Image) -> np.ndarray:
    """Returns the image of a Pillow picture: turned upright, in sRGB, alpha dropped."""
    profile = picture.info.get("icc_profile")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16") or upright.mode == "I":
        # Sixteen-bit grey; Pillow's own conversion to RGB would clip it at 255.
        grey = np.asarray(upright, dtype=np.float32) / 65535.0
        return _from_array(np.clip(grey, 0.0, 1.0), "picture")
    if upright.mode == "P" or "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return _from_array(np.asarray(_to_srgb(upright, profile)), "picture")


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Returns the picture in mode RGB, converted from its embedded colour profile if it has one."""
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a broken profile: as if it had none
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return picture.convert("RGB")


def check_output(output: str | os.PathLike[str], overwrite: bool) -> None:
    """Finds out before a run whether a picture can be written there after it.

    Raises:
        InputError: The format is unknown, the folder is missing or closed, or the file exists.
    """
    path = pathlib.Path(output)
    _format(path)
    check_file(path, overwrite)


def check_file(path: pathlib.Path, overwrite: bool) -> None:
    """Finds out before a run whether any file can be written there after it.

    Raises:
        InputError: The folder is missing or closed, the path is a folder, or the file exists.
    """
    if not path.parent.is_dir():
        raise errors.InputError(f"output: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise errors.InputError(f"output: {path} is a folder; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise errors.InputError(f"output: the folder {path.parent} cannot be written to")
    if path.exists() and not overwrite:
        raise errors.InputError(f"output: {path} exists; use --overwrite to replace it")


def _format(path: pathlib.Path) -> tuple[str, dict[str, Any]]:
    """Returns Pillow's name of the format for the path's extension, and the options to write it with."""
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise errors.unknown_name("output format", path.suffix, _FORMATS) from None


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Returns `[H, W, 3]` uint8 of an image [1, H, W, 3] or [H, W, 3], clipped and rounded."""
    pixels = np.asarray(image).reshape(image.shape[-3:])
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)


def write(image: np.ndarray, output: str | os.PathLike[str]) -> None:
    """Writes an image as the file's extension says, whole or not at all.

    Args:
        image: [1, H, W, 3] or [H, W, 3], sRGB in [0, 1]; clipped.
        output: Where to; an existing file is replaced.

    Raises:
        InputError: The format is unknown.
        OSError: The file cannot be written.
    """
    path = pathlib.Path(output)
    name, options = _format(path)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with replacing(path) as file:
        Image.fromarray(to_uint8(image)).save(file, format=name, icc_profile=profile, **options)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[io.BufferedWriter]:
    """Opens a new file beside `path` and renames it to `path` at the end, unless an error came."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    """Returns the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def resize(image: Tensor, height: Any, width: Any) -> Tensor:
    """Returns the image at another size: cubic, antialiased where it shrinks, kept in [0, 1]."""
    resized = tf.image.resize(image, (height, width), method="bicubic", antialias=True)
    return tf.clip_by_value(resized, 0.0, 1.0)


def content(content_image: Tensor, seed: int, noise_levels: float) -> Tensor:
    """Starts from the content image."""
    del seed, noise_levels
    return tf.identity(content_image)


def noise(content_image: Tensor, seed: int, noise_levels: float) -> Tensor:
    """Starts from normal noise around the mean colour of photographs, the same for the same seed."""
    normal = tf.random.stateless_normal(tf.shape(content_image), (seed, 0))
    return tf.constant(_MEAN_COLOR) + noise_levels / 255.0 * normal


def gray(content_image: Tensor, seed: int, noise_levels: float) -> Tensor:
    """Starts from a blank canvas of middle grey."""
    del seed, noise_levels
    return tf.fill(tf.shape(content_image), 0.5)


# The image that a run starts from, by name: (content image, seed, noise in levels) -> image of its size.
INITS: dict[str, Callable[[Tensor, int, float], Tensor]] = {"content": content, "noise": noise, "gray": gray}
