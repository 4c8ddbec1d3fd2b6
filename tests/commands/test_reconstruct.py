"""What layers keep of a picture, drawn in this process: a new one takes seconds to start."""

import errno
import os
import pathlib
import signal
import tempfile

import numpy as np
import pytest
from PIL import Image

from nst_tf import api
from nst_tf.commands import main, reconstruct, terminal
from nst_tf.io import pictures
from tests import conftest

PHOTOGRAPH, PAINTING = conftest.smooth_picture(0, 48, 64), conftest.smooth_picture(1, 64, 48)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that the command runs in, with a photograph and a painting of another shape."""
    for name, picture in (("photo.png", PHOTOGRAPH), ("painting.png", PAINTING)):
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def outcomes():
    """{number of a picture, from 1: how its run ends}; the others finish."""
    return {}


@pytest.fixture
def asked(monkeypatch, outcomes):
    """Instead of painting gives back the picture that goes in; a list of what was asked for."""
    calls = []

    def paint(loaded, chosen, *, on_progress):
        assert callable(on_progress)
        content = None if loaded.content is None else loaded.content[0]
        style = loaded.styles[0][0] if loaded.styles else None
        calls.append((content, style, chosen))
        image = style if content is None else content
        assert image is not None
        return type("Result", (), {"image": image[::2, ::2], "outcome": outcomes.get(len(calls), "finished")})

    monkeypatch.setattr(api, "paint", paint)
    return calls


def _draw(*arguments):
    return main.main(["nst_tf", "reconstruct", "--weights=random", *arguments])


BOTH = ["--content=photo.png", "--style=painting.png", "--output=f.png"]


def test_rows_are_single_layers_and_growing_sets_of_layers(folder, asked, capsys):
    assert _draw(*BOTH, "--seed=3") == 0
    photographs, textures = asked[:5], asked[5:]
    names = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    assert [chosen.used_layers() for *_, chosen in photographs] == [((name,), ()) for name in names]
    assert [chosen.used_layers() for *_, chosen in textures] == [((), (*names[: n + 1],)) for n in range(5)]
    for number, (content, style, chosen) in enumerate(asked):
        assert chosen.start.init == "noise", "a start from the picture itself would show nothing"
        assert (chosen.preset, chosen.network.pooling, chosen.scales.steps, chosen.start.seed) == (
            "gatys2015",
            "average",
            (100,),
            3,
        )
        given, other = (content, style) if number < 5 else (style, content)
        np.testing.assert_allclose(given, PHOTOGRAPH if number < 5 else PAINTING, atol=0.51 / 255)
        assert other is None
    for *_, chosen in textures:
        np.testing.assert_allclose(sum(chosen.style.layer_weights), 1)
    told = capsys.readouterr()
    assert "picture 8 of 10: style, relu1_1 to relu3_1" in told.err
    with Image.open(folder / "f.png") as figure:
        assert told.out == f"f.png: {figure.width} x {figure.height} pixels\n"
        pixels = np.asarray(figure, np.float64) / 255
    # Columns are as wide as the photograph at half its size; its line is as high as the row's name.
    left = 80 + 8
    assert pixels.shape[1] == left + 6 * 32 + 5 * 8
    for column in range(1, 6):
        start = left + column * 40
        np.testing.assert_allclose(pixels[2:26, start : start + 32], PHOTOGRAPH[::2, ::2], atol=0.51 / 255)
    assert (pixels[28:56, left:].min(axis=(0, 2)) < 0.5).any(), "no captions"
    assert (pixels[:28, :80].min(axis=(0, 2)) < 0.5).any(), "no name of the row"


def test_one_picture_gives_one_row_and_other_settings_are_taken_over(folder, asked):
    arguments = ["--preset=johnson", "--size=64", "--steps=3", "--noise_levels=2", "--pooling=average"]
    assert _draw("--content=photo.png", "--output=f.png", *arguments) == 0
    assert len(asked) == 5
    for *_, chosen in asked:
        assert (chosen.preset, chosen.scales.size, chosen.scales.steps) == ("johnson", 64, (3,))
        assert (chosen.start.noise_levels, chosen.network.pooling) == (2, "average")
    with Image.open(folder / "f.png") as figure:
        assert figure.height < 24 + 80


def test_a_sample_is_reconstructed_as_a_file_is(folder, asked):
    assert _draw("--content=sample:town", "--output=f.png") == 0
    assert [content.shape for content, *_ in asked] == [(576, 768, 3)] * 5
    assert (folder / "f.png").is_file()


def test_a_shallow_layer_keeps_more_of_the_photograph_than_the_noise_it_starts_from():
    changes = {"weights": "random", "size": 0, "steps": 20, "precision": "float32"}
    made = reconstruct.Row("content", PHOTOGRAPH, "gatys2015", changes).paint(0).image
    assert made.shape == PHOTOGRAPH.shape
    assert np.sqrt(np.mean(np.square(made - PHOTOGRAPH))) < 0.03 < PHOTOGRAPH.std()


@pytest.mark.usefixtures("asked")
def test_a_run_that_diverged_is_told(folder, outcomes, capsys):
    outcomes[3] = "diverged"
    assert _draw("--content=photo.png", "--output=f.png") == 1
    told = capsys.readouterr()
    complaints = [line for line in told.err.splitlines() if line.startswith("nst_tf reconstruct: ")]
    assert len(complaints) == 1
    assert complaints[0].startswith(
        "nst_tf reconstruct: picture 3 of 5: content, relu3_1: the loss became infinite or NaN"
    )
    assert (folder / "f.png").is_file()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_figure_that_cannot_be_written_is_rescued_or_gets_one_line(
    everywhere, folder, tmp_path, monkeypatch, capsys
):
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    write = pictures.write

    def full(image, path):
        if everywhere or pathlib.Path(path).parent == pathlib.Path():
            raise OSError(errno.ENOSPC, "No space left on device")
        write(image, path)

    monkeypatch.setattr(pictures, "write", full)
    assert _draw("--content=photo.png", "--output=f.png") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("nst_tf reconstruct: ")
    assert "could not be written: [Errno 28] No space left on device" in line
    assert not (folder / "f.png").exists()
    assert len(list(elsewhere.glob("*/f.png"))) == (not everywhere)
    assert len(list(elsewhere.iterdir())) == (not everywhere)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_nothing_is_written(number, code, folder, monkeypatch, capsys):
    before = {each: signal.getsignal(each) for each in terminal.SIGNALS}
    terminal.heed_signals()
    heeded = {each: signal.getsignal(each) for each in terminal.SIGNALS}
    inside = sorted(folder.iterdir())
    monkeypatch.setattr(os, "fsync", lambda _: signal.raise_signal(number))  # while the figure is written
    try:
        assert _draw("--content=photo.png", "--output=f.png") == code
        assert {each: signal.getsignal(each) for each in terminal.SIGNALS} == heeded
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert capsys.readouterr().err.splitlines()[-1].endswith("interrupted; nothing was written")
    assert sorted(folder.iterdir()) == inside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=f.png"], "--content=FILE and --style=FILE are both missing"),
        (["--content=photo.png"], "--output=FILE is missing"),
        ([*BOTH, "--output=painting.png"], "painting.png exists; use --overwrite"),
        ([*BOTH, "--content_layers=relu1_1"], "--content_layers: rows and columns of the figure set it"),
        ([*BOTH, "--plot=p.png"], "--plot: the figure has many runs; leave it out"),
        ([*BOTH, "--bit_depth=16"], "--bit_depth: the figure has many runs; leave it out"),
        ([*BOTH, "--color=match"], "color: 'match' needs a painting; without one use 'style'"),
        ([*BOTH, "--color=luminance"], "color: 'luminance' needs a photograph; without one use 'style'"),
        ([*BOTH, "--preset=gatys2014"], "did you mean 'gatys2015'"),
        ([*BOTH, "--size=8"], "choose a larger size"),
        ([*BOTH, "--weights=none.h5"], "none.h5"),
        ([*BOTH, "--style=none.png"], "none.png"),
        (["--content=sample:twon", "--output=f.png"], "did you mean 'sample:town'"),
    ],
)
def test_a_mistake_gets_one_line_before_anything_is_painted(folder, asked, capsys, arguments, message):
    before = sorted(folder.iterdir())
    assert _draw(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nst_tf reconstruct: ")
    assert message in line
    assert not asked
    assert sorted(folder.iterdir()) == before
