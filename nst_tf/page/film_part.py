"""The part of the page for a short film: what a person sets, and what comes of it."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from nst_tf import errors
from nst_tf.page import files
from nst_tf.page.controls import Controls, path_of
from nst_tf.page.film import FilmOrder, PaintedFilm
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order
from nst_tf.page.shown import command_box

# Cartoons have 12 drawings a second, each shown twice; more take longer and look smoother.
FPS = 12
DURATION_S = 4  # as long as a shot of many films, and no longer to wait for than need be

_HEIGHT = 320  # pixels of a film in the page


class FilmPart:
    """The components, made where they stand in the page."""

    def __init__(self, limits: Limits) -> None:
        """Takes what the page allows."""
        self._limits = limits

    def add(self) -> None:
        """Adds the controls, the buttons and what they show."""
        most = self._limits.max_frames
        gr.Markdown(
            f"Paints a short film, up to {most} frames, with the paintings and settings above, and keeps its"
            " sound. **Stop** keeps a film of the frames so far; **Paint the film** then goes on after them."
        )
        with gr.Row():
            with gr.Column(min_width=300):
                self.source = gr.Video(label="Film", sources=["upload"], height=_HEIGHT, elem_id="film")
                # Gradio's own may convert it, before it has been checked.
                self.source.preprocess = path_of
                with gr.Row():
                    self.start = _number(0, "Begin (s)", "film-start")
                    duration = min(DURATION_S, most / FPS)
                    self.duration = _number(duration, "Length (s)", "film-duration")
                    self.fps = _number(FPS, "Frames a second", "film-fps")
                with gr.Row():
                    self.paint = gr.Button(
                        "Paint the film", variant="primary", elem_id="paint-film", min_width=100
                    )
                    self.stop = gr.Button("Stop", variant="stop", elem_id="stop-film")
            with gr.Column(min_width=300):
                self.status = gr.HTML(
                    '<p role="status">Drop a film and a painting, then paint the film.</p>',
                    elem_id="film-status",
                )
                self.preview = gr.Image(
                    label="Frame",
                    height=_HEIGHT,
                    interactive=False,
                    buttons=["fullscreen"],
                    format="jpeg",
                    elem_id="frame",
                    alt_text="The frame that is painted",
                )
                self.painted = gr.Video(
                    label="Painted film",
                    interactive=False,
                    buttons=["download"],
                    height=_HEIGHT,
                    visible=False,
                    elem_id="painted-film",
                )
                self.command = command_box("The whole film as a command line", "film-command")

    def inputs(self) -> set[gr.components.Component]:
        """Returns the components whose values make an order, besides those for a picture."""
        return {self.source, self.start, self.duration, self.fps}

    def outputs(self) -> list[gr.components.Component]:
        """Returns the components in which a run shows something."""
        return [self.status, self.preview, self.painted, self.command]

    def order(
        self, values: Mapping[gr.components.Component, Any], controls: Controls, store: files.Store
    ) -> FilmOrder:
        """Returns what the controls ask for.

        Args:
            values: Of the components.
            controls: The paintings and settings.
            store: Of the page's files.

        Raises:
            InputError: A value is not allowed, or a file cannot be used.
        """
        errors.require(values[self.source], "film", "none", "one: upload it")
        styles = controls.paintings(values, store)
        content = store.accept(values[self.source], "film", self._limits.max_upload_mb)
        return FilmOrder(
            order=Order(
                content=content,
                styles=styles,
                preset=controls.preset_of(values),
                overrides=controls.chosen(values),
            ),
            start=values[self.start],
            duration=values[self.duration],
            fps=values[self.fps],
        )

    def of_film(self, painted: PaintedFilm) -> dict[gr.components.Component, Any]:
        """Returns the components with a film that was painted, but for the status."""
        shown = None if painted.path is None else str(painted.path)
        return {
            self.painted: gr.Video(value=shown, visible=shown is not None),
            self.command: gr.Code(painted.command(), visible=True),
        }


def _number(value: float, label: str, name: str) -> gr.Number:
    return gr.Number(value, label=label, minimum=0, elem_id=name, min_width=140)


def outcome(painted: PaintedFilm) -> str:
    """Returns what a run has come to, for a person."""
    made = painted.made
    height, width = made.size
    text = f"Finished: {made.num_frames} frames of {width} x {height} pixels."
    if painted.is_stopped():
        text = f"Stopped after {made.frames} of {made.num_frames} frames; Paint the film goes on after them."
    if made.diverged:
        text += (
            f" The loss of {made.diverged} frames became infinite or NaN: they are the last good pictures."
        )
    return f"{text} Without the sound, which MP4 cannot hold." if painted.is_mute else text
