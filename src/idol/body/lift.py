"""From the joints of a clip to points in space: the network, bone lengths, the distance to the camera."""

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
    """How a clip is lifted.

    Attributes:
        least_confidence: Joints below it count as not seen.
        length_share: How far the depth of limbs goes to what their lengths ask for, in [0, 1]; see
            `idol.body.limb_depths.keep_lengths`.
        outlier: Joints farther than this share of the person's size from where the network expects them are
            not believed.
        distance: How the distance to the camera is found.
    """

    least_confidence: float = 0.3
    length_share: float = 0.7
    outlier: float = 0.35
    distance: DistanceConfig = field(default_factory=DistanceConfig)


@dataclass(frozen=True)
class Lifted:
    """A person in space over a clip.

    Attributes:
        points: (f, 22, 3) in the order of `idol.body.lifter.POINTS`: x (right) and y (down) in the pixels of
            the pose, z towards the viewer in pixels at the hips' distance, 0 at the middle of the hips.
        pixels_per_meter: (f,) at the hips' distance.
        camera: That saw them.
    """

    points: Float[np.ndarray, "f 22 3"]
    pixels_per_meter: Float[np.ndarray, " f"]
    camera: PinholeCamera

    @property
    def distance(self) -> Float[np.ndarray, " f"]:
        """Meters from the camera to the hips, along its axis."""
        return self.camera.focal / self.pixels_per_meter

    def in_meters(self) -> Float[np.ndarray, "f 22 3"]:
        """Return the points before the camera, Y up and looking along -Z, in meters."""
        return place_points(self.points, self.pixels_per_meter, self.camera)

    def bones(self, body: Body) -> BonePoses:
        """Return bones of a body whose joints are the points, before the camera.

        Args:
            body: Any; its limbs are stretched to the points.
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
        pose: Joints of one person, 18 or 133.
        camera: That saw them; by default the one that photos are assumed to come from.
        body: The person's, for its bone lengths; by default the average adult.
        network: The lifter; by default the one in this package.
        config: How to lift.

    Returns:
        Points, and how far away they are.

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
    """Return the network whose weights are in this package, read once a process."""
    return load_lifter(WEIGHTS_FILE)


@torch.no_grad()
def lift_windows(network: Lifter, keypoints: Float[np.ndarray, "f 18 3"]) -> Float[np.ndarray, "f 22 3"]:
    """Lift frames by windows that overlap by half; each frame is a mean that favors middles of windows.

    Args:
        network: The lifter.
        keypoints: x, y (down) in pixels and confidence, 0 where not seen.

    Returns:
        Points in pixels, z towards the viewer from the middle of the hips.
    """
    frames, window = len(keypoints), network.config.window
    length = min(frames, window)
    last = frames - length
    starts = sorted({*range(0, last + 1, max(length // 2, 1)), last})
    given = torch.from_numpy(np.stack([keypoints[a : a + length] for a in starts])).float()
    lifted = torch.cat([lift_both_ways(network, part[..., :2], part[..., 2]) for part in given.split(_BATCH)])
    weight = np.minimum(np.arange(length) + 1, length - np.arange(length)).astype(float)
    total, count = np.zeros((frames, lifted.shape[2], 3)), np.zeros(frames)
    for start, points in zip(starts, lifted.numpy(), strict=True):
        total[start : start + length] += weight[:, None, None] * points
        count[start : start + length] += weight
    return total / count[:, None, None]


def _snapped(points: np.ndarray, keypoints: np.ndarray, outlier: float) -> np.ndarray:
    """The points where joints are seen, as far as these are sure and not far off."""
    moved = points.copy()
    away = keypoints[..., :2] - points[:, :SEEN, :2]
    size = np.sqrt(points[:, :SEEN, :2].var(1).sum(-1))[:, None]
    believed = np.clip((keypoints[..., 2] - 0.3) / 0.3, 0, 1)
    believed = believed * (np.linalg.norm(away, axis=-1) < outlier * size)
    moved[:, :SEEN, :2] += believed[..., None] * away
    return moved
