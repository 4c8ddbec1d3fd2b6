"""Paths as people type them."""

import os
import pathlib

import pytest

from nst_tf import errors
from nst_tf.io import paths


def test_a_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert paths.typed("~/a.png", "content") == pathlib.Path("/home/someone/a.png")
    assert paths.typed("a~/b.png", "content") == pathlib.Path("a~/b.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * 300 + ".png", "File name too long"),
        ("x" * 300 + "/a.png", "File name too long"),
        ("a/" * 3000 + "b.png", "File name too long"),
        ("a\0b.png", "embedded null"),
        ("\ud800.png", "surrogates not allowed"),
        ("loop.png", "symbolic links"),
    ],
)
def test_a_path_that_no_file_can_have_gets_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink("loop.png", "loop.png")
    with pytest.raises(errors.InputError, match=f"^output: .*{message}.*; name another$") as caught:
        paths.typed(text, "output")
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize("text", ["gone.png", "gone/a.png", "file/a.png", "\udc80.png", "sample:town"])
def test_whether_there_is_a_file_others_find_out(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("file").write_bytes(b"")
    assert paths.typed(text, "output") == pathlib.Path(text)


def test_in_a_folder_that_has_been_removed_whole_paths_alone_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert paths.typed(tmp_path / "a.png", "output") == tmp_path / "a.png"
    assert paths.typed("sample:town", "content") == pathlib.Path("sample:town")
    with pytest.raises(
        errors.InputError, match=r"output: a\.png is relative to the current folder, which has"
    ):
        paths.typed("a.png", "output")
