"""Hostile inputs are accepted or refused in one line; the campaign notices where they are not."""

import collections
import contextlib
import resource

import psutil
import pytest
from fuzz import campaign, outcomes, readers, report

from tests.support import odd_readers

# Inputs of each reader: some of its most frequent damages, in a second or two.
COUNTS = {"pictures": 250, "labels": 150, "manifests": 400, "weights": 400, "checkpoints": 300, "flags": 300}
COUNTS |= {"films": 150}
FIRST = 200  # two pictures before are bombs, which take seconds: they are left to the campaign


@contextlib.contextmanager
def _little_memory():
    """Keeps an input that asks for terabytes from getting what the machine has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + campaign.Limits().bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", COUNTS)
def test_an_input_is_accepted_or_refused_in_one_line(name, tmp_path):
    reader = readers.READERS[name]
    kinds: collections.Counter[str] = collections.Counter()
    folder = tmp_path / "inputs"
    folder.mkdir()
    failed = []
    with reader.prepared(), _little_memory():
        for number in range(FIRST, FIRST + COUNTS[name]):
            outcome = outcomes.outcome_of(reader, outcomes.made(name, number, reader), folder)
            kinds[outcome.kind] += 1
            if outcome.kind == "traceback":
                failed.append(f"{number}: {outcome.text[:300]} at {outcome.place}")
    assert not failed, "\n".join([f"{len(failed)} of {COUNTS[name]}", *failed])
    # Neither all sound nor all dust.
    assert min(kinds["accepted"], kinds["error"]) >= COUNTS[name] // 50, kinds


def test_every_reader_is_in_the_small_campaign():
    assert set(COUNTS) == set(readers.READERS)


@pytest.mark.slow
def test_the_campaign_notices_each_kind_of_failure_and_goes_on_after_it():
    limits, told = campaign.Limits(seconds=0.5, bytes=50 * 2**20), {}
    numbers = [*range(len(odd_readers.ENDS)), 0, 1]  # the last two after all that ends a process
    odd = outcomes.Reader(odd_readers.numbered, odd_readers.as_numbered)
    counts = campaign.run(
        {"odd": odd}, numbers, limits, on_failure=lambda _, number, outcome: told.update({number: outcome})
    )
    kinds = list(odd_readers.ENDS.values())
    failures = {number: kind for number, kind in enumerate(kinds) if kind in campaign.FAILURES}
    assert {number: outcome.kind for number, outcome in told.items()} == failures
    count = counts["odd"]
    assert (count.inputs, count.accepted, count.failed()) == (len(numbers), 2, len(failures))
    assert dict(count.errors) == {"content: N of '...' cannot be read": 2}
    expected = collections.Counter(failures.values())
    assert {kind: found.total() for kind, found in count.failures.items()} == expected
    assert "KeyError" in told[kinds.index("traceback") + 1].text
    assert "SIGABRT" in told[kinds.index("crash")].text
    assert "exit code 5" in told[kinds.index("crash") + 1].text
    assert report.table(counts).splitlines()[1].split() == ["odd", "12", "2", "2", "3", "2", "2", "1"]
    assert f"hang: ended at the limit (--readers=odd --only={kinds.index('hang')})" in report.details(counts)


def test_several_workers_read_every_input_once():
    odd = outcomes.Reader(odd_readers.numbered, odd_readers.as_numbered)
    counts = campaign.run({"odd": odd}, [0, 1, 0, 1, 0], campaign.Limits(), workers=2)
    assert (counts["odd"].accepted, counts["odd"].errors.total()) == (3, 2)
