"""Serves an exported model on this machine, by gRPC and REST, as TensorFlow Serving would.

python tools/local_server/serve.py --model_base_path=saved_models/nst

It serves the newest version in the folder and loads newer ones as they appear. Ctrl-C stops it. In
production, use stock TensorFlow Serving; tools/local_server/README.md lists what differs.
"""

import logging
import pathlib
import signal
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from nst_tf import errors, runtime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the folder of the tools
import tool_flags

_SETTINGS = (
    flags.DEFINE_string("model_base_path", "", "the folder that holds the version folders 1, 2, ..."),
    flags.DEFINE_string("model_name", "", "the model's name in requests; by default the folder's name"),
    flags.DEFINE_string(
        "host", "127.0.0.1", "the address to listen on; only this machine reaches the default"
    ),
    # TensorFlow Serving's ports.
    flags.DEFINE_integer("port", 8500, "gRPC's port; 0: any free one", 0, 65535),
    flags.DEFINE_integer("rest_api_port", 8501, "REST's port; 0: any free one", 0, 65535),
    # The library's own defaults; a test compares them.
    flags.DEFINE_integer(
        "grpc_max_threads",
        0,
        "one more than the calls by gRPC at a time, status among them; others are refused; 0: four for each"
        " processor",
        0,
        1024,
    ),
    flags.DEFINE_integer(
        "rest_api_num_threads",
        0,
        "one more than the requests by REST at a time, status among them; others wait; 0: four for each"
        " processor",
        0,
        1024,
    ),
    # gRPC counts a message's bytes in 31 bits.
    flags.DEFINE_integer("max_body_mb", 512, "the longest request in MiB", 1, 2047),
    flags.DEFINE_integer(
        "rest_api_timeout_in_ms", 30_000, "the longest time for a prediction by REST; 0: no limit", 0
    ),
)


def main(argv: Sequence[str]) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    del argv
    settings = {setting.name: setting.value for setting in _SETTINGS}
    if not settings["model_base_path"]:
        tool_flags.fail("--model_base_path is missing: the folder that holds the version folders")
    _show_log()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, from now on
    try:
        with _server(settings) as running:
            url = f"http://{running.host}:{running.rest_port}/v1/models/{running.name}"
            print(f"{running.name}: gRPC at {running.host}:{running.grpc_port}, REST at {url}", flush=True)
            running.wait()
    except errors.InputError as error:
        tool_flags.fail(str(error))
    except KeyboardInterrupt:  # before `wait` handles it
        pass
    return 0


def _server(settings: dict[str, Any]) -> Any:
    """Returns the server; loads TensorFlow, which takes seconds."""
    with runtime.quiet():
        try:
            from local_server import server
        except ImportError as error:
            raise errors.InputError(f"{error}; pip install -e '.[local_server]'") from None
    return server.LocalServer(**settings)


def _show_log() -> None:
    """Prints which versions are served, as plain lines on standard error."""
    logger = logging.getLogger("local_server")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # Without this line absl has TensorFlow log what it restores.
    logging.getLogger("tensorflow").setLevel(logging.WARNING)


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
