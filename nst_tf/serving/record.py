"""The record of a request: pictures, regions, colours and settings as the inputs of a signature.

Pictures go as PNG: upright, in sRGB, with 8 bits a channel and no alpha. Loads no TensorFlow.
"""

import dataclasses
import hashlib
import io
import logging
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.config.settings import COLORS, LARGEST_NUMBER, OUTSIDES, WITHOUT_STEPS
from nst_tf.io import masks, pictures
from nst_tf.serving import transports
from nst_tf.serving.settings import Settings, is_number

_LOG = logging.getLogger(__name__)

# The options that `stylize_blend` takes, as messages name them.
_BLENDED = "style_blend_weights or color"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """What a user asks for; see `client.request_stylization`."""

    content: pictures.Picture
    styles: Sequence[pictures.Picture]
    style_blend_weights: Iterable[float] | None = None
    color: str | None = None
    content_mask: pictures.Picture | None = None
    content_regions: pictures.Picture | None = None
    style_regions: Sequence[pictures.Picture] = ()
    outside: str | None = None
    settings: Settings | None = None
    in_parts: bool = False

    @property
    def has_regions(self) -> bool:
        """Whether there is a mask or a label picture."""
        return not (self.content_mask is None and self.content_regions is None and not self.style_regions)

    @property
    def is_blended(self) -> bool:
        """Whether it takes more than one style, or colours of its own."""
        return len(self.styles) != 1 or self.style_blend_weights is not None or self.color is not None


@dataclasses.dataclass(frozen=True)
class Record:
    """A request as it is sent."""

    signature: str  # of a run in parts the one that goes on: "advance" or "run"
    inputs: Mapping[str, transports.Input]  # without state and steps
    described: Mapping[str, Mapping[str, str]]  # {picture: {"name", "sha256"}}, of what is sent

    def choices(self) -> dict[str, Any]:
        """Returns the settings and options by name, as JSON has them."""
        found = {name: value for name, value in self.inputs.items() if not name.endswith("_bytes")}
        return {name: _plain(value) for name, value in found.items()}


def make(given: Given) -> Record:
    """Returns the record of a request; reads its pictures.

    Raises:
        InputError: A picture cannot be read, or something does not go together.
    """
    _check(given)
    signature = _signature(given)
    tensors: dict[str, transports.Input] = {}
    if signature in ("stylize_blend", "run"):
        tensors |= _blend(len(given.styles), given.style_blend_weights, given.color)
        if given.settings is None:
            whom = "a mask or regions" if given.has_regions else f"several styles or {_BLENDED}"
            errors.require(False, "settings", None, f"all of them, for {whom}")
    content = _read(given.content, "content")
    names = [errors.numbered("style", index) for index in range(len(given.styles))]
    styles = [_read(*each) for each in zip(given.styles, names, strict=True)]
    tensors |= given.settings.tensors() if given.settings else {}
    sent = {"content": content, **dict(zip(names, styles, strict=True))}
    encoded = {name: _png(pixels) for name, pixels in sent.items()}
    tensors["content_bytes"] = encoded["content"]
    of_styles = [encoded[name] for name in names]
    tensors["style_bytes"] = of_styles if signature in ("stylize_blend", "run") else of_styles[0]
    if signature == "run":
        files = _regions(given, content.shape[:2], [style.shape[:2] for style in styles])
        encoded |= {name: data for name, data in files.items() if data}
        tensors |= {f"{name}_bytes": files[name] for name in ("content_mask", "content_regions")}
        tensors["style_regions_bytes"] = [files[_of_style(index)] for index in range(len(styles))]
        tensors["outside"] = (given.outside or "").encode()
    return Record(signature, tensors, _described(given, encoded))


def _check(given: Given) -> None:
    """Checks that what is asked for goes together.

    Raises:
        InputError: It does not.
    """
    errors.require(given.settings or not given.in_parts, "settings", None, "all of them, for a run in parts")
    if given.outside is not None:
        if given.outside not in OUTSIDES:
            raise errors.unknown_name("outside", given.outside, OUTSIDES)
        if not given.has_regions:
            raise errors.InputError(
                "outside: it does nothing without content_mask or content_regions; leave it out"
            )
    if given.color in WITHOUT_STEPS:
        what = f"color={given.color} takes no steps"
        if given.in_parts:
            raise errors.InputError(f"color: {what} of which some could be asked for at a time")
        if given.has_regions:
            raise errors.InputError(f"color: {what}, so that nothing could be kept to a mask or regions")
    if given.has_regions and given.settings and not given.settings.style_weight:
        raise errors.InputError(
            "style_weight: 0 with a mask or regions, so that nothing is painted that could be kept to them"
        )


def _signature(given: Given) -> str:
    """Returns the signature that does what is asked for and that the oldest models have."""
    if given.has_regions or (given.in_parts and given.is_blended):
        return "run"
    if given.is_blended:
        return "stylize_blend"
    if given.in_parts:
        return "advance"
    return "stylize" if given.settings else "serving_default"


def _blend(count: int, weights: Iterable[float] | None, color: str | None) -> dict[str, transports.Input]:
    """Returns the inputs of several styles in addition to pictures and settings.

    Args:
        count: The number of style pictures.
        weights: One for each, or None for equal ones.
        color: A name, or None for the model's own choice.

    Raises:
        InputError: A value is not allowed, or the number of weights is not `count`.
    """
    name = "style_blend_weights"
    errors.require(count, "style", "no picture", "one or more")
    errors.require(weights is None or isinstance(weights, Iterable), name, repr(weights), "a list of numbers")
    numerals = [1.0] * count if weights is None else list(weights)
    errors.require(
        len(numerals) == count, name, f"{len(numerals)} for {count} style pictures", "one for each"
    )
    for weight in numerals:
        errors.require(
            is_number(weight, numbers.Real) and 0 <= weight <= LARGEST_NUMBER,
            name,
            weight,
            f"numbers from 0 to {LARGEST_NUMBER:g}",
        )
    shares = np.array(numerals, np.float32)
    errors.require(
        np.any(shares > 0), name, ", ".join(f"{weight:g}" for weight in numerals), "at least one above 0"
    )
    if color is not None and color not in COLORS:
        raise errors.unknown_name("color", color, COLORS)
    return {name: shares, "color": (color or "").encode()}


def _regions(given: Given, content: masks.Size, styles: Sequence[masks.Size]) -> dict[str, bytes]:
    """Returns {name: bytes} of the mask and the label pictures, empty ones where there are none.

    Args:
        given: What is asked for.
        content: The size of the photograph.
        styles: Those of the paintings.

    Raises:
        InputError: They do not go together, or nothing would be painted.
    """
    labels = {_of_style(index): picture for index, picture in enumerate(given.style_regions)}
    every = {"content_regions": given.content_regions, **labels}
    read = {name: _labels(each, name) for name, each in every.items()}
    read["content_mask"] = None if given.content_mask is None else _read_mask(given.content_mask)
    regions = [read[name] for name in labels]
    masks.plan(content, styles, read["content_mask"], read["content_regions"], regions or None)
    files = dict.fromkeys((_of_style(index) for index in range(len(styles))), b"")
    return files | {name: _bytes(each) for name, each in read.items()}


def _of_style(index: int) -> str:
    return errors.numbered("style_regions", index)


def _read_mask(picture: pictures.Picture) -> np.ndarray:
    return pictures.to_uint8(pictures.read(picture, "content_mask", background=pictures.BLACK))


def _labels(picture: pictures.Picture | None, name: str) -> Any:
    """Returns the numbers of a label picture, or a colour as it is; None without any."""
    if picture is None or masks.is_color(picture):
        return picture
    return masks.read_labels(picture, name)


def _bytes(read: Any) -> bytes:
    """Returns what is sent of a mask, of a label picture or of a colour."""
    if read is None:
        return b""
    return read.encode() if isinstance(read, str) else _png(read)


def _read(picture: pictures.Picture, name: str) -> np.ndarray:
    """Returns a picture's pixels, [H, W, 3] uint8; what is transparent is white: a server knows no alpha."""
    image, alpha = pictures.read_with_alpha(picture, name)
    if alpha is not None and name != "content":
        _LOG.warning("%s: what is transparent is white for the server, and counts", name)
    return pictures.to_uint8(image)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def _described(given: Given, encoded: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """Returns {picture: {"name", "sha256"}} of what is sent; the name of a file, or "" of an array."""
    single = ("content", "content_mask", "content_regions")
    named: dict[str, Any] = {name: getattr(given, name) for name in single}
    for kind, several in (("style", given.styles), ("style_regions", given.style_regions)):
        named |= {errors.numbered(kind, index): each for index, each in enumerate(several)}
    return {
        name: {
            "name": os.path.basename(named[name]) if isinstance(named[name], str | os.PathLike) else "",
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        for name, data in encoded.items()
    }


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it."""
    return value.decode() if isinstance(value, bytes) else value.tolist()
