"""The rows of a batch: one for each picture that is to be painted, made and checked before any is painted.

They come from folders, patterns and lists. Loads neither Ray nor TensorFlow, and reads no picture.
"""

import csv
import dataclasses
import functools
import io
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nst_tf import errors
from nst_tf.batch import storage
from nst_tf.config import presets, settings
from nst_tf.config.config import Config
from nst_tf.config.overrides import SCALE_SETTINGS, typed
from nst_tf.io import inputs, masks, pictures

# How outputs are named, unless a row names its own.
NAMES = "{content}_{style}.png"

# Lists, by their extension: tables with names of columns in the first line, and one photograph a line.
_TABLES: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}
_PLAIN = ".txt"

# The columns of a list that are no settings, each with the field of a row that it fills.
_COLUMNS: Mapping[str, str] = {
    "content": "content",
    "style": "styles",
    "output": "output",
    "mask": "content_mask",
    "content_mask": "content_mask",
    "regions": "content_regions",
    "content_regions": "content_regions",
    "style_regions": "style_regions",
}
_SEVERAL = frozenset({"styles", "style_regions"})
_PRESET, _INIT, _WEIGHTS = "preset", "init", "weights"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One picture of a batch. Paths are as in `storage`; empty where there is none."""

    number: int  # from 0
    content: str
    styles: tuple[str, ...]
    output: str
    content_mask: str = ""
    content_regions: str = ""
    style_regions: tuple[str, ...] = ()  # paths, or colours such as "#ff0000"
    own: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # "preset" and settings of this row

    def to_json(self) -> str:
        """Returns the row as text, in which it travels to a worker."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Row":
        """Returns the row that `to_json` made."""
        values = json.loads(text)
        for name in _SEVERAL:
            values[name] = tuple(values[name])
        own = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["own"].items()
        }
        return cls(**{**values, "own": own})

    def inputs(self) -> Iterator[tuple[str, str]]:
        """Yields (what it is, path) of the files that are read, but for `init`."""
        for name in ("content", "content_mask", "content_regions"):
            if path := getattr(self, name):
                yield name, path
        for kind, several in (("style", self.styles), ("style_regions", self.style_regions)):
            for index, path in enumerate(several):
                if not masks.is_color(path):
                    yield errors.numbered(kind, index), path

    def said(self) -> str:
        """Returns what messages call the row."""
        return f"row {self.number + 1} ({self.content or self.output})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """What the rows of a batch have in common, as typed, unless a row has its own."""

    output: str  # the folder
    names: str = NAMES
    styles: Sequence[str] = ()  # blended in each picture
    each_style: Sequence[str] = ()  # each photograph is painted in each of them; folders and patterns too
    content_mask: str = ""
    content_regions: str = ""
    style_regions: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a batch: a base, and what replaces its settings in every row."""

    base: str | Config = "default"
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, base: str | Config, overrides: Mapping[str, Any]) -> "Settings":
        """Returns settings that mean the same in a worker, which has a folder and variables of its own.

        Raises:
            InputError: No file can have the name of one.
        """
        return cls(base, _with_absolute(overrides, ""))

    def with_weights(self, found: Mapping[str, str]) -> "Settings":
        """Returns the settings with weights that no worker has to look for, whatever its environment says.

        Args:
            found: {name of weights: what it came to}.
        """
        named = presets.get(self.base, **self.overrides).network.weights
        return Settings.of(self.base, {**self.overrides, _WEIGHTS: found.get(named, named)})

    def changed(self, row: Row) -> dict[str, Any]:
        """Returns {setting: value} of those that were named, by the batch or by the row."""
        own = {name: value for name, value in row.own.items() if name != _PRESET}
        return {**self.overrides, **own}

    def config(self, row: Row) -> Config:
        """Returns the config of a row.

        Raises:
            InputError: There is no such preset or setting, or a value is not allowed.
        """
        return _config(row.own.get(_PRESET, self.base), json.dumps(self.changed(row), default=str))


@functools.lru_cache(maxsize=64)  # of a list some few kinds of rows, each made once
def _config(base: str | Config, overrides: str) -> Config:
    return presets.get(base, **json.loads(overrides))


class _Found(NamedTuple):
    """A row before its output has a name."""

    fields: Mapping[str, Any]
    is_listed: bool = True  # by a folder or a pattern, which would find outputs too


def plan(contents: Sequence[str], common: Common) -> list[Row]:
    """Returns the rows of photographs that are named as a person types them.

    Args:
        contents: Pictures, folders, patterns and lists.
        common: Of all rows.

    Raises:
        InputError: There are none, a name is wrong, or two outputs have the same one.
    """
    found = list(itertools.chain.from_iterable(_found(text) for text in contents))
    return _finished(found, common)


def of_records(records: Iterable[Mapping[str, Any]], common: Common) -> list[Row]:
    """Returns the rows of records with the columns of a list, and values in place of texts.

    Raises:
        InputError: As for `plan`.
    """
    found = [_record(record, f"row {number}", "") for number, record in enumerate(records, start=1)]
    return _finished([_Found(fields, False) for fields in found], common)


def _found(text: str) -> Iterator[_Found]:
    """Yields what a text names: the rows of a list, or one for each picture."""
    path = storage.absolute(text, "content")
    kind = os.path.splitext(path)[1].lower()
    if kind in _TABLES or kind == _PLAIN:
        yield from (_Found(fields, False) for fields in _listed(path, kind))
        return
    listed = storage.listed(path, "content")
    yield from (_Found({"content": each}, listed != [path]) for each in listed)


def _listed(path: str, kind: str) -> Iterator[dict[str, Any]]:
    """Yields the fields of a list's rows; relative paths are in the list's folder."""
    folder = storage.parent(path)
    try:
        text = storage.read(path, "content").decode("utf-8-sig", "surrogateescape")
    except UnicodeDecodeError as error:
        raise errors.InputError(f"content: {path} is no text: {errors.one_line(error)}") from None
    if kind == _PLAIN:
        lines = (line.strip("\r\n") for line in text.split("\n"))
        yield from (_record({"content": line}, path, folder) for line in lines if line.strip())
        return
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=_TABLES[kind], strict=True)
    try:
        for record in table:
            where = f"{path}, line {table.line_num}"
            if None in record or None in record.values():
                raise errors.InputError(
                    f"content: {where} has not as many entries as the first line, which names the columns;"
                    " put entries with commas into quotes"
                )
            given = {name.strip(): text.strip() for name, text in record.items()}
            yield _record({name: text for name, text in given.items() if text}, where, folder)
    except csv.Error as error:
        raise errors.InputError(f"content: {path} is no table: {errors.one_line(error)}") from None


def _record(record: Mapping[str, Any], where: str, folder: str) -> dict[str, Any]:
    """Returns the fields of a row.

    Args:
        record: {column: text or value}.
        where: What messages call it.
        folder: The one that relative paths are in.

    Raises:
        InputError: A column is unknown, or a value is not of its type.
    """
    fields: dict[str, Any] = {"own": {}}
    for name, value in record.items():
        if name in _COLUMNS:
            field = _COLUMNS[name]
            fields[field] = _several(name, value) if field in _SEVERAL else _path(name, value)
        elif name == _PRESET or name in settings.SETTINGS or name in SCALE_SETTINGS:
            is_text = isinstance(value, str) and name != _PRESET
            fields["own"][name] = typed(name, value) if is_text else value
        else:
            raise errors.unknown_name(f"{where}: column", name, [*_COLUMNS, _PRESET, *settings.SETTINGS])
    if not fields.get("content"):
        raise errors.InputError(f"content: {where} names no photograph, in a column 'content'")
    return fields | _absolute(fields, folder)


def _path(name: str, value: Any) -> str:
    """Returns the path of a column.

    Raises:
        InputError: It is none.
    """
    errors.require(isinstance(value, str | os.PathLike), name, f"a {type(value).__name__}", "a path or a URL")
    return os.fspath(value)


def _several(name: str, value: Any) -> tuple[str, ...]:
    """Returns the paths of a column, as a text with commas or as a list."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(_path(name, part).strip() for part in inputs.as_list(parts))


def _absolute(fields: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Returns the fields that are paths to be read, made absolute."""
    made: dict[str, Any] = {}
    for name in ("content", "content_mask", "content_regions"):
        if fields.get(name):
            made[name] = storage.absolute(fields[name], name, folder)
    for name in _SEVERAL & set(fields):
        made[name] = tuple(_picture_or_color(each, name, folder) for each in fields[name])
    return {**made, "own": _with_absolute(fields["own"], folder)}


def _with_absolute(overrides: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Returns settings of which those that name files have absolute paths."""
    made = dict(overrides)
    for name, known in ((_WEIGHTS, settings.WEIGHTS), (_INIT, settings.INITS)):
        if name in made and made[name] not in known:
            made[name] = storage.absolute(_path(name, made[name]), name, folder)
    return made


def _picture_or_color(text: str, name: str, folder: str) -> str:
    return text if masks.is_color(text) else storage.absolute(text, name, folder)


def _finished(found: Sequence[_Found], common: Common) -> list[Row]:
    """Returns rows with all that they have in common, and with names of outputs."""
    common = dataclasses.replace(common, output=storage.absolute(common.output, "output"))
    shared, all_styles = _shared(common), _styles(common)
    rows: list[Row] = []
    folders: dict[str, str] = {}
    for one in found:
        for styles in [one.fields["styles"]] if "styles" in one.fields else all_styles:
            fields = {**shared, "own": {}, **one.fields, "styles": styles}
            output = _output(fields, len(rows), common)
            rows.append(Row(**{**fields, "number": len(rows), "output": output}))
            if one.is_listed:
                folders.setdefault(storage.parent(fields["content"]), fields["content"])
    if not rows:
        raise errors.InputError("content: there are no rows; name pictures, a folder, a pattern or a list")
    _check_names(rows, folders)
    return rows


def _shared(common: Common) -> dict[str, Any]:
    """Returns the fields of a row that the batch has for all."""
    named = {"content_mask": common.content_mask, "content_regions": common.content_regions}
    made: dict[str, Any] = {name: storage.absolute(text, name) for name, text in named.items() if text}
    labels = tuple(_picture_or_color(text, "style_regions", "") for text in common.style_regions)
    return {**made, "style_regions": labels}


def _styles(common: Common) -> list[tuple[str, ...]]:
    """Returns the paintings of each picture that a photograph becomes."""
    if common.each_style:
        if common.styles:
            raise errors.InputError("styles: beside style; allowed: one or the other")
        patterns = [storage.absolute(text, "styles") for text in common.each_style]
        return [(path,) for pattern in patterns for path in storage.listed(pattern, "styles")]
    styles = tuple(storage.absolute(text, "style") for text in common.styles)
    for path in styles:
        if not storage.exists(path):
            raise errors.InputError(f"style: there is no file {path}")
    return [styles]


def _output(fields: Mapping[str, Any], number: int, common: Common) -> str:
    """Returns where a picture goes.

    Raises:
        InputError: The pattern of names is wrong.
    """
    if fields.get("output"):
        return storage.joined(common.output, fields["output"])
    known = {
        "content": storage.stem_of(fields["content"]),
        "style": "+".join(map(storage.stem_of, fields["styles"])),
        "folder": storage.name_of(storage.parent(fields["content"])),
        "number": number + 1,
    }
    try:
        return storage.joined(common.output, common.names.format_map(known))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise errors.InputError(
            f"names: {common.names!r} ({errors.one_line(error)}); allowed: a name with"
            f" {', '.join(f'{{{each}}}' for each in known)} in it, such as {NAMES}"
        ) from None


def _check_names(rows: Sequence[Row], folders: Mapping[str, str]) -> None:
    """Checks that every output has a name of its own, and none that an input has.

    Args:
        rows: All rows.
        folders: {folder: a photograph in it} of those that would find outputs as photographs.

    Raises:
        InputError: One has not.
    """
    taken: dict[str, str] = {}
    read = {_key(path): f"the {name} of {row.said()}" for row in rows for name, path in row.inputs()}
    for row in rows:
        key = _key(row.output)
        other = read.get(key) or (f"the output of {taken[key]}" if key in taken else "")
        if other:
            raise errors.InputError(
                f"output: {row.output} would be that of {row.said()} and is {other}; name outputs by"
                " --names='{content}_{style}.png' with {folder} or {number} in it, or choose another folder"
            )
        if storage.parent(row.output) in folders:
            raise errors.InputError(
                f"output: {storage.parent(row.output)} has the photographs, among which the next batch would"
                " find the pictures; name another folder"
            )
        taken[key] = row.said()


def _key(path: str) -> str:
    return path if storage.is_url(path) else os.path.normcase(os.path.normpath(path))


def check(rows: Sequence[Row], chosen: Settings, bit_depth: int = 8) -> None:
    """Checks all of rows that can be checked without reading a picture.

    Raises:
        InputError: A setting, or the format of an output, is not allowed.
    """
    for row in rows:
        try:
            config = chosen.config(row)
            config.blend_weights(len(row.styles))
            if config.style.weight and not row.styles:
                raise errors.InputError("style: there is none; name a painting by --style or in the list")
            pictures.format_of(pathlib.Path(storage.name_of(row.output)))
            pictures.check_bit_depth(bit_depth, storage.name_of(row.output))
        except errors.InputError as error:
            raise errors.InputError(f"{row.said()}: {error}" if row.own else str(error)) from None
