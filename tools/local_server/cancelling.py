"""Cancels single runs of a session, which TensorFlow's own `Session` cannot: it cancels all or none.

A run that may be cancelled fetches, besides its results, an operation that waits for an element of a queue.
The run adds the element itself once it has its results. To close the queue instead is to fail that operation,
and with it the run, within a loop too.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session  # `Session.run` hands options on by it

_NO_TIMEOUT = -1  # of operations on queues, in milliseconds

# The caller's thread runs the operation: the session's own may all be busy with what is to be cancelled.
_HERE = tf.compat.v1.RunOptions(inter_op_thread_pool=-1)


def session(at_once: int) -> tf.compat.v1.Session:
    """Returns a session with an empty graph, in which so many runs at a time can be cancelled.

    A loop keeps one thread busy, so that there is one more, for the waits. TensorFlow's default is one for
    each core, shared by all sessions of the process.
    """
    config = tf.compat.v1.ConfigProto(use_per_session_threads=True)
    config.inter_op_parallelism_threads = max(os.cpu_count() or 1, at_once + 1)
    return tf.compat.v1.Session(graph=tf.Graph(), config=config)


class Gone:
    """Whether a request's client has gone away; can be told so by any thread, any number of times."""

    def __init__(self) -> None:
        """Begins with a client that is there."""
        self._lock = threading.Lock()  # guards both fields
        self._call: Callable[[], object] | None = None
        self.happened = False

    def tell(self) -> None:
        """Says that the client has gone away."""
        with self._lock:
            self.happened = True
            if self._call is not None:
                self._call()

    @contextlib.contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Calls a function as soon as the client has gone away, but not after the block."""
        with self._lock:
            self._call = call
            if self.happened:
                call()
        try:
            yield
        finally:
            with self._lock:
                self._call = None


class Cancelling:
    """Queues for so many runs of a session at a time."""

    def __init__(self, session: tf.compat.v1.Session, at_once: int) -> None:
        """Adds the queues to the session's graph."""
        self._session, self._adding = session, threading.Lock()
        self._finished: dict[tuple[str, ...], tf.Operation] = {}
        self._free: queue.LifoQueue[int] = queue.LifoQueue()
        with session.graph.as_default():
            queues = [_queue(index) for index in range(at_once)]
            # Last by name: where TensorFlow refuses an input, it counts them in this order.
            self._index = tf.compat.v1.placeholder(tf.int32, [], name="zz_index")
            self._chosen = _choose(queues, self._index)
            self._close = tf.raw_ops.QueueCloseV2(handle=self._chosen)
            self._destroy = tf.raw_ops.DestroyResourceOp(resource=self._chosen)
            dequeue = tf.raw_ops.QueueDequeueV2(
                handle=self._chosen, component_types=[tf.bool], timeout_ms=_NO_TIMEOUT
            )
            self._wait = dequeue[0].op
        # Once now: the first run of each would wait for graphs that are being optimised.
        for operation in (self._close, self._destroy):
            self._do(operation, 0)
        for index in range(at_once):
            self._free.put(index)

    def run(self, fetches: dict[str, str], feeds: dict[str, Any], timeout_ms: int, gone: Gone) -> Any:
        """Returns what the session returns for the fetches.

        Args:
            fetches: {any name: tensor}.
            feeds: {tensor: value}.
            timeout_ms: The longest time that the run may take; 0: no limit.
            gone: Cancels the run.

        Raises:
            OpError: TensorFlow failed, ran out of time, or was cancelled.
        """
        waiting = [self._when_finished(sorted(fetches.values())), self._wait]
        options = tf.compat.v1.RunOptions(timeout_in_ms=timeout_ms)
        try:
            with self._queue(gone) as index:
                return self._run(fetches, waiting, {**feeds, self._index.name: np.int32(index)}, options)
        except tf.errors.CancelledError:
            if gone.happened:
                raise
        # A part of the graph failed, which ended the wait; the wait's end was reported before the failure.
        return self._run(fetches, [], feeds, options)

    def _run(
        self,
        fetches: Mapping[str, str],
        targets: Sequence[tf.Operation],
        feeds: Mapping[str, Any],
        options: tf.compat.v1.RunOptions,
    ) -> dict[str, Any]:
        """Returns what a model server's session would, of feeds of any types and shapes.

        `Session.run` refuses feeds that differ from what the graph declares, and adds texts of its own to
        errors.

        Raises:
            OpError: With TensorFlow's own text.
        """
        tensor = self._session.graph.get_tensor_by_name
        fed = {tensor(name).ref(): value for name, value in feeds.items()}
        names = list(dict.fromkeys(fetches.values()))
        buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
        try:
            found = self._session._do_run(None, targets, [*map(tensor, names)], fed, buffer, None)
        except tf.errors.OpError as error:
            own = error.__context__  # before Python said where in its code the failed node was made
            raise own if isinstance(own, tf.errors.OpError) else error from None
        finally:
            pywrap_tf_session.TF_DeleteBuffer(buffer)
        by_name = dict(zip(names, found, strict=True))
        return {key: by_name[name] for key, name in fetches.items()}

    @contextlib.contextmanager
    def _queue(self, gone: Gone) -> Iterator[int]:
        """Yields the index of a queue that no other run has; closes the queue once the client has gone."""
        index, clean = self._free.get(), False
        try:
            with gone.calling(lambda: self._do(self._close, index)):
                yield index
            clean = not gone.happened
        finally:
            if not clean:  # it is closed, or its element was left; the next run finds a new one
                self._do(self._destroy, index)
            self._free.put(index)

    def _do(self, operation: tf.Operation, index: int) -> None:
        """Runs an operation on the queue of that index, unless the session is closed meanwhile."""
        with contextlib.suppress(tf.errors.OpError, RuntimeError):
            self._session.run(operation, {self._index: index}, options=_HERE)

    def _when_finished(self, tensors: Sequence[str]) -> tf.Operation:
        """Returns the operation that adds the element once a run has these tensors; made at first use."""
        graph, key = self._session.graph, tuple(tensors)
        with self._adding:
            if key not in self._finished:
                results = [graph.get_tensor_by_name(name) for name in key]
                with graph.as_default(), tf.control_dependencies([tf.identity_n(results)[0].op]):
                    self._finished[key] = tf.raw_ops.QueueEnqueueV2(
                        handle=self._chosen, components=[tf.constant(True)], timeout_ms=_NO_TIMEOUT
                    )
            return self._finished[key]


def _queue(index: int) -> tf.Tensor:
    """Returns a queue for one boolean; a destroyed one is made anew by the next run that needs it."""
    return tf.raw_ops.FIFOQueueV2(
        component_types=[tf.bool], shapes=[[]], capacity=1, shared_name=f"local_server_cancelling_{index}"
    )


def _choose(queues: Sequence[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """Returns one of the queues.

    By control flow: a session cannot be fed a queue, and `tf.gather` would have to wait for one of the
    session's threads, which loops can keep busy for ever.
    """
    branches = [
        tf.raw_ops.Switch(data=each, pred=tf.equal(index, number))[1] for number, each in enumerate(queues)
    ]
    return tf.raw_ops.Merge(inputs=branches)[0]
