"""A batch: rows -> workers on Ray -> outcomes -> a report. Scheduling and retrying are Ray's."""

import contextlib
import dataclasses
import functools
import logging
import math
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nst_tf.batch import cluster, outcomes, painting, plan, report, rows, servers, storage, tries
from nst_tf.batch.cluster import BatchError as BatchError
from nst_tf.config import config as configs
from nst_tf.config import layers as vgg_layers
from nst_tf.network import weights

_LOG = logging.getLogger(__name__)

# One block of rows waits at each worker, so that none is idle between two; more would wait for one worker at
# the end.
_IN_FLIGHT = 2

# Blocks for each worker, at least: at the end one may have two that others wait for, so 4 % of its time. And
# rows of a block, at most: of a worker that is killed, a block's rows are looked at again.
_BLOCKS, _MOST_ROWS = 50, 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a batch is done, beside what its pictures are.

    Attributes:
        folder: Of the outputs: a path or a URL.
        address: Of a running Ray cluster; None for this machine alone.
        actors: Pictures at a time; 0 for as many as memory and cores allow.
        max_failures: Failures after which the batch ends; None for any number.
        overwrite: Whether files that exist, and are not what the batch makes, are replaced.
        bit_depth: Bits a channel of the pictures.
        checkpoint_every: Seconds between two checkpoints; None for the usual, 0 for none.
        access: To model servers, which then paint; None for this program, in the workers.
        make_engine: () -> what else paints, called in the workers: for tests, and for programs of one's own.
    """

    folder: str
    address: str | None = None
    actors: int = 0
    max_failures: int | None = None
    overwrite: bool = False
    bit_depth: int = 8
    checkpoint_every: float | None = None
    access: servers.Access | None = None
    make_engine: Callable[[], painting.Engine] | None = None


def check(planned: Sequence[rows.Row], chosen: rows.Settings, options: Options) -> rows.Settings:
    """Checks all that can be checked before anything is painted; returns the settings with weights found.

    Raises:
        InputError: Something cannot be used.
    """
    cluster.load()
    rows.check(planned, chosen, options.bit_depth)
    if options.access is not None:
        servers.check(planned, chosen, options.access)
    if options.access or options.make_engine:
        return chosen
    found = {}
    for config in _distinct(planned, chosen):
        if config.takes_steps() and config.network.weights not in found:
            shapes = vgg_layers.kernel_shapes(config.all_layers())
            weights.load(config.network.weights, shapes)
            found[config.network.weights] = weights.resolve(config.network.weights)
    return chosen.with_weights(found)


def _distinct(planned: Iterable[rows.Row], chosen: rows.Settings) -> list[configs.Config]:
    """Returns the configs of rows, each once."""
    # A seed makes neither another network nor another size, and each row may have its own.
    own = {str(sorted(item for item in row.own.items() if item[0] != "seed")): row for row in planned}
    return list(dict.fromkeys(chosen.config(row) for row in own.values()))


def paint(
    planned: Sequence[rows.Row],
    chosen: rows.Settings,
    options: Options,
    on_outcome: Callable[[outcomes.Outcome], object],
    tell: Callable[[str], object] = str,
) -> dict[str, str]:
    """Paints the pictures of rows, and writes the report beside them.

    Args:
        planned: The rows.
        chosen: Their settings, as `check` returned them.
        options: How.
        on_outcome: Called with what came of each row, in the order in which it comes.
        tell: Called with a line about the workers.

    Returns:
        {name: path} of the report's files; without one that could not be written, which is a warning.

    Raises:
        BatchError: The workers do not start or keep dying, or more pictures failed than are allowed.
    """
    folder, run = storage.absolute(options.folder, "output"), secrets.token_hex(8)
    made, failed = report.Report(folder, len(planned)), 0
    try:
        with contextlib.closing(_outcomes(planned, chosen, options, folder, run, tell)) as found:
            for outcome in found:
                made.add(outcome)
                on_outcome(outcome)
                failed += outcome.status == "failed"
                if options.max_failures is not None and failed > options.max_failures:
                    raise BatchError(
                        f"{failed} pictures failed, more than --max_failures={options.max_failures}"
                    )
    except KeyboardInterrupt:
        tries.forget(folder, run)  # which no picture is to blame for
        raise
    finally:
        written = [name for name, text in made.files().items() if _put(storage.joined(folder, name), text)]
    return {name: storage.joined(options.folder, name) for name in written}


def _put(path: str, contents: bytes) -> bool:
    """Writes a file, in place of that of the batch before; returns whether it could be written."""
    try:
        storage.write(path, contents)
    except OSError as error:
        _LOG.warning("%s", storage.unwritten(error))
        with contextlib.suppress(OSError):  # that of the batch before, which would be taken for it
            storage.remove(path)
        return False
    return True


def _outcomes(
    planned: Sequence[rows.Row],
    chosen: rows.Settings,
    options: Options,
    folder: str,
    run: str,
    tell: Callable[[str], object],
) -> Generator[outcomes.Outcome]:
    """Yields what comes of rows: first of those that can be painted side by side, then of the others."""
    first, last = _parted(planned, folder)
    onednn = all(config.network.convolution != "direct" for config in _distinct(planned, chosen))
    with cluster.connected(options.address):
        workers = _plan(planned, chosen, options)
        tell(workers.told())
        job = painting.Job(
            chosen=chosen,
            folder=folder,
            run=run,
            make_engine=_engine(options, onednn, workers),
            overwrite=options.overwrite,
            bit_depth=options.bit_depth,
            checkpoint_every=options.checkpoint_every,
        )
        numbered = {row.number: row for row in planned}
        for outcome in _mapped(first, job, workers):
            if outcome.status == painting.POSTPONED:
                last.append(numbered[outcome.number])
            else:
                yield outcome
        if last:
            one = plan.alone(workers, cluster.machines())
            tell(f"{len(last)} left by tries that were cut short: {one.told()}")
            # As many threads as the others had: their number decides the last bits.
            engine = _engine(options, onednn, dataclasses.replace(workers, memory=0.0))
            job = dataclasses.replace(job, make_engine=engine, alone=True)
            yield from _mapped(last, job, one)


def _parted(planned: Sequence[rows.Row], folder: str) -> tuple[list[rows.Row], list[rows.Row]]:
    """Returns rows without and with a try that an earlier batch left in its midst.

    The latter may have ended that batch: they come last, so that the others are there by then.
    """
    if not (left := tries.left(folder)):
        return list(planned), []
    parts: tuple[list[rows.Row], list[rows.Row]] = [], []
    for row in planned:
        parts[tries.Marker(folder, row.output).path in left].append(row)
    return parts


def _engine(options: Options, onednn: bool, workers: plan.Plan) -> Callable[[], painting.Engine]:
    """Returns what makes the engine of a worker.

    Args:
        options: Of the batch.
        onednn: Whether TensorFlow may compute by oneDNN, by which Keras' own convolutions are slower.
        workers: The plan.
    """
    if other := options.access or options.make_engine:
        return other
    return functools.partial(painting.Local, workers.threads(), workers.memory or None, onednn)


def _plan(planned: Sequence[rows.Row], chosen: rows.Settings, options: Options) -> plan.Plan:
    """Returns the plan for the machines that there are."""
    most = len(planned)
    if options.access is not None:
        at_once = options.actors or servers.AT_ONCE * len(options.access.addresses)
        return plan.Plan(1, 1, 0, 0.0, at_once=min(at_once, most))
    needed = 0.0
    if options.make_engine is None:
        # In a process of its own, which loads TensorFlow and ends: this one has no use for it.
        measure = cluster.load().remote(num_cpus=1, max_calls=1)(plan.needed_memory)
        needed = cluster.load().get(measure.remote(_distinct(planned, chosen)))
    return plan.make(cluster.machines(), needed, options.actors, most, grows=options.address is not None)


def _mapped(planned: Sequence[rows.Row], job: painting.Job, workers: plan.Plan) -> Iterator[outcomes.Outcome]:
    """Yields what comes of rows as Ray's workers send it.

    Raises:
        BatchError: The workers keep dying.
    """
    if not planned:
        return
    ray = cluster.load()
    items = [{painting.ROW: row.to_json()} for row in planned]
    mapped = ray.data.from_items(items, override_num_blocks=_blocks(len(items), workers)).map_batches(
        painting.Worker,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            size=min(workers.actors, len(items)),
            max_tasks_in_flight_per_actor=_IN_FLIGHT * workers.at_once,
            max_concurrent_calls_per_actor=workers.at_once,
            enable_true_multi_threading=workers.at_once > 1,
        ),
        max_restarts=cluster.MOST_RESTARTS,
        max_task_retries=cluster.MOST_RETRIES,
        **plan.resources(workers),
    )
    try:
        # By blocks: `iter_batches` sends statistics of all blocks to a dashboard every few seconds.
        for bundle in mapped.iter_internal_ref_bundles():
            for block in ray.get(bundle.block_refs):
                columns = (block[name].to_pylist() for name in (painting.OUTCOME, painting.THUMBNAIL))
                yield from map(painting.to_outcome, *columns)
    except Exception as error:  # Ray's, whatever it is: what rows do raises nothing
        raise BatchError(f"the workers could not go on: {cluster.last_line(error)}") from None


def _blocks(count: int, workers: plan.Plan) -> int:
    """Returns in how many blocks Ray hands out so many rows."""
    rows_each = count // (_BLOCKS * workers.actors * workers.at_once)
    return math.ceil(count / min(max(1, rows_each), _MOST_ROWS))


def stylize_all(
    pictures: Iterable[str | os.PathLike[str] | Mapping[str, Any]],
    output: str | os.PathLike[str],
    *,
    style: Any = (),
    names: str = rows.NAMES,
    preset: str | configs.Config = "default",
    address: str | None = None,
    actors: int = 0,
    max_failures: int | None = None,
    overwrite: bool = False,
    bit_depth: int = 8,
    server: str | Sequence[str] = (),
    on_outcome: Callable[[outcomes.Outcome], object] | None = None,
    **overrides: Any,
) -> list[outcomes.Outcome]:
    """Paints many pictures, on this machine or on a cluster; skips those that are there already.

    Args:
        pictures: For each picture its photograph, a path or a URL, or {column of a list: value}.
        output: The folder for the pictures, a path or a URL.
        style: The painting of all rows that name none, or a list of paintings, which are blended.
        names: The pattern of the pictures' names; see `nst_tf batch --help`.
        preset: The formulation by name, or a config.
        address: As in `Options`, like all of the following.
        actors: Likewise.
        max_failures: Likewise.
        overwrite: Likewise.
        bit_depth: Likewise.
        server: A model server's address, or several, which then paint: see `nst_tf.client`.
        on_outcome: Called with what came of each picture, as it comes.
        **overrides: Settings to replace, as for `stylize`.

    Returns:
        What came of each picture, in the order of `pictures`.

    Raises:
        InputError: A name or a value cannot be used, and nothing has been painted.
        BatchError: The batch ended early.
    """
    styles = [style] if isinstance(style, str | os.PathLike) else list(style)
    common = rows.Common(output=os.fspath(output), names=names, styles=[os.fspath(each) for each in styles])
    records = [each if isinstance(each, Mapping) else {"content": each} for each in pictures]
    planned = rows.of_records(records, common)
    addresses = (server,) if isinstance(server, str) else tuple(server)
    options = Options(
        folder=common.output,
        access=servers.Access(addresses=addresses) if addresses else None,
        address=address,
        actors=actors,
        max_failures=max_failures,
        overwrite=overwrite,
        bit_depth=bit_depth,
    )
    chosen = check(planned, rows.Settings.of(preset, overrides), options)
    found: list[outcomes.Outcome] = []

    def take(outcome: outcomes.Outcome) -> None:
        found.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    paint(planned, chosen, options, take)
    return sorted(found, key=lambda outcome: outcome.number)
