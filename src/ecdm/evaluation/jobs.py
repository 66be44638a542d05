"""What is inpainted and scored: pairs of a data set and a bucket of its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecdm.data.dataset import MaskedFolder


@dataclass(frozen=True)
class Job:
    """What is inpainted: a split of a COCO-captions folder under one bucket of its masks."""

    dataset: str
    bucket: str
    data: Path
    masks: Path
    edges: Path | None = None
    split: str = "test"

    def batches(self, batch: int) -> MaskedFolder:
        """Its images, masks and captions, read batch by batch."""
        return MaskedFolder(self.data, self.masks, self.bucket, batch, split=self.split, edges=self.edges)


def jobs(datasets: Sequence[str], buckets: Sequence[str], data: Path, masks: Path) -> list[Job]:
    """All pairs of data set and bucket, by the pipeline's layout of folders."""
    return [Job(d, b, data / d, masks / d) for d in datasets for b in buckets]
