"""What a served model does under load: pictures a minute, answer times and memory, by number of clients.

An exported model is served by the stand-in for TensorFlow Serving (tools/local_server), in a process of its
own. Requests at the same time are for different pictures, and each has to get, bit for bit, the picture that
it gets alone.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
import numpy as np
import psutil
import requests
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from benchmark import contenders, processes, timing
from nst_tf import errors
from nst_tf.config.config import Config
from nst_tf.network import weights
from nst_tf.serving import client, export
from nst_tf.serving.settings import Settings

_MODEL = "nst"
_SERVE = pathlib.Path(__file__).resolve().parents[1] / "local_server" / "serve.py"

# Threads of the server that do not paint: one listens, one tells the status.
_OTHER_THREADS = 2

# With so many, one listens and one answers: who gets an answer has the only place there is.
_SINGLE = 2

# The longest wait for one answer, and for a client's place: a fault ends the row instead of hanging it.
_LONGEST_S = 3600.0
_LONGEST_FREED_S = 60.0

# Time between two looks at the server's memory, and at whether a place is taken.
_LOOK_S = 0.02

# What a status by REST waits for at most before the only place counts as taken.
_TAKEN_S = 1.0

_MEGABYTE = 1e6


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to ask for."""

    clients: Sequence[int]  # numbers of clients, ascending; ratios are to the first
    pictures: int  # of each number of clients, in a round
    rounds: int  # of all numbers of clients, in turn
    sequence: int  # requests of one client over which memory may grow


def measure(task: contenders.Task, chosen: Config, plan: Plan) -> dict[str, Any]:
    """Returns rates, times and memory by number of clients, the growth, and the seconds to a free place.

    Args:
        task: The pictures.
        chosen: What to export; its size and steps are those of a request.
        plan: What to ask for.

    Raises:
        InputError: The server cannot be started.
        RuntimeError: A picture is another one than its request got alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder) / _MODEL
        processes.call(_export, chosen, base, task.weights)
        with _serving(base, max(plan.clients) + _OTHER_THREADS) as server:
            asked = _Asked(server, task, _settings(chosen, max(plan.clients)))
            by_clients = _by_clients(asked, plan)
            growth = _growth(asked, plan.sequence)
        with _serving(base, _SINGLE) as server:
            freed = {way: _freed_s(server, way, task, chosen) for way in ("grpc", "rest")}
    return {"clients": by_clients, "sequence": growth, "freed_s": freed}


def _export(chosen: Config, base: pathlib.Path, vgg_weights: weights.Weights) -> None:
    export.export(chosen, base, vgg_weights=vgg_weights)


def _settings(chosen: Config, count: int) -> list[Settings]:
    """Returns the settings of as many requests, no two with the same picture."""
    own = Settings.of_config(chosen)
    return [
        dataclasses.replace(own, seed=number, style_weight=own.style_weight * (1 + number))
        for number in range(count)
    ]


@dataclasses.dataclass(frozen=True)
class _Server:
    """A server that runs."""

    process: psutil.Process
    grpc: str  # host:port
    rest: str  # the model's URL

    def resident_mb(self) -> float:
        """Returns the memory that the process has now."""
        return float(self.process.memory_info().rss) / _MEGABYTE


@contextlib.contextmanager
def _serving(base: pathlib.Path, threads: int) -> Iterator[_Server]:
    """Serves the model in a process of its own.

    Args:
        base: The model's folder.
        threads: Of either kind; one listens.

    Raises:
        InputError: The server does not start.
    """
    flags = [f"--model_base_path={base}", "--port=0", "--rest_api_port=0", "--rest_api_timeout_in_ms=0"]
    flags += [f"--grpc_max_threads={threads}", f"--rest_api_num_threads={threads}"]
    with (
        tempfile.TemporaryFile("w+") as notes,
        subprocess.Popen(
            [sys.executable, str(_SERVE), *flags], stdout=subprocess.PIPE, stderr=notes, text=True
        ) as process,
        _ending(process),
    ):
        assert process.stdout is not None
        words = process.stdout.readline().split()  # nst: gRPC at HOST:PORT, REST at URL
        if not words:
            notes.seek(0)
            raise errors.InputError(f"the server did not start: {(notes.readlines() or ['?'])[-1].strip()}")
        yield _Server(psutil.Process(process.pid), words[3].rstrip(","), words[-1])


@contextlib.contextmanager
def _ending(process: subprocess.Popen) -> Iterator[None]:
    """Ends a process with the block, and when this process is terminated, which it would outlive."""

    def end(number: int, _: object) -> None:
        process.terminate()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        process.terminate()
        signal.signal(signal.SIGTERM, before)


class _Asked:
    """A server's answers, each compared with the first to the same request."""

    def __init__(self, server: _Server, task: contenders.Task, settings: Sequence[Settings]) -> None:
        """Asks for each picture once, one after another: the server optimises its graph meanwhile."""
        self.server, self._task, self._settings = server, task, settings
        self._alone = [self._ask(number) for number in range(len(settings))]

    def seconds(self, number: int) -> float:
        """Asks for a picture; returns the time that the answer took.

        Raises:
            RuntimeError: It is another picture than the first time.
        """
        start, number = time.perf_counter(), number % len(self._settings)
        image = self._ask(number)
        taken = time.perf_counter() - start
        if not np.array_equal(image, self._alone[number]):
            differing = np.mean(image != self._alone[number])
            raise RuntimeError(
                f"load: request {number} got another picture than alone: {100 * differing:.3g} % of its"
                " values differ"
            )
        return taken

    def _ask(self, number: int) -> np.ndarray:
        return _ask(f"grpc://{self.server.grpc}", self._task, self._settings[number])


def _by_clients(asked: _Asked, plan: Plan) -> dict[str, Any]:
    """Returns rates, times and memory by number of clients, and their ratios to the first number's."""
    spans: timing.Times = {str(count): [] for count in plan.clients}
    answers: timing.Times = {str(count): [] for count in plan.clients}
    peaks: dict[str, float] = {}
    for _, count in itertools.product(range(plan.rounds), plan.clients):
        name, pictures = str(count), max(count, plan.pictures)
        with _peak(asked.server) as peak_mb, concurrent.futures.ThreadPoolExecutor(count) as pool:
            start = time.perf_counter()
            answers[name] += pool.map(asked.seconds, range(pictures))
            spans[name].append((time.perf_counter() - start) / pictures)
        # Of the first round: later ones begin with the memory that more clients have left.
        peaks.setdefault(name, peak_mb())
    return summary(spans, answers, peaks)


def summary(spans: timing.Times, answers: timing.Times, peaks: dict[str, float]) -> dict[str, Any]:
    """Returns the figures of each number of clients, and their ratios to those of the first.

    Args:
        spans: {number of clients: seconds for each picture, by round}.
        answers: {number of clients: seconds of every answer}.
        peaks: {number of clients: peak memory in MB}.
    """
    found: dict[str, Any] = {}
    first = next(iter(spans))
    for name, seconds in timing.medians(spans).items():
        median, late = np.percentile(answers[name], [50, 95])
        figures = {
            "pictures_per_minute": 60 / seconds,
            "median_s": float(median),
            "percentile_95_s": float(late),
            "peak_mb": peaks[name],
        }
        base = found[first]["figures"] if found else figures
        ratios = {key: value / base[key] for key, value in figures.items()}
        ratios["pictures_per_minute"] = timing.ratio(spans, first, name)  # within a round
        found[name] = {"figures": figures, "ratios": ratios}
    return found


@contextlib.contextmanager
def _peak(server: _Server) -> Iterator[Callable[[], float]]:
    """Yields a function that returns the most memory in MB that the server has had during the block."""
    found, ended = [server.resident_mb()], threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            found.append(server.resident_mb())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield lambda: max(found)
    finally:
        ended.set()
        looking.join()


def _growth(asked: _Asked, count: int) -> dict[str, float]:
    """Returns by how much the server's memory grows over so many requests, one after another."""
    resident = []
    for number in range(count):
        asked.seconds(number)
        resident.append(asked.server.resident_mb())
    return growth(resident)


def growth(resident: Sequence[float]) -> dict[str, float]:
    """Returns the growth of memory after the first tenth of the requests, in all and for each request.

    From the second tenth to the last, by their medians, since what a request frees is kept for a while.

    Args:
        resident: The memory in MB after each of ten or more requests.
    """
    tenth = len(resident) // 10
    before = statistics.median(resident[tenth : 2 * tenth])
    grown = statistics.median(resident[-tenth:]) - before
    return {
        "requests": len(resident),
        "from_mb": before,
        "growth_mb": grown,
        "growth_kb_per_request": 1000 * grown / (len(resident) - 2 * tenth),
    }


def _freed_s(server: _Server, way: str, task: contenders.Task, chosen: Config) -> float:
    """Returns the seconds from a client's end until the only place for a request is free again.

    Args:
        server: With one place.
        way: "grpc" or "rest".
        task: The pictures.
        chosen: What is served.

    Raises:
        RuntimeError: The client got no place, or kept it.
    """
    is_taken = {
        "grpc": lambda: _is_taken_by_grpc(server.grpc),
        "rest": lambda: _is_taken_by_rest(server.rest),
    }
    address = f"grpc://{server.grpc}" if way == "grpc" else server.rest.partition("/v1/")[0]
    own, longest = Settings.of_config(chosen), export.default_limits(chosen).max_steps
    _ask(address, task, own)  # TensorFlow optimises the graph before its first run, which nothing ends
    with processes.killed(_ask, address, task, dataclasses.replace(own, num_steps=longest)) as asking:
        _wait(lambda: is_taken[way]() or not asking.is_alive(), f"a client by {way} gets no place")
        if not asking.is_alive():
            raise RuntimeError(f"load: the client by {way} ended by itself")
    start = time.perf_counter()
    _wait(lambda: not is_taken[way](), f"a killed client by {way} keeps its place")
    return time.perf_counter() - start


def _ask(address: str, task: contenders.Task, settings: Settings) -> np.ndarray:
    """Returns the picture that a server answers a request with."""
    return client.request_stylization(
        address, task.content[0], task.style[0], model=_MODEL, settings=settings, timeout_s=_LONGEST_S
    ).image


def _wait(is_so: Callable[[], bool], otherwise: str) -> None:
    """Waits until something is so."""
    end = time.monotonic() + _LONGEST_FREED_S
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError(f"load: {otherwise} within {_LONGEST_FREED_S:g} s")
        time.sleep(_LOOK_S)


def _is_taken_by_grpc(address: str) -> bool:
    """Returns whether the server refuses one more call."""
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": _MODEL})
    with grpc.insecure_channel(address) as channel:
        try:
            model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=_LONGEST_FREED_S)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return True
    return False


def _is_taken_by_rest(url: str) -> bool:
    """Returns whether the server lets one more request wait."""
    try:
        requests.get(url, timeout=_TAKEN_S).raise_for_status()
    except requests.Timeout:
        return True
    return False
