"""What one person may ask of a page."""

import pytest

from nst_tf import errors
from nst_tf.config import presets
from nst_tf.page.limits import Limits

CONTENT, STYLE = (300, 400), (200, 200)


def test_by_default_every_preset_may_be_painted_at_its_own_size():
    for name in presets.PRESETS:
        Limits().check(presets.get(name), CONTENT, [STYLE])


@pytest.mark.parametrize(
    ("limits", "settings", "message"),
    [
        ({"max_steps": 99}, {"steps": 100}, "steps: 100 in all; allowed on this page: 99"),
        ({"max_pixels": 75 * 99}, {"size": 100}, "size: 100 x 75 pixels; allowed on this page: 7,425 in all"),
        ({"max_pixels": 100 * 100}, {"size": 100, "style_scale": 2}, "style_scale: 200 x 200 pixels"),
        ({"max_pixels": 300 * 400 - 1}, {"size": 0}, "size: 400 x 300 pixels"),
    ],
)
def test_more_is_refused_in_one_line(limits, settings, message):
    with pytest.raises(errors.InputError, match=message):
        Limits(**limits).check(presets.get("default", **settings), CONTENT, [STYLE])


def test_what_is_allowed_goes_through_to_the_last_pixel_and_step():
    limits = Limits(max_pixels=100 * 100, max_steps=100)
    limits.check(presets.get("default", size=100, steps=100), CONTENT, [STYLE])


def test_a_run_without_steps_has_none_too_many():
    Limits(max_steps=1).check(presets.get("default", color="only", size=100), CONTENT, [STYLE])


@pytest.mark.parametrize("name", ["max_pixels", "max_steps", "max_upload_mb", "max_queue"])
def test_a_limit_of_nothing_is_a_mistake(name):
    with pytest.raises(errors.InputError, match=f"{name}: 0; allowed: 1 and above"):
        Limits(**{name: 0})
