"""Damaged and hostile checkpoints: safetensors files with other headers, tensors and JSON."""

import functools
import json
import random
import struct
from typing import Any

import numpy as np
import safetensors.numpy

from fuzz import json_values, manifests, mutations
from fuzz.inputs import Input
from nst_tf.engine.progress import TraceRow
from nst_tf.io import manifest

_KEY = "nst_tf"
_TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E4M3", "C64", "F4", "", "x")


@functools.cache
def _header() -> dict[str, Any]:
    config = manifests.made()["config"]
    return {
        "version": 1,
        "origin": config,
        "inputs": manifests.made()["inputs"],
        "config": config,
        "weights": manifests.made()["weights"],
        "versions": manifest.versions(),
        "scale_index": 0,
        "steps_done": 2,
    }


def _tensors() -> dict[str, np.ndarray]:
    width = len(TraceRow._fields)
    return {
        "image": np.zeros((1, 12, 16, 3), np.float32),
        "pairs/0": np.zeros((1, 12, 16, 3), np.float32),
        "pairs/1": np.ones((1, 12, 16, 3), np.float32),
        "trace": np.arange(2.0 * width).reshape(2, width),
        "animation/frames": np.zeros((2, 12, 16, 3), np.uint8),
    }


def _file(header: str, tensors: dict[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save(tensors, {_KEY: header})


def make(chance: random.Random) -> Input:
    """Returns a checkpoint."""
    build = chance.choice((_changed, _other_json, _other_json, _other_tensors, _other_header, _other_header))
    return Input("a.png.checkpoint", build(chance))


def sound() -> bytes:
    """Returns a checkpoint that nothing is wrong with."""
    return _file(json.dumps(_header()), _tensors())


def _changed(chance: random.Random) -> bytes:
    return mutations.blindly(chance, sound())


def _other_json(chance: random.Random) -> bytes:
    """Returns a sound file whose metadata say something else."""
    header: Any = _header()
    if chance.random() < 0.3:
        group = chance.choice(("origin", "config"))
        header = json_values.to_pairs({**header, group: json_values.mutated(chance, header[group])})
    else:
        header = json_values.mutated(chance, header)
    return _file(json_values.to_text(header).encode("utf-8", "replace").decode(), _tensors())


def _other_tensors(chance: random.Random) -> bytes:
    """Returns a sound file with a tensor of another shape, type or name."""
    tensors = _tensors()
    name = chance.choice((*tensors, "trace", "trace"))
    width = tensors["trace"].shape[1]
    if chance.random() < 0.1:
        tensors[chance.choice(("", "pairs", "pairs/2", "é", "x" * 1000))] = tensors.pop(name)
    else:
        shape = chance.choice(
            ((), (0,), (3,), (2, width), (width, 2), (2, width, 1), (0, width), (1, 24, 32, 3), (1,))
        )
        values = np.full(shape, chance.choice((0, 1, np.nan, np.inf, -1, 1e300, -np.inf)), np.float64)
        kind = chance.choice((np.float64, np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_))
        with np.errstate(invalid="ignore", over="ignore"):
            tensors[name] = values.astype(kind)
    return _file(json.dumps(_header()), tensors)


def _other_header(chance: random.Random) -> bytes:
    """Returns a file whose own header, JSON, is changed; or the length before it."""
    data = sound()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    what = chance.random()
    if what < 0.4:
        name = chance.choice([key for key in header if key != "__metadata__"])
        field = chance.choice(("dtype", "shape", "data_offsets"))
        extremes = [chance.choice((*mutations.EXTREMES, -1, 16, 12, 3)) for _ in range(chance.randint(0, 4))]
        header[name][field] = chance.choice(_TYPES) if field == "dtype" else extremes
    elif what < 0.5:
        header["__metadata__"] = chance.choice(
            ({}, None, [], {_KEY: ""}, {_KEY: 1}, {_KEY: None}, {"x": "y"}, {_KEY: "[]"}, {_KEY: "1"})
        )
    elif what < 0.8:
        header = json_values.mutated(chance, header)
    text = json_values.to_text(json_values.to_pairs(header)).encode("utf-8", "replace")
    size = struct.pack("<Q", len(text)) if chance.random() < 0.9 else mutations.extreme(chance, 8, "<")
    return size + text + (body if chance.random() < 0.9 else mutations.blindly(chance, body))
