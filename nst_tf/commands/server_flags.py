"""The flags that name a model server and say how it is asked, for every command that asks one."""

from typing import Any

from absl import flags

from nst_tf import errors
from nst_tf.io import paths

NAMES = ("server", "model", "version", "timeout_s", "header", "ca_file")


def define(values: flags.FlagValues) -> None:
    """Defines the flags; in brackets what `serving.client` has where they are not given."""
    flags.DEFINE_string(
        "server",
        None,
        "grpc://HOST:8500 or http://HOST:8501; with TLS, grpcs://HOST or https://HOST",
        flag_values=values,
    )
    flags.DEFINE_string("model", "nst", "the model's name on the server", flag_values=values)
    flags.DEFINE_integer("version", None, "the model's version; the newest unless given", flag_values=values)
    flags.DEFINE_float(
        "timeout_s",
        None,
        "seconds without an answer after which to give up a call [600]",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "header",
        None,
        "a header to send, such as a key: NAME=VALUE, with a $VARIABLE of the environment in the value, in"
        " single quotes: 'authorization=Bearer $TOKEN'; several: the flag several times",
        flag_values=values,
    )
    flags.DEFINE_string(
        "ca_file",
        None,
        "with TLS: a PEM file of the certificates to trust [those of gRPC, of requests]",
        flag_values=values,
    )


def options(values: flags.FlagValues) -> dict[str, Any]:
    """Returns how the server is asked, as arguments of `client.request_stylization`.

    Raises:
        InputError: A header is not from the environment, or no file can have the path.
    """
    from nst_tf.serving import access

    ca_file, timeout_s = values["ca_file"].value, values["timeout_s"].value
    return {
        "model": values["model"].value,
        "version": values["version"].value,
        "headers": access.headers_from_environment(values["header"].value or ()),
        "ca_file": None if ca_file is None else paths.typed(ca_file, "ca_file"),
        **({} if timeout_s is None else {"timeout_s": timeout_s}),
    }


def refuse_without_server(values: flags.FlagValues) -> None:
    """Refuses flags about a server where none is named.

    Raises:
        InputError: There is one.
    """
    for name in NAMES:
        if name != "server" and values["server"].value is None and values[name].present:
            raise errors.InputError(f"{name}: of no use without --server; name one, or leave --{name} out")
