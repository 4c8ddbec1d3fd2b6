"""The part of the page in which a person sees the picture come about, and takes it home."""

import gradio as gr

from nst_tf.config import settings
from nst_tf.page import fields
from nst_tf.page.order import MORE_STEPS

# {term of the loss: its colour's name and code}: those of Okabe and Ito, which most people tell apart.
_COLORS = {
    "content": ("blue", "#0072b2"),
    "style": ("orange", "#e69f00"),
    "total_variation": ("green", "#009e73"),
}

# Pixels of the preview in the page, whatever the size of the picture: what moves cannot be watched.
_PREVIEW_HEIGHT = 480


class Shown:
    """The components, made where they stand in the page."""

    # Settings that pictures may be compared over.
    comparable = tuple(name for name in settings.SETTINGS if name not in fields.HELD_BACK)

    def add_run(self) -> None:
        """Adds the buttons of a run and its picture."""
        with gr.Row():
            self.paint = gr.Button("Paint", variant="primary", elem_id="paint", min_width=100)
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=100)
        self.preview = gr.Image(
            label="Picture",
            height=_PREVIEW_HEIGHT,
            interactive=False,
            buttons=["fullscreen"],
            format="jpeg",
            elem_id="picture",
            alt_text="The picture so far",
        )
        self.status = gr.HTML(
            '<p role="status">Drop a photograph and a painting, then paint.</p>', elem_id="status"
        )
        with gr.Row():
            self.go_on = gr.Button("Go on", elem_id="go-on", min_width=100)
            self.larger = gr.Button("Larger", elem_id="larger", min_width=100)
            self.steps = gr.Number(
                MORE_STEPS,
                label="More steps",
                info="of Go on and Larger",
                precision=0,
                minimum=1,
                elem_id="steps",
                min_width=140,
            )

    def add_results(self) -> None:
        """Adds what there is to see and to take home of a picture."""
        with gr.Tab("Take home"):
            self.download = gr.DownloadButton("Download the picture", interactive=False, elem_id="download")
            self.files = gr.File(
                label="Files: picture, manifest, regions",
                file_count="multiple",
                interactive=False,
                visible=False,
                elem_id="files",
            )
            self.command = command_box("The same as a command line", "command")
        with gr.Tab("Before and after"):
            self.slider = gr.ImageSlider(
                label="Photograph and picture",
                interactive=False,
                type="filepath",
                image_mode=None,
                elem_id="slider",
            )
        with gr.Tab("Losses"):
            self.losses = gr.LinePlot(
                x="step",
                y="log10 of the loss",
                color="term",
                # The legend that Vega draws below the curve would not always fit in, and is left out.
                label=f"Losses: {', '.join(f'{term} {name}' for term, (name, _) in _COLORS.items())}",
                color_map={term: code for term, (_, code) in _COLORS.items()},
                height=340,
                elem_id="losses",
            )
        with gr.Tab("This session"):
            gr.Markdown("Choose a picture to go on from it.")
            self.history = gr.Gallery(
                label="Pictures of this session",
                columns=3,
                interactive=False,
                allow_preview=False,
                buttons=[],
                elem_id="history",
            )

    def add_comparison(self) -> None:
        """Adds the sheet of pictures that differ in one setting."""
        gr.Markdown("Two to four pictures with the settings above, but for one of them.")
        with gr.Row():
            self.compared = gr.Dropdown(
                list(self.comparable), value="content_weight", label="Setting", elem_id="compared"
            )
            self.compared_values = gr.Textbox(
                "0.2,1,5",
                label="Its values",
                info="with commas; semicolons where values have commas",
                elem_id="compared-values",
            )
            self.compare = gr.Button("Compare", elem_id="compare")
        self.sheet = gr.Image(
            label="Comparison", interactive=False, buttons=["fullscreen", "download"], elem_id="sheet"
        )

    def outputs(self) -> list[gr.components.Component]:
        """Returns the components in which a run shows something."""
        return [
            *(self.preview, self.status, self.losses, self.download, self.files, self.command),
            *(self.history, self.slider, self.sheet),
        ]


def command_box(label: str, name: str) -> gr.Code:
    """Returns a box for a command line, hidden until there is one.

    Args:
        label: Above it.
        name: Its identifier in the page.
    """
    return gr.Code(
        label=label,
        language=None,  # the colours of a shell's words are too pale on white
        wrap_lines=True,
        lines=2,
        max_lines=8,
        interactive=False,
        visible=False,
        elem_id=name,
    )
