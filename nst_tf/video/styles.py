"""Styles over time: which style picture a moment of a film has, and how two are mixed between their times."""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from nst_tf import errors


def check_times(times: Sequence[Fraction], count: int) -> None:
    """Checks the times at which styles are alone.

    Args:
        times: Seconds of the film.
        count: Of styles.

    Raises:
        InputError: There are not as many as styles, or they do not grow.
    """
    shown = ", ".join(f"{float(time):g}" for time in times)
    if len(times) != count:
        raise errors.InputError(f"style_times: {shown} for {count} styles; name one time for each")
    if any(later <= earlier for earlier, later in itertools.pairwise(times)) or times[0] < 0:
        raise errors.InputError(
            f"style_times: {shown}; allowed: seconds from 0 on, each after the one before"
        )


def shares(times: Sequence[Fraction], moment: Fraction) -> tuple[float, ...]:
    """Returns the share of each style at a moment; they add up to 1.

    Before the first time and after the last one its style is alone; between two times their styles are mixed,
    in proportion.

    Args:
        times: When styles are alone, as `check_times` wants them.
        moment: Of the film.
    """
    own = np.eye(len(times))
    return tuple(float(np.interp(float(moment), [float(time) for time in times], column)) for column in own)
