"""Frames as an MP4 that every player and browser plays, by the ffmpeg that `imageio-ffmpeg` brings."""

import os
import pathlib
import tempfile
from collections.abc import Sequence

import imageio_ffmpeg
import numpy as np

from nst_tf import errors

# Of imageio-ffmpeg's scale from 0 to 10, whose default is 5: strokes are what x264 drops first.
_QUALITY = 8

# By default imageio-ffmpeg runs Python between fork and exec, to shield ffmpeg from Ctrl-C. In a process with
# TensorFlow's and gRPC's threads that may hang, since the child has their locks and not the threads; this is
# imageio-ffmpeg's own way out of it. Who has set it keeps what was set.
os.environ.setdefault("IMAGEIO_FFMPEG_NO_PREVENT_SIGINT", "1")


def check() -> None:
    """Checks that there is an ffmpeg.

    Raises:
        InputError: There is none for this machine.
    """
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise errors.InputError(
            "animation: .mp4 needs ffmpeg, and imageio-ffmpeg has none for this machine: install it,"
            " or use .webp or .gif"
        ) from None


def encode(frames: Sequence[np.ndarray], frames_per_second: float) -> bytes:
    """Returns the file of frames, each [H, W, 3] uint8 of one size with even sides.

    Raises:
        OSError: It could not be made.
    """
    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "video.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=frames_per_second,
            quality=_QUALITY,
            macro_block_size=2,  # yuv420p, which all players know, halves colour
            ffmpeg_log_level="error",
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()
