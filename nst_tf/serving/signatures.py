"""What a served model answers: the signatures, traced, over bytes and over pixels.

Every input and every output has a leading batch dimension; items run one after the other and may differ in
size. No variable is assigned.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.config.overrides import apply_overrides
from nst_tf.losses import objective
from nst_tf.serving import codec, stateless
from nst_tf.serving.requested import Limits, Settings, requested_color, settings_of
from nst_tf.serving.runs import Run
from nst_tf.serving.stateless import State, StatelessRun
from nst_tf.tensors import Tensor

Items = dict[str, Tensor]

# A photograph may have so many times the pixels of the largest result: it is decoded and shrunk at about 15
# bytes a pixel, a fiftieth or less of what the network takes for a pixel of the result.
INPUT_PIXELS_PER_PIXEL = 16

_SETTINGS = {
    "num_steps": tf.int32,
    "size": tf.int32,
    "content_weight": tf.float32,
    "style_weight": tf.float32,
    "total_variation_weight": tf.float32,
    "seed": tf.int32,
}
_PICTURES = {"content_bytes": tf.string, "style_bytes": tf.string}
# One row for each item: S styles, of which those without weight are not looked at.
_BLEND = {
    "content_bytes": tf.TensorSpec([None], tf.string, name="content_bytes"),
    "style_bytes": tf.TensorSpec([None, None], tf.string, name="style_bytes"),
    "style_blend_weights": tf.TensorSpec([None, None], tf.float32, name="style_blend_weights"),
    "color": tf.TensorSpec([None], tf.string, name="color"),
}

# Each style is decoded anew at every scale, and costs a step's time there.
MAX_STYLES = 16

_TEXT = tf.TensorSpec([], tf.string)
_LOSSES = tf.TensorSpec([4], tf.float32)


class ServedModel:
    """The functions of one formulation that a server offers."""

    def __init__(self, defaults: Config, judge: objective.Objective, limits: Limits, identity: str) -> None:
        """Traces nothing yet.

        Args:
            defaults: The formulation, and what a request does not say.
            judge: The objective of `stateless.all_terms(defaults)`.
            limits: What a request may ask for.
            identity: What tells this model from others: states of others are refused.
        """
        full = stateless.all_terms(defaults)
        # A request's size is the longest side, as everywhere where a person names one.
        asked = apply_overrides(full, {"size": defaults.scales.size})
        self._needed = scales.pixels_needed(full)
        self._decode = functools.partial(
            codec.decode, max_pixels=limits.max_pixels * INPUT_PIXELS_PER_PIXEL, min_side=self._needed
        )
        decode = functools.partial(self._decode, name="style")
        self._default_run = Run(StatelessRun(full, judge, limits), full.color.mode, decode)
        self._run = self._default_run
        if asked != full:
            self._run = Run(StatelessRun(asked, judge, limits), full.color.mode, decode)
        self._defaults, self._limits = defaults, limits
        self._identity = hashlib.sha256(identity.encode()).hexdigest()

    def signatures(self) -> dict[str, Any]:
        """Returns {name: traced function}, as `tf.saved_model.save` takes them."""
        painted = {"image_bytes": _TEXT, "losses": _LOSSES}
        started = {"state_bytes": tf.TensorSpec([None], tf.string), "preview_bytes": _TEXT}
        advanced = started | {"losses": _LOSSES, "steps_done": tf.TensorSpec([], tf.int32)}
        run = _PICTURES | _SETTINGS
        states = {"state_bytes": tf.TensorSpec([None, None], tf.string, name="state_bytes")}
        return {
            "serving_default": _batched(self._paint_default, _specs(_PICTURES), painted),
            "stylize": _batched(self._paint, _specs(run), painted),
            "stylize_pixels": self._pixels_signature(),
            "start": _batched(self._start, _specs(run), started),
            "stylize_blend": _batched(self._paint_blend, _specs(_SETTINGS) | _BLEND, painted),
            "advance": _batched(self._advance, _specs(run | {"steps_now": tf.int32}) | states, advanced),
        }

    def _paint_default(self, items: Items) -> Items:
        content, style = self._decoded(items)
        return _painted(self._default_run.stylize(content, style, settings_of(self._defaults)))

    def _paint(self, items: Items) -> Items:
        content, style = self._decoded(items)
        return _painted(self._run.stylize(content, style, _settings(items)))

    def _paint_blend(self, items: Items) -> Items:
        weights = items["style_blend_weights"]
        used = weights > 0
        count = tf.reduce_sum(tf.cast(used, tf.int32))
        checks = [
            codec.check(
                tf.reduce_all(tf.math.is_finite(weights) & (weights >= 0))
                & (count > 0)
                & (count <= MAX_STYLES),
                "style_blend_weights: ",
                tf.strings.reduce_join(tf.strings.as_string(weights, shortest=True), separator=", "),
                f"; allowed: finite and not negative, of which 1 to {MAX_STYLES} above 0",
            ),
            codec.check(
                tf.equal(tf.size(weights), tf.size(items["style_bytes"])),
                "style_blend_weights: ",
                tf.size(weights),
                " for ",
                tf.size(items["style_bytes"]),
                " style pictures; allowed: one for each",
            ),
        ]
        index = codec.with_checks(checks, requested_color(items["color"], self._defaults.color.mode))
        with tf.control_dependencies(checks):
            data = tf.boolean_mask(items["style_bytes"], used)
            shares = tf.boolean_mask(weights, used)
        content = self._decode(items["content_bytes"], "content")
        return _painted(self._run.blend(content, data, shares, index, _settings(items)))

    def _start(self, items: Items) -> Items:
        content, style = self._decoded(items)
        state, picture = self._run.start(content, style, _settings(items))
        return {"state_bytes": self._packed(items, state), "preview_bytes": codec.encode(picture)}

    def _advance(self, items: Items) -> Items:
        content, style = self._decoded(items)
        settings, steps_now = _settings(items), items["steps_now"]
        positive = codec.check(steps_now > 0, "steps_now: ", steps_now, "; allowed: 1 and above")
        before = self._unpacked(items, content, style, settings)
        state, picture, losses, done = self._run.advance(
            content, style, settings, before, codec.with_checks([positive], steps_now)
        )
        return {
            "state_bytes": self._packed(items, state),
            "preview_bytes": codec.encode(picture),
            "losses": losses,
            "steps_done": done,
        }

    def _pixels_signature(self) -> Any:
        """Returns the signature whose pictures are numbers; no pictures in, none out."""
        specs = {
            name: tf.TensorSpec([None, None, None, 3], tf.float32, name=name) for name in ("content", "style")
        }
        outputs = {"image": tf.TensorSpec([None, None, 3], tf.float32)}

        def signature(**tensors: Tensor) -> Items:
            return tf.cond(
                tf.equal(tf.shape(tensors["content"])[0], 0),
                lambda: {"image": tf.zeros_like(tensors["content"])},
                lambda: _each(self._paint_pixels, tensors, outputs),
            )

        return tf.function(signature, autograph=False).get_concrete_function(**specs)

    def _paint_pixels(self, items: Items) -> Items:
        settings = settings_of(self._defaults.replace(size=0))
        most = self._limits.max_pixels
        content = self._checked_pixels(items, "content", most)
        style = self._checked_pixels(items, "style", most * INPUT_PIXELS_PER_PIXEL)
        return {"image": self._run.stylize(content, style, settings)[0][0]}

    def _checked_pixels(self, items: Items, name: str, max_pixels: int) -> Tensor:
        pixels = items[name]
        height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
        lowest, highest = tf.reduce_min(pixels), tf.reduce_max(pixels)
        # NaN is neither.
        good = (lowest >= 0) & (highest <= 1)
        checks = codec.check_size(height, width, name, max_pixels, self._needed)
        checks.append(
            codec.check(good, f"{name}: values from ", lowest, " to ", highest, "; allowed: 0 to 1")
        )
        return codec.with_checks(checks, pixels)[tf.newaxis]

    def _decoded(self, items: Items) -> tuple[Tensor, Tensor]:
        return (
            self._decode(items["content_bytes"], "content"),
            self._decode(items["style_bytes"], "style"),
        )

    def _owner(self, items: Items) -> Tensor:
        """Returns what a state belongs to: this model, the pictures and the settings."""
        settings = [tf.io.serialize_tensor(setting) for setting in _settings(items)]
        pictures = [items[name] for name in _PICTURES]
        return codec.fingerprint([tf.constant(self._identity), *pictures, *settings])

    def _packed(self, items: Items, state: State) -> Tensor:
        return codec.pack(tf.nest.flatten(state), self._owner(items))

    def _unpacked(self, items: Items, content: Tensor, style: Tensor, settings: Settings) -> State:
        """Returns the state in a request: first where it stands, which decides the sizes of the rest."""
        count = self._run.num_state_tensors(content, style, settings)
        texts = codec.opened(items["state_bytes"], count, self._owner(items))
        scale_index, step = codec.parse(texts[-2:], [tf.constant(0), tf.constant(0)])
        blank = self._run.blank(content, style, settings, scale_index)
        tensors = codec.parse(texts[:-2], tf.nest.flatten(blank)[:-2])
        return tf.nest.pack_sequence_as(blank, [*tensors, scale_index, step])


def _painted(result: tuple[Tensor, Tensor]) -> Items:
    picture, losses = result
    return {"image_bytes": codec.encode(picture), "losses": losses}


def _settings(items: Items) -> Settings:
    return Settings(*(items[name] for name in _SETTINGS))


def _specs(types: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """Returns the input specs of a batch of scalars of these types."""
    return {name: tf.TensorSpec([None], dtype, name=name) for name, dtype in types.items()}


def _batched(
    function: Callable[[Items], Items], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> Any:
    """Returns a function of one item, traced as a signature over batches."""

    def signature(**tensors: Tensor) -> Items:
        return _each(function, tensors, outputs)

    return tf.function(signature, autograph=False).get_concrete_function(**inputs)


def _each(function: Callable[[Items], Items], tensors: Items, outputs: Mapping[str, Any]) -> Items:
    """Returns the outputs of a function for every item of a batch, one after the other."""
    counts = tf.stack([tf.shape(tensor)[0] for tensor in tensors.values()])
    same = codec.check(
        tf.reduce_all(tf.equal(counts, counts[0])),
        f"batch: {', '.join(tensors)} have ",
        tf.strings.reduce_join(tf.strings.as_string(counts), separator=", "),
        " items; allowed: as many of each",
    )
    checked = {name: codec.with_checks([same], tensor) for name, tensor in tensors.items()}
    return tf.map_fn(function, checked, fn_output_signature=dict(outputs), parallel_iterations=1)
