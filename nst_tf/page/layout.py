"""The layout of the page, and which click calls which handler. Needs Gradio.

A run is a Gradio event of the group `_DEVICE`, of which one goes on at a time; the others wait in the queue.
What takes no time does not queue. The endpoints for programs are in `endpoints.py`.
"""

import gradio as gr

from nst_tf.page import endpoints, film
from nst_tf.page.controls import Controls
from nst_tf.page.film_part import FilmPart
from nst_tf.page.handlers import Handlers
from nst_tf.page.limits import Limits
from nst_tf.page.session import Sessions
from nst_tf.page.shown import Shown

TITLE = "nst_tf: a photograph, painted like a painting"

# The concurrency group of all runs.
_DEVICE = "device"

# Gradio's own fonts would be fetched from another server. Its greys and oranges are too pale: WCAG wants a
# contrast of 4.5 to 1.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    button_cancel_background_fill="#b91c1c",
    button_cancel_background_fill_hover="#991b1b",
    button_cancel_background_fill_dark="#b91c1c",
    button_cancel_background_fill_hover_dark="#991b1b",
)

CSS = """
.nst-alert { color: #b91c1c; font-weight: 600; }
.dark .nst-alert { color: #fca5a5; }
#status p, #film-status p { overflow-wrap: anywhere; }
#picture img, #frame img { width: 100%; height: 100%; object-fit: contain; }
#presets .grid-wrap { max-height: none; }
#presets .grid-container { grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); }
#presets .caption-label { white-space: normal; overflow-wrap: anywhere; max-width: 100%; }
#history .caption-label { white-space: normal; max-width: 100%; left: 0; }
#losses .role-legend { display: none; }
#command .cm-scroller, #film-command .cm-scroller { min-height: 0 !important; }
"""


def build(sessions: Sessions, limits: Limits) -> gr.Blocks:
    """Returns the page.

    Args:
        sessions: Of the page.
        limits: Of what one person may ask for.
    """
    here = sessions.backend.takes_pictures
    controls, shown = Controls(limits, here), Shown()
    filmed = FilmPart(limits) if here and film.is_there() else None
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gr.Markdown(f"# {TITLE}")
        with gr.Row():
            with gr.Column(min_width=320, scale=2):
                controls.add_pictures()
                controls.add_open()
            with gr.Column(min_width=320, scale=3):
                shown.add_run()
                shown.add_results()
        with gr.Accordion("Presets: the sample photograph in each", open=False, visible=here):
            controls.add_presets()
        with gr.Accordion("Regions: where which painting goes", open=False):
            controls.add_regions()
        with gr.Accordion("Compare settings", open=False, visible=here):
            shown.add_comparison()
        if filmed is not None:
            with gr.Accordion("Film: a short one, frame by frame", open=False):
                filmed.add()
        with gr.Accordion("All other settings", open=False, visible=here):
            controls.add_folded()
        handlers = Handlers(sessions, limits, controls, shown, filmed)
        _connect(blocks, handlers, controls, shown, filmed)
        endpoints.add(sessions, limits, handlers, _DEVICE, with_films=filmed is not None)
    return blocks


def _connect(
    blocks: gr.Blocks, handlers: Handlers, controls: Controls, shown: Shown, filmed: FilmPart | None
) -> None:
    """Connects clicks and handlers."""
    # A name of its own, or it would take the one of the endpoint for programs.
    private = {"api_visibility": "private", "api_name": "button"}
    asked, seen = controls.inputs(), shown.outputs()
    picture = (shown.status, shown.preview)  # where a run says that it waits, and where it is seen
    runs = [
        (shown.paint, handlers.paint, asked, seen, picture),
        (shown.go_on, handlers.go_on, shown.steps, seen, picture),
        (shown.larger, handlers.larger, shown.steps, seen, picture),
        (shown.compare, handlers.compare, {*asked, shown.compared, shown.compared_values}, seen, picture),
    ]
    stops = [shown.stop]
    if filmed is not None:
        inputs, frame = {*asked, *filmed.inputs()}, (filmed.status, filmed.preview)
        runs.append((filmed.paint, handlers.film, inputs, filmed.outputs(), frame))
        stops.append(filmed.stop)
    for button, handler, inputs, outputs, (status, preview) in runs:
        button.click(handlers.wait, None, status, queue=False, show_progress="hidden", **private).then(
            handler,
            inputs,
            outputs,
            concurrency_id=_DEVICE,
            concurrency_limit=1,
            trigger_mode="once",
            show_progress="minimal",
            show_progress_on=[preview],
            **private,
        )
    for stop in stops:
        stop.click(handlers.stop, None, None, queue=False, show_progress="hidden", **private)
    shown.history.select(
        handlers.select, None, shown.outputs(), queue=False, show_progress="hidden", **private
    )
    controls.photograph.change(
        handlers.canvas, controls.photograph, controls.editor, queue=False, show_progress="hidden", **private
    )
    blocks.unload(handlers.leave)
