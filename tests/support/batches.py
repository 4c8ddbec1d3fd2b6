"""What tests of batches share: small photographs, and an engine without a network that may be killed."""

import dataclasses
import os
import pathlib
import signal
import time
from typing import Any

import numpy as np
from PIL import Image

from nst_tf import errors
from nst_tf.batch import painting
from nst_tf.io import files, manifest, pictures
from tests import conftest


def write_photographs(folder: pathlib.Path, count: int, prefix: str = "photo") -> list[str]:
    """Writes seeded photographs of different sizes; returns their names without an extension."""
    folder.mkdir(exist_ok=True)
    names = [f"{prefix}{number:02d}" for number in range(count)]
    for number, name in enumerate(names):
        pixels = np.rint(conftest.smooth_picture(number, 48 + number % 5, 64) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return names


@dataclasses.dataclass
class Copied:
    """A photograph as the picture of its run."""

    image: np.ndarray
    made: dict[str, Any]
    outcome: str

    def save_picture(self, path, *, bit_depth=8):
        pictures.write(self.image, path, text=manifest.to_text(self.made), bit_depth=bit_depth)

    def save_manifest(self, path):
        with files.replacing(manifest.sidecar(path)) as file:
            file.write(manifest.to_text(self.made).encode())


class Copying:
    """An engine that copies photographs; their names say what else happens."""

    def weights(self, config):
        del config
        return ""

    def paint(self, ready):
        name = ready.paths.content.name
        if "kills" in name and not (ready.smaller and "once" in name):
            os.kill(os.getpid(), signal.SIGKILL)
        if "large" in name and not ready.smaller:
            raise errors.OutOfMemoryError("size: more than there is")
        if "defect" in name:
            raise ZeroDivisionError("a defect")
        if "slow" in name:
            time.sleep(0.3)
        image = pictures.read(ready.paths.content, "content")[0]
        described = manifest.describe_inputs(ready.paths.named())
        made = manifest.make(ready.config, described, {"name": "", "sha256": ""}, {})
        return Copied(image, made, "diverged" if "diverges" in name else "finished")


def job(folder, chosen, **changes):
    """Returns the job of a worker that copies."""
    own = {"chosen": chosen, "folder": str(folder), "run": "now", "make_engine": Copying}
    return painting.Job(**{**own, **changes})


class Called:
    """A function whose items say what happens."""

    def __init__(self, folder: str) -> None:
        """Marks in a folder that a worker has been killed."""
        self._marker = pathlib.Path(folder, "killed")

    def __call__(self, item: str) -> str:
        """Returns the item, or else."""
        if item == "kills" and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "mistake":
            raise errors.InputError("mistaken: a mistake")
        if item == "defect":
            raise ZeroDivisionError("a defect")
        return item
