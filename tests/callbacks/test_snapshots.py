"""Pictures of a run on its way."""

import logging

import numpy as np
import pytest
from PIL import Image

from nst_tf import errors
from nst_tf.callbacks.snapshots import Snapshots
from nst_tf.io import pictures
from tests.support import fake_run


def test_a_picture_every_so_many_steps_of_the_results_size(tmp_path):
    snapshots = Snapshots(tmp_path / "out.png", 4)
    assert list(snapshots.on_begin(fake_run.SCALES, lambda: np.zeros((1, 1, 3)))) == [4, 8]
    fake_run.run([snapshots])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-step0004.png", "out-step0008.png"]
    for step, atol in ((4, 1), (8, 0)):
        with Image.open(tmp_path / f"out-step{step:04d}.png") as saved:
            assert saved.size == (48, 35)
            expected = pictures.to_uint8(fake_run.picture(step, 35, 48))
            np.testing.assert_allclose(np.asarray(saved, np.int16), expected, atol=atol)


def test_a_run_that_diverges_has_no_picture(tmp_path):
    fake_run.run([Snapshots(tmp_path / "out.png", 2)], diverges_at=5)
    assert len(list(tmp_path.iterdir())) == 2


def test_names_sort_as_the_steps_do(tmp_path):
    snapshots = Snapshots(tmp_path / "out.webp", 5000)
    long = fake_run.SCALES[0]._replace(num_steps=20_000)
    assert list(snapshots.on_begin([long], lambda: np.zeros((1, 1, 3)))) == [5000, 10000, 15000, 20000]
    assert snapshots.path(5000).name == "out-step05000.webp"


def test_what_they_may_replace_is_known_before(tmp_path):
    snapshots = Snapshots(tmp_path / "a[1].png", 4)
    for name in ("a[1]-step0004.png", "a[1]-step12.png"):
        (tmp_path / name).write_bytes(b"")
        assert snapshots.may_write(tmp_path / name)
    for name in ("a[1].png", "a[1]-step4.jpg", "a1-step0004.png", "a[1]-stepx.png"):
        (tmp_path / name).write_bytes(b"")
        assert not snapshots.may_write(tmp_path / name)
    assert [path.name for path in snapshots.existing()] == ["a[1]-step0004.png", "a[1]-step12.png"]


@pytest.mark.parametrize(
    ("output", "every", "message"),
    [("out.png", 0, "save_every: 0"), ("out.pgn", 5, "did you mean '.png'")],
)
def test_mistakes_are_found_at_once(output, every, message):
    with pytest.raises(errors.InputError, match=message):
        Snapshots(output, every)


def test_one_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    folder = tmp_path / "gone"
    folder.mkdir()
    snapshots = Snapshots(folder / "out.png", 4)
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        fake_run.run([snapshots])
    assert len(caplog.records) == 2
    assert "out-step0004.png could not be written" in caplog.text
