"""How much memory a run will need, found out before it starts."""

import math
import pathlib
from collections.abc import Sequence

import psutil

from nst_tf import errors
from nst_tf.config import Config
from nst_tf.scales import Scale, plan_scales, style_size

# Measured as peak memory of whole runs on two cores (TensorFlow 2.21; default preset at 64, 512, 1024 and
# 1536 pixels, gatys_pytorch at 1024): what does not depend on the picture; what each of its pixels takes in
# the network and its gradient; and how many times the pairs of L-BFGS are in memory while they are replaced.
_BASE_BYTES = 0.83e9
_NETWORK_BYTES_PER_PIXEL = {"float32": 1600.0, "bfloat16": 750.0}
_COPIES_OF_PAIRS = 3
_BYTES_PER_PICTURE_PIXEL = 12  # three float32 channels
_PICTURES_WITHOUT_STEPS = 10  # in memory at once, where only colours are changed

# Where Linux says what a container may use, and uses.
_CGROUP = pathlib.Path("/sys/fs/cgroup")


def check(
    config: Config, precision: str, content: tuple[int, int], styles: Sequence[tuple[int, int]]
) -> None:
    """Refuses a run that will not fit into the memory that is free.

    Args:
        config: The run.
        precision: "float32" or "bfloat16".
        content: (height, width) of the content picture as read.
        styles: The same of the style pictures.

    Raises:
        InputError: It will not fit; says how much it needs and the largest size that fits.
    """
    scale = plan_scales(config, *content)[-1]
    needed, free = estimate(config, precision, scale, styles), available()
    if needed <= free:
        return
    share = math.sqrt(max(0.0, free - _BASE_BYTES) / (needed - _BASE_BYTES))
    # Two less, since heights and widths are rounded to whole pixels.
    largest = max(0, math.floor(max(scale.height, scale.width) * share) - 2)
    raise errors.InputError(
        f"size: {scale.width} x {scale.height} pixels need about {needed / 1e9:.1f} GB of memory, of which"
        f" {free / 1e9:.1f} GB are free; the largest size that fits is --size={largest}"
    )


def estimate(config: Config, precision: str, scale: Scale, styles: Sequence[tuple[int, int]]) -> float:
    """Returns about how many bytes a run takes at its last scale."""
    if not config.takes_steps():
        per_picture_pixel = _PICTURES_WITHOUT_STEPS * _BYTES_PER_PICTURE_PIXEL
        return _BASE_BYTES + scale.height * scale.width * per_picture_pixel
    sizes = [(scale.height, scale.width), *(style_size(config, scale, *style) for style in styles)]
    pixels = max(height * width for height, width in sizes)
    pairs = 2 * config.history * _COPIES_OF_PAIRS if config.optimizer == "lbfgs" else 0
    per_pixel = _NETWORK_BYTES_PER_PIXEL[precision] + pairs * _BYTES_PER_PICTURE_PIXEL
    return _BASE_BYTES + pixels * per_pixel


def available() -> float:
    """Returns how many bytes this process may still take, of the machine and of its container if any."""
    free = float(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:
        return free
    return free if limit == "max" else min(free, float(limit) - float(used))
