"""Tries at a picture: a marker is written before each, so that what ended one is known to the next.

A marker is a small file of the outputs' store. It is removed once something has come of the picture; one that
is there was left by a process that ended in the midst of it.
"""

import contextlib
import dataclasses
import enum
import hashlib
import json
from collections.abc import Callable

from nst_tf import errors
from nst_tf.batch import storage

# The folder of the markers, in that of the outputs.
FOLDER = ".nst_tf-batch"

# Tries that a machine may end which is lost: it is hardly the picture's fault, but pictures have taken
# machines with them. Also the batches that may end before a picture in their midst gets smaller tiles.
_MOST_LOST = 3


class Way(enum.Enum):
    """How to go on with a picture."""

    TRY = "try"
    SMALLER = "try with smaller tiles"
    ALONE = "leave it until it can be alone"
    GIVE_UP = "give up"


@dataclasses.dataclass(frozen=True)
class Try:
    """A try that was begun."""

    run: str  # of the batch
    node: str  # the machine that it was begun on
    count: int  # from 1
    smaller: bool = False  # whether it was one with smaller tiles


class Marker:
    """The marker of an output."""

    def __init__(self, folder: str, output: str) -> None:
        """Reads nothing yet.

        Args:
            folder: Of the batch's outputs.
            output: Of the row.
        """
        digest = hashlib.sha256(output.encode("utf-8", "surrogateescape")).hexdigest()
        self.path = storage.joined(storage.joined(folder, FOLDER), f"{digest[:32]}.json")

    @classmethod
    def at(cls, path: str) -> "Marker":
        """Returns the marker that a path is of."""
        made = cls.__new__(cls)
        made.path = path
        return made

    def read(self) -> Try | None:
        """Returns the try that was begun last; None if something has come of it."""
        if not storage.exists(self.path):
            return None
        try:
            return Try(**json.loads(storage.read(self.path, "marker")))
        except (errors.InputError, TypeError, ValueError):  # cut short as its machine was lost
            return Try("", "", 1)

    def write(self, begun: Try) -> None:
        """Writes the marker of a try that begins.

        Raises:
            OSError: It cannot be written.
        """
        storage.write(self.path, json.dumps(dataclasses.asdict(begun)).encode("ascii"))

    def remove(self) -> None:
        """Removes the marker.

        Raises:
            OSError: It cannot be removed.
        """
        storage.remove(self.path)


def left(folder: str) -> frozenset[str]:
    """Returns the paths of the markers that earlier batches have left in a folder of outputs."""
    return frozenset(storage.names(storage.joined(folder, FOLDER)))


def forget(folder: str, run: str) -> None:
    """Removes the markers of a batch from a folder of outputs."""
    for path in left(folder):
        marker = Marker.at(path)
        begun = marker.read()
        if begun is not None and begun.run == run:
            with contextlib.suppress(OSError):
                marker.remove()


def decide(before: Try | None, run: str, is_alive: Callable[[str], bool], alone: bool) -> Way:
    """Returns how to go on with a picture.

    Args:
        before: The try that was begun last and has not ended.
        run: Of this batch.
        is_alive: (machine) -> whether it is there.
        alone: Whether no other picture is being painted on this machine.
    """
    if before is None:
        return Way.TRY
    if before.run != run:  # the whole batch ended, which needs no reason in the picture
        return Way.TRY if before.count < _MOST_LOST else Way.SMALLER
    if not is_alive(before.node) and before.count < _MOST_LOST:
        return Way.TRY
    if not alone:
        return Way.ALONE
    return Way.GIVE_UP if before.smaller else Way.SMALLER
