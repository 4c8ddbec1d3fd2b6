"""The part of the page in which a person says what to paint, and what its values mean: an `Order`."""

import pathlib
from collections.abc import Mapping
from typing import Any

import gradio as gr

from nst_tf import errors
from nst_tf.config import presets, settings
from nst_tf.io import samples
from nst_tf.page import fields, files, regions, thumbnails
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order

# Beyond it the pixels that a page allows by default end.
_LARGEST_SIDE = 4096

# Of the regions' canvas: as fine as anybody draws with a finger, and quick in a phone's browser.
_CANVAS_SIDE = 768
_EDITOR_HEIGHT = 440  # pixels in the page: a browser without a graphics card draws more too slowly

_COLORS: Mapping[str, str] = settings.COLORS.table(
    style="the painting's",
    luminance="the photograph's; light and dark are the painting's",
    statistics="the photograph's, given to the painting first",
    match="the photograph's, matched to the painting's at the end",
    only="only the painting's colours, no strokes",
)

_THE_PRESETS = "the preset's"


class Controls:
    """The controls, made where they stand in the page."""

    def __init__(self, limits: Limits, takes_all_settings: bool) -> None:
        """Takes what the page allows.

        Args:
            limits: Of the page.
            takes_all_settings: Whether what paints takes every setting: a model server takes few.
        """
        self._limits, self._takes_all = limits, takes_all_settings
        self.fields: dict[str, gr.components.Component] = {}

    def add_pictures(self) -> None:
        """Adds the photograph and the paintings."""
        sources = ["upload", "clipboard", "webcam"]
        self.photograph = gr.Image(
            label="Photograph", type="filepath", sources=sources, height=260, elem_id="photograph"
        )
        # Gradio's own would open the file, before it has been checked.
        self.photograph.preprocess = path_of
        self._add_sample("sample:town", "Take the sample photograph").click(
            lambda: _path("sample:town"), None, self.photograph, queue=False, api_visibility="private"
        )
        self.gallery = gr.Gallery(
            label="Painting, or several",
            type="filepath",
            file_types=["image"],
            interactive=True,
            sources=sources,
            columns=3,
            height=220,
            elem_id="paintings",
        )
        with gr.Row():
            for sample in ("sample:strokes", "sample:mosaic"):
                self._add_sample(sample, f"Add the sample {sample.partition(':')[2]}").click(
                    lambda shown, sample=sample: [*(shown or ()), (_path(sample), None)],
                    self.gallery,
                    self.gallery,
                    queue=False,
                    api_visibility="private",
                )

    def _add_sample(self, sample: str, text: str) -> gr.Button:
        return gr.Button(text, size="sm", elem_id=sample.replace(":", "-"))

    def add_open(self) -> None:
        """Adds what people reach for first."""
        self.preset = gr.Dropdown(
            list(presets.PRESETS),
            value="default",
            label="Preset",
            info=presets.PRESETS["default"].character,
            elem_id="preset",
        )
        self.content = gr.Slider(
            -2,
            2,
            0,
            step=0.25,
            label="How much of the photograph",
            info="0: as the preset has it; each 1 more: five times as much weight",
            elem_id="content",
        )
        self.stroke = gr.Slider(
            0.25,
            2,
            1,
            step=0.05,
            label="Size of strokes",
            info="1: as in the painting",
            visible=self._takes_all,
            elem_id="stroke",
        )
        self.size = gr.Slider(
            64,
            min(_LARGEST_SIDE, self._limits.max_pixels // 64),
            presets.DEFAULT.scales.size,
            step=32,
            label="Size",
            info="longest side of the picture in pixels",
            elem_id="size",
        )
        self.color = gr.Dropdown(
            [(text, name) for name, text in _COLORS.items()], value="style", label="Colours", elem_id="color"
        )
        self.preset.change(
            self._of_preset,
            self.preset,
            [self.preset, self.size, self.stroke, self.color],
            queue=False,
            api_visibility="private",
        )

    def _of_preset(self, name: str) -> tuple[Any, int, float, str]:
        """Returns a preset's character, and what it has for the other controls."""
        chosen, told = presets.get(name), gr.Dropdown(info=presets.PRESETS[name].character)
        return told, chosen.scales.size, chosen.style.scale, chosen.color.mode

    def add_presets(self) -> None:
        """Adds a thumbnail for each preset, which chooses it."""
        there = [name for name in presets.PRESETS if thumbnails.path(name).is_file()]
        shown = [(str(thumbnails.path(name)), name) for name in there]
        gallery = gr.Gallery(
            shown,
            label="Presets",
            interactive=False,
            allow_preview=False,
            buttons=[],
            elem_id="presets",
        )

        def chosen(event: gr.SelectData) -> str:
            return there[event.index]

        gallery.select(chosen, None, self.preset, queue=False, api_visibility="private")

    def add_folded(self) -> None:
        """Adds a field for every other setting."""
        for heading, listed in fields.folded().items():
            gr.Markdown(f"#### {heading}")
            with gr.Row():
                for field in listed:
                    self.fields[field.name] = _field(field)

    def add_regions(self) -> None:
        """Adds the photograph with brushes."""
        gr.Markdown(
            "Draw where which painting goes: the first brush is the first painting, and so on; what is not"
            " drawn on is the first painting's. Black keeps the photograph as it is."
        )
        self.editor = gr.ImageEditor(
            label="Regions of the photograph",
            type="pil",
            sources=[],
            transforms=[],
            layers=False,
            brush=gr.Brush(colors=[*regions.BRUSHES, regions.KEEP], color_mode="fixed", default_size=40),
            canvas_size=(_CANVAS_SIDE, _CANVAS_SIDE),
            height=_EDITOR_HEIGHT,
            format="png",
            elem_id="regions",
        )

    def inputs(self) -> set[gr.components.Component]:
        """Returns the components whose values make an order."""
        named = {
            self.photograph,
            self.gallery,
            self.preset,
            self.content,
            self.stroke,
            self.size,
            self.color,
        }
        return {*named, self.editor, *self.fields.values()}

    def order(
        self, values: Mapping[gr.components.Component, Any], store: files.Store, regions_to: pathlib.Path
    ) -> Order:
        """Returns what the controls ask for.

        Args:
            values: Of the components.
            store: Of the page's files.
            regions_to: Where to write the label picture of what was drawn, if anything.

        Raises:
            InputError: A value is not allowed, or a picture cannot be used.
        """
        errors.require(values[self.photograph], "photograph", "none", "one: upload it, or take the sample")
        styles = self.paintings(values, store)
        content = store.accept(values[self.photograph], "photograph", self._limits.max_upload_mb)
        chosen = self.chosen(values)
        drawn = regions.read(_layers(values[self.editor]), len(styles))
        errors.require(drawn.used, "regions", "all of it black", "some of it for a painting")
        if drawn.labels is not None:
            drawn.labels.save(regions_to)
        return Order(
            content=content,
            styles=tuple(styles[index] for index in drawn.used),
            preset=self.preset_of(values),
            overrides=chosen,
            regions=None if drawn.labels is None else regions_to,
            style_regions=drawn.colors,
        )

    def paintings(
        self, values: Mapping[gr.components.Component, Any], store: files.Store
    ) -> tuple[pathlib.Path, ...]:
        """Returns the paintings; arguments as for `order`.

        Raises:
            InputError: There are none, too many, or one cannot be used.
        """
        sent = [path for path, _ in values[self.gallery] or ()]
        errors.require(sent, "painting", "none", "one or more: upload them, or add a sample")
        most = len(regions.BRUSHES)
        errors.require(len(sent) <= most, "painting", f"{len(sent)} pictures", f"up to {most}")
        bytes_mb = self._limits.max_upload_mb
        return tuple(
            store.accept(path, errors.numbered("painting", n), bytes_mb) for n, path in enumerate(sent)
        )

    def preset_of(self, values: Mapping[gr.components.Component, Any]) -> str:
        """Returns the name of the preset."""
        return str(values[self.preset])

    def chosen(self, values: Mapping[gr.components.Component, Any]) -> dict[str, Any]:
        """Returns {setting: value} of those that are not the preset's own.

        Raises:
            InputError: One is not allowed.
        """
        chosen = fields.of_controls(
            values[self.preset],
            content=values[self.content],
            stroke=values[self.stroke],
            size=values[self.size],
            color=values[self.color],
        )
        return chosen | fields.overrides({name: values[field] for name, field in self.fields.items()})


def _layers(value: Mapping[str, Any] | None) -> list[Any]:
    """Returns the strokes of the editor, if there are any."""
    layers = [] if value is None else value.get("layers") or []
    return [layer for layer in layers if layer.getextrema()[-1][1]]


def _field(field: fields.Field) -> gr.components.Component:
    options: dict[str, Any] = {"label": field.name, "info": field.help, "min_width": 260}
    options["elem_id"] = f"setting-{field.name}"
    if field.choices:
        return gr.Dropdown(
            [(_THE_PRESETS, ""), *((each, each) for each in field.choices)], value="", **options
        )
    return gr.Textbox(placeholder=_THE_PRESETS, max_lines=1, **options)


def path_of(sent: Any) -> str | None:
    """Returns the path of a file that a browser has sent."""
    return None if sent is None else sent.path


def _path(sample: str) -> str:
    return str(samples.to_path(sample))
