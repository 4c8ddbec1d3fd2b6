"""The folder of finished frames: gone on with, refused, removed."""

import math
import os
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest

from nst_tf import errors
from nst_tf.io import films, manifest
from nst_tf.video import work
from nst_tf.video.work import WorkFolder

RECORD = {"content": "ab12", "size": 256, "weights": [1.0, 0.5]}


def _picture(seed):
    return np.random.default_rng(seed).random((12, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "painted"])
def test_where_a_film_can_be_written(tmp_path, name):
    work.check_output(tmp_path / name, False, films.Encoding())
    assert not os.listdir(tmp_path)


def test_an_empty_folder_may_take_the_frames(tmp_path):
    work.check_output(tmp_path, False, films.Encoding())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.mp4", "exists; use --overwrite"),
        ("full", "is no empty folder"),
        ("full/there", "is no empty folder"),
        ("none/a.mp4", "there is no folder"),
        ("none/a", "there is no folder"),
        ("a.gif", "is not one of .mp4"),
        ("a.webm", "cannot hold h264"),
    ],
)
def test_where_it_cannot_be_written(tmp_path, name, message):
    (tmp_path / "there.mp4").write_bytes(b"film")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "there").write_bytes(b"file")
    with pytest.raises(errors.InputError, match=message) as found:
        work.check_output(tmp_path / name, False, films.Encoding())
    assert len(str(found.value).splitlines()) == 1
    assert (tmp_path / "there.mp4").read_bytes() == b"film"


def test_frames_are_kept_as_they_will_be_read(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    kept = folder.put(0, _picture(0))
    assert kept.dtype == np.float32
    assert np.abs(kept - _picture(0)).max() <= 0.5 / 255 + 1e-6
    again = WorkFolder(tmp_path / "a.mp4", RECORD)
    np.testing.assert_array_equal(again.get(0), kept)
    np.testing.assert_array_equal(again.put(1, kept), kept)
    assert again.get(2) is None
    assert sorted(os.listdir(tmp_path)) == ["a.mp4.frames"]


def test_another_run_s_frames_are_not_gone_on_with(tmp_path):
    WorkFolder(tmp_path / "a.mp4", RECORD).put(0, _picture(0))
    other = {**RECORD, "size": 512}
    with pytest.raises(errors.InputError, match="size was 256 and is 512; use --overwrite"):
        WorkFolder(tmp_path / "a.mp4", other)
    assert WorkFolder(tmp_path / "a.mp4", RECORD).get(0) is not None
    assert WorkFolder(tmp_path / "a.mp4", other, overwrite=True).get(0) is None


def test_overwrite_goes_on_with_the_same_run_s_frames(tmp_path):
    WorkFolder(tmp_path / "a.mp4", RECORD).put(0, _picture(0))
    assert WorkFolder(tmp_path / "a.mp4", RECORD, overwrite=True).get(0) is not None


def test_something_else_by_that_name_is_left_alone(tmp_path):
    (tmp_path / "a.mp4.frames").write_text("mine")
    (tmp_path / "b.mp4.frames").mkdir()
    (tmp_path / "b.mp4.frames" / "mine.txt").write_text("mine")
    (tmp_path / "c.mp4.frames").mkdir()
    (tmp_path / "c.mp4.frames" / "run.json").write_text("mine")
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        for overwrite in (False, True):
            with pytest.raises(errors.InputError, match="is something else; rename it"):
                WorkFolder(tmp_path / name, RECORD, overwrite)
    assert (tmp_path / "a.mp4.frames").read_text() == "mine"
    assert (tmp_path / "c.mp4.frames" / "run.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "frames"])
def test_a_run_killed_before_its_record_was_written_begins_anew(tmp_path, name):
    (tmp_path / "a.mp4.frames" / name).mkdir(parents=True)
    assert WorkFolder(tmp_path / "a.mp4", RECORD).get(0) is None
    assert WorkFolder(tmp_path / "a.mp4", RECORD).put(0, _picture(0)) is not None


def test_a_run_killed_as_the_film_was_written_goes_on(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    folder.put(0, _picture(0))
    (folder.path / "film.mp4").write_bytes(b"half")
    assert WorkFolder(tmp_path / "a.mp4", RECORD).get(0) is not None


def test_a_frame_that_cannot_be_written_leaves_the_others(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    kept = folder.put(0, _picture(0))
    with (
        mock.patch.object(os, "replace", side_effect=OSError(28, "No space left")),
        pytest.raises(OSError, match="No space"),
    ):
        folder.put(1, _picture(1))
    assert os.listdir(folder.path / "frames") == ["000001.png"]
    np.testing.assert_array_equal(folder.get(0), kept)


def test_a_damaged_frame_is_painted_again(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    folder.put(0, _picture(0))
    path = folder.path / "frames" / "000001.png"
    path.write_bytes(path.read_bytes()[:200])
    assert folder.get(0) is None


def test_frames_are_shown_up_to_the_next(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    kept = [folder.put(number, _picture(number)) for number in range(3)]
    times = [Fraction(0), Fraction(1, 4), Fraction(1)]
    shown = list(folder.shown(times))
    assert [each.time for each in shown] == times
    assert [each.duration for each in shown] == [Fraction(1, 4), Fraction(3, 4), Fraction(3, 4)]
    for each, picture in zip(shown, kept, strict=True):
        np.testing.assert_array_equal(each.picture, np.rint(255 * picture))
    with pytest.raises(OSError, match=r"000004\.png is not there"):
        list(folder.shown([*times, Fraction(2)]))


def test_the_film_takes_its_place_at_the_end(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    (tmp_path / "a.mp4").write_bytes(b"before")
    written = []

    def write(path):
        assert (tmp_path / "a.mp4").read_bytes() == b"before"
        path.write_bytes(b"film")
        written.append(path)

    folder.finish(tmp_path / "a.mp4", write)
    assert written[0].suffix == ".mp4"
    assert (tmp_path / "a.mp4").read_bytes() == b"film"
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_film_that_cannot_be_written_leaves_frames_and_what_was_there(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    folder.put(0, _picture(0))
    (tmp_path / "a.mp4").write_bytes(b"before")

    def write(path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.finish(tmp_path / "a.mp4", write)
    assert (tmp_path / "a.mp4").read_bytes() == b"before"
    assert WorkFolder(tmp_path / "a.mp4", RECORD).get(0) is not None
    assert sorted(os.listdir(folder.path)) == ["frames", "run.json"]


@pytest.mark.parametrize("there", [False, True])
def test_frames_can_be_the_result(tmp_path, there):
    folder = WorkFolder(tmp_path / "painted", RECORD)
    folder.put(0, _picture(0))
    if there:
        (tmp_path / "painted").mkdir()
    folder.finish_folder(tmp_path / "painted")
    assert os.listdir(tmp_path) == ["painted"]
    assert os.listdir(tmp_path / "painted") == ["000001.png"]


def test_frames_have_their_manifests(tmp_path):
    folder = WorkFolder(tmp_path / "a.mp4", RECORD)
    folder.put(
        0, _picture(0), manifest.to_text({"config": {}, "losses": {"total": 0.1 + 0.2, "style": math.nan}})
    )
    folder.put(1, _picture(1))
    assert folder.made(0)["losses"] == {"total": 0.1 + 0.2, "style": None}
    assert folder.made(1) == folder.made(2) == {}
    assert folder.finished() == {0, 1}


def test_a_locked_folder_is_emptied_and_stays_locked(tmp_path):
    with work.locked(tmp_path / "a.mp4"):
        WorkFolder(tmp_path / "a.mp4", RECORD).put(0, _picture(0))
        assert WorkFolder(tmp_path / "a.mp4", {**RECORD, "size": 1}, overwrite=True).get(0) is None
        with (
            pytest.raises(errors.InputError, match=r"another run is painting .*a\.mp4; wait for it"),
            work.locked(tmp_path / "a.mp4"),
        ):
            pass
    assert os.listdir(tmp_path) == ["a.mp4.frames"]
