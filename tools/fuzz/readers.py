"""The package's readers, each with what makes its inputs."""

import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fuzz import checkpoints, command_lines, films, manifests, pictures, weights
from fuzz.inputs import Input
from fuzz.outcomes import Reader
from nst_tf.callbacks import animation
from nst_tf.config import presets
from nst_tf.config.scales import Scale
from nst_tf.engine import checkpoints as product_checkpoints
from nst_tf.io import films as product_films
from nst_tf.io import manifest, masks
from nst_tf.io import pictures as product_pictures
from nst_tf.network import weights as product_weights
from nst_tf.video import frames


def _picture(given: Input, folder: pathlib.Path) -> object:
    picture: Any = given.data if given.arguments[0] == "bytes" else given.write(folder)
    return product_pictures.read_with_alpha(picture, "content", _needed)


def _needed(height: int, width: int) -> tuple[int, int]:
    """Returns the size that a run of 512 pixels asks for."""
    share = 512 / max(height, width)
    return max(1, round(share * height)), max(1, round(share * width))


def _labels(given: Input, folder: pathlib.Path) -> object:
    path = given.write(folder)
    if given.arguments[0] == "mask":
        return masks.read_mask(path, "content_mask", _needed)
    return masks.match(labels := masks.read_labels(path, "content_regions"), [labels])


def _manifest(given: Input, folder: pathlib.Path) -> object:
    path = given.write(folder)
    found = manifest.read(path)
    config = manifest.find_weights(manifest.to_config(found, path), None)
    return config, manifest.differences(found, manifests.made())


def _weights(given: Input, folder: pathlib.Path) -> object:
    return product_weights.read(given.write(folder), weights.SHAPES)


def _checkpoint(given: Input, folder: pathlib.Path) -> object:
    """Goes on from a checkpoint as a run does, without the run."""
    found = product_checkpoints.read(given.write(folder))
    config = presets.get("default")
    found.check(product_checkpoints.Origin(config, manifests.made()["inputs"]))
    found.check_weights(manifests.made()["weights"]["sha256"], "builtin")
    import tensorflow as tf  # which the other readers do without

    from nst_tf.engine import formulations

    planned = [Scale(12, 16, 10, 0.5), Scale(24, 32, 10, 1.0)]
    found.check_scales(planned)
    shapes = {"image": [1, 12, 16, 3], "pairs": [2, 12, 16, 3]}
    variables = {name: formulations.variable(tf.zeros(shape)) for name, shape in shapes.items()}
    found.fill(variables, formulations.put)
    picture = np.zeros([12, 16, 3], np.float32)
    animation.Animation("a.gif").on_resume(planned, lambda: picture, 5, found.arrays("animation"))
    return found.fitted(config)


# Frames that are read of a film; one that is damaged may say that there are many.
_MOST_FRAMES = 50


def _film(given: Input, folder: pathlib.Path) -> object:
    """Reads a film as a run does, and writes its first frame with its sound."""
    found = frames.of(given.write(folder))
    read = list(itertools.islice(found, _MOST_FRAMES))
    output, encoding = folder / "painted.mkv", product_films.Encoding()
    product_films.check(output, encoding, found.sound)
    picture = read[0].picture[:64, :64]  # a result may be smaller, and is no larger than its flag says
    shown = [product_films.Shown(read[0].time, found.time_base, picture)]
    product_films.write(output, shown, time_base=found.time_base, encoding=encoding, sound=found.sound)
    return read


READERS: Mapping[str, Reader] = {
    "pictures": Reader(pictures.make, _picture),
    "labels": Reader(pictures.make, _labels),
    "manifests": Reader(manifests.make, _manifest),
    "weights": Reader(weights.make, _weights),
    "checkpoints": Reader(checkpoints.make, _checkpoint),
    "films": Reader(films.make, _film),
    "flags": Reader(command_lines.make, command_lines.read, command_lines.stopped_before_painting),
}
