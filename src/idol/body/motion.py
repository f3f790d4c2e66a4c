"""Motion independent of body size: rotations of fifteen segments, and the path of the hips.

Rotations are global and relative to one rest pose: standing upright, arms hanging, facing +Z, Y up, the left
side at +X. Lengths are in leg lengths (thigh plus shin).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from idol.body.rotations import interpolate, transpose

SEGMENTS = (
    "pelvis",
    "chest",
    "head",
    "upperarm.L",
    "forearm.L",
    "hand.L",
    "upperarm.R",
    "forearm.R",
    "hand.R",
    "thigh.L",
    "shin.L",
    "foot.L",
    "thigh.R",
    "shin.R",
    "foot.R",
)
PARENTS = (-1, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 10, 0, 12, 13)
INDEX = {name: i for i, name in enumerate(SEGMENTS)}
ARMS = {side: [INDEX[f"{part}.{side}"] for part in ("upperarm", "forearm", "hand")] for side in "LR"}
LEGS = {side: [INDEX[f"{part}.{side}"] for part in ("thigh", "shin", "foot")] for side in "LR"}
MIRRORED = [INDEX[name[:-1] + {"L": "R", "R": "L"}.get(name[-1], name[-1])] for name in SEGMENTS]

# Start of each segment relative to the start of its parent at rest, in leg lengths.
_STARTS = np.array(
    [[0, 0, 0], [0, 0.28, 0], [0, 0.34, 0]]
    + [[0.21, 0.28, 0], [0, -0.36, 0], [0, -0.32, 0]]
    + [[-0.21, 0.28, 0], [0, -0.36, 0], [0, -0.32, 0]]
    + [[0.11, 0, 0], [0, -0.5, 0], [0, -0.5, 0]]
    + [[-0.11, 0, 0], [0, -0.5, 0], [0, -0.5, 0]],
    dtype=float,
)
# Ends of the last segments of the chains: crown, fingertips, toes.
_TIPS = {
    "head": (0, 0.32, 0),
    "hand.L": (0, -0.2, 0),
    "hand.R": (0, -0.2, 0),
    "foot.L": (0, -0.09, 0.22),
    "foot.R": (0, -0.09, 0.22),
}
_AIRBORNE = 0.05  # leg lengths; less is measurement noise


@dataclass(frozen=True)
class Motion:
    """A movement.

    Attributes:
        name: Name of the source, or of the sources that were mixed.
        fps: Frames per second.
        rotation: (f, 15, 3, 3) global rotation of each segment from the rest pose.
        hips: (f, 3) middle of the hips in leg lengths; retargeting uses the horizontal part only.
        clearance: (f,) height of the lowest point above the floor in leg lengths; 0 on contact.
    """

    name: str
    fps: float
    rotation: np.ndarray
    hips: np.ndarray
    clearance: np.ndarray

    def __post_init__(self) -> None:
        f = len(self.rotation)
        if self.rotation.shape != (f, len(SEGMENTS), 3, 3) or self.hips.shape != (f, 3):
            raise ValueError(f"motion {self.name}: rotation {self.rotation.shape}, hips {self.hips.shape}")
        if self.clearance.shape != (f,):
            raise ValueError(f"motion {self.name}: clearance {self.clearance.shape}, expected ({f},)")

    def __len__(self) -> int:
        return len(self.rotation)

    @property
    def seconds(self) -> float:
        """Time from the first to the last frame."""
        return (len(self) - 1) / self.fps

    def at(self, times: np.ndarray, fps: float) -> Motion:
        """Interpolate the motion.

        Args:
            times: (n,) in seconds, in [0, `seconds`].
            fps: Frames per second of the result.
        """
        position = np.clip(times * self.fps, 0, len(self) - 1)
        low = np.minimum(position.astype(int), max(len(self) - 2, 0))
        high, part = np.minimum(low + 1, len(self) - 1), position - low
        rotation = interpolate(self.rotation[low], self.rotation[high], part)
        hips = self.hips[low] + (self.hips[high] - self.hips[low]) * part[:, None]
        clearance = self.clearance[low] + (self.clearance[high] - self.clearance[low]) * part
        return Motion(self.name, fps, rotation, hips, clearance)

    def mirrored(self) -> Motion:
        """Return the mirror image, with left and right exchanged."""
        flip = np.diag([-1.0, 1.0, 1.0])
        return replace(self, rotation=flip @ self.rotation[:, MIRRORED] @ flip, hips=self.hips @ flip)


def from_rotations(
    name: str, fps: float, rotation: Float[np.ndarray, "f 15 3 3"], hips: Float[np.ndarray, "f 3"]
) -> Motion:
    """Make a motion whose clearance is computed from the lowest point in each second.

    Nobody is in the air for a whole second, so that this point is on the floor.

    Args:
        name: Name of the source.
        fps: Frames per second.
        rotation: Global rotations.
        hips: Middle of the hips in leg lengths.
    """
    lowest = joint_positions(rotation, hips)[..., 1].min(1)
    floor = minimum_filter1d(lowest, max(int(fps), 1), mode="nearest")
    height = lowest - uniform_filter1d(floor, max(int(fps), 1), mode="nearest")
    return Motion(name, fps, rotation, hips, np.where(height > _AIRBORNE, height - _AIRBORNE, 0.0))


def joint_positions(
    rotation: Float[np.ndarray, "f 15 3 3"], hips: Float[np.ndarray, "f 3"]
) -> Float[np.ndarray, "f 20 3"]:
    """Compute the joints of a standard body by forward kinematics.

    Args:
        rotation: Global rotations of the segments.
        hips: Middle of the hips in leg lengths.

    Returns:
        Starts of the 15 `SEGMENTS`, crown, left and right fingertips, left and right toes, in leg lengths.
    """
    points = np.zeros((len(rotation), len(SEGMENTS) + len(_TIPS), 3))
    points[:, 0] = hips
    for i, parent in enumerate(PARENTS):
        if parent >= 0:
            points[:, i] = points[:, parent] + rotation[:, parent] @ _STARTS[i]
    for i, (name, tip) in enumerate(_TIPS.items(), start=len(SEGMENTS)):
        points[:, i] = points[:, INDEX[name]] + rotation[:, INDEX[name]] @ np.array(tip, float)
    return points


def to_local(rotation: Float[np.ndarray, "f 15 3 3"]) -> Float[np.ndarray, "f 15 3 3"]:
    """Convert global rotations to rotations relative to the parent segment; the pelvis stays global."""
    local = rotation.copy()
    for i, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, i] = transpose(rotation[:, parent]) @ rotation[:, i]
    return local


def to_global(local: Float[np.ndarray, "f 15 3 3"]) -> Float[np.ndarray, "f 15 3 3"]:
    """Invert `to_local`."""
    rotation = local.copy()
    for i, parent in enumerate(PARENTS):
        if parent >= 0:
            rotation[:, i] = rotation[:, parent] @ local[:, i]
    return rotation
