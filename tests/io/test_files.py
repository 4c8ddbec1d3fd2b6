"""Files appear whole or not at all, and what killed processes left is removed."""

import errno
import gc
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest

from nst_tf.io import files

fcntl = pytest.importorskip("fcntl", reason="this system has no locks of files")

# Opens a temporary, says so, and waits to be killed.
_WRITER = """
import pathlib, sys, time
from nst_tf.io import files
with files.{make}(pathlib.Path(sys.argv[1])) as made:
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["replacing", "temporary_folder"])
def writer(request, tmp_path):
    """A process in the middle of writing to a folder."""
    target = tmp_path / "picture.png" if request.param == "replacing" else tmp_path
    code = _WRITER.format(make=request.param)
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_replaces_a_file_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with files.replacing(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), files.replacing(path) as file:
        file.write("text, which is not bytes")  # type: ignore[call-overload]
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_a_new_file_has_the_mode_that_the_mask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with files.replacing(tmp_path / "file") as file:
            file.write(b"text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    for number, write in enumerate((_write, _move)):
        link = tmp_path / f"link{number}"
        link.symlink_to(tmp_path / "file")
        write(link)
        assert not link.is_symlink()
        assert link.read_bytes() == b"after"
    assert (tmp_path / "file").read_bytes() == b"before"


def _write(path):
    with files.replacing(path) as file:
        file.write(b"after")


def _move(path):
    with files.temporary_folder(path.parent) as folder:
        (folder / "made").write_bytes(b"after")
        files.move(folder / "made", path)


@pytest.fixture(params=["links", "no links", "no handles"])
def system(request, monkeypatch):
    """A system whose file systems can give files a second name, cannot, or that has no handles of folders."""

    def refused(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param != "links":
        monkeypatch.setattr(os, "link", refused)
    if request.param == "no handles":
        monkeypatch.setattr(files, "_HAS_HANDLES", False)
    return request.param


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("planted", ["file", "link", "dangling link"])
def test_without_overwrite_a_file_that_appears_meanwhile_stays(tmp_path, planted):
    place = files.Place(tmp_path / "picture", overwrite=False)
    (tmp_path / "victim").write_bytes(b"dear to me")
    if planted == "file":
        (tmp_path / "picture").write_bytes(b"theirs")
    else:
        (tmp_path / "picture").symlink_to(tmp_path / ("victim" if planted == "link" else "nothing"))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(FileExistsError), files.replacing(place) as file:
        file.write(b"ours")
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "victim").read_bytes() == b"dear to me"


@pytest.mark.usefixtures("system")
def test_without_overwrite_a_new_file_is_written(tmp_path):
    with files.replacing(files.Place(tmp_path / "picture", overwrite=False)) as file:
        file.write(b"ours")
    assert (tmp_path / "picture").read_bytes() == b"ours"
    assert os.listdir(tmp_path) == ["picture"]


def test_a_folder_is_opened_once_whatever_its_path_comes_to_mean(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "picture").write_bytes(b"dear to me")
    place = files.Place(tmp_path / "shared" / "picture")
    (tmp_path / "shared").rename(tmp_path / "moved")
    (tmp_path / "shared").symlink_to(tmp_path / "theirs")
    with files.replacing(place) as file:
        file.write(b"ours")
    with files.replacing(place.with_name("beside")) as file:
        file.write(b"ours")
    assert (tmp_path / "theirs" / "picture").read_bytes() == b"dear to me"
    assert sorted(os.listdir(tmp_path / "moved")) == ["beside", "picture"]


def test_a_place_leaves_no_handle_open(tmp_path):
    gc.collect()  # what earlier tests left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        place = files.Place(tmp_path / "picture")
        with files.replacing(place.with_name("other")) as file:
            file.write(b"text")
        del place, file
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    (tmp_path / "private").write_bytes(b"before")
    (tmp_path / "private").chmod(0o600)
    _write(tmp_path / "private")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_what_describes_the_file_before_goes_as_it_does(tmp_path):
    for name in ("picture", "picture.json"):
        (tmp_path / name).write_bytes(b"before")
    with files.replacing(tmp_path / "picture", outdated=["picture.json"]) as file:
        file.write(b"after")
        assert sorted(os.listdir(tmp_path))[1:] == ["picture", "picture.json"]
    assert os.listdir(tmp_path) == ["picture"]


def test_a_file_is_moved_out_of_a_temporary_folder_that_goes(tmp_path):
    with files.temporary_folder(tmp_path) as folder:
        (folder / "made").write_bytes(b"bytes")
        (folder / "other").write_bytes(b"more")
        files.move(folder / "made", tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"bytes"


def test_a_folder_that_has_been_renamed_stays(tmp_path):
    with files.temporary_folder(tmp_path) as folder:
        (folder / "made").write_bytes(b"bytes")
        folder.rename(tmp_path / "1")
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["made"]


def test_a_folder_that_another_process_took_for_abandoned_is_made_again(tmp_path, monkeypatch):
    opened = os.open
    removed: list[pathlib.Path] = []

    def late(path, *arguments, **named):
        if not removed:
            removed.append(path)
            os.rmdir(path)
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", late)
    with files.temporary_folder(tmp_path) as folder:
        assert folder.is_dir()
        assert folder != removed[0]


def _temporaries(folder: pathlib.Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def test_what_another_process_is_writing_stays(tmp_path, writer):
    files.remove_abandoned(tmp_path)
    assert len(_temporaries(tmp_path)) == 1
    assert writer.poll() is None


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path, writer):
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert len(_temporaries(tmp_path)) == 1
    with files.replacing(tmp_path / "other.png") as file:
        file.write(b"picture")
    assert os.listdir(tmp_path) == ["other.png"]


def test_what_is_named_like_a_temporary_and_is_none_stays(tmp_path):
    (tmp_path / ".nst_tf-pictures").mkdir()
    (tmp_path / ".nst_tf-pictures" / "mine.png").write_bytes(b"picture")
    (tmp_path / f".nst_tf-{'0' * 16}.png").write_bytes(b"picture")
    with files.replacing(tmp_path / "other.png") as file:
        file.write(b"picture")
    assert sorted(os.listdir(tmp_path)) == [
        *(".nst_tf-0000000000000000.png", ".nst_tf-pictures", "other.png")
    ]
    assert (tmp_path / ".nst_tf-pictures" / "mine.png").exists()


def test_a_system_without_locks_writes_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / f".nst_tf-{'0' * 16}").write_bytes(b"half")
    with files.replacing(tmp_path / "file") as file:
        file.write(b"text")
    with files.temporary_folder(tmp_path) as folder:
        (folder / "made").write_bytes(b"bytes")
        files.move(folder / "made", tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def flock(handle, operation):
        del handle, operation
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / f".nst_tf-{'0' * 16}").write_bytes(b"perhaps by another machine")
    with files.replacing(tmp_path / "file") as file:
        file.write(b"text")
    assert sorted(os.listdir(tmp_path)) == [f".nst_tf-{'0' * 16}", "file"]


def test_a_folder_is_one_process_s_at_a_time(tmp_path):
    folder = tmp_path / "a"
    code = f"""
import pathlib, time
from nst_tf.io import files
with files.locked_folder(pathlib.Path({str(folder)!r})) as is_free:
    print(is_free, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with files.locked_folder(folder) as is_free:
            assert not is_free
        assert folder.is_dir()
        process.kill()
    with files.locked_folder(folder) as is_free:
        assert is_free
        (folder / "file").write_bytes(b"text")
    assert os.listdir(folder) == ["file"]


def test_a_folder_with_nothing_in_it_does_not_stay(tmp_path):
    with files.locked_folder(tmp_path / "a") as is_free:
        assert is_free
        assert (tmp_path / "a").is_dir()
    assert not os.listdir(tmp_path)


def test_a_folder_that_was_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    flock, calls = fcntl.flock, []

    def late(handle, operation):
        calls.append(handle)
        if len(calls) == 1:
            (tmp_path / "a").rmdir()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with files.locked_folder(tmp_path / "a") as is_free:
        assert is_free
        assert (tmp_path / "a").is_dir()
    assert len(calls) == 2


@pytest.mark.parametrize("without", ["locks", "locks on this file system", "a folder"])
def test_what_cannot_be_locked_is_used_as_it_is(tmp_path, monkeypatch, without):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    path = tmp_path / "a"
    if without == "locks":
        monkeypatch.setattr(files, "fcntl", None)
    elif without == "a folder":
        path.write_bytes(b"text")
    else:
        monkeypatch.setattr(fcntl, "flock", refused)
    with files.locked_folder(path) as is_free:
        assert is_free
    assert path.exists() == (without == "a folder")


@pytest.mark.parametrize("error", [1, 22, 95])
def test_a_file_system_that_cannot_flush_or_lock_costs_nothing(tmp_path, monkeypatch, error):
    """EPERM, EINVAL, EOPNOTSUPP: as of network and USB drives."""

    def refused(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(os, "fsync", refused)
    monkeypatch.setattr(os, "fchmod", refused)
    (tmp_path / "file").write_bytes(b"before")
    with files.replacing(tmp_path / "file") as file:
        file.write(b"text")
    assert (tmp_path / "file").read_bytes() == b"text"


def test_a_disk_that_fills_up_as_it_is_flushed_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), files.replacing(tmp_path / "file") as file:
        file.write(b"after")
    assert (tmp_path / "file").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_written_to_its_place_is_written_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    there = files.write_somewhere(lambda path: pathlib.Path(path).write_bytes(b"a"), tmp_path / "there.png")
    assert there == (tmp_path / "there.png", "")
    gone = tmp_path / "gone" / "picture.png"
    path, line = files.write_somewhere(lambda path: pathlib.Path(path).write_bytes(b"b"), gone)
    assert path.read_bytes() == b"b"
    assert path.name == "picture.png"
    assert path.parent.parent == tmp_path
    assert line.startswith(f"{gone} could not be written: ")
    assert line.endswith(f"; it is {path}")


def test_what_cannot_be_written_anywhere_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_somewhere(full, tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())
