"""Bytes in a graph: the values of `pictures.read`, and what is refused before it is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf.io import pictures
from nst_tf.serving import codec
from tests import conftest


def _decode(data, max_pixels=10_000, min_side=4):
    function = tf.function(
        lambda text: codec.decode(text, "content", "content", max_pixels, min_side), autograph=False
    )
    return function(tf.constant(data)).numpy()


def _bytes(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


PICTURE = Image.fromarray(np.rint(conftest.smooth_picture(1, 37, 53) * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("picture", "kind", "options"),
    [
        (PICTURE, "PNG", {}),
        (PICTURE, "JPEG", {"quality": 60}),
        (PICTURE, "JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        (PICTURE.convert("L"), "PNG", {}),
        (PICTURE.convert("L"), "JPEG", {}),
        (PICTURE.convert("P"), "PNG", {}),
        (PICTURE.convert("1"), "PNG", {}),
    ],
)
def test_decoded_as_pillow_does(picture, kind, options):
    data = _bytes(picture, kind, **options)
    np.testing.assert_array_equal(_decode(data), pictures.read(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_over_white(mode):
    cut = PICTURE.convert("L") if mode == "LA" else PICTURE.copy()
    options = {"transparency": 7} if mode == "P" else {}
    if mode == "P":
        cut = PICTURE.quantize(16)
    else:
        cut.putalpha(Image.linear_gradient("L").resize(cut.size))
    expected = pictures.read(_bytes(cut, "PNG", **options))
    assert np.any(expected > 0.95)
    np.testing.assert_allclose(_decode(_bytes(cut, "PNG", **options)), expected, atol=1e-7)


def _png_header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_png_header(100, 101), "101 x 100|100 x 101 pixels; allowed: at most 10000"),
        (_png_header(2**31 - 1, 2**31 - 1), "at most 10000"),
        (_png_header(2**31, 5), "at least 4 a side"),
        (_png_header(0, 0), "0 x 0 pixels; allowed: at least 4"),
        (_png_header(20, 20), "content: the file was cut short, after 33 bytes"),
        (_png_header(20, 20) + b"\0IEND", "content_cannot_be_decoded"),
        (
            _bytes(PICTURE, "JPEG").replace(struct.pack(">HH", 37, 53), struct.pack(">HH", 60000, 60000)),
            "60000",
        ),
        (_bytes(PICTURE, "GIF"), "not a PNG or JPEG"),
        (_bytes(PICTURE, "BMP"), "not a PNG or JPEG"),
        (b"\xff\xd8\xff", "content: the file was cut short, after 3 bytes"),
        (b"\xff\xd8\xff\xd9", "content_cannot_be_decoded"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        _decode(data)


def test_encoded_as_pictures_are_written():
    image = np.random.default_rng(0).uniform(-0.1, 1.1, (1, 20, 30, 3)).astype(np.float32)
    data = codec.encode(tf.constant(image)).numpy()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pictures.to_uint8(image))
