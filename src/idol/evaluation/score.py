"""One clip's numbers, and those of a set of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from idol.clip import Clip, Pose
from idol.clip.background_subtraction import differs_from_plate
from idol.errors import UserError
from idol.evaluation.metrics import clip as clip_metrics
from idol.evaluation.metrics import depth as depth_metrics
from idol.evaluation.metrics import depth_boundaries, identity, image, optical_flow
from idol.evaluation.metrics.clothing_color import Garment, color_error
from idol.evaluation.networks.lpips import LPIPS
from idol.evaluation.reference import Truth
from idol.pose.skeleton import body_18

_NAN = float("nan")


@dataclass(frozen=True)
class Judge:
    """What looks at the frames. A judge that is None leaves its numbers out (NaN).

    Attributes:
        find_joints: Frames (f, 3, h, w) uint8 -> the main person's joints, found anew.
        find_person: Frames (f, 3, h, w) uint8 -> the person's mask (f, h, w) bool, found anew.
        perceptual: LPIPS network.
        embed_person: Images of persons (n, 3, h, w) uint8 -> vectors (n, d): see `identity.Embedding`.
    """

    find_joints: Callable[[np.ndarray], Pose] | None = None
    find_person: Callable[[np.ndarray], np.ndarray] | None = None
    perceptual: LPIPS | None = None
    embed_person: identity.Embedding | None = None


@dataclass(frozen=True)
class Scores:
    """The numbers of one clip; NaN where there is none.

    Numbers about the person take it where the true depth shows it; in `scene` depth, which shows everything,
    where the true mask does. What reads a silhouette off the depth exists for `person` depth only, and a clip
    without depth has no number about depth. Depth is normalized inverse depth in [0, 1], unless meters are
    named.

    Attributes:
        depth_l2: Mean squared depth error, the whole frame.
        depth_l2_person: The same within the true silhouette only.
        silhouette_iou: Depth's silhouette against the true depth's.
        alignment_found: Depth's silhouette against the person that the mask estimator finds in its own video.
        alignment_plate: The same against what differs from the clean plate there: coarser, but no network.
        joints: Share of the driving joints found in the video within a tenth of the person's height.
        lpips: To the true video.
        shirt: Color error (Delta E) from the reference image: the first true frame.
        trousers: The same.
        flicker: Mean |frame difference| outside the person, in 8-bit levels.
        psnr: To the true video, in dB; see `image_quality.psnr`.
        ssim: To the true video, in gray; see `image_quality.ssim`.
        identity: Cosine similarity of the person to the reference image's; see `identity.similarity`.
        depth_rmse_frame: Root mean square depth error, the whole frame.
        depth_absrel: Mean of |error| / true depth, within the person; so are all that follow to `boundary_*`.
        depth_rmse: Root mean square depth error.
        depth_delta: Share of the pixels whose depth is within 1.25 times the true one.
        depth_absrel_aligned: After the best scale and shift, one pair per clip; see `depth_errors.aligned`.
        depth_rmse_aligned: The same.
        depth_delta_aligned: The same.
        depth_absrel_meters: Of the distance, where the generated depth shows the person too.
        depth_rmse_meters: In meters, at the same pixels.
        depth_delta_meters: At the same pixels.
        depth_absrel_meters_aligned: After scaling and shifting the inverse depths, within the true range.
        depth_rmse_meters_aligned: The same.
        depth_delta_meters_aligned: The same.
        boundary_precision: Share of the depth's edges that the true depth has; see `boundaries.match`.
        boundary_recall: Share of the true depth's edges that it has.
        boundary_f1: Harmonic mean of the two.
        alignment_edge: Distance in pixels between the outlines that `alignment_found` compares.
        motion_difference: Between the flow of the video and of its own depth; see `motion.motion_difference`.
        warp_error: Mean |change| along the true motion where it is visible, in 8-bit levels.
        warp_error_person: The same within the person only.
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


FIELDS = tuple(field.name for field in fields(Scores))
"""The names of the numbers."""


def score(clips: Mapping[str, Clip], true: Clip, judge: Judge) -> dict[str, Scores]:
    """Judge clips, by name, against the true one.

    Pose, mask, plate and range in meters are always the true clip's: what was asked for.

    Raises:
        UserError: If one differs from it in size or number of frames, both have depth but of different kinds,
            or the extra `eval` is not installed.
    """
    for clip in clips.values():
        _check_pair(clip, true)
    truth = Truth(true)
    scores = {name: _score(clip, truth, judge) for name, clip in clips.items()}
    videos = [clip.video for clip in clips.values()]
    if judge.perceptual is not None:
        distances = clip_metrics.lpips(judge.perceptual, videos, true.video)
        scores = {n: replace(scores[n], lpips=d) for n, d in zip(clips, distances, strict=True)}
    if judge.embed_person is not None:
        cosines = identity.similarity(judge.embed_person, videos, true)
        scores = {n: replace(scores[n], identity=c) for n, c in zip(clips, cosines, strict=True)}
    return scores


def _score(generated: Clip, truth: Truth, judge: Judge) -> Scores:
    """All but what the networks say that look at several videos at once."""
    gray = image.gray(generated.video)
    numbers = _image(generated, gray, truth, judge)
    if generated.depth_kind == "person":
        numbers |= _together(generated, gray, truth, judge)
    if generated.depth_kind == truth.clip.depth_kind != "none":
        numbers |= _depth(generated, truth)
    return Scores(**numbers)


def _image(generated: Clip, gray: np.ndarray, truth: Truth, judge: Judge) -> dict[str, float]:
    """What the video alone decides."""
    true = truth.clip
    change, visible = optical_flow.warp_change(generated.video, truth.tracks), truth.tracks.visible
    return {
        "psnr": image.psnr(generated.video, true.video),
        "ssim": image.ssim(gray, truth.gray),
        "shirt": _clothes(generated, truth, "shirt"),
        "trousers": _clothes(generated, truth, "trousers"),
        "joints": _joints(generated, truth, judge),
        "flicker": clip_metrics.flicker(generated.video, true.mask),
        "warp_error": clip_metrics.mean(change[visible]),
        "warp_error_person": clip_metrics.mean(change[visible & truth.person[:-1]]),
    }


def _together(generated: Clip, gray: np.ndarray, truth: Truth, judge: Judge) -> dict[str, float]:
    """How well the depth goes with its own video."""
    drawn = clip_metrics.silhouette(generated.depth)
    numbers = {
        "alignment_plate": clip_metrics.iou(
            drawn, differs_from_plate(generated.video, truth.clip.background)
        ),
        "motion_difference": optical_flow.motion_difference(gray, generated.depth, drawn),
    }
    if judge.find_person is None:
        return numbers
    seen = judge.find_person(generated.video)
    found = {
        "alignment_found": clip_metrics.iou(drawn, seen),
        "alignment_edge": depth_boundaries.edge_distance(drawn, seen),
    }
    return numbers | found


def _depth(generated: Clip, truth: Truth) -> dict[str, float]:
    """How near the depth is to the true one."""
    got, true = generated.depth, truth.clip.depth
    matched = depth_boundaries.match(depth_boundaries.edges(got), truth.edges)
    squared = clip_metrics.depth_l2(got, true)
    numbers = {
        "depth_l2": squared,
        "depth_l2_person": clip_metrics.depth_l2(got, true, truth.person),
        "depth_rmse_frame": float(np.sqrt(squared)),
        "boundary_precision": matched.precision,
        "boundary_recall": matched.recall,
        "boundary_f1": matched.f1,
    }
    if generated.depth_kind == "person":
        numbers["silhouette_iou"] = clip_metrics.iou(clip_metrics.silhouette(got), truth.person)
    return numbers | _depth_errors(generated, truth)


def _depth_errors(generated: Clip, truth: Truth) -> dict[str, float]:
    """Within the person: as the depth is, and aligned; in its own unit, and in meters where known."""
    true = truth.clip
    where = truth.person & (true.depth > 0)  # ratios to nothing do not exist
    shown = where & clip_metrics.silhouette(generated.depth) if true.depth_kind == "person" else where
    numbers: dict[str, float] = {}
    fitted = depth_metrics.aligned(generated.depth, true.depth, shown)
    for suffix, depth in (("", generated.depth), ("_aligned", fitted)):
        plain = depth_metrics.depth_errors(depth[where], true.depth[where])
        numbers |= {
            f"depth_absrel{suffix}": plain.absrel,
            f"depth_rmse{suffix}": plain.rmse,
            f"depth_delta{suffix}": plain.delta,
        }
        if true.depth_range is not None and true.depth_kind != "none":
            meters = depth_metrics.errors_in_meters(
                depth, true.depth, shown, true.depth_range, true.depth_kind
            )
            numbers |= {
                f"depth_absrel_meters{suffix}": meters.absrel,
                f"depth_rmse_meters{suffix}": meters.rmse,
                f"depth_delta_meters{suffix}": meters.delta,
            }
    return numbers


def _joints(generated: Clip, truth: Truth, judge: Judge) -> float:
    if judge.find_joints is None:
        return _NAN
    found = judge.find_joints(generated.video).keypoints
    asked = body_18(truth.clip.pose).keypoints  # of hands and faces nothing is found anew
    return clip_metrics.joints_reached(found, asked, truth.height)


def _clothes(generated: Clip, truth: Truth, garment: Garment) -> float:
    where, reference = truth.garments[garment]
    return color_error(generated.video, where, reference)


def _check_pair(generated: Clip, true: Clip) -> None:
    if generated.video.shape != true.video.shape:
        found = f"frames of {generated.video.shape} where the true clip has {true.video.shape}"
        raise UserError("generated", found, "generate as many frames of the same size")
    kinds = generated.depth_kind, true.depth_kind
    if "none" not in kinds and kinds[0] != kinds[1]:
        found = f"{kinds[0]} depth where the true clip has {kinds[1]} depth"
        raise UserError("generated", found, "compare clips with the same kind of depth")
