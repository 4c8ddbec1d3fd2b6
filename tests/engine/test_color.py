"""Colours: statistics that become exactly the target's, chroma that stays, against NumPy's own formulas."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf import errors
from nst_tf.config import settings
from nst_tf.engine import color
from tests import conftest
from tests.support import oracle

# Of low contrast, so that nothing is clipped.
CONTENT = (0.3 + 0.4 * conftest.smooth_picture(2, 40, 56))[np.newaxis]
STYLE = (0.35 + 0.3 * conftest.smooth_picture(3, 30, 44)[..., ::-1] ** [1.0, 1.5, 2.0])[np.newaxis].astype(
    np.float32
)
GREY = np.repeat(CONTENT[..., :1], 3, axis=-1)
FLAT = np.full((1, 20, 30, 3), 0.4, np.float32)

# FCC's matrix of YIQ as `colorsys` has it, but with the digits of ITU-R BT.601 for Y.
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def numpy_statistics(image) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.asarray(image, np.float64).reshape(-1, 3)
    return pixels.mean(axis=0), np.cov(pixels.T, bias=True)


def numpy_matrix(source, target, root):
    """A by the textbook formulas, for covariances of full rank."""

    def symmetric(covariance):
        values, vectors = np.linalg.eigh(covariance)
        return vectors @ np.diag(np.sqrt(values)) @ vectors.T

    half = symmetric(source)
    return {
        "pca": lambda: symmetric(target) @ np.linalg.inv(half),
        "cholesky": lambda: np.linalg.cholesky(target) @ np.linalg.inv(np.linalg.cholesky(source)),
        "transport": lambda: np.linalg.inv(half) @ symmetric(half @ target @ half) @ np.linalg.inv(half),
    }[root]()


def matched(image, target, root):
    return color.match(tf.constant(image), color.statistics(tf.constant(target)), root).numpy()


def test_the_tables_equal_the_names_the_config_allows():
    assert tuple(color.COLORS) == settings.COLORS
    assert tuple(color.ROOTS) == settings.COLOR_ROOTS


def test_statistics_are_numpys():
    for image in (CONTENT, STYLE, GREY, FLAT):
        found = color.statistics(tf.constant(image))
        mean, covariance = numpy_statistics(image)
        np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(found.covariance, covariance, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("root", settings.COLOR_ROOTS)
def test_matching_gives_the_targets_mean_and_covariance(root):
    result = matched(STYLE, CONTENT, root)
    expected = numpy_statistics(CONTENT)
    np.testing.assert_allclose(numpy_statistics(result)[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(numpy_statistics(result)[1], expected[1], rtol=1e-5, atol=1e-8)
    assert np.abs(numpy_statistics(STYLE)[1] - expected[1]).max() > 1e-3, "they were the same before"


@pytest.mark.parametrize("root", settings.COLOR_ROOTS)
def test_matching_is_the_textbooks(root):
    (source_mean, source), (mean, covariance) = numpy_statistics(STYLE), numpy_statistics(CONTENT)
    matrix = numpy_matrix(source, covariance, root)
    expected = (STYLE.astype(np.float64) - source_mean) @ matrix.T + mean
    np.testing.assert_allclose(matched(STYLE, CONTENT, root), expected, atol=1e-5)


def test_the_roots_differ_and_transport_moves_colours_least():
    moved = {
        root: float(np.square(matched(STYLE, CONTENT, root) - STYLE).mean()) for root in settings.COLOR_ROOTS
    }
    assert len({round(value, 6) for value in moved.values()}) == 3
    assert min(moved, key=lambda root: moved[root]) == "transport"


@pytest.mark.parametrize("root", settings.COLOR_ROOTS)
@pytest.mark.parametrize(("image", "target"), [(CONTENT, GREY), (CONTENT, FLAT)])
def test_a_grey_target_is_matched_exactly_too(root, image, target):
    result = matched(image, target, root)
    np.testing.assert_allclose(numpy_statistics(result)[0], numpy_statistics(target)[0], rtol=1e-6)
    np.testing.assert_allclose(numpy_statistics(result)[1], numpy_statistics(target)[1], atol=1e-8)
    np.testing.assert_allclose(result[..., 0], result[..., 2], atol=2e-4)  # the root of 1e-8


@pytest.mark.parametrize("root", settings.COLOR_ROOTS)
@pytest.mark.parametrize("image", [GREY, FLAT])
def test_a_grey_picture_becomes_a_gradation_of_one_colour(root, image):
    """It has no more to give: the mean is the target's, and the rounding of a file is not blown up."""
    noise = np.random.default_rng(5).integers(-1, 1, image.shape) / 510
    for given in (image, (image + noise).astype(np.float32)):
        result = matched(given, CONTENT, root)
        assert np.isfinite(result).all()
        found, covariance = numpy_statistics(result)
        np.testing.assert_allclose(found, numpy_statistics(CONTENT)[0], rtol=1e-5)
        assert np.linalg.eigvalsh(covariance)[1] < 1e-4, "two directions are left"


def test_luminance_matches_mean_and_deviation():
    content, styles = color.COLORS["luminance"].prepare(tf.constant(CONTENT), [tf.constant(STYLE)], "pca")
    np.testing.assert_allclose(content[0], np.repeat(CONTENT[0] @ YIQ[:1].T, 3, axis=-1), atol=1e-6)
    style = STYLE[0].astype(np.float64) @ YIQ[0]
    target = CONTENT[0].astype(np.float64) @ YIQ[0]
    expected = (style - style.mean()) / style.std() * target.std() + target.mean()
    np.testing.assert_allclose(styles[0][0], np.repeat(expected[..., np.newaxis], 3, -1), atol=1e-5)
    flat = color.COLORS["luminance"].prepare(tf.constant(CONTENT), [tf.constant(FLAT)], "pca")[1][0]
    np.testing.assert_allclose(flat, np.full(FLAT.shape, target.mean()), atol=1e-5)


def test_luminance_leaves_chroma_as_it_was():
    picture = conftest.smooth_picture(9, 40, 56)[np.newaxis]
    finish = color.COLORS["luminance"].finish
    assert finish is not None
    shown = finish(tf.constant(picture), color.Reference(tf.constant(CONTENT)), "pca").numpy()
    expected, found = CONTENT @ YIQ[1:].T, shown.astype(np.float64) @ YIQ[1:].T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(shown - CONTENT).max() > 0.1
    np.testing.assert_allclose(shown @ YIQ[0], picture @ YIQ[0], atol=1e-6)


def test_the_painting_or_the_photograph_gets_the_others_colours():
    content, (style,) = color.COLORS["statistics"].prepare(CONTENT, [tf.constant(STYLE)], "pca")
    np.testing.assert_array_equal(content, CONTENT)
    np.testing.assert_allclose(style, np.clip(matched(STYLE, CONTENT, "pca"), 0, 1), atol=1e-6)
    recolored = color.recolor(tf.constant(CONTENT), _stacked(STYLE), tf.constant([1.0]), "cholesky")
    np.testing.assert_allclose(recolored, np.clip(matched(CONTENT, STYLE, "cholesky"), 0, 1), atol=1e-6)


def _stacked(*images):
    found = [color.statistics(tf.constant(image)) for image in images]
    return color.ColorStatistics(*(tf.stack(parts) for parts in zip(*found, strict=True)))


def test_of_several_paintings_the_photograph_gets_the_weighted_mean():
    content = color.recolor(tf.constant(CONTENT), _stacked(STYLE, GREY), tf.constant([0.25, 0.75]), "pca")
    expected = [
        0.25 * one + 0.75 * other
        for one, other in zip(numpy_statistics(STYLE), numpy_statistics(GREY), strict=True)
    ]
    np.testing.assert_allclose(numpy_statistics(content)[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(numpy_statistics(content)[1], expected[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("index", range(len(settings.COLORS)))
def test_a_choice_that_only_the_graph_knows_is_that_choice(index):
    chosen = color.COLORS[settings.COLORS[index]]
    any_image = tf.TensorSpec([1, None, None, 3], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32), any_image, any_image])
    def both(number, content, style):
        switched = color.switched(number)
        found = []
        for each in (switched, chosen):
            prepared, styles = each.prepare(content, [style], "pca")
            reference = color.Reference(content, None, color.palette(style))
            shown = each.finish(style, reference, "pca") if each.finish else style
            found.append([prepared, *styles, shown, each.to_loss_space(content), each.project(style)])
        return found

    came, expected = both(index, CONTENT, CONTENT[:, ::-1])
    for one, other in zip(came, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "root",
    [
        pytest.param(root, marks=() if root == settings.COLOR_ROOTS[0] else pytest.mark.slow)
        for root in settings.COLOR_ROOTS
    ],
)
@pytest.mark.parametrize("name", settings.COLORS)
def test_one_graph_serves_all_sizes(name, root, tmp_path):
    """As a model server would run it: saved, loaded, with pictures of other sizes."""
    chosen, any_image = color.COLORS[name], tf.TensorSpec([1, None, None, 3], tf.float32)

    def whole(content: Any, style: Any, picture: Any) -> Any:
        prepared, (styled,) = chosen.prepare(content, [style], root)
        reference = color.Reference(content, None, color.palette(style))
        shown = chosen.finish(picture, reference, root) if chosen.finish else picture
        return [prepared, styled, shown, chosen.to_loss_space(picture)]

    traced = tf.function(whole, [any_image] * 3, autograph=False)
    if root == "cholesky":
        module = tf.Module()
        module.whole = traced
        tf.saved_model.save(module, str(tmp_path))
        traced = tf.saved_model.load(str(tmp_path)).whole
    for content, style in ((CONTENT, STYLE), (CONTENT[:, :17], GREY)):
        direct = whole(tf.constant(content), tf.constant(style), tf.constant(content))
        for found, expected in zip(traced(content, style, content), direct, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "missing"),
    [("luminance", "photograph"), ("only", "painting"), ("match", "painting"), ("match", "photograph")],
)
def test_a_picture_that_is_missing_is_named(name, missing):
    images = {"content": CONTENT, "style": STYLE}
    color.check(name, **images)
    color.check("style", content=None, style=None)
    del images["content" if missing == "photograph" else "style"]
    with pytest.raises(errors.InputError, match=f"color: '{name}' needs a {missing}"):
        color.check(name, **{"content": None, "style": None, **images})


# A second picture of the size of the content, and weights that leave some of its pixels out.
PICTURE = (0.2 + 0.6 * conftest.smooth_picture(4, 40, 56))[np.newaxis].astype(np.float32)
ALPHA = np.random.default_rng(6).uniform(0, 1, (1, 40, 56, 1)).astype(np.float32)
ALPHA[:, :9, :30] = 0
STYLE_ALPHA = np.ones((*STYLE.shape[:3], 1), np.float32)
STYLE_ALPHA[:, :, 20:] = 0


def numpy_filtered(values, guide, alpha):
    """One filtering of [H, W, C] by [H, W], pixel by pixel."""
    height, width = guide.shape
    result = np.zeros_like(values)
    for row, column in np.ndindex(height, width):
        total, weights = 0.0, 0.0
        for above, beside in np.ndindex(3, 3):
            y = min(max(row + above - 1, 0), height - 1)
            x = min(max(column + beside - 1, 0), width - 1)
            weight = np.exp(-10 * abs(guide[y, x] - guide[row, column])) * alpha[y, x]
            total, weights = total + weight * values[y, x], weights + weight
        result[row, column] = total / weights if weights else 0.0
    return result


def numpy_matched(picture, content, style, alpha, style_alpha, root):
    """The colours of a choice "match" in float64, of pictures [1, H, W, 3]: OkLab, before sRGB."""
    lab, of_content, of_style = (oracle.to_oklab(each[0]) for each in (picture, content, style))
    weights, seen = alpha[0, ..., 0].astype(np.float64), style_alpha[0, ..., 0] > 0
    mean, covariance = of_style[seen].mean(axis=0), np.cov(of_style[seen].T, bias=True)
    own_mean = np.average(lab[..., 0], weights=weights)
    own_deviation = np.sqrt(np.average((lab[..., 0] - own_mean) ** 2, weights=weights))
    lightness = mean[0] + np.sqrt(covariance[0, 0]) / own_deviation * (lab[..., 0] - own_mean)
    lightness = np.clip(lightness, of_style[seen][:, 0].min(), of_style[seen][:, 0].max())
    flat = of_content[..., 1:].reshape(-1, 2)
    center = np.average(flat, axis=0, weights=weights.ravel())
    matrix = numpy_matrix(np.cov(flat.T, aweights=weights.ravel(), ddof=0), covariance[1:, 1:], root)
    chroma = ((flat - center) @ matrix.T + mean[1:]).reshape(*lightness.shape, 2)
    for _ in range(5):
        chroma = numpy_filtered(chroma, lightness, weights)
    chroma = np.clip(chroma, of_style[seen][:, 1:].min(axis=0), of_style[seen][:, 1:].max(axis=0))
    return np.dstack([lightness, chroma])


def repainted(picture, content, palette, alpha=None, root="pca"):
    finish = color.COLORS["match"].finish
    assert finish is not None
    reference = color.Reference(tf.constant(content), None if alpha is None else tf.constant(alpha), palette)
    return finish(tf.constant(picture), reference, root).numpy()


@pytest.mark.parametrize("root", settings.COLOR_ROOTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_match_is_numpys(root, weighted):
    alpha, style_alpha = (given if weighted else np.ones_like(given) for given in (ALPHA, STYLE_ALPHA))
    palette = color.palette(tf.constant(STYLE), tf.constant(style_alpha) if weighted else None)
    found = repainted(PICTURE, CONTENT, palette, alpha if weighted else None, root)
    expected = oracle.of_oklab(numpy_matched(PICTURE, CONTENT, STYLE, alpha, style_alpha, root))
    seen = alpha[0, ..., 0] > 0
    np.testing.assert_allclose(found[0][seen], expected[seen], atol=2e-4)
    assert np.abs(found - PICTURE).max() > 0.1


def test_match_gives_the_paintings_lightness_and_nearly_its_chroma():
    """The filter and the clamping take some of the variance."""
    found = oracle.to_oklab(repainted(PICTURE, CONTENT, color.palette(tf.constant(STYLE))))
    expected = oracle.to_oklab(STYLE)
    (mean, covariance), (target, wanted) = numpy_statistics(found), numpy_statistics(expected)
    np.testing.assert_allclose(mean, target, atol=0.004)
    np.testing.assert_allclose(covariance[0, 0], wanted[0, 0], rtol=0.05)
    before = numpy_statistics(oracle.to_oklab(CONTENT))[1]
    assert np.abs(covariance - wanted)[1:, 1:].max() < 0.35 * np.abs(before - wanted)[1:, 1:].max()


def test_colours_stay_in_the_paintings_range():
    half = STYLE * 0.2 + 0.4
    found = oracle.to_oklab(repainted(PICTURE, CONTENT, color.palette(tf.constant(half))))
    own = oracle.to_oklab(half)
    for channel in range(3):
        assert found[..., channel].min() > own[..., channel].min() - 1e-3
        assert found[..., channel].max() < own[..., channel].max() + 1e-3
    assert np.ptp(found[..., 0]) > 0.9 * np.ptp(own[..., 0])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_filter_is_numpys(weighted):
    generator = np.random.default_rng(2)
    values = generator.normal(0, 1, (1, 9, 12, 2)).astype(np.float32)
    guide = generator.uniform(0, 1, (1, 9, 12, 1)).astype(np.float32)
    alpha = np.where(generator.uniform(0, 1, guide.shape) < 0.5, 0, guide).astype(np.float32)
    alpha[:, :3, :3] = 0  # where no neighbour has any either
    given = alpha if weighted else np.ones_like(alpha)
    found = color.filtered(tf.constant(values), tf.constant(guide), tf.constant(alpha) if weighted else None)
    expected = numpy_filtered(values[0].astype(np.float64), guide[0, ..., 0], given[0, ..., 0])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5)
    assert not weighted or np.all(found[0, 0, 0] == 0)


def test_the_filter_keeps_colours_at_an_edge_of_light_and_smooths_them_elsewhere():
    guide = np.zeros((1, 8, 16, 1), np.float32)
    guide[:, :, 8:] = 1
    values = np.where(guide > 0, 0.3, -0.3).astype(np.float32)
    kept = color.filtered(tf.constant(values), tf.constant(guide)).numpy()
    np.testing.assert_allclose(kept, values, atol=1e-4)
    smoothed = color.filtered(tf.constant(values), tf.constant(np.zeros_like(guide))).numpy()
    np.testing.assert_allclose(smoothed[0, :, 7, 0], -0.1, atol=1e-6)


def test_the_palette_of_a_large_painting_is_that_of_some_rows_and_columns():
    whole = color.palette(tf.constant(STYLE))
    some = color.palette(tf.constant(STYLE), most_pixels=400)  # of 1320: every second row and column
    thinned = numpy_statistics(oracle.to_oklab(STYLE[:, ::2, ::2]))
    np.testing.assert_allclose(some.statistics.mean, thinned[0], atol=1e-6)
    np.testing.assert_allclose(some.statistics.covariance, thinned[1], atol=1e-6)
    assert not np.allclose(some.statistics.mean, whole.statistics.mean, atol=1e-7)


def test_several_paintings_have_the_mean_palette_and_all_of_their_range():
    both = [color.palette(tf.constant(image)) for image in (STYLE, GREY)]
    stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *both)
    found = color.blended(stacked, tf.constant([0.25, 0.75]))
    labs = [oracle.to_oklab(image).reshape(-1, 3) for image in (STYLE, GREY)]
    for index, name in enumerate(("mean", "covariance")):
        expected = 0.25 * numpy_statistics(labs[0])[index] + 0.75 * numpy_statistics(labs[1])[index]
        np.testing.assert_allclose(getattr(found.statistics, name), expected, atol=1e-6)
    np.testing.assert_allclose(found.low, np.concatenate(labs).min(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.high, np.concatenate(labs).max(axis=0), atol=1e-6)


def test_a_picture_without_contrast_or_colour_is_no_noise_afterwards():
    palette = color.palette(tf.constant(STYLE))
    mean = numpy_statistics(oracle.to_oklab(STYLE))[0]
    found = oracle.to_oklab(repainted(FLAT, FLAT, palette))
    np.testing.assert_allclose(found.reshape(-1, 3), np.tile(mean, (600, 1)), atol=1e-3)
    grey = oracle.to_oklab(repainted(PICTURE, np.repeat(PICTURE[..., :1], 3, -1), palette))
    np.testing.assert_allclose(grey[..., 1:], np.broadcast_to(mean[1:], grey[..., 1:].shape), atol=2e-3)


def test_a_picture_of_nan_fails_nothing():
    """A run that has diverged shows one before it goes back to its last good picture."""
    assert np.isnan(repainted(PICTURE * np.nan, CONTENT, color.palette(tf.constant(STYLE)))).any()
