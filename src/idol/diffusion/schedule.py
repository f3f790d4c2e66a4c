"""Noising, targets and guidance; sampling itself is done by diffusers' schedulers.

One convention everywhere: a diffusion time `t` is what the network is told. For `epsilon` and `v` it is an
integer step 0 .. N-1 of the DDPM schedule, for `flow` a float in [0, N], N = 1000. 0 is (nearly) clean.
Times have one entry per clip, `(b,)`, or one per clip and modality, `(b, m)`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

Prediction = Literal["epsilon", "v", "flow"]


@dataclass(frozen=True)
class ScheduleConfig:
    """What the network predicts, and the noise levels it sees.

    Attributes:
        prediction: `epsilon` (the noise; the paper's), `v` (Salimans & Ho 2022) or `flow` (noise minus data
            along the straight path of rectified flow).
        steps: N, the number of training steps; for `flow` only the scale of `t`.
        beta_start: First beta of the scaled-linear schedule (`epsilon`, `v`).
        beta_end: Last beta of the scaled-linear schedule.
        zero_terminal_snr: Rescale the betas so that the last step is pure noise (Lin et al. 2024); wants `v`.
        times: How training draws times: `uniform`, or `logit_normal` (Esser et al. 2024; `flow` only).
        shift: Moves `flow` times towards noise, s t / (1 + (s - 1) t), in training and sampling alike.
    """

    prediction: Prediction = "epsilon"
    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal_snr: bool = False
    times: Literal["uniform", "logit_normal"] = "uniform"
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.prediction != "flow" and (self.times != "uniform" or self.shift != 1.0):
            raise ValueError(f"times and shift are for prediction flow, not {self.prediction}")
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise ValueError("zero_terminal_snr: at pure noise epsilon teaches nothing, use prediction v")


class Schedule:
    """The forward process x -> z_t = alpha x + sigma noise, with what follows from it.

    Args:
        config: See `ScheduleConfig`.

    Attributes:
        alphas_cumprod: (N,) float32, alpha squared of each step; meaningless for `flow`.
    """

    def __init__(self, config: ScheduleConfig | None = None) -> None:
        self.config = config or ScheduleConfig()
        self.alphas_cumprod = _alphas_cumprod(self.config)

    def sample_times(
        self, generator: torch.Generator | None, b: int, m: int, *, shared: bool = True
    ) -> Shaped[Tensor, "b m"]:
        """Draw training times.

        Args:
            generator: Source of randomness; the times lie on its device.
            b: Clips.
            m: Modalities.
            shared: One time per clip, the same for all its modalities; else independent ones.

        Returns:
            int64 steps (`epsilon`, `v`) or float32 times in (0, N] (`flow`).
        """
        shape, device = (b, 1 if shared else m), generator.device if generator is not None else None
        if self.config.prediction != "flow":
            t = torch.randint(0, self.config.steps, shape, generator=generator, device=device)
        elif self.config.times == "uniform":
            level = 1 - torch.rand(shape, generator=generator, device=device)
            t = self.config.steps * shifted(level, self.config.shift)
        else:
            level = torch.randn(shape, generator=generator, device=device).sigmoid()
            t = self.config.steps * shifted(level, self.config.shift)
        return t.expand(b, m)

    def coefficients(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma in float32, shaped so as to broadcast over `like` (b, m, ...)."""
        if self.config.prediction == "flow":
            sigma = times.to(like.device, torch.float32) / self.config.steps
            alpha = 1 - sigma
        else:
            squared = self.alphas_cumprod.to(like.device)[times.to(like.device)]
            alpha, sigma = squared.sqrt(), (1 - squared).sqrt()
        shape = times.shape + (1,) * (like.ndim - times.ndim)
        return alpha.view(shape), sigma.view(shape)

    def add_noise(
        self, x: Float[Tensor, "b m *rest"], noise: Float[Tensor, "b m *rest"], times: Shaped[Tensor, "b *m"]
    ) -> Float[Tensor, "b m *rest"]:
        """Return z_t for clean latents `x`."""
        alpha, sigma = self.coefficients(times, x)
        return alpha * x + sigma * noise

    def target(
        self, x: Float[Tensor, "b m *rest"], noise: Float[Tensor, "b m *rest"], times: Shaped[Tensor, "b *m"]
    ) -> Float[Tensor, "b m *rest"]:
        """What the network is to predict from z_t."""
        match self.config.prediction:
            case "epsilon":
                return noise
            case "v":
                alpha, sigma = self.coefficients(times, x)
                return alpha * noise - sigma * x
            case "flow":
                return noise - x

    def to_x0(
        self,
        prediction: Float[Tensor, "b m *rest"],
        z: Float[Tensor, "b m *rest"],
        times: Shaped[Tensor, "b *m"],
    ) -> Float[Tensor, "b m *rest"]:
        """The clean latents that a prediction at z_t implies."""
        alpha, sigma = self.coefficients(times, z)
        match self.config.prediction:
            case "epsilon":
                return (z - sigma * prediction) / alpha
            case "v":
                return alpha * z - sigma * prediction
            case "flow":
                return z - sigma * prediction

    def min_snr_weight(self, times: Shaped[Tensor, "b *m"], gamma: float = 5.0) -> Float[Tensor, "b *m"]:
        """Weight of the loss at each time: min(SNR, gamma) on the implied clean latents (Hang et al. 2023).

        An error of the prediction counts |dx0/dprediction|^2 in x0, hence min(1, gamma/SNR) for `epsilon`,
        min(SNR, gamma)/(SNR + 1) for `v`, sigma^2 min(SNR, gamma) for `flow`.
        """
        alpha, sigma = self.coefficients(times, times)
        alpha2, sigma2 = alpha.square(), sigma.square()
        clean = torch.minimum(alpha2, gamma * sigma2)  # sigma^2 min(SNR, gamma), finite at both ends
        return clean / alpha2 if self.config.prediction == "epsilon" else clean


def shifted(level: Tensor, shift: float) -> Tensor:
    """Move noise levels in [0, 1] towards 1 (Esser et al. 2024, Eq. 23); identity at shift 1."""
    return shift * level / (1 + (shift - 1) * level)


def guidance(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance in float32: scale 1 is the conditional prediction, more exaggerates it."""
    unconditional, conditional = unconditional.float(), conditional.float()
    return unconditional + scale * (conditional - unconditional)


def sampler(config: ScheduleConfig) -> "DDIMScheduler | FlowMatchEulerDiscreteScheduler":
    """The diffusers scheduler that undoes this process: DDIM (eta 0) or Euler steps along the flow."""
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    if config.prediction == "flow":
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=config.steps, shift=config.shift)
    return DDIMScheduler(
        num_train_timesteps=config.steps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=0 if config.zero_terminal_snr else 1,
        prediction_type="epsilon" if config.prediction == "epsilon" else "v_prediction",
        rescale_betas_zero_snr=config.zero_terminal_snr,
        # a schedule that ends in pure noise must be entered at its very last step
        timestep_spacing="trailing" if config.zero_terminal_snr else "leading",
    )


def set_steps(scheduler: Any, steps: int, device: torch.device) -> None:
    """Choose the times of a run; along the flow evenly from 1 to 1/steps, then shifted by the scheduler."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    flow = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    times = {"sigmas": np.linspace(1, 1 / steps, steps).tolist()} if flow else {"num_inference_steps": steps}
    scheduler.set_timesteps(**times, device=device)


def _alphas_cumprod(config: ScheduleConfig) -> Tensor:
    betas = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps).square()
    alphas_cumprod = (1 - betas).cumprod(0)
    if not config.zero_terminal_snr:
        return alphas_cumprod
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
