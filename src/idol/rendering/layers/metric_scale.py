"""Meters: of depth that is measured, and of depth that is relative.

Depth of a generated clip is relative: its numbers order the person's parts, and are linear in 1 / meters, but
say nothing about how far away they are. Three things that people have in common give the missing scale: how
tall a person is, how tall a person looks at a given field of view, and how deep a body is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from idol.clip import Clip, Pose
from idol.clip.depth import to_meters
from idol.pose.joints import OPENPOSE_18, WHOLEBODY_133
from idol.rendering.geometry.camera import Camera

FOV = 35.0
"""Vertical field of view, degrees, where nothing tells it: a person seen in full from four meters or so."""
PERSON_HEIGHT = 1.7
"""Meters."""
BODY_DEPTH = 0.27
"""How deep a body is as a share of its height: between the 10th and the 90th percentile of its distances;
the mean over 16 clips of synthetic people in motion, whose distances are exact (0.12 to 0.41)."""

# Shares of a standing person's height (Drillis and Contini's segment lengths).
_NECK_TO_ANKLE = 0.78
_NECK_TO_HIP = 0.29
_FARTHEST = 10.0  # of relative depth, in distances of the person


def standing_heights(pose: Pose, mask: Bool[np.ndarray, "f h w"]) -> Float[np.ndarray, " f"]:
    """How tall the person would be in every frame in pixels, standing upright; NaN where it is not seen.

    From neck and ankles where both are seen in a quarter of the frames, else from neck and hips, else from
    the silhouette.
    """
    neck = _joints(pose, "neck")
    for lower, share in (("ankle", _NECK_TO_ANKLE), ("hip", _NECK_TO_HIP)):
        ends = np.stack([_joints(pose, f"{side}_{lower}") for side in ("left", "right")])
        lengths = np.linalg.norm(ends[..., :2].mean(0) - neck[:, :2], axis=-1)
        seen = (neck[:, 2] > 0.3) & (ends[..., 2] > 0.3).all(0) & (lengths > 1) & mask.any((1, 2))
        if seen.mean() >= 0.25:
            return np.where(seen, lengths / share, np.nan).astype(float)
    rows = np.asarray(mask.any(2))
    tall = mask.shape[1] - rows.argmax(1) - rows[:, ::-1].argmax(1)
    return np.where(rows.any(1), tall, np.nan).astype(float)


def standing_height(clip: Clip) -> float:
    """How tall the person is in pixels, standing upright, at its usual distance.

    The third quartile over the frames: crouching and leaning shorten what is seen, and nothing lengthens it.
    """
    return float(np.nanpercentile(standing_heights(clip.pose, clip.mask), 75))


def _joints(pose: Pose, name: str) -> Float32[np.ndarray, "f 3"]:
    """One joint over the frames; of a whole-body pose the neck is the middle of the shoulders."""
    if pose.keypoints.shape[1] == len(OPENPOSE_18):
        return pose.keypoints[:, OPENPOSE_18.index(name)]
    if name != "neck":
        return pose.keypoints[:, WHOLEBODY_133.index(name)]
    left, right = _joints(pose, "left_shoulder"), _joints(pose, "right_shoulder")
    return np.concatenate([(left + right)[:, :2] / 2, np.minimum(left, right)[:, 2:]], -1)


def camera_of(clip: Clip, fov: float | None, person_height: float) -> Camera:
    """The clip's camera.

    Args:
        clip: With a person.
        fov: Vertical field of view in degrees. If None and the clip's distances are known, it is the one at
            which the person is `person_height` tall; if they are not, `FOV`.
        person_height: In meters.
    """
    if fov is None and clip.depth_range is not None:
        z = to_meters(clip.depth, clip.depth_range, _kind(clip))
        away = [np.median(d[m]) if m.any() else np.nan for d, m in zip(z, clip.mask, strict=True)]
        heights = standing_heights(clip.pose, clip.mask) * np.array(away)
        focal = float(np.nanpercentile(heights, 75)) / person_height
        fov = float(np.clip(2 * np.degrees(np.arctan(clip.height / 2 / focal)), 5, 120))
    return Camera(FOV if fov is None else fov, clip.height, clip.width)


def exact_disparities(clip: Clip) -> Float32[np.ndarray, "f h w"] | None:
    """1 / meters of every pixel of a clip whose distances are known, else None.

    The inverse of `idol.clip.depth.from_meters`; where there is no person the number is that of `far`.
    """
    if clip.depth_range is None:
        return None
    z = to_meters(clip.depth, clip.depth_range, _kind(clip))
    return (1 / np.minimum(z, clip.depth_range[1])).astype(np.float32)


def relative_scale(
    depth: Float32[np.ndarray, "f h w"],
    mask: Bool[np.ndarray, "f h w"],
    distance: float,
    person_height: float,
) -> tuple[float, float]:
    """The numbers a and b that make 1 / meters of relative depth: a + b depth.

    The person's median comes to `distance`. The person of the middle frame (by the median over frames) gets
    the depth of a body, `BODY_DEPTH`; less, if depth 0 would else be farther than ten times the distance.

    Args:
        depth: Relative, linear in 1 / meters, larger is nearer.
        mask: The person, seen in one frame at least.
        distance: Meters.
        person_height: Meters.
    """
    middle = float(np.median(depth[mask]))
    frames = zip(depth, mask, strict=True)
    spread = float(np.median([np.ptp(np.percentile(d[m], [10, 90])) for d, m in frames if m.any()]))
    b = min(
        BODY_DEPTH * person_height / distance**2 / max(spread, 1e-3),
        (1 - 1 / _FARTHEST) / distance / max(middle, 1e-3),
    )
    return 1 / distance - b * middle, b


def _kind(clip: Clip) -> Literal["person", "scene"]:
    return "scene" if clip.depth_kind == "scene" else "person"
