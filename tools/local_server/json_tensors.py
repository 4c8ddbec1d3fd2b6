"""The JSON of TensorFlow Serving's REST interface: values to arrays by a signature's inputs, and back.

What can be read is read quickly, a list at a time. What cannot is gone through once more, value by value as
TensorFlow Serving does (json_tensor.cc), to fail at the same place with the same text.
"""

import base64
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from local_server.models import ServingError, invalid, numpy_type

# The JSON types for an array's kind (NumPy's letter): true and false are no numbers, 1.0 is no integer.
_JSON_TYPES: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}

_TYPE_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String"}

# Characters of a value in messages: a picture in base64 has millions.
_LONGEST_TEXT = 500

# How one value of a kind is written; a float as its own type prints it: 0.2, not a double's 0.20000000298.
_WRITERS: dict[str, Callable[[Any], Any]] = {
    "f": lambda value: float(str(value)),
    "i": int,
    "u": int,
    "b": bool,
    "O": lambda value: value.decode("utf-8", "replace"),
    "_bytes": lambda value: {"b64": base64.b64encode(value).decode("ascii")},
}


def parse(body: bytes) -> dict[str, Any]:
    """Returns the object in a request's body.

    Raises:
        ServingError: There is none.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply") from None
    except ValueError as error:  # bad UTF-8 is one too
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_text(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Returns the signature that a request names, `serving_default` if none.

    Raises:
        ServingError: It is no string; null is none either.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        wrong = "not formatted correctly. 'signature_name' key must be a string value."
        raise invalid(f"JSON Value: {_text(document)} {wrong}")
    return name or "serving_default"


def read_request(document: Mapping[str, Any], infos: Mapping[str, Any]) -> tuple[bool, dict[str, np.ndarray]]:
    """Returns whether a request has rows (`instances`), and {input: array}.

    Args:
        document: The request.
        infos: {input: TensorInfo} of the signature.

    Raises:
        ServingError: The values do not fit the inputs.
    """
    try:
        return _read_document(document, infos)
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply") from None


def _read_document(
    document: Mapping[str, Any], infos: Mapping[str, Any]
) -> tuple[bool, dict[str, np.ndarray]]:
    by_row = "instances" in document
    if by_row and "inputs" in document:
        wrong = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise invalid(f"JSON Value: {_text(document)} {wrong}")
    if by_row:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise invalid(f"JSON Value: {_text(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {_text(document)} No values in 'instances' array")
        return True, _read_rows(rows, infos)
    if "inputs" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    return False, _read_columns(document["inputs"], infos)


def _read_rows(rows: Sequence[Any], infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as"
            " per tensorinfo_map"
        )
    named = _is_named(rows[0])
    try:
        if named and all(_is_named(row) and row.keys() == infos.keys() for row in rows):
            return {name: _read([row[name] for row in rows], info) for name, info in infos.items()}
        if not named and not any(map(_is_named, rows)):
            name, info = next(iter(infos.items()))
            return {name: _read([*rows], info)}
    except _UnfitError:
        pass
    _explain_rows(rows, named, infos)
    raise invalid(f"tensor parsing error: {', '.join(infos)}")  # more dimensions than a tensor has


def _read_columns(values: Any, infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns {input: array} of columns; names that the signature does not have are ignored."""
    if not _is_named(values):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as"
                " per tensorinfo_map"
            )
        values = {next(iter(infos)): values}
    arrays = {}
    for name, info in infos.items():
        if name not in values:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        try:
            arrays[name] = _read(values[name], info)
        except _UnfitError:
            _explain(values[name], info)
            raise invalid(f"tensor parsing error: {name}") from None  # more dimensions than a tensor has
    return arrays


def _is_named(value: Any) -> bool:
    """Returns whether a value is an object of named inputs: any but {"b64": "..."}, which is a string."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


class _UnfitError(Exception):
    """A value that an input's type cannot hold, or lists that make no array."""


def _read(value: Any, info: Any) -> np.ndarray:
    """Returns the array of nested JSON lists; raises `_UnfitError`."""
    dtype, leaves, shape = numpy_type(info), [value], []
    while leaves and isinstance(leaves[0], list):
        sizes = {len(leaf) if isinstance(leaf, list) else -1 for leaf in leaves}
        if len(sizes) > 1:
            raise _UnfitError
        shape.append(sizes.pop())
        leaves = list(itertools.chain.from_iterable(leaves))
    if not set(map(type, leaves)) <= _JSON_TYPES.get(dtype.kind, set()):
        raise _UnfitError
    try:
        if dtype.kind == "O":
            leaves = [_read_string(leaf) for leaf in leaves]
        with np.errstate(over="raise"):
            return np.array(leaves, dtype).reshape(shape)
    except (ArithmeticError, ValueError, ServingError) as error:  # out of range; too many dimensions
        raise _UnfitError from error


def _read_string(value: Any) -> bytes:
    """Returns the bytes of a text or of base64.

    Raises:
        ServingError: They are none.
    """
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_text(value)} not formatted correctly for base64 data")
    try:
        text = "".join(value["b64"].split())  # the command `base64` breaks lines
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _explain_rows(rows: Sequence[Any], named: bool, infos: Mapping[str, Any]) -> None:
    """Fails at the first value of rows that does not fit."""
    shapes: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if _is_named(row) != named:
            what = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {what} at item {index} of input list")
        where = f"Failed to process element: {index}"
        for name, value in row.items() if named else [(next(iter(infos)), row)]:
            key = f" key: {name}" if named else ""
            try:
                _explain_item(name, value, infos, shapes)
            except ServingError as error:
                why = f"INVALID_ARGUMENT: {error.message}"
                raise invalid(f"{where}{key} of 'instances' list. Error: {why}") from None
        if named and row.keys() != infos.keys():
            keys = ",".join(sorted(infos))
            raise invalid(
                f"{where} of 'instances' list. JSON object: {_text(row)} keys must be equal to: {keys}"
            )


def _explain_item(name: str, value: Any, infos: Mapping[str, Any], shapes: dict[str, list[int]]) -> None:
    """Fails if a row's input does not fit its type, or has another shape than the row before."""
    if name not in infos:
        raise invalid(f"JSON object: does not have named input: {name}")
    _explain(value, infos[name])
    shape, first = _shape(value), shapes.setdefault(name, _shape(value))
    if np.prod(shape) != np.prod(first):
        raise invalid(f"Expecting tensor size: {np.prod(first):.0f} but got: {np.prod(shape):.0f}")
    if shape != first:
        raise invalid(f"Expecting shape {_dimensions(first)} but got: {_dimensions(shape)}")


def _dimensions(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _shape(value: Any) -> list[int]:
    """Returns the shape of nested lists by the first item of each level."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _explain(value: Any, info: Any) -> None:
    """Fails at the first value that does not fit a TensorInfo's type or the lists around it."""
    _walk(value, _shape(value), 0, info)


def _walk(value: Any, shape: Sequence[int], level: int, info: Any) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {_text(value)} found at incorrect level: {level + 1} in the JSON DOM."
                f" Expected at level: {rank}"
            )
        _check_leaf(value, info)
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size:"
            f" {shape[level]}"
        )
    for item in value:
        _walk(item, shape, level + 1, info)


def _check_leaf(value: Any, info: Any) -> None:
    """Fails unless a value that is no list stands for one of a TensorInfo's type."""
    dtype = numpy_type(info)
    name = tf.dtypes.as_dtype(info.dtype).name.replace("float32", "float").replace("float64", "double")
    if dtype.kind == "O" and isinstance(value, str | dict):
        _read_string(value)
        return
    fits = type(value) in _JSON_TYPES.get(dtype.kind, set()) and not isinstance(value, dict)
    if dtype.kind in "iu" and fits:
        fits = np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if not fits:
        kind = str(value) if isinstance(value, bool) else _TYPE_NAMES.get(type(value), "Number")
        raise invalid(f"JSON Value: {_text(value)} Type: {kind} is not of expected type: {name}")
    # Infinity and NaN are values; what is finite must stay so.
    if dtype.kind == "f" and abs(value) > float(np.finfo(dtype).max) and value not in (np.inf, -np.inf):
        raise invalid(f"Cannot convert JSON value: {_text(value)} to {name} without loss of precision.")


def _text(value: Any) -> str:
    """Returns a value as TensorFlow Serving shows it in messages, but cut, so that what is wrong is seen."""
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


def write_response(outputs: Mapping[str, np.ndarray], by_row: bool) -> dict[str, Any]:
    """Returns the JSON of an answer: base64 for strings of outputs named `..._bytes`, a single one unnamed.

    Raises:
        ServingError: There is no JSON for an output, or the outputs have no equal number of rows.
    """
    written = {key: _write(key, array) for key, array in outputs.items()}
    only = next(iter(written.values())) if len(written) == 1 else None
    if not by_row:
        return {"outputs": written if only is None else only}
    _check_rows(outputs)
    rows = [dict(zip(written, row, strict=True)) for row in zip(*written.values(), strict=True)]
    return {"predictions": rows if only is None else only}


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    """Fails unless all outputs have rows, and equally many."""
    count: int | None = None
    for name, array in outputs.items():
        if not array.shape:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if count not in (None, len(array)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}")
        count = len(array)


def _write(name: str, array: np.ndarray) -> Any:
    """Returns an array as nested JSON lists."""
    as_bytes = array.dtype.kind == "O" and name.endswith("_bytes")
    write = _WRITERS.get("_bytes" if as_bytes else array.dtype.kind)
    if write is None:
        raise invalid(f"{name}: there is no JSON for {array.dtype}")
    values = np.empty(array.size, object)
    values[:] = [write(value) for value in array.ravel()]
    return values.reshape(array.shape).tolist()
