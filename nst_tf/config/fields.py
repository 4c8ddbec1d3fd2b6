"""A field of a config: the text of its flag, the names it allows, and the check of a value.

Allowed values are said beside the field, `field`, and held against a value by `check`.
"""

import dataclasses
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nst_tf import errors

# TensorFlow counts and seeds in int32 here.
LARGEST_INTEGER = 2**31 - 1

# Far beyond any use, and far enough below float32's largest, 3.4e38, to multiply by.
LARGEST_NUMBER = 1e30


def field(help_text: str, names: Sequence[str] = (), *, beside: str = "", **options: Any) -> Any:
    """Returns a field with the text of its flag and, where it is a name, the allowed ones.

    Args:
        help_text: Of the flag.
        names: The allowed ones; none where the value is no name.
        beside: A key of `_BESIDE`: what else the value may be.
        **options: As for `dataclasses.field`.
    """
    metadata = {"help": help_text, "names": tuple(names), "beside": beside}
    return dataclasses.field(metadata=metadata, **options)


# The names of the package's own pictures begin with it (`io.samples`).
SAMPLE_PREFIX = "sample:"

# What a value may be that is not one of a field's names. Whether a file is there its reader finds out.
_BESIDE: Mapping[str, Callable[[str], bool]] = {
    "": lambda _: False,
    "a file": lambda text: bool(os.path.splitext(text)[1]) or text.startswith(SAMPLE_PREFIX),
    "a number of pixels": lambda text: text.isdecimal() and 0 < int(text) <= LARGEST_INTEGER,
}


def check(field: dataclasses.Field[Any], value: Any) -> None:
    """Checks that numbers are within bounds and that names are allowed.

    Raises:
        InputError: They are not, or the value is of another type.
    """
    is_list = field.type != element_type(field)
    shape = "a list" if is_list else "a single value"
    errors.require(isinstance(value, tuple) == is_list, field.name, repr(value), shape)
    values = value if is_list else (value,)
    kind = element_type(field)
    for item in values:
        errors.require(
            isinstance(item, (int, float) if kind is float else kind)
            and isinstance(item, bool) == (kind is bool),
            field.name,
            repr(item),
            {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}[kind],
        )
        if kind in (int, float):
            largest = LARGEST_INTEGER if kind is int else LARGEST_NUMBER
            errors.require(0 <= item <= largest, field.name, item, f"from 0 to {largest}")
        names = field.metadata.get("names")
        beside = field.metadata.get("beside", "")
        if names and item not in names and not _BESIDE[beside](item):
            raise errors.unknown_name(field.name, item, names, beside=beside)


def element_type(field: dataclasses.Field[Any]) -> type:
    """Returns the type of the field's value, or of its elements where it is a tuple."""
    arguments = typing.get_args(field.type)
    return arguments[0] if arguments else typing.cast(type, field.type)
