"""Sheets of equally sized pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecdm.numerics.metrics import to_uint8


def sheet(rows: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Rows of n pictures each, (n, 3, h, w) in [0, 1], side by side without gaps: (rows·h, n·w, 3) uint8."""
    joined = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    pixels: NDArray[np.uint8] = to_uint8(joined).permute(1, 2, 0).numpy(force=True)
    return pixels
