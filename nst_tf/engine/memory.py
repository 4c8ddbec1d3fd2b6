"""The memory that a run needs, estimated before it starts, and the choices that make the run fit."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nst_tf import errors, runtime
from nst_tf.config import layers as vgg_layers
from nst_tf.config.config import Config
from nst_tf.config.overrides import apply_overrides
from nst_tf.config.scales import Scale, plan_scales, style_size
from nst_tf.engine import free_memory
from nst_tf.network import convolutions

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Needs:
    """The bytes that a run takes on one kind of processor."""

    base: float  # for a picture of any size
    per_pixel: Mapping[str, float]  # for each pixel in the network and its gradient, by precision
    # In addition for Winograd's convolutions: transformed kernels, tiles of features.
    winograd_base: float = 0.4e9
    winograd_per_pixel: float = 0.0
    prepared_base: float = 0.08e9  # in addition for prepared convolutions: reordered kernels, measured 72 MB


# Measured as peak memory of whole runs with TensorFlow 2.21, on two cores at 512 to 2048 pixels and on an
# H100 at 512 to 3072, whose base holds cuDNN's workspaces. bfloat16 without oneDNN is emulated and assumed to
# need as much as float32.
_NEEDS = {
    "gpu": _Needs(1.5e9, {"float32": 2150.0, "bfloat16": 1350.0}),
    "onednn": _Needs(0.95e9, {"float32": 2000.0, "bfloat16": 1150.0}, winograd_per_pixel=800.0),
    "plain": _Needs(0.95e9, {"float32": 3600.0, "bfloat16": 3600.0}, winograd_per_pixel=200.0),
}

# The most numbers in a tensor: some TensorFlow operations count them in 32 bits, and on a GPU more end the
# process. The largest tensors are the features of the first block.
_MOST_NUMBERS = 2**31 - 1
_BYTES_PER_PICTURE_PIXEL = 12  # three float32 channels
_PICTURES_WITHOUT_STEPS = 10  # in memory at once in a run without steps

# Pictures of the result's size in memory in a run with tiles, without the pairs: from step to step, in
# addition while the optimiser makes a step, and in addition while it filters one by frequency. Measured at
# 2048, 4096 and (the filter) 8192 pixels.
_HELD_PICTURES, _STEP_PICTURES, _FILTER_PICTURES = 4.25, 5, 6

# In memory while targets are computed: pictures of the result's size (the content picture as read and
# resized, the first image and its source), style pictures (as read and resized), copies of every feature map.
_TARGET_PICTURES, _STYLE_PICTURES, _TARGET_MAPS = 4, 2, 2

# For each region after the first and each pixel in the network: features times the region's guide, at every
# style layer. Measured 390 to 550 with 4 to 12 regions.
_REGION_BYTES_PER_PIXEL = 550.0

# For each region and each pixel of the largest picture: masks and guides, before and after erosion, in
# float32.
_GUIDE_BYTES_PER_PIXEL = 16

# The memory of a process that keeps the memory it frees, relative to one that gives it back: measured 1.5 and
# 1.6, with some reserve.
_KEPT_FACTOR = 2.0

# Sides of tiles to try, largest first. With its halo of 80 pixels a tile of 256 takes 2.6 times the work of
# its core, a tile of 1024 1.3 times.
_TILES = (1024, 768, 512, 384, 256)

# The shortest history that is chosen to save memory: Nocedal and Wright, "Numerical Optimization", section
# 7.2, recommend 3 to 20 pairs.
_SHORTEST_HISTORY = 3


def fit(
    config: Config,
    precision: str,
    content: tuple[int, int],
    styles: Sequence[tuple[int, int]],
    num_regions: int = 0,
) -> Config:
    """Returns the config with its "auto" settings replaced so that the run fits into the free memory.

    Tries in this order: whole pictures; tiles, the largest first; the pairs of L-BFGS in bfloat16, then fewer
    and fewer of them, again with the largest tile that fits. A tile that the config names stays, and with it
    the length of the history.

    Args:
        config: Of the run.
        precision: "float32" or "bfloat16".
        content: (height, width) of the content picture as read.
        styles: The same of the style pictures.
        num_regions: Regions with guides of their own; 0 without masks.

    Raises:
        InputError: Nothing fits. The message says how much the run needs and the largest size that fits.
    """
    scale, free = plan_scales(config, *content)[-1], available()

    def fits_at(scale: Scale, candidate: Config, styles: Sequence[tuple[int, int]]) -> bool:
        needed = estimate(candidate, precision, scale, styles, num_regions)
        return needed <= free and _is_countable(candidate, scale, styles)

    for candidate in _candidates(config):
        if fits_at(scale, candidate, styles):
            _warn(config, candidate, scale)
            return candidate

    def fits(overrides: Mapping[str, Any], styles: Sequence[tuple[int, int]]) -> bool:
        sized = apply_overrides(candidate, overrides)
        return fits_at(plan_scales(sized, *content)[-1], sized, styles)

    enlarged = config.style.size > 0 or config.style.scale > 1
    if enlarged and fits({}, []):  # without the style pictures
        height, width = max((style_size(config, scale, *style) for style in styles), key=math.prod)
        name, unit = ("style_size", 1) if config.style.size else ("style_scale", 0.1)
        too_large = math.ceil(config.to_settings()[name] / unit)
        largest = _largest(lambda count: fits({name: unit * count}, styles), too_large)
        allowed = f"--{name}={unit * largest:g}"
    else:
        name, height, width = "size", scale.height, scale.width
        counted = [] if enlarged else styles
        allowed = f"--size={_largest(lambda size: fits({'size': size}, counted), max(height, width))}"
    needed = estimate(candidate, precision, scale, styles, num_regions)
    if needed <= free:
        raise errors.InputError(
            f"{name}: {width} x {height} pixels at once have more features than TensorFlow can count;"
            f" allowed: --tile=auto, or up to {allowed}"
        )
    raise errors.InputError(
        f"{name}: {width} x {height} pixels need about {needed / 1e9:.1f} GB of memory, of which"
        f" {free / 1e9:.1f} GB are free; the largest {name} that fits is {allowed}"
    )


def exhausted(config: Config, scale: Scale) -> errors.InputError:
    """Returns the error for a run whose memory did not suffice after all, as on a GPU that others use too.

    Args:
        config: Of the run, as `fit` returned it.
        scale: The scale at which the run failed.
    """
    smaller = [
        tile for tile in _TILES if not config.memory.tile.isdecimal() or tile < int(config.memory.tile)
    ]
    whole = "at once" if not config.memory.tile.isdecimal() else f"in parts of {config.memory.tile} pixels"
    way_out = f"--tile={smaller[0]} or a smaller --size" if smaller else "a smaller --size"
    return errors.InputError(
        f"tile: {scale.width} x {scale.height} pixels do not fit into memory {whole}; allowed: {way_out}"
    )


def can_be_kept(
    config: Config,
    precision: str,
    content: tuple[int, int],
    styles: Sequence[tuple[int, int]],
    num_regions: int = 0,
) -> bool:
    """Returns whether a run would fit into the free memory if the process kept the memory that it frees.

    Arguments are those of `fit`, with the config that `fit` returned.
    """
    if runtime.gpu_memory_bytes() is not None:
        return True  # large tensors are in the GPU's memory
    scale = plan_scales(config, *content)[-1]
    return _KEPT_FACTOR * estimate(config, precision, scale, styles, num_regions) <= available()


def _warn(config: Config, chosen: Config, scale: Scale) -> None:
    """Logs a warning if the chosen config saves memory: tiles, or another history than the config's."""
    savings = []
    if config.memory.tile == "auto" and chosen.memory.tile != "off":
        savings.append(f"parts of {chosen.memory.tile} pixels")
    if config.optimizer.history_precision == "auto" and chosen.optimizer.history_precision == "bfloat16":
        savings.append("L-BFGS history in bfloat16")
    if chosen.optimizer.history < config.optimizer.history:
        savings.append(f"L-BFGS history {chosen.optimizer.history} instead of {config.optimizer.history}")
    if savings:
        _LOG.warning(
            "memory: %d x %d pixels do not fit at once: %s", scale.width, scale.height, ", ".join(savings)
        )


def _largest(fits: Callable[[int], bool], too_large: int) -> int:
    """Returns the largest size below `too_large` that fits, by bisection; 0 if none does."""
    low, high = 0, too_large
    while high - low > 1:
        middle = (low + high) // 2
        try:
            good = fits(middle)
        except errors.InputError:  # too small for the network, whatever the memory
            good = True
        low, high = (middle, high) if good else (low, middle)
    return low


def _candidates(config: Config) -> Iterator[Config]:
    """Yields the configs to try, in the order of `fit`."""
    tiles = ["off", *map(str, _TILES)] if config.memory.tile == "auto" else [config.memory.tile]
    for tile in tiles:
        yield config.replace(tile=tile, history_precision=config.optimizer.pairs_precision())
    if config.optimizer.name != "lbfgs":
        return
    precision = (
        "bfloat16" if config.optimizer.history_precision == "auto" else config.optimizer.history_precision
    )
    shortest = (
        min(_SHORTEST_HISTORY, config.optimizer.history)
        if config.memory.tile == "auto"
        else config.optimizer.history
    )
    for history in range(config.optimizer.history, shortest - 1, -1):
        for tile in tiles[1:] or tiles:
            yield config.replace(tile=tile, history_precision=precision, history=history)


def estimate(
    config: Config, precision: str, scale: Scale, styles: Sequence[tuple[int, int]], num_regions: int = 0
) -> float:
    """Returns about how many bytes a run takes at its last scale, where pictures are largest."""
    if not config.takes_steps():
        per_picture_pixel = _PICTURES_WITHOUT_STEPS * _BYTES_PER_PICTURE_PIXEL
        return _NEEDS["plain"].base + scale.height * scale.width * per_picture_pixel
    sizes = _sizes(config, scale, styles)
    pixels, own_pixels = max(map(math.prod, sizes)), math.prod(sizes[0])
    needs = _needs()
    base, in_network = needs.base, needs.per_pixel[precision]
    in_network += max(0, num_regions - 1) * _REGION_BYTES_PER_PIXEL
    convolution = convolutions.resolve(config.network.convolution, precision)
    if convolution == "winograd":
        base, in_network = base + needs.winograd_base, in_network + needs.winograd_per_pixel
    elif convolution == "prepared":
        base += needs.prepared_base
    pairs = own_pixels * _pair_bytes(config)
    if not config.memory.tile.isdecimal():
        # Temporary tensors of the optimiser fit into the memory that the network has freed.
        return base + pairs + pixels * in_network
    side = int(config.memory.tile) + 2 * vgg_layers.halo([*sum(config.used_layers(), ())])
    in_window = min(pixels, side**2) * in_network
    picture, maps = own_pixels * _BYTES_PER_PICTURE_PIXEL, own_pixels * _map_bytes(config, precision)
    largest = pixels * _BYTES_PER_PICTURE_PIXEL
    targets = in_window + _TARGET_PICTURES * picture + _STYLE_PICTURES * largest + _TARGET_MAPS * maps
    for_step = _STEP_PICTURES + (_FILTER_PICTURES if _filters_at_last_scale(config) else 0)
    # While the optimiser makes a step, the network's memory is free again but fragmented, so that both count.
    steps = in_window + pairs + maps + (_HELD_PICTURES + for_step) * picture
    return base + max(targets, steps) + pixels * num_regions * _GUIDE_BYTES_PER_PIXEL


def _needs() -> _Needs:
    """Returns the needs on the processor that TensorFlow uses."""
    if runtime.gpu_memory_bytes() is not None:
        return _NEEDS["gpu"]
    return _NEEDS["onednn" if runtime.uses_onednn() else "plain"]


def _sizes(config: Config, scale: Scale, styles: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns (height, width) of the network's input pictures, the result's first."""
    return [(scale.height, scale.width), *(style_size(config, scale, *style) for style in styles)]


def _is_countable(config: Config, scale: Scale, styles: Sequence[tuple[int, int]]) -> bool:
    """Returns whether the features of every input picture, unless in tiles, have at most `_MOST_NUMBERS`."""
    pixels = max(map(math.prod, _sizes(config, scale, styles)))
    return (
        config.memory.tile.isdecimal()
        or not config.takes_steps()
        or pixels * vgg_layers.BLOCKS[0][1] <= _MOST_NUMBERS
    )


def _filters_at_last_scale(config: Config) -> bool:
    """Returns whether a preconditioner is applied at the last scale."""
    there = config.optimizer.preconditioned_scales == "all" or len(config.scales.shares) == 1
    return config.optimizer.name == "lbfgs" and config.optimizer.preconditioner != "none" and there


def _pair_bytes(config: Config) -> float:
    """Returns the bytes of L-BFGS's history for each pixel of the result."""
    if config.optimizer.name != "lbfgs":
        return 0.0
    share = {"float32": 1.0, "bfloat16": 0.5}[config.optimizer.pairs_precision()]
    return 2.0 * share * config.optimizer.history * _BYTES_PER_PICTURE_PIXEL


def _map_bytes(config: Config, precision: str) -> float:
    """Returns the bytes of the content's features, kept as targets, for each pixel of the result."""
    size = {"float32": 4, "bfloat16": 2}[precision]
    channels = [
        vgg_layers.BLOCKS[int(layer[4]) - 1][1] / vgg_layers.stride(layer) ** 2
        for layer in config.used_layers()[0]
    ]
    return size * sum(channels)


def available() -> float:
    """Returns how many bytes a run may take: the first GPU's, or what this process may still take."""
    on_gpu = runtime.gpu_memory_bytes()
    return free_memory.free_memory() if on_gpu is None else float(on_gpu)
