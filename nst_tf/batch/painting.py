"""A worker of a batch: takes rows one by one and paints their pictures; whatever happens, an outcome comes.

It runs in a process of its own, an actor of Ray's. TensorFlow is loaded for the first picture that has to be
painted.
"""

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from nst_tf import errors, runtime
from nst_tf.batch import calls, outcomes, storage, tries
from nst_tf.batch.rows import Row, Settings
from nst_tf.callbacks import figures
from nst_tf.config.config import Config
from nst_tf.engine import checkpoints
from nst_tf.io import files, inputs, manifest, masks, pictures
from nst_tf.network import weights

_LOG = logging.getLogger(__name__)

# The status of a picture that is left until it can be alone; no batch ends with it.
POSTPONED = "postponed"

# The columns of what comes in and what goes out.
ROW, OUTCOME, THUMBNAIL = "row", "outcome", "thumbnail"

# Of a thumbnail, a JPEG, which then has some 8 KB.
_THUMBNAIL_QUALITY = 80


class Ready(NamedTuple):
    """A picture that is ready to be painted."""

    paths: inputs.InputPaths  # as `PictureFile`s
    config: Config
    changed: Mapping[str, Any]  # the settings that were named
    checkpoint: checkpoints.Checkpoints | None = None
    smaller: bool = False  # whether with smaller tiles


class Painted(Protocol):
    """A finished picture, such as an `api.Result`."""

    @property
    def image(self) -> np.ndarray:
        """[H, W, 3] floats in [0, 1]."""

    @property
    def outcome(self) -> str:
        """One of those of `api.Result`."""

    def save_picture(self, path: Any, *, bit_depth: int = 8) -> None:
        """Writes the picture."""

    def save_manifest(self, path: Any) -> None:
        """Writes the manifest beside a picture."""


class Engine(Protocol):
    """What paints."""

    def weights(self, config: Config) -> str | None:
        """Returns the SHA-256 of a config's weights, empty without a network; None where nobody knows."""

    def paint(self, ready: Ready) -> Painted:
        """Paints a picture.

        Raises:
            InputError: It cannot be painted.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker has to know of the batch."""

    chosen: Settings
    folder: str  # of the outputs
    run: str  # a name that no other batch has
    make_engine: Callable[[], Engine]
    overwrite: bool = False
    bit_depth: int = 8
    checkpoint_every: float | None = None  # seconds; None for the usual, 0 for never
    alone: bool = False  # whether no other picture is being painted on the machine


class Worker:
    """Paints the pictures of rows: a callable class for `ray.data.Dataset.map_batches`."""

    def __init__(self, job: Job) -> None:
        """Makes the engine, which may set up the process."""
        self._job = job
        self._engine = job.make_engine()
        self._room = storage.Room()

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        """Returns what came of rows.

        Args:
            batch: `ROW`: rows as `Row.to_json` makes them.

        Returns:
            `OUTCOME`: as JSON, without `THUMBNAIL`: bytes, which JSON has not.
        """
        made = [self.outcome(Row.from_json(text)) for text in batch[ROW]]
        texts = [json.dumps({**vars(each), THUMBNAIL: ""}) for each in made]
        return {OUTCOME: texts, THUMBNAIL: [each.thumbnail for each in made]}

    def outcome(self, row: Row) -> outcomes.Outcome:
        """Returns what came of a row; raises nothing."""
        start, task = time.perf_counter(), _Task(row, self._job, self._engine, self._room)
        failure = None
        try:
            status, why = task.run()
        except Exception as error:  # of one picture, and the others go on
            status, why, failure = "failed", _why(error), error
            if not isinstance(error, errors.InputError | OSError):
                _LOG.exception("%s", row.said())
        if status != POSTPONED:
            task.forget()
        self._room.heed(failure, row.output)  # once the marker is gone, which took some
        return outcomes.Outcome(
            number=row.number,
            content=row.content,
            styles=row.styles,
            output=row.output,
            status=status,
            seconds=time.perf_counter() - start,
            tries=task.count,
            why=why,
            thumbnail=task.thumbnail if row.number < outcomes.MOST_SHOWN else b"",
        )


def to_outcome(text: str, thumbnail: bytes) -> outcomes.Outcome:
    """Returns an outcome as a worker sent it."""
    values = json.loads(text)
    return outcomes.Outcome(**{**values, "styles": tuple(values["styles"]), THUMBNAIL: bytes(thumbnail)})


def _why(error: Exception) -> str:
    """Returns why a picture failed, in a line."""
    line = errors.one_line(error)
    if isinstance(error, OSError):
        return f"output: {storage.unwritten(error)}"
    return line if isinstance(error, errors.InputError) else f"{type(error).__name__}: {line}"


class _Task:
    """A row on its way to an outcome.

    Attributes:
        count: The tries so far, those of earlier batches too.
        thumbnail: Of the picture, a JPEG; empty where there is none.
    """

    def __init__(self, row: Row, job: Job, engine: Engine, room: storage.Room) -> None:
        self.count, self.thumbnail = 0, b""
        self._row, self._job, self._engine, self._room = row, job, engine, room
        self._marker = tries.Marker(job.folder, row.output)

    def run(self) -> tuple[str, str]:
        """Returns the status and, of a failure, why.

        Raises:
            InputError: The picture cannot be painted.
            OSError: It cannot be written.
        """
        before = self._marker.read()
        self.count = before.count if before else 0
        ready = _ready(self._row, self._job.chosen)
        if storage.exists(self._row.output):
            if self._is_done(ready):
                return "skipped", ""
            if not (self._job.overwrite or before):  # `before`: it may be of that try
                raise errors.InputError(
                    f"output: {self._row.output} exists, and is not what these settings and pictures make;"
                    " use --overwrite to replace it"
                )
        way = tries.decide(before, self._job.run, _is_alive, self._job.alone)
        if way is tries.Way.ALONE:
            return POSTPONED, ""
        if way is tries.Way.GIVE_UP:
            return "failed", (
                "its worker was killed each time, at last alone on the machine and with smaller tiles; if"
                " memory ran out, a smaller --size needs less"
            )
        return self._paint(ready._replace(smaller=way is tries.Way.SMALLER))

    def forget(self) -> None:
        """Removes the marker, now that something has come of the picture."""
        try:
            self._marker.remove()
        except OSError as error:
            _LOG.warning("%s could not be removed: %s", self._marker.path, error)

    def _is_done(self, ready: Ready) -> bool:
        """Returns whether the picture is there as it would be painted; sees to its manifest and thumbnail."""
        output = self._row.output
        found = _kept_manifest(output)
        if found is None:
            return False
        text, is_beside = found
        hashes = {name: entry["sha256"] for name, entry in _described(ready).items()}
        chosen = weights.suited(ready.config)
        if not manifest.agrees(manifest.parse(text, output), chosen, hashes, self._engine.weights(chosen)):
            return False
        if not storage.is_url(output):
            try:
                self.thumbnail = _thumbnail(output)
            except errors.InputError:  # damaged
                return False
        if not is_beside:
            storage.write(_beside(output), text.encode("ascii"))
        return True

    def _paint(self, ready: Ready) -> tuple[str, str]:
        """Paints and writes; returns as `run` does."""
        self._room.check(self._row.output)
        self.count += 1
        self._marker.write(tries.Try(self._job.run, _node(), self.count, ready.smaller))
        kept = self._checkpoints(ready)
        try:
            painted = self._engine.paint(ready._replace(checkpoint=kept))
        except (errors.OutOfMemoryError, MemoryError):
            if not self._job.alone:
                return POSTPONED, ""
            if ready.smaller:
                raise
            return self._paint(ready._replace(smaller=True))
        if painted.outcome != "finished":
            return (
                "failed",
                "the loss became infinite or NaN; try smaller weights or a smaller learning rate",
            )
        self._write(painted)
        if kept is not None:
            checkpoints.remove(kept.path)
        self.thumbnail = _thumbnail(painted.image)
        return "done", ""

    def _checkpoints(self, ready: Ready) -> checkpoints.Checkpoints | None:
        """Returns how the run keeps its checkpoint, and the one to go on from; None where it has none."""
        every_s = self._job.checkpoint_every
        if storage.is_url(self._row.output) or not ready.config.takes_steps():
            return None
        path = checkpoints.beside(self._row.output)
        resumed = self._resumed(path, ready) if os.path.exists(path) else None
        if every_s == 0 and resumed is None:
            return None
        wait_s = checkpoints.wait_s(every_s)
        return checkpoints.Checkpoints(path, wait_s, of_short_runs=every_s is not None, resumed=resumed)

    def _resumed(self, path: pathlib.Path, ready: Ready) -> checkpoints.Checkpoint | None:
        """Returns a checkpoint, if it is of this run."""
        chosen = weights.suited(ready.config)
        try:
            found = checkpoints.read(path)
            found.check(checkpoints.Origin(chosen, _described(ready)))
        except errors.InputError as error:
            _LOG.info("begins anew: %s", error)
            return None
        return found if found.weights["sha256"] == self._engine.weights(chosen) else None

    def _write(self, painted: Painted) -> None:
        """Writes the picture and its manifest.

        Raises:
            OSError: One cannot be written, and neither is there.
        """
        output, depth = self._row.output, self._job.bit_depth
        if not storage.is_url(output):
            with storage.naming(output):
                os.makedirs(storage.parent(output), exist_ok=True)
                place = files.Place(output, self._job.overwrite or self.count > 1)
                painted.save_picture(place, bit_depth=depth)
            with self._or_no_picture():
                painted.save_manifest(output)
            return
        with tempfile.TemporaryDirectory(prefix="nst_tf-") as folder:
            made = pathlib.Path(folder, storage.name_of(output))
            with storage.naming(folder):
                painted.save_picture(made, bit_depth=depth)
                painted.save_manifest(made)
            storage.write(output, made.read_bytes())
            with self._or_no_picture():
                storage.write(_beside(output), manifest.sidecar(made).read_bytes())

    @contextlib.contextmanager
    def _or_no_picture(self) -> Iterator[None]:
        """Removes the picture if its manifest cannot be written, by which a next batch would know it.

        Raises:
            OSError: It cannot.
        """
        try:
            with storage.naming(_beside(self._row.output)):
                yield
        except OSError:
            with contextlib.suppress(OSError):
                storage.remove(self._row.output)
            raise


def _ready(row: Row, chosen: Settings) -> Ready:
    """Returns the pictures of a row, those at URLs read, and its config.

    Raises:
        InputError: One cannot be read.
    """
    config = chosen.config(row)
    init = inputs.init_path(config)
    found = {name: storage.picture(path, name) for name, path in row.inputs()}
    labels = [errors.numbered("style_regions", index) for index in range(len(row.style_regions))]
    paths = inputs.InputPaths(
        content=found["content"],
        styles=[found[errors.numbered("style", index)] for index in range(len(row.styles))],
        init=None if init is None else storage.picture(row.own.get("init", str(init)), "init"),
        content_mask=found.get("content_mask"),
        content_regions=found.get("content_regions"),
        style_regions=[
            label if masks.is_color(label) else found[name]
            for name, label in zip(labels, row.style_regions, strict=True)
        ],
    )
    return Ready(paths, config, chosen.changed(row))


def _described(ready: Ready) -> dict[str, dict[str, str]]:
    """Returns the names and hashes of the pictures, which are read if they have not been."""
    try:
        return manifest.describe_inputs(ready.paths.named())
    except OSError as error:
        raise errors.InputError(f"an input cannot be read: {errors.one_line(error)}") from None


def _beside(output: str) -> str:
    """Returns the path of the manifest beside an output."""
    return f"{output}{pictures.MANIFEST_SUFFIX}"


def _kept_manifest(output: str) -> tuple[str, bool] | None:
    """Returns the text of an output's manifest, and whether it is beside it; None where there is none.

    The one in a picture is certain to be its own. A picture in a store is not read for it.
    """
    beside = storage.exists(_beside(output))
    text = ""
    try:
        if not storage.is_url(output):
            text = pictures.read_text(pathlib.Path(output), "output") or ""
        if not text and beside:
            text = storage.read(_beside(output), "output").decode("utf-8")
        manifest.parse(text, output)
    except (errors.InputError, UnicodeDecodeError):
        return None
    return text, beside


def _thumbnail(picture: pictures.Picture) -> bytes:
    """Returns a small JPEG of a picture.

    Raises:
        InputError: It cannot be read.
    """
    image = pictures.read(picture)[0]
    made = figures.fitted(image, min(outcomes.THUMBNAIL_SIDE, max(image.shape)))
    encoded = io.BytesIO()
    made.save(encoded, format="JPEG", quality=_THUMBNAIL_QUALITY)
    return encoded.getvalue()


def _node() -> str:
    """Returns the name of the machine that this process is on; empty outside of Ray."""
    import ray

    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""


def _is_alive(node: str) -> bool:
    """Returns whether a machine is there."""
    import ray

    if not ray.is_initialized():
        return True
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


class Local:
    """Paints in this process, whose graphs serve all pictures of the same formulation."""

    def __init__(self, threads: int, share: float | None, onednn: bool) -> None:
        """Sets the process up; TensorFlow is loaded later.

        Args:
            threads: That an operation of TensorFlow's may use; 0 for all that there are.
            share: The bytes that a run may take; None for most of what is free.
            onednn: Whether TensorFlow may compute by oneDNN where it does not unasked.
        """
        calls.prepare_process(threads, onednn)
        self._share = share

    def weights(self, config: Config) -> str:
        """Returns the SHA-256 of a config's weights; empty without a network."""
        if not config.takes_steps():
            return ""
        return _sha256(config.network.weights, tuple(config.all_layers()))

    def paint(self, ready: Ready) -> Painted:
        """Paints a picture.

        Raises:
            InputError: It cannot be painted.
        """
        with runtime.quiet():
            loaded = [inputs.load(ready.paths, ready.config, ready.changed)]  # to be taken out: `api.paint`
            api = importlib.import_module("nst_tf.api")
        from nst_tf.engine import memory

        memory.set_share(self._share)
        config = weights.suited(ready.config)
        if ready.smaller:
            config = memory.with_smaller_tiles(config, inputs.result_size(config, loaded[0]))
        painted: Painted = api.paint(loaded.pop(), config, kept=ready.checkpoint)
        return painted


@functools.lru_cache(maxsize=8)  # reading 80 MB for each picture would take longer than to skip it
def _sha256(source: str, layers: tuple[str, ...]) -> str:
    from nst_tf.config import layers as vgg_layers

    return weights.load(source, vgg_layers.kernel_shapes(layers)).sha256
