"""With Oxford's ImageNet weights, where they are at hand: formulas and pictures."""

import numpy as np
import pytest

import nst_tf
from tests import conftest, oracle

IMAGE, CONTENT, STYLE = (conftest.smooth_picture(seed, 80, 96) for seed in (1, 2, 3))


@pytest.mark.parametrize("kind", ["real", "random"])
def test_gatys_pytorch_equals_the_oracle(kind, tmp_path):
    """The random network runs everywhere; the real one has the real sizes of features."""
    if kind == "real":
        path = str(conftest.real_weights())
    else:
        path = str(tmp_path / "random.weights.h5")
        oracle.random_vgg19().save_weights(path)
    expected = oracle.gatys_pytorch(oracle.vgg19(path), IMAGE, CONTENT, STYLE)
    found = nst_tf.evaluate(IMAGE, CONTENT, STYLE, preset="gatys_pytorch", weights=path)
    np.testing.assert_allclose(found[1:3], expected[:2], rtol=1e-4)
    assert found.total_variation == expected[2]
    np.testing.assert_allclose(found.total, sum(expected), rtol=1e-4)


@pytest.mark.parametrize("preset", ["default", "gatys_pytorch"])
def test_losses_fall_with_the_real_weights(preset):
    path = str(conftest.real_weights())
    result = nst_tf.stylize(CONTENT, STYLE, preset=preset, size=96, steps=60, weights=path)
    options = {"preset": preset, "weights": path}
    before = nst_tf.evaluate(CONTENT, CONTENT, STYLE, **options)
    assert result.losses.total < 0.2 * before.total
    assert result.losses.style < 0.1 * before.style
