"""The detection record: one person in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from idol.prepare.estimators.crop_transform import Float

MIN_CONFIDENCE = 0.3  # confidence from which a joint counts as detected


@dataclass(frozen=True)
class PersonDetection:
    """One person in one frame.

    Attributes:
        box: (4,) float32 x0, y0, x1, y1 in pixels of the frame.
        score: Confidence of the detector in [0, 1].
        keypoints: (k, 3) float32 x, y in pixels and confidence in [0, 1]; k is 18 (OpenPose) or 133 (whole
            body).
    """

    box: Float
    score: float
    keypoints: Float

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        return float(np.clip(self.box[2:] - self.box[:2], 0, None).prod())

    @property
    def num_confident_joints(self) -> int:
        """Number of joints with a confidence of at least `MIN_CONFIDENCE`."""
        return int((self.keypoints[:, 2] >= MIN_CONFIDENCE).sum())


def sort_by_area(people: list[PersonDetection]) -> list[PersonDetection]:
    """Sort the people of a frame by the area of their boxes, largest first."""
    return sorted(people, key=lambda person: -person.area)
