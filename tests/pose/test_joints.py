"""Joint layouts against their names: conversion, neck and mirroring."""

import numpy as np
import pytest

from idol.clip import Pose
from idol.pose.joints import (
    COCO_17,
    OPENPOSE_18,
    WHOLEBODY_133,
    from_coco17,
    from_halpe26,
    mirrored,
)


def test_coco_becomes_openpose_by_name():
    rng = np.random.default_rng(6)
    coco = rng.uniform(0.1, 1, (3, 17, 3)).astype(np.float32)
    body = from_coco17(coco, 9, 9).keypoints
    for i, name in enumerate(OPENPOSE_18):
        if name == "neck":
            left, right = (coco[:, COCO_17.index(f"{s}_shoulder")] for s in ("left", "right"))
            np.testing.assert_allclose(body[:, i, :2], (left[:, :2] + right[:, :2]) / 2, rtol=1e-6)
            np.testing.assert_array_equal(body[:, i, 2], np.minimum(left[:, 2], right[:, 2]))
        else:
            np.testing.assert_array_equal(body[:, i], coco[:, COCO_17.index(name)])
    # the order the published preparation of this layout uses, the neck put in at 1
    assert np.delete(np.arange(18), 1).tolist() == [
        OPENPOSE_18.index(COCO_17[j]) for j in [0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13,
        15, 2, 1, 4, 3]
    ]  # fmt: skip


def test_a_missing_shoulder_makes_no_bogus_neck():
    coco = np.ones((1, 17, 3), np.float32)
    coco[0, 5] = -1
    body = from_coco17(coco, 9, 9).keypoints[0]
    assert (body[1] == 0).all() and (body[5] == 0).all()
    halpe = np.ones((1, 26, 3), np.float32)
    halpe[0, 5], halpe[0, 18] = -1, (3, 4, 0.5)
    assert from_halpe26(halpe, 9, 9).keypoints[0, 1].tolist() == [3, 4, 0.5]
    halpe[0, 5] = 1
    assert from_halpe26(halpe, 9, 9).keypoints[0, 1].tolist() == [1, 1, 1]


def test_whole_body_names():
    names = WHOLEBODY_133
    assert len(names) == len(set(names)) == 133
    assert (names[91], names[112], names[23], names[17]) == (
        "left_hand_root", "right_hand_root", "face_0", "left_big_toe",
    )  # fmt: skip


@pytest.mark.parametrize("joints", [18, 133])
def test_mirroring_twice_is_nothing(joints):
    rng = np.random.default_rng(7)
    k = np.concatenate([rng.uniform(0, 48, (2, joints, 2)), np.ones((2, joints, 1))], -1).astype(np.float32)
    pose = Pose(k, 60, 48)
    once = mirrored(pose)
    np.testing.assert_allclose(mirrored(once).keypoints, k, atol=1e-5)
    names = OPENPOSE_18 if joints == 18 else WHOLEBODY_133
    left, right = names.index("left_wrist"), names.index("right_wrist")
    np.testing.assert_allclose(once.keypoints[:, left, 0], 47 - k[:, right, 0], rtol=1e-6)
    np.testing.assert_allclose(once.keypoints[:, left, 1], k[:, right, 1])
