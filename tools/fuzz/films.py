"""Damaged and hostile film files: small films of the common formats, cut short or changed."""

import functools
import pathlib
import random
import tempfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np

from fuzz import mutations
from fuzz.inputs import Input

_WIDTH, _HEIGHT = 48, 32
_COUNT, _FPS = 6, 25

# What the atoms of MP4 are called that say where, when and how large pictures are.
_ATOMS = (b"moov", b"mvhd", b"tkhd", b"mdhd", b"elst", b"stsd", b"stts", b"ctts", b"stsc", b"stsz", b"stco")


class _Kind(NamedTuple):
    """How a seed is written, with FFmpeg's names."""

    suffix: str
    codec: str
    pixels: str = "yuv420p"
    sound: str = ""  # without any where it is empty
    options: Mapping[str, str] = {}


_ONE_THREAD = {"x264-params": "threads=1", "bf": "2"}
_KINDS = (
    _Kind(".mp4", "libx264", sound="aac", options=_ONE_THREAD),
    _Kind(".mov", "mpeg4", sound="aac"),
    _Kind(".mkv", "libx264", sound="flac", options=_ONE_THREAD),
    _Kind(".mkv", "ffv1", "yuv422p10le"),
    _Kind(".webm", "libvpx-vp9", sound="libopus"),
    _Kind(".avi", "mjpeg", "yuvj420p", "pcm_s16le"),
    _Kind(".ts", "mpeg2video", sound="mp2"),
    _Kind(".gif", "gif", "rgb8"),
)


@functools.cache
def seeds() -> tuple[tuple[str, bytes], ...]:
    """Returns (extension, file) of small films that nothing is wrong with."""
    return tuple((kind.suffix, _film(kind)) for kind in _KINDS)


def make(chance: random.Random) -> Input:
    """Returns a film file."""
    suffix, data = chance.choice(seeds())
    build = chance.choice((mutations.truncate, mutations.blindly, mutations.blindly, _spliced, _aware))
    return Input(f"a{suffix}", build(chance, data))


def _spliced(chance: random.Random, data: bytes) -> bytes:
    return mutations.splice(chance, data, chance.choice(seeds())[1])


def _aware(chance: random.Random, data: bytes) -> bytes:
    """Returns a film with other numbers in its atoms, or other sides."""
    found = [at for at in map(data.find, _ATOMS) if at >= 0]
    if not found or chance.random() < 0.2:
        return mutations.set_known(chance, data, (_WIDTH, _HEIGHT, _COUNT))
    for _ in range(chance.randint(1, 3)):
        at = chance.choice(found) + chance.choice((-4, *range(4, 48, 4)))
        data = data[:at] + mutations.extreme(chance, 4, ">") + data[at + 4 :]
    return data


def _film(kind: _Kind) -> bytes:
    """Returns a film of a kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"a{kind.suffix}")
        with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as output:
            stream: Any = output.add_stream(kind.codec, rate=_FPS, options={**kind.options, "threads": "1"})
            context = stream.codec_context
            context.width, context.height, context.pix_fmt = _WIDTH, _HEIGHT, kind.pixels
            heard: Any = output.add_stream(kind.sound, rate=48000, layout="mono") if kind.sound else None
            for packet in _pictures(stream):
                output.mux(packet)
            for packet in _noise(heard) if heard is not None else ():
                output.mux(packet)
        return path.read_bytes()


def _pictures(stream: Any) -> Iterator[Any]:
    """Yields the packets of a pattern that moves."""
    x = np.arange(_WIDTH)
    for number in range(_COUNT):
        row = 127.5 + 100 * np.sin((x[:, np.newaxis] - 3 * number) / (3.0, 5.0, 7.0))
        picture = np.broadcast_to(row, (_HEIGHT, _WIDTH, 3)).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, _FPS)
        yield from stream.encode(frame)
    yield from stream.encode()


def _noise(stream: Any) -> Iterator[Any]:
    """Yields the packets of some noise."""
    context = stream.codec_context
    if not context.is_open:
        context.open()
    size, generator = context.frame_size or 1024, np.random.default_rng(1)
    for start in range(0, 48000 * _COUNT // _FPS, size):
        samples = generator.uniform(-0.1, 0.1, (1, size)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode()
