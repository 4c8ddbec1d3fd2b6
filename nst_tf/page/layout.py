"""The layout of the page, and which click calls which handler. Needs Gradio.

A run is a Gradio event of the group `_DEVICE`, of which one goes on at a time; the others wait in the queue.
What takes no time does not queue. The endpoints for programs are in `endpoints.py`.
"""

import gradio as gr

from nst_tf.page import endpoints
from nst_tf.page.controls import Controls
from nst_tf.page.handlers import Handlers
from nst_tf.page.limits import Limits
from nst_tf.page.session import Sessions
from nst_tf.page.shown import Shown

TITLE = "nst_tf: a photograph, painted like a painting"

# The concurrency group of all runs.
_DEVICE = "device"

# A page of its own fonts would ask another server for them.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])

CSS = """
.nst-alert { color: #b91c1c; font-weight: 600; }
.dark .nst-alert { color: #fca5a5; }
#status p { overflow-wrap: anywhere; }
#picture img { width: 100%; height: 100%; object-fit: contain; }
"""


def build(sessions: Sessions, limits: Limits) -> gr.Blocks:
    """Returns the page.

    Args:
        sessions: Of the page.
        limits: Of what one person may ask for.
    """
    here = sessions.backend.takes_pictures
    controls, shown = Controls(limits, here), Shown()
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
        with gr.Accordion("All other settings", open=False, visible=here):
            controls.add_folded()
        handlers = Handlers(sessions, limits, controls, shown)
        _connect(blocks, handlers, controls, shown)
        endpoints.add(sessions, limits, handlers, _DEVICE)
    return blocks


def _connect(blocks: gr.Blocks, handlers: Handlers, controls: Controls, shown: Shown) -> None:
    """Connects clicks and handlers."""
    # A name of its own, or it would take the one of the endpoint for programs.
    private = {"api_visibility": "private", "api_name": "button"}
    asked = controls.inputs()
    runs = [
        (shown.paint, handlers.paint, asked),
        (shown.go_on, handlers.go_on, shown.steps),
        (shown.larger, handlers.larger, shown.steps),
        (shown.compare, handlers.compare, {*asked, shown.compared, shown.compared_values}),
    ]
    for button, handler, inputs in runs:
        button.click(handlers.wait, None, shown.status, queue=False, show_progress="hidden", **private).then(
            handler,
            inputs,
            shown.outputs(),
            concurrency_id=_DEVICE,
            concurrency_limit=1,
            trigger_mode="once",
            show_progress="minimal",
            show_progress_on=[shown.preview],
            **private,
        )
    shown.stop.click(handlers.stop, None, None, queue=False, show_progress="hidden", **private)
    shown.history.select(
        handlers.select, None, shown.outputs(), queue=False, show_progress="hidden", **private
    )
    controls.photograph.change(
        handlers.canvas, controls.photograph, controls.editor, queue=False, show_progress="hidden", **private
    )
    blocks.unload(handlers.leave)
