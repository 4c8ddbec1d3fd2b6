"""Tries: what a marker that was left says about how to go on."""

import pathlib

import pytest

from nst_tf.batch import tries

HERE, GONE = "here", "gone"
WAYS = tries.Way

# (the try before, whether the picture is alone) and the way to go on.
CASES = {
    "never begun": (None, False, WAYS.TRY),
    "its worker was killed": (tries.Try("now", HERE, 1), False, WAYS.ALONE),
    "killed among others, now alone": (tries.Try("now", HERE, 1), True, WAYS.SMALLER),
    "killed alone with smaller tiles": (tries.Try("now", HERE, 2, smaller=True), True, WAYS.GIVE_UP),
    "its machine was lost": (tries.Try("now", GONE, 1), False, WAYS.TRY),
    "its machine was lost when alone": (tries.Try("now", GONE, 2, smaller=True), True, WAYS.TRY),
    "three machines were lost": (tries.Try("now", GONE, 3), False, WAYS.ALONE),
    "the batch before was ended": (tries.Try("before", HERE, 1), True, WAYS.TRY),
    "three batches were": (tries.Try("before", HERE, 3), True, WAYS.SMALLER),
}


@pytest.mark.parametrize("case", CASES)
def test_how_to_go_on(case):
    before, alone, expected = CASES[case]
    assert tries.decide(before, "now", lambda node: node == HERE, alone) is expected


@pytest.mark.parametrize("folder", ["{tmp_path}/painted", "memory://painted"])
def test_a_marker(folder, tmp_path):
    folder = folder.format(tmp_path=tmp_path)
    marker, begun = tries.Marker(folder, f"{folder}/a.png"), tries.Try("now", HERE, 2, smaller=True)
    assert (marker.read(), tries.left(folder)) == (None, frozenset())
    marker.write(begun)
    assert marker.read() == begun
    assert tries.left(folder) == {marker.path}
    assert tries.Marker(folder, f"{folder}/b.png").read() is None
    marker.remove()
    marker.remove()
    assert (marker.read(), tries.left(folder)) == (None, frozenset())


def test_what_a_batch_forgets(tmp_path):
    for name, run in (("a.png", "now"), ("b.png", "before")):
        tries.Marker(str(tmp_path), name).write(tries.Try(run, HERE, 1))
    tries.forget(str(tmp_path), "now")
    assert tries.left(str(tmp_path)) == {tries.Marker(str(tmp_path), "b.png").path}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 1}'])
def test_a_marker_cut_short_is_of_a_batch_before(text, tmp_path):
    marker = tries.Marker(str(tmp_path), "a.png")
    marker.write(tries.Try("now", HERE, 1))
    pathlib.Path(marker.path).write_text(text)
    assert tries.decide(marker.read(), "now", lambda _: True, True) is WAYS.TRY
