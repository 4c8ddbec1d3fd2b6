"""Frames of a film: what they are held to, where they begin, what they share, how much they flicker."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf import api, errors
from nst_tf.config import presets
from nst_tf.engine import formulations, frames, stylizer
from nst_tf.io import inputs, pictures
from nst_tf.io.masks import Regions
from nst_tf.losses.values import FrameLosses, Losses
from tests import conftest
from tests.support import films

CONTENT, STYLE, BEFORE = (conftest.smooth_picture(seed)[np.newaxis] for seed in (2, 3, 4))
TRUST = np.ones([1, 48, 64, 1], np.float32)


def _config(**changes: Any) -> Any:
    """Returns the config of a small run through the first layers."""
    settings: dict[str, Any] = {"size": 64, "scales": (0.5, 1.0), "steps": (2, 3), "precision": "float32"}
    return presets.get("gram", **(conftest.SHALLOW | settings | changes))


def _later(narrow_weights, earlier=None, content=CONTENT, steps=3, **changes):
    """Returns a run that begins with `BEFORE`, held to it unless other earlier frames are named."""
    earlier = earlier or frames.Earlier(BEFORE, TRUST)
    config = frames.later_config(_config(**({"temporal_weight": 100.0} | changes)), steps)
    return stylizer.Stylizer(
        content, [STYLE], config, narrow_weights, init_image=BEFORE, frame=frames.Frame(earlier=earlier)
    )


def _temporal(losses):
    """Returns what earlier frames add to the losses of a frame."""
    assert isinstance(losses, FrameLosses)
    return float(losses.temporal)


@pytest.mark.parametrize(
    ("pictures", "reliability", "message"),
    [
        (BEFORE[0], TRUST, r"earlier: \(48, 64, 3\), \(1, 48, 64, 1\); allowed: \[J, H, W, 3\]"),
        (BEFORE, TRUST[..., 0], r"allowed: \[J, H, W, 3\] and \[J, H, W, 1\]"),
        (BEFORE[:0], TRUST[:0], "allowed"),
        (255 * BEFORE, TRUST, "values from"),
        (BEFORE, 2 * TRUST, "reliability from 2 to 2; allowed: 0 to 1"),
        (BEFORE, np.nan * TRUST, "reliability from nan"),
    ],
)
def test_what_cannot_be_held_to_gets_one_line(pictures, reliability, message):
    with pytest.raises(errors.InputError, match=message):
        frames.Earlier(pictures, reliability)


def test_a_later_frame_begins_at_its_last_scale_where_an_earlier_one_ended(narrow_weights):
    run = _later(narrow_weights)
    assert len(run.scales) == 1
    np.testing.assert_array_equal(run.image.numpy(), BEFORE)
    assert run.config.optimizer.preconditioner != "none"
    assert int(run.state()["state/preconditioned"]) == 0  # large shapes stay


def test_a_frames_losses_have_the_earlier_frames(narrow_weights):
    trusted = np.random.default_rng(1).random(TRUST.shape).astype(np.float32)
    run = _later(narrow_weights, frames.Earlier(CONTENT, trusted))
    losses = run.step()
    assert isinstance(losses, FrameLosses)
    expected = 100.0 * np.mean(trusted * (255 * BEFORE - 255 * CONTENT) ** 2)
    np.testing.assert_allclose(losses.temporal, expected, rtol=1e-5)
    np.testing.assert_allclose(losses.total, sum(losses[1:]), rtol=1e-5)
    seen: list[Any] = []
    run.run(seen.append)
    assert all(isinstance(row, FrameLosses) for row in seen[-1].losses)
    assert isinstance(run.evaluate(), FrameLosses)


def test_a_film_is_one_graph_however_many_earlier_frames_there_are(narrow_weights):
    several = [frames.Earlier(np.tile(BEFORE, (n, 1, 1, 1)), np.tile(TRUST, (n, 1, 1, 1))) for n in (1, 2, 3)]
    runs = [_later(narrow_weights, earlier) for earlier in several]
    runs.append(_later(narrow_weights, content=BEFORE, temporal_weight=50.0, steps=7))
    counts = set()
    for run in runs:
        run.run()
        counts.add(run._formulation.advance.experimental_get_tracing_count())
    assert len(counts) == 1
    assert len({id(run._formulation) for run in runs}) == 1


def test_the_first_frame_of_a_film_is_the_still_picture(narrow_weights):
    still, first = (
        stylizer.Stylizer(CONTENT, [STYLE], _config(temporal_weight=weight), narrow_weights, frame=frame)
        for weight, frame in ((0.0, None), (1000.0, frames.Frame()))
    )
    for run in (still, first):
        run.run()
    np.testing.assert_array_equal(first.picture(), still.picture())
    assert isinstance(first.evaluate(), Losses)


@pytest.mark.parametrize("with_regions", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_styles_are_looked_at_once_for_all_frames(narrow_weights, monkeypatch, with_regions):
    """The targets are those of a run that is not of a film."""
    halves = np.zeros((48, 64, 2), np.float32)
    halves[:, :32, 0] = halves[:, 32:, 1] = 1
    regions = Regions(("#0000ff", "#ff0000"), halves, (halves, halves)) if with_regions else None
    changes: dict[str, Any] = {"neighbor_weight": 1e3, "neighbor_layers": ("relu1_1", "relu3_1")}
    config, counts = frames.later_config(_config(**changes), 2), []
    make = formulations.Formulation.style_parts

    def counting(*arguments):
        counts.append(arguments)
        return make(*arguments)

    monkeypatch.setattr(formulations.Formulation, "style_parts", counting)
    film, earlier, found = frames.Film(), frames.Earlier(BEFORE, TRUST), []
    for frame in (None, *[frames.Frame(film, earlier)] * 2):
        run = stylizer.Stylizer(
            CONTENT, [STYLE, BEFORE], config, narrow_weights, BEFORE, regions, frame=frame
        )
        found.append(run._targets.variables)
    assert len(counts) == 1
    for of_film in found[1:]:
        pairs = zip(tf.nest.flatten(found[0].styles), tf.nest.flatten(of_film.styles), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            of_film.neighbors[0].vectors[0], found[0].neighbors[0].vectors[0], atol=1e-5
        )
    stylizer.Stylizer(CONTENT, [BEFORE], config, narrow_weights, BEFORE, frame=frames.Frame(film))
    assert len(counts) == 2  # of another painting


def test_several_scales_are_each_held_to_the_earlier_frames_at_their_size(narrow_weights):
    config = _config(temporal_weight=1e6, init="given")
    earlier = frames.Frame(earlier=frames.Earlier(BEFORE, TRUST))
    run = stylizer.Stylizer(CONTENT, [STYLE], config, narrow_weights, init_image=BEFORE, frame=earlier)
    assert _temporal(run.step()) < 1.0
    run.run()
    free = _later(narrow_weights, steps=5, temporal_weight=0.0)
    free.run()
    near, far = (np.abs(each.picture() - BEFORE[0]).mean() for each in (run, free))
    assert near < 0.5 * far


def test_in_luminance_the_loss_is_of_the_luminance(narrow_weights):
    """The frame begins with the luminance of the earlier one, from which it does not differ."""
    run = _later(narrow_weights, color="luminance")
    assert _temporal(run.step()) < 1e-3


def test_frames_are_painted_by_the_api():
    config = _config(temporal_weight=100.0, weights="builtin")
    described = {"content": {"name": "frame 1", "sha256": ""}}
    loaded = inputs.LoadedInputs(CONTENT, (STYLE,), BEFORE, None, None, None, described)
    earlier = frames.Earlier(BEFORE, TRUST)
    result = api.paint(loaded, frames.later_config(config, 3), frame=frames.Frame(earlier=earlier))
    assert result.manifest["losses"]["temporal"] == _temporal(result.losses) > 0
    assert len(result.trace) == 3


# Paints frame after frame and prints the growth of the process' memory after the second one, in bytes.
GROWTH = """
import gc
import numpy as np, psutil
from nst_tf.config import presets
from nst_tf.engine import frames, stylizer
from tests import conftest
style, *film = (conftest.smooth_picture(seed, 64, 64)[np.newaxis] for seed in range(31))
def resident(): gc.collect(); return psutil.Process().memory_info().rss
config = presets.get("gram", size=64, weights="builtin", precision="float32", temporal_weight=10.0)
config, shared, before = frames.later_config(config, 2), frames.Film(), film[0]
for number, content in enumerate(film):
    earlier = frames.Earlier(np.tile(before, (1 + number % 3, 1, 1, 1)), np.ones([1 + number % 3, 64, 64, 1]))
    frame = frames.Frame(shared, earlier)
    run = stylizer.Stylizer(content, [style], config, init_image=before, frame=frame)
    run.run()
    before = run.picture()[np.newaxis]
    if number == 2: start = resident()
print(resident() - start)
"""


@pytest.mark.slow
def test_a_film_is_painted_in_the_memory_of_its_first_frames():
    command = [sys.executable, "-c", GROWTH]
    finished = subprocess.run(command, cwd=conftest.ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) < 20e6


def _painted(film, style, weight, starts_warped):
    """Returns the frames of a film, painted with the built-in features."""
    config = presets.get("gram", size=96, weights="builtin", precision="float32", steps=20)
    config = config.replace(temporal_weight=weight)
    shared = frames.Film()
    found: list[np.ndarray] = []
    for number, content in enumerate(film):
        if number == 0 or not starts_warped:
            run = stylizer.Stylizer(content, [style], config, frame=frames.Frame(shared))
        else:
            moved, reliability = films.warped(found[-1])
            run = stylizer.Stylizer(
                content,
                [style],
                frames.later_config(config, 6),
                init_image=moved,
                frame=frames.Frame(shared, frames.Earlier(moved, reliability)),
            )
        run.run()
        found.append(run.picture()[np.newaxis])
    return found


@pytest.mark.slow
def test_a_warped_start_lessens_flicker_and_the_temporal_loss_more():
    film = films.pan(4, 72, 96)
    style = pictures.read("sample:strokes", "style")
    # About a hundredth of the first frame's loss for a mean square of one level.
    ways = {"alone": (0.0, False), "warped start": (0.0, True), "temporal loss": (5e6, True)}
    found = {way: films.flicker(_painted(film, style, *options)) for way, options in ways.items()}
    assert films.flicker(film) == 0
    assert found["warped start"] < 0.5 * found["alone"]
    assert found["temporal loss"] < 0.9 * found["warped start"]
