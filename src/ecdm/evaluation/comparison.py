"""What the published methods and ours inpaint for the comparison, and what of it is scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecdm.data.dataset import Batch
from ecdm.evaluation.cost import facts
from ecdm.evaluation.generate import generate
from ecdm.evaluation.jobs import Job
from ecdm.evaluation.team import Team
from ecdm.methods.registry import Rival
from ecdm.models.classifier import AttributeClassifier, accuracy, labels
from ecdm.models.networks import Clip
from ecdm.models.similarity import clip_score

# Sets beside the data's own: single items behind a hole, and the pictures with masks and prompts made by hand.
OBJECTS, CUSTOM = ("objects", "object"), ("custom", "custom")


@dataclass(frozen=True)
class Scope:
    """The two data sets, buckets of holes, how many single items, stroke widths of Figure 5 with their images."""

    first: str
    second: str
    buckets: Sequence[str]
    objects: int
    sets: Sequence[str] = ()
    strokes: int = 0

    def scored(self, dataset: str, limit: int, data: Path, masks: Path) -> list[Job]:
        """What is scored: the first `limit` images in each bucket of hole shares; with the first set single items.

        Raises: ValueError for a data set that is neither of the two.
        """
        if dataset not in (self.first, self.second):
            raise ValueError(f"data set: found {dataset!r}, expected {self.first} or {self.second}")
        jobs = [_job((dataset, bucket), data, masks, limit) for bucket in self.buckets]
        items = [_job(OBJECTS, data, masks, min(limit, self.objects))] if dataset == self.first else []
        return [*jobs, *items]

    def work(self, dataset: str, limit: int, data: Path, masks: Path) -> list[Job]:
        """What is inpainted: what is scored, and with the first set what figures alone show; raises as `scored`."""
        scored = self.scored(dataset, limit, data, masks)
        if dataset != self.first:
            return scored
        shown = [_job((dataset, one), data, masks, self.strokes) for one in self.sets]
        by_hand = data / CUSTOM[0]
        return [*scored, *shown, Job(*CUSTOM, by_hand, by_hand / "masks")]


def _job(cell: tuple[str, str], data: Path, masks: Path, limit: int) -> Job:
    dataset, bucket = cell
    return Job(dataset, bucket, data / dataset, masks / dataset, limit=limit)


def compare(method: Rival, work: Sequence[Job], target: Path, seed: int, batch: int, team: Team) -> None:
    """Write a method's outputs and facts.json, what it takes for one image, to `target`, all or nothing."""
    with team.folder(target) as folder:
        generate(method, work, folder, seed, batch, team)
        if team.first:
            text = json.dumps(facts(method, work[0], seed), indent=1)
            (folder / "facts.json").write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Alignment:
    """Whether outputs show what their captions ask for: CLIP score, and on single items the classifier's verdict."""

    clip: Clip
    classifier: AttributeClassifier | None
    items: Mapping[int, Mapping[str, Any]]

    @classmethod
    def read(cls, clip: Clip, foundation: Path, data: Path) -> Alignment:
        """With the classifier of a foundation that has one; the items as the scenes' descriptions tell them."""
        folder = foundation / "classifier"
        classifier = AttributeClassifier.load(folder) if folder.is_dir() else None
        path = data / OBJECTS[0] / "annotations" / "scenes_test.json"
        shown = json.loads(path.read_text(encoding="utf-8"))
        return cls(clip, classifier, {int(number): scene["items"][0] for number, scene in shown.items()})

    @torch.no_grad()
    def __call__(self, job: Job, part: Batch, output: Tensor) -> dict[str, Tensor]:
        """Values (b,) of outputs (b, 3, h, w) in [0, 1]: clip_score, of single items also shape, colour, texture."""
        found = {"clip_score": clip_score(self.clip, output, part.captions)}
        if self.classifier is not None and job.dataset == OBJECTS[0]:
            truth = labels([self.items[number] for number in part.ids])
            found |= accuracy(self.classifier(output * 2 - 1), truth)
        return found
