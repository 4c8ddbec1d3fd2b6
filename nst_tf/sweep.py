"""One run for each of several settings, and a labelled sheet of their pictures.

Settings are {flag: value as typed}: whatever flags a run has may be swept. TensorFlow is loaded once all
inputs have been found good.
"""

import contextlib
import hashlib
import importlib
import itertools
import os
import pathlib
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from PIL import Image

from nst_tf import errors, runtime
from nst_tf.callbacks import figures
from nst_tf.config.config import Config
from nst_tf.io import files, inputs, manifest, pictures, samples

if typing.TYPE_CHECKING:
    from nst_tf.api import Result
    from nst_tf.engine.progress import Progress

Settings = Mapping[str, str]

# Enough of a settings' text in a file's name to be recognised, and of a digest to tell names apart.
_NAME_LENGTH, _DIGEST_LENGTH = 80, 10

# As wide as the README's pictures where there are three: a sheet is looked at whole.
_LARGEST_CELL = 384
# A row's label is narrower than its pictures, but not narrower than a flag's name.
_LABEL_SHARE, _LABEL_WIDTH = 0.5, 128
# Flags whose value is shown as a picture above its label.
_SHOWN = ("content", "style", "init")


class Axis(NamedTuple):
    """A flag and its values as typed, in order, along one side of a sheet."""

    flag: str
    values: tuple[str, ...]


def parse_axis(side: str, text: str, allowed: Collection[str]) -> Axis:
    """Returns an axis.

    Args:
        side: What messages call the side.
        text: "flag=value,value,..."; where a semicolon is in it, semicolons and not commas divide.
        allowed: The flags that may be swept.

    Raises:
        InputError: It has no values, or one twice, or the flag is not allowed.
    """
    flag, found, listed = text.removeprefix("--").partition("=")
    divider = ";" if ";" in listed else ","
    values = tuple(value.strip() for value in listed.split(divider) if value.strip())
    if not found or not values:
        raise errors.InputError(
            f"{side}: {text!r} has no values; write --{side}=FLAG=VALUE,VALUE,... or, where values have"
            f" commas, --{side}='FLAG=VALUE;VALUE;...'"
        )
    if flag not in allowed:
        raise errors.unknown_name(side, flag, allowed)
    if len(set(values)) < len(values):
        raise errors.InputError(f"{side}: {text!r} has a value twice; each needs to be there once only")
    return Axis(flag, values)


def product(rows: Axis | None, columns: Axis | None) -> list[Settings]:
    """Returns the settings of a sheet's pictures, row by row.

    Raises:
        InputError: Both axes are of one flag.
    """
    if rows and columns and rows.flag == columns.flag:
        raise errors.InputError(f"columns: {columns.flag} is the rows' flag too; choose another")
    pairs = itertools.product(_settings(rows), _settings(columns))
    return [{**row, **column} for row, column in pairs]


def _settings(axis: Axis | None) -> list[Settings]:
    """Returns the settings along an axis; without one there is a single place, which sets nothing."""
    return [{axis.flag: value} for value in axis.values] if axis else [{}]


def label(settings: Settings) -> str:
    """Returns settings for a person: of a file its name alone."""
    return ", ".join(f"{flag}={_short(value)}" for flag, value in settings.items())


def _short(value: str) -> str:
    found = _files(value)
    return ", ".join(path.stem for path in found) if found else value


def _files(value: str) -> list[pathlib.Path]:
    """Returns the files that are there among what a value names, with commas."""
    texts = dict.fromkeys([value, *value.split(",")])
    paths = [samples.to_path(os.path.expanduser(text)) for text in texts if text]
    # `Path.is_file` raises where a value is longer than a name may be.
    return [path for path in paths if os.path.isfile(path)]


class Cell(NamedTuple):
    """A picture of a sheet: its settings, and the run that they make."""

    settings: Settings
    paths: inputs.InputPaths
    config: Config
    overrides: Collection[str]  # the settings that were given, as `inputs.load` takes them
    asked: Sequence[str]  # all that was asked for, as text: another text is another name of the picture kept


class Painted(NamedTuple):
    """A picture of a sheet."""

    shown: Image.Image  # not larger than the sheet needs it
    result: "Result | None"  # of its run; None where it was kept from an earlier sweep
    path: pathlib.Path | None  # where it is kept, if anywhere
    failure: str = ""  # a line that says why it is not where it should be kept


class _Wanted(NamedTuple):
    """What a picture has to be, found out before any is painted."""

    name: str
    config: Config
    inputs: Mapping[str, str]  # {input: SHA-256}
    weights: str  # SHA-256; empty without a network


class Sweep:
    """The pictures of a sheet, each one a run: checked, painted, kept."""

    def __init__(
        self,
        cells: Sequence[Cell],
        keep: pathlib.Path | None = None,
        side: int | None = None,
        quiet: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """Finds out for every picture whether it can be painted.

        Args:
            cells: The pictures.
            keep: The folder that pictures are kept in, made once all is found good; None keeps none.
            side: As for `sheet`.
            quiet: () -> a context in which pictures are read and TensorFlow is loaded: a process of its own
                keeps their notes off its terminal.

        Raises:
            InputError: One cannot be painted, or not be kept.
        """
        if keep is not None:
            _check_folder(keep)
        # First what needs no TensorFlow, which takes seconds to load. No picture is kept in memory.
        self._quiet = quiet
        with quiet():
            seen = [_seen(inputs.load(cell.paths, cell.config, cell.overrides)) for cell in cells]
        with runtime.tensorflow_backend(), quiet():
            importlib.import_module("nst_tf.api")
        self._cells = list(cells)
        self._wanted = [_find_out(cell, found) for cell, found in zip(cells, seen, strict=True)]
        self._keep, self._side = keep, side
        if keep is not None:
            _make_folder(keep)

    def kept(self, number: int) -> Painted | None:
        """Returns a picture that an earlier sweep has kept; None where there is none.

        Args:
            number: Which, from 0.
        """
        path = self._path(number)
        if path is None or not _agrees(path, self._wanted[number]):
            return None
        return Painted(self._shown(path), None, path)

    def paint(self, number: int, on_progress: Callable[["Progress"], object] | None = None) -> "Result":
        """Paints a picture.

        Args:
            number: Which, from 0.
            on_progress: As for `stylize`.

        Raises:
            InputError: An input is not as it was, or memory does not suffice.
        """
        from nst_tf import api

        cell = self._cells[number]
        with self._quiet():
            # In a list, to be taken out: see `api.paint`.
            loaded = [inputs.load(cell.paths, cell.config, cell.overrides)]
        return api.paint(loaded.pop(), cell.config, on_progress=on_progress)

    def keep(self, number: int, result: "Result") -> Painted:
        """Keeps a picture: in the folder, or in a new temporary one where that cannot be written to.

        Without a folder none is kept; nor is one whose run was stopped or diverged.

        Args:
            number: Which, from 0.
            result: What `paint` returned.
        """
        path, shown = self._path(number), self._shown(result.image)
        if path is None or result.outcome != "finished":
            return Painted(shown, result, None)
        try:
            written, failure = files.write_somewhere(lambda where: _save(result, pathlib.Path(where)), path)
        except OSError as error:
            return Painted(shown, result, None, f"{path} could not be written: {errors.one_line(error)}")
        return Painted(shown, result, written, failure)

    def _path(self, number: int) -> pathlib.Path | None:
        """Returns where a picture is kept; None where none is."""
        return None if self._keep is None else self._keep / self._wanted[number].name

    def _shown(self, picture: pictures.Picture) -> Image.Image:
        """Returns a picture as small as the sheet needs it: files may be gone when that is laid out."""
        image = pictures.read(picture)
        return figures.fitted(image[0], self._side or min(_LARGEST_CELL, max(image.shape)))


def _check_folder(keep: pathlib.Path) -> None:
    """Finds out whether pictures can be kept in a folder, which need not be there yet.

    Raises:
        InputError: They cannot.
    """
    if os.path.lexists(keep) and not os.path.isdir(keep):
        raise errors.InputError(f"keep: {keep} is not a folder; name another")
    nearest = next(path for path in (keep, *keep.absolute().parents) if os.path.lexists(path))
    if not (os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK)):
        raise errors.InputError(f"keep: {nearest} cannot be written to; name a folder that can")


def _make_folder(keep: pathlib.Path) -> None:
    """Makes the folder that pictures are kept in, unless it is there.

    Raises:
        InputError: It cannot be made.
    """
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        raise errors.InputError(
            f"keep: {keep} cannot be made: {errors.one_line(error)}; name another folder"
        ) from None


def _save(result: "Result", path: pathlib.Path) -> None:
    """Writes a picture and its manifest, and makes their folder if it is gone.

    Raises:
        OSError: They cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save(path)


class _Seen(NamedTuple):
    """What is left of inputs that were loaded: sizes (height, width) and SHA-256."""

    sizes: list[tuple[int, int]]  # of the content, if any, and of the styles
    num_styles: int
    num_regions: int
    hashes: dict[str, str]


def _seen(loaded: inputs.LoadedInputs) -> _Seen:
    images = [image for image in (loaded.content, *loaded.styles) if image is not None]
    return _Seen(
        [(image.shape[1], image.shape[2]) for image in images],
        len(loaded.styles),
        0 if loaded.regions is None else len(loaded.regions.colors),
        {name: entry["sha256"] for name, entry in loaded.descriptions.items()},
    )


def _find_out(cell: Cell, seen: _Seen) -> _Wanted:
    """Returns what a picture has to be.

    Raises:
        InputError: The weights cannot be had, a picture is too small, or the run does not fit into memory.
    """
    from nst_tf.engine import formulations, memory
    from nst_tf.network.weights import suited

    config = suited(cell.config)
    precision = runtime.resolve_precision(config.network.precision)
    styles = seen.sizes[len(seen.sizes) - seen.num_styles :]
    memory.fit(config, precision, memory.Inputs(seen.sizes[0], styles, seen.num_regions))
    weights = formulations.load_weights(config).sha256 if config.takes_steps() else ""
    asked = "\n".join([*cell.asked, *seen.hashes.values()])
    digest = hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_LENGTH]
    text = re.sub(r"[^\w.=-]+", "_", label(cell.settings), flags=re.ASCII)[:_NAME_LENGTH]
    return _Wanted(f"{text}-{digest}.png", config, seen.hashes, weights)


def _agrees(path: pathlib.Path, wanted: _Wanted) -> bool:
    """Returns whether a picture is there and the manifest in it says that it is what is wanted."""
    try:
        found = manifest.read(path)
        pictures.read(path)
    except errors.InputError:
        return False
    return manifest.agrees(found, wanted.config, wanted.inputs, wanted.weights)


class Shown(NamedTuple):
    """What is in a cell of a sheet."""

    picture: Image.Image | None  # None leaves the place empty
    note: str = ""  # what stands below it


def sheet(
    cells: Sequence[Shown], rows: Axis | None, columns: Axis | None, side: int | None = None
) -> Image.Image:
    """Returns pictures in a grid of cells of one size, with labels to the left and above.

    Args:
        cells: Row by row.
        rows: What changes from row to row, if anything.
        columns: What changes from column to column, if anything.
        side: The longest side of a picture in pixels; None for the largest's, at most 384.
    """
    longest = max((max(cell.picture.size) for cell in cells if cell.picture), default=_LARGEST_CELL)
    side = side or min(_LARGEST_CELL, longest)
    narrow = max(_LABEL_WIDTH, round(side * _LABEL_SHARE))
    heads, tops = _settings(rows), [_label(settings, side) for settings in _settings(columns)]
    laid_out = [_laid_out(cell, side) for cell in cells]
    grid = []
    for number, head in enumerate(heads):
        line = laid_out[number * len(tops) : (number + 1) * len(tops)]
        grid.append([_label(head, narrow), *line] if rows else line)
    if columns:
        grid.insert(0, [Image.new("RGB", (1, 1), "white"), *tops] if rows else tops)
    return figures.grid(grid)


def _laid_out(cell: Shown, side: int) -> Image.Image:
    """Returns a cell's picture with its note below."""
    lines = [figures.fitted(cell.picture, side)] if cell.picture else []
    lines += [figures.caption(cell.note, side)] if cell.note or not lines else []
    return figures.grid([[line] for line in lines], gaps=(0, 4))


def _label(settings: Settings, width: int) -> Image.Image:
    """Returns the text of some settings and, where they name a picture, that picture above it."""
    shown = [figures.caption(label(settings), width)]
    for flag, value in settings.items():
        if flag in _SHOWN:
            with contextlib.suppress(errors.InputError):  # the file was replaced while pictures were painted
                shown = [*(figures.fitted(path, width // 2) for path in _files(value)), *shown]
    return figures.grid([[picture] for picture in shown], gaps=(0, 4))
