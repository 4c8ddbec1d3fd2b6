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


@pytest.mark.parametrize("names", [("town", "mosaic"), ("mosaic", "strokes"), ("strokes", "town")])
def test_a_cut_between_pictures_is_found(names):
    shots = [pan(name, 6, 2) for name in (*names, names[0])]
    assert cuts.find(numbered(shots)) == [6, 12]


def test_a_cut_within_one_place_is_found():
    assert cuts.find(numbered([pan("town", 5, 1), pan("town", 5, 1, top=150, left=200)])) == [5]


def test_a_cut_to_black_and_back_is_found():
    black = [np.zeros((72, 128, 3), np.uint8)] * 6
    assert cuts.find(numbered([pan("town", 5, 1), black, pan("mosaic", 5, 1)])) == [5, 11]


@pytest.mark.parametrize("step", [0, 2, 10, 25])
def test_a_pan_is_no_cut(step):
    assert cuts.find(numbered([pan("town", 9, step)])) == []


def test_a_zoom_is_no_cut():
    import cv2

    whole = WHOLE["town"]
    shot = []
    for n in range(8):
        edge = 8 * n
        part = whole[edge : 256 - edge, edge : 384 - edge]
        shot.append(cv2.resize(np.ascontiguousarray(part), (128, 72), interpolation=cv2.INTER_AREA))
    assert cuts.find(numbered([shot])) == []


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("light", [90, 255])
def test_a_flash_is_no_cut(length, light):
    shot = pan("town", 12, 1)
    for n in range(5, 5 + length):
        shot[n] = np.minimum(shot[n].astype(int) + light, 255).astype(np.uint8)
    assert cuts.find(numbered([shot])) == []


def test_a_fade_is_no_cut():
    shot = pan("town", 16, 1)
    faded = [np.rint(picture * (1 - n / 15)).astype(np.uint8) for n, picture in enumerate(shot)]
    assert cuts.find(numbered([faded])) == []


def test_noise_of_a_camera_is_no_cut():
    generator = np.random.default_rng(2)
    shot = [
        np.clip(picture + generator.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        for picture in pan("town", 6, 2)
    ]
    assert cuts.find(numbered([shot])) == []


def test_an_object_that_passes_is_no_cut():
    shot = [picture.copy() for picture in pan("town", 10, 0)]
    for n, picture in enumerate(shot):
        picture[20:60, 12 * n : 12 * n + 36] = WHOLE["strokes"][
            :40, : picture[20:60, 12 * n : 12 * n + 36].shape[1]
        ]
    assert cuts.find(numbered([shot])) == []


def test_short_shots_are_found():
    shots = [
        pan(name, 5, 1, top) for name, top in (("town", 0), ("mosaic", 0), ("strokes", 0), ("town", 120))
    ]
    assert cuts.find(numbered(shots)) == [5, 10, 15]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_films(count):
    assert cuts.find(numbered([pan("town", count, 1)])) == []


def test_only_a_few_frames_are_held():
    taken = []

    def frames():
        for frame in numbered([pan("town", 20, 1)]):
            taken.append(frame.number)
            yield frame

    assert cuts.find(frames()) == []
    assert taken == list(range(20))


def test_forced_cuts():
    shown = [Fraction(n, 25) for n in range(50)]
    assert cuts.parse("auto") is None
    for text, found in (("none", []), ("1,0.5", [13, 25]), ("0,0.04,100", [1])):
        assert cuts.forced(cuts.parse(text) or [], shown) == found


@pytest.mark.parametrize("text", ["", "1,", "one", "-1", "1;2", "nan", "1/0"])
def test_cuts_that_make_no_sense_are_refused(text):
    with pytest.raises(errors.InputError, match="cuts: ") as found:
        cuts.parse(text)
    assert len(str(found.value).splitlines()) == 1


def test_shots_between_cuts():
    assert list(cuts.shots([3, 5], 9)) == [(0, 3), (3, 5), (5, 9)]
    assert list(cuts.shots([], 9)) == [(0, 9)]
