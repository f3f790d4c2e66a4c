"""Data of a run: the latent cache, encoded first where files are missing, or the clips themselves."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from idol.data.batch import CachedSamples, DataConfig, ImageSamples, Samples, open_caches
from idol.data.latent_cache import weights_sha256
from idol.data.shards import ShardReader
from idol.diffusion.latents import encode_raw
from idol.progress import SILENT, ProgressCallback


def open_samples(
    config: DataConfig,
    vae: nn.Module,
    seed: int,
    accelerator: Accelerator,
    bf16: bool = False,
    progress: ProgressCallback = SILENT,
) -> Samples:
    """Open the samples of a run; all processes together encode what the latent cache lacks.

    Args:
        config: The data.
        vae: The frozen autoencoder, on the device that encodes.
        seed: Seed of the run.
        accelerator: Processes of the run.
        bf16: Encode in bfloat16.
        progress: Receives the clips encoded by this process.

    Raises:
        UserError: If a shard folder cannot be read, or no clip is long enough.
    """
    if config.cache is None:
        return ImageSamples([ShardReader(folder) for folder in config.folders], config, seed)
    device = next(vae.parameters()).device

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return encode_raw(vae, images.to(device, memory_format=torch.channels_last))

    caches = open_caches(config, weights_sha256(vae))
    rank, world = accelerator.process_index, accelerator.num_processes
    for cache in caches:
        cache.build(encode, rank=rank, world=world, workers=config.workers, progress=progress)
    accelerator.wait_for_everyone()
    return CachedSamples(caches, config, seed)


def sample_indices(
    first_step: int, batch_size: int, gradient_accumulation_steps: int, rank: int, world: int
) -> Iterator[list[int]]:
    """Yield the sample indices of one process' batches, without end.

    The samples of a step are numbered consecutively over processes and accumulated batches, so that a step
    learns from the same samples however they are distributed.

    Args:
        first_step: Step that the batches start at.
        batch_size: Samples of a batch.
        gradient_accumulation_steps: Batches per step.
        rank: Index of the process.
        world: Number of processes.
    """
    per_step = batch_size * gradient_accumulation_steps * world
    step = first_step
    while True:
        for part in range(gradient_accumulation_steps):
            start = step * per_step + (rank * gradient_accumulation_steps + part) * batch_size
            yield list(range(start, start + batch_size))
        step += 1
