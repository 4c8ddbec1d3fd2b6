"""Predictions of the stand-in for TensorFlow Serving that wait until a test lets them go."""

import contextlib
import threading

from local_server import models


@contextlib.contextmanager
def held(monkeypatch):
    """Holds every prediction; yields a function that waits until a number more have begun."""
    begun, going, run = threading.Semaphore(0), threading.Event(), models.Version.run

    def waits(*args, **kwargs):
        begun.release()
        assert going.wait(timeout=30.0)
        return run(*args, **kwargs)

    def have_begun(count):
        for _ in range(count):
            assert begun.acquire(timeout=30.0)

    monkeypatch.setattr(models.Version, "run", waits)
    try:
        yield have_begun
    finally:
        going.set()
