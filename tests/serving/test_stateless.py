"""Every optimiser and every rule of size, as functions of tensors: the pictures are those of `Stylizer`."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.config import presets
from nst_tf.engine import stylizer
from nst_tf.losses import objective
from nst_tf.serving import stateless
from nst_tf.serving.settings import Limits, Settings
from tests import conftest

ANY = tf.TensorSpec([1, None, None, 3], tf.float32)
CONTENT = conftest.smooth_picture(2, 48, 64)[np.newaxis]
STYLE = conftest.smooth_picture(3, 70, 50)[np.newaxis]


# Rules and starts that the code of another case takes as well.
RARELY: list[tuple[str, dict[str, Any]]] = [
    ("anishathalye", {"pyramid_levels": 3}),
    ("johnson", {"color": "match"}),
    ("tf_tutorial", {}),
    ("keras_example", {}),
    ("anishathalye", {"noise_levels": 20.0}),
    ("johnson", {"history": 3}),
    ("crowsonkb", {}),
    ("keras_example", {"optimizer": "momentum"}),
    ("udacity", {"optimizer": "rmsprop"}),
    ("anhtu96", {"init": "gray"}),
    ("spst", {}),
    ("gram", {"color": "luminance"}),
    ("udacity", {"style_size": 40}),
]


def _stateless_run(config, narrow_weights):
    full = stateless.all_terms(config)
    judge = objective.Objective(full, narrow_weights, config.network.precision)
    return stateless.StatelessRun(full, judge, Limits(64 * 64, 1000))


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("gram", {"color": "statistics", "style_scale": 0.5}),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in RARELY),
    ],
)
def test_a_run_of_tensors_is_the_run_of_a_stylizer(preset, changes, narrow_weights):
    """Best and averaged iterates, decaying rates, noise, stretched pictures, squashed styles, statistics."""
    fields: dict[str, Any] = {"content_layers": ("relu2_2",), "style_layers": ("relu1_1", "relu2_1")}
    fields |= {"style_layer_weights": (1.0, 0.5), "size": 24}
    fields |= {"scales": (0.5, 1.0), "min_scale": 0, "steps": (3, 4)}
    config = presets.get(preset, **changes).replace(precision="float32", **fields)
    runs, settings = _stateless_run(config, narrow_weights), Settings.of_config(config).tensors()

    def whole(content, style):
        styles = stateless.one_style(style)
        tensors = {name: tf.constant(value) for name, value in settings.items()}
        return runs.stylize(runs.request(content, styles, tensors), styles)

    picture, losses = tf.function(whole, [ANY, ANY], autograph=False)(CONTENT, STYLE)
    run = stylizer.Stylizer(CONTENT, [STYLE], config, narrow_weights)
    run.run()
    assert len(run.scales) == 2
    np.testing.assert_array_equal(picture[0], run.picture())
    np.testing.assert_array_equal(losses, np.array(run.evaluate(), np.float32))


def test_the_settings_of_a_config_are_its_own():
    config = presets.get("johnson", seed=7)
    settings = list(Settings.of_config(config).tensors().values())
    expected = [1000, 512, 5.0, 100.0, 1e-3, 7]
    np.testing.assert_allclose(settings, expected, rtol=1e-7)


def test_every_term_has_a_weight():
    config = presets.get("gram", content_weight=0)
    full = stateless.all_terms(config)
    assert full.used_layers() == (config.content.layers, config.style.layers)
    assert (full.content.weight, full.style.weight, full.total_variation.weight) == (1.0, 1.0, 1.0)
