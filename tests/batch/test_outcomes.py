"""The list of failures, whatever files are called."""

import json

import pytest

from nst_tf.batch import outcomes

# What names of files can have: line breaks, a terminal's commands, no Unicode, a reader's own characters.
HOSTILE = [
    "two\nlines.jpg",
    "\r\x1b[2J\x1b]0;title\x07.jpg",
    "not unicode \udcff.jpg",
    "turned \u202e gpj.exe",
    "\u2028\x7f\x85.jpg",
    "\"'}{],&<script>alert(1)</script>.jpg",
    "Müller 日本.jpg",
]


def failed(number, content="photo.jpg", why="no picture", **changes):
    """Returns the outcome of a row that failed."""
    return outcomes.Outcome(
        number, content, ("painting.jpg",), "painted/photo.png", "failed", 1.5, 2, why, **changes
    )


def done(number, content="photo.jpg", output=None, **changes):
    """Returns the outcome of a row that was painted."""
    output = f"painted/{number}.png" if output is None else output
    return outcomes.Outcome(number, content, ("paintings/one.jpg",), output, "done", 2.0, 1, **changes)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_is_printable_and_a_reader_gets_the_name_back(name):
    text = outcomes.failures([failed(0, content=name)])
    assert text.endswith(b"\n")
    assert all(ord(" ") <= byte <= ord("~") for byte in text[:-1])
    assert json.loads(text)["content"] == name


def test_a_line_for_each_failure_in_the_order_of_rows():
    listed = [failed(7, why="seventh"), done(3), failed(2, why="second"), done(9)]
    lines = outcomes.failures(listed).decode().splitlines()
    assert [json.loads(line)["why"] for line in lines] == ["second", "seventh"]
    assert json.loads(lines[0]) == {
        "content": "photo.jpg",
        "styles": ["painting.jpg"],
        "output": "painted/photo.png",
        "why": "second",
        "tries": 2,
    }


def test_without_failures_it_is_empty():
    assert outcomes.failures([done(0)]) == b""


@pytest.mark.parametrize(
    ("why", "line"),
    [
        ("content: a.jpg\n  is no picture\n", "content: a.jpg is no picture"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\udcff", r"\udcff"),
    ],
)
def test_a_reason_is_one_printable_line(why, line):
    assert json.loads(outcomes.failures([failed(0, why=why)]))["why"] == line


def test_a_reason_has_a_length_that_a_person_reads():
    assert len(outcomes.one_line("much " * 100_000)) < 3000


@pytest.mark.parametrize(
    ("pictures", "seconds", "text"),
    [
        (1, 60, "1"),
        (100, 60 * 30, "3.33"),
        (20_000, 60, "20,000"),
    ],
)
def test_rates(pictures, seconds, text):
    assert outcomes.a_minute(pictures, seconds) == text
