"""A short film in a page: what is asked for, what is painted, in sessions; stopped, gone on with, left."""

import contextlib
import dataclasses
import shlex
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from absl import flags
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("cv2")

from benchmark import town_film

from nst_tf import errors
from nst_tf.commands import video
from nst_tf.page import backends, files, film, runs, session
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order
from nst_tf.video import frames, work
from tests import conftest
from tests.support import sample_films

HEIGHT, WIDTH = 48, 64
SETTINGS: dict[str, Any] = {
    "weights": "builtin",
    "precision": "float32",
    "size": 64,
    "steps": (4,),
    "scales": (1.0,),
    **conftest.SHALLOW,
}


@pytest.fixture
def store():
    store = files.Store()
    yield store
    store.close()


def _order(store, sound="aac", count=6, **changes):
    """An order of a film that was uploaded, 25 frames a second."""
    folder = store.uploads / "hash"
    folder.mkdir(exist_ok=True)
    sample_films.write(folder / "film.mkv", town_film.make(count, HEIGHT, WIDTH).frames, sound=sound)
    pixels = np.rint(conftest.smooth_picture(3, 48, 48) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "painting.png")
    order = Order(
        content=folder / "film.mkv",
        styles=(folder / "painting.png",),
        preset="gram",
        overrides=SETTINGS | changes.pop("settings", {}),
    )
    numbers = {"start": 0, "duration": 1, "fps": 25} | changes
    return film.FilmOrder(order=order, **numbers)


def _session(store, limits=None):
    return session.Session(store.session_folder(), backends.Here(limits or Limits()))


def _refused(store, order, message, limits=None):
    with pytest.raises(errors.InputError, match=message):
        list(_session(store, limits).paint_film(order))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": 0}, "duration: 0; allowed: seconds, above 0"),
        ({"start": -1}, "start: -1.0; allowed: seconds, 0 or more"),
        ({"fps": None}, "fps: None; allowed: a number"),
        ({"fps": float("nan")}, "fps: nan; allowed: a number"),
        ({"duration": float("inf")}, "duration: inf; allowed: a number"),
    ],
)
def test_numbers_out_of_range_are_refused(store, changes, message):
    with pytest.raises(errors.InputError, match=message):
        _order(store, **changes)


def test_what_is_too_large_is_refused_before_anything_is_computed(store, monkeypatch):
    order = _order(store)
    _refused(
        store, dataclasses.replace(order, duration=4), "film: 4 s of 25 frames a second, 100 frames; all"
    )
    _refused(store, order, "size: 64 x 48 pixels; allowed on this page: 3,000", Limits(max_pixels=3000))
    _refused(store, order, "steps: 4 in all; allowed on this page: 3", Limits(max_steps=3))
    _refused(store, _order(store, settings={"init": "noise"}), "init: a frame begins with the one before")
    monkeypatch.setattr(film, "_MOST_PIXELS", HEIGHT * WIDTH - 1)
    _refused(store, order, "film: frames of 64 x 48 pixels; allowed: 8192 x 4320 at most")
    monkeypatch.setattr(film, "_MOST_PIXELS", HEIGHT * WIDTH)
    monkeypatch.setattr(film, "_MOST_RATE", 24)
    _refused(store, order, "film: 25 frames a second; allowed: 24 at most")


def test_what_is_no_film_is_one_line(store):
    order = _order(store)
    order.order.content.write_bytes(b"no film")
    _refused(store, order, r"film: .*film\.mkv is not a film that can be read")


def test_the_command_line_asks_for_the_same_film(store, monkeypatch):
    order = _order(store, start=0.04, duration=0.1, fps=12.5)
    monkeypatch.chdir(store.uploads / "hash")
    program, name, *typed = shlex.split(order.command("painted.mp4"))
    values = flags.FlagValues()
    video.define(values)
    assert (program, name) == ("nst_tf", "video")
    values(["video", *typed])
    asked = video.to_film(values)
    assert asked.settings.config == order.config()
    assert asked.settings.temporal_weight is None
    assert isinstance(asked.frames, frames.Film)
    assert asked.frames.part == frames.Part(Fraction("0.04"), Fraction("0.1"), Fraction("12.5"))
    assert [path.name for _, path in asked.named.files()] == ["film.mkv", "painting.png"]


def _frames(path):
    return [frame.picture for frame in frames.Film(path, frames.Part(), "film")]


def _has_sound(path):
    return frames.Film(path, frames.Part(), "film").sound is not None


def _distance(one, other):
    """Returns the mean difference of two pictures, in levels of 255."""
    return np.abs(np.subtract(one, other, dtype=float)).mean()


def _film(own):
    """Returns the latest film of a session."""
    return own.film


class _Stopping(backends.Here):
    """Stops its first film after two frames."""

    def film(self, order, output, part, report):
        last = 10 if output.with_name(f"{output.name}.frames").exists() else 2
        return super().film(order, output, part, lambda each: report(each) or each.step >= last)


def test_a_film_is_painted_stopped_and_gone_on_with(store, monkeypatch):
    monkeypatch.setattr(runs, "PREVIEW_S", 0.0)
    order = _order(store, count=4)
    own = session.Session(store.session_folder(), _Stopping(Limits()))
    updates = list(own.paint_film(order))
    assert updates[0].picture.size == (WIDTH, HEIGHT)
    assert updates[0].text == "frame 1 of 4, shot 1, 64 x 48"
    stopped = _film(own)
    assert (stopped.made.outcome, stopped.made.frames) == ("stopped", 2)
    assert len(_frames(stopped.path)) == 2
    assert _has_sound(stopped.path)
    assert min(update.step for update in own.paint_film(order)) == 2
    whole = _film(own)
    assert (whole.made.outcome, whole.made.frames, whole.output) == ("finished", 4, stopped.output)
    assert whole.path == whole.output
    assert len(_frames(whole.path)) == 4
    assert _has_sound(whole.path)
    assert not whole.is_mute
    assert not work.place(whole.output).exists()
    # H.264 keeps a frame as well as it keeps the frames after it.
    assert _distance(_frames(whole.path)[0], _frames(stopped.path)[0]) < 4
    assert _distance(_frames(whole.path)[0], _frames(order.order.content)[0]) > 8
    with contextlib.closing(own.paint_film(order)) as more:
        assert next(more).step == 0  # from the beginning


def test_sound_that_mp4_cannot_hold_is_left_out(store):
    own = _session(store)
    list(own.paint_film(_order(store, sound="pcm_f32le", count=2)))
    assert own.film.is_mute
    assert not _has_sound(own.film.path)
    assert len(_frames(own.film.path)) == 2


def test_a_film_that_nobody_waits_for_ends_and_its_frames_go_with_the_next(store):
    own = _session(store)
    for _ in own.paint_film(_order(store)):
        own.stop()
    before = own.film
    assert work.place(before.output).exists()
    with contextlib.closing(own.paint_film(_order(store, settings={"content_weight": 2.0}))) as updates:
        next(updates)
        run = own._run
    assert not work.place(before.output).exists()
    while not run._has_ended:
        time.sleep(0.01)
    assert isinstance(run._error, runs.LeftError)
    assert own.is_idle()


def test_files_of_a_run_that_takes_over_an_hour_stay(store):
    order, own = _order(store), _session(store)
    with contextlib.closing(own.paint_film(order)) as updates:
        next(updates)
        time.sleep(0.05)
        then = time.time()
        for _ in updates:
            pass
    store.sweep(then + files.AGE_S)
    assert order.order.content.exists()
    assert not order.order.styles[0].exists()  # which is read at the beginning
