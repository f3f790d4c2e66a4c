"""Sample grids: images that the EMA weights generate during training, beside the reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn.functional import interpolate

from idol.clip.images import write_image
from idol.data.batch import Batch
from idol.diffusion.latents import decode_raw
from idol.diffusion.schedule import Schedule, build_scheduler, set_timesteps
from idol.pipeline.disk_tensor import FrameStore
from idol.pipeline.sampler import Sampler
from idol.training.latent_statistics import TrainingCodec
from idol.training.trainable import BatchConditions, Networks, batch_conditions


@dataclass(frozen=True)
class SampleGridConfig:
    """Frequency and sampling of the grids.

    Attributes:
        every: Training steps between grids; 0 makes none.
        samples: Number of samples, which are the rows; two rows each for clips.
        num_inference_steps: Denoising steps.
        guidance_scale: Scale of classifier-free guidance; 1 is none.
    """

    every: int = 500
    samples: int = 4
    num_inference_steps: int = 12
    guidance_scale: float = 1.5


@torch.no_grad()
def write_sample_grid(
    path: Path | None,
    networks: Networks,
    codec: TrainingCodec,
    schedule: Schedule,
    batch: Batch,
    config: SampleGridConfig,
) -> None:
    """Write a PNG of foreground, skeleton, and reference and generated video and depth, side by side.

    Of clips the first and the last frame are shown. The noise is the same in every grid.

    Args:
        path: Destination; None only computes, where weights are sharded and all processes must.
        networks: Networks with the EMA weights.
        codec: Decoder of the latents.
        schedule: Noise schedule, which defines what the networks predict.
        batch: The samples, b of them.
        config: Denoising steps and guidance scale.
    """
    conditions = batch_conditions(batch, codec, networks.denoiser.reads_latent_pose)
    reference = codec.normalize_batch(batch)
    generated = sample(networks, conditions, reference.shape, schedule, config)
    if path is None:
        return
    origin = codec.reference(batch)
    expected, images = (codec.decode(latents, origin) for latents in (reference, generated))  # b m f 3 y x
    foreground = _foreground_images(batch, codec)
    rows = []
    for i in range(len(reference)):
        for f in sorted({0, reference.shape[2] - 1}):
            columns = [foreground[i], batch.pose[i, f].float() / 127.5 - 1]
            for m in range(images.shape[1]):
                columns += [expected[i, m, f], images[i, m, f]]
            rows.append(torch.cat(columns, -1))
    pixels = ((torch.cat(rows, -2).clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.ascontiguousarray(pixels))


@torch.no_grad()
def sample(
    networks: Networks,
    conditions: BatchConditions,
    shape: torch.Size,
    schedule: Schedule,
    config: SampleGridConfig,
) -> Tensor:
    """Denoise latents (b, m, f, c, h, w) from noise of seed 0.

    Args:
        networks: The networks; sharded ones are gathered, and left so.
        conditions: Conditions of the batch.
        shape: (b, m, f, c, h, w) of the latents.
        schedule: Noise schedule, which defines what the networks predict.
        config: Denoising steps and guidance scale.
    """
    if isinstance(networks, FSDPModule):
        networks.unshard()  # the parts are called one by one, which FSDP's hooks do not see
    device, whole = conditions.background.device, [slice(0, shape[2])]
    scheduler = build_scheduler(schedule.config)
    set_timesteps(scheduler, config.num_inference_steps, device)
    sampler = Sampler(networks.denoiser, config.guidance_scale)
    tokens = networks.tokens(conditions)
    unconditional = networks.foreground.unconditional(tokens) if sampler.guided else None
    background, draft = conditions.background, conditions.draft
    prepared = sampler.prepare(tokens, unconditional, background, [conditions.pose], whole, draft)
    # drawn on the CPU: the same on all devices
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    latents = FrameStore.of([noise], shape[2], 2)
    for _ in sampler.steps(scheduler, latents, prepared):
        pass
    return latents[:]


def _foreground_images(batch: Batch, codec: TrainingCodec) -> Tensor:
    """Return the persons' images (b, 3, y, x) in [-1, 1] at the frames' size."""
    size = batch.pose.shape[-2:]
    image = batch.foreground_image
    images = decode_raw(codec.vae, batch.foreground) if image is None else image.float() / 127.5 - 1
    images = images[:, :3]
    return interpolate(images, size=size, mode="bilinear", antialias=True).clamp(-1, 1)
