"""The pictures that a person gives to a run: their names, what they need of each other, reading them.

Loads no TensorFlow, so that the command finds mistakes before it does.
"""

import dataclasses
import os
import pathlib
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.config.config import Config
from nst_tf.io import masks, pictures, samples
from nst_tf.io.pictures import Picture

# Fields of a config that do nothing without a picture of one of these kinds.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "outside": ("content_mask", "content_regions"),
    "guide_erosion": ("content_mask", "content_regions"),
    "style_blend": ("style 2",),
}
_SAID = {"style 2": "a second style"}  # where the name of a picture is no name of a flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputPaths:
    """What came: paths, Pillow images or arrays; see `pictures.read`."""

    content: Picture | None = None
    styles: Sequence[Picture] = ()
    init: Picture | None = None
    content_mask: Picture | None = None  # white where the style goes
    content_regions: Picture | None = None  # a label picture: a flat colour for each region
    style_regions: Sequence[Picture] = ()  # a label picture for each style, or "#rrggbb" for all of it

    def named(self) -> dict[str, Picture]:
        """Returns the pictures that there are, by the names that messages and manifests have for them."""
        single = {
            name: getattr(self, name) for name in ("content", "init", "content_mask", "content_regions")
        }
        several = {"style": self.styles, "style_regions": self.style_regions}
        listed = {
            errors.numbered(kind, n): item for kind, all_ in several.items() for n, item in enumerate(all_)
        }
        return {name: picture for name, picture in {**single, **listed}.items() if picture is not None}

    def files(self) -> Iterator[tuple[str, pathlib.Path]]:
        """Yields the names and paths of those that are files."""
        for name, picture in self.named().items():
            if isinstance(picture, str | os.PathLike) and not masks.is_color(picture):
                yield name, samples.to_path(picture, name)


@dataclasses.dataclass(frozen=True)
class Read:
    """The same as images, [1, H, W, 3] float32 sRGB in [0, 1]."""

    content: np.ndarray | None
    styles: list[np.ndarray]
    init: np.ndarray | None
    regions: masks.Regions | None


def as_list(given: Picture | Sequence[Picture] | None) -> list[Picture]:
    """Returns one picture, several of them, or none, as a list."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [typing.cast(Picture, given)]


def listed(flag: str, values: Sequence[str]) -> list[typing.Any]:
    """Returns the paths that a flag names, given several times or with commas; colours stay as they are.

    Raises:
        InputError: A name is empty.
    """
    if list(values) == [""]:  # a flag with nothing behind it
        return []
    named: list[str] = []
    for value in values:
        # A file's name may have commas of its own.
        parts = [value] if os.path.exists(os.path.expanduser(value)) else value.split(",")
        if not all(parts):
            raise errors.InputError(f"{flag}: {value!r} has an empty name; write names with commas between")
        named += parts
    return [name if name.startswith("#") else pathlib.Path(os.path.expanduser(name)) for name in named]


def read(given: InputPaths, chosen: Config, changed: Collection[str] = ()) -> Read:
    """Reads what a run needs.

    Args:
        given: The pictures.
        chosen: The config of the run; where its `init` is a file, that is read.
        changed: The settings that the user named, which must not be in vain.

    Raises:
        InputError: One cannot be read, or they do not go together.
    """
    _check(given, chosen, changed)
    content = None if given.content is None else pictures.read(given.content, "content")
    styles = [
        pictures.read(picture, errors.numbered("style", index)) for index, picture in enumerate(given.styles)
    ]
    init = None if chosen.start.init in settings.INITS else pictures.read(chosen.start.init, "init")
    if content is None:
        return Read(content, styles, init, None)
    height, width = content.shape[1:3]
    sizes = [(image.shape[1], image.shape[2]) for image in styles]
    found = masks.plan(
        (height, width), sizes, given.content_mask, given.content_regions, list(given.style_regions) or None
    )
    if found is not None:
        _check_styles(found, chosen.blend_weights(len(styles)))
    return Read(content, styles, init, found)


def _check_styles(found: masks.Regions, weights: Sequence[float]) -> None:
    """Checks that every region has a style that counts.

    Raises:
        InputError: One has only styles of weight 0.
    """
    used = [masks for masks, weight in zip(found.styles, weights, strict=True) if weight]
    for index, name in enumerate(found.colors):
        if not any(masks[..., index].any() for masks in used):
            raise errors.InputError(
                f"style_blend_weights: all styles of the region {name} have weight 0, so that none would be"
                " painted there; give one a weight, or make the region black and leave it out"
            )


def _check(given: InputPaths, chosen: Config, changed: Collection[str]) -> None:
    """Checks that the pictures and the settings go together.

    Raises:
        InputError: They do not.
    """
    chosen.blend_weights(len(given.styles))
    there = given.named()
    for setting, needed in _NEEDED.items():
        if setting in changed and not set(needed) & set(there):
            missing = " or ".join(_SAID.get(name, name) for name in needed)
            raise errors.InputError(f"{setting}: it does nothing without {missing}; leave it out")
    for name in ("content_mask", "content_regions", "style_regions"):
        if name not in there:
            continue
        if given.content is None:
            raise errors.InputError(f"{name}: there is no content picture that it could belong to")
        if not chosen.style.weight or not chosen.takes_steps():
            why = "with style_weight=0" if not chosen.style.weight else f"with color={chosen.color.mode}"
            raise errors.InputError(f"{name}: {why} nothing is painted that could be kept to a region")
