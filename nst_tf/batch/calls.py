"""Calls of a function on Ray's workers, side by side: a worker that dies is started again with its call."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nst_tf import errors, runtime
from nst_tf.batch import cluster, plan


def prepare_process(threads: int, onednn: bool) -> None:
    """Sets a worker's process up; TensorFlow is loaded later.

    Args:
        threads: That an operation of TensorFlow's may use; 0 for all that there are.
        onednn: Whether TensorFlow may compute by oneDNN where it does not unasked.
    """
    if threads:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))  # what a person has set stays
    runtime.prepare_memory()
    if onednn:
        runtime.use_onednn()
    runtime.use_tensorflow_backend()


class _Worker:
    """Calls a function in a process of its own."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], workers: plan.Plan, onednn: bool) -> None:
        prepare_process(workers.threads(), onednn)
        self._make, self._share = make, workers.memory or None
        self._function: Callable[[Any], Any] | None = None

    def call(self, item: Any) -> Any:
        """Returns what the function does, or what it raises of a person's mistakes and full disks."""
        try:
            if self._function is None:
                with runtime.quiet():
                    from nst_tf.engine import memory
                memory.set_share(self._share)
                self._function = self._make()
            return self._function(item)
        except (errors.InputError, OSError) as error:
            return error


def each(
    make: Callable[[], Callable[[Any], Any]],
    items: Sequence[Any],
    workers: plan.Plan,
    *,
    onednn: bool,
    poll_s: float,
) -> Iterator[Any]:
    """Yields what a function makes of items, in the order in which it comes; Ray is connected.

    Args:
        make: () -> the function, called once in each worker, like which it can be pickled.
        items: For a call each, begun in their order. A call whose worker dies is made again.
        workers: The plan.
        onednn: As for `prepare_process`.
        poll_s: Seconds after which None is yielded if nothing has come.

    Raises:
        InputError: As the function does; OSError likewise.
        BatchError: The workers keep dying, or a call fails in another way.
    """
    ray = cluster.load()
    kind = ray.remote(_Worker).options(
        max_restarts=cluster.MOST_RESTARTS, max_task_retries=cluster.MOST_RETRIES, **plan.resources(workers)
    )
    held = ray.put(make)
    pool = ray.util.ActorPool([kind.remote(held, workers, onednn) for _ in range(workers.actors)])
    for item in items:
        pool.submit(lambda worker, value: worker.call.remote(value), item)
    while pool.has_next():
        try:
            found = pool.get_next_unordered(timeout=poll_s)
        except TimeoutError:
            found = None
        except Exception as error:  # Ray's, whatever it is
            raise cluster.BatchError(f"the workers could not go on: {cluster.last_line(error)}") from None
        if isinstance(found, Exception):
            raise found
        yield found
