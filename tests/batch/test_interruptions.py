"""Batches that are killed, lose a machine, fill a disk, or paint for long: slow, for each starts Ray."""

import collections
import contextlib
import filecmp
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import psutil
import pytest

from nst_tf.batch import cluster, outcomes, rows, run
from tests import conftest
from tests.support import batches, command

pytestmark = pytest.mark.slow

FLAGS = [
    "--content=photos",
    "--style=sample:strokes",
    "--output=painted",
    "--names={content}.png",
    *command.QUICK,
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder for a batch, found by Ray's workers too."""
    monkeypatch.setenv("PYTHONPATH", str(conftest.ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _written():
    return list(pathlib.Path("painted").glob("*.png"))


def _kill_midway(process, generator):
    """Kills a batch at a moment after it has begun with a picture; returns whether it was still running."""
    markers, wanted = pathlib.Path("painted/.nst_tf-batch"), len(_written()) + generator.randrange(2)
    while process.poll() is None and not (
        markers.is_dir() and os.listdir(markers) and len(_written()) >= wanted
    ):
        time.sleep(0.02)
    time.sleep(generator.random())
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    was_running = process.poll() is None
    process.kill()
    process.wait()
    # Ray's agents, which paint nothing, look for a minute or two before they end.
    _, alive = psutil.wait_procs([each for each in children if "Agent" not in each.name()], timeout=60)
    assert not alive, "Ray's processes end with the command's"
    return was_running


CONNECTED = """
import time
from nst_tf.batch import cluster

with cluster.connected(None):
    print(1, flush=True)
    time.sleep(600)
"""


@pytest.mark.usefixtures("folder")
def test_a_batch_ends_what_a_killed_one_has_left():
    with subprocess.Popen(
        [sys.executable, "-c", CONNECTED], env=command.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        left = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    _, left = psutil.wait_procs(left, timeout=5)
    print("after 5 s:", [each.name() for each in left])
    with cluster.connected(None):
        started = psutil.Process().children(recursive=True)
        _, left = psutil.wait_procs(left, timeout=5)
        assert not left
        assert all(each.is_running() for each in started), "and not its own"


def test_killed_ten_times(folder, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # the number of threads decides the last bits
    names = batches.write_photographs(folder / "photos", 30)
    generator, killed = random.Random(3), 0
    while killed < 10:
        with subprocess.Popen(
            command.command("batch", *FLAGS), env=command.environment(), stderr=subprocess.DEVNULL
        ) as process:
            killed += _kill_midway(process, generator)
        print(f"killed {killed} times, {len(_written())} pictures are there", flush=True)
        assert len(_written()) < len(names) or killed >= 10, "there is something left to be killed in"
    finished = command.run(folder, "batch", *FLAGS)
    assert finished.returncode == 0, finished.stderr
    os.mkdir("alone")
    inputs = [[f"--content=photos/{name}.png", f"--output=alone/{name}.png"] for name in names]
    subprocess.run(
        [sys.executable, "-c", "from tests.support import command; command.answer_all()"],
        input=json.dumps([["--style=sample:strokes", *own, *command.QUICK] for own in inputs]),
        env=command.environment(),
        text=True,
        check=True,
    )
    for name in names:
        for file in (f"{name}.png", f"{name}.png.json"):
            assert filecmp.cmp(f"alone/{file}", f"painted/{file}", shallow=False), file
    left = {path.name for path in pathlib.Path("painted").iterdir()}
    expected = {f"{name}.png{end}" for name in names for end in ("", ".json")}
    assert left == {*expected, ".nst_tf-batch", "failed.jsonl", "report.html"}
    assert not os.listdir("painted/.nst_tf-batch")


# What a shell does with two batches: one onto a small disk, and one once there is more room.
FULL_DISK = """
mkdir painted
mount -t tmpfs -o size={room} none painted
code=0; "$@" >first.out 2>first.err || code=$?
echo $code >first.code
cp -a painted first
mount -o remount,size=10m painted
"$@" >second.out 2>second.err
cp -a painted second
"""


def _run_on_a_full_disk(room):
    """Runs both batches in a mount namespace of their own, with a disk of so many bytes for the first."""
    own = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if subprocess.run([*own, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("there are no mount namespaces")
    batch = [*own, FULL_DISK.format(room=room), "sh", *command.command("batch", *FLAGS)]
    subprocess.run(batch, env=command.environment(), check=True)


def _failed(folder):
    """Returns {name of the photograph: why it failed} of the list in a folder."""
    lines = pathlib.Path(folder, "failed.jsonl").read_text().splitlines()
    return {pathlib.Path(each["content"]).stem: each["why"] for each in map(json.loads, lines)}


def _whole(folder):
    """Returns the names of the pictures in a folder where nothing else is, each with its manifest."""
    names = {path.name for path in pathlib.Path(folder).iterdir()} - {"failed.jsonl", "report.html"}
    pictures = {name.removesuffix(".png") for name in names if name.endswith(".png")}
    assert names == {".nst_tf-batch", *(f"{name}.png{end}" for name in pictures for end in ("", ".json"))}
    assert not os.listdir(pathlib.Path(folder, ".nst_tf-batch"))
    return pictures


def test_a_disk_fills_up(folder):
    names = set(batches.write_photographs(folder / "photos", 20))
    _run_on_a_full_disk(room=200_000)
    first, second = (pathlib.Path(f"{name}.err").read_text() for name in ("first", "second"))
    print(first, second, sep="\n")
    done, failed = _whole("first"), _failed("first")
    assert 5 <= len(done) < 20
    assert set(failed) == names - done
    assert all("could not be written: No space left on device" in why for why in failed.values())
    assert pathlib.Path("first.code").read_text() == "1\n"
    failures = os.path.join("painted", "failed.jsonl")
    assert first.splitlines()[-1].endswith(f"{len(failed)} of 20 pictures failed: {failures}")
    assert "Traceback" not in first
    assert f"{len(failed)} done, {len(done)} skipped, 0 failed" in second
    assert (_whole("second"), _failed("second")) == (names, {})
    for name in done:
        assert filecmp.cmp(f"first/{name}.png", f"second/{name}.png", shallow=False)


def _added(machines, **options):
    """Returns a node that was added to a cluster; Ray gives its parts 15 s, too few on a busy machine."""
    for _ in range(4):
        with contextlib.suppress(Exception):  # a plain one
            return machines.add_node(**options)
    return machines.add_node(**options)


def test_a_machine_is_lost(folder, monkeypatch):
    batches.write_photographs(folder / "photos", 40, prefix="slow")
    for name, value in cluster._ALONE.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    machines = Cluster()
    try:
        _added(machines, num_cpus=0, include_dashboard=False)
        lost, _ = (_added(machines, num_cpus=1) for _ in range(2))
        options = run.Options(folder="painted", address=machines.address, make_engine=batches.Copying)
        common = rows.Common(output="painted", names="{content}.png", styles=["sample:strokes"])
        planned = rows.plan(["photos"], common)
        found: list[outcomes.Outcome] = []
        told: list[str] = []

        def on_outcome(outcome):
            found.append(outcome)
            if len(found) == 10:
                machines.remove_node(lost, allow_graceful=False)

        run.paint(planned, rows.Settings(), options, on_outcome, told.append)
    finally:
        machines.shutdown()
    print(told, collections.Counter(each.tries for each in found))
    assert told[0].startswith("2 pictures at a time")
    # What a lost machine had done, but not yet told, is found when its row is given to another.
    assert {each.status for each in found} <= {"done", "skipped"}
    assert sorted(each.number for each in found) == list(range(40))
    assert len(_written()) == 40


def test_a_worker_paints_fifty_pictures_in_the_memory_of_the_first_ones(folder):
    batches.write_photographs(folder / "photos", 50)
    used = []

    def on_outcome(outcome):
        assert outcome.status == "done", outcome.why
        workers = [
            each for each in psutil.process_iter() if "ray::MapWorker" in each.name() or _is_worker(each)
        ]
        used.append(max(each.memory_info().rss for each in workers))

    overrides = {"size": 48, "steps": 4, "precision": "float32", "weights": "builtin", **conftest.SHALLOW}
    options = run.Options(folder="painted", actors=1)
    common = rows.Common(output="painted", names="{content}.png", styles=["sample:strokes"])
    planned = rows.plan(["photos"], common)
    run.paint(planned, run.check(planned, rows.Settings("gram", overrides), options), options, on_outcome)
    print([round(each / 1e6) for each in used[::7]])
    assert max(used[10:]) < 1.05 * max(used[:10])


def _is_worker(process):
    """Returns whether a process is a worker of this test's batch."""
    try:
        return "MapWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False
