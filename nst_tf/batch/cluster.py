"""Ray: this machine alone, reachable from nowhere else, or a running cluster."""

import contextlib
import logging
import os
import pathlib
import signal
import socket
import tempfile
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from nst_tf import errors, runtime
from nst_tf.io import files

if typing.TYPE_CHECKING:
    import types

# What Ray reads while it runs. Its own log is nothing for a terminal, its use nothing for its makers. On this
# machine alone: its addresses are those of the loopback interface, as where it knows no clusters; and
# its workers have the priority of the command, where Ray gives way to whatever else runs.
_QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_USAGE_DISABLED": "1"}
_ALONE = {**_QUIET, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
_LOOPBACK = "127.0.0.1"

# How often Ray is started, which gives its parts 15 s: too few on a machine that has much else to do.
_STARTS = 3

# Seconds in which a machine is reached, if at all: a packet that was lost is sent again after 1 and 3.
_REACHED_S = 5.0

# How often Ray starts a worker again that was killed: more kills than that in one worker's share say that
# settings and machine do not go together, and the next run goes on.
MOST_RESTARTS = 20

# How often Ray gives a call to a worker again. It counts each attempt to reach one, about one a second, in
# the half minute until it knows that a machine is lost. In a batch, `tries.decide` counts how often a row
# kills a worker.
MOST_RETRIES = 200

# Rows and outcomes take some kilobytes each, and what does not fit goes to a disk; Ray takes 75 MB at least.
_STORE_BYTES = 2**28


# Of Ray Data: a block of outcomes is sent once it has more bytes than this, which each outcome has.
_CONTEXT = {"enable_progress_bars": False, "target_max_block_size": 1}


class BatchError(RuntimeError):
    """The batch, or the film, cannot go on; the message is one line."""


def load(name: str = "batch") -> "types.ModuleType":
    """Returns Ray.

    Args:
        name: What needs it, for the error message.

    Raises:
        InputError: It is not installed.
    """
    try:
        with _environment(_ALONE):
            import ray
            import ray.data
    except ImportError as error:
        raise errors.InputError(
            f"{name}: Ray is missing ({errors.one_line(error)}): {runtime.install('batch')}"
        ) from None
    loaded: types.ModuleType = ray
    return loaded


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Has Ray run within the block: as this process has it already, by a cluster's address, or here alone.

    Args:
        address: Of a cluster, or None.

    Raises:
        BatchError: There is no such cluster, or Ray does not start.
    """
    ray = load()
    with _quiet():
        if ray.is_initialized():
            yield
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(_environment(_ALONE if address is None else _QUIET))
            handlers = {number: signal.getsignal(number) for number in _signals()}
            if address is None:
                _start(str(stack.enter_context(_folder())))
            else:
                _connect(address)
            stack.callback(ray.shutdown)
            for number, handler in handlers.items():  # Ray has put its own in their place
                signal.signal(number, handler)
            yield


def _connect(address: str) -> None:
    """Connects to a cluster.

    Raises:
        BatchError: There is none.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_S).close()
        failure = _init(address=address)
    except OSError as error:
        failure = error
    if failure is not None:
        raise BatchError(f"address: no cluster at {address}: {errors.one_line(failure)}")


def _init(**options: Any) -> Exception | None:
    """Has Ray start or connect, without a word; returns why it does not."""
    ray = load()
    with runtime.quiet():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:  # of many kinds, plain ones too
            ray.shutdown()
            return error
    return None


def _signals() -> Sequence[signal.Signals]:
    """Returns the signals whose handlers are this process's to keep; none outside of its main thread."""
    import threading

    is_main = threading.current_thread() is threading.main_thread()
    return (signal.SIGINT, signal.SIGTERM) if is_main else ()


def _start(folder: str) -> None:
    """Starts Ray on this machine.

    Args:
        folder: For its files.

    Raises:
        BatchError: It does not start, or can be reached from elsewhere.
    """
    ray = load()
    from ray._private import ray_constants

    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        options = {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "_temp_dir": folder}
        for left in reversed(range(_STARTS)):
            failure = _init(address="local", **options)
            if failure is None:
                break
            if not left:
                raise BatchError(f"Ray does not start: {errors.one_line(failure)}")
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
    at = ray.util.get_node_ip_address()
    if at != _LOOPBACK:
        ray.shutdown()
        raise BatchError(f"Ray listens on {at}, where others reach it, and not on {_LOOPBACK}; it was ended")


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """Makes a folder for Ray's sockets and logs, which takes them along when it goes."""
    # A short path: that of a socket in it has some 100 bytes at most, and macOS' own folder half of them.
    parent = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()
    _end_orphans(parent)
    with files.temporary_folder(pathlib.Path(parent)) as folder:
        yield str(folder)


def _end_orphans(parent: str) -> None:
    """Ends what commands that were killed have left of their Ray: its agents look for it for a minute or two.

    Args:
        parent: The folder in which such commands have had their folders.
    """
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"].startswith("ray::") and _is_orphan(process, parent):
                process.kill()


def _is_orphan(process: psutil.Process, parent: str) -> bool:
    """Returns whether a process of Ray's has its files in a folder of ours, and nobody who started it."""
    starter = process.parent()
    if starter is not None and starter.name() == "raylet":
        return False
    ours = os.path.join(os.path.realpath(parent), files.PREFIX)
    return any(file.path.startswith(ours) for file in process.open_files())


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Has variables of the environment within the block; what a person has set stays."""
    added = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Ray's own lines off the terminal, and has Ray Data send outcomes as they come."""
    from ray.data import DataContext
    from ray.util.annotations import RayDeprecationWarning

    context = DataContext.get_current()
    before = {name: getattr(context, name) for name in _CONTEXT}
    for name, value in _CONTEXT.items():
        setattr(context, name, value)
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            # The names of options that are to change with 2.64; setup.cfg has the versions below.
            warnings.simplefilter("ignore", RayDeprecationWarning)
            yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def machines() -> list[dict[str, float]]:
    """Returns what each machine of the cluster has: "CPU", "GPU", "memory" and other resources."""
    return [dict(each["Resources"]) for each in load().nodes() if each["Alive"]]


def last_line(error: Exception) -> str:
    """Returns what an error says in the end: Ray's have tracebacks of the workers in them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
