"""Damaged and hostile manifests: JSON of their own, and in a picture's texts and EXIF data."""

import functools
import io
import random
from typing import Any

from PIL import PngImagePlugin

from fuzz import json_values, mutations, picture_seeds
from fuzz.inputs import Input
from nst_tf.config import presets
from nst_tf.io import manifest

_INPUTS = {"content": {"name": "a.png", "sha256": "0" * 64}, "style": {"name": "b.png", "sha256": "1" * 64}}
_WEIGHTS = {"name": "builtin", "sha256": "2" * 64}
_PRESETS = ("default", "gatys2015", "johnson", "crowsonkb")


@functools.cache
def made(preset: str = "default") -> dict[str, Any]:
    """Returns the manifest of a run."""
    losses = {"total": 3.0, "content": 1.0, "style": 2.0, "total_variation": 0.0}
    return manifest.make(presets.get(preset), _INPUTS, _WEIGHTS, losses)


def make(chance: random.Random) -> Input:
    """Returns a manifest in a file."""
    text = _text(chance)
    data = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.7:
        data = mutations.blindly(chance, data) if chance.random() < 0.2 else data
        if chance.random() < 0.05:
            data = chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + data
        return Input(chance.choice(("a.json",) * 38 + ("A.JSON", "a")), data)
    data = chance.choice((_in_png,) * 3 + (_in_exif,) * 3 + (_in_png_exif,))(chance, text)
    return Input("a.png", mutations.blindly(chance, data) if chance.random() < 0.2 else data)


def _text(chance: random.Random) -> str:
    value: Any = made(chance.choice(_PRESETS))
    # Most often the config, which has the most to check.
    if chance.random() < 0.75:
        value = {**value, "config": json_values.mutated(chance, value["config"])}
        return json_values.to_text(json_values.to_pairs(value))
    return json_values.to_text(json_values.mutated(chance, value))


def _in_png(chance: random.Random, text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    text = text.encode("utf-8", "replace").decode()
    key = "nst_tf"
    if chance.random() < 0.5:
        info.add_itxt(key, text, zip=chance.random() < 0.5)
    else:
        info.add_text(key, text, zip=chance.random() < 0.5)
    file = io.BytesIO()
    picture_seeds.picture("RGB").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def _in_exif(chance: random.Random, text: str) -> bytes:
    file = io.BytesIO()
    # EXIF in JPEG holds at most 64 KB.
    exif = picture_seeds.exif(text=text.encode("ascii", "replace").decode()[:60_000])
    picture_seeds.picture("RGB").save(file, chance.choice(("JPEG", "TIFF", "WEBP", "PNG")), exif=exif)
    return file.getvalue()


def _in_png_exif(chance: random.Random, text: str) -> bytes:
    """Returns a PNG whose EXIF data has the text as another type than ASCII."""
    exif = picture_seeds.exif()
    exif[0x010E] = chance.choice((text.encode("utf-8", "replace")[:60_000], 1, (1, 2, 3)))
    file = io.BytesIO()
    picture_seeds.picture("RGB").save(file, "PNG", exif=exif)
    return file.getvalue()
