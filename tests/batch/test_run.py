"""Batches on Ray, painted by an engine that copies photographs: what comes of them whatever happens."""

import collections
import contextlib
import errno
import functools
import itertools
import json
import math
import os
import pathlib
import statistics
import time
from typing import Any

import psutil
import pytest
import ray

from nst_tf import errors
from nst_tf.batch import calls, cluster, outcomes, plan, rows, run, storage
from tests import conftest
from tests.support import batches

SETTINGS = rows.Settings("gram", {"size": 64, "weights": "builtin"})


@pytest.fixture(scope="module")
def _ray():
    """Ray, as the command starts it; once for all tests here."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(conftest.ROOT), os.environ.get("PYTHONPATH", "")])
    with cluster.connected(None):
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch, _ray):
    """A working folder for a batch."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _batch(contents=("photos",), **changes):
    """Paints; returns (outcomes by status, all of them, lines told)."""
    options = run.Options(**{"folder": "painted", "make_engine": batches.Copying, **changes})
    common = rows.Common(output="painted", names="{content}.png", styles=["sample:strokes"])
    planned = rows.plan(contents, common)
    found: list[outcomes.Outcome] = []
    told: list[str] = []
    run.paint(planned, run.check(planned, SETTINGS, options), options, found.append, told.append)
    return dict(collections.Counter(each.status for each in found)), found, told


def _rename(names):
    for name, new in names.items():
        pathlib.Path(f"photos/{name}.png").rename(f"photos/{new}.png")


def test_a_folder_with_two_bad_files_and_once_more(folder):
    names = batches.write_photographs(folder / "photos", 20)
    for name in ("photo03", "photo17"):
        pathlib.Path(f"photos/{name}.png").write_bytes(b"none")
    counts, found, _ = _batch()
    assert counts == {"done": 18, "failed": 2}
    assert sorted(each.number for each in found) == list(range(20))
    failed = [json.loads(line) for line in pathlib.Path("painted/failed.jsonl").read_text().splitlines()]
    assert [pathlib.Path(each["content"]).stem for each in failed] == ["photo03", "photo17"]
    assert all("not a picture" in each["why"] and each["tries"] == 1 for each in failed)
    assert "18 done, 0 skipped, 2 failed" in pathlib.Path("painted/report.html").read_text()
    good = sorted({*names} - {"photo03", "photo17"})
    written = {name: os.stat(f"painted/{name}.png").st_mtime_ns for name in good}
    assert _batch()[0] == {"skipped": 18, "failed": 2}
    assert written == {name: os.stat(f"painted/{name}.png").st_mtime_ns for name in good}
    expected = [".nst_tf-batch", "failed.jsonl", "report.html"]
    expected += [f"{name}.png{end}" for name in good for end in ("", ".json")]
    assert sorted(os.listdir("painted")) == sorted(expected)
    assert not os.listdir("painted/.nst_tf-batch")


@pytest.mark.slow
def test_pictures_that_kill_their_worker(folder):
    batches.write_photographs(folder / "photos", 6)
    _rename({"photo01": "kills-once", "photo02": "kills-always", "photo03": "large"})
    counts, found, told = _batch()
    assert counts == {"done": 5, "failed": 1}
    by_name = {pathlib.Path(each.content).stem: each for each in found}
    assert by_name["photo00"].tries == 1
    assert (by_name["kills-once"].tries, by_name["large"].tries) == (2, 2)
    assert (by_name["kills-always"].status, by_name["kills-always"].tries) == ("failed", 2)
    assert "killed each time" in by_name["kills-always"].why
    assert told[1].startswith("3 left by tries that were cut short: one picture at a time")


@pytest.mark.slow
def test_each_row_is_told_once_where_a_block_has_several(folder, monkeypatch):
    """Ray gives the block of a worker that was killed to another; what it has told is not told again."""
    batches.write_photographs(folder / "photos", 24)
    _rename({"photo04": "kills-once", "photo13": "kills-always", "photo15": "large"})
    monkeypatch.setattr(run, "_blocks", lambda count, _: math.ceil(count / 6))
    counts, found, _ = _batch()
    assert sorted(each.number for each in found) == list(range(24))
    assert counts["failed"] == 1
    # Of the rows before one that kills, those whose outcomes were on their way are found painted.
    assert counts["done"] + counts.get("skipped", 0) == 23
    assert counts.get("skipped", 0) <= 8


@pytest.mark.parametrize(
    ("rows_in_all", "actors", "at_once", "expected"),
    [
        (1, 1, 1, 1),
        (24, 2, 1, 24),
        (199, 2, 1, 199),
        (1000, 2, 1, 100),
        (10**6, 1000, 1, 50_000),
        (10**4, 1, 8, 500),
    ],
)
def test_blocks_of_rows(rows_in_all, actors, at_once, expected):
    assert run._blocks(rows_in_all, plan.Plan(actors, 1, 0, 0.0, at_once)) == expected


def test_a_batch_ends_after_so_many_failures(folder):
    batches.write_photographs(folder / "photos", 12)
    _rename({f"photo{number:02d}": f"defect{number:02d}" for number in range(12)})
    with pytest.raises(cluster.BatchError, match="failed, more than --max_failures=2"):
        _batch(max_failures=2)
    assert len(pathlib.Path("painted/failed.jsonl").read_text().splitlines()) == 3


def test_a_report_that_finds_no_room(folder, monkeypatch, caplog):
    batches.write_photographs(folder / "photos", 2)
    common = rows.Common(output="painted", names="{content}.png", styles=["sample:strokes"])
    planned = rows.plan(["photos"], common)
    os.mkdir("painted")
    pathlib.Path("painted/failed.jsonl").write_text("of the batch before")
    write = storage.write

    def full(path, contents):
        if path.endswith("failed.jsonl"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        write(path, contents)

    monkeypatch.setattr(storage, "write", full)
    options = run.Options(folder="painted", make_engine=batches.Copying)
    written = run.paint(planned, SETTINGS, options, str)
    assert written == {"report.html": os.path.join("painted", "report.html")}
    assert "2 done" in pathlib.Path("painted/report.html").read_text()
    assert not os.path.exists("painted/failed.jsonl")
    assert caplog.messages == [
        f"{folder / 'painted' / 'failed.jsonl'} could not be written: No space left on device"
    ]


@pytest.mark.slow
def test_workers_that_are_killed_too_often(folder, monkeypatch):
    """The batch ends; the next one begins with those that killed none, and comes to its end."""
    batches.write_photographs(folder / "photos", 6)
    _rename({f"photo{number:02d}": f"a-kills-always{number}" for number in range(3)})
    monkeypatch.setattr(cluster, "MOST_RESTARTS", 1)
    with pytest.raises(cluster.BatchError, match="the workers could not go on"):
        _batch(actors=1)
    monkeypatch.setattr(cluster, "MOST_RESTARTS", 20)
    counts, found, _ = _batch(actors=1)
    of_others = [each.status for each in found if "kills" not in each.content]
    assert set(of_others) <= {"done", "skipped"}
    assert counts["failed"] == 3


@pytest.mark.slow
def test_calls_of_workers_that_die(folder):
    """A call whose worker was killed is made again; mistakes come back as they were raised."""
    items = ["one", "kills", "two"]
    two = plan.Plan(2, 1, 0, 0.0)
    found = calls.each(functools.partial(batches.Called, str(folder)), items, two, onednn=False, poll_s=0.05)
    made = list(found)
    assert sorted(filter(None, made)) == ["kills", "one", "two"]
    assert None in made  # there was time to look
    one = plan.Plan(1, 1, 0, 0.0)
    with pytest.raises(errors.InputError, match="mistaken: a mistake"):
        list(calls.each(functools.partial(batches.Called, "."), ["mistake"], one, onednn=False, poll_s=1))
    with pytest.raises(cluster.BatchError, match=r"could not go on: ZeroDivisionError") as failed:
        list(calls.each(functools.partial(batches.Called, "."), ["defect"], one, onednn=False, poll_s=1))
    assert len(str(failed.value).splitlines()) == 1


@pytest.mark.slow
def test_in_python(folder):
    batches.write_photographs(folder / "photos", 2)
    wanted: list[Any] = [
        {"content": "photos/photo01.png", "output": "b.png", "color": "only"},
        "photos/photo00.png",
    ]
    from nst_tf import batch

    found = batch.stylize_all(
        wanted, "painted", style="sample:strokes", size=48, weights="builtin", color="only"
    )
    assert [(each.number, each.status, os.path.basename(each.output)) for each in found] == [
        (0, "done", "b.png"),
        (1, "done", "photo00_strokes.png"),
    ]
    assert all(isinstance(each, outcomes.Outcome) for each in found)


@pytest.mark.usefixtures("_ray")
def test_it_can_be_reached_from_this_machine_alone():
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    names, listening = set(), set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that has ended meanwhile
            names.add(process.name())
            connections = process.net_connections("inet")
            listening |= {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    assert any("raylet" in name for name in names)
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert not any("dashboard" in name for name in ray.nodes()[0]["Resources"])


@pytest.mark.slow
def test_a_thousand_rows(folder):
    """What a batch costs beside painting."""
    batches.write_photographs(folder / "photos", 1)
    with open("list.csv", "w", encoding="utf-8") as file:
        file.write("content,output\n")
        file.writelines(f"photos/photo00.png,{number}.png\n" for number in range(1000))
    start, times, own = time.perf_counter(), [], time.process_time()
    options = run.Options(folder="painted", make_engine=batches.Copying)
    planned = rows.plan(["list.csv"], rows.Common(output="painted", styles=["sample:strokes"]))
    run.paint(planned, SETTINGS, options, lambda _: times.append(time.perf_counter()))
    assert len(times) == 1000
    pauses = [after - before for before, after in itertools.pairwise(times)]
    seconds = time.perf_counter() - start
    print(
        f"{seconds:.1f} s; {statistics.mean(pauses) * 1000:.1f} ms from one to the next;"
        f" {(time.process_time() - own) / len(times) * 1000:.1f} ms of a core a row on the command's side"
    )
    assert statistics.mean(pauses) < 0.05
