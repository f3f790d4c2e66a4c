"""What an estimator says about one person in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from idol.prepare.estimators.crop_transform import Float

MIN_CONFIDENCE = 0.3  # confidence from which a joint counts as found


@dataclass(frozen=True)
class PersonDetection:
    """One person in one frame.

    Attributes:
        box: (4,) float32 x0, y0, x1, y1 in pixels of the frame.
        score: How sure the detector is, in [0, 1].
        keypoints: (k, 3) float32 x px, y px, confidence in [0, 1]; k is 18 (OpenPose) or 133 (whole body).
    """

    box: Float
    score: float
    keypoints: Float

    @property
    def area(self) -> float:
        """Pixels of the box."""
        return float(np.clip(self.box[2:] - self.box[:2], 0, None).prod())

    @property
    def num_confident_joints(self) -> int:
        """How many joints were found with confidence."""
        return int((self.keypoints[:, 2] >= MIN_CONFIDENCE).sum())


def sort_by_area(people: list[PersonDetection]) -> list[PersonDetection]:
    """The people of a frame ordered by the area of their box."""
    return sorted(people, key=lambda person: -person.area)
