"""The signatures of a served model: names, types, shapes and meanings of their inputs and outputs.

The graph, its description `nst_tf.json`, the README's tables and the client keep to it. Every input and every
output has a leading batch dimension B. A model server needs every input of a signature: one that is not
wanted has its neutral value.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nst_tf.config.settings import COLORS, OUTSIDES

# Each style takes about the time of one step at every scale.
MAX_STYLES = 16


class Value(NamedTuple):
    """An input or an output."""

    type: str  # "string" (bytes), "float32" or "int32"
    shape: tuple[str | int, ...]  # a name stands for any number
    meaning: str
    neutral: str = ""  # the value of an input that is not wanted; without one the input is always wanted

    def described(self) -> dict[str, Any]:
        """Returns the value as JSON has it."""
        found = {"type": self.type, "shape": list(self.shape), "meaning": self.meaning}
        return found | ({"neutral": self.neutral} if self.neutral else {})


def _bytes(meaning: str, *shape: str, neutral: str = "") -> Value:
    return Value("string", ("B", *shape), meaning, neutral)


# All inputs by name.
INPUTS: Mapping[str, Value] = {
    "content_bytes": _bytes("the photograph: a PNG or JPEG file"),
    "style_bytes": _bytes("the painting: a PNG or JPEG file; [B, S] where a signature takes several"),
    "style_blend_weights": Value(
        "float32", ("B", "S"), "of each style, of which only the proportions count", "0 leaves a style out"
    ),
    "color": _bytes(f"whose colours: {', '.join(COLORS)}", neutral="empty: the model's own choice"),
    "content_mask_bytes": _bytes(
        "a grey picture of the photograph's shape, white where the style goes", neutral="empty: everywhere"
    ),
    "content_regions_bytes": _bytes(
        "a picture of the photograph's shape in flat colours, one for each region",
        neutral="empty: one region",
    ),
    "style_regions_bytes": _bytes(
        "of each style the same, or #rrggbb for all of it", "S", neutral="empty: one region"
    ),
    "outside": _bytes(
        f"what becomes of the photograph outside mask and regions: {', '.join(OUTSIDES)}",
        neutral="empty: the model's own choice",
    ),
    "num_steps": Value("int32", ("B",), "steps of the whole run, over all scales"),
    "size": Value(
        "int32", ("B",), "longest side of the result in pixels", "0 keeps the photograph's own size"
    ),
    "content_weight": Value("float32", ("B",), "weight of the content loss", "0"),
    "style_weight": Value("float32", ("B",), "weight of the style loss", "0"),
    "total_variation_weight": Value("float32", ("B",), "weight of the total variation", "0"),
    "seed": Value("int32", ("B",), "seed of everything random", "0"),
    "state_bytes": _bytes("the state that came back, unchanged", "K", neutral="one empty string: a new run"),
    "steps_now": Value("int32", ("B",), "steps of this call", "0: all that are left"),
    "content": Value("float32", ("B", "H", "W", 3), "the photograph, in [0, 1]"),
    "style": Value("float32", ("B", "h", "w", 3), "the painting, in [0, 1]"),
}

# All outputs by name.
OUTPUTS: Mapping[str, Value] = {
    "image_bytes": _bytes("the picture so far: a PNG file"),
    "preview_bytes": _bytes("the picture so far: a PNG file"),
    "losses": Value("float32", ("B", 4), "of that picture: total, content, style, total variation"),
    "state_bytes": _bytes("what goes on: K strings, empty ones from `run` once no steps are left", "K"),
    "steps_done": Value("int32", ("B",), "of the whole run"),
    "image": Value("float32", ("B", "H", "W", 3), "the picture, in [0, 1]"),
}


class Signature(NamedTuple):
    """The names of a signature's inputs and outputs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    has_several_styles: bool = False  # so that `style_bytes` are [B, S]


_PICTURES = ("content_bytes", "style_bytes")
_SETTINGS = ("num_steps", "size", "content_weight", "style_weight", "total_variation_weight", "seed")
_BLEND = ("style_blend_weights", "color")
_REGIONS = ("content_mask_bytes", "content_regions_bytes", "style_regions_bytes", "outside")
_PAINTED = ("image_bytes", "losses")
_STATE = ("state_bytes", "preview_bytes")

SIGNATURES: Mapping[str, Signature] = {
    "serving_default": Signature(_PICTURES, _PAINTED),
    "stylize": Signature((*_PICTURES, *_SETTINGS), _PAINTED),
    "stylize_blend": Signature((*_PICTURES, *_BLEND, *_SETTINGS), _PAINTED, True),
    "stylize_pixels": Signature(("content", "style"), ("image",)),
    "start": Signature((*_PICTURES, *_SETTINGS), _STATE),
    "advance": Signature(
        (*_PICTURES, *_SETTINGS, "state_bytes", "steps_now"), (*_STATE, "losses", "steps_done")
    ),
    "run": Signature(
        (*_PICTURES, *_BLEND, *_REGIONS, *_SETTINGS, "state_bytes", "steps_now"),
        (*_PAINTED, "state_bytes", "steps_done"),
        True,
    ),
}


def inputs(signature: str) -> dict[str, Value]:
    """Returns the inputs of a signature by name."""
    chosen = SIGNATURES[signature]
    found = {name: INPUTS[name] for name in chosen.inputs}
    if chosen.has_several_styles:
        found["style_bytes"] = found["style_bytes"]._replace(shape=("B", "S"))
    return found


def outputs(signature: str) -> dict[str, Value]:
    """Returns the outputs of a signature by name."""
    return {name: OUTPUTS[name] for name in SIGNATURES[signature].outputs}


def describe() -> dict[str, Any]:
    """Returns all signatures as JSON has them."""
    return {
        name: {
            "inputs": {key: value.described() for key, value in inputs(name).items()},
            "outputs": {key: value.described() for key, value in outputs(name).items()},
        }
        for name in SIGNATURES
    }
