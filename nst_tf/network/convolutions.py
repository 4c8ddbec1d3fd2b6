"""Algorithms of convolution by name, and the choice of "auto"."""

from collections.abc import Mapping

import keras

from nst_tf import errors, runtime
from nst_tf.config import settings
from nst_tf.network import prepared, winograd

# Layers by algorithm. `resolve` replaces "auto"; without it "auto" is Keras' own layer.
LAYERS: Mapping[str, type[keras.layers.Conv2D]] = settings.CONVOLUTIONS.table(
    auto=keras.layers.Conv2D,
    direct=keras.layers.Conv2D,
    winograd=winograd.Conv2D,
    prepared=prepared.Conv2D,
)


def resolve(convolution: str, precision: str) -> str:
    """Returns the algorithm of convolution, "direct", "winograd" or "prepared", for one that may be "auto".

    "auto" is winograd for float32 and prepared for bfloat16 on a CPU, the latter only if TensorFlow uses
    oneDNN. A step with winograd takes 0.5 to 0.8 times as long on two cores. On a GPU "auto" is direct.

    Raises:
        InputError: The config names winograd with bfloat16, or prepared where it is not available.
    """
    if convolution == "winograd" and precision != "float32":
        raise errors.InputError(
            f"convolution: 'winograd' with precision {precision}; allowed: --precision=float32, whose digits"
            " tiles need"
        )
    if convolution == "auto":
        if runtime.has_gpu():
            return "direct"
        if precision == "float32":
            return "winograd"
        return "prepared" if prepared.is_available() else "direct"
    if convolution == "prepared" and (runtime.has_gpu() or not prepared.is_available()):
        raise errors.InputError(
            "convolution: 'prepared'; allowed: on a processor, by a TensorFlow that has oneDNN and uses it;"
            " auto and direct always are"
        )
    return convolution
