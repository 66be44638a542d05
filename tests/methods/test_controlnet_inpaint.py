"""ControlNet inpainting against diffusers' pipeline and against a plain loop over diffusers' own networks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionControlNetPipeline
from latent_case import check_batches, check_leaks, draw_batch, streams
from torch import Tensor

from ecdm.data.dataset import Batch
from ecdm.methods.registry import Ingredients, Rival, make_method
from ecdm.numerics.masks import mean_filled
from ecdm.sections.compare import Ddim

ETAS = [0.0, 1.0]
LEVELS = [999, 749, 499, 249, -1]


def masked_batch(whole: bool = False) -> Batch:
    """Holes that cross cells, or nothing but hole."""
    masks = torch.full((2, 1, 32, 32), float(whole))
    masks[0, :, 5:24, 8:30], masks[1, :, 16:, 3:20] = 1, 1
    return draw_batch(masks)


def made(parts: Any, eta: float = 1.0, guidance: float = 3.0) -> Rival:
    own = Ddim(images=2, batch=2, steps=4, guidance=guidance, eta=eta)
    return make_method("controlnet_inpaint", Ingredients(parts, Path("none"), own, "no"))


def noise(generators: list[torch.Generator]) -> Tensor:
    return torch.stack([torch.randn(4, 4, 4, generator=generator) for generator in generators])


class Known:
    """What is put in outside the hole, by the equations: known latents, noised; a cell with any hole is hole."""

    def __init__(self, parts: Any, batch: Batch) -> None:
        visible = mean_filled(batch.images, batch.masks)
        self.z0 = 1.5 * parts.vae.encode(visible * 2 - 1).latent_dist.mean
        self.hole = batch.masks.unflatten(2, (4, 8)).unflatten(4, (4, 8)).amax((3, 5))
        self.signal = {t: float(parts.scheduler.alphas_cumprod[t]) for t in LEVELS[:-1]} | {-1: 1.0}
        self.hint = torch.where(batch.masks > 0, -1.0, batch.images)

    def put(self, z: Tensor, t: int, eps: Tensor) -> Tensor:
        noised = self.signal[t] ** 0.5 * self.z0 + (1 - self.signal[t]) ** 0.5 * eps
        return self.hole * z + (1 - self.hole) * noised


@pytest.mark.parametrize("whole", [True, False], ids=["all hole", "part known"])
@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_is_the_pipeline_of_diffusers(parts: Any, eta: float, guidance: float, whole: bool) -> None:
    """With the known latents put in by the pipeline's callback, where anything is known."""
    batch, generators = masked_batch(whole), streams()
    known = Known(parts, batch)
    start = known.put(noise(generators), LEVELS[0], noise(generators))

    def after_step(pipeline: Any, step: int, t: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": known.put(state["latents"], LEVELS[step + 1], noise(generators))}

    pipeline = StableDiffusionControlNetPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        controlnet=parts.controlnet_inpaint,
        scheduler=DDIMScheduler.from_config(parts.scheduler.config, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=batch.captions,
        image=known.hint,
        controlnet_conditioning_scale=1.0,
        latents=start,
        num_inference_steps=4,
        guidance_scale=guidance,
        eta=eta,
        generator=generators,
        callback_on_step_end=after_step,
        output_type="pt",
    ).images
    found = made(parts, eta, guidance).inpaint(batch, streams())
    assert found.shape == (2, 3, 32, 32)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("eta", ETAS)
def test_it_is_a_plain_loop(parts: Any, eta: float) -> None:
    """DDIM by Song's formula (eq. 12, 16), guidance in two passes, known latents put in at every level."""
    batch, generators = masked_batch(), streams()
    known = Known(parts, batch)

    def predicted(z: Tensor, t: int, captions: list[str]) -> Tensor:
        times, text = torch.full((2,), t), parts.embed(captions)
        down, middle = parts.controlnet_inpaint(z, times, text, known.hint, return_dict=False)
        added = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return parts.unet(z, times, text, **added).sample

    z = known.put(noise(generators), LEVELS[0], noise(generators))
    for t, after in pairwise(LEVELS):
        a, b = known.signal[t], known.signal[after]
        without, with_text = predicted(z, t, ["", ""]), predicted(z, t, batch.captions)
        eps = without + 3.0 * (with_text - without)
        sigma = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        z = b**0.5 * (z - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b - sigma**2) ** 0.5 * eps
        if eta:
            z = z + sigma * noise(generators)
        z = known.put(z, after, noise(generators))
    expected = (parts.vae.decode(z / 1.5).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(made(parts, eta).inpaint(batch, streams()), expected, rtol=1e-4, atol=1e-4)


def test_it_leaks_nothing(parts: Any) -> None:
    check_leaks(made(parts), masked_batch(), known=(1, 1))


def test_an_output_does_not_depend_on_batch_mates(parts: Any) -> None:
    check_batches(made(parts), masked_batch())


def test_what_a_table_says_of_it(parts: Any) -> None:
    method = made(parts)
    assert (method.name, method.native_size) == ("controlnet_inpaint", None)
    assert dict(method.networks) == {"unet": parts.unet, "controlnet": parts.controlnet_inpaint}


def test_no_library_complains(parts: Any, library_messages: Callable[[], list[str]]) -> None:
    made(parts).inpaint(masked_batch(), streams())
    assert library_messages() == []
