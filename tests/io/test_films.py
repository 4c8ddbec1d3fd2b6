"""Films that are written: pictures, times, sound as it was, what a format cannot hold."""

import itertools
import os
import pathlib
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("av")

import av

from nst_tf import errors
from nst_tf.io import films
from tests.support import sample_films

FPS = Fraction(1, 25)


def _shown(pictures, times=None):
    times = times or [number * FPS for number in range(len(pictures))]
    ends = [*times[1:], times[-1] + FPS]
    return [
        films.Shown(time, end - time, picture)
        for time, end, picture in zip(times, ends, pictures, strict=True)
    ]


def _read(path):
    """What PyAV alone sees in a film: its stream's facts and its frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [frame.pts * frame.time_base for frame in frames]
        return stream.codec_context, frames, times, Fraction(container.duration, 10**6)


@pytest.mark.parametrize("codec", films.CODECS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_every_codec_is_written_and_read(tmp_path, codec, suffix):
    pictures = sample_films.moving()
    encoding = films.Encoding(codec, 10)
    films.check(tmp_path / f"a{suffix}", encoding)
    assert not list(tmp_path.iterdir())
    films.write(tmp_path / f"a{suffix}", _shown(pictures), time_base=FPS, encoding=encoding)
    context, frames, times, duration = _read(tmp_path / f"a{suffix}")
    assert context.name.replace("libdav1d", "av1").startswith(codec)
    assert context.pix_fmt == "yuv420p"
    assert times == [number * FPS for number in range(8)]
    assert duration == 8 * FPS
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - picture).mean() < 8


def test_colors_are_those_of_bt709_in_the_limited_range(tmp_path):
    patches = sample_films.patches()
    picture = np.rint(255 * patches).astype(np.uint8)
    films.write(tmp_path / "a.mp4", _shown([picture] * 3), time_base=FPS, encoding=films.Encoding(quality=0))
    context, frames, _, _ = _read(tmp_path / "a.mp4")
    assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
    assert context.color_range == sample_films.LIMITED
    wanted = sample_films.planes(picture / 255, "bt709")
    for plane, array in zip(frames[1].planes, wanted, strict=True):
        found = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        side = found.shape[0] // 3  # of a patch; chroma runs over its edges
        difference = np.abs(found.astype(int) - array).reshape(3, side, 4, side)
        assert difference[:, 3:-3, :, 3:-3].max() <= 1


def test_odd_sides_get_their_last_row_and_column_twice(tmp_path):
    picture = sample_films.moving(1, 47, 63)[0]
    films.write(tmp_path / "a.mp4", _shown([picture]), time_base=FPS, encoding=films.Encoding(quality=0))
    _, (frame,), _, _ = _read(tmp_path / "a.mp4")
    found = frame.to_ndarray(format="rgb24").astype(int)
    assert found.shape == (48, 64, 3)
    assert np.abs(found[:47, :63] - picture).mean() < 6
    assert np.abs(found[-1] - found[-2]).mean() < 1
    assert np.abs(found[:, -1] - found[:, -2]).mean() < 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", films.CODECS)
def test_pictures_are_shown_when_and_as_long_as_they_should(tmp_path, suffix, codec):
    times = [Fraction(number, 1000) for number in (0, 40, 45, 1000, 1033)]
    shown = _shown(sample_films.moving(5), times)
    shown[-1] = shown[-1]._replace(duration=Fraction(2))
    path = tmp_path / f"a{suffix}"
    films.write(path, shown, time_base=Fraction(1, 1000), encoding=films.Encoding(codec))
    _, _, found, duration = _read(path)
    assert found == times
    assert duration == times[-1] + 2


def test_the_same_pictures_make_the_same_file(tmp_path):
    for name in ("a.mkv", "b.mkv"):
        films.write(tmp_path / name, _shown(sample_films.moving()), time_base=FPS)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_a_browser_can_begin_before_it_has_all(tmp_path):
    films.write(tmp_path / "a.mp4", _shown(sample_films.moving()), time_base=FPS)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_lower_quality_is_a_smaller_file(tmp_path):
    sizes = []
    for quality in (0, 18, 40):
        path = tmp_path / f"{quality}.mp4"
        encoding = films.Encoding(quality=quality)
        films.write(path, _shown(sample_films.moving()), time_base=FPS, encoding=encoding)
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)


def _packets(path):
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        packets = [packet for packet in container.demux(stream) if packet.size]
        return [bytes(packet) for packet in packets], [packet.pts * packet.time_base for packet in packets]


@pytest.mark.parametrize("sound", ["aac", "libmp3lame", "flac", "libopus"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_is_copied_bit_for_bit(tmp_path, sound, suffix):
    pictures = sample_films.moving(25)
    source = tmp_path / f"a{suffix}"
    given = sample_films.write(source, pictures, sound=sound)
    assert len(given) > 10
    films.write(tmp_path / "b.mp4", _shown(pictures), time_base=FPS, sound=films.Sound(source))
    given = [packet for packet in given if packet]  # the last of FLAC is empty
    before, times_before = _packets(source)
    after, times_after = _packets(tmp_path / "b.mp4")
    assert before == given
    assert after == given
    # Matroska counts milliseconds.
    atol = 2e-3 if suffix == ".mkv" else 0
    np.testing.assert_allclose(np.array(times_after, float), np.array(times_before, float), 0, atol)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_of_a_truncated_film_is_copied_as_far_as_it_goes(tmp_path, suffix):
    pictures = sample_films.moving(25)
    source = tmp_path / f"a{suffix}"
    given = sample_films.write(tmp_path / "c.mkv", pictures, sound="flac")
    films.write(source, _shown(pictures), time_base=FPS, sound=films.Sound(tmp_path / "c.mkv"))
    os.truncate(source, source.stat().st_size // 2)
    films.write(tmp_path / "d.mkv", _shown(pictures), time_base=FPS, sound=films.Sound(source))
    copied, _ = _packets(tmp_path / "d.mkv")
    assert 2 < len(copied) < len(given)
    assert copied[:-1] == given[: len(copied) - 1]


def test_a_name_with_a_colon_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path("concat:a.mp4")
    films.write(path, _shown(sample_films.moving(2)), time_base=FPS)
    assert os.listdir(tmp_path) == ["concat:a.mp4"]


def test_of_a_part_the_sound_is_that_part_s(tmp_path):
    pictures = sample_films.moving(25)
    sample_films.write(tmp_path / "a.mkv", pictures, sound="flac")
    start, end = Fraction(2, 5), Fraction(4, 5)
    sound = films.Sound(tmp_path / "a.mkv", start, start, end)
    films.write(tmp_path / "b.mkv", _shown(pictures[10:20]), time_base=FPS, sound=sound)
    whole, times = _packets(tmp_path / "a.mkv")
    part, times_of_part = _packets(tmp_path / "b.mkv")
    kept = [index for index, time in enumerate(times) if start <= time < end]
    assert part == [whole[index] for index in kept]
    wanted = [float(times[index] - start) for index in kept]
    np.testing.assert_allclose(np.array(times_of_part, float), wanted, atol=2e-3)


def test_sound_and_pictures_lie_side_by_side(tmp_path):
    pictures = sample_films.moving(25)
    sample_films.write(tmp_path / "a.mkv", pictures, sound="aac")
    films.write(tmp_path / "b.mkv", _shown(pictures), time_base=FPS, sound=films.Sound(tmp_path / "a.mkv"))
    with av.open(str(tmp_path / "b.mkv")) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert len(list(itertools.groupby(kinds))) > 10


@pytest.mark.parametrize(
    ("name", "codec", "message"),
    [
        ("a.webm", "h264", r"\.webm cannot hold h264; write \.mp4 or \.mkv"),
        ("a.gif", "h264", r"'\.gif' is not one of \.mp4"),
        ("a", "h264", r"'' is not one of \.mp4"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, codec, message):
    with pytest.raises(errors.InputError, match=message):
        films.check(tmp_path / name, films.Encoding(codec))
    assert not list(tmp_path.iterdir())


def test_sound_that_a_format_cannot_hold_is_refused(tmp_path):
    sample_films.write(tmp_path / "a.mkv", sample_films.moving(2), sound="aac")
    with pytest.raises(errors.InputError, match=r"\.webm cannot hold the film's sound.*write \.mkv"):
        films.check(tmp_path / "b.webm", films.Encoding("vp9"), films.Sound(tmp_path / "a.mkv"))
    films.check(tmp_path / "b.mkv", films.Encoding("vp9"), films.Sound(tmp_path / "a.mkv"))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_whose_times_go_back_is_left_out(tmp_path, suffix):
    """Two recordings in one file, one after the other."""
    pictures = sample_films.moving(25)
    sample_films.write(tmp_path / "a.ts", pictures, sound="mp2")
    expected, _ = _packets(tmp_path / "a.ts")
    (tmp_path / "b.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    made = tmp_path / f"c{suffix}"
    films.write(made, _shown(pictures), time_base=FPS, sound=films.Sound(tmp_path / "b.ts"))
    copied, times = _packets(made)
    assert copied[: len(expected)] == expected
    assert all(one <= other for one, other in itertools.pairwise(times))


def test_sound_with_a_damaged_header_is_refused_before_a_run(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(2), sound="aac")
    data = (tmp_path / "a.mp4").read_bytes()
    # What the decoder is told of the sound begins with this tag.
    at = data.index(b"\x04\x80\x80\x80", data.index(b"esds"))
    (tmp_path / "b.mp4").write_bytes(data[:at] + bytes(24) + data[at + 24 :])
    with pytest.raises(errors.InputError, match=r"\.mkv cannot hold .*; write a folder of frames"):
        films.check(tmp_path / "c.mkv", films.Encoding(), films.Sound(tmp_path / "b.mp4"))


def test_sound_of_which_a_format_takes_the_header_alone_is_refused(tmp_path):
    sample_films.write(tmp_path / "a.mkv", sample_films.moving(2), sound="pcm_f32le")
    with pytest.raises(errors.InputError, match=r"\.mp4 cannot hold the film's sound.*write \.mkv"):
        films.check(tmp_path / "b.mp4", films.Encoding(), films.Sound(tmp_path / "a.mkv"))
    films.check(tmp_path / "b.mkv", films.Encoding(), films.Sound(tmp_path / "a.mkv"))


@pytest.mark.parametrize("quality", [-1, 52, 18.5])
def test_a_quality_outside_its_range_is_refused(quality):
    with pytest.raises(errors.InputError, match=r"quality: .*51"):
        films.Encoding("h264", quality)


def test_an_unknown_codec_is_refused():
    with pytest.raises(errors.InputError, match="did you mean 'h264'"):
        films.Encoding("h265")


def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    path = tmp_path / "a.mkv"
    os.symlink("/dev/full", path)
    noise = np.random.default_rng(1).integers(0, 255, (20, 64, 64, 3), np.uint8)
    with pytest.raises(OSError, match="space"):
        films.write(path, _shown(list(noise)), time_base=FPS)


def test_sound_that_is_gone_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        films.write(
            tmp_path / "b.mkv",
            _shown(sample_films.moving(1)),
            time_base=FPS,
            sound=films.Sound(tmp_path / "none.mkv"),
        )
