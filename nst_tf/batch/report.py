"""The page about a batch, `report.html`: counts, times, a sheet of thumbnails, failures and their reasons.

It is one file without scripts that needs nothing from elsewhere; its pictures are links, relative to it.
"""

import base64
import collections
import datetime
import heapq
import html
import os
import pathlib
import posixpath
import time
import urllib.parse
from collections.abc import Sequence

from tqdm import tqdm

from nst_tf import errors
from nst_tf.batch import outcomes

# The page's name, beside the outputs, and those of all files about a batch.
NAME = "report.html"
FILES = (outcomes.FAILURES, NAME)

# What a page shows at most, so that it stays below 12 MB: base64 makes thumbnails larger by a third.
_MOST_BYTES, _MOST_FAILURES = 8_000_000, 1000


class Report:
    """What a batch has come to, told one outcome at a time; memory grows with failures only."""

    def __init__(self, folder: str, total: int) -> None:
        """Starts the clock.

        Args:
            folder: Where the page will be: a path or a URL.
            total: Pictures of the batch.
        """
        self._folder, self._total, self._start = folder, total, time.monotonic()
        self._counts: collections.Counter[str] = collections.Counter()
        self._painting_s = 0.0
        self._failed: list[outcomes.Outcome] = []
        self._shown: list[tuple[int, outcomes.Outcome]] = []  # a heap; of each row's number, the negative
        self._shown_bytes = 0

    def add(self, outcome: outcomes.Outcome) -> None:
        """Takes an outcome; each row's once."""
        self._counts[outcome.status] += 1
        if outcome.status == "failed":
            self._failed.append(outcome)
            return
        self._painting_s += outcome.seconds if outcome.status == "done" else 0.0
        if outcome.number >= outcomes.MOST_SHOWN:
            return
        heapq.heappush(self._shown, (-outcome.number, outcome))
        self._shown_bytes += len(outcome.thumbnail)
        while self._shown_bytes > _MOST_BYTES:
            self._shown_bytes -= len(heapq.heappop(self._shown)[1].thumbnail)

    def files(self) -> dict[str, bytes]:
        """Returns {name: contents} of the list of failures and of the page, as far as the batch has come."""
        return {outcomes.FAILURES: outcomes.failures(self._failed), NAME: self.page().encode("utf-8")}

    def page(self) -> str:
        """Returns the page."""
        pictures = [outcome for _, outcome in sorted(self._shown, reverse=True)]
        failed = sorted(self._failed, key=lambda each: each.number)
        title = f"{self._counts.total():,} of {self._total:,} pictures: {outcomes.counted(self._counts)}"
        body = [
            f"<h1>{title}</h1>",
            _facts(self._times()),
            self._left(),
            _section("Failures", _failures(failed), bool(failed)),
            _section("Pictures", self._sheet(pictures), bool(pictures)),
        ]
        return _PAGE.format(title=title, style=_STYLE, body="\n".join(filter(None, body)))

    def _times(self) -> dict[str, str]:
        """Returns {what: value} about the time that the batch took."""
        seconds, done = time.monotonic() - self._start, self._counts["done"]
        now = datetime.datetime.now(datetime.UTC)
        times = {"Written": f"{now:%Y-%m-%d %H:%M} UTC", "Time": tqdm.format_interval(seconds)}
        if done:
            times["Rate"] = f"{outcomes.a_minute(done, seconds)} pictures a minute"
            times["Painting"] = f"{self._painting_s / done:.3g} s a picture"
        return times

    def _left(self) -> str:
        left = self._total - self._counts.total()
        return f"<p>{left:,} are left: the same command goes on with them.</p>" if left > 0 else ""

    def _sheet(self, pictures: Sequence[outcomes.Outcome]) -> str:
        """Returns the contact sheet, and a line above it if it does not show all."""
        count = self._counts["done"] + self._counts["skipped"]
        note = f"<p>The first {len(pictures):,} of {count:,}.</p>\n" if len(pictures) < count else ""
        cells = "\n".join(_cell(each, _link(each.output, self._folder)) for each in pictures)
        return f'{note}<ul class="sheet">\n{cells}\n</ul>'


def _facts(facts: dict[str, str]) -> str:
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def _section(heading: str, content: str, there: bool) -> str:
    """Returns a section of the page; empty where there is nothing for it."""
    name = heading.lower()
    heading = f'<h2 id="{name}">{heading}</h2>'
    return f'<section aria-labelledby="{name}">\n{heading}\n{content}\n</section>' if there else ""


def _cell(outcome: outcomes.Outcome, link: str) -> str:
    """Returns a picture of the sheet: its thumbnail and what it is of, both a link to it."""
    note = "skipped: it was there" if outcome.status == "skipped" else f"{outcome.seconds:.3g} s"
    text = f"<b>{_name(outcome.content or outcome.output)}</b><span>{_styles(outcome)}</span>"
    href = html.escape(link)
    return f'<li><a href="{href}">{_thumbnail(outcome.thumbnail)}{text}</a><small>{note}</small></li>'


def _thumbnail(data: bytes) -> str:
    """Returns an image, without a text of its own: the link that it is in says what it is of."""
    if not data:
        return '<i aria-hidden="true"></i>'
    return (
        f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{base64.b64encode(data).decode("ascii")}">'
    )


def _styles(outcome: outcomes.Outcome) -> str:
    return f"in the style of {', '.join(map(_name, outcome.styles))}" if outcome.styles else ""


def _name(path: str) -> str:
    """Returns the name of a file for the page."""
    return _shown(path.replace("\\", "/").rstrip("/").rpartition("/")[2])


def _shown(text: str) -> str:
    """Returns a text as the page can have it: what is not printable would deceive, or is no Unicode."""
    return html.escape(errors.printable(text))


def _failures(failed: Sequence[outcomes.Outcome]) -> str:
    """Returns the table of failures, the first ones if there are many."""
    more = len(failed) > _MOST_FAILURES
    which = f"The first {_MOST_FAILURES:,} of {len(failed):,}" if more else "Pictures that failed"
    listed = f'{which}; <a href="{outcomes.FAILURES}">{outcomes.FAILURES}</a> lists all for programs.'
    rows = "\n".join(map(_failure, failed[:_MOST_FAILURES]))
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Picture", "Reason", "Tries"))
    table = (
        f"<table>\n<caption>{listed}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>"
    )
    return f"{table}\n</table>"


def _failure(failed: outcomes.Outcome) -> str:
    picture = f'<th scope="row">{_shown(failed.content or failed.output)} {_styles(failed)}</th>'
    return f"<tr>{picture}<td>{html.escape(outcomes.one_line(failed.why))}</td><td>{failed.tries}</td></tr>"


def _link(output: str, folder: str) -> str:
    """Returns the address of an output for a page in a folder: relative, if there is a way between them.

    Args:
        output: A path or a URL.
        folder: Likewise.
    """
    store, place = _split(output)
    folder_store, folder_place = _split(folder)
    if store != folder_store:
        if store:
            return urllib.parse.quote(os.fsencode(output), safe="/:")
        return pathlib.Path(output).absolute().as_uri()
    relative = posixpath if store else os.path
    try:
        way = relative.relpath(place, folder_place)
    except ValueError:  # on another drive of Windows
        return pathlib.Path(output).absolute().as_uri()
    return urllib.parse.quote(os.fsencode(way.replace(os.sep, "/")))  # whose bytes need not be Unicode


def _split(path: str) -> tuple[str, str]:
    """Returns the store of a URL, such as s3://bucket, and the path in it; of a local path no store."""
    scheme, found, place = path.partition("://")
    bucket, _, inner = place.partition("/")
    return (f"{scheme}://{bucket}", f"/{inner}") if found else ("", path)


# Colours are the browser's own, light or dark as it is set.
_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 25%, Canvas); }
body { font: 1rem/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; }
h1 { font-size: 1.4rem; }
dl, .sheet { list-style: none; margin: 0; padding: 0; }
dl { display: flex; flex-wrap: wrap; gap: 0.25rem 1.5rem; }
dl div { display: flex; gap: 0.5rem; }
dt::after { content: ":"; }
dd { margin: 0; }
.sheet { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(12rem, 45%), 1fr)); }
.sheet a { display: block; text-decoration: none; }
.sheet img, .sheet i { display: block; margin-bottom: 0.25rem; max-width: 100%; }
.sheet i { aspect-ratio: 4 / 3; border: 1px dashed var(--line); }
.sheet b, .sheet span { display: block; }
.sheet b { text-decoration: underline; }
.sheet span { color: CanvasText; }
.sheet li, td, th { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
caption { margin-bottom: 0.5rem; text-align: left; }
td, th { border-top: 1px solid var(--line); padding: 0.35rem 0.75rem 0.35rem 0; }
td, th { text-align: left; vertical-align: top; }
thead th { white-space: nowrap; }
tbody th { font-weight: normal; }
"""

# The policy: whatever a file's name makes of it, a page of pictures runs nothing and loads nothing.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
