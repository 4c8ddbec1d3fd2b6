"""What a request sets: what was typed, and a preset for the rest."""

from collections.abc import Mapping, Sequence

from nst_tf import errors
from nst_tf.config import presets
from nst_tf.serving import client

# Settings by what they are called in a config.
NAMES = {
    "steps": "num_steps",
    **{name: name for name in ("size", "seed", "content_weight", "style_weight", "total_variation_weight")},
}


def complete(given: Mapping[str, object], preset: str | None) -> client.Settings:
    """Returns all settings of a run.

    Args:
        given: Those that were typed, {field of a config: value}.
        preset: Where the others come from; "default" unless named.

    Raises:
        InputError: A value is not allowed, or there is no such preset.
    """
    chosen = presets.get(preset or "default", **given)
    values = {name: chosen.to_settings()[field] for field, name in NAMES.items()}
    return client.Settings(**values | {"num_steps": sum(chosen.scales.steps)})


def weights(typed: Sequence[str] | None) -> list[float] | None:
    """Returns the weights of several styles, None if none were typed.

    Raises:
        InputError: One is no number.
    """
    if typed is None:
        return None
    try:
        return [float(text) for text in typed]
    except ValueError:
        came = ",".join(typed)
        raise errors.InputError(
            f"style_blend_weights: {came!r}; allowed: a number for each style, with commas"
        ) from None
