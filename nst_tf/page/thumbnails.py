"""The thumbnails of the presets: the sample photograph painted with each; `tools/figures/` makes them."""

import pathlib

_FOLDER = pathlib.Path(__file__).parents[1] / "data" / "thumbnails"


def folder() -> pathlib.Path:
    """Returns the folder of the thumbnails."""
    return _FOLDER


def path(preset: str) -> pathlib.Path:
    """Returns the path of a preset's thumbnail."""
    return _FOLDER / f"{preset}.jpg"
