"""Frames of films and of folders: which, when, in which colours; what is said of bad ones."""

import gc
import logging
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

import av

from nst_tf import errors
from nst_tf.io import films, pictures
from nst_tf.video import frames
from tests.support import sample_films

QUARTER = Fraction(1, 4)


def _centres(picture):
    """The means of the middles of the patches, which chroma from neighbours does not reach."""
    return picture.reshape(3, 16, 4, 16, 3)[:, 5:11, :, 5:11].mean(axis=(1, 3))


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_colors_are_those_that_were_filmed(tmp_path, matrix, full, bits):
    filmed = sample_films.patches()
    pixels = "yuv420p" if bits == 8 else "yuv420p10le"
    planes = sample_films.planes(filmed, matrix, full, bits)
    sample_films.write(
        tmp_path / "a.mkv",
        frames=[sample_films.frame_of(planes, pixels) for _ in range(2)],
        codec="ffv1",
        pixels=pixels,
        matrix=matrix,
        color_range=sample_films.FULL if full else sample_films.LIMITED,
    )
    read = list(frames.of(tmp_path / "a.mkv"))
    assert [each.picture.dtype for each in read] == [np.uint8] * 2
    difference = np.abs(_centres(read[1].picture) - 255 * filmed[::16, ::16].reshape(3, 4, 3))
    # Half a level of each plane of eight bits makes up to two levels of blue.
    assert difference.max() < (2.1 if bits == 8 else 1.2)


@pytest.mark.parametrize(("height", "matrix"), [(576, "bt601"), (578, "bt709")])
def test_a_film_that_does_not_say_has_the_colors_that_players_take(tmp_path, height, matrix):
    picture = np.zeros((height, 64, 3))
    picture[...] = [0.8, 0.2, 0.1]
    planes = sample_films.planes(picture, matrix)
    sample_films.write(tmp_path / "a.mkv", frames=[sample_films.frame_of(planes, "yuv420p")])
    (read,) = frames.of(tmp_path / "a.mkv")
    np.testing.assert_allclose(read.picture[height // 2, 32], [204, 51, 25.5], atol=2)


def test_jpeg_s_range_in_the_name_of_the_pixels(tmp_path):
    filmed = sample_films.patches()
    planes = sample_films.planes(filmed, full=True)
    sample_films.write(
        tmp_path / "a.avi",
        frames=[sample_films.frame_of(planes, "yuvj420p")],
        codec="mjpeg",
        pixels="yuvj420p",
        options={"qmin": "1", "qmax": "1"},
        color_range=sample_films.FULL,
    )
    (read,) = frames.of(tmp_path / "a.avi")
    assert np.abs(_centres(read.picture) - 255 * filmed[::16, ::16].reshape(3, 4, 3)).max() < 4


def test_frames_come_in_order_with_their_times(tmp_path, caplog):
    filmed = sample_films.moving()
    sample_films.write(tmp_path / "a.mp4", filmed, times=[0, 1, 2, 5, 6, 20, 21, 22])
    film = frames.of(tmp_path / "a.mp4")
    for _ in range(2):  # anew each time
        read = list(film)
        assert not caplog.records
        assert [frame.number for frame in read] == list(range(8))
        assert [frame.time * 25 for frame in read] == [0, 1, 2, 5, 6, 20, 21, 22]
    assert all((frame.time / film.time_base).denominator == 1 for frame in read)
    for frame, picture in zip(read, filmed, strict=True):
        assert frame.picture.shape == (48, 64, 3)
        assert np.abs(frame.picture.astype(int) - picture).mean() < 8, "chroma is halved, nothing else"


def test_a_file_without_times_has_those_of_its_rate(tmp_path):
    sample_films.write(tmp_path / "a.h264", sample_films.moving(), options={"qp": "0", "bf": "0"})
    assert [frame.time for frame in frames.of(tmp_path / "a.h264")] == [Fraction(n, 25) for n in range(8)]


def test_odd_sides(tmp_path):
    planes = [np.full((47, 63), 100, np.uint8)] + [np.full((24, 32), 128, np.uint8)] * 2
    sample_films.write(tmp_path / "a.mkv", frames=[sample_films.frame_of(planes, "yuv420p")], codec="ffv1")
    (read,) = frames.of(tmp_path / "a.mkv")
    assert read.picture.shape == (47, 63, 3)


@pytest.mark.parametrize(
    ("part", "times"),
    [
        ({"start": QUARTER}, [7, 8, 9]),
        ({"start": QUARTER, "duration": Fraction(2, 25)}, [7, 8]),
        ({"duration": Fraction(1, 10)}, [0, 1, 2]),
    ],
)
def test_a_part_of_a_film(tmp_path, part, times):
    filmed = sample_films.moving(10)
    sample_films.write(tmp_path / "a.mp4", filmed)
    whole = list(frames.of(tmp_path / "a.mp4"))
    read = list(frames.of(tmp_path / "a.mp4", frames.Part(**part)))
    start = part.get("start", 0)
    assert [(frame.number, frame.time) for frame in read] == [
        (index, Fraction(time, 25) - start) for index, time in enumerate(times)
    ]
    for frame, time in zip(read, times, strict=True):
        np.testing.assert_array_equal(frame.picture, whole[time].picture)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_part_begins_at_any_frame(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    options = {"qp": "30", "g": "7", "bf": "2", "x264-params": "open-gop=1"}
    sample_films.write(path, sample_films.moving(60), options=options)
    whole = list(frames.of(path))
    for start in range(35, 60, 3):
        first = next(iter(frames.of(path, frames.Part(start=Fraction(start, 25)))))
        assert first.time == 0
        np.testing.assert_array_equal(first.picture, whole[start].picture)


def test_fewer_frames_a_second(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(25))
    whole = list(frames.of(tmp_path / "a.mp4"))
    read = list(frames.of(tmp_path / "a.mp4", frames.Part(fps=Fraction(10))))
    assert [frame.time for frame in read] == [Fraction(n, 10) for n in range(10)]
    for frame, number in zip(read, (0, 3, 5, 8, 10, 13, 15, 18, 20, 23), strict=True):
        np.testing.assert_array_equal(frame.picture, whole[number].picture)
    assert len(list(frames.of(tmp_path / "a.mp4", frames.Part(fps=Fraction(60))))) == 25, "none twice"


# (a, b, c, d) of the matrix: (x, y) goes to (a x + c y, b x + d y); what that makes of an array.
TURNS = {
    "not at all": ((1, 0, 0, 1), lambda array: array),
    "a quarter clockwise": ((0, 1, -1, 0), lambda array: np.rot90(array, -1)),
    "half": ((-1, 0, 0, -1), lambda array: np.rot90(array, 2)),
    "a quarter back": ((0, -1, 1, 0), lambda array: np.rot90(array)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "mirrored and turned": ((0, 1, 1, 0), lambda array: array.swapaxes(0, 1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_turned_films_are_upright(tmp_path, turn):
    (a, b, c, d), turned = TURNS[turn]
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(2))
    (before, _) = frames.of(tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    # The matrix of a track header, version 0, of 16.16 numbers, follows 40 bytes (ISO/IEC 14496-12, 8.3.2).
    place = data.index(b"tkhd") + 4 + 40
    one = 2**16
    data[place : place + 36] = np.array(
        [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 2**30], ">i4"
    ).tobytes()
    (tmp_path / "b.mp4").write_bytes(data)
    (after, _) = frames.of(tmp_path / "b.mp4")
    np.testing.assert_array_equal(after.picture, turned(before.picture))


def test_a_frame_with_data_of_an_unknown_kind_is_turned_all_the_same():
    class Unknown:
        rotation = -90

        @property
        def side_data(self):
            raise ValueError("36 is not a valid Type")

    picture = sample_films.moving(1)[0]
    np.testing.assert_array_equal(frames._upright(picture, frames._turn(Unknown())), np.rot90(picture, -1))


def test_wide_pixels_become_square(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(1), aspect=Fraction(3, 2))
    (read,) = frames.of(tmp_path / "a.mp4")
    assert read.picture.shape == (48, 96, 3)


@pytest.mark.parametrize(("suffix", "sound"), [(".mkv", None), (".mkv", "aac"), (".ts", None)])
def test_a_film_begins_with_its_first_packet_of_all(tmp_path, caplog, suffix, sound):
    times = [number + 50 for number in range(8)]
    path = tmp_path / f"a{suffix}"
    sample_films.write(path, sample_films.moving(), times=times, sound=sound)
    film = frames.of(path)
    assert next(iter(film)).time == (2 if sound else 0)
    assert film.sound == (films.Sound(path) if sound else None)
    part = frames.of(path, frames.Part(start=Fraction(1, 10)))
    assert next(iter(part)).time == (2 - Fraction(1, 10) if sound else Fraction(1, 50))
    assert not caplog.records


def test_a_film_without_sound(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(1))
    assert frames.of(tmp_path / "a.mp4").sound is None


def test_a_folder_of_pictures(tmp_path):
    filmed = sample_films.moving(3)
    for number, picture in zip((1, 2, 10), filmed, strict=True):
        pictures.write(picture / np.float32(255), tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("RGB", (9, 9)).save(tmp_path / ".hidden.png")
    folder = frames.of(tmp_path, frames.Part(fps=Fraction(5)))
    read = list(folder)
    assert [frame.time for frame in read] == [0, Fraction(1, 5), Fraction(2, 5)]
    assert folder.sound is None
    for frame, picture in zip(read, filmed, strict=True):
        np.testing.assert_array_equal(frame.picture, picture)
    part = frames.Part(fps=Fraction(5), start=Fraction(1, 5), duration=Fraction(1, 5))
    assert [(frame.number, frame.time) for frame in frames.of(tmp_path, part)] == [(0, Fraction(0))]


def _cut_short(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_of_a_truncated_file_what_is_there_is_read_and_the_rest_said(tmp_path, caplog, suffix):
    path = tmp_path / f"a{suffix}"
    sample_films.write(path, sample_films.moving(50), options={"qp": "20", "g": "5", "bf": "0"})
    if suffix == ".mp4":  # with its header in front, as for the web
        data = path.read_bytes()
        _remux(path, tmp_path / "b.mp4")
        path = tmp_path / "b.mp4"
        assert data != path.read_bytes()
    whole = [frame.picture for frame in frames.of(path)]
    assert not caplog.records
    _cut_short(path, 0.6)
    with caplog.at_level(logging.WARNING):
        read = list(frames.of(path))
    assert 10 < len(read) < 45
    for frame, picture in zip(read[:-2], whole, strict=False):
        np.testing.assert_array_equal(frame.picture, picture)
    assert "painted" in caplog.text
    assert len(caplog.records) <= 2


def _remux(path, other):
    with (
        av.open(str(path)) as source,
        av.open(str(other), "w", container_options={"movflags": "+faststart"}) as output,
    ):
        _copy_pictures(source, output)


def _copy_pictures(source, output):
    """Copies the packets of a film's pictures into another."""
    stream = output.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
        if packet.dts is not None:
            packet.stream = stream
            output.mux(packet)


def test_times_that_go_back_are_said(tmp_path, caplog):
    sample_films.write(tmp_path / "a.ts", sample_films.moving(5))
    (tmp_path / "b.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    assert len(list(frames.of(tmp_path / "b.ts"))) == 5
    assert "times go back; they are left out" in caplog.text


def test_a_title_in_another_encoding_is_no_reason(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(2))
    with (
        av.open(str(tmp_path / "a.mp4")) as source,
        av.open(str(tmp_path / "b.mkv"), "w") as output,
    ):
        output.metadata["title"] = "Grün"
        _copy_pictures(source, output)
    data = (tmp_path / "b.mkv").read_bytes()
    assert "Grün".encode() in data
    (tmp_path / "b.mkv").write_bytes(data.replace("Grün".encode(), "Grün ".encode("latin-1")))
    assert len(list(frames.of(tmp_path / "b.mkv"))) == 2


def test_pixels_of_a_shape_that_no_film_has_are_square(tmp_path):
    for aspect, width in ((Fraction(2), 128), (Fraction(1000), 64), (Fraction(1, 1000), 64)):
        sample_films.write(tmp_path / "a.mov", sample_films.moving(1), codec="mpeg4", aspect=aspect)
        (read,) = frames.of(tmp_path / "a.mov")
        assert read.picture.shape == (48, width, 3)


def test_how_many_frames_there_are_is_known_roughly(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(50))
    for part, count in (({}, 50), ({"start": 1}, 25), ({"duration": 1, "fps": Fraction(5)}, 5)):
        found = frames.of(tmp_path / "a.mp4", frames.Part(**part))
        assert (found.about, len(list(found))) == (count, count)
    sample_films.write(tmp_path / "a.ivf", sample_films.moving(5), codec="libvpx-vp9")
    assert frames.of(tmp_path / "a.ivf").about in (0, 5)


def test_a_damaged_middle_is_said_and_passed_over(tmp_path, caplog):
    path = tmp_path / "a.mov"
    sample_films.write(path, sample_films.moving(20), codec="png", pixels="rgb24")
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data.startswith(b"\x89PNG", place)]
    data[starts[7] : starts[7] + 200] = bytes(200)
    path.write_bytes(data)
    read = list(frames.of(path))
    assert len(read) == 19
    assert [frame.number for frame in read] == list(range(19))
    assert read[7].time == Fraction(8, 25), "times stay those of the frames that are there"
    assert "is damaged at 0.3 s" in caplog.text
    assert len(caplog.records) == 1


def _refusal(path, **part):
    with pytest.raises(errors.InputError) as found:
        list(frames.of(path, frames.Part(**part)))
    assert len(str(found.value).splitlines()) == 1
    return str(found.value)


def test_what_is_no_film_is_refused(tmp_path):
    assert "there is no file" in _refusal(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no film" * 100)
    assert "is not a film that can be read" in _refusal(tmp_path / "text.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "is not a film that can be read" in _refusal(tmp_path / "empty.mp4")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert "is not a film that can be read" in _refusal(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    assert "has no pictures" in _refusal(tmp_path / "folder")


def test_a_playlist_opens_no_other_file(tmp_path):
    sample_films.write(tmp_path / "a.ts", sample_films.moving())
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.ts\n")
    for name in ("list.m3u8", "list.mp4"):
        assert "is not a film that can be read" in _refusal(tmp_path / name)


def test_a_name_with_a_colon_or_a_percent_sign_is_a_name(tmp_path):
    for name in ("concat:a|b.mp4", "a%03d.mp4"):
        sample_films.write(tmp_path / "a.mp4", sample_films.moving(2))
        (tmp_path / "a.mp4").rename(tmp_path / name)
        assert len(list(frames.of(tmp_path / name))) == 2


def test_sound_alone_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        output.mux(list(sample_films._noise(stream)))
    assert "has no video stream" in _refusal(tmp_path / "a.mp4")


def test_a_song_with_a_cover_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as output:
        heard, cover = output.add_stream("aac", rate=48000), output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = type(cover.disposition).attached_pic
        picture = av.VideoFrame.from_ndarray(sample_films.moving(1)[0], format="rgb24")
        output.mux([*cover.encode(picture), *cover.encode()])
        output.mux(list(sample_films._noise(heard)))
    with av.open(str(tmp_path / "a.m4a")) as container:
        assert container.streams.video
    assert "has no video stream" in _refusal(tmp_path / "a.m4a")


def test_a_part_without_frames_is_refused(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving())
    assert "has no frames" in _refusal(tmp_path / "a.mp4", start=Fraction(100))


def test_frames_that_change_size_are_refused(tmp_path):
    for number, size in enumerate([(48, 64), (48, 64), (32, 64)]):
        Image.new("RGB", size[::-1]).save(tmp_path / f"{number}.png")
    assert "frame 3 of" in _refusal(tmp_path)
    parts = []
    for height, times in ((48, range(5)), (32, range(5, 10))):
        sample_films.write(tmp_path / "a.ts", sample_films.moving(5, height), times=times)
        parts.append((tmp_path / "a.ts").read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    assert "64 x 32 pixels, those before 64 x 48" in _refusal(tmp_path / "both.ts")


@pytest.mark.parametrize(("name", "value"), [("start", -1), ("duration", 0), ("fps", -5)])
def test_a_part_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(errors.InputError, match=name):
        frames.Part(**{name: Fraction(value)})


def test_memory_stays_flat(tmp_path):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(50))
    gc.collect()
    gc.disable()
    try:
        for _ in frames.of(tmp_path / "a.mp4"):
            pass
        alive = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 5


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    sample_films.write(tmp_path / "a.mp4", sample_films.moving(1))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert r"films need av: pip install av" in _refusal(tmp_path / "a.mp4")
