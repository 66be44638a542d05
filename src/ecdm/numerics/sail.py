"""Structure-aware inpainting learning: the soft loss and the whole objective (eq. 9, 12)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def soft_loss(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of paired features, every feature with equal weight (eq. 9).

    `teacher[i]` and `student[i]` share a shape; the result is a scalar, float32 or wider, that carries the
    gradient of both (the caller detaches the teacher). ValueError for no features, other counts or other
    shapes.
    """
    if not student or len(teacher) != len(student):
        found = f"{len(teacher)} and {len(student)}"
        raise ValueError(f"features: expected as many of the teacher as of the student, found {found}")
    pairs = enumerate(zip(teacher, student, strict=True))
    return torch.stack([_distance(index, *pair) for index, pair in pairs]).mean()


def _distance(index: int, teacher: Tensor, student: Tensor) -> Tensor:
    if teacher.shape != student.shape:
        raise ValueError(
            f"feature {index}: expected the teacher's {tuple(teacher.shape)}, found {tuple(student.shape)}"
        )
    wide = torch.promote_types(student.dtype, torch.float32)
    return (teacher.to(wide) - student.to(wide)).abs().mean()


def total_loss(simple: Tensor, soft: Tensor, lam: float) -> Tensor:
    """Training objective: simple + lam * soft (eq. 12); ValueError unless lam is finite and >= 0."""
    if not math.isfinite(lam) or lam < 0:
        raise ValueError(f"lambda: expected a finite number >= 0, found {lam}")
    return simple + lam * soft
