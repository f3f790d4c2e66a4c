"""Following one person through a video by the overlap of boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from idol.prepare.estimators.crop_transform import Float, box_iou
from idol.prepare.estimators.detection import PersonDetection

MIN_OVERLAP = (
    0.1  # of the boxes of one person in one frame and the next; people move little in a 30th of a second
)


@dataclass
class Track:
    """One person over time.

    Attributes:
        seen: PersonDetection by frame number.
    """

    seen: dict[int, PersonDetection] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The frame the person was last seen in."""
        return max(self.seen)

    def expected(self, frame: int) -> Float:
        """(4,) the box in a frame to come, if the person moves on as between the last two sightings."""
        last, before = self.last, max((f for f in self.seen if f < self.last), default=None)
        if before is None:
            return self.seen[last].box
        speed = (self.seen[last].box - self.seen[before].box).reshape(2, 2).mean(0) / (last - before)
        return self.seen[last].box + np.tile(speed, 2) * (frame - last)

    @property
    def weight(self) -> float:
        """How much of the video the person is: area of the boxes, summed over frames."""
        return sum(person.area for person in self.seen.values())


def track_people(people: list[list[PersonDetection]], patience: int) -> list[Track]:
    """The people of a video, the one who takes most of it first.

    Args:
        people: Detections by frame.
        patience: For so many frames a person may be out of sight and still be the same one.
    """
    tracks: list[Track] = []
    for frame, found in enumerate(people):
        alive = [track for track in tracks if frame - track.last <= patience + 1]
        pairs = _pairs(alive, found, frame)
        for track, person in pairs:
            track.seen[frame] = found[person]
        taken = {person for _, person in pairs}
        tracks += [Track({frame: person}) for i, person in enumerate(found) if i not in taken]
    return sorted(tracks, key=lambda track: -track.weight)


def _pairs(alive: list[Track], found: list[PersonDetection], frame: int) -> list[tuple[Track, int]]:
    """Tracks and the detections that continue them: the assignment of the largest total overlap."""
    if not alive or not found:
        return []
    awaited = np.stack([track.expected(frame) for track in alive])
    shared = box_iou(awaited, np.stack([person.box for person in found]))
    rows, columns = linear_sum_assignment(-shared)
    return [(alive[r], int(c)) for r, c in zip(rows, columns, strict=True) if shared[r, c] >= MIN_OVERLAP]
