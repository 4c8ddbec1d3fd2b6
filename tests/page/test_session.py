"""The session of a tab: runs that are followed, stopped and left; its pictures. No network is needed."""

import contextlib
import dataclasses
import functools
import threading
import time
import weakref

import numpy as np
import pytest

from nst_tf import errors
from nst_tf.io import pictures
from nst_tf.losses.values import Losses
from nst_tf.page import files, runs, session
from nst_tf.page.backends import Made
from nst_tf.page.order import Order
from nst_tf.page.runs import Report

ORDER = Order(content=None, styles=(), preset="draft", overrides={"size": 48})


@dataclasses.dataclass
class Fake:
    """A backend whose pictures are grey, lighter with every step."""

    steps: int = 5
    takes_pictures: bool = True
    step_s: float = 0.0
    fails_at: int = -1
    held_after: int = -1  # a step after which it waits for `go`
    go: threading.Event = dataclasses.field(default_factory=threading.Event)
    orders: list = dataclasses.field(default_factory=list)
    ended: threading.Event = dataclasses.field(default_factory=threading.Event)

    def paint(self, order, checkpoint, report):
        self.orders.append(order)
        start = int(checkpoint.read_text()) if checkpoint.exists() else 0
        checkpoint.unlink(missing_ok=True)
        try:
            for step in range(start + 1, self.steps + 1):
                time.sleep(self.step_s)
                if step == self.held_after + 1:
                    assert self.go.wait(60)
                if step == self.fails_at:
                    raise errors.InputError("size: too large")
                image = np.full((32, 48, 3), step / 1000, np.float32)
                losses = Losses(3.0 / step, 1.0 / step, 2.0 / step, 0.0)
                if report(Report(step, self.steps, [losses], functools.partial(np.copy, image))):
                    checkpoint.write_text(str(step))
                    return self._made(image, step, "stopped")
            return self._made(image, self.steps, "finished")
        finally:
            self.ended.set()

    def film(self, order, output, part, report):
        raise NotImplementedError

    def _made(self, image, steps, outcome):
        return Made(image, steps, outcome, lambda path, _: pictures.write(image, path))


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Has every step shown, however quick."""
    monkeypatch.setattr(runs, "PREVIEW_S", 0.0)


@pytest.fixture
def store():
    store = files.Store()
    yield store
    store.close()


def _session(store, backend):
    return session.Session(store.session_folder(), backend)


def _all(updates):
    """Follows a run to its end."""
    return list(updates)


def test_a_run_is_followed_to_its_picture(store):
    own = _session(store, Fake(steps=5, step_s=0.02))
    updates = _all(own.paint(ORDER))
    steps = [update.step for update in updates]
    assert steps == sorted(set(steps))
    assert steps[-1] == 5
    last = updates[-1]
    assert (last.num_steps, last.size, last.picture.size) == (5, (32, 48), (48, 32))
    assert [step for step, _ in last.points] == [1, 2, 3, 4, 5]
    assert [losses.total for _, losses in last.points] == [3.0 / step for step in range(1, 6)]
    painted = own.current
    assert (painted.outcome, painted.steps, painted.size) == ("finished", 5, (32, 48))
    np.testing.assert_allclose(pictures.read(painted.path), 0.005, atol=0.5 / 255)
    assert own.history == [painted]
    assert own.is_idle()


def test_a_preview_is_no_larger_than_the_page_shows_it():
    shown = runs.preview(np.zeros((900, 3000, 3), np.float32))
    assert max(shown.size) == 768
    assert runs.preview(np.zeros((9, 30, 3), np.float32)).size == (30, 9)


def test_a_run_that_diverges_is_shown():
    image = np.full((4, 5, 3), np.nan, np.float32)
    image[0, 0] = (0.5, 2.0, -np.inf)
    assert runs.preview(image).getpixel((0, 0)) == (128, 255, 0)


def test_stop_keeps_the_picture_and_go_on_takes_its_run_to_the_end(store):
    backend = Fake(steps=6, held_after=2)
    own = _session(store, backend)
    for update in own.paint(ORDER):
        if update.step >= 2:
            own.stop()
            backend.go.set()
    stopped = own.current
    assert stopped.outcome == "stopped"
    assert stopped.steps == 3
    assert stopped.is_resumable()
    updates = _all(own.go_on(steps=99))
    assert backend.orders == [ORDER, ORDER]
    assert own.current.steps == 6
    assert updates[-1].step == 6
    assert [step for step, _ in own.current.points] == [1, 2, 3, 4, 5, 6]
    assert not stopped.is_resumable()
    assert own.current.earlier == stopped.chain()


def test_go_on_and_larger_begin_with_a_finished_picture(store):
    backend = Fake()
    own = _session(store, backend)
    _all(own.paint(ORDER))
    _all(own.go_on(steps=7))
    _all(own.larger(96, steps=8))
    first, second, third = own.history
    assert backend.orders == [
        ORDER,
        ORDER.going_on(first.path, 7),
        ORDER.going_on(first.path, 7).larger(second.path, (32, 48), 96, 8),
    ]
    assert [each["name"] for each in third.earlier] == ["picture-1.png", "picture-2.png"]
    assert third.earlier == second.chain()
    commands = own.commands(third)
    assert [line.rpartition("=")[2] for line in commands] == [f"picture-{n}.png" for n in (1, 2, 3)]
    assert "--init=picture-2.png" in commands[2]
    with pytest.raises(errors.InputError, match="larger: 48 pixels; allowed: more than the picture has, 48"):
        _all(own.larger(48, steps=8))


def test_a_picture_of_the_history_may_be_gone_on_from(store):
    backend = Fake()
    own = _session(store, backend)
    _all(own.paint(ORDER))
    _all(own.paint(ORDER))
    own.select(0)
    _all(own.go_on(steps=3))
    assert backend.orders[-1].paths().init == own.history[0].path
    with pytest.raises(errors.InputError, match="picture: 9; allowed: 1 to 3"):
        own.select(8)


def test_without_a_picture_there_is_nothing_to_go_on_from(store):
    own = _session(store, Fake())
    for begin in (lambda: own.go_on(3), lambda: own.larger(99, 3)):
        with pytest.raises(errors.InputError, match="picture: none yet; allowed: one to go on from"):
            _all(begin())
    _all(own.paint(ORDER))
    own.current.path.unlink()
    with pytest.raises(errors.InputError, match="deleted an hour after it was painted"):
        _all(own.go_on(3))


def test_a_server_goes_on_with_stopped_runs_only(store):
    backend = Fake(takes_pictures=False, held_after=1)
    own = _session(store, backend)
    for _ in own.paint(ORDER):
        own.stop()
        backend.go.set()
    _all(own.go_on(3))
    assert own.current.outcome == "finished"
    with pytest.raises(errors.InputError, match="a model server begins no run from a picture"):
        _all(own.go_on(3))


def test_a_failed_run_leaves_the_pictures_and_the_session_as_they_were(store):
    backend = Fake(steps=6, held_after=2)
    own = _session(store, backend)
    for update in own.paint(ORDER):
        if update.step >= 2:
            own.stop()
            backend.go.set()
    stopped = own.current
    backend.fails_at = 5
    with pytest.raises(errors.InputError, match="size: too large"):
        _all(own.paint(ORDER))
    assert own.current is stopped
    assert stopped.is_resumable()
    assert own.is_idle()
    backend.fails_at = -1
    _all(own.go_on(3))
    assert own.current.steps == 6


def test_a_run_that_nobody_follows_ends_within_a_step(store):
    backend = Fake(steps=10_000, step_s=0.01)
    own = _session(store, backend)
    with contextlib.closing(own.paint(ORDER)) as updates:
        next(updates)
    assert backend.ended.wait(5)
    assert own.current is None
    assert own.is_idle()


def test_a_run_that_is_left_keeps_no_picture_in_memory(store):
    class Holding(Fake):
        def paint(self, order, checkpoint, report):
            large = np.zeros((4, 4))
            held.append(weakref.ref(large))
            return super().paint(order, checkpoint, report)

    held: list[weakref.ref] = []
    backend = Holding(steps=10_000, step_s=0.01)
    own = _session(store, backend)
    updates = own.paint(ORDER)
    next(updates)
    run = own._run
    updates.close()
    assert backend.ended.wait(5)
    while not run._has_ended:
        time.sleep(0.01)
    assert held[0]() is None  # while the run is still there


def test_a_session_whose_browser_is_gone_ends_its_run(store):
    backend = Fake(steps=10_000, step_s=0.01)
    sessions = session.Sessions(backend, store)
    own = sessions.of("tab")
    assert sessions.of("tab") is own
    updates = own.paint(ORDER)
    next(updates)
    sessions.end("tab")
    assert backend.ended.wait(5)
    assert not own.folder.exists()
    with pytest.raises(runs.LeftError):
        _all(updates)
    with pytest.raises(errors.InputError, match="another run of this page is on"):
        _all(own.paint(ORDER))
    assert len(sessions) == 0


def test_each_tab_has_a_session_and_idle_ones_are_forgotten(store):
    sessions = session.Sessions(Fake(), store)
    one, two = sessions.of("one"), sessions.of("two")
    assert one.folder != two.folder
    one.used_at -= files.AGE_S + 1
    sessions.of("two")
    assert len(sessions) == 1
    assert sessions.of("one") is not one


def test_one_run_of_a_session_at_a_time(store):
    own = _session(store, Fake(steps=1000, step_s=0.01))
    with contextlib.closing(own.paint(ORDER)) as updates:
        next(updates)
        with pytest.raises(errors.InputError, match="another run of this page is on"):
            _all(own.paint(ORDER))


def test_a_run_that_waits_can_be_stopped_before_it_begins(store):
    own = _session(store, Fake())
    own.wait()
    own.stop()
    assert not own.take_turn()
    own.wait()
    assert own.take_turn()


def test_pictures_are_compared_one_after_the_other_once_all_settings_are_good(store):
    backend = Fake()
    own = _session(store, backend)
    orders = [ORDER.with_setting("content_weight", text) for text in ("1", "5")]
    found = _all(own.compare(orders))
    assert [number for number, _ in found] == sorted(number for number, _ in found)
    assert [each.order for each in own.history] == orders
    bad = dataclasses.replace(ORDER, overrides={"size": -3})
    with pytest.raises(errors.InputError, match="size"):
        _all(own.compare([ORDER, bad]))
    assert len(own.history) == 2


def test_a_long_run_keeps_few_points_and_a_long_session_few_pictures(store, monkeypatch):
    own = _session(store, Fake(steps=1000))
    _all(own.paint(ORDER))
    points = own.current.points
    assert 200 <= len(points) <= 400
    assert points[0][0] == 1
    monkeypatch.setattr(session, "_MOST_PICTURES", 2)
    for _ in range(3):
        _all(own.paint(ORDER))
    assert [each.path.name for each in own.history] == ["picture-3.png", "picture-4.png"]
