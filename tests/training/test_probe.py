"""The probe of the frequency tokens: paired draws, and nothing but the tokens between its two losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ecdm.config import Acda as AcdaParams
from ecdm.models.branch import start_branch
from ecdm.training.folder import TrainFolder
from ecdm.training.objective import Objective
from ecdm.training.probe import probe

ACDA = AcdaParams(radius=2.0, window="circle", domain="image", lr=1e-3)


@pytest.fixture
def data(folder_of: Callable[..., TrainFolder]) -> TrainFolder:
    return folder_of("validation", text_dropout=0.0)


def test_tokens_of_no_weight_cost_nothing(parts: Any, data: TrainFolder) -> None:
    branch = start_branch(parts, ACDA, 0).requires_grad_(False)
    found = probe(branch, Objective(parts, None), data, repeats=2, batch=4)
    assert found.own == found.other
    assert found.rms_frequency == 0
    assert found.rms_text > 0


def test_both_losses_are_those_of_the_objective(parts: Any, data: TrainFolder) -> None:
    branch, generator = start_branch(parts, ACDA, 0).requires_grad_(False), torch.Generator().manual_seed(0)
    for parameter in branch.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    objective = Objective(parts, None)
    found = probe(branch, objective, data, repeats=2, batch=3)
    own, other, sizes = [], [], []
    branch.record(True)
    for start in (0, 3):
        own += objective(branch, data.positions(start, 3)).per_sample.tolist()
        sizes.append(branch.rms())
        other += objective(branch, data.positions(start, 3), swapped=True).per_sample.tolist()
    assert found.own == pytest.approx(own, rel=1e-5)
    assert found.other == pytest.approx(other, rel=1e-5)
    assert len(set(own)) == 6
    assert all(a != b for a, b in zip(found.own, found.other, strict=True))
    assert found.rms_text == pytest.approx((sizes[0][0] + sizes[1][0]) / 2, rel=1e-5)
    assert found.rms_frequency == pytest.approx((sizes[0][1] + sizes[1][1]) / 2, rel=1e-5)
    assert not any(processor.record for processor in probe_again(branch, objective, data))


def probe_again(branch: Any, objective: Objective, data: TrainFolder) -> Any:
    probe(branch, objective, data, repeats=1, batch=3)
    return branch.processors
