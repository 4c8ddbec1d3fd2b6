"""Pixels an inch: read, kept where they make sense and the format can hold them."""

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from nst_tf.io import pictures
from tests import conftest

PIXELS = pictures.to_uint8(conftest.smooth_picture(1, 20, 30))


def _file(format_name, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format_name, **options)
    return file.getvalue()


def _of_info(value):
    """Returns a Pillow picture that says that of its pixels an inch."""
    picture = Image.fromarray(PIXELS)
    picture.info["dpi"] = value
    return picture


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "BMP"])
def test_pixels_an_inch_are_read(format_name):
    found = pictures.read_whole(_file(format_name, dpi=(300, 150))).dpi
    assert found is not None
    np.testing.assert_allclose(found, (300, 150), rtol=1e-3)
    assert [type(each) for each in found] == [float, float]


@pytest.mark.parametrize(
    "picture", [_file("PNG"), _file("JPEG"), _file("WEBP"), _file("TIFF"), PIXELS, Image.fromarray(PIXELS)]
)
def test_where_nobody_says_there_are_none(picture):
    assert pictures.read_whole(picture).dpi is None


@pytest.mark.parametrize(
    "value",
    [
        *((0, 0), (300, 0), (-72, -72), (1e7, 300), (float("nan"), 72), (float("inf"), 72), (1, 1)),
        *(72, None, "fine", (72,), (72, 72, 72), (None, 72), ("many", "more"), ()),
        (TiffImagePlugin.IFDRational(1, 0), TiffImagePlugin.IFDRational(300)),
        (10**400, 72),
    ],
)
def test_what_makes_no_sense_is_left_out(value):
    read = pictures.read_whole(_of_info(value))
    assert read.dpi is None
    np.testing.assert_allclose(read.image[0], PIXELS / 255, atol=1e-6)


def test_those_of_a_picture_on_its_side_are_turned_with_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    read = pictures.read_whole(_file("PNG", dpi=(300, 150), exif=exif))
    assert read.image.shape == (1, 30, 20, 3)
    assert read.dpi is not None
    np.testing.assert_allclose(read.dpi, (150, 300), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "bit_depth"),
    [*((name, 8) for name in ("a.png", "a.jpg", "a.tif", "a.bmp", "a.webp")), ("a.png", 16), ("a.tif", 16)],
)
def test_they_are_written_where_the_format_has_them(tmp_path, name, bit_depth):
    pictures.write(PIXELS / np.float32(255), tmp_path / name, dpi=(299.9994, 144.0), bit_depth=bit_depth)
    found = pictures.read_whole(tmp_path / name).dpi
    if name == "a.webp":
        assert found is None
    else:
        assert found is not None
        np.testing.assert_allclose(found, (300, 144), rtol=1e-3)


def test_more_than_a_format_counts_is_left_out(tmp_path):
    pictures.write(PIXELS / np.float32(255), tmp_path / "a.jpg", dpi=(70000.0, 300.0))
    assert pictures.read_whole(tmp_path / "a.jpg").dpi is None
    pictures.write(PIXELS / np.float32(255), tmp_path / "a.png", dpi=(70000.0, 300.0))
    assert pictures.read_whole(tmp_path / "a.png").dpi == pytest.approx((70000, 300), rel=1e-4)
