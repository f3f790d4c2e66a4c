"""Training of autoencoders: `mini`'s from scratch, or Stable Diffusion's with depth added as in LDM3D.

The loss is L1 of the pixels and of their differences, with a higher weight on the person, and LPIPS. Data and
noise of a step depend on (seed, step) alone, so a stopped and resumed run gives the weights of an
uninterrupted one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from idol.atomic_io import FolderKind, staged_folder, write_text
from idol.clip.depth import Colormap
from idol.config import dump
from idol.data.autoencoder_crops import AutoencoderCrops, CropBatch, CropConfig
from idol.diffusion.latents import decode_raw, encode_raw
from idol.errors import UserError
from idol.evaluation.networks.lpips import LPIPS
from idol.model.autoencoder import Autoencoder
from idol.model.rgbd_autoencoder import widen_to_rgbd
from idol.progress import SILENT, ProgressCallback
from idol.training.checkpoint import load_network, save_network
from idol.training.initialization import autoencoder_folder
from idol.training.optimizer import EMA
from idol.training.trainable import load_autoencoder

_FINISHED = FolderKind("an autoencoder", "config.json")
_STATE = "state.safetensors"


@dataclass(frozen=True)
class AutoencoderSize:
    """Arguments of `Autoencoder`, which is trained from scratch.

    Attributes:
        latent_channels: Channels of a latent.
        channels: Channels of each resolution.
        encoder_blocks: Residual blocks per resolution of the encoder.
        decoder_blocks: Residual blocks per resolution of the decoder.
        in_channels: 3, or 6 for a frame and its colored depth in one latent (LDM3D).
    """

    latent_channels: int = 32
    channels: tuple[int, ...] = (64, 128, 192)
    encoder_blocks: int = 1
    decoder_blocks: int = 2
    in_channels: Literal[3, 6] = 3


@dataclass(frozen=True)
class StableDiffusionAutoencoder:
    """Stable Diffusion's autoencoder, widened to a frame and its colored depth in one latent (LDM3D).

    Its loss is Stable Diffusion's without the discriminator: the decoder learns from samples of the encoder's
    distribution, whose KL divergence from the standard normal is penalized.

    Attributes:
        stable_diffusion: Hub name or folder of a checkpoint with a `vae`, or folder of the autoencoder alone;
            one of six channels is trained further.
        w_kl: Weight of the KL divergence, relative to errors that are summed over an image.
        in_channels: Always 6.
    """

    stable_diffusion: str
    w_kl: float = 1e-6
    in_channels: ClassVar[int] = 6


@dataclass(frozen=True)
class AutoencoderConfig:
    """One training run of an autoencoder.

    Attributes:
        data: Folder of clip shards.
        out: Run folder.
        stage: Always `autoencoder`; distinguishes these configs from those of the diffusion stages.
        model: Sizes of an autoencoder trained from scratch, or the source of Stable Diffusion's.
        steps: Optimizer steps.
        warmup_steps: Steps over which the learning rate rises linearly.
        lr: Peak learning rate; after the warm-up it follows a cosine to zero.
        clips_per_step: Clips of a step; each gives a frame, a depth map, and its background or the person on
            gray.
        colormap: Colormap of the depth images.
        crop_size: Height and width of the crops, pixels.
        patch_clips: Clips on which the linear path is fitted before training (from scratch only).
        latent_noise: Standard deviation of the noise between encoder and decoder (from scratch only; Stable
            Diffusion's encoder predicts its own).
        w_gradient: Weight of the L1 of horizontal and vertical differences.
        w_person: Weight of the person's pixels; all others have weight 1.
        w_latent: Weight of the latents' mean square above 1, which keeps the encoder from outgrowing the
            noise (from scratch only; Stable Diffusion's has the KL divergence).
        w_perceptual: Weight of LPIPS; 0 does not compute it.
        perceptual: Backbone of LPIPS.
        ema_decay: Decay of the EMA of the weights, in [0, 1).
        precision: `bf16` runs encoder and decoder under autocast.
        compile: Compile encoder and decoder.
        seed: Seed of data, noise and initialization.
        log_every: Steps between lines of the log.
        save_every: Steps between checkpoints.
        max_minutes: Save and stop after this time; the run can be resumed.
        device: Device of the training, such as `cpu` or `cuda`.
        workers: Worker processes that read clips; 0 reads them in the training process.
    """

    data: Path
    out: Path
    stage: Literal["autoencoder"] = "autoencoder"
    model: AutoencoderSize | StableDiffusionAutoencoder = field(default_factory=AutoencoderSize)
    steps: int = 4000
    warmup_steps: int = 100
    lr: float = 2e-3
    clips_per_step: int = 4
    colormap: Colormap = "hot"
    crop_size: int = 128
    patch_clips: int = 64
    latent_noise: float = 0.05
    w_gradient: float = 0.5
    w_person: float = 3.0
    w_latent: float = 0.01
    w_perceptual: float = 0.1
    perceptual: Literal["alex", "vgg"] = "alex"
    ema_decay: float = 0.998
    precision: Literal["bf16", "fp32"] = "bf16"
    compile: bool = False
    seed: int = 0
    log_every: int = 25
    save_every: int = 250
    max_minutes: float = math.inf
    device: str = "cpu"
    workers: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.clips_per_step < 1:
            raise ValueError(
                f"steps and clips_per_step must be at least 1, got {self.steps} and {self.clips_per_step}"
            )

    @property
    def kind(self) -> Literal["idol", "kl"]:
        """Kind of the autoencoder, as in `load_autoencoder` and the configs of the diffusion stages."""
        return "idol" if isinstance(self.model, AutoencoderSize) else "kl"

    @property
    def crops(self) -> AutoencoderCrops:
        """Training data of the run."""
        crops = CropConfig(self.crop_size, self.colormap, self.model.in_channels == 6)
        return AutoencoderCrops(self.data, self.steps, self.seed, self.clips_per_step, crops)


def fit_autoencoder(
    config: AutoencoderConfig, resume: bool = False, progress: ProgressCallback = SILENT
) -> Path:
    """Train an autoencoder.

    Args:
        config: Data, network and settings.
        resume: Resume from the checkpoint in `config.out`, or start if there is none.
        progress: Receives the steps.

    Returns:
        Folder of the EMA of the weights: `autoencoder.path` of the diffusion stages.

    Raises:
        UserError: If the data or the initial weights cannot be used, or `config.out` holds a run and `resume`
            is False.
    """
    out = Path(config.out)
    if (out / _STATE).exists() and not resume:
        raise UserError("resume", f"{out} holds a run", "pass `resume=True`, or choose another `out`")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "config.yaml", dump(config))
    torch.manual_seed(config.seed)
    run = _Run(config)
    started, step = time.monotonic(), run.resume(out)
    progress.stage(f"training autoencoder: {config.steps} steps")
    for crops in _batches(config, step):
        logged = run.step(step, crops)
        step += 1
        progress.step(step, config.steps)
        late = time.monotonic() - started > 60 * config.max_minutes
        if step % config.log_every == 0 or late:
            line = {"step": step, "seconds": round(time.monotonic() - started, 1), **logged}
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if step % config.save_every == 0 or step == config.steps or late:
            run.save(out, step)
            _write_reconstructions(run.ema.module, crops.pixels, out / "reconstructions.png")
        if late:
            break
    return out / "autoencoder"


def _batches(config: AutoencoderConfig, first: int) -> Iterator[CropBatch]:
    loader = DataLoader(
        config.crops,
        batch_size=None,
        sampler=range(first, config.steps),
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        persistent_workers=False,
    )
    yield from loader


class _Run:
    """Weights, their EMA and the optimizer."""

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.model = _network(config)
        self.model.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload, arg-type]
        self.ema = EMA(self.model, config.ema_decay)
        self.encode, self.decode = _encode, decode_raw
        if config.compile:
            self.encode, self.decode = torch.compile(_encode), torch.compile(decode_raw)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.lpips = LPIPS(config.perceptual).to(config.device) if config.w_perceptual else None

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, cosine to zero."""
        done, warmup = min(1.0, step / self.config.steps), self.config.warmup_steps
        return self.config.lr * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * done))

    def step(self, step: int, crops: CropBatch) -> dict[str, float]:
        """Do one optimizer step and return the values to log."""
        config = self.config
        # a new generator each step: a resumed run draws what an uninterrupted one would
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        pixels = crops.pixels.to(config.device, memory_format=torch.channels_last)
        person = crops.person.to(config.device)
        weight = 1 + (config.w_person - 1) * person
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            code = self.encode(self.model, pixels, config)
            noise = torch.randn(code.mean.shape, generator=random).to(code.mean)
            output = self.decode(self.model, code.mean + code.deviation * noise)
            perceptual = self._perceptual(output.clamp(-1, 1), pixels)
        error = output - pixels  # losses in float32, outside of autocast
        loss = _weighted_l1(error, weight) + config.w_gradient * _gradient_l1(error, weight)
        loss = loss + config.w_perceptual * perceptual.float() + code.penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.ema.update(step)
        logged = {"loss": loss, "lpips": perceptual, "penalty": code.penalty}
        logged |= _psnrs(output.detach(), pixels, person)
        return {name: float(value.detach()) for name, value in logged.items()}

    def _perceptual(self, output: Tensor, pixels: Tensor) -> Tensor:
        """Return the mean LPIPS of all images; frame and depth of six channels count as two images."""
        if self.lpips is None:
            return output.new_zeros(())
        made, reference = (
            torch.cat(x.split(3, dim=1)) for x in (output, pixels)
        )  # n (m 3) h w -> (m n) 3 h w
        return self.lpips(made, reference).mean()

    def save(self, out: Path, step: int) -> None:
        """Write the EMA model, then the state, each atomically: a state never lacks its model."""
        with staged_folder(out / "autoencoder", True, _FINISHED) as folder:
            self.ema.module.save_pretrained(folder)
        save_network(out / _STATE, self.model, self.ema.module, self.optimizer, step)

    def resume(self, out: Path) -> int:
        """Load the newest state, if there is one, and return the next step.

        Raises:
            UserError: If the state belongs to another model.
        """
        return load_network(out / _STATE, self.model, self.ema.module, self.optimizer, self.config.device)


def _network(config: AutoencoderConfig) -> Autoencoder | AutoencoderKL:
    """Build the initial network."""
    match config.model:
        case AutoencoderSize():
            model = Autoencoder(**vars(config.model))
            random = np.random.default_rng(config.seed)
            model.fit_patches(config.crops.sample(random, config.patch_clips).pixels)
            return model
        case StableDiffusionAutoencoder(stable_diffusion=source):
            vae: AutoencoderKL = load_autoencoder("kl", autoencoder_folder(source))
            vae = vae if vae.config["in_channels"] == 6 else widen_to_rgbd(vae)
            return vae.requires_grad_(True)


class _Code(NamedTuple):
    """Output of an encoder.

    Attributes:
        mean: (n, c, i, j) latents.
        deviation: Standard deviation of the noise that is added before decoding; like `mean`, or a scalar.
        penalty: () loss term that keeps the latents from outgrowing the noise.
    """

    mean: Tensor
    deviation: Tensor | float
    penalty: Tensor


def _encode(model: Any, pixels: Tensor, config: AutoencoderConfig) -> _Code:
    """Encode images (n, 3 or 6, h, w) in [-1, 1] by the model of the config's kind."""
    match config.model:
        case AutoencoderSize():
            latents = model.encode(pixels)
            # without a bound the encoder could make the fixed noise negligible by larger latents
            excess = (latents.square().mean() - 1).relu()
            return _Code(latents, config.latent_noise, config.w_latent * excess)
        case StableDiffusionAutoencoder(w_kl=w_kl):
            encoded = model.encode(pixels).latent_dist.parameters
            distribution = DiagonalGaussianDistribution(encoded.float())
            # w_kl is relative to errors that are summed over an image; ours are means over pixels
            divergence = distribution.kl().sum() / pixels.numel()
            return _Code(distribution.mean, distribution.std, w_kl * divergence)


def _weighted_l1(error: Tensor, weight: Tensor) -> Tensor:
    return (error.abs() * weight).mean() / weight.mean()


def _gradient_l1(error: Tensor, weight: Tensor) -> Tensor:
    """Return the L1 of the error's horizontal and vertical differences."""
    horizontal = _weighted_l1(error.diff(dim=-1), weight[..., 1:])
    return horizontal + _weighted_l1(error.diff(dim=-2), weight[..., 1:, :])


def _psnrs(output: Tensor, pixels: Tensor, person: Tensor) -> dict[str, Tensor]:
    """Return the PSNR of all pixels, of the person's and, of six channels, of depth."""
    squared = (output.clamp(-1, 1) - pixels).square() / 4
    area = pixels.shape[1] * person.sum()  # values, not pixels: the mask has one channel
    values = {
        "psnr": _psnr(squared.mean()),
        "psnr_person": _psnr((squared * person).sum() / area.clamp_min(1)),
    }
    return values if pixels.shape[1] == 3 else values | {"psnr_depth": _psnr(squared[:, 3:].mean())}


def _psnr(squared: Tensor) -> Tensor:
    return -10 * squared.log10()


@torch.no_grad()
def _write_reconstructions(model: Autoencoder | AutoencoderKL, images: Tensor, path: Path) -> None:
    """Write images above their reconstructions, as a PNG."""
    images = images[:9].to(model.device)
    both = torch.stack([images, decode_raw(model, encode_raw(model, images)).clamp(-1, 1)])
    both = torch.cat(both.split(3, dim=2), dim=1)  # 2 n (m 3) h w -> 2 (m n) 3 h w
    pixels = ((both + 1) * 127.5).round().byte().cpu().numpy()  # [2, n, 3, h, w]
    rows = [np.concatenate(list(row.transpose(0, 2, 3, 1)), axis=1) for row in pixels]
    Image.fromarray(np.concatenate(rows)).save(path)
