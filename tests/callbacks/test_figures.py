"""Figures: pictures side by side, losses as curves."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nst_tf import errors
from nst_tf.callbacks import figures
from nst_tf.engine.progress import TraceRow
from tests import conftest

RESULT, CONTENT, STYLE = (
    conftest.smooth_picture(seed, *size) for seed, size in enumerate([(36, 48), (72, 96), (40, 20)])
)
TRACE = [
    TraceRow(1 + (step > 6), step, 10.0**5 / step, 10.0**2 * (step > 1), 10.0**4 / step, 0.0, 0.1 * step)
    for step in range(1, 11)
]


def test_photograph_painting_and_result_stand_side_by_side(tmp_path):
    Image.fromarray(np.rint(STYLE * 255).astype(np.uint8)).save(tmp_path / "style.png")
    figures.save_comparison(RESULT, CONTENT, tmp_path / "style.png", tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as sheet:
        pixels = np.asarray(sheet, np.float64) / 255
    widths = [48, 18, 48]  # all of the result's height, in their own proportions
    assert pixels.shape == (36 + 28, sum(widths) + 2 * 8, 3)
    shown = pixels[:36]
    np.testing.assert_allclose(shown[:, -48:], RESULT, atol=0.51 / 255)
    halved = CONTENT.reshape(36, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown[:, :48] - halved).mean() < 0.02
    assert (shown[:, 48:56] == 1).all()
    assert (pixels[36:].min(axis=(0, 2))[[*range(48)]] < 0.5).any(), "no caption"


def test_a_texture_has_no_photograph_and_large_pictures_are_shrunk(tmp_path):
    large = np.zeros((1000, 500, 3), np.float32)
    figures.save_comparison(large, None, STYLE, tmp_path / "c.jpg")
    with Image.open(tmp_path / "c.jpg") as sheet:
        assert sheet.size == (384 + 8 + 384, 768 + 28)


def test_what_a_comparison_needs_of_a_picture_is_small():
    assert figures.shrunk(np.zeros((1, 1536, 3072, 3), np.float32)).size == (1536, 768)
    assert figures.shrunk(CONTENT[np.newaxis]).size == (96, 72)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws curves and returns matplotlib's axes with them."""
    plots = pytest.importorskip("matplotlib.figure")
    kept = []

    make = plots.Figure

    def keep(**options):
        kept.append(make(**options))
        return kept[-1]

    monkeypatch.setattr(plots, "Figure", keep)

    def draw(trace):
        figures.save_plot(trace, tmp_path / "p.png")
        with Image.open(tmp_path / "p.png") as picture:
            assert picture.size == (1000, 600)
        return kept[-1].axes[0]

    return draw


def test_curves_have_a_log_axis_the_terms_and_the_borders_of_scales(drawn):
    axes = drawn(TRACE)
    assert axes.get_yscale() == "log"
    curves = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    assert list(curves) == ["total", "content", "style"], "no total variation where there is none"
    np.testing.assert_allclose(curves["total"].get_ydata(), [row.total for row in TRACE])
    assert np.isnan(curves["content"].get_ydata()[0]), "zero has no place on the axis"
    borders = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in borders] == [6.5]
    assert [text.get_text() for text in axes.texts] == ["scale 1", "scale 2"]


def test_a_run_that_diverges_has_curves_up_to_there(drawn):
    bad = [row._replace(total=float("inf"), style=float("nan")) for row in TRACE[5:]]
    axes = drawn([*TRACE[:5], *bad])
    assert axes.get_ylim()[1] < 1e7
    assert drawn([row._replace(total=float("nan"), content=0.0, style=-1.0) for row in TRACE[:1]]) is not None


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")])
def test_the_same_curves_make_the_same_file(tmp_path, suffix, start):
    pytest.importorskip("matplotlib")
    figures.save_plot(TRACE, tmp_path / f"a{suffix}")
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert data.startswith(start)
    if suffix != ".svg":  # whose names of clip paths are random
        figures.save_plot(TRACE, tmp_path / f"b{suffix}")
        assert (tmp_path / f"b{suffix}").read_bytes() == data


PLOT = """
import os
from nst_tf import errors
from nst_tf.callbacks import figures
from nst_tf.engine.progress import TraceRow
before = dict(os.environ)
try:
    figures.save_plot([TraceRow(1, 1, 3.0, 1.0, 2.0, 0.0, 0.1)], "p.png")
    import matplotlib
    print(matplotlib.rcParams._get("backend"))
except errors.InputError as error:
    print(error)
assert dict(os.environ) == before
"""


@pytest.mark.parametrize(
    ("backend", "kept"),
    [("module://matplotlib_inline.backend_inline", None), ("nonsense", None), ("svg", "svg"), ("", None)],
)
def test_a_backend_that_is_not_here_is_not_needed(tmp_path, backend, kept):
    pytest.importorskip("matplotlib")
    finished = _in_a_process(tmp_path, PLOT, MPLBACKEND=backend)
    assert (tmp_path / "p.png").is_file(), finished
    assert kept is None or finished == kept


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (b"\xff\xfe", "plot: Matplotlib cannot be loaded: "),
        (b"text.usetex: True", "plot: Matplotlib cannot draw"),
    ],
)
def test_a_matplotlib_that_is_not_in_order_gets_one_line(tmp_path, settings, message):
    pytest.importorskip("matplotlib")
    (tmp_path / "matplotlibrc").write_bytes(settings)
    told = _in_a_process(tmp_path, PLOT, PATH="", MPLCONFIGDIR=str(tmp_path))  # where no LaTeX is found
    assert told.startswith(message)
    assert "\n" not in told
    assert not (tmp_path / "p.png").exists()


def _in_a_process(folder, code, **changes):
    """Returns what a program says in a process of its own."""
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(conftest.ROOT), **changes},
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_mistakes_are_input_errors(tmp_path, monkeypatch):
    with pytest.raises(errors.InputError, match=r"did you mean '\.png'"):
        figures.save_plot(TRACE, tmp_path / "p.pgn")
    with pytest.raises(errors.InputError, match="no losses"):
        figures.save_plot([], tmp_path / "p.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(errors.InputError, match=r"matplotlib.*pip install '\.\[plot\]' in "):
        figures.save_plot(TRACE, tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_a_grid_has_columns_and_rows_as_large_as_their_largest_pictures():
    red, green, blue = (
        Image.new("RGB", size, color)
        for color, size in (("red", (10, 4)), ("lime", (20, 8)), ("blue", (6, 6)))
    )
    sheet = figures.grid([[red, green], [blue]], gaps=(3, 2))
    assert sheet.size == (10 + 3 + 20, 8 + 2 + 6)
    expected = np.full((16, 33, 3), 255, np.uint8)
    expected[2:6, :10] = (255, 0, 0)  # in the middle of a row of 8
    expected[:8, 13:] = (0, 255, 0)
    expected[10:, 2:8] = (0, 0, 255)
    np.testing.assert_array_equal(np.asarray(sheet), expected)


def test_a_long_caption_gets_lines_and_stays_within_its_width():
    short, long = figures.caption("size=64", 100), figures.caption("style_layers=relu1_1,relu2_1", 100)
    assert short.size == (100, 28)
    assert long.width == 100
    assert long.height > short.height
    for picture in (short, long, figures.caption("W" * 30, 100)):
        ink = np.asarray(picture.convert("L")) < 128
        assert ink.any()
        assert not ink[:, [0, -1]].any(), "text is cut off"
        assert not ink[[0, -1]].any(), "text is cut off"


def test_a_picture_is_fitted_to_a_side_larger_or_smaller():
    assert figures.fitted(RESULT, 96).size == (96, 72)
    assert figures.fitted(STYLE, 10).size == (5, 10)
    with pytest.raises(errors.InputError, match="nowhere"):
        figures.fitted("/nowhere.png", 10)
