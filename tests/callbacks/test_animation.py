"""Moving pictures: which frames, how long, how large."""

import itertools
import os
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from nst_tf import errors
from nst_tf.callbacks import animation
from nst_tf.callbacks.animation import Animation
from nst_tf.engine.progress import Progress
from tests.support import fake_run

RESULT = fake_run.picture(10, 35, 48)


def _grey(level):
    return Image.new("RGB", (8, 8), (level, level, level))


def test_frames_are_even_in_visible_change():
    levels = [0, 100, 150, 175, 188, 194, 197, 199, 200]
    chosen = [levels[index] for index in animation.even_changes([_grey(level) for level in levels], 5)]
    assert chosen == [0, 100, 150, 200]
    many = np.unique(np.rint(255 * (1 - np.exp(-np.linspace(0, 5, 400)))).astype(int)).tolist()
    frames = [_grey(level) for level in many]
    chosen = [many[index] for index in animation.even_changes(frames, 10)]
    assert len(chosen) == 10
    gaps = [later - earlier for earlier, later in itertools.pairwise(chosen)]
    assert max(gaps) <= 2 * min(gaps)


def test_frames_that_do_not_change_are_one():
    assert animation.even_changes([_grey(7)] * 5, 3) == [4]
    assert animation.even_changes([_grey(7), _grey(8), _grey(8)], 3) == [0, 2]
    assert animation.even_changes([_grey(7)], 3) == [0]


def _frames(path):
    with Image.open(path) as file:
        frames = [
            (frame.convert("RGB").copy(), frame.info["duration"]) for frame in ImageSequence.Iterator(file)
        ]
        return [frame for frame, _ in frames], [duration for _, duration in frames], file.info["loop"]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_run_moves_from_its_first_picture_to_its_result(tmp_path, suffix):
    moving = Animation(tmp_path / f"a{suffix}")
    fake_run.run([moving])
    moving.save(RESULT)
    frames, durations, loop = _frames(tmp_path / f"a{suffix}")
    assert {frame.size for frame in frames} == {(48, 36)}, "coarse ones enlarged, the sides even"
    assert loop == 0
    assert 2000 <= durations[-1] < 2200, "Pillow shows frames that are alike as one"
    assert set(durations[1:-1]) <= {80, 160}
    means = [float(np.asarray(frame).mean()) for frame in frames]
    assert means == sorted(means)
    assert abs(means[0] - 255 * 0.2) < 2
    # WebP does not write what changes by a few levels.
    assert abs(means[-1] - 255 * RESULT.mean()) < 6
    assert len(list(tmp_path.iterdir())) == 1


def test_an_mp4_has_the_same_frames(tmp_path):
    av = pytest.importorskip("av")
    moving = Animation(tmp_path / "a.MP4")
    fake_run.run([moving])
    moving.save(RESULT)
    with av.open(str(tmp_path / "a.MP4")) as film:
        frames = list(film.decode(video=0))
        milliseconds = [round(1000 * frame.time) for frame in frames]
        assert film.duration == 1000 * (milliseconds[-1] + 2000)
    assert {(frame.width, frame.height) for frame in frames} == {(48, 36)}
    assert len(frames) > 6
    assert milliseconds == [0, *(480 + 80 * number for number in range(len(frames) - 1))]
    assert abs(frames[-1].to_ndarray(format="rgb24").mean() - 255 * RESULT.mean()) < 4
    assert (tmp_path / "a.MP4").read_bytes()[4:8] == b"ftyp"
    assert os.listdir(tmp_path) == ["a.MP4"]


def test_a_run_stopped_at_once_and_one_that_diverges_still_make_one(tmp_path):
    moving = Animation(tmp_path / "a.gif")
    moving.on_begin(fake_run.SCALES, lambda: fake_run.picture(0, 17, 24))
    moving.save(RESULT)
    assert len(_frames(tmp_path / "a.gif")[0]) == 2
    fake_run.run([moving], diverges_at=3)
    moving.save(RESULT)
    assert len(_frames(tmp_path / "a.gif")[0]) == 4


def test_size_and_number_of_frames_are_bounded(tmp_path):
    moving = Animation(tmp_path / "a.gif")
    large = fake_run.SCALES[1]._replace(height=1500, width=2000, num_steps=6000)
    generator = np.random.default_rng(3)

    def picture():
        return np.full((12, 16, 3), generator.random(), np.float32)

    steps = moving.on_begin([large], picture)
    assert len(steps) < 70
    for step in steps:
        moving.on_step(Progress(0, (large,), step, 6000, (), picture))
    moving.save(RESULT)
    frames, _, _ = _frames(tmp_path / "a.gif")
    assert frames[0].size == (480, 360)
    assert 40 <= len(frames) <= animation.MAX_FRAMES


@pytest.mark.parametrize(("name", "hint"), [("a.giff", "did you mean '.gif'"), ("a", ".gif, .webp, .mp4")])
def test_an_unknown_format_is_refused_at_once(name, hint):
    with pytest.raises(errors.InputError, match=hint):
        Animation(name)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(errors.InputError, match=r"need av: pip install av, or use \.webp"):
        Animation("a.mp4")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    moving = Animation(tmp_path / "a.gif")
    (tmp_path / "a.gif").write_bytes(b"before")
    fake_run.run([moving])
    monkeypatch.setattr(os, "replace", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        moving.save(RESULT)
    assert (tmp_path / "a.gif").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1
