"""Training data from the pipeline's files: images, edges, captions and cached latents, sample by sample.

Images and edges are read by name, out of loose files or shards alike, so that a batch hangs on its positions alone:
each process reads those of its own share of the batch, and a resumed run those that come next.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open

from ecdm.data.dataset import CaptionedFolder
from ecdm.models.foundation import Components
from ecdm.training.draws import Draw, draw
from ecdm.training.objective import TrainBatch
from ecdm.training.order import Order


class TrainFolder:
    """One split of a COCO-captions folder with its edges and VAE moments; batches depend on positions alone."""

    def __init__(
        self, data: Path, edges: Path, moments: Path, split: str, components: Components, seed: int,
        text_dropout: float,
    ) -> None:  # fmt: skip
        self.samples = CaptionedFolder(data, split, edges / split)
        self.moments, self.parts = moments, components
        self.seed, self.text_dropout = seed, text_dropout
        self.order = Order(seed, self.samples.parts())
        self._check()

    def _check(self) -> None:
        if not self.moments.is_file():
            raise FileNotFoundError(f"{self.moments}: no such file, expected the cached latents")
        found = tuple(self._stored.get_shape())
        if found[0] != len(self.samples):
            raise ValueError(f"{self.moments}: found {found[0]} latents, expected {len(self.samples)}")

    @cached_property
    def _stored(self):  # type: ignore[no-untyped-def]
        return safe_open(self.moments, "pt").get_slice("moments")

    def numbers(self, start: int, count: int) -> list[int]:
        """Which samples stand at positions `start` to `start + count` of the endless, seeded order."""
        return self.order.numbers(start, count)

    def positions(self, start: int, count: int) -> TrainBatch:
        """The batch at these positions."""
        numbers = self.numbers(start, count)
        return self.batch(numbers, [self._draw(n, start + i) for i, n in enumerate(numbers)])

    def _draw(self, number: int, position: int) -> Draw:
        channels, height, width = self._stored.get_shape()[1:]
        latent, factor, steps = (channels // 2, height, width), self.parts.factor, self.parts.schedule.steps
        size = (height * factor, width * factor)
        return draw(self.seed, self.samples.images[number].id, position, latent, size, steps, self.text_dropout)

    def batch(self, numbers: Sequence[int], draws: Sequence[Draw]) -> TrainBatch:
        """The batch of these samples under these draws, on the device of the components."""
        samples = [self.samples[n] for n in numbers]
        moments = torch.stack([self._stored[n] for n in numbers])
        captions = [
            s.captions[int(d.caption * len(s.captions))] if d.keep_text else ""
            for s, d in zip(samples, draws, strict=True)
        ]
        batch = TrainBatch(
            z0=self.parts.latents(moments, torch.stack([d.posterior for d in draws])),
            eps=torch.stack([d.eps for d in draws]),
            t=torch.tensor([d.t for d in draws]),
            text=self.parts.embed(captions),
            images=torch.stack([s.image for s in samples]),
            masks=torch.stack([d.mask for d in draws]),
            edges=torch.stack([s.edges for s in samples if s.edges is not None]),
        )
        return batch.to(self.parts.device)

    def first(self, most: int) -> TrainFolder:
        """The first `most` images alone, or all there are."""
        part = copy(self)
        part.samples = copy(self.samples)
        part.samples.images = self.samples.images[:most]
        part.order = Order(self.seed, self.samples.parts()[:most])
        return part

    def fixed(self, count: int) -> TrainBatch:
        """The first `count` samples under draws that stay the same at every call, with their captions."""
        numbers = list(range(min(count, len(self.samples))))
        return self.batch(numbers, [self._draw(n, 0) for n in numbers])
