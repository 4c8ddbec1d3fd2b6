"""The session of one browser tab: its runs, each in a thread, and the pictures that came of them."""

import contextlib
import dataclasses
import hashlib
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.io import manifest, pictures
from nst_tf.losses.values import AnyLosses
from nst_tf.page import files
from nst_tf.page.backends import Backend, Made, Report, Watch
from nst_tf.page.order import Order

_LOG = logging.getLogger(__name__)

# Seconds between two previews, where steps are not longer.
PREVIEW_S = 1.0

# The longest side of a preview: about what a page's column has.
_PREVIEW_SIDE = 768

# Points of a picture's curve of losses that are kept: as many as its drawing has pixels, or so.
_MOST_POINTS = 400

# Pictures that a session knows: more than anybody scrolls through, few enough to keep no memory.
_MOST_PICTURES = 100

Point = tuple[int, AnyLosses]  # a step, counted from 1, and its losses


class Update(NamedTuple):
    """What a person sees of a run on the way."""

    picture: Image.Image
    size: tuple[int, int]  # height and width of the picture so far, which may be shown smaller
    step: int
    num_steps: int
    points: Sequence[Point]  # of the run so far
    seconds_left: float | None


Updates = Generator[Update, None, None]  # which are closed where nobody waits for more


class LeftError(Exception):
    """Nobody waits for a run any more."""


class Run:
    """A run in a thread of its own, which another thread follows."""

    def __init__(self, paint: Callable[[Watch], Made], points: Sequence[Point] = ()) -> None:
        """Starts it.

        Args:
            paint: (what to call on the way) -> what was made.
            points: Of an earlier part of the same run.
        """
        self._paint, self._points = paint, list(points)
        self._news = threading.Condition()
        self._update: Update | None = None
        self._shown_at = 0.0
        self._is_stopped = self._is_left = self._has_ended = False
        self._made: Made | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Has the run end after the present step, with the picture so far."""
        self._is_stopped = True

    def leave(self) -> None:
        """Has the run end after the present step, without a picture."""
        self._is_left = True

    def follow(self) -> Updates:
        """Yields what there is to see, each time the latest, until the run ends; closed before, leaves it."""
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._update is not None or self._has_ended)
                    update, self._update = self._update, None
                if update is None:
                    return
                yield update
        finally:
            if not self._has_ended:
                self.leave()

    def made(self) -> Made:
        """Returns what was made by a run that has ended.

        Raises:
            InputError: As `Backend.paint`; so does whatever else it raises.
        """
        made, error, self._made, self._error = self._made, self._error, None, None
        if error is not None:
            raise error
        assert made is not None
        return made

    @property
    def points(self) -> list[Point]:
        """Steps and losses, few enough to draw."""
        every = -(-len(self._points) // _MOST_POINTS)
        return self._points[:: every or 1]

    def _run(self) -> None:
        try:
            self._made = self._paint(self._watch)
        except (LeftError, errors.InputError) as error:
            # Without the frames, whose pictures would stay in memory with it.
            error.__context__ = None
            self._error = error.with_traceback(None)
        except BaseException as error:  # `made` raises it
            self._error = error
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def _watch(self, report: Report) -> bool:
        """Takes a report; shows it if the last one is long enough ago. Returns whether to stop."""
        if self._is_left:
            raise LeftError
        first = report.step - len(report.losses) + 1
        self._points += [(first + index, losses) for index, losses in enumerate(report.losses)]
        now = time.monotonic()
        if now - self._shown_at >= PREVIEW_S or self._is_stopped or report.step == report.num_steps:
            self._shown_at = now
            self._show(report)
        return self._is_stopped

    def _show(self, report: Report) -> None:
        image = report.picture()
        size = (image.shape[0], image.shape[1])
        shown = preview(image)
        update = Update(shown, size, report.step, report.num_steps, self.points, report.seconds_left)
        with self._news:
            self._update = update
            self._news.notify_all()


def preview(image: pictures.Picture) -> Image.Image:
    """Returns a picture no larger than a page shows it: an image [H, W, 3], or a file.

    An image may be of a run that diverges: what is infinite or NaN is black.
    """
    if isinstance(image, np.ndarray):
        levels = np.nan_to_num(np.clip(image, 0.0, 1.0))
    else:
        levels = pictures.read(image)
    found = Image.fromarray(pictures.to_uint8(levels))
    found.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    return found


@dataclasses.dataclass(frozen=True)
class Painted:
    """A picture of a session."""

    path: pathlib.Path
    order: Order
    size: tuple[int, int]  # height and width
    steps: int  # that its run took
    outcome: str  # as in `Made`
    points: tuple[Point, ...]
    checkpoint: pathlib.Path  # of a run that was stopped, until another goes on from it
    earlier: tuple[Mapping[str, str], ...] = ()  # {"name", "sha256"} of the pictures it was made from

    def is_resumable(self) -> bool:
        """Returns whether its run can go on to its end."""
        return self.outcome == "stopped" and self.checkpoint.is_file()

    def sidecar(self) -> pathlib.Path | None:
        """Returns the file of its manifest; None where it has none."""
        path = manifest.sidecar(self.path)
        return path if path.is_file() else None

    def chain(self) -> tuple[Mapping[str, str], ...]:
        """Returns {"name", "sha256"} of its file, after those of the earlier ones."""
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return *self.earlier, {"name": self.path.name, "sha256": digest}

    def named(self) -> str:
        """Returns its steps and settings, for a person."""
        return f"{self.steps} steps; {self.order.named()}"

    def command(self) -> str:
        """Returns the command line that makes it: of a run that was stopped by way of its manifest."""
        if self.outcome == "finished":
            return self.order.command(self.path.name)
        return self.order.repetition(self.path.name, f"again-{self.path.name}")


class Session:
    """What one browser tab has."""

    def __init__(self, folder: pathlib.Path, backend: Backend) -> None:
        """Begins without a picture.

        Args:
            folder: For its pictures.
            backend: What paints.
        """
        self.folder, self._backend = folder, backend
        self.history: list[Painted] = []
        self.current: Painted | None = None
        self.used_at = time.monotonic()
        self._count = 0
        self._run: Run | None = None
        self._is_waiting = self._is_closed = False

    def wait(self) -> None:
        """Notes that a run waits for its turn, so that `stop` can end it before it begins."""
        self._is_waiting = True

    def stop(self) -> None:
        """Stops the run, if there is one; the picture so far is kept."""
        self._is_waiting = False
        if (run := self._run) is not None:
            run.stop()

    def close(self) -> None:
        """Ends the run without a picture: the browser is gone."""
        self._is_closed = True
        if (run := self._run) is not None:
            run.leave()

    def is_idle(self) -> bool:
        """Returns whether no run is on."""
        return self._run is None

    def take_turn(self) -> bool:
        """Returns whether a run that waited is still wanted."""
        wanted, self._is_waiting = self._is_waiting, False
        return wanted

    def paint(self, order: Order) -> Updates:
        """Paints; afterwards `current` is the picture.

        Raises:
            InputError: As `Backend.paint`.
        """
        yield from self._follow(order, ())

    def go_on(self, steps: int) -> Updates:
        """Takes a run that was stopped to its end, or more steps from a picture that was finished.

        Args:
            steps: From a finished picture.

        Raises:
            InputError: There is no picture, or a server cannot begin from one.
        """
        before = self._picture()
        if before.is_resumable():
            yield from self._follow(before.order, before.chain(), before)
            return
        self._require_start()
        yield from self._follow(before.order.going_on(before.path, steps), before.chain())

    def larger(self, side: int, steps: int) -> Updates:
        """Paints the picture anew at a larger size, which begins with the picture.

        Args:
            side: The longest side of the larger one.
            steps: To take there.

        Raises:
            InputError: There is no picture, it is as large, or a server cannot begin from one.
        """
        before = self._picture()
        self._require_start()
        now = max(before.size)
        errors.require(side > now, "larger", f"{side} pixels", f"more than the picture has, {now}")
        yield from self._follow(before.order.larger(before.path, before.size, side, steps), before.chain())

    def compare(self, orders: Sequence[Order]) -> Generator[tuple[int, Update], None, None]:
        """Paints several pictures, one after the other; afterwards they are the latest of the history.

        Args:
            orders: Of the pictures.

        Yields:
            Which picture, from 0, and what there is to see of its run.

        Raises:
            InputError: As `Backend.paint`.
        """
        for order in orders:
            order.config()  # all are checked before the first is painted
        for number, order in enumerate(orders):
            for update in self._follow(order, ()):
                yield number, update
            if self.current is not None and self.current.outcome == "stopped":
                return

    def select(self, number: int) -> Painted:
        """Makes a picture of the history the current one.

        Raises:
            InputError: There is no such picture.
        """
        errors.require(0 <= number < len(self.history), "picture", number + 1, f"1 to {len(self.history)}")
        self.current = self.history[number]
        return self.current

    def commands(self, painted: Painted) -> list[str]:
        """Returns the command lines that make a picture: the last one, after those of what it begins with."""
        start = painted.order.overrides.get("init")
        before = [each for each in self.history if each.path == start]
        return [*(line for each in before for line in self.commands(each)), painted.command()]

    def add(
        self, made: Made, order: Order, points: Sequence[Point], chain: Sequence[Mapping[str, str]]
    ) -> None:
        """Keeps a picture as the latest of the history, and as the current one.

        Raises:
            OSError: It cannot be written.
        """
        path = self._path(".png")
        made.save(path, chain)
        painted = Painted(
            path,
            order,
            made.image.shape[:2],
            made.steps,
            made.outcome,
            tuple(points),
            self._path(".checkpoint"),
            tuple(chain),
        )
        self.history = [*self.history, painted][-_MOST_PICTURES:]
        self.current = painted

    def _path(self, suffix: str) -> pathlib.Path:
        return self.folder / f"picture-{self._count}{suffix}"

    def new_path(self, name: str) -> pathlib.Path:
        """Returns the path of another file of the next run."""
        return self.folder / f"{name}-{self._count + 1}.png"

    def _picture(self) -> Painted:
        errors.require(self.current is not None, "picture", "none yet", "one to go on from: paint first")
        assert self.current is not None
        if not self.current.path.is_file():
            raise errors.InputError("picture: deleted an hour after it was painted; paint it again")
        return self.current

    def _require_start(self) -> None:
        if not self._backend.takes_pictures:
            raise errors.InputError(
                "picture: a model server begins no run from a picture; a run that was stopped goes on"
            )

    def _follow(
        self, order: Order, chain: Sequence[Mapping[str, str]], resumed: Painted | None = None
    ) -> Updates:
        """Yields what there is to see of a run, then keeps its picture."""
        if self._is_closed or self._run is not None:
            raise errors.InputError("picture: another run of this page is on; wait for it, or stop it")
        order.config()  # before anything is loaded
        self._count += 1
        self.used_at = time.monotonic()
        self.folder.mkdir(exist_ok=True)  # an empty one goes after an hour
        checkpoint = self._path(".checkpoint")
        if resumed is not None:
            resumed.checkpoint.rename(checkpoint)
        run = Run(
            lambda watch: self._backend.paint(order, checkpoint, watch),
            () if resumed is None else resumed.points,
        )
        self._run = run
        try:
            with contextlib.closing(run.follow()) as updates:
                yield from updates
            self.add(run.made(), order, run.points, chain)
        finally:
            self._run = None
            self.used_at = time.monotonic()
            if resumed is not None and self.current is resumed and checkpoint.is_file():
                checkpoint.rename(resumed.checkpoint)  # the run failed


# Seconds without a run after which a session is forgotten whose browser never said that it left. Its files
# are gone by then.
_IDLE_S = files.AGE_S


class Sessions:
    """The sessions of a page by the name that Gradio gives to each tab."""

    def __init__(self, backend: Backend, store: files.Store) -> None:
        """Begins without any.

        Args:
            backend: What paints.
            store: Of the page's files.
        """
        self.backend, self.store = backend, store
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Session:
        """Returns the session of a tab, a new one if it has none yet; forgets those idle for an hour."""
        with self._lock:
            now = time.monotonic()
            for other, session in list(self._sessions.items()):
                if session.is_idle() and now - session.used_at > _IDLE_S:
                    del self._sessions[other]
            if name not in self._sessions:
                self._sessions[name] = Session(self.store.session_folder(), self.backend)
            session = self._sessions[name]
            session.used_at = now
            return session

    def end(self, name: str) -> None:
        """Ends the session of a tab that is gone: its run stops and its files go."""
        with self._lock:
            session = self._sessions.pop(name, None)
        if session is not None:
            session.close()
            self.store.remove(session.folder)

    def close(self) -> None:
        """Ends all sessions."""
        for name in list(self._sessions):
            self.end(name)

    def __len__(self) -> int:
        return len(self._sessions)
