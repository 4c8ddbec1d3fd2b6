"""With Oxford's ImageNet weights, where they are at hand: formulas and pictures."""

import numpy as np
import pytest

import nst_tf
from nst_tf.config import presets
from tests import conftest
from tests.support import oracle

IMAGE, CONTENT, STYLE = (conftest.smooth_picture(seed, 48, 64) for seed in (1, 2, 3))


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """A file of seeded weights, for machines that have no real ones."""
    path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
    oracle.random_vgg19().save_weights(path)
    return str(path)


def test_every_published_preset_has_an_oracle():
    # That of neighbours alone is `losses/test_neighbors.py`.
    assert set(oracle.FORMULAS) == set(presets.PRESETS) - {"default", "draft", "gram", "nnst"}


@pytest.mark.parametrize("preset", oracle.FORMULAS)
@pytest.mark.parametrize("kind", ["real", pytest.param("random", marks=pytest.mark.slow)])
def test_every_preset_equals_its_oracle(kind, preset, request):
    """Content, style and total variation separately, on Keras' own VGG19."""
    path = str(request.getfixturevalue(f"{kind}_weights"))
    expected = oracle.evaluate(preset, path, IMAGE, CONTENT, STYLE)
    found = nst_tf.evaluate(IMAGE, CONTENT, STYLE, preset=preset, weights=path)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-4)
    np.testing.assert_allclose(found.total, sum(expected), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["gram", "gatys_pytorch"])
def test_losses_fall_with_the_real_weights(preset, real_weights):
    path = str(real_weights)
    content, style = (conftest.smooth_picture(seed, 80, 96) for seed in (2, 3))
    result = nst_tf.stylize(content, style, preset=preset, size=96, steps=60, weights=path)
    options = {"preset": preset, "weights": path}
    before = nst_tf.evaluate(content, content, style, **options)
    assert result.losses.total < 0.2 * before.total
    assert result.losses.style < 0.1 * before.style
