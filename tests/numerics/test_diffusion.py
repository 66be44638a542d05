"""Eq. 1-5 against closed forms and diffusers' schedulers."""

import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from ecdm.numerics import diffusion
from ecdm.numerics.diffusion import Schedule

STEPS = 1000
DDPM = DDPMScheduler(num_train_timesteps=STEPS, beta_schedule="scaled_linear", clip_sample=False)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule((1 - DDPM.betas.double()).cumprod(0))


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_single_steps_compose_to_the_closed_form() -> None:
    """Eq. 1 applied t times to the mean and variance gives eq. 2's coefficients."""
    betas = torch.linspace(0.01, 0.3, 20, dtype=torch.float64)
    schedule = Schedule((1 - betas).cumprod(0))
    mean, variance = 1.0, 0.0
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for t, beta in enumerate(betas.tolist()):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        assert float(diffusion.q_sample(one, t, zero, schedule)) == pytest.approx(mean, rel=1e-12)
        assert float(diffusion.q_sample(zero, t, one, schedule)) ** 2 == pytest.approx(variance, rel=1e-12)


def test_q_sample_equals_add_noise(schedule: Schedule) -> None:
    x0, eps = normal(0, 5, 3, 4, 6).float(), normal(1, 5, 3, 4, 6).float()
    t = torch.tensor([0, 1, 250, 700, STEPS - 1])
    torch.testing.assert_close(diffusion.q_sample(x0, t, eps, schedule), DDPM.add_noise(x0, eps, t))


def test_int_and_tensor_timesteps_agree(schedule: Schedule) -> None:
    x0, eps = normal(0, 2, 3, 4, 4), normal(1, 2, 3, 4, 4)
    both = diffusion.q_sample(x0, torch.tensor([10, 500]), eps, schedule)
    assert torch.equal(both[:1], diffusion.q_sample(x0[:1], 10, eps[:1], schedule))
    assert torch.equal(both[1:], diffusion.q_sample(x0[1:], 500, eps[1:], schedule))


def test_clean_level_returns_x0_exactly(schedule: Schedule) -> None:
    x0, eps = normal(0, 2, 3, 4, 4).float(), normal(1, 2, 3, 4, 4).float()
    assert torch.equal(diffusion.q_sample(x0, -1, eps, schedule), x0)
    mixed = diffusion.q_sample(x0, torch.tensor([-1, 5]), eps, schedule)
    assert torch.equal(mixed[0], x0[0])
    assert not torch.equal(mixed[1], x0[1])


def test_at_takes_shape_and_dtype_of_like(schedule: Schedule) -> None:
    like = torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16)
    level = schedule.at(torch.tensor([3, -1]), like)
    assert level.shape == (2, 1, 1, 1)
    assert level.dtype == torch.bfloat16
    assert level[1].item() == 1


def test_scales_keep_small_noise_in_half_precision(schedule: Schedule) -> None:
    """1 - alpha_bar at t = 0 rounds to nothing in bfloat16, its root in float64 does not."""
    like = torch.zeros(1, 1, dtype=torch.bfloat16)
    assert float(1 - schedule.at(0, like)) == 0
    expected = math.sqrt(1 - float(schedule.alpha_bar[0]))
    assert float(schedule.scales(0, like)[1]) == pytest.approx(expected, rel=1e-2)


def test_conversions_invert_each_other(schedule: Schedule) -> None:
    x0, eps = normal(0, 3, 2, 4, 4), normal(1, 3, 2, 4, 4)
    t = torch.tensor([0, 400, 999])
    x_t = diffusion.q_sample(x0, t, eps, schedule)
    torch.testing.assert_close(diffusion.x0_from_eps(x_t, t, eps, schedule), x0)
    torch.testing.assert_close(diffusion.eps_from_x0(x_t, t, x0, schedule), eps)


@pytest.mark.parametrize("t", [1, 37, 500, STEPS - 1])
def test_posterior_mean_equals_ddim_with_eta_one_without_its_noise(schedule: Schedule, t: int) -> None:
    ddim = DDIMScheduler(
        num_train_timesteps=STEPS, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True
    )
    ddim.set_timesteps(STEPS)
    x_t, eps = normal(2, 2, 3, 4, 4).float(), normal(3, 2, 3, 4, 4).float()
    step = ddim.step(eps, t, x_t, eta=1.0, variance_noise=torch.zeros_like(x_t)).prev_sample
    torch.testing.assert_close(diffusion.posterior_mean(x_t, t, eps, schedule), step, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("t", [0, 1, 500, STEPS - 1])
def test_posterior_mean_equals_ddpm_step_mean(schedule: Schedule, t: int) -> None:
    x_t, eps = normal(2, 1, 3, 4, 4).float(), normal(3, 1, 3, 4, 4).float()
    step = DDPM.step(eps, t, x_t, generator=torch.Generator().manual_seed(4)).prev_sample
    if t:
        alpha_bar, before = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
        deviation = ((1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)).sqrt()
        noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(4))
        step = step - deviation.float() * noise
    torch.testing.assert_close(diffusion.posterior_mean(x_t, t, eps, schedule), step, rtol=1e-4, atol=1e-5)


def test_simple_loss_is_the_mean_square(schedule: Schedule) -> None:
    eps, prediction = normal(0, 3, 2, 4, 5), normal(1, 3, 2, 4, 5)
    rows = [float(((eps[i] - prediction[i]).numpy() ** 2).mean()) for i in range(3)]
    assert diffusion.simple_loss_per_sample(eps, prediction).tolist() == pytest.approx(rows)
    assert float(diffusion.simple_loss(eps, prediction)) == pytest.approx(sum(rows) / 3)


def test_simple_loss_gradient() -> None:
    eps, prediction = normal(0, 2, 8), normal(1, 2, 8).requires_grad_()
    diffusion.simple_loss(eps, prediction).backward()
    assert prediction.grad is not None
    torch.testing.assert_close(prediction.grad, 2 * (prediction.detach() - eps) / 16)


def test_simple_loss_refuses_shapes_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(2, 3\), found \(2, 1\)"):
        diffusion.simple_loss(torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize("t", [-2, STEPS])
def test_timesteps_outside_the_schedule_are_refused(schedule: Schedule, t: int) -> None:
    with pytest.raises(ValueError, match=r"-1\.\.999"):
        schedule.at(t, torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"-1\.\.999"):
        schedule.at(torch.tensor([0, t]), torch.zeros(2, 1))


@pytest.mark.parametrize(
    "values",
    [torch.tensor([0.5, 0.9]).double(), torch.tensor([1.5]).double(), torch.ones(3), torch.ones(0).double()],
)
def test_impossible_alpha_bar_is_refused(values: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="alpha_bar"):
        Schedule(values)
