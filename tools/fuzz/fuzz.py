"""Gives the package's readers hostile inputs, in child processes, and counts what they make of them.

python tools/fuzz/fuzz.py --inputs=100000                        # by the hour
python tools/fuzz/fuzz.py --readers=weights --only=197           # one input: what came of it
python tools/fuzz/fuzz.py --readers=pictures --keep=failed       # keeps the inputs that failed

Each input is accepted or refused in one line. What must not happen: any other exception, the end of the
process, over 5 s, over 2 GB. Exits with 1 if it did. tools/fuzz/README.md says more.
"""

import pathlib
import signal
import sys
from collections.abc import Sequence

from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the folder of the tools
import tool_flags

from fuzz import campaign, outcomes, readers, report
from nst_tf import errors
from nst_tf.config import settings

_FLAGS = flags.FLAGS
flags.DEFINE_integer("inputs", 100_000, "inputs in all, the same number for each reader", lower_bound=1)
flags.DEFINE_integer("seed", 0, "the number of each reader's first input; the others follow", lower_bound=0)
flags.DEFINE_list("readers", list(readers.READERS), "whose inputs")
flags.DEFINE_integer("only", None, "the number of one input, to be read alone", lower_bound=0)
flags.DEFINE_integer("workers", 1, "child processes at a time", lower_bound=1)
flags.DEFINE_float("limit_s", 5.0, "seconds of processor time that an input may take", lower_bound=0.1)
flags.DEFINE_string("limit_bytes", "2GiB", "memory that an input may take")
flags.DEFINE_string("keep", None, "a folder for the inputs that failed")


def main(argv: Sequence[str]) -> int:
    """Runs the campaign; returns 1 if an input failed."""
    del argv
    try:
        chosen, limits, keep = _chosen(), _limits(), _folder()
    except errors.InputError as error:
        tool_flags.fail(str(error))
    each = -(-_FLAGS.inputs // len(chosen))
    numbers = range(_FLAGS.seed, _FLAGS.seed + each) if _FLAGS.only is None else [_FLAGS.only]

    def tell(name: str, number: int, outcome: outcomes.Outcome) -> None:
        print(
            f"{name} {number}: {outcome.kind}: {outcome.text[:200]!r} {outcome.place}",
            file=sys.stderr,
            flush=True,
        )
        if keep is not None:
            _keep(keep, name, number)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    counts = campaign.run(chosen, numbers, limits, _FLAGS.workers, tell)
    print(report.table(counts))
    print(report.details(counts))
    return int(any(count.failed() for count in counts.values()))


def _chosen() -> dict[str, outcomes.Reader]:
    """Returns the readers that the flag names."""
    for name in _FLAGS.readers:
        if name not in readers.READERS:
            raise errors.unknown_name("readers", name, readers.READERS)
    errors.require(_FLAGS.readers, "readers", "none", ", ".join(readers.READERS))
    return {name: readers.READERS[name] for name in _FLAGS.readers}


def _limits() -> campaign.Limits:
    return campaign.Limits(_FLAGS.limit_s, int(settings.to_bytes(_FLAGS.limit_bytes)))


def _folder() -> pathlib.Path | None:
    """Returns the folder for inputs that failed, which is made."""
    if not _FLAGS.keep:
        return None
    folder = pathlib.Path(_FLAGS.keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.InputError(f"keep: {errors.one_line(error)}") from None
    return folder


def _keep(folder: pathlib.Path, name: str, number: int) -> None:
    """Writes an input that failed: its file, or its command line."""
    given = outcomes.made(name, number, readers.READERS[name])
    if given.name:
        (folder / f"{name}-{number}-{given.name}").write_bytes(given.data)
    else:
        text = "\n".join(given.arguments)
        (folder / f"{name}-{number}.txt").write_text(text, "utf-8", "backslashreplace")


if __name__ == "__main__":
    sys.exit(app.run(main, flags_parser=tool_flags.parse))
