"""Cuts: found where shots change, and nowhere else."""

from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("cv2")

from nst_tf import errors
from nst_tf.io import pictures
from nst_tf.video import cuts
from nst_tf.video.frames import Frame

WHOLE = {name: pictures.to_uint8(pictures.read(f"sample:{name}")) for name in ("town", "mosaic", "strokes")}


def pan(name, count, step, top=20, left=0, height=72, width=128):
    """Frames of a picture that the camera passes over, so many pixels a frame."""
    whole = WHOLE[name]
    return [whole[top : top + height, left + step * n : left + step * n + width] for n in range(count)]


def numbered(shots):
    """The frames of shots, one after the other."""
    pictures_ = [picture for shot in shots for picture in shot]
    return [Frame(index, Fraction(index, 25), picture) for index, picture in enumerate(pictures_)]


def found(frames, times=None):
    """The numbers of the frames that begin shots, without the first."""
    marks = list(cuts.marked(frames, times))
    assert [frame.number for frame, _ in marks] == list(range(len(marks)))
    assert not marks or marks[0][1]
    return [frame.number for frame, is_first in marks if is_first and frame.number]


@pytest.mark.parametrize("names", [("town", "mosaic"), ("mosaic", "strokes"), ("strokes", "town")])
def test_a_cut_between_pictures_is_found(names):
    shots = [pan(name, 6, 2) for name in (*names, names[0])]
    assert found(numbered(shots)) == [6, 12]


def test_a_cut_within_one_place_is_found():
    assert found(numbered([pan("town", 5, 1), pan("town", 5, 1, top=150, left=200)])) == [5]


def test_a_cut_to_black_and_back_is_found():
    black = [np.zeros((72, 128, 3), np.uint8)] * 6
    assert found(numbered([pan("town", 5, 1), black, pan("mosaic", 5, 1)])) == [5, 11]


@pytest.mark.parametrize("step", [0, 2, 10, 25])
def test_a_pan_is_no_cut(step):
    assert found(numbered([pan("town", 9, step)])) == []


def test_a_zoom_is_no_cut():
    import cv2

    whole = WHOLE["town"]
    shot = []
    for n in range(8):
        edge = 8 * n
        part = whole[edge : 256 - edge, edge : 384 - edge]
        shot.append(cv2.resize(np.ascontiguousarray(part), (128, 72), interpolation=cv2.INTER_AREA))
    assert found(numbered([shot])) == []


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("light", [90, 255])
def test_a_flash_is_no_cut(length, light):
    shot = pan("town", 12, 1)
    for n in range(5, 5 + length):
        shot[n] = np.minimum(shot[n].astype(int) + light, 255).astype(np.uint8)
    assert found(numbered([shot])) == []


def test_a_fade_is_no_cut():
    shot = pan("town", 16, 1)
    faded = [np.rint(picture * (1 - n / 15)).astype(np.uint8) for n, picture in enumerate(shot)]
    assert found(numbered([faded])) == []


def test_noise_of_a_camera_is_no_cut():
    generator = np.random.default_rng(2)
    shot = [
        np.clip(picture + generator.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        for picture in pan("town", 6, 2)
    ]
    assert found(numbered([shot])) == []


def test_an_object_that_passes_is_no_cut():
    shot = [picture.copy() for picture in pan("town", 10, 0)]
    for n, picture in enumerate(shot):
        picture[20:60, 12 * n : 12 * n + 36] = WHOLE["strokes"][
            :40, : picture[20:60, 12 * n : 12 * n + 36].shape[1]
        ]
    assert found(numbered([shot])) == []


def test_short_shots_are_found():
    shots = [
        pan(name, 5, 1, top) for name, top in (("town", 0), ("mosaic", 0), ("strokes", 0), ("town", 120))
    ]
    assert found(numbered(shots)) == [5, 10, 15]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_films(count):
    assert found(numbered([pan("town", count, 1)])) == []


def test_only_a_few_frames_are_held():
    taken = []

    def frames():
        for frame in numbered([pan("town", 20, 1)]):
            taken.append(frame.number)
            yield frame

    for frame, _ in cuts.marked(frames()):
        assert len(taken) <= frame.number + 5
    assert taken == list(range(20))


@pytest.mark.parametrize(("text", "starts"), [("none", []), ("1,0.5", [13, 25]), ("0,0.04,100", [1])])
def test_forced_cuts(text, starts):
    frames = [Frame(n, Fraction(n, 25), np.zeros((2, 2, 3), np.uint8)) for n in range(50)]
    assert found(frames, cuts.parse(text)) == starts


def test_cuts_are_found_where_nobody_says():
    assert cuts.parse("auto") is None


@pytest.mark.parametrize("text", ["", "1,", "one", "-1", "1;2", "nan", "1/0"])
def test_cuts_that_make_no_sense_are_refused(text):
    with pytest.raises(errors.InputError, match="cuts: ") as refused:
        cuts.parse(text)
    assert len(str(refused.value).splitlines()) == 1
