"""Training plan of a row: the stages of its networks, their folders, and the clips that they generate.

A folder is named by a hash of everything that determines its content: settings, clips and the autoencoder's
weights, but not their location. So rows of several tables that train alike share their runs, and no run is
ever continued with other settings or data. Models of the hub and Stable Diffusion's weights count by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from idol.clip import Clip
from idol.config import load_config, to_dict
from idol.errors import UserError
from idol.experiments.data_sources import MissingInput, autoencoder_sha256, clips_sha256, missing_clips
from idol.experiments.regenerate import make_clips, regenerate_clip
from idol.experiments.tables import RowConfig, ScaleConfig, TrainingStage
from idol.generation.environment import load_pipeline
from idol.progress import SILENT, ProgressCallback
from idol.training.checkpoint import list_checkpoints, load_state
from idol.training.config import TrainConfig
from idol.training.export import export
from idol.training.train import fit
from idol.training.train_autoencoder import AutoencoderConfig, fit_autoencoder

_IRRELEVANT = (
    "out",
    "threads",
    "workers",
    "save_every",
    "keep_checkpoints",
    "log_every",
    "max_minutes",
    "shard_mb",
)
"""Config fields that do not affect the weights."""

Stage = TrainConfig | AutoencoderConfig


@dataclass(frozen=True)
class RowPlan:
    """The training stages of a row in order, each in a folder of its own.

    Attributes:
        stages: The resolved configs.
        missing: Inputs that do not exist; the names of folders depend on them and say so.
    """

    stages: tuple[Stage, ...]
    missing: tuple[MissingInput, ...] = ()

    @property
    def folder(self) -> Path:
        """Folder of the last stage, which identifies the row's networks."""
        return self.stages[-1].out

    @property
    def produces_depth(self) -> bool:
        """Whether the row's networks generate depth."""
        images = self.last_stage.data.images
        return images.stacked or images.modalities == 2

    @property
    def last_stage(self) -> TrainConfig:
        """The stage whose networks generate the clips."""
        stage = self.stages[-1]
        assert isinstance(stage, TrainConfig)
        return stage


def plan_row(row: RowConfig, scale: ScaleConfig, scale_folder: Path, out: Path) -> RowPlan:
    """Resolve a row's stages, without training anything.

    Args:
        row: How the row differs.
        scale: What all rows share.
        scale_folder: Folder that paths in the scale's file are relative to.
        out: Folder of all runs.

    Raises:
        UserError: If a config or an override cannot be used.
    """
    stages: list[Stage] = []
    row_overrides: list[str] = []
    row_autoencoder: Path | None = None
    if row.stacked:
        assert scale.stacked_autoencoder is not None, "asked for by ScaleConfig.skip_reason"
        first = _autoencoder(scale.stacked_autoencoder, scale.autoencoder, scale_folder, out)
        stages.append(first)
        row_autoencoder = first.out / "autoencoder"
        row_overrides += [f"autoencoder.path={row_autoencoder}", f"autoencoder.kind={first.kind}"]
    row_overrides += row.set
    previous: Path | None = None
    pretraining = row.pretraining or scale.pretraining
    pretraining_stages = [] if pretraining == "none" else [getattr(scale, pretraining)]
    for stage_run in [*pretraining_stages, *scale.stages]:
        # pre-training is of frames alone, for all rows alike: in their own autoencoder, without depth
        of_row = [] if stage_run in pretraining_stages else row_overrides
        of_last = row.video if stage_run is scale.stages[-1] else ()
        overrides = [
            f"steps={stage_run.steps}",
            *scale.set,
            *of_row,
            *of_last,
            f"model.init={previous or 'null'}",
        ]
        config = load_config(TrainConfig, scale_folder / stage_run.config, overrides)
        config = dataclasses.replace(config, out=out / _folder_name(config, row_autoencoder))
        stages.append(config)
        previous = config.out
    missing = (missing_input for stage in stages for missing_input in _missing(stage, row_autoencoder))
    return RowPlan(tuple(stages), tuple(dict.fromkeys(missing)))


def train_row(plan: RowPlan, progress: ProgressCallback = SILENT) -> Path:
    """Train a row's unfinished stages and return the pipeline folder of the last one.

    Args:
        plan: The row's stages.
        progress: Receives the steps of each stage.

    Raises:
        UserError: If a stage stops before its last step (because of `max_minutes`) or cannot be run.
    """
    exported = plan.folder / "pipeline"
    if not exported.exists():
        threads = torch.get_num_threads()
        try:
            for stage in plan.stages:
                _finish(stage, progress)
        finally:
            torch.set_num_threads(threads)  # a stage's are its own, not those of what comes after
        export(plan.folder, exported)
    return exported


def regenerate_test_clips(
    plan: RowPlan,
    clips: Mapping[str, Clip],
    key: str,
    device: str,
    progress: ProgressCallback = SILENT,
) -> Path:
    """Return the folder of the test clips as the row's networks regenerate them.

    Args:
        plan: The row's stages.
        clips: The reference clips.
        key: Identifies the reference clips; other clips get another folder.
        device: Where to generate.
        progress: Receives one step per clip.
    """
    folder = plan.folder / f"clips-{key}"
    if not all((folder / name).exists() for name in clips):
        pipe = load_pipeline(str(train_row(plan, progress)), device)
        make_clips(clips, folder, lambda true: regenerate_clip(pipe, true), progress)
    return folder


def training_folders(stage: Stage) -> tuple[Path, ...]:
    """Return the folders of the clips that a stage is trained on."""
    return (stage.data,) if isinstance(stage, AutoencoderConfig) else stage.data.folders


def steps_done(stage: Stage) -> int:
    """Return the number of finished steps of a stage, as saved in its folder."""
    if isinstance(stage, TrainConfig):
        saved = list_checkpoints(stage.out / "checkpoints")
        return load_state(saved[-1]).step if saved else 0
    state = stage.out / "state.safetensors"
    if not state.exists():
        return 0
    with safe_open(state, "pt") as file:
        return int(file.metadata()["step"])


def _finish(stage: Stage, progress: ProgressCallback) -> None:
    if steps_done(stage) < stage.steps:
        if isinstance(stage, AutoencoderConfig):
            fit_autoencoder(stage, resume=True, progress=progress)
        else:
            fit(stage, resume=True, progress=progress)
    done = steps_done(stage)
    if done < stage.steps:
        raise UserError(
            str(stage.out), f"stopped at step {done} of {stage.steps}", "run the same again: it goes on there"
        )


def _autoencoder(
    stage_run: TrainingStage, changes: tuple[str, ...], scale_folder: Path, out: Path
) -> AutoencoderConfig:
    config = load_config(
        AutoencoderConfig, scale_folder / stage_run.config, [f"steps={stage_run.steps}", *changes]
    )
    return dataclasses.replace(config, out=out / _folder_name(config, None))


def _folder_name(config: Stage, row_autoencoder: Path | None) -> str:
    text = json.dumps(_determining_values(config, row_autoencoder), sort_keys=True)
    prefix = "" if not _missing(config, row_autoencoder) else "not-named-yet-"
    return f"{config.stage}-{prefix}{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _determining_values(config: Stage, row_autoencoder: Path | None) -> dict[str, Any]:
    """Return what determines a stage's weights: its config, with paths replaced by what they hold.

    Args:
        config: The stage; its `out` does not matter.
        row_autoencoder: Folder of the autoencoder that the row trains itself, identified by the name of its
            run.
    """
    values = _relevant(to_dict(config))
    if isinstance(config, AutoencoderConfig):
        return {**values, "data": clips_sha256(config.data) or str(config.data)}
    folders = [clips_sha256(folder) or str(folder) for folder in training_folders(config)]
    values["data"] |= {"folders": folders, "cache": config.data.cache is not None}
    path, init = config.autoencoder.path, config.model.init
    autoencoder = (
        row_autoencoder.parent.name
        if row_autoencoder is not None and _is_same(path, row_autoencoder)
        else autoencoder_sha256(path)
    )
    values["autoencoder"]["path"] = autoencoder or path
    values["model"]["init"] = None if init is None else init.name  # of the stage before
    return values


def _missing(config: Stage, row_autoencoder: Path | None) -> tuple[MissingInput, ...]:
    clips = missing_clips(training_folders(config))
    if isinstance(config, AutoencoderConfig):
        return clips
    path, remedy = config.autoencoder.path, "train it, or name another in autoencoder.path"
    available = (
        config.autoencoder.kind == "kl"
        or _is_same(path, row_autoencoder)
        or autoencoder_sha256(path) is not None
    )
    return (*clips, *(() if available else [MissingInput(path, "not trained yet", remedy)]))


def _is_same(path: str, row_autoencoder: Path | None) -> bool:
    return row_autoencoder is not None and Path(path) == row_autoencoder


def _relevant(values: dict[str, Any]) -> dict[str, Any]:
    """Return a config without the fields that do not affect the weights."""
    return {
        key: _relevant(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in _IRRELEVANT
    }
