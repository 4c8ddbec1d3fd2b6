"""Pictures in and out."""

import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from nst_tf import errors
from nst_tf.io import decoding, files, pictures
from tests import conftest

PICTURE = conftest.smooth_picture(1, 20, 30)
PIXELS = pictures.to_uint8(PICTURE)
# AVIF is not promised, but Pillow's wheels read it.
FORMATS = ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", *(["AVIF"] if features.check("avif") else [])]


def _saved(tmp_path, name, picture=None, **options):
    path = tmp_path / name
    (picture or Image.fromarray(PIXELS)).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp"])
def test_reads_lossless_files_exactly(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    image = pictures.read(_saved(tmp_path, name, **options))
    assert image.shape == (1, 20, 30, 3)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], PIXELS / 255, atol=1e-6)


def test_reads_jpeg_closely(tmp_path):
    image = pictures.read(str(_saved(tmp_path, "a.jpg", quality=95)))
    assert np.abs(image[0] - PIXELS / 255).mean() < 0.03


def test_reads_arrays_and_pillow_images_alike():
    expected = PIXELS / 255
    for picture in (PIXELS, (PIXELS / 255).astype(np.float64), Image.fromarray(PIXELS)):
        np.testing.assert_allclose(pictures.read(picture)[0], expected, atol=1e-6)


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = PIXELS[..., 0]
    for picture in (grey, Image.fromarray(grey), _saved(tmp_path, "g.png", Image.fromarray(grey))):
        np.testing.assert_allclose(pictures.read(picture)[0], np.stack([grey] * 3, -1) / 255, atol=1e-6)


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    image = pictures.read(_saved(tmp_path, "g.png", Image.fromarray(values)))
    np.testing.assert_allclose(image[0, ..., 0], values / 65535, atol=1e-4)


def test_what_is_transparent_is_over_white_or_another_grey(tmp_path):
    alpha = np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30)
    path = _saved(tmp_path, "a.png", Image.fromarray(np.dstack([PIXELS, alpha])))
    share = alpha[..., np.newaxis] / 255
    np.testing.assert_allclose(pictures.read(path)[0], 1 + share * (PIXELS / 255 - 1), atol=1e-6)
    black = pictures.read(path, background=pictures.BLACK)
    np.testing.assert_allclose(black[0], share * (PIXELS / 255), atol=1e-6)
    assert np.all(pictures.read(path)[0][alpha == 0] == 1)  # whatever colours lie there
    seen = Image.new("RGB", (30, 20), "white")
    opened = Image.open(path)
    seen.paste(opened, mask=opened)
    np.testing.assert_allclose(pictures.read(path)[0], np.asarray(seen) / 255, atol=1.01 / 255)


def test_palette_pictures_have_their_colours(tmp_path):
    picture = Image.fromarray(PIXELS).quantize(256)
    image = pictures.read(_saved(tmp_path, "a.png", picture))
    np.testing.assert_allclose(image[0], np.asarray(picture.convert("RGB")) / 255, atol=1e-6)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    image = pictures.read(_saved(tmp_path, "a.png", exif=exif))
    assert image.shape == (1, 30, 20, 3)
    np.testing.assert_allclose(image[0], np.rot90(PIXELS, -1) / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_embedded_profile_is_converted_to_srgb(tmp_path, mode):
    """A profile whose red and green primaries have changed places makes red of green."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"keep").replace(b"gXYZ", b"rXYZ").replace(b"keep", b"gXYZ")
    picture = Image.fromarray(PIXELS).convert(mode)
    image = pictures.read(_saved(tmp_path, "swapped.png", picture, icc_profile=swapped))
    np.testing.assert_allclose(image[0], PIXELS[..., [1, 0, 2]] / 255, atol=2 / 255)


def test_an_srgb_profile_or_a_broken_one_changes_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile"):
        image = pictures.read(_saved(tmp_path, "a.png", icc_profile=profile))
        np.testing.assert_allclose(image[0], PIXELS / 255, atol=1 / 255)


def test_cmyk_is_read(tmp_path):
    picture = Image.fromarray(PIXELS).convert("CMYK")
    image = pictures.read(_saved(tmp_path, "a.tif", picture))
    np.testing.assert_allclose(image[0], np.asarray(picture.convert("RGB")) / 255, atol=1e-6)


def _png_of_size(width, height):
    """Returns the start of a PNG that claims a size and has no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def encoded(format_name, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format_name, **options)
    return file.getvalue()


def patched(data, position, patch):
    return data[:position] + patch + data[position + len(patch) :]


def _cut(data):
    return data[: 2 * len(data) // 3]


def _files_without_size():
    """Returns a file of every format whose header says that it has no pixels."""
    gif, tiff = encoded("GIF"), encoded("TIFF")
    frame = gif.index(b"\x2c\0\0\0\0") + 5  # the image descriptor; Pillow heeds no other size
    directory = struct.unpack("<I", tiff[4:8])[0] + 2
    for entry in range(directory, directory + 24, 12):  # ImageWidth and ImageLength come first
        tiff = patched(tiff, entry + 8, bytes(4))
    return {
        "zero.png": _png_of_size(0, 0),
        "zero.jpg": patched(encoded("JPEG"), encoded("JPEG").index(b"\xff\xc0") + 5, bytes(4)),
        "zero.webp": patched(encoded("WEBP"), 26, bytes(4)),
        "zero.bmp": patched(encoded("BMP"), 18, bytes(8)),
        "zero.gif": patched(patched(gif, 6, bytes(4)), frame, bytes(4)),
        "zero.tif": tiff,
    }


def bad_files():
    """Returns {name: bytes} of files that are no pictures."""
    deflated = encoded("TIFF", compression="tiff_deflate")
    return {
        "empty.png": b"",
        "text.png": b"this is no picture",
        "bomb.png": _png_of_size(60_000, 60_000),
        **_files_without_size(),
        **{f"cut.{name.lower()}": _cut(encoded(name)) for name in FORMATS},
        # libtiff, which decodes this one, has its say on standard error.
        "damaged.tif": patched(deflated, 20, bytes(40)),
        # Found by damaging files at random: Pillow raises RuntimeError.
        **({"damaged.avif": encoded("AVIF").replace(b"iloc", b"free")} if "AVIF" in FORMATS else {}),
    }


@pytest.mark.parametrize("name", list(bad_files()))
def test_bad_files_give_one_clear_line(tmp_path, name):
    (tmp_path / name).write_bytes(bad_files()[name])
    with pytest.raises(errors.InputError, match=name) as caught:
        pictures.read(tmp_path / name, "content")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("content: ")


def test_a_picture_too_large_for_the_memory_gets_one_line(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    path = _saved(tmp_path, "a.png", Image.fromarray(PIXELS).convert("L"))
    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(errors.InputError, match=r"a\.png cannot be read: MemoryError"):
        pictures.read(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(errors.InputError, match="there is no file"):
        pictures.read(tmp_path / "missing.png")
    with pytest.raises(errors.InputError, match="folder"):
        pictures.read(tmp_path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 2)), "shape"),
        (np.zeros((0, 5, 3)), "shape"),
        (np.zeros(5), "shape"),
        (np.zeros((4, 5, 3), np.int64), "int64"),
        (np.full((4, 5, 3), 1.5), "1.5"),
        (np.full((4, 5, 3), -0.1), "-0.1"),
        (np.full((4, 5, 3), np.nan), "nan"),
    ],
)
def test_bad_arrays_are_refused(array, message):
    with pytest.raises(errors.InputError, match=message):
        pictures.read(array)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_writes_lossless_files_exactly(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    pictures.write(PICTURE, path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), PIXELS)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_writes_lossy_files_closely_with_a_profile(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    pictures.write(PICTURE[np.newaxis], path)
    with Image.open(path) as picture:
        assert picture.info["icc_profile"]
        assert np.abs(np.asarray(picture.convert("RGB")) / 255 - PICTURE).mean() < 0.03


def test_the_same_picture_makes_the_same_file(tmp_path, monkeypatch):
    files = []
    for hour in (1, 2):
        monkeypatch.setenv("TZ", f"UTC{hour}")
        time.tzset()
        pictures.write(PICTURE, tmp_path / "a.png", text="the same")
        files.append((tmp_path / "a.png").read_bytes())
        time.sleep(1.1)  # the clock that a profile's header is made by counts seconds
    assert files[0] == files[1]


def test_pixels_are_clipped_and_rounded():
    values = np.array([-0.5, 0.0, 0.4999 / 255, 0.51 / 255, 1.0, 1.7], np.float32)
    pixels = pictures.to_uint8(np.tile(values[np.newaxis, :, np.newaxis], (1, 1, 3)))
    assert pixels[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_a_huge_picture_is_held_once_on_its_way_in_and_out():
    levels = np.zeros((2000, 2000, 3), np.uint8)

    def peak(function, given):
        tracemalloc.start()
        try:
            result = function(given)
            return result, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    image, reading = peak(pictures.read, levels)
    assert image.nbytes <= reading < 1.1 * image.nbytes
    _, writing = peak(pictures.to_uint8, image)
    assert writing < 0.8 * image.nbytes  # its levels twice, and no copy in floats
    opened = Image.fromarray(levels)
    assert decoding.turned_upright(opened) is opened


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"before")
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        pictures.write(PICTURE, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out.png"]


def test_written_files_have_the_usual_permissions(tmp_path):
    pictures.write(PICTURE, tmp_path / "out.png")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_output_is_checked_before_the_run(tmp_path):
    pictures.check_output(tmp_path / "new.png", overwrite=False)
    (tmp_path / "old.png").write_bytes(b"")
    pictures.check_output(tmp_path / "old.png", overwrite=True)
    for path, message in (
        (tmp_path / "old.png", "--overwrite"),
        (tmp_path / "missing" / "new.png", "no folder"),
        (tmp_path / "new.xyz", "'.xyz' is not one of"),
        (tmp_path / "new", "'' is not one of"),
        (tmp_path / "new.jpgg", "did you mean '.jpg'"),
    ):
        with pytest.raises(errors.InputError, match=message):
            pictures.check_output(path, overwrite=False)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(errors.InputError, match="is a folder"):
        pictures.check_output(tmp_path / "folder.png", overwrite=True)


def test_a_closed_folder_is_found_out(tmp_path):
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write anywhere")
        with pytest.raises(errors.InputError, match="cannot be written"):
            pictures.check_output(tmp_path / "new.png", overwrite=False)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept_where_the_format_can(tmp_path, suffix):
    alpha = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    pictures.write(PICTURE, tmp_path / f"a{suffix}", alpha=alpha)
    image, found = pictures.read_with_alpha(tmp_path / f"a{suffix}")
    assert found is not None
    np.testing.assert_allclose(found, alpha, atol=0.51 / 255)
    if suffix != ".webp":  # which is lossy
        expected = pictures.over_white(PICTURE, alpha)
        np.testing.assert_allclose(image[0], expected, atol=1.5 / 255)
        np.testing.assert_allclose(image[0][found == 1], PIXELS[found == 1] / 255, atol=1.01 / 255)


def test_nothing_is_written_of_what_lies_under_transparency(tmp_path):
    alpha = np.zeros((20, 30), np.float32)
    pictures.write(PICTURE, tmp_path / "a.png", alpha=alpha)
    assert np.asarray(Image.open(tmp_path / "a.png"))[..., :3].min() == 255


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_alpha_is_dropped_where_the_format_has_none(tmp_path, suffix):
    pictures.write(PICTURE, tmp_path / f"a{suffix}", alpha=np.zeros((20, 30), np.float32))
    assert pictures.read_with_alpha(tmp_path / f"a{suffix}")[1] is None


def test_alpha_of_what_is_opaque_is_none(tmp_path):
    assert pictures.read_with_alpha(_saved(tmp_path, "a.png"))[1] is None
    assert pictures.read_with_alpha(PIXELS)[1] is None
    assert pictures.read_with_alpha(Image.fromarray(PIXELS))[1] is None


def test_alpha_turns_with_its_picture(tmp_path):
    rgba = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    rgba[0, :, 3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = pictures.read_with_alpha(_saved(tmp_path, "a.png", Image.fromarray(rgba), exif=exif))[1]
    assert alpha is not None
    np.testing.assert_array_equal(alpha, np.rot90(rgba[..., 3], -1) / 255)


def test_damaged_exif_data_is_as_none(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(_saved(tmp_path, "a.jpg", exif=exif, quality=95).read_bytes())
    start = data.index(b"Exif")
    for position in range(start + 6, start + len(exif.tobytes())):
        for value in (0, 7, 255):
            damaged = data.copy()
            damaged[position] = value
            (tmp_path / "b.jpg").write_bytes(bytes(damaged))
            assert pictures.read(tmp_path / "b.jpg").shape in ((1, 20, 30, 3), (1, 30, 20, 3))


def test_a_link_is_replaced_and_never_followed(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    with pytest.raises(errors.InputError, match=r"link\.png exists"):
        pictures.check_output(tmp_path / "link.png", overwrite=False)
    pictures.write(PICTURE, pictures.check_output(tmp_path / "link.png", overwrite=True))
    assert not (tmp_path / "link.png").is_symlink()
    assert not (tmp_path / "target.png").exists()


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", f"{'x' * 300}/a"])
def test_a_path_that_no_file_can_have_is_one_line(tmp_path, name):
    with pytest.raises(
        errors.InputError, match=r"output: (a file name of over 255|there is no folder|.*null)"
    ):
        pictures.check_output(tmp_path / f"{name}.png", overwrite=False)


def test_what_is_no_ordinary_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(errors.InputError, match="not an ordinary file"):
        pictures.check_output(tmp_path / "pipe.png", overwrite=True)


def test_the_first_frame_of_a_gif_is_read(tmp_path):
    frames = [Image.fromarray(PIXELS).quantize(64), Image.new("P", (30, 20))]
    path = _saved(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    image = pictures.read(path)
    np.testing.assert_allclose(image[0], np.asarray(frames[0].convert("RGB")) / 255, atol=1e-6)


@given(st.binary(max_size=400), st.sampled_from([".png", ".jpg", ".gif", ".webp", ".bmp", ".tif"]))
def test_any_bytes_are_a_picture_or_an_input_error(tmp_path_factory, data, suffix):
    signatures = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff\xe0", ".gif": b"GIF89a", ".bmp": b"BM"}
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(signatures.get(suffix, b"RIFF") + data)
    _read_or_refused(path)


def _read_or_refused(path):
    """Reads a picture that may be damaged: an image, or one line that says why not."""
    message, image = "", np.zeros((1, 1, 1, 3), np.float32)
    try:
        image = pictures.read(path)
    except errors.InputError as error:
        message = str(error)
    assert "\n" not in message
    assert image.shape[0] == 1
    assert np.isfinite(image).all()


@settings(deadline=None)  # a header may ask for millions of pixels
@given(st.integers(0, 1500), st.binary(min_size=1, max_size=8), st.sampled_from(FORMATS))
def test_damaged_pictures_are_read_or_refused(tmp_path_factory, position, patch, format_name):
    data = encoded(format_name)
    path = tmp_path_factory.getbasetemp() / f"damaged.{format_name.lower()}"
    path.write_bytes(patched(data, position % len(data), patch))
    _read_or_refused(path)


# Pictures of more pixels than they have to be to be read whole.


@pytest.fixture
def small_limit(monkeypatch):
    """Reads pictures of over 1000 pixels near the size that is needed."""
    monkeypatch.setattr(pictures, "_LARGEST_WHOLE", 1000)
    monkeypatch.setattr(pictures, "_READ_PIXELS", 800)


def _blocks(image, factor):
    """Means over blocks of [H, W, C], the last ones smaller, one by one."""
    rows, columns = (range(0, side, factor) for side in image.shape[:2])
    return np.array(
        [[image[y : y + factor, x : x + factor].mean(axis=(0, 1)) for x in columns] for y in rows]
    )


def _large(mode, size=(100, 61)):
    pixels = np.rint(255 * conftest.smooth_picture(3, size[1], size[0])).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode in ("RGBA", "LA"):
        picture = picture.convert(mode[:-1])
        picture.putalpha(Image.linear_gradient("L").resize(size))
        return picture
    return picture.quantize(16) if mode == "P" else picture.convert(mode)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "I;16", "CMYK"])
def test_a_large_picture_is_read_as_means_over_blocks(tmp_path, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    _large(mode).save(path, exif=exif)
    whole, alpha = pictures.read_with_alpha(path)
    height, width = whole.shape[1:3]
    asked = []

    def needed(*size):
        asked.append(size)
        return size[0] // 6, size[1] // 6  # read at twice that: by 3

    image, small_alpha = pictures.read_with_alpha(path, needed=needed)
    assert set(asked) == {(height, width)}
    assert image.shape == (1, -(-height // 3), -(-width // 3), 3)
    np.testing.assert_allclose(image[0], _blocks(whole[0], 3), atol=1e-6)
    assert (alpha is None) == (small_alpha is None)
    if alpha is not None and small_alpha is not None:
        np.testing.assert_allclose(small_alpha, _blocks(alpha[..., np.newaxis], 3)[..., 0], atol=1e-6)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_large_array_is_reduced_too(kind):
    array = conftest.smooth_picture(4, 61, 100)
    array = np.rint(255 * array).astype(np.uint8) if kind == np.uint8 else array
    whole = pictures.read(array)
    image = pictures.read(array, needed=lambda height, width: (height // 8, width // 8))
    np.testing.assert_allclose(image[0], _blocks(whole[0], 4), atol=1e-6)
    with pytest.raises(errors.InputError, match="values from"):
        pictures.read(array + 1.5, needed=lambda *_: (8, 8))


@pytest.mark.usefixtures("small_limit")
def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch):
    path = tmp_path / "picture.jpg"
    _large("RGB", (640, 400)).resize((640, 400)).save(path, quality=95)
    sizes = []
    by_parts = pictures._by_parts

    def listening(read_part, size, factor):
        sizes.append((size[0], factor))
        return by_parts(read_part, size, factor)

    monkeypatch.setattr(pictures, "_by_parts", listening)
    whole = pictures.read(path)
    image = pictures.read(path, needed=lambda *_: (40, 64))
    assert sizes == [(400, 1), (100, 1)]  # a quarter, of the fifth that would do
    assert image.shape == (1, 100, 160, 3)
    assert np.abs(image[0] - _blocks(whole[0], 4)).mean() < 0.01


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("needed", [None, lambda height, width: (height, width), lambda *_: (40, 70)])
def test_what_is_needed_whole_is_read_whole(tmp_path, needed):
    _large("RGB").save(tmp_path / "picture.png")
    assert pictures.read(tmp_path / "picture.png", needed=needed).shape == (1, 61, 100, 3)


def test_a_picture_of_most_cameras_is_read_whole():
    assert pictures._factor((4000, 6000), lambda *_: (16, 16)) == 1
    assert pictures._factor((4001, 6000), lambda *_: (40, 60)) == 50


def test_whatever_holds_a_picture_is_read(tmp_path):
    path = tmp_path / "picture.png"
    _large("RGB").save(path)
    expected = pictures.read(path)
    data = path.read_bytes()
    with path.open("rb") as opened:
        for given in (str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), opened):
            np.testing.assert_array_equal(pictures.read(given), expected)  # type: ignore[arg-type]
    for array in (expected, expected[0], tf.constant(expected), tf.constant(expected[0])):
        np.testing.assert_array_equal(pictures.read(array), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1.0, 2.0]], "style: a list; allowed: a path, a Pillow image, an array"),
        (None, "style: a NoneType"),
        (3, "style: a int"),
        (object(), "style: a object"),
        (io.StringIO("text"), "a file opened for text"),
        (np.zeros((2, 8, 8, 3)), r"style: shape \[2, 8, 8, 3\]"),
        (np.array(["a"]), r"style: shape \[1\]"),
    ],
)
def test_what_holds_none_is_refused_by_its_name(given, message):
    with pytest.raises(errors.InputError, match=message):
        pictures.read(given, "style")


def test_a_closed_file_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with (tmp_path / "a").open("rb") as opened:
        pass
    with pytest.raises(errors.InputError, match="the open file cannot be read: read of closed file"):
        pictures.read(opened)


def test_rounding_is_no_error():
    array = np.full((8, 8, 3), 1 + 9e-7, np.float64)
    array[0] = -9e-7
    image = pictures.read(array)
    assert (image.min(), image.max()) == (0, 1)
    assert image.dtype == np.float32
    with pytest.raises(errors.InputError, match="values from"):
        pictures.read(array + 1e-5)


@pytest.mark.parametrize("extension", ["jpg", "bmp", "png", "webp", "tif"])
def test_a_short_write_is_an_error_and_replaces_nothing(tmp_path, extension):
    """A limit on the size of files, as a full disk: Pillow's own writing of JPEG and BMP takes no notice."""
    path = tmp_path / f"picture.{extension}"
    path.write_bytes(b"dear to me")
    code = (
        "import resource, sys, numpy as np; from nst_tf.io import pictures;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
        "pictures.write(np.random.default_rng(0).random((96, 128, 3)), sys.argv[1])"
    )
    finished = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "File too large" in finished.stderr
    assert path.read_bytes() == b"dear to me"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("size", [(25, 27), (24, 26)])
def test_large_labels_are_read_as_by_slicing(monkeypatch, step, size):
    labels = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    monkeypatch.setattr(pictures, "_LARGEST_WHOLE", size[0] * size[1] / (step - 0.5) ** 2)
    for picture in (labels, Image.fromarray(labels)):
        np.testing.assert_array_equal(pictures.read_codes(picture), labels[::step, ::step])


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16_384), (".jpg", 65_501)])
def test_a_size_that_a_format_cannot_hold_is_found_out_before_and_rescued_after(tmp_path, suffix, side):
    place = pictures.check_output(tmp_path / f"a{suffix}", overwrite=False)
    with pytest.raises(errors.InputError, match=f"{side} x 2 pixels; allowed: {side - 1} a side"):
        pictures.check_size(place, 2, side)
    pictures.check_size(place, 2, side - 1)
    wide = np.zeros((2, side, 3), np.float32)
    written, line = files.write_somewhere(lambda path: pictures.write(wide, path), place)
    assert written.suffix == ".png"
    assert "could not be written" in line
    assert pictures.read(written).shape == (1, 2, side, 3)
    shutil.rmtree(written.parent)


def test_a_text_that_is_too_long_for_a_format_costs_no_picture(tmp_path):
    pictures.write(PICTURE, tmp_path / "a.jpg", text="x" * 70_000)
    assert pictures.read_text(tmp_path / "a.jpg") is None
    pictures.write(PICTURE, tmp_path / "a.png", text="x" * 70_000)
    assert pictures.read_text(tmp_path / "a.png") == "x" * 70_000


def test_a_manifest_beside_a_picture_goes_with_it_and_another_file_stays(tmp_path):
    (tmp_path / "a.png.json").write_text('{"config": {}}')
    (tmp_path / "b.png.json").write_text('{"mine": 1}')
    (tmp_path / "c.png.json").mkdir()
    os.mkfifo(tmp_path / "d.png.json")
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(b"before")
        pictures.write(PICTURE, tmp_path / f"{name}.png")
    assert sorted(os.listdir(tmp_path)) == [
        *("a.png", "b.png", "b.png.json", "c.png", "c.png.json", "d.png", "d.png.json")
    ]


class _Foreign:
    """An array of another library, or an open file, that fails in its own way."""

    def __array__(self, *_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def read(self, *_):
        raise EOFError("Compressed file ended")


def test_objects_of_other_libraries_are_refused_by_name():
    with pytest.raises(errors.InputError, match="style: a _Foreign that is no array of this process: can't"):
        pictures.read(_Foreign(), "style")  # type: ignore[arg-type]
    opened = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(bytes(1000))[:15]))
    with pytest.raises(errors.InputError, match="style: the open file cannot be read: Compressed file ended"):
        pictures.read(opened, "style")  # type: ignore[arg-type]
    with pytest.raises(errors.InputError, match=r"labels: shape \[5\]"):
        pictures.read_codes(np.zeros(5), "labels")
