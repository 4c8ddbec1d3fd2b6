"""What tests of the served model share: a small formulation, pictures as bytes, a session like a server's."""

import dataclasses
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from nst_tf.config import presets
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
