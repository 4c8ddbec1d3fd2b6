"""The memory that a run needs, estimated before it starts, and the choices that make the run fit."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nst_tf import errors, runtime
from nst_tf.config import layers as vgg_layers
from nst_tf.config import settings
from nst_tf.config.config import Config
from nst_tf.config.overrides import apply_overrides
from nst_tf.config.scales import Scale, plan_scales, style_size
from nst_tf.engine import free_memory
from nst_tf.engine.color import COLORS
from nst_tf.losses.style_statistics import STYLE_STATISTICS
from nst_tf.network import convolutions

_LOG = logging.getLogger(__name__)


class Inputs(NamedTuple):
    """The sizes (height, width) of a run's pictures as they were read."""

    content: tuple[int, int]  # without a photograph the style picture's whose shape the result has
    styles: Sequence[tuple[int, int]]
    num_regions: int = 0  # with guides of their own; 0 without masks


class _PerPixel(NamedTuple):
    """The bytes that the network takes for each pixel that it processes at once."""

    forward: float  # for targets and for the losses of a finished picture
    step: float  # for a step, with its gradient


@dataclasses.dataclass(frozen=True)
class _Needs:
    """The bytes that a run takes on one kind of processor."""

    base: float  # for a picture of any size
    per_pixel: Mapping[str, _PerPixel]  # by precision
    # With Winograd's convolutions: transformed kernels in addition, and tiles of features.
    winograd_per_pixel: _PerPixel
    winograd_base: float = 0.34e9
    prepared_base: float = 0.08e9  # in addition for prepared convolutions: reordered kernels, measured 72 MB
    kept: float = 1.1  # by how much a process takes more that keeps the memory it frees
    # Whether TensorFlow's allocator keeps regions to reuse them, as those of oneDNN and of GPUs do: the pairs
    # of a scale need a new one, larger than any before, beside all that the scales before had.
    keeps_regions: bool = True


# Measured as peak memory of whole runs with TensorFlow 2.21, on two cores at 512 to 2048 pixels and on an
# H100 at 512 to 3072, whose base holds cuDNN's workspaces. bfloat16 without oneDNN is emulated and assumed to
# need as much as float32. A forward pass alone takes about half.
_NEEDS = {
    "gpu": _Needs(
        1.5e9,
        {"float32": _PerPixel(1075.0, 2150.0), "bfloat16": _PerPixel(675.0, 1350.0)},
        _PerPixel(1075.0, 2150.0),
    ),
    "onednn": _Needs(
        0.95e9,
        {"float32": _PerPixel(1000.0, 2000.0), "bfloat16": _PerPixel(575.0, 1150.0)},
        _PerPixel(1150.0, 2200.0),
    ),
    "plain": _Needs(
        0.95e9,
        {"float32": _PerPixel(1800.0, 3600.0), "bfloat16": _PerPixel(1800.0, 3600.0)},
        _PerPixel(1900.0, 3800.0),
        kept=1.6,
        keeps_regions=False,
    ),
}

# What TensorFlow takes once it is loaded: part of every base, and in use before a plan is made.
_LOADED = 0.6e9

# The share of the free memory that a run may take: the rest is for what no plan knows.
_FREE_SHARE = 0.75

# The share of a limit that a plan may use up: runs took up to 8 % more than was estimated.
_LIMIT_SHARE = 0.9

# Bytes for each pixel of an input picture as read: while the pictures are prepared for the run (as arrays, as
# tensors, with other colours), and until the last scale has its targets.
_PREPARED_BYTES, _READ_BYTES = 36, 12

# The most numbers in a tensor: some TensorFlow operations count them in 32 bits, and on a GPU more end the
# process. The largest tensors are the features of the first block.
_MOST_NUMBERS = 2**31 - 1
_BYTES_PER_PICTURE_PIXEL = 12  # three float32 channels
_PICTURES_WITHOUT_STEPS = 10  # in memory at once in a run without steps

# Pictures of the result's size in memory in a run with tiles, without the pairs: from step to step, in
# addition while the optimiser makes a step, and in addition while it filters one by frequency. Measured at
# 2048, 4096 and (the filter) 8192 pixels.
_HELD_PICTURES, _STEP_PICTURES, _FILTER_PICTURES = 4.25, 5, 6

# Where colours are finished by the photograph: that, at the result's size, from step to step; and what
# color=match takes in addition, in the place of a step. Measured 4 at 2048 pixels, 6.6 with transparency.
_REFERENCE_PICTURES, _MATCH_PICTURES = 1, 7

# What Adam on a pyramid holds in addition, and in a step once more: its coefficients and two moments are four
# pictures instead of two. Counted, not measured.
_PYRAMID_PICTURES = 2

# In memory while targets are computed: pictures of the result's size (the content picture as read and
# resized, the first image and its source), style pictures (as read and resized), copies of every feature map.
_TARGET_PICTURES, _STYLE_PICTURES, _TARGET_MAPS = 4, 2, 2

# For each region after the first and each pixel in the network: features times the region's guide, at every
# style layer. Measured 390 to 550 with 4 to 12 regions.
_REGION_BYTES_PER_PIXEL = 550.0

# For each pixel in the network, of statistics with means of features: their gradient at every style layer.
# Measured 500 and 540.
_MEAN_BYTES_PER_PIXEL = 500.0

# Maps of hypercolumns in memory at once, and banks of them beside one for each style. Of maps 3.4 and 3.9
# were measured at 1024 and 2048 pixels, the peak of the preset default less the network's share; of
# banks 2.1, as the difference that neighbours made at 512 and 768 pixels.
_HYPERCOLUMN_MAPS, _BANKS_BESIDE = 5.0, 2.1

# For each pixel of a frame that is held to earlier ones: their target, picture and weight, its difference to
# the frame and the gradient, and three earlier frames as they come, with their reliability. Counted.
_EARLIER_BYTES_PER_PIXEL = 16 + 2 * 12 + 3 * 16

# For each region and each pixel of the largest picture: masks and guides, before and after erosion, in
# float32.
_GUIDE_BYTES_PER_PIXEL = 16

# A process keeps the memory that it frees only where this many times as much as it needs is free.
_KEPT_RESERVE = 1.3

# Sides of tiles to try, largest first. With its halo of 80 pixels a tile of 256 takes 2.6 times the work of
# its core, a tile of 1024 1.3 times.
_TILES = (1024, 768, 512, 384, 256)

# The shortest history that is chosen to save memory: Nocedal and Wright, "Numerical Optimization", section
# 7.2, recommend 3 to 20 pairs.
_SHORTEST_HISTORY = 3


def fit(
    config: Config,
    precision: str,
    inputs: Inputs,
    first_scale: int = 0,
    correction: float = 1.0,
    limit: float | None = None,
) -> Config:
    """Returns the config with its "auto" settings replaced so that the run fits into the memory it may take.

    Tries in this order: whole pictures; tiles, the largest first; the pairs of L-BFGS in bfloat16, then fewer
    and fewer of them, again with the largest tile that fits. A tile that the config names stays, and with it
    the length of the history.

    Args:
        config: Of the run.
        precision: "float32" or "bfloat16".
        inputs: Its pictures.
        first_scale: The index of the first scale that is still to come.
        correction: What estimates are multiplied by.
        limit: The bytes that the run may take in all; None for what `allowed` returns now.

    Raises:
        InputError: Nothing fits. The message says how much the run needs and the largest size that fits.
    """
    last, limit = plan_scales(config, *inputs.content)[-1], allowed(config) if limit is None else limit

    def fits_with(candidate: Config, inputs: Inputs) -> bool:
        scale = plan_scales(candidate, *inputs.content)[-1]
        needed = correction * peak(candidate, precision, inputs, first_scale)
        return needed <= limit and _is_countable(candidate, scale, inputs.styles)

    for candidate in _candidates(config):
        if fits_with(candidate, inputs):
            _warn(config, candidate, last)
            return candidate

    def fits(overrides: Mapping[str, Any], styles: Sequence[tuple[int, int]]) -> bool:
        return fits_with(apply_overrides(candidate, overrides), inputs._replace(styles=styles))

    enlarged = config.style.size > 0 or config.style.scale > 1
    if enlarged and fits({}, []):  # without the style pictures
        height, width = max((style_size(config, last, *style) for style in inputs.styles), key=math.prod)
        name, unit = ("style_size", 1) if config.style.size else ("style_scale", 0.1)
        too_large = math.ceil(config.to_settings()[name] / unit)
        largest = _largest(lambda count: fits({name: unit * count}, inputs.styles), too_large)
        way_out = f"--{name}={unit * largest:g}"
    else:
        name, height, width = "size", last.height, last.width
        counted = [] if enlarged else inputs.styles
        largest = _largest(lambda size: fits({"size": size}, counted), max(height, width))
        way_out = f"--size={largest}"
        if not _fits_at_all(lambda: fits({"size": largest}, counted)):
            least = correction * estimate(candidate, precision, last._replace(height=1, width=1), []) / 1e9
            raise errors.OutOfMemoryError(
                f"memory: TensorFlow and the network alone take about {least:.1f} GB, of which"
                f" {limit / 1e9:.1f} GB may be taken ({_why(config)}); allow more"
            )
    needed = correction * peak(candidate, precision, inputs, first_scale)
    if needed <= limit:
        raise errors.InputError(
            f"{name}: {width} x {height} pixels at once have more features than TensorFlow can count;"
            f" allowed: {'--tile=auto, or ' if _tiles(config) else ''}up to {way_out}"
        )
    raise errors.OutOfMemoryError(
        f"{name}: {width} x {height} pixels need about {needed / 1e9:.1f} GB of memory, of which"
        f" {limit / 1e9:.1f} GB may be taken ({_why(config)}); the largest {name} that fits is {way_out}"
    )


def _fits_at_all(fits: Callable[[], bool]) -> bool:
    """Returns whether the largest size that was found fits: it may be too small for the layers."""
    try:
        return fits()
    except errors.InputError:
        return False


def _why(config: Config) -> str:
    """Returns what decides the memory that a run may take, for a person."""
    own = f"--max_memory={config.memory.max_memory}"
    return "three quarters of what is free" if config.memory.max_memory == "auto" else own


class Plan:
    """The memory of a run: what it was fitted to, and what it is found to take scale by scale."""

    def __init__(
        self,
        config: Config,
        precision: str,
        inputs: Inputs,
        first_scale: int = 0,
        fitted: Config | None = None,
    ) -> None:
        """Fits the run.

        Args:
            config: Of the run.
            precision: "float32" or "bfloat16".
            inputs: Its pictures.
            first_scale: The index of its first scale, where it goes on from a checkpoint.
            fitted: The config as it was fitted there, of which only the tile may change.

        Raises:
            InputError: As for `fit`.
        """
        self._asked, self._precision, self._inputs, self._first = config, precision, inputs, first_scale
        tiles = [] if fitted is None or config.memory.tile != "auto" else map(str, _tiles(config))
        first = fitted or config
        self.config = self._first_fit([first, *(first.replace(tile=tile) for tile in tiles)])
        self._is_kept = can_be_kept(self.config, precision, inputs, first_scale)
        if not self._is_kept:
            runtime.give_back_freed_memory()
        self._limit, self._peak_before = allowed(config), peak_so_far()
        self._others = max(0.0, in_use() - _LOADED)  # what this process holds beside the run
        needed = self._factor() * peak(self.config, precision, inputs, first_scale)
        _LOG.info("memory: %.3f GB planned of %.3f GB", needed / 1e9, self._limit / 1e9)

    def _first_fit(self, configs: Sequence[Config]) -> Config:
        """Returns the first of some configs that fits.

        Raises:
            InputError: None does; the message is the first one's.
        """
        refused = []
        for config in configs:
            try:
                return fit(config, self._precision, self._inputs, self._first)
            except errors.InputError as error:
                refused.append(error)
        raise refused[0]

    def next_scale(self, scale_index: int) -> Config:
        """Returns the config for a scale by what the scales before it took.

        Raises:
            InputError: The scale does not fit; the message says what would.
        """
        correction, end = self._correction(scale_index), scale_index + 1
        # Others may have taken memory since the run began.
        limit = min(self._limit, allowed(self.config, in_use() - self._others))
        needed = correction * peak(self.config, self._precision, self._inputs, self._first, end)
        if needed > limit:
            open_settings = {name: self._asked.to_settings()[name] for name in ("tile", "history_precision")}
            reopened = self.config.replace(**open_settings)
            self.config = fit(reopened, self._precision, self._inputs, self._first, correction, limit)
        return self.config

    def _correction(self, scale_index: int) -> float:
        """Returns by how much the run has taken more than was estimated; 1 where nobody knows."""
        now = peak_so_far()
        if now is None or self._peak_before is None or now <= self._peak_before:
            return 1.0  # an earlier run in this process took more
        estimated = peak(self.config, self._precision, self._inputs, self._first, scale_index)
        return max(1.0, now / (self._factor() * estimated))

    def _factor(self) -> float:
        return _needs().kept if self._is_kept else 1.0


def exhausted(config: Config, scale: Scale) -> errors.OutOfMemoryError:
    """Returns the error for a run whose memory did not suffice after all, as on a GPU that others use too.

    Args:
        config: Of the run, as `fit` returned it.
        scale: The scale at which the run failed.
    """
    smaller = [
        tile
        for tile in _tiles(config)
        if not config.memory.tile.isdecimal() or tile < int(config.memory.tile)
    ]
    whole = "at once" if not config.memory.tile.isdecimal() else f"in parts of {config.memory.tile} pixels"
    way_out = f"--tile={smaller[0]} or a smaller --size" if smaller else "a smaller --size"
    return errors.OutOfMemoryError(
        f"tile: {scale.width} x {scale.height} pixels do not fit into memory {whole}; allowed: {way_out}"
    )


def with_smaller_tiles(config: Config, size: tuple[int, int]) -> Config:
    """Returns the config with the smallest tiles, for a run that took more memory than was planned.

    Args:
        config: Of the run.
        size: Height and width of the result; where that is no larger than a tile, the config stays.
    """
    smallest = _TILES[-1]
    return config.replace(tile=str(smallest)) if _tiles(config) and max(size) > smallest else config


def can_be_kept(config: Config, precision: str, inputs: Inputs, first_scale: int = 0) -> bool:
    """Returns whether a run fits if the process keeps the memory that it frees."""
    if runtime.gpu_memory_bytes() is not None:
        return True  # large tensors are in the GPU's memory
    return _KEPT_RESERVE * _needs().kept * peak(config, precision, inputs, first_scale) <= allowed(config)


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
    tiles = ["off", *map(str, _tiles(config))] if config.memory.tile == "auto" else [config.memory.tile]
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
    for history in _shorter(config.optimizer.history, shortest):
        for tile in tiles[1:] or tiles:
            yield config.replace(tile=tile, history_precision=precision, history=history)


def _tiles(config: Config) -> Sequence[int]:
    """Returns the sides of tiles that a run may have; none where it compares means over whole pictures."""
    return () if config.splits_features() else _TILES


def _shorter(history: int, shortest: int) -> Iterator[int]:
    """Yields lengths of a history down to the shortest: each one up to 31, above that each 1/16 shorter."""
    while history > shortest:
        yield history
        history = max(shortest, history - max(1, history // 16))
    yield shortest


def peak(
    config: Config,
    precision: str,
    inputs: Inputs,
    first_scale: int = 0,
    end_scale: int | None = None,
) -> float:
    """Returns about how many bytes a run takes at most, from reading its pictures to writing the result.

    Args:
        config: Of the run.
        precision: "float32" or "bfloat16".
        inputs: Its pictures.
        first_scale: The index of the first scale to count.
        end_scale: The index after the last one; None for all.
    """
    read = sum(map(math.prod, [inputs.content, *inputs.styles]))
    preparing = _LOADED + _PREPARED_BYTES * read
    scales = plan_scales(config, *inputs.content)
    if not config.takes_steps():
        per_picture_pixel = _PICTURES_WITHOUT_STEPS * _BYTES_PER_PICTURE_PIXEL
        return max(preparing, _NEEDS["plain"].base + math.prod(scales[-1][:2]) * per_picture_pixel)
    counted = scales[min(first_scale, len(scales) - 1) : end_scale]  # a smaller size may have fewer
    arena, found = 0.0, [preparing]
    for scale in counted:
        parts = _parts(config, precision, scale, inputs.styles, inputs.num_regions)
        held = 0.0 if scale is scales[-1] else _READ_BYTES * read
        arena = parts.pairs + max(arena if _needs().keeps_regions else 0.0, parts.rest + held)
        found.append(parts.base + arena)
    return max(found)


class _Parts(NamedTuple):
    """The bytes that a run takes at a scale."""

    base: float  # the process, TensorFlow and the network's kernels
    pairs: float  # of L-BFGS: one tensor
    rest: float  # features, pictures, guides


def estimate(
    config: Config, precision: str, scale: Scale, styles: Sequence[tuple[int, int]], num_regions: int = 0
) -> float:
    """Returns about how many bytes a run takes at a scale, without its pictures as they were read."""
    return sum(_parts(config, precision, scale, styles, num_regions))


def _parts(
    config: Config, precision: str, scale: Scale, styles: Sequence[tuple[int, int]], num_regions: int
) -> _Parts:
    sizes = _sizes(config, scale, styles)
    pixels, own_pixels = max(map(math.prod, sizes)), math.prod(sizes[0])
    needs = _needs()
    base, in_network = needs.base, needs.per_pixel[precision]
    convolution = convolutions.resolve(config.network.convolution, precision)
    if convolution == "winograd":
        base, in_network = base + needs.winograd_base, needs.winograd_per_pixel
    elif convolution == "prepared":
        base += needs.prepared_base
    regions = max(0, num_regions - 1) * _REGION_BYTES_PER_PIXEL
    of_means = _MEAN_BYTES_PER_PIXEL if STYLE_STATISTICS[config.style.statistics].needs_mean else 0.0
    of_neighbors, banks = _neighbor_bytes(config, sizes[1:])
    base += banks
    forward = in_network.forward + regions + of_neighbors
    step = in_network.step + regions + of_means + of_neighbors
    guides = pixels * num_regions * _GUIDE_BYTES_PER_PIXEL
    if config.temporal.weight:
        guides += own_pixels * _EARLIER_BYTES_PER_PIXEL
    pairs = own_pixels * _pair_bytes(config)
    if not config.memory.tile.isdecimal():
        # Temporary tensors of the optimiser fit into the memory that the network has freed.
        return _Parts(base, pairs, guides + max(pixels * forward - pairs, own_pixels * step))
    windows = [_window(config, size) for size in sizes]
    picture, maps = own_pixels * _BYTES_PER_PICTURE_PIXEL, own_pixels * _map_bytes(config, precision)
    largest = pixels * _BYTES_PER_PICTURE_PIXEL
    targets = max(windows) * forward
    targets += _TARGET_PICTURES * picture + _STYLE_PICTURES * largest + _TARGET_MAPS * maps
    for_step = _STEP_PICTURES + (_FILTER_PICTURES if _filters_at_last_scale(config) else 0)
    # While the optimiser makes a step, the network's memory is free again but fragmented, so that both count.
    choice = COLORS[config.color.mode]
    for_step = max(for_step, _MATCH_PICTURES if choice.has_palette else 0)
    if config.optimizer.name == "adam" and config.optimizer.pyramid_levels:
        for_step += 2 * _PYRAMID_PICTURES
    held = _HELD_PICTURES + (_REFERENCE_PICTURES if choice.finish is not None else 0)
    steps = windows[0] * step + maps + (held + for_step) * picture
    return _Parts(base, pairs, guides + max(targets - pairs, steps))


def _neighbor_bytes(config: Config, styles: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Returns the bytes of neighbours: for each pixel that the network processes at once; and of banks.

    A style picture, of which the height and the width at the scale are given, has no more vectors than cells.

    The pass that compares each layer by itself takes no more: at most as many vectors of each layer, whose
    channels add up to those of a hypercolumn, and no map of hypercolumns.
    """
    layers = config.neighbor_layers()
    column = 4.0 * sum(vgg_layers.BLOCKS[vgg_layers.block(layer) - 1][1] for layer in layers)
    turns = 4 if config.neighbors.rotations else 1
    counts = [min(config.neighbors.vectors, turns * math.prod(size) // vgg_layers.GRID**2) for size in styles]
    banks = (sum(counts) + _BANKS_BESIDE * max(counts, default=0)) * column
    return _HYPERCOLUMN_MAPS * column / vgg_layers.GRID**2, banks


def _window(config: Config, size: tuple[int, int]) -> int:
    """Returns the pixels of the largest window of a picture in tiles, its halo included: see `tiling`."""
    layers = config.all_layers()
    stride, halo = max(map(vgg_layers.stride, layers)), vgg_layers.halo(layers)
    sides = []
    for side in size:
        count = math.ceil(side / int(config.memory.tile))
        core = stride * math.ceil(math.ceil(side / stride) / count)
        sides.append(min(side, core + halo * min(count - 1, 2)))  # none at the picture's own border
    return math.prod(sides)


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


def allowed(config: Config, own: float | None = None) -> float:
    """Returns how many bytes a run may take in all: what its config says, or most of what is free.

    What is free is the first GPU's memory, or what this process may still take.

    Args:
        config: Of the run.
        own: The bytes that the run has already; None before it begins.
    """
    if config.memory.max_memory != "auto":
        return _LIMIT_SHARE * settings.to_bytes(config.memory.max_memory)
    total, in_gpu = runtime.gpu_memory_bytes(), runtime.gpu_memory_in_use()
    if total is not None and in_gpu is not None:
        return (0.0 if own is None else own) + _FREE_SHARE * (total - in_gpu[0])
    if _share is not None:
        return min(_share, in_use() + _FREE_SHARE * free_memory.free_memory())
    own = min(_LOADED, in_use()) if own is None else own
    return own + _FREE_SHARE * free_memory.free_memory()


# The most that a run of this process may take; None where there is no such limit.
_share: float | None = None


def set_share(share: float | None) -> None:
    """Has each run take at most so many bytes, in a process that paints beside others and does nothing else.

    What such a process holds from earlier runs is memory for the next one.
    """
    global _share
    _share = share


def in_use() -> float:
    """Returns the memory that this process has in use, of a GPU where there is one."""
    in_gpu = runtime.gpu_memory_in_use()
    return free_memory.used_memory() if in_gpu is None else float(in_gpu[0])


def peak_so_far() -> float | None:
    """Returns the most memory that this process has had in use, of a GPU where there is one."""
    in_gpu = runtime.gpu_memory_in_use()
    return free_memory.peak_memory() if in_gpu is None else float(in_gpu[1])
