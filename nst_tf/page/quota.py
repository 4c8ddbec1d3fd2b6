"""How much may be uploaded within an hour: from each address, and from all together."""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from nst_tf.page import files

# Files are kept for an hour, so that what comes within one is what the disk has to hold.
_WINDOW_S = files.AGE_S

# Uploads of an address: one a second. The strokes of a person who draws regions are three each.
MOST_UPLOADS = 3600

# How many addresses may use all that is theirs before the page takes no more from any.
MOST_ADDRESSES = 10


class Upload(NamedTuple):
    """An upload that was let in."""

    time: float
    sender: str
    size: int  # bytes


class Quota:
    """Counts uploads; used by one thread."""

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins without any.

        Args:
            most_bytes: Of an address within an hour.
            clock: Seconds.
        """
        self._most_bytes, self._clock = most_bytes, clock
        self._uploads: deque[Upload] = deque()  # of the last hour, the oldest first

    def take(self, sender: str, size: int) -> Upload | None:
        """Counts an upload of so many bytes; None where it would be too much."""
        now = self._clock()
        while self._uploads and self._uploads[0].time <= now - _WINDOW_S:
            self._uploads.popleft()
        own = [each.size for each in self._uploads if each.sender == sender]
        is_too_much = len(own) >= MOST_UPLOADS or sum(own) + size > self._most_bytes
        everything = sum(each.size for each in self._uploads)
        if is_too_much or everything + size > MOST_ADDRESSES * self._most_bytes:
            return None
        taken = Upload(now, sender, size)
        self._uploads.append(taken)
        return taken

    def give_back(self, taken: Upload) -> None:
        """Counts an upload no more, which was not let in."""
        self._uploads.remove(taken)
