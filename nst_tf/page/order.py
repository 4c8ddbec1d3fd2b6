"""What a person asks a page for: pictures and settings, and the command line that asks for the same."""

import dataclasses
import filecmp
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nst_tf.config import presets
from nst_tf.config.config import Config
from nst_tf.io import inputs, samples
from nst_tf.page import fields

# Steps of a run that goes on from a picture, unless a person says otherwise: with them the weave of the
# network's gradient does not show at a scale that begins with a picture (the default preset's last scale).
MORE_STEPS = presets.DEFAULT.scales.steps[-1]

# Settings that say at which sizes, and from where, a run begins: a run that goes on has its own.
_OF_THE_WAY = ("scales", "min_scale", "scale_factor", "steps", "init")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """A picture to be painted."""

    content: pathlib.Path | None
    styles: tuple[pathlib.Path, ...]
    preset: str = "default"
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    regions: pathlib.Path | None = None  # a label picture of the photograph
    style_regions: tuple[str, ...] = ()  # a colour for each painting, where there are regions

    def config(self) -> Config:
        """Returns the config of the run.

        Raises:
            InputError: There is no such preset or setting, or a value is not allowed.
        """
        return inputs.with_start(presets.get(self.preset, **self.overrides), self.paths(), self.overrides)

    def paths(self) -> inputs.InputPaths:
        """Returns the pictures of the run."""
        init = self.overrides.get("init")
        return inputs.InputPaths(
            content=self.content,
            styles=self.styles,
            init=init if isinstance(init, pathlib.Path) else None,
            content_regions=self.regions,
            style_regions=self.style_regions,
        )

    def with_setting(self, name: str, text: str) -> "Order":
        """Returns the order with another setting, as it was typed.

        Raises:
            InputError: As for `fields.parse`.
        """
        return dataclasses.replace(self, overrides={**self.overrides, name: fields.parse(name, text)})

    def going_on(self, picture: pathlib.Path, steps: int) -> "Order":
        """Returns the order of more steps from a picture, at its own size."""
        return self._from(picture, {"scales": (1.0,), "steps": (steps,)})

    def larger(self, picture: pathlib.Path, size: tuple[int, int], side: int, steps: int) -> "Order":
        """Returns the order of a picture enlarged, coarse to fine.

        Args:
            picture: The picture so far.
            size: Its height and width.
            side: The longest side of the larger one.
            steps: To take at that size.
        """
        chosen = self.config()
        last = 2 if chosen.splits_features() else 1  # a pass that compares each layer by itself comes last
        # One step at the present size: L-BFGS accepts its first image as it is, and the next scale then adds
        # the detail that the photograph shows only there.
        way = {"scales": (max(size) / side, *(1.0,) * last), "steps": (1, *(steps,) * last), "size": side}
        if chosen.scales.aspect_ratio:
            way["aspect_ratio"] = chosen.scales.aspect_ratio
        return self._from(picture, way)

    def _from(self, picture: pathlib.Path, way: Mapping[str, Any]) -> "Order":
        kept = {name: value for name, value in self.overrides.items() if name not in _OF_THE_WAY}
        return dataclasses.replace(self, overrides={**kept, **way, "init": picture})

    def named(self) -> str:
        """Returns the settings that were named, for a person."""
        listed = [f"{name}={fields.to_text(_named(value))}" for name, value in self.overrides.items()]
        return ", ".join([self.preset, *listed])

    def command(self, output: str, program: Sequence[str] = ("nst_tf",), more: Sequence[str] = ()) -> str:
        """Returns the command line that makes the same picture, with names of files instead of paths.

        Args:
            output: The name of the picture.
            program: What is called.
            more: Other flags.
        """
        flags = {"preset": self.preset, **self.overrides}
        typed = [f"--content={_name(self.content)}"] if self.content is not None else []
        typed += [f"--style={_name(style)}" for style in self.styles]
        typed += [f"--content_regions={_name(self.regions)}"] if self.regions is not None else []
        typed += [f"--style_regions={','.join(self.style_regions)}"] if self.style_regions else []
        typed += [_flag(name, _named(value)) for name, value in flags.items() if (name, value) != _DEFAULT]
        return shlex.join([*program, *typed, *more, f"--output={output}"])

    def repetition(self, picture: str, output: str) -> str:
        """Returns the command line that makes a picture again from its manifest."""
        whole = dataclasses.replace(self, preset="default", overrides={})
        kept = {name: value for name, value in self.overrides.items() if isinstance(value, pathlib.Path)}
        whole = dataclasses.replace(whole, overrides=kept)
        program, *rest = shlex.split(whole.command(output))
        return shlex.join([program, f"--config={picture}", *rest])


_DEFAULT = ("preset", "default")


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={fields.to_text(value)}"


def _named(value: Any) -> Any:
    return value.name if isinstance(value, pathlib.Path) else value


def _name(path: pathlib.Path) -> str:
    """Returns what a person types for a picture: its name, or that of the sample if it is one."""
    for sample in samples.FILES:
        own = samples.to_path(sample)
        if own.name == path.name and path.is_file() and filecmp.cmp(own, path, shallow=False):
            return sample
    return path.name
