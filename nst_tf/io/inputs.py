"""The pictures that a person gives to a run: their names, what they need of each other, loading them.

Images are `[1, H, W, 3]` float32 sRGB in [0, 1]. Loads no TensorFlow, so that a command finds mistakes before
it does.
"""

import dataclasses
import functools
import os
import pathlib
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.config import scales, settings
from nst_tf.config.config import Config
from nst_tf.io import manifest, masks, pictures, samples
from nst_tf.io import paths as path_of
from nst_tf.io.pictures import Picture

# Fields of a config that do nothing without a picture of one of these kinds.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "outside": ("content_mask", "content_regions"),
    "guide_erosion": ("content_mask", "content_regions"),
    "style_blend": ("style 2",),
    "temporal_weight": ("film",),
}
# The pictures of which there is one at most, in the order of a manifest.
_SINGLE = ("content", "init", "content_mask", "content_regions")
# Where the name of what is needed is no name of a flag.
_SAID = {"style 2": "a second style", "film": "earlier frames, which nst_tf video has"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputPaths:
    """The pictures of a run as a user names them: paths, Pillow images or arrays; see `pictures.read`."""

    content: Picture | None = None
    styles: Sequence[Picture] = ()
    init: Picture | None = None
    content_mask: Picture | None = None  # white where the style goes
    content_regions: Picture | None = None  # a label picture: a flat colour for each region
    style_regions: Sequence[Picture] = ()  # a label picture for each style, or "#rrggbb" for all of it

    def named(self) -> dict[str, Picture]:
        """Returns {name in messages and manifests: picture} of those that are not None."""
        single = {name: getattr(self, name) for name in _SINGLE}
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

    def as_files(self) -> "InputPaths":
        """Returns the same with a `PictureFile` for each path, so that each is read once."""
        files = {name: _as_file(picture, name) for name, picture in self.named().items()}
        return InputPaths(
            **{name: files.get(name) for name in _SINGLE},
            styles=[files[errors.numbered("style", index)] for index in range(len(self.styles))],
            style_regions=[
                files[errors.numbered("style_regions", index)] for index in range(len(self.style_regions))
            ],
        )


@dataclasses.dataclass(frozen=True)
class LoadedInputs:
    """The pictures of a run, read, decoded and hashed once."""

    content: np.ndarray | None
    styles: tuple[np.ndarray, ...]
    init: np.ndarray | None
    regions: masks.Regions | None
    alpha: np.ndarray | None  # [H, W] float32 in [0, 1], of the content picture; None where it is opaque
    dpi: tuple[float, float] | None  # pixels an inch of the content picture; None where nobody says
    descriptions: Mapping[str, Mapping[str, str]]  # {input: {"name", "sha256"}}, for the manifest


def _as_file(picture: Picture, name: str) -> Picture:
    """Returns a path as a `PictureFile`, and anything else as `pictures.as_picture` does."""
    picture = pictures.as_picture(picture, name)
    if isinstance(picture, Image.Image | np.ndarray) or masks.is_color(picture):
        return picture
    return pictures.as_file(picture, name)


def as_list(given: typing.Any) -> list[Picture]:
    """Returns one picture, several of them, or none, as a list."""
    if given is None:
        return []
    several = isinstance(given, list | tuple | Iterator) and not hasattr(given, "read")  # no open file
    return list(given) if several else [given]


def listed(flag: str, values: Sequence[str]) -> list[typing.Any]:
    """Returns the paths that a flag names, given several times or with commas; colours stay as they are.

    Raises:
        InputError: A name is empty, or no file can have it.
    """
    return [name if name.startswith("#") else path_of.typed(name, flag) for name in names(flag, values)]


def names(flag: str, values: Sequence[str]) -> list[str]:
    """Returns the names behind a flag that was given several times or with commas, as typed.

    Raises:
        InputError: One is empty.
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
    return named


def init_path(config: Config) -> pathlib.Path | None:
    """Returns the path of the picture to start from, where the config's `init` is one.

    Raises:
        InputError: It stands for a picture without a file, or no file can have that path.
    """
    if config.start.init == settings.INIT_GIVEN:
        raise errors.InputError(
            f"init: {settings.INIT_GIVEN!r} stands for a picture that was handed over in Python, which has no"
            " file; write it to one and name that"
        )
    return None if config.start.init in settings.INITS else path_of.typed(config.start.init, "init")


def with_start(config: Config, paths: InputPaths, changed: Collection[str]) -> Config:
    """Returns the config with a start that is possible: without a photograph noise, unless a start was named.

    Args:
        config: Of the run.
        paths: Its pictures.
        changed: The settings that the user named.
    """
    if paths.content is None and config.start.init == "content" and "init" not in changed:
        return config.replace(init="noise")
    return config


def load(paths: InputPaths, config: Config, changed: Collection[str] = ()) -> LoadedInputs:
    """Reads the pictures of a run, each once.

    Args:
        paths: The pictures.
        config: Of the run.
        changed: The settings that the user named, which must not be in vain.

    Raises:
        InputError: A picture cannot be read, or pictures and settings do not go together.
    """
    _check(paths, config, changed)
    paths = paths.as_files()
    whole = config.memory.large_inputs == "whole"
    result = None if whole else functools.partial(_result_size, config)
    nothing = (None, None, None)
    content, alpha, dpi = nothing if paths.content is None else _seen(paths.content, "content", result)
    scale = None if content is None or whole else scales.plan_scales(config, *content.shape[1:3])[-1]
    of_style = None if whole else functools.partial(_style_size, config, scale)
    read = [
        _seen(picture, errors.numbered("style", index), of_style)
        for index, picture in enumerate(paths.styles)
    ]
    styles, style_alphas = tuple(each.image for each in read), [each.alpha for each in read]
    init = None if paths.init is None else pictures.read(paths.init, "init", result)
    regions = None if content is None else _regions(paths, content, styles, result)
    shaping = [content, *styles] if content is not None else [*styles[:1], *styles]
    regions = masks.with_alpha(regions, [image.shape[1:3] for image in shaping], [alpha, *style_alphas])
    if regions is not None:
        _check_styles(regions, config.blend_weights(len(styles)))
    return LoadedInputs(content, styles, init, regions, alpha, dpi, manifest.describe_inputs(paths.named()))


def _seen(picture: Picture, name: str, needed: pictures.Needed | None) -> pictures.Read:
    """Returns a picture as it was read.

    Raises:
        InputError: It cannot be read, or nothing of it is seen.
    """
    read = pictures.read_whole(picture, name, needed)
    if read.alpha is not None and not read.alpha.any():
        raise errors.InputError(f"{name}: transparent everywhere, so that there is nothing to match")
    return read


def result_size(config: Config, loaded: LoadedInputs) -> tuple[int, int]:
    """Returns the height and the width of the result."""
    shaping = loaded.styles[0] if loaded.content is None else loaded.content
    return _result_size(config, *shaping.shape[1:3])


def _result_size(config: Config, height: int, width: int) -> tuple[int, int]:
    """Returns the size of the result of a picture of that size."""
    scale = scales.plan_scales(config, height, width)[-1]
    return scale.height, scale.width


def _style_size(config: Config, scale: scales.Scale | None, height: int, width: int) -> tuple[int, int]:
    """Returns the size of a style picture at the last scale; without a photograph it is the result's."""
    if scale is None:
        return _result_size(config, height, width)
    return scales.style_size(config, scale, height, width)


def _regions(
    paths: InputPaths,
    content: np.ndarray,
    styles: Sequence[np.ndarray],
    needed: pictures.Needed | None,
) -> masks.Regions | None:
    """Returns the regions of the images, if a mask or label pictures ask for any."""
    content_size, *style_sizes = [(image.shape[1], image.shape[2]) for image in (content, *styles)]
    return masks.plan(
        content_size,
        style_sizes,
        paths.content_mask,
        paths.content_regions,
        list(paths.style_regions) or None,
        needed,
    )


def _check_styles(found: masks.Regions, weights: Sequence[float]) -> None:
    """Checks that every region has a style that counts.

    Raises:
        InputError: One has only styles of weight 0.
    """
    used = [number for number, weight in enumerate(weights) if weight]
    for index, name in enumerate(found.colors):
        if not any(_is_seen(found.styles[number][..., index], found.alpha(number + 1)) for number in used):
            raise errors.InputError(
                f"style_blend_weights: all styles of the region {name} have weight 0 or are transparent, so"
                " that none would be painted there; give one a weight, or make the region black and leave it"
                " out"
            )


def _is_seen(mask: np.ndarray, alpha: np.ndarray | None) -> bool:
    """Returns whether anything is seen of the pixels [H, W] of a region."""
    return bool((mask if alpha is None else mask * alpha).any())


def _check(paths: InputPaths, config: Config, changed: Collection[str]) -> None:
    """Checks that the pictures and the settings go together.

    Raises:
        InputError: They do not.
    """
    config.blend_weights(len(paths.styles))
    if config.start.init == "content" and paths.content is None and paths.init is None:
        raise errors.InputError("init: 'content' needs a photograph; without one start from noise or gray")
    there = paths.named()
    for setting, needed in _NEEDED.items():
        if setting in changed and not set(needed) & set(there):
            missing = " or ".join(_SAID.get(name, name) for name in needed)
            raise errors.InputError(f"{setting}: it does nothing without {missing}; leave it out")
    for name in ("content_mask", "content_regions", "style_regions"):
        if name not in there:
            continue
        if paths.content is None:
            raise errors.InputError(f"{name}: there is no content picture that it could belong to")
        if not config.style.weight or not config.takes_steps():
            why = "with style_weight=0" if not config.style.weight else f"with color={config.color.mode}"
            raise errors.InputError(f"{name}: {why} nothing is painted that could be kept to a region")
