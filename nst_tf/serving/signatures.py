"""The signatures of a served model: whole runs and runs in parts, over picture files and over pixels.

Every input and every output has a leading batch dimension; items run one after the other and may differ in
size.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.config.overrides import apply_overrides
from nst_tf.config.settings import COLORS, WITHOUT_STEPS
from nst_tf.losses.objective import Objective
from nst_tf.losses.values import Losses
from nst_tf.serving import codec, settings, stateless
from nst_tf.serving.settings import Limits
from nst_tf.serving.stateless import Request, State, StatelessRun, Styles
from nst_tf.tensors import Tensor

Items = dict[str, Tensor]

# The most pixels of an input picture for each pixel of the largest result. Decoding and shrinking take about
# 15 bytes a pixel, at most a fiftieth of what the network takes for a pixel of the result.
INPUT_PIXELS_PER_PIXEL = 16

_SETTINGS = {name: tf.as_dtype(kind) for name, kind in settings.KINDS.items()}
_PICTURES = {"content_bytes": tf.string, "style_bytes": tf.string}
# One row of S styles for each item; styles of weight 0 are not read.
_BLEND = {
    "content_bytes": tf.TensorSpec([None], tf.string, name="content_bytes"),
    "style_bytes": tf.TensorSpec([None, None], tf.string, name="style_bytes"),
    "style_blend_weights": tf.TensorSpec([None, None], tf.float32, name="style_blend_weights"),
    "color": tf.TensorSpec([None], tf.string, name="color"),
}

# Each style takes about the time of one step at every scale.
MAX_STYLES = 16

_TEXT = tf.TensorSpec([], tf.string)
_LOSSES = tf.TensorSpec([4], tf.float32)


class ServedModel:
    """The signatures of one formulation."""

    def __init__(self, defaults: Config, objective: Objective, limits: Limits, identity: str) -> None:
        """Traces nothing yet.

        Args:
            defaults: The formulation, with the settings of requests that name none.
            objective: Of `stateless.all_terms(defaults)`.
            limits: Of a request.
            identity: A text that differs from other models': states of other models are refused.
        """
        full = stateless.all_terms(defaults)
        # A request's size is the longest side, as `--size` is.
        sized = apply_overrides(full, {"size": defaults.scales.size})
        self._needed = scales.pixels_needed(full)
        most = limits.max_pixels * INPUT_PIXELS_PER_PIXEL
        self._decode = functools.partial(codec.decode, max_pixels=most, min_side=self._needed)
        self._measure = functools.partial(codec.measure, max_pixels=most, min_side=self._needed)
        self._default_run = StatelessRun(full, objective, limits)
        self._run = self._default_run if sized == full else StatelessRun(sized, objective, limits)
        self._defaults, self._limits = defaults, limits
        self._identity = hashlib.sha256(identity.encode()).hexdigest()

    def signatures(self) -> dict[str, Any]:
        """Returns {name: concrete function}, as `tf.saved_model.save` takes them."""
        finished = {"image_bytes": _TEXT, "losses": _LOSSES}
        started = {"state_bytes": tf.TensorSpec([None], tf.string), "preview_bytes": _TEXT}
        advanced = started | {"losses": _LOSSES, "steps_done": tf.TensorSpec([], tf.int32)}
        run = _PICTURES | _SETTINGS
        states = {"state_bytes": tf.TensorSpec([None, None], tf.string, name="state_bytes")}
        return {
            "serving_default": _batched(self._stylize_default, _specs(_PICTURES), finished),
            "stylize": _batched(self._stylize, _specs(run), finished),
            "stylize_pixels": self._pixels_signature(),
            "start": _batched(self._start, _specs(run), started),
            "stylize_blend": _batched(self._stylize_blend, _specs(_SETTINGS) | _BLEND, finished),
            "advance": _batched(self._advance, _specs(run | {"steps_now": tf.int32}) | states, advanced),
        }

    def _stylize_default(self, items: Items) -> Items:
        return self._answer(self._default_run, items | _settings_of(self._defaults))

    def _stylize(self, items: Items) -> Items:
        return self._answer(self._run, items)

    def _answer(self, run: StatelessRun, items: Items) -> Items:
        """Returns the answer to a request with one style."""
        request, styles = self._request(run, items)
        picture, losses = run.stylize(request, styles)
        return {"image_bytes": codec.encode(picture), "losses": losses}

    def _stylize_blend(self, items: Items) -> Items:
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
        color_index = stateless.color_index(items["color"], self._defaults.color.mode)
        color_index = codec.with_checks(checks, color_index)
        with tf.control_dependencies(checks):
            files = tf.boolean_mask(items["style_bytes"], used)
            shares = tf.boolean_mask(weights, used)
        content = self._decode(items["content_bytes"], "content")
        styles = self._files(files, shares / tf.reduce_sum(shares))
        request = self._run.request(content, styles, _settings(items), color_index)
        without_steps = [index for index, name in enumerate(COLORS) if name in WITHOUT_STEPS]
        picture, losses = tf.cond(
            tf.reduce_any(tf.equal(color_index, tf.constant(without_steps))),
            lambda: (self._run.recolored(request, styles), tf.zeros([len(Losses._fields)])),
            lambda: self._run.stylize(request, styles),
        )
        return {"image_bytes": codec.encode(picture), "losses": losses}

    def _start(self, items: Items) -> Items:
        request, _ = self._request(self._run, items)
        state, picture = self._run.start(request)
        return {"state_bytes": self._packed(items, state), "preview_bytes": codec.encode(picture)}

    def _advance(self, items: Items) -> Items:
        request, styles = self._request(self._run, items)
        steps_now = items["steps_now"]
        positive = codec.check(steps_now > 0, "steps_now: ", steps_now, "; allowed: 1 and above")
        steps_now = codec.with_checks([positive], steps_now)
        before = self._run.checked_matches(request, styles, self._unpacked(items, request))
        state, picture, losses, done = self._run.advance(request, styles, before, steps_now)
        return {
            "state_bytes": self._packed(items, state),
            "preview_bytes": codec.encode(picture),
            "losses": losses,
            "steps_done": done,
        }

    def _pixels_signature(self) -> Any:
        """Returns the signature over pixels; an empty batch has an empty result."""
        specs = {
            name: tf.TensorSpec([None, None, None, 3], tf.float32, name=name) for name in ("content", "style")
        }
        outputs = {"image": tf.TensorSpec([None, None, 3], tf.float32)}

        def signature(**tensors: Tensor) -> Items:
            return tf.cond(
                tf.equal(tf.shape(tensors["content"])[0], 0),
                lambda: {"image": tf.zeros_like(tensors["content"])},
                lambda: _each(self._stylize_pixels, tensors, outputs),
            )

        return tf.function(signature, autograph=False).get_concrete_function(**specs)

    def _stylize_pixels(self, items: Items) -> Items:
        most = self._limits.max_pixels
        content = self._checked_pixels(items, "content", most)
        styles = stateless.one_style(self._checked_pixels(items, "style", most * INPUT_PIXELS_PER_PIXEL))
        own = _settings_of(self._defaults.replace(size=0))
        request = self._run.request(content, styles, own)
        return {"image": self._run.stylize(request, styles)[0][0]}

    def _checked_pixels(self, items: Items, name: str, max_pixels: int) -> Tensor:
        pixels = items[name]
        height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
        lowest, highest = tf.reduce_min(pixels), tf.reduce_max(pixels)
        # False for NaN.
        good = (lowest >= 0) & (highest <= 1)
        checks = codec.check_size(height, width, name, max_pixels, self._needed)
        checks.append(
            codec.check(good, f"{name}: values from ", lowest, " to ", highest, "; allowed: 0 to 1")
        )
        return codec.with_checks(checks, pixels)[tf.newaxis]

    def _request(self, run: StatelessRun, items: Items) -> tuple[Request, Styles]:
        """Returns the request of an item with one style."""
        content = self._decode(items["content_bytes"], "content")
        styles = stateless.one_style(self._decode(items["style_bytes"], "style"))
        return run.request(content, styles, _settings(items)), styles

    def _files(self, files: Tensor, shares: Tensor) -> Styles:
        """Returns the styles in files [K] string, decoded one at a time when `Styles.each` reads them."""

        def each(function: Callable[[Tensor], Any], specs: Any) -> Any:
            return tf.map_fn(
                lambda file: function(self._decode(file, "style")),
                files,
                fn_output_signature=specs,
                parallel_iterations=1,
            )

        def fold(function: Callable[[Tensor, Tensor, Any], Any], value: Any) -> Any:
            return tf.while_loop(
                lambda number, _: number < tf.size(files),
                lambda number, value: (
                    number + 1,
                    function(self._decode(files[number], "style"), number, value),
                ),
                (tf.constant(0), value),
                shape_invariants=(tf.TensorShape([]), tf.nest.map_structure(stateless.any_size, value)),
                parallel_iterations=1,
            )[1]

        sizes = tf.map_fn(
            lambda file: self._measure(file, "style"), files, fn_output_signature=tf.TensorSpec([2], tf.int32)
        )
        return Styles(sizes, shares, each, fold)

    def _owner(self, items: Items) -> Tensor:
        """Returns a fingerprint of this model, the pictures and the settings, which a state belongs to."""
        serialized = [tf.io.serialize_tensor(setting) for setting in _settings(items).values()]
        pictures = [items[name] for name in _PICTURES]
        return codec.fingerprint([tf.constant(self._identity), *pictures, *serialized])

    def _packed(self, items: Items, state: State) -> Tensor:
        return codec.pack(tf.nest.flatten(state), self._owner(items))

    def _unpacked(self, items: Items, request: Request) -> State:
        """Returns the state in a request.

        Parses the index of the scale first, since it determines the shapes of the other tensors.
        """
        count = len(tf.nest.flatten(self._run.start(request)[0]))
        texts = codec.unpack(items["state_bytes"], count, self._owner(items))
        scale_index, step = codec.parse(texts[-2:], [tf.constant(0), tf.constant(0)])
        blank = self._run.blank(request, scale_index)
        most = request.plan.num_steps[blank.scale_index]
        known = codec.check(step <= most, "state_bytes: at step ", step, " of ", most)
        tensors = codec.parse(texts[:-2], tf.nest.flatten(blank)[:-2])
        step = codec.with_checks([known], step)
        return tf.nest.pack_sequence_as(blank, [*tensors, blank.scale_index, step])


def _settings(items: Items) -> Items:
    """Returns the settings among the tensors of an item."""
    return {name: items[name] for name in _SETTINGS}


def _settings_of(config: Config) -> Items:
    """Returns a config's own settings."""
    own = settings.Settings.of_config(config)
    return {name: tf.constant(value) for name, value in own.tensors().items()}


def _specs(types: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """Returns the input specs of a batch of scalars of these types."""
    return {name: tf.TensorSpec([None], dtype, name=name) for name, dtype in types.items()}


def _batched(
    function: Callable[[Items], Items], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> Any:
    """Returns a signature over batches from a function of one item."""

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
