"""Tracking of people through a video by the overlap of their boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from idol.prepare.estimators.crop_transform import Float, box_iou
from idol.prepare.estimators.detection import PersonDetection

MIN_OVERLAP = 0.1  # intersection over union of predicted and detected box: people move little between frames


@dataclass
class Track:
    """One person over time.

    Attributes:
        seen: Detection of the person by frame index.
    """

    seen: dict[int, PersonDetection] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """Index of the frame in which the person was last detected."""
        return max(self.seen)

    def predicted_box(self, frame: int) -> Float:
        """Predict the box (4,) in a later frame, assuming constant velocity since the last two detections."""
        last, before = self.last, max((f for f in self.seen if f < self.last), default=None)
        if before is None:
            return self.seen[last].box
        speed = (self.seen[last].box - self.seen[before].box).reshape(2, 2).mean(0) / (last - before)
        return self.seen[last].box + np.tile(speed, 2) * (frame - last)

    @property
    def weight(self) -> float:
        """Area of the boxes summed over all frames."""
        return sum(person.area for person in self.seen.values())


def track_people(people: list[list[PersonDetection]], patience: int) -> list[Track]:
    """Track the people of a video.

    Args:
        people: Detections of each frame.
        patience: Number of frames for which a person may go undetected and still continue the track.

    Returns:
        The tracks in descending order of `weight`.
    """
    tracks: list[Track] = []
    for frame, found in enumerate(people):
        # A track that was lost for too long is not resumed by somebody else.
        alive = [track for track in tracks if frame - track.last <= patience + 1]
        pairs = _pairs(alive, found, frame)
        for track, person in pairs:
            track.seen[frame] = found[person]
        taken = {person for _, person in pairs}
        tracks += [Track({frame: person}) for i, person in enumerate(found) if i not in taken]
    return sorted(tracks, key=lambda track: -track.weight)


def _pairs(alive: list[Track], found: list[PersonDetection], frame: int) -> list[tuple[Track, int]]:
    """Assign detections to tracks such that the total overlap is largest (Hungarian algorithm)."""
    if not alive or not found:
        return []
    predicted = np.stack([track.predicted_box(frame) for track in alive])
    shared = box_iou(predicted, np.stack([person.box for person in found]))
    rows, columns = linear_sum_assignment(-shared)
    return [(alive[r], int(c)) for r, c in zip(rows, columns, strict=True) if shared[r, c] >= MIN_OVERLAP]
