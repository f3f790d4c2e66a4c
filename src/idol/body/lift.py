"""Lifting of the joints of a clip to points in space: network, bone lengths and distance from the camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from idol.body.bones_from_points import PointRig, place_points
from idol.body.distance import DistanceConfig, steady_scale
from idol.body.lifter import SEEN, Lifter, lift_both_ways, load_lifter
from idol.body.limb_depths import LIMBS, keep_lengths, without_flicker
from idol.body.model import load_body
from idol.body.pinhole import PinholeCamera
from idol.body.rig import Body, BonePoses
from idol.clip import Pose
from idol.pose.joints import body_18

WEIGHTS_FILE = Path(__file__).with_name("lifter.safetensors")
_BATCH = 32  # windows lifted at once


@dataclass(frozen=True)
class LiftConfig:
    """Settings of lifting.

    Attributes:
        least_confidence: Joints of lower confidence count as not seen.
        length_share: Weight of bone lengths in the depth of limbs, in [0, 1]; see
            `idol.body.limb_depths.keep_lengths`.
        outlier: Joints farther from the prediction of the network than this share of the person's size are
            ignored.
        distance: Settings of the distance from the camera.
    """

    least_confidence: float = 0.3
    length_share: float = 0.7
    outlier: float = 0.35
    distance: DistanceConfig = field(default_factory=DistanceConfig)


@dataclass(frozen=True)
class Lifted:
    """A person in space over a clip.

    Attributes:
        points: (f, 22, 3) in the order of `idol.body.lifter.POINTS`: x (right) and y (down) in pixels of the
            pose, z toward the viewer in pixels at the distance of the hips, 0 at the middle of the hips.
        pixels_per_meter: (f,) scale at the distance of the hips.
        camera: The camera that sees the points.
    """

    points: Float[np.ndarray, "f 22 3"]
    pixels_per_meter: Float[np.ndarray, " f"]
    camera: PinholeCamera

    @property
    def distance(self) -> Float[np.ndarray, " f"]:
        """Distance of the hips along the optical axis, meters."""
        return self.camera.focal / self.pixels_per_meter

    def in_meters(self) -> Float[np.ndarray, "f 22 3"]:
        """Return the points in meters, in the axes of the camera (Y up, looking along -Z)."""
        return place_points(self.points, self.pixels_per_meter, self.camera)

    def bones(self, body: Body) -> BonePoses:
        """Return bones of a body whose joints coincide with the points.

        Args:
            body: Any body; its limbs are stretched to fit.
        """
        return PointRig(body).pose(self.in_meters())


def lift(
    pose: Pose,
    *,
    camera: PinholeCamera | None = None,
    body: Body | None = None,
    network: Lifter | None = None,
    config: LiftConfig | None = None,
) -> Lifted:
    """Lift a clip of any length, or a photo (one frame).

    Args:
        pose: 18 or 133 joints of one person.
        camera: The camera; by default `PinholeCamera.assumed`.
        body: The person's body, for its bone lengths; by default the average adult.
        network: The lifter; by default the one of this package.
        config: Settings of lifting.

    Returns:
        The points and their scale.

    Raises:
        ValueError: If no frame shows two joints.
    """
    config, network = config or LiftConfig(), network or default_lifter()
    camera = camera or PinholeCamera.assumed(pose.height, pose.width)
    keypoints = body_18(pose).keypoints.astype(np.float64)
    keypoints[keypoints[..., 2] < config.least_confidence] = 0
    if not ((keypoints[..., 2] > 0).sum(1) >= 2).any():
        raise ValueError("pose: found no frame with two joints, expected a visible person")
    rest = PointRig(body or load_body().average).rest
    points = without_flicker(_snapped(lift_windows(network, keypoints), keypoints, config.outlier))
    from_axis = points - [camera.center_x, camera.center_y, 0]
    scale = steady_scale(from_axis, rest, camera.focal, config.distance)
    if config.length_share > 0:
        start, end = np.array(LIMBS).T
        lengths = np.linalg.norm(rest[start] - rest[end], axis=-1)
        points = keep_lengths(points, lengths, scale, config.length_share)
    return Lifted(points, scale, camera)


@lru_cache(1)
def default_lifter() -> Lifter:
    """Return the network with the weights of this package, read once per process."""
    return load_lifter(WEIGHTS_FILE)


@torch.no_grad()
def lift_windows(network: Lifter, keypoints: Float[np.ndarray, "f 18 3"]) -> Float[np.ndarray, "f 22 3"]:
    """Lift frames in windows that overlap by half, averaged with weights that peak in the middle of windows.

    Args:
        network: The lifter.
        keypoints: x, y (down) in pixels and confidence, 0 where not seen.

    Returns:
        Points in pixels, z toward the viewer from the middle of the hips.
    """
    frames, window = len(keypoints), network.config.window
    length = min(frames, window)
    last = frames - length
    starts = sorted({*range(0, last + 1, max(length // 2, 1)), last})
    windows = torch.from_numpy(np.stack([keypoints[a : a + length] for a in starts])).float()
    lifted = torch.cat(
        [lift_both_ways(network, part[..., :2], part[..., 2]) for part in windows.split(_BATCH)]
    )
    weight = np.minimum(np.arange(length) + 1, length - np.arange(length)).astype(float)
    total, count = np.zeros((frames, lifted.shape[2], 3)), np.zeros(frames)
    for start, points in zip(starts, lifted.numpy(), strict=True):
        total[start : start + length] += weight[:, None, None] * points
        count[start : start + length] += weight
    return total / count[:, None, None]


def _snapped(points: np.ndarray, keypoints: np.ndarray, outlier: float) -> np.ndarray:
    """Move points to the detected joints, by confidence; outliers are ignored."""
    moved = points.copy()
    away = keypoints[..., :2] - points[:, :SEEN, :2]
    size = np.sqrt(points[:, :SEEN, :2].var(1).sum(-1))[:, None]
    believed = np.clip((keypoints[..., 2] - 0.3) / 0.3, 0, 1)
    believed = believed * (np.linalg.norm(away, axis=-1) < outlier * size)
    moved[:, :SEEN, :2] += believed[..., None] * away
    return moved
