"""Classifier-free guidance against two passes of diffusers' own networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.config import Acda as AcdaParams
from ecdm.models.branch import Branch, hint, start_branch
from ecdm.models.denoiser import Control, Denoiser, branch_control, edge_control

CAPTIONS = ["a red striped circle", "a blue square on the left"]
IMAGE = AcdaParams(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)
LATENT = IMAGE.model_copy(update={"domain": "latent", "radius": 1.0})


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def picture() -> tuple[Tensor, Tensor]:
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, 4:20, 4:28], masks[1, :, 16:] = 1, 1
    return torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(3)), masks


def trained(parts: Any, acda: AcdaParams | None) -> Branch:
    branch = start_branch(parts, acda, 0)
    generator = torch.Generator().manual_seed(4)
    for parameter in branch.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return branch.requires_grad_(False)


def one_pass(parts: Any, z: Tensor, t: int, captions: list[str], down: Any, middle: Any) -> Tensor:
    """The UNet's own forward with additional residuals."""
    return parts.unet(
        z,
        torch.full((len(z),), t),
        parts.embed(captions),
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample


def two_passes(parts: Any, z: Tensor, t: int, scale: float, residuals_of: Any) -> Tensor:
    without, with_text = (one_pass(parts, z, t, captions, *residuals_of(captions)) for captions in (["", ""], CAPTIONS))
    return without + scale * (with_text - without)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("acda", [None, IMAGE, LATENT])
def test_guidance_is_two_passes_of_branch_and_unet(parts: Any, scale: float, acda: AcdaParams | None) -> None:
    images, masks = picture()
    branch, z, t = trained(parts, acda), normal(0, 2, 4, 4, 4), 437
    visible = images * (1 - masks)
    own = visible if acda is IMAGE else parts.latents(parts.moments(visible))

    def residuals_of(captions: list[str]) -> tuple[Any, Any]:
        found = branch(z, torch.full((2,), t), parts.embed(captions), hint(images, masks), own)
        return found.down, found.middle

    denoise = Denoiser(parts, CAPTIONS, scale, "no", branch_control(parts, branch, images, masks))
    torch.testing.assert_close(denoise(z, t), two_passes(parts, z, t, scale, residuals_of), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_guidance_of_the_unet_alone(parts: Any, scale: float) -> None:
    z = normal(0, 2, 4, 4, 4)
    expected = two_passes(parts, z, 12, scale, lambda captions: (None, None))
    torch.testing.assert_close(Denoiser(parts, CAPTIONS, scale, "no")(z, 12), expected, rtol=1e-4, atol=1e-5)


def test_guidance_of_the_teacher(parts: Any) -> None:
    z, edges = normal(0, 2, 4, 4, 4), (normal(1, 2, 1, 32, 32) > 1).float()

    def residuals_of(captions: list[str]) -> Any:
        three = torch.cat([edges] * 3, dim=1)
        return parts.controlnet_canny(z, torch.full((2,), 12), parts.embed(captions), three, return_dict=False)

    denoise = Denoiser(parts, CAPTIONS, 2.0, "no", edge_control(parts.controlnet_canny, edges))
    torch.testing.assert_close(denoise(z, 12), two_passes(parts, z, 12, 2.0, residuals_of), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, [2]), (3.0, [4])])
def test_without_guidance_one_half_is_enough(parts: Any, scale: float, expected: list[int]) -> None:
    branch, seen = trained(parts, None), []
    control: Control = branch_control(parts, branch, *picture())

    def counted(z: Tensor, t: Tensor, text: Tensor) -> Any:
        seen.append(len(z))
        return control(z, t, text)

    Denoiser(parts, CAPTIONS, scale, "no", counted)(normal(0, 2, 4, 4, 4), 437)
    assert seen == expected


def test_tokens_are_made_once_for_all_steps(parts: Any) -> None:
    branch = trained(parts, IMAGE)
    assert branch.acda is not None
    calls: list[int] = []
    for layer in (branch.acda.encoder, *branch.acda.to_k, *branch.acda.to_v):
        layer.register_forward_hook(lambda module, args, output: calls.append(1))
    denoise = Denoiser(parts, CAPTIONS, 3.0, "no", branch_control(parts, branch, *picture()))
    for t in (900, 500, 100):
        denoise(normal(t, 2, 4, 4, 4), t)
    assert len(calls) == 1 + 4


def test_bf16_rounds_the_networks_and_gives_float32(parts: Any) -> None:
    branch, z = trained(parts, IMAGE), normal(5, 2, 4, 4, 4)
    found = {
        precision: Denoiser(parts, CAPTIONS, 3.0, precision, branch_control(parts, branch, *picture()))(z, 437)
        for precision in ("no", "bf16")
    }
    assert found["bf16"].dtype == torch.float32
    error = (found["bf16"] - found["no"]).abs().max() / found["no"].abs().max()
    assert 1e-6 < error < 0.1
