"""The way to a server behind a gateway: headers with keys, certificates to trust, proxies of the environment.

The values of headers are secrets: they are in no message and no `repr`.
"""

import dataclasses
import ipaddress
import logging
import os
import pathlib
import re
import ssl
import string
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence

from nst_tf import errors

_LOG = logging.getLogger(__name__)

# Schemes with TLS.
ENCRYPTED = ("grpcs", "https")

# RFC 9110, 5.6.2, of a header's name; gRPC allows these of them. A name in `-bin` has a binary value there.
_NAME = re.compile(r"[0-9a-z_.-]+(?<!-bin)\Z")
# RFC 9110, 5.5, and gRPC: visible characters, with spaces between them.
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?\Z")

# What the two protocols set themselves: another value would break a call.
_OWN_NAMES = {"connection", "content-encoding", "content-length", "content-type", "expect", "host", "te"}
_OWN_NAMES |= {"trailer", "transfer-encoding", "upgrade", "user-agent"}

# Characters of a part of a secret from which on it is cut out of messages; shorter ones are words: Bearer.
_SHORTEST_SECRET = 8


@dataclasses.dataclass(frozen=True)
class Access:
    """How a server is asked.

    Attributes:
        headers: {name: value} to send with every call; names in lower case.
        ca_file: A PEM file of the certificates to trust instead of the usual ones; None for these.
    """

    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    ca_file: pathlib.Path | None = None

    def without_secrets(self, text: str) -> str:
        """Returns a text, such as a server's, without the values of headers."""
        parts = {part for value in self.headers.values() for part in (value, *value.split())}
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _SHORTEST_SECRET:
                text = text.replace(part, "***")
        return text


def check(
    address: urllib.parse.SplitResult,
    headers: Mapping[str, str] | None,
    ca_file: str | os.PathLike[str] | None,
) -> Access:
    """Returns how a server is asked.

    Raises:
        InputError: A header cannot be sent, or the file holds no certificates or is of no use.
    """
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        lower = name.lower() if isinstance(name, str) else ""
        usable = _NAME.match(lower) and lower not in _OWN_NAMES and not lower.startswith("grpc-")
        allowed = "letters, digits and _.-, not at the end -bin, and no name that the protocol itself sets"
        errors.require(usable, "header", repr(name), allowed)
        errors.require(lower not in checked, "header", f"{lower} twice", "each name once")
        good = isinstance(value, str) and _VALUE.match(value)
        errors.require(good, "header", f"the value of {lower}, not shown", "visible ASCII, and spaces within")
        checked[lower] = value
    if checked and address.scheme not in ENCRYPTED and not _is_this_machine(address.hostname or ""):
        names = ", ".join(checked)
        _LOG.warning("header: %s goes unencrypted, for anybody on the way to read; use TLS", names)
    return Access(checked, None if ca_file is None else _certificates(address, pathlib.Path(ca_file)))


def _certificates(address: urllib.parse.SplitResult, path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a PEM file of certificates.

    Raises:
        InputError: It is none, or the connection is not encrypted.
    """
    allowed = "with " + " or ".join(f"{scheme}://" for scheme in ENCRYPTED)
    errors.require(address.scheme in ENCRYPTED, "ca_file", f"{path} for {address.scheme}://", allowed)
    path = path.expanduser()
    try:
        ssl.create_default_context(cafile=os.fspath(path))
    except (OSError, ValueError) as error:  # ssl's own error is the former; ValueError: a NUL in the name
        why = error.strerror if isinstance(error, OSError) and error.strerror else errors.one_line(error)
        raise errors.InputError(
            f"ca_file: {path} cannot be used: {_plain(why)}; name a PEM file of certificates"
        ) from None
    return path


def _plain(why: str) -> str:
    """Returns a message of Python's ssl without the place in its source."""
    return re.sub(r" \(_ssl\.c:\d+\)", "", why)


def headers_from_environment(typed: Iterable[str]) -> dict[str, str]:
    """Returns {name: value} of texts NAME=VALUE, in whose values $VARIABLE stands for the environment's.

    A value without a variable is refused: on a command line every user of the machine can read it.

    Raises:
        InputError: A text is no such thing, or a variable is not set. The value is not shown.
    """
    example = "as in --header='authorization=Bearer $TOKEN'"
    headers: dict[str, str] = {}
    for text in typed:
        name, separator, value = text.partition("=")
        errors.require(separator and name, "header", "a text without NAME=", f"NAME=VALUE, {example}")
        errors.require(name not in headers, "header", f"{name} twice", "each name once")
        template = string.Template(value)
        errors.require(
            template.is_valid() and template.get_identifiers(),
            "header",
            f"{name} with a value that is not from the environment",
            f"a $VARIABLE in it, in single quotes, {example}",
        )
        try:
            headers[name] = template.substitute(os.environ)
        except KeyError:
            raise errors.InputError(
                f"header: the $VARIABLE in the value of {name} is not set in the environment; export it"
            ) from None
    return headers


def proxy(address: urllib.parse.SplitResult) -> str:
    """Returns the proxy that the environment names for an address, and by which variable; "" for none."""
    if address.scheme.startswith("grpc"):
        # gRPC reads them in this order, in lower case only, for encrypted and other connections alike.
        found = _first(("grpc_proxy", "https_proxy", "http_proxy"))
        unless = _first(("no_grpc_proxy", "no_proxy"))
    else:
        scheme = f"{address.scheme}_proxy"
        found = _first((scheme, scheme.upper(), "all_proxy", "ALL_PROXY"))
        unless = _first(("no_proxy", "NO_PROXY"))
    if not found or _is_excepted(address.hostname or "", unless[1] if unless else ""):
        return ""
    variable, url = found
    return f"{re.sub('[^/]*@', '', url)}, from {variable}"


def _first(names: Sequence[str]) -> tuple[str, str] | None:
    """Returns the first of some variables that is set, and its value."""
    return next(((name, value) for name in names if (value := os.environ.get(name))), None)


def _is_excepted(host: str, unless: str) -> bool:
    """Returns whether a list of hosts, domains and networks has a host."""
    for each in unless.lower().replace(" ", "").split(","):
        name = each.lstrip(".")
        if each and (name == "*" or host == name or host.endswith(f".{name}") or _is_within(host, each)):
            return True
    return False


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or _is_within(host, "127.0.0.0/8") or host == "::1"


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
