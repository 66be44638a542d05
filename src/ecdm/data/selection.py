"""Splits drawn out of what a source offers: an image that cannot be used is rejected, and the next one takes its place.

Which images come to stand in a split hangs on the seed and on the images alone, on no number of processes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecdm.data.candidates import MISSING, OUTSIDE, Candidate, Pool, in_seeded_order
from ecdm.data.coco import CaptionedImage, write_split
from ecdm.data.decode import Refusal, load_square
from ecdm.data.engine import Engine
from ecdm.data.files import png_bytes, png_name
from ecdm.data.paths import stays_inside
from ecdm.data.shards import PER_SHARD, image_sink

# Images of one job where they go to loose files.
PER_JOB = 64
SHOWN = 5


@dataclass(frozen=True, order=True)
class Reject:
    """An image, or another entry of the source's lists, that is not used: for which split, its name there, and why."""

    split: str
    image: str
    reason: str


@dataclass(frozen=True)
class Part:
    """The work of one job: candidates of one split that go to `folder`, to shard `number` where it is sharded."""

    folder: Path
    split: str
    number: int
    shards: bool
    size: int
    smallest: int
    root: Path
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Target:
    """What is to be written: the folder, images per split (None: all there are), their side in pixels.

    `smallest`: the shortest side of an image that is used. `shards`: whether those of `train` go to tar shards.
    `rejects`: the share of images that may be rejected.
    """

    folder: Path
    counts: Mapping[str, int | None]
    size: int
    smallest: int
    shards: bool
    rejects: float

    def sharded(self, split: str) -> bool:
        """Whether the images of a split go to shards."""
        return self.shards and split == "train"


class Selection:
    """What came out so far: for each split its images and what the source calls them, and the rejects of all.

    `most`: how many images can come out at most.
    """

    def __init__(self, target: Target, engine: Engine, most: int) -> None:
        self.target, self.engine, self.most = target, engine, most
        self.images: dict[str, list[CaptionedImage]] = {}
        self.names: dict[str, dict[int, str]] = {}
        self.rejects: list[Reject] = []

    def fill(self, split: str, pool: Pool, rest: deque[Candidate]) -> None:
        """Take candidates from the rest until the split is full, as many at a time as are still wanted.

        Raises: ValueError when they do not suffice, and as soon as too many are rejected whatever comes.
        """
        count, number = self.target.counts[split], 0
        images = self.images.setdefault(split, [])
        while rest and (count is None or len(images) < count):
            wanted = len(rest) if count is None else min(len(rest), count - len(images))
            chosen = [rest.popleft() for _ in range(wanted)]
            if pool.fetch is not None:
                pool.fetch([candidate.name for candidate in chosen if candidate.flaw is None])
            parts = list(_parts(split, pool, chosen, self.target, number))
            self._write(split, parts)
            number += len(parts)
            self.check_share(self.most)
        least = 1 if count is None else count
        if len(images) < least:
            self.check_share(sum(map(len, self.images.values())))
            found = f"{len(images)} images that can be used ({len(self.rejects)} rejects so far)"
            raise ValueError(f"{pool.root}: split {split}: found {found}, expected {least}")

    def check_share(self, used: int) -> None:
        """Raises: ValueError where of `used` images and all rejects together, too many are rejects."""
        looked_at = used + len(self.rejects)
        if len(self.rejects) <= self.target.rejects * looked_at + 1e-9:
            return
        kinds = Counter(reject.reason.partition(":")[0] for reject in self.rejects)
        counted = ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items(), key=lambda kind: -kind[1]))
        first = "; ".join(f"{one.split} {one.image}: {one.reason}" for one in sorted(self.rejects)[:SHOWN])
        raise ValueError(
            f"data.rejects: found {len(self.rejects)} rejects to {used} images, a share of "
            f"{len(self.rejects) / looked_at:.4g}, expected {self.target.rejects:g} at most: {counted}; "
            f"first of all: {first}"
        )

    def _write(self, split: str, parts: list[Part]) -> None:
        names = self.names.setdefault(split, {})
        for part, (images, rejects) in zip(
            parts, self.engine.map(write_part, parts, f"images, {split}", _step(self.target, split)), strict=True
        ):
            offered = {one.id: one.name for one in part.candidates if one.flaw is None}
            names.update((image.id, offered[image.id]) for image in images)
            self.images[split] += images
            self.rejects += rejects


def write_splits(pools: Sequence[Pool], target: Target, seed: int, engine: Engine) -> Selection:
    """Draw the splits of each pool in turn and write their images and captions to the target's folder.

    The bytes do not depend on the engine. Images of a pool are drawn in an order that the seed decides.
    Raises: ValueError when more images are rejected than may be, when a split cannot be filled, naming it, and
    as the pool's `fetch`.
    """
    asked = [(target.counts[split], len(pool.candidates)) for pool in pools for split in pool.splits]
    selection = Selection(target, engine, sum(there if count is None else count for count, there in asked))
    for pool in pools:
        selection.rejects += [Reject(pool.splits[-1], name, reason) for name, reason in pool.strays]
        rest = deque(in_seeded_order(pool.candidates, seed))
        for split in pool.splits:
            selection.fill(split, pool, rest)
    selection.check_share(sum(map(len, selection.images.values())))
    for split, images in selection.images.items():
        write_split(target.folder, split, images, target.size)
    return selection


def write_part(part: Part) -> tuple[list[CaptionedImage], list[Reject]]:
    """Write the images of a part that can be used, as squares; give them and the others, with the reasons."""
    images: list[CaptionedImage] = []
    rejects: list[Reject] = []
    with image_sink(part.folder, part.split, part.number, part.shards) as add:
        for candidate in part.candidates:
            try:
                add(png_name(candidate.id), _square(part, candidate))
            except Refusal as refusal:
                rejects.append(Reject(part.split, candidate.name, str(refusal)))
            else:
                images.append(CaptionedImage(candidate.id, png_name(candidate.id), candidate.captions))
    return images, rejects


def _square(part: Part, candidate: Candidate) -> bytes:
    if candidate.flaw is not None:
        raise Refusal(candidate.flaw)
    try:
        inside, there = stays_inside(part.root, candidate.name), (part.root / candidate.name).is_file()
    except (OSError, ValueError) as error:  # a name that no file can have, too long for instance
        raise Refusal(MISSING) from error
    if not inside:
        raise Refusal(OUTSIDE)
    if not there:
        raise Refusal(MISSING)
    return png_bytes(load_square(part.root / candidate.name, part.size, part.smallest))


def _parts(split: str, pool: Pool, chosen: list[Candidate], target: Target, number: int) -> Iterator[Part]:
    step = _step(target, split)
    for start in range(0, len(chosen), step):
        candidates = tuple(chosen[start : start + step])
        yield Part(
            target.folder, split, number, target.sharded(split), target.size, target.smallest, pool.root, candidates
        )
        number += 1


def _step(target: Target, split: str) -> int:
    return PER_SHARD if target.sharded(split) else PER_JOB
