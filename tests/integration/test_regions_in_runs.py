"""Several styles, masks and regions in whole runs: each part does what it says, alone and with all others."""

import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf import errors
from nst_tf.config import presets, settings
from nst_tf.engine import images, stylizer
from nst_tf.engine.progress import Progress
from nst_tf.io import manifest, masks
from tests import conftest
from tests.support import oracle
from tests.support.command import answer

CONTENT = conftest.smooth_picture(2, 72, 96)[np.newaxis]
# One red and one blue painting, so that one sees which was painted where.
RED, BLUE = (
    np.clip(conftest.smooth_picture(seed, 48, 64) * tint, 0, 1).astype(np.float32)[np.newaxis]
    for seed, tint in ((3, (1.4, 0.4, 0.4)), (4, (0.4, 0.4, 1.4)))
)
SIZE = CONTENT.shape[1:3]

# The left three quarters, and in them a left and a right part.
MASK = np.zeros(SIZE)
MASK[:, :72] = 1
LABELS = np.zeros((*SIZE, 3), np.uint8)
LABELS[:, :36, 0] = 255
LABELS[:, 36:, 2] = 255

# Two scales.
QUICK: dict[str, Any] = {
    **conftest.SHALLOW,
    "size": 96,
    "scales": (0.5, 1.0),
    "steps": (3, 4),
    "precision": "float32",
}

# Where nothing is painted, well away from the soft edge, which is a pixel or two here.
OUTSIDE = np.s_[:, 76:]
LEFT, RIGHT = np.s_[4:-4, 4:32], np.s_[4:-4, 42:68]


def _make(narrow_weights, styles=(RED, BLUE), planned=None, **changes):
    chosen = presets.get("gram", **(QUICK | changes))
    return stylizer.Stylizer(CONTENT, list(styles), chosen, narrow_weights, regions=planned)


def _plan(mask=None, labels=None, style_regions=None, styles=(RED, BLUE)):
    return masks.plan(SIZE, [style.shape[1:3] for style in styles], mask, labels, style_regions)


def _painted(run):
    assert run.run() == "finished"
    return run.picture()


def _redness(picture, place):
    return float(np.mean(picture[place][..., 0] - picture[place][..., 2]))


def test_all_of_it_together(narrow_weights):
    planned = _plan(MASK, LABELS, ["#ff0000", "#0000ff"])
    options: dict[str, Any] = {
        "color": "luminance",
        "tile": "32",
        "style_statistics": "gram_mean_std",
        "init": "noise",
    }
    options |= {"style_scale": 1.5, "normalize_activations": True, "style_blend_weights": (1.0, 2.0)}
    run = _make(narrow_weights, planned=planned, **options)
    assert len(run.scales) == 2
    seen: list[Progress] = []
    assert run.run(seen.append) == "finished"
    assert np.isfinite([row for progress in seen for row in progress.losses]).all()
    picture = run.picture()
    # Taken apart into grey and colours and put together again, the photograph is itself but for rounding.
    np.testing.assert_allclose(picture[OUTSIDE], CONTENT[0][OUTSIDE], atol=1e-6)
    assert np.abs(picture - CONTENT[0])[LEFT].mean() > 0.01
    np.testing.assert_allclose(run.evaluate().total, sum(run.evaluate()[1:]), rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"init": "content"}, {"init": "noise"}, {"optimizer": "adam", "init": "gray"}]
)
def test_outside_the_mask_is_the_photograph_at_every_scale(narrow_weights, options):
    run = _make(narrow_weights, planned=_plan(MASK), **options)
    small = images.resize(CONTENT, *run.scales[0][:2]).numpy()[0]
    for _ in range(3):
        run.step()
        np.testing.assert_array_equal(run.picture()[:, 39:], small[:, 39:])
    run.next_scale()
    np.testing.assert_array_equal(run.picture()[OUTSIDE], CONTENT[0][OUTSIDE])
    picture = _painted(run)
    np.testing.assert_array_equal(picture[OUTSIDE], CONTENT[0][OUTSIDE])
    assert np.abs(picture - CONTENT[0])[LEFT].mean() > 0.01


@pytest.mark.slow
def test_colours_are_matched_in_the_painted_part_alone(narrow_weights):
    """The photograph around it stays as it is, white here, and has no say in what is painted."""
    content = CONTENT.copy()
    content[:, :, 72:] = 1
    chosen = presets.get("gram", **QUICK, color="match")
    run = stylizer.Stylizer(content, [RED], chosen, narrow_weights, regions=_plan(MASK, styles=(RED,)))
    picture = _painted(run)
    np.testing.assert_array_equal(picture[OUTSIDE], content[0][OUTSIDE])
    found, wanted = (oracle.to_oklab(each) for each in (picture[:, :70], RED[0]))
    np.testing.assert_allclose(found.mean(axis=(0, 1)), wanted.mean(axis=(0, 1)), atol=0.02)
    assert oracle.to_oklab(picture)[..., 0].mean() > wanted[..., 0].mean() + 0.08, "with the white it differs"


def test_outside_may_be_left_to_the_optimiser(narrow_weights):
    picture = _painted(_make(narrow_weights, planned=_plan(MASK), outside="free", init="noise"))
    assert np.abs(picture - CONTENT[0])[OUTSIDE].mean() > 0.01


@pytest.mark.parametrize("labelled", [False, True])
def test_a_full_mask_is_none(narrow_weights, labelled):
    labels = np.full((*SIZE, 3), 255, np.uint8)
    planned = _plan(None, labels, ["#ffffff"] * 2) if labelled else _plan(np.ones(SIZE))
    plain, masked = _make(narrow_weights), _make(narrow_weights, planned=planned)
    np.testing.assert_allclose(_painted(masked), _painted(plain), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("blend", "regional"), [*zip(settings.STYLE_BLENDS, (True, False), strict=True)])
def test_a_style_of_weight_0_is_not_there(narrow_weights, blend, regional):
    options: dict[str, Any] = {"style_blend": blend, "normalize_activations": True, "color": "statistics"}
    plans = [_plan(MASK, styles=styles) if regional else None for styles in ((RED, BLUE), (RED,))]
    both = _make(narrow_weights, planned=plans[0], style_blend_weights=(1.0, 0.0), **options)
    alone = _make(narrow_weights, [RED], plans[1], **options)
    np.testing.assert_array_equal(_painted(both), _painted(alone))


def test_each_region_gets_its_own_style(narrow_weights):
    both = {}
    for order, colors in (("red left", ["#ff0000", "#0000ff"]), ("blue left", ["#0000ff", "#ff0000"])):
        run = _make(
            narrow_weights,
            planned=_plan(None, LABELS, colors),
            init="gray",
            content_weight=0.0,
            steps=(5, 25),
        )
        both[order] = _painted(run)
    for place, redder, bluer in ((LEFT, "red left", "blue left"), (RIGHT, "blue left", "red left")):
        assert _redness(both[redder], place) > 0.03 + _redness(both[bluer], place)


def test_the_order_of_styles_does_not_matter(narrow_weights):
    pairs = [((RED, BLUE), ["#ff0000", "#0000ff"]), ((BLUE, RED), ["#0000ff", "#ff0000"])]
    values = []
    for styles, colors in pairs:
        run = _make(narrow_weights, styles, _plan(None, LABELS, colors, styles), style_weight=10.0)
        values.append([float(value) for value in run.step()])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


def _pixels(picture):
    return np.rint(picture[0] * 255).astype(np.uint8)


# What `stylize` is given, by name, as arrays.
GIVEN = {
    "content": _pixels(CONTENT),
    "red": _pixels(RED),
    "blue": _pixels(BLUE),
    "content_mask": (255 * MASK).astype(np.uint8),
    "content_regions": LABELS,
    "labels": np.ascontiguousarray(np.broadcast_to(LABELS[:, 35:37].repeat(32, axis=1)[:48], (48, 64, 3))),
}
SMALL: dict[str, Any] = {**QUICK, "size": 48, "steps": (2, 3), "weights": "builtin"}


def _stylized(given, **options):
    return nst_tf.stylize(
        given["content"],
        [given["red"], given["blue"]],
        content_mask=given["content_mask"],
        content_regions=given["content_regions"],
        style_regions=[given["labels"], "#0000ff"],
        **options,
    )


def test_paths_pillow_pictures_and_arrays_make_one_picture_and_a_manifest_makes_it_again(tmp_path):
    pillow = {name: Image.fromarray(array) for name, array in GIVEN.items()}
    paths = {name: tmp_path / f"{name}.png" for name in GIVEN}
    for name, picture in pillow.items():
        picture.save(paths[name])
    made = [_stylized(given, **SMALL) for given in (GIVEN, pillow, paths)]
    for other in made[1:]:
        np.testing.assert_array_equal(other.image, made[0].image)
    assert {name: one["name"] for name, one in made[2].manifest["inputs"].items()} == {
        "content": "content.png",
        "style": "red.png",
        "style 2": "blue.png",
        "content_mask": "content_mask.png",
        "content_regions": "content_regions.png",
        "style_regions": "labels.png",
        "style_regions 2": "#0000ff",
    }
    made[2].save(tmp_path / "out.png")
    read = manifest.read(tmp_path / "out.png")
    again = _stylized(paths, preset=manifest.to_config(read, "out.png"))
    np.testing.assert_array_equal(again.image, made[2].image)
    assert manifest.differences(read, again.manifest) == []
    inverted = {**GIVEN, "content_mask": 255 - GIVEN["content_mask"] // 2}
    lines = manifest.differences(read, _stylized(inverted, preset=again.config).manifest)
    assert any(line.startswith("content_mask is not the picture") for line in lines)


def test_one_label_picture_or_colour_need_be_no_list():
    given = {"content_regions": LABELS * np.array([0, 0, 1], np.uint8), **SMALL}
    blue = np.full_like(GIVEN["red"], [0, 0, 255])
    listed, *alone = (
        nst_tf.stylize(GIVEN["content"], GIVEN["red"], style_regions=regional, **given).image
        for regional in (["#0000ff"], "#0000ff", blue)
    )
    for image in alone:
        np.testing.assert_array_equal(image, listed)


def test_mistakes_in_python_are_input_errors():
    for options, message in (
        ({"content_mask": MASK[:, :50]}, "content_mask: 50 x 72 pixels"),
        ({"content_mask": np.zeros(SIZE)}, "black everywhere"),
        ({"style_regions": ["#ff0000", "#0000ff"]}, "content_regions: missing"),
        ({"style_blend_weights": (1.0,)}, "1 for 2 style pictures"),
        ({"outside": "free"}, "does nothing without content_mask"),
        (
            {
                "content_regions": LABELS,
                "style_regions": ["#ff0000", "#0000ff"],
                "style_blend_weights": (1.0, 0.0),
            },
            "style_blend_weights: all styles of the region #0000ff have weight 0",
        ),
    ):
        with pytest.raises(errors.InputError, match=message):
            nst_tf.stylize(GIVEN["content"], [GIVEN["red"], GIVEN["blue"]], **SMALL, **options)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 2.0)])
def test_colours_alone_of_a_style_of_weight_0_are_not_there(weights):
    both = nst_tf.stylize(CONTENT[0], [RED[0], BLUE[0]], color="only", style_blend_weights=weights)
    alone = nst_tf.stylize(CONTENT[0], [RED[0] if weights[0] else BLUE[0]], color="only")
    np.testing.assert_allclose(both.image, alone.image, atol=1e-6)


@pytest.mark.slow
def test_the_command_paints_in_several_styles_and_in_places(tmp_path, monkeypatch):
    """In a folder where a painting's name has a comma; and once more from the picture's manifest."""
    monkeypatch.chdir(tmp_path)
    for name, array in GIVEN.items():
        Image.fromarray(array).save({"blue": "blue, and more"}.get(name, name) + ".png")
    inputs = ["--content=content.png", "--style=red.png", "--style=blue, and more.png"]
    mask = ["--content_mask=content_mask.png"]
    quick = [
        *conftest.SHALLOW_FLAGS,
        "--size=48",
        "--steps=3",
        "--weights=builtin",
        "--precision=float32",
        "--style_blend_weights=1,3",
    ]
    first = answer([*inputs, *mask, *quick, "--outside=keep", "--output=a.png", "--comparison=c.png"])
    assert first[0] == 0, first
    assert Image.open("c.png").width > 4 * 48
    again = answer([*inputs, *mask, "--config=a.png", "--output=b.png"])
    assert (again[0], "not the same" in again[2]) == (0, False), again
    assert pathlib.Path("a.png").read_bytes() == pathlib.Path("b.png").read_bytes()
    without = answer([*inputs, "--config=a.png", "--output=d.png"])
    assert "content_mask is missing; the manifest names one (content_mask.png)" in without[2]
    labelled = ["--content_regions=content_regions.png", "--style_regions=labels.png,#0000ff"]
    more = answer([*inputs, *mask, *labelled, "--config=a.png", "--output=e.png"])
    assert "style_regions 2 is given, of which the manifest names none" in more[2]
