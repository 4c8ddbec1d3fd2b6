"""The training run: a number of minutes, in rounds, after each of which it may be killed and continued.

Keras' `BackupAndRestore` keeps weights and optimiser; the time spent is kept beside them. The learning rate
follows that time and not a number of steps, since the speed of a machine is not known beforehand.
"""

import dataclasses
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from features import dataset, network, slow_start
from nst_tf import errors

# Stochastic gradient descent as the ResNet and VGG recipes have it: Nesterov's momentum 0.9; the rate for a
# batch of 256 falls to 0 along a cosine (Loshchilov and Hutter 2016, arXiv:1608.03983).
_MOMENTUM = 0.9
_RATE_BATCH = 256
# VGG's paper has 5e-4; Keras' decay does not pass through the momentum, which would make it ten times that.
_WEIGHT_DECAY = 5e-3
# No decay for normalisation and biases: it would only shrink the features.
_NO_DECAY = ("gamma", "beta", "bias")
# Rounds in which the rate rises from 0: the first gradients of 16 layers are large.
_WARM_UP_ROUNDS = 4
# Szegedy et al. 2015 (arXiv:1512.00567), section 7.
_LABEL_SMOOTHING = 0.1

# More rounds than any run has: the clock ends a run.
_ENDLESS = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run; the flags of `train.py` have the defaults."""

    minutes: float  # of training in all
    width: float  # share of VGG19's filters that each convolution gets
    crops: tuple[int, ...]  # sides in pixels, multiples of 16; each for an equal share of the time
    window: int  # side of the windows that crops are cut out of
    slow_pictures: int  # number of pictures that the first filters are computed from; 0 for random filters
    batch: int
    round_steps: int  # between two checkpoints
    learning_rate: float  # for a batch of 256
    # Of the losses: telling a crop's picture, its folder, and for each layer with a `Contrast` its place.
    picture_weight: float
    folder_weight: float
    contrast_weight: float
    precision: str
    workers: int
    seed: int


@dataclasses.dataclass
class Progress:
    """The progress of a run."""

    seconds: float = 0.0
    rounds: int = 0
    pictures: int = 0  # crops seen
    last: dict[str, float] = dataclasses.field(default_factory=dict)  # loss and accuracies of the last round


def train(
    pictures: dataset.Library,
    settings: Settings,
    folder: pathlib.Path,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[keras.Model, Progress]:
    """Trains, or continues to train, until the minutes are spent.

    Args:
        pictures: The pictures to learn from.
        settings: The run; the settings of a continued run's network must be the same.
        folder: The folder of the run; made if it is missing.
        clock: Returns the time in seconds.

    Returns:
        The network and its progress.

    Raises:
        InputError: The run in `folder` has another network, or the pictures are unsuitable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_run(folder / "network.json", pictures, settings)
    keras.utils.set_random_seed(settings.seed)
    model = network.build(
        settings.window,
        {"picture": len(pictures.pictures), "folder": max(1, len(pictures.folder_names))},
        contrast_weight=settings.contrast_weight,
        filters=network.filters(settings.width),
        precision=settings.precision,
        seed=settings.seed,
    )
    _compile(model, settings)
    pace = Pace(settings, folder, clock)
    if settings.slow_pictures and not pace.progress.rounds:
        start = time.monotonic()
        slow_start.begin(
            model, pictures, window=settings.window, count=settings.slow_pictures, seed=settings.seed
        )
        print(f"first filters made of slow features, {time.monotonic() - start:.0f} s", flush=True)
    # Twice, since a run may be killed while it writes.
    backup = keras.callbacks.BackupAndRestore(
        str(folder / "backup"), double_checkpoint=True, delete_checkpoint=False
    )
    for stage, crop in enumerate(settings.crops):
        pace.until = (stage + 1) / len(settings.crops)
        if pace.done < pace.until:
            pace.rounds = dataset.Crops(
                pictures,
                window=settings.window,
                crop=crop,
                batch=settings.batch,
                steps=settings.round_steps,
                seed=settings.seed,
                workers=settings.workers,
            )
            # Unshuffled: batches are random already, and Keras' shuffle is not seeded for each round.
            model.fit(pace.rounds, epochs=_ENDLESS, verbose=0, callbacks=[backup, pace], shuffle=False)
    if not pace.ran:
        backup.set_model(model)
        backup.on_train_begin()
    return model, pace.progress


def _check_run(file: pathlib.Path, pictures: dataset.Library, settings: Settings) -> None:
    """Writes the settings of a run's network; refuses to continue with others."""
    network_of = {
        "pictures": len(pictures.pictures),
        "classes": len(pictures.folder_names),
        "window": settings.window,
        "width": settings.width,
        "contrast_weight": "above 0" if settings.contrast_weight else "0",
    }
    if not file.is_file():
        file.write_text(json.dumps(network_of), encoding="utf-8")
    begun = json.loads(file.read_text(encoding="utf-8"))
    for name, value in network_of.items():
        if begun[name] != value:
            raise errors.InputError(
                f"run: {file.parent} was begun with {name} {begun[name]}, and {value} is asked for; allowed:"
                " what it was begun with, or another folder"
            )


def describe(pictures: dataset.Library, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Returns how features were trained, for the file that they are kept in."""
    return {
        "task": "which picture and which folder a crop is from, which place of it two views show",
        "pictures": len(pictures.pictures),
        "folders": len(pictures.folder_names),
        "settings": dataclasses.asdict(settings),
        "progress": dataclasses.asdict(progress),
        "versions": {
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
        },
    }


def _compile(model: keras.Model, settings: Settings) -> None:
    """Gives the model its losses and its optimiser."""
    optimizer = keras.optimizers.SGD(
        settings.learning_rate, momentum=_MOMENTUM, nesterov=True, weight_decay=_WEIGHT_DECAY
    )
    optimizer.exclude_from_weight_decay(var_names=list(_NO_DECAY))
    model.compile(
        optimizer,
        loss={"picture": SmoothedCrossentropy(), "folder": SmoothedCrossentropy()},
        loss_weights={"picture": settings.picture_weight, "folder": settings.folder_weight},
        weighted_metrics={
            name: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")] for name in ("picture", "folder")
        },
        # On a CPU TensorFlow's own convolutions are faster than XLA's; JAX always compiles.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross entropy of logits against class numbers with label smoothing."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns -sum_k q_k log p_k, [B]: q is 1 - s for the class, plus s / K for each of K classes."""
        ops = keras.ops
        log_p = ops.log_softmax(y_pred)
        numbers = ops.cast(ops.reshape(y_true, (-1, 1)), "int32")
        own = ops.squeeze(ops.take_along_axis(log_p, numbers, axis=-1), -1)
        return -(1 - _LABEL_SMOOTHING) * own - _LABEL_SMOOTHING * ops.mean(log_p, axis=-1)


class Pace(keras.callbacks.Callback):
    """Sets each round's learning rate by the clock, reports, and stops when the time is spent."""

    def __init__(self, settings: Settings, folder: pathlib.Path, clock: Callable[[], float]) -> None:
        """Reads the progress of the run in `folder`."""
        super().__init__()
        self._settings, self._clock = settings, clock
        self._file = folder / "progress.json"
        self.progress = _read_progress(self._file)
        self.until = 1.0  # the share of the time at which to stop
        self.ran = False
        self.rounds: dataset.Crops | None = None
        self._start = 0.0

    @property
    def done(self) -> float:
        """The share of the time that is spent."""
        return self.progress.seconds / (60 * self._settings.minutes)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets the round's learning rate and number."""
        del logs
        assert self.rounds is not None
        self.rounds.round, self.ran = epoch, True
        self.model.get_layer("augmentation").begin_round(epoch)
        settings = self._settings
        rate = settings.learning_rate * settings.batch / _RATE_BATCH
        warmth = min(1.0, (epoch + 1) / _WARM_UP_ROUNDS)
        self.model.optimizer.learning_rate = rate * warmth * cosine(self.done)
        self._start = self._clock()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes and prints the round's results."""
        seconds = self._clock() - self._start
        progress, settings = self.progress, self._settings
        progress.seconds += seconds
        progress.rounds = epoch + 1
        progress.pictures += settings.batch * settings.round_steps
        progress.last = {name: float(np.asarray(value)) for name, value in (logs or {}).items()}
        _write_progress(self._file, progress)
        print(self._line(settings.batch * settings.round_steps / seconds), flush=True)
        if not math.isfinite(progress.last.get("loss", 0.0)):
            sys.exit("the loss is not finite; a smaller learning rate may help")
        if self.done >= self.until:
            self.model.stop_training = True

    def _line(self, pictures_per_s: float) -> str:
        """Returns the round's line."""
        progress, last = self.progress, self.progress.last
        left = 60 * self._settings.minutes - progress.seconds
        accuracies = "  ".join(
            f"{name.removesuffix('_accuracy')} {100 * value:.1f} %"
            for name, value in sorted(last.items())
            if name.endswith("_accuracy")
        )
        return (
            f"round {progress.rounds}: loss {last.get('loss', math.nan):.3f}  {accuracies}"
            f"  {pictures_per_s:.1f} images/s  {progress.pictures} seen  {max(0.0, left) / 60:.1f} min left"
        )


def cosine(done: float) -> float:
    """Returns the factor of the learning rate when a share of the time is spent; above 0 at the end."""
    return max(0.002, 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def _read_progress(file: pathlib.Path) -> Progress:
    """Returns the progress of a run; 0 if it has not begun."""
    return Progress(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else Progress()


def _write_progress(file: pathlib.Path, progress: Progress) -> None:
    """Writes the progress of a run atomically."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(dataclasses.asdict(progress)), encoding="utf-8")
    os.replace(partial, file)
