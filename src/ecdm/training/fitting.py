"""What all trainings of the embedded networks share: the loop, and what a step draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ecdm.config import Fit as FitParams
from ecdm.models.precision import default_device, resolved
from ecdm.numerics.diffusion import Schedule, simple_loss_per_sample
from ecdm.sections.base import Precision

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


def fit_here(fit: FitParams, precision: Precision) -> Fit:
    """A component's settings for the device of this process."""
    device = default_device()
    return Fit(fit.steps, fit.batch, fit.lr, resolved(precision, device), device)


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


def balanced_loss(eps: Tensor, prediction: Tensor, t: Tensor, schedule: Schedule, most: float = math.inf) -> Tensor:
    """Eq. 5 weighted by noise over signal, by at most `most`, which gives all t about the same share."""
    signal, noise = schedule.scales(t, eps)
    weights = (noise / signal).flatten().clamp(max=most)
    return (weights * simple_loss_per_sample(eps, prediction)).mean()


def schedule_of(scheduler: DDPMScheduler) -> Schedule:
    """ᾱ of a training schedule."""
    return Schedule(scheduler.alphas_cumprod.double())


def pick(
    images: Tensor, texts: Tensor, empty: Tensor, batch: int, dropout: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Random numbers (b,) of images or latents (n, ...), these themselves, and one of each one's texts (n, k, ...)."""
    rows = torch.randint(len(images), (batch,), generator=generator)
    return rows, images[rows], one_of(texts, rows, empty, dropout, generator)


def one_of(options: Tensor, rows: Tensor, empty: Tensor, dropout: float, generator: torch.Generator) -> Tensor:
    """One of the options (n, k, ...) of each row (b,), a share `dropout` of them replaced by the empty one (...)."""
    chosen = options[rows, torch.randint(options.shape[1], (len(rows),), generator=generator)]
    dropped = torch.rand(len(rows), generator=generator) < dropout
    return torch.where(dropped.view(-1, *[1] * (chosen.ndim - 1)), empty, chosen)


def draw_noise(z0: Tensor, schedule: Schedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Uniform timesteps (b,) and standard normal noise of the shape of `z0` (b, ...)."""
    t = torch.randint(schedule.steps, (len(z0),), generator=generator)
    return t, torch.randn(z0.shape, generator=generator)
