"""The three stages of the method (Secs. 3.1 and 3.3), one loop: a stage is a config, not a branch."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer

from idol.config import dump, to_dict
from idol.data.batch import Batch, DataConfig, Samples, batches, collate
from idol.diffusion.latents import LatentConfig, Offset
from idol.diffusion.losses import LossConfig, LossTerms, total
from idol.diffusion.schedule import Schedule, ScheduleConfig
from idol.errors import UserError
from idol.pipeline.config import GenerationConfig
from idol.training.checkpoint import (
    State,
    checkpoints,
    load_exactly,
    load_optimizer,
    load_state,
    load_tensors,
    optimizer_tensors,
    save_checkpoint,
)
from idol.training.export import export, save_weights
from idol.training.fsdp import apart, is_split, split, whole
from idol.training.initialization import autoencoder_folder, starting_point
from idol.training.latent_statistics import TrainingCodec, as_latents, measure
from idol.training.log import Log
from idol.training.noise import NoiseConfig, draw_noise
from idol.training.optimizer import Average, OptimizerConfig, build_optimizer
from idol.training.sample_grid import SheetConfig, write_sheet
from idol.training.samples import numbers, open_samples
from idol.training.trainable import (
    ModelConfig,
    Networks,
    build_networks,
    conditions,
    freeze,
    initialize,
    load_autoencoder,
)

__all__ = ["TrainConfig", "export", "fit", "save_weights"]


@dataclass(frozen=True)
class AutoencoderSource:
    """The frozen autoencoder, and how its latents are normalized."""

    path: str
    """Folder of `Autoencoder` or of a pipeline, or folder or hub name of a model with Stable Diffusion's."""
    kind: Literal["idol", "kl"] = "idol"
    offset: Offset = "background"
    """What a stream's latents are counted from (`LatentConfig.offset`)."""
    per_channel: bool = True
    """Measure a scale for each channel; else one for each stream."""
    normalization: Literal["measure", "init", "stable_diffusion"] = "measure"
    """Measured on the data, taken over from `model.init`, or Stable Diffusion's constant."""


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training."""

    out: Path
    """Run folder: checkpoints, sheets, logs, the resolved config."""
    data: DataConfig
    autoencoder: AutoencoderSource
    stage: Literal["haop", "hap", "image", "video"] = "image"
    """Name of the stage; what it does is in the other fields."""
    model: ModelConfig = field(default_factory=ModelConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sheet: SheetConfig = field(default_factory=SheetConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """Defaults of the exported pipeline; sizes, skeletons and window are the training's."""
    trains: Literal["all", "attention"] = "all"
    """`attention` freezes the ResBlocks (the paper's pre-training)."""
    steps: int = 15000
    batch: int = 16
    """Samples a process takes at once; a step learns from batch * accumulate * processes."""
    accumulate: int = 1
    """Batches whose gradients are summed before a step."""
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    checkpointing: bool = False
    """Compute activations anew in the backward pass, for memory."""
    compile: bool = False
    """Compile the U-Net."""
    threads: int | None = None
    """CPU threads of each process."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that remain."""
    log_every: int = 20
    max_minutes: float | None = None
    """Save and stop after so long; the run can be resumed."""
    shard_mb: float = 2000.0
    """Largest weight file, megabytes."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.accumulate, self.save_every, self.keep, self.log_every) < 1:
            raise ValueError("steps, batch, accumulate, save_every, keep and log_every must be at least 1")
        if self.model.unet.num_modalities != self.data.images.latent_modalities:
            raise ValueError("model.unet.num_modalities must be data.images.modalities, or 1 if stacked")
        if self.data.window.frames > 1 and self.model.unet.temporal is None:
            raise ValueError("clips of several frames need model.unet.temporal")
        if self.autoencoder.normalization == "init" and self.model.init is None:
            raise ValueError("autoencoder.normalization is init: name the checkpoint in model.init")
        if self.model.unet.output != "prediction" and self.schedule.prediction != "flow":
            raise ValueError("model.unet.output: clean latents are for schedule.prediction flow")
        if self.autoencoder.offset == "draft" and not self.data.images.draft:
            raise ValueError("autoencoder.offset is draft: set data.images.draft")
        if self.data.images.draft and not self.model.unet.draft:
            raise ValueError("data.images.draft: set model.unet.draft, too")
        if self.model.foreground is None and self.data.cache is not None:
            raise ValueError("CLIP's foreground encoder reads images: set data.cache to null")


def fit(config: TrainConfig, resume: bool = False) -> Path:
    """Train one stage.

    Under ``accelerate launch`` (or torchrun) every process takes its share of each step's samples; the result
    equals one process with the same number of samples a step.

    Args:
        config: The stage.
        resume: Go on from the newest checkpoint of `config.out`, or start if there is none.

    Returns:
        The newest checkpoint's folder.

    Raises:
        UserError: If there is no data, a checkpoint does not fit, or `out` holds a run and `resume` is off.
    """
    # 1. Processes and devices
    deadline = math.inf if config.max_minutes is None else time.monotonic() + 60 * config.max_minutes
    accelerator = _accelerator()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    newest = _newest(config, resume)

    # 2. Data
    source = config.autoencoder
    vae = load_autoencoder(source.kind, autoencoder_folder(source.path)).to(accelerator.device)
    if vae.config.in_channels != (6 if config.data.images.stacked else 3):
        found = f"takes {vae.config.in_channels} channels"
        raise UserError("autoencoder.path", found, "give 6 channels to stacked images, 3 to others")
    samples = open_samples(config.data, vae, config.seed, accelerator, config.precision == "bf16")
    codec = TrainingCodec(vae, _latent_config(config, newest, samples, vae))
    schedule = Schedule(config.schedule)

    # 3. Networks
    torch.manual_seed(config.seed)
    networks = build_networks(config.model, codec.downscale, pretrained=newest is None)
    if newest is None and config.model.init is not None:
        initialize(networks, starting_point(config.model.init)[0], str(config.model.init))
    networks.to(accelerator.device)
    if not is_split(accelerator):  # which takes weights as they lie by default alone
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(networks, config.trains)
    average = Average(networks, config.optimizer.ema)
    if newest is not None:
        _restore(newest, networks, average)
    if config.checkpointing:
        networks.unet.enable_gradient_checkpointing()
    if config.compile:
        networks.unet.compile()
    model = _shared(accelerator, networks, average)
    optimizer = build_optimizer([p for p in networks.parameters() if p.requires_grad], config.optimizer)
    first = 0
    if newest is not None:
        load_optimizer(optimizer, load_tensors(newest, "optimizer"))
        first = load_state(newest).step

    # 4. Steps
    rank, world = accelerator.process_index, accelerator.num_processes
    order = numbers(first, config.batch, config.accumulate, rank, world)
    ahead, order = itertools.tee(order)
    loader = batches(samples, ahead, config.data.workers, pin=accelerator.device.type == "cuda")
    if accelerator.is_main_process:
        config.out.mkdir(parents=True, exist_ok=True)
        (config.out / "config.yaml").write_text(dump(config))
    with Log(config.out, first, config.steps, config.log_every, rank > 0) as log:
        for step in range(first, config.steps):
            rate = config.optimizer.rate(step, config.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            for part in range(config.accumulate):
                batch = as_latents(next(loader).to(accelerator.device), vae)
                with _synchronized(accelerator, model, last=part == config.accumulate - 1):
                    terms = _loss(model, networks, codec, schedule, batch, next(order), config)
                    accelerator.backward(terms["loss"] / config.accumulate)
                log.add(terms)
            if config.optimizer.clip:
                torch.nn.utils.clip_grad_norm_(networks.parameters(), config.optimizer.clip)
            optimizer.step()
            average.update(step)

            # 5. Tell and save
            done = step + 1
            if log.due(done):
                log.write(done, accelerator.reduce(log.means(), "mean"), rate)
            late = _agreed(accelerator, time.monotonic() > deadline, config)
            if done % config.save_every == 0 or done == config.steps or late:
                newest = _save(accelerator, config, done, codec, networks, average, optimizer)
            if config.sheet.every and (done % config.sheet.every == 0 or done == config.steps):
                _sheet(accelerator, config, done, codec, schedule, average, samples)
            if late:
                break
    assert newest is not None
    return newest


def _accelerator() -> Accelerator:
    """The devices and processes of the run; processes may wait long for one that makes latents."""
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=6))
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), kwargs_handlers=[patience])
    is_split(accelerator)  # a way of splitting that is not known is told before any work
    return accelerator


def _shared(accelerator: Accelerator, networks: Networks, average: Average[Networks]) -> torch.nn.Module:
    """The networks as all processes train them together: each holds all of them, or its part."""
    if not is_split(accelerator):
        return accelerator.prepare_model(networks)
    split(networks, accelerator)
    split(average.module, accelerator)
    return networks


def _newest(config: TrainConfig, resume: bool) -> Path | None:
    """The checkpoint to go on from, if any."""
    found = checkpoints(config.out / "checkpoints")
    if found and not resume:
        raise UserError("resume", f"{config.out} holds a run", "pass `resume=True`, or choose another `out`")
    return found[-1] if found else None


def _latent_config(
    config: TrainConfig, newest: Path | None, samples: Samples, vae: torch.nn.Module
) -> LatentConfig:
    source = config.autoencoder
    if newest is not None:
        return load_state(newest).latents
    colors = config.data.images.colormap
    match source.normalization:
        case "measure":
            return measure(samples, vae, source.offset, colors, source.per_channel)
        case "stable_diffusion":
            return LatentConfig.stable_diffusion(config.model.unet.num_modalities, colors)
        case "init":
            assert config.model.init is not None  # TrainConfig saw to it
            latents = starting_point(config.model.init)[1]
            if latents.colormap != colors:
                found = f"{colors}, while {config.model.init} normalizes depth that is {latents.colormap}"
                raise UserError("data.images.colormap", found, "use its colors, or measure anew")
            return latents


def _restore(path: Path, networks: Networks, average: Average[Networks]) -> None:
    """Put the weights of a checkpoint back."""
    load_exactly(networks, load_tensors(path, "networks"), path)
    load_exactly(average.module, load_tensors(path, "average"), path)


def _loss(
    model: torch.nn.Module,
    networks: Networks,
    codec: TrainingCodec,
    schedule: Schedule,
    batch: Batch,
    samples: list[int],
    config: TrainConfig,
) -> dict[str, Tensor]:
    """Eq. 7 on one batch: `loss` and its parts, by name."""
    clean = codec.normalize_batch(batch)
    drawn = draw_noise(samples, config.seed, clean.shape, schedule, config.noise).to(clean.device)
    given = conditions(batch, codec, networks.reads_latent_pose)
    noisy = schedule.add_noise(clean, drawn.noise, drawn.times)
    target = schedule.target(clean, drawn.noise, drawn.times)
    consistent = bool(config.loss.w_mo or config.loss.w_xattn) and clean.shape[1] == 2
    with torch.autocast(clean.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        output = model(noisy, drawn.times, given, drawn.dropped, return_features=consistent)
    gamma = config.noise.min_snr
    weight = None if gamma is None else schedule.min_snr_weight(drawn.times, gamma)
    terms = total(output.sample, target, output.features, config.loss, weight)
    return _told(terms, output.sample, target)


def _told(terms: LossTerms, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    error = (predicted.detach().float() - target).square().mean((0, 2, 3, 4, 5))
    told = {"loss": terms.total, "denoising": terms.denoising}
    told |= {"motion": terms.motion, "attention_map": terms.attention_map}
    return told | dict(zip(("video", "depth"), error, strict=False))


def _synchronized(
    accelerator: Accelerator, model: torch.nn.Module, last: bool
) -> contextlib.AbstractContextManager[None]:
    """Exchange gradients between processes only with the last of the accumulated batches."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        return contextlib.nullcontext()
    return contextlib.nullcontext() if last else accelerator.no_sync(model)


def _agreed(accelerator: Accelerator, late: bool, config: TrainConfig) -> bool:
    """Whether any process ran out of time: all must stop at the same step."""
    if config.max_minutes is None:
        return False
    told = torch.tensor(float(late), device=accelerator.device)
    return bool(accelerator.reduce(told, "sum") > 0)


def _save(
    accelerator: Accelerator,
    config: TrainConfig,
    step: int,
    codec: TrainingCodec,
    networks: Networks,
    average: Average[Networks],
    optimizer: Optimizer,
) -> Path:
    """Write a checkpoint in the first process; all wait for it."""
    folder = config.out / "checkpoints"
    parts = {
        "networks": networks.state_dict(),
        "average": average.module.state_dict(),
        "optimizer": optimizer_tensors(optimizer),
    }
    tensors = {name: whole(part, accelerator.is_main_process) for name, part in parts.items()}
    if accelerator.is_main_process:
        state = State(step, to_dict(config), codec.config)
        save_checkpoint(folder, state, tensors, config.shard_mb, config.keep)
    accelerator.wait_for_everyone()
    return folder / f"step-{step:08d}"


def _sheet(
    accelerator: Accelerator,
    config: TrainConfig,
    step: int,
    codec: TrainingCodec,
    schedule: Schedule,
    average: Average[Networks],
    samples: Samples,
) -> None:
    """Write a sample sheet of the first samples in the first process."""
    writes = accelerator.is_main_process
    if not writes and not is_split(accelerator):
        return
    shown = [as_latents(samples[n].to(accelerator.device), codec.vae) for n in range(config.sheet.samples)]
    batch = collate(shown)
    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        path = config.out / "sheets" / f"step-{step:08d}.png"
        write_sheet(path if writes else None, average.module, codec, schedule, batch, config.sheet)
    apart(average.module)
