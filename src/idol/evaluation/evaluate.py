"""`idol.evaluate`: clips on disk to metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from idol.atomic_io import check_file, write_json
from idol.clip import Clip
from idol.errors import UserError
from idol.evaluation.baselines import empty_background, paste_person
from idol.evaluation.clip_sets import DerivedClips, check_names, open_clips
from idol.evaluation.evaluator import build_evaluator
from idol.evaluation.report import REFERENCE, ClipMetricsReport, compare_clips
from idol.progress import SILENT, ProgressCallback

if TYPE_CHECKING:
    from rich.table import Table

    from idol.evaluation.distribution_metrics import DistributionReport
    from idol.evaluation.feature_extraction import FeatureExtractor

RESERVED = "generated", "pasted", "plate", REFERENCE
"""Names of the columns that `evaluate` adds itself."""


@dataclass(frozen=True)
class EvaluationReport:
    """The result of `evaluate`.

    Attributes:
        clips: Metrics of each clip, and their means.
        distributions: Metrics of whole sets of clips; None if they were not asked for.
    """

    clips: ClipMetricsReport
    distributions: DistributionReport | None

    def to_json(self, per_clip: bool = False) -> dict[str, Any]:
        """Return plain values; with `per_clip` also every metric of every clip."""
        sets = {} if self.distributions is None else {"sets": self.distributions.to_json()}
        return {**self.clips.to_json(per_clip), **sets}

    def tables(self) -> tuple[Table, ...]:
        """Return the tables to print."""
        of_sets = () if self.distributions is None else (self.distributions.table(),)
        return (self.clips.table(), *of_sets)


def evaluate(
    generated: str | Path,
    reference: str | Path,
    *,
    others: Mapping[str, str | Path] | None = None,
    baselines: bool = True,
    pose: str = "rtmpose",
    mask: str = "mediapipe",
    lpips: Literal["vgg", "alex", "none"] = "vgg",
    identity: Literal["inception", "none"] = "inception",
    distributions: bool = True,
    resnet3d: str | Path | None = None,
    stride: int | None = None,
    plots: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    progress: ProgressCallback = SILENT,
) -> EvaluationReport:
    """Compare generated clips with the reference clips of the same names.

    Args:
        generated: A folder of clips' folders, one clip's folder, or shards (clips are named by their keys).
        reference: The same; may hold more clips.
        others: Further sets to score beside it, by column name.
        baselines: Also score the reference person pasted without moving, and the background alone.
        pose: Estimator that re-detects the joints; "none" leaves that metric out.
        mask: Estimator that segments the person in the video; "none" leaves that metric out.
        lpips: Backbone of LPIPS; "none" leaves it out.
        identity: Embedding that compares persons; "none" leaves that metric out.
        distributions: Also compute FID, KID, FVD and FID-VID, which takes longest.
        resnet3d: Weights of the 3-D ResNet-50 of FID-VID. Without them, the same distance is computed on I3D
            features.
        stride: Frames from one window of FVD to the next, at least 1; default half a window.
        plots: Folder for plots: scatter of the metrics, error maps of the best and worst clips.
        out: JSON file for the metrics of every clip. Written before the distributions are computed, too.
        device: Where networks run.
        progress: Receives a stage "scoring clips" and a stage "computing distribution metrics".

    Raises:
        UserError: If a folder holds no clips, a clip has no reference of its size, a name of `others` is
            reserved, an estimator is unknown, weights or a package are missing, or `out` or `plots` cannot be
            written. Everything but the sizes of clips is checked before the first clip is scored.
    """
    _check_settings(stride, others or {})
    references = open_clips(reference)
    columns: dict[str, Mapping[str, Clip]] = {"generated": open_clips(generated)}
    columns |= {name: open_clips(folder) for name, folder in (others or {}).items()}
    if baselines:
        columns["pasted"] = DerivedClips(references, paste_person)
        columns["plate"] = DerivedClips(references, empty_background)
    # References are checked right after the generated clips: derived sets lack what the references lack.
    check_names({"generated": columns["generated"], REFERENCE: references, **columns})
    _check_destinations(out, plots, columns)
    evaluator = build_evaluator(pose, mask, lpips, identity, device)
    extractor = _feature_extractor(resnet3d, stride, device) if distributions else None
    progress.stage("scoring clips")
    clips = compare_clips(columns, references, evaluator, progress)
    report = EvaluationReport(clips, None)
    if out is not None:
        write_json(Path(out), report.to_json(per_clip=True))
    if plots is not None:
        from idol.evaluation.plots import write_plots

        write_plots(clips, columns, references, Path(plots))
    if extractor is None:
        return report
    from idol.evaluation.distribution_metrics import compare_distributions

    progress.stage("computing distribution metrics")
    report = EvaluationReport(clips, compare_distributions(columns, references, extractor, progress))
    if out is not None:
        write_json(Path(out), report.to_json(per_clip=True))
    return report


def _check_settings(stride: int | None, others: Iterable[str]) -> None:
    if stride is not None and stride < 1:
        raise UserError("stride", str(stride), "give at least 1")
    for name in others:
        if name in RESERVED:
            raise UserError("others", f"{name!r} is the name of a column that is always there", "rename it")


def _check_destinations(out: str | Path | None, plots: str | Path | None, columns: Iterable[str]) -> None:
    if out is not None:
        check_file(Path(out))
    if plots is not None:
        from idol.evaluation.plots import check_plots

        check_plots(plots, columns)


def _feature_extractor(resnet3d: str | Path | None, stride: int | None, device: str) -> FeatureExtractor:
    from idol.evaluation.feature_extraction import FeatureExtractor

    return FeatureExtractor(
        resnet3d=None if resnet3d is None else Path(resnet3d), stride=stride, device=device
    )
