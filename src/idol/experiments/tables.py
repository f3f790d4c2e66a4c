"""Config files of the paper's tables, and of the scales at which their rows are run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from idol.config import load_config
from idol.errors import UserError

Pretraining = Literal["none", "hap", "haop"]
Depth = Literal["person", "scene"]
Joints = Literal["body", "whole-body"]


@dataclass(frozen=True)
class PaperMetrics:
    """The paper's figures of one row on one dataset; None where it has none."""

    fid_vid: float | None = None
    """Printed as "FID-FVD"."""
    fvd: float | None = None
    """FVD of 8-frame windows."""
    depth_l2: float | None = None
    fid: float | None = None


@dataclass(frozen=True)
class PaperCost:
    """The paper's figures of one row of Table 7: eight frames with depth on a V100."""

    teraflops: float
    parameters: float
    """In billions."""
    megabytes: float
    seconds: float


@dataclass(frozen=True)
class RowConfig:
    """One row of a table: how its networks differ, or that its clips are given."""

    name: str
    tiktok: PaperMetrics = field(default_factory=PaperMetrics)
    ntu120: PaperMetrics = field(default_factory=PaperMetrics)
    set: tuple[str, ...] = ()
    """Overrides `a.b=value` of the joint stages' configs; one idea per row."""
    video: tuple[str, ...] = ()
    """Overrides of the last stage alone, for what only clips have, such as temporal layers."""
    pretraining: Pretraining | None = None
    """None takes the scale's."""
    stacked: bool = False
    """Whether frame and depth are stacked in one latent, which needs the scale's six-channel autoencoder."""
    external: bool = False
    """Whether the clips are made by the method's own code and given."""
    method: str | None = None
    """For Table 7: name in `idol.experiments.cost.methods.METHODS`."""
    cost: PaperCost | None = None


@dataclass(frozen=True)
class TableConfig:
    """One table of the paper."""

    title: str
    rows: tuple[RowConfig, ...]
    kind: Literal["quality", "cost"] = "quality"
    depth: Depth = "person"
    """Kind of depth of the table's clips."""
    joints: Joints = "body"
    """Joints of the table's clips."""
    notes: tuple[str, ...] = ()
    """What a reader must know, printed below the table."""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names) or not names:
            raise ValueError("rows: give each row a name of its own")


@dataclass(frozen=True)
class TrainingStage:
    """One stage of training: its config and its length."""

    config: Path
    """Relative to the scale's file."""
    steps: int


@dataclass(frozen=True)
class HeldOutClips:
    """The test clips that every row regenerates."""

    folder: Path | None = None
    """Shards, or a folder of clips. None: synthetic clips are rendered, as the other fields say."""
    clips: int = 64
    split: Literal["val", "test"] = "test"
    seed: int = 20241015
    size: int = 256
    depth: Depth = "person"
    joints: Joints = "body"


@dataclass(frozen=True)
class ScaleVariant:
    """What a scale uses instead for tables with another kind of depth or other joints."""

    about: str
    """As `ScaleConfig.about`."""
    depth: Depth = "person"
    joints: Joints = "body"
    set: tuple[str, ...] = ()
    """Overrides `a.b=value` of every diffusion stage's config: `data.folders`."""
    autoencoder: tuple[str, ...] = ()
    """Overrides of the six-channel autoencoder's config: its data and depth colors."""
    test: HeldOutClips = field(default_factory=HeldOutClips)


@dataclass(frozen=True)
class DepthEstimatorConfig:
    """How the depth of rows that produce none is estimated on their finished videos."""

    set: tuple[str, ...] = ()
    """Overrides `a.b=value` of the scale's stages: joint networks are trained so, and given the video."""
    model: str | None = None
    """Or a published estimator: folder or hub id of a depth estimation model of transformers."""

    def __post_init__(self) -> None:
        if bool(self.set) == (self.model is not None):
            raise ValueError("depth_estimator: give either set or model")


@dataclass(frozen=True)
class ScaleConfig:
    """Data, steps and sizes that all rows share, so that rows differ in their idea alone."""

    about: str
    """What is trained on what, in one sentence, printed with every table."""
    stages: tuple[TrainingStage, ...]
    """Joint stages, each initialized from the one before."""
    haop: TrainingStage | None = None
    hap: TrainingStage | None = None
    pretraining: Pretraining = "none"
    """Pre-training of rows that name none."""
    stacked_autoencoder: TrainingStage | None = None
    depth_estimator: DepthEstimatorConfig | None = None
    """For rows that produce no depth; None leaves them without."""
    test: HeldOutClips = field(default_factory=HeldOutClips)
    clips: tuple[ScaleVariant, ...] = ()
    """Variants for tables with scene depth or whole-body joints; the scale itself has person depth and body
    joints.
    """
    set: tuple[str, ...] = ()
    """Overrides `a.b=value` of every diffusion stage's config."""
    autoencoder: tuple[str, ...] = ()
    """Overrides of the six-channel autoencoder's config."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: name at least one")

    def for_table(self, table: TableConfig) -> ScaleConfig | None:
        """Return the scale with the clips that a table needs; None if it has none."""
        if (table.depth, table.joints) == ("person", "body") or table.kind == "cost":
            return self
        for clips in self.clips:
            if (clips.depth, clips.joints) == (table.depth, table.joints):
                return replace(
                    self,
                    about=clips.about,
                    test=clips.test,
                    set=(*self.set, *clips.set),
                    autoencoder=(*self.autoencoder, *clips.autoencoder),
                )
        return None

    def skip_reason(self, row: RowConfig, table: TableConfig) -> str | None:
        """Return why this scale cannot run a row; None if it can. Costs can always be measured.

        Args:
            row: The row.
            table: The table that it is in.
        """
        if table.kind == "cost":
            return None
        if self.for_table(table) is None:
            return f"this scale has no clips with {table.joints} joints and depth of the {table.depth}"
        if row.stacked and self.stacked_autoencoder is None:
            return "this scale trains no autoencoder of six channels"
        pretraining = row.pretraining or self.pretraining
        if pretraining != "none" and getattr(self, pretraining) is None:
            return f"this scale has no {pretraining} stage"
        return None


def load_table(name: str, folder: Path) -> TableConfig:
    """Load a table.

    Args:
        name: A name (`table4`) in `folder`, or the path of a YAML file.
        folder: Where tables are.

    Raises:
        UserError: If there is no such file, or it is not a table.
    """
    return load_config(TableConfig, _found("table", name, folder))


def load_scale(name: str, folder: Path) -> tuple[ScaleConfig, Path]:
    """Load a scale and return it with the folder of its file.

    Args:
        name: A name (`tiny`) in `folder`/scales, or the path of a YAML file.
        folder: Where tables are.

    Raises:
        UserError: If there is no such file, or it is not a scale.
    """
    path = _found("scale", name, folder / "scales")
    return load_config(ScaleConfig, path), path.parent


def _found(argument: str, name: str, folder: Path) -> Path:
    given = Path(name)
    path = given if given.suffix == ".yaml" else folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        hint = f"known: {known}; or give a YAML file" if known else "run this in a clone of the repository"
        where = "" if known else f": there are none in {folder.resolve()}"
        raise UserError(argument, f"no table or scale {name!r}{where}", hint)
    return path
