"""An input: a file, or a command line; made of a number alone."""

import dataclasses
import pathlib
import random


@dataclasses.dataclass(frozen=True)
class Input:
    """What a reader is given."""

    name: str = ""  # of its file
    data: bytes = b""
    arguments: tuple[str, ...] = ()  # of a command line, or what else the reader is told

    def write(self, folder: pathlib.Path) -> pathlib.Path:
        """Writes the file to a folder; returns its path."""
        path = folder / self.name
        path.write_bytes(self.data)
        return path


def chance(reader: str, number: int) -> random.Random:
    """Returns the generator of all that is random in a reader's input of that number."""
    return random.Random(f"{reader} {number}")
