"""Changes of JSON values, and JSON texts that Python's own writer does not write.

An object is a list of pairs here, so that a key may come twice; a `Raw` is written as it is.
"""

import json
import random
from collections.abc import Iterator
from typing import Any


class Raw(str):
    """A piece of JSON, or of what is none."""


class Pairs(list):
    """An object: [key, value] lists, in their order."""


_NESTED = 100_000  # far beyond Python's limit of recursion

# Values in place of any other.
_NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e-320),
    *("", " ", "a", "0", "1.5", "nan", "auto", "\x00", "\n", "\u2028", "ä", "😀", "x" * 10_000, "\ud800"),
    *("../x", "/"),
    *([], [[]], [None], [0], [1, "a"], ["relu1_1"], ["relu1_1", "relu1_1"], [[1]], [{}], [1.0] * 1000),
    *(Pairs(), Pairs([["", 0]]), Pairs([["config", Pairs()]])),
    *(Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999"), Raw("-1e999"), Raw("1" * 5000)),
    Raw("-" + "9" * 5000),
    *(Raw("[" * 50 + "]" * 50), Raw('"\\ud800"'), Raw('"\\udc00\\ud800"'), Raw("0x10"), Raw("01")),
    *(Raw("'a'"), Raw("")),
)
# Rarer, since they end most readers at once.
_WHOLE = (
    Raw("[" * _NESTED + "]" * _NESTED),
    Raw('{"a":' * _NESTED),
    Raw('{"config":' * 2000 + "{}" + "}" * 2000),
)


def to_pairs(value: Any) -> Any:
    """Returns a copy of a JSON value with `Pairs` for its objects."""
    if isinstance(value, Pairs):
        return Pairs([[key, to_pairs(item)] for key, item in value])
    if isinstance(value, dict):
        return Pairs([[key, to_pairs(item)] for key, item in value.items()])
    return [to_pairs(item) for item in value] if isinstance(value, list | tuple) else value


def to_text(value: Any) -> str:
    """Returns a value as JSON."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{to_text(key)}: {to_text(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_text, value)) + "]"
    return json.dumps(value)


def mutated(chance: random.Random, value: Any) -> Any:
    """Returns a copy of a value with `Pairs` in which one to four things are changed."""
    value = to_pairs(value)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        if chance.random() < 1 / 50:
            return nasty(chance)
        if containers := list(_containers(value)):
            _change(chance, chance.choice(containers))
    return value


def nasty(chance: random.Random) -> Any:
    """Returns a value that no reader expects."""
    if chance.random() < 1 / 40:
        return chance.choice(_WHOLE)
    return to_pairs(chance.choice(_NASTY))


def _containers(value: Any) -> Iterator[list]:
    """Yields the objects and arrays in a value, itself first, that have anything in them."""
    if isinstance(value, list) and value:
        yield value
        for item in value:
            yield from _containers(item[1] if isinstance(value, Pairs) else item)


def _change(chance: random.Random, container: list) -> None:
    """Changes an item of an object or an array: its value, its key, whether it is there, how often."""
    index = chance.randrange(len(container))
    of_object = isinstance(container, Pairs)
    what = chance.choice(("value",) * 6 + ("remove", "twice", "key", "other"))
    if what == "remove":
        del container[index]
    elif what == "twice":
        again = (
            [container[index][0], to_pairs(container[index][1])] if of_object else to_pairs(container[index])
        )
        container.insert(chance.randint(0, len(container)), again)
    elif what == "key" and of_object:
        container[index] = [chance.choice(("", "config", "\ud800", "x" * 500, Raw("1"))), container[index][1]]
    elif what == "other":  # the value of a neighbour
        other = chance.choice(container)
        value = to_pairs(other[1] if of_object else other)
        container[index] = [container[index][0], value] if of_object else value
    else:
        value = nasty(chance)
        container[index] = [container[index][0], value] if of_object else value
