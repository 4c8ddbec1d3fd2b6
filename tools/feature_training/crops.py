"""Batches of windows out of a library, and what is to be told of each."""

import functools
from typing import Any

import keras
import numpy as np

from feature_training import augmentation, library

Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]


class Crops(keras.utils.PyDataset):
    """One round of batches.

    A round is what Keras calls an epoch: a number of steps, not a pass over the library. The same seed,
    round and index give the same batch, so that a run that was killed goes on as if it had not been.
    """

    def __init__(
        self,
        pictures: library.Library,
        *,
        window: int,
        crop: int,
        batch: int,
        steps: int,
        seed: int,
        **options: Any,
    ) -> None:
        """Takes what the batches are made of.

        Args:
            pictures: The library.
            window: The side of the windows in pixels; every picture's sides are at least that.
            crop: The side of what the network sees, in pixels.
            batch: Crops in a batch, even: the second half shows the places of the first half again.
            steps: Batches in a round.
            seed: Of all chance.
            **options: Keras' own: workers, max_queue_size.
        """
        super().__init__(**options)
        self._library, self._window, self._crop = pictures, window, crop
        self._batch, self._steps, self._seed = batch, steps, seed
        self.round = 0  # set before the first batch of a round is asked for

    def __len__(self) -> int:
        """Returns how many batches a round has."""
        return self._steps

    def __getitem__(self, index: int) -> Batch:
        """Returns a batch: what `Augmentation` takes, the classes, and how much each class counts."""
        step = self.round * self._steps + index
        # The first number keeps these draws apart from the orders of the passes.
        generator = np.random.default_rng([1, self._seed, step])
        places = self._numbers(step)
        numbers = np.tile(places, 2)
        drawn = augmentation.draw(generator, self._batch, self._window, self._crop)
        pictures = (self._library.pictures[number] for number in places)
        cut = np.stack([library.cut(generator, sizes, self._window) for sizes in pictures])
        window = np.tile(cut, (2, 1, 1, 1))
        folders = self._library.folders[numbers]
        known = folders != library.NO_FOLDER
        classes = {"picture": numbers.astype(np.int32), "folder": np.where(known, folders, 0)}
        counts = {"picture": np.ones(self._batch, np.float32), "folder": known.astype(np.float32)}
        return {"window": window, **drawn}, classes, counts

    def _numbers(self, step: int) -> np.ndarray:
        """Returns which pictures a step of the run shows, [B / 2]; every one comes once in a pass."""
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
