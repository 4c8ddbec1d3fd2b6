"""Model servers that paint, here plain Python: which one is asked, and what happens when they refuse."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from nst_tf import errors
from nst_tf.batch import painting, rows, run, servers
from nst_tf.config import presets
from nst_tf.io import pictures
from nst_tf.serving import transports
from tests import conftest
from tests.serving import test_client as plain
from tests.support import batches, command

SETTINGS = rows.Settings("gram", {"size": 64, "steps": 9, "color": "luminance"})


@pytest.fixture
def two(monkeypatch):
    """Two servers: [(a fake model, the server's address)]."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transports, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(servers, "_FIRST_PAUSE_S", 0.05)
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(2):
            model = plain.FakeModel()
            port, stop = plain.serve_rest(model)
            stack.callback(stop)
            made.append((model, f"http://127.0.0.1:{port}"))
        yield made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photographs."""
    batches.write_photographs(tmp_path / "photos", 6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _access(two):
    return servers.Access(addresses=tuple(address for _, address in two))


def _rows(style="sample:strokes"):
    common = rows.Common(output="painted", names="{content}.png", styles=[style])
    return rows.plan(["photos"], common)


def _outcome(two, row):
    job = batches.job(os.path.abspath("painted"), SETTINGS, make_engine=_access(two))
    return painting.Worker(job).outcome(row)


def test_a_picture_comes_from_a_server_with_its_settings(two, folder):
    del folder
    row = _rows()[0]
    assert _outcome(two, row).status == "done"
    ((signature, inputs),) = two[0][0].calls + two[1][0].calls
    assert signature == "stylize_blend"
    assert (inputs["size"], inputs["num_steps"], inputs["color"]) == (64, 9, b"luminance")
    assert inputs["content_weight"] == presets.get("gram").content.weight
    made = json.loads(pathlib.Path(f"{row.output}.json").read_text())
    assert made["weights"]["name"] == "those of the served model nst"
    assert _outcome(two, row).status == "skipped"


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_a_server_that_is_busy_rests_and_another_is_asked(code, two, folder):
    del folder
    two[0][0].plan.extend(plain.Fault(code) for _ in range(20))
    engine = _access(two)()
    for row in _rows():
        ready = painting.Ready(
            painting._ready(row, SETTINGS).paths, SETTINGS.config(row), SETTINGS.changed(row)
        )
        assert engine.paint(ready).image.shape[2] == 3
    assert len(two[1][0].calls) == 6
    refused = len(two[0][0].calls)
    assert 0 < refused <= transports._ATTEMPTS * 6


def test_when_all_are_busy_they_are_asked_again_later(two, folder):
    del folder
    for model, _ in two:
        model.plan.append(plain.Fault("RESOURCE_EXHAUSTED"))
    assert _outcome(two, _rows()[0]).status == "done"
    assert sorted(len(model.calls) for model, _ in two) == [1, 2]


def test_when_all_are_busy_for_too_long_the_picture_fails(two, folder, monkeypatch):
    del folder
    monkeypatch.setattr(servers, "_PATIENCE_S", 0.2)
    for model, _ in two:
        model.plan.extend(plain.Fault("RESOURCE_EXHAUSTED") for _ in range(100))
    found = _outcome(two, _rows()[0])
    assert (found.status, "is too busy" in found.why) == ("failed", True)


def test_what_a_server_refuses_for_good_fails_at_once(two, folder):
    del folder
    for model, _ in two:
        model.plan.append(plain.Fault("INVALID_ARGUMENT", "size: 64; allowed: up to 32"))
    found = _outcome(two, _rows()[0])
    assert (found.status, "size: 64; allowed: up to 32" in found.why) == ("failed", True)
    assert sum(len(model.calls) for model, _ in two) == 1


def test_the_least_busy_server_is_asked(two):
    engine = _access(two)()
    with engine._server() as first:
        with engine._server() as second, engine._server() as third:
            assert {first.address, second.address} == set(_access(two).addresses)
        assert third is first
        with engine._server() as fourth:
            assert fourth is second


def test_pauses_grow_and_end():
    clock = iter(range(0, 10_000, 100))
    engine = servers.Servers(servers.Access(addresses=("grpc://a:1",)), now=lambda: float(next(clock)))
    (server,) = engine._servers
    pauses = []
    for _ in range(9):
        pauses.append(server.pause_s)
        engine._rest(server)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


REFUSED = {
    "pooling": "server: with pooling, which the model has as it was exported; allowed: color, content_weight",
    "weights": "server: with weights",
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_the_model_has(name):
    chosen = rows.Settings("gram", {name: "average" if name == "pooling" else "builtin"})
    with pytest.raises(errors.InputError, match=re.escape(REFUSED[name])):
        servers.check(_rows(), chosen, servers.Access(addresses=("http://127.0.0.1:1",)))


@pytest.mark.slow
def test_servers_that_are_asked_by_a_batch(two, folder):
    del folder
    found: list[Any] = []
    options = run.Options(folder="painted", access=_access(two))
    planned = _rows()
    run.paint(planned, run.check(planned, SETTINGS, options), options, found.append, found.append)
    told, *made = found
    assert told == "4 pictures at a time"
    assert [each.status for each in made] == ["done"] * 6
    assert all(model.calls for model, _ in two)
    assert sum(len(model.calls) for model, _ in two) == 6


def _address(process):
    """Returns the address that a stand-in says."""
    found = re.search("gRPC at (.*),", process.stdout.readline())
    assert found
    return f"grpc://{found[1]}"


@pytest.fixture
def stand_ins(tmp_path, narrow_weights):
    """Two stand-ins for TensorFlow Serving, with a narrow model: [(process, address)]."""
    from nst_tf.serving import export
    from nst_tf.serving.settings import Limits
    from tests.support import served

    model = tmp_path / "models" / "nst"
    export.export(served.CONFIG, model, limits=Limits(64 * 64, 100_000), vgg_weights=narrow_weights)
    serve = [sys.executable, str(conftest.ROOT / "tools/local_server/serve.py"), f"--model_base_path={model}"]
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(2):
            process = subprocess.Popen(
                [*serve, "--port=0", "--rest_api_port=0"],
                env=command.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield [(each, _address(each)) for each in started]


@pytest.mark.slow
def test_a_server_goes_away_midway(stand_ins, folder):
    """It hangs with what it was asked, and is then killed: the other one paints that too."""
    from tests.support import served

    batches.write_photographs(folder / "photos", 16)
    (lost, _), (_, stays) = stand_ins
    access = servers.Access(addresses=tuple(address for _, address in stand_ins))
    chosen, options = rows.Settings(served.CONFIG), run.Options(folder="painted", access=access)
    found = []

    def on_outcome(outcome):
        found.append(outcome)
        if len(found) == 2:
            lost.send_signal(signal.SIGSTOP)
        if len(found) == 8:  # by now it has as many as it gets at a time
            lost.kill()

    planned = _rows("photos/photo00.png")
    run.paint(planned, run.check(planned, chosen, options), options, on_outcome)
    assert [each.why for each in found if each.status != "done"] == []
    assert sorted(each.number for each in found) == list(range(16))
    print([f"{each.seconds:.1f} s" for each in found])
    engine = servers.Access(addresses=(stays,))()
    for row in planned[::5]:
        ready = painting.Ready(painting._ready(row, chosen).paths, chosen.config(row), {})
        alone = pictures.to_uint8(engine.paint(ready).image)
        np.testing.assert_array_equal(alone, pictures.to_uint8(pictures.read(row.output)[0]))
