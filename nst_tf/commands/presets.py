"""The command `presets`: the formulations in a table."""

from collections.abc import Mapping, Sequence

from absl import flags

from nst_tf.commands import terminal
from nst_tf.config import presets

INTRODUCTION = """Lists the formulations that --preset may name: where each comes from, how its pictures look,
how many times as long as the default it takes.

  nst_tf presets
"""


def define(values: flags.FlagValues) -> None:
    """Defines no flag."""


def groups() -> Mapping[str, Sequence[str]]:
    """Returns {heading: flags below it}: none."""
    return {}


def main(values: flags.FlagValues) -> int:
    """Prints the table."""
    del values
    return 0 if terminal.say(table()) else terminal.EXIT_FAILED


def table() -> str:
    """Returns the formulations by name, with cost relative to the default, source and character."""
    lines = [f"{'preset':<20} {'cost':>5}  source and character"]
    for name, preset in presets.PRESETS.items():
        cost = presets.relative_cost(name)
        lines.append(f"{name:<20} {cost:>5.{0 if cost >= 10 else 1}f}  {preset.source}")
        lines.append(f"{'':<20} {'':>5}  {preset.character}")
    return "\n".join(lines)
