"""What a person sees of a batch while it goes on."""

import dataclasses
import io
import itertools
import sys
import time
import tracemalloc

import pytest

from nst_tf.batch import progress
from tests.batch.test_outcomes import HOSTILE, done, failed


class _Terminal(io.StringIO):
    def isatty(self):
        return True


class _Gone(io.StringIO):
    """A stream whose reader has gone away, as a pipe's does."""

    def __init__(self, at_terminal):
        super().__init__()
        self.at_terminal, self.asked = at_terminal, 0

    def isatty(self):
        return self.at_terminal

    def write(self, _):
        self.asked += 1
        raise BrokenPipeError(32, "Broken pipe")


class _Clock:
    """A clock that a test sets, in seconds."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("nst_tf.batch.progress.time.monotonic", lambda: self.now)

    def __call__(self, seconds):
        self.now = 1000.0 + seconds


@pytest.fixture
def clock(monkeypatch):
    return _Clock(monkeypatch)


def skipped(number):
    """Returns the outcome of a row whose picture was there."""
    return dataclasses.replace(done(number), status="skipped")


def test_lines_in_a_log_are_half_a_minute_apart(clock):
    stream = io.StringIO()
    shown = progress.Progress(1000, stream)
    for second in range(100):
        clock(second)
        shown.add(done(second))
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{n} of 1,000" for n in (1, 31, 61, 91)]
    assert "\r" not in stream.getvalue()


def test_what_is_skipped_counts_neither_for_the_rate_nor_for_the_time_left(clock):
    stream = io.StringIO()
    shown = progress.Progress(2000, stream)
    for number in range(1000):
        clock(number / 10)
        shown.add(skipped(number))
    for number, second in enumerate((100, 140, 180), start=1000):
        clock(second)
        shown.add(done(number))
    line = stream.getvalue().splitlines()[-1]
    # Two pictures in the 80 seconds after the first, and 997 are left.
    seconds = 997 * 40
    left = f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02} left"
    assert line == f"1,003 of 2,000: 3 done, 1,000 skipped, 0 failed; {left}; 1.5 a minute"


def test_the_rate_follows_workers_that_come(clock):
    stream = io.StringIO()
    shown = progress.Progress(100_000, stream)
    numbers = itertools.count()
    for second in range(0, 3600, 10):
        clock(second)
        shown.add(done(next(numbers)))
    for second in range(3600, 7200):
        clock(second)
        shown.add(done(next(numbers)))
    assert " left; 60 a minute" in stream.getvalue().splitlines()[-1]


def test_pictures_that_come_together_tell_no_rate(clock):
    stream = io.StringIO()
    shown = progress.Progress(10, stream)
    clock(60)
    shown.add(done(0))
    clock(60.01)
    shown.add(done(1))
    assert "a minute" not in stream.getvalue()


def test_the_end_tells_all(clock):
    stream = io.StringIO()
    shown = progress.Progress(4, stream)
    for outcome in (done(0), done(1), skipped(2), failed(3)):
        clock(90)
        shown.add(outcome)
    shown.end()
    last = stream.getvalue().splitlines()[-1]
    assert last == "4 of 4: 2 done, 1 skipped, 1 failed in 01:30; 1.33 pictures a minute"


def test_a_terminal_has_one_line_that_is_renewed(clock):
    stream = _Terminal()
    shown = progress.Progress(3, stream)
    for number in range(3):
        clock(number * 20)
        shown.add(done(number))
    before = stream.getvalue()
    assert before.count("\r") >= 3
    assert "\n" not in before
    assert "2 of 3: 2 done, 0 skipped, 0 failed; 00:20 left; 3 a minute" in before
    shown.end()
    assert stream.getvalue().endswith(
        "\r3 of 3: 3 done, 0 skipped, 0 failed in 00:40; 4.5 pictures a minute\n"
    )


def test_a_terminal_is_renewed_ten_times_a_second_at_most(clock):
    stream = _Terminal()
    shown = progress.Progress(10_000, stream)
    for number in range(10_000):
        clock(number / 1000)
        shown.add(done(number))
    assert 90 <= stream.getvalue().count(" of 10,000: ") <= 110


@pytest.mark.parametrize("stream_type", [io.StringIO, _Terminal])
def test_the_first_failures_are_told_at_once_in_printable_lines(stream_type, clock):
    stream = stream_type()
    shown = progress.Progress(50, stream)
    for number, name in enumerate([*HOSTILE, *HOSTILE]):
        clock(number)
        shown.add(failed(number, content=name, why=f"no picture: {name}"))
    lines = stream.getvalue().replace("\r", "\n").split("\n")
    told = [line for line in lines if line.startswith("failed: ")]
    assert len(told) == 10
    assert all(line.isprintable() for line in told)
    assert told[0] == r"failed: two\nlines.jpg: no picture: two lines.jpg"
    assert told[-1].endswith("; further ones are listed in failed.jsonl at the end")


@pytest.mark.parametrize("at_terminal", [False, True])
def test_a_reader_that_goes_away_costs_nothing(at_terminal, clock):
    stream = _Gone(at_terminal)
    shown = progress.Progress(1000, stream)
    for number in range(500):
        clock(60 * number)
        shown.add(failed(number) if number % 2 else done(number))
    shown.end()
    assert stream.asked == 1


@pytest.mark.parametrize("is_open", [True, False])
def test_a_stream_that_is_closed_or_not_there_is_no_reason_to_end(is_open, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream if is_open else None)
    shown = progress.Progress(10)
    stream.close()
    shown.add(done(0))
    shown.add(failed(1))
    shown.end()


def test_a_million_rows_take_no_memory_and_little_time(clock):
    shown, number = progress.Progress(1_000_000, io.StringIO()), 0
    outcome = done(0)

    def add(count):
        nonlocal number
        for _ in range(count):
            number += 1
            clock(number / 10)
            shown.add(outcome)

    add(20_000)  # whose marks fill what is kept of them
    tracemalloc.start()
    try:
        add(20_000)
        first = tracemalloc.get_traced_memory()[0]
        add(20_000)
        assert tracemalloc.get_traced_memory()[0] - first < 50_000
    finally:
        tracemalloc.stop()
    start = time.perf_counter()
    add(100_000)
    assert time.perf_counter() - start < 10.0  # of 0.3; an engine takes milliseconds a row
