"""Exports a version folder for stock TensorFlow Serving: SavedModel, description, warm-up records.

The SavedModel's only variables are the weights. It holds neither the Keras model, which a model server cannot
restore, nor an image variable, which requests would share. Warm-up records are requests that a model server
replays when it loads the version, so that later requests need not wait until TensorFlow has optimised graphs
and made kernels. A record that fails keeps the version from loading.
"""

import contextlib
import io
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from nst_tf import errors, runtime
from nst_tf.config import scales
from nst_tf.config.config import Config
from nst_tf.engine import formulations, images
from nst_tf.io import files, manifest
from nst_tf.losses.objective import Objective
from nst_tf.network import weights
from nst_tf.serving import interface, stateless
from nst_tf.serving.settings import Limits, Settings
from nst_tf.serving.signatures import INPUT_PIXELS_PER_PIXEL, ServedModel

# A version is an int64 in a request.
_LAST_VERSION = 2**63 - 1

# Files beside the graph; a model server does not load this folder into memory.
EXTRA = "assets.extra"
DESCRIPTION = "nst_tf.json"

# L-BFGS pairs in the state that goes to the client and back, two pictures each: 72 MB at 512 x 512 pixels.
MAX_HISTORY = 10

# A protocol buffer, such as a serialised tensor, is smaller than 2 GiB.
_LARGEST_TENSOR_BYTES = 2**31 - 1
_BYTES_PER_PICTURE_PIXEL = 12  # three float32 channels

# A picture of 1024 x 1024 pixels takes up to 4.6 GB of a server's memory; the longest preset takes 6000
# steps.
DEFAULT_MAX_PIXELS = 1024 * 1024
DEFAULT_MAX_STEPS = 6000

# Where a model server looks for warm-up records, relative to the version's folder.
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"

Requests = list[tuple[str, dict[str, np.ndarray]]]


def default_limits(config: Config) -> Limits:
    """Returns the default limits, raised where the config's own size or steps exceed them."""
    return Limits(
        max(DEFAULT_MAX_PIXELS, config.scales.size**2), max(DEFAULT_MAX_STEPS, sum(config.scales.steps))
    )


def export(
    config: Config,
    output: str | os.PathLike[str],
    *,
    limits: Limits | None = None,
    version: int | None = None,
    vgg_weights: weights.Weights | None = None,
) -> pathlib.Path:
    """Writes `output/<version>/`, complete or not at all: into a temporary folder that is then renamed.

    Args:
        config: The formulation, with the settings of requests that name none; its precision is not "auto".
        output: The model's folder; created if it does not exist.
        limits: Of a request; None for `default_limits`.
        version: An unused number; None for the next free one.
        vgg_weights: The network's weights; None loads those that the config names.

    Returns:
        The version's folder.

    Raises:
        InputError: The config cannot be served, the weights are missing, the version exists, or the folder
            cannot be written to.
        OSError: The files cannot be written: the disk is full, or the folder has gone.
    """
    runtime.check_process()
    if vgg_weights is None:
        config = weights.suited(config)
    limits = limits or default_limits(config)
    _check(config, limits)
    config = config.replace(convolution="direct")
    folder = _version_folder(pathlib.Path(output), version)
    full = stateless.all_terms(config)
    loaded = vgg_weights or formulations.load_weights(full)
    objective = Objective(full, loaded, config.network.precision)
    description = describe(config, limits, {"name": loaded.name, "sha256": loaded.sha256})
    # Without the versions of packages: replicas exported with different ones accept each other's states.
    identity = json.dumps([description["config"], description["weights"]])
    signatures = ServedModel(config, objective, limits, identity).signatures()
    records = warmup_requests(signatures, scales.pixels_needed(full))
    saved = tf.Module()
    saved.weights = objective.variables
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with _appearing(folder) as temporary, _as_os_errors():
        tf.saved_model.save(saved, str(temporary), signatures=signatures, options=options)
        extra = temporary / EXTRA
        extra.mkdir()
        (extra / DESCRIPTION).write_text(json.dumps(description, indent=2), encoding="ascii")
        write_warmup(temporary / WARMUP_FILE, records, folder.parent.resolve().name)
        for path in temporary.rglob("*"):
            if path.is_file():
                files.flush(path)
    return folder


def describe(config: Config, limits: Limits, weights_used: Mapping[str, str]) -> dict[str, Any]:
    """Returns the description of a model: a manifest's config, weights and versions, limits, signatures."""
    complete = manifest.make(config, {}, weights_used, {})
    bounds = limits._asdict() | {"max_input_pixels": limits.max_pixels * INPUT_PIXELS_PER_PIXEL}
    own = {name: complete[name] for name in ("config", "weights", "versions")}
    return own | {"limits": bounds, "signatures": interface.describe()}


def _check(config: Config, limits: Limits) -> None:
    """Checks that a server can run the config.

    Raises:
        InputError: A setting cannot be served.
    """
    if config.network.precision == "auto":
        raise errors.InputError(
            "precision: 'auto'; allowed: float32 or bfloat16, since the server's processor is not this one"
        )
    if config.network.convolution not in ("auto", "direct"):
        raise errors.InputError(
            f"convolution: {config.network.convolution!r}; allowed: direct or auto, which is direct here: a"
            " server's processor may have faster ones"
        )
    if config.start.init not in images.INITS:
        raise errors.InputError(f"init: {config.start.init!r} is a file; allowed: {', '.join(images.INITS)}")
    if not config.takes_steps():
        raise errors.InputError(
            f"color: {config.color.mode!r} takes no steps; export another and ask run for this one"
        )
    if config.network.normalize_activations:
        raise errors.InputError(
            "normalize_activations: true; allowed: false, since a server's network cannot depend on a"
            " request's pictures"
        )
    if config.temporal.weight:
        raise errors.InputError(
            f"temporal_weight: {config.temporal.weight:g}; allowed: 0, since a server paints single pictures"
        )
    if config.splits_features():
        raise errors.InputError(
            "neighbor_split: true; allowed: false, since a server's graph takes all scales alike"
        )
    if min(limits) < 1:
        raise errors.InputError(f"limits: {limits}; allowed: 1 and above")
    if config.scales.size**2 > limits.max_pixels:
        raise errors.InputError(
            f"size: a square of {config.scales.size} pixels a side is above max_pixels, {limits.max_pixels};"
            " allowed: a smaller size or more pixels"
        )
    if sum(config.scales.steps) > limits.max_steps:
        raise errors.InputError(
            f"steps: {sum(config.scales.steps)}; allowed: up to max_steps, {limits.max_steps}"
        )
    _check_state(config, limits)


def _check_state(config: Config, limits: Limits) -> None:
    """Checks that a run's state fits into a message.

    Raises:
        InputError: The state may become too large.
    """
    if config.optimizer.pairs_precision() != "float32":
        raise errors.InputError(
            "history_precision: 'bfloat16'; allowed: float32, which is what a state holds between requests"
        )
    pictures = 2 * config.optimizer.history if config.optimizer.name == "lbfgs" else 1
    if pictures > 2 * MAX_HISTORY:
        raise errors.InputError(
            f"history: {config.optimizer.history}; allowed: up to {MAX_HISTORY}, since a client carries the"
            " pairs"
        )
    most = _LARGEST_TENSOR_BYTES // (pictures * _BYTES_PER_PICTURE_PIXEL)
    if limits.max_pixels > most:
        raise errors.InputError(
            f"max_pixels: {limits.max_pixels}; allowed: up to {most}, since a state's largest tensor has to"
            " stay below 2 GB"
        )


def _version_folder(output: pathlib.Path, version: int | None) -> pathlib.Path:
    """Returns the path of the version's new folder; makes none.

    Raises:
        InputError: The version exists, or the model's folder cannot be made or written to.
    """
    nearest, names = output, []
    try:
        names = [path.name for path in output.iterdir()]
    except FileNotFoundError:
        nearest = next(path for path in (output, *output.absolute().parents) if os.path.lexists(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = errors.one_line(error)
        raise errors.InputError(f"output: {output} cannot be used: {why}; name another folder") from None
    errors.require(nearest.is_dir(), "output", nearest, "a folder")  # a link may lead nowhere
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise errors.InputError(f"output: {nearest} cannot be written to")
    taken = [int(name) for name in names if name.isascii() and name.isdecimal()]
    number = max(taken, default=0) + 1 if version is None else version
    errors.require(0 < number <= _LAST_VERSION, "version", number, "1 and above, below 2**63")
    if number in taken:
        raise errors.InputError(f"version: {output / str(number)} exists; choose another or leave it out")
    return output / str(number)


@contextlib.contextmanager
def _appearing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary folder, which is renamed to `folder` at the end, or removed after an error.

    A model server looks for numbers as names, so that it does not see the temporary folder. The folder above
    is made if need be, and removed too if it stays empty.
    """
    made = not folder.parent.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with files.temporary_folder(folder.parent) as temporary:
            yield temporary
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
                raise errors.InputError(f"version: {folder} has appeared meanwhile; try again") from None
    finally:
        if made:
            with contextlib.suppress(OSError):  # it is not empty
                folder.parent.rmdir()


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turns TensorFlow's errors of writing files into Python's."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(errors.one_line(error)) from None


def warmup_requests(signatures: Mapping[str, Any], side: int) -> Requests:
    """Returns (signature, inputs) for each signature: one item, one step, pictures of the smallest size.

    Batches are not empty: TensorFlow Serving's batching waits for ever for the items of an empty one.

    Args:
        signatures: Of the model, as concrete functions.
        side: The smallest side of a picture. A square photograph of that size is painted in one step where
            the request has no settings.
    """
    every = _record(side)

    def inputs(signature: str) -> dict[str, np.ndarray]:
        chosen = interface.SIGNATURES[signature]
        found = {name: every[name] for name in chosen.inputs}
        if "style_bytes" in found and not chosen.has_several_styles:
            found["style_bytes"] = every["style_bytes"][:, 0]
        return found

    run = inputs("start")
    started = signatures["start"](**{name: tf.constant(value) for name, value in run.items()})
    every["state_bytes"] = started["state_bytes"].numpy()
    advance = inputs("advance")
    every["state_bytes"] = np.array([[b""]], object)
    names = (name for name in interface.SIGNATURES if name != "advance")
    return [*((name, inputs(name)) for name in names), ("advance", advance)]


def _record(side: int) -> dict[str, np.ndarray]:
    """Returns the inputs of all signatures for one item, with two styles and two regions."""
    content, style = np.linspace(0, 1, side * side * 6, dtype=np.float32).reshape([2, 1, side, side, 3])
    settings = Settings(
        num_steps=2, size=side, content_weight=1.0, style_weight=1.0, total_variation_weight=0.0, seed=0
    )
    regions = np.zeros([1, side, side, 3], np.float32)
    regions[:, side // 2 :] = 1
    texts = {
        "content_bytes": png(content),
        "style_bytes": [png(style)] * 2,
        "color": b"style",
        "content_mask_bytes": png(np.maximum(content, regions)),
        "content_regions_bytes": png(regions),
        "style_regions_bytes": [b"#000000", b"#ffffff"],
        "outside": b"keep",
        "state_bytes": [b""],
    }
    numbers = {**settings.tensors(), "steps_now": np.int32(1)}
    return {
        **{name: np.array([value], object) for name, value in texts.items()},
        **{name: np.array([value]) for name, value in numbers.items()},
        "style_blend_weights": np.array([[1.0, 1.0]], np.float32),
        "content": content,
        "style": style,
    }


def write_warmup(path: pathlib.Path, records: Requests, model: str) -> None:
    """Writes the records as TensorFlow Serving reads them.

    Args:
        path: The file, in an existing folder.
        records: As `warmup_requests` returns them.
        model: The model's name.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in records:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def read_warmup(path: pathlib.Path) -> Requests:
    """Returns the records in a file that `write_warmup` wrote."""
    found: Requests = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def png(image: np.ndarray) -> bytes:
    """Returns the PNG bytes of an image [1, H, W, 3] in [0, 1]."""
    file = io.BytesIO()
    Image.fromarray(np.rint(image[0] * 255).astype(np.uint8)).save(file, format="PNG")
    return file.getvalue()
