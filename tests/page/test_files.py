"""The files of a page: what is taken, what is removed."""

import contextlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from nst_tf import errors
from nst_tf.io import samples
from nst_tf.page import files
from tests.support import command as running


@pytest.fixture
def store():
    store = files.Store()
    yield store
    store.close()


def _upload(store, name="a.png", size=1000):
    path = store.uploads / "hash" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0" * size)
    return path


def _now_and_later():
    """Returns the time, after which file systems give another one to what is written."""
    time.sleep(0.05)
    now = time.time()
    time.sleep(0.05)
    return now


def test_only_this_user_can_read_the_folder_and_it_goes_with_the_page(store):
    root = store.uploads.parent
    assert root.stat().st_mode & 0o777 == 0o700
    assert list(store.working.iterdir()) == []
    store.close()
    assert not root.exists()


# A page's folder with a picture in it, in a process that then waits.
_PAGE = """
from nst_tf.page import files
store = files.Store()
(store.uploads / "photo.jpg").write_bytes(b"a face")
print(store.uploads.parent, flush=True)
input()
"""


def _line(process):
    """Returns the first line that a process prints."""
    return process.stdout.readline().strip()


def test_what_a_killed_page_left_goes_with_the_next_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = tmp_path / ".nst_tf-holiday" / "mine.png"
    other.parent.mkdir()
    other.write_bytes(b"another's")
    environment = running.environment(TMPDIR=str(tmp_path))
    with contextlib.ExitStack() as ending:
        pages = [
            ending.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _PAGE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for _ in range(2)
        ]
        for page in pages:
            ending.callback(page.kill)
        killed, alive = (pathlib.Path(_line(page)) for page in pages)
        pages[0].kill()
        pages[0].wait()
        assert (killed / "uploads" / "photo.jpg").exists()
        store = files.Store()
        assert not killed.exists()
        assert (alive / "uploads" / "photo.jpg").exists()
        store.close()
    assert other.exists()


def test_an_upload_and_a_sample_are_taken(store):
    assert store.accept(str(_upload(store)), "photograph", 1) == store.uploads / "hash" / "a.png"
    town = samples.to_path("sample:town")
    assert store.accept(str(town), "photograph", 1) == town


def test_no_other_path_is_taken(store, tmp_path):
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"secret")
    link = store.uploads / "link.png"
    link.symlink_to(outside)
    up = store.uploads / ".." / ".." / tmp_path.name / "secret.png"
    for path in ("/etc/passwd", outside, link, up, "secret.png", store.working, ""):
        with pytest.raises(errors.InputError, match="photograph: not a file of this page; upload"):
            store.accept(str(path), "photograph", 1)


def test_messages_for_a_browser_have_no_folders(store):
    path = store.session_folder() / "my picture 1.png"
    text = f"content: {path} is no picture; nor is {_upload(store, 'b.png')}; /tmp/c.png is"
    assert (
        store.without_folders(text) == "content: my picture 1.png is no picture; nor is b.png; /tmp/c.png is"
    )


def test_what_is_too_large_or_gone_is_refused(store):
    path = _upload(store, size=1_000_001)
    with pytest.raises(errors.InputError, match=r"painting 2: 1\.0 MB; allowed: 1 MB on this page"):
        store.accept(path, "painting 2", 1)
    path.unlink()
    with pytest.raises(errors.InputError, match="painting: deleted an hour after its last use; upload it"):
        store.accept(path, "painting", 1)


def _sweep_as_if_later(store, then):
    """Sweeps as it is done an hour after a time."""
    store.sweep(then + files.AGE_S)


def test_what_was_not_used_for_an_hour_is_removed(store):
    old = _upload(store, "old.png")
    session = store.session_folder()
    (session / "picture-1.png").write_bytes(b"picture")
    then = _now_and_later()
    new = _upload(store, "new.png")
    copied = store.uploads / "copied.png"
    shutil.copy2(samples.to_path("sample:town"), copied)  # with the time of the package's file
    _sweep_as_if_later(store, then)
    assert not old.exists()
    assert list(session.iterdir()) == []
    assert new.exists()
    assert copied.exists()
    store.sweep(time.time() + files.AGE_S + 1)
    assert not copied.exists()
    assert not session.exists()
    assert store.working.is_dir()
    assert store.session_folder().is_dir()


def test_use_keeps_a_file_for_another_hour(store):
    path = _upload(store)
    then = _now_and_later()
    store.accept(path, "photograph", 1)
    _sweep_as_if_later(store, then)
    assert path.exists()
    store.sweep(time.time() + files.AGE_S + 1)
    assert not path.exists()
    assert store.uploads.is_dir()


def test_what_stands_on_the_page_stays(store):
    own = _upload(store, "own.png")
    store.keep()
    other = _upload(store, "other.png")
    store.sweep(time.time() + files.AGE_S + 1)
    assert own.exists()
    assert not other.exists()
