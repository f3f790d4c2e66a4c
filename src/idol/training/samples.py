"""Opens a run's data: the latent cache, made first where parts of it are missing, or the clips themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from idol.data.batch import CachedSamples, DataConfig, ImageSamples, Samples, open_caches
from idol.data.latent_cache import weights_sha256
from idol.data.shards import ShardReader
from idol.diffusion.latents import encode_raw


def open_samples(
    config: DataConfig, vae: nn.Module, seed: int, accelerator: Accelerator, fast: bool = False
) -> Samples:
    """The samples of a run; all processes together make the latent cache.

    Args:
        config: Which data.
        vae: The frozen autoencoder, on the device that encodes.
        seed: Of the run.
        accelerator: Of the run.
        fast: Encode in bfloat16.
    """
    if config.cache is None:
        return ImageSamples([ShardReader(folder) for folder in config.folders], config, seed)
    device = next(vae.parameters()).device

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            return encode_raw(vae, images.to(device, memory_format=torch.channels_last))

    caches = open_caches(config, weights_sha256(vae))
    rank, world = accelerator.process_index, accelerator.num_processes
    made = sum(cache.build(encode, rank=rank, world=world, workers=config.workers) for cache in caches)
    accelerator.wait_for_everyone()
    if made and accelerator.is_main_process:
        sys.stderr.write(f"latent cache: {made} clips encoded\n")
    return CachedSamples(caches, config, seed)


def numbers(first_step: int, batch: int, accumulate: int, rank: int, world: int) -> Iterator[list[int]]:
    """Sample numbers of the batches of one process, from step `first_step` on, without end.

    A step's samples are numbered through over processes and accumulated batches: a step learns from the same
    samples however they are spread.
    """
    per_step = batch * accumulate * world
    step = first_step
    while True:
        for part in range(accumulate):
            start = step * per_step + (rank * accumulate + part) * batch
            yield list(range(start, start + batch))
        step += 1
