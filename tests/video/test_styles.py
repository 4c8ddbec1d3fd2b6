"""Styles over time: their shares at a moment, times that make no sense."""

from fractions import Fraction

import pytest

from nst_tf import errors
from nst_tf.video import styles

TIMES = [Fraction(1), Fraction(3), Fraction(4)]


@pytest.mark.parametrize(
    ("moment", "shares"),
    [
        (0, (1, 0, 0)),
        (1, (1, 0, 0)),
        (1.5, (0.75, 0.25, 0)),
        (2, (0.5, 0.5, 0)),
        (3, (0, 1, 0)),
        (3.25, (0, 0.75, 0.25)),
        (9, (0, 0, 1)),
    ],
)
def test_between_two_times_their_styles_are_mixed(moment, shares):
    assert styles.shares(TIMES, Fraction(moment)) == shares


def test_one_style_is_alone():
    assert styles.shares([Fraction(0)], Fraction(7)) == (1,)


@pytest.mark.parametrize(
    ("times", "count"), [((0, 5), 3), ((0, 5, 5), 3), ((5, 0), 2), ((-1, 2), 2), ((), 1)]
)
def test_times_that_make_no_sense_are_refused(times, count):
    with pytest.raises(errors.InputError, match="style_times: ") as found:
        styles.check_times([Fraction(time) for time in times], count)
    assert len(str(found.value).splitlines()) == 1


def test_times_that_grow_are_good():
    styles.check_times(TIMES, 3)
