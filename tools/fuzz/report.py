"""The counts of a campaign, as a table and lists."""

from collections.abc import Mapping

from fuzz.campaign import FAILURES, Count

_MOST_ERRORS = 10


def table(counts: Mapping[str, Count]) -> str:
    """Returns a line for each reader, and one for all."""
    heads = ("reader", "inputs", "accepted", "errors", "tracebacks", "crashes", "hangs", "peaks")
    rows = [
        (
            name,
            count.inputs,
            count.accepted,
            count.errors.total(),
            *(count.failures[kind].total() for kind in FAILURES),
        )
        for name, count in counts.items()
    ]
    total = ("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))
    lines = ["".join(f"{cell:>12}" for cell in row) for row in (heads, *rows, total)]
    return "\n".join(lines)


def details(counts: Mapping[str, Count]) -> str:
    """Returns the most frequent errors and all failures of each reader, with the number of an example."""
    lines = []
    for name, count in counts.items():
        lines += [f"\n{name}: the most frequent of {len(count.errors)} errors"]
        lines += [f"{number:8}  {text}" for text, number in count.errors.most_common(_MOST_ERRORS)]
        for kind in FAILURES:
            lines += [
                f"{number:8}  {kind}: {text} (--readers={name} --only={count.examples[kind, text]})"
                for text, number in count.failures[kind].most_common()
            ]
    return "\n".join(lines)
