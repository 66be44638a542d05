"""What is inpainted and scored: pairs of a data set and a bucket of its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecdm.data.dataset import MaskedFolder


@dataclass(frozen=True)
class Job:
    """What is inpainted: a split of a COCO-captions folder, or its first `limit` images, under one bucket of masks."""

    dataset: str
    bucket: str
    data: Path
    masks: Path
    edges: Path | None = None
    split: str = "test"
    limit: int | None = None

    def batches(self, batch: int) -> MaskedFolder:
        """Its images, masks and captions, read batch by batch."""
        given: dict[str, Any] = {"split": self.split, "edges": self.edges, "limit": self.limit}
        return MaskedFolder(self.data, self.masks, self.bucket, batch, **given)


def jobs(datasets: Sequence[str], buckets: Sequence[str], data: Path, masks: Path) -> list[Job]:
    """All pairs of data set and bucket, by the pipeline's layout of folders."""
    return [Job(d, b, data / d, masks / d) for d in datasets for b in buckets]
