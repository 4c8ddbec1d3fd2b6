"""What the tools' flags have in common: help exits with 0, a mistake gets one line and exits with 2."""

import pathlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags

# What a user's mistake exits with, as in Python's own argument parser.
_EXIT_MISTAKE = 2
_HELP_FLAGS = frozenset({"-h", "-help", "--help", "-?", "--helpshort", "--helpfull"})


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags of the tool that runs; give it to `app.run` as `flags_parser`."""
    tool = sys.modules["__main__"]
    if _HELP_FLAGS & set(argv[1:]):
        own = flags.FLAGS.module_help(tool)
        print(f"{tool.__doc__}\nFlags:\n{own}" if own.strip() else tool.__doc__)
        sys.exit(0)
    try:
        rest: list[str] = flags.FLAGS(list(argv))
    except flags.Error as error:
        fail(f"{' '.join(str(error).split())}; --help lists all flags")
    if rest[1:]:
        fail(f"{rest[1]!r} is not a flag; --help lists all flags")
    return rest


def fail(message: str) -> NoReturn:
    """Ends the tool that runs with one line on standard error."""
    print(f"{pathlib.Path(sys.argv[0]).stem}: {message}", file=sys.stderr)
    sys.exit(_EXIT_MISTAKE)
