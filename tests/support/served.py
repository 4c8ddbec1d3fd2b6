"""What tests of the served model share: a small formulation, pictures as bytes, a session like a server's."""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from nst_tf.config import presets
from nst_tf.config.config import Config
from nst_tf.serving.settings import Settings
from tests import conftest

# Three scales at 48 pixels, since its deepest layer needs 4 a side; weights that float32 holds exactly.
CONFIG = presets.get("gram", size=48, min_scale=0, steps=9, precision="float32", weights="builtin").replace(
    content_layers=("relu3_1",),
    style_layers=("relu1_1", "relu3_1"),
    style_layer_weights=(1.0, 0.5),
    history=4,
)


def encode(pixels, kind="PNG", **options):
    """Returns the bytes of a picture [H, W, 3] in [0, 1]."""
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(file, format=kind, **options)
    return file.getvalue()


def decode(data):
    """Returns the pixels of a picture's bytes, uint8."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


CONTENT = encode(conftest.smooth_picture(2, 48, 64))
STYLE = encode(conftest.smooth_picture(3, 70, 50), "JPEG")


def settings(config=CONFIG, **changes):
    """Returns the inputs of `stylize` beside the pictures, for one item."""
    own = dataclasses.asdict(Settings.of_config(config))
    return {name: np.array([value]) for name, value in Settings(**own | changes).tensors().items()}


def pictures(content=CONTENT, style=STYLE):
    """Returns the pictures of one item."""
    return {"content_bytes": np.array([content], object), "style_bytes": np.array([style], object)}


def record(
    styles: Sequence[bytes] = (STYLE,),
    weights: Sequence[float] = (1.0,),
    *,
    config: Config = CONFIG,
    color: str = "",
    mask: bytes = b"",
    regions: bytes = b"",
    style_regions: Sequence[bytes] = (),
    outside: str = "",
    state: Sequence[bytes] = (b"",),
    steps_now: int = 0,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Returns the inputs of `run` for one item, neutral but for the arguments."""
    texts = {
        "content_bytes": CONTENT,
        "style_bytes": styles,
        "color": color,
        "content_mask_bytes": mask,
        "content_regions_bytes": regions,
        "style_regions_bytes": style_regions or [b""] * len(styles),
        "outside": outside,
        "state_bytes": state,
    }
    return settings(config, **changes) | {
        **{name: np.array([value], object) for name, value in texts.items()},
        "style_blend_weights": np.array([weights], np.float32),
        "steps_now": np.array([steps_now], np.int32),
    }


def png(pixels: np.ndarray) -> bytes:
    """Returns the bytes of a picture of numbers 0..255."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def stripes(*colors: Sequence[int], size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Returns a label picture [H, W, 3] of upright stripes."""
    places = np.linspace(0, len(colors), size[1], endpoint=False).astype(int)
    return np.broadcast_to(np.array(colors, np.uint8)[places], (*size, 3))


class Server:
    """A SavedModel in a v1 session: the loader and the session that a model server uses."""

    def __init__(self, folder):
        """Restores the model."""
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(folder))
        self.signatures = meta.signature_def

    def __call__(self, signature, inputs, timeout_s=0.0):
        """Returns {output: array} of a request."""
        known = self.signatures[signature]
        feeds = {known.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: info.name for name, info in known.outputs.items()}
        options = tf.compat.v1.RunOptions(timeout_in_ms=round(timeout_s * 1000))
        return self.session.run(fetches, feeds, options=options)

    def unchecked(self, signature, inputs):
        """Returns the same of inputs of any shape, which a model server does not check."""
        known, graph = self.signatures[signature], self.session.graph
        feeds = {
            graph.get_tensor_by_name(known.inputs[name].name).ref(): value for name, value in inputs.items()
        }
        fetches = [graph.get_tensor_by_name(info.name) for info in known.outputs.values()]
        # What `run` calls after its checks; it finds the graph that `run` had optimised.
        found = self.session._do_run(None, [], fetches, feeds, None, None)
        return dict(zip(known.outputs, found, strict=True))
