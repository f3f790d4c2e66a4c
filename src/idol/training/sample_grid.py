"""Sample sheets: what the averaged weights make of a few samples, beside the truth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from idol.clip.images import write_image
from idol.data.batch import Batch
from idol.diffusion.latents import decode_raw
from idol.diffusion.schedule import Schedule, guidance, sampler, set_steps
from idol.training.latent_statistics import TrainingCodec
from idol.training.trainable import Conditions, Networks, conditions


@dataclass(frozen=True)
class SheetConfig:
    """How sample sheets are made."""

    every: int = 500
    """Steps between sheets; 0 makes none."""
    samples: int = 4
    """Rows: samples of the sheet."""
    steps: int = 12
    """Denoising steps."""
    guidance: float = 1.5


@torch.no_grad()
def write_sheet(
    path: Path | None,
    networks: Networks,
    codec: TrainingCodec,
    schedule: Schedule,
    batch: Batch,
    config: SheetConfig,
) -> None:
    """Write a PNG: reference, skeleton, true and generated video, true and generated depth side by side.

    Of clips the first and the last frame are shown. The noise is the same in every sheet.

    Args:
        path: Where to; None only computes, where weights are split and all processes must.
        networks: Averaged weights.
        codec: Decodes.
        schedule: What the networks predict.
        batch: The samples.
        config: See `SheetConfig`.
    """
    given = conditions(batch, codec, networks.reads_latent_pose)
    truth = codec.normalize_batch(batch)
    made = sample(networks, given, truth.shape, schedule, config)
    if path is None:
        return
    true_images, made_images = (codec.decode(z, codec.reference(batch)) for z in (truth, made))
    reference = _reference(batch, codec)
    shown = sorted({0, truth.shape[2] - 1})
    rows = []
    for i in range(len(truth)):
        for f in shown:
            columns = [reference[i], batch.pose[i, f].float() / 127.5 - 1]
            for m in range(true_images.shape[1]):
                columns += [true_images[i, m, f], made_images[i, m, f]]
            rows.append(torch.cat(columns, -1))
    pixels = ((torch.cat(rows, -2).clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.ascontiguousarray(pixels))


@torch.no_grad()
def sample(
    networks: Networks, given: Conditions, shape: torch.Size, schedule: Schedule, config: SheetConfig
) -> Tensor:
    """Latents of the given shape (b, m, f, c, h, w), denoised from noise of seed 0."""
    b, device = shape[0], given.background.device
    steps: Any = sampler(schedule.config)
    set_steps(steps, config.steps, device)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    twice = _folded(given)
    dropped = torch.arange(2 * b, device=device) < b
    for t in steps.timesteps:
        times = t.expand(2 * b, shape[1]).to(device)
        predicted = networks(torch.cat([latents, latents]), times, twice, dropped).sample.float()
        without, shown = predicted.chunk(2)
        latents = steps.step(guidance(without, shown, config.guidance), t, latents).prev_sample
    return latents


def _folded(given: Conditions) -> Conditions:
    """The conditions twice: for the halves of guidance."""
    tensors = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    return dataclasses.replace(given, **{k: torch.cat([v, v]) for k, v in tensors.items() if v is not None})


def _reference(batch: Batch, codec: TrainingCodec) -> Tensor:
    """Reference images (b, 3, y, x) in [-1, 1] at the frames' size."""
    size = batch.pose.shape[-2:]
    image = batch.foreground_image
    images = decode_raw(codec.vae, batch.foreground) if image is None else image.float() / 127.5 - 1
    images = images[:, :3]
    return interpolate(images, size=size, mode="bilinear", antialias=True).clamp(-1, 1)
