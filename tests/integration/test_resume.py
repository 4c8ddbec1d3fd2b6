"""A command that was killed goes on from its checkpoint, and its picture is the one of a run that was not."""

import csv
import random
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image, ImageSequence

from nst_tf.io import manifest
from tests.support import command, killed
from tests.support.command import FILES, QUICK, answer, assert_one_line, painting, run

# Some seconds of steps, at two scales; a checkpoint at about every report.
LONG = [*FILES, *QUICK, "--scales=0.7,1", "--steps=150,250", "--output=out.png"]
OFTEN = "--checkpoint_every=0.01"
# Too long to finish.
ENDLESS = [*FILES, *QUICK, "--output=out.png", "--steps=100000"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a photograph and a painting."""
    command.write_inputs(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a run that nothing interrupted: picture and manifest."""
    folder = tmp_path_factory.mktemp("whole")
    command.write_inputs(folder)
    finished = run(folder, *LONG, "--checkpoint_every=0")
    assert finished.returncode == 0, finished.stderr
    return {name: (folder / name).read_bytes() for name in ("out.png", "out.png.json")}


def _assert_whole(folder, whole):
    assert {name: (folder / name).read_bytes() for name in whole} == whole
    assert sorted(path.name for path in folder.iterdir() if path.name not in whole) == [
        "painting.jpg",
        "photo.png",
    ]


def _killed(folder, moment, number, *arguments):
    """Runs the command until it kills itself."""
    process = [sys.executable, "-m", "tests.support.killed", moment, str(number), *arguments]
    return subprocess.run(process, cwd=folder, capture_output=True, text=True, env=command.environment())


@pytest.mark.slow
@pytest.mark.parametrize("moment", killed.MOMENTS)
def test_a_run_killed_while_it_writes_goes_on(folder, whole, moment):
    """The second checkpoint is being written; the next run is killed at its picture."""
    (folder / "out.png").write_bytes(whole["out.png"][:100])  # what was there before stays until the end
    first = _killed(folder, moment, 2, *LONG, OFTEN, "--overwrite")
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert (folder / "out.png").read_bytes() == whole["out.png"][:100]
    assert (folder / "out.png.checkpoint").is_file()
    last = run(folder, *LONG, "--resume")
    assert last.returncode == 0, last.stderr
    assert "out.png.checkpoint: goes on after step" in last.stderr
    _assert_whole(folder, whole)


@pytest.mark.slow
def test_a_run_killed_between_picture_and_manifest_goes_on(folder, whole):
    first = _killed(folder, "after a file is renamed", 1, *LONG, OFTEN)
    assert first.returncode == -signal.SIGKILL
    second = _killed(folder, "after a file is renamed", 1, *LONG, "--checkpoint_every=1000", "--resume")
    assert second.returncode == -signal.SIGKILL, second.stderr
    assert (folder / "out.png").read_bytes() == whole["out.png"]
    last = run(folder, *LONG, "--resume")
    assert last.returncode == 0, last.stderr
    _assert_whole(folder, whole)


@pytest.mark.slow
def test_a_run_killed_at_fifty_moments_makes_the_same_picture(folder, whole):
    """At random moments from the first step on, a quarter of them while a file is being written."""
    choose, before, kills = random.Random(21), b"dear to me", 0
    (folder / "out.png").write_bytes(before)
    arguments = [*LONG, OFTEN, "--overwrite", "--resume"]
    while kills < 50:
        if choose.random() < 0.25:
            code = _killed(
                folder, choose.choice(list(killed.MOMENTS)), choose.randint(1, 3), *arguments
            ).returncode
        else:
            with painting(folder, *arguments) as process:
                time.sleep(choose.uniform(0, 3))
                process.kill()
                process.communicate()
                code = process.returncode
        found = (folder / "out.png").read_bytes()
        assert found in (before, whole["out.png"])
        if code == 0:  # it was too late
            before = b"dear to me"
            _assert_whole(folder, whole)
            (folder / "out.png").write_bytes(before)
            continue
        assert code == -signal.SIGKILL
        kills += 1
    last = run(folder, *LONG, "--overwrite", "--resume")
    assert last.returncode == 0, last.stderr
    _assert_whole(folder, whole)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_leaves_picture_and_checkpoint(folder, whole, number):
    with painting(folder, *LONG) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "stopped after" in out
    assert "--resume goes on from out.png.checkpoint" in err
    assert Image.open(folder / "out.png").size == (48, 36)
    assert (folder / "out.png").read_bytes() != whole["out.png"]
    last = run(folder, *LONG, "--resume")
    assert last.returncode == 0, last.stderr
    _assert_whole(folder, whole)


@pytest.mark.slow
def test_what_watches_a_run_is_whole_after_it_goes_on(folder):
    showing = ["--trace=t.csv", "--animation=a.gif", "--plot=p.svg", "--logdir=logs", "--save_every=40"]
    with painting(folder, *LONG, *showing) as process:
        time.sleep(1)
        process.terminate()
        process.communicate(timeout=60)
    stopped = _frames(folder / "a.gif")
    assert (folder / "out.png.checkpoint").is_file()
    last = run(folder, *LONG, *showing, "--resume")
    assert last.returncode == 0, last.stderr
    with (folder / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 401))
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    assert _frames(folder / "a.gif") > max(stopped, 20)
    assert len(list((folder / "logs").iterdir())) == 2
    assert len(list(folder.glob("out-step*.png"))) == 10
    assert "missing" not in last.stderr


def _frames(path):
    with Image.open(path) as picture:
        return len(list(ImageSequence.Iterator(picture)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The checkpoint of a run that ended early."""
    folder = tmp_path_factory.mktemp("left")
    command.write_inputs(folder)
    with painting(folder, *ENDLESS) as process:
        process.terminate()
        process.communicate(timeout=60)
    return (folder / "out.png.checkpoint").read_bytes()


@pytest.fixture
def left(folder, checkpoint, monkeypatch):
    """A folder with such a checkpoint."""
    (folder / "out.png.checkpoint").write_bytes(checkpoint)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_a_checkpoint_that_is_left_is_named_and_not_replaced(left):
    before = (left / "out.png.checkpoint").read_bytes()
    assert_one_line(answer([*FILES, *QUICK, "--output=out.png"]), "--resume goes on with it, --overwrite")
    assert (left / "out.png.checkpoint").read_bytes() == before
    code, _, err = answer([*FILES, *QUICK, "--output=out.png", "--overwrite"])
    assert code == 0
    assert "out.png.checkpoint, left by a run that ended early, will be replaced" in err
    assert not (left / "out.png.checkpoint").exists()


def test_another_run_does_not_go_on_from_it(left):
    before = (left / "out.png.checkpoint").read_bytes()
    refused = answer([*ENDLESS, "--resume", "--content_weight=3"])
    assert_one_line(refused, "content_weight was")
    assert_one_line(
        answer([*ENDLESS, "--resume", "--content=painting.jpg"]), "content was another picture (photo"
    )
    assert (left / "out.png.checkpoint").read_bytes() == before


def test_a_damaged_checkpoint_gets_one_line(left):
    (left / "out.png.checkpoint").write_bytes(b"nothing")
    assert_one_line(answer([*ENDLESS, "--resume"]), "out.png.checkpoint cannot be read")


def test_without_a_checkpoint_the_run_begins_anew_and_says_so(folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, _, err = answer([*FILES, *QUICK, "--output=out.png", "--resume"])
    assert code == 0
    assert "nst_tf: resume: there is no out.png.checkpoint; the run begins anew\n" in err
    assert manifest.read("out.png")["config"]["size"] == 48


def test_a_run_without_steps_has_none(folder, monkeypatch):
    monkeypatch.chdir(folder)
    flags = [*FILES, *QUICK, "--output=out.png", "--color=only"]
    assert_one_line(answer([*flags, "--resume"]), "--resume: --color=only takes no steps")
    assert answer(flags)[0] == 0


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_costs_nothing_else(folder):
    output = "x" * 244 + ".png"  # with .json it has 253 bytes, with .checkpoint 259
    finished = run(folder, *FILES, *QUICK, f"--output={output}", OFTEN, "--steps=100")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("could not be written") == 1
    assert (folder / output).is_file()
