"""Eq. 5, 9 and 12 for whole batches: values, and where gradients go."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.config import Acda as AcdaParams
from ecdm.config import Sail
from ecdm.models.branch import Branch, start_branch
from ecdm.models.foundation import NETWORKS, Components
from ecdm.training import objective as module
from ecdm.training.folder import TrainFolder
from ecdm.training.objective import Objective, TrainBatch

DECODER, RESIDUALS = Sail(lam=0.3, features="decoder"), Sail(lam=0.3, features="residuals")
ACDA = AcdaParams(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)


@pytest.fixture
def batch(folder_of: Callable[..., TrainFolder]) -> TrainBatch:
    return folder_of().positions(0, 3)


def randomised(parts: Any, acda: AcdaParams | None = ACDA) -> Branch:
    branch, generator = start_branch(parts, acda, 0), torch.Generator().manual_seed(6)
    for parameter in branch.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return branch


def noised(parts: Any, batch: TrainBatch) -> Tensor:
    alpha_bar = parts.scheduler.alphas_cumprod[batch.t].view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * batch.z0 + (1 - alpha_bar).sqrt() * batch.eps


def forward(parts: Any, batch: TrainBatch, down: Any, middle: Any) -> tuple[Tensor, list[Tensor]]:
    """diffusers' own forward, and what its decoder's ResNets with their attention put out."""
    first, second, third = parts.unet.up_blocks
    modules = [first.resnets[0], first.upsamplers[0], second.attentions[0], second.upsamplers[0], *third.attentions]
    seen: list[Tensor] = []

    def keep(layer: Any, arguments: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in modules]
    extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    output = parts.unet(noised(parts, batch), batch.t, batch.text, **extra).sample
    for handle in handles:
        handle.remove()
    return output, seen


def student(parts: Any, branch: Branch, batch: TrainBatch) -> tuple[Any, Any]:
    visible = batch.images * (1 - batch.masks)
    found = branch(noised(parts, batch), batch.t, batch.text, visible - batch.masks, visible)
    return found.down, found.middle


def teacher(parts: Any, batch: TrainBatch) -> tuple[Any, Any]:
    edges = torch.cat([batch.edges] * 3, dim=1)
    found: tuple[Any, Any] = parts.controlnet_canny(noised(parts, batch), batch.t, batch.text, edges, return_dict=False)
    return found


def mean_distance(first: list[Tensor], second: list[Tensor]) -> float:
    distances = [float((a - b).abs().mean()) for a, b in zip(first, second, strict=True)]
    return sum(distances) / len(distances)


@pytest.mark.parametrize("sail", [None, DECODER, RESIDUALS], ids=["none", "decoder", "residuals"])
@pytest.mark.parametrize("acda", [None, ACDA], ids=["plain", "acda"])
def test_the_loss_is_that_of_diffusers_own_forward(
    parts: Any, batch: TrainBatch, sail: Sail | None, acda: AcdaParams | None
) -> None:
    branch = randomised(parts, acda).requires_grad_(False)
    terms = Objective(parts, sail)(branch, batch)
    own, guide = student(parts, branch, batch), teacher(parts, batch)
    prediction, features = forward(parts, batch, *own)
    squares = (prediction - batch.eps).square().flatten(1).mean(1)
    torch.testing.assert_close(Objective(parts, sail).simple(branch, batch), squares, rtol=1e-4, atol=1e-5)
    assert float(terms.simple) == pytest.approx(float(squares.mean()), rel=1e-5)
    if sail is None:
        assert float(terms.soft) == 0
        assert torch.equal(terms.loss, terms.simple)
        return
    pair = (
        (forward(parts, batch, *guide)[1], features)
        if sail.features == "decoder"
        else ([*guide[0], guide[1]], [*own[0], own[1]])
    )
    assert len(pair[0]) == (6 if sail.features == "decoder" else 7)
    assert float(terms.soft) == pytest.approx(mean_distance(*pair), rel=1e-4)
    assert float(terms.soft) > 0.01
    assert float(terms.loss) == pytest.approx(float(terms.simple) + 0.3 * float(terms.soft), rel=1e-6)


@pytest.mark.parametrize("sail", [DECODER, RESIDUALS], ids=lambda sail: sail.features)
def test_the_soft_loss_alone_moves_the_branch_and_nothing_else(parts: Any, batch: TrainBatch, sail: Sail) -> None:
    branch, objective = randomised(parts), Objective(parts, sail)
    first = objective(branch, batch).soft
    first.backward()
    assert all(parameter.grad is not None for parameter in branch.parameters())
    moved = [bool(parameter.grad.any()) for parameter in branch.parameters() if parameter.grad is not None]
    assert sum(moved) > 0.9 * len(moved)
    frozen = [parameter for name in NETWORKS for parameter in getattr(parts, name).parameters()]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in frozen)
    with torch.no_grad():
        norm = torch.stack([p.grad.norm() for p in branch.parameters() if p.grad is not None]).norm()
        for parameter in branch.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.01 * parameter.grad / norm)
        assert float(objective(branch, batch).soft) < float(first)


def test_at_first_the_frequency_encoders_last_layer_alone_learns_of_acda(parts: Any, batch: TrainBatch) -> None:
    branch = start_branch(parts, ACDA, 0)
    Objective(parts, DECODER)(branch, batch).loss.backward()
    assert branch.acda is not None
    learns = {name for name, p in branch.acda.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert learns == {"encoder.last.weight", "encoder.last.bias"}


def thawed(parts: Any) -> Components:
    """UNet and teacher whose weights ask for gradients, so that only the objective keeps a graph away."""
    loose = {name: copy.deepcopy(getattr(parts, name)).requires_grad_(True) for name in ("unet", "controlnet_canny")}
    return dataclasses.replace(parts, **loose)


@pytest.mark.parametrize("sail", [DECODER, RESIDUALS], ids=lambda sail: sail.features)
def test_the_teacher_carries_no_graph(
    parts: Any, batch: TrainBatch, sail: Sail, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Tensor]] = []
    soft_loss = module.soft_loss

    def keep(teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        seen.extend([teacher, student])
        return soft_loss(teacher, student)

    monkeypatch.setattr(module, "soft_loss", keep)
    Objective(thawed(parts), sail)(randomised(parts), batch)
    guide, own = seen
    assert not any(tensor.requires_grad for tensor in guide)
    assert all(tensor.requires_grad for tensor in own)


def test_the_encoder_of_the_frozen_unet_runs_once_without_a_graph(parts: Any, batch: TrainBatch) -> None:
    seen: list[Tensor] = []
    loose = thawed(parts)
    for layer in (loose.unet.conv_in, loose.unet.mid_block):
        layer.register_forward_hook(lambda layer, args, output: seen.append(output))
    Objective(loose, DECODER)(randomised(parts), batch)
    assert len(seen) == 2
    assert not any(tensor.requires_grad for tensor in seen)


def test_without_the_soft_loss_the_teacher_does_not_run(parts: Any, batch: TrainBatch) -> None:
    seen: list[int] = []
    handle = parts.controlnet_canny.register_forward_hook(lambda layer, args, output: seen.append(1))
    Objective(parts, None)(randomised(parts), batch)
    assert seen == []
    Objective(parts, DECODER).simple(randomised(parts), batch)
    assert seen == []
    Objective(parts, DECODER)(randomised(parts), batch)
    handle.remove()
    assert seen == [1]


def test_all_variants_start_with_the_same_simple_loss(parts: Any, batch: TrainBatch) -> None:
    found = [
        Objective(parts, sail).simple(start_branch(parts, acda, 0), batch)
        for sail in (None, DECODER)
        for acda in (None, ACDA)
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=1e-7)


def test_a_negative_weight_is_refused(parts: Any, batch: TrainBatch) -> None:
    wrong = DECODER.model_copy(update={"lam": -0.1})
    with pytest.raises(ValueError, match="lambda: expected a finite number >= 0"):
        Objective(parts, wrong)(randomised(parts), batch)
