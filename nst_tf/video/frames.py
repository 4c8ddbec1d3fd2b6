"""The frames of a film or of a folder of pictures, one after the other, so that memory stays flat.

Frames come upright, with square pixels, as [H, W, 3] uint8 sRGB, whatever the depth of the film: they are
painted over. Times are Fractions of seconds.
"""

import dataclasses
import logging
import math
import os
import pathlib
import re
import typing
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np

from nst_tf import errors
from nst_tf.io import films, pictures

if typing.TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer
    from av.packet import Packet

_log = logging.getLogger(__name__)

# The extensions of a folder's pictures.
_PICTURES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"))

# A folder's frames a second where nobody says: FFmpeg's default for pictures in a row.
FOLDER_FPS = Fraction(25)

# A film that does not say whether its colours are BT.601's or BT.709's has the latter from this size on, by
# the rule of the player mpv. Code points of ITU-T H.273.
_HIGH_WIDTH, _HIGH_HEIGHT = 1280, 577
_BT709, _BT601, _UNSPECIFIED = 1, 6, 2

# The transfers of films with more light than a screen has (PQ, HLG), by the same code points.
_HDR = frozenset((16, 18))

# By how much less than a file says its packets may last: a frame, and the padding of sound.
_SHORT = Fraction(1, 5)

# The formats with a header that says how long a film is and an index of the frames that need no others.
_HAS_INDEX = frozenset(("mov", "matroska"))
# Seconds by which such a frame is looked for earlier: it may be decoded before others that are shown before
# it.
_EARLIER = 1

# How many times as wide as high a pixel may be, or as high as wide: twice is what lenses squeeze by, so that
# more than this is damage, and its picture could be of any size.
_MOST_ASPECT = 8

_MICROSECONDS = 10**6  # FFmpeg's unit for times of a whole file


class Frame(NamedTuple):
    """A frame of a film."""

    number: int  # from 0
    time: Fraction  # from when on it is shown
    picture: np.ndarray  # [H, W, 3] uint8


@dataclasses.dataclass(frozen=True)
class Part:
    """Which frames of a film are wanted.

    Raises:
        InputError: A number is outside its range.
    """

    start: Fraction = Fraction(0)  # seconds of the film before the first
    duration: Fraction | None = None  # seconds; None for all that follow
    fps: Fraction | None = None  # frames a second, at most; None for all

    def __post_init__(self) -> None:
        errors.require(self.start >= 0, "start", float(self.start), "seconds, 0 or more")
        for name, allowed in (("duration", "seconds, above 0"), ("fps", "frames a second, above 0")):
            value = getattr(self, name)
            errors.require(value is None or value > 0, name, value and float(value), allowed)


def seconds(text: str, name: str) -> Fraction:
    """Returns a time that a person typed: seconds, or minutes and hours before them, as in 1:02:03.5.

    Raises:
        InputError: It is none.
    """
    parts = text.split(":")
    try:
        numbers = [Fraction(part) for part in parts]
    except (ValueError, ZeroDivisionError):
        numbers = []
    if not 0 < len(numbers) <= 3 or min(numbers) < 0:
        raise errors.InputError(f"{name}: {text!r}; allowed: seconds, or times as in 1:30 or 1:02:03.5")
    return Fraction(sum(number * 60**power for power, number in enumerate(reversed(numbers))))


class Frames(Protocol):
    """What has frames; each iteration reads them anew, from the first."""

    time_base: Fraction  # which the times are multiples of
    sound: films.Sound | None  # what is heard beside them
    about: int  # how many there are, or roughly; 0 where nobody knows

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames.

        Raises:
            InputError: There is none, or one cannot be read, or has another size than the first.
        """


def of(path: pathlib.Path, part: Part = Part(), name: str = "content") -> Frames:
    """Returns the frames of a film file, or of a folder of pictures in the order of their names.

    Args:
        path: Of the file or the folder.
        part: Which of them.
        name: What the path is, for error messages.

    Raises:
        InputError: There is no such file, or no pictures in it.
    """
    if os.path.isdir(path):
        return Folder(path, part, name)
    if not os.path.exists(path):
        raise errors.InputError(f"{name}: there is no file {path}")
    if not os.path.isfile(path):
        raise errors.InputError(f"{name}: {path} is not an ordinary file; name another")
    return Film(path, part, name)


class Folder:
    """The pictures of a folder as frames."""

    sound: films.Sound | None = None

    def __init__(self, path: pathlib.Path, part: Part, name: str) -> None:
        """Lists them; arguments as for `of`.

        Raises:
            InputError: There are none.
        """
        self.path, self.part, self.name = path, part, name
        self.time_base = 1 / (part.fps or FOLDER_FPS)
        self._files = sorted(
            (file for file in path.iterdir() if file.suffix.lower() in _PICTURES and file.name[0] != "."),
            key=_natural,
        )
        if not self._files:
            raise errors.InputError(
                f"{name}: the folder {path} has no pictures: {', '.join(sorted(_PICTURES))}"
            )
        self.about = len(list(self._chosen()))

    def __iter__(self) -> Iterator[Frame]:
        """As `Frames` has it."""
        read = ((time, pictures.to_uint8(pictures.read(file, self.name))) for time, file in self._chosen())
        return _checked(read, self.path, self.name)

    def _chosen(self) -> Iterator[tuple[Fraction, pathlib.Path]]:
        """Yields the files of the part that is wanted, and when they are shown."""
        for index, file in enumerate(self._files):
            time = index * self.time_base - self.part.start
            if time >= 0 and (self.part.duration is None or time < self.part.duration):
                yield time, file


def _natural(path: pathlib.Path) -> list[tuple[str, int]]:
    """Returns what orders frame2 before frame10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", path.name)]


class Film:
    """The frames of a film file."""

    def __init__(self, path: pathlib.Path, part: Part, name: str) -> None:
        """Reads its header; arguments as for `of`.

        Raises:
            InputError: It is no film.
        """
        self.path, self.part, self.name = path, part, name
        self._said: set[str] = set()
        with self._opened() as container:
            stream = self._stream(container)
            # By the header: height and width, as stored, and frames a second, 0 where it does not say.
            context = stream.codec_context  # None where FFmpeg does not know the codec
            self.size = (context.height, context.width) if context else (0, 0)
            self.rate = Fraction(stream.average_rate or 0)
            self.time_base = 1 / part.fps if part.fps else stream.time_base
            self.about = _about(container, stream, part)
            self._origin = _origin(stream, container)
            begin = self._origin + part.start
            end = None if part.duration is None else begin + part.duration
            start = begin if part.start else None
            has_sound = bool(container.streams.audio)
            self.sound = films.Sound(path, begin, start, end) if has_sound else None

    def __iter__(self) -> Iterator[Frame]:
        """As `Frames` has it. What is wrong with a file that is damaged is said at the end."""
        return _checked(self._frames(), self.path, self.name)

    def _opened(self) -> "InputContainer":
        """Returns the file opened.

        Raises:
            InputError: It is not in a known format.
        """
        av = films.library(self.name)
        try:
            return films.opened(self.path)
        except av.FFmpegError as error:
            raise errors.InputError(
                f"{self.name}: {self.path} is not a film that can be read: {error.strerror}"
            ) from None

    def _stream(self, container: "InputContainer") -> "VideoStream":
        """Returns the stream of pictures.

        Raises:
            InputError: There is none.
        """
        for stream in container.streams.video:
            if not stream.disposition & type(stream.disposition).attached_pic:  # the cover of a song
                return stream
        raise errors.InputError(f"{self.name}: {self.path} has no video stream, only sound")

    def _frames(self) -> Iterator[tuple[Fraction, np.ndarray]]:
        """Yields the frames of the part that is wanted."""
        part, number, converter = self.part, -1, None
        with self._opened() as container:
            stream = self._stream(container)
            begin = self._origin + part.start
            if part.start and _family(container) in _HAS_INDEX:
                container.seek(max(0, math.floor((begin - _EARLIER) * _MICROSECONDS)))
            for time, frame in self._decoded(container, stream):
                time -= begin
                if part.duration is not None and time >= part.duration:
                    return
                if time < 0 or (part.fps and math.floor(time * part.fps) == number):
                    continue
                if part.fps:
                    number = math.floor(time * part.fps)
                    time = number / part.fps
                if frame.color_trc in _HDR:
                    self._say("is HDR, whose colours look pale here; convert it to BT.709 first")
                converter = converter or _Converter(frame, stream.sample_aspect_ratio)
                yield time, converter.picture(frame)

    def _decoded(
        self, container: "InputContainer", stream: "VideoStream"
    ) -> Iterator[tuple[Fraction, "VideoFrame"]]:
        """Yields all frames that can be decoded, with their times in the file."""
        av = films.library()
        last: Fraction | None = None
        end = self._origin
        for packet in self._packets(container, stream):
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index != stream.index:
                continue
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self._say(f"is damaged at {float(end - self._origin):.1f} s; what can be read is painted")
                continue
            for frame in decoded:
                time = self._time(frame, last, stream)
                if last is None or time > last:
                    yield time, frame
                    last = time
                else:
                    self._say("has frames whose times go back; they are left out")
        self._check_end(container, end)

    def _time(self, frame: "VideoFrame", last: Fraction | None, stream: "VideoStream") -> Fraction:
        """Returns the time of a frame in the file; where that has none, by its rate and the frame before."""
        if frame.pts is not None:
            return frame.pts * frame.time_base
        return self._origin if last is None else last + 1 / (stream.guessed_rate or FOLDER_FPS)

    def _packets(self, container: "InputContainer", stream: "VideoStream") -> Iterator["Packet"]:
        """Yields the packets of all streams, up to where a file that is damaged can be read."""
        av = films.library()
        try:
            yield from container.demux()
        except av.FFmpegError as error:
            self._say(f"cannot be read to its end: {error.strerror}; what can be read is painted")
            empty = av.Packet()
            empty.stream, empty.time_base = stream, stream.time_base
            yield empty  # on which the decoder gives the frames that it holds back

    def _check_end(self, container: "InputContainer", end: Fraction) -> None:
        """Says so if a film ends before the time that its header says."""
        if container.duration is None or _family(container) not in _HAS_INDEX:
            return
        promised = Fraction(container.duration, _MICROSECONDS)
        if end < promised - _SHORT:
            self._say(
                f"is cut short: it ends after {float(end):.1f} s of {float(promised):.1f} s; what is there is"
                " painted"
            )

    def _say(self, text: str) -> None:
        """Says something about the film, once."""
        if text not in self._said:
            self._said.add(text)
            _log.warning("%s: %s %s", self.name, self.path, text)


def _family(container: "InputContainer") -> str:
    """Returns the first of the names of a file's format."""
    return str(container.format.name).split(",")[0]


def _about(container: "InputContainer", stream: "VideoStream", part: Part) -> int:
    """Returns about how many frames a part of a film has, by its header; 0 where that does not say."""
    if not container.duration or not stream.average_rate:
        return 0
    seconds = Fraction(container.duration, _MICROSECONDS) - part.start
    seconds = seconds if part.duration is None else min(seconds, part.duration)
    rate = stream.average_rate if part.fps is None else min(stream.average_rate, part.fps)
    return max(0, round(seconds * rate))


def _origin(stream: "VideoStream", container: "InputContainer") -> Fraction:
    """Returns when a film starts, in its file's time: with its first packet of all, as players have it.

    Not before 0: what sound has there is for its decoder alone.
    """
    streams = [stream, *container.streams.audio]
    starts = [each.start_time * each.time_base for each in streams if each.start_time is not None]
    ticks = math.floor(max(min(starts, default=0), 0) / stream.time_base)
    return ticks * stream.time_base


class _Converter:
    """Turns decoded frames of one film into `Frame.picture`."""

    def __init__(self, first: "VideoFrame", aspect: Fraction | None) -> None:
        """Prepares for frames like the first one.

        Args:
            first: As it was decoded. That of all others is not asked how it is turned: the answer would keep
                each of them in memory until Python looks for cycles.
            aspect: Width over height of its pixels; None or 0 where they are square.
        """
        self._turn, self._aspect = _turn(first), aspect or 1
        if not 1 / _MOST_ASPECT <= self._aspect <= _MOST_ASPECT:
            self._aspect = 1
        self._reformatter = films.library().video.reformatter.VideoReformatter()

    def picture(self, frame: "VideoFrame") -> np.ndarray:
        """Returns the picture of a frame."""
        if frame.colorspace == _UNSPECIFIED:
            is_high = frame.width >= _HIGH_WIDTH or frame.height >= _HIGH_HEIGHT
            frame.colorspace = _BT709 if is_high else _BT601
        converted = self._reformatter.reformat(
            frame,
            width=max(1, round(frame.width * self._aspect)),
            format="rgb24",
            interpolation=films.EXACT,
            dst_color_range="JPEG",
        )
        return _upright(converted.to_ndarray(), self._turn)


class _Turn(NamedTuple):
    """How a film is to be shown, by quarter turns: a place (x, y) goes to (a x + c y, b x + d y)."""

    a: int
    b: int
    c: int
    d: int


def _turn(frame: "VideoFrame") -> _Turn:
    """Returns how a frame is to be shown."""
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows fewer kinds of such data than FFmpeg may find
        angle = math.radians(frame.rotation)
        across, down = round(math.cos(angle)), round(math.sin(angle))
        return _Turn(across, -down, down, across)
    if found is None:
        return _Turn(1, 0, 0, 1)
    a, b, _, c, d = np.frombuffer(found, np.int32)[:5].tolist()
    return _Turn(a, b, c, d)


def _upright(picture: np.ndarray, turn: _Turn) -> np.ndarray:
    """Returns a picture turned and mirrored."""
    across, down = turn.a, turn.d
    if abs(turn.b) + abs(turn.c) > abs(turn.a) + abs(turn.d):
        picture, across, down = picture.swapaxes(0, 1), turn.c, turn.b
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def of_pictures(film: Iterable[pictures.Picture], fps: Fraction) -> Iterator[Frame]:
    """Yields pictures, as `pictures.read` takes them, as frames.

    Raises:
        InputError: There is none, or one cannot be read, or has another size than the first.
    """
    read = (pictures.read(picture, f"frame {index + 1}") for index, picture in enumerate(film))
    return _checked(((index / fps, pictures.to_uint8(each)) for index, each in enumerate(read)), "it", "film")


def _checked(frames: Iterator[tuple[Fraction, np.ndarray]], path: object, name: str) -> Iterator[Frame]:
    """Numbers frames.

    Raises:
        InputError: There is none, or one has another size than the first.
    """
    size = None
    for index, (time, picture) in enumerate(frames):
        height, width = picture.shape[:2]
        if size not in (None, (height, width)):
            raise errors.InputError(
                f"{name}: frame {index + 1} of {path} has {width} x {height} pixels, those before {size[1]} x"
                f" {size[0]}; a film has one size: paint its parts one by one, with --start and --duration"
            )
        size = height, width
        yield Frame(index, time, picture)
    if size is None:
        raise errors.InputError(f"{name}: {path} has no frames, or none in the time that is wanted")
