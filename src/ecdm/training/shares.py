"""How the processes share a batch, so that neither their number nor their memory changes what a step sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ecdm.config import Train


@dataclass(frozen=True)
class Shares:
    """A batch of `batch` images as `share` per process, each in `passes` forward passes of `micro` images."""

    batch: int
    share: int
    micro: int

    @classmethod
    def of(cls, settings: Train, processes: int) -> Shares:
        """Raises ValueError, naming the key, for a batch that cannot be divided among the processes and passes."""
        if settings.batch % processes:
            raise ValueError(f"train.batch: found {settings.batch}, expected a multiple of the {processes} processes")
        share = settings.batch // processes
        micro = min(share, settings.micro_batch)
        if share % micro:
            raise ValueError(
                f"train.micro_batch: found {settings.micro_batch}, expected a divisor of the {share} images per process"
            )
        return cls(settings.batch, share, micro)

    @property
    def passes(self) -> int:
        """Forward passes per optimiser step."""
        return self.share // self.micro

    def starts(self, step: int, process: int) -> Iterator[int]:
        """Positions, in the order of all training samples, at which the passes of a step begin."""
        first = step * self.batch + process * self.share
        yield from range(first, first + self.share, self.micro)
