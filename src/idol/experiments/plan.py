"""A row's networks: which stages train them, in which folders, and the clips that they make.

A folder is named by everything that decides what is in it: settings, clips, the autoencoder's weights, but
not where those lie. So rows of several tables that train alike share their runs, and nothing is ever gone on
with under other settings or on other data. Models of the hub, and Stable Diffusion's weights, count by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from idol.clip import Clip
from idol.config import load_config, to_dict
from idol.errors import UserError
from idol.experiments.data_sources import Missing, autoencoder_sha256, clips_sha256, undrawn
from idol.experiments.regenerate import anew, make_all
from idol.experiments.tables import RowConfig, ScaleConfig, StageRun
from idol.generation.generate import load_pipeline
from idol.training.checkpoint import checkpoints, load_state
from idol.training.train import TrainConfig, export, fit
from idol.training.train_autoencoder import AutoencoderConfig, fit_autoencoder

_NOT_DECIDING = ("out", "threads", "workers", "save_every", "keep", "log_every", "max_minutes", "shard_mb")
"""Config fields that change nothing in the weights."""

Stage = TrainConfig | AutoencoderConfig


@dataclass(frozen=True)
class Plan:
    """The stages of a row, in order, each in a folder of its own.

    Attributes:
        stages: What trains what, resolved.
        missing: What they read and is not there; the folders' names cannot be known yet and say so.
    """

    stages: tuple[Stage, ...]
    missing: tuple[Missing, ...] = ()

    @property
    def folder(self) -> Path:
        """Of the last stage: what the row's networks are."""
        return self.stages[-1].out

    @property
    def makes_depth(self) -> bool:
        """Whether the row's networks generate depth."""
        images = self.last.data.images
        return images.stacked or images.modalities == 2

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
    made: Path | None = None
    if row.stacked:
        assert scale.stacked_autoencoder is not None, "asked for by ScaleConfig.why_not"
        first = _autoencoder(scale.stacked_autoencoder, scale.autoencoder, beside, out)
        stages.append(first)
        made = first.out / "autoencoder"
        own += [f"autoencoder.path={made}", f"autoencoder.kind={first.kind}"]
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
        config = dataclasses.replace(config, out=out / _folder_name(config, made))
        stages.append(config)
        before = config.out
    missing = (one for stage in stages for one in _missing(stage, made))
    return Plan(tuple(stages), tuple(dict.fromkeys(missing)))


def trained(plan: Plan) -> Path:
    """Run the stages that are not finished; the pipeline folder of the last one.

    Raises:
        UserError: If a stage stops before its last step, as its `max_minutes` may have it, or cannot be run.
    """
    exported = plan.folder / "pipeline"
    if not exported.exists():
        threads = torch.get_num_threads()
        try:
            for stage in plan.stages:
                _finish(stage)
        finally:
            torch.set_num_threads(threads)  # a stage's are its own, not those of what comes after
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


def folders_of(stage: Stage) -> tuple[Path, ...]:
    """Folders of the clips that a stage learns from."""
    return (stage.data,) if isinstance(stage, AutoencoderConfig) else stage.data.folders


def steps_done(stage: Stage) -> int:
    """Steps that a stage has behind it, as saved in its folder."""
    if isinstance(stage, TrainConfig):
        saved = checkpoints(stage.out / "checkpoints")
        return load_state(saved[-1]).step if saved else 0
    state = stage.out / "state.safetensors"
    if not state.exists():
        return 0
    with safe_open(state, "pt") as file:
        return int(file.metadata()["step"])


def _finish(stage: Stage) -> None:
    if steps_done(stage) < stage.steps:
        if isinstance(stage, AutoencoderConfig):
            fit_autoencoder(stage, resume=True)
        else:
            fit(stage, resume=True)
    done = steps_done(stage)
    if done < stage.steps:
        raise UserError(
            str(stage.out), f"stopped at step {done} of {stage.steps}", "run the same again: it goes on there"
        )


def _autoencoder(run: StageRun, changes: tuple[str, ...], beside: Path, out: Path) -> AutoencoderConfig:
    config = load_config(AutoencoderConfig, beside / run.config, [f"steps={run.steps}", *changes])
    return dataclasses.replace(config, out=out / _folder_name(config, None))


def _folder_name(config: Stage, made: Path | None) -> str:
    said = json.dumps(_decided_by(config, made), sort_keys=True)
    known = "" if not _missing(config, made) else "not-named-yet-"
    return f"{config.stage}-{known}{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def _decided_by(config: Stage, made: Path | None) -> dict[str, Any]:
    """What decides a stage's weights: its config, and in place of each path what lies there.

    Args:
        config: The stage; its `out` does not matter.
        made: Folder of the autoencoder that the row trains itself, whose run's name says what it is.
    """
    values = _deciding(to_dict(config))
    if isinstance(config, AutoencoderConfig):
        return {**values, "data": clips_sha256(config.data) or str(config.data)}
    folders = [clips_sha256(folder) or str(folder) for folder in folders_of(config)]
    values["data"] |= {"folders": folders, "cache": config.data.cache is not None}
    path, init = config.autoencoder.path, config.model.init
    named = made.parent.name if made is not None and _is_made(path, made) else autoencoder_sha256(path)
    values["autoencoder"]["path"] = named or path
    values["model"]["init"] = None if init is None else init.name  # of the stage before
    return values


def _missing(config: Stage, made: Path | None) -> tuple[Missing, ...]:
    clips = undrawn(folders_of(config))
    if isinstance(config, AutoencoderConfig):
        return clips
    path, hint = config.autoencoder.path, "train it, or name another in autoencoder.path"
    there = config.autoencoder.kind == "kl" or _is_made(path, made) or autoencoder_sha256(path) is not None
    return (*clips, *(() if there else [Missing(path, "not trained yet", hint)]))


def _is_made(path: str, made: Path | None) -> bool:
    return made is not None and Path(path) == made


def _deciding(values: dict[str, Any]) -> dict[str, Any]:
    """What is left of a config without what changes nothing."""
    return {
        key: _deciding(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in _NOT_DECIDING
    }
