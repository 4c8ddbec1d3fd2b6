"""The command `page`: flags -> a page in the browser, until a signal ends it."""

import importlib.util
import sys
import typing
from collections.abc import Mapping, Sequence

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import server_flags, terminal
from nst_tf.io import paths
from nst_tf.page.limits import Limits

if typing.TYPE_CHECKING:
    from nst_tf.page.backends import Backend

INTRODUCTION = """Opens a page on this machine: drop a photograph and a painting, watch the picture come
about, stop when it is good, take it home.

  nst_tf page                                        at http://127.0.0.1:7860, until Ctrl-C
  nst_tf page --host=0.0.0.0 --password_file=names   for others in the network, who log in
  nst_tf page --server=grpc://localhost:8500         painted by a model server

The password file has a line NAME:PASSWORD for each person. A server behind a gateway may want TLS and a key,
which comes from the environment and is never shown: see --header and --ca_file.
"""

_NAME = "page"

# The limits by flag, with their help; the values are those of `Limits`.
_LIMITS: Mapping[str, str] = {
    "max_pixels": "the most pixels of a picture, and of a painting at the picture's size",
    "max_steps": "the most steps of a run",
    "max_frames": "the most frames of a film",
    "max_upload_mb": "the largest file that is taken, in megabytes",
    "max_hourly_mb": "the most that an address may upload within an hour, in megabytes",
    "max_queue": "the most runs that wait for their turn",
}

_MOST_PORTS = 65535


def define(values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "the address to listen at: this machine's own [127.0.0.1], or 0.0.0.0 for all networks",
        flag_values=values,
    )
    flags.DEFINE_integer("port", 7860, "the port to listen at [7860]", 1, _MOST_PORTS, flag_values=values)
    flags.DEFINE_string(
        "password_file", None, "a file with a line NAME:PASSWORD for each person", flag_values=values
    )
    server_flags.define(values)
    values["server"].help = f"paint by a model server: {values['server'].help}"
    usual = Limits()
    for name, text in _LIMITS.items():
        default = getattr(usual, name)
        flags.DEFINE_integer(name, default, f"{text} [{default}]", 1, flag_values=values)


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    return {
        "Flags of the page": ("host", "port", "password_file"),
        "Flags that bound what one person may ask for": tuple(_LIMITS),
        "Flags of a model server that paints": server_flags.NAMES,
    }


def main(values: flags.FlagValues) -> int:
    """Serves the page until a signal comes.

    Raises:
        InputError: Something that the user gave cannot be used, or a library is missing.
    """
    _require_gradio()
    from nst_tf.page import server

    host, port = values["host"].value, values["port"].value
    limits = Limits(**{name: values[name].value for name in _LIMITS})
    file = values["password_file"].value
    people = {} if file is None else server.read_people(paths.typed(file, "password_file"))
    server.check_address(host, port)
    terminal.show_warnings()
    backend = _backend(values, limits)
    if not people and not server.is_loopback(host):
        terminal.complain(_NAME, _exposed(host))
    with server.Page(backend, limits, host, port, people) as page:
        terminal.say(f"{page.address}: paint there; Ctrl-C ends it")
        try:
            page.wait()
        except KeyboardInterrupt:
            terminal.say("the page is closed; its files are removed")
    return 0


def _require_gradio() -> None:
    """Finds out whether Gradio is there, without loading it.

    Raises:
        InputError: It is not.
    """
    if importlib.util.find_spec("gradio") is None:
        raise errors.InputError(f"page: needs Gradio, which is missing: {runtime.install('page')}")


def _backend(values: flags.FlagValues, limits: Limits) -> "Backend":
    """Returns what paints, with its weights loaded or its address and headers checked.

    Raises:
        InputError: The weights cannot be had, or a flag of the server cannot be used.
    """
    from nst_tf import client
    from nst_tf.page import backends

    server_flags.refuse_without_server(values)
    address = values["server"].value
    if address is not None:
        options = server_flags.options(values)
        client.check_call(address, **options)
        return backends.Server(address, limits, options)
    runtime.use_onednn()
    runtime.use_tensorflow_backend()
    with runtime.quiet():
        backend = backends.Here(limits)
        backend.load()
    return backend


def _exposed(host: str) -> str:
    """Returns what it means to listen at an address without passwords; in red at a terminal."""
    text = (
        f"--host={host} without --password_file: whoever reaches this machine by the network can upload"
        " pictures and have them painted, and take this machine's time and memory"
    )
    return f"\x1b[31m{text}\x1b[0m" if sys.stderr.isatty() else text
