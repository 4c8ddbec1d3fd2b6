"""The losses of a run as curves: the one module that imports matplotlib."""

import io
import itertools
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

if typing.TYPE_CHECKING:
    from nst_tf.report import TraceRow

# The terms, and how they are drawn: not told apart by colour alone.
_TERMS: dict[str, dict[str, Any]] = {
    "total": {"color": "black", "linewidth": 1.8},
    "content": {"color": "tab:blue", "linestyle": "--"},
    "style": {"color": "tab:orange", "linestyle": "-"},
    "total_variation": {"color": "tab:green", "linestyle": ":"},
}

# In inches and pixels to each: 1000 x 600 pixels, wide enough for a README.
_SIZE, _DPI = (10.0, 6.0), 100


def draw(trace: Sequence["TraceRow"], format_name: str) -> bytes:
    """Returns a file with the curves of every term, on a logarithmic axis, over the steps.

    Scales are divided by dotted lines. What is zero, infinite or NaN is left out.

    Args:
        trace: The rows of a run, one at least.
        format_name: One that matplotlib writes: "png", "svg" or "pdf".
    """
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    steps = [row.step for row in trace]
    for term, style in _TERMS.items():
        values = np.array([getattr(row, term) for row in trace], np.float64)
        values[~(np.isfinite(values) & (values > 0))] = np.nan
        if not np.isnan(values).all():
            # With markers, since a value alone in a row is no line.
            axes.plot(steps, values, label=term.replace("_", " "), marker=".", markersize=3, **style)
    for before, after in itertools.pairwise(trace):
        if after.scale != before.scale:
            axes.axvline(before.step + 0.5, color="grey", linestyle=":")
    for scale, rows in itertools.groupby(trace, key=lambda row: row.scale):
        first = next(rows).step
        axes.annotate(
            f"scale {scale}",
            (first - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -12),
            textcoords="offset points",
            color="grey",
        )
    axes.set(yscale="log", xlabel="step", ylabel="weighted loss")
    axes.set_xlim(steps[0] - 0.5, steps[-1] + 0.5)
    axes.grid(alpha=0.3)
    if axes.get_lines():
        axes.legend(loc="upper right")
    file = io.BytesIO()
    # No date, so that the same curves make the same file.
    figure.savefig(file, format=format_name, metadata=_NO_DATE[format_name])
    return file.getvalue()


# Where each format would put the time of its making.
_NO_DATE: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
