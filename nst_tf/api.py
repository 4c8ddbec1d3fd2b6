"""Python's way in: `stylize` a photograph, `paint` what has been loaded, `evaluate` a formulation.

Pictures for people come as paths, samples such as "sample:town", Pillow images or arrays: `pictures.read`.
"""

import collections
import contextlib
import dataclasses
import functools
import numbers
import os
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf import errors, runtime
from nst_tf.callbacks import report
from nst_tf.callbacks.callback import Callback
from nst_tf.config import config, presets, scales, settings
from nst_tf.engine import checkpoints, color, formulations, frames, images, memory, stylizer
from nst_tf.engine.inputs import check, prepare
from nst_tf.engine.progress import Progress, TraceRow
from nst_tf.io import files, inputs, manifest, paths, pictures
from nst_tf.losses.objective import loss_weights
from nst_tf.losses.values import AnyLosses, Losses
from nst_tf.network import convolutions
from nst_tf.network.weights import suited


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished picture and how it came about."""

    image: np.ndarray  # [H, W, 3] float32 sRGB in [0, 1]; read-only
    losses: AnyLosses  # of `image`, as floats, weighted as the config weights them; NaN without steps
    # Complete, with the precision and the weights that were used; after "stopped" with the steps taken, so
    # that a run with it makes this picture.
    config: config.Config
    manifest: dict[str, Any] = dataclasses.field(repr=False)  # how it came about; see `manifest`
    alpha: np.ndarray | None = dataclasses.field(repr=False)  # [H, W] in [0, 1], of the content picture
    trace: tuple[TraceRow, ...] = dataclasses.field(repr=False)  # one row for each evaluation
    outcome: str  # "finished", "stopped" (by `on_progress`) or "diverged" (the loss became infinite or NaN)
    checkpoint: pathlib.Path | None = None  # of a run that was stopped: where it goes on from
    dpi: tuple[float, float] | None = None  # pixels an inch of the content picture, across and down

    def save(self, path: str | os.PathLike[str], *, bit_depth: int = 8) -> None:
        """Writes the picture and, as `path` with ".json" after it, its manifest; replaces what is there.

        The extension decides the format. The manifest is put into the picture too, and the photograph's alpha
        and pixels an inch are kept, where the format can.

        Args:
            path: Of the picture.
            bit_depth: Bits a channel: 8, or 16 in PNG and TIFF.

        Raises:
            InputError: The format is unknown, or has not that many bits.
            OSError: A file cannot be written.
        """
        self.save_picture(path, bit_depth=bit_depth)
        self.save_manifest(path)

    def save_picture(self, path: str | os.PathLike[str], *, bit_depth: int = 8) -> None:
        """Writes the picture alone, as `save` does, in place of another and of that one's manifest."""
        errors.require(isinstance(path, str | os.PathLike), "path", f"a {type(path).__name__}", "a path")
        pictures.write(
            self.image,
            path,
            alpha=self.alpha,
            text=manifest.to_text(self.manifest),
            bit_depth=bit_depth,
            dpi=self.dpi,
        )

    def save_manifest(self, path: str | os.PathLike[str]) -> None:
        """Writes the manifest beside a picture alone, as `save` does."""
        place = files.Place.of(path)
        with files.replacing(place.with_name(manifest.sidecar(path).name)) as file:
            file.write(manifest.to_text(self.manifest).encode("ascii"))


def stylize(
    content: pictures.Picture | None,
    style: pictures.Picture | Sequence[pictures.Picture] | None,
    *,
    preset: str | config.Config = "default",
    content_mask: pictures.Picture | None = None,
    content_regions: pictures.Picture | None = None,
    style_regions: pictures.Picture | Sequence[pictures.Picture] = (),
    on_progress: Callable[[Progress], object] | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = checkpoints.EVERY_S,
    **overrides: Any,
) -> Result:
    """Paints a photograph like a painting.

    Args:
        content: The photograph: a path, a Pillow image, an array or tensor [H, W, 3], uint8 or floats in
            [0, 1], the bytes of a picture file or a file opened for them; what else is refused by name.
            None with `content_weight=0`: a texture from the painting alone, which starts from noise unless
            `init` says otherwise.
        style: The painting, likewise, or a list of several: see `style_blend` and `style_blend_weights`.
            None with `style_weight=0`: the content reconstructed.
        preset: The formulation by name, or a config.
        content_mask: A grey picture of the photograph's shape, white where the style goes; `outside` says
            what happens elsewhere.
        content_regions: The photograph's regions, a picture in flat colours; each gets a style of its own.
        style_regions: For each painting the same: what part of it a region of that colour is to look like; or
            a colour such as "#ff0000" for all of it. One need be no list.
        on_progress: Called about twice a second, or once a step if that is rarer, with a
            `Progress`; returning anything true stops the run, and the picture so far is the result.
        callbacks: What else watches the run: `Animation`, `Snapshots`, `TensorBoard`, or a `Callback` of your
            own.
        checkpoint: A file that keeps the state of the run while it goes on. Where it is there, the run goes
            on from it, bit for bit in float32 on one machine. It is removed once the run has finished, and
            stays after one that was stopped or whose process ended.
        checkpoint_every: Seconds between two checkpoints; more where writing one takes over 1 % of them.
        **overrides: Settings to replace, such as `size=1024` (longest side of the result
            in pixels) or `steps=100` (evaluations in all). `init`, the image to start from, may be "content",
            "noise", "gray" or a picture, as `content` may be.

    Returns:
        The picture with its losses.

    Raises:
        InputError: A picture, a name or a value cannot be used, or the checkpoint is of another run, and
            nothing has been computed; or another program took memory that the run had been planned with.
    """
    runtime.check_process()
    _check_watching(on_progress, callbacks)
    kept = None if checkpoint is None else _kept(paths.typed(checkpoint, "checkpoint"), checkpoint_every)
    init = _taken_picture(overrides)
    chosen = presets.get(preset, **overrides)
    named = inputs.InputPaths(
        content=content,
        styles=inputs.as_list(style),
        init=inputs.init_path(chosen) if init is None else init,
        content_mask=content_mask,
        content_regions=content_regions,
        style_regions=inputs.as_list(style_regions),
    )
    chosen = inputs.with_start(chosen, named, overrides)
    loaded = [inputs.load(named, chosen, overrides)]  # to be taken out: see `paint`
    result = paint(loaded.pop(), chosen, on_progress=on_progress, callbacks=callbacks, kept=kept)
    if kept is not None and result.checkpoint is None:
        checkpoints.remove(kept.path)
    return result


def _check_watching(on_progress: object, callbacks: object) -> None:
    """Checks what is to watch a run, which would fail in its midst.

    Raises:
        InputError: It cannot be called, or is no callback.
    """
    if not (on_progress is None or callable(on_progress)):
        raise errors.InputError(f"on_progress: a {type(on_progress).__name__}; allowed: a function")
    wrong = [callbacks]
    if isinstance(callbacks, Sequence):
        wrong = [each for each in callbacks if not isinstance(each, Callback)]
    for each in wrong:
        raise errors.InputError(f"callbacks: a {type(each).__name__}; allowed: a list of Callback objects")


def _taken_picture(overrides: dict[str, Any]) -> Any:
    """Returns a picture that is the `init` of overrides, where a name then stands for it; else None."""
    init = overrides.get("init")
    if init is None or isinstance(init, str | os.PathLike):
        return None
    overrides["init"] = settings.INIT_GIVEN
    return init


def _kept(path: pathlib.Path, every_s: float) -> checkpoints.Checkpoints:
    """Returns how a run keeps its checkpoint, and the one that is there.

    Raises:
        InputError: It cannot be read, or the time makes no sense.
    """
    allowed = "above 0; leave checkpoint out to write none"
    errors.require(isinstance(every_s, numbers.Real) and every_s > 0, "checkpoint_every", every_s, allowed)
    pictures.check_file(path, True, "checkpoint")
    return checkpoints.Checkpoints(
        path, every_s, resumed=checkpoints.read(path) if os.path.exists(path) else None
    )


def paint(
    loaded: inputs.LoadedInputs,
    chosen: config.Config,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    callbacks: Sequence[Callback] = (),
    kept: checkpoints.Checkpoints | None = None,
    frame: frames.Frame | None = None,
) -> Result:
    """Paints what `inputs.load` returned.

    A large picture's memory is wanted during the run, which has copies of its own: keep no reference to
    `loaded`.

    Args:
        loaded: The pictures.
        chosen: The config, complete.
        on_progress: As for `stylize`.
        callbacks: As for `stylize`.
        kept: The run's checkpoints. What is there after a run that was not stopped is for the caller to
            remove, once the picture is where it should be.
        frame: Where the picture is one of a film's frames. After the first of a shot they begin with an
            earlier one's result, `loaded.init`; `frames.later_config` makes their config.

    Raises:
        InputError: As for `stylize`.
    """
    runtime.check_process()
    chosen = suited(chosen)
    origin = checkpoints.Origin(chosen, loaded.descriptions)
    resumed = None if kept is None else kept.resumed
    if resumed is not None:
        resumed.check(origin)
    height, width = _shaping(loaded).shape[1:3]
    planned = scales.plan_scales(chosen, height, width)
    if resumed is not None:
        resumed.check_scales(planned)
    plan = _planned(chosen, loaded, resumed, {} if frame is None else frame.fitted)
    alpha, dpi = loaded.alpha, loaded.dpi
    with _within_memory(plan.config, planned[resumed.scale_index if resumed else 0]):
        if chosen.takes_steps():
            run = stylizer.Stylizer(
                loaded.content,
                loaded.styles,
                plan.config,
                init_image=loaded.init,
                regions=loaded.regions,
                checkpoint=resumed,
                next_config=plan.next_scale,
                frame=frame,
            )
            del loaded
            made = _Run(run, callbacks, kept, origin).make(on_progress)
        else:
            made = _recolor(chosen, loaded, callbacks)
    if made.outcome == "stopped":
        taken = scales.steps_taken(made.config, height, width, len(made.trace))
        made = made._replace(config=made.config.replace(steps=taken))
    losses = made.losses._asdict() if made.trace else {}
    alpha = _resized_alpha(alpha, *made.image.shape[:2])
    return Result(
        made.image if alpha is None else pictures.over_white(made.image, alpha),
        made.losses,
        made.config,
        manifest.make(made.config, origin.inputs, made.weights, losses),
        alpha,
        made.trace,
        made.outcome,
        made.checkpoint,
        dpi,
    )


class _Made(NamedTuple):
    """What a run leaves, named as in `Result`; `weights` as in a manifest."""

    image: np.ndarray
    losses: AnyLosses
    config: config.Config
    weights: dict[str, str]
    trace: tuple[TraceRow, ...]
    outcome: str
    checkpoint: pathlib.Path | None = None


# What TensorFlow raises where memory runs out: its own allocator, and oneDNN's.
_EXHAUSTED = (tf.errors.ResourceExhaustedError, tf.errors.AbortedError)


@contextlib.contextmanager
def _within_memory(chosen: config.Config, scale: scales.Scale) -> Iterator[None]:
    """Says in one line that memory ran out at a scale.

    Raises:
        InputError: It did.
    """
    try:
        yield
    except _EXHAUSTED:
        raise memory.exhausted(chosen, scale) from None


class _Run:
    """A run with its callbacks, its trace and its checkpoints."""

    def __init__(
        self,
        run: stylizer.Stylizer,
        callbacks: Sequence[Callback],
        kept: checkpoints.Checkpoints | None,
        origin: checkpoints.Origin,
    ) -> None:
        self._run, self._kept = run, kept
        self._callbacks = dict(_named(callbacks))
        self._resumed = None if kept is None else kept.resumed
        self._recorder = report.Recorder(() if self._resumed is None else self._resumed.trace)
        self._weights = {"name": run.weights.name, "sha256": run.weights.sha256}
        self._writer = None if kept is None else checkpoints.Writer(kept, run, origin, self._weights)

    def make(self, on_progress: Callable[[Progress], object] | None) -> _Made:
        """Takes the steps and returns what they make.

        Raises:
            InputError: Memory does not suffice.
        """
        run, left = self._run, None
        report_at = {step for each in self._callbacks.items() for step in self._begin(*each)}
        try:
            outcome = run.run(functools.partial(self._report, on_progress), report_at)
            if outcome == "stopped" and self._kept is not None and self._write():
                left = self._kept.path
            run.last_scale()  # a run that ended early has a picture of full size all the same
            # In this order, so that there is one copy of a large picture at a time.
            values = run.evaluate()
            image = run.picture()
            trace = tuple(self._recorder.rows)
            for each in self._callbacks.values():
                each.on_end(image, trace)
        except _EXHAUSTED:
            raise self._with_way_on(memory.exhausted(run.config, run.scales[run.scale_index])) from None
        except errors.InputError as error:  # a scale that does not fit after all
            raise self._with_way_on(error) from None
        config = run.config.replace(precision=run.precision, weights=_weights_source(run))
        return _Made(image, values, config, self._weights, trace, outcome, left)

    def _with_way_on(self, error: errors.InputError) -> errors.InputError:
        """Returns an error that says, too, that the run can go on, where it left a checkpoint."""
        if self._kept is None or not os.path.exists(self._kept.path):
            return error
        return type(error)(f"{error}; {self._kept.path} is kept, and the run may go on with another tile")

    def _begin(self, name: str, callback: Callback) -> Collection[int]:
        """Has a callback begin; returns the steps that it wants to be told of."""
        run = self._run
        if self._resumed is None:
            return callback.on_begin(run.scales, run.picture)
        step = len(self._resumed.trace)
        return callback.on_resume(run.scales, run.picture, step, self._resumed.arrays(name))

    def _report(self, on_progress: Callable[[Progress], object] | None, progress: Progress) -> bool:
        """Tells all that watch the run, writes a checkpoint if one is due; returns whether to stop."""
        for each in (self._recorder, *self._callbacks.values()):
            each.on_step(progress)
        if on_progress is not None and on_progress(progress):
            return True
        if self._writer is not None and self._writer.is_due(progress):
            self._write()
        return False

    def _write(self) -> bool:
        """Writes a checkpoint; returns whether it is there."""
        kept = {name: each.to_keep() for name, each in self._callbacks.items()}
        return self._writer is not None and self._writer.write(self._recorder.rows, kept)


def _named(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Yields callbacks and their names in checkpoints: by class, numbered."""
    counts: collections.Counter[str] = collections.Counter()
    for each in callbacks:
        kind = type(each).__name__
        yield f"callbacks/{kind}/{counts[kind]}", each
        counts[kind] += 1


def _recolor(chosen: config.Config, loaded: inputs.LoadedInputs, callbacks: Sequence[Callback]) -> _Made:
    """Returns the content image with the styles' colours: no network, no steps, no losses."""
    if callbacks:
        raise errors.InputError(f"callbacks: color={chosen.color.mode!r} takes no steps to report")
    check(loaded.content, loaded.styles, chosen, loaded.content)
    alphas = [
        None if loaded.regions is None else loaded.regions.alpha(index)
        for index in range(len(loaded.styles) + 1)
    ]
    of_content, *of_styles = (
        None if alpha is None else tf.constant(alpha[np.newaxis, ..., np.newaxis]) for alpha in alphas
    )
    found = [
        color.statistics(tf.constant(image), alpha)
        for image, alpha in zip(loaded.styles, of_styles, strict=True)
    ]
    weights = np.array(chosen.blend_weights(len(found)))
    prepared = color.recolor(
        tf.constant(loaded.content),
        color.ColorStatistics(*(tf.stack(parts) for parts in zip(*found, strict=True))),
        tf.constant(weights / weights.sum(), tf.float32),
        chosen.color.root,
        of_content,
    )
    scale = scales.plan_scales(chosen, *prepared.shape[1:3])[-1]
    image = images.resize(prepared, scale.height, scale.width)[0].numpy()
    unknown = Losses(*[float("nan")] * len(Losses._fields))
    return _Made(image, unknown, chosen, {"name": "none", "sha256": ""}, (), "finished")


def _planned(
    chosen: config.Config,
    loaded: inputs.LoadedInputs,
    resumed: checkpoints.Checkpoint | None,
    fitted: Mapping[str, Any],
) -> memory.Plan:
    """Returns the plan of a run's memory.

    Args:
        chosen: The config.
        loaded: The pictures.
        resumed: The checkpoint of a run that goes on.
        fitted: As for `frames.Frame`.
    """
    check(loaded.content, loaded.styles, chosen, loaded.init)
    styles = [image.shape[1:3] for image in loaded.styles]
    num_regions = 0 if loaded.regions is None else len(loaded.regions.colors)
    sizes = memory.Inputs(_shaping(loaded).shape[1:3], styles, num_regions)
    precision = runtime.resolve_precision(chosen.network.precision)
    if resumed is None:
        return memory.Plan(chosen, precision, sizes, fitted=chosen.replace(**fitted) if fitted else None)
    before = resumed.fitted(chosen)
    precision = runtime.resolve_precision(before.network.precision)
    return memory.Plan(chosen, precision, sizes, resumed.scale_index, before)


def _shaping(loaded: inputs.LoadedInputs) -> np.ndarray:
    """Returns the picture whose shape the result has."""
    return loaded.styles[0] if loaded.content is None else loaded.content


def _weights_source(run: stylizer.Stylizer) -> str:
    """Returns what to give as `weights` to get the same ones again: "auto" may not give them."""
    return run.weights.name if run.config.network.weights == "auto" else run.config.network.weights


def _resized_alpha(alpha: np.ndarray | None, height: int, width: int) -> np.ndarray | None:
    """Returns the content picture's alpha at the result's size, [H, W], if it has any."""
    if alpha is None:
        return None
    batched = tf.constant(alpha[np.newaxis, :, :, np.newaxis])
    return images.resize(batched, height, width)[0, :, :, 0].numpy()


def evaluate(
    image: np.ndarray,
    content: np.ndarray,
    style: np.ndarray,
    *,
    preset: str = "default",
    weights: str | None = None,
    **overrides: Any,
) -> Losses:
    """Returns the losses of a picture under a formulation, weighted as the preset weights them.

    Nothing is resized. Convolutions run in float32 and by the definition, unless `precision` and
    `convolution` say otherwise, so that the values are the formulation's own.

    Args:
        image: The picture to evaluate, [H, W, 3] floats in [0, 1].
        content: The photograph, an array of the same shape.
        style: The painting, an array of the same shape.
        preset: The formulation by name.
        weights: Which VGG19, as for `stylize`; None for the default.
        **overrides: Settings to replace.

    Returns:
        Floats: the total and its terms.

    Raises:
        InputError: A picture, a name or a value cannot be used.
    """
    runtime.check_process()
    overrides = {"precision": "float32", "convolution": "direct"} | overrides
    if weights is not None:
        overrides["weights"] = weights
    chosen = suited(presets.get(preset, **(overrides | {"size": 0})))
    if not chosen.takes_steps():
        raise errors.InputError(f"color: {chosen.color.mode!r} has no losses; nothing is optimised")
    arrays = {"image": image, "content": content, "style": style}
    read = {name: pictures.read(array, name) for name, array in arrays.items()}
    shapes = {name: list(picture.shape[1:]) for name, picture in read.items()}
    if len({tuple(shape) for shape in shapes.values()}) > 1:
        raise errors.InputError(f"shapes: {shapes}; allowed: arrays of one size")
    # Refuses what is too small for the layers.
    scale = scales.plan_scales(chosen, *read["image"].shape[1:3])[-1]
    precision = runtime.resolve_precision(chosen.network.precision)
    convolution = convolutions.resolve(chosen.network.convolution, precision)
    chosen = chosen.replace(convolution=convolution)
    with _within_memory(chosen, scale):
        prepared = prepare(read["content"], [read["style"]], chosen)
        objective = formulations.for_pictures(chosen, precision, *prepared).objective
        compared = color.COLORS[chosen.color.mode].to_loss_space(tf.constant(read["image"]))
        share = chosen.neighbors.content
        targets = objective.targets(
            prepared[0],
            prepared[1],
            loss_weights(chosen),
            query=compared + share * (prepared[0] - compared),
            seed=tf.constant([chosen.start.seed, 0]),
        )
        return Losses(*(float(value) for value in objective.evaluate(compared, targets)))
