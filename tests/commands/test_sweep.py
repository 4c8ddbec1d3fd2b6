"""Sheets of pictures over the values of flags, painted in this process: a new one takes seconds to start."""

import dataclasses
import errno
import json
import pathlib
import shutil
import signal
import tempfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf import api, errors, sweep
from nst_tf.callbacks import figures
from nst_tf.commands import main, terminal
from nst_tf.commands import sweep as command
from nst_tf.config import layers as vgg_layers
from nst_tf.io import files, inputs, pictures
from tests import conftest

# Shallow layers, whose graphs are soon made.
LAYERS = ["--content_layers=relu1_1", "--style_layers=relu1_1", "--style_layer_weights=1"]
LAYERS += ["--neighbor_layers=relu1_1"]
QUICK = [*LAYERS, "--size=48", "--steps=2", "--precision=float32"]
ALLOWED = ("content_weight", "scales", "style")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights."""
    from nst_tf.network import weights as loading

    loaded = loading.load("random", vgg_layers.kernel_shapes(["relu1_1"]))
    arrays: dict[str, np.ndarray] = {}
    for name, (kernel, bias) in loaded.arrays.items():
        arrays |= {f"{name}_kernel": kernel, f"{name}_bias": bias}
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, weights):
    """The folder that sweeps run in, with a photograph and two paintings of other shapes."""
    for seed, (name, *size) in enumerate([("photo.png", 48, 64), ("one.jpg", 64, 48), ("two.jpg", 48, 48)]):
        pixels = (255 * conftest.smooth_picture(seed, *size)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NST_TF_WEIGHTS", str(weights))
    return tmp_path


@pytest.fixture
def painted(monkeypatch):
    """What was painted, a list of (painting's file, scales)."""
    asked = []
    paint = api.paint

    def listening(loaded, chosen, **options):
        asked.append((loaded.descriptions["style"]["name"], chosen.scales.shares))
        return paint(loaded, chosen, **options)

    monkeypatch.setattr(api, "paint", listening)
    return asked


def _sweep(*arguments):
    named = ["--content=photo.png", "--style=one.jpg", "--output=s.png"]
    return main.main(["nst_tf", "sweep", *named, *QUICK, *arguments])


def _mistake(capsys, *arguments):
    assert _sweep(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nst_tf sweep: ")
    return line


def test_commas_divide_values_unless_there_are_semicolons():
    assert sweep.parse_axis("rows", "content_weight=1,10, 100", ALLOWED) == (
        "content_weight",
        ("1", "10", "100"),
    )
    assert sweep.parse_axis("rows", "--scales=1;0.5,1;", ALLOWED) == ("scales", ("1", "0.5,1"))
    for text, message in [
        ("content_weight", "no values; write --rows=FLAG=VALUE"),
        ("content_weight=,", "no values"),
        ("content_wieght=1", "did you mean 'content_weight'"),
        ("scales=1,1", "twice"),
    ]:
        with pytest.raises(errors.InputError, match=message):
            sweep.parse_axis("rows", text, ALLOWED)


def test_every_flag_about_one_picture_may_be_swept():
    assert {"content", "style", "preset", "config", "size", "steps", "seed", "clip"} <= set(command.swept())
    assert not {"output", "overwrite", "trace", "comparison", "rows"} & set(command.swept())


def test_a_sheet_has_a_picture_for_each_pair_of_values_and_is_continued(folder, painted, capsys):
    sides = ["--rows=style=one.jpg,two.jpg", "--columns=scales=1;0.5,1", "--keep=kept", "--color=only"]
    assert _sweep(*sides) == 0
    assert painted == [(style, scales) for style in ("one.jpg", "two.jpg") for scales in ((1.0,), (0.5, 1.0))]
    told = capsys.readouterr()
    assert "picture 4 of 4: style=two, scales=0.5,1" in told.err
    assert told.out.startswith("s.png: 4 pictures")
    kept_files = sorted(path for path in (folder / "kept").iterdir() if path.suffix == ".png")
    assert len(kept_files) == 4
    assert all(path.with_name(f"{path.name}.json").is_file() for path in kept_files)
    with Image.open("s.png") as sheet:
        first = sheet.tobytes()
        pixels = np.asarray(sheet.convert("RGB"), np.float64)
    label, cell, gap = 128, 48, 8
    assert pixels.shape[1] == label + 2 * (cell + gap)
    # The pictures are on the sheet as they were kept, row by row; the labels are in the places left.
    tops: dict[bool, set[np.intp]] = {False: set(), True: set()}
    for path in kept_files:
        row, column = path.name.startswith("style=two"), "0.5" in path.name
        left = label + gap + column * (cell + gap)
        kept = np.asarray(Image.open(path).convert("RGB"), np.float64)
        differences = [
            np.abs(pixels[top : top + kept.shape[0], left : left + cell] - kept).mean()
            for top in range(pixels.shape[0] - kept.shape[0] + 1)
        ]
        assert min(differences) == 0
        tops[row].add(np.argmin(differences))
    (above,), (below,) = tops[False], tops[True]
    assert below >= above + 36 + gap
    assert (pixels[:28, label + gap :].min(axis=(0, 2)) < 128).any()
    assert (pixels[:, :label].min(axis=(0, 2)) < 128).any()

    # Once more: all are kept, by the manifests in them, whatever lies beside. One whose manifest does not
    # agree, and one that was damaged, are painted anew.
    painted.clear()
    assert _sweep(*sides, "--overwrite") == 0
    assert not painted
    other = json.loads(pathlib.Path(f"{kept_files[0]}.json").read_text())
    other["config"]["content_weight"] = 7.0
    pathlib.Path(f"{kept_files[1]}.json").write_text(json.dumps(other))
    pictures.write(pictures.read(kept_files[0]), kept_files[0], text=json.dumps(other))
    kept_files[3].write_bytes(b"")
    assert _sweep(*sides, "--overwrite") == 0
    assert len(painted) == 2
    with Image.open("s.png") as sheet:
        assert sheet.tobytes() == first


@pytest.mark.slow
def test_other_settings_other_inputs_and_other_weights_are_other_pictures(folder, painted, monkeypatch):
    sides = ["--columns=seed=1", "--keep=kept", "--overwrite"]
    changes = [
        ["--color=only"],
        ["--color=only", "--color_root=transport"],
        ["--color=only", "--style=two.jpg"],
        [],
    ]
    for change in changes:
        assert _sweep(*sides, *change) == 0
    assert len(painted) == len(changes)
    assert len(list((folder / "kept").glob("*.png"))) == len(changes)
    Image.open("two.jpg").rotate(180).save("one.jpg")
    assert _sweep(*sides, "--color=only") == 0
    assert len(painted) == len(changes) + 1, "another painting of the same name"
    monkeypatch.setenv("NST_TF_WEIGHTS", "random")
    assert _sweep(*sides) == 0
    assert len(painted) == len(changes) + 2


def test_samples_are_swept_as_files_are(folder, painted, capsys):
    sides = ["--rows=style=sample:strokes,sample:mosaic", "--keep=kept", "--overwrite"]
    arguments = [*sides, "--content=sample:town", "--color=only"]
    assert _sweep(*arguments) == 0
    assert "picture 2 of 2: style=mosaic" in capsys.readouterr().err
    assert [style for style, _ in painted] == ["sample:strokes", "sample:mosaic"]
    assert len(list((folder / "kept").glob("style=*.png"))) == 2
    assert _sweep(*arguments) == 0
    assert len(painted) == 2, "they are kept"
    assert sweep._label({"style": "sample:mosaic"}, 100).height > sweep._label({"steps": "3"}, 100).height


@pytest.mark.usefixtures("folder")
def test_pictures_of_different_sizes_are_fitted_into_one_cell():
    assert _sweep("--columns=size=32,64", "--cell=40", "--color=only") == 0
    with Image.open("s.png") as sheet:
        assert sheet.size[0] == 40 + 8 + 40
        grey = np.asarray(sheet.convert("L"))[-30:]  # 40 x 30 each
    assert (grey[:, 40:48] == 255).all()
    assert grey[:, :40].std() > 5
    assert np.abs(grey[:, :40].astype(float) - grey[:, 48:]).mean() < 8, "the same picture, enlarged"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_stopped_keeps_whole_pictures_only(number, code, folder, monkeypatch, capsys):
    paint, calls = api.paint, []

    def stopped(*arguments, on_progress, **options):
        calls.append(options)

        def asked(progress):
            on_progress(progress)  # from now on it heeds signals
            signal.raise_signal(number)
            return on_progress(progress)

        return paint(*arguments, on_progress=asked if len(calls) == 2 else on_progress, **options)

    monkeypatch.setattr(api, "paint", stopped)
    assert _sweep("--rows=steps=1,2", "--keep=kept") == code
    assert "interrupted" in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "s.png").exists()
    assert len(list((folder / "kept").iterdir())) == 2, "one picture and its manifest"
    assert _sweep("--rows=steps=1,2", "--keep=kept") == 0
    assert len(calls) == 3
    assert (folder / "s.png").is_file()


def _before_painting(monkeypatch, happen):
    """Has something happen before the picture of a number is painted: {number, from 1: what}."""
    paint, calls = api.paint, []

    def patched(*arguments, **options):
        calls.append(options)
        happen.get(len(calls), lambda: None)()
        return paint(*arguments, **options)

    monkeypatch.setattr(api, "paint", patched)


COLUMNS = ["--columns=steps=1,2", "--keep=kept"]


@pytest.mark.parametrize("gone", ["removed", "replaced by a file"])
def test_a_picture_is_kept_though_the_folder_is_gone(gone, folder, tmp_path, monkeypatch, capsys):
    def remove():
        shutil.rmtree("kept")
        if gone != "removed":
            pathlib.Path("kept").touch()

    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    _before_painting(monkeypatch, {2: remove})
    assert _sweep(*COLUMNS) == (0 if gone == "removed" else 1)
    told = capsys.readouterr()
    assert told.out.startswith("s.png: 2 pictures"), "the first is on the sheet though its file is gone"
    if gone == "removed":
        (kept,) = (folder / "kept").glob("*.png")
        assert not list(elsewhere.iterdir())
    else:
        (kept,) = elsewhere.glob("*/steps=2-*.png")
        assert told.err.splitlines()[-1].endswith(f"; it is {kept}")
    assert kept.with_name(f"{kept.name}.json").is_file()
    pixels = np.asarray(Image.open("s.png").convert("RGB"))
    assert pixels.shape[1] == 48 + 8 + 48
    np.testing.assert_array_equal(pixels[-36:, -48:], np.asarray(Image.open(kept).convert("RGB")))


def test_on_a_full_disk_the_pictures_are_on_the_sheet(folder, monkeypatch, capsys):
    replacing = files.replacing

    def full(path, *arguments):
        if pathlib.Path(path).name != "s.png":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return replacing(path, *arguments)

    monkeypatch.setattr(files, "replacing", full)
    assert _sweep(*COLUMNS) == 1
    told = capsys.readouterr()
    complaints = [line for line in told.err.splitlines() if line.startswith("nst_tf sweep: ")]
    assert len(complaints) == 2
    assert all("could not be written: [Errno 28] No space left" in line for line in complaints)
    assert told.out.startswith("s.png: 2 pictures")
    assert not list((folder / "kept").iterdir())


def test_a_sheet_that_cannot_be_written_gets_one_line(folder, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "write", full)
    assert _sweep("--columns=steps=1") == 1
    assert "the sheet could not be written: [Errno 28]" in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "s.png").exists()


def test_a_picture_that_cannot_be_painted_leaves_its_place_empty(folder, monkeypatch, capsys):
    _before_painting(monkeypatch, {1: pathlib.Path("two.jpg").unlink})
    assert _sweep("--columns=style=one.jpg,two.jpg", "--keep=kept") == 1
    told = capsys.readouterr()
    line = told.err.splitlines()[-1]
    assert line.startswith("nst_tf sweep: picture 2 of 2 could not be painted: ")
    assert "two.jpg" in line
    assert told.out.startswith("s.png: 1 of 2 pictures")
    assert len(list((folder / "kept").glob("*.png"))) == 1
    pixels = np.asarray(Image.open("s.png").convert("L"), float)
    assert pixels[-30:, :48].std() > 5
    note = np.asarray(figures.caption("not painted", 48).convert("L"))
    np.testing.assert_array_equal(pixels[-len(note) :, 56:], note)


def test_where_no_picture_can_be_painted_there_is_no_sheet(folder, monkeypatch, capsys):
    _before_painting(monkeypatch, {})
    monkeypatch.setattr(sweep.Sweep, "kept", lambda *_: pathlib.Path("photo.png").unlink(missing_ok=True))
    assert _sweep("--columns=steps=1,2") == 1
    assert "no sheet was written" in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "s.png").exists()


def test_a_picture_that_diverged_is_on_the_sheet_which_says_so(folder, monkeypatch, capsys):
    paint = api.paint

    def diverging(*arguments, **options):
        return dataclasses.replace(paint(*arguments, **options), outcome="diverged")

    assert _sweep("--columns=steps=1", "--overwrite") == 0
    plain = Image.open("s.png").height
    monkeypatch.setattr(api, "paint", diverging)
    assert _sweep("--columns=steps=1", "--keep=kept", "--overwrite") == 1
    assert "the loss became infinite or NaN" in capsys.readouterr().err
    assert not list((folder / "kept").iterdir())
    pixels = np.asarray(Image.open("s.png").convert("L"))
    note = figures.caption("diverged: the last good picture", 48).convert("L")
    assert pixels.shape[0] == plain + 4 + note.height
    np.testing.assert_array_equal(pixels[-note.height :], np.asarray(note))


@pytest.fixture(params=[(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def stopping(request):
    """A function that sends a signal, and the exit code; checks that signals are handled as before."""
    before = {each: signal.getsignal(each) for each in terminal.SIGNALS}
    terminal.heed_signals()
    heeded = {each: signal.getsignal(each) for each in terminal.SIGNALS}
    number, code = request.param
    yield lambda *_: signal.raise_signal(number), code
    after = {each: signal.getsignal(each) for each in terminal.SIGNALS}
    for each, handler in before.items():
        signal.signal(each, handler)
    assert after == heeded


@pytest.mark.parametrize(
    ("moment", "finished"),
    [
        ("between pictures", 1),
        ("while inputs are read", 1),
        ("while a picture is written", 1),
        ("while the sheet is laid out", 2),
        ("while the sheet is written", 2),
    ],
)
def test_a_signal_ends_a_sweep_at_any_moment(moment, finished, stopping, folder, monkeypatch, capsys):
    send, code = stopping
    owner: Any
    owner, name, call = {
        "between pictures": (sweep.Sweep, "kept", 2),
        "while inputs are read": (inputs, "load", 4),  # the first two are to find out
        "while a picture is written": (api.Result, "save", 1),
        "while the sheet is laid out": (figures, "grid", 1),
        "while the sheet is written": (files, "replacing", 5),  # after two pictures and their manifests
    }[moment]
    function, calls = getattr(owner, name), []

    def patched(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            send()
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, patched)
    assert _sweep(*COLUMNS) == code
    assert len(calls) == call
    assert "interrupted; no sheet was written; what" in capsys.readouterr().err.splitlines()[-1]
    assert not (folder / "s.png").exists()
    kept = list((folder / "kept").iterdir())
    assert len(kept) == 2 * finished, "each picture has its manifest, and nothing else is there"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--rows and --columns are both missing"),
        (["--rows=steps=1", "--columns=steps=2"], "steps is the rows' flag too"),
        (["--rows=output=a.png,b.png"], "'output' is not one of"),
        (["--rows=content_weight=1,-1"], "content_weight: -1"),
        (["--rows=content_weight=1,much"], "content_weight=much"),
        (["--rows=preset=default,johnsen"], "did you mean 'johnson'"),
        (["--rows=style=one.jpg,three.jpg"], "three.jpg"),
        (["--rows=size=48,8", "--content_layers=relu5_1", "--weights=random"], "choose a larger size"),
        (["--rows=weights=random,none.h5"], "none.h5"),
        (["--rows=tile=auto,of"], "did you mean 'off'"),
        (["--rows=steps=1", "--trace=t.csv"], "--trace: a sheet has many runs; leave it out"),
        (["--rows=steps=1", "--bit_depth=16"], "--bit_depth: a sheet has many runs; leave it out"),
        (["--rows=steps=1", "--keep=one.jpg"], "is not a folder"),
        (["--rows=steps=1", "--keep=one.jpg/kept"], "keep: "),
        (["--rows=steps=1", f"--keep={'k' * 300}"], "keep: kkk"),
        (["--rows=steps=1", "--output=nowhere/s.png"], "there is no folder"),
        (["--rows=steps=1", "--output=one.jpg"], "one.jpg exists"),
        (["--rows=style=one.jpg,sample:mosiac"], "did you mean 'sample:mosaic'"),
    ],
)
def test_a_mistake_gets_one_line_before_anything_is_painted(folder, painted, capsys, arguments, message):
    before = sorted(folder.iterdir())
    assert message in _mistake(capsys, *arguments)
    assert not painted
    assert sorted(folder.iterdir()) == before


def test_a_value_longer_than_a_name_may_be_is_no_file():
    weights = ",".join(["0.0625"] * 40)
    assert sweep.label({"style_layer_weights": weights}) == f"style_layer_weights={weights}"


@pytest.mark.usefixtures("folder")
def test_a_label_shows_the_picture_that_it_names():
    plain = sweep._label({"steps": "3"}, 100)
    assert plain.tobytes() == figures.caption("steps=3", 100).tobytes()
    shown = sweep._label({"style": "one.jpg"}, 100)
    assert shown.height == plain.height + 4 + 50
    assert np.asarray(shown)[:50, 35:65].std() > 5
    pathlib.Path("one.jpg").write_bytes(b"replaced meanwhile")
    assert sweep._label({"style": "one.jpg"}, 100).height == plain.height
