"""Masks and label pictures in a graph: the regions of `io.masks`, bit for bit, and its refusals."""

import functools
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf import errors
from nst_tf.io import masks
from nst_tf.serving import regions
from tests import conftest
from tests.support import served

MAX_PIXELS = 20_000
SIZE, STYLE_SIZES = (48, 64), ((70, 50), (40, 60))
RED, BLUE, BLACK, GREEN = (255, 0, 0), (0, 0, 255), (0, 0, 0), (0, 255, 0)


labels = served.stripes


def png(picture):
    """Returns the bytes of a picture, or those of a colour or of nothing as they are."""
    return picture if isinstance(picture, bytes) else served.png(picture)


@functools.cache
def _traced():
    reader = regions.Reader(MAX_PIXELS)

    def found(mask, content, styles, names):
        files = regions.Files(mask, content, styles, names)
        painted, left = reader.content_masks(files, reader.colors(files), tf.constant(SIZE))
        of_styles = [
            reader.style_masks(styles[index], names[index], left, tf.constant(STYLE_SIZES[index]))
            for index in range(2)
        ]
        return painted, left, of_styles

    texts = [tf.TensorSpec([], tf.string)] * 2 + [tf.TensorSpec([None], tf.string)] * 2
    return tf.function(found, texts, autograph=False)


def _found(mask=b"", content=b"", styles=(b"", b"")):
    names = ["style_regions", "style_regions 2"]
    files = [png(mask), png(content)]
    return _traced()(*files, tf.constant([png(each) for each in styles]), tf.constant(names))


MASK = np.rint(conftest.smooth_picture(5, *SIZE)[..., 0] * 255).astype(np.uint8)
HALF = np.where(np.arange(SIZE[1]) < 40, 255, 0).astype(np.uint8) * np.ones((SIZE[0], 1), np.uint8)
OF_STYLES = tuple(labels(RED, BLUE, size=size) for size in STYLE_SIZES)


@pytest.mark.parametrize(
    ("mask", "content", "styles"),
    [
        (MASK, None, None),
        (MASK[:24, :32], None, None),  # enlarged
        (np.repeat(np.repeat(MASK, 3, 0), 2, 1)[:, ::2], None, None),  # refused by its shape
        (np.repeat(np.repeat(MASK, 2, 0), 2, 1)[:95, :127], None, None),  # shrunk by no whole number
        (np.stack([MASK, MASK // 2, MASK // 3, MASK.T.reshape(SIZE)], -1), None, None),
        (None, labels(RED, BLACK, BLUE), OF_STYLES),
        (HALF, labels(BLUE, RED, BLACK), (b"#ff0000", b"#0000FF")),
        (HALF, labels(RED, BLUE), (OF_STYLES[0][:35, :25], labels(BLUE, BLACK, size=(20, 30)))),
        (None, labels(RED, BLUE, GREEN, size=(33, 44)), (labels(RED, GREEN, size=(70, 50)), b"#0000ff")),
        (None, labels(BLACK, RED), (labels(BLACK, RED, size=(70, 50)), OF_STYLES[1] * [1, 1, 0])),
    ],
)
def test_regions_are_those_of_a_local_run(mask, content, styles):
    def local(parts):
        return (
            None if parts is None else [part.decode() if isinstance(part, bytes) else part for part in parts]
        )

    def picture(array):
        return None if array is None else Image.fromarray(np.ascontiguousarray(array))

    own = local(styles)
    own = own and [part if isinstance(part, str) else picture(part.astype(np.uint8)) for part in own]
    try:
        expected = masks.plan(SIZE, STYLE_SIZES, picture(mask), picture(content), own)
    except errors.InputError as error:
        with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(str(error).split(";")[0])):
            _found(b"" if mask is None else mask, b"" if content is None else content)
        return
    given: list[Any] = [b"" if each is None else each for each in (mask, content)]
    files = (
        (b"", b"")
        if styles is None
        else [part if isinstance(part, bytes) else part.astype(np.uint8) for part in styles]
    )
    assert expected is not None
    painted, left, of_styles = _found(given[0], given[1], files)
    np.testing.assert_array_equal(painted, expected.content)
    for found, wanted in zip(of_styles, expected.styles, strict=True):
        np.testing.assert_array_equal(found, wanted)
    codes = [-1] if content is None else [int(color[1:], 16) for color in expected.colors]
    assert list(left.numpy()) == codes


def test_without_files_there_is_one_region():
    painted, left, of_styles = _found()
    np.testing.assert_array_equal(painted, np.ones((*SIZE, 1)))
    assert [each.shape for each in of_styles] == [(*size, 1) for size in STYLE_SIZES]
    assert list(left.numpy()) == [-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": HALF * 0}, "content_mask: black everywhere"),
        ({"mask": b"GIF"}, "content_mask: not a PNG or JPEG"),
        ({"mask": png(HALF)[:-30]}, "content_mask: the file was cut short"),
        ({"mask": np.zeros((201, 100), np.uint8)}, "content_mask: 100 x 201 pixels; allowed: at most 20000"),
        ({"mask": HALF[:, :50]}, "content_mask: 50 x 48 pixels for a picture of 64 x 48; the aspect ratios"),
        ({"content": labels(RED)}, "style_regions: 0 for 2 styles; allowed: one for each"),
        ({"content": labels(RED), "styles": (b"#ff0000", b"")}, "style_regions: 1 for 2 styles"),
        ({"styles": (b"#ff0000", b"#0000ff")}, "style_regions: 2 for 2 styles; allowed: .* none without"),
        ({"content": labels(RED), "styles": (b"#ff0000", b"#ff000")}, "style_regions 2: not a PNG or JPEG"),
        (
            {"content": labels(RED, BLUE), "styles": (b"#ff0000", b"#00ff00")},
            "labels: #0000ff #00ff00 has no partner; content_regions: #0000ff #ff0000; style_regions:"
            " #ff0000, #00ff00; every colour but black",
        ),
        ({"content": labels(BLACK), "styles": (OF_STYLES[0], b"#ff0000")}, "labels: #0000ff #ff0000 has no"),
        ({"content": labels(RED), "styles": (b"#ff0000", b"#000000")}, "style_regions 2: nothing but black"),
        (
            {"content": labels(RED), "styles": (b"#ff0000", png(MASK))},
            r"style_regions 2: \d+ colours; allowed: at most 16",
        ),
        (
            {"mask": HALF, "content": labels(BLACK, BLACK, RED), "styles": (b"#ff0000", b"#ff0000")},
            "content_mask: it is black on all that content_regions gives a colour",
        ),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        _found(**changes)


def test_many_regions_of_a_large_picture_are_refused():
    reader = regions.Reader(SIZE[0] * SIZE[1] // 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="16 regions of 64 x 48 pixels; allowed: 6144"):
        reader.style_masks(tf.constant(b""), tf.constant("style_regions"), tf.range(16), tf.constant(SIZE))


def test_a_transparent_label_is_black():
    seen = np.concatenate([labels(RED), np.full((*SIZE, 1), 255, np.uint8)], -1)
    seen[:, 30:, 3] = 0
    painted, _, _ = _found(content=seen, styles=(b"#ff0000", b"#ff0000"))
    np.testing.assert_array_equal(painted[..., 0], np.broadcast_to(np.arange(64) < 30, SIZE))
    assert served.decode(png(seen)).shape == (48, 64, 4)
