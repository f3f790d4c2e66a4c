"""One clip's numbers, and those of a set of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from idol.clip import Clip, Pose
from idol.errors import UserError
from idol.evaluation import metrics
from idol.evaluation.clothes import Garment, colour_error, mean_colour, region
from idol.evaluation.person_mask import differs_from_plate
from idol.perceptual import LPIPS


@dataclass(frozen=True)
class Judge:
    """What looks at the frames. A judge that is None leaves its numbers out (NaN).

    Attributes:
        find_joints: Frames (f, 3, h, w) uint8 -> the main person's joints, found anew.
        find_person: Frames (f, 3, h, w) uint8 -> the person's mask (f, h, w) bool, found anew.
        perceptual: LPIPS network.
    """

    find_joints: Callable[[np.ndarray], Pose] | None = None
    find_person: Callable[[np.ndarray], np.ndarray] | None = None
    perceptual: LPIPS | None = None


@dataclass(frozen=True)
class Scores:
    """The numbers of one clip; NaN where there is none.

    Attributes:
        depth_l2: Mean squared depth error, the whole frame.
        depth_l2_person: The same within the true silhouette only.
        silhouette_iou: Depth's silhouette against the true depth's.
        alignment_found: Depth's silhouette against the person that the mask estimator finds in its own video.
        alignment_plate: The same against what differs from the clean plate there: coarser, but no network.
        joints: Share of the driving joints found in the video within a tenth of the person's height.
        lpips: To the true video.
        shirt: Colour error (Delta E) from the reference picture: the first true frame.
        trousers: The same.
        flicker: Mean |frame difference| outside the person, in 8-bit levels.
    """

    depth_l2: float
    depth_l2_person: float
    silhouette_iou: float
    alignment_found: float
    alignment_plate: float
    joints: float
    lpips: float
    shirt: float
    trousers: float
    flicker: float


def score(clips: Mapping[str, Clip], true: Clip, judge: Judge) -> dict[str, Scores]:
    """Judge clips, by name, against the true one.

    Pose, mask and plate are always the true clip's: what was asked for.

    Raises:
        UserError: If one differs from it in size or number of frames, or its depth is of another kind.
    """
    for clip in clips.values():
        _check_pair(clip, true)
    scores = {name: _score(clip, true, judge) for name, clip in clips.items()}
    if judge.perceptual is None:
        return scores
    distances = metrics.lpips(judge.perceptual, [clip.video for clip in clips.values()], true.video)
    return {name: replace(scores[name], lpips=d) for name, d in zip(clips, distances, strict=True)}


def _score(generated: Clip, true: Clip, judge: Judge) -> Scores:
    """All but LPIPS."""
    drawn = metrics.silhouette(generated.depth)
    seen = None if judge.find_person is None else judge.find_person(generated.video)
    return Scores(
        depth_l2=metrics.depth_l2(generated.depth, true.depth),
        depth_l2_person=metrics.depth_l2(generated.depth, true.depth, metrics.silhouette(true.depth)),
        silhouette_iou=metrics.iou(drawn, metrics.silhouette(true.depth)),
        alignment_plate=metrics.iou(drawn, differs_from_plate(generated.video, true.background)),
        alignment_found=float("nan") if seen is None else metrics.iou(drawn, seen),
        joints=_joints(generated, true, judge),
        lpips=float("nan"),
        shirt=_clothes(generated, true, "shirt"),
        trousers=_clothes(generated, true, "trousers"),
        flicker=metrics.flicker(generated.video, true.mask),
    )


def _joints(generated: Clip, true: Clip, judge: Judge) -> float:
    if judge.find_joints is None:
        return float("nan")
    found = judge.find_joints(generated.video).keypoints
    return metrics.joints_reached(found, true.pose.keypoints, metrics.person_height(true.mask))


def _clothes(generated: Clip, true: Clip, garment: Garment) -> float:
    where = region(true.pose, true.mask, garment)
    reference = mean_colour(true.video[:1], where[:1])[0]
    return colour_error(generated.video, where, reference)


def _check_pair(generated: Clip, true: Clip) -> None:
    if generated.video.shape != true.video.shape:
        found = f"frames of {generated.video.shape} where the true clip has {true.video.shape}"
        raise UserError("generated", found, "generate as many frames of the same size")
    if generated.depth_kind != true.depth_kind:
        found = f"{generated.depth_kind} depth where the true clip has {true.depth_kind} depth"
        raise UserError("generated", found, "compare clips with the same kind of depth")
