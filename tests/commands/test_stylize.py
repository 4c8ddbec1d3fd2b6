"""What the command says of a picture that is probably useless, and of files that cannot be written."""

import contextlib
import dataclasses
import errno
import os
import pathlib
import resource
import tempfile

import numpy as np
import pytest

from nst_tf.commands import stylize, terminal
from nst_tf.config import presets
from nst_tf.engine.progress import TraceRow
from nst_tf.io import manifest, pictures
from tests import conftest
from tests.support import command


@dataclasses.dataclass
class _Result:
    """What is asked of a result."""

    image: np.ndarray
    trace: tuple[TraceRow, ...]
    config: object


def _hint(totals, image=None, **changes):
    rows = tuple(TraceRow(1, step, total, 0.0, total, 0.0, 0.1) for step, total in enumerate(totals, 1))
    shown = conftest.smooth_picture(1) if image is None else image
    return stylize._hint(_Result(shown, rows, presets.get("default", **changes)))  # type: ignore[arg-type]


FALLING = [10.0 / step for step in range(1, 13)]


@pytest.mark.parametrize("totals", [FALLING, [1.0, 2.0, 3.0], [5.0, *[6.0] * 20, 4.9], ()])
def test_a_run_that_may_be_good_gets_no_hint(totals):
    assert _hint(totals) is None


def test_a_loss_that_never_falls_gets_its_likely_cause():
    rising = [1.0 + step for step in range(12)]
    with_rate = _hint(rising, optimizer="adam", learning_rate=500.0)
    assert str(with_rate).startswith("the loss never fell at the last scale. A learning rate of 500 is")
    assert str(with_rate).endswith("try --learning_rate=50")
    assert "too small for float32 are the likely cause: make them larger" in str(_hint([1.0] * 12))
    assert "too large for float32 are the likely cause: make them smaller" in str(_hint([1e30] * 12))


def test_only_the_last_scale_counts():
    rows = [TraceRow(1, step, step, 0.0, step, 0.0, 0.1) for step in range(1, 20)]
    rows += [TraceRow(2, step, 100.0 - step, 0.0, 1.0, 0.0, 0.1) for step in range(20, 40)]
    result = _Result(conftest.smooth_picture(1), tuple(rows), presets.DEFAULT)
    assert stylize._hint(result) is None  # type: ignore[arg-type]


def test_a_picture_that_ends_almost_uniform_gets_a_hint():
    grey = np.full((8, 8, 3), 0.5, np.float32) + np.linspace(0, 0.01, 8, dtype=np.float32)[:, None, None]
    assert "almost uniform" in str(_hint(FALLING, grey))
    assert _hint((), grey) is None  # recoloured, without steps


@contextlib.contextmanager
def _files_of_at_most(size):
    """Has writes beyond a size fail, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_full_disk_takes_from_a_run_is_said_and_the_picture_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command.write_inputs(tmp_path)
    # The picture has 6 kB, an animation and a plot more than twice as many, and so have summaries.
    showing = ["--logdir=logs", "--animation=a.gif", "--plot=p.svg", "--save_every=2", "--trace=t.csv"]
    with _files_of_at_most(12_000):
        code, said, told = command.answer([*command.FILES, *command.QUICK, "--output=o.png", *showing])
    assert code == 1
    assert said.startswith("o.png: 48 x 36 pixels in 6 steps")
    # TensorBoard's own thread may say something too.
    lines = [line for line in told.splitlines() if line.startswith(("logdir: ", "nst_tf: "))]
    assert [line.split(":")[-1] for line in lines[1:]] == [" [Errno 27] File too large"] * 2
    assert lines[0].startswith("logdir: logs cannot be written to: logs/events.out")
    assert "File too large" in lines[0]
    assert [line.split(":")[1] for line in lines[1:]] == [" animation", " plot"]
    found = sorted(path.name for path in tmp_path.iterdir())
    snapshots = [f"o-step000{step}.png" for step in (2, 4, 6)]
    assert found == ["logs", *snapshots, "o.png", "o.png.json", "painting.jpg", "photo.png", "t.csv"]


def test_a_snapshot_that_cannot_be_written_makes_the_command_fail(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command.write_inputs(tmp_path)
    write = pictures.write

    def refuse(image, path, **options):
        if "step" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(image, path, **options)

    monkeypatch.setattr(pictures, "write", refuse)
    code, said, told = command.answer(
        [*command.FILES, *command.QUICK, "--output=o.png", "--save_every=6", "--steps=6"]
    )
    assert (code, (tmp_path / "o.png").is_file()) == (1, True)
    assert said.startswith("o.png: ")
    assert "save_every: o-step0006.png could not be written: [Errno 28] No space left on device" in told


@pytest.fixture
def meanwhile(monkeypatch):
    """Returns a function whose argument is called in the middle of a run."""

    def at_first_report(action):
        report = terminal.RunWatch.__call__

        def reporting(watch, progress):
            action()
            return report(watch, progress)

        monkeypatch.setattr(terminal.RunWatch, "__call__", reporting)

    return at_first_report


@pytest.mark.parametrize("name", ["o.png", "o.png.json", "t.csv", "p.svg"])
def test_a_link_that_is_planted_during_a_run_is_not_followed(tmp_path, monkeypatch, meanwhile, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    command.write_inputs(tmp_path)
    (tmp_path / "victim").write_bytes(b"dear to me")

    def plant():
        if not os.path.lexists(name):
            os.symlink("victim", name)

    meanwhile(plant)
    asked = [*command.FILES, *command.QUICK, "--output=o.png", "--trace=t.csv", "--plot=p.svg"]
    code, _, told = command.answer(asked)
    assert code == 1
    assert f"{name} could not be written: " in told or " could not be written: [Errno 17]" in told
    assert (tmp_path / "victim").read_bytes() == b"dear to me"
    assert os.readlink(tmp_path / name) == "victim"
    picture = next(tmp_path.glob("temporary/*/o.png")) if name == "o.png" else tmp_path / "o.png"
    assert pictures.read(picture).shape == (1, 36, 48, 3)
    os.unlink(tmp_path / name)
    code, _, told = command.answer([*asked, "--overwrite"])
    assert code == 0, told
    assert not os.path.islink(tmp_path / name)
    assert (tmp_path / "victim").read_bytes() == b"dear to me"


def test_a_picture_is_never_beside_the_manifest_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command.write_inputs(tmp_path)
    asked = [*command.FILES, *command.QUICK, "--output=o.png", "--overwrite"]
    assert command.answer(asked)[0] == 0
    before = (tmp_path / "o.png.json").read_bytes()
    beside = []
    replace = os.replace

    def watching(old, new, **options):
        replace(old, new, **options)
        found = tmp_path / "o.png.json"
        beside.append((new, found.read_bytes() if found.exists() else None))

    monkeypatch.setattr(os, "replace", watching)
    assert command.answer([*asked, "--seed=1", "--init=noise"])[0] == 0
    names = [pathlib.Path(new).name for new, _ in beside]
    assert names[-2:] == ["o.png", "o.png.json"]
    of_picture, of_manifest = (found for _, found in beside[-2:])
    assert of_picture is None, "the old manifest went as the new picture came"
    assert of_manifest not in (None, before)
    assert manifest.read("o.png") == manifest.read("o.png.json")
