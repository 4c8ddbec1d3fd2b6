"""How much may be uploaded within an hour."""

from nst_tf.page import files, quota


def _quota(most_bytes):
    """Returns a quota, and the clock's hand in a list."""
    now = [0.0]
    return quota.Quota(most_bytes, lambda: now[0]), now


def test_an_address_has_its_bytes_within_an_hour_and_others_have_theirs():
    counted, now = _quota(100)
    assert counted.take("ann", 60)
    assert counted.take("ann", 41) is None
    assert counted.take("ann", 40)
    assert counted.take("bob", 100)
    now[0] = files.AGE_S
    assert counted.take("ann", 100)
    assert counted.take("ann", 1) is None


def test_an_upload_that_was_not_let_in_does_not_count():
    counted, _ = _quota(100)
    taken = counted.take("ann", 100)
    assert taken is not None
    counted.give_back(taken)
    assert counted.take("ann", 100)


def test_the_number_of_uploads_is_bounded(monkeypatch):
    monkeypatch.setattr(quota, "MOST_UPLOADS", 3)
    counted, _ = _quota(100)
    assert [counted.take("ann", 1) is not None for _ in range(4)] == [True, True, True, False]


def test_all_addresses_together_are_bounded():
    counted, _ = _quota(100)
    taken = [counted.take(str(number), 100) is not None for number in range(quota.MOST_ADDRESSES + 1)]
    assert taken == [True] * quota.MOST_ADDRESSES + [False]
