"""How the embedded foundation is trained from scratch, component by component, each on the ones before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F

from ecdm.data.files import in_processes
from ecdm.data.scenes import Scene, draw_scene
from ecdm.models.classifier import AttributeClassifier, labels
from ecdm.models.split_unet import Residuals, SplitUNet
from ecdm.models.tiny import TEXT_WIDTH, tiny_controlnet, tiny_scheduler, tiny_unet, tiny_vae
from ecdm.numerics.canny import canny
from ecdm.numerics.diffusion import Schedule, q_sample, simple_loss, simple_loss_per_sample
from ecdm.numerics.masks import draw_training, mask_rng, masked_image

# Learning-rate factor of a branch's new layers: at 1 they had hardly moved after 1,500 steps.
FRESH_LAYERS = 5.0

CPU = torch.device("cpu")
Report = Callable[[str, int, dict[str, float]], None]


@dataclass(frozen=True)
class Fit:
    """How long and how fast one component is trained, and where; `precision` is `no` or `bf16`."""

    steps: int
    batch: int
    lr: float
    precision: str = "no"
    device: torch.device = CPU


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


def fit(
    name: str,
    groups: Sequence[tuple[Iterable[nn.Parameter], float]],
    loss_of: Callable[[torch.Generator], dict[str, Tensor]],
    settings: Fit,
    seed: int,
    report: Report,
) -> None:
    """Minimise the entry `loss` of what `loss_of` returns; leaves the moving average in the parameters.

    AdamW, 5 % warm-up, cosine decay, gradients clipped to norm 1; one generator, seeded here, makes all draws.
    `groups` pairs parameters with a factor on the learning rate.
    """
    parts: list[dict[str, Any]] = [
        {"params": list(parameters), "lr": settings.lr * factor} for parameters, factor in groups
    ]
    trained = [parameter for part in parts for parameter in part["params"]]
    optimiser = torch.optim.AdamW(parts, weight_decay=1e-4, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimiser, settings.steps // 20 + 1, settings.steps)
    average = EMAModel(trained, decay=0.999, use_ema_warmup=True, power=2 / 3)
    generator = torch.Generator().manual_seed(seed)
    for step in range(settings.steps):
        with torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            terms = loss_of(generator)
        optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        average.step(trained)
        report(name, step, {key: value.item() for key, value in terms.items()})
    average.copy_to(trained)


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
def encode(vae: Any, pixels: Tensor, scale: float | None = None, batch: int = 64) -> Tensor:
    """Mean latents (n, c, h/8, w/8) of uint8 images, times the scaling factor."""
    factor = vae.config.scaling_factor if scale is None else scale
    signed = (to_signed(part).to(vae.device) for part in pixels.split(batch))
    return torch.cat([(vae.encode(part).latent_dist.mean * factor).cpu() for part in signed])


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
    unet, schedule = tiny_unet(text_encoder.config.hidden_size // TEXT_WIDTH).to(settings.device), _schedule()
    text_encoder.to(settings.device)

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        z0, ids = _pick(latents, tokens, empty, settings.batch, 0.1, generator)[1:]
        z0, ids, t, eps = (x.to(settings.device) for x in (z0, ids, *_noise(z0, schedule, generator)))
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

    `text` holds embeddings (n, k, length, width); 30 % of them are dropped, so that the hint has to be used. Eq. 5
    weighted by noise over signal, which gives all t about the same share: unweighted, the small t, where a hint tells
    little, drown the large ones, where structure is decided.
    """
    torch.manual_seed(seed)
    branch, schedule, split = (
        tiny_controlnet(unet).to(settings.device),
        _schedule(),
        SplitUNet(unet.to(settings.device)),
    )

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        rows, z0, words = _pick(latents, text, empty, settings.batch, 0.3, generator)
        drawn = (z0, words, *_noise(z0, schedule, generator), hint_of(rows, generator))
        z0, words, t, eps, hint = (x.to(settings.device) for x in drawn)
        z = q_sample(z0, t, eps, schedule)
        with torch.no_grad():
            encoded = split.encode(z, t, words)
        down, middle = branch(z, t, words, hint, return_dict=False)
        prediction, _ = split.decode(encoded, Residuals(tuple(down), middle))
        signal, noise = schedule.scales(t, z0)
        per_sample = simple_loss_per_sample(eps, prediction.float())
        return {"loss": ((noise / signal).flatten() * per_sample).mean()}

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
    height, width = pixels.shape[-2:]
    drawn = [draw_training(mask_rng(seed, "pretrain", i), height, width) for i in range(masks)]
    holes = torch.from_numpy(np.stack(drawn))

    def hint_of(rows: Tensor, generator: torch.Generator) -> Tensor:
        chosen = holes[torch.randint(masks, (len(rows),), generator=generator), None].float()
        return masked_image(pixels[rows].float() / 255, chosen, fill=-1.0)

    return hint_of


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


def _schedule() -> Schedule:
    return Schedule(tiny_scheduler().alphas_cumprod.double())


def _pick(
    latents: Tensor, texts: Tensor, empty: Tensor, batch: int, dropout: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Random image numbers, their latents and one of their texts each, some replaced by the empty one."""
    rows = torch.randint(len(latents), (batch,), generator=generator)
    chosen = texts[rows, torch.randint(texts.shape[1], (batch,), generator=generator)]
    dropped = torch.rand(batch, generator=generator) < dropout
    chosen = torch.where(dropped.view(-1, *[1] * (chosen.ndim - 1)), empty, chosen)
    return rows, latents[rows], chosen


def _noise(z0: Tensor, schedule: Schedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    t = torch.randint(schedule.steps, (len(z0),), generator=generator)
    return t, torch.randn(z0.shape, generator=generator)
