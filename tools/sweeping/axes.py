"""The values of a flag along one side of a sheet, from a text such as "content_weight=1,10,100"."""

import itertools
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from nst_tf import errors
from nst_tf.io import samples

# One picture's own flags: {flag: its value as typed}.
Settings = Mapping[str, str]


class Axis(NamedTuple):
    """A flag and its values as typed, in order."""

    flag: str
    values: tuple[str, ...]


def parse(side: str, text: str, allowed: Collection[str]) -> Axis:
    """Returns an axis.

    Args:
        side: Which flag of the tool the text is from.
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


def product(rows: Axis | None, columns: Axis | None) -> Iterator[list[Settings]]:
    """Yields the settings of a sheet's pictures, row by row.

    Raises:
        InputError: Both axes are of one flag.
    """
    if rows and columns and rows.flag == columns.flag:
        raise errors.InputError(f"columns: {columns.flag} is the rows' flag too; choose another")
    for row in settings(rows):
        yield [{**row, **column} for column in settings(columns)]


def settings(axis: Axis | None) -> list[Settings]:
    """Returns the settings along an axis; without one there is a single place, which sets nothing."""
    return [{axis.flag: value} for value in axis.values] if axis else [{}]


def label(chosen: Settings) -> str:
    """Returns settings for a person: of a file its name alone."""
    return ", ".join(f"{flag}={_short(value)}" for flag, value in chosen.items())


def files(value: object) -> list[pathlib.Path]:
    """Returns the files that are there among a flag's value or, where it is a list, its items."""
    items: Sequence[object] = value if isinstance(value, list | tuple) else [value]
    texts = [text for item in items if isinstance(item, str) for text in [item, *item.split(",")]]
    paths = [samples.to_path(os.path.expanduser(text)) for text in dict.fromkeys(texts) if text]
    return [path for path in paths if path.is_file()]


def _short(value: str) -> str:
    found = files(value)
    return ", ".join(path.stem for path in found) if found else value


def flatten(rows: Sequence[Sequence[Settings]]) -> list[Settings]:
    """Returns the settings of all pictures in the order in which they are painted."""
    return list(itertools.chain.from_iterable(rows))
