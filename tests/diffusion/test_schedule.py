"""Noising, targets and samplers against diffusers' schedulers."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch.testing import assert_close

from idol.diffusion.schedule import Schedule, ScheduleConfig, build_scheduler, guidance, shift_noise_level

CONFIGS = [ScheduleConfig("epsilon"), ScheduleConfig("v"), ScheduleConfig("v", zero_terminal_snr=True)]
FLOW = ScheduleConfig("flow")
KIND = {"epsilon": "epsilon", "v": "v_prediction"}


def clip(seed=0, b=3, m=2):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(b, m, 2, 4, 3, 3, generator=generator) for _ in range(2))


def ddpm(config):
    return DDPMScheduler(
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type=KIND[config.prediction],
        rescale_betas_zero_snr=config.zero_terminal_snr,
    )


@pytest.mark.parametrize("config", CONFIGS)
def test_noising_and_target_are_those_of_ddpm(config):
    schedule, oracle = Schedule(config), ddpm(config)
    x, noise = clip()
    times = torch.tensor([0, 400, 999])
    # one ulp of beta near 1 is what is left of the two ways to rescale to zero SNR
    assert_close(schedule.alphas_cumprod, oracle.alphas_cumprod, atol=2e-7, rtol=1e-5)
    assert_close(schedule.add_noise(x, noise, times), oracle.add_noise(x, noise, times), atol=1e-3, rtol=1e-4)
    expected = noise if config.prediction == "epsilon" else oracle.get_velocity(x, noise, times)
    assert_close(schedule.target(x, noise, times), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS[:2])
def test_noising_is_exact_without_rescaling(config):
    x, noise = clip()
    times = torch.tensor([0, 400, 999])
    assert_close(Schedule(config).add_noise(x, noise, times), ddpm(config).add_noise(x, noise, times))


def test_flow_noising_is_that_of_flow_matching():
    x, noise = clip()
    oracle = FlowMatchEulerDiscreteScheduler()
    times = oracle.timesteps[[0, 500, 990]]
    assert_close(Schedule(FLOW).add_noise(x, noise, times), oracle.scale_noise(x, times, noise))


def clean_latents(schedule, prediction, z, times):
    """The clean latents that a prediction at z implies."""
    alpha, sigma = schedule.coefficients(times, z)
    match schedule.config.prediction:
        case "epsilon":
            return (z - sigma * prediction) / alpha
        case "v":
            return alpha * z - sigma * prediction
    return z - sigma * prediction


@pytest.mark.parametrize("config", [*CONFIGS, FLOW])
def test_target_gives_back_the_clean_latents(config):
    schedule = Schedule(config)
    x, noise = clip()
    times = torch.tensor([[0, 10], [400, 3], [900, 700]])  # one time per modality
    z = schedule.add_noise(x, noise, times)
    assert_close(clean_latents(schedule, schedule.target(x, noise, times), z, times), x, atol=2e-5, rtol=1e-4)


def test_one_time_per_modality_equals_the_modalities_apart():
    schedule = Schedule(CONFIGS[0])
    x, noise = clip()
    times = torch.tensor([[0, 999], [5, 500], [700, 1]])
    both = schedule.add_noise(x, noise, times)
    for m in range(2):
        apart = schedule.add_noise(x[:, m : m + 1], noise[:, m : m + 1], times[:, m])
        assert_close(both[:, m : m + 1], apart)


def test_a_clean_modality_is_exactly_clean_under_flow():
    x, noise = clip()
    z = Schedule(FLOW).add_noise(x, noise, torch.tensor([[0.0, 1000.0]] * 3))
    assert torch.equal(z[:, 0], x[:, 0])
    assert torch.equal(z[:, 1], noise[:, 1])


@pytest.mark.parametrize(
    "config", [*CONFIGS, FLOW, ScheduleConfig("flow", timesteps="logit_normal", shift=3.0)]
)
def test_times_are_in_range_shared_or_not_and_reproducible(config):
    schedule = Schedule(config)

    def draw(shared):
        return schedule.sample_timesteps(torch.Generator().manual_seed(1), 4000, 2, shared=shared)

    shared, apart = draw(True), draw(False)
    assert shared.shape == apart.shape == (4000, 2)
    assert torch.equal(shared[:, 0], shared[:, 1])
    assert (apart[:, 0] != apart[:, 1]).float().mean() > 0.9
    assert torch.equal(shared, draw(True))
    if config.prediction == "flow":
        assert shared.dtype == torch.float32 and 0 < shared.min() and shared.max() <= 1000
    else:
        assert shared.dtype == torch.int64 and 0 <= shared.min() and shared.max() <= 999
    mean = apart.double().mean().item()
    assert mean > 600 if config.shift > 1 else abs(mean - 500) < 15


@pytest.mark.parametrize("config", CONFIGS[:2])
def test_min_snr_weight_is_the_published_one(config):
    from diffusers.training_utils import compute_snr

    times = torch.arange(0, 1000, 37)
    snr = compute_snr(ddpm(config), times)
    expected = snr.clamp(max=5.0) / (snr if config.prediction == "epsilon" else snr + 1)
    assert_close(Schedule(config).min_snr_weight(times, 5.0), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("config", [*CONFIGS, FLOW])
def test_min_snr_weight_is_that_of_the_error_in_the_clean_latents(config):
    schedule = Schedule(config)
    x, noise = clip()
    times = torch.tensor([[10, 300], [500, 600], [900, 40]])
    z, target = schedule.add_noise(x, noise, times), schedule.target(x, noise, times)
    off = clean_latents(schedule, target + 1, z, times) - clean_latents(schedule, target, z, times)
    alpha, sigma = schedule.coefficients(times, times)
    expected = off.square().mean((2, 3, 4, 5)) * (alpha / sigma).square().clamp(max=5.0)
    assert_close(schedule.min_snr_weight(times), expected, atol=1e-5, rtol=1e-3)
    ends = torch.tensor([0, 999])
    assert schedule.min_snr_weight(ends).isfinite().all()


@pytest.mark.parametrize("config", [*CONFIGS, FLOW])
def test_the_sampler_recovers_known_latents(config):
    """A network that knows x and the noise makes every sampler end at x, or as near as t = 0 is."""
    schedule, scheduler = Schedule(config), build_scheduler(config)
    x, noise = clip(b=1)
    if config.prediction == "flow":
        scheduler.set_timesteps(sigmas=list(np.linspace(1, 0.1, 10)))
    else:
        scheduler.set_timesteps(10)
    z = schedule.add_noise(x, noise, scheduler.timesteps[:1])
    for t in scheduler.timesteps:
        z = scheduler.step(schedule.target(x, noise, t[None]), t, z).prev_sample
    assert_close(z, schedule.add_noise(x, noise, torch.tensor([0])), atol=2e-3, rtol=1e-3)


def test_sampler_is_the_stable_diffusion_ddim():
    stable_diffusion = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    ours = build_scheduler(ScheduleConfig())
    for scheduler in (ours, stable_diffusion):
        scheduler.set_timesteps(50)
    assert torch.equal(ours.timesteps, stable_diffusion.timesteps)
    z, prediction = clip()
    for t in ours.timesteps[::10]:
        assert torch.equal(
            ours.step(prediction, t, z).prev_sample, stable_diffusion.step(prediction, t, z).prev_sample
        )


def test_shift_is_that_of_the_sampler():
    scheduler = build_scheduler(ScheduleConfig("flow", shift=3.0))
    levels = np.linspace(1, 0.1, 10)
    scheduler.set_timesteps(sigmas=list(levels))
    assert_close(scheduler.timesteps, 1000 * shift_noise_level(torch.tensor(levels), 3.0).float())


def test_guidance():
    u, c = torch.randn(2, 3).bfloat16(), torch.randn(2, 3).bfloat16()
    assert_close(guidance(u, c, 1.0), c.float())
    assert_close(guidance(u, c, 3.0), u.float() + 3 * (c.float() - u.float()))
    assert guidance(u, c, 2.0).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": 2.0},
        {"timesteps": "logit_normal"},
        {"zero_terminal_snr": True},
        {"prediction": "v", "shift": 2.0},
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong):
    with pytest.raises(ValueError):
        ScheduleConfig(**wrong)


def test_saved_configs_of_earlier_versions_are_read():
    saved = {"prediction": "flow", "times": "logit_normal", "shift": 3.0}
    assert ScheduleConfig(**ScheduleConfig.upgrade(saved)) == ScheduleConfig(
        "flow", timesteps="logit_normal", shift=3.0
    )
