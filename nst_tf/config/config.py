"""What a run is: one frozen dataclass of groups, checked at construction, complete.

A preset is a `Config`; `overrides.apply_overrides` replaces the settings that a user names; the result is
passed down whole.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from nst_tf import errors
from nst_tf.config import settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides the picture, beside the pictures that go in.

    Raises:
        InputError: A value is not allowed.
    """

    preset: str
    content: settings.Content
    style: settings.Style
    neighbors: settings.Neighbors
    regions: settings.Regions
    total_variation: settings.TotalVariation
    temporal: settings.Temporal
    network: settings.Network
    start: settings.Start
    optimizer: settings.Optimizer
    scales: settings.Scales
    memory: settings.Memory
    color: settings.Color

    def __post_init__(self) -> None:
        errors.require(isinstance(self.preset, str), "preset", errors.shown(self.preset), "a name")
        errors.require(
            self.content.weight > 0 or self.style.weight > 0,
            "content_weight and style_weight",
            "both 0",
            "at least one above 0",
        )
        errors.require(
            self.style.layers or self.neighbors.weight or not self.style.weight,
            "style_layers",
            "none",
            "one or more, unless there is a neighbor_weight",
        )
        errors.require(
            not (self.splits_features() and self.memory.tile.isdecimal()),
            "tile",
            f"{self.memory.tile} with neighbor_split",
            "auto or off, since its last pass compares with means over the whole picture; or a smaller size",
        )

    @classmethod
    def from_settings(cls, preset: str, values: Mapping[str, Any]) -> Self:
        """Returns a config from {flat name: value}, in which settings with a default may be missing.

        Raises:
            InputError: A value is not allowed.
            KeyError: There is no such setting.
            TypeError: One without a default is missing.
        """
        grouped: dict[str, dict[str, Any]] = {group: {} for group in settings.GROUPS}
        for name, value in values.items():
            group, attribute = settings.PLACES[name]
            grouped[group][attribute] = value
        made: dict[str, Any] = {
            group: settings.GROUPS[group](**attributes) for group, attributes in grouped.items()
        }
        return cls(preset=preset, **made)

    def to_settings(self) -> dict[str, Any]:
        """Returns {flat name: value} of every setting."""
        return {
            name: getattr(getattr(self, group), attribute)
            for name, (group, attribute) in settings.PLACES.items()
        }

    def replace(self, *, preset: str | None = None, **values: Any) -> Self:
        """Returns the config with some settings, by their flat names, replaced as they are.

        Raises:
            InputError: A value is not allowed.
        """
        return self.from_settings(self.preset if preset is None else preset, self.to_settings() | values)

    def used_layers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the content layers and the style layers that have any weight."""
        content = self.content.layers if self.content.weight else ()
        return content, self.style.layers if self.style.weight else ()

    def neighbor_layers(self) -> tuple[str, ...]:
        """Returns the layers of hypercolumns, if their distances have any weight."""
        return self.neighbors.layers if self.style.weight and self.neighbors.weight else ()

    def splits_features(self) -> bool:
        """Returns whether the last scale compares each layer by itself with the paintings."""
        return bool(self.neighbors.split and self.neighbor_layers())

    def all_layers(self) -> list[str]:
        """Returns all layers that have any weight, each once."""
        return list(dict.fromkeys((*sum(self.used_layers(), ()), *self.neighbor_layers())))

    def blend_weights(self, count: int) -> tuple[float, ...]:
        """Returns the weight of each of `count` style pictures: equal ones unless the config has some.

        Raises:
            InputError: The config has another number of them.
        """
        weights = self.style.blend_weights
        errors.require(
            not weights or len(weights) == count,
            "style_blend_weights",
            f"{len(weights)} for {count} style pictures",
            "one for each",
        )
        return weights or (1.0,) * count

    def takes_steps(self) -> bool:
        """Returns whether anything is optimised; where not, no network is needed."""
        return self.color.mode not in settings.WITHOUT_STEPS
