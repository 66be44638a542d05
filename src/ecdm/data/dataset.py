"""COCO-captions folders as tensors: single samples for training, batches for inpainting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ecdm.data.coco import UNREADABLE, CaptionedImage, load_image, read_split
from ecdm.data.files import png_name
from ecdm.data.shards import SplitFiles


@dataclass(frozen=True, eq=False)
class Batch:
    """Images to inpaint, with everything that belongs to them.

    `images`: (b, 3, h, w) float32 in [0, 1]. `masks`: (b, 1, h, w) float32, 1 = hole and 0 = known.
    `captions`: b texts. `ids`: b image ids. `edges`: (b, 1, h, w) float32 in [0, 1], 1 = edge, or None.
    ValueError when the parts disagree on b, h or w.
    """

    images: Tensor
    masks: Tensor
    captions: list[str]
    ids: list[int]
    edges: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(f"images: found shape {tuple(self.images.shape)}, expected (b, 3, h, w)")
        count, _, height, width = self.images.shape
        for name, maps in (("masks", self.masks), ("edges", self.edges)):
            if maps is not None and maps.shape != (count, 1, height, width):
                expected = (count, 1, height, width)
                raise ValueError(f"{name}: found shape {tuple(maps.shape)}, expected {expected}")
        for name, entries in (("captions", self.captions), ("ids", self.ids)):
            if len(entries) != count:
                raise ValueError(f"{name}: found {len(entries)}, expected {count}")

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("images", "masks")}
        return replace(self, **moved, edges=None if self.edges is None else self.edges.to(device))


@dataclass(frozen=True, eq=False)
class Sample:
    """An image (3, h, w) and its edges (1, h, w) or None, float32 in [0, 1]; all its captions; its id."""

    image: Tensor
    captions: tuple[str, ...]
    id: int
    edges: Tensor | None = None


class CaptionedFolder(Dataset[Sample]):
    """The images of one split of a COCO-captions folder, sorted by id, read when asked for.

    `edges`: the folder of the split's edge maps, `<id>.png`; None for samples without. Images and edges may each stand
    in shards `<split>-<part>.tar` instead of the folder `<split>`.
    Raises: as `read_split`; reading a sample raises ValueError for an unreadable image and for edges that are
    missing or of another size.
    """

    def __init__(self, folder: Path, split: str, edges: Path | None = None) -> None:
        self.root, self.files = folder / split, SplitFiles(folder, split)
        self.edges = None if edges is None else SplitFiles(edges.parent, edges.name)
        self.images = read_split(folder, split, self.files)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        entry = self.images[index]
        pixels = load_image(*self.files.locate(entry.file_name))
        edges = None
        if self.edges is not None:
            path, data = self.edges.locate(png_name(entry.id))
            edges = _map_tensor(_load_map(path, pixels.shape[:2], "edges", data))
        return Sample(image_tensor(pixels), entry.captions, entry.id, edges)

    def parts(self) -> list[int]:
        """The number of the shard that each image stands in, in the order of the images; 0 for loose files."""
        if not self.files.sharded:
            return [0] * len(self)
        return [self.files.members[image.file_name].part for image in self.images]


class MaskedFolder:
    """A split's images with the masks of one bucket, `masks/<bucket>/<id>.png`, sorted by id, as batches read in turn.

    Batches of `batch`, the last one maybe smaller, of the first `limit` images; each comes with its first caption, so
    that every method is asked for the same. `edges` as in `CaptionedFolder`.
    Raises: as `CaptionedFolder`; ValueError for a batch below 1; when a batch is read, ValueError for a missing or
    unreadable mask, a mask of another size than its image, and images of different sizes.
    """

    def __init__(
        self,
        folder: Path,
        masks: Path,
        bucket: str,
        batch: int,
        *,
        split: str = "test",
        edges: Path | None = None,
        limit: int | None = None,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch: found {batch}, expected 1 or more")
        self.samples, self.masks, self.batch = CaptionedFolder(folder, split, edges), masks / bucket, batch
        self.count = len(self.samples) if limit is None else min(limit, len(self.samples))

    @property
    def images(self) -> list[CaptionedImage]:
        """The images of all batches."""
        return self.samples.images[: self.count]

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __getitem__(self, number: int) -> Batch:
        start = number * self.batch
        stop = min(start + self.batch, self.count)
        return _collated([self.samples[index] for index in range(start, stop)], self.masks, self.samples.root)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.__getitem__, range(len(self)))


def load_mask(path: Path, size: tuple[int, int]) -> Tensor:
    """Read a mask file as (1, h, w) float32, 1 where it is brighter than half, which is the hole.

    `size`: the (h, w) of its image. Raises: ValueError for a missing, unreadable or differently sized mask.
    """
    return (_map_tensor(_load_map(path, size, "mask")) > 0.5).float()


def image_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn (h, w, 3) uint8 into (3, h, w) float32 in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)


def _collated(samples: Sequence[Sample], masks: Path, root: Path) -> Batch:
    height, width = samples[0].image.shape[1:]
    for sample in samples:
        if sample.image.shape[1:] != (height, width):
            found = "x".join(map(str, sample.image.shape[1:]))
            raise ValueError(f"{root}: image id {sample.id}: found {found} px, expected {height}x{width}")
    edges = [sample.edges for sample in samples if sample.edges is not None]
    return Batch(
        images=torch.stack([sample.image for sample in samples]),
        masks=torch.stack([load_mask(masks / png_name(s.id), (height, width)) for s in samples]),
        captions=[sample.captions[0] for sample in samples],
        ids=[sample.id for sample in samples],
        edges=torch.stack(edges) if edges else None,
    )


def _load_map(path: Path, size: tuple[int, int], kind: str, data: bytes | None = None) -> NDArray[np.uint8]:
    """A gray file of the size (h, w) of its image; `data` as in `load_image`."""
    try:
        with Image.open(path if data is None else BytesIO(data)) as image:
            pixels = np.array(image.convert("L"))
    except UNREADABLE as error:
        raise ValueError(f"{path}: expected {kind} to read, found none: {error}") from error
    if pixels.shape != tuple(size):
        found, expected = "x".join(map(str, pixels.shape)), "x".join(map(str, size))
        raise ValueError(f"{path}: found {kind} of {found} px, expected {expected} px as the image has")
    return pixels


def _map_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels[None].astype(np.float32) / 255)
