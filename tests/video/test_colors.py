"""The colours of a result for what has not been painted yet."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from nst_tf.video import colors
from tests import conftest


def _frame(seed, height=48, width=64):
    return np.rint(255 * conftest.smooth_picture(seed, height, width)).astype(np.uint8)


def test_colors_that_an_affine_map_made_are_found_again():
    """Also where the result has another size than its frame."""
    turned = np.array([[0.2, 0.5, 0.1], [0.4, -0.3, 0.2], [0.1, 0.3, 0.5]])

    def painted(picture):
        return picture / 255 @ turned + [0.1, 0.3, 0.1]

    for size in ((48, 64), (96, 128)):
        seen, other = _frame(1), _frame(2)
        found = colors.recolored(
            other, seen, np.kron(painted(seen), np.ones((size[0] // 48, size[1] // 64, 1)))
        )
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, painted(other), atol=1 / 255)


def test_of_a_film_of_one_color_the_result_s_mean_is_taken():
    seen = np.full((48, 64, 3), 128, np.uint8)
    painted = conftest.smooth_picture(3)
    found = colors.recolored(seen, seen, painted)
    np.testing.assert_allclose(found, np.broadcast_to(painted.mean(axis=(0, 1)), found.shape), atol=1e-3)


def test_no_color_is_out_of_range():
    seen = _frame(1) // 4 + 96
    found = colors.recolored(_frame(2), seen, seen / 255.0 * 8 - 3)
    assert (found.min(), found.max()) == (0, 1)
