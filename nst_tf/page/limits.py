"""The limits of a page: what one person may ask for, so that the machine is there for others too."""

import dataclasses
from collections.abc import Iterable

from nst_tf import errors
from nst_tf.config import scales
from nst_tf.config.config import Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a page accepts.

    Raises:
        InputError: A limit is below 1.
    """

    max_pixels: int = (
        2048 * 2048
    )  # of a result, and of a painting at the last scale: 8 GB whole, less in tiles
    max_steps: int = 6000  # of a run: what the longest preset takes
    max_upload_mb: int = 50  # of a file: a photograph of 24 megapixels as PNG
    max_hourly_mb: int = 500  # uploads of an address: ten of the largest files, fifty of a telephone's
    # Of a film: four seconds of a cinema's, eight of a cartoon's. In the draft preset, at 256 pixels, they
    # keep two cores busy for five minutes.
    max_frames: int = 96
    max_queue: int = 16  # runs that wait

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            errors.require(value >= 1, field.name, value, "1 and above")

    def check(self, config: Config, content: tuple[int, int], styles: Iterable[tuple[int, int]]) -> None:
        """Checks what a run will take.

        Args:
            config: Of the run, complete.
            content: Height and width of the picture whose shape the result has.
            styles: Those of the paintings.

        Raises:
            InputError: It takes more than is allowed.
        """
        planned = scales.plan_scales(config, *content)
        steps = sum(scale.num_steps for scale in planned)
        if config.takes_steps() and steps > self.max_steps:
            raise errors.InputError(f"steps: {steps:,} in all; allowed on this page: {self.max_steps:,}")
        self.check_pixels("size", *planned[-1][:2])
        for style in styles:
            self.check_pixels("style_scale", *scales.style_size(config, planned[-1], *style))

    def check_frames(self, count: int, duration: float, fps: float) -> None:
        """Checks how many frames of a film are wanted.

        Raises:
            InputError: Too many.
        """
        if count > self.max_frames:
            raise errors.InputError(
                f"film: {duration:g} s of {fps:g} frames a second, {count} frames; allowed on this page:"
                f" {self.max_frames}"
            )

    def check_pixels(self, name: str, height: int, width: int) -> None:
        """Checks a size that a setting asks for.

        Raises:
            InputError: It has too many pixels.
        """
        if height * width > self.max_pixels:
            raise errors.InputError(
                f"{name}: {width} x {height} pixels; allowed on this page: {self.max_pixels:,} in all"
            )
