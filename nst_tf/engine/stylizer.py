"""A run in Python: for each scale, from coarse to fine, compute the targets and minimise.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1]. Graphs are traced without AutoGraph: no Python control flow
here depends on a tensor.
"""

import bisect
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import errors, runtime
from nst_tf.config.config import Config
from nst_tf.config.scales import Scale, plan_scales
from nst_tf.engine import color, formulations, frames, inputs, loop
from nst_tf.engine.checkpoints import Checkpoint
from nst_tf.engine.progress import Progress
from nst_tf.io.masks import Regions
from nst_tf.losses import temporal, values
from nst_tf.losses.objective import StyleParts, Targets, loss_weights
from nst_tf.losses.values import AnyLosses
from nst_tf.network import weights
from nst_tf.network.convolutions import resolve
from nst_tf.tensors import Tensor

# The ways in which a run may end.
OUTCOMES = ("finished", "stopped", "diverged")

# Evaluations in a row that may be infinite or NaN. L-BFGS divides its step by ten after each of them.
_PATIENCE = 10


class Stylizer(tf.Module):
    """A run: the image that is optimised, scale by scale, and the step that updates it.

    `image` is a `tf.Variable`, on the GPU if TensorFlow sees one: the next image to evaluate. `picture()` is
    the picture to show. `step()` takes one step by a `tf.function` that all runs of the formulation share;
    `run()` takes all the steps that are left, over all scales.

    One graph serves all scales, since the variables have unknown height and width.
    """

    def __init__(
        self,
        content_image: Tensor | None,
        style_images: Sequence[Tensor],
        config: Config,
        vgg_weights: weights.Weights | None = None,
        init_image: Tensor | None = None,
        regions: Regions | None = None,
        checkpoint: Checkpoint | None = None,
        next_config: Callable[[int], Config] | None = None,
        frame: frames.Frame | None = None,
    ) -> None:
        """Prepares the first scale, or the one at which a checkpoint was written.

        Args:
            content_image: [1, H, W, 3] in [0, 1], of any size; None only where the content has no weight.
            style_images: One or more, likewise, each of any size; none only where the style has no weight.
            config: The formulation; `nst_tf.get_config` makes one.
            vgg_weights: The network's weights; None loads those that the config names.
            init_image: The image to start from, likewise; None where `config.start.init` names a start.
            regions: Of the content image and of each style image; None for one region, the whole picture.
            checkpoint: Where to go on, of a run with this config and these pictures.
            next_config: (index of a scale that is about to begin) -> the config for it, which may differ in
                how the run fits into memory.
            frame: Where the run is one of a film's frames; one with earlier frames has an `init_image`, the
                result of one of them, and is held to them where `config.temporal.weight` is above 0.

        Raises:
            InputError: A picture is missing or too small for the chosen layers, or the weights are missing or
                not the checkpoint's.
        """
        runtime.check_process()
        super().__init__(name="stylizer")
        inputs.check(content_image, style_images, config, init_image)
        if not config.takes_steps():
            raise errors.InputError(
                f"color: {config.color.mode!r} takes no steps; stylize() makes that picture"
            )
        if vgg_weights is None:
            config = weights.suited(config)
        self.precision = runtime.resolve_precision(config.network.precision)
        self._given_weights, self._next_config = vgg_weights, next_config
        self._film = None if frame is None else frame.film
        self._earlier = None if frame is None else frame.earlier
        self._inputs = inputs.Inputs(content_image, style_images, config, regions)
        self.scales = plan_scales(config, *self._inputs.shaping_image.shape[1:3])
        self._inputs.check(self.scales[0])
        self._reference = self._inputs.reference(content_image, self.scales[-1])
        self._set_config(config)
        self.weights = self._formulation.weights
        self.scale_index = 0
        if checkpoint is not None:
            checkpoint.check_weights(self.weights.sha256, self.weights.name)
            self.scale_index = checkpoint.scale_index
        image = self._algorithm.first_image(
            self._inputs.shaping_image,
            *self.scales[self.scale_index][:2],
            config.start.seed,
            None if init_image is None else tf.constant(init_image, tf.float32),
        )
        self.image = formulations.variable(image)
        self._steps_done = tf.Variable(0, trainable=False)  # at this scale
        self._good_image: Any = None  # the last one known to have a finite loss
        self._bad_evaluations = 0  # evaluations in a row that were infinite or NaN
        self._targets = _Held(self._targets_of_scale(image))
        self._state = _Held(self._first_state(image))
        if checkpoint is not None:
            checkpoint.fill(self.state(), formulations.put)
            self._check_filled(checkpoint)
            self._steps_done.assign(checkpoint.steps_done)

    def _first_state(self, image: Tensor) -> Any:
        """Returns the optimiser's state before the first step."""
        optimizer = self._algorithm.optimizer
        state = optimizer.init(image)
        # A frame that begins with an earlier one's result goes on as at a later scale: large shapes stay.
        return state if self._earlier is None else optimizer.resize(state, *image.shape[1:3])

    def _check_filled(self, checkpoint: Checkpoint) -> None:
        """Checks what a checkpoint has put into the variables.

        Raises:
            InputError: The run would fail with it, or has nothing to go on from.
        """
        # The next image, and what the optimiser has for a picture.
        shown = self._algorithm.optimizer.output(
            self.image.value(), formulations.values(self._state.variables)
        )
        good = all(bool(tf.reduce_all(tf.math.is_finite(each))) for each in (self.image.value(), shown))
        for matches in self._targets.variables.neighbors:
            index, sizes = matches.index.value(), [each.value().shape[1] for each in matches.vectors]
            good = good and bool(tf.reduce_all((index >= 0) & (index < sizes)))
        if not good:
            raise errors.InputError(
                f"checkpoint: {checkpoint.path} has numbers that no run makes; remove it to begin anew"
            )

    def _set_config(self, config: Config) -> None:
        """Makes the formulation and the optimiser of a config."""
        self.config = self._resolved(config)
        self._formulation = formulations.for_pictures(
            self.config,
            self.precision,
            self._inputs.content_image,
            self._inputs.style_images,
            self._given_weights,
        )
        self._algorithm = loop.Algorithm(
            self.config,
            color.COLORS[config.color.mode],
            self._formulation.objective,
            loop.make_optimizer(self.config, self.scales[-1].height * self.scales[-1].width),
        )

    def _resolved(self, config: Config) -> Config:
        """Returns a config without "auto", which another machine could take for something else."""
        convolution = resolve(config.network.convolution, self.precision)
        return config.replace(convolution=convolution, precision=self.precision)

    def state(self) -> dict[str, tf.Variable]:
        """Returns the variables that decide the steps to come by name: image, matches, the optimiser's."""
        variables = {"image": self.image, **dict(_named("state", self._state.variables))}
        for matches in self._targets.variables.neighbors:  # at most one
            variables["matches"] = matches.index
        return variables

    def steps_done(self) -> int:
        """Returns the steps done at the current scale."""
        return int(self._steps_done)

    def is_sound(self) -> bool:
        """Returns whether the latest losses and the image were finite."""
        return not self._bad_evaluations

    def step(self) -> AnyLosses:
        """Takes one step at the current scale: updates `image`, returns the losses before it."""
        return values.of_row(tf.unstack(self.advance(tf.constant(1))[0]))

    def advance(self, num_steps: Tensor) -> Tensor:
        """Takes several steps at the current scale.

        Args:
            num_steps: An int32 scalar tensor, so that every number has the same graph.

        Returns:
            The losses of each evaluation, [num_steps, 4], or 5 where earlier frames count: `values.of_row`.
        """
        return self._formulation.advance(
            self.image, self._steps_done, self._state.variables, self._targets.variables, num_steps
        )

    def picture(self) -> np.ndarray:
        """Returns the picture so far, [H, W, 3] float32 in [0, 1], read-only."""
        return np.asarray(self._shown())[0]  # TensorFlow's own memory; `numpy()` would copy it

    def _shown(self) -> Tensor:
        """Returns `picture()` as an image."""
        return self._algorithm.picture(
            self.image.value(),
            formulations.values(self._state.variables),
            self._reference,
            formulations.values(self._targets.variables).outside,
        )

    def evaluate(self) -> AnyLosses:
        """Returns the losses of `picture()`, as floats."""
        return values.of_row(map(float, self._formulation.evaluate(self._shown(), self._targets.variables)))

    def next_scale(self) -> None:
        """Moves on to the next scale: enlarges the picture so far and computes the targets of that size.

        Raises:
            IndexError: The current scale is the last one.
        """
        if self.is_last_scale():
            raise IndexError("there is no scale after the last")
        self._move_to(self.scale_index + 1)

    def last_scale(self) -> None:
        """Moves to the last scale at once, so that a stopped run has a picture of full size."""
        if not self.is_last_scale():
            self._move_to(len(self.scales) - 1)

    def is_last_scale(self) -> bool:
        """Returns whether the image has the size of the result."""
        return self.scale_index + 1 == len(self.scales)

    def _move_to(self, scale_index: int) -> None:
        self.scale_index = scale_index
        shaping_image = self._inputs.shaping_image
        # The pairs of L-BFGS, which are no longer needed, go first. Then targets: afterwards the optimiser's
        # state of that size, the largest tensor, takes memory.
        optimizer, held = self._algorithm.optimizer, self._state.variables
        formulations.assign(held, optimizer.carried(formulations.values(held)))
        self._good_image = None
        if self._next_config is not None:
            config = self._next_config(scale_index)
            if self._resolved(config) != self.config:
                self._set_config(config)
        size = self.scales[scale_index][:2]
        state = formulations.values(self._state.variables)
        image = self._algorithm.next_image(
            self.image.value(),
            state,
            shaping_image,
            *size,
            self.config.content.weight,
            self._inputs.content_image is not None,
        )
        before = tuple(self.image.value().shape[1:3])
        if self._splits():
            del self._targets  # of another structure; the bank's memory goes first
            self._targets = _Held(self._targets_of_scale(image))
        else:
            formulations.assign(self._targets.variables, self._targets_of_scale(image, before))
        self.image.assign(image)
        self._steps_done.assign(0)
        self._state = _Held(optimizer.resize(state, *size))

    def run(
        self, on_progress: Callable[[Progress], object] | None = None, report_at: Collection[int] = ()
    ) -> str:
        """Takes the steps that are left, over all scales.

        Args:
            on_progress: Called about twice a second or once a step, whichever is rarer; returning anything
                true stops the run.
            report_at: Steps, counted over all scales, after which `on_progress` is called in any case.

        Returns:
            One of `OUTCOMES`. After "diverged" the picture is the last one whose loss was finite.
        """
        while True:
            for progress in self._run_scale(sorted(report_at)):
                if on_progress is not None and on_progress(progress):
                    return "stopped"
                if self._bad_evaluations >= _PATIENCE:
                    self._restore_good_image()
                    return "diverged"
            if self.is_last_scale():
                return "finished"
            self.next_scale()

    def _run_scale(self, stops: Sequence[int]) -> Iterator[Progress]:
        """Takes the steps left at this scale, in chunks of about `_CHUNK_S` that end at the stops.

        Yields:
            The progress after each chunk.
        """
        earlier = sum(scale.num_steps for scale in self.scales[: self.scale_index])
        total = sum(scale.num_steps for scale in self.scales)
        chunk = 1
        while (left := self.scales[self.scale_index].num_steps - self.steps_done()) > 0:
            start, candidate = time.perf_counter(), self.image.read_value()
            count = min(chunk, left, _distance(stops, earlier + self.steps_done()))
            rows = self.advance(tf.constant(count)).numpy()
            self._record_finiteness(candidate, rows)
            seconds_per_step = (time.perf_counter() - start) / len(rows)
            chunk = max(1, int(_CHUNK_S / seconds_per_step))
            yield Progress(
                self.scale_index,
                self.scales,
                earlier + self.steps_done(),
                total,
                tuple(values.of_row(map(float, row)) for row in rows),
                self.picture,
            )

    def _record_finiteness(self, candidate: Tensor, rows: np.ndarray) -> None:
        """Counts evaluations in a row that were infinite or NaN; keeps the image before them.

        Checks the image too: TensorFlow's ReLU turns NaN into zeros, so that an image of NaN has a finite
        loss.

        Args:
            candidate: The image before the steps.
            rows: The losses of the steps, [steps, 4].
        """
        finite = np.isfinite(rows[:, 0])
        if finite[0] and bool(tf.math.is_finite(tf.reduce_sum(candidate))):
            self._good_image = candidate
        after_last_finite = len(finite) - 1 - int(np.max(np.nonzero(finite)[0], initial=-1))
        self._bad_evaluations = after_last_finite + (0 if finite.any() else self._bad_evaluations)
        if not bool(tf.math.is_finite(tf.reduce_sum(self.image))):
            self._bad_evaluations = _PATIENCE

    def _restore_good_image(self) -> None:
        """Goes back to the last image whose loss was finite, if there was one."""
        if self._good_image is not None:
            self.image.assign(self._good_image)
        formulations.assign(self._state.variables, self._algorithm.optimizer.init(self.image.value()))

    def _splits(self) -> bool:
        """Returns whether the current scale compares each layer by itself with the paintings."""
        return self.is_last_scale() and self.config.splits_features()

    def _targets_of_scale(self, image: Tensor, before: tuple[int, int] | None = None) -> Targets:
        """Returns the targets at the current scale, which begins with an image.

        Args:
            image: [1, H, W, 3].
            before: Height and width of the scale before, if there was one.
        """
        scale = self.scales[self.scale_index]
        pictures = self._inputs.at(scale)
        query = []
        if not self._splits():
            is_first = self.scale_index == 0 and self._earlier is None
            query = self._algorithm.query(image, pictures[0], is_first, before)
        targets = self._formulation.targets(
            (*pictures, query),
            self._inputs.shares,
            loss_weights(self.config),
            self.config.start.seed,
            (scale.height, scale.width) if self._splits() else None,
            self._style_parts(pictures[1], pictures[2][1:]),
        )
        if self.is_last_scale():
            del self._inputs  # frees the memory of the input pictures
        return targets._replace(earlier=self._earlier_at(scale))

    def _style_parts(self, styles: Sequence[Tensor], masks: Sequence[Tensor]) -> StyleParts | None:
        """Returns the styles' part of the targets where a film keeps it: at the last scale, of all frames."""
        if self._film is None or not self.is_last_scale() or self._splits():
            return None
        if not styles or not self.config.style.weight:
            return None
        return self._film.style_parts(self._formulation, styles, masks, self.config.start.seed)

    def _earlier_at(self, scale: Scale) -> tuple[temporal.Target, ...]:
        """Returns what earlier frames want at a scale, if they count."""
        weight = self.config.temporal.weight
        if self._earlier is None or not weight:
            return ()
        return (self._earlier.target(self._algorithm.color, scale.height, scale.width, weight),)


# Seconds between two reports: short enough for progress and Ctrl-C, long enough to take several short steps
# in one call, since calls of a single step are a few per cent slower.
_CHUNK_S = 0.5


def _distance(stops: Sequence[int], step: int) -> int:
    """Returns the number of steps to the next of the sorted stops; a huge number after the last."""
    following = bisect.bisect_right(stops, step)
    return stops[following] - step if following < len(stops) else sys.maxsize


class _Held:
    """A structure of variables; hides them from `tf.Module`, whose tracking would wrap tuples and dicts."""

    def __init__(self, structure: Any) -> None:
        self.variables = formulations.variables(structure)


def _named(name: str, structure: Any) -> Iterator[tuple[str, tf.Variable]]:
    """Yields the variables in a structure of NamedTuples and dicts, and their paths."""
    parts = structure._asdict() if hasattr(structure, "_asdict") else structure
    if isinstance(parts, dict):
        for key, part in parts.items():
            yield from _named(f"{name}/{key}", part)
    elif isinstance(parts, tuple | list):
        for index, part in enumerate(parts):
            yield from _named(f"{name}/{index}", part)
    else:
        yield name, parts
