"""The pose record: joints of one person over the frames of a clip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Pose:
    """Joints of one person over the frames of a clip.

    Attributes:
        keypoints: (f, k, 3) float32: x and y in pixels (0, 0 is the *center* of the top-left pixel) and
            confidence in [0, 1]; a missing joint has confidence 0. k is 18 (OpenPose) or 133 (whole body).
        height: Height in pixels of the frames the coordinates refer to.
        width: Width in pixels of those frames.

    Raises:
        ValueError: If shape, dtype, confidences or size are not as above.
    """

    keypoints: np.ndarray
    height: int
    width: int

    def __post_init__(self) -> None:
        k = self.keypoints
        if k.ndim != 3 or k.shape[1] not in (18, 133) or k.shape[2] != 3 or k.dtype != np.float32:
            raise ValueError(f"keypoints: found {k.dtype} {k.shape}, expected float32 (f, 18 or 133, 3)")
        if not np.isfinite(k).all() or k[..., 2].min(initial=0) < 0 or k[..., 2].max(initial=0) > 1:
            raise ValueError("keypoints: found NaN, infinity or a confidence outside [0, 1]")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"pose size: found {self.height} x {self.width}, expected at least 1 x 1")

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.keypoints)

    @property
    def visible(self) -> np.ndarray:
        """(f, k) bool: which joints are present."""
        return self.keypoints[..., 2] > 0

    def resized(self, height: int, width: int) -> "Pose":
        """Return the pose in frames resized to `height` x `width`.

        Args:
            height: New height of the frames in pixels.
            width: New width in pixels.
        """
        keypoints = self.keypoints.copy()
        scale = np.array([width / self.width, height / self.height], np.float32)
        # Coordinates refer to pixel centers; sizes scale from the edges, half a pixel away.
        keypoints[..., :2] = (keypoints[..., :2] + 0.5) * scale - 0.5
        return Pose(keypoints, height, width)

    def cropped(self, x0: int, y0: int, x1: int, y1: int) -> "Pose":
        """Return the pose in the window [x0, x1) x [y0, y1) of its frames.

        Args:
            x0: Left edge of the window in pixels; the window may reach outside the frames.
            y0: Top edge.
            x1: Right edge, exclusive.
            y1: Bottom edge, exclusive.
        """
        keypoints = self.keypoints.copy()
        keypoints[..., :2] -= np.array([x0, y0], np.float32)
        return Pose(keypoints, y1 - y0, x1 - x0)

    def select(self, frames: slice | Sequence[int] | np.ndarray) -> "Pose":
        """Return the pose of some frames, given by slice or by indices."""
        return replace(self, keypoints=self.keypoints[frames if isinstance(frames, slice) else list(frames)])
