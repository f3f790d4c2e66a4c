"""Config of a training stage, checked for consistency."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from idol.data.batch import DataConfig
from idol.diffusion.latents import LatentReference
from idol.diffusion.losses import LossConfig
from idol.diffusion.schedule import ScheduleConfig
from idol.pipeline.config import GenerationConfig
from idol.training.noise import NoiseConfig
from idol.training.optimizer import OptimizerConfig
from idol.training.sample_grid import SampleGridConfig
from idol.training.trainable import ModelConfig

_AT_LEAST_ONE = (
    "steps",
    "batch_size",
    "gradient_accumulation_steps",
    "save_every",
    "keep_checkpoints",
    "log_every",
)


@dataclass(frozen=True)
class AutoencoderSource:
    """The frozen autoencoder and the normalization of its latents.

    Attributes:
        path: Folder of the autoencoder or of a pipeline; for `kl` also the hub name of a model.
        kind: `idol` is `Autoencoder`, `kl` diffusers' `AutoencoderKL` (Stable Diffusion).
        latent_reference: Latents that are subtracted from those of each modality, see `LatentConfig`.
        per_channel: Measure a scale for each channel; otherwise one for each modality.
        normalization: `measure` it on the data, take the one of `model.init`, or Stable Diffusion's constant.
    """

    path: str
    kind: Literal["idol", "kl"] = "idol"
    latent_reference: LatentReference = "background"
    per_channel: bool = True
    normalization: Literal["measure", "init", "stable_diffusion"] = "measure"


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training.

    Attributes:
        out: Run folder: checkpoints, sample grids, logs, the resolved config.
        data: Source and content of samples.
        autoencoder: The frozen autoencoder.
        stage: Name of the stage; the other fields define what it does.
        model: Networks and their initialization.
        schedule: Noise schedule.
        noise: Noising of samples.
        loss: Weights of the losses (Eq. 7).
        optimizer: Optimizer, learning rate and EMA.
        sample_grid: Images of generated samples during training.
        generation: Defaults of the exported pipeline; sizes, skeletons and window are those of training.
        trainable: Parameters that are trained; `attention` freezes the ResBlocks (pre-training, Sec. 3.3).
        steps: Optimizer steps.
        batch_size: Samples of a process' batch; a step learns from batch_size *
            gradient_accumulation_steps * processes.
        gradient_accumulation_steps: Batches whose gradients are summed before a step.
        seed: Seed of data, noise and initialization.
        precision: `bf16` runs the networks under autocast; weights and losses are float32 in both.
        gradient_checkpointing: Recompute the U-Net's activations in the backward pass, to save memory.
        compile: Compile the U-Net.
        threads: CPU threads of each process; None leaves torch's default.
        save_every: Steps between checkpoints.
        keep_checkpoints: Checkpoints to keep.
        log_every: Steps between lines of the log.
        max_minutes: Save and stop after this time; the run can be resumed.
        shard_mb: Maximum size of a weight file, megabytes.
    """

    out: Path
    data: DataConfig
    autoencoder: AutoencoderSource
    stage: Literal["haop", "hap", "image", "video"] = "image"
    model: ModelConfig = field(default_factory=ModelConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sample_grid: SampleGridConfig = field(default_factory=SampleGridConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    trainable: Literal["all", "attention"] = "all"
    steps: int = 15000
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = False
    compile: bool = False
    threads: int | None = None
    save_every: int = 500
    keep_checkpoints: int = 2
    log_every: int = 20
    max_minutes: float | None = None
    shard_mb: float = 2000.0

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.model.unet.num_modalities != self.data.images.latent_modalities:
            raise ValueError("model.unet.num_modalities must be data.images.modalities, or 1 if stacked")
        if self.data.window.frames > 1 and self.model.unet.temporal is None:
            raise ValueError("data.window.frames is more than 1: set model.unet.temporal")
        if self.autoencoder.normalization == "init" and self.model.init is None:
            raise ValueError("autoencoder.normalization is init: set model.init to the checkpoint")
        if self.model.unet.output != "prediction" and self.schedule.prediction != "flow":
            raise ValueError("model.unet.output other than prediction needs schedule.prediction flow")
        if self.autoencoder.latent_reference == "draft" and not self.data.images.draft:
            raise ValueError("autoencoder.latent_reference is draft: set data.images.draft")
        if self.data.images.draft and not self.model.unet.draft:
            raise ValueError("data.images.draft is set: set model.unet.draft, too")
        if self.model.foreground is None and self.data.cache is not None:
            raise ValueError("CLIP's foreground encoder reads images: set data.cache to null")
