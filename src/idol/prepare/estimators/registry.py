"""Estimators by name: one interface for poses, one for masks."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from idol.errors import UserError
from idol.prepare.estimators.detection import PersonDetection

PoseName = Literal["rtmpose", "mediapipe", "dwpose"]
MaskName = Literal["mediapipe"]


class PoseEstimator(Protocol):
    """Finds people and their joints."""

    def estimate(self, frames: NDArray[np.uint8]) -> list[list[PersonDetection]]:
        """Frames (f, 3, h, w) uint8 sRGB -> the people of each frame, largest first."""
        ...


class MaskEstimator(Protocol):
    """Tells a person's pixels from the rest."""

    def estimate(
        self, frames: NDArray[np.uint8], people: list[PersonDetection | None] | None = None
    ) -> NDArray[np.float32]:
        """Frames (f, 3, h, w) uint8 sRGB -> (f, h, w) float32 in [0, 1]: of `people`, or the largest one."""
        ...


def pose_estimator(name: str) -> PoseEstimator:
    """The pose estimator of that name.

    Args:
        name: `rtmpose` (18 joints, fast and good), `mediapipe` (18 joints) or `dwpose` (133: hands and face).

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
    """The mask estimator of that name.

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
