"""What the numbers of a picture mean, in each mode, and which files are opened."""

import io
import os
import struct
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from nst_tf import errors
from nst_tf.io import decoding, pictures
from tests import conftest

PIXELS = pictures.to_uint8(conftest.smooth_picture(1, 20, 30))
RGB = Image.fromarray(PIXELS)
GREY = PIXELS[..., 0]


def _grey_of(picture):
    return pictures.read(picture)[0, ..., 0]


def _file(picture, format_name, **options):
    file = io.BytesIO()
    picture.save(file, format_name, **options)
    return file.getvalue()


# Every mode that Pillow has, of one grey picture: what it is made by, and how near to it numbers must be.
GREY_MODES = {
    "L": GREY,
    "I;16": GREY.astype(np.uint16) * 257,
    "I": GREY.astype(np.int32) * 257,
    "F": GREY.astype(np.float32) / 255,
}


@pytest.mark.parametrize("mode", GREY_MODES)
def test_every_grey_mode_has_its_range(mode):
    picture = Image.fromarray(GREY_MODES[mode])
    assert picture.mode == mode
    np.testing.assert_allclose(_grey_of(picture), GREY / 255, atol=1e-6)
    np.testing.assert_allclose(_grey_of(_file(picture, "TIFF")), GREY / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "P", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"])
def test_every_mode_of_eight_bits_is_as_pillow_converts_it(mode):
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(RGB, srgb, lab, outputMode="LAB")
    else:
        picture = RGB.convert(mode)
    assert picture is not None
    expected = np.asarray(picture.convert("RGB")) / 255
    np.testing.assert_allclose(pictures.read(picture)[0], expected, atol=1e-6)
    if mode != "1":
        assert np.abs(expected - PIXELS / 255).mean() < 0.08  # it shows the picture


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_every_mode_with_alpha_has_it(mode):
    picture = Image.fromarray(np.dstack([PIXELS, np.full((20, 30), 128, np.uint8)]))
    picture = picture.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert(mode)
    image, alpha = pictures.read_with_alpha(picture)
    assert alpha is not None
    np.testing.assert_allclose(alpha, 128 / 255, atol=1e-6)
    seen = np.asarray(Image.fromarray(PIXELS).convert("L"))[..., np.newaxis] if "L" in mode else PIXELS
    tolerance = 0.3 if mode == "PA" else 2 / 255  # a palette of few colours
    np.testing.assert_allclose(
        image[0], np.broadcast_to(1 + 128 / 255 * (seen / 255 - 1), image[0].shape), atol=tolerance
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY.astype(np.float32), r"mode F with values from \S+ to \S+; they must be from 0 .* to 1 "),
        (GREY.astype(np.float32) / 255 - 1, "mode F with values from -"),
        (np.full((8, 8), np.nan, np.float32), "mode F with values from nan"),
        (GREY.astype(np.int32) - 300, "mode I with values from -"),
        (GREY.astype(np.int32) * 2**20, r"mode I .* to 65535 \(white\)"),
    ],
)
def test_values_outside_a_modes_range_are_refused(array, message):
    for picture in (Image.fromarray(array), _file(Image.fromarray(array), "TIFF")):
        with pytest.raises(errors.InputError, match=message):
            pictures.read(picture)


def test_a_mode_that_nobody_knows_is_refused_by_its_name():
    picture = Image.fromarray(GREY)
    picture._mode = "Z;9"
    with pytest.raises(errors.InputError, match="a picture of mode Z;9; allowed: 1, CMYK, F"):
        decoding.colors(picture, "style", decoding.Meaning(None, 255.0, False))


def _tiff(values, bits, photometric):
    """Returns a grey TIFF of one strip: entries of 12 bytes as TIFF 6.0 has them."""
    data, (height, width) = values.tobytes(), values.shape
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8)]
    entries += [(277, 1), (278, height), (279, len(data))]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory + bytes(4)


def test_where_zero_is_white_the_picture_is_turned_round():
    deep = GREY.astype(np.uint16) * 257
    np.testing.assert_allclose(_grey_of(_tiff(deep, 16, 1)), GREY / 255, atol=1e-6)
    np.testing.assert_allclose(_grey_of(_tiff(deep, 16, 0)), 1 - GREY / 255, atol=1e-6)
    np.testing.assert_allclose(_grey_of(_tiff(GREY, 8, 0)), 1 - GREY / 255, atol=1e-6)


def test_twelve_bits_are_stretched_to_white():
    values = np.array([[0, 4095, 2048, 1024]] * 2)
    packed = np.array(
        [
            [
                b
                for one, other in row.reshape(-1, 2)
                for b in (one >> 4, (one & 15) << 4 | other >> 8, other & 255)
            ]
            for row in values
        ],
        np.uint8,
    )
    tiff = bytearray(_tiff(packed, 12, 1))
    tiff[struct.unpack("<I", tiff[4:8])[0] + 2 + 8] = 4  # the width in pixels, not in bytes
    np.testing.assert_allclose(_grey_of(bytes(tiff)), values / 4095, atol=1e-6)


def _gamma_profile():
    """Returns a grey profile of gamma 1: its middle, 128, is sRGB's 188."""
    curve = struct.pack(">4sII", b"curv", 0, 0)
    white = struct.pack(">4sI3i", b"XYZ ", 0, 63190, 65536, 54061)
    table = struct.pack(">I", 2)
    table += struct.pack(">4sII", b"kTRC", 156, len(curve)) + struct.pack(">4sII", b"wtpt", 168, len(white))
    body = table + curve + white
    header = struct.pack(">I4sI4s4s4s", 128 + len(body), b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + body


def test_grey_of_eight_and_sixteen_bits_heeds_its_profile_alike():
    profile = _gamma_profile()
    shallow = pictures.read(_file(Image.fromarray(GREY), "PNG", icc_profile=profile))
    deep = pictures.read(_file(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG", icc_profile=profile))
    np.testing.assert_allclose(deep, shallow, atol=1e-6)
    middle = pictures.read(_file(Image.new("L", (8, 8), 128), "PNG", icc_profile=profile))
    np.testing.assert_allclose(middle, 188 / 255, atol=1.5 / 255)


def test_a_profile_of_another_colour_space_is_left_aside():
    rgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = rgb.replace(b"rXYZ", b"keep").replace(b"gXYZ", b"rXYZ").replace(b"keep", b"gXYZ")
    np.testing.assert_allclose(
        pictures.read(_file(RGB, "PNG", icc_profile=_gamma_profile()))[0], PIXELS / 255, atol=1e-6
    )
    # A grey picture in a space of three colours, whose greys are greys.
    np.testing.assert_allclose(
        _grey_of(_file(Image.fromarray(GREY), "PNG", icc_profile=swapped)), GREY / 255, atol=1.5 / 255
    )


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("I;16", 7 * 257)])
def test_a_colour_that_stands_for_transparency_is_not_seen(mode, key):
    grey = np.full((8, 8), 100, np.uint8)
    grey[:4] = 7
    picture = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey)
    data = _file(picture if mode == "I;16" else picture.convert(mode), "PNG", transparency=key)
    image, alpha = pictures.read_with_alpha(data)
    assert alpha is not None
    np.testing.assert_array_equal(alpha, grey != 7)
    np.testing.assert_allclose(image[0, ..., 0], np.where(grey == 7, 1, grey / 255), atol=1e-6)


def test_only_named_formats_are_opened():
    for format_name in ("EPS", "ICO", "PCX"):
        with pytest.raises(errors.InputError, match=r"content: .* (is|is not) .*(PNG|known format)"):
            pictures.read(_file(RGB, format_name), "content")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "an EPS file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "HEIC"),
        (b"\xff\x0a" + bytes(40), "a JPEG XL file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "a JPEG XL file"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "raw file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"", "is empty"),
        (b"any text", "not a picture in a known format; allowed: AVIF"),
    ],
)
def test_a_file_that_is_not_read_is_named(data, what, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(errors.InputError, match=what) as caught:
        pictures.read(io.BytesIO(data))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_heic_file_is_read_where_its_reader_is_installed():
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    try:
        data = io.BytesIO()
        heif.from_pillow(RGB.resize((64, 48))).save(data, quality=-1)
    except (OSError, RuntimeError, ValueError) as error:
        pytest.skip(f"pillow-heif has no encoder here: {error}")
    data.seek(0)
    image = pictures.read(data)  # type: ignore[arg-type]
    assert image.shape == (1, 48, 64, 3)
    assert np.abs(image[0] - np.asarray(RGB.resize((64, 48))) / 255).mean() < 0.03


@pytest.mark.parametrize("mark", ["preview", "DNG", "CR2"])
def test_a_cameras_raw_file_is_refused_and_not_its_preview_painted(mark):
    info = {"preview": {254: 1}, "DNG": {50706: b"\1\4\0\0"}, "CR2": {}}[mark]
    data = bytearray(_file(RGB, "TIFF", tiffinfo=info))
    if mark == "CR2":
        tiff = _tiff(GREY, 8, 1)
        data = bytearray(tiff)
        data[8:12] = b"CR\2\0"
    with pytest.raises(errors.InputError, match="raw file, of which only a preview of 30 x 20 pixels"):
        pictures.read(io.BytesIO(data))  # type: ignore[arg-type]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_png_with_a_huge_text_is_read(compressed, before):
    data = _file(RGB, "PNG")
    text = b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1)
    kind = b"zTXt" if compressed else b"iTXt"
    body = b"note\0\0" + (zlib.compress(text) if compressed else b"\0\0\0" + text)
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    at = 33 if before else data.rindex(b"IEND") - 4
    many = chunk * (1 if compressed else 70)  # beyond Pillow's limit on all of them
    np.testing.assert_allclose(pictures.read(data[:at] + many + data[at:])[0], PIXELS / 255, atol=1e-6)


def test_our_own_text_stays_beside_a_huge_one(tmp_path):
    pictures.write(PIXELS / 255, tmp_path / "a.png", text='{"config": {}}')
    data = (tmp_path / "a.png").read_bytes()
    body = b"note\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    assert pictures.read_text(tmp_path / "a.png") == '{"config": {}}'


def test_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    data = _file(RGB, "PNG")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    np.testing.assert_allclose(pictures.read(tmp_path / "pipe")[0], PIXELS / 255, atol=1e-6)
    writer.join()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/zero", "a device, not a file"),
        ("x" * 300, "name too long"),
        ("a\0b", "null"),
    ],
)
def test_a_path_without_a_file_is_one_line(path, message):
    with pytest.raises(errors.InputError, match=message):
        pictures.read(path)


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(pictures._LARGEST_FILE + 1)
    with pytest.raises(errors.InputError, match="over 2,147,483,648 bytes"):
        pictures.read(tmp_path / "a.png")


def test_a_jpeg_of_thousands_of_scans_is_refused(monkeypatch):
    monkeypatch.setattr(decoding, "_MOST_SCANNED", 50_000)
    data = _file(RGB, "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 2)]
    np.testing.assert_array_equal(pictures.read(io.BytesIO(data)).shape, (1, 20, 30, 3))  # type: ignore[arg-type]
    with pytest.raises(errors.InputError, match=r"a JPEG of 1,0.. scans"):
        pictures.read(io.BytesIO(data[:first] + scan * 1000 + data[first:]))  # type: ignore[arg-type]


def test_a_palette_that_is_too_short_is_one_line():
    picture = Image.new("P", (8, 8), 200)
    picture.info["transparency"] = 7
    picture.putpalette([0, 0, 0])
    try:
        image = pictures.read(picture)
    except errors.InputError as error:
        assert "cannot be read" in str(error)  # noqa: PT017
    else:
        assert image.shape == (1, 8, 8, 3)
