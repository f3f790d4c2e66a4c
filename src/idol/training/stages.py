"""A stage of training from its config file: `idol.train` and `idol.train_autoencoder`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idol.config import load_config, read_config
from idol.errors import UserError
from idol.progress import SILENT, ProgressCallback
from idol.training.config import TrainConfig
from idol.training.train import fit
from idol.training.train_autoencoder import AutoencoderConfig, fit_autoencoder
from idol.training.train_lifter import LifterTrainConfig, fit_lifter


@dataclass(frozen=True)
class TrainedStage:
    """A stage of training and what it wrote.

    Attributes:
        config: The resolved config.
        checkpoint: Folder of the newest checkpoint or of the autoencoder; file of the lifter; None of a dry
            run.
        weights: The exported pipeline folder; None if none was asked for.
    """

    config: TrainConfig | AutoencoderConfig | LifterTrainConfig
    checkpoint: Path | None = None
    weights: Path | None = None


def train(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    dry_run: bool = False,
    export: str | Path | None = None,
    progress: ProgressCallback = SILENT,
) -> TrainedStage:
    """Train one stage: of the diffusion model, the autoencoder, or the lifter of joints.

    Args:
        config: YAML file of the stage, such as `configs/mini/video.yaml`.
        overrides: Changes to the file, `key=value` or `a.b=value` each.
        resume: Continue from the newest checkpoint in the config's `out`, or start if there is none.
        dry_run: Only resolve the config.
        export: Folder for a pipeline of the trained weights, which `idol.generate` takes as `weights`.
        progress: Receives the steps.

    Raises:
        UserError: If the config, its data or its initial weights cannot be used, or `export` is no folder for
            a pipeline.
    """
    config = Path(config)
    kind = read_config(config).get("stage")
    if kind in ("autoencoder", "lifter") and export is not None:
        raise UserError("export", f"the {kind} alone generates nothing", "export another stage")
    if kind == "autoencoder":
        return train_autoencoder(config, overrides, resume=resume, dry_run=dry_run, progress=progress)
    if kind == "lifter":
        lifter = load_config(LifterTrainConfig, config, list(overrides))
        return TrainedStage(lifter, None if dry_run else fit_lifter(lifter, resume, progress))
    stage = load_config(TrainConfig, config, list(overrides))
    weights = None if export is None else Path(export)
    if weights is not None:
        _check_export(weights)
    if dry_run:
        return TrainedStage(stage)
    checkpoint = fit(stage, resume, progress)
    if weights is not None:
        from idol.training.export import export as export_pipeline

        export_pipeline(checkpoint, weights)
    return TrainedStage(stage, checkpoint, weights)


def train_autoencoder(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    dry_run: bool = False,
    progress: ProgressCallback = SILENT,
) -> TrainedStage:
    """Train the autoencoder.

    Args:
        config: YAML file of the stage, such as `configs/mini/autoencoder.yaml`.
        overrides: As `train`.
        resume: As `train`.
        dry_run: As `train`.
        progress: As `train`.

    Raises:
        UserError: As `train`.
    """
    stage = load_config(AutoencoderConfig, Path(config), list(overrides))
    return TrainedStage(stage, None if dry_run else fit_autoencoder(stage, resume, progress))


def _check_export(folder: Path) -> None:
    """Refuse, before hours of training, a folder that the export would not replace."""
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise UserError("export", f"{folder} exists and holds no weights", "name another folder")
