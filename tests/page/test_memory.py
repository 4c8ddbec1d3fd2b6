"""The memory of a page's process over many runs."""

import gc

import psutil
import pytest

from nst_tf.io import samples
from nst_tf.page import backends, files, session
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order
from tests import conftest

RUNS, WARM = 100, 30

# Of the memory after the first runs, by which TensorFlow has loaded what it needs.
GROWTH = 1.15


@pytest.mark.slow
def test_it_stays_flat_over_a_hundred_runs_of_several_sizes_and_presets(capsys):
    store, presets, sizes = files.Store(), ("gram", "gatys2015", "crowsonkb"), (48, 64, 96)
    own = session.Session(store.session_folder(), backends.Here(Limits()))
    taken = []
    for number in range(RUNS):
        preset = presets[number // 10 % len(presets)]
        layers = {**conftest.SHALLOW, "content_layers": ("relu2_1",)}
        settings = {
            "size": sizes[number % 3],
            "steps": 5,
            "weights": "builtin",
            "precision": "float32",
            **layers,
        }
        order = Order(
            content=samples.to_path("sample:town"),
            styles=(samples.to_path("sample:strokes"),),
            preset=preset,
            overrides=settings,
        )
        for update in own.paint(order):
            del update
            if number % 4 == 0:
                own.stop()
        gc.collect()
        taken.append(psutil.Process().memory_info().rss)
    store.close()
    with capsys.disabled():
        print(f"\nmemory after runs {WARM} and {RUNS}: {taken[WARM] / 1e6:.0f} and {taken[-1] / 1e6:.0f} MB")
    assert taken[-1] < GROWTH * taken[WARM]
