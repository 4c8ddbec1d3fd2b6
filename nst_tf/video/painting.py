"""Paints the frames of a film: the first of a shot as a still picture, each later one from the one before.

Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610). The result before, warped along the flow, is where a
frame begins, and with older ones what its temporal loss holds it to. Frames go on from results of eight bits,
as they are kept, so that a film whose run was interrupted is the same. TensorFlow is loaded once a film has
been read.
"""

import dataclasses
import math
import typing
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from nst_tf import errors, runtime
from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.io import inputs, manifest
from nst_tf.video import colors, flow, styles
from nst_tf.video.frames import Frame

if typing.TYPE_CHECKING:
    from nst_tf.api import Result
    from nst_tf.engine.frames import Earlier
    from nst_tf.engine.progress import Progress

# The share of a still picture's work, in evaluated pixels, that the steps of a later frame are: its targets
# and its flow take the rest of a fifth of the time.
_FRAME_SHARE = 1 / 6

# The temporal loss weighs as much as all losses of the shot's first frame, finished, do where a frame is so
# many levels of 255 from the one before. At 10, 14 and 20 the fourth frame of a panned town differed from the
# third by 5.2, 5.5 and 5.8 levels along the motion; its style loss was 10, 8 and 6 % above the first one's.
_BALANCED_LEVELS = 14.0

# How a run was fitted into memory: settings that a film keeps from frame to frame.
_FITTED = ("tile", "history", "history_precision")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the frames of a film are painted.

    Raises:
        InputError: A number is outside its range, or the settings do not go together.
    """

    config: Config  # of a shot's first frame; complete
    temporal_weight: float | None = None  # of the temporal loss; None balances it
    frame_steps: int | None = None  # of each later frame; None for what a sixth of a still picture's work is
    style_times: Sequence[Fraction] = ()  # when each of several styles is alone; () for a constant mixture

    def __post_init__(self) -> None:
        if self.config.network.normalize_activations:
            raise errors.InputError(
                "normalize_activations: true; allowed: false, since a film's network cannot depend on a"
                " frame's picture"
            )
        steps = self.frame_steps
        errors.require(steps is None or steps >= 1, "frame_steps", steps, "1 or more")
        if self.style_times and self.config.style.blend_weights:
            raise errors.InputError(
                "style_blend_weights: style_times say how styles are mixed; name one of them"
            )

    def steps_of(self, planned: Sequence[scales.Scale]) -> int:
        """Returns the steps of a later frame, by the scales of a still picture."""
        if self.frame_steps is not None:
            return self.frame_steps
        return max(1, round(_FRAME_SHARE * _work(planned) / _work([planned[-1]._replace(num_steps=1)])))


def settings(
    config: Config, changed: Mapping[str, Any], frame_steps: int | None, style_times: Sequence[Fraction]
) -> Settings:
    """Returns settings by what a person named.

    Args:
        config: The config.
        changed: The settings in it that were named.
        frame_steps: As in `Settings`.
        style_times: Likewise.

    Raises:
        InputError: As for `Settings`.
    """
    is_named = "temporal_weight" in changed or config.temporal.weight > 0
    return Settings(config, config.temporal.weight if is_named else None, frame_steps, style_times)


def _work(planned: Iterable[scales.Scale]) -> int:
    """Returns the pixels that are evaluated over all steps of some scales."""
    return sum(scale.height * scale.width * scale.num_steps for scale in planned)


class _Past(NamedTuple):
    """A frame that is finished."""

    picture: np.ndarray  # as filmed, [h, w, 3] uint8, at the size at which flow is estimated
    result: np.ndarray  # [H, W, 3] float32


class FrameRun:
    """Paints the frames of a film in their order; holds the last few."""

    def __init__(
        self, loaded: inputs.LoadedInputs, chosen: Settings, flows: flow.Folder | None = None
    ) -> None:
        """Prepares a film.

        Args:
            loaded: What frames have in common; its content is the first frame.
            chosen: The settings, their config as `weights.suited` returns it.
            flows: Flow that a person brings; None estimates it.

        Raises:
            InputError: Frames are too small.
        """
        from nst_tf.engine.frames import Film

        assert loaded.content is not None
        self._inputs, self._settings, self._flows = loaded, chosen, flows
        self.scales = scales.plan_scales(chosen.config, *loaded.content.shape[1:3])
        self.size = self.scales[-1].height, self.scales[-1].width
        self.steps = chosen.steps_of(self.scales)
        self._shared = Film()
        self._past: deque[_Past] = deque(maxlen=max(flow.LAGS))
        self._weight = 0.0
        self._fitted: Mapping[str, Any] = {}

    def begin_shot(self) -> None:
        """Forgets the frames before: the next one is the first of a shot."""
        self._past.clear()

    def paint(self, frame: Frame, on_progress: Callable[["Progress"], object] | None = None) -> "Result":
        """Paints the frame that follows those added.

        Args:
            frame: As filmed.
            on_progress: As for `api.stylize`.

        Raises:
            InputError: Memory does not suffice, or a file of flow cannot be read.
        """
        from nst_tf import api
        from nst_tf.engine.frames import Frame as OfFilm

        content = np.divide(frame.picture, 255, dtype=np.float32)[np.newaxis]
        described = {**self._inputs.descriptions, **manifest.describe_inputs({"content": frame.picture})}
        pairs = self._pairs(frame) if self._past and self._settings.config.takes_steps() else {}
        earlier = self._earlier(pairs) if pairs else None
        loaded = dataclasses.replace(
            self._inputs,
            content=content,
            init=None if earlier is None else self._begun(frame, pairs[1], earlier.pictures[0]),
            descriptions=described,
        )
        config, of_film = self._config(frame), OfFilm(self._shared, earlier, self._fitted)
        return api.paint(loaded, config, on_progress=on_progress, frame=of_film)

    def add(self, frame: Frame, result: np.ndarray, made: Mapping[str, Any]) -> None:
        """Takes note of a finished frame.

        Args:
            frame: As filmed.
            result: [H, W, 3] float32 in [0, 1], with eight bits.
            made: The result's manifest; {} where it has none.
        """
        if not self._past:
            self._weight = self._balanced(made.get("losses", {}))
        self._fitted = {name: value for name, value in made.get("config", {}).items() if name in _FITTED}
        self._past.append(_Past(self._small(frame.picture), result))

    def work(self, is_first: bool) -> int:
        """Returns the pixels that are evaluated for a frame, the first of a shot or a later one."""
        return _work(self.scales if is_first else [self.scales[-1]._replace(num_steps=self.steps)])

    def _balanced(self, losses: Mapping[str, Any]) -> float:
        """Returns the weight of the temporal loss in a shot, by the losses of its first frame."""
        if self._settings.temporal_weight is not None:
            return self._settings.temporal_weight
        total = losses.get("total") or 0.0
        return total / _BALANCED_LEVELS**2 if math.isfinite(total) else 0.0

    def _config(self, frame: Frame) -> Config:
        """Returns the config of the frame that follows."""
        from nst_tf.engine.frames import later_config

        config, times = self._settings.config, self._settings.style_times
        if times:
            config = config.replace(style_blend_weights=styles.shares(times, frame.time))
        if not self._past or not config.takes_steps():
            return config
        return later_config(config, self.steps).replace(temporal_weight=self._weight)

    def _pairs(self, frame: Frame) -> dict[int, flow.Pair]:
        """Returns {how many frames ago: the flows} of earlier frames that are not too long ago."""
        picture = self._small(frame.picture)
        return {
            lag: self._flow(frame.number, picture, lag)
            for lag in flow.LAGS
            if lag <= len(self._past) and (self._flows is None or self._flows.has(frame.number, lag))
        }

    def _earlier(self, pairs: Mapping[int, flow.Pair]) -> "Earlier":
        """Returns what a frame is held to, by what `_pairs` returned: results as the frame sees them."""
        from nst_tf.engine.frames import Earlier

        return Earlier(*flow.targets(list(pairs.values()), [self._past[-lag].result for lag in pairs]))

    def _begun(self, frame: Frame, pair: flow.Pair, warped: np.ndarray) -> np.ndarray:
        """Returns what a frame begins with, [1, H, W, 3]: the result before, as the frame sees it.

        What comes into sight at an edge begins as the frame itself in that result's colours: strokes that are
        mirrored there would be mirrored again with each frame, to bands.
        """
        before, own = self._past[-1], flow.shrunk(frame.picture, self.size)
        recolored = colors.recolored(own, before.picture, before.result)
        outside = flow.leads_outside(pair.backward)[..., np.newaxis]
        return np.where(outside, recolored, warped)[np.newaxis]

    def _flow(self, number: int, picture: np.ndarray, lag: int) -> flow.Pair:
        """Returns the flows between a frame and the one so many before it, at the size of results."""
        if self._flows is not None:
            return self._flows.read(number, lag, self.size)
        pair = flow.estimate(picture, self._past[-lag].picture)
        return flow.Pair(*(flow.resized(each, self.size) for each in pair))

    def _small(self, picture: np.ndarray) -> np.ndarray:
        """Returns a frame [H, W, 3] uint8 no larger than its result, which is fine enough for its flow."""
        height, width = map(min, self.size, picture.shape[:2])
        return picture if (height, width) == picture.shape[:2] else flow.shrunk(picture, (height, width))


def load(
    named: inputs.InputPaths, picture: np.ndarray, config: Config, changed: Collection[str]
) -> inputs.LoadedInputs:
    """Reads what the frames of a film have in common.

    Args:
        named: The pictures of the run; its content is the film.
        picture: The film's first frame, [H, W, 3] uint8.
        config: Of the run.
        changed: The settings that were named.

    Raises:
        InputError: A picture cannot be read, or pictures and settings do not go together.
    """
    still = dataclasses.replace(named, content=picture)
    return inputs.load(still, config, set(changed) - {"temporal_weight"})  # which films have a use for


def suited(chosen: Settings) -> Settings:
    """Returns settings with the config that suits the features of its weights; loads TensorFlow."""
    with runtime.tensorflow_backend():
        from nst_tf.network import weights
    return dataclasses.replace(chosen, config=weights.suited(chosen.config))
