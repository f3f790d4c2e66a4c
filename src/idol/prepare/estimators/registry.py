"""Pose and mask estimators by name, and their interfaces."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from idol.errors import UserError
from idol.prepare.estimators.detection import PersonDetection

PoseName = Literal["rtmpose", "mediapipe", "dwpose"]
MaskName = Literal["mediapipe"]


class PoseEstimator(Protocol):
    """Detects people and their joints."""

    def estimate(self, frames: NDArray[np.uint8]) -> list[list[PersonDetection]]:
        """Return the people of each frame, largest first, of frames (f, 3, h, w) uint8 sRGB."""
        ...


class MaskEstimator(Protocol):
    """Segments people."""

    def estimate(
        self, frames: NDArray[np.uint8], people: list[PersonDetection | None] | None = None
    ) -> NDArray[np.float32]:
        """Return the mask of one person per frame.

        Args:
            frames: (f, 3, h, w) uint8 sRGB.
            people: The person to segment in each frame; None, for a frame or for all, takes the largest.

        Returns:
            (f, h, w) float32 in [0, 1].
        """
        ...


def pose_estimator(name: str) -> PoseEstimator:
    """Return a pose estimator by name.

    Args:
        name: `rtmpose` (18 joints; fast and accurate), `mediapipe` (18 joints) or `dwpose` (133 joints, with
            hands and face).

    Raises:
        UserError: If there is no such estimator.
    """
    from idol.prepare.estimators import blazepose, rtmpose

    match name:
        case "rtmpose":
            return rtmpose.RTMPOSE
        case "dwpose":
            return rtmpose.DWPOSE
        case "mediapipe":
            return blazepose.BlazePose()
    raise UserError("estimator", f"{name!r}", f"choose one of {', '.join(get_args(PoseName))}")


def mask_estimator(name: str) -> MaskEstimator:
    """Return a mask estimator by name.

    Args:
        name: `mediapipe`.

    Raises:
        UserError: If there is no such estimator.
    """
    from idol.prepare.estimators import blazepose

    match name:
        case "mediapipe":
            return blazepose.BlazeMask()
    raise UserError("mask", f"{name!r}", f"choose one of {', '.join(get_args(MaskName))}")
