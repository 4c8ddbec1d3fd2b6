"""Python's way in to a model server: `request_stylization` asks one for a picture. Loads no TensorFlow."""

from nst_tf.losses.values import Losses
from nst_tf.serving.client import (
    STEPS_NOW,
    TIMEOUT_S,
    Answer,
    ServerError,
    Settings,
    check_call,
    check_server,
    request_stylization,
)

__all__ = [
    "STEPS_NOW",
    "TIMEOUT_S",
    "Answer",
    "Losses",
    "ServerError",
    "Settings",
    "check_call",
    "check_server",
    "request_stylization",
]
