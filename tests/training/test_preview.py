"""The pictures of fixed validation images: what was given, what came out, what was there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ecdm.config import Generate
from ecdm.models.branch import start_branch
from ecdm.training.folder import TrainFolder
from ecdm.training.preview import preview

SETTINGS = Generate(sampler="dpmsolver++", steps=2, guidance=2.0, eta=0.0, precision="no", batch=2)


def test_rows_are_input_output_and_truth(parts: Any, folder_of: Callable[..., TrainFolder]) -> None:
    data = folder_of("validation", text_dropout=0.0)
    branch = start_branch(parts, None, 0).requires_grad_(False)
    picture = preview(parts, branch, data, 2, SETTINGS, 0)
    fixed = data.fixed(2)
    assert picture.shape == (96, 64, 3)
    for i in range(2):
        given, output, truth = (picture[32 * row : 32 * (row + 1), 32 * i : 32 * (i + 1)] for row in range(3))
        hole = fixed.masks[i, 0].numpy() > 0
        expected = (fixed.images[i] * 255).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(truth, expected)
        assert np.array_equal(given[~hole], truth[~hole])
        assert np.array_equal(output[~hole], truth[~hole])
        assert set(np.unique(given[hole])) == {128}
        assert not np.array_equal(output[hole], truth[hole])
    torch.manual_seed(3)
    assert np.array_equal(preview(parts, branch, data, 2, SETTINGS, 0), picture)
    assert not np.array_equal(preview(parts, branch, data, 2, SETTINGS, 1), picture)
