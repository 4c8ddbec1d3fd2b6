"""Serves an exported model on this machine, by gRPC and REST, as TensorFlow Serving would.

python tools/serve_local.py --model_base_path=saved_models/nst

It serves the newest version in the folder and takes up newer ones as they appear. Ctrl-C stops it. In
production, use stock TensorFlow Serving; the module nst_tf.local_server says what differs.
"""

import logging
import signal
from collections.abc import Sequence
from typing import Any

import tool_flags
from absl import app, flags

from nst_tf import errors, runtime

_SETTINGS = (
    flags.DEFINE_string("model_base_path", "", "the folder that holds the version folders 1, 2, ..."),
    flags.DEFINE_string("model_name", "", "what requests call the model; the folder's name unless given"),
    flags.DEFINE_string(
        "host", "127.0.0.1", "the address to listen on; only this machine reaches the default"
    ),
    # TensorFlow Serving's ports.
    flags.DEFINE_integer("port", 8500, "gRPC's port; 0: any free one", 0, 65535),
    flags.DEFINE_integer("rest_api_port", 8501, "REST's port; 0: any free one", 0, 65535),
    # The library's own defaults; a test compares them.
    flags.DEFINE_integer("max_concurrent_requests", 8, "predictions at a time; more are refused", 1, 1024),
    # gRPC counts a message's bytes in 31 bits.
    flags.DEFINE_integer("max_body_mb", 512, "the longest request in MiB", 1, 2047),
    flags.DEFINE_integer("rest_api_timeout_in_ms", 30_000, "what REST may take to predict; 0: any time", 0),
)


def main(argv: Sequence[str]) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    del argv
    given = {setting.name: setting.value for setting in _SETTINGS}
    if not given["model_base_path"]:
        tool_flags.fail("--model_base_path is missing: the folder that holds the version folders")
    _show_log()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, from now on
    try:
        with _local_server(given) as server:
            url = f"http://{server.host}:{server.rest_port}/v1/models/{server.name}"
            print(f"{server.name}: gRPC at {server.host}:{server.grpc_port}, REST at {url}", flush=True)
            server.wait()
    except errors.InputError as error:
        tool_flags.fail(str(error))
    except KeyboardInterrupt:  # before it waited for one
        pass
    return 0


def _local_server(given: dict[str, Any]) -> Any:
    """Returns the server; loads TensorFlow, which takes seconds."""
    with runtime.quiet():
        try:
            from nst_tf import local_server
        except ImportError as error:
            raise errors.InputError(f"{error}; pip install 'nst_tf[serving]'") from None
    return local_server.LocalServer(**given)


def _show_log() -> None:
    """Shows what becomes of versions as plain lines on standard error."""
    logger = logging.getLogger("nst_tf")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # absl has made it say what it restores.
    logging.getLogger("tensorflow").setLevel(logging.WARNING)


if __name__ == "__main__":
    app.run(main, flags_parser=tool_flags.parse)
