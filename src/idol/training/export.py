"""From a run to what is kept of it: light weights, or a pipeline folder to generate with."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from idol.config import from_dict, to_dict
from idol.data.batch import DataConfig
from idol.diffusion.latents import LatentCodec
from idol.diffusion.schedule import ScheduleConfig, sampler
from idol.pipeline.config import GenerationConfig
from idol.pipeline.pipeline import IdolPipeline
from idol.training.checkpoint import State, load_exactly, load_state, load_tensors, write_folder
from idol.training.initialization import autoencoder_folder, find_weights
from idol.training.trainable import ModelConfig, build_networks, load_autoencoder

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def save_weights(source: Path, out: Path, dtype: Dtype = "bf16", shard_mb: float = 12.0) -> None:
    """Keep a run's averaged weights alone, in a flat folder of small files.

    Args:
        source: Run folder or checkpoint.
        out: Folder; replaced if it exists. `model.init` and `export` read it.
        dtype: Of the weights.
        shard_mb: Largest file, megabytes.
    """
    checkpoint = find_weights(source)
    average = {k: v.to(DTYPES[dtype]) for k, v in load_tensors(checkpoint, "average").items()}
    write_folder(out, load_state(checkpoint), {"average": average}, shard_mb)


def export(
    source: Path,
    out: Path,
    dtype: Dtype = "bf16",
    *,
    autoencoder: str | None = None,
    generation: GenerationConfig | None = None,
    shard_mb: float = 5000.0,
) -> None:
    """Write the pipeline folder of a run's averaged weights, for `IdolPipeline.from_pretrained`.

    Args:
        source: Run folder, checkpoint, or what `save_weights` wrote.
        out: Folder; appears whole, by rename, and replaces one of its name.
        dtype: Of the weights.
        autoencoder: Where the autoencoder is, if not where it was in training.
        generation: Defaults of the pipeline, if not those of the run's config; what training settled (sizes,
            skeletons) is put in.
        shard_mb: Largest weight file, megabytes.

    Raises:
        UserError: If there are no weights, or they do not fit their config.
    """
    checkpoint = find_weights(source)
    state = load_state(checkpoint)
    if generation is None:
        generation = from_dict(GenerationConfig, state.config["generation"], str(checkpoint))
    pipe = build_pipeline(checkpoint, state, autoencoder, generation)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for component in pipe.networks:
        nn.Module.to(component, DTYPES[dtype])
    pipe.save_pretrained(partial, max_shard_size=int(shard_mb * 2**20))
    if out.exists():
        shutil.rmtree(out)
    partial.replace(out)


def build_pipeline(
    checkpoint: Path, state: State, autoencoder: str | None, generation: GenerationConfig
) -> IdolPipeline:
    """The pipeline of a checkpoint's averaged weights."""
    source, values = str(checkpoint), state.config
    place = autoencoder_folder(autoencoder or values["autoencoder"]["path"])
    vae = load_autoencoder(values["autoencoder"]["kind"], place)
    data = from_dict(DataConfig, values["data"], source)
    schedule = from_dict(ScheduleConfig, values["schedule"], source)
    model = from_dict(ModelConfig, values["model"], source)
    networks = build_networks(model, LatentCodec(vae, state.latents).downscale, pretrained=False)
    average = {name: weight.float() for name, weight in load_tensors(checkpoint, "average").items()}
    load_exactly(networks, average, checkpoint)
    scheduler: Any = sampler(schedule)
    return IdolPipeline(
        vae=vae,
        unet=networks.unet,
        control=networks.control,
        foreground_encoder=networks.foreground,
        scheduler=scheduler,
        background_control=networks.background,
        latent_config=to_dict(state.latents),
        generation_config=to_dict(settled(generation, data)),
    )


def settled(generation: GenerationConfig, data: DataConfig) -> GenerationConfig:
    """The defaults with what training settled: image sizes, how skeletons are drawn, the window."""
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
