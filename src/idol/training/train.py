"""Training loop of the method's stages (Secs. 3.1 and 3.3); stages differ by their configs alone."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer

from idol.atomic_io import write_text
from idol.config import dump, to_dict
from idol.data.batch import Batch, Samples, batches, collate
from idol.diffusion.latents import LatentConfig
from idol.diffusion.losses import LossTerms, total
from idol.diffusion.schedule import Schedule
from idol.errors import UserError
from idol.progress import SILENT, ProgressCallback
from idol.training.checkpoint import (
    TrainState,
    list_checkpoints,
    load_exactly,
    load_optimizer,
    load_state,
    load_tensors,
    optimizer_tensors,
    save_checkpoint,
)
from idol.training.config import TrainConfig
from idol.training.fsdp import gather, is_sharded, reshard, shard
from idol.training.initialization import autoencoder_folder, initial_weights
from idol.training.latent_statistics import TrainingCodec, encode_batch, measure_latents
from idol.training.log import TrainingLog
from idol.training.noise import draw_noise
from idol.training.optimizer import EMA, build_optimizer
from idol.training.sample_grid import write_sample_grid
from idol.training.samples import open_samples, sample_indices
from idol.training.trainable import (
    Networks,
    batch_conditions,
    build_networks,
    freeze,
    initialize,
    load_autoencoder,
)


def fit(config: TrainConfig, resume: bool = False, progress: ProgressCallback = SILENT) -> Path:
    """Train one stage.

    Under ``accelerate launch`` (or torchrun) every process takes its share of each step's samples; the result
    equals that of one process with the same number of samples per step.

    Args:
        config: The stage.
        resume: Resume from the newest checkpoint in `config.out`, or start if there is none.
        progress: Receives the steps, and the loss at each checkpoint.

    Returns:
        Folder of the newest checkpoint.

    Raises:
        UserError: If the data, the autoencoder or a checkpoint cannot be used, or `config.out` holds a run
            and `resume` is False.
    """
    # 1. Processes and devices
    deadline = math.inf if config.max_minutes is None else time.monotonic() + 60 * config.max_minutes
    accelerator = _accelerator()
    progress = progress if accelerator.is_main_process else SILENT
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    newest = _newest(config, resume)

    # 2. Data
    vae = _autoencoder(config).to(accelerator.device)
    samples = open_samples(config.data, vae, config.seed, accelerator, config.precision == "bf16", progress)
    codec = TrainingCodec(vae, _latent_config(config, newest, samples, vae))
    schedule = Schedule(config.schedule)

    # 3. Networks
    networks = _initial_networks(config, newest, codec).to(accelerator.device)
    if not is_sharded(accelerator):  # FSDP takes contiguous parameters only
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(networks, config.trainable)
    ema = EMA(networks, config.optimizer.ema_decay)
    if newest is not None:
        _restore(newest, networks, ema)
    if config.gradient_checkpointing:
        networks.unet.enable_gradient_checkpointing()
    if config.compile:
        networks.unet.compile()
    model = _distributed(accelerator, networks, ema)
    optimizer = build_optimizer([p for p in networks.parameters() if p.requires_grad], config.optimizer)
    first = 0
    if newest is not None:
        load_optimizer(optimizer, load_tensors(newest, "optimizer"))
        first = load_state(newest).step

    # 4. Steps
    rank, world = accelerator.process_index, accelerator.num_processes
    parts = config.gradient_accumulation_steps
    # the loader reads the indices ahead of training, which needs them again for the noise
    indices, ahead = itertools.tee(sample_indices(first, config.batch_size, parts, rank, world))
    loader = batches(samples, ahead, config.data.workers, pin=accelerator.device.type == "cuda")
    if accelerator.is_main_process:
        config.out.mkdir(parents=True, exist_ok=True)
        write_text(config.out / "config.yaml", dump(config))
    progress.stage(f"training stage {config.stage}: {config.steps} steps")
    with TrainingLog(config.out, first, config.log_every, rank > 0) as log:
        for step in range(first, config.steps):
            rate = config.optimizer.learning_rate(step, config.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            for part in range(parts):
                batch = encode_batch(next(loader).to(accelerator.device), vae)
                with _synchronized(accelerator, model, last=part == parts - 1):
                    terms = _loss(model, networks, codec, schedule, batch, next(indices), config)
                    accelerator.backward(terms["loss"] / parts)
                log.add(terms)
            if config.optimizer.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(networks.parameters(), config.optimizer.max_grad_norm)
            optimizer.step()
            ema.update(step)

            # 5. Report and save
            done = step + 1
            progress.step(done, config.steps)
            if log.due(done):
                log.write(done, accelerator.reduce(log.means(), "mean"), rate)
            late = _any_late(accelerator, time.monotonic() > deadline, config)
            if done % config.save_every == 0 or done == config.steps or late:
                newest = _save(accelerator, config, done, codec, networks, ema, optimizer)
                progress.note(f"checkpoint at step {done}, {log.summary}")
            grid = config.sample_grid
            if grid.every and (done % grid.every == 0 or done == config.steps):
                _write_sample_grid(accelerator, config, done, codec, schedule, ema, samples)
            if late:
                break
    assert newest is not None
    return newest


def _accelerator() -> Accelerator:
    """Set up devices and processes; the long timeout lets processes wait for one that encodes latents."""
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=6))
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), kwargs_handlers=[patience])
    is_sharded(accelerator)  # reports an unsupported configuration before any work is done
    return accelerator


def _distributed(accelerator: Accelerator, networks: Networks, ema: EMA[Networks]) -> torch.nn.Module:
    """Wrap the networks for training by all processes together: replicated or, with FSDP, sharded."""
    if not is_sharded(accelerator):
        return accelerator.prepare_model(networks)
    shard(networks, accelerator)
    shard(ema.module, accelerator)
    return networks


def _newest(config: TrainConfig, resume: bool) -> Path | None:
    """Return the checkpoint to resume from, if any."""
    found = list_checkpoints(config.out / "checkpoints")
    if found and not resume:
        raise UserError("resume", f"{config.out} holds a run", "pass `resume=True`, or choose another `out`")
    return found[-1] if found else None


def _autoencoder(config: TrainConfig) -> torch.nn.Module:
    source = config.autoencoder
    vae = load_autoencoder(source.kind, autoencoder_folder(source.path))
    if vae.config.in_channels != (6 if config.data.images.stacked else 3):
        found = f"{source.path} takes {vae.config.in_channels} channels"
        raise UserError("autoencoder.path", found, "give an autoencoder of 6 for stacked images, else of 3")
    return vae


def _initial_networks(config: TrainConfig, newest: Path | None, codec: TrainingCodec) -> Networks:
    """Build the networks with their initial weights; those of a checkpoint are loaded later."""
    torch.manual_seed(config.seed)
    networks = build_networks(config.model, codec.downscale, pretrained=newest is None)
    if newest is None and config.model.init is not None:
        initialize(networks, initial_weights(config.model.init)[0], str(config.model.init))
    return networks


def _latent_config(
    config: TrainConfig, newest: Path | None, samples: Samples, vae: torch.nn.Module
) -> LatentConfig:
    source = config.autoencoder
    if newest is not None:
        return load_state(newest).latents
    colormap = config.data.images.colormap
    match source.normalization:
        case "measure":
            return measure_latents(samples, vae, source.latent_reference, colormap, source.per_channel)
        case "stable_diffusion":
            return LatentConfig.stable_diffusion(config.model.unet.num_modalities, colormap)
        case "init":
            assert config.model.init is not None, "checked by TrainConfig"
            latents = initial_weights(config.model.init)[1]
            if latents.colormap != colormap:
                found = f"{colormap}, but {config.model.init} has depth in {latents.colormap}"
                remedy = f"set it to {latents.colormap}, or autoencoder.normalization to measure"
                raise UserError("data.images.colormap", found, remedy)
            return latents


def _restore(path: Path, networks: Networks, ema: EMA[Networks]) -> None:
    """Load the weights and their EMA from a checkpoint."""
    load_exactly(networks, load_tensors(path, "networks"), path)
    load_exactly(ema.module, load_tensors(path, "average"), path)


def _loss(
    model: torch.nn.Module,
    networks: Networks,
    codec: TrainingCodec,
    schedule: Schedule,
    batch: Batch,
    indices: list[int],
    config: TrainConfig,
) -> dict[str, Tensor]:
    """Compute Eq. 7 on one batch: `loss` and its terms, by name."""
    clean = codec.normalize_batch(batch)
    drawn = draw_noise(indices, config.seed, clean.shape, schedule, config.noise).to(clean.device)
    conditions = batch_conditions(batch, codec, networks.denoiser.reads_latent_pose)
    noisy = schedule.add_noise(clean, drawn.noise, drawn.timesteps)
    target = schedule.target(clean, drawn.noise, drawn.timesteps)
    # features and attention maps cost memory: the networks return them only where a loss reads them
    consistent = bool(config.loss.w_mo or config.loss.w_xattn) and clean.shape[1] == 2
    with torch.autocast(clean.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        output = model(noisy, drawn.timesteps, conditions, drawn.dropped, return_features=consistent)
    gamma = config.noise.min_snr
    weight = None if gamma is None else schedule.min_snr_weight(drawn.timesteps, gamma)
    terms = total(output.sample, target, output.features, config.loss, weight)
    return _logged(terms, output.sample, target)


def _logged(terms: LossTerms, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Name the terms of the loss, and the denoising error of each modality."""
    error = (predicted.detach().float() - target).square().mean((0, 2, 3, 4, 5))  # b m f c h w -> m
    values = {"loss": terms.total, "denoising": terms.denoising}
    values |= {"motion": terms.motion, "attention_map": terms.attention_map}
    return values | dict(zip(("video", "depth"), error, strict=False))  # one error with one modality


def _synchronized(
    accelerator: Accelerator, model: torch.nn.Module, last: bool
) -> contextlib.AbstractContextManager[None]:
    """Reduce gradients over processes only with the last of the accumulated batches."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        return contextlib.nullcontext()
    return contextlib.nullcontext() if last else accelerator.no_sync(model)


def _any_late(accelerator: Accelerator, late: bool, config: TrainConfig) -> bool:
    """Return whether any process ran out of time: all must stop at the same step."""
    if config.max_minutes is None:
        return False
    flag = torch.tensor(float(late), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum") > 0)


def _save(
    accelerator: Accelerator,
    config: TrainConfig,
    step: int,
    codec: TrainingCodec,
    networks: Networks,
    ema: EMA[Networks],
    optimizer: Optimizer,
) -> Path:
    """Write a checkpoint in the first process; all wait for it."""
    folder = config.out / "checkpoints"
    groups = {
        "networks": networks.state_dict(),
        "average": ema.module.state_dict(),
        "optimizer": optimizer_tensors(optimizer),
    }
    tensors = {name: gather(group, accelerator.is_main_process) for name, group in groups.items()}
    if accelerator.is_main_process:
        state = TrainState(step, to_dict(config), codec.config)
        save_checkpoint(folder, state, tensors, config.shard_mb, config.keep_checkpoints)
    accelerator.wait_for_everyone()
    return folder / f"step-{step:08d}"


def _write_sample_grid(
    accelerator: Accelerator,
    config: TrainConfig,
    step: int,
    codec: TrainingCodec,
    schedule: Schedule,
    ema: EMA[Networks],
    samples: Samples,
) -> None:
    """Write a grid of the first samples in the first process; sharded weights need all processes."""
    writes, grid = accelerator.is_main_process, config.sample_grid
    if not writes and not is_sharded(accelerator):
        return
    batch = collate([encode_batch(samples[n].to(accelerator.device), codec.vae) for n in range(grid.samples)])
    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        path = config.out / "sample_grids" / f"step-{step:08d}.png"
        write_sample_grid(path if writes else None, ema.module, codec, schedule, batch, grid)
    reshard(ema.module)
