"""Film files, written by PyAV: pictures are compressed, sound is copied as it is.

Times are Fractions of seconds. PyAV is an optional library, loaded by the functions that need it.
"""

import contextlib
import dataclasses
import heapq
import itertools
import math
import pathlib
import tempfile
import typing
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from nst_tf import errors

if typing.TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.reformatter import VideoReformatter


class _Codec(NamedTuple):
    """How a codec is written."""

    encoder: str  # FFmpeg's name
    quality: int  # constant rate factor where none is named: lower is better
    worst: int  # the largest
    options: Mapping[str, str] = {}


# The qualities: FFmpeg's guides call 17 or 18 visually lossless in H.264, and name these as about as good.
# x265 writes a log of its own, where FFmpeg's is silent.
CODECS: Mapping[str, _Codec] = {
    "h264": _Codec("libx264", 18, 51),
    "hevc": _Codec("libx265", 22, 51, {"x265-params": "log-level=none"}),
    "vp9": _Codec("libvpx-vp9", 24, 63, {"row-mt": "1"}),
    "av1": _Codec("libsvtav1", 24, 63),
}

# Formats that are written, by file extension, with FFmpeg's names.
FORMATS: Mapping[str, str] = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}

# FFmpeg's names of the formats that are read. Others hold no film, or name further files to open.
_READ = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "ivf", "gif"),
    *("h264", "hevc", "m4v", "obu", "av1", "yuv4mpegpipe", "dv", "nut", "apng"),
)

# bitexact: no random numbers in the file. faststart: a browser plays before it has all of it.
_OPTIONS = {"fflags": "+bitexact"}
_OPTIONS_OF = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart"}}

# Players know no other pixel format for sure; it halves colour, so that sides have to be even.
_PIXELS = "yuv420p"

# The code points of BT.709's matrix, primaries and transfer, and of the limited range (ITU-T H.273): what
# players take films for that do not say, if they are large, and what sRGB is closest to.
_BT709, _LIMITED = 1, 1

# libswscale's flags: bilinear, accurate rounding, chroma at all pixels and not at every second.
EXACT = 0x2 | 0x40000 | 0x2000 | 0x4000

_MICROSECONDS = 10**6  # what FFmpeg seeks by

# Frames a second that encoders are told of, which is a hint to them; SVT-AV1 takes 240 at most.
_LEAST_RATE, _MOST_RATE = 1, 240

# Of a film that is written to find out whether it can be; libx265 takes no smaller ones.
_SMALL = (64, 64)

# Packets of sound in that film: of some damaged headers a format complains with the first of them.
_TRIED = 8

# The formats in which a picture lasts up to the next in the order of decoding, so that the last packet in
# that order has to make up for what is shown after it; and in which no two packets of sound begin together.
_BY_DECODING = frozenset(("mp4", "mov"))

# Apple's players want HEVC by this name.
_TAGS = {("hevc", "mp4"): "hvc1", ("hevc", "mov"): "hvc1"}


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How pictures are compressed.

    Raises:
        InputError: The codec is unknown, or the quality outside its range.
    """

    codec: str = "h264"
    quality: int | None = None  # constant rate factor, lower is better; None for the codec's default

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise errors.unknown_name("codec", self.codec, CODECS)
        worst = CODECS[self.codec].worst
        good = self.quality is None or (isinstance(self.quality, int) and 0 <= self.quality <= worst)
        allowed = f"whole numbers from 0 (best) to {worst} (worst) in {self.codec}"
        errors.require(good, "quality", self.quality, allowed)


class Shown(NamedTuple):
    """A picture of a film."""

    time: Fraction  # from when on it is shown
    duration: Fraction  # how long
    picture: np.ndarray  # [H, W, 3] uint8 sRGB; all of a film have one size


@dataclasses.dataclass(frozen=True)
class Sound:
    """The sound of another film: packets of all of its tracks, by times of that file."""

    path: pathlib.Path
    origin: Fraction = Fraction(0)  # the time that becomes 0
    start: Fraction | None = None  # of the first packet; None for all from the beginning
    end: Fraction | None = None  # packets from here on are left out; None for all to the end


class _Timed(NamedTuple):
    """A packet of a film that is written."""

    time: Fraction  # by which packets are ordered
    packet: "Packet"


def library(name: str = "video", instead: str = "") -> Any:
    """Returns the module `av`.

    Args:
        name: What needs it, for the error message.
        instead: What else would do, for the end of the message.

    Raises:
        InputError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise errors.InputError(f"{name}: films need {error.name}: pip install av{instead}") from None
    return av


def opened(path: pathlib.Path) -> "InputContainer":
    """Returns a film file opened for reading.

    Raises:
        av.FFmpegError: It is in no format that is read.
    """
    options = {"format_whitelist": ",".join(_READ)}
    # Titles may be in any encoding; nothing here reads them.
    return library().open(_address(path), options=options, metadata_errors="replace")


def _address(path: pathlib.Path) -> str:
    """Returns a path as FFmpeg takes it: a name with a colon alone would be a network address."""
    return f"file:{path}"


def check(path: pathlib.Path, encoding: Encoding, sound: Sound | None = None, name: str = "output") -> None:
    """Finds out before a run whether a film can be written as that file, by writing one without pictures.

    Raises:
        InputError: The format is unknown, or cannot hold the codec or the sound.
    """
    av = library()
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise errors.unknown_name(f"{name} format", path.suffix, FORMATS)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        output = stack.enter_context(_created(pathlib.Path(folder) / f"film{suffix}"))
        encoder = CODECS[encoding.codec].encoder
        if encoder not in av.codecs_available:  # av may be built with another FFmpeg than its wheels have
            raise errors.InputError(f"codec: this av has no {encoder}; choose another of {', '.join(CODECS)}")
        try:
            _add_pictures(output, encoding, _SMALL, Fraction(1, 25))
        except (ValueError, av.FFmpegError):
            raise errors.InputError(
                f"{name}: {path.suffix} cannot hold {encoding.codec}; write .mp4 or .mkv, or choose another"
                f" codec of {', '.join(CODECS)}"
            ) from None
        try:
            heard: Iterator[_Timed] = iter(())
            if sound is not None:
                source = stack.enter_context(opened(sound.path))
                heard = _copied(source, _add_sound(output, source), sound, output.format.name in _BY_DECODING)
            output.start_encoding()
            for _, packet in itertools.islice(heard, _TRIED):  # at which alone MP4 refuses some PCM
                output.mux(packet)
            output.close()
        except (ValueError, av.FFmpegError):
            other = "a folder of frames" if suffix == ".mkv" else ".mkv"
            raise errors.InputError(
                f"{name}: {path.suffix} cannot hold the film's sound, which is copied as it is; write {other}"
            ) from None


def write(
    path: pathlib.Path,
    shown: Iterable[Shown],
    *,
    time_base: Fraction,
    encoding: Encoding = Encoding(),
    sound: Sound | None = None,
) -> None:
    """Writes a film. Of odd sizes the last row or column is repeated, as `yuv420p` wants them even.

    Args:
        path: Where to; a file that is half written stays there if an error comes.
        shown: The pictures, in the order of their times.
        time_base: What times are rounded to, if the format can: Matroska and WebM count milliseconds.
        encoding: How they are compressed.
        sound: What is copied beside them.

    Raises:
        OSError: It cannot be written.
    """
    av = library()
    pictures = iter(shown)
    first = next(pictures)
    size = _even(first.picture).shape[:2]
    try:
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(_created(path))
            is_by_decoding = output.format.name in _BY_DECODING
            stream = _add_pictures(output, encoding, size, first.duration)
            stream.codec_context.time_base = time_base
            heard: Iterator[_Timed] = iter(())
            if sound is not None:
                source = stack.enter_context(opened(sound.path))
                heard = _copied(source, _add_sound(output, source), sound, is_by_decoding)
            all_shown = itertools.chain([first], pictures)
            seen = _encoded(stream, all_shown, is_by_decoding)
            # Side by side, so that neither waits in memory for the other.
            for _, packet in heapq.merge(heard, seen, key=lambda timed: timed.time):
                output.mux(packet)
    except av.FFmpegError as error:
        raise OSError(error.errno, errors.one_line(error), str(path)) from None


def _created(path: pathlib.Path) -> "OutputContainer":
    """Returns a new film file."""
    name = FORMATS[path.suffix.lower()]
    options = _OPTIONS | _OPTIONS_OF.get(name, {})
    return library().open(_address(path), "w", format=name, container_options=options)


def _add_pictures(
    output: "OutputContainer", encoding: Encoding, size: tuple[int, int], duration: Fraction
) -> "VideoStream":
    """Adds the stream of a film's pictures.

    Args:
        output: The film.
        encoding: How they are compressed.
        size: Their height and width, both even.
        duration: Of most of them.
    """
    codec = CODECS[encoding.codec]
    quality = codec.quality if encoding.quality is None else encoding.quality
    rate = min(max(1 / duration, Fraction(_LEAST_RATE)), Fraction(_MOST_RATE))
    stream = output.add_stream(codec.encoder, rate=rate, options={"crf": str(quality), **codec.options})
    context = stream.codec_context
    context.height, context.width = size
    context.pix_fmt = _PIXELS
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    if tag := _TAGS.get((encoding.codec, output.format.name)):
        context.codec_tag = tag
    return stream


def _add_sound(output: "OutputContainer", source: "InputContainer") -> dict[int, "Stream"]:
    """Adds the streams of another film's sound; returns {index there: stream}."""
    return {stream.index: output.add_stream_from_template(stream) for stream in source.streams.audio}


def _copied(
    source: "InputContainer", streams: Mapping[int, "Stream"], sound: Sound, is_by_decoding: bool
) -> Iterator[_Timed]:
    """Yields packets of sound as they are, with times of the new film.

    Those of a damaged file whose times go back are left out: no format takes them.

    Args:
        source: The other film.
        streams: The new film's, by the index that they have there.
        sound: Which part is wanted.
        is_by_decoding: Whether the format is one of `_BY_DECODING`.
    """
    if not streams:
        return
    if sound.start is not None:
        source.seek(math.floor(sound.start * _MICROSECONDS))
    ended, latest = set(), dict.fromkeys(streams, -math.inf)
    for packet in _demuxed(source):
        if packet.dts is None:  # the empty one at the end
            continue
        packet.pts = packet.dts if packet.pts is None else packet.pts
        time, index = packet.pts * packet.time_base, packet.stream.index
        if sound.end is not None and time >= sound.end:
            ended.add(index)
            if len(ended) == len(streams):
                return
        elif (sound.start is None or time >= sound.start) and packet.dts >= latest[index]:
            latest[index] = packet.dts + is_by_decoding
            ticks = round(sound.origin / packet.time_base)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            packet.stream = streams[index]
            yield _Timed(time - sound.origin, packet)


def _demuxed(source: "InputContainer") -> Iterator["Packet"]:
    """Yields the packets of a film's sound, of a damaged file as far as it can be read."""
    with contextlib.suppress(library().FFmpegError):  # who reads the pictures says so
        yield from source.demux(*source.streams.audio)


def _encoded(stream: "VideoStream", shown: Iterable[Shown], is_by_decoding: bool) -> Iterator[_Timed]:
    """Yields packets of pictures, each with how long its picture is shown: nothing else says it of the last.

    Args:
        stream: Their stream.
        shown: The pictures.
        is_by_decoding: Whether the format is one of `_BY_DECODING`.
    """
    late: int | None = None  # by which all pictures are shown after they were decoded
    durations: dict[int, int] = {}
    packets = itertools.chain(_compressed(stream, shown, durations), [None])
    for packet, following in itertools.pairwise(packets):
        if late is None:
            late = packet.pts - packet.dts
        packet.duration = durations[packet.pts]
        if following is None and is_by_decoding:
            end = max(time + duration for time, duration in durations.items())
            packet.duration = max(packet.duration, end - late - packet.dts)
        yield _Timed(packet.dts * packet.time_base, packet)


def _compressed(
    stream: "VideoStream", shown: Iterable[Shown], durations: dict[int, int]
) -> Iterator["Packet"]:
    """Yields packets of pictures; adds how long each is shown to {time: duration}, in units of the stream."""
    time_base = stream.codec_context.time_base
    reformatter = library().video.reformatter.VideoReformatter()
    for time, duration, picture in shown:
        frame = _frame(picture, reformatter)
        frame.time_base, frame.pts = time_base, round(time / time_base)
        durations[frame.pts] = max(1, round((time + duration) / time_base) - frame.pts)
        yield from stream.encode(frame)
    yield from stream.encode()


def _frame(picture: np.ndarray, reformatter: "VideoReformatter") -> "VideoFrame":
    """Returns a picture [H, W, 3] uint8 as encoders take it."""
    return reformatter.reformat(
        library().VideoFrame.from_ndarray(np.ascontiguousarray(_even(picture)), format="rgb24"),
        format=_PIXELS,
        interpolation=EXACT,
        src_color_range="JPEG",
        dst_colorspace="ITU709",
        dst_color_range="MPEG",
    )


def _even(picture: np.ndarray) -> np.ndarray:
    """Returns a picture [H, W, 3] with its last row or column once more where their number is odd."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
