"""The run: scales, steps, the variable image; on the narrow network."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf import errors
from nst_tf.config import presets, settings
from nst_tf.engine import color, images, stylizer
from nst_tf.engine.progress import Progress
from nst_tf.network import activation_normalization
from tests import conftest

CONTENT, STYLE = (conftest.smooth_picture(seed)[np.newaxis] for seed in (2, 3))


def make(narrow_weights, preset="gram", **changes):
    """Makes a small run: of `default` through the first layers only, of another preset through its own."""
    shallow = conftest.SHALLOW if preset == "gram" else {}
    settings: dict[str, Any] = {**shallow, "size": 64, "steps": 12, "precision": "float32", **changes}
    chosen = presets.get(preset, **settings)
    return stylizer.Stylizer(CONTENT, [STYLE], chosen, narrow_weights)


def test_inits_equal_the_names_the_config_allows():
    assert list(images.INITS) == list(settings.INITS)


def test_losses_fall(narrow_weights):
    totals: list[float] = []
    run = make(narrow_weights, steps=30)
    before = float(run.step().total)
    outcome = run.run(lambda progress: totals.extend([row.total for row in progress.losses]))
    assert outcome == "finished"
    assert totals[-1] < 0.1 * before
    assert run.evaluate().total < 0.1 * before


def test_step_updates_the_variable(narrow_weights):
    run = make(narrow_weights)
    assert isinstance(run.image, tf.Variable)
    before = run.image.numpy()
    first = run.step()
    assert not np.array_equal(run.image.numpy(), before)
    later = [float(run.step().total) for _ in range(8)]
    assert min(later) < float(first.total)


def test_step_is_one_graph_for_all_scales_and_all_runs(narrow_weights):
    run = make(narrow_weights, size=256)
    assert len(run.scales) > 1
    advance = run._formulation.advance
    run.step()
    traced = advance.experimental_get_tracing_count()
    for _ in run.scales[1:]:
        run.step()
        run.next_scale()
    run.step()
    other = make(narrow_weights, size=128, content_weight=3.0, style_weight=0.5, seed=3, steps=5)
    other.step()
    assert other._formulation.advance is advance
    assert advance.experimental_get_tracing_count() == traced


@pytest.mark.slow
@pytest.mark.parametrize("tile", ["off", "32"])
def test_gradients_of_pooling_are_beside_their_pooling_and_in_no_loop(narrow_weights, tile):
    """As oneDNN's kernels want them: see `tensors.noinline_function`."""
    run = make(narrow_weights, "gatys_pytorch", scales=(1.0,), steps=1, tile=tile)
    held = run.image, run._steps_done, run._state.variables, run._targets.variables
    advance = run._formulation.advance.get_concrete_function(*held, tf.constant(1))
    graph = advance.graph.as_graph_def()
    library = graph.library.function
    nodes = [*graph.node, *(node for function in library for node in function.node_def)]
    bodies = {node.attr["body"].func.name for node in nodes}
    found = 0
    for function in library:
        operations = [node.op for node in function.node_def]
        if "MaxPoolGrad" in operations:
            found += 1
            assert "MaxPool" in operations
            assert function.signature.name not in bodies
    assert found


@pytest.mark.parametrize("optimizer", settings.OPTIMIZERS)
def test_single_steps_equal_one_run_bit_for_bit(narrow_weights, optimizer):
    options = {"optimizer": optimizer, "scales": (1.0,), "steps": (20,)}
    single, chunked, whole = (make(narrow_weights, **options) for _ in range(3))
    for _ in range(20):
        single.step()
    rows = tf.concat([chunked.advance(tf.constant(12)), chunked.advance(tf.constant(8))], axis=0)
    np.testing.assert_array_equal(rows, whole.advance(tf.constant(20)))
    for run in (single, chunked):
        np.testing.assert_array_equal(run.image.numpy(), whole.image.numpy())


def test_a_run_goes_through_all_scales(narrow_weights):
    seen: list[Progress] = []
    run = make(narrow_weights, size=96, steps=(3, 4, 5), scales=(0.5, 0.75, 1.0))
    run.run(seen.append)
    assert [scale.num_steps for scale in run.scales] == [3, 4, 5]
    assert sum([len(progress.losses) for progress in seen]) == 12
    assert [progress.step for progress in seen] == sorted(progress.step for progress in seen)
    assert seen[-1].step == seen[-1].num_steps == 12
    assert {progress.scale_index for progress in seen} == {0, 1, 2}
    assert run.picture().shape == (72, 96, 3)


def test_a_run_continues_after_steps_taken_by_hand(narrow_weights):
    by_hand, straight = (make(narrow_weights, steps=12) for _ in range(2))
    by_hand.step()
    by_hand.run()
    straight.run()
    np.testing.assert_array_equal(by_hand.picture(), straight.picture())


def test_more_steps_by_hand_than_the_scale_has_leave_nothing_to_run(narrow_weights):
    run = make(narrow_weights, scales=(1.0,), steps=(2,))
    for _ in range(3):
        run.step()
    assert run.run() == "finished"


@pytest.mark.parametrize("shape", [(48, 64, 3), (1, 48, 64, 4), (2, 48, 64, 3)])
def test_a_picture_of_another_shape_is_refused(narrow_weights, shape):
    with pytest.raises(errors.InputError, match="shape"):
        stylizer.Stylizer(np.zeros(shape), [STYLE], presets.get("gram", size=64), narrow_weights)


def test_a_picture_beyond_its_range_is_refused(narrow_weights):
    with pytest.raises(errors.InputError, match="values from"):
        stylizer.Stylizer(255 * CONTENT, [STYLE], presets.get("gram", size=64), narrow_weights)


def test_progress_may_stop_the_run(narrow_weights):
    run = make(narrow_weights, steps=30)
    reports = []

    def stop(progress):
        reports.append(progress)
        return True

    assert run.run(stop) == "stopped"
    assert len(reports) == 1
    assert np.isfinite(reports[0].picture()).all()


@pytest.mark.parametrize(("answer", "outcome"), [("yes", "stopped"), (np.True_, "stopped"), (0, "finished")])
def test_whatever_is_true_stops_a_run(narrow_weights, answer, outcome):
    assert make(narrow_weights, steps=3).run(lambda _: answer) == outcome


def test_the_last_scale_has_no_next(narrow_weights):
    run = make(narrow_weights, scales=(1.0,), steps=(2,))
    with pytest.raises(IndexError, match="last"):
        run.next_scale()


def at_next_scale(narrow_weights, **options):
    """Returns the image that a run's second scale begins with, from the photograph and without a step."""
    run = make(narrow_weights, init="content", scales=(0.5, 1.0), steps=(2, 2), min_scale=0, **options)
    run.next_scale()
    return run.image.numpy()


def test_the_photographs_detail_joins_an_enlarged_picture(narrow_weights):
    """The photograph made smaller and enlarged again is itself, if what it lost on the way comes back."""
    small = tf.image.resize(CONTENT, (24, 32), method="bicubic", antialias=True)
    blurred = np.clip(tf.image.resize(np.clip(small, 0, 1), (48, 64), method="bicubic"), 0, 1)
    assert np.abs(blurred - CONTENT).max() > 0.01
    for share in (0.0, 0.5, 1.0):
        found = at_next_scale(narrow_weights, scale_detail=share)
        np.testing.assert_allclose(found, np.clip(blurred + share * (CONTENT - blurred), 0, 1), atol=1e-5)


def test_detail_has_no_colours_where_the_run_has_none(narrow_weights):
    found = at_next_scale(narrow_weights, scale_detail=1.0, color="luminance")
    np.testing.assert_allclose(found, np.repeat(found[..., :1], 3, axis=-1), atol=1e-6)


def test_a_photograph_without_weight_lends_no_detail(narrow_weights):
    enlarged, with_detail = (
        at_next_scale(narrow_weights, content_weight=0.0, scale_detail=share) for share in (0.0, 1.0)
    )
    np.testing.assert_array_equal(with_detail, enlarged)


@pytest.mark.parametrize("init", settings.INITS)
def test_inits(narrow_weights, init):
    run = make(narrow_weights, init=init, scales=(1.0,), steps=(2,))
    start = run.image.numpy()
    assert start.shape == (1, 48, 64, 3)
    if init == "content":
        np.testing.assert_allclose(start, CONTENT, atol=1e-6)
    elif init == "gray":
        assert (start == 0.5).all()
    else:
        np.testing.assert_allclose(start.std(axis=(0, 1, 2)), 32 / 255, rtol=0.05)
        np.testing.assert_allclose(start.mean(axis=(0, 1, 2)), [0.485, 0.458, 0.408], atol=0.01)
        again = make(narrow_weights, init=init, scales=(1.0,), steps=(2,))
        other = make(narrow_weights, init=init, scales=(1.0,), steps=(2,), seed=1)
        np.testing.assert_array_equal(start, again.image.numpy())
        assert not np.array_equal(start, other.image.numpy())


def test_the_same_run_gives_the_same_picture(narrow_weights):
    pictures = []
    for _ in range(2):
        run = make(narrow_weights)
        run.run()
        pictures.append(run.picture())
    np.testing.assert_array_equal(*pictures)


def test_the_picture_stays_in_range(narrow_weights):
    run = make(narrow_weights, steps=20)
    run.run()
    picture = run.picture()
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_bfloat16_runs_and_keeps_float32_pixels(narrow_weights):
    run = make(narrow_weights, precision="bfloat16", steps=20)
    before = float(run.step().total)
    run.run()
    assert run.precision == "bfloat16"
    assert run.image.dtype == tf.float32
    assert run.evaluate().total < 0.5 * before


def test_a_style_picture_of_any_shape_will_do(narrow_weights):
    chosen = presets.get("gram", size=64, steps=3)
    for shape in ((20, 200), (200, 20), (16, 16)):
        style = conftest.smooth_picture(5, *shape)[np.newaxis]
        run = stylizer.Stylizer(CONTENT, [style], chosen, narrow_weights)
        run.run()
        assert np.isfinite(run.evaluate().total)


def test_the_image_is_on_the_gpu_where_there_is_one(narrow_weights):
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU here")
    run = make(narrow_weights)
    run.step()
    assert "GPU" in run.image.device


def test_a_run_that_diverges_ends_with_its_last_good_picture(narrow_weights):
    """Steps of thousands of levels: the loss overflows within a few, and nothing of that is shown."""
    options = {"optimizer": "sgd", "learning_rate": 1e9, "clip": False, "scales": (1.0,), "steps": (200,)}
    run = make(narrow_weights, **options)
    seen: list[Progress] = []
    assert run.run(seen.append) == "diverged"
    assert seen[-1].step < 100
    assert np.isfinite(run.picture()).all()
    assert np.isfinite(run.evaluate().total)


def test_weights_that_overflow_at_once_leave_the_first_image(narrow_weights):
    run = make(narrow_weights, content_weight=1e30, style_weight=1e30, scales=(1.0,), steps=(50,))
    assert run.run() == "diverged"
    np.testing.assert_allclose(run.picture()[np.newaxis], CONTENT, atol=1e-6)


def test_a_run_reports_at_the_steps_asked_for_and_comes_out_the_same(narrow_weights):
    plain, asked = (make(narrow_weights, size=96, steps=(5, 7), scales=(0.5, 1.0)) for _ in range(2))
    plain.run()
    seen: list[int] = []
    asked.run(lambda progress: seen.append(progress.step), report_at={9, 2, 3, 5, 40})
    assert {2, 3, 5, 9, 12} <= set(seen)
    np.testing.assert_array_equal(plain.picture(), asked.picture())


YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@pytest.mark.parametrize("init", settings.INITS)
def test_luminance_leaves_the_photographs_chroma(narrow_weights, init):
    """What is optimised is grey at every step; what is shown has the photograph's I and Q."""
    pale = (0.4 + 0.2 * CONTENT).astype(np.float32)  # far from the borders of the gamut
    chosen = presets.get(
        "gram", size=64, steps=8, precision="float32", color="luminance", init=init, content_weight=1e4
    )
    run = stylizer.Stylizer(pale, [STYLE], chosen, narrow_weights)
    first = run.image.numpy()
    run.run()
    image = run.image.numpy()
    assert np.abs(image - first).max() > 1e-3
    for channel in (0, 2):
        np.testing.assert_allclose(image[..., channel], image[..., 1], atol=1e-4)
    shown = run.picture()
    inside = np.all((shown > 0) & (shown < 1), axis=-1)
    assert inside.mean() > 0.9
    resized = np.asarray(images.resize(pale, *shown.shape[:2]))[0]
    np.testing.assert_allclose((shown @ YIQ[1:].T)[inside], (resized @ YIQ[1:].T)[inside], atol=1e-5)
    np.testing.assert_allclose((shown @ YIQ[0])[inside], np.clip(image[0] @ YIQ[0], 0, 1)[inside], atol=0.2)


def test_the_style_may_get_the_contents_colours(narrow_weights):
    """It is the run on a painting recoloured by hand."""
    run = make(narrow_weights, color="statistics", color_root="cholesky")
    target = color.statistics(tf.constant(CONTENT))
    recoloured = tf.clip_by_value(color.match(tf.constant(STYLE), target, "cholesky"), 0, 1).numpy()
    by_hand = stylizer.Stylizer(CONTENT, [recoloured], presets.get(run.config, color="style"), narrow_weights)
    assert not np.allclose(recoloured, STYLE, atol=0.02)
    for each in (run, by_hand):
        each.run()
    np.testing.assert_allclose(run.picture(), by_hand.picture(), atol=1e-3)


def test_without_steps_there_is_no_run(narrow_weights):
    with pytest.raises(errors.InputError, match="takes no steps"):
        make(narrow_weights, color="only")


def test_colours_of_a_photograph_need_one(narrow_weights):
    chosen = presets.get("gram", size=64, content_weight=0, init="noise", color="luminance")
    with pytest.raises(errors.InputError, match="'luminance' needs a photograph"):
        stylizer.Stylizer(None, [STYLE], chosen, narrow_weights)


@pytest.mark.slow
def test_normalized_activations_are_those_of_the_runs_own_pictures(narrow_weights):
    run = make(narrow_weights, normalize_activations=True, pooling="average")
    plain = make(narrow_weights, pooling="average")
    assert run.weights == plain.weights, "what the manifest names is what was loaded"
    scaled = activation_normalization.normalized(
        narrow_weights, [CONTENT, STYLE], ["relu3_1"], pooling="average"
    )
    same = stylizer.Stylizer(CONTENT, [STYLE], plain.config, scaled)
    assert float(run.step().total) == float(same.step().total) != float(plain.step().total)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["crowsonkb", "spst"])
def test_losses_of_other_style_statistics_fall(narrow_weights, preset):
    run = make(narrow_weights, preset, steps=40)
    assert run.run() == "finished"
    assert run.evaluate().style < 0.5 * float(make(narrow_weights, preset).step().style)


@pytest.mark.slow
def test_a_diverging_run_of_the_wasserstein_distance_ends_with_its_last_good_picture(narrow_weights):
    run = make(narrow_weights, "crowsonkb", output_image="last", clip=False, learning_rate=1e25, steps=40)
    assert run.run() == "diverged"
    assert np.isfinite(run.picture()).all()


@pytest.mark.slow
def test_a_scale_may_be_fitted_into_memory_in_another_way(narrow_weights):
    """With tiles gradients differ by rounding alone; the optimiser begins anew at every scale."""
    asked = []

    def painted(next_config):
        chosen = presets.get(
            "gram", **conftest.SHALLOW, size=64, scales=(0.5, 1.0), steps=(4, 3), precision="float32"
        )
        run = stylizer.Stylizer(CONTENT, [STYLE], chosen, narrow_weights, next_config=next_config)
        assert run.run() == "finished"
        return run.config, run.picture()

    config, whole = painted(None)

    def tiled(index):
        asked.append(index)
        return config.replace(tile="32", history=3)

    changed, picture = painted(tiled)
    assert asked == [1]
    assert (changed.memory.tile, changed.optimizer.history) == ("32", 3)
    np.testing.assert_allclose(picture, whole, atol=2e-4)
