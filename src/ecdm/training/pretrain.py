"""How the embedded foundation is trained from scratch, component by component, each on the ones before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecdm.data.files import in_processes
from ecdm.data.scenes import Scene, draw_scene
from ecdm.models.classifier import AttributeClassifier, labels
from ecdm.models.split_unet import Residuals, SplitUNet
from ecdm.models.tiny import TEXT_WIDTH, tiny_controlnet, tiny_scheduler, tiny_unet, tiny_vae
from ecdm.numerics.canny import canny
from ecdm.numerics.diffusion import q_sample, simple_loss
from ecdm.numerics.masks import draw_training, mask_rng, masked_image
from ecdm.training.fitting import Fit, Report, balanced_loss, draw_noise, fit, pick, schedule_of

# Learning-rate factor of a branch's new layers: at 1 they had hardly moved after 1,500 steps.
FRESH_LAYERS = 5.0


def draw_scenes(seed: int, count: int, size: int, workers: int, items: int | None = None) -> list[Scene]:
    """The first `count` training scenes; the same for any number of worker processes."""
    draw = partial(draw_scene, seed, "train", size=size, items=items)
    return in_processes(draw, range(count), workers, "scenes, foundation")


def to_pixels(scenes: Sequence[Scene]) -> Tensor:
    """Images as one uint8 tensor (n, 3, h, w)."""
    return torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).contiguous()


def to_signed(pixels: Tensor) -> Tensor:
    """uint8 → float in [−1, 1]."""
    return pixels.float() / 127.5 - 1


def train_vae(pixels: Tensor, settings: Fit, crop: int, seed: int, report: Report, width: int = 1) -> Any:
    """Train the autoencoder on random `crop`² windows of `pixels` (n, 3, h, w) uint8.

    L1 + MSE reconstruction with a KL term small enough to leave the latents near unit scale;
    the scaling factor is measured afterwards, as the inverse spread of the latents.
    """
    torch.manual_seed(seed)  # weight initialisation reads the global generator
    vae = tiny_vae(width).to(settings.device)
    height, width = pixels.shape[-2:]

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(pixels), (settings.batch,), generator=generator)
        top = int(torch.randint(height - crop + 1, (), generator=generator))
        left = int(torch.randint(width - crop + 1, (), generator=generator))
        x0 = to_signed(pixels[rows, :, top : top + crop, left : left + crop]).to(settings.device)
        posterior = vae.encode(x0).latent_dist
        restored = vae.decode(posterior.sample(generator)).sample.float()
        mse, l1 = F.mse_loss(restored, x0), F.l1_loss(restored, x0)
        kl = posterior.kl().mean() / x0[0].numel()
        return {"loss": mse * 2 + l1 * 0.5 + 1e-5 * kl, "mse": mse, "l1": l1, "kl": kl}

    fit("vae", [(vae.parameters(), 1)], loss_of, settings, seed, report)
    vae.requires_grad_(False).eval()
    vae.register_to_config(scaling_factor=round(1 / float(encode(vae, pixels[:512], scale=1.0).std()), 4))
    return vae.cpu()


@torch.no_grad()
def encode(
    vae: Any, pixels: Tensor, scale: float | None = None, batch: int = 64, holes: Tensor | None = None
) -> Tensor:
    """Mean latents (n, c, h/8, w/8) of uint8 images, times the scaling factor; 0 stands in `holes` (n, 1, h, w)."""
    factor = vae.config.scaling_factor if scale is None else scale
    signed: Iterable[Tensor] = (to_signed(part) for part in pixels.split(batch))
    if holes is not None:
        signed = map(masked_image, signed, holes.split(batch))
    return torch.cat([(vae.encode(part.to(vae.device)).latent_dist.mean * factor).cpu() for part in signed])


def train_unet(
    latents: Tensor,
    tokens: Tensor,
    empty: Tensor,
    text_encoder: Any,
    settings: Fit,
    seed: int,
    report: Report,
) -> Any:
    """Train UNet and text encoder together on scaled latents (n, c, h, w) and caption tokens (n, k, length).

    The UNet is as wide as the encoder. Eq. 5 with uniform t; 10 % of the captions are replaced by the `empty` one for
    classifier-free guidance.
    """
    torch.manual_seed(seed)
    unet = tiny_unet(text_encoder.config.hidden_size // TEXT_WIDTH).to(settings.device)
    schedule = schedule_of(tiny_scheduler())
    text_encoder.to(settings.device)

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        z0, ids = pick(latents, tokens, empty, settings.batch, 0.1, generator)[1:]
        z0, ids, t, eps = (x.to(settings.device) for x in (z0, ids, *draw_noise(z0, schedule, generator)))
        prediction = unet(q_sample(z0, t, eps, schedule), t, text_encoder(ids)[0]).sample
        return {"loss": simple_loss(eps, prediction.float())}

    fit("unet", [(chain(unet.parameters(), text_encoder.parameters()), 1)], loss_of, settings, seed, report)
    text_encoder.cpu()
    return unet.cpu().requires_grad_(False).eval()


def train_branch(
    name: str,
    hint_of: Callable[[Tensor, torch.Generator], Tensor],
    unet: Any,
    latents: Tensor,
    text: Tensor,
    empty: Tensor,
    settings: Fit,
    seed: int,
    report: Report,
) -> Any:
    """Train a ControlNet on the frozen UNet; `hint_of` maps image numbers (b,) to hints (b, 3, h, w).

    `text` holds embeddings (n, k, length, width); 30 % of them are dropped, so that the hint has to be used. The loss
    is balanced: unweighted, the small t, where a hint tells little, drown the large ones, where structure is decided.
    """
    torch.manual_seed(seed)
    branch, schedule = tiny_controlnet(unet).to(settings.device), schedule_of(tiny_scheduler())
    split = SplitUNet(unet.to(settings.device))

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        rows, z0, words = pick(latents, text, empty, settings.batch, 0.3, generator)
        drawn = (z0, words, *draw_noise(z0, schedule, generator), hint_of(rows, generator))
        z0, words, t, eps, hint = (x.to(settings.device) for x in drawn)
        z = q_sample(z0, t, eps, schedule)
        with torch.no_grad():
            encoded = split.encode(z, t, words)
        down, middle = branch(z, t, words, hint, return_dict=False)
        prediction, _ = split.decode(encoded, Residuals(tuple(down), middle))
        return {"loss": balanced_loss(eps, prediction.float(), t, schedule)}

    fit(name, _branch_groups(branch), loss_of, settings, seed, report)
    unet.cpu()
    return branch.cpu().requires_grad_(False).eval()


def _branch_groups(branch: Any) -> list[tuple[list[nn.Parameter], float]]:
    """The copied layers, and, FRESH_LAYERS times as fast, the new ones: hint embedding and zero convolutions."""
    fresh = [p for name, p in branch.named_parameters() if name.startswith("controlnet_")]
    copied = [p for name, p in branch.named_parameters() if not name.startswith("controlnet_")]
    return [(copied, 1.0), (fresh, FRESH_LAYERS)]


def edge_hints(pixels: Tensor, low: int, high: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Hints for the teacher: Canny edges, 0 or 1, on three channels."""
    images = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    edges = torch.from_numpy(np.stack([canny(image, low, high) for image in images]) > 0)

    def hint_of(rows: Tensor, generator: torch.Generator) -> Tensor:
        return edges[rows, None].float().repeat(1, 3, 1, 1)

    return hint_of


def hole_hints(pixels: Tensor, seed: int, masks: int = 4096) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Hints for the inpainting branch: the masked image in [0, 1] with −1 in the hole, one of `masks` holes."""
    holes = draw_holes(seed, masks, *pixels.shape[-2:])

    def hint_of(rows: Tensor, generator: torch.Generator) -> Tensor:
        chosen = holes[torch.randint(masks, (len(rows),), generator=generator)].float()
        return masked_image(pixels[rows].float() / 255, chosen, fill=-1.0)

    return hint_of


def draw_holes(seed: int, count: int, height: int, width: int) -> Tensor:
    """Holes (n, 1, h, w) bool as those of the trainings, 10 to 60 % of an image."""
    drawn = [draw_training(mask_rng(seed, "pretrain", i), height, width) for i in range(count)]
    return torch.from_numpy(np.stack(drawn))[:, None]


def train_classifier(scenes: Sequence[Scene], settings: Fit, seed: int, report: Report) -> AttributeClassifier:
    """Train the attribute classifier on scenes of one item."""
    torch.manual_seed(seed)
    model = AttributeClassifier().to(settings.device)
    pixels, truth = to_pixels(scenes), labels([scene.items[0] for scene in scenes])

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(pixels), (settings.batch,), generator=generator)
        logits = model(to_signed(pixels[rows]).to(settings.device))
        wanted = {name: numbers[rows].to(settings.device) for name, numbers in truth.items()}
        losses = [F.cross_entropy(logits[name].float(), wanted[name]) for name in truth]
        return {"loss": torch.stack(losses).mean()}

    fit("classifier", [(model.parameters(), 1)], loss_of, settings, seed, report)
    return model.cpu().requires_grad_(False).eval()
