"""Flow: estimated where it is known, read from files, what can be trusted of it; oracles in plain NumPy."""

import math

import numpy as np
import pytest

pytest.importorskip("cv2")

import cv2
from benchmark import town_film

from nst_tf import errors
from nst_tf.io import pictures
from nst_tf.video import flow


def town(height=96, width=128, top=40, left=60):
    """A part of the sample town, [H, W, 3] uint8."""
    whole = pictures.to_uint8(pictures.read("sample:town"))
    return np.ascontiguousarray(whole[top : top + height, left : left + width])


def constant(u, v, height=48, width=64):
    """A flow that is the same everywhere."""
    return np.broadcast_to(np.array([u, v], np.float32), (height, width, 2)).copy()


def rotation(degrees, height=96, width=96):
    """The flow that turns a picture about its middle, clockwise as seen."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    angle = math.radians(degrees)
    turned = np.stack(
        [x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], -1
    )
    return (turned - np.stack([x, y], -1)).astype(np.float32)


def sampled(picture, x, y):
    """One place of a picture, bilinearly, edges repeated: the definition."""
    height, width = picture.shape[:2]
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    right_share, low_share = x - left, y - top
    upper = (1 - right_share) * picture[top, left] + right_share * picture[top, left + 1]
    lower = (1 - right_share) * picture[top + 1, left] + right_share * picture[top + 1, left + 1]
    return (1 - low_share) * upper + low_share * lower


def warped(picture, field):
    """The oracle of `flow.warp`."""
    height, width = field.shape[:2]
    places = [
        sampled(picture.astype(np.float64), x + float(field[y, x, 0]), y + float(field[y, x, 1]))
        for y in range(height)
        for x in range(width)
    ]
    return np.reshape(places, (height, width, -1))


def slope(values, index, count):
    """The central difference at an index, one-sided at the ends."""
    before, after = max(index - 1, 0), min(index + 1, count - 1)
    return (values(after) - values(before)) / (after - before)


def reliability(backward, forward):
    """The oracle of `flow.reliability`: the formulas of the paper, pixel by pixel."""
    height, width = backward.shape[:2]
    there, trusted = warped(forward, backward), np.ones((height, width))
    for y in range(height):
        for x in range(width):
            w, back = backward[y, x].astype(np.float64), there[y, x]
            across = slope(lambda n, y=y: backward[y, n].astype(np.float64), x, width)
            down = slope(lambda n, x=x: backward[n, x].astype(np.float64), y, height)
            if not (0 <= x + w[0] <= width - 1 and 0 <= y + w[1] <= height - 1):
                trusted[y, x] = 0
            elif (w + back) @ (w + back) >= 0.01 * (w @ w + back @ back) + 0.5:
                trusted[y, x] = -1
            elif across @ across + down @ down > 0.01 * (w @ w) + 0.002:
                trusted[y, x] = 0
    weights = np.exp(-0.5 * (np.arange(-3, 4) / 0.8) ** 2)
    weights /= weights.sum()
    padded = np.pad(trusted, 3, mode="reflect")
    rows = sum(weight * padded[:, n : n + width] for n, weight in enumerate(weights))
    both = sum(weight * rows[n : n + height] for n, weight in enumerate(weights))
    return np.clip(both, 0, 1)


def occluder(shift=6, height=72, width=96):
    """A square that moves to the right before a background at rest: frames, flows, and what it uncovers."""
    before, after = town(height, width).copy(), town(height, width).copy()
    square = town(24, 24, 200, 200)[::-1]
    before[24:48, 30:54], after[24:48, 30 + shift : 54 + shift] = square, square
    backward, forward = constant(0, 0, height, width), constant(0, 0, height, width)
    backward[24:48, 30 + shift : 54 + shift, 0] = -shift
    forward[24:48, 30:54, 0] = shift
    uncovered = np.zeros((height, width), bool)
    uncovered[24:48, 30 : 30 + shift] = True
    return before, after, flow.Pair(backward, forward), uncovered


def test_warping_takes_each_pixel_from_where_the_flow_leads():
    picture = np.random.default_rng(1).random((20, 30, 3)).astype(np.float32)
    field = np.random.default_rng(2).uniform(-8, 8, (20, 30, 2)).astype(np.float32)
    # OpenCV before 5 rounds places to 1/32 of a pixel.
    assert np.abs(flow.warp(picture, field) - warped(picture, field)).max() < 1 / 32
    whole = np.rint(field)
    np.testing.assert_allclose(flow.warp(picture, whole), warped(picture, whole), atol=1e-6)


def test_warping_of_one_channel_keeps_it():
    picture = np.random.default_rng(1).random((20, 30, 1)).astype(np.float32)
    np.testing.assert_array_equal(flow.warp(picture, constant(0, 0, 20, 30)), picture)


def test_unknown_flow_is_clipped_to_the_picture():
    picture = np.random.default_rng(1).random((20, 30, 3)).astype(np.float32)
    moved = flow.warp(picture, constant(1e9, -1e9, 20, 30))
    np.testing.assert_array_equal(moved, np.broadcast_to(picture[0, -1], moved.shape))


@pytest.mark.parametrize(("u", "v"), [(3, 0), (-2, 5), (0.5, -1.5)])
def test_a_translation_is_found(u, v):
    large = town(140, 170)
    place = np.array([[1, 0, -20], [0, 1, -20]], np.float32)
    earlier = cv2.warpAffine(large, place, (128, 96), flags=cv2.INTER_CUBIC)
    # What is at x in the frame is at x + (u, v) in the earlier one.
    frame = cv2.warpAffine(
        large, place - np.array([[0, 0, u], [0, 0, v]], np.float32), (128, 96), flags=cv2.INTER_CUBIC
    )
    pair = flow.estimate(frame, earlier)
    inner = np.s_[12:-12, 12:-12]
    assert np.linalg.norm(pair.backward[inner] - [u, v], axis=-1).mean() < 0.15
    assert np.linalg.norm(pair.forward[inner] + [u, v], axis=-1).mean() < 0.15
    assert flow.reliability(pair)[inner].mean() > 0.9


def test_a_rotation_is_found():
    earlier = town(96, 96)
    field = rotation(4)
    frame = np.rint(warped(earlier, field)).astype(np.uint8)
    pair = flow.estimate(frame, earlier)
    inner = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 38
    assert np.linalg.norm(pair.backward - field, axis=-1)[inner].mean() < 0.3
    assert flow.reliability(pair)[inner].mean() > 0.8, "about the middle a turn looks like a boundary"


def test_flow_does_not_depend_on_the_number_of_threads():
    before, after, _, _ = occluder()
    threads = cv2.getNumThreads()
    found = []
    try:
        for count in (1, 2, 3):
            cv2.setNumThreads(count)
            found.append(flow.estimate(after, before))
    finally:
        cv2.setNumThreads(threads)
    for other in found[1:]:
        np.testing.assert_array_equal(other.backward, found[0].backward)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (16, 16), (17, 9)])
def test_small_pictures_have_a_flow(size):
    picture = town(*size)
    assert flow.estimate(picture, picture).backward.shape == (*size, 2)


@pytest.mark.parametrize("kind", ["noise", "translation", "rotation", "occluder", "smooth"])
def test_reliability_is_that_of_the_formulas(kind):
    generator = np.random.default_rng(3)
    smooth = np.cumsum(np.cumsum(generator.normal(0, 0.003, (40, 50, 2)), 0), 1).astype(np.float32)
    pairs = {
        "noise": flow.Pair(*generator.normal(0, 3, (2, 40, 50, 2)).astype(np.float32)),
        "translation": flow.Pair(constant(5.5, -3), constant(-5.5, 3)),
        "rotation": flow.Pair(rotation(5, 40, 50), rotation(-5, 40, 50)),
        "occluder": occluder()[2],
        "smooth": flow.Pair(smooth, -smooth),
    }
    found = flow.reliability(pairs[kind])
    assert found.dtype == np.float32
    wanted = reliability(*pairs[kind])
    # Where a comparison of floats falls otherwise, its neighbours differ too.
    assert (np.abs(found[..., 0] - wanted) > 1e-5).mean() < 0.01
    assert kind == "noise" or wanted.max() == 1


def test_what_leads_outside_is_not_trusted():
    found = flow.reliability(flow.Pair(constant(-10, 0), constant(10, 0)))[..., 0]
    assert found[:, :7].max() == 0
    np.testing.assert_allclose(found[:, 14:], 1, atol=1e-6)


def test_what_has_come_into_sight_gets_nothing_from_its_neighbours():
    _, _, pair, uncovered = occluder()
    found = flow.reliability(pair)[..., 0]
    assert found[uncovered].max() < 0.05
    far = np.ones_like(uncovered)
    far[18:54, 24:66] = False
    np.testing.assert_allclose(found[far], 1, atol=1e-6)
    inside = found[30:42, 42:54]
    np.testing.assert_allclose(inside, 1, atol=1e-6)


def test_estimated_flow_of_an_occluder_distrusts_what_it_uncovers():
    before, after, _, uncovered = occluder()
    found = flow.reliability(flow.estimate(after, before))[..., 0]
    assert found[uncovered].mean() < 0.5
    assert found[:12].mean() > 0.7


def test_the_flow_of_a_film_that_pans_zooms_and_turns_is_found():
    film = town_film.make(4, 96, 128)
    for number in (1, 2, 3):
        frame, before = film.frames[number], film.frames[number - 1]
        truth, seen = film.backward[number], film.seen[number]
        warped_truly = flow.warp(before.astype(np.float32), truth)
        assert np.abs(warped_truly - frame)[seen].mean() < 6, "the truth is true"
        pair = flow.estimate(frame, before)
        assert np.linalg.norm(pair.backward - truth, axis=-1)[seen].mean() < 0.5
        found = flow.reliability(pair)[..., 0]
        assert found[seen].mean() > 0.75 > 0.35 > found[~seen].mean()


def test_unknown_flow_is_not_trusted():
    backward = constant(0, 0)
    backward[10:20, 10:20] = 1e9
    found = flow.reliability(flow.Pair(backward, constant(0, 0)))[..., 0]
    assert found[13:17, 13:17].max() == 0
    assert found[30:].min() > 0.999


def test_of_farther_frames_counts_what_closer_ones_leave():
    near, middle, far = (np.full((4, 5, 1), value, np.float32) for value in (0.25, 1.0, 1.0))
    near[0] = 1.0
    found = flow.long_term([near, middle, far])
    np.testing.assert_array_equal(found[0], near)
    np.testing.assert_array_equal(found[1][0], 0)
    np.testing.assert_array_equal(found[1][1:], 0.75)
    np.testing.assert_array_equal(found[2], 0)  # 1 - (0.25 + 1) is below it


def test_targets_of_several_frames():
    generator = np.random.default_rng(4)
    results = [generator.random((48, 64, 3)).astype(np.float32) for _ in range(2)]
    pairs = [flow.Pair(constant(-3, 0), constant(3, 0)), flow.Pair(constant(-6, 0), constant(6, 0))]
    found = flow.targets(pairs, results)
    assert found.warped.shape == (2, 48, 64, 3)
    assert found.reliability.shape == (2, 48, 64, 1)
    np.testing.assert_allclose(found.warped[1][:, 6:], results[1][:, :-6], atol=1e-6)
    np.testing.assert_allclose(found.reliability[0][:, 8:], 1, atol=1e-6)
    np.testing.assert_allclose(found.reliability[1][:, 8:], 0, atol=1e-6)


def test_results_are_warped_sharply_and_mirrored_outside():
    picture = np.random.default_rng(6).random((48, 64, 3)).astype(np.float32)
    found = flow.warp_result(picture, constant(-3, 2))
    wanted = np.pad(picture, ((0, 2), (3, 0), (0, 0)), mode="reflect")[2:, :-3]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    sharp, blurred = (
        warp(warp(picture, constant(0.5, 0)), constant(-0.5, 0)) for warp in (flow.warp_result, flow.warp)
    )
    assert np.diff(sharp, axis=1).std() > 1.5 * np.diff(blurred, axis=1).std()
    assert np.isfinite(flow.warp_result(picture, constant(1e9, -1e9))).all()


def test_a_file_is_read_as_opencv_writes_it(tmp_path):
    field = np.random.default_rng(5).normal(0, 9, (13, 17, 2)).astype(np.float32)
    assert cv2.writeOpticalFlow(str(tmp_path / "a.flo"), field)
    np.testing.assert_array_equal(flow.read(tmp_path / "a.flo"), field)


def test_unknown_lengths_of_a_file_lead_outside(tmp_path):
    field = constant(1, 1)
    field[3, 4], field[5, 6] = np.nan, 1.7e9
    cv2.writeOpticalFlow(str(tmp_path / "a.flo"), field)
    read = flow.read(tmp_path / "a.flo")
    assert read[3, 4, 0] == read[5, 6, 1] == np.float32(1e9)
    assert flow.resized(read, (24, 32))[1, 2].min() > 1e8, "so does what it is mixed into"


def test_a_flow_of_another_size_is_scaled():
    field = flow.resized(constant(8, -4), (96, 96))
    np.testing.assert_allclose(field, constant(12, -8, 96, 96), rtol=1e-6)


def _folder(path, count, lags=(1,)):
    for lag in lags:
        for later in range(1 + lag, count + 1):
            earlier = later - lag
            cv2.writeOpticalFlow(str(path / f"backward_{later}_{earlier}.flo"), constant(-lag, later))
            cv2.writeOpticalFlow(str(path / f"forward_{earlier}_{later}.flo"), constant(lag, -later))
    return path


def test_a_folder_of_flows(tmp_path):
    folder = flow.Folder(_folder(tmp_path, 5, (1, 2)), 5)
    pair = folder.read(3, 1, (48, 64))
    np.testing.assert_array_equal(pair.backward, constant(-1, 4))
    np.testing.assert_array_equal(pair.forward, constant(1, -4))
    assert [folder.has(4, lag) for lag in (1, 2, 4)] == [True, True, False]
    assert [folder.has(1, lag) for lag in (1, 2, 4)] == [True, False, False]


def test_a_missing_flow_is_named(tmp_path):
    with pytest.raises(errors.InputError, match=r"there is no .*backward_4_3\.flo, which 5 frames need"):
        flow.Folder(_folder(tmp_path, 3), 5)


@pytest.mark.parametrize(
    "data", [b"", b"PIEH", b"PIEH" + bytes(8), b"PIEH\xff\xff\xff\x7f\xff\xff\xff\x7f", b"no" * 99]
)
def test_what_is_no_flow_is_refused(tmp_path, data):
    (tmp_path / "a.flo").write_bytes(data)
    with pytest.raises(errors.InputError, match=r"a\.flo is not a \.flo file: ") as found:
        flow.read(tmp_path / "a.flo")
    assert len(str(found.value).splitlines()) == 1


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(errors.InputError, match=r"flow needs cv2: pip install '\.\[video\]' in "):
        flow.estimate(town(), town())
