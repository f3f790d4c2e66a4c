"""Tables of quality: rows trained, clips generated and scored, metrics collected."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from idol.assets import sha256_of
from idol.clip import Clip
from idol.config import to_dict
from idol.data.shards import MANIFEST
from idol.errors import UserError
from idol.evaluation import optional_imports
from idol.evaluation.bootstrap import describe_sample
from idol.evaluation.clip_sets import check_names, open_clips
from idol.evaluation.confidence_intervals import Estimate
from idol.evaluation.distribution_metrics import DistributionReport, report_from_features
from idol.evaluation.evaluator import Evaluator
from idol.evaluation.feature_extraction import FeatureExtractor
from idol.evaluation.report import REFERENCE, ROWS, ClipMetricsReport, compare_clips
from idol.experiments.cost.hardware import check_device, processor_name
from idol.experiments.data_sources import check_nothing_missing, training_clips
from idol.experiments.estimated_depth import (
    depth_model_estimator,
    joint_network_estimator,
    write_with_estimated_depth,
)
from idol.experiments.feature_cache import cached_features
from idol.experiments.plan import RowPlan, regenerate_test_clips, train_row
from idol.experiments.report import TABLE_METRICS, RowResult, TableResult
from idol.experiments.study import Study
from idol.experiments.tables import HeldOutClips, RowConfig
from idol.generation.environment import load_pipeline, package_versions
from idol.prepare.estimators.depth import DepthModel
from idol.progress import SILENT, ProgressCallback
from idol.synthesis.dataset import check_installed
from idol.training.checkpoint import load_tensors
from idol.training.initialization import find_weights


def run_quality_table(
    study: Study, *, device: str = "cpu", resnet3d: Path | None = None, progress: ProgressCallback = SILENT
) -> TableResult:
    """Train, generate and score the rows of a table of the kind `quality`.

    Args:
        study: The table, from `study.plan_study`.
        device: Where clips are generated and evaluated.
        resnet3d: Weights of the 3-D ResNet-50 of FID-VID; without them I3D features are compared.
        progress: Receives a stage for each row, and steps.

    Raises:
        UserError: If the device, a package, training, the reference clips or given clips cannot be used, or
            no row can be run. Whatever can be checked early is checked before anything is rendered or
            trained.
    """
    extractor = _feature_extractor(study, device, resnet3d)
    progress.stage("drawing the test clips")
    reference_folder = _reference_clips(study.scale.test, study.out, progress)
    reference, key = open_clips(reference_folder), _fingerprint(reference_folder)
    for name, given in study.given.items():
        check_names({REFERENCE: reference, name: open_clips(given)})
    folders = {**study.given, REFERENCE: reference_folder}
    for name, plan in study.plans.items():
        train_row(plan, progress)
        progress.stage(f"{name}: generating clips")
        folders[name] = regenerate_test_clips(plan, reference, key, device, progress)
    folders |= _estimated(study, folders, reference, device, progress)
    rows_run = [row.name for row in study.table.rows if row.name in folders]
    columns = {name: open_clips(folders[name]) for name in rows_run}
    progress.stage("scoring clips")
    clips = compare_clips(columns, reference, Evaluator(), progress)
    features = {}
    for name, of in {**columns, REFERENCE: reference}.items():
        progress.stage(f"{name}: computing features")
        cache = folders[name] if folders[name].is_relative_to(study.out) else None
        features[name] = cached_features(of, clips.clips, extractor, cache, progress)
    distributions = report_from_features(
        clips.clips, features, extractor.metrics(), None, extractor.weights, clips.people
    )
    rows = tuple(_result(row, study, clips, distributions) for row in study.table.rows)
    return TableResult(
        title=study.table.title,
        scale=study.scale.about,
        judged=describe_sample(len(clips.clips), clips.people),
        trained_on=tuple(training_clips(folder) for folder in study.data),
        rows=rows,
        notes=_notes(study),
        provenance=_provenance(study, distributions),
    )


def _feature_extractor(study: Study, device: str, resnet3d: Path | None) -> FeatureExtractor:
    """Return the networks of the distribution metrics, after every check that is cheap."""
    if not study.plans and not study.given:
        raise UserError("table", "none of its rows can be run at this scale", "see `dry_run=True`")
    check_device(device)
    for name in ("cv2", "skimage.metrics"):
        optional_imports.require(name)
    folder = _reference_folder(study.scale.test, study.out)
    if study.scale.test.folder is None and not (folder / MANIFEST).is_file():
        check_installed()
    check_nothing_missing(study.missing)
    for given in study.given.values():
        open_clips(given)
    return FeatureExtractor(resnet3d=resnet3d, device=device)


def _estimated(
    study: Study,
    folders: Mapping[str, Path],
    reference: Mapping[str, Clip],
    device: str,
    progress: ProgressCallback,
) -> dict[str, Path]:
    """Return folders of the clips of rows that produce no depth, with estimated depth."""
    source = study.scale.depth_estimator
    if source is None or not study.estimated:
        return {}
    if study.estimator is not None:
        pipe = load_pipeline(str(train_row(study.estimator, progress)), device)
        estimate, estimator_name = joint_network_estimator(pipe), study.estimator.folder.name
    else:
        assert source.model is not None, "checked by DepthEstimatorConfig"
        estimate, estimator_name = (
            depth_model_estimator(DepthModel(source.model, device).estimate),
            Path(source.model).name,
        )
    folders_with_depth = {}
    for name in study.estimated:
        progress.stage(f"{name}: estimating depth")
        folder = folders[name].with_name(f"{folders[name].name}-{estimator_name}")
        folders_with_depth[name] = write_with_estimated_depth(
            open_clips(folders[name]), reference, folder, estimate, progress
        )
    return folders_with_depth


def _notes(study: Study) -> tuple[str, ...]:
    """Return the table's notes, and which rows have estimated depth."""
    if not study.estimated or study.scale.depth_estimator is None:
        return study.table.notes
    estimator_name = study.scale.depth_estimator.model or "joint networks that are given it clean"
    return (
        *study.table.notes,
        f"Depth of {', '.join(study.estimated)}: estimated on the finished video by {estimator_name}.",
    )


def _result(
    row: RowConfig, study: Study, clips: ClipMetricsReport, distributions: DistributionReport
) -> RowResult:
    """Return one row of the table from both reports."""
    if row.name in study.left_out:
        return RowResult(row, skip_reason=study.left_out[row.name])
    measured = {metric.key for metric in TABLE_METRICS}
    metrics = {r.key: clips.estimate(row.name, r) for r in ROWS if r.key in measured}
    draws = {r.key: clips.bootstrap_means(row.name, r) for r in ROWS if r.key in measured}
    for key, d in distributions.columns[row.name].items():
        if key in measured and d.value is not None:
            low, high = (-math.inf, math.inf) if d.low is None or d.high is None else (d.low, d.high)
            metrics[key] = Estimate(d.value, low, high, d.clips)
            draws[key] = np.array(d.draws) if d.draws else np.full(1, np.nan)  # of one person: undecided
    metrics = {key: estimate for key, estimate in metrics.items() if math.isfinite(estimate.value)}
    return RowResult(row, _parameters(study.plans.get(row.name)), metrics, draws)


def _parameters(plan: RowPlan | None) -> int | None:
    """Return the number of trained parameters: all of the checkpoint's."""
    if plan is None:
        return None
    average = load_tensors(find_weights(plan.folder), "average")
    return sum(tensor.numel() for tensor in average.values())


def _provenance(study: Study, distributions: DistributionReport) -> dict[str, Any]:
    """Return what else determines the results."""
    return {
        "runs": {name: plan.folder.name for name, plan in study.plans.items()},
        "test": to_dict(study.scale.test),
        "set_metrics": distributions.to_json(),
        "versions": list(package_versions()),
        "machine": f"{processor_name()}, threads: {torch.get_num_threads()}",
    }


def _reference_folder(test: HeldOutClips, out: Path) -> Path:
    """Return where the test clips are or will be rendered."""
    if test.folder is not None:
        return test.folder
    kind = [k for k, usual in ((test.depth, "person"), (test.joints, "body")) if k != usual]
    return out / "-".join([f"{test.split}-{test.seed}-{test.size}-{test.clips}", *kind])


def _reference_clips(test: HeldOutClips, out: Path, progress: ProgressCallback) -> Path:
    """Return the folder of the test clips, rendered first if necessary."""
    folder = _reference_folder(test, out)
    if test.folder is not None:
        return folder
    from idol import synthesis

    return synthesis.synth(
        folder,
        test.clips,
        test.seed,
        size=test.size,
        split=test.split,
        depth=test.depth,
        joints=test.joints,
        progress=progress,
    )


def _fingerprint(folder: Path) -> str:
    """Return a name for test clips derived from their content; the manifest of shards holds checksums."""
    manifest = folder / MANIFEST
    files = [manifest] if manifest.is_file() else [f for f in sorted(folder.rglob("*")) if f.is_file()]
    checksums = [(str(file.relative_to(folder)), sha256_of(file)) for file in files]
    return f"{folder.name}-{hashlib.sha256(json.dumps(checksums).encode()).hexdigest()[:12]}"
