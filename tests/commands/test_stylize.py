"""What the command says of a picture that is probably useless."""

import dataclasses

import numpy as np
import pytest

from nst_tf.commands import stylize
from nst_tf.config import presets
from nst_tf.engine.progress import TraceRow
from tests import conftest


@dataclasses.dataclass
class _Result:
    """What is asked of a result."""

    image: np.ndarray
    trace: tuple[TraceRow, ...]
    config: object


def _hint(totals, image=None, **changes):
    rows = tuple(TraceRow(1, step, total, 0.0, total, 0.0, 0.1) for step, total in enumerate(totals, 1))
    shown = conftest.smooth_picture(1) if image is None else image
    return stylize._hint(_Result(shown, rows, presets.get("default", **changes)))  # type: ignore[arg-type]


FALLING = [10.0 / step for step in range(1, 13)]


@pytest.mark.parametrize("totals", [FALLING, [1.0, 2.0, 3.0], [5.0, *[6.0] * 20, 4.9], ()])
def test_a_run_that_may_be_good_gets_no_hint(totals):
    assert _hint(totals) is None


def test_a_loss_that_never_falls_gets_its_likely_cause():
    rising = [1.0 + step for step in range(12)]
    with_rate = _hint(rising, optimizer="adam", learning_rate=500.0)
    assert str(with_rate).startswith("the loss never fell at the last scale. A learning rate of 500 is")
    assert str(with_rate).endswith("try --learning_rate=50")
    assert "make them larger" in str(_hint([1.0] * 12))


def test_only_the_last_scale_counts():
    rows = [TraceRow(1, step, step, 0.0, step, 0.0, 0.1) for step in range(1, 20)]
    rows += [TraceRow(2, step, 100.0 - step, 0.0, 1.0, 0.0, 0.1) for step in range(20, 40)]
    result = _Result(conftest.smooth_picture(1), tuple(rows), presets.DEFAULT)
    assert stylize._hint(result) is None  # type: ignore[arg-type]


def test_a_picture_that_ends_almost_uniform_gets_a_hint():
    grey = np.full((8, 8, 3), 0.5, np.float32) + np.linspace(0, 0.01, 8, dtype=np.float32)[:, None, None]
    assert "almost uniform" in str(_hint(FALLING, grey))
    assert _hint((), grey) is None  # recoloured, without steps
