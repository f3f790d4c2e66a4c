"""Outlier removal: swapped sides against a search of all paths, jumps against steady motion."""

import numpy as np
import pytest

from idol.clip import Pose
from idol.pose.joints import OPENPOSE_18
from idol.pose.retarget import person_height
from idol.prepare import builtin_motions
from idol.prepare.outlier_removal import find_jumps, find_side_swaps, remove_outliers


def mirrored_sides(keypoints, frames):
    """The same with left and right exchanged in some frames, joint by joint by name."""
    wrong = keypoints.copy()
    for i, name in enumerate(OPENPOSE_18):
        if name.startswith("left_"):
            j = OPENPOSE_18.index(name.replace("left", "right"))
            wrong[frames, i], wrong[frames, j] = keypoints[frames, j], keypoints[frames, i]
    return wrong


@pytest.mark.parametrize("name", ["punch", "dance-b"])
@pytest.mark.parametrize("frames", [[7], [11, 12, 13], [5, 20, 21]])
def test_exchanged_sides_are_put_right(name, frames):
    pose = builtin_motions.builtin_pose(name, 30)
    true = np.where(pose.keypoints[..., 2:] > 0, pose.keypoints, 0)
    found = remove_outliers(Pose(mirrored_sides(true, frames), pose.height, pose.width)).keypoints
    body = [i for i, joint in enumerate(OPENPOSE_18) if not joint.endswith(("eye", "ear"))]
    both = (found[..., 2] > 0)[:, body]
    apart = np.linalg.norm((found - true)[:, body, :2], axis=-1)
    assert (apart[both] > 0.03 * person_height(pose)).mean() < 0.01 and both.mean() > 0.95


@pytest.mark.parametrize("name", ["walk", "dance-a", "spinkick", "cartwheel", "spin"])
def test_motions_without_mistakes_stay_as_they_are(name):
    pose = builtin_motions.builtin_pose(name)
    kept = remove_outliers(pose).keypoints
    limbs = [i for i, joint in enumerate(OPENPOSE_18) if not joint.endswith(("eye", "ear", "nose"))]
    moved = np.linalg.norm((kept - pose.keypoints)[:, limbs, :2], axis=-1) > 0.02 * person_height(pose)
    assert moved.mean() < 0.02


def test_exchanges_equal_trying_every_path():
    rng = np.random.default_rng(0)
    left, right = (rng.uniform(0, 9, (7, 2, 3)).astype(np.float32) for _ in range(2))
    left[..., 2] = right[..., 2] = 1

    def cost(path):
        both = [np.concatenate([right[i], left[i]] if p else [left[i], right[i]]) for i, p in enumerate(path)]
        way = [
            np.linalg.norm(a[:, :2] - b[:, :2], axis=-1).mean() for a, b in zip(both, both[1:], strict=False)
        ]
        return sum(way) + 1.5 * sum(path)

    paths = [[int(bit) for bit in f"{n:07b}"] for n in range(2**7)]
    assert find_side_swaps(left, right, 1.5).astype(int).tolist() == min(paths, key=cost)


def test_a_leap_is_found_and_steady_speed_is_not():
    keypoints = np.ones((12, 2, 3), np.float32)
    keypoints[:, :, 0] = 30 * np.arange(12)[:, None]  # fast, but steady
    keypoints[5, 1, 1] = 80
    keypoints[8, 0] = 0  # missing is not leaping
    expected = np.zeros((12, 2), bool)
    expected[5, 1] = True
    assert (find_jumps(keypoints, 40) == expected).all()
