"""Stable Diffusion inpainting against diffusers' pipeline and against a plain loop over diffusers' own UNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from latent_case import check_batches, check_leaks, draw_batch, streams
from torch import Tensor

from ecdm.data.dataset import Batch
from ecdm.methods.registry import Ingredients, make_method
from ecdm.methods.sd_inpaint import SdInpaint
from ecdm.sections.compare import Ddim

ETAS, GUIDANCE = [0.0, 1.0], [1.0, 3.0]


def masked_batch() -> Batch:
    """The holes cross cells, and some cells are partly hole at the pixel that is nearest, others elsewhere."""
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, 5:24, 8:30], masks[1, :, 16:, 3:20] = 1, 1
    return draw_batch(masks)


@pytest.fixture(scope="module")
def networks(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a UNet with random weights for all nine channels."""
    folder = tmp_path_factory.mktemp("networks")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        unet = UNet2DConditionModel.from_config(dict(parts.unet.config) | {"in_channels": 9})
        for parameter in unet.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    unet.save_pretrained(folder / "sd_inpaint" / "unet")
    return folder


@pytest.fixture
def make(parts: Any, networks: Path) -> Callable[..., SdInpaint]:
    def made(eta: float = 1.0, guidance: float = 3.0) -> SdInpaint:
        own = Ddim(images=2, batch=2, steps=4, guidance=guidance, eta=eta)
        method = make_method("sd_inpaint", Ingredients(parts, networks, own, "no"))
        assert isinstance(method, SdInpaint)
        return method

    return made


def ddim(parts: Any) -> DDIMScheduler:
    return DDIMScheduler.from_config(parts.scheduler.config, clip_sample=False)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("guidance", GUIDANCE)
def test_it_is_the_pipeline_of_diffusers(
    parts: Any, make: Callable[..., SdInpaint], eta: float, guidance: float
) -> None:
    """The same generators from the start: start, posterior and steps are drawn alike."""
    batch, method = masked_batch(), make(eta, guidance)
    pipeline = StableDiffusionInpaintPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=method.unet,
        scheduler=ddim(parts),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.scheduler = ddim(parts)  # the constructor moves the time steps of the one it is given
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=batch.captions,
        image=batch.images,
        mask_image=batch.masks,
        strength=1.0,
        num_inference_steps=4,
        guidance_scale=guidance,
        eta=eta,
        generator=streams(),
        output_type="pt",
    ).images
    found = method.inpaint(batch, streams())
    assert found.shape == (2, 3, 32, 32)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("guidance", GUIDANCE)
def test_it_is_a_plain_loop(parts: Any, make: Callable[..., SdInpaint], eta: float, guidance: float) -> None:
    """DDIM by Song's formula (eq. 12, 16), guidance in two passes, everything on one image at a time."""
    batch, method = masked_batch(), make(eta, guidance)
    found = method.inpaint(batch, streams())
    for row, generator in enumerate(streams()):
        z, eps = (torch.randn(1, 4, 4, 4, generator=generator) for _ in range(2))
        mask = batch.masks[row : row + 1]
        posterior = parts.vae.encode((batch.images[row : row + 1] * 2 - 1) * (1 - mask)).latent_dist
        beside = torch.cat([mask[:, :, ::8, ::8], 1.5 * (posterior.mean + posterior.std * eps)], dim=1)

        def predicted(z: Tensor, t: int, caption: str, beside: Tensor = beside) -> Tensor:
            return method.unet(torch.cat([z, beside], 1), torch.tensor([t]), parts.embed([caption])).sample

        signal = {t: float(parts.scheduler.alphas_cumprod[t]) for t in (999, 749, 499, 249)} | {-1: 1.0}
        for t, after in zip([999, 749, 499, 249], [749, 499, 249, -1], strict=True):
            a, b = signal[t], signal[after]
            without, with_text = predicted(z, t, ""), predicted(z, t, batch.captions[row])
            noise = without + guidance * (with_text - without)
            sigma = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
            x0 = (z - (1 - a) ** 0.5 * noise) / a**0.5
            z = b**0.5 * x0 + (1 - b - sigma**2) ** 0.5 * noise
            if eta:
                z = z + sigma * torch.randn(1, 4, 4, 4, generator=generator)
        expected = (parts.vae.decode(z / 1.5).sample / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-4, atol=1e-4)


def test_it_leaks_nothing(make: Callable[..., SdInpaint]) -> None:
    check_leaks(make(), masked_batch(), known=(1, 1))


def test_it_reads_the_mask(make: Callable[..., SdInpaint]) -> None:
    batch, method = masked_batch(), make()
    masks = batch.masks.clone()
    masks[:, :, :4] = 1
    found = method.inpaint(Batch(batch.images, masks, batch.captions, batch.ids), streams())
    assert not torch.equal(found, method.inpaint(batch, streams()))


def test_an_output_does_not_depend_on_batch_mates(make: Callable[..., SdInpaint]) -> None:
    check_batches(make(), masked_batch())


def test_what_a_table_says_of_it(make: Callable[..., SdInpaint]) -> None:
    method = make()
    assert (method.name, method.native_size, dict(method.networks)) == ("sd_inpaint", None, {"unet": method.unet})


def test_without_its_network_it_is_refused_by_name(parts: Any, tmp_path: Path) -> None:
    own = Ddim(images=2, batch=2, steps=4, guidance=3.0, eta=1.0)
    with pytest.raises(FileNotFoundError, match=r"^sd_inpaint: .*sd_inpaint/unet: missing"):
        make_method("sd_inpaint", Ingredients(parts, tmp_path, own, "no"))


def test_no_library_complains(make: Callable[..., SdInpaint], library_messages: Callable[[], list[str]]) -> None:
    make().inpaint(masked_batch(), streams())
    assert library_messages() == []
