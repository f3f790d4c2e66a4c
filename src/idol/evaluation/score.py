"""The metrics of one clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from idol.clip import Clip
from idol.clip.background_subtraction import subtract_background
from idol.errors import UserError
from idol.evaluation.evaluator import Evaluator
from idol.evaluation.metrics import clip as clip_metrics
from idol.evaluation.metrics import depth as depth_metrics
from idol.evaluation.metrics import depth_boundaries, identity, image, optical_flow
from idol.evaluation.metrics.clothing_color import Garment, color_error
from idol.evaluation.reference import Reference
from idol.pose.joints import body_18

_NAN = float("nan")


@dataclass(frozen=True)
class ClipScores:
    """The metrics of one clip against its reference; NaN where a metric is not defined.

    "The person" is where the reference depth shows one; for `scene` depth, which shows everything, it is the
    reference mask. Metrics of the silhouette in the depth exist for `person` depth only, and a clip without
    depth has no depth metric. Depth is normalized inverse depth in [0, 1] unless meters are named.

    Attributes:
        depth_l2: Mean squared depth error over the whole frame.
        depth_l2_person: The same within the person.
        silhouette_iou: IoU of the silhouette in the depth and that in the reference depth.
        alignment_found: IoU of the silhouette in the depth and the person that the mask estimator finds in
            the clip's own video.
        alignment_plate: The same with what differs from the background in the video: coarser, but without a
            network.
        joints: Share of the driving joints that are re-detected within a tenth of the person's height.
        lpips: LPIPS to the reference video.
        shirt: Color error (Delta E) of the shirt against the first reference frame.
        trousers: The same of the trousers.
        flicker: Mean |frame difference| outside the person, in 8-bit levels.
        psnr: PSNR in dB; see `image.psnr`.
        ssim: SSIM of the gray frames; see `image.ssim`.
        identity: Cosine similarity of the person to that of the first reference frame; see
            `identity.similarity`.
        depth_rmse_frame: Root mean square depth error over the whole frame.
        depth_absrel: Mean of |error| / reference depth within the person, as are all up to `boundary_*`.
        depth_rmse: Root mean square depth error.
        depth_delta: Share of the pixels whose depth is within a factor of 1.25 of the reference.
        depth_absrel_aligned: After the best scale and shift, one pair per clip; see `depth.fit_to_reference`.
        depth_rmse_aligned: The same.
        depth_delta_aligned: The same.
        depth_absrel_meters: Of distances, where the generated depth shows the person too.
        depth_rmse_meters: In meters, at the same pixels.
        depth_delta_meters: At the same pixels.
        depth_absrel_meters_aligned: After scaling and shifting the inverse depths, in the reference range.
        depth_rmse_meters_aligned: The same.
        depth_delta_meters_aligned: The same.
        boundary_precision: Share of the depth edges that the reference has; see
            `depth_boundaries.match_edges`.
        boundary_recall: Share of the reference's depth edges that are found.
        boundary_f1: Harmonic mean of the two.
        alignment_edge: Distance in pixels between the outlines that `alignment_found` compares.
        motion_difference: Between the optical flow of the video and that of its own depth; see
            `optical_flow.motion_difference`.
        warp_error: Mean |change| along the reference's motion where visible, in 8-bit levels.
        warp_error_person: The same within the person.
    """

    depth_l2: float = _NAN
    depth_l2_person: float = _NAN
    silhouette_iou: float = _NAN
    alignment_found: float = _NAN
    alignment_plate: float = _NAN
    joints: float = _NAN
    lpips: float = _NAN
    shirt: float = _NAN
    trousers: float = _NAN
    flicker: float = _NAN
    psnr: float = _NAN
    ssim: float = _NAN
    identity: float = _NAN
    depth_rmse_frame: float = _NAN
    depth_absrel: float = _NAN
    depth_rmse: float = _NAN
    depth_delta: float = _NAN
    depth_absrel_aligned: float = _NAN
    depth_rmse_aligned: float = _NAN
    depth_delta_aligned: float = _NAN
    depth_absrel_meters: float = _NAN
    depth_rmse_meters: float = _NAN
    depth_delta_meters: float = _NAN
    depth_absrel_meters_aligned: float = _NAN
    depth_rmse_meters_aligned: float = _NAN
    depth_delta_meters_aligned: float = _NAN
    boundary_precision: float = _NAN
    boundary_recall: float = _NAN
    boundary_f1: float = _NAN
    alignment_edge: float = _NAN
    motion_difference: float = _NAN
    warp_error: float = _NAN
    warp_error_person: float = _NAN


FIELDS = tuple(field.name for field in fields(ClipScores))
"""The names of the metrics."""


def score_clips(clips: Mapping[str, Clip], reference: Clip, evaluator: Evaluator) -> dict[str, ClipScores]:
    """Score several versions of one clip against its reference.

    Pose, mask, background and depth range are always the reference's: they are what was asked for.

    Args:
        clips: The versions, by name.
        reference: The reference clip.
        evaluator: Networks that look at the frames.

    Raises:
        UserError: If a version differs from the reference in size or number of frames, if both have depth but
            of different kinds, or if the extra `eval` is not installed.
    """
    for clip in clips.values():
        _check_pair(clip, reference)
    cached = Reference(reference)
    scores = {name: _score(clip, cached, evaluator) for name, clip in clips.items()}
    # LPIPS and the person embedding see the reference once for all versions.
    videos = [clip.video for clip in clips.values()]
    if evaluator.lpips is not None:
        distances = clip_metrics.lpips(evaluator.lpips, videos, reference.video)
        scores = {n: replace(scores[n], lpips=d) for n, d in zip(clips, distances, strict=True)}
    if evaluator.embed_person is not None:
        cosines = identity.similarity(evaluator.embed_person, videos, reference)
        scores = {n: replace(scores[n], identity=c) for n, c in zip(clips, cosines, strict=True)}
    return scores


def _score(generated: Clip, reference: Reference, evaluator: Evaluator) -> ClipScores:
    """Return every metric but LPIPS and identity."""
    gray = image.gray(generated.video)
    metrics = _video_metrics(generated, gray, reference, evaluator)
    if generated.depth_kind == "person":
        metrics |= _alignment_metrics(generated, gray, reference, evaluator)
    if generated.depth_kind == reference.clip.depth_kind != "none":
        metrics |= _depth_metrics(generated, reference)
    return ClipScores(**metrics)


def _video_metrics(
    generated: Clip, gray: np.ndarray, reference: Reference, evaluator: Evaluator
) -> dict[str, float]:
    """Return the metrics that depend on the video alone."""
    flow = reference.forward_flow
    change = optical_flow.warp_change(generated.video, flow)
    return {
        "psnr": image.psnr(generated.video, reference.clip.video),
        "ssim": image.ssim(gray, reference.gray),
        "shirt": _clothing_error(generated, reference, "shirt"),
        "trousers": _clothing_error(generated, reference, "trousers"),
        "joints": _joints(generated, reference, evaluator),
        "flicker": clip_metrics.flicker(generated.video, reference.clip.mask),
        "warp_error": clip_metrics.mean(change[flow.visible]),
        "warp_error_person": clip_metrics.mean(change[flow.visible & reference.person[:-1]]),
    }


def _alignment_metrics(
    generated: Clip, gray: np.ndarray, reference: Reference, evaluator: Evaluator
) -> dict[str, float]:
    """Return how well the depth agrees with its own video."""
    silhouette = clip_metrics.silhouette(generated.depth)
    foreground = subtract_background(generated.video, reference.clip.background)
    metrics = {
        "alignment_plate": clip_metrics.iou(silhouette, foreground),
        "motion_difference": optical_flow.motion_difference(gray, generated.depth, silhouette),
    }
    if evaluator.segment_person is None:
        return metrics
    person = evaluator.segment_person(generated.video)
    return metrics | {
        "alignment_found": clip_metrics.iou(silhouette, person),
        "alignment_edge": depth_boundaries.edge_distance(silhouette, person),
    }


def _depth_metrics(generated: Clip, reference: Reference) -> dict[str, float]:
    """Return how close the depth is to the reference depth."""
    depth, expected = generated.depth, reference.clip.depth
    edges = depth_boundaries.match_edges(depth_boundaries.depth_edges(depth), reference.depth_edges)
    squared = clip_metrics.depth_l2(depth, expected)
    metrics = {
        "depth_l2": squared,
        "depth_l2_person": clip_metrics.depth_l2(depth, expected, reference.person),
        "depth_rmse_frame": float(np.sqrt(squared)),
        "boundary_precision": edges.precision,
        "boundary_recall": edges.recall,
        "boundary_f1": edges.f1,
    }
    if generated.depth_kind == "person":
        metrics["silhouette_iou"] = clip_metrics.iou(clip_metrics.silhouette(depth), reference.person)
    return metrics | _depth_errors(generated, reference)


def _depth_errors(generated: Clip, reference: Reference) -> dict[str, float]:
    """Return depth errors within the person, raw and aligned, normalized and (where known) in meters."""
    clip = reference.clip
    where = reference.person & (clip.depth > 0)  # relative errors need a positive reference
    shown = where & clip_metrics.silhouette(generated.depth) if clip.depth_kind == "person" else where
    metrics: dict[str, float] = {}
    fitted = depth_metrics.fit_to_reference(generated.depth, clip.depth, shown)
    for suffix, depth in (("", generated.depth), ("_aligned", fitted)):
        errors = depth_metrics.depth_errors(depth[where], clip.depth[where])
        metrics |= {
            f"depth_absrel{suffix}": errors.absrel,
            f"depth_rmse{suffix}": errors.rmse,
            f"depth_delta{suffix}": errors.delta,
        }
        if clip.depth_range is not None and clip.depth_kind != "none":
            meters = depth_metrics.errors_in_meters(
                depth, clip.depth, shown, clip.depth_range, clip.depth_kind
            )
            metrics |= {
                f"depth_absrel_meters{suffix}": meters.absrel,
                f"depth_rmse_meters{suffix}": meters.rmse,
                f"depth_delta_meters{suffix}": meters.delta,
            }
    return metrics


def _joints(generated: Clip, reference: Reference, evaluator: Evaluator) -> float:
    if evaluator.detect_joints is None:
        return _NAN
    detected = evaluator.detect_joints(generated.video).keypoints
    driving = body_18(reference.clip.pose).keypoints  # hands and face are not re-detected
    return clip_metrics.joints_reached(detected, driving, reference.height)


def _clothing_error(generated: Clip, reference: Reference, garment: Garment) -> float:
    where, color = reference.garments[garment]
    return color_error(generated.video, where, color)


def _check_pair(generated: Clip, reference: Clip) -> None:
    if generated.video.shape != reference.video.shape:
        found = f"frames of {generated.video.shape} where the reference clip has {reference.video.shape}"
        raise UserError("generated", found, "generate as many frames of the same size")
    kinds = generated.depth_kind, reference.depth_kind
    if "none" not in kinds and kinds[0] != kinds[1]:
        found = f"{kinds[0]} depth where the reference clip has {kinds[1]} depth"
        raise UserError("generated", found, "compare clips with the same kind of depth")
