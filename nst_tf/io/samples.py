"""The package's own pictures, named "sample:town" and so on wherever a picture file may be named."""

import os
import pathlib
from collections.abc import Mapping

from nst_tf import errors
from nst_tf.config import settings

_FOLDER = pathlib.Path(__file__).parents[1] / "data" / "samples"

# {what a person types: the file in `_FOLDER`}; the README there describes them.
FILES: Mapping[str, str] = {
    "sample:town": "town.jpg",
    "sample:strokes": "strokes.jpg",
    "sample:mosaic": "mosaic.jpg",
    "sample:town_regions": "town_regions.png",
    "sample:town_mask": "town_mask.png",
}


def folder() -> pathlib.Path:
    """Returns the folder of the package's own pictures."""
    return _FOLDER


def to_path(picture: str | os.PathLike[str], name: str = "picture") -> pathlib.Path:
    """Returns the path of a picture file: the package's own for a sample, otherwise what came.

    A sample wins over a file of that name in the working folder; the file's absolute path still names it.

    Args:
        picture: A path or a sample, as typed.
        name: What the picture is, for error messages.

    Raises:
        InputError: There is no such sample.
    """
    text = os.fspath(picture)
    if not text.startswith(settings.SAMPLE_PREFIX):
        return pathlib.Path(picture)
    if text not in FILES:
        raise errors.unknown_name(name, text, FILES)
    return _FOLDER / FILES[text]
