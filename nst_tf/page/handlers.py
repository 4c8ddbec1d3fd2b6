"""What happens when a person clicks: a session's run is followed; what there is to see goes into the page."""

import contextlib
import html
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from nst_tf import client, errors
from nst_tf.callbacks import report
from nst_tf.page import film_part
from nst_tf.page.controls import Controls
from nst_tf.page.film_part import FilmPart
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order
from nst_tf.page.runs import LeftError, Point, Update, Updates, preview
from nst_tf.page.session import Painted, Session, Sessions
from nst_tf.page.shown import Shown

_LOG = logging.getLogger(__name__)

Values = Mapping[gr.components.Component, Any]
Change = dict[gr.components.Component, Any]  # {component: what it is to show}

# Of the present size: the next in a run from coarse to fine.
_LARGER = 2

# More pictures than four side by side are too small to compare, and take long.
_FEWEST_COMPARED, _MOST_COMPARED = 2, 4
_COMPARED_SIDE = 384  # pixels of the longest side on the sheet: four fill a wide screen


# What the page calls the pictures that elsewhere have the names of flags.
_SAID = {"content": "photograph", "style": "painting"}


class Handlers:
    """The functions that Gradio calls; those that yield are runs, one at a time for all sessions."""

    def __init__(
        self, sessions: Sessions, limits: Limits, controls: Controls, shown: Shown, film: FilmPart | None
    ) -> None:
        """Takes what they work on; no part for films where none can be painted."""
        self._sessions, self._limits, self._controls, self._shown = sessions, limits, controls, shown
        self._film = film

    def wait(self, request: gr.Request) -> str:
        """Says that a run waits for its turn."""
        self._session(request).wait()
        return _status("Waits for its turn.")

    def stop(self, request: gr.Request) -> None:
        """Stops the run of the tab."""
        self._session(request).stop()

    def leave(self, request: gr.Request) -> None:
        """Ends the session of a tab that is gone."""
        self._sessions.end(str(request.session_hash))

    def paint(self, values: Values, request: gr.Request) -> Iterator[Change]:
        """Paints what the controls ask for."""
        session = self._session(request)
        yield from self._run(session, lambda: session.paint(self._order(values, session)))

    def go_on(self, steps: float, request: gr.Request) -> Iterator[Change]:
        """Takes more steps from the current picture."""
        session = self._session(request)
        yield from self._run(session, lambda: session.go_on(self._steps(steps)))

    def larger(self, steps: float, request: gr.Request) -> Iterator[Change]:
        """Paints the current picture at the next size."""
        session = self._session(request)
        yield from self._run(session, lambda: session.larger(self.next_side(session), self._steps(steps)))

    def next_side(self, session: Session) -> int:
        """Returns the longest side of the next size: twice the current one, or what the page allows."""
        if session.current is None:
            return 0  # which is refused
        sides = session.current.size
        allowed = (self._limits.max_pixels / (sides[0] * sides[1])) ** 0.5
        return int(max(sides) * min(_LARGER, allowed))

    def compare(self, values: Values, request: gr.Request) -> Iterator[Change]:
        """Paints several pictures that differ in one setting."""
        from nst_tf import sweep

        session, shown = self._session(request), self._shown
        axis = None

        def begin() -> Updates:
            nonlocal axis
            flag, listed = values[shown.compared], values[shown.compared_values] or ""
            axis = sweep.parse_axis("compare", f"{flag}={listed}", shown.comparable)
            count = len(axis.values)
            allowed = f"{_FEWEST_COMPARED} to {_MOST_COMPARED}"
            errors.require(_FEWEST_COMPARED <= count <= _MOST_COMPARED, "compare", f"{count} values", allowed)
            order = self._order(values, session)
            orders = [order.with_setting(axis.flag, value) for value in axis.values]
            for _, update in session.compare(orders):
                yield update

        yield from self._run(session, begin)
        if axis is not None:
            painted = session.history[-len(axis.values) :]
            cells = [sweep.Shown(preview(each.path)) for each in painted]
            columns = axis._replace(values=axis.values[: len(cells)])
            yield {shown.sheet: sweep.sheet(cells, None, columns, _COMPARED_SIDE)}

    def film(self, values: Values, request: gr.Request) -> Iterator[Change]:
        """Paints a film."""
        session, part = self._session(request), self._film
        assert part is not None

        def begin() -> Updates:
            return session.paint_film(part.order(values, self._controls, self._sessions.store))

        before = session.film
        for update in self._followed(session, begin, part.status):
            if isinstance(update, Update):
                update = {part.preview: update.picture, part.status: _status(_describe(update))}
            yield update
        if session.film is not None and session.film is not before:
            yield {part.status: _status(film_part.outcome(session.film)), **part.of_film(session.film)}

    def select(self, event: gr.SelectData, request: gr.Request) -> Change:
        """Makes a picture of the history the current one."""
        session = self._session(request)
        with self.telling():
            painted = session.select(int(event.index))
        return self._of_picture(session, painted)

    def canvas(self, photograph: str | None) -> Any:
        """Returns the photograph as the background to draw regions on."""
        if photograph is None:
            return None
        with self.telling():
            path = self._sessions.store.accept(photograph, "photograph", self._limits.max_upload_mb)
            return {"background": preview(path), "layers": [], "composite": None}

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.of(str(request.session_hash))

    def _order(self, values: Values, session: Session) -> Order:
        return self._controls.order(values, self._sessions.store, session.new_path("regions"))

    def _steps(self, steps: float) -> int:
        errors.require(steps and steps >= 1, "more steps", steps, "1 and above")
        return round(steps)

    def _run(self, session: Session, begin: Callable[[], Updates]) -> Iterator[Change]:
        """Yields what changes in the page while a picture is painted, and after it."""
        for update in self._followed(session, begin, self._shown.status):
            yield self._of_update(update) if isinstance(update, Update) else update
        if session.current is not None:
            yield self._of_picture(session, session.current)

    def _followed(
        self, session: Session, begin: Callable[[], Updates], status: gr.components.Component
    ) -> Iterator[Update | Change]:
        """Yields what there is to see of a run; or what changes where there is nothing.

        Args:
            session: Whose run it is.
            begin: Starts it.
            status: Where it is said why there is nothing to see.
        """
        if not session.take_turn():
            yield {status: _status("Stopped before it began.")}
            return
        try:
            with self.telling(), contextlib.closing(begin()) as updates:
                yield from updates
        except gr.Error as error:
            yield {status: _status(str(error.message), failed=True)}
            raise

    @contextlib.contextmanager
    def telling(self, said: Mapping[str, str] = _SAID) -> Iterator[None]:
        """Turns an error into one that Gradio shows: its line where it is a person's mistake.

        Args:
            said: {what a line begins with: what it says here instead}.
        """
        try:
            yield
        except (errors.InputError, client.ServerError, OSError, MemoryError) as error:
            text = html.escape(self._sessions.store.without_folders(errors.one_line(error)))
            for name, instead in said.items():
                text = re.sub(rf"^{name}(?= \d+:|:)", instead, text)
            raise gr.Error(text, print_exception=False) from None
        except LeftError:
            raise gr.Error("this page was closed", print_exception=False) from None
        except Exception:
            _LOG.exception("a run of the page failed")
            text = "the run failed, which is a defect of this program; its log says where"
            raise gr.Error(text, print_exception=False) from None

    def _of_update(self, update: Update) -> Change:
        return {
            self._shown.preview: update.picture,
            self._shown.status: _status(_describe(update)),
            self._shown.losses: _curve(update.points),
        }

    def _of_picture(self, session: Session, painted: Painted) -> Change:
        """Returns the page with a picture as the current one."""
        shown, small = self._shown, preview(painted.path)
        changes: Change = {
            shown.preview: small,
            shown.status: _status(_outcome(painted)),
            shown.losses: _curve(painted.points),
            shown.download: gr.DownloadButton(value=painted.path, interactive=True),
            shown.files: gr.File([str(path) for path in _files(painted)], visible=True),
            shown.command: gr.Code("\n".join(session.commands(painted)), visible=True),
            shown.history: [
                (str(each.path), f"{number}: {each.named()}")
                for number, each in enumerate(session.history, 1)
            ],
        }
        if painted.order.content is not None and painted.order.content.is_file():
            changes[shown.slider] = (preview(painted.order.content).resize(small.size), small)
        return changes


def _files(painted: Painted) -> list[Any]:
    """Returns what a person takes home of a picture."""
    listed = [painted.path, painted.sidecar(), painted.order.regions]
    return [path for path in listed if path is not None and path.is_file()]


def _status(text: str, failed: bool = False) -> str:
    kind = "alert" if failed else "status"  # which screen readers read aloud
    return f'<p role="{kind}" class="nst-{kind}">{text if failed else html.escape(text)}</p>'


def _describe(update: Update) -> str:
    """Returns how far a run is, for a person."""
    height, width = update.size
    text = update.text[:1].upper() + update.text[1:]
    text = text or f"Step {update.step} of {update.num_steps}, {width} x {height} pixels"
    if update.points:
        text += f"; {report.describe_losses(update.points[-1][1])}"
    return text if update.seconds_left is None else f"{text}; about {update.seconds_left:.0f} s left"


def _outcome(painted: Painted) -> str:
    height, width = painted.size
    done = {
        "finished": "Finished after",
        "stopped": "Stopped after",
        "diverged": "The loss became infinite or NaN; this is the last good picture, after",
    }[painted.outcome]
    return f"{done} {painted.steps} steps: {width} x {height} pixels."


# The columns of a curve, as `Shown.losses` names them.
_STEP, _LOSS, _TERM = "step", "log10 of the loss", "term"


def _curve(points: Sequence[Point]) -> pd.DataFrame:
    """Returns the losses by term over the steps, their logarithms: they fall by orders of magnitude."""
    rows = [
        (step, float(np.log10(value)), term)
        for step, losses in points
        for term, value in losses._asdict().items()
        if term != "total" and np.isfinite(value) and value > 0
    ]
    return pd.DataFrame(rows, columns=[_STEP, _LOSS, _TERM])
