"""The command `batch`: mistakes before anything starts, and a list painted as each row is painted alone."""

import filecmp
import json
import os
import pathlib

import pytest

from nst_tf.batch import run
from nst_tf.io import pictures
from tests.batch import test_outcomes
from tests.support import batches, command

PAINT = ["--style=sample:strokes", "--output=painted"]
QUICK = [flag for flag in command.QUICK if not flag.startswith("--size")]

MISTAKES = {
    "no photographs": ([*PAINT], "--content=FILES is missing"),
    "no folder": (["--content=photos"], "--output=FOLDER is missing"),
    "no painting": (["--content=photos", "--output=painted"], "style: there is none"),
    "nothing there": (["--content=elsewhere/*.jpg", *PAINT], "elsewhere/*.jpg names no picture"),
    "one run's flag": (["--content=photos", *PAINT, "--trace=losses.csv"], "--trace: a batch has many runs"),
    "a server's flag without one": (["--content=photos", *PAINT, "--model=x"], "--model: without --server"),
    "a server's own setting": (
        ["--content=photos", *PAINT, "--server=grpc://127.0.0.1:1", "--pooling=max"],
        "server: with pooling, which the model has as it was exported",
    ),
    "no server's address": (["--content=photos", *PAINT, "--server=elsewhere"], "server: 'elsewhere'"),
    "among the photographs": (["--content=photos", *PAINT[:1], "--output=photos"], "has the photographs"),
    "a setting": (["--content=photos", *PAINT, "--size=-1"], "size"),
    "weights": (["--content=photos", *PAINT, "--weights=no.npz"], "no.npz"),
    "a name": (["--content=photos", *PAINT, "--names={x}.png"], "allowed: a name with {content}"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photographs."""
    batches.write_photographs(tmp_path / "photos", 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake(mistake):
    flags, message = MISTAKES[mistake]
    code, out, err = command.answer(["batch", *flags])
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith("nst_tf batch: ")
    assert message in err
    assert not os.path.exists("painted")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("there", [["failed.jsonl", "report.html"], ["failed.jsonl"], ["report.html"], []])
def test_what_is_said_at_the_end_where_files_about_the_batch_cannot_be_written(there, monkeypatch):
    def paint(*arguments):
        on_outcome = arguments[3]
        on_outcome(test_outcomes.failed(0))
        return {name: f"painted/{name}" for name in there}

    monkeypatch.setattr(run, "paint", paint)
    code, out, err = command.answer(["batch", "--content=photos", *PAINT, *command.QUICK])
    assert (code, out) == (1, "painted/report.html\n" if "report.html" in there else "")
    listed = ": painted/failed.jsonl" if "failed.jsonl" in there else ""
    assert err.splitlines()[-1] == f"nst_tf batch: 1 of 2 pictures failed{listed}"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("there", [["failed.jsonl", "report.html"], ["failed.jsonl"], ["report.html"], []])
def test_the_exit_code_says_whether_files_about_the_batch_are_there(there, monkeypatch):
    monkeypatch.setattr(run, "paint", lambda *_: dict.fromkeys(there, ""))
    code, _, _ = command.answer(["batch", "--content=photos", *PAINT, *command.QUICK])
    assert code == (0 if len(there) == 2 else 1)


def test_no_such_cluster(folder):
    finished = command.run(folder, "batch", "--content=photos", *PAINT, *QUICK, "--address=127.0.0.1:1")
    assert finished.returncode == 1, finished.stderr
    assert "address: no cluster at 127.0.0.1:1" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_a_list_is_painted_as_each_of_its_rows_alone(folder, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # the number of threads decides the last bits
    table = [
        "content,style,output,size,seed,init",
        "photos/photo00.png,,,,,",
        "photos/photo01.png,sample:mosaic,",
    ]
    table[-1] += "b.jpg,64,3,noise"
    table += ["photos/bad.png,,,,,"]
    pathlib.Path("photos/bad.png").write_bytes(b"none")
    pathlib.Path("list.csv").write_text("\n".join(table), encoding="utf-8")
    flags = ["batch", "--content=list.csv", *PAINT, *QUICK, "--size=48"]
    painted = command.run(folder, *flags)
    assert painted.returncode == 1, painted.stderr
    assert painted.stdout == f"{os.path.join('painted', 'report.html')}\n"
    assert "Traceback" not in painted.stderr
    assert painted.stderr.splitlines()[-1].endswith(
        f"1 of 3 pictures failed: {os.path.join('painted', 'failed.jsonl')}"
    )
    alone = {
        "photo00_strokes.png": ["--content=photos/photo00.png", "--style=sample:strokes", "--size=48"],
        "b.jpg": [
            "--content=photos/photo01.png",
            "--style=sample:mosaic",
            "--size=64",
            "--seed=3",
            "--init=noise",
        ],
    }
    os.mkdir("alone")
    for name, own in alone.items():
        finished = command.run(folder, *own, f"--output=alone/{name}", *QUICK)
        assert finished.returncode == 0, finished.stderr
        for file in (name, f"{name}.json"):
            assert filecmp.cmp(f"alone/{file}", f"painted/{file}", shallow=False), file
    assert pictures.read("painted/b.jpg").shape[1:3] == (49, 64)
    (failed,) = map(json.loads, pathlib.Path("painted/failed.jsonl").read_text().splitlines())
    assert failed["content"] == str(folder / "photos/bad.png")
