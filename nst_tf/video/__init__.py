"""Moving pictures: a film's frames in, painted ones out, without flicker. Open `run.py` first.

The only room that may use OpenCV; PyAV reads films here and writes them in `io.films`. Both are optional, and
loaded by the functions that need them. Frames are [H, W, 3] uint8 sRGB, results are floats in [0, 1]; times
are Fractions of seconds from the start of what is painted.
"""

from nst_tf.video.run import stylize_frames as stylize_frames
