"""The command `batch`: many photographs -> rows -> workers -> pictures, a report, a list of failures."""

import sys
import typing
from collections.abc import Mapping, Sequence

from absl import flags

from nst_tf import errors, runtime
from nst_tf.commands import run_flags, terminal

if typing.TYPE_CHECKING:
    from nst_tf.batch.outcomes import Outcome
    from nst_tf.batch.rows import Common
    from nst_tf.batch.run import Options
    from nst_tf.batch.servers import Access

INTRODUCTION = """Paints many pictures, on this machine or on a cluster, and goes on where it was interrupted.

  nst_tf batch --content=photos --style=painting.jpg --output=painted
  nst_tf batch --content='photos/*.jpg' --styles='paintings/*.jpg' --output=painted --size=1024
  nst_tf batch --content=list.csv --output=s3://bucket/painted --address=auto

A list has a line for each picture: list.csv names its columns in the first line (content, style, output,
mask, regions, init, preset, any setting), list.txt has photographs alone. Relative paths are in the list's
folder. URLs such as s3://bucket/photo.jpg may be named wherever files may.

The same command does what is left: it skips a picture that is there with the same settings, inputs and
weights. Beside the pictures it writes report.html and failed.jsonl. It exits with 1 if a picture failed.
"""

_NAME = "batch"

# Flags about one picture or one run, for which this command has its own or no use.
_OTHER = ("content", "output")
REFUSED = tuple(name for name in run_flags.OF_ONE_RUN if name not in ("bit_depth", "checkpoint_every"))

_PICTURES = ("content", "style", "styles", "output", "names")
_MACHINES = ("address", "actors", "max_failures")
_SERVERS = ("server", "model", "timeout_s", "header", "ca_file")


def define(values: flags.FlagValues) -> None:
    """Defines the flags of a batch and those of a run."""
    run_flags.define(values, without=_OTHER)
    _define_pictures(values)
    _define_machines(values)


def _define_pictures(values: flags.FlagValues) -> None:
    flags.DEFINE_multi_string(
        "content",
        None,
        "the photographs: pictures, a folder, a pattern such as 'photos/*.jpg', or a list (.csv, .tsv, .txt);"
        " several by giving the flag several times",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "styles",
        None,
        "instead of --style: each photograph is painted in each of these; as --content, but for lists",
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "the folder for the pictures, made if need be", flag_values=values)
    flags.DEFINE_string(
        "names",
        "{content}_{style}.png",
        "how pictures are named, by {content}, {style}, {folder} (of the photograph) and {number}; the"
        " extension decides the format [{content}_{style}.png]",
        flag_values=values,
    )


def _define_machines(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "address",
        None,
        "a running Ray cluster: auto, or HOST:PORT; without it this machine alone paints",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "actors", None, "pictures at a time [as many as memory and cores allow]", 1, flag_values=values
    )
    flags.DEFINE_integer(
        "max_failures", None, "end once more pictures have failed [never]", 0, flag_values=values
    )
    flags.DEFINE_multi_string(
        "server",
        None,
        "ask model servers instead of painting here: grpc://HOST:PORT or http://HOST:PORT; several with"
        " commas, or the flag several times",
        flag_values=values,
    )
    flags.DEFINE_string("model", "nst", "the model's name on the servers [nst]", flag_values=values)
    flags.DEFINE_float(
        "timeout_s", None, "seconds after which a call to a server is given up [600]", 0.0, flag_values=values
    )
    flags.DEFINE_multi_string(
        "header", None, "NAME=VALUE: sent with each call to a server, such as a login", flag_values=values
    )
    flags.DEFINE_string("ca_file", None, "PEM file of certificates to trust in servers", flag_values=values)


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}."""
    own = {*_PICTURES, *_MACHINES, *_SERVERS}
    return {
        "Flags of the pictures": [*_PICTURES, "overwrite"],
        "Flags of the machines": _MACHINES,
        "Flags of model servers, which paint instead": _SERVERS,
        **run_flags.groups(without={*own, "overwrite", *REFUSED}),
    }


def main(values: flags.FlagValues) -> int:
    """Checks everything that can be checked early, paints, sums up.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    try:
        return _batch(values)
    except KeyboardInterrupt as interrupt:
        terminal.complain(_NAME, "interrupted; the same command does what is left")
        return terminal.interrupted_code(interrupt)


def _batch(values: flags.FlagValues) -> int:
    """Paints; returns the exit code."""
    from nst_tf.batch import outcomes, progress, report, rows, run
    from nst_tf.io import inputs

    run_flags.refuse(values, REFUSED, "a batch has many runs")
    for name, what in (("content", "FILES"), ("output", "FOLDER")):
        if values[name].value in (None, "", [""]):
            raise errors.InputError(f"--{name}={what} is missing; --help explains")
    terminal.show_warnings()
    with runtime.quiet():
        chosen = rows.Settings.of(run_flags.to_base(values), run_flags.overrides(values))
        planned = rows.plan(inputs.names("content", values["content"].value), _common(values))
        options = _options(values)
        chosen = run.check(planned, chosen, options)
    terminal.say(f"{len(planned)} pictures", sys.stderr)
    shown = progress.Progress(len(planned), sys.stderr)
    failed = 0

    def on_outcome(outcome: "Outcome") -> None:
        nonlocal failed
        failed += outcome.status == "failed"
        shown.add(outcome)

    try:
        written = run.paint(planned, chosen, options, on_outcome, lambda line: terminal.say(line, sys.stderr))
    except run.BatchError as error:
        terminal.complain(_NAME, f"{error}; the same command does what is left")
        return terminal.EXIT_FAILED
    finally:
        shown.end()
    if report.NAME in written:
        terminal.say(written[report.NAME])
    if failed:
        listed = f": {written[outcomes.FAILURES]}" if outcomes.FAILURES in written else ""
        terminal.complain(_NAME, f"{failed} of {len(planned)} pictures failed{listed}")
    return terminal.EXIT_FAILED if failed or len(written) < len(report.FILES) else 0


def _common(values: flags.FlagValues) -> "Common":
    from nst_tf.batch import rows
    from nst_tf.io import inputs

    listed = ("style", "styles", "style_regions")
    several = {name: inputs.names(name, values[name].value or []) for name in listed}
    return rows.Common(
        output=values["output"].value,
        names=values["names"].value,
        styles=several["style"],
        each_style=several["styles"],
        content_mask=values["content_mask"].value or "",
        content_regions=values["content_regions"].value or "",
        style_regions=several["style_regions"],
    )


def _options(values: flags.FlagValues) -> "Options":
    from nst_tf.batch import run

    return run.Options(
        access=_servers(values),
        folder=values["output"].value,
        address=values["address"].value,
        actors=values["actors"].value or 0,
        max_failures=values["max_failures"].value,
        overwrite=values["overwrite"].value,
        bit_depth=values["bit_depth"].value,
        checkpoint_every=values["checkpoint_every"].value,
    )


def _servers(values: flags.FlagValues) -> "Access | None":
    """Returns how model servers are asked; None where none are.

    Raises:
        InputError: A flag about them is wrong, or there without them.
    """
    addresses = [each for text in values["server"].value or () for each in text.split(",") if each]
    if not addresses:
        run_flags.refuse(values, [name for name in _SERVERS if name != "server"], "without --server")
        return None
    from nst_tf.batch import servers
    from nst_tf.serving import access, client

    return servers.Access(
        addresses=tuple(addresses),
        model=values["model"].value,
        timeout_s=client.TIMEOUT_S if values["timeout_s"].value is None else values["timeout_s"].value,
        headers=access.headers_from_environment(values["header"].value or ()),
        ca_file=values["ca_file"].value,
    )
