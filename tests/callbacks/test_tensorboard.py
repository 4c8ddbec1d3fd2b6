"""What TensorBoard will show of a run."""

import importlib.util
import logging

import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from nst_tf import errors
from nst_tf.callbacks import tensorboard
from nst_tf.callbacks.tensorboard import TensorBoard
from nst_tf.losses.values import Losses
from tests.support import fake_run

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed"
)


def _events(folder):
    """Returns {tag: [(step, value)]} of a folder's one file."""
    (path,) = tensorboard.existing(folder)
    found: dict = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = event_pb2.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    return found


@needs_tensorboard
def test_losses_of_every_step_and_some_pictures(tmp_path):
    fake_run.run([TensorBoard(tmp_path / "logs")])
    events = _events(tmp_path / "logs")
    assert set(events) == {"picture", "scale", *(f"losses/{term}" for term in Losses._fields)}
    for term, first in (("total", 10.0), ("content", 4.0), ("style", 6.0)):
        assert [step for step, _ in events[f"losses/{term}"]] == list(range(1, 11))
        assert [float(value) for _, value in events[f"losses/{term}"]] == pytest.approx(
            [first / step for step in range(1, 11)]
        )
    assert [float(value) for _, value in events["scale"]] == [1.0] * 6 + [2.0] * 4
    pictures = events["picture"]
    assert pictures[0][0] == 0
    assert pictures[-1][0] == 10
    assert len(pictures) <= 10
    width, height, png = pictures[-1][1]
    assert (width, height) == (b"48", b"35")
    shown = tf.io.decode_png(png).numpy()
    assert abs(float(shown.mean()) / 255 - fake_run.picture(10, 35, 48).mean()) < 0.005


@needs_tensorboard
def test_a_folder_holds_one_run(tmp_path):
    (tmp_path / "events.out.tfevents.1.old").write_bytes(b"")
    (tmp_path / "mine.txt").write_bytes(b"")
    fake_run.run([TensorBoard(tmp_path)], diverges_at=3)
    assert {step for step, _ in _events(tmp_path)["picture"]} < {0, 1, 2}
    assert (tmp_path / "mine.txt").is_file()


@needs_tensorboard
def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        fake_run.run([TensorBoard(tmp_path / "gone" / "logs")])
    assert len(caplog.records) == 1
    assert "cannot be written to" in caplog.text


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(errors.InputError, match=r"pip install '\.\[tensorboard\]' in "):
        TensorBoard("logs")
