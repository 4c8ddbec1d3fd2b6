"""The ways in which convolutions are computed, by name, and the rule of "auto"."""

from collections.abc import Mapping

import keras

from nst_tf import errors, runtime
from nst_tf.config import settings
from nst_tf.network import prepared, winograd

# Layers by the name of the way; "auto" is for `resolve`, and TensorFlow's own where nobody asked it.
LAYERS: Mapping[str, type[keras.layers.Conv2D]] = settings.CONVOLUTIONS.table(
    auto=keras.layers.Conv2D,
    direct=keras.layers.Conv2D,
    winograd=winograd.Conv2D,
    prepared=prepared.Conv2D,
)


def resolve(convolution: str, precision: str) -> str:
    """Returns "direct", "winograd" or "prepared" for a way of convolution that may be "auto".

    The rule of "auto": on a processor winograd for float32, and prepared for bfloat16 where TensorFlow has
    oneDNN. Winograd's loss and gradient took 0.84 times as long at 128, 0.79 at 256, 0.68 at 512 and 0.73 at
    1024 pixels on two cores with AVX2, a step 0.53 times as long at 256 pixels on two with AVX512. A GPU has
    faster convolutions of its own.

    Raises:
        InputError: Winograd was asked for in bfloat16, or prepared where it cannot be had.
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
