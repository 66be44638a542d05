"""Sheets: every picture at its place."""

from __future__ import annotations

import numpy as np
import torch

from ecdm.data.sheets import sheet


def test_rows_stand_below_each_other_without_gaps() -> None:
    rows = [torch.rand((3, 3, 4, 5), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    found = sheet(rows)
    assert found.dtype == np.uint8
    assert found.shape == (2 * 4, 3 * 5, 3)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            expected = (picture * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(found[4 * i : 4 * i + 4, 5 * j : 5 * j + 5], expected)
