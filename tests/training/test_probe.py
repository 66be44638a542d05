"""The probe of the frequency tokens: paired draws, and nothing but the tokens between its two losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.config import Acda as AcdaParams
from ecdm.models.acda import Acda
from ecdm.models.branch import Branch, hint, start_branch
from ecdm.numerics.diffusion import q_sample
from ecdm.training.draws import sample_order
from ecdm.training.folder import TrainFolder
from ecdm.training.objective import Objective, TrainBatch
from ecdm.training.probe import probe

ACDA = AcdaParams(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)


@pytest.fixture
def data(folder_of: Callable[..., TrainFolder]) -> TrainFolder:
    return folder_of("validation", text_dropout=0.0)


def test_tokens_of_no_weight_cost_nothing(parts: Any, data: TrainFolder) -> None:
    branch = start_branch(parts, ACDA, 0).requires_grad_(False)
    found = probe(branch, parts, data, repeats=2, batch=4)
    assert found.own == found.other
    assert found.rms_frequency == 0
    assert found.rms_text > 0


def moved(parts: Any) -> Branch:
    """A branch in which the tokens count."""
    branch, generator = start_branch(parts, ACDA, 0).requires_grad_(False), torch.Generator().manual_seed(0)
    for parameter in branch.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return branch


def swapped_loss(parts: Any, branch: Branch, part: TrainBatch) -> Tensor:
    """L_simple (3,) by the UNet's own forward, every sample with the picture of the one before it for its tokens."""
    z = q_sample(part.z0, part.t, part.eps, parts.schedule)
    visible = (part.images * (1 - part.masks))[[2, 0, 1]]
    found = branch(z, part.t, part.text, hint(part.images, part.masks), visible)
    prediction = parts.unet(
        z,
        part.t,
        part.text,
        down_block_additional_residuals=found.down,
        mid_block_additional_residual=found.middle,
    ).sample
    return (prediction - part.eps).square().flatten(1).mean(1)


def test_a_branch_without_tokens_is_refused(parts: Any, data: TrainFolder) -> None:
    with pytest.raises(ValueError, match="branch: found no ACDA"):
        probe(start_branch(parts, None, 0), parts, data, repeats=1, batch=3)


def test_both_losses_are_the_objectives_means_per_image(parts: Any, data: TrainFolder) -> None:
    branch, objective = moved(parts), Objective(parts, None)
    found = probe(branch, parts, data, repeats=2, batch=3)
    own, other, sizes = torch.zeros(2, 3), torch.zeros(2, 3), []
    branch.record(True)
    for i, start in enumerate((0, 3)):
        part, numbers = data.positions(start, 3), sample_order(0, 3, start, 3)
        own[i, numbers] = objective.simple(branch, part)
        sizes.append(branch.rms())
        other[i, numbers] = swapped_loss(parts, branch, part)
    assert sample_order(0, 3, 0, 6) != [0, 1, 2] * 2
    assert found.own == pytest.approx(own.mean(0).tolist(), rel=1e-5)
    assert found.other == pytest.approx(other.mean(0).tolist(), rel=1e-5)
    assert len(set(own.flatten().tolist())) == 6
    assert all(a != b for a, b in zip(found.own, found.other, strict=True))
    assert found.rms_text == pytest.approx((sizes[0][0] + sizes[1][0]) / 2, rel=1e-5)
    assert found.rms_frequency == pytest.approx((sizes[0][1] + sizes[1][1]) / 2, rel=1e-5)
    probe(branch, parts, data, repeats=1, batch=3)
    assert not any(processor.record for processor in branch.processors)


def test_the_other_image_is_the_previous_one_in_the_batch(
    parts: Any, data: TrainFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch, seen = moved(parts), []
    tokens = Acda.tokens

    def watched(acda: Acda, signal: Tensor) -> Tensor:
        seen.append(signal)
        return tokens(acda, signal)

    monkeypatch.setattr(Acda, "tokens", watched)
    probe(branch, parts, data, repeats=1, batch=3)
    own, other = seen
    assert torch.equal(other, own[[2, 0, 1]])


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_no_image_is_twice_in_a_batch(
    parts: Any, folder_of: Callable[..., TrainFolder], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Else an image could get its own tokens as another's."""
    data, asked = folder_of("train", text_dropout=0.0), []
    positions = data.positions

    def watched(start: int, count: int) -> Any:
        asked.append(data.numbers(start, count))
        return positions(start, count)

    monkeypatch.setattr(data, "positions", watched)
    found = probe(moved(parts), parts, data, repeats=4, batch=batch)
    assert all(len(set(numbers)) == len(numbers) <= batch for numbers in asked)
    assert sorted(number for numbers in asked for number in numbers) == sorted([*range(6)] * 4)
    assert len(found.own) == len(found.other) == 6
