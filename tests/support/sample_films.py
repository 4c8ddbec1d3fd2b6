"""Small films made by PyAV alone, from planes that NumPy computes."""

from fractions import Fraction

import av
import numpy as np

# Weights of red and blue in luma: ITU-R BT.601 and BT.709.
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
# Code points of ITU-T H.273, and FFmpeg's of the ranges.
MATRICES = {"bt601": 6, "bt709": 1, None: 2}
LIMITED, FULL = 1, 2

HEIGHT, WIDTH = 48, 64


def patches():
    """Twelve flat colours of 16 x 16 pixels, [48, 64, 3] floats in [0, 1]."""
    colors = np.random.default_rng(5).uniform(0, 1, (12, 3))
    colors[:5] = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    return np.kron(colors.reshape(3, 4, 3), np.ones((16, 16, 1)))


def moving(count=8, height=HEIGHT, width=WIDTH):
    """Frames of a pattern that moves to the right, [H, W, 3] uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [
        np.stack([np.sin((x - 3 * n) / 5), np.cos(y / 7), np.sin((x + y - 3 * n) / 11)], axis=-1)
        for n in range(count)
    ]
    return [np.rint(127.5 + 100 * wave).astype(np.uint8) for wave in waves]


def planes(picture, matrix="bt601", full=False, bits=8):
    """The planes Y, Cb, Cr of a picture [H, W, 3] in [0, 1], 4:2:0, by the formulas of the standards."""
    red_weight, blue_weight = WEIGHTS[matrix]
    red, green, blue = np.moveaxis(np.asarray(picture, float), -1, 0)
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = [(blue - luma) / (2 - 2 * blue_weight), (red - luma) / (2 - 2 * red_weight)]
    step = 2 ** (bits - 8)
    low, high = (0, 2**bits - 1) if full else (16 * step, 219 * step)
    spread = 2**bits - 1 if full else 224 * step
    of_luma = low + high * luma
    halved = [each.reshape(each.shape[0] // 2, 2, each.shape[1] // 2, 2).mean((1, 3)) for each in chroma]
    of_chroma = [128 * step + spread * each for each in halved]
    kind = np.uint8 if bits == 8 else np.uint16
    return [np.clip(np.rint(each), 0, 2**bits - 1).astype(kind) for each in (of_luma, *of_chroma)]


def frame_of(arrays, pixels):
    """The frame of planes as `planes` returns them."""
    height, width = arrays[0].shape
    frame = av.VideoFrame(width, height, pixels)
    for plane, array in zip(frame.planes, arrays, strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        data = np.ascontiguousarray(array).view(np.uint8)
        padded[:, : data.shape[1]] = data
        plane.update(padded.tobytes())
    return frame


def write(
    path,
    pictures=None,
    *,
    frames=None,
    times=None,
    time_base=Fraction(1, 25),
    codec="libx264",
    pixels="yuv420p",
    options=None,
    matrix=None,
    color_range=0,
    aspect=None,
    sound=None,
):
    """Writes a film; returns the bytes of the packets of its sound.

    Args:
        path: Where to.
        pictures: Its frames, [H, W, 3] uint8; or
        frames: as `frame_of` returns them.
        times: When they are shown, in `time_base`; one after the other by default.
        time_base: Seconds.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format.
        options: Of the encoder; lossless where it is None and H.264.
        matrix: What the film says of its colours, a key of `MATRICES`.
        color_range: What it says of their range.
        aspect: Width over height of its pixels.
        sound: FFmpeg's name of an encoder, for a second of sound.
    """
    frames = frames or [av.VideoFrame.from_ndarray(each, format="rgb24") for each in pictures]
    options = ({"qp": "0"} if codec == "libx264" else {}) if options is None else options
    packets = []
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, pixels
        context.time_base, context.colorspace, context.color_range = time_base, MATRICES[matrix], color_range
        if aspect:
            context.sample_aspect_ratio = aspect
        heard = output.add_stream(sound, rate=48000) if sound else None
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = (times[number] if times else number), time_base
            frame.colorspace, frame.color_range = MATRICES[matrix], color_range
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if heard is not None:
            packets = list(_noise(heard))
            output.mux(packets)
    return [bytes(packet) for packet in packets]


def _noise(stream, seconds=1):
    """Yields packets of noise."""
    generator, context = np.random.default_rng(1), stream.codec_context
    if not context.is_open:
        context.open()
    size = context.frame_size or 1024
    for start in range(0, seconds * 48000, size):
        samples = generator.uniform(-0.1, 0.1, (2, size)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode()
