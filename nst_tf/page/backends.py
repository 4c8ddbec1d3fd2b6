"""The two ways in which a page has a picture painted: in this process by the api, or by a model server.

Each has `paint` and `film`, which call `report` on the way and return what was made.
"""

import dataclasses
import pathlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from nst_tf import client, errors, runtime
from nst_tf.config import presets
from nst_tf.config.config import Config
from nst_tf.engine import checkpoints
from nst_tf.engine.progress import Progress, TimeLeft
from nst_tf.io import inputs, manifest, pictures
from nst_tf.page import film
from nst_tf.page.film import FilmOrder, PaintedFilm
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order
from nst_tf.page.runs import Report, Watch


class Made(NamedTuple):
    """What a run leaves."""

    image: np.ndarray  # [H, W, 3] in [0, 1]
    steps: int  # that it took
    outcome: str  # "finished", "stopped" or "diverged"
    # Writes the picture, with its manifest where there is one, as made from earlier ones.
    save: Callable[[pathlib.Path, Sequence[Mapping[str, str]]], None]


class Backend(Protocol):
    """A way to have a picture painted."""

    @property
    def takes_pictures(self) -> bool:
        """Whether a run may begin from a picture."""

    def paint(self, order: Order, checkpoint: pathlib.Path, report: Watch) -> Made:
        """Paints a picture.

        Args:
            order: What is asked for.
            checkpoint: Where a run that is stopped leaves its state; where that is, the run goes on from it.
            report: Called about twice a second, or once a step if that is rarer. May raise, to end the run.

        Raises:
            InputError: Something that was asked for cannot be used.
        """

    def film(self, order: FilmOrder, output: pathlib.Path, part: pathlib.Path, report: Watch) -> PaintedFilm:
        """Paints a film; arguments and errors as for `film.paint`."""


@dataclasses.dataclass(frozen=True)
class Here:
    """Paints in this process."""

    limits: Limits
    takes_pictures: bool = True
    # One run at a time: one whose browser has gone takes its last step while the next has its turn already.
    _device: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def load(self) -> None:
        """Loads TensorFlow and the default preset's weights, so that the first run begins at once.

        Raises:
            InputError: The weights cannot be had.
        """
        with runtime.tensorflow_backend():
            from nst_tf.engine import formulations
            from nst_tf.network.weights import suited

        formulations.load_weights(suited(presets.get("default")))

    def paint(self, order: Order, checkpoint: pathlib.Path, report: Watch) -> Made:
        """Paints as `nst_tf.stylize` does.

        Raises:
            InputError: Something that was asked for cannot be used, or is over the limits.
        """
        with self._device:
            return self._paint(order, checkpoint, report)

    def film(self, order: FilmOrder, output: pathlib.Path, part: pathlib.Path, report: Watch) -> PaintedFilm:
        """Paints a film; arguments and errors as for `film.paint`."""
        with self._device:
            return film.paint(order, self.limits, output, part, report)

    def _paint(self, order: Order, checkpoint: pathlib.Path, report: Watch) -> Made:
        from nst_tf import api

        config, left = order.config(), TimeLeft()
        loaded = [inputs.load(order.paths(), config, order.overrides)]  # to be taken out: see `api.paint`
        self._check(config, loaded[0])

        def watch(progress: Progress) -> bool:
            step, num_steps, losses = progress.step, progress.num_steps, progress.losses
            return report(Report(step, num_steps, losses, progress.picture, left(progress)))

        resumed = checkpoints.read(checkpoint) if checkpoint.exists() else None
        kept = checkpoints.Checkpoints(checkpoint, resumed=resumed)
        result = api.paint(loaded.pop(), config, on_progress=watch, kept=kept)
        if result.checkpoint is None:
            checkpoints.remove(checkpoint)

        def save(path: pathlib.Path, earlier: Sequence[Mapping[str, str]]) -> None:
            chained = manifest.with_earlier(result.manifest, earlier) if earlier else result.manifest
            dataclasses.replace(result, manifest=chained).save(path)

        return Made(result.image, len(result.trace), result.outcome, save)

    def _check(self, config: Config, loaded: inputs.LoadedInputs) -> None:
        """Checks a run against the limits.

        Raises:
            InputError: It takes more than is allowed.
        """
        if loaded.content is None and not loaded.styles:
            return  # which is refused in words of its own
        shaping = loaded.styles[0] if loaded.content is None else loaded.content
        self.limits.check(config, shaping.shape[1:3], [style.shape[1:3] for style in loaded.styles])


@dataclasses.dataclass(frozen=True)
class Server:
    """Has a model server paint, a few steps in each call."""

    address: str
    limits: Limits
    # How it is asked, as arguments of `client.request_stylization`; headers hold secrets.
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    takes_pictures: bool = False  # a run on a server starts as its model does

    def paint(self, order: Order, checkpoint: pathlib.Path, report: Watch) -> Made:
        """Paints as `nst_tf request` does.

        Raises:
            InputError: Something that was asked for cannot be used, by this side or by the server.
            ServerError: The server could not be reached, took too long or failed.
        """
        errors.require(order.content is not None, "content", "none", "a photograph")
        config = order.config()
        content = pictures.read(order.content, "content")  # type: ignore[arg-type]
        styles = [pictures.read(style, errors.numbered("style", n)) for n, style in enumerate(order.styles)]
        self.limits.check(config, content.shape[1:3], [style.shape[1:3] for style in styles])

        def watch(answer: client.Answer) -> bool:
            step, num_steps = answer.step or 0, answer.num_steps or 0
            return report(Report(step, num_steps, [answer.losses], lambda: answer.image))

        asked: dict[str, Any] = {
            name: order.overrides.get(name) for name in ("color", "outside", "style_blend_weights")
        }
        answer = client.request_stylization(
            self.address,
            content,
            styles,
            content_regions=order.regions,
            style_regions=list(order.style_regions) or None,
            settings=client.Settings.of_config(config),
            on_progress=watch,
            checkpoint=checkpoint,
            **asked,
            **self.options,
        )
        outcome = "finished" if answer.step == answer.num_steps else "stopped"
        return Made(
            answer.image, answer.step or 0, outcome, lambda path, _: pictures.write(answer.image, path)
        )

    def film(self, order: FilmOrder, output: pathlib.Path, part: pathlib.Path, report: Watch) -> PaintedFilm:
        """Refuses: model servers paint no films.

        Raises:
            InputError: In any case.
        """
        del order, output, part, report
        raise errors.InputError("film: a model server paints pictures only; use nst_tf video")
