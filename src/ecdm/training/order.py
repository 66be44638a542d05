"""Which sample comes when: by the seed alone, and for sharded data so that neighbours stand in few shards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecdm.training.draws import sample_order

# Shards read at the same time: few enough for the files' cache, while thousands of samples still mix.
WINDOW = 8


class Order:
    """An endless run of epochs, each with every sample once, of which any stretch can be told at once.

    `parts`: the shard of every sample. An epoch is a permutation of all samples, that of `sample_order`; of more than
    `WINDOW` shards it is gone through window by window: the shards are shuffled and fall into windows of so many, and
    each window's samples come in the permutation's order. So a position means the same sample for any number of
    processes and after any resume, and up to `WINDOW` shards change nothing of the order of loose files.
    """

    def __init__(self, seed: int, parts: Sequence[int]) -> None:
        self.seed = seed
        self.shards, self.parts = np.unique(np.asarray(parts), return_inverse=True)
        self._kept: tuple[int, NDArray[np.intp]] | None = None

    def numbers(self, start: int, length: int) -> list[int]:
        """The sample numbers at positions `start` to `start + length`."""
        numbers: list[int] = []
        while len(numbers) < length:
            epoch, offset = divmod(start + len(numbers), len(self.parts))
            numbers += self._epoch(epoch)[offset : offset + length - len(numbers)].tolist()
        return numbers

    def _epoch(self, epoch: int) -> NDArray[np.intp]:
        if self._kept is None or self._kept[0] != epoch:
            count = len(self.parts)
            permutation = np.array(sample_order(self.seed, count, epoch * count, count))
            shuffled = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, 1])).permutation(
                len(self.shards)
            )
            windows = shuffled[self.parts] // WINDOW
            self._kept = epoch, permutation[np.argsort(windows[permutation], kind="stable")]
        return self._kept[1]
