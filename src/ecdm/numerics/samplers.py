"""Sampling loop, guidance, blending and pasting (eq. 7, 8) over the schedulers of diffusers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from ecdm.numerics.diffusion import Schedule, q_sample
from ecdm.numerics.masks import is_hole

Scheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler
Generators = torch.Generator | Sequence[torch.Generator]

SCHEDULERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {}),
    "dpmsolver++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
}


def make_scheduler(name: str, config: Mapping[str, Any]) -> Scheduler:
    """Build the sampling scheduler `ddim` or `dpmsolver++` from the configuration of a training scheduler.

    Whatever the configuration says about betas, prediction type, clipping and timestep spacing holds here
    too; without a word on clipping there is none (latents have no fixed range). ValueError for another name.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"scheduler: expected one of {', '.join(SCHEDULERS)}, found {name!r}")
    kind, extra = SCHEDULERS[name]
    known = inspect.signature(kind.__init__).parameters
    settings = {"clip_sample": False, **config, **extra}
    scheduler: Scheduler = kind(**{key: value for key, value in settings.items() if key in known})
    return scheduler


def sample(
    denoise: Callable[[Tensor, int], Tensor],
    z: Tensor,
    scheduler: Scheduler,
    steps: int,
    *,
    generator: Generators | None,
    eta: float = 0.0,
    after_step: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Run `steps` denoising steps from the noise `z` (b, ...) to clean data of its shape (eq. 7).

    `denoise(z, t)` gives the model output that the scheduler's prediction type names. `after_step(z, t)`
    returns the state to go on with, `t` being the level that the step has reached: the next timestep, -1
    after the last one (diffusers' DDIM may be one off where the steps do not divide T). The scheduler itself
    is left as it was. `generator`: one per sample makes a stochastic sampler (eta > 0) independent of the
    batch's composition. ValueError for a number of steps outside 1..T, or an eta that the scheduler cannot use.
    """
    limit = int(scheduler.config["num_train_timesteps"])
    if not 1 <= steps <= limit:
        raise ValueError(f"steps: expected 1..{limit}, found {steps}")
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    extra = _step_arguments(scheduler, eta, generator)
    timesteps = [int(t) for t in scheduler.timesteps]
    with torch.no_grad():
        for t, reached in zip(timesteps, [*timesteps[1:], -1], strict=True):
            output = denoise(z, t).to(z.dtype)
            z = scheduler.step(output, t, z, return_dict=False, **extra)[0]
            if after_step is not None:
                z = after_step(z, reached)
    return z


def first_level(scheduler: Scheduler, steps: int) -> int:
    """The timestep at which `sample` starts with so many steps."""
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    return int(scheduler.timesteps[0])


def _step_arguments(scheduler: Scheduler, eta: float, generator: Generators | None) -> dict[str, Any]:
    accepted = inspect.signature(scheduler.step).parameters
    if eta and "eta" not in accepted:
        raise ValueError(f"eta: {type(scheduler).__name__} has no eta, expected 0, found {eta}")
    if isinstance(generator, Sequence):
        generator = list(generator)
    offered = {"eta": eta, "generator": generator}
    return {key: value for key, value in offered.items() if key in accepted}


def sample_noise(shape: Sequence[int], generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Draw standard normal noise of `shape` (b, ...), row i from generator i alone.

    Drawn in float32 where the generators live, then brought to the dtype and device of `like`, so that
    neither batch nor device changes a sample's noise. ValueError when the number of generators is not b.
    """
    if len(generators) != shape[0]:
        raise ValueError(f"generators: expected {shape[0]}, one for each sample, found {len(generators)}")
    rows = [torch.randn(tuple(shape[1:]), generator=g, device=g.device) for g in generators]
    return torch.stack([row.to(like.device) for row in rows]).to(like.dtype)


def guide(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance of eps (b, c, h, w): uncond + scale (cond - uncond) (Ho and Salimans 2022)."""
    return cond if scale == 1 else uncond + scale * (cond - uncond)


def blend(z: Tensor, z0_known: Tensor, latent_mask: Tensor, t: int, schedule: Schedule, eps: Tensor) -> Tensor:
    """Keep `z` in the hole and put the known latents, noised to level `t`, outside (eq. 8).

    `z`, `z0_known`, `eps`: (b, c, h, w); `latent_mask`: (b, 1, h, w), 1 = hole; t = -1 puts them in clean.
    """
    return torch.where(is_hole(latent_mask), z, q_sample(z0_known, t, eps, schedule))


def paste(output: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Take the hole from `output` and every known pixel, bit for bit, from `image`.

    Both (b, c, h, w) of one dtype; `mask`: (b, 1, h, w), 1 = hole. ValueError when shapes or dtypes differ.
    """
    if output.shape != image.shape or output.dtype != image.dtype:
        raise ValueError(
            f"output: expected {tuple(image.shape)} {image.dtype}, found {tuple(output.shape)} {output.dtype}"
        )
    return torch.where(is_hole(mask), output, image)
