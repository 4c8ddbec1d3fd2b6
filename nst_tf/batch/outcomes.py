"""What came of each picture of a batch, and the list of those that failed."""

import dataclasses
import json
from collections.abc import Iterable, Mapping

from nst_tf import errors

# What can come of a picture, in the order in which counts are told.
STATUSES = ("done", "skipped", "failed")

# The longest side of an outcome's thumbnail, in pixels: 20 pictures fill a laptop's screen.
THUMBNAIL_SIDE = 192

# Rows, from the first on, whose pictures a report shows; a thumbnail of some 8 KB for each of a million would
# keep the machine busy that writes it.
MOST_SHOWN = 1000

# The name of the list of failures, beside the outputs.
FAILURES = "failed.jsonl"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one picture: of one row of the batch."""

    number: int  # the row, from 0
    content: str  # path or URL; empty without a photograph
    styles: tuple[str, ...]
    output: str  # path or URL
    status: str  # one of `STATUSES`
    seconds: float
    tries: int
    why: str = ""  # of a picture that failed
    thumbnail: bytes = b""  # a JPEG, its longest side at most `THUMBNAIL_SIDE`; empty from `MOST_SHOWN` on


def failures(outcomes: Iterable[Outcome]) -> bytes:
    """Returns the file `failed.jsonl`: a JSON object a line for each picture that failed, in order of rows.

    All of it is printable ASCII, so that no name of a file can break a line or command a terminal; a reader
    of JSON gets the name back as it is.

    Args:
        outcomes: In any order; those that did not fail are left out.
    """
    failed = sorted((each for each in outcomes if each.status == "failed"), key=lambda each: each.number)
    return "".join(f"{json.dumps(_described(each))}\n" for each in failed).encode("ascii")


def _described(failed: Outcome) -> dict[str, object]:
    return {
        "content": failed.content,
        "styles": list(failed.styles),
        "output": failed.output,
        "why": one_line(failed.why),
        "tries": failed.tries,
    }


def one_line(why: str) -> str:
    """Returns a reason in one line of printable characters."""
    return errors.printable(" ".join(why.split()))


def counted(counts: Mapping[str, int]) -> str:
    """Returns {status: how many} for a person."""
    return ", ".join(f"{counts[status]:,} {status}" for status in STATUSES)


def a_minute(pictures: int, seconds: float) -> str:
    """Returns how many that is in a minute, for a person: three digits at least."""
    rate = 60.0 * pictures / seconds
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
