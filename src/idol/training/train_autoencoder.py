"""Training of autoencoders: `mini`'s, from nothing, or Stable Diffusion's, widened for depth as LDM3D does.

L1 on pixels and on their differences, more of it on the person, and LPIPS. Every step's data and noise come
from (seed, step), so a run that was stopped and resumed gives the weights of one that was not.
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
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from idol.atomic_io import FolderKind, staged_folder
from idol.clip.depth import Colormap
from idol.config import dump
from idol.data.autoencoder_crops import AutoencoderCrops, CropBatch, CropConfig
from idol.diffusion.latents import decode_raw, encode_raw
from idol.errors import UserError
from idol.evaluation.networks.lpips import LPIPS
from idol.model.autoencoder import Autoencoder
from idol.model.rgbd_autoencoder import widened
from idol.training.checkpoint import load_exactly, load_optimizer, optimizer_tensors
from idol.training.initialization import autoencoder_folder
from idol.training.optimizer import Average
from idol.training.trainable import load_autoencoder

_FINISHED = FolderKind("an autoencoder", "config.json")
_STATE = "state.safetensors"


@dataclass(frozen=True)
class AutoencoderSize:
    """Arguments of `Autoencoder`, which is trained from nothing."""

    latent_channels: int = 32
    channels: tuple[int, ...] = (64, 128, 192)
    encoder_blocks: int = 1
    decoder_blocks: int = 2
    in_channels: Literal[3, 6] = 3
    """6: a frame and its colored depth in one latent, as in LDM3D."""


@dataclass(frozen=True)
class StableDiffusionAutoencoder:
    """Stable Diffusion's autoencoder, `widened` to a frame and its colored depth in one latent (LDM3D).

    Its loss is as Stable Diffusion's, without an adversary: the decoder learns from draws of the encoder's
    distribution, whose divergence from the standard normal is paid for.
    """

    stable_diffusion: str
    """Hub name or folder of a checkpoint with its `vae`, or folder of the autoencoder alone; one that has six
    channels already is gone on with."""
    w_kl: float = 1e-6
    """Weight of the KL divergence, Stable Diffusion's: against errors that are summed over an image."""
    in_channels: ClassVar[int] = 6


@dataclass(frozen=True)
class AutoencoderConfig:
    """One training run of an autoencoder.

    Attributes:
        stage: Tells this file from the diffusion stages'.
        data: Folder of clip shards.
        out: Run folder.
        model: Sizes of one that starts from nothing, or where Stable Diffusion's is.
        steps: Optimizer steps; the learning rate falls to zero over them (cosine, after `warmup`).
        clips_per_step: Clips read for each step; each gives a frame, a depth map, and its background or the
            person on gray.
        patch_clips: Clips whose patches the linear path starts from (none in Stable Diffusion's).
        latent_noise: Standard deviation of the noise between encoder and decoder (Stable Diffusion's encoder
            says its own).
        w_person: Weight of the person's pixels; all others weigh 1.
        w_latent: Weight of the latents' mean square above 1: the encoder must not outgrow the noise (in
            Stable Diffusion's the KL divergence sees to it).
        colormap: Color map of the depth images.
        side: Pixels a side of the squares that are cut out of the images.
        perceptual: LPIPS network, weighted by `w_perceptual`.
        compile: Compile encoder and decoder.
        max_minutes: Stop (and save) after this much time; resume goes on.
    """

    data: Path
    out: Path
    stage: Literal["autoencoder"] = "autoencoder"
    model: AutoencoderSize | StableDiffusionAutoencoder = field(default_factory=AutoencoderSize)
    steps: int = 4000
    warmup: int = 100
    lr: float = 2e-3
    clips_per_step: int = 4
    colormap: Colormap = "hot"
    side: int = 128
    patch_clips: int = 64
    latent_noise: float = 0.05
    w_gradient: float = 0.5
    w_person: float = 3.0
    w_latent: float = 0.01
    w_perceptual: float = 0.1
    perceptual: Literal["alex", "vgg"] = "alex"
    ema: float = 0.998
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
            raise ValueError("steps and clips_per_step are at least 1")

    @property
    def kind(self) -> Literal["idol", "kl"]:
        """What `load_autoencoder` and the diffusion stages call it."""
        return "idol" if isinstance(self.model, AutoencoderSize) else "kl"

    @property
    def images(self) -> AutoencoderCrops:
        """What the run learns from."""
        squares = CropConfig(self.side, self.colormap, self.model.in_channels == 6)
        return AutoencoderCrops(self.data, self.steps, self.seed, self.clips_per_step, squares)


def fit_autoencoder(config: AutoencoderConfig, resume: bool = False) -> Path:
    """Train.

    Args:
        config: Data, network and settings.
        resume: Go on from the checkpoint in `config.out`, or start if there is none.

    Returns:
        The folder of the finished (averaged) model: `autoencoder.path` of the diffusion stages.

    Raises:
        UserError: If there is no data, nothing to start from, or `out` holds a run and `resume` is off.
    """
    out = Path(config.out)
    if (out / _STATE).exists() and not resume:
        raise UserError("resume", f"{out} holds a run", "pass `resume=True`, or choose another `out`")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump(config))
    torch.manual_seed(config.seed)
    run = _Run(config)
    started, step = time.monotonic(), run.resume(out)
    for images in _batches(config, step):
        logged = run.step(step, images)
        step += 1
        late = time.monotonic() - started > 60 * config.max_minutes
        if step % config.log_every == 0 or late:
            line = {"step": step, "seconds": round(time.monotonic() - started, 1), **logged}
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if step % config.save_every == 0 or step == config.steps or late:
            run.save(out, step)
            _sheet(run.average.module, images.pixels, out / "sheet.png")
        if late:
            break
    return out / "autoencoder"


def _batches(config: AutoencoderConfig, first: int) -> Iterator[CropBatch]:
    loader = DataLoader(
        config.images,
        batch_size=None,
        sampler=range(first, config.steps),
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        persistent_workers=False,
    )
    yield from loader


class _Run:
    """Weights, their average and the optimizer."""

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.model = _network(config)
        self.model.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload, arg-type]
        self.average = Average(self.model, config.ema)
        self.encode, self.decode = _encode, decode_raw
        if config.compile:
            self.encode, self.decode = torch.compile(_encode), torch.compile(decode_raw)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.lpips = LPIPS(config.perceptual).to(config.device) if config.w_perceptual else None

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, cosine to zero."""
        share = min(1.0, step / self.config.steps)
        return (
            self.config.lr * min(1.0, (step + 1) / self.config.warmup) * 0.5 * (1 + math.cos(math.pi * share))
        )

    def step(self, step: int, images: CropBatch) -> dict[str, float]:
        """One optimizer step; returns what to log."""
        config = self.config
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        pixels = images.pixels.to(config.device, memory_format=torch.channels_last)
        person = images.person.to(config.device)
        weight = 1 + (config.w_person - 1) * person
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            code = self.encode(self.model, pixels, config)
            noise = torch.randn(code.mean.shape, generator=random).to(code.mean)
            output = self.decode(self.model, code.mean + code.deviation * noise)
            perceptual = self._perceptual(output.clamp(-1, 1), pixels)
        error = output - pixels
        loss = _weighted_l1(error, weight) + config.w_gradient * _gradient_l1(error, weight)
        loss = loss + config.w_perceptual * perceptual.float() + code.penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(step)
        told = {"loss": loss, "lpips": perceptual, "penalty": code.penalty}
        told |= _closeness(output.detach(), pixels, person)
        return {name: float(value.detach()) for name, value in told.items()}

    def _perceptual(self, output: Tensor, pixels: Tensor) -> Tensor:
        """Mean LPIPS of all images, three channels each."""
        if self.lpips is None:
            return output.new_zeros(())
        made, true = (torch.cat(x.split(3, dim=1)) for x in (output, pixels))
        return self.lpips(made, true).mean()

    def save(self, out: Path, step: int) -> None:
        """Write the averaged model, then the state, each by rename: where the state is, its model is, too."""
        with staged_folder(out / "autoencoder", True, _FINISHED) as folder:
            self.average.module.save_pretrained(folder)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.module.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimizer).items()}
        partial = out / "state.partial"
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"step": str(step)})
        partial.replace(out / _STATE)

    def resume(self, out: Path) -> int:
        """Load the newest state if there is one; returns the next step.

        Raises:
            UserError: If it is of another model.
        """
        path = out / _STATE
        if not path.exists():
            return 0
        tensors = load_file(path, self.config.device)

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        load_exactly(self.model, part("model."), path)
        load_exactly(self.average.module, part("average."), path)
        load_optimizer(self.optimizer, part("optimizer."))
        return int(tensors["optimizer.0.step"])


def _network(config: AutoencoderConfig) -> Autoencoder | AutoencoderKL:
    """What the run starts from."""
    match config.model:
        case AutoencoderSize():
            model = Autoencoder(**vars(config.model))
            random = np.random.default_rng(config.seed)
            model.fit_patches(config.images.sample(random, config.patch_clips).pixels)
            return model
        case StableDiffusionAutoencoder(stable_diffusion=source):
            vae: AutoencoderKL = load_autoencoder("kl", autoencoder_folder(source))
            vae = vae if vae.config["in_channels"] == 6 else widened(vae)
            return vae.requires_grad_(True)


class _Code(NamedTuple):
    """What an encoder says of images.

    Attributes:
        mean: (n, c, i, j) latents.
        deviation: Standard deviation of the noise that the decoder has to bear; like `mean`, or one number.
        penalty: (), keeps the latents from outgrowing the noise.
    """

    mean: Tensor
    deviation: Tensor | float
    penalty: Tensor


def _encode(model: Any, pixels: Tensor, config: AutoencoderConfig) -> _Code:
    """What the model of the config's kind says of images (n, 3 or 6, h, w) in [-1, 1]."""
    match config.model:
        case AutoencoderSize():
            latents = model.encode(pixels)
            excess = (latents.square().mean() - 1).relu()
            return _Code(latents, config.latent_noise, config.w_latent * excess)
        case StableDiffusionAutoencoder(w_kl=w_kl):
            encoded = model.encode(pixels).latent_dist.parameters
            drawn_from = DiagonalGaussianDistribution(encoded.float())
            # all other terms are means over the pixels; the weight is against sums
            divergence = drawn_from.kl().sum() / pixels.numel()
            return _Code(drawn_from.mean, drawn_from.std, w_kl * divergence)


def _weighted_l1(error: Tensor, weight: Tensor) -> Tensor:
    return (error.abs() * weight).mean() / weight.mean()


def _gradient_l1(error: Tensor, weight: Tensor) -> Tensor:
    """L1 of the error's horizontal and vertical differences."""
    across = _weighted_l1(error.diff(dim=-1), weight[..., 1:])
    return across + _weighted_l1(error.diff(dim=-2), weight[..., 1:, :])


def _closeness(output: Tensor, pixels: Tensor, person: Tensor) -> dict[str, Tensor]:
    """PSNR of everything, of the person and, where depth is behind the frame, of depth alone."""
    squared = (output.clamp(-1, 1) - pixels).square() / 4
    area = pixels.shape[1] * person.sum()
    told = {"psnr": _psnr(squared.mean()), "psnr_person": _psnr((squared * person).sum() / area.clamp_min(1))}
    return told if pixels.shape[1] == 3 else told | {"psnr_depth": _psnr(squared[:, 3:].mean())}


def _psnr(squared: Tensor) -> Tensor:
    return -10 * squared.log10()


@torch.no_grad()
def _sheet(model: Autoencoder | AutoencoderKL, images: Tensor, path: Path) -> None:
    """Images over their reconstructions, as a PNG."""
    images = images[:9].to(model.device)
    both = torch.stack([images, decode_raw(model, encode_raw(model, images)).clamp(-1, 1)])
    both = torch.cat(both.split(3, dim=2), dim=1)
    pixels = ((both + 1) * 127.5).round().byte().cpu().numpy()  # [2, n, 3, h, w]
    rows = [np.concatenate(list(row.transpose(0, 2, 3, 1)), axis=1) for row in pixels]
    Image.fromarray(np.concatenate(rows)).save(path)
