"""At which steps it is worth looking."""

import itertools

from nst_tf.callbacks import callback
from nst_tf.config import scales


def test_report_steps_are_dense_at_first_at_every_scale():
    plan = [scales.Scale(12, 16, 100, 0.5), scales.Scale(24, 32, 60, 1.0)]
    steps = callback.report_steps(plan)
    assert steps[:4] == [1, 2, 3, 4]
    assert {100, 101, 102, 160} <= set(steps)
    assert steps == sorted(set(steps))
    assert 40 < len(steps) < 70
    first = [step for step in steps if step <= 100]
    gaps = [later - earlier for earlier, later in itertools.pairwise(first[:-1])]
    assert gaps == sorted(gaps)


def test_a_long_run_is_looked_at_little_more_often_than_a_short_one():
    assert len(callback.report_steps([scales.Scale(12, 16, 6000, 1.0)])) < 70
    assert callback.report_steps([scales.Scale(12, 16, 1, 1.0)]) == [1]
