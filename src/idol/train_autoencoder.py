"""Training of the small autoencoder of `mini`: colour frames, coloured depth, backgrounds and people on grey.

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
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from idol import depth as depth_codec
from idol.clip import Clip
from idol.config import dump
from idol.crop import foreground_crop
from idol.data.shards import ShardReader
from idol.errors import UserError
from idol.model.autoencoder import Autoencoder
from idol.perceptual import LPIPS


@dataclass(frozen=True)
class AutoencoderSize:
    """Arguments of `Autoencoder`."""

    latent_channels: int = 32
    channels: tuple[int, ...] = (64, 128, 192)
    encoder_blocks: int = 1
    decoder_blocks: int = 2
    in_channels: Literal[3, 6] = 3
    """6: a frame and its coloured depth in one latent, as in LDM3D."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """One training run of the autoencoder.

    Attributes:
        stage: Tells this file from the diffusion stages'.
        data: Folder of clip shards.
        out: Run folder.
        steps: Optimiser steps; the learning rate falls to zero over them (cosine, after `warmup`).
        clips_per_step: Clips read for each step; each gives a frame, a depth map, and its background or the
            person on grey.
        patch_clips: Clips whose patches the linear path starts from.
        latent_noise: Standard deviation of the noise between encoder and decoder.
        w_person: Weight of the person's pixels; all others weigh 1.
        w_latent: Weight of the latents' mean square above 1: the encoder must not outgrow the noise.
        depth_colours: Colour map of the depth pictures.
        side: Pixels a side of the squares that are cut out of the pictures.
        perceptual: LPIPS network, weighted by `w_perceptual`.
        compile: Compile encoder and decoder.
        max_minutes: Stop (and save) after this much time; resume goes on.
    """

    data: Path
    out: Path
    stage: Literal["autoencoder"] = "autoencoder"
    model: AutoencoderSize = field(default_factory=AutoencoderSize)
    steps: int = 4000
    warmup: int = 100
    lr: float = 2e-3
    clips_per_step: int = 4
    depth_colours: depth_codec.ColourMap = "hot"
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


class Images(NamedTuple):
    """What one step learns from.

    Attributes:
        pixels: (n, 3 or 6, h, w) in [-1, 1].
        person: (n, 1, h, w) bool.
    """

    pixels: Tensor
    person: Tensor


class ImageBatches(Dataset[Images]):
    """Batch `step` of the run, three images a clip (two of six channels), from (seed, step) alone."""

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config, self.reader = config, ShardReader(config.data)
        if len(self.reader) == 0:
            raise UserError(str(config.data), "holds no clips", "make some with `idol synth`")

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Images:
        """The images of one step."""
        return self.draw(np.random.default_rng((self.config.seed, step)), self.config.clips_per_step)

    def draw(self, random: np.random.Generator, clips: int) -> Images:
        """The images of so many clips."""
        picked = random.integers(len(self.reader), size=clips)
        views = []
        for i in picked:
            frame = int(random.integers(self.reader.entry(int(i)).frames))
            views += _views(self.reader.frames(int(i), [frame]), self.config, random)
        pixels, person = (torch.from_numpy(np.stack(part)) for part in zip(*views, strict=True))
        return Images(pixels.float() / 127.5 - 1, person[:, None])


def _views(
    clip: Clip, config: AutoencoderConfig, random: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Squares of a frame, of its coloured depth, and of the person on grey or of the background.

    Of each (3, side, side) uint8, and where the person is in it. Most squares lie about the person. In six
    channels the depth is behind the frame, and an empty one behind the third picture.
    """
    mask, coloured = clip.mask[0], depth_codec.colorize(clip.known_depth()[0], config.depth_colours)
    if random.random() < 0.3:
        still = clip.background if clip.background.ndim == 3 else clip.background[0]
        third = still, np.zeros_like(mask)
    else:
        third = foreground_crop(clip.video[0], mask, clip.pose, clip.height)[:2]
    views = [(clip.video[0], mask), (coloured, mask), third]
    if config.model.in_channels == 6:
        empty = depth_codec.colorize(np.zeros_like(clip.depth[0]), config.depth_colours)
        views = [
            (np.concatenate([clip.video[0], coloured]), mask),
            (np.concatenate([third[0], empty]), third[1]),
        ]
    squares = [_square(*view, config.side, random) for view in views]
    if random.random() < 0.5:
        return squares
    return [(image[..., ::-1].copy(), person[..., ::-1].copy()) for image, person in squares]


def _square(
    image: np.ndarray, mask: np.ndarray, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A square round a pixel of the person, or three times in ten anywhere."""
    size = np.array(mask.shape)
    side = min(side, *size)
    on_person = mask.any() and random.random() < 0.7
    middle = random.choice(np.argwhere(mask)) if on_person else random.integers(size)
    y, x = np.clip(middle - side // 2, 0, size - side)
    cut = (Ellipsis, slice(y, y + side), slice(x, x + side))
    return image[cut], mask[cut]


def fit_autoencoder(config: AutoencoderConfig) -> Path:
    """Train, resuming when the run folder holds a checkpoint.

    Returns:
        The folder of the finished (averaged) model, for `Autoencoder.from_pretrained`.

    Raises:
        UserError: If there is no data.
    """
    out = Path(config.out)
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
            _sheet(run.average, images.pixels, out / "sheet.png")
        if late:
            break
    return out / "autoencoder"


def _batches(config: AutoencoderConfig, first: int) -> Iterator[Images]:
    loader = DataLoader(
        ImageBatches(config),
        batch_size=None,
        sampler=range(first, config.steps),
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        persistent_workers=False,
    )
    yield from loader


class _Run:
    """Weights, their average and the optimiser."""

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        arguments = {k: v for k, v in vars(config.model).items()}
        self.model = Autoencoder(**arguments)
        self.model.fit_patches(
            ImageBatches(config).draw(np.random.default_rng(config.seed), config.patch_clips).pixels
        )
        self.model.to(config.device, memory_format=torch.channels_last)
        self.encode, self.decode = self.model.encode, self.model.decode
        if config.compile:
            self.encode, self.decode = torch.compile(self.encode), torch.compile(self.decode)
        self.average = Autoencoder(**arguments).to(config.device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.model.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.lpips = LPIPS(config.perceptual).to(config.device) if config.w_perceptual else None

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, cosine to zero."""
        share = min(1.0, step / self.config.steps)
        return (
            self.config.lr * min(1.0, (step + 1) / self.config.warmup) * 0.5 * (1 + math.cos(math.pi * share))
        )

    def step(self, step: int, images: Images) -> dict[str, float]:
        """One optimiser step; returns what to log."""
        config = self.config
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        pixels = images.pixels.to(config.device, memory_format=torch.channels_last)
        weight = 1 + (config.w_person - 1) * images.person.to(config.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            latents = self.encode(pixels)
            noise = torch.randn(latents.shape, generator=random).to(latents)
            output = self.decode(latents + config.latent_noise * noise)
            perceptual = self._perceptual(output.clamp(-1, 1), pixels)
        error = output - pixels
        loss = _weighted_l1(error, weight) + config.w_gradient * _gradient_l1(error, weight)
        loss = loss + config.w_perceptual * perceptual.float()
        loss = loss + config.w_latent * (latents.square().mean() - 1).relu()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self._average(step)
        squared = (output.detach().clamp(-1, 1) - pixels).square() / 4
        told = {"loss": loss, "lpips": perceptual, "psnr": _psnr(squared.mean())}
        area = pixels.shape[1] * images.person.sum()
        told["psnr_person"] = _psnr((squared * images.person).sum() / area.clamp_min(1))
        return {name: float(value.detach()) for name, value in told.items()}

    def _perceptual(self, output: Tensor, pixels: Tensor) -> Tensor:
        """Mean LPIPS of all pictures, three channels each."""
        if self.lpips is None:
            return output.new_zeros(())
        made, true = (torch.cat(x.split(3, dim=1)) for x in (output, pixels))
        return self.lpips(made, true).mean()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.config.ema, (1 + step) / (10 + step))
        for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)

    def save(self, out: Path, step: int) -> None:
        """Write the state and the averaged model, each by rename."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        partial = out / "state.partial"
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"step": str(step)})
        partial.replace(out / "state.safetensors")
        self.average.save_pretrained(out / "autoencoder")

    def resume(self, out: Path) -> int:
        """Load the newest state if there is one; returns the next step."""
        path = out / "state.safetensors"
        if not path.exists():
            return 0
        tensors = load_file(path, self.config.device)

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.average.load_state_dict(part("average."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimiser.").items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        full = self.optimiser.state_dict()
        self.optimiser.load_state_dict({"state": state, "param_groups": full["param_groups"]})
        return int(next(iter(state.values()))["step"])


def _weighted_l1(error: Tensor, weight: Tensor) -> Tensor:
    return (error.abs() * weight).mean() / weight.mean()


def _gradient_l1(error: Tensor, weight: Tensor) -> Tensor:
    """L1 of the error's horizontal and vertical differences."""
    across = _weighted_l1(error.diff(dim=-1), weight[..., 1:])
    return across + _weighted_l1(error.diff(dim=-2), weight[..., 1:, :])


def _psnr(squared: Tensor) -> Tensor:
    return -10 * squared.log10()


@torch.no_grad()
def _sheet(model: Autoencoder, images: Tensor, path: Path) -> None:
    """Images over their reconstructions, as a PNG."""
    images = images[:9].to(model.device)
    both = torch.stack([images, model(images).clamp(-1, 1)])
    both = torch.cat(both.split(3, dim=2), dim=1)
    pixels = ((both + 1) * 127.5).round().byte().cpu().numpy()  # [2, n, 3, h, w]
    rows = [np.concatenate(list(row.transpose(0, 2, 3, 1)), axis=1) for row in pixels]
    Image.fromarray(np.concatenate(rows)).save(path)
