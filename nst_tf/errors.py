"""The one exception for a user's mistake; every layer may raise it."""

import difflib
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what came, what is allowed, what to do. The command line prints it and
    exits with 2; any other exception is a defect of this program and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        """Keeps the message, without the middle of one that carries a whole array."""
        super().__init__(shortened(r"\n".join(message.splitlines())))  # a file's name may have line breaks


class OutOfMemoryError(InputError):
    """A run needs more memory than it may take, or found less than it was planned with."""


# Far more characters than a message of one line needs.
_LONGEST_MESSAGE = 2000


def shortened(message: str) -> str:
    """Returns a message without the middle of one that is too long: names in a file may have any length."""
    half = _LONGEST_MESSAGE // 2
    long = len(message) > _LONGEST_MESSAGE
    return f"{message[:half]} ... {message[-half:]}" if long else message


def printable(line: str) -> str:
    """Returns a line with what is not printable escaped, without the middle of one that is too long.

    It may say what a file says: escape sequences, which terminals obey, and line breaks.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shortened(line))


def unknown_name(kind: str, name: object, allowed: Iterable[str], *, beside: str = "") -> InputError:
    """Returns the error for a name that is not in a table of allowed names.

    Args:
        kind: What the name stands for, such as "preset".
        name: What came.
        allowed: The allowed names, in the order in which to list them.
        beside: What else would have done, such as "a file".
    """
    names = list(allowed)
    nearest = difflib.get_close_matches(shown(name, str), names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    nor = f", nor {beside}" if beside else ""
    return InputError(f"{kind}: {shown(name)} is not one of {', '.join(names)}{nor}{hint}")


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line; the name of its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def require(condition: object, name: str, came: object, allowed: str) -> None:
    """Raises the error that says what came and what is allowed, unless the condition holds.

    Raises:
        InputError: It does not.
    """
    if not condition:
        raise InputError(f"{name}: {shown(came, str)}; allowed: {allowed}")


def shown(value: object, form: Callable[[object], str] = repr) -> str:
    """Returns a value as text; its type where Python refuses to write it: a number of too many digits."""
    try:
        return form(value)
    except (ValueError, RecursionError):  # RecursionError: lists in lists in lists
        return f"{type(value).__name__} too long to show"


def numbered(kind: str, index: int) -> str:
    """Returns what messages call the picture at an index among several of its kind."""
    return kind if index == 0 else f"{kind} {index + 1}"
