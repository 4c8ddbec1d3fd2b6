"""The run of a film: where frames begin, what they are held to, resumed runs, one graph for all frames."""

import dataclasses
import itertools
import os
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from benchmark import film as benchmark
from benchmark import town_film

from nst_tf import api, errors, video
from nst_tf.config import presets
from nst_tf.engine import formulations, memory
from nst_tf.io import inputs, pictures
from nst_tf.video import colors, frames, painting, run, shots, work
from nst_tf.video import film as films
from tests import conftest
from tests.support import films as pan
from tests.support import sample_films

HEIGHT, WIDTH = 48, 64
STYLE = conftest.smooth_picture(3, 48, 48)
# A run of the first layers of the built-in features.
QUICK: dict[str, Any] = {
    "preset": "gram",
    "weights": "builtin",
    "precision": "float32",
    "size": 64,
    "steps": 6,
}
QUICK |= {"frame_steps": 2, **conftest.SHALLOW}


def _changes(**changes):
    return {name: value for name, value in (QUICK | changes).items() if name not in ("preset", "frame_steps")}


def _film(folder, output="painted.mp4", cuts=(), **changes):
    """The film of a folder's `film.mp4`, to be painted quickly."""
    settings = {name: changes.pop(name) for name in ("style_times",) if name in changes}
    frame_steps = changes.pop("frame_steps", QUICK["frame_steps"])
    own = {name: changes.pop(name) for name in ("overwrite", "preview", "address") if name in changes}
    styles = changes.pop("styles", [STYLE])
    overrides = _changes(**changes)
    config = presets.get(QUICK["preset"], **overrides)
    chosen = painting.settings(config, overrides, frame_steps, settings.get("style_times", ()))
    return films.Film(
        frames.of(folder / "film.mp4"),
        inputs.InputPaths(styles=styles),
        overrides,
        chosen,
        folder / output,
        cuts=cuts,
        **own,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with a film of six frames."""
    sample_films.write(tmp_path / "film.mp4", town_film.make(6, HEIGHT, WIDTH).frames, sound="aac")
    return tmp_path


def _painted(path):
    return [frame.picture for frame in frames.of(path)]


def _decoded(painted):
    """The frames of a folder of PNGs."""
    return [pictures.to_uint8(pictures.read(file)) for file in sorted(painted.iterdir())]


@pytest.mark.slow
def test_a_film_is_painted_and_its_sound_kept(folder):
    seen = []
    made = run.paint_film(_film(folder, preview=folder / "last.png"), lambda progress: seen.append(progress))
    assert made == films.Made("finished", 6, 6, 1, (HEIGHT, WIDTH), 0)
    assert sorted(os.listdir(folder)) == ["film.mp4", "last.png", "painted.mp4"]
    source, painted = (list(frames.of(folder / name)) for name in ("film.mp4", "painted.mp4"))
    assert [frame.time for frame in painted] == [frame.time for frame in source]
    assert _packets(folder / "painted.mp4") == _packets(folder / "film.mp4")
    shown = pictures.to_uint8(pictures.read(folder / "last.png"))
    assert np.abs(shown.astype(int) - painted[-1].picture).mean() < 8  # which has half the colour
    assert [step for step, _ in itertools.groupby(each.step for each in seen)] == list(range(6))
    assert seen[0].work()[0] == 0
    assert all(before.done <= after.done for before, after in itertools.pairwise(seen))
    assert seen[-1].done <= seen[-1].total
    assert "frame 6 of 6, shot 1, 64 x 48; " in seen[-1].describe()


def _packets(path):
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.dts is not None]


def test_a_film_that_was_stopped_goes_on_bit_for_bit(folder):
    run.paint_film(_film(folder, "whole"))
    made = run.paint_film(_film(folder, "parts"), lambda progress: progress.step == 3)
    assert (made.outcome, made.frames) == ("stopped", 3)
    assert len(os.listdir(folder / "parts.frames" / "frames")) == 3
    painted = []
    made = run.paint_film(_film(folder, "parts"), lambda progress: painted.append(progress.step))
    assert (made.outcome, made.frames, min(painted)) == ("finished", 6, 3)
    for name in sorted(os.listdir(folder / "whole")):
        assert (folder / "parts" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert sorted(os.listdir(folder)) == ["film.mp4", "parts", "whole"]


def test_what_comes_into_sight_begins_as_the_frame_in_painted_colors(monkeypatch):
    begun, paint = [], api.paint

    def painted(loaded, *arguments, **options):
        begun.append(loaded.init)
        return paint(loaded, *arguments, **options)

    monkeypatch.setattr(api, "paint", painted)
    film = [np.rint(255 * each[0]).astype(np.uint8) for each in pan.pan(2, HEIGHT, WIDTH)]
    first, _ = run.stylize_frames(film, STYLE, cuts=(), **QUICK)
    expected = colors.recolored(film[1], film[0], first)
    assert begun[0] is None
    np.testing.assert_array_equal(begun[1][0, :, -1], expected[:, -1])
    inner = begun[1][0, 8:-8, 8:-8]
    moved = first[8:-8, 8 + pan.STEP : pan.STEP - 8]
    assert np.abs(inner - moved).mean() < 0.3 * np.abs(inner - expected[8:-8, 8:-8]).mean()


def test_a_cut_starts_anew(folder):
    """The first frame of a shot is the still picture, and nothing of the shot before is in the second."""
    run.paint_film(_film(folder, "cut", cuts=[Fraction(3, 25)]))
    found = _decoded(folder / "cut")
    source = list(frames.of(folder / "film.mp4"))
    for number in (0, 3):
        still = api.stylize(source[number].picture, STYLE, preset="gram", **_changes())
        np.testing.assert_array_equal(found[number], pictures.to_uint8(still.image))
    alone = run.stylize_frames([frame.picture for frame in source[3:]], STYLE, cuts=(), **QUICK)
    for painted, expected in zip(found[3:], alone, strict=True):
        np.testing.assert_array_equal(painted, pictures.to_uint8(expected))


@pytest.mark.parametrize(("about", "expected"), [(6, 6), (4, 6), (0, 12)])
def test_how_far_a_film_has_been_read_is_told(folder, monkeypatch, about, expected):
    """By the header, which may be wrong, or say nothing."""
    monkeypatch.setattr(films, "_REPORT_S", 0.0)
    film, seen = _film(folder, cuts=None), list[films.Reading]()
    film.frames.about = about
    films.survey(film, seen.append)
    assert [each.step for each in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1].work() == (6, expected)
    assert seen[2].describe() == "3 frames read"


def test_shots_painted_by_themselves_make_the_film(folder):
    """As workers paint them, each a process of its own: here in another order, and after an interruption."""
    run.paint_film(_film(folder, "whole", cuts=CUTS))
    side = _film(folder, "side", cuts=CUTS)
    run.paint_film(side, lambda progress: progress.step == 1)
    known = films.survey(side)
    loaded = painting.load(side.named, known.picture, side.settings.config, side.changed)
    paint = shots._Painter(side, known, loaded, str(folder))
    assert [paint(shot) for shot in reversed(shots._shots(known))] == [0, 0, 0]
    found = _decoded(folder / "side.frames" / "frames")
    for one, other in zip(found, _decoded(folder / "whole"), strict=True):
        np.testing.assert_array_equal(one, other)
    # Nothing is left that would need Ray.
    assert run.paint_film(dataclasses.replace(side, address="local")).outcome == "finished"


# Of a film of six frames, three shots.
CUTS = [Fraction(1, 25), Fraction(4, 25)]


def test_without_ray_shots_are_painted_one_by_one(monkeypatch):
    shots.check(None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(errors.InputError, match=r"address: Ray is missing .*pip install") as found:
        shots.check("local")
    assert len(str(found.value).splitlines()) == 1


def test_a_film_keeps_the_way_in_which_its_first_frame_fitted_into_memory(folder, monkeypatch):
    """Whatever is free by the next one; after an interruption too."""
    tiles, fit = [], memory.fit

    def fitted(config, *arguments):
        tiles.append(config.memory.tile)
        return fit(config, *arguments)

    monkeypatch.setattr(memory, "fit", fitted)
    run.paint_film(_film(folder, "painted"), lambda progress: progress.step == 2)
    run.paint_film(_film(folder, "painted"))
    assert tiles == ["auto", *["off"] * 5]


def test_later_frames_trace_nothing(folder, monkeypatch):
    """Whatever their number, their styles' shares and the number of earlier frames."""
    counts = []
    inner = painting.FrameRun.paint

    def counting(self, *arguments):
        result = inner(self, *arguments)
        counts.append(_traced())
        return result

    monkeypatch.setattr(painting.FrameRun, "paint", counting)
    styles = [STYLE, conftest.smooth_picture(4, 48, 48)]
    times = [Fraction(-1), Fraction(1)]
    run.paint_film(_film(folder, "painted", styles=styles, style_times=times))
    assert len(counts) == 6
    assert len(set(counts[1:])) == 1


def _traced():
    """The number of graphs of the formulations in this process."""
    total = 0
    for formulation, _ in formulations._KEPT.values():
        total += formulation.advance.experimental_get_tracing_count()
        total += formulation._traced_evaluate.experimental_get_tracing_count()
        for cached in (formulation._traced_targets, formulation._traced_parts):
            total += cached.cache_info().misses
    return total


def test_styles_over_time_go_from_one_to_the_other(folder):
    both = [STYLE, conftest.smooth_picture(4, 48, 48)]
    source = _painted(folder / "film.mp4")
    ends = [next(run.stylize_frames(source[:1], style, **QUICK)) for style in both]
    still = [source[0]] * 3
    painted = list(
        run.stylize_frames(still, both, style_times=(0, 1), fps=2, cuts=(0.5, 1), **QUICK)  # each one anew
    )
    np.testing.assert_array_equal(painted[0], ends[0])
    np.testing.assert_array_equal(painted[2], ends[1])
    distances = [np.abs(painted[1] - end).mean() for end in ends]
    assert max(distances) < np.abs(ends[0] - ends[1]).mean()


@pytest.mark.slow
def test_frames_flicker_less_than_pictures_of_their_own():
    film = town_film.make(5, 72, 96)
    settings = QUICK | {"size": 96, "steps": 40, "frame_steps": 8}
    style = pictures.read("sample:strokes")
    ways: dict[str, dict[str, Any]] = {
        "alone": {"cuts": range(1, 5), "fps": 1},  # every frame a shot
        "begun": {"cuts": (), "temporal_weight": 0.0},
        "held": {"cuts": ()},
        "tight": {"cuts": (), "temporal_weight": 1e9},
    }
    found = {
        way: benchmark.flicker(
            film, list(run.stylize_frames(film.frames, style[0], **settings, **options)), range(1, 5)
        )
        for way, options in ways.items()
    }
    assert found["tight"] < found["held"] < found["begun"] < 0.5 * found["alone"]


def test_two_runs_of_one_film_do_not_meet(folder):
    with (
        work.locked(folder / "painted.mp4"),
        pytest.raises(errors.InputError, match=r"another run is painting .*; wait for it"),
    ):
        run.paint_film(_film(folder))
    assert sorted(os.listdir(folder)) == ["film.mp4"]


def test_a_film_that_appeared_meanwhile_is_left_alone(folder):
    (folder / "painted.mp4").write_bytes(b"another")
    with pytest.raises(OSError, match="a file has appeared there meanwhile"):
        run.paint_film(_film(folder))
    assert (folder / "painted.mp4").read_bytes() == b"another"
    assert run.paint_film(_film(folder, overwrite=True)).outcome == "finished"
    assert len(_painted(folder / "painted.mp4")) == 6


def test_other_settings_do_not_go_on(folder):
    run.paint_film(_film(folder), lambda progress: progress.step == 1)
    with pytest.raises(errors.InputError, match="frames of another run: frame_steps was 2 and is 3"):
        run.paint_film(_film(folder, frame_steps=3))
    made = run.paint_film(_film(folder, frame_steps=3, overwrite=True))
    assert made.outcome == "finished"


def test_a_frame_that_cannot_be_written_leaves_those_before(folder, monkeypatch):
    monkeypatch.setattr(os, "replace", _full_after(3))
    with pytest.raises(OSError, match="No space"):
        run.paint_film(_film(folder))
    monkeypatch.undo()
    kept = os.listdir(folder / "painted.mp4.frames" / "frames")
    assert len(kept) == 2
    assert run.paint_film(_film(folder)).outcome == "finished"


def _full_after(count):
    """What replaces `os.replace` on a disk that takes so many files."""
    replace, done = os.replace, []

    def full(*arguments, **options):
        done.append(arguments)
        if len(done) > count:
            raise OSError(28, "No space left on device")
        replace(*arguments, **options)

    return full


@pytest.mark.slow
def test_a_still_film_neither_darkens_nor_fades():
    """The weakness that Ruder and others name: over many frames brightness and contrast drift."""
    still = town_film.make(1, 64, 96).frames[0]
    settings = QUICK | {"size": 96, "steps": 40, "frame_steps": 6}
    film = itertools.repeat(still, 100)
    found = [255 * picture for picture in run.stylize_frames(film, "sample:strokes", cuts=(), **settings)]
    assert len(found) == 100
    drift = [found[-1].mean() - found[0].mean(), found[-1].std() - found[0].std()]
    print(drift)
    assert np.abs(found[1] - found[0]).max() > 1  # frames are painted
    assert np.abs(drift).max() < 1


@pytest.mark.slow
def test_memory_stays_flat():
    """Whatever the number of frames, once graphs are traced and caches filled."""
    process, film, found = psutil.Process(), town_film.make(6, HEIGHT, WIDTH), []
    painted = run.stylize_frames(itertools.islice(itertools.cycle(film.frames), 50), STYLE, cuts=(), **QUICK)
    for _ in painted:
        found.append(process.memory_info().rss)
    assert len(found) == 50
    assert found[-1] - found[9] < 20e6  # a frame that stays, with its flows, takes 1 MB


def test_a_film_without_steps_is_recoloured(folder):
    run.paint_film(_film(folder, "painted", color="only"))
    assert len(_decoded(folder / "painted")) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "noise"}, "init: a frame begins with the one before"),
        ({"fps": 0}, "fps: 0; allowed: frames a second"),
        ({"frame_steps": 0}, "frame_steps: 0; allowed: 1 or more"),
        ({"style_times": (0, 1)}, "style_times: 0, 1 for 1 styles"),
        ({"style_times": (0,), "style_blend_weights": (1.0,)}, "style_times say how styles are mixed"),
        ({"stepps": 1}, "stepps"),
        ({"normalize_activations": True}, "normalize_activations: true; allowed: false"),
    ],
)
def test_mistakes_in_python_get_one_line(changes, message):
    with pytest.raises(errors.InputError, match=message) as found:
        video.stylize_frames([], STYLE, **(QUICK | changes))
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("film", "message"),
    [([], "no frames"), ([np.zeros((48, 64, 3)), np.zeros((48, 48, 3))], "a film has one size")],
)
def test_films_that_cannot_be_painted_get_one_line(film, message):
    with pytest.raises(errors.InputError, match=message):
        list(video.stylize_frames(film, STYLE, cuts=(), **QUICK))
