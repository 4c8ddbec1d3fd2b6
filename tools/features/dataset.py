"""The pictures to learn from, all of them in memory, and the batches of windows that are cut out of them.

A picture is uint8 [H, W, 3] sRGB, kept at several sizes: its own and smaller ones, so that a window of one
size shows sometimes a detail and sometimes the whole.
"""

import concurrent.futures
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from PIL import Image, ImageOps

from features import augmentation
from nst_tf import errors

# Files to open; others in the folder are ignored.
_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp"})

# A smaller size is added if it is smaller by at least this factor.
_SIZE_STEP = 1.25

# Pillow decodes without Python's lock; more threads than cores do no harm.
_THREADS = 16

# In place of a folder's number: the picture has no class.
NO_FOLDER = -1

# (inputs of the network, classes, how much each class counts), each by name.
Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]


class Library(NamedTuple):
    """The pictures and the folders that they are from."""

    pictures: Sequence[Sequence[np.ndarray]]  # of each its sizes, [H, W, 3] uint8, sides >= window
    folders: np.ndarray  # [N] int32, which of `folder_names`, or NO_FOLDER
    folder_names: Sequence[str]


def load(folder: str | pathlib.Path, window: int) -> Library:
    """Reads every picture below a folder.

    Pictures in `folder/set/class/` belong to that class; those in `folder/set/` to none.

    Args:
        folder: The folder.
        window: The least side of a picture in pixels; smaller ones are enlarged.

    Raises:
        InputError: There are no pictures, or one cannot be read.
    """
    root = pathlib.Path(folder)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in _EXTENSIONS)
    if not paths:
        raise errors.InputError(
            f"images: no pictures below {folder}; allowed: a folder with {', '.join(sorted(_EXTENSIONS))}"
        )
    places = [path.parent.relative_to(root) for path in paths]
    names = sorted({place.as_posix() for place in places if len(place.parts) > 1})
    numbers = {name: number for number, name in enumerate(names)}
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        pictures = list(pool.map(lambda path: _read(path, window), paths))
    folders = [numbers.get(place.as_posix(), NO_FOLDER) for place in places]
    return Library(pictures, np.array(folders, np.int32), names)


def cut(generator: np.random.Generator, sizes: Sequence[np.ndarray], window: int) -> np.ndarray:
    """Returns a random window [window, window, 3] of one of a picture's sizes, each [H, W, 3]."""
    picture = sizes[int(generator.integers(len(sizes)))]
    top, left = (generator.integers(side - window + 1) for side in picture.shape[:2])
    return picture[top : top + window, left : left + window]


class Crops(keras.utils.PyDataset):
    """One round of batches.

    A round is what Keras calls an epoch: a number of steps, not a pass over the library. The same seed,
    round and index give the same batch, so that a run that was killed goes on as if it had never stopped.
    """

    def __init__(
        self,
        pictures: Library,
        *,
        window: int,
        crop: int,
        batch: int,
        steps: int,
        seed: int,
        **options: Any,
    ) -> None:
        """Takes the library and the sizes of windows, crops and batches.

        Args:
            pictures: The library.
            window: The side of the windows in pixels; every picture's sides are at least that.
            crop: The side of the network's input in pixels.
            batch: Crops in a batch, even: the second half shows the places of the first half again.
            steps: Batches in a round.
            seed: Of all random choices.
            **options: Keras' own: workers, max_queue_size.
        """
        super().__init__(**options)
        self._library, self._window, self._crop = pictures, window, crop
        self._batch, self._steps, self._seed = batch, steps, seed
        self.round = 0  # set it before the first batch of a round

    def __len__(self) -> int:
        """Returns the number of batches in a round."""
        return self._steps

    def __getitem__(self, index: int) -> Batch:
        """Returns a batch: the inputs of `Augmentation`, the classes, and how much each class counts."""
        step = self.round * self._steps + index
        # The first number makes these draws independent of the orders of the passes.
        generator = np.random.default_rng([1, self._seed, step])
        places = self._numbers(step)
        numbers = np.tile(places, 2)
        drawn = augmentation.draw(generator, self._batch, self._window, self._crop)
        pictures = (self._library.pictures[number] for number in places)
        windows = np.stack([cut(generator, sizes, self._window) for sizes in pictures])
        window = np.tile(windows, (2, 1, 1, 1))
        folders = self._library.folders[numbers]
        known = folders != NO_FOLDER
        classes = {"picture": numbers.astype(np.int32), "folder": np.where(known, folders, 0)}
        counts = {"picture": np.ones(self._batch, np.float32), "folder": known.astype(np.float32)}
        return {"window": window, **drawn}, classes, counts

    def _numbers(self, step: int) -> np.ndarray:
        """Returns the numbers of a step's pictures, [B / 2]; each comes once in a pass over the library."""
        count, views = len(self._library.pictures), self._batch // 2
        passes, positions = np.divmod(np.arange(step * views, (step + 1) * views), count)
        return np.array(
            [
                _order(self._seed, which, count)[position]
                for which, position in zip(passes, positions, strict=True)
            ]
        )


@functools.lru_cache(maxsize=4)
def _order(seed: int, which: int, count: int) -> np.ndarray:
    """Returns the order of the pictures in a pass over the library."""
    return np.random.default_rng([0, seed, which]).permutation(count)


def _read(path: pathlib.Path, window: int) -> list[np.ndarray]:
    """Returns a picture at all its sizes, the largest first."""
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError) as error:
        raise errors.InputError(f"images: {path} cannot be read: {error}") from None
    return [np.asarray(_resized(picture, short)) for short in _short_sides(min(picture.size), window)]


def _short_sides(own: int, window: int) -> list[int]:
    """Returns the short sides at which to keep a picture: its own, halves of it, and the window's."""
    sides = [max(own, window)]
    while sides[-1] > 2 * window:
        sides.append(sides[-1] // 2)
    if sides[-1] > _SIZE_STEP * window:
        sides.append(window)
    return sides


def _resized(picture: Image.Image, short: int) -> Image.Image:
    """Returns the picture with a short side of `short` pixels."""
    if short == min(picture.size):
        return picture
    scale = short / min(picture.size)
    width, height = (max(short, round(scale * side)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
