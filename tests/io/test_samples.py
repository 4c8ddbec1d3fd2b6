"""The package's own pictures, by name wherever a picture file may be named."""

import configparser
import hashlib
import pathlib
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

import nst_tf
from nst_tf import errors
from nst_tf.io import manifest, pictures, samples
from tests import conftest

PACKAGE = conftest.ROOT / "nst_tf"
PAINTINGS = ("sample:town", "sample:strokes", "sample:mosaic")


@pytest.mark.parametrize("name", PAINTINGS)
def test_a_sample_is_a_colourful_picture(name):
    with Image.open(samples.to_path(name)) as picture:
        assert (picture.size, picture.mode) == ((768, 576), "RGB")
        assert JpegImagePlugin.get_sampling(picture) == 0, "4:4:4, chroma at full resolution"
        pixels = np.asarray(picture, np.float64)
    # Neither flat nor noise: neighbours are alike, distant pixels are not.
    assert np.min(np.std(pixels, axis=(0, 1))) > 30
    assert np.abs(np.diff(pixels, axis=1)).mean() < 0.7 * pixels.std()


def test_regions_and_mask_are_flat_and_divide_the_town_alike():
    mask = pictures.read("sample:town_mask")[0, ..., 0]
    regions = pictures.to_uint8(pictures.read("sample:town_regions"))
    assert mask.shape == (576, 768)
    np.testing.assert_array_equal(np.unique(mask), [0, 1])
    for value, color in ((1, (255, 0, 0)), (0, (0, 0, 255))):
        np.testing.assert_array_equal(np.unique(regions[mask == value], axis=0), [color])


def test_the_package_has_these_files_and_no_others_of_600_kb_at_most():
    folder = PACKAGE / "data" / "samples"
    assert {path.name for path in folder.iterdir()} == {*samples.FILES.values(), "README.md"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 600_000
    described = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in described for name in samples.FILES)


def test_every_data_file_is_put_into_the_wheel():
    setup = configparser.ConfigParser()
    setup.read(conftest.ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["nst_tf"].split()
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert packed >= {path for path in (PACKAGE / "data").rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_sample_wins_over_a_file_of_its_name(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (3, 2)).save("sample:town", "PNG")
    assert nst_tf.read_image(kind("sample:town")).shape == (1, 576, 768, 3)
    assert nst_tf.read_image(kind(tmp_path / "sample:town")).shape == (1, 2, 3, 3)


@pytest.mark.parametrize("name", ["sample:", "sample:twon", "sample:town.jpg", "sample:../vgg19_builtin.npz"])
def test_an_unknown_sample_gets_the_names_that_there_are(name):
    said = f"style: '{name}' is not one of {', '.join(samples.FILES)}"
    with pytest.raises(errors.InputError, match=re.escape(said)) as caught:
        pictures.read(name, "style")
    assert "\n" not in str(caught.value)
    assert ("did you mean 'sample:town'?" in str(caught.value)) == (".npz" not in name)


def test_python_takes_samples_and_the_manifest_names_them(tmp_path):
    options: dict[str, Any] = {**conftest.SHALLOW, "weights": "builtin", "precision": "float32"}
    named: dict[str, Any] = {"content_mask": "sample:town_mask", "content_regions": "sample:town_regions"}
    styles, colors = ["sample:strokes", "sample:mosaic"], ["#ff0000", "sample:town_regions"]
    options |= {"size": 32, "steps": 2, "init": "sample:mosaic"}
    result = nst_tf.stylize("sample:town", styles, style_regions=colors, **named, **options)
    found = {name: given["name"] for name, given in result.manifest["inputs"].items()}
    assert found == {
        "content": "sample:town",
        "init": "sample:mosaic",
        **named,
        "style": "sample:strokes",
        "style 2": "sample:mosaic",
        "style_regions": "#ff0000",
        "style_regions 2": "sample:town_regions",
    }
    file = samples.to_path("sample:mosaic").read_bytes()
    assert result.manifest["inputs"]["init"]["sha256"] == hashlib.sha256(file).hexdigest()
    again = manifest.to_config(result.manifest, "a.json")
    assert again.start.init == "sample:mosaic"
    repeated = nst_tf.stylize("sample:town", styles, style_regions=colors, preset=again, **named)
    np.testing.assert_array_equal(repeated.image, result.image)
    nst_tf.save_comparison(result.image, "sample:town", styles, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as sheet:
        assert sheet.width == 4 * 32 + 3 * 8
