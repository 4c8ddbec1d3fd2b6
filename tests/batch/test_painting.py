"""A worker without Ray and without a network: what is skipped, refused, written, tried again."""

import collections
import errno
import io
import json
import os
import pathlib
import re
import shutil
import types

import fsspec
import numpy as np
import pytest
from PIL import Image

from nst_tf.batch import painting, rows, storage, tries
from nst_tf.engine import checkpoints
from nst_tf.io import files, pictures
from tests.support import batches

FULL = "could not be written: No space left on device"

SETTINGS = rows.Settings("gram", {"size": 64, "weights": "builtin"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photographs."""
    batches.write_photographs(tmp_path / "photos", 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _rename(name):
    pathlib.Path("photos/photo00.png").rename(f"photos/{name}.png")


def _row(output="painted", names="{content}.png"):
    (row,) = rows.plan(["photos"], rows.Common(output=output, names=names, styles=["sample:strokes"]))
    return row


def _outcome(row, chosen=SETTINGS, output="painted", **changes):
    folder = output if "://" in output else os.path.abspath(output)
    return painting.Worker(batches.job(folder, chosen, **changes)).outcome(row)


@pytest.mark.usefixtures("folder")
class TestSkipping:
    """Outputs that are there."""

    def test_one_that_is_there_is_skipped(self):
        row = _row()
        assert (_outcome(row).status, _outcome(row).status) == ("done", "skipped")
        assert not os.path.exists("painted/.nst_tf-batch") or not os.listdir("painted/.nst_tf-batch")

    @pytest.mark.parametrize(
        "change", ["settings", "preset", "photograph", "painting", "damage", "another's picture"]
    )
    def test_one_that_another_run_made_needs_overwrite(self, change):
        row, chosen = _row(), SETTINGS
        _outcome(row)
        if change == "settings":
            chosen = rows.Settings("gram", {**SETTINGS.overrides, "seed": 7})
        elif change == "preset":
            chosen = rows.Settings("gatys2015", SETTINGS.overrides)
        elif change == "photograph":
            Image.new("RGB", (64, 48)).save("photos/photo00.png")
        elif change == "painting":
            row = rows.Row(**{**vars(row), "styles": ("sample:mosaic",)})
        elif change == "damage":
            os.truncate(row.output, os.path.getsize(row.output) - 100)
        else:
            Image.new("RGB", (64, 48)).save(row.output)
            os.remove(f"{row.output}.json")
        before = pathlib.Path(row.output).read_bytes()
        refused = _outcome(row, chosen)
        assert (refused.status, "use --overwrite" in refused.why) == ("failed", True)
        assert pathlib.Path(row.output).read_bytes() == before
        assert _outcome(row, chosen, overwrite=True).status == "done"
        assert _outcome(row, chosen, overwrite=True).status == "skipped"

    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    def test_a_manifest_that_is_missing_beside_one_is_written(self, name):
        row = _row(names=name)
        _outcome(row)
        beside = pathlib.Path(f"{row.output}.json")
        text = beside.read_text()
        beside.unlink()
        assert _outcome(row).status == "skipped"
        assert beside.read_text() == text

    def test_a_format_without_a_place_for_it_has_it_beside(self):
        row = _row(names="a.bmp")
        assert [_outcome(row).status for _ in range(2)] == ["done", "skipped"]
        os.remove(f"{row.output}.json")
        assert _outcome(row).status == "failed"
        # Unless it was a try of this batch's own that was killed between the two files.
        tries.Marker(os.path.abspath("painted"), row.output).write(tries.Try("before", "", 1))
        assert _outcome(row).status == "done"


@pytest.mark.usefixtures("folder")
class TestTries:
    """What goes wrong."""

    @pytest.mark.parametrize(
        ("name", "status", "why"),
        [
            ("diverges", "failed", "infinite or NaN"),
            ("defect", "failed", "ZeroDivisionError: a defect"),
            ("large", painting.POSTPONED, ""),
        ],
    )
    def test_what_becomes_of(self, name, status, why):
        _rename(name)
        found = _outcome(_row())
        assert (found.status, why in found.why, found.tries) == (status, True, 1)
        assert bool(os.listdir("painted/.nst_tf-batch")) == (status == painting.POSTPONED)
        assert not os.path.exists(f"painted/{name}.png")

    def test_one_that_is_too_large_is_tried_alone_with_smaller_tiles(self):
        _rename("large")
        assert _outcome(_row()).status == painting.POSTPONED
        found = _outcome(_row(), alone=True)
        assert (found.status, found.tries) == ("done", 2)

    @pytest.mark.parametrize("alone", [False, True])
    def test_one_whose_worker_was_killed(self, alone):
        marker = tries.Marker(os.path.abspath("painted"), _row().output)
        marker.write(tries.Try("now", "", 1))
        found = _outcome(_row(), alone=alone)
        assert (found.status, found.tries) == (("done", 2) if alone else (painting.POSTPONED, 1))

    def test_one_whose_worker_was_killed_each_time(self):
        marker = tries.Marker(os.path.abspath("painted"), _row().output)
        marker.write(tries.Try("now", "", 2, smaller=True))
        found = _outcome(_row(), alone=True)
        assert (found.status, found.tries) == ("failed", 2)
        assert "killed each time" in found.why
        assert marker.read() is None

    def test_a_photograph_that_is_none(self):
        pathlib.Path("photos/photo00.png").write_bytes(b"none")
        found = _outcome(_row())
        assert (found.status, found.tries) == ("failed", 1)
        assert "is not a picture in a known format" in found.why

    def test_a_photograph_that_is_gone(self):
        row = _row()
        os.remove("photos/photo00.png")
        assert "photo00.png" in _outcome(row).why

    def test_a_folder_that_cannot_be_written(self):
        pathlib.Path("painted").touch()
        found = _outcome(_row())
        assert (found.status, "could not be written" in found.why) == ("failed", True)


class Disk:
    """A disk that holds so many bytes: what is more fails as it is flushed, as on systems that write late."""

    def __init__(self, folder, size, monkeypatch):
        """Puts the disk under a folder."""
        self.folder, self.size = folder, size
        monkeypatch.setattr(files, "_flush", self._flush)
        monkeypatch.setattr(shutil, "disk_usage", self._usage)

    def free(self):
        return self.size - sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def _usage(self, path):
        assert pathlib.Path(path) == self.folder
        return types.SimpleNamespace(free=max(0, self.free()))

    def _flush(self, handle):
        del handle
        if self.free() < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestFullDisk:
    """A disk that fills up."""

    @pytest.mark.parametrize("kind", ["png", "bmp"])
    def test_pictures_are_whole_or_absent_and_the_next_batch_does_the_rest(self, kind, folder, monkeypatch):
        batches.write_photographs(folder / "photos", 8)
        painted = []

        class Engine(batches.Copying):
            def paint(self, ready):
                painted.append(ready.paths.content.name)
                return super().paint(ready)

        common = rows.Common(output="painted", names=f"{{content}}.{kind}", styles=["sample:strokes"])
        planned = rows.plan(["photos"], common)
        assert _outcome(planned[0]).status == "done"
        disk = Disk(folder / "painted", 0, monkeypatch)
        used = -disk.free()
        # Room for three pictures, for a fourth or not quite: sometimes for its picture, not for its manifest.
        for left in range(0, used, used // 12):
            shutil.rmtree("painted")
            painted.clear()
            disk.size = 3 * used + left
            worker = painting.Worker(batches.job(folder / "painted", SETTINGS, make_engine=Engine))
            found = [worker.outcome(row) for row in planned]
            done = [each for each in found if each.status == "done"]
            assert 2 <= len(done) <= 4
            for each in (each for each in found if each not in done):
                assert each.status == "failed"
                why = rf"output: {re.escape(each.output)}(\.json)? {FULL}"
                assert re.fullmatch(why, each.why)
            there = {path.name for path in pathlib.Path("painted").iterdir()}
            names = {pathlib.Path(each.output).name for each in done}
            assert there == {".nst_tf-batch", *names, *(f"{name}.json" for name in names)}
            assert not os.listdir("painted/.nst_tf-batch")
            assert len(painted) <= len(done) + 2, "painting is not in vain again and again"
        disk.size = 100 * used
        counts = collections.Counter(worker.outcome(row).status for row in planned)
        assert counts == {"skipped": len(done), "done": 8 - len(done)}
        for row in planned:
            np.testing.assert_array_equal(pictures.read(row.output)[0], pictures.read(row.content)[0])

    def test_without_room_for_a_marker_nothing_is_painted(self, folder, monkeypatch):
        Disk(folder / "painted", 10, monkeypatch)
        found = _outcome(_row(), make_engine=lambda: None)
        assert re.fullmatch(rf"output: \S+\.json {FULL}", found.why)

    def test_in_a_store(self, folder, monkeypatch):
        store = fsspec.filesystem("memory")
        store.pipe_file("/full/in.png", (folder / "photos/photo00.png").read_bytes())
        common = rows.Common(output="memory://full/out", names="{content}.png", styles=["sample:strokes"])
        (row,) = rows.plan(["memory://full/in.png"], common)
        put = type(store).pipe_file

        def full(self, path, value, **options):
            if path.endswith(".png.json"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            put(self, path, value, **options)

        with monkeypatch.context() as patched:
            patched.setattr(type(store), "pipe_file", full)
            found = _outcome(row, output="memory://full/out")
        assert found.why == f"output: {row.output}.json {FULL}"
        assert not store.exists("/full/out/in.png")
        assert _outcome(row, output="memory://full/out").status == "done"


def test_outputs_of_a_store_are_whole_and_skipped(folder):
    store = fsspec.filesystem("memory")
    store.pipe_file("/in/photo.png", (folder / "photos/photo00.png").read_bytes())
    common = rows.Common(output="memory://out", names="{content}.png", styles=["sample:strokes"])
    (row,) = rows.plan(["memory://in/photo.png"], common)
    found = [_outcome(row, output="memory://out").status for _ in range(2)]
    assert found == ["done", "skipped"]
    assert sorted(store.ls("/out", detail=False)) == ["/out/photo.png", "/out/photo.png.json"]
    written = Image.open(io.BytesIO(store.cat_file("/out/photo.png")))
    np.testing.assert_array_equal(np.asarray(written), np.asarray(Image.open("photos/photo00.png")))
    made = json.loads(store.cat_file("/out/photo.png.json"))
    assert made["inputs"]["content"]["name"] == "photo.png"
    store.pipe_file("/in/photo.png", pathlib.Path(pictures.as_file("sample:town")).read_bytes())
    refused = _outcome(row, output="memory://out")
    assert (refused.status, "use --overwrite" in refused.why) == ("failed", True)


def test_a_store_that_puts_no_file_at_once_gets_it_by_another_name(folder, monkeypatch):
    store = fsspec.filesystem("memory")
    moved = []

    def move(old, new):
        moved.append((old, new))
        store.pipe_file(new, store.cat(old))

    monkeypatch.setattr(type(store), "protocol", "slowstore")
    monkeypatch.setattr("nst_tf.batch.storage._opened", lambda url: (store, url.removeprefix("memory:/")))
    monkeypatch.setattr(store, "mv", move)
    del folder
    storage.write("memory://slow/a.png", b"contents")
    ((temporary, path),) = moved
    assert path == "/slow/a.png"
    assert temporary.startswith("/slow/.a.png-")
    assert store.cat_file("/slow/a.png") == b"contents"


def test_outcomes_travel(folder):
    del folder
    row = _row()
    sent = painting.Worker(batches.job(os.path.abspath("painted"), SETTINGS))({"row": [row.to_json()]})
    (made,) = [painting.to_outcome(*each) for each in zip(sent["outcome"], sent["thumbnail"], strict=True)]
    assert (made.status, made.content, made.styles) == ("done", row.content, ("sample:strokes",))
    assert max(Image.open(io.BytesIO(made.thumbnail)).size) == 64


def test_a_run_goes_on_from_its_checkpoint(folder, monkeypatch):
    """By the real engine, whose checkpoints the worker names."""
    del folder
    kept = []

    class Engine(batches.Copying):
        def paint(self, ready):
            kept.append(ready.checkpoint)
            ready.checkpoint.path.write_bytes(b"a checkpoint")
            if len(kept) == 1:
                raise KeyError
            return super().paint(ready)

    found = checkpoints.Checkpoint(
        pathlib.Path("x"), checkpoints.Origin(SETTINGS.config(_row()), {}), SETTINGS.config(_row()),
        {"sha256": ""}, {}, 0, 3, (),
    )  # fmt: skip
    monkeypatch.setattr(checkpoints, "read", lambda _: found)
    monkeypatch.setattr(checkpoints.Checkpoint, "check", lambda *_: None)
    first, second = (_outcome(_row(), make_engine=Engine, checkpoint_every=1.0) for _ in range(2))
    assert (first.status, second.status) == ("failed", "done")
    assert [each.resumed for each in kept] == [None, found]
    assert kept[0].path == checkpoints.beside(_row().output)
    assert not kept[0].path.exists()
