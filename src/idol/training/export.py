"""Export of a run: its EMA weights alone, or a pipeline folder for generation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from idol.atomic_io import FolderKind, staged_folder
from idol.config import from_dict, to_dict
from idol.data.batch import DataConfig
from idol.data.dataset import ImageConfig
from idol.diffusion.latents import LatentCodec
from idol.diffusion.schedule import ScheduleConfig, build_scheduler
from idol.pipeline.config import GenerationConfig
from idol.pipeline.pipeline import IdolPipeline
from idol.training.checkpoint import TrainState, load_exactly, load_state, load_tensors, write_checkpoint
from idol.training.initialization import autoencoder_folder, find_weights
from idol.training.trainable import ModelConfig, build_networks, load_autoencoder

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PIPELINE = FolderKind("a pipeline", "model_index.json")


def save_weights(source: Path, out: Path, dtype: Dtype = "bf16", shard_mb: float = 12.0) -> None:
    """Save a run's EMA weights alone, as small files in a flat folder.

    Args:
        source: Run folder or checkpoint.
        out: Folder to write, for `model.init` and `export`; replaced if it holds weights already.
        dtype: Data type of the weights.
        shard_mb: Maximum size of a file, megabytes.

    Raises:
        UserError: If there are no weights, or `out` exists and holds something else.
    """
    checkpoint = find_weights(source)
    ema = {k: v.to(DTYPES[dtype]) for k, v in load_tensors(checkpoint, "average").items()}
    write_checkpoint(out, load_state(checkpoint), {"average": ema}, shard_mb)


def export(
    source: Path,
    out: Path,
    dtype: Dtype = "bf16",
    *,
    autoencoder: str | None = None,
    generation: GenerationConfig | None = None,
    shard_mb: float = 5000.0,
) -> None:
    """Write the pipeline folder of a run's EMA weights, for `IdolPipeline.from_pretrained`.

    Args:
        source: Run folder, checkpoint, or output of `save_weights`.
        out: Folder to write, atomically; an existing pipeline is replaced.
        dtype: Data type of the weights.
        autoencoder: Folder or hub name of the autoencoder, if it is not where it was in training.
        generation: Defaults of the pipeline, if not those of the run's config; settings that training has
            fixed (sizes, skeletons) are set by `with_training_settings`.
        shard_mb: Maximum size of a weight file, megabytes.

    Raises:
        UserError: If there are no weights, they do not fit their config, or `out` exists and is not a
            pipeline.
    """
    checkpoint = find_weights(source)
    state = load_state(checkpoint)
    if generation is None:
        generation = from_dict(GenerationConfig, state.config["generation"], str(checkpoint))
    pipe = build_pipeline(checkpoint, state, autoencoder, generation)
    for component in pipe.networks:
        nn.Module.to(component, DTYPES[dtype])
    with staged_folder(out, True, _PIPELINE) as staging:
        pipe.save_pretrained(staging, max_shard_size=int(shard_mb * 2**20))


def build_pipeline(
    checkpoint: Path, state: TrainState, autoencoder: str | None, generation: GenerationConfig
) -> IdolPipeline:
    """Build the pipeline of a checkpoint's EMA weights.

    Args:
        checkpoint: The checkpoint's folder.
        state: Its metadata.
        autoencoder: Folder or hub name of the autoencoder; None takes the one of training.
        generation: Defaults of the pipeline, before `with_training_settings`.

    Raises:
        UserError: If weights are missing or do not fit the config.
    """
    source, values = str(checkpoint), state.config
    folder = autoencoder_folder(autoencoder or values["autoencoder"]["path"])
    vae = load_autoencoder(values["autoencoder"]["kind"], folder)
    images = ImageConfig.upgrade(values["data"]["images"])
    data = from_dict(DataConfig, values["data"] | {"images": images}, source)
    schedule = from_dict(ScheduleConfig, ScheduleConfig.upgrade(values["schedule"]), source)
    model = from_dict(ModelConfig, values["model"], source)
    networks = build_networks(model, LatentCodec(vae, state.latents).downscale, pretrained=False)
    # `save_weights` stores half precision; `export` casts to the requested one at the end
    ema = {name: weight.float() for name, weight in load_tensors(checkpoint, "average").items()}
    load_exactly(networks, ema, checkpoint)
    scheduler: Any = build_scheduler(schedule)
    return IdolPipeline(
        vae=vae,
        unet=networks.unet,
        control=networks.control,
        foreground_encoder=networks.foreground,
        scheduler=scheduler,
        background_control=networks.background,
        latent_config=to_dict(state.latents),
        generation_config=to_dict(with_training_settings(generation, data)),
    )


def with_training_settings(generation: GenerationConfig, data: DataConfig) -> GenerationConfig:
    """Replace the defaults that training has fixed: image sizes, drawing of skeletons, window.

    Args:
        generation: Defaults of the pipeline.
        data: Data config of the training run.
    """
    frames = data.window.frames
    return dataclasses.replace(
        generation,
        height=data.images.size,
        width=data.images.size,
        window=None if frames == 1 else frames,
        overlap=min(generation.overlap, frames // 2),
        stick_width=data.skeleton.stick_width,
        radius=data.skeleton.radius,
        pose_parts=data.skeleton.parts,
        draw_at="model",
        foreground_size=data.images.foreground_size,
        foreground_margin=data.images.foreground_margin,
    )
