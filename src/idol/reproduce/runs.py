"""A row's networks: which stages train them, in which folders, and the clips that they make.

A folder is named by everything that decides what is in it, so rows of several tables that train alike share
their runs, and nothing is ever gone on with under other settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idol.clip import Clip
from idol.config import load_config, to_dict
from idol.generate import load_pipeline
from idol.reproduce.anew import anew, make_all
from idol.reproduce.tables import RowConfig, ScaleConfig, StageRun
from idol.train import TrainConfig, export, fit
from idol.train_autoencoder import AutoencoderConfig, fit_autoencoder

_NOT_DECIDING = ("out", "threads", "workers", "save_every", "keep", "log_every", "max_minutes", "shard_mb")
"""Config fields that change nothing in the weights."""

Stage = TrainConfig | AutoencoderConfig


@dataclass(frozen=True)
class Plan:
    """The stages of a row, in order, each in a folder of its own."""

    stages: tuple[Stage, ...]

    @property
    def folder(self) -> Path:
        """Of the last stage: what the row's networks are."""
        return self.stages[-1].out

    @property
    def makes_depth(self) -> bool:
        """Whether the row's networks generate depth."""
        pictures = self.last.data.pictures
        return pictures.stacked or pictures.modalities == 2

    @property
    def last(self) -> TrainConfig:
        """The stage that is generated with."""
        stage = self.stages[-1]
        assert isinstance(stage, TrainConfig)
        return stage


def planned(row: RowConfig, scale: ScaleConfig, beside: Path, out: Path) -> Plan:
    """Resolve a row's stages; trains nothing.

    Args:
        row: What differs.
        scale: What does not.
        beside: Folder that the scale's paths start from.
        out: Folder of all runs.

    Raises:
        UserError: If a config or an override of it cannot be used.
    """
    stages: list[Stage] = []
    own: list[str] = []
    if row.stacked:
        assert scale.stacked_autoencoder is not None, "asked for by ScaleConfig.why_not"
        first = _autoencoder(scale.stacked_autoencoder, scale.autoencoder, beside, out)
        stages.append(first)
        own += [f"autoencoder.path={first.out / 'autoencoder'}", f"autoencoder.kind={first.kind}"]
    own += row.set
    before: Path | None = None
    pretraining = row.pretraining or scale.pretraining
    alone = [] if pretraining == "none" else [getattr(scale, pretraining)]
    for run in [*alone, *scale.stages]:
        # pre-training is of frames alone, for all rows alike: in their own autoencoder, without depth
        joint = [] if run in alone else own
        last = row.video if run is scale.stages[-1] else ()
        overrides = [f"steps={run.steps}", *scale.set, *joint, *last, f"model.init={before or 'null'}"]
        config = load_config(TrainConfig, beside / run.config, overrides)
        config = dataclasses.replace(config, out=out / f"{config.stage}-{_digest(config)}")
        stages.append(config)
        before = config.out
    return Plan(tuple(stages))


def trained(plan: Plan) -> Path:
    """Run the stages that are not finished; the pipeline folder of the last one."""
    exported = plan.folder / "pipeline"
    if not exported.exists():
        for stage in plan.stages:
            if isinstance(stage, AutoencoderConfig):
                fit_autoencoder(stage)
            else:
                fit(stage, resume=True)
        export(plan.folder, exported)
    return exported


def remade(
    plan: Plan,
    clips: Mapping[str, Clip],
    key: str,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Folder of the clips that the row's networks, trained already, make anew.

    Args:
        plan: Of the row.
        clips: The true ones.
        key: Names them: other clips go into another folder.
        device: Where to generate.
        progress: Told (clips done, clips).
    """
    folder = plan.folder / f"clips-{key}"
    if not all((folder / name).exists() for name in clips):
        pipe = load_pipeline(str(trained(plan)), device)
        make_all(clips, folder, lambda true: anew(pipe, true), progress)
    return folder


def _autoencoder(run: StageRun, changes: tuple[str, ...], beside: Path, out: Path) -> AutoencoderConfig:
    config = load_config(AutoencoderConfig, beside / run.config, [f"steps={run.steps}", *changes])
    return dataclasses.replace(config, out=out / f"autoencoder-{_digest(config)}")


def _digest(config: Stage) -> str:
    return hashlib.sha256(json.dumps(_deciding(to_dict(config)), sort_keys=True).encode()).hexdigest()[:12]


def _deciding(values: dict[str, Any]) -> dict[str, Any]:
    """What is left of a config without what changes nothing."""
    return {
        key: _deciding(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in _NOT_DECIDING
    }
