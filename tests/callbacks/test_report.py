"""What a person sees of a run, and the record of its losses."""

import csv
import io

import numpy as np
import pytest

from nst_tf.callbacks import report
from nst_tf.config import scales
from nst_tf.engine.progress import Progress, TraceRow
from nst_tf.losses.values import FrameLosses, Losses

SCALES = (scales.Scale(48, 64, 6, 0.5), scales.Scale(96, 128, 4, 1.0))


def _progress(step, scale_index=0, count=1, variation=0.0):
    rows = tuple(Losses(30.0 - i, 10.0, 20.0, variation) for i in range(count))
    return Progress(scale_index, SCALES, step, 10, rows, lambda: np.zeros((1, 1, 3)))


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_row_for_every_evaluation():
    recorder = report.Recorder()
    recorder.on_step(_progress(2, count=2))
    recorder.on_step(_progress(6, count=4))
    recorder.on_step(_progress(10, scale_index=1, count=4))
    assert [row.step for row in recorder.rows] == list(range(1, 11))
    assert [row.scale for row in recorder.rows] == [1] * 6 + [2] * 4
    seconds = [row.seconds for row in recorder.rows]
    assert seconds == sorted(seconds)
    assert recorder.rows[1].total == 29.0


def test_the_trace_is_a_csv_of_these_columns(tmp_path):
    rows = [TraceRow(1, 1, 3.0, 1.0, 2.0, 0.0, 0.5), TraceRow(1, 2, 2.5, 1.0, 1.5, 0.0, 0.9)]
    report.write_trace(rows, tmp_path / "trace.csv")
    with (tmp_path / "trace.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == [
        "scale",
        "step",
        "total",
        "content",
        "style",
        "total_variation",
        "seconds",
    ]
    assert [float(row["total"]) for row in read] == [3.0, 2.5]


def test_plain_lines_in_a_pipe():
    stream = io.StringIO()
    bar = report.ProgressBar(stream)
    for step in range(1, 11):
        bar(_progress(step, scale_index=int(step > 6)))
    bar.close()
    lines = stream.getvalue().splitlines()
    assert 5 <= len(lines) <= 11
    assert lines[-1] == "step 10 of 10, 128 x 96: content 10, style 20"


def test_plain_lines_say_how_much_time_is_left(monkeypatch):
    """Three small steps take 6 s; left are two more and four of four times as many pixels."""
    stream, clock = io.StringIO(), iter([10.0, 16.0, 99.0])
    monkeypatch.setattr("nst_tf.callbacks.report.time.perf_counter", lambda: next(clock))
    bar = report.ProgressBar(stream)
    for step in (1, 4, 10):
        bar(_progress(step, scale_index=int(step > 6)))
    bar.close()
    left = 2 * (2 + 4 * 4)
    first, second, last = stream.getvalue().splitlines()
    assert second.endswith(f"; about 00:{left} left")
    assert "left" not in first + last


def test_a_bar_at_a_terminal():
    stream = _Terminal()
    bar = report.ProgressBar(stream)
    bar(_progress(4))
    bar(_progress(10, scale_index=1))
    bar.close()
    shown = stream.getvalue()
    assert "\r" in shown
    assert "step 10 of 10, 128 x 96: content 10, style 20" in shown
    # Four of six small steps and none of four large ones: a pixel counts the same at every scale.
    assert f"{100 * 4 * 48 * 64 / (6 * 48 * 64 + 4 * 96 * 128):.0f}%" in shown
    assert "100%" in shown


@pytest.mark.parametrize(("variation", "shown"), [(0.0, False), (5.0, True)])
def test_total_variation_is_shown_where_there_is_some(variation, shown):
    text = report.describe_losses(Losses(1.0, 2.0, 3.0, variation))
    assert ("total variation 5" in text) == shown
    assert "earlier" not in text


def test_what_earlier_frames_add_is_shown_and_is_no_part_of_a_trace():
    losses = FrameLosses(10.0, 2.0, 3.0, 0.0, 5.0)
    assert report.describe_losses(losses) == "content 2, style 3, earlier frames 5"
    recorder = report.Recorder()
    recorder.on_step(_progress(1)._replace(losses=(losses,)))
    assert recorder.rows[0][2:6] == (10.0, 2.0, 3.0, 0.0)
