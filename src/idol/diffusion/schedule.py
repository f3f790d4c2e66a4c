"""Noising, targets and guidance; sampling itself is done by diffusers' schedulers.

A timestep `t` is what the network is conditioned on: for `epsilon` and `v` an integer step 0 .. N-1 of the
DDPM schedule, for `flow` a float in [0, N], N = 1000. 0 is (nearly) clean. Timesteps have one entry per
clip, `(b,)`, or one per clip and modality, `(b, m)`.
"""

from collections.abc import Mapping
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
        timesteps: Distribution of training timesteps: `uniform`, or `logit_normal` (Esser et al. 2024; `flow`
            only).
        shift: Moves `flow` timesteps towards noise, s t / (1 + (s - 1) t), in training and sampling.
    """

    prediction: Prediction = "epsilon"
    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal_snr: bool = False
    timesteps: Literal["uniform", "logit_normal"] = "uniform"
    shift: float = 1.0

    @staticmethod
    def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a saved config by their present names."""
        return {"timesteps" if name == "times" else name: value for name, value in values.items()}

    def __post_init__(self) -> None:
        if self.prediction != "flow" and (self.timesteps != "uniform" or self.shift != 1.0):
            raise ValueError(f"timesteps and shift are for prediction flow, not {self.prediction}")
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise ValueError("zero_terminal_snr: at pure noise epsilon teaches nothing, use prediction v")


class Schedule:
    """The forward process x -> z_t = alpha x + sigma noise, with its training targets and weights.

    Args:
        config: See `ScheduleConfig`.

    Attributes:
        alphas_cumprod: (N,) float32, alpha squared of each step; meaningless for `flow`.
    """

    def __init__(self, config: ScheduleConfig | None = None) -> None:
        self.config = config or ScheduleConfig()
        self.alphas_cumprod = _alphas_cumprod(self.config)

    def sample_timesteps(
        self, generator: torch.Generator | None, b: int, m: int, *, shared: bool = True
    ) -> Shaped[Tensor, "b m"]:
        """Draw training timesteps.

        Args:
            generator: Source of randomness; the timesteps are on its device.
            b: Number of clips.
            m: Number of modalities.
            shared: Draw one timestep per clip for all its modalities; else independent ones.

        Returns:
            int64 steps (`epsilon`, `v`) or float32 in (0, N] (`flow`).
        """
        shape, device = (b, 1 if shared else m), generator.device if generator is not None else None
        if self.config.prediction != "flow":
            t = torch.randint(0, self.config.steps, shape, generator=generator, device=device)
        elif self.config.timesteps == "uniform":
            level = 1 - torch.rand(shape, generator=generator, device=device)
            t = self.config.steps * shift_noise_level(level, self.config.shift)
        else:
            level = torch.randn(shape, generator=generator, device=device).sigmoid()
            t = self.config.steps * shift_noise_level(level, self.config.shift)
        return t.expand(b, m)

    def coefficients(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma in float32.

        Args:
            timesteps: (b,) or (b, m).
            like: (b, m, ...), over which the results broadcast.
        """
        if self.config.prediction == "flow":
            sigma = timesteps.to(like.device, torch.float32) / self.config.steps
            alpha = 1 - sigma
        else:
            squared = self.alphas_cumprod.to(like.device)[timesteps.to(like.device)]
            alpha, sigma = squared.sqrt(), (1 - squared).sqrt()
        # (b) or (b, m) to (b, 1 or m, 1, 1, 1, 1)
        shape = timesteps.shape + (1,) * (like.ndim - timesteps.ndim)
        return alpha.view(shape), sigma.view(shape)

    def add_noise(
        self,
        x: Float[Tensor, "b m *rest"],
        noise: Float[Tensor, "b m *rest"],
        timesteps: Shaped[Tensor, "b *m"],
    ) -> Float[Tensor, "b m *rest"]:
        """Return z_t = alpha x + sigma noise.

        Args:
            x: Clean latents.
            noise: Standard normal.
            timesteps: One per clip, or one per clip and modality.
        """
        alpha, sigma = self.coefficients(timesteps, x)
        return alpha * x + sigma * noise

    def target(
        self,
        x: Float[Tensor, "b m *rest"],
        noise: Float[Tensor, "b m *rest"],
        timesteps: Shaped[Tensor, "b *m"],
    ) -> Float[Tensor, "b m *rest"]:
        """Return what the network is to predict from z_t.

        Args:
            x: Clean latents.
            noise: Standard normal.
            timesteps: One per clip, or one per clip and modality.
        """
        match self.config.prediction:
            case "epsilon":
                return noise
            case "v":
                alpha, sigma = self.coefficients(timesteps, x)
                return alpha * noise - sigma * x
            case "flow":
                return noise - x

    def min_snr_weight(self, timesteps: Shaped[Tensor, "b *m"], gamma: float = 5.0) -> Float[Tensor, "b *m"]:
        """Return the loss weight: min(SNR, gamma) on the implied clean latents (Hang et al. 2023).

        An error of the prediction counts |dx0/dprediction|^2 in x0, hence min(1, gamma/SNR) for `epsilon`,
        min(SNR, gamma)/(SNR + 1) for `v`, sigma^2 min(SNR, gamma) for `flow`.

        Args:
            timesteps: One per clip, or one per clip and modality.
            gamma: Largest signal-to-noise ratio that counts.
        """
        alpha, sigma = self.coefficients(timesteps, timesteps)
        alpha2, sigma2 = alpha.square(), sigma.square()
        clean = torch.minimum(alpha2, gamma * sigma2)  # sigma^2 min(SNR, gamma), finite at both ends
        return clean / alpha2 if self.config.prediction == "epsilon" else clean


def shift_noise_level(level: Tensor, shift: float) -> Tensor:
    """Move noise levels towards 1 (Esser et al. 2024, Eq. 23).

    Args:
        level: In [0, 1].
        shift: 1 changes nothing, larger values add noise.
    """
    return shift * level / (1 + (shift - 1) * level)


def guidance(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Apply classifier-free guidance, in float32.

    Args:
        unconditional: Prediction without the foreground.
        conditional: Prediction with it, of the same shape.
        scale: 1 returns the conditional prediction, larger values exaggerate it.
    """
    unconditional, conditional = unconditional.float(), conditional.float()
    return unconditional + scale * (conditional - unconditional)


def build_scheduler(config: ScheduleConfig) -> "DDIMScheduler | FlowMatchEulerDiscreteScheduler":
    """Return the diffusers scheduler of this process: DDIM (eta 0), or Euler steps along the flow."""
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


def set_timesteps(scheduler: Any, steps: int, device: torch.device) -> None:
    """Set the timesteps of a run; of the flow evenly from 1 to 1/steps, then shifted by the scheduler.

    Args:
        scheduler: As `build_scheduler` returns it.
        steps: Denoising steps.
        device: Of the timesteps.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    flow = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    # left to itself, the flow scheduler would end at the smallest training level instead of 1/steps
    options = (
        {"sigmas": np.linspace(1, 1 / steps, steps).tolist()} if flow else {"num_inference_steps": steps}
    )
    scheduler.set_timesteps(**options, device=device)


def _alphas_cumprod(config: ScheduleConfig) -> Tensor:
    # Stable Diffusion's "scaled linear" schedule: the square roots of the betas are linear
    betas = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps).square()
    alphas_cumprod = (1 - betas).cumprod(0)
    if not config.zero_terminal_snr:
        return alphas_cumprod
    root = alphas_cumprod.sqrt()  # shifted and scaled so that the last is 0 and the first stays (Lin et al.)
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
