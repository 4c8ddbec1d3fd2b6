"""What nobody sees of a picture does not count: colours under transparency change nothing."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import errors
from nst_tf.engine import color
from nst_tf.io import pictures
from tests import conftest

QUICK: dict[str, Any] = {
    "preset": "gram",
    "weights": "random",
    "size": 48,
    "steps": 4,
    "scales": (0.5, 1.0),
    "precision": "float32",
}


def _cut_out(seed, hidden):
    """Returns a picture whose right half is transparent, over some colour, with a soft edge."""
    pixels = pictures.to_uint8(conftest.smooth_picture(seed, 48, 64))
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, 32:] = 0
    alpha[:, 31] = 100
    pixels[alpha == 0] = hidden
    return Image.fromarray(np.dstack([pixels, alpha]))


@pytest.mark.parametrize(
    "mode",
    [
        *("style", "only"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("luminance", "match", "statistics")),
    ],
)
def test_hidden_colours_change_nothing(mode):
    made = [
        nst_tf.stylize(_cut_out(1, hidden), _cut_out(2, hidden[::-1]), color=mode, **QUICK).image
        for hidden in ((255, 0, 0), (0, 90, 10))
    ]
    np.testing.assert_array_equal(made[0], made[1])
    assert np.all(made[0][:, 33:] == 1), "the background is white where nothing is seen"
    assert np.any(made[0][:, :30] != 1)


@pytest.mark.slow
def test_a_texture_of_a_cut_out_painting_has_none_of_what_is_hidden():
    made = [
        nst_tf.stylize(None, _cut_out(2, hidden), content_weight=0, **QUICK).image
        for hidden in ((255, 0, 0), (0, 0, 255))
    ]
    np.testing.assert_array_equal(made[0], made[1])


@pytest.mark.slow
def test_a_jpeg_of_a_cut_out_shows_white_and_a_png_keeps_its_alpha(tmp_path):
    result = nst_tf.stylize(_cut_out(1, (255, 0, 0)), conftest.smooth_picture(2, 40, 40), **QUICK)
    result.save(tmp_path / "a.jpg")
    result.save(tmp_path / "a.png")
    shown = pictures.read(tmp_path / "a.jpg")[0]
    assert shown[:, 34:].min() > 0.97
    image, alpha = pictures.read_with_alpha(tmp_path / "a.png")
    assert alpha is not None
    assert np.all(alpha[:, :22] == 1)
    assert not alpha[:, 26:].any()
    assert np.abs(image[0] - result.image).max() < 2 / 255


@pytest.mark.slow
def test_a_mask_counts_beside_the_alpha():
    mask = np.zeros((48, 64), np.uint8)
    mask[:24] = 255
    content = _cut_out(1, (255, 0, 0))
    image = nst_tf.stylize(content, conftest.smooth_picture(2, 40, 40), content_mask=mask, **QUICK).image
    whole = pictures.read(content.resize((48, 36)))[0]
    assert np.abs(image - whole)[20:, :20].max() < 0.05  # kept: outside of the mask
    assert np.abs(image - whole)[:14, :20].max() > 0.05
    assert np.all(image[:, 26:] == 1)


@pytest.mark.parametrize("name", ["content", "style"])
def test_a_picture_of_which_nothing_is_seen_is_refused(name):
    given = {"content": _cut_out(1, (0, 0, 0)), "style": _cut_out(2, (0, 0, 0))}
    given[name].putalpha(0)
    with pytest.raises(errors.InputError, match=f"{name}: transparent everywhere"):
        nst_tf.stylize(**given, **QUICK)


def test_a_region_whose_style_is_transparent_there_is_refused():
    labels = np.full((48, 64, 3), 255, np.uint8)
    labels[:, :32] = (255, 0, 0)
    content = conftest.smooth_picture(1, 48, 64)
    with pytest.raises(errors.InputError, match=r"all styles of the region #ffffff .* are transparent"):
        nst_tf.stylize(
            content, _cut_out(2, (0, 0, 0)), content_regions=labels, style_regions=[labels], **QUICK
        )


@pytest.mark.slow
def test_an_opaque_picture_with_alpha_is_as_one_without():
    opaque = Image.fromarray(pictures.to_uint8(conftest.smooth_picture(1, 48, 64)))
    style = conftest.smooth_picture(2, 40, 40)
    with_alpha, without = (nst_tf.stylize(each, style, **QUICK) for each in (opaque.convert("RGBA"), opaque))
    np.testing.assert_array_equal(with_alpha.image, without.image)
    assert with_alpha.alpha is None


def test_statistics_of_what_is_seen_are_those_of_its_pixels_alone():
    image = conftest.smooth_picture(3, 9, 11).astype(np.float32)[np.newaxis]
    weights = np.random.default_rng(0).random((1, 9, 11, 1)).astype(np.float32)
    weights[:, :4] = 0
    found = color.statistics(tf.constant(image), tf.constant(weights))
    flat, shares = image.reshape(-1, 3).astype(np.float64), weights.ravel().astype(np.float64)
    np.testing.assert_allclose(found.mean, np.average(flat, axis=0, weights=shares), rtol=1e-6)
    np.testing.assert_allclose(
        found.covariance, np.cov(flat.T, aweights=shares, ddof=0), rtol=1e-4, atol=1e-8
    )
