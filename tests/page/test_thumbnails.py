"""The thumbnails of the presets, which the package has."""

import pytest
from PIL import Image

from nst_tf.config import presets
from nst_tf.page import thumbnails

THERE = sorted(path.stem for path in thumbnails.folder().iterdir())


@pytest.mark.parametrize("preset", THERE)
def test_they_are_small(preset):
    with Image.open(thumbnails.path(preset)) as opened:
        assert (opened.format, max(opened.size)) == ("JPEG", 128)
    assert thumbnails.path(preset).stat().st_size < 20_000


def test_they_are_of_presets():
    assert set(THERE) <= set(presets.PRESETS)
