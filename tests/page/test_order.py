"""What a person asks for, and the command line that asks for the same."""

import pathlib
import shlex
import shutil

import pytest
from absl import flags

from nst_tf.commands import run_flags
from nst_tf.config import presets
from nst_tf.io import samples
from nst_tf.page.order import Order
from tests.support.command import write_inputs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a photograph and a painting."""
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _order(folder, **changes):
    values = {"content": folder / "photo.png", "styles": (folder / "painting.jpg",), **changes}
    return Order(**values)


def _run(line):
    """Returns the run that a command line asks for."""
    program, *arguments = shlex.split(line)
    assert program == "nst_tf"
    values = flags.FlagValues()
    run_flags.define(values)
    assert values(["nst_tf", *arguments]) == ["nst_tf"]
    return run_flags.to_run(values)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"size": 300, "content_weight": 2.5, "color": "luminance"},
        {"style_layers": ("relu1_1", "relu3_1"), "style_layer_weights": (0.25, 1.0)},
        {"clip": True, "style_rotations": False, "steps": (3, 4, 5, 6)},
        {"content_weight": 1e-7, "style_weight": 2e7},
    ],
)
def test_the_command_line_makes_the_same_run(folder, overrides):
    order = _order(folder, overrides=overrides, preset="draft" if "steps" not in overrides else "default")
    run = _run(order.command("out.png"))
    assert run.config == order.config()
    assert [path.name for path in run.paths.styles] == ["painting.jpg"]
    assert (run.paths.content.name, run.output) == ("photo.png", pathlib.Path("out.png"))


def test_names_of_files_are_quoted_and_several_styles_keep_commas(folder):
    (folder / "a, b's.jpg").write_bytes((folder / "painting.jpg").read_bytes())
    order = _order(folder, styles=(folder / "a, b's.jpg", folder / "painting.jpg"))
    assert [path.name for path in _run(order.command("out.png")).paths.styles] == [
        "a, b's.jpg",
        "painting.jpg",
    ]


def test_regions_are_named(folder):
    order = _order(folder, regions=folder / "regions-1.png", style_regions=("#ff0000",))
    run = _run(order.command("out.png"))
    assert (run.paths.content_regions.name, run.paths.style_regions) == ("regions-1.png", ["#ff0000"])


def test_a_copy_of_a_sample_is_named_as_the_sample(folder):
    copied = shutil.copy(samples.to_path("sample:strokes"), folder / "strokes.jpg")
    assert "--style=sample:strokes" in _order(folder, styles=(copied,)).command("out.png")
    (folder / "mosaic.jpg").write_bytes(b"another")
    assert "--style=mosaic.jpg" in _order(folder, styles=(folder / "mosaic.jpg",)).command("out.png")


def test_going_on_begins_with_the_picture_at_its_own_size(folder):
    settings = {"size": 300, "min_scale": 32, "seed": 3, "steps": 40}
    order = _order(folder, overrides=settings).going_on(folder / "picture-1.png", 7)
    config = order.config()
    assert config.scales.shares == (1.0,)
    assert (config.scales.steps, config.scales.min_scale) == ((7,), 0)
    assert (config.scales.size, config.start.seed) == (300, 3)
    assert order.paths().init == folder / "picture-1.png"
    assert _run(order.command("out.png")).config.scales == config.scales


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_larger_takes_the_picture_to_the_next_size(folder, preset):
    before = _order(folder, preset=preset).config()
    order = _order(folder, preset=preset).larger(folder / "picture-1.png", (150, 200), 400, 7)
    config = order.config()
    split = before.splits_features()
    assert config.scales.shares == ((0.5, 1.0, 1.0) if split else (0.5, 1.0))
    assert config.scales.steps == ((1, 7, 7) if split else (1, 7))
    assert (config.scales.size, config.scales.size_side) == (400, "longest")
    assert config.scales.aspect_ratio == before.scales.aspect_ratio


def test_a_stopped_picture_is_repeated_from_its_manifest(folder):
    line = _order(folder, preset="draft", overrides={"size": 64}).repetition("picture-1.png", "again.png")
    assert line == (
        "nst_tf --config=picture-1.png --content=photo.png --style=painting.jpg --output=again.png"
    )
    begun = _order(folder).going_on(folder / "picture-1.png", 7)
    assert "--init=picture-1.png" in begun.repetition("picture-2.png", "again.png")
