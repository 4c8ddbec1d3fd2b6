"""The page's endpoints for programs: the runs of its buttons, with names and values instead of controls."""

import pathlib
from collections.abc import Callable
from typing import Any

import gradio as gr

from nst_tf import errors
from nst_tf.page import fields, film_part
from nst_tf.page.film import FilmOrder
from nst_tf.page.handlers import Handlers
from nst_tf.page.limits import Limits
from nst_tf.page.order import MORE_STEPS, Order
from nst_tf.page.runs import Updates
from nst_tf.page.session import Session, Sessions


def add(sessions: Sessions, limits: Limits, handlers: Handlers, device: str, with_films: bool) -> None:
    """Adds the endpoints to the page that is being built.

    Args:
        sessions: Of the page.
        limits: Of what one person may ask for.
        handlers: Of the buttons.
        device: The concurrency group of all runs.
        with_films: Whether films can be painted.
    """

    def paint(
        content: dict,
        styles: list[dict],
        request: gr.Request,
        preset: str = "default",
        settings: dict | None = None,
    ) -> tuple[dict, dict]:
        """Paints; settings are {name of a flag: its value as typed}. Returns the picture and its manifest."""
        session = sessions.of(str(request.session_hash))

        def begin() -> Updates:
            order = _order(sessions, limits, content, styles, preset, settings or {})
            return session.paint(order)

        return _run(handlers, session, begin)

    def go_on(request: gr.Request, steps: int = MORE_STEPS) -> tuple[dict, dict]:
        """Takes a run that was stopped to its end, or more steps from a finished picture."""
        session = sessions.of(str(request.session_hash))
        return _run(handlers, session, lambda: session.go_on(steps))

    def larger(request: gr.Request, steps: int = MORE_STEPS) -> tuple[dict, dict]:
        """Paints the latest picture at the next size."""
        session = sessions.of(str(request.session_hash))
        return _run(handlers, session, lambda: session.larger(handlers.next_side(session), steps))

    def stop(request: gr.Request) -> None:
        """Stops the session's run, whose picture so far is then its answer."""
        sessions.of(str(request.session_hash)).stop()

    def film(
        content: dict,
        styles: list[dict],
        request: gr.Request,
        preset: str = "default",
        settings: dict | None = None,
        start: float = 0,
        duration: float = film_part.DURATION_S,
        fps: float = film_part.FPS,
    ) -> dict:
        """Paints a film, or goes on with it where it was stopped; returns the film, or the frames so far."""
        session = sessions.of(str(request.session_hash))
        with handlers.telling({}):
            order = _order(sessions, limits, content, styles, preset, settings or {})
            for _ in session.paint_film(FilmOrder(order=order, start=start, duration=duration, fps=fps)):
                pass
        assert session.film is not None
        return {} if session.film.path is None else _sent(session.film.path)

    for run in (paint, go_on, larger, *([film] if with_films else [])):
        gr.api(run, api_name=run.__name__, concurrency_id=device, concurrency_limit=1)
    gr.api(stop, api_name="stop", queue=False)


def _run(handlers: Handlers, session: Session, begin: Callable[[], Updates]) -> tuple[dict, dict]:
    """Returns the picture of a run and its manifest, as files that a client fetches."""
    with handlers.telling({}):
        for _ in begin():
            pass
    assert session.current is not None
    sidecar = session.current.sidecar()
    return _sent(session.current.path), _sent(sidecar) if sidecar else {}


def _sent(path: pathlib.Path) -> dict[str, Any]:
    return gr.FileData(path=str(path), orig_name=path.name).model_dump()


def _order(
    sessions: Sessions,
    limits: Limits,
    content: dict,
    styles: list[dict],
    preset: str,
    settings: dict,
) -> Order:
    """Returns the order of a program.

    Raises:
        InputError: A value is not allowed.
    """

    def accept(file: Any, name: str) -> pathlib.Path:
        errors.require(
            isinstance(file, dict) and isinstance(file.get("path"), str), name, "no file", "a file"
        )
        return sessions.store.accept(file["path"], name, limits.max_upload_mb)

    errors.require(isinstance(styles, list), "styles", "no list", "a list of files")
    return Order(
        content=accept(content, "content"),
        styles=tuple(accept(style, errors.numbered("style", n)) for n, style in enumerate(styles)),
        preset=preset,
        overrides=fields.overrides({name: str(value) for name, value in settings.items()}),
    )
