"""The signatures of a served model: whole runs and runs in parts, over picture files and over pixels.

Every input and every output has a leading batch dimension; items run one after the other and may differ in
size.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf import tensors
from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.config.overrides import apply_overrides
from nst_tf.config.settings import COLORS, OUTSIDES, WITHOUT_STEPS
from nst_tf.losses.objective import Objective
from nst_tf.losses.values import Losses
from nst_tf.serving import codec, interface, regions, settings, stateless
from nst_tf.serving.interface import MAX_STYLES
from nst_tf.serving.settings import Limits
from nst_tf.serving.stateless import Options, Request, State, StatelessRun, Style, Styles
from nst_tf.tensors import Tensor

Items = dict[str, Tensor]

# The most pixels of an input picture for each pixel of the largest result. Decoding and shrinking take about
# 15 bytes a pixel, at most a fiftieth of what the network takes for a pixel of the result.
INPUT_PIXELS_PER_PIXEL = 16

# The inputs of `run` that do not belong to a state: it goes on with any number of steps.
_OF_A_CALL = ("state_bytes", "steps_now")


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
        self._most = most
        texts = [tf.TensorSpec([], tf.string)] * 2
        # Not inlined, so that TensorFlow optimises them once, however often a graph reads a picture.
        self._decode = {
            kind: tensors.noinline_function(
                functools.partial(codec.decode, kind=kind, max_pixels=most, min_side=self._needed),
                input_signature=texts,
            )
            for kind in ("content", "style")
        }
        self._regions = regions.Reader(most)
        self._default_run = StatelessRun(full, objective, limits)
        self._run = self._default_run if sized == full else StatelessRun(sized, objective, limits)
        self._defaults, self._limits = defaults, limits
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        item = {name: _spec(name, value, 1) for name, value in interface.inputs("run").items()}
        self._record = tf.function(self._answer_record, [item], autograph=False)

    def signatures(self) -> dict[str, Any]:
        """Returns {name: concrete function}, as `tf.saved_model.save` takes them."""
        functions = {
            "serving_default": self._stylize_default,
            "stylize": self._stylize,
            "stylize_blend": self._stylize_blend,
            "stylize_pixels": self._stylize_pixels,
            "start": self._start,
            "advance": self._advance,
            "run": self._record,
        }
        return {name: _batched(name, functions[name]) for name in interface.SIGNATURES}

    def _stylize_default(self, items: Items) -> Items:
        content = self._content(items)
        request, styles = self._with_style(self._default_run, content, items, self._own(content))
        return _painted(*self._default_run.stylize(request, styles))

    def _stylize(self, items: Items) -> Items:
        request, styles = self._request(items)
        return _painted(*self._run.stylize(request, styles))

    def _stylize_blend(self, items: Items) -> Items:
        """Returns the answer of `run` to a record without regions, all steps at once."""
        texts = {name: tf.constant("") for name in ("content_mask_bytes", "content_regions_bytes", "outside")}
        neutral = texts | {"style_regions_bytes": tf.fill(tf.shape(items["style_bytes"]), "")}
        neutral |= {"state_bytes": tf.constant([""]), "steps_now": tf.constant(0)}
        found = self._record(items | neutral)
        return {name: found[name] for name in interface.SIGNATURES["stylize_blend"].outputs}

    def _start(self, items: Items) -> Items:
        request, _ = self._request(items)
        state = self._run.start(request)
        preview = codec.encode(self._run.picture(request, state))
        return {"state_bytes": self._packed(items, state), "preview_bytes": preview}

    def _advance(self, items: Items) -> Items:
        request, styles = self._request(items)
        steps_now = items["steps_now"]
        positive = codec.check(steps_now > 0, "steps_now: ", steps_now, "; allowed: 1 and above")
        steps_now = codec.with_checks([positive], steps_now)
        before = self._unpacked(items, request)
        state, picture, losses, done = self._run.advance(request, styles, before, steps_now)
        return {
            "state_bytes": self._packed(items, state),
            "preview_bytes": codec.encode(picture),
            "losses": losses,
            "steps_done": done,
        }

    def _answer_record(self, items: Items) -> Items:
        """Returns the answer to a whole record: begins or goes on, over all steps or some of them."""
        request, styles = self._whole_request(items)
        without_steps = [index for index, name in enumerate(COLORS) if name in WITHOUT_STEPS]
        takes_no_steps = tf.reduce_any(tf.equal(request.color_index, tf.constant(without_steps)))

        def recolored() -> tuple[Tensor, ...]:
            picture = self._run.recolored(request, styles)
            return picture, tf.zeros([len(Losses._fields)]), self._no_state(), tf.constant(0)

        picture, losses, state, done = tf.cond(
            takes_no_steps, recolored, lambda: self._run_on(items, request, styles)
        )
        return {**_painted(picture, losses), "state_bytes": state, "steps_done": done}

    def _run_on(self, items: Items, request: Request, styles: Styles) -> tuple[Tensor, ...]:
        """Returns the picture, its losses, the state's strings and the steps done after a call of `run`."""
        is_new = tf.reduce_all(tf.equal(tf.strings.length(items["state_bytes"]), 0))
        before = tf.cond(is_new, lambda: self._run.start(request), lambda: self._unpacked(items, request))
        now, most = items["steps_now"], request.settings["num_steps"]
        good = codec.check(now >= 0, "steps_now: ", now, "; allowed: 1 and above, or 0 for all that are left")
        now = codec.with_checks([good], tf.where(now > 0, now, most))
        state, picture, losses, done = self._run.advance(request, styles, before, now)
        packed = tf.cond(
            done < most,
            lambda: self._packed(items, state),
            lambda: self._no_state(),
        )
        return picture, losses, packed, done

    def _stylize_pixels(self, items: Items) -> Items:
        content = self._checked_pixels(items, "content", self._limits.max_pixels)
        style = self._checked_pixels(items, "style", self._most)
        styles = stateless.one_style(style)
        request = self._run.request(content, styles, self._own(content) | {"size": tf.constant(0)})
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

    def _content(self, items: Items) -> Tensor:
        return self._decode["content"](items["content_bytes"], "content")

    def _own(self, content: Tensor) -> Items:
        """Returns the model's own settings; for a square photograph of the smallest size one step at that.

        So that warm-up and a probe of the signatures without settings take a moment.
        """
        own = settings.Settings.of_config(self._defaults).tensors()
        found = {name: tf.constant(value) for name, value in own.items()}
        is_probe = tf.reduce_all(tf.equal(tf.shape(content)[1:3], self._needed))
        quick = {"num_steps": 1, "size": 0}
        return found | {name: tf.where(is_probe, value, found[name]) for name, value in quick.items()}

    def _request(self, items: Items) -> tuple[Request, Styles]:
        """Returns the request of an item with one style and its own settings."""
        return self._with_style(self._run, self._content(items), items, _settings(items))

    def _with_style(
        self, run: StatelessRun, content: Tensor, items: Items, own: Items
    ) -> tuple[Request, Styles]:
        styles = stateless.one_style(self._decode["style"](items["style_bytes"], "style"))
        return run.request(content, styles, own), styles

    def _whole_request(self, items: Items) -> tuple[Request, Styles]:
        """Returns the request of an item of `run`."""
        checks = [*_blend_checks(items), self._counted_regions(items)]
        checked = {name: codec.with_checks(checks, tensor) for name, tensor in items.items()}
        weights = checked["style_blend_weights"]
        numbers = tf.where(weights > 0)[:, 0]
        shares = tf.cast(tf.gather(weights, numbers), tf.float64)
        shares = tf.cast(shares / tf.reduce_sum(shares), tf.float32)
        content = self._content(checked)
        files = regions.Files(
            checked["content_mask_bytes"],
            checked["content_regions_bytes"],
            tf.gather(checked["style_regions_bytes"], numbers),
            _numbered("style_regions", numbers),
        )
        options, colors = self._options(checked, files, content)
        read = _StyleFiles(
            tf.gather(checked["style_bytes"], numbers), _numbered("style", numbers), files, colors
        )
        styles = self._files(read, shares)
        return self._run.request(content, styles, _settings(checked), options), styles

    def _counted_regions(self, items: Items) -> tf.Operation:
        came, styles = tf.size(items["style_regions_bytes"]), tf.size(items["style_bytes"])
        return codec.check(
            tf.equal(came, styles),
            *("style_regions_bytes: ", came, " for ", styles, " style pictures; allowed: one for each"),
        )

    def _options(self, items: Items, files: regions.Files, content: Tensor) -> tuple[Options, Tensor]:
        """Returns the options of a request, and the colours of its regions [R]."""
        index = _index(items["color"], "color", COLORS, self._defaults.color.mode)
        outside = _index(items["outside"], "outside", OUTSIDES, self._defaults.regions.outside)
        has_regions = tf.reduce_any(tf.strings.length([files.mask, files.content]) > 0)
        without_steps = [number for number, name in enumerate(COLORS) if name in WITHOUT_STEPS]
        in_vain = codec.check(
            ~(has_regions & tf.reduce_any(tf.equal(index, tf.constant(without_steps)))),
            *("color: ", items["color"], "; allowed with a mask or regions: one that takes steps, since"),
            " nothing else is painted that could be kept to a region",
        )
        index = codec.with_checks([in_vain], index)
        mask, colors = self._regions.content_masks(files, self._regions.colors(files), tf.shape(content)[1:3])
        return Options(
            index, mask[tf.newaxis], has_regions, tf.equal(outside, OUTSIDES.index("keep"))
        ), colors

    def _files(self, files: "_StyleFiles", shares: Tensor) -> Styles:
        """Returns styles that are decoded one at a time when `Styles.each` reads them."""

        def style(number: Tensor) -> Style:
            image = self._decode["style"](files.pictures[number], files.names[number])
            labels, named = files.regions.styles[number], files.regions.names[number]
            mask = self._regions.style_masks(labels, named, files.colors, tf.shape(image)[1:3])
            return Style(number, image, mask[tf.newaxis])

        def each(function: Callable[[Style], Any], specs: Any) -> Any:
            return tf.map_fn(
                lambda number: function(style(number)),
                tf.range(tf.size(files.pictures)),
                fn_output_signature=specs,
                parallel_iterations=1,
            )

        def fold(function: Callable[[Style, Any], Any], value: Any) -> Any:
            return tf.while_loop(
                lambda number, _: number < tf.size(files.pictures),
                lambda number, value: (number + 1, function(style(number), value)),
                (tf.constant(0), value),
                shape_invariants=(tf.TensorShape([]), tf.nest.map_structure(stateless.any_size, value)),
                parallel_iterations=1,
            )[1]

        def measure(parts: tuple[Tensor, Tensor]) -> Tensor:
            return codec.measure(*parts, "style", self._most, self._needed)

        sizes = tf.map_fn(
            measure, (files.pictures, files.names), fn_output_signature=tf.TensorSpec([2], tf.int32)
        )
        return Styles(sizes, shares, each, fold)

    def _owner(self, items: Items) -> Tensor:
        """Returns a fingerprint of this model, the pictures and the settings, which a state belongs to."""
        serialized = [tf.io.serialize_tensor(setting) for setting in _settings(items).values()]
        if "color" not in items:
            pictures = [items[name] for name in ("content_bytes", "style_bytes")]
            return codec.fingerprint([tf.constant(self._identity), *pictures, *serialized])
        names = [name for name in items if name not in (*settings.KINDS, *_OF_A_CALL)]
        others = [tf.io.serialize_tensor(items[name]) for name in sorted(names)]
        return codec.fingerprint([tf.constant(self._identity), *others, *serialized])

    def _packed(self, items: Items, state: State) -> Tensor:
        return codec.pack(tf.nest.flatten(state), self._owner(items))

    def _no_state(self) -> Tensor:
        """Returns the strings of a run without steps left, as many as of any other."""
        return tf.fill([self._run.count_tensors() + 1], "")

    def _unpacked(self, items: Items, request: Request) -> State:
        """Returns the state in a request.

        Parses the index of the scale first, since it determines the shapes of the other tensors.
        """
        texts = codec.unpack(items["state_bytes"], self._run.count_tensors(), self._owner(items))
        scale_index, step = codec.parse(texts[-2:], [tf.constant(0), tf.constant(0)])
        blank = self._run.blank(request, scale_index)
        most = request.plan.num_steps[blank.scale_index]
        known = codec.check(step <= most, "state_bytes: at step ", step, " of a scale; allowed: 0 to ", most)
        tensors = codec.parse(texts[:-2], tf.nest.flatten(blank)[:-2])
        step = codec.with_checks([known], step)
        return tf.nest.pack_sequence_as(blank, [*tensors, blank.scale_index, step])


class _StyleFiles(NamedTuple):
    """The files of the K styles that count."""

    pictures: Tensor  # [K] string
    names: Tensor  # [K] string, what messages call these
    regions: regions.Files
    colors: Tensor  # [R] int32, of the regions


def _painted(picture: Tensor, losses: Tensor) -> Items:
    return {"image_bytes": codec.encode(picture), "losses": losses}


def _blend_checks(items: Items) -> list[tf.Operation]:
    """Returns the checks of the weights of several styles."""
    weights = items["style_blend_weights"]
    count = tf.reduce_sum(tf.cast(weights > 0, tf.int32))
    return [
        codec.check(
            tf.reduce_all(tf.math.is_finite(weights) & (weights >= 0)) & (count > 0) & (count <= MAX_STYLES),
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


def _index(chosen: Tensor, name: str, allowed: Sequence[str], own: str) -> Tensor:
    """Returns the index of a name among those allowed, [] int32; fails if it is unknown.

    Args:
        chosen: [] string; an empty one stands for `own`.
        name: Of the input.
        allowed: The names.
        own: The model's own choice.
    """
    is_chosen = tf.equal(tf.constant(list(allowed)), tf.where(tf.equal(chosen, ""), own, chosen))
    known = codec.check(
        tf.reduce_any(is_chosen),
        *(f"{name}: ", chosen, f"; allowed: {', '.join(allowed)}, or an empty one for what the model has"),
    )
    return codec.with_checks([known], tf.argmax(is_chosen, output_type=tf.int32))


def _numbered(kind: str, numbers: Tensor) -> Tensor:
    """Returns what messages call the pictures of these numbers [K], as `errors.numbered` does, [K] string."""
    later = tf.strings.join([kind, " ", tf.strings.as_string(numbers + 1)])
    return tf.where(numbers > 0, later, kind)


def _settings(items: Items) -> Items:
    """Returns the settings among the tensors of an item."""
    return {name: items[name] for name in settings.KINDS}


def _batched(signature: str, function: Callable[[Items], Items]) -> Any:
    """Returns a signature over batches from a function of one item; an empty batch has an empty result."""
    inputs = interface.inputs(signature)
    outputs = {name: _spec(name, value, 1) for name, value in interface.outputs(signature).items()}

    def batched(**tensors: Tensor) -> Items:
        return _each(function, _checked(tensors, inputs), outputs)

    specs = {name: _spec(name, value) for name, value in inputs.items()}
    return tf.function(batched, autograph=False).get_concrete_function(**specs)


def _spec(name: str, value: interface.Value, first: int = 0) -> tf.TensorSpec:
    """Returns the type of an input or output, from an axis on."""
    sizes = [None if isinstance(size, str) else size for size in value.shape[first:]]
    return tf.TensorSpec(sizes, value.type, name=name)


def _checked(tensors: Items, inputs: Mapping[str, interface.Value]) -> Items:
    """Returns the inputs of a batch; fails where one has another rank, or another number of items.

    A model server passes on tensors of any shape.
    """
    ranked = {name: _ranked(name, tensor, inputs[name].shape) for name, tensor in tensors.items()}
    counts = tf.stack([tf.shape(tensor)[0] for tensor in ranked.values()])
    same = codec.check(
        tf.reduce_all(tf.equal(counts, counts[0])),
        f"batch: {', '.join(ranked)} have ",
        tf.strings.reduce_join(tf.strings.as_string(counts), separator=", "),
        " items; allowed: as many of each",
    )
    return {name: codec.with_checks([same], tensor) for name, tensor in ranked.items()}


def _ranked(name: str, tensor: Tensor, shape: Sequence[str | int]) -> Tensor:
    """Returns an input; fails unless it has the rank, and the sizes that are numbers.

    Args:
        name: Of the input.
        tensor: The input.
        shape: As in `interface.Value`.
    """
    # Of a shape that TensorFlow does not know, or it would take the declared one for the one that came.
    came = tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=tf.TensorShape(None))
    sizes = tf.shape(came)
    sides = ", ".join(map(str, shape))
    allowed = f" dimensions; allowed: {len(shape)}, [{sides}] for a batch of B items"
    right_rank = codec.check(tf.equal(tf.size(sizes), len(shape)), f"{name}: ", tf.size(sizes), allowed)
    sizes = codec.with_checks([right_rank], sizes)
    checks = [right_rank]
    for axis, size in enumerate(shape):
        if isinstance(size, int):
            found = sizes[axis]
            checks.append(
                codec.check(tf.equal(found, size), f"{name}: {size} wanted along axis {axis}; it has ", found)
            )
    known = [None if isinstance(size, str) else size for size in shape]
    return tf.ensure_shape(codec.with_checks(checks, came), known)


def _each(function: Callable[[Items], Items], tensors: Items, outputs: Mapping[str, Any]) -> Items:
    """Returns the outputs of a function for every item of a batch, one after the other."""
    return tf.map_fn(function, tensors, fn_output_signature=dict(outputs), parallel_iterations=1)
