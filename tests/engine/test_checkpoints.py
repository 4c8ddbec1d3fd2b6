"""A run goes on from its checkpoint as if it had never ended; on the narrow network."""

import functools
import logging
import os
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from nst_tf import errors
from nst_tf.callbacks import animation, callback, report, tensorboard
from nst_tf.config import presets
from nst_tf.config.scales import Scale
from nst_tf.engine import checkpoints, progress, stylizer
from nst_tf.engine.progress import Progress
from nst_tf.io import manifest, masks
from nst_tf.losses.values import Losses
from tests import conftest
from tests.support import odd_tensors

CONTENT, STYLE = (conftest.smooth_picture(seed)[np.newaxis] for seed in (2, 3))
INPUTS = {"content": {"name": "photo.png", "sha256": "1"}, "style": {"name": "painting.png", "sha256": "2"}}

# Two scales of 5 and 4 steps; the state of every kind of optimiser.
FORMULATIONS: dict[str, dict[str, Any]] = {
    "lbfgs": {},
    "pairs in bfloat16": {"history_precision": "bfloat16", "history": 3},
    "adam with carried moments, averaged": {
        "optimizer": "adam",
        "learning_rate": 3.0,
        "carry_moments": True,
        "output_image": "average",
    },
    "adam on a pyramid": {"optimizer": "adam", "learning_rate": 3.0, "pyramid_levels": 3, "clip": False},
    "best of rmsprop": {"optimizer": "rmsprop", "learning_rate": 2.0, "output_image": "best"},
    "momentum": {"optimizer": "momentum", "learning_rate": 0.0, "decay_rate": 0.9},
    "tiles": {"tile": "32"},
    "luminance": {"color": "luminance"},
    "noise": {"init": "noise", "seed": 5},
}


def _config(**changes):
    settings = {**conftest.SHALLOW, "size": 64, "scales": (0.5, 1.0), "steps": (5, 4), "precision": "float32"}
    return presets.get("gram", **{**settings, **changes})


def _regions():
    half = np.zeros((48, 64, 2), np.float32)
    half[:24, :, 0] = half[24:, :, 1] = 1
    return masks.Regions(("#ff0000", "#0000ff"), half, (half,))


def _run(weights, config, checkpoint=None, regions=None):
    return stylizer.Stylizer(CONTENT, [STYLE], config, weights, regions=regions, checkpoint=checkpoint)


def _write(run, path, config, trace=(), **kept):
    weights = {"name": run.weights.name, "sha256": run.weights.sha256}
    origin = checkpoints.Origin(config, INPUTS)
    writer = checkpoints.Writer(checkpoints.Checkpoints(path), run, origin, weights)
    assert writer.write(trace, kept)


def _finish(run):
    rows: list[Losses] = []
    assert run.run(lambda progress: rows.extend(progress.losses)) == "finished"
    return run.picture(), rows


def _stop_after(run, steps):
    """Takes so many steps, over all scales."""
    left = steps
    while left > run.scales[run.scale_index].num_steps:
        left -= run.scales[run.scale_index].num_steps
        for _ in range(run.scales[run.scale_index].num_steps):
            run.step()
        run.next_scale()
    for _ in range(left):
        run.step()


@pytest.mark.parametrize("steps", [5, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 7))])
@pytest.mark.parametrize("name", FORMULATIONS)
def test_a_run_goes_on_bit_for_bit(narrow_weights, tmp_path, name, steps):
    config, path = _config(**FORMULATIONS[name]), tmp_path / "checkpoint"
    whole, rows = _finish(_run(narrow_weights, config))
    run = _run(narrow_weights, config)
    _stop_after(run, steps)
    _write(run, path, config)
    resumed = _run(narrow_weights, config, checkpoints.read(path))
    assert (resumed.scale_index, resumed.steps_done()) == (int(steps > 5), steps - 5 * int(steps > 5))
    picture, later = _finish(resumed)
    np.testing.assert_array_equal(picture, whole)
    assert later == rows[steps:]


def test_a_run_with_regions_goes_on_bit_for_bit(narrow_weights, tmp_path):
    config, path = _config(), tmp_path / "checkpoint"
    whole, _ = _finish(_run(narrow_weights, config, regions=_regions()))
    run = _run(narrow_weights, config, regions=_regions())
    _stop_after(run, 6)
    _write(run, path, config)
    picture, _ = _finish(_run(narrow_weights, config, checkpoints.read(path), _regions()))
    np.testing.assert_array_equal(picture, whole)


def test_the_file_is_safetensors_with_pairs_in_their_own_type(narrow_weights, tmp_path):
    config = _config(history_precision="bfloat16", history=3)
    run = _run(narrow_weights, config)
    _stop_after(run, 4)
    _write(run, tmp_path / "checkpoint", config)
    found = safetensors.numpy.load_file(tmp_path / "checkpoint")
    pairs = np.concatenate([found[f"state/pairs/{row}"] for row in range(6)])
    assert pairs.dtype.name == "bfloat16"
    assert pairs.shape == (6, 24, 32, 3)
    assert pairs.any()
    np.testing.assert_array_equal(pairs, run.state()["state/pairs"].numpy())
    np.testing.assert_array_equal(found["image"], run.image.numpy())
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_trace_and_arrays_come_back(narrow_weights, tmp_path):
    config, run = _config(), _run(narrow_weights, _config())
    recorder = report.Recorder()
    for _ in range(3):
        losses = Losses(*map(float, run.step()))
        recorder.on_step(Progress(0, run.scales, run.steps_done(), 9, (losses,), run.picture))
    frames = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    _write(run, tmp_path / "checkpoint", config, recorder.rows, **{"callbacks/Mine/0": {"frames": frames}})
    found = checkpoints.read(tmp_path / "checkpoint")
    assert found.trace == tuple(recorder.rows)
    np.testing.assert_array_equal(found.arrays("callbacks/Mine/0")["frames"], frames)
    assert found.arrays("callbacks/Other/0") == {}
    later = report.Recorder(found.trace)
    later.on_step(
        Progress(0, run.scales, len(found.trace) + 1, 9, (Losses(1.0, 0.0, 1.0, 0.0),), lambda: frames)
    )
    assert later.rows[:-1] == recorder.rows
    assert later.rows[-1].seconds >= recorder.rows[-1].seconds


@pytest.fixture
def checkpoint(narrow_weights, tmp_path):
    """A checkpoint after four steps."""
    run = _run(narrow_weights, _config())
    _stop_after(run, 4)
    _write(run, tmp_path / "picture.png.checkpoint", _config())
    return checkpoints.read(tmp_path / "picture.png.checkpoint")


@pytest.mark.parametrize(
    ("changes", "inputs", "message"),
    [
        ({"size": 128}, INPUTS, "size was 64, now 128"),
        ({"content_weight": 7.0, "seed": 3}, INPUTS, "content_weight was .*, now 7.0; seed was 0, now 3"),
        (
            {},
            {**INPUTS, "content": {"name": "b", "sha256": "3"}},
            r"content was another picture \(photo.png\)",
        ),
        ({}, {"content": INPUTS["content"]}, "there was a style"),
        ({}, {**INPUTS, "style 2": {"name": "b", "sha256": "3"}}, "there was no style 2"),
        ({"style_layers": ("relu1_1", "relu2_1")}, INPUTS, "style_layers was relu1_1,relu3_1, now relu1_1,"),
    ],
)
def test_another_run_is_refused_by_its_difference(checkpoint, changes, inputs, message):
    with pytest.raises(errors.InputError, match=message) as caught:
        checkpoint.check(checkpoints.Origin(_config(**changes), inputs))
    assert "\n" not in str(caught.value)


def test_another_tile_is_no_difference(checkpoint):
    checkpoint.check(checkpoints.Origin(_config(tile="32", max_memory="3GB"), INPUTS))
    assert checkpoint.fitted(_config(tile="32")).memory.tile == "32"
    assert checkpoint.fitted(_config()).memory.tile == checkpoint.config.memory.tile


def test_files_are_compared_by_what_is_in_them(checkpoint):
    other = _config(weights="another/name.npz")
    checkpoint.check(checkpoints.Origin(other, INPUTS))
    with pytest.raises(errors.InputError, match="made with the narrow weights; these, other, are others"):
        checkpoint.check_weights("1" * 64, "other")


def test_other_versions_are_a_warning(checkpoint, monkeypatch, caplog):
    monkeypatch.setattr(manifest, "versions", lambda: {**checkpoint.versions, "tensorflow": "3.0"})
    with caplog.at_level(logging.WARNING):
        checkpoint.check(checkpoint.origin)
    assert [record.args[0] for record in caplog.records] == ["tensorflow"]


@pytest.mark.parametrize("kind", ["cut", "foreign", "text", "empty", "folder", "newer", "wrong types"])
def test_what_is_no_checkpoint_gets_one_line(checkpoint, tmp_path, kind):
    path, data = tmp_path / "bad", checkpoint.path.read_bytes()
    if kind == "foreign":
        safetensors.numpy.save_file({"weight": np.zeros(3)}, path, {"format": "pt"})
    elif kind == "wrong types":
        header = '{"version": 1, "origin": [], "inputs": 3}'
        safetensors.numpy.save_file({"trace": np.zeros([0, 7])}, path, {"nst_tf": header})
    elif kind == "folder":
        path.mkdir()
    else:
        newer = data.replace(b'\\"version\\": 1', b'\\"version\\": 9')
        path.write_bytes({"cut": data[:-50], "text": b"no tensors", "empty": b"", "newer": newer}[kind])
    with pytest.raises(errors.InputError, match=r"^checkpoint: ") as caught:
        checkpoints.read(path)
    assert "\n" not in str(caught.value)


def test_tensors_of_another_shape_are_refused(narrow_weights, checkpoint):
    with pytest.raises(errors.InputError, match="has no image of this run's shape"):
        _run(narrow_weights, _config(size=80), checkpoint)


def _rewritten(path, **changes):
    """Replaces tensors of a checkpoint."""
    with safetensors.safe_open(path, framework="np") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    safetensors.numpy.save_file({**tensors, **changes}, path, metadata)


@pytest.mark.parametrize("name", ["image", "state/image"])
def test_a_picture_that_is_not_finite_is_refused(narrow_weights, checkpoint, name):
    _rewritten(checkpoint.path, **{name: np.full([1, 24, 32, 3], np.nan, np.float32)})
    with pytest.raises(errors.InputError, match=r"^checkpoint: .* numbers that no run makes"):
        _run(narrow_weights, _config(), checkpoints.read(checkpoint.path))


@pytest.mark.parametrize("name", ["trace", "callbacks/Animation/0/frames"])
def test_a_tensor_of_a_type_that_numpy_lacks_gets_one_line(checkpoint, name):
    _rewritten(checkpoint.path, **{name: np.zeros([2, 7], np.uint8)})
    odd_tensors.retype(checkpoint.path, name)
    with pytest.raises(errors.InputError, match=r"^checkpoint: .* cannot be read"):
        checkpoints.read(checkpoint.path).arrays("callbacks/Animation/0")


class _Unwritable:
    """A run of which nothing is asked but whether it is sound."""

    def is_sound(self):
        return True


def test_a_checkpoint_that_cannot_be_written_is_one_warning(tmp_path, caplog, narrow_weights):
    run, path = _run(narrow_weights, _config()), tmp_path / "nowhere" / "checkpoint"
    writer = checkpoints.Writer(
        checkpoints.Checkpoints(path), run, checkpoints.Origin(_config(), INPUTS), {"name": "", "sha256": ""}
    )
    with caplog.at_level(logging.WARNING):
        assert not writer.write([], {})
        assert not writer.write([], {})
    assert len(caplog.records) == 1
    assert "could not be written" in caplog.text


def test_a_full_disk_keeps_the_checkpoint_before(narrow_weights, checkpoint, monkeypatch):
    before = checkpoint.path.read_bytes()

    def save_file(arrays, path, metadata):
        del arrays, metadata
        path.write_bytes(b"half")
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", save_file)
    run = _run(narrow_weights, _config())
    writer = checkpoints.Writer(
        checkpoints.Checkpoints(checkpoint.path), run, checkpoint.origin, dict(checkpoint.weights)
    )
    assert not writer.write([], {})
    assert checkpoint.path.read_bytes() == before
    assert os.listdir(checkpoint.path.parent) == [checkpoint.path.name]


def test_a_checkpoint_that_is_written_after_a_failure_is_there(narrow_weights, tmp_path):
    folder = tmp_path / "later"
    kept = checkpoints.Checkpoints(folder / "checkpoint")
    run, origin = _run(narrow_weights, _config()), checkpoints.Origin(_config(), INPUTS)
    writer = checkpoints.Writer(kept, run, origin, {"name": "", "sha256": ""})
    assert not writer.write([], {})
    folder.mkdir()
    assert writer.write([], {})
    assert checkpoints.read(kept.path).origin == origin


def test_a_run_that_may_be_diverging_keeps_the_checkpoint_before(narrow_weights, checkpoint):
    before, run = checkpoint.path.read_bytes(), _run(narrow_weights, _config())
    run.image.assign(np.nan * run.image)
    assert run.run(lambda _: True) == "stopped"
    writer = checkpoints.Writer(
        checkpoints.Checkpoints(checkpoint.path), run, checkpoint.origin, dict(checkpoint.weights)
    )
    assert writer.write([], {})
    assert checkpoint.path.read_bytes() == before


class _Clock:
    """Time that passes as a test says."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        for module in (checkpoints, progress):
            monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)


def _progress(step, num_steps=100):
    scales = (Scale(10, 10, num_steps, 1.0),)
    return Progress(0, scales, step, num_steps, (Losses(1.0, 0.0, 1.0, 0.0),), lambda: np.zeros((1, 1, 3)))


def _writer(kept, write_s, clock, monkeypatch):
    writer = checkpoints.Writer(kept, _Unwritable(), None, {})  # type: ignore[arg-type]

    def write(*_):
        clock.now += write_s

    monkeypatch.setattr(writer, "_write", write)
    return writer


def _times(writer, clock, seconds_per_step, num_steps):
    """Returns when checkpoints begin in a run."""
    found = []
    for step in range(1, num_steps + 1):
        clock.now += seconds_per_step
        if writer.is_due(_progress(step, num_steps)):
            found.append(clock.now)
            writer.write([], {})
    return found


@pytest.mark.parametrize(
    ("of_short_runs", "seconds_per_step", "write_s", "expected"),
    [
        (False, 0.5, 0.0, []),  # 50 s in all
        (False, 1.0, 0.0, [30.0, 60.0, 90.0]),
        (True, 0.5, 0.0, [30.0]),
        (False, 10.0, 0.1, [30.0, 60.1]),  # and so on
        (False, 10.0, 4.0, [30.0, 434.0, 838.0]),  # 4 s are 1 % of 400 s
    ],
)
def test_checkpoints_are_as_far_apart_as_they_must(
    tmp_path, monkeypatch, of_short_runs, seconds_per_step, write_s, expected
):
    clock = _Clock(monkeypatch)
    kept = checkpoints.Checkpoints(tmp_path / "checkpoint", 30.0, of_short_runs)
    found = _times(_writer(kept, write_s, clock, monkeypatch), clock, seconds_per_step, 100)
    assert found[: len(expected) or None] == pytest.approx(expected)


def test_the_last_step_needs_no_checkpoint(tmp_path, monkeypatch):
    clock = _Clock(monkeypatch)
    writer = _writer(checkpoints.Checkpoints(tmp_path / "c", 30.0), 0.0, clock, monkeypatch)
    clock.now = 1000.0
    writer.is_due(_progress(99))
    assert not writer.is_due(_progress(100))


def test_a_checkpoint_that_is_not_there_is_removed_without_a_word(tmp_path, caplog):
    checkpoints.remove(tmp_path / "none")
    checkpoints.remove(tmp_path / ("x" * 300))
    assert not caplog.records


def test_an_animation_goes_on_with_its_frames(tmp_path):
    scales = (Scale(16, 16, 6, 1.0),)

    def shown(step):
        return np.full((16, 16, 3), step / 10, np.float32)

    def steps(watching, first, last):
        for step in range(first, last + 1):
            losses = (Losses(1.0, 0.0, 1.0, 0.0),)
            watching.on_step(Progress(0, scales, step, 6, losses, functools.partial(shown, step)))

    whole, cut, later = (animation.Animation(tmp_path / f"{name}.gif") for name in ("whole", "cut", "later"))
    whole.on_begin(scales, lambda: shown(0))
    steps(whole, 1, 6)
    cut.on_begin(scales, lambda: shown(0))
    steps(cut, 1, 3)
    later.on_resume(scales, lambda: shown(3), 3, cut.to_keep())
    steps(later, 4, 6)
    np.testing.assert_array_equal(later.to_keep()["frames"], whole.to_keep()["frames"])


@pytest.mark.parametrize("shape", [None, (2, 16, 18, 3), (0, 16, 16, 3), (16, 16, 3), (1,)])
def test_an_animation_that_was_not_kept_says_what_is_missing(tmp_path, caplog, shape):
    watching = animation.Animation(tmp_path / "run.gif")
    kept = {} if shape is None else {"frames": np.zeros(shape, np.uint8)}
    watching.on_resume((Scale(16, 16, 6, 1.0),), lambda: np.zeros((16, 16, 3), np.float32), 3, kept)
    assert "the frames before step 3 are missing" in caplog.text
    assert len(watching.to_keep()["frames"]) == 1


def test_summaries_are_added_to(tmp_path, caplog):
    pytest.importorskip("tensorboard")
    (tmp_path / "events.out.tfevents.1.old").write_bytes(b"")
    board = tensorboard.TensorBoard(tmp_path)
    board.on_resume((Scale(16, 16, 6, 1.0),), lambda: np.zeros((16, 16, 3)), 3, {})
    board.on_step(_progress(4))
    assert (tmp_path / "events.out.tfevents.1.old").exists()
    assert len(tensorboard.existing(tmp_path)) == 2
    other = tensorboard.TensorBoard(tmp_path / "new")
    other.on_resume((Scale(16, 16, 6, 1.0),), lambda: np.zeros((16, 16, 3)), 3, {})
    assert "the steps before 3 are missing" in caplog.text


def test_a_callback_that_knows_nothing_of_it_begins():
    seen = []

    class Mine(callback.Callback):
        def on_begin(self, scales, picture):
            seen.append((scales, picture()))
            return [4]

    scales = (Scale(16, 16, 6, 1.0),)
    assert Mine().on_resume(scales, lambda: np.zeros(3), 3, {}) == [4]
    assert seen[0][0] == scales
