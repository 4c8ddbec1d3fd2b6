"""Moving pictures: a film's frames in, painted ones out, the same shot after shot. Open `frames.py` first.

The only room that may use OpenCV; PyAV reads films here and writes them in `io.films`. Both are optional, and
loaded by the functions that need them. Frames are [H, W, 3] uint8 sRGB, results are floats in [0, 1]; times
are Fractions of seconds from the start of what is painted.
"""
