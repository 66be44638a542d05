"""Sheets of equally sized pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ecdm.data.files import save_png
from ecdm.numerics.metrics import to_uint8


def save_sheet(path: Path, rows: Sequence[Tensor]) -> None:
    """Write rows of pictures, each (n, 3, h, w) in [0, 1], as one PNG without gaps."""
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    save_png(path, to_uint8(sheet).permute(1, 2, 0).numpy())
