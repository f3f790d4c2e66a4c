"""One normalization of depth over a clip that was generated in windows.

A network trained on short clips normalizes depth from the person's farthest point to the nearest *within a
window*. In a longer clip each window then has a scale and a shift of its own: depth pumps, and a person who
walks away does not get farther. The skeleton tells the distance: a pinhole camera shows a person of height H
at distance z as f H / z pixels tall, and bones are known shares of H. So 1 / z is taken from the skeleton,
and the relief of the person, how its points lie in front of one another, from the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from idol.clip import Pose
from idol.clip.depth import PERSON_FLOOR
from idol.pose.joints import body_18

BONES = {
    (8, 9): 0.245, (11, 12): 0.245, (9, 10): 0.246, (12, 13): 0.246,
    (2, 3): 0.186, (5, 6): 0.186, (3, 4): 0.146, (6, 7): 0.146,
    (1, 8): 0.29, (1, 11): 0.29, (2, 5): 0.21, (8, 11): 0.12,
}  # fmt: skip
"""Lengths as shares of a standing person's height, from joint to joint of OpenPose's 18. Limbs and torso are
those of Drillis and Contini (1966; in Winter, Biomechanics and Motor Control of Human Movement). Shoulders
and hips are narrower than there, as their joints lie within the body."""
_PERSON = 1.7  # meters
_FIELD = 45.0  # degrees over the height of the frame, as nothing is known of the camera
_RELIEF = 0.18  # meters: standard deviation of a person's distances in a frame, the median over drawn clips
_LONGEST = 0.85  # quantile of the bones: foreshortening only shortens, but joints are not exact
_SMOOTH = 1.0  # frames
_EXTREMES = 0.005  # share of the person's pixels beyond what counts as its nearest and farthest point
_FLAT = 0.01  # least standard deviation of a person's depth that is taken for a shape


@dataclass(frozen=True)
class FrameDepth:
    """Statistics of the depth on the person, frame by frame; NaN where there is no person.

    Attributes:
        mean: (f,) of the depths.
        spread: (f,) their standard deviation.
        low: (f,) depth of the farthest points.
        high: (f,) depth of the nearest points.
    """

    mean: np.ndarray
    spread: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, depth: Float[Tensor, "f h w"]) -> FrameDepth:
        """Measure frames; the person is where depth is positive."""
        return cls(*np.array([_measured(frame[frame > 0]) for frame in depth.cpu().numpy()]).T)

    @classmethod
    def concatenate(cls, parts: Sequence[FrameDepth]) -> FrameDepth:
        """Concatenate the statistics of consecutive frames."""
        columns = ([vars(part)[name] for part in parts] for name in vars(parts[0]))
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class ClipDepth:
    """An affine map for each frame, to depth that is normalized over the whole clip.

    Attributes:
        gain: (f,) factors.
        shift: (f,) what is added.
    """

    gain: np.ndarray
    shift: np.ndarray

    def apply(self, depth: Float[Tensor, "n h w"], frames: slice) -> Float[Tensor, "n h w"]:
        """Map the depth of some of the frames.

        Args:
            depth: As generated, in [0, 1]; 0 stays 0.
            frames: These frames of the clip.
        """
        gain, shift = (depth.new_tensor(x[frames])[:, None, None] for x in (self.gain, self.shift))
        return torch.where(depth > 0, (gain * depth + shift).clamp(PERSON_FLOOR, 1), 0)


def normalize_clip(generated: FrameDepth, pose: Pose) -> ClipDepth | None:
    """Return the maps from depth of kind `person`, generated in windows, to that of one clip.

    In frame t let d be the generated depth of a point, d_t and s_t its mean and standard deviation over the
    person, and q_t = 1 / z_t. A standard deviation r of distances is one of r q_t^2 in 1 / z, so the point's
    1 / z is

        q = q_t + (d - d_t) / A_t,   A_t = s_t / (r q_t^2),

    which is normalized over the clip as `idol.clip.depth.normalize_person` does it. Field of view and the
    person's height are unknown, and common values are used: they only decide how much relief a person has
    against the distance it walks.

    Args:
        generated: Statistics of all frames, as the network generated them.
        pose: The skeletons, in an image of the frames' proportions.

    Returns:
        None where no frame shows both depth and a bone.
    """
    near = nearness(pose)
    usable = np.isfinite(near) & np.isfinite(generated.mean)
    if not usable.any():
        return None
    frames = np.arange(len(near))
    # frames without a person or a skeleton are bridged
    near, mean, spread, low, high = (
        np.interp(frames, frames[usable], x[usable]) for x in (near, *vars(generated).values())
    )
    near = gaussian_filter1d(near, _SMOOTH, mode="nearest")
    relief = np.where(spread > _FLAT, _RELIEF * near**2 / spread.clip(_FLAT), 0)  # 1 / A_t
    farthest = (near + relief * (low - mean))[usable].min()
    nearest = (near + relief * (high - mean))[usable].max()
    unit = (1 - PERSON_FLOOR) / max(nearest - farthest, 1e-6)
    return ClipDepth(unit * relief, PERSON_FLOOR + unit * (near - relief * mean - farthest))


def nearness(pose: Pose) -> Float[np.ndarray, " f"]:
    """Return 1 / meters to the person in each frame, by the skeleton's size; NaN where no bone is seen."""
    joints = body_18(pose).keypoints
    first, last = (joints[:, [bone[end] for bone in BONES]] for end in (0, 1))
    lengths = np.linalg.norm(first[..., :2] - last[..., :2], axis=-1) / np.array(list(BONES.values()))
    seen = np.minimum(first[..., 2], last[..., 2]) > 0
    focal = pose.height / 2 / np.tan(np.radians(_FIELD / 2))
    tall = [
        np.quantile(row[there], _LONGEST) if there.any() else np.nan
        for row, there in zip(lengths, seen, strict=True)
    ]
    return np.array(tall) / (focal * _PERSON)


def _measured(depths: np.ndarray) -> tuple[float, float, float, float]:
    if not depths.size:
        return (np.nan,) * 4
    low, high = np.quantile(depths, [_EXTREMES, 1 - _EXTREMES])
    return float(depths.mean()), float(depths.std()), float(low), float(high)
