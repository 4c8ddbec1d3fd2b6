"""The session of one browser tab: its runs, one at a time, and the pictures that came of them."""

import contextlib
import dataclasses
import hashlib
import pathlib
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from nst_tf import errors
from nst_tf.io import manifest
from nst_tf.page import files
from nst_tf.page.backends import Backend, Made
from nst_tf.page.film import FilmOrder, PaintedFilm
from nst_tf.page.order import Order
from nst_tf.page.runs import Point, Run, Update, Updates

# Pictures that a session knows: more than anybody scrolls through, few enough to keep no memory.
_MOST_PICTURES = 100


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
        self.film: PaintedFilm | None = None  # the latest
        self.used_at = time.monotonic()
        self._count = 0
        self._run: Run[Any] | None = None
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

    def paint_film(self, order: FilmOrder) -> Updates:
        """Paints a film, or goes on with the latest one if that was stopped; afterwards `film` is it.

        Raises:
            InputError: As `Backend.film`.
        """
        order.config()
        before = self.film
        self._begin()
        if before is not None and before.order == order and before.is_stopped():
            output = before.output
        else:
            output = self._path("film", ".mp4")
            self.film = None
            if before is not None:
                before.forget()
        part = self._path("film", "-so-far.mp4")
        run = Run(lambda watch: self._backend.film(order, output, part, watch))
        yield from self._followed(run)
        self.film = run.made()

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
        path = self._path("picture", ".png")
        made.save(path, chain)
        painted = Painted(
            path,
            order,
            made.image.shape[:2],
            made.steps,
            made.outcome,
            tuple(points),
            self._path("picture", ".checkpoint"),
            tuple(chain),
        )
        self.history = [*self.history, painted][-_MOST_PICTURES:]
        self.current = painted

    def _path(self, name: str, ending: str) -> pathlib.Path:
        """Returns the path of a file of the present run."""
        return self.folder / f"{name}-{self._count}{ending}"

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
        order.config()  # before anything is loaded
        self._begin()
        checkpoint = self._path("picture", ".checkpoint")
        if resumed is not None:
            resumed.checkpoint.rename(checkpoint)
        run = Run(
            lambda watch: self._backend.paint(order, checkpoint, watch),
            () if resumed is None else resumed.points,
        )
        try:
            yield from self._followed(run)
            self.add(run.made(), order, run.points, chain)
        finally:
            if resumed is not None and self.current is resumed and checkpoint.is_file():
                checkpoint.rename(resumed.checkpoint)  # the run failed

    def _begin(self) -> None:
        """Takes note of another run.

        Raises:
            InputError: One is on.
        """
        if self._is_closed or self._run is not None:
            raise errors.InputError("picture: another run of this page is on; wait for it, or stop it")
        self._count += 1
        self.used_at = time.monotonic()
        self.folder.mkdir(exist_ok=True)  # an empty one goes after an hour

    def _followed(self, run: Run[Any]) -> Updates:
        """Yields what there is to see of a run, which is this session's until it ends."""
        self._run = run
        try:
            with contextlib.closing(run.follow()) as updates:
                yield from updates
        finally:
            self._run = None
            self.used_at = time.monotonic()


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

    def __contains__(self, name: str) -> bool:
        return name in self._sessions
