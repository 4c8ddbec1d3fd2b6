"""What the memory plan of a run predicts, and what the run takes: the command, in processes of its own."""

import itertools
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nst_tf.config import settings

# {preset: steps at each of its scales}: one to move on from, two where the result's memory is taken.
PRESETS: Mapping[str, Sequence[int]] = {
    "default": (1, 1, 1, 2),
    "gram": (1, 1, 2),
    "gatys_pytorch": (1, 2),
    "johnson": (2,),
    "crowsonkb": (1, 1, 1, 1, 2),
    "spst": (1, 1, 1, 2),
}

# Sizes that only the preset gram is measured at.
LARGE = 8192

# The command; then the most memory that its process has had.
_COMMAND = """
import logging, sys
from nst_tf.commands import main
logging.getLogger("nst_tf").setLevel(logging.INFO)
code = main.main(sys.argv, prepare=True)
from nst_tf.engine import free_memory
print("peak", free_memory.peak_memory(), file=sys.stderr)
sys.exit(code)
"""

_PLANNED = re.compile(r"memory: ([\d.]+) GB planned of ([\d.]+) GB")
_FITTED = re.compile(r"do not fit at once: (.*)")
_PEAK = re.compile(r"^peak (\d+)", re.MULTILINE)


class Case(NamedTuple):
    """A run."""

    preset: str
    size: int
    limit: str  # as --max_memory


def cases(presets: Sequence[str], sizes: Sequence[int], limits: Sequence[str]) -> list[Case]:
    """Returns the runs of a table: every preset, size and limit, the largest size for one preset only."""
    return [
        Case(preset, size, limit)
        for preset, size, limit in itertools.product(presets, sizes, limits)
        if size < LARGE or preset == "gram"
    ]


def measure(content: str, style: str, weights: str, some: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Yields for each run what was planned and what its process took, in GB.

    Args:
        content: The photograph, as the command takes it.
        style: The painting.
        weights: The weights.
        some: The runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        for case in some:
            flags = [
                f"--content={content}",
                f"--style={style}",
                f"--weights={weights}",
                f"--output={pathlib.Path(folder) / 'picture.png'}",
                "--overwrite",
                "--checkpoint_every=0",
                f"--preset={case.preset}",
                f"--size={case.size}",
                f"--max_memory={case.limit}",
                f"--steps={','.join(map(str, PRESETS[case.preset]))}",
            ]
            finished = subprocess.run(
                [sys.executable, "-c", _COMMAND, *flags], capture_output=True, text=True, check=False
            )
            yield {**case._asdict(), **_read(finished, case.limit)}


def _read(finished: subprocess.CompletedProcess[str], limit: str) -> dict[str, Any]:
    """Returns what a run with a limit said of its memory."""
    planned, peak = _PLANNED.search(finished.stderr), _PEAK.search(finished.stderr)
    if finished.returncode or planned is None or peak is None:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("nst_tf: ")]
        return {"refused": lines[-1] if lines else f"exit {finished.returncode}: {finished.stderr[-300:]}"}
    fitted = _FITTED.search(finished.stderr)
    predicted, measured, limited = float(planned[1]), int(peak[1]) / 1e9, settings.to_bytes(limit) / 1e9
    return {
        "predicted_gb": predicted,
        "measured_gb": measured,
        "limit_gb": limited,
        "ratio": measured / predicted,
        "within_limit": measured <= limited,
        "fitted": fitted[1] if fitted else "whole",
    }
