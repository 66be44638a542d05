"""Eq. 7 and 8: the sampling loop against closed forms, blending and pasting bit for bit."""

import copy
from itertools import pairwise

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from ecdm.numerics import samplers
from ecdm.numerics.diffusion import Schedule, eps_from_x0, posterior_mean, q_sample
from ecdm.numerics.masks import latent_mask

TRAIN = DDPMScheduler(beta_schedule="scaled_linear", clip_sample=False, timestep_spacing="trailing")
CONFIG = dict(TRAIN.config)
SCHEDULE = Schedule((1 - TRAIN.betas.double()).cumprod(0))
NAMES = ["ddim", "dpmsolver++"]
SPREAD = 0.5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def gaussian_eps(z: Tensor, t: int) -> Tensor:
    """Noise that the best denoiser predicts for data from N(0, SPREAD^2)."""
    alpha_bar = float(SCHEDULE.alpha_bar[t])
    return (1 - alpha_bar) ** 0.5 * z / (alpha_bar * SPREAD**2 + 1 - alpha_bar)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 4, 25])
def test_knowing_the_data_recovers_it(name: str, steps: int) -> None:
    """With the true noise every step stays on eq. 2's line, at the level of the next timestep."""
    x0, z = normal(0, 2, 4, 8, 8), normal(1, 2, 4, 8, 8)
    scheduler = samplers.make_scheduler(name, CONFIG)
    eps = eps_from_x0(z, 999, x0, SCHEDULE)
    seen: list[int] = []

    def follow(state: Tensor, t: int) -> Tensor:
        seen.append(t)
        torch.testing.assert_close(state, q_sample(x0, t, eps, SCHEDULE), rtol=0, atol=2e-2)
        return state

    def denoise(state: Tensor, t: int) -> Tensor:
        return eps_from_x0(state, t, x0, SCHEDULE)

    found = samplers.sample(denoise, z, scheduler, steps, generator=None, after_step=follow)
    torch.testing.assert_close(found, x0, rtol=0, atol=2e-3)
    assert len(seen) == steps
    assert seen[-1] == -1


@pytest.mark.parametrize(("name", "steps", "tolerance"), [("ddim", 500, 0.02), ("dpmsolver++", 50, 0.02)])
def test_solves_the_probability_flow_of_a_gaussian(name: str, steps: int, tolerance: float) -> None:
    """For Gaussian data the flow only scales: by SPREAD over the noisy deviation."""
    z = normal(2, 2, 4, 8, 8)
    alpha_bar = float(SCHEDULE.alpha_bar[-1])
    expected = z * SPREAD / (alpha_bar * SPREAD**2 + 1 - alpha_bar) ** 0.5
    found = samplers.sample(gaussian_eps, z, samplers.make_scheduler(name, CONFIG), steps, generator=None)
    assert float((found - expected).norm() / expected.norm()) < tolerance


def test_multistep_solver_is_closer_than_ddim_at_few_steps() -> None:
    z = normal(2, 2, 4, 8, 8)
    alpha_bar = float(SCHEDULE.alpha_bar[-1])
    expected = z * SPREAD / (alpha_bar * SPREAD**2 + 1 - alpha_bar) ** 0.5
    errors = {
        name: float(
            (samplers.sample(gaussian_eps, z, samplers.make_scheduler(name, CONFIG), 20, generator=None) - expected)
            .abs()
            .mean()
        )
        for name in NAMES
    }
    assert errors["dpmsolver++"] < 0.5 * errors["ddim"]


def test_ddim_equals_its_formula() -> None:
    """Song et al. 2021, eq. 12, written out in float64 on a nonlinear denoiser."""
    z = normal(3, 2, 4, 6, 6)

    def denoise(state: Tensor, t: int) -> Tensor:
        return torch.tanh(state * (1 + t / 1000))

    expected = z.double()
    times = list(range(999, 0, -50))
    for t, before in zip(times, [*times[1:], -1], strict=True):
        a = float(SCHEDULE.alpha_bar[t])
        b = float(SCHEDULE.alpha_bar[before]) if before >= 0 else 1.0
        eps = denoise(expected, t)
        expected = b**0.5 * (expected - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps
    found = samplers.sample(denoise, z, samplers.make_scheduler("ddim", CONFIG), 20, generator=None)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_ddim_with_eta_one_draws_from_equation_7() -> None:
    """Mean of eq. 4, variance of the true posterior, noise from the generator that was handed in."""
    config = {**CONFIG, "num_train_timesteps": 20}
    betas = DDPMScheduler(num_train_timesteps=20, beta_schedule="scaled_linear").betas
    schedule = Schedule((1 - betas.double()).cumprod(0))
    z = normal(4, 3, 4, 6, 6)
    expected, noise = z, generator(5)
    for t in range(19, -1, -1):
        alpha_bar = float(schedule.alpha_bar[t])
        before = float(schedule.alpha_bar[t - 1]) if t else 1.0
        deviation = ((1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)) ** 0.5
        mean = posterior_mean(expected, t, torch.tanh(expected), schedule)
        expected = mean + deviation * torch.randn(z.shape, generator=noise)
    scheduler = samplers.make_scheduler("ddim", config)
    found = samplers.sample(lambda s, t: torch.tanh(s), z, scheduler, 20, generator=generator(5), eta=1.0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_own_generators_make_a_sample_independent_of_its_batch() -> None:
    scheduler = samplers.make_scheduler("ddim", CONFIG)
    z = samplers.sample_noise((3, 4, 6, 6), [generator(i) for i in range(3)], torch.empty(0))
    noises = [generator(10 + i) for i in range(3)]
    whole = samplers.sample(gaussian_eps, z, scheduler, 8, generator=noises, eta=1.0)
    for i in range(3):
        one = samplers.sample(gaussian_eps, z[i : i + 1], scheduler, 8, generator=[generator(10 + i)], eta=1.0)
        assert torch.equal(one[0], whole[i])
    other = samplers.sample(gaussian_eps, z[:1], scheduler, 8, generator=[generator(99)], eta=1.0)
    assert not torch.equal(other[0], whole[0])


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_scheduler_nor_the_noise_is_changed(name: str) -> None:
    scheduler = samplers.make_scheduler(name, CONFIG)
    state, z = copy.deepcopy(scheduler.__dict__), normal(6, 1, 4, 6, 6)
    before = z.clone()
    first = samplers.sample(gaussian_eps, z, scheduler, 6, generator=None)
    assert torch.equal(samplers.sample(gaussian_eps, z, scheduler, 6, generator=None), first)
    assert torch.equal(z, before)
    assert state.keys() == scheduler.__dict__.keys()
    assert torch.equal(torch.as_tensor(state["timesteps"]), torch.as_tensor(scheduler.timesteps))
    assert state["num_inference_steps"] == scheduler.num_inference_steps


@pytest.mark.parametrize("name", NAMES)
def test_the_hook_sees_the_levels_reached_and_sets_the_state(name: str) -> None:
    asked: list[int] = []
    reached: list[int] = []

    def denoise(z: Tensor, t: int) -> Tensor:
        asked.append(t)
        assert len(asked) == 1 or (z == len(reached)).all()
        return gaussian_eps(z, t)

    def after(z: Tensor, t: int) -> Tensor:
        reached.append(t)
        return torch.full_like(z, len(reached))

    scheduler = samplers.make_scheduler(name, CONFIG)
    z = normal(7, 1, 4, 6, 6)
    found = samplers.sample(denoise, z, scheduler, 5, generator=None, after_step=after)
    assert (found == 5).all()
    assert all(a > b for a, b in pairwise(asked))
    assert reached == [*asked[1:], -1]


@pytest.mark.parametrize("name", NAMES)
def test_blending_after_each_step_leaves_known_latents_exact(name: str) -> None:
    z0, eps, z = normal(8, 2, 4, 8, 8), normal(9, 2, 4, 8, 8), normal(10, 2, 4, 8, 8)
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 10:30, 17:50] = 1
    cells = latent_mask(mask, 8)

    def after(state: Tensor, t: int) -> Tensor:
        return samplers.blend(state, z0, cells, t, SCHEDULE, eps)

    scheduler = samplers.make_scheduler(name, CONFIG)
    found = samplers.sample(gaussian_eps, z, scheduler, 6, generator=None, after_step=after)
    hole = cells.bool().expand_as(z0)
    assert torch.equal(found[~hole], z0[~hole])
    assert (found[hole] != z0[hole]).all()


def test_blend_is_equation_8() -> None:
    z, z0, eps = normal(0, 2, 4, 8, 8), normal(1, 2, 4, 8, 8), normal(2, 2, 4, 8, 8)
    mask = (normal(3, 2, 1, 8, 8) > 0).float()
    for t in (0, 400, 999):
        known = TRAIN.add_noise(z0, eps, torch.tensor([t, t]))
        expected = known * (1 - mask) + z * mask
        torch.testing.assert_close(samplers.blend(z, z0, mask, t, SCHEDULE, eps), expected)
    assert torch.equal(samplers.blend(z, z0, torch.ones_like(mask), 400, SCHEDULE, eps), z)
    assert torch.equal(samplers.blend(z, z0, torch.zeros_like(mask), -1, SCHEDULE, eps), z0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_paste_keeps_known_pixels_bit_for_bit(dtype: torch.dtype) -> None:
    image, output = (torch.rand(2, 3, 16, 16, generator=generator(i)) * 255 for i in (0, 1))
    image, output = image.to(dtype), output.to(dtype)
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:9, 6:] = 1
    found = samplers.paste(output, image, mask)
    hole = mask.bool().expand_as(image)
    assert torch.equal(found[~hole], image[~hole])
    assert torch.equal(found[hole], output[hole])
    assert torch.equal(samplers.paste(output, image, mask.bool()), found)


def test_paste_ignores_what_is_not_a_number_outside_the_hole() -> None:
    image, mask = torch.rand(1, 3, 4, 4, generator=generator(0)), torch.zeros(1, 1, 4, 4)
    assert torch.equal(samplers.paste(torch.full_like(image, float("nan")), image, mask), image)
    with pytest.raises(ValueError, match="float64"):
        samplers.paste(image.double(), image, mask)
    with pytest.raises(ValueError, match="output"):
        samplers.paste(image[:, :1], image, mask)


def test_sample_noise_is_drawn_row_by_row() -> None:
    noise = samplers.sample_noise((2, 3, 5), [generator(1), generator(2)], torch.empty(0))
    assert torch.equal(noise[0], torch.randn(3, 5, generator=generator(1)))
    assert torch.equal(noise[1], torch.randn(3, 5, generator=generator(2)))
    half = samplers.sample_noise((2, 3, 5), [generator(1), generator(2)], torch.empty(0, dtype=torch.float16))
    assert torch.equal(half, noise.half())
    with pytest.raises(ValueError, match="expected 2, one for each sample, found 1"):
        samplers.sample_noise((2, 3), [generator(0)], torch.empty(0))


def test_guide() -> None:
    uncond, cond = normal(0, 2, 4), normal(1, 2, 4)
    assert torch.equal(samplers.guide(uncond, cond, 1), cond)
    assert torch.equal(samplers.guide(uncond, cond, 0), uncond)
    torch.testing.assert_close(samplers.guide(uncond, cond, 7.5), 7.5 * cond - 6.5 * uncond)


def test_schedulers_take_over_the_training_configuration() -> None:
    for name in NAMES:
        scheduler = samplers.make_scheduler(name, {**CONFIG, "prediction_type": "v_prediction"})
        torch.testing.assert_close(scheduler.alphas_cumprod.double(), SCHEDULE.alpha_bar, rtol=1e-4, atol=0)
        assert scheduler.config["prediction_type"] == "v_prediction"
        assert scheduler.config["timestep_spacing"] == "trailing"
    assert samplers.make_scheduler("ddim", {}).config["clip_sample"] is False
    assert DDIMScheduler().config["clip_sample"] is True
    assert samplers.make_scheduler("dpmsolver++", CONFIG).config["algorithm_type"] == "dpmsolver++"


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ddim, dpmsolver\+\+, found 'euler'"):
        samplers.make_scheduler("euler", CONFIG)
    z = normal(0, 1, 4, 4, 4)
    for steps in (0, 1001):
        with pytest.raises(ValueError, match=r"steps: expected 1\.\.1000"):
            samplers.sample(gaussian_eps, z, samplers.make_scheduler("ddim", CONFIG), steps, generator=None)
    with pytest.raises(ValueError, match="has no eta"):
        samplers.sample(gaussian_eps, z, samplers.make_scheduler("dpmsolver++", CONFIG), 4, generator=None, eta=0.5)


@pytest.mark.parametrize(("name", "steps"), [("ddim", 4), ("ddim", 1), ("dpmsolver++", 20)])
def test_the_first_level_is_where_sampling_starts(name: str, steps: int) -> None:
    seen, scheduler = [], samplers.make_scheduler(name, CONFIG)

    def watched(z: Tensor, t: int) -> Tensor:
        seen.append(t)
        return z

    samplers.sample(watched, torch.ones(1, 4), scheduler, steps, generator=None)
    assert samplers.first_level(scheduler, steps) == seen[0]
