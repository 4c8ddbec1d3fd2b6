"""Regions drawn with brushes, against what NumPy says of their pixels."""

import numpy as np
from PIL import Image, ImageDraw

from nst_tf.io import masks
from nst_tf.page import regions

SIZE = (96, 64)  # width, height


def _layer(*strokes):
    """Returns a layer with boxes of a colour: smoothed edges, as browsers draw them."""
    layer = Image.new("RGBA", (SIZE[0] * 4, SIZE[1] * 4))
    for color, box in strokes:
        ImageDraw.Draw(layer).rectangle([4 * side for side in box], fill=color)
    return layer.resize(SIZE, Image.Resampling.BICUBIC)


def _label(drawn, color):
    return (np.asarray(drawn.labels) == list(bytes.fromhex(color[1:]))).all(-1)


def test_without_strokes_all_paintings_are_everywhere():
    assert regions.read([], 3) == regions.Drawn(None, (0, 1, 2), ())


def test_a_stroke_of_the_second_brush_is_the_second_painting():
    drawn = regions.read([_layer((regions.BRUSHES[1], (20, 10, 60, 40)))], 2)
    assert drawn.used == (0, 1)
    assert drawn.colors == regions.BRUSHES[:2]
    second = _label(drawn, regions.BRUSHES[1])
    assert second[15:36, 25:56].all()
    assert not second[:8].any()
    assert not second[44:].any()
    np.testing.assert_array_equal(second, ~_label(drawn, regions.BRUSHES[0]))


def test_what_is_black_keeps_the_photograph():
    drawn = regions.read([_layer((regions.KEEP, (0, 0, 40, 64)))], 1)
    assert (drawn.used, drawn.colors) == ((0,), regions.BRUSHES[:1])
    content = np.asarray(drawn.labels)
    found = masks.match(content, [masks.read_labels(drawn.colors[0], size=(8, 8))])
    assert found.colors == regions.BRUSHES[:1]
    assert not found.content[:, :36].any()
    assert found.content[:, 44:].all()


def test_edges_between_strokes_are_no_region_of_a_third():
    for first in range(len(regions.BRUSHES)):
        for second in range(first):
            strokes = [(regions.BRUSHES[first], (0, 0, 47, 63)), (regions.BRUSHES[second], (48, 0, 96, 63))]
            drawn = regions.read([_layer(*strokes)], len(regions.BRUSHES))
            assert set(drawn.used) <= {0, first, second}, (first, second)
            assert {first, second} <= set(drawn.used)


def test_later_layers_lie_above_and_brushes_without_a_painting_are_the_nearest():
    below = _layer((regions.BRUSHES[1], (0, 0, 96, 64)))
    above = _layer((regions.BRUSHES[0], (0, 0, 96, 64)))
    assert regions.read([below, above], 2) == regions.Drawn(None, (0,), ())
    assert regions.read([_layer((regions.BRUSHES[5], (0, 0, 96, 64)))], 1).used in ((0,), ())


def test_everything_kept_uses_no_painting():
    assert regions.read([_layer((regions.KEEP, (0, 0, 96, 64)))], 2).used == ()
