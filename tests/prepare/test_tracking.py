"""Tracking: one person is followed past another."""

import numpy as np
import pytest

from idol.errors import UserError
from idol.prepare.estimators.detection import PersonDetection
from idol.prepare.motion import main_person


def person_at(x, size=10.0):
    keypoints = np.ones((18, 3), np.float32)
    return PersonDetection(np.array([x, 0, x + size, 2 * size], np.float32), 0.9, keypoints)


def test_one_person_is_followed_past_another():
    frames = [[person_at(3 * i, 12), person_at(60 - 3 * i, 10)] for i in range(20)]
    frames = [people if i % 3 else people[::-1] for i, people in enumerate(frames)]
    track, notes = main_person(frames, fps=30)
    assert [track.seen[i].box[0] for i in range(20)] == [3 * i for i in range(20)]
    assert "2 people" in notes[0]


def test_a_person_out_of_sight_for_a_moment_stays_the_same():
    frames = [[person_at(0.5 * i)] if i not in (5, 6, 7) else [] for i in range(15)]
    track, notes = main_person(frames, fps=30)
    assert sorted(track.seen) == [i for i in range(15) if i not in (5, 6, 7)] and notes == ()


def test_nobody_at_all():
    with pytest.raises(UserError, match="no person in any of 4 frames"):
        main_person([[]] * 4, fps=30)
