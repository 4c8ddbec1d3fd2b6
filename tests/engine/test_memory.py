"""The estimate of memory, and what it refuses."""

import pytest
import tensorflow as tf

from nst_tf import errors, runtime
from nst_tf.config import layers, presets, scales
from nst_tf.config.overrides import apply_overrides
from nst_tf.engine import free_memory, memory
from nst_tf.network import tiling

GRAM, GATYS = presets.GRAM, presets.GATYS_PYTORCH
INPUTS = memory.Inputs((576, 768), [(576, 768)])

# Peak memory of whole runs in GB: (whether by oneDNN, config, precision, longest side, measured).
MEASURED = [
    (True, GRAM, "float32", 512, 1.25),
    (True, GRAM, "float32", 1024, 2.58),
    (True, GRAM, "float32", 1536, 4.88),
    (True, GRAM, "bfloat16", 512, 1.05),
    (True, GRAM, "bfloat16", 1024, 1.91),
    (True, GRAM, "bfloat16", 1536, 3.30),
    (False, GRAM, "float32", 512, 1.72),
    (False, GRAM, "float32", 1024, 3.99),
    (False, GRAM, "float32", 1536, 7.29),
    (False, GATYS, "float32", 1024, 5.57),
]


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """Plans for oneDNN, whatever this machine computes by."""
    monkeypatch.setattr(runtime, "uses_onednn", lambda: True)


def test_the_estimate_of_tiles_is_near_what_was_measured(monkeypatch):
    """1536 x 1152 pixels in tiles of 512: 2.72 GB."""
    monkeypatch.setattr(runtime, "uses_onednn", lambda: False)
    sized = apply_overrides(GRAM, {"size": 1536, "tile": "512", "convolution": "direct"})
    scale = scales.Scale(1152, 1536, 1, 1.0)
    assert 0.9 * 2.72 < memory.estimate(sized, "float32", scale, [(576, 768)]) / 1e9 < 1.3 * 2.72


def test_the_estimate_of_a_huge_picture_is_near_what_was_measured():
    """4096 x 4096 pixels in tiles of 256, three scales, bfloat16 also for 10 pairs: 5.15 GB."""
    sized = apply_overrides(GRAM, {"size": 4096, "tile": "256", "history_precision": "bfloat16"})
    scale = scales.Scale(4096, 4096, 1, 1.0)
    assert 5.15 < memory.estimate(sized, "bfloat16", scale, [(1014, 1280)]) / 1e9 < 1.1 * 5.15


@pytest.mark.parametrize(("onednn", "chosen", "precision", "size", "measured"), MEASURED)
def test_the_estimate_is_near_what_was_measured(monkeypatch, onednn, chosen, precision, size, measured):
    monkeypatch.setattr(runtime, "uses_onednn", lambda: onednn)
    scale = scales.Scale(size * 3 // 4, size, 1, 1.0)
    sized = apply_overrides(chosen, {"size": size, "tile": "off", "convolution": "direct"})
    estimate = memory.estimate(sized, precision, scale, [(576, 768)]) / 1e9
    assert 0.9 * measured < estimate < 1.2 * measured


@pytest.mark.parametrize(
    ("onednn", "chosen", "size", "measured"),
    [
        (False, GRAM, 512, 2.21),
        (False, GRAM, 1024, 4.41),
        (False, GRAM, 1536, 8.03),
        (False, GATYS, 1024, 6.14),
        (True, GRAM, 512, 1.88),
        (True, GRAM, 1024, 3.53),
    ],
)
def test_the_estimate_of_convolutions_by_winograd_is_near_what_was_measured(
    monkeypatch, onednn, chosen, size, measured
):
    monkeypatch.setattr(runtime, "uses_onednn", lambda: onednn)
    scale = scales.Scale(size * 3 // 4, size, 1, 1.0)
    sized = apply_overrides(chosen, {"size": size, "tile": "off", "convolution": "winograd"})
    estimate = memory.estimate(sized, "float32", scale, [(576, 768)]) / 1e9
    assert 0.9 * measured < estimate < 1.2 * measured


def test_a_gpus_memory_is_planned_for(monkeypatch):
    monkeypatch.setattr(runtime, "gpu_memory_bytes", lambda: 24_000_000_000)
    monkeypatch.setattr(runtime, "_gpu_compute_capabilities", lambda: [(8, 0)])
    monkeypatch.setattr(runtime, "gpu_memory_in_use", lambda: (2_000_000_000, 3_000_000_000))
    assert memory.allowed(GRAM) == 0.75 * 22e9
    assert memory.can_be_kept(GRAM, "float32", INPUTS)
    assert _fit(GRAM, size=2048).memory.tile == "off"
    assert _fit(GRAM, size=4096).memory.tile == "1024"
    # Peaks of TensorFlow's allocator on an H100 at 2048 and 3072 pixels in float32: 8.3 and 17.9 GB.
    for size, measured in ((2048, 8.3), (3072, 17.9)):
        whole = apply_overrides(GRAM, {"size": size, "tile": "off"})
        needed = memory.estimate(whole, "float32", scales.Scale(size * 3 // 4, size, 1, 1.0), [(576, 768)])
        assert measured < needed / 1e9 < 1.2 * measured


def test_whole_pictures_have_no_more_features_than_tensorflow_counts(monkeypatch):
    """8192 x 6144 pixels ended the process on an H100, by a GPU's operation that counts in 32 bits."""
    _allow(monkeypatch, 1e12)
    assert _fit(GRAM, size=6144).memory.tile == "off"
    assert _fit(GRAM, size=8192).memory.tile == "1024"
    with pytest.raises(errors.InputError, match=r"more features .* --tile=auto, or up to --size=6688"):
        _fit(GRAM, size=8192, tile="off")


def test_freed_memory_is_kept_only_where_there_is_plenty(monkeypatch):
    needed = memory.peak(GRAM, "float32", INPUTS)
    for free, expected in ((1.1 * needed, False), (1.5 * needed, True)):
        _allow(monkeypatch, free)
        assert memory.can_be_kept(GRAM, "float32", INPUTS) == expected


def _allow(monkeypatch, amount):
    """Allows runs an amount of memory, in bytes."""
    monkeypatch.setattr(memory, "allowed", lambda *_: amount)


def _fit(chosen, **changes):
    return memory.fit(apply_overrides(chosen, changes), "float32", INPUTS)


def test_colours_alone_take_little(monkeypatch):
    _allow(monkeypatch, 4e9)
    assert _fit(GRAM, color="only", size=4000).memory.tile == "off"
    # Measured at 4000 x 3000 and 6000 x 4500 pixels: peaks of 1.68 and 2.07 GB.
    for size, measured in ((4000, 1.68), (6000, 2.07)):
        only = apply_overrides(GRAM, {"color": "only", "size": size})
        assert measured < memory.peak(only, "float32", INPUTS) / 1e9 < 2.1 * measured
    with pytest.raises(errors.InputError, match="the largest size that fits"):
        _fit(GRAM, color="only", size=200_000)


def test_what_fits_runs_whole(monkeypatch, caplog):
    _allow(monkeypatch, 4e9)
    assert _fit(GRAM).memory.tile == "off"
    assert not caplog.records


def test_what_does_not_fit_runs_in_the_largest_parts_that_do(monkeypatch, caplog):
    sides = []
    for free in (20e9, 6.5e9, 4e9, 3.4e9):
        _allow(monkeypatch, free)
        sides.append(_fit(GRAM, size=2048).memory.tile)
    assert sides[0] == "off"
    numbers = [int(side) for side in sides[1:] if side != "off"]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) > 1
    assert f"2048 x 1536 pixels do not fit at once: parts of {numbers[0]} pixels" in caplog.text


def test_the_history_is_rounded_and_then_shortened_before_a_run_is_refused(monkeypatch, caplog):
    found, runs = [], []
    for free in (7e9, 5.5e9, 4.5e9):
        _allow(monkeypatch, free)
        runs.append(chosen := _fit(GRAM, size=4096))
        found.append((chosen.optimizer.history_precision, chosen.optimizer.history == 10))
    assert found == [("float32", True), ("bfloat16", True), ("bfloat16", False)]
    assert 3 <= chosen.optimizer.history < 10
    rounded, shortened = caplog.messages[1:]
    assert rounded.endswith(f"parts of {runs[1].memory.tile} pixels, L-BFGS history in bfloat16")
    assert shortened.endswith(f"history in bfloat16, L-BFGS history {chosen.optimizer.history} instead of 10")


@pytest.mark.parametrize("free", [4.5e9, 6e9, 7e9])
def test_the_largest_tile_that_fits_is_taken_whatever_the_history(monkeypatch, free):
    """Where the optimiser's step takes most memory, a smaller one only takes longer."""
    _allow(monkeypatch, free)
    chosen = _fit(GRAM, size=4096)
    scale = scales.plan_scales(chosen, 576, 768)[-1]
    needed = {
        tile: memory.estimate(apply_overrides(chosen, {"tile": str(tile)}), "float32", scale, [(576, 768)])
        for tile in (256, 384, 512, 768, 1024)
    }
    assert int(chosen.memory.tile) == max(tile for tile, each in needed.items() if each <= free)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_of_the_history_that_was_chosen_stays(monkeypatch, precision):
    for free in (20e9, 5.5e9):
        _allow(monkeypatch, free)
        assert _fit(GRAM, size=4096, history_precision=precision).optimizer.history_precision == precision


def test_a_tile_that_was_chosen_leaves_the_precision_of_the_history_open(monkeypatch, caplog):
    _allow(monkeypatch, 5.5e9)
    chosen = _fit(GRAM, size=4096, tile="256")
    assert (chosen.memory.tile, chosen.optimizer.history, chosen.optimizer.history_precision) == (
        "256",
        10,
        "bfloat16",
    )
    assert caplog.messages[0].endswith("do not fit at once: L-BFGS history in bfloat16")


def test_a_tile_that_was_chosen_stays(monkeypatch):
    _allow(monkeypatch, 4e9)
    assert _fit(GRAM, tile="300").memory.tile == "300"
    with pytest.raises(errors.InputError, match="the largest size that fits"):
        _fit(GRAM, size=6000, tile="off")


@pytest.mark.parametrize("chosen", [GRAM, GATYS])
@pytest.mark.parametrize("tile", ["auto", "off"])
def test_what_does_not_fit_is_refused_with_a_size_that_does(monkeypatch, chosen, tile):
    _allow(monkeypatch, 4e9)
    with pytest.raises(errors.InputError, match=r"need about [\d.]+ GB .* --size=\d+") as caught:
        _fit(chosen, size=20000, tile=tile)
    fits = int(str(caught.value).rpartition("=")[2])
    assert fits > 256
    _fit(chosen, size=fits, tile=tile)
    with pytest.raises(errors.InputError):
        _fit(chosen, size=fits + 8, tile=tile)


@pytest.mark.parametrize(
    ("name", "value"), [("style_scale", 4.0), ("style_scale", 1e30), ("style_size", 8192)]
)
def test_a_large_style_picture_is_planned_for_and_refused_by_its_own_name(monkeypatch, name, value):
    _allow(monkeypatch, 2.5e9)
    assert _fit(GRAM).memory.tile == "off"
    if value == 4.0:
        assert _fit(GRAM, style_scale=4.0).memory.tile != "off"
    with pytest.raises(errors.InputError, match=rf"^{name}: .* the largest {name} that fits is") as caught:
        _fit(GRAM, **{name: value, "tile": "off"})
    fits = float(str(caught.value).rpartition("=")[2])
    kind = int if name == "style_size" else float
    assert _fit(GRAM, **{name: kind(fits), "tile": "off"}).memory.tile == "off"
    with pytest.raises(errors.InputError):
        _fit(GRAM, **{name: kind(fits * 1.1), "tile": "off"})


def test_a_size_that_does_not_fit_is_said_before_its_style(monkeypatch):
    _allow(monkeypatch, 2.5e9)
    with pytest.raises(errors.InputError, match=r"^size: 9000 x .* --size=\d{3,}"):
        _fit(GRAM, size=9000, style_size=9000, tile="off")


def test_the_largest_of_several_styles_counts():
    sized = apply_overrides(GRAM, {"tile": "off", "style_scale": 2.0})
    scale, shapes = scales.Scale(384, 512, 1, 1.0), [(576, 768), (768, 768), (200, 768)]
    several, square = (memory.estimate(sized, "float32", scale, some) for some in (shapes, shapes[1:2]))
    assert several == square > memory.estimate(sized, "float32", scale, shapes[:1])


def test_regions_are_planned_for():
    """Peaks at 384 x 288 pixels, Adam, whole: 1.31 GB with one region, 1.50 with 4, 1.78 with 12."""
    sized = apply_overrides(GRAM, {"size": 384, "tile": "off", "optimizer": "adam"})
    scale = scales.Scale(288, 384, 1, 1.0)
    alone, four, twelve = (
        memory.estimate(sized, "float32", scale, [(288, 384)], count) / 1e9 for count in (1, 4, 12)
    )
    assert four - alone == pytest.approx(1.50 - 1.31, rel=0.1)
    assert 1.78 - 1.31 < twelve - alone < 1.5 * (1.78 - 1.31)
    tiled = apply_overrides(sized, {"tile": "256"})
    wide = scales.Scale(3000, 4000, 1, 1.0)
    masked = [memory.estimate(tiled, "float32", wide, [], count) for count in (0, 16)]
    assert masked[1] - masked[0] > 16 * 4 * 3000 * 4000, "masks at least"


def test_a_quarter_of_the_free_memory_is_left(monkeypatch):
    monkeypatch.setattr(free_memory, "free_memory", lambda: 8e9)
    monkeypatch.setattr(free_memory, "used_memory", lambda: 0.5e9)
    assert memory.allowed(GRAM) == 0.5e9 + 6e9
    monkeypatch.setattr(free_memory, "used_memory", lambda: 5e9)  # of what else is in this process
    assert memory.allowed(GRAM) == 0.6e9 + 6e9


@pytest.mark.parametrize(
    ("text", "expected"), [("6GiB", 6 * 2**30), ("1.5 GB", 1.5e9), ("800MB", 8e8), ("512MiB", 2**29)]
)
def test_a_limit_that_is_named_counts(text, expected):
    """All of it but a tenth, by which estimates may be too low."""
    assert memory.allowed(apply_overrides(GRAM, {"max_memory": text})) == 0.9 * expected


@pytest.mark.parametrize("text", ["6", "6gib", "-1GB", "1e3MB", "GiB", "6 GiB more"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(errors.InputError, match=r"max_memory: .* nor an amount such as 6GiB"):
        apply_overrides(GRAM, {"max_memory": text})


def test_the_message_says_whose_limit_it_is():
    with pytest.raises(errors.InputError, match=r"0.9 GB may be taken \(--max_memory=1GB\)"):
        _fit(GRAM, size=4096, max_memory="1GB")
    with pytest.raises(errors.InputError, match="three quarters of what is free"):
        _fit(GRAM, size=500_000)


def test_pictures_as_read_are_planned_for():
    """48 bytes a pixel were measured before reading was reduced: 126 megapixels with --size=64."""
    tiny = apply_overrides(GRAM, {"size": 64})
    huge = memory.Inputs((9000, 14000), [(576, 768)])
    assert memory.peak(tiny, "float32", huge) > 36 * 126e6
    assert memory.peak(tiny, "float32", INPUTS) < 1.5e9


def _plan(monkeypatch, limit, config, **options):
    """Returns a plan with that limit, whose process has taken nothing yet, and a setter of its peak."""
    taken = [0.0]
    _allow(monkeypatch, limit)
    monkeypatch.setattr(free_memory, "peak_memory", lambda: taken[0])
    return memory.Plan(config, "float32", INPUTS, **options), taken


LARGE = apply_overrides(GRAM, {"size": 2048})


def test_a_run_that_takes_what_was_estimated_goes_on_as_planned(monkeypatch):
    plan, taken = _plan(monkeypatch, 10e9, LARGE)
    assert plan.config.memory.tile == "off"
    for scale in (1, 2):
        taken[0] = 0.9 * memory.peak(plan.config, "float32", INPUTS, 0, scale)
        assert plan.next_scale(scale) is plan.config
        assert plan.config.memory.tile == "off"


def test_a_run_that_takes_more_is_planned_anew(monkeypatch, caplog):
    plan, taken = _plan(monkeypatch, 10e9, LARGE)
    taken[0] = 1.5 * memory.peak(plan.config, "float32", INPUTS, 0, 1)
    assert plan.next_scale(1).memory.tile == "off"  # which still fits
    taken[0] = 1.5 * memory.peak(plan.config, "float32", INPUTS, 0, 2)
    assert plan.next_scale(2).memory.tile.isdecimal()
    assert 1.5 * memory.peak(plan.config, "float32", INPUTS, 2) <= 10e9
    assert "do not fit at once: parts of" in caplog.text


def test_what_an_earlier_run_of_the_process_took_says_nothing(monkeypatch):
    plan, taken = _plan(monkeypatch, 10e9, LARGE)
    taken[0] = plan._peak_before = 9e9
    assert plan.next_scale(2).memory.tile == "off"


def test_a_run_that_no_longer_fits_is_refused_between_scales(monkeypatch):
    plan, taken = _plan(monkeypatch, 10e9, LARGE)
    taken[0] = 12e9
    with pytest.raises(errors.InputError, match="the largest size that fits"):
        plan.next_scale(2)


def test_a_run_that_goes_on_keeps_its_fit_but_for_the_tile(monkeypatch):
    fitted = LARGE.replace(tile="off", history=7)
    plan, _ = _plan(monkeypatch, 10e9, LARGE, fitted=fitted, first_scale=1)
    assert plan.config.memory.tile == "off"
    plan, _ = _plan(monkeypatch, 6e9, LARGE, fitted=fitted, first_scale=1)
    assert plan.config.memory.tile.isdecimal()
    assert (plan.config.optimizer.history, plan.config.optimizer.history_precision) == (7, "float32")
    with pytest.raises(errors.InputError):
        _plan(monkeypatch, 1.5e9, LARGE, fitted=fitted, first_scale=1)
    with pytest.raises(errors.InputError):  # a tile that was asked for stays
        _plan(monkeypatch, 6e9, LARGE.replace(tile="off"), fitted=fitted, first_scale=1)


def test_the_regions_of_the_scale_before_are_counted(monkeypatch):
    """A peak of 5.15 GB, with 1024 x 768 pixels in tiles of 512, by oneDNN's allocator; 4.07 by another's."""
    tiled = apply_overrides(GATYS, {"size": 1024, "tile": "512", "convolution": "winograd"})
    assert memory.peak(tiled, "float32", INPUTS) / 1e9 == pytest.approx(5.15, rel=0.15)
    alone = apply_overrides(tiled, {"scales": (1.0,), "steps": 2})
    assert memory.peak(alone, "float32", INPUTS) / 1e9 == pytest.approx(4.06, rel=0.15)
    chosen = _fit(GATYS, size=1024, max_memory="4GiB")
    assert 0.7 * 2**32 < memory.peak(chosen, "float32", INPUTS) <= 2**32
    monkeypatch.setattr(runtime, "uses_onednn", lambda: False)
    plain = memory.peak(tiled, "float32", INPUTS)
    last = scales.plan_scales(tiled, 576, 768)[-1]
    assert plain == memory.estimate(tiled, "float32", last, INPUTS.styles)


@pytest.mark.parametrize("size", [(1536, 2048), (48, 700), (300, 300), (513, 1025)])
@pytest.mark.parametrize("tile", ["256", "512", "1024"])
def test_windows_are_those_of_the_tiles(size, tile):
    chosen = apply_overrides(GRAM, {"tile": tile})
    height, width = size
    halo, stride = layers.halo(["relu5_1"]), layers.stride("relu5_1")
    grid = tiling.plan(tf.constant(height), tf.constant(width), int(tile), halo, stride)
    longest = [max(end - begin for begin, end, *_ in spans.numpy().tolist()) for spans in grid]
    assert memory._window(chosen, size) == longest[0] * longest[1]


def test_what_a_run_has_taken_itself_is_not_taken_from_it(monkeypatch):
    """Free memory falls as the run takes it; what others take meanwhile counts."""
    free, used = [15e9], [1.6e9]  # a gigabyte of it is of others in this process
    monkeypatch.setattr(free_memory, "free_memory", lambda: free[0])
    monkeypatch.setattr(free_memory, "used_memory", lambda: used[0])
    monkeypatch.setattr(free_memory, "peak_memory", lambda: None)
    plan = memory.Plan(LARGE, "float32", INPUTS)
    assert plan.config.memory.tile == "off"
    free[0], used[0] = 9e9, 7.6e9  # the run has taken six
    assert plan.next_scale(2).memory.tile == "off"
    free[0] = 2e9  # others seven
    assert plan.next_scale(2).memory.tile.isdecimal()


@pytest.mark.parametrize("chosen", [GRAM, apply_overrides(GRAM, {"tile": "off"})])
def test_where_no_size_fits_none_is_named(monkeypatch, chosen):
    _allow(monkeypatch, 1e9)
    with pytest.raises(
        errors.InputError, match=r"^memory: .* alone take about 1.3 GB, of which 1.0 GB"
    ) as caught:
        _fit(chosen)
    assert "--size" not in str(caught.value)


def test_histories_are_shortened_in_few_tries_whatever_their_length():
    assert list(memory._shorter(10, 3)) == [10, 9, 8, 7, 6, 5, 4, 3]
    assert list(memory._shorter(2, 2)) == [2]
    tried = list(memory._shorter(2**31 - 1, 3))
    assert len(tried) < 350
    assert tried == sorted(tried, reverse=True)
    assert tried[-29:] == list(range(31, 2, -1))


def test_the_photograph_that_colours_are_finished_by_is_planned_for():
    """One picture of the result's size, in tiles (whole, the network has far more), and its matching."""
    tiled = apply_overrides(GRAM, {"size": 2048, "tile": "512"})
    wide = scales.Scale(1536, 2048, 1, 1.0)
    needed = {
        color: memory.estimate(apply_overrides(tiled, {"color": color}), "float32", wide, [])
        for color in ("style", "statistics", "luminance", "match")
    }
    assert needed["style"] == needed["statistics"]
    for color, pictures in {"luminance": 1, "match": 3}.items():
        assert needed[color] - needed["style"] == pictures * 12 * 1536 * 2048


def test_neighbours_are_planned_for():
    """Banks for each style, and maps of hypercolumns for each pixel; in tiles for those of a window only."""
    settings = {"size": 512, "precision": "float32", "tile": "off"}
    inputs = memory.Inputs((512, 512), [(512, 512)])
    without, beside = (
        memory.peak(presets.get("gram", neighbor_weight=weight, **settings), "float32", inputs)
        for weight in (0.0, 1.0)
    )
    bank = 2**14 * 2688 * 4
    assert beside - without == pytest.approx(3.1 * bank + 5.0 * 512**2 * 2688 * 4 / 16)
    two = memory.Inputs((512, 512), [(512, 512)] * 2)
    more = memory.peak(presets.get("gram", neighbor_weight=1.0, **settings), "float32", two)
    assert more - beside >= bank
    small = memory.Inputs((512, 512), [(64, 512)])  # a painting of fewer cells than a bank may have
    fewer = memory.peak(presets.get("gram", neighbor_weight=1.0, **settings), "float32", small)
    assert beside - fewer == pytest.approx(3.1 * (bank - 4 * 16 * 128 * 2688 * 4))
    tiled = memory.peak(
        presets.get("gram", neighbor_weight=1.0, **{**settings, "tile": "256"}), "float32", inputs
    )
    assert tiled < beside
