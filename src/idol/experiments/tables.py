"""What the paper's tables hold, and the scale at which their rows are run here: two kinds of YAML."""

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
class Published:
    """One row's figures in the paper on one dataset; None where it gives none."""

    fid_vid: float | None = None
    """Printed as "FID-FVD"."""
    fvd: float | None = None
    """Of 8-frame snippets."""
    depth_l2: float | None = None
    fid: float | None = None


@dataclass(frozen=True)
class PublishedCost:
    """One row of the paper's Table 7: eight frames with depth on a V100."""

    teraflops: float
    parameters: float
    """In thousand millions."""
    megabytes: float
    seconds: float


@dataclass(frozen=True)
class RowConfig:
    """One row of a table: how its networks differ, or whose clips it judges."""

    name: str
    tiktok: Published = field(default_factory=Published)
    ntu120: Published = field(default_factory=Published)
    set: tuple[str, ...] = ()
    """a.b=value, applied to the joint stages' configs; one idea a row."""
    video: tuple[str, ...] = ()
    """The same for the last stage alone: what only clips have, such as temporal layers."""
    pretraining: Pretraining | None = None
    """None takes the scale's."""
    stacked: bool = False
    """Frame and depth in one latent: needs the scale's autoencoder of six channels."""
    external: bool = False
    """Made by the method's own code: its clips are given, never made here."""
    method: str | None = None
    """Of Table 7: name in `idol.experiments.cost.METHODS`."""
    cost: PublishedCost | None = None


@dataclass(frozen=True)
class TableConfig:
    """One table of the paper."""

    title: str
    rows: tuple[RowConfig, ...]
    kind: Literal["quality", "cost"] = "quality"
    depth: Depth = "person"
    """Kind of the depth that the table is about."""
    joints: Joints = "body"
    """Joints that its clips need."""
    notes: tuple[str, ...] = ()
    """What a reader must know; printed below."""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names) or not names:
            raise ValueError("rows: give each row a name of its own")


@dataclass(frozen=True)
class StageRun:
    """One stage of training: its config, and for how long."""

    config: Path
    """Relative to the scale's file."""
    steps: int


@dataclass(frozen=True)
class TestClips:
    """The clips that every row makes anew."""

    folder: Path | None = None
    """Shards, or a folder of clips; None draws synthetic ones, as the other fields say."""
    clips: int = 64
    split: Literal["val", "test"] = "test"
    seed: int = 20241015
    size: int = 256
    depth: Depth = "person"
    joints: Joints = "body"


@dataclass(frozen=True)
class TableClips:
    """The clips of tables about another depth, or that need other joints, than a scale's own."""

    about: str
    """As `ScaleConfig.about`."""
    depth: Depth = "person"
    joints: Joints = "body"
    set: tuple[str, ...] = ()
    """a.b=value, applied to every diffusion stage's config: `data.folders`."""
    autoencoder: tuple[str, ...] = ()
    """a.b=value, applied to the config of the autoencoder of six channels: its data and depth colors."""
    test: TestClips = field(default_factory=TestClips)


@dataclass(frozen=True)
class DepthEstimator:
    """What estimates the depth of rows that make none, on their finished videos."""

    set: tuple[str, ...] = ()
    """a.b=value: joint networks, trained by the scale's stages so changed, that are given the video."""
    model: str | None = None
    """Or a published estimator: folder or hub id of a depth estimation model of transformers."""

    def __post_init__(self) -> None:
        if bool(self.set) == (self.model is not None):
            raise ValueError("depth_estimator: give either set or model")


@dataclass(frozen=True)
class ScaleConfig:
    """Data, steps and sizes that all rows share, so that rows differ in their idea alone."""

    about: str
    """What is trained on what, in a sentence: printed with every table."""
    stages: tuple[StageRun, ...]
    """Joint stages, one starting from the other."""
    haop: StageRun | None = None
    hap: StageRun | None = None
    pretraining: Pretraining = "none"
    """Of rows that name none."""
    stacked_autoencoder: StageRun | None = None
    depth_estimator: DepthEstimator | None = None
    """Of rows that make no depth; None leaves them without."""
    test: TestClips = field(default_factory=TestClips)
    clips: tuple[TableClips, ...] = ()
    """Of tables about another depth or other joints; the scale's own have the body's joints and its depth."""
    set: tuple[str, ...] = ()
    """a.b=value, applied to every diffusion stage's config."""
    autoencoder: tuple[str, ...] = ()
    """a.b=value, applied to the config of the autoencoder of six channels."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: name at least one")

    def for_table(self, table: TableConfig) -> ScaleConfig | None:
        """The scale with the clips that a table needs; None if it has none such."""
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

    def why_not(self, row: RowConfig, table: TableConfig) -> str | None:
        """Why this scale cannot run the row; None if it can. What a row costs can always be measured."""
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
    """The table of that name (`table4`) in `folder`, or at that path.

    Raises:
        UserError: If there is none, or it is not a table.
    """
    return load_config(TableConfig, _found("TABLE", name, folder))


def load_scale(name: str, folder: Path) -> tuple[ScaleConfig, Path]:
    """The scale of that name (`tiny`) in `folder`/scales, or at that path; and its file's folder.

    Raises:
        UserError: If there is none, or it is not a scale.
    """
    path = _found("--scale", name, folder / "scales")
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
