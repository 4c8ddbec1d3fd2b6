"""The default leaves no grid: its pictures' spectra have no lines at the periods of cells and of poolings."""

import numpy as np
import pytest

import nst_tf
from tests import conftest

# In pixels: cells of neighbours are 4 wide, VGG19's first poolings take 2, 4 and 8.
PERIODS = (2, 4, 8)

# Terms of a spectrum on either side of a line that tell what is usual there.
AROUND = 12


def line(picture):
    """Returns the greatest power at one of the periods, of rows or columns, over the median power around it.

    Args:
        picture: [H, W, 3].
    """
    gray = picture.mean(axis=-1)
    return max(_of_rows(each, period) for each in (gray, gray.T) for period in PERIODS)


def _of_rows(rows, period):
    width = rows.shape[1] // (2 * max(PERIODS)) * (2 * max(PERIODS))  # so that each period is one term
    cut = rows[:, :width] - rows[:, :width].mean(axis=1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(cut * np.hanning(width), axis=1))).mean(axis=0)
    at, end = width // period, len(power)
    around = [*range(at - AROUND, at - 2), *range(min(at + 3, end), min(at + AROUND + 1, end))]
    return power[at - 1 : at + 2].max() / np.median(power[around])


@pytest.mark.parametrize("period", PERIODS)
def test_a_hatch_that_no_eye_would_see_is_found(period):
    picture = np.random.default_rng(4).normal(0.5, 0.02, (192, 256, 3))
    assert line(picture) < 1.5
    picture[:, ::period] += 0.01
    assert line(picture) > 3
    assert line(picture.swapaxes(0, 1)) > 3


@pytest.mark.slow
def test_a_smooth_photograph_gets_no_grid(real_weights):
    content = conftest.smooth_picture(2, 192, 256)
    result = nst_tf.stylize(content, "sample:strokes", size=256, weights=str(real_weights))
    assert result.manifest["config"]["preset"] == "default"
    assert line(result.image) < 1.5
