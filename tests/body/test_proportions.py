"""Motion carried over: lengths of one person, directions of another, feet on the same floor."""

import numpy as np
import pytest

from idol.body.bones_from_points import PointRig
from idol.body.model import load_body
from idol.body.phenotype import AVERAGE_ADULT, Phenotype
from idol.body.proportions import bone_lengths, carry_over, nearest_posture, with_lengths
from idol.body.rotations import from_vector, unit


def at_rest(**changed: float) -> np.ndarray:
    return PointRig(load_body().shaped(Phenotype(**(vars(AVERAGE_ADULT) | changed)))).rest


@pytest.fixture
def driver() -> np.ndarray:
    """A tall person who turns, comes nearer and lifts an arm."""
    turns = from_vector(np.linspace(0, 1.5, 6)[:, None] * np.array([0.0, 1.0, 0.0]))
    points = np.einsum("fij,nj->fni", turns, at_rest(height=0.9)) + np.linspace(0, 1, 6)[:, None, None] * [
        0,
        0,
        1.0,
    ]
    points[3:, [3, 4, 21]] = points[3:, 2:3] + (points[3:, [3, 4, 21]] - points[3:, 2:3]) * [1, -1, 1]
    return points


def test_own_lengths_change_nothing(driver):
    np.testing.assert_allclose(with_lengths(driver, bone_lengths(driver)), driver, atol=2e-3)
    np.testing.assert_allclose(carry_over(driver, driver[2], 2), driver, atol=4e-3)


def test_lengths_are_the_persons_and_directions_the_drivers(driver):
    person = at_rest(height=0.2) + [0.5, 0.1, -4.0]
    made = carry_over(driver, person)
    np.testing.assert_allclose(bone_lengths(made), bone_lengths(person[None]), rtol=1e-6)
    for start, end in ((2, 3), (3, 4), (8, 9), (9, 10), (11, 12), (1, 0)):
        directions = [unit(points[:, end] - points[:, start]) for points in (made, driver)]
        np.testing.assert_allclose(*directions, atol=1e-6)
    assert made[0, [10, 13, 18, 19], 1].min() == pytest.approx(person[[10, 13, 18, 19], 1].min())
    np.testing.assert_allclose(made[0, [8, 11]].mean(0)[[0, 2]], person[[8, 11]].mean(0)[[0, 2]], atol=1e-9)
    way = [points[5, [8, 11]].mean(0) - points[0, [8, 11]].mean(0) for points in (made, driver)]
    legs = [np.linalg.norm(p[9] - p[8]) + np.linalg.norm(p[10] - p[9]) for p in (person, driver[0])]
    np.testing.assert_allclose(way[0], way[1] * legs[0] / legs[1], rtol=1e-2)


def test_most_alike_frame_is_found(driver):
    assert [nearest_posture(driver, frame + [1.0, 2.0, 3.0]) for frame in driver] == list(range(6))
