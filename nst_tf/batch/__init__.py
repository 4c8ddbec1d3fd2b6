"""Many pictures, on one machine or a cluster, by Ray. Open `run.py` first: a batch from rows to a report.

From Python: `nst_tf.batch.stylize_all` paints, `nst_tf.batch.Stylize` is a step of another Ray Data pipeline.
Only this room imports Ray and fsspec, and it loads them when they are used.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from nst_tf.batch.cluster import BatchError
    from nst_tf.batch.outcomes import Outcome
    from nst_tf.batch.pipeline import Stylize
    from nst_tf.batch.run import stylize_all

__all__ = ["BatchError", "Outcome", "Stylize", "stylize_all"]

# Where each public name lives.
_HOMES = {"BatchError": "cluster", "Outcome": "outcomes", "Stylize": "pipeline", "stylize_all": "run"}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
