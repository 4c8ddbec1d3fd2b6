"""Warm-up records: requests that a model server replays before it answers anybody's.

Its first request would otherwise wait for graphs to be optimised and kernels to be made. Small pictures, one
step. A record that fails would keep the version from loading.
"""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

# Where a model server looks for them, under the version's folder.
FILE = "assets.extra/tf_serving_warmup_requests"

Requests = list[tuple[str, dict[str, np.ndarray]]]


def requests(signatures: Mapping[str, Any], side: int) -> Requests:
    """Returns (signature, inputs) for each signature, of pictures of `side` pixels a side.

    `serving_default` and `stylize_pixels` take the steps and the size of the export, minutes of work: their
    batches are empty, which has their graphs made; `stylize` warms the same kernels.
    """
    content, style = np.linspace(0, 1, side * side * 6, dtype=np.float32).reshape([2, 1, side, side, 3])
    pictures = {"content_bytes": _png(content), "style_bytes": _png(style)}
    run = pictures | {
        "num_steps": np.array([1], np.int32),
        "size": np.array([side], np.int32),
        "content_weight": np.array([1.0], np.float32),
        "style_weight": np.array([1.0], np.float32),
        "total_variation_weight": np.array([0.0], np.float32),
        "seed": np.array([0], np.int32),
    }
    started = signatures["start"](**{name: tf.constant(value) for name, value in run.items()})
    state = {"state_bytes": started["state_bytes"].numpy(), "steps_now": np.array([1], np.int32)}
    blended = {name: value for name, value in run.items() if name != "style_bytes"} | {
        "style_bytes": pictures["style_bytes"][:, np.newaxis],
        "style_blend_weights": np.array([[1.0]], np.float32),
        "color": np.array([b"style"], object),
    }
    return [
        ("serving_default", {name: value[:0] for name, value in pictures.items()}),
        ("stylize", run),
        ("stylize_pixels", {"content": content[:0], "style": style[:0]}),
        ("stylize_blend", blended),
        ("start", run),
        ("advance", run | state),
    ]


def write(path: pathlib.Path, records: Requests, model: str) -> None:
    """Writes the records as TensorFlow Serving reads them.

    Args:
        path: The file; its folder is there.
        records: What `requests` returned.
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


def read(path: pathlib.Path) -> Requests:
    """Returns the records that `write` wrote: a model server's view of them."""
    found: Requests = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def _png(image: np.ndarray) -> np.ndarray:
    """Returns the PNG bytes, [1] object, of an image [1, H, W, 3] in [0, 1]."""
    file = io.BytesIO()
    Image.fromarray(np.rint(image[0] * 255).astype(np.uint8)).save(file, format="PNG")
    return np.array([file.getvalue()], object)
