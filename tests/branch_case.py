"""Inputs for a branch and comparisons of what it puts out, for the tests of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ecdm.config import Acda as AcdaParams
from ecdm.models.branch import Branch, hint

DOMAINS = ["image", "latent"]
IMAGE = AcdaParams(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)


def params(domain: str) -> AcdaParams:
    """ACDA in a domain, its radius within that domain's spectrum."""
    return IMAGE.model_copy(update={"domain": domain, "radius": 1.0 if domain == "latent" else 2.0})


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal noise."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(branch: Branch) -> Branch:
    """As after training: nothing of ACDA is zero any more, and its term is about as large as the text's."""
    assert branch.acda is not None
    generator = torch.Generator().manual_seed(5)
    for parameter in branch.acda.parameters():
        inputs = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data = 1.5 * torch.randn(parameter.shape, generator=generator) / inputs**0.5
    return branch


@dataclass
class Input:
    """One batch of what a branch is called with, for images of 64 px."""

    z: Tensor
    t: Tensor
    text: Tensor
    hint: Tensor
    images: Tensor
    masks: Tensor

    @classmethod
    def draw(cls, count: int = 3) -> Input:
        """The same numbers at every call."""
        images = torch.rand((count, 3, 64, 64), generator=torch.Generator().manual_seed(1))
        masks = torch.zeros(count, 1, 64, 64)
        for i in range(count):
            masks[i, :, 10 + i : 40, 20 : 50 + i] = 1
        t = torch.arange(count) * 400 + 3
        return cls(normal(0, count, 4, 8, 8), t, normal(2, count, 40, 96), hint(images, masks), images, masks)

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a branch without ACDA takes."""
        return self.z, self.t, self.text, self.hint


def close(found: Any, expected: Any, atol: float = 1e-5) -> None:
    """Residuals agree; with `atol` 0 in every bit."""
    for a, b in zip(found.all, expected.all, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4 if atol else 0, atol=atol)
