"""Metric scale: the camera and the distances of clips, from measured or from relative depth.

Depth of a generated clip is relative: it is linear in 1 / meters but its offset and scale are unknown. Three
typical properties of people supply them: how tall a person is, how tall a person appears at a given field of
view, and how deep a body is.
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
"""Default vertical field of view in degrees: it shows a whole person from about four meters."""
PERSON_HEIGHT = 1.7
"""Default height of the person in meters."""
BODY_DEPTH = 0.27
"""Extent of a body in depth as a fraction of its height, between the 10th and 90th percentiles of distance:
the mean over 16 clips of synthetic people in motion, whose distances are exact (0.12 to 0.41)."""

# Fractions of a standing person's height: body segment lengths of Drillis and Contini (1966).
_NECK_TO_ANKLE = 0.78
_NECK_TO_HIP = 0.29
_FARTHEST = 10.0  # distance of relative depth 0 at most, in distances of the person


def standing_heights(pose: Pose, mask: Bool[np.ndarray, "f h w"]) -> Float[np.ndarray, " f"]:
    """Return the height in pixels that the person would have standing upright; NaN where it is unknown.

    It follows from neck and ankles where both are visible in a quarter of the frames, else from neck and
    hips, else from the silhouette.

    Args:
        pose: Joints of the person.
        mask: The person.
    """
    neck = _joints(pose, "neck")
    for lower, share in (("ankle", _NECK_TO_ANKLE), ("hip", _NECK_TO_HIP)):
        ends = np.stack([_joints(pose, f"{side}_{lower}") for side in ("left", "right")])
        lengths = np.linalg.norm(ends[..., :2].mean(0) - neck[:, :2], axis=-1)
        known = (neck[:, 2] > 0.3) & (ends[..., 2] > 0.3).all(0) & (lengths > 1) & mask.any((1, 2))
        if known.mean() >= 0.25:
            return np.where(known, lengths / share, np.nan).astype(float)
    rows = np.asarray(mask.any(2))
    tall = mask.shape[1] - rows.argmax(1) - rows[:, ::-1].argmax(1)
    return np.where(rows.any(1), tall, np.nan).astype(float)


def standing_height(clip: Clip) -> float:
    """Return the height in pixels of the person standing upright, at their typical distance.

    This is the upper quartile over the frames: crouching and leaning shorten the visible height, and nothing
    extends it.
    """
    return float(np.nanpercentile(standing_heights(clip.pose, clip.mask), 75))


def _joints(pose: Pose, name: str) -> Float32[np.ndarray, "f 3"]:
    """Return x, y, confidence of one joint; of a whole-body pose the neck is the middle of the shoulders."""
    if pose.keypoints.shape[1] == len(OPENPOSE_18):
        return pose.keypoints[:, OPENPOSE_18.index(name)]
    if name != "neck":
        return pose.keypoints[:, WHOLEBODY_133.index(name)]
    left, right = _joints(pose, "left_shoulder"), _joints(pose, "right_shoulder")
    return np.concatenate([(left + right)[:, :2] / 2, np.minimum(left, right)[:, 2:]], -1)


def estimate_camera(clip: Clip, fov: float | None, person_height: float) -> Camera:
    """Return the clip's camera.

    Args:
        clip: A clip that shows a person.
        fov: Vertical field of view in degrees. If None and the clip has metric depth, it is chosen so that
            the person is `person_height` tall; without metric depth it is `FOV`.
        person_height: Height of the person in meters.
    """
    if fov is None and clip.depth_range is not None:
        z = to_meters(clip.depth, clip.depth_range, _kind(clip))
        distances = [np.median(d[m]) if m.any() else np.nan for d, m in zip(z, clip.mask, strict=True)]
        # pixels x meters / focal length in pixels = meters
        heights = standing_heights(clip.pose, clip.mask) * np.array(distances)
        focal = float(np.nanpercentile(heights, 75)) / person_height
        fov = float(np.clip(2 * np.degrees(np.arctan(clip.height / 2 / focal)), 5, 120))
    return Camera(FOV if fov is None else fov, clip.height, clip.width)


def exact_disparities(clip: Clip) -> Float32[np.ndarray, "f h w"] | None:
    """Return 1 / meters of every pixel of a clip with metric depth, else None.

    This inverts `idol.clip.depth.from_meters`; where there is no person the value is that of `far`.
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
    """Return a and b such that the disparity in 1 / meters is a + b depth.

    The person's median comes to lie at `distance`. The person's extent in depth (the median over the frames)
    becomes `BODY_DEPTH`; less, if depth 0 would otherwise be farther than ten times the distance.

    Args:
        depth: Relative depth, linear in 1 / meters, larger is nearer.
        mask: The person, visible in at least one frame.
        distance: Distance of the person in meters.
        person_height: Height of the person in meters.
    """
    middle = float(np.median(depth[mask]))
    frames = zip(depth, mask, strict=True)
    spread = float(np.median([np.ptp(np.percentile(d[m], [10, 90])) for d, m in frames if m.any()]))
    b = min(  # d(1 / z) = dz / z^2 relates the extent in meters to that in disparity
        BODY_DEPTH * person_height / distance**2 / max(spread, 1e-3),
        (1 - 1 / _FARTHEST) / distance / max(middle, 1e-3),
    )
    return 1 / distance - b * middle, b


def _kind(clip: Clip) -> Literal["person", "scene"]:
    return "scene" if clip.depth_kind == "scene" else "person"
