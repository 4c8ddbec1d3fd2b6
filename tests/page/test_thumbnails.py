"""The thumbnails of the presets, which the package has."""

import pytest
from PIL import Image

from nst_tf.config import presets
from nst_tf.page import thumbnails


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_every_preset_has_a_small_one(preset):
    with Image.open(thumbnails.path(preset)) as opened:
        assert (opened.format, max(opened.size)) == ("JPEG", 128)
    assert thumbnails.path(preset).stat().st_size < 20_000


def test_there_are_no_others():
    assert {path.stem for path in thumbnails.folder().iterdir()} == set(presets.PRESETS)
