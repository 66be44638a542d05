"""Fills without learning, as reference rows: the mean of the known pixels, Telea's and Navier–Stokes inpainting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecdm.data.dataset import Batch
from ecdm.models.foundation import Components
from ecdm.numerics.masks import is_hole, masked_image

RADIUS = 3  # pixels around a hole's pixel that OpenCV's algorithms look at
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Fill:
    """A deterministic fill of uint8 pictures (h, w, 3) with a hole (h, w) of 1."""

    name: str
    fill: Callable[[Picture, Picture], Picture]

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1]; the generators are not needed."""
        known = (masked_image(batch.images, batch.masks) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        holes = is_hole(batch.masks)[:, 0].byte().numpy()
        filled = np.stack([self.fill(picture, hole) for picture, hole in zip(known, holes, strict=True)])
        return torch.from_numpy(filled).permute(0, 3, 1, 2).float() / 255


def _mean(picture: Picture, hole: Picture) -> Picture:
    known = hole == 0
    mean = picture[known].mean(0) if known.any() else np.full(3, 127.5)
    return np.where(known[..., None], picture, np.round(mean)).astype(np.uint8)


def _opencv(flag: int) -> Callable[[Picture, Picture], Picture]:
    def fill(picture: Picture, hole: Picture) -> Picture:
        return cv2.inpaint(picture, hole, RADIUS, flag).astype(np.uint8)

    return fill


FILLS = (
    Fill("mean_fill", _mean),
    Fill("telea", _opencv(cv2.INPAINT_TELEA)),
    Fill("navier_stokes", _opencv(cv2.INPAINT_NS)),
)


@dataclass(frozen=True)
class Reconstruction:
    """The autoencoder's own reconstruction of the truth: what no latent method can beat. It reads the hole."""

    components: Components
    name: str = "vae"

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Raw outputs (b, 3, h, w) in [0, 1]; the generators are not needed."""
        return self.components.round_trip(batch.images)
