"""Masks and label pictures: what they mean, and what is said when they cannot be used."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from nst_tf import errors
from nst_tf.io import masks, pictures
from nst_tf.losses import guides, terms
from tests import conftest

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
SIZE = (20, 30)


def _stripes(*colors, height=20, width=30):
    """Returns a label picture [H, W, 3] uint8 of upright stripes of the same width."""
    columns = np.arange(width) * len(colors) // width
    return np.broadcast_to(np.array(colors, np.uint8)[columns], (height, width, 3)).copy()


def _plan(*arguments, **options):
    """Returns the regions, where there are some."""
    made = masks.plan(*arguments, **options)
    assert made is not None
    return made


def _error(*arguments, call=masks.plan, **options):
    """Returns the one line that a mistake is answered with."""
    with pytest.raises(errors.InputError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def test_no_mask_and_no_labels_are_no_regions():
    assert masks.plan(SIZE, [SIZE]) is None


def test_a_mask_alone_is_one_region_with_all_of_each_style():
    mask = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    made = _plan(SIZE, [(9, 8), (5, 7)], mask)
    np.testing.assert_allclose(made.content[..., 0], mask / 255, atol=1e-7)
    assert made.colors == ("#ffffff",)
    for style, size in zip(made.styles, [(9, 8), (5, 7)], strict=True):
        np.testing.assert_array_equal(style, np.ones((*size, 1)))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_white_mask_of_any_size_is_exactly_one(height, width, factor, smaller):
    own, size = (height, width), (height * factor, width * factor)
    own, size = (size, own) if smaller else (own, size)
    white = np.full((*own, 3), 255, np.uint8)
    for picture in (white, Image.fromarray(white)):
        made = _plan(size, [(1, 1)], picture)
        np.testing.assert_array_equal(made.content, np.ones((*size, 1), np.float32))


def test_a_white_mask_gives_the_gram_matrices_of_none():
    made = _plan((83, 50), [(64, 64)], np.full((166, 100), 255, np.uint8))
    guide = guides.at_layer(made.content[np.newaxis], "relu3_1", 1.0)
    features = np.random.default_rng(0).normal(size=(*guide.shape[:3], 5)).astype(np.float32)
    np.testing.assert_array_equal(terms.gram_sums(features, guide[0]), terms.gram_sums(features))


def test_a_coloured_mask_counts_by_luminance_as_pillow_does():
    picture = Image.fromarray(pictures.to_uint8(conftest.smooth_picture(1)))
    expected = np.asarray(picture.convert("L")) / 255
    np.testing.assert_allclose(masks.read_mask(picture), expected, atol=0.6 / 255)


def test_what_is_transparent_in_a_mask_is_black_and_its_file_is_read_upright(tmp_path):
    shape = np.zeros(SIZE, np.uint8)
    shape[:5, :7] = 200
    picture = Image.new("RGBA", SIZE[::-1], "white")
    picture.putalpha(Image.fromarray(shape))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    picture.save(tmp_path / "mask.png", exif=exif)
    mask = masks.read_mask(tmp_path / "mask.png")
    np.testing.assert_allclose(mask, np.rot90(shape, -1) / 255, atol=1e-7)


def test_labels_are_the_files_own_colours_upright(tmp_path):
    labels = _stripes((1, 2, 3), (254, 3, 77), (0, 0, 0))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(labels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(masks.read_labels(tmp_path / "turned.png"), np.rot90(labels, -1))
    # A profile of screens whose red is green, and the other way round.
    swapped = srgb.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
    for index, profile in enumerate([None, srgb, swapped]):
        path = str(tmp_path / f"{index}.png")
        Image.fromarray(labels).save(path, icc_profile=profile)
        np.testing.assert_array_equal(masks.read_labels(path), labels)
    assert np.any(pictures.to_uint8(pictures.read(path)) != labels)  # which photographs do heed
    for picture in (labels, labels / 255, Image.fromarray(labels), Image.fromarray(labels).quantize(3)):
        np.testing.assert_array_equal(masks.read_labels(picture), labels)
    grey = labels[..., 0]
    np.testing.assert_array_equal(masks.read_labels(Image.fromarray(grey)), np.stack([grey] * 3, -1))


def test_labels_of_sixteen_bits_are_those_of_eight():
    grey = _stripes((7, 7, 7), (8, 8, 8), (254, 254, 254))[..., 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(masks.read_labels(deep), masks.read_labels(Image.fromarray(grey)))


def test_what_is_transparent_in_labels_is_black_whatever_colour_lies_under_it():
    picture = Image.fromarray(_stripes(RED, GREEN, BLUE)).convert("RGBA")
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:, 10:20] = 0
    picture.putalpha(Image.fromarray(alpha))
    np.testing.assert_array_equal(masks.read_labels(picture), _stripes(RED, (0, 0, 0), BLUE))


def test_colours_are_matched_in_a_fixed_order():
    content = _stripes(RED, GREEN, BLUE)
    made = masks.match(content, [_stripes(BLUE, RED), _stripes(GREEN, height=4, width=5)])
    assert made.colors == ("#0000ff", "#00ff00", "#ff0000")
    np.testing.assert_array_equal(made.content.sum(axis=-1), np.ones(SIZE))
    for index, color in enumerate([BLUE, GREEN, RED]):
        np.testing.assert_array_equal(made.content[..., index], (content == color).all(-1))
    assert [style.shape for style in made.styles] == [(20, 30, 3), (4, 5, 3)]
    assert [style[0, 0].tolist() for style in made.styles] == [[1, 0, 0], [0, 1, 0]]
    assert not made.styles[0][..., 1].any()


def test_black_without_a_partner_is_unlabelled():
    made = masks.match(_stripes(BLACK, RED), [_stripes(RED)])
    assert made.colors == ("#ff0000",)
    np.testing.assert_array_equal(made.content[0, ::15, 0], [0, 1])
    made = masks.match(_stripes(RED), [_stripes(RED, BLACK)])
    np.testing.assert_array_equal(made.styles[0][0, ::15, 0], [1, 0])
    assert masks.match(_stripes(BLACK, RED), [_stripes(RED, BLACK)]).colors == ("#000000", "#ff0000")


def test_a_colour_stands_for_all_of_a_style():
    made = _plan(
        SIZE, [(9, 8), (5, 7)], content_regions=_stripes(RED, BLUE), style_regions=["#FF0000", "#0000ff"]
    )
    for style, size, expected in zip(made.styles, [(9, 8), (5, 7)], [[0, 1], [1, 0]], strict=True):
        np.testing.assert_array_equal(style, np.broadcast_to(expected, (*size, 2)))


def test_labels_of_another_size_still_share_out_every_pixel():
    made = _plan(
        (61, 91),
        [(7, 11)],
        content_regions=_stripes(RED, GREEN, BLUE),
        style_regions=[_stripes(RED, GREEN, BLUE, height=70, width=110)],
    )
    assert made.content.shape == (61, 91, 3)
    assert made.styles[0].shape == (7, 11, 3)
    for found in (made.content, *made.styles):
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
        np.testing.assert_array_equal(found[:, [0, -1]].max(axis=-1), 1)


def test_a_mask_takes_away_from_every_region():
    mask = np.zeros((40, 60), np.uint8)
    mask[:20] = 255
    mask[:, 40:] = 0
    labels = _stripes(RED, GREEN, BLUE)
    made = _plan(SIZE, [SIZE, SIZE], mask, labels, [_stripes(RED, GREEN), "#0000ff"])
    alone = _plan(SIZE, [SIZE], mask).content
    # Nothing of blue, the last stripe, is left.
    assert made.colors == ("#00ff00", "#ff0000")
    expected = np.stack([(labels == color).all(-1) for color in (GREEN, RED)], -1) * alone
    np.testing.assert_array_equal(made.content, expected)
    assert [style.shape[-1] for style in made.styles] == [2, 2]
    assert not made.styles[1].any()


def test_a_full_mask_changes_no_region():
    labels = _stripes(RED, GREEN)
    with_mask = _plan(SIZE, [SIZE], np.ones((40, 60)), labels, [labels])
    without = _plan(SIZE, [SIZE], None, labels, [labels])
    np.testing.assert_array_equal(with_mask.content, without.content)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_a_mask_fits_or_one_line_says_both_sizes(height, width, own_height, own_width):
    mask = np.ones((own_height, own_width))
    if abs((own_width / own_height) / (width / height) - 1) <= 0.01:
        assert _plan((height, width), [], mask).content.shape == (height, width, 1)
    else:
        message = _error((height, width), [], mask)
        assert (
            f"content_mask: {own_width} x {own_height} pixels for a picture of {width} x {height};" in message
        )


def test_a_label_picture_of_another_shape_is_named():
    labels = _stripes(RED)
    message = _error(SIZE, [SIZE, (20, 20)], None, labels, [labels, labels])
    assert message.startswith("style_regions 2: 30 x 20 pixels for a picture of 20 x 20;")


def test_unmatched_colours_are_listed_with_all_that_was_found():
    message = _error(_stripes(RED, GREEN), [_stripes(RED), _stripes(RED, BLUE)], call=masks.match)
    assert message == (
        "labels: #0000ff #00ff00 has no partner; content_regions: #00ff00 #ff0000; style_regions: #ff0000;"
        " style_regions 2: #0000ff #ff0000; every colour but black must be in content_regions and in a"
        " style's (JPEG changes colours: keep labels as PNG)"
    )


@pytest.mark.parametrize(("content", "style"), [(RED, BLUE), (BLACK, RED), (RED, BLACK)])
def test_no_colour_in_common_is_said(content, style):
    message = _error(_stripes(content), [_stripes(style)], call=masks.match)
    assert message.startswith("labels: no colour in common; content_regions: #")


def test_a_style_of_unused_black_is_named():
    message = _error(_stripes(RED), [_stripes(RED), _stripes(BLACK)], call=masks.match)
    assert message.startswith("style_regions 2: nothing but black")


def test_too_many_colours_are_explained(tmp_path):
    Image.fromarray(_stripes(RED, GREEN, BLUE)).save(tmp_path / "labels.jpg", quality=60)
    message = _error(SIZE, [SIZE], None, tmp_path / "labels.jpg", ["#ff0000"])
    assert message.startswith("content_regions: ")
    assert "colours; allowed: at most 16. JPEG" in message
    assert message.endswith("save as PNG")
    sixteen = _stripes(*[(shade, 0, 0) for shade in range(1, 17)], width=34)
    assert len(masks.match(sixteen, [sixteen]).colors) == 16
    seventeen = _stripes(*[(shade, 0, 0) for shade in range(1, 18)], width=34)
    assert _error(sixteen, [seventeen], call=masks.match).startswith("style_regions: 17 colours;")


def test_what_is_missing_or_too_much_is_named():
    labels = _stripes(RED)
    assert _error(SIZE, [SIZE], None, labels).startswith("style_regions: missing; content_regions needs")
    assert _error(SIZE, [SIZE], None, None, [labels]).startswith("content_regions: missing; style_regions")
    assert _error(SIZE, [SIZE], None, labels, [labels] * 2).startswith("style_regions: 2 for 1 styles;")


def test_what_would_paint_nothing_is_said():
    labels = _stripes(RED, BLACK)
    transparent = Image.new("RGBA", (30, 20), (0, 0, 0, 128))
    for black in (np.zeros(SIZE), transparent):
        assert _error(SIZE, [SIZE], black).startswith("content_mask: black everywhere")
    mask = np.zeros(SIZE)
    mask[:, 15:] = 1
    assert _error(SIZE, [SIZE], mask, labels, ["#ff0000"]).startswith("content_mask: it is black on all that")


@pytest.mark.parametrize("code", ["#ff00", "#gg0000", "#ff00000", "#", "#ff0000 ", "#ff0000\n"])
def test_a_colour_that_is_none_is_named(code):
    assert "neither a file nor a colour; write #rrggbb" in _error(
        code, "style_regions", call=masks.read_labels
    )


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for call in (masks.read_mask, masks.read_labels):
        assert "x: there is no file" in _error(tmp_path / "none.png", "x", call=call)
        assert "is not a picture" in _error(tmp_path / "text.png", "x", call=call)
        assert _error(np.zeros((3, 3, 4)), "x", call=call).startswith("x: shape [3, 3, 4]")
