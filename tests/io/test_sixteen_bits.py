"""PNG and TIFF of sixteen bits, taken apart by a decoder of the test's own."""

import io
import math
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from nst_tf import errors
from nst_tf.io import pictures, sixteen_bits
from tests import conftest

# A smooth ramp of many more levels than eight bits have, beside noise.
HEIGHT, WIDTH = 23, 37
IMAGE = conftest.smooth_picture(5, HEIGHT, WIDTH)
IMAGE[:, :20] = np.linspace(0.2, 0.3, 20)[:, np.newaxis]
ALPHA = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
LEVELS = np.rint(IMAGE.astype(np.float64) * 65535).astype(np.uint16)
PROFILE = b"a profile"


def chunks(data):
    """Returns [(name, content)] of a PNG, whose checksums are right."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        found.append((kind.decode(), content))
        at += 12 + length
    return found


def unfiltered(data, height, row_bytes, step):
    """Undoes the filters of PNG (9.2) byte by byte; returns the rows and the filters' numbers."""
    rows, kinds = np.zeros((height + 1, row_bytes + step), np.int64), []
    for number, line in enumerate(np.frombuffer(data, np.uint8).reshape(height, -1), 1):
        kinds.append(int(line[0]))
        for place, byte in enumerate(line[1:], step):
            left, above = int(rows[number, place - step]), int(rows[number - 1, place])
            corner = int(rows[number - 1, place - step])
            nearest = min((left, above, corner), key=lambda near: abs(left + above - corner - near))
            guess = (0, left, above, (left + above) // 2, nearest)[kinds[-1]]
            rows[number, place] = (int(byte) + guess) % 256
    return rows[1:, step:].astype(np.uint8), kinds


def decoded_png(data):
    """Returns the levels of a PNG of sixteen bits, [H, W, C]; its chunks; its filters."""
    found = chunks(data)
    named = dict(found)
    width, height, bits, kind, *rest = struct.unpack(">IIBBBBB", named["IHDR"])
    assert (bits, *rest) == (16, 0, 0, 0)
    channels = {2: 3, 6: 4}[kind]
    stream = zlib.decompress(b"".join(content for name, content in found if name == "IDAT"))
    rows, kinds = unfiltered(stream, height, 2 * width * channels, 2 * channels)
    return rows.view(">u2").reshape(height, width, channels), named, kinds


def decoded_tiff(data):
    """Returns the levels of a TIFF of sixteen bits, [H, W, C], and {tag: values}."""
    mark, version, at = struct.unpack("<2sHI", data[:8])
    assert (mark, version, at % 2) == (b"II", 42, 0)
    (count,) = struct.unpack("<H", data[at : at + 2])
    tags, order = {}, []
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack("<HHI", data[entry : entry + 8])
        letter, size = {2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 5: ("II", 8), 7: ("s", 1)}[kind]
        place = entry + 8
        if number * size > 4:
            (place,) = struct.unpack("<I", data[entry + 8 : entry + 12])
            assert place % 2 == 0
        text = f"<{number}s" if letter == "s" else "<" + letter * number
        tags[tag] = struct.unpack(text, data[place : place + number * size])
        order.append(tag)
    assert order == sorted(order)
    assert data[at + 2 + 12 * count :][:4] == bytes(4), "there is one directory"
    (width,), (height,), (channels,) = tags[256], tags[257], tags[277]
    assert tags[258] == (16,) * channels
    assert (tags[259], tags[262], tags[317]) == ((8,), (2,), (2,))
    strips = [data[start : start + size] for start, size in zip(tags[273], tags[279], strict=True)]
    rows = [np.frombuffer(zlib.decompress(strip), "<u2").reshape(-1, width, channels) for strip in strips]
    assert all(len(strip) == tags[278][0] for strip in rows[:-1])
    pixels = np.concatenate(rows).astype(np.int64).cumsum(axis=1) % 65536
    assert len(pixels) == height
    return pixels.astype(np.uint16), tags


def _decoded(path):
    data = path.read_bytes()
    return decoded_png(data)[0] if path.suffix == ".png" else decoded_tiff(data)[0]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("strip_bytes", [2**20, 1000])
def test_sixteen_bits_are_written_exactly(tmp_path, monkeypatch, suffix, strip_bytes):
    monkeypatch.setattr(sixteen_bits, "_STRIP_BYTES", strip_bytes)
    path = tmp_path / f"out{suffix}"
    pictures.write(IMAGE[np.newaxis], path, bit_depth=16)
    np.testing.assert_array_equal(_decoded(path.rename(tmp_path / f"out{suffix.lower()}")), LEVELS)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_has_sixteen_bits_too(tmp_path, suffix):
    seen = pictures.over_white(IMAGE, ALPHA)
    pictures.write(seen, tmp_path / f"a{suffix}", alpha=ALPHA, bit_depth=16)
    found = _decoded(tmp_path / f"a{suffix}")
    assert found.shape == (HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(found[..., 3], np.rint(ALPHA.astype(np.float64) * 65535).astype(np.uint16))
    opaque = np.where(ALPHA > 0.01)
    shown = 1 + ALPHA[..., np.newaxis] * (found[..., :3] / 65535 - 1)
    np.testing.assert_allclose(shown[opaque], seen[opaque], atol=2 / 65535)
    assert np.all(found[ALPHA == 0][:, :3] == 65535), "white where nothing is seen"
    image, alpha = pictures.read_with_alpha(tmp_path / f"a{suffix}")
    assert alpha is not None
    np.testing.assert_allclose(alpha, ALPHA, atol=1.01 / 255)  # Pillow drops the lower eight bits
    np.testing.assert_allclose(image[0], seen, atol=2.01 / 255)


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
def test_pillow_reads_their_upper_eight_bits_their_profile_and_their_text(tmp_path, name):
    text = '{"config": "a manifest"}'
    pictures.write(IMAGE, tmp_path / name, bit_depth=16, text=text, dpi=(300.0, 150.0))
    with Image.open(tmp_path / name) as opened:
        assert opened.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(opened), LEVELS >> 8)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        np.testing.assert_allclose([float(each) for each in opened.info["dpi"]], (300, 150), rtol=1e-4)
    assert pictures.read_text(tmp_path / name) == text
    image = pictures.read(tmp_path / name)[0]
    np.testing.assert_allclose(image, IMAGE, atol=1.01 / 255)


def test_floats_are_rounded_and_clipped_to_65535():
    values = np.array([-0.5, 0, 0.4 / 65535, 0.6 / 65535, 0.5, 1, 1.7, 65534.4 / 65535], np.float32)
    found = sixteen_bits.to_uint16(np.tile(values[:, np.newaxis, np.newaxis], (1, 2, 3)))
    assert found.dtype == np.uint16
    assert found[:, 1, 2].tolist() == [0, 0, 0, 1, 32768, 65535, 65535, 65534]


def test_each_row_has_the_filter_that_makes_it_smallest():
    """All five are right, and together smaller than none."""
    generator = np.random.default_rng(1)
    flat, up = np.full((4, 40, 3), 700, np.uint16), np.zeros((6, 40, 3), np.uint16)
    up[:] = generator.integers(0, 65536, (1, 40, 3))
    noise = generator.integers(0, 65536, (3, 40, 3)).astype(np.uint16)
    ramp = (np.arange(40) * 300)[:, np.newaxis] + np.zeros((5, 40, 3))
    sheared = (np.arange(40)[np.newaxis] * 211 + np.arange(9)[:, np.newaxis] * 517)[..., np.newaxis]
    pixels = np.concatenate([flat, up, noise, ramp, sheared + np.zeros(3)]).astype(np.uint16)
    data = b"".join(sixteen_bits.png(pixels, PROFILE, None, None))
    found, _, kinds = decoded_png(data)
    np.testing.assert_array_equal(found, pixels)
    assert kinds[5:10] == [2] * 5, "rows alike: the row above"
    assert len(set(kinds)) >= 4
    plain = zlib.compress(pixels.astype(">u2").tobytes())
    assert len(data) < len(plain)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_levels_of_any_size_come_back(data):
    height, width, channels = (data.draw(st.integers(1, most)) for most in (5, 6, 2))
    shape = (height, width, channels + 2)
    seed = data.draw(st.integers(0, 2**32 - 1))
    levels = np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)
    np.testing.assert_array_equal(decoded_png(b"".join(sixteen_bits.png(levels, b"", None, None)))[0], levels)
    made = b"".join(sixteen_bits.tiff(levels, b"profile", "x", (72.009, 1e6)))
    found, tags = decoded_tiff(made)
    np.testing.assert_array_equal(found, levels)
    assert tags[270] == (b"x\0",)
    across, down = tags[282][0] / tags[282][1], tags[283][0] / tags[283][1]
    assert math.isclose(across, 72.009, rel_tol=1e-6)
    assert down == 1e6


def test_a_png_says_what_its_standard_wants():
    """The profile is deflated, the text is one by its keyword, pixels are counted a metre."""
    levels = np.zeros((2, 2, 4), np.uint16)
    _, named, _ = decoded_png(
        b"".join(sixteen_bits.png(levels, PROFILE, ("nst_tf", "größer"), (300.0, 72.0)))
    )
    name, rest = named["iCCP"].split(b"\0", 1)
    assert (name, rest[:1], zlib.decompress(rest[1:])) == (b"sRGB", b"\0", PROFILE)
    assert named["iTXt"] == b"nst_tf\0\0\0\0\0" + "größer".encode()
    assert struct.unpack(">IIB", named["pHYs"]) == (11811, 2835, 1)
    assert list(named)[-1] == "IEND"
    assert list(named).index("iCCP") < list(named).index("IDAT") > list(named).index("pHYs")


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out.bmp", "out.JPEG"])
def test_other_formats_refuse_sixteen_bits(tmp_path, name):
    suffix = name.removeprefix("out")
    message = rf"^bit_depth: 16 for {suffix}; allowed: 8, or a file in \.png, \.tif, \.tiff$"
    with pytest.raises(errors.InputError, match=message):
        pictures.write(IMAGE, tmp_path / name, bit_depth=16)
    with pytest.raises(errors.InputError, match=r"^bit_depth: 12; allowed: 8 or 16$"):
        pictures.write(IMAGE, tmp_path / name, bit_depth=12)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_of_sixteen_bits_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    (tmp_path / "out.png").write_bytes(b"before")
    monkeypatch.setattr(sixteen_bits, "_filtered", fail)
    with pytest.raises(MemoryError):
        pictures.write(IMAGE, tmp_path / "out.png", bit_depth=16)
    assert (tmp_path / "out.png").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_tiff_of_over_4_gb_is_an_error_of_writing(monkeypatch):
    class Large(bytes):
        def __len__(self):
            return 2**32

    monkeypatch.setattr(zlib, "compress", lambda _: Large())
    with pytest.raises(OSError, match="over 4 GB"):
        next(sixteen_bits.tiff(sixteen_bits.to_uint16(IMAGE), PROFILE, None, None))
