"""Noise schedule, forward process and the conversions between x0 and eps (eq. 1-5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """Cumulative signal power of a variance-preserving diffusion (eq. 1, 2).

    `alpha_bar`: (T,) float64 in [0, 1], not increasing. Timesteps run from 0 (least noise) to T - 1; the
    extra timestep -1 means clean data, alpha_bar = 1. ValueError when `alpha_bar` has another shape or range.
    """

    alpha_bar: Tensor

    def __post_init__(self) -> None:
        values = self.alpha_bar
        if values.ndim != 1 or not values.numel():
            raise ValueError(f"alpha_bar: expected shape (T,) with T >= 1, found {tuple(values.shape)}")
        if values.dtype != torch.float64:
            raise ValueError(f"alpha_bar: expected float64, found {values.dtype}")
        inside = bool(((values >= 0) & (values <= 1)).all())
        if not inside or bool((values.diff() > 0).any()):
            raise ValueError("alpha_bar: expected values in [0, 1] that do not increase")

    @property
    def steps(self) -> int:
        """Number of timesteps T."""
        return len(self.alpha_bar)

    def at(self, t: int | Tensor, like: Tensor) -> Tensor:
        """Return alpha_bar at `t` in the dtype and on the device of `like`, shaped to broadcast with it.

        `t`: an int or an integer tensor (b,), in -1..T-1; ValueError outside (checked for values on the CPU
        only, a check on an accelerator would wait for it). In half precision use `scales`: 1 - alpha_bar
        would lose its digits.
        """
        return self._lookup(t, like).to(like.dtype)

    def scales(self, t: int | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(alpha_bar) and sqrt(1 - alpha_bar) at `t`, rooted in float64, then as in `at`."""
        alpha_bar = self._lookup(t, like)
        return alpha_bar.sqrt().to(like.dtype), (1 - alpha_bar).sqrt().to(like.dtype)

    def _lookup(self, t: int | Tensor, like: Tensor) -> Tensor:
        index = torch.as_tensor(t)
        if index.device.type == "cpu" and bool(((index < -1) | (index >= self.steps)).any()):
            raise ValueError(f"t: expected values in -1..{self.steps - 1}, found {index.tolist()}")
        # The clean level stands last, where index -1 finds it.
        table = torch.cat([self.alpha_bar, self.alpha_bar.new_ones(1)]).to(like.device)
        values = table[index.to(like.device)]
        return values.reshape(-1, *[1] * (like.ndim - 1)) if values.ndim else values


def q_sample(x0: Tensor, t: int | Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """Noise clean data to level `t`: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps (eq. 2).

    `x0`, `eps`: (b, ...); `t`: int or (b,). At t = -1 the result equals `x0` exactly.
    """
    signal, noise = schedule.scales(t, x0)
    return signal * x0 + noise * eps


def x0_from_eps(x_t: Tensor, t: int | Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """Solve eq. 2 for x0, of the shape of `x_t` and `eps` (b, ...); `t`: int or (b,), with alpha_bar > 0 there."""
    signal, noise = schedule.scales(t, x_t)
    return (x_t - noise * eps) / signal


def eps_from_x0(x_t: Tensor, t: int | Tensor, x0: Tensor, schedule: Schedule) -> Tensor:
    """Solve eq. 2 for eps, of the shape of `x_t` and `x0` (b, ...); `t`: int or (b,), 0 or more."""
    signal, noise = schedule.scales(t, x_t)
    return (x_t - signal * x0) / noise


def posterior_mean(x_t: Tensor, t: int | Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """Mean of p(x_{t-1} | x_t), of the shape of `x_t` and the noise `eps` (b, ...), given that noise (eq. 4).

    Single steps: alpha_t = alpha_bar_t / alpha_bar_{t-1}, beta_t = 1 - alpha_t; `t`: int or (b,), in 0..T-1, with
    alpha_bar > 0.
    """
    wide = x_t.double()
    alpha_bar = schedule.at(t, wide)
    alpha = alpha_bar / schedule.at(t - 1, wide)
    scale, weight = alpha.rsqrt(), (1 - alpha) / (1 - alpha_bar).sqrt()
    return scale.to(x_t.dtype) * (x_t - weight.to(x_t.dtype) * eps)


def simple_loss_per_sample(eps: Tensor, prediction: Tensor) -> Tensor:
    """Squared error of the noise prediction (eq. 5), averaged over each sample's elements.

    Both (b, ...), the result (b,) float32 or wider. The mean instead of the equation's sum makes the value
    independent of the image size. ValueError when the shapes differ.
    """
    if eps.shape != prediction.shape:
        raise ValueError(f"prediction: expected shape {tuple(eps.shape)}, found {tuple(prediction.shape)}")
    wide = torch.promote_types(eps.dtype, torch.float32)
    return (eps.to(wide) - prediction.to(wide)).square().flatten(1).mean(1)


def simple_loss(eps: Tensor, prediction: Tensor) -> Tensor:
    """Scalar mean of `simple_loss_per_sample` over the batch (eq. 5)."""
    return simple_loss_per_sample(eps, prediction).mean()
