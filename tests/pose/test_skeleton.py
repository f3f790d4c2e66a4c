"""Skeleton images against literal loops."""

import colorsys
import math
import time

import numpy as np
import pytest
from PIL import Image

from idol.clip import Pose
from idol.pose import skeleton
from idol.pose.joints import (
    body_18,
    from_coco17,
    from_wholebody,
)
from support.stick_figures import random_pose

# The layout written out once more, 1-based as it is usually given.
LIMBS = [
    [2, 3], [2, 6], [3, 4], [4, 5], [6, 7], [7, 8], [2, 9], [9, 10], [10, 11], [2, 12], [12, 13], [13, 14],
    [2, 1], [1, 15], [15, 17], [1, 16], [16, 18],
]  # fmt: skip
COLORS = [
    [255, 0, 0], [255, 85, 0], [255, 170, 0], [255, 255, 0], [170, 255, 0], [85, 255, 0], [0, 255, 0], [0,
    255, 85], [0, 255, 170], [0, 255, 255], [0, 170, 255], [0, 85, 255], [0, 0, 255], [85, 0, 255], [170, 0,
    255], [255, 0, 255], [255, 0, 170], [255, 0, 85],
]  # fmt: skip


def literal_drawing(joints, height, width, stick_width, radius):
    canvas = np.zeros((height, width, 3))
    for (x, y, c), color in zip(joints.tolist(), COLORS, strict=True):
        for i in range(height):
            for j in range(width):
                if c > 0 and (j - x) ** 2 + (i - y) ** 2 <= radius**2:
                    canvas[i, j] = color
    for (a, b), color in zip(LIMBS, COLORS, strict=False):
        (x0, y0, c0), (x1, y1, c1) = joints[a - 1].tolist(), joints[b - 1].tolist()
        if c0 <= 0 or c1 <= 0:
            continue
        half, angle = max(math.hypot(x1 - x0, y1 - y0) / 2, 0.5), math.atan2(y1 - y0, x1 - x0)
        for i in range(height):
            for j in range(width):
                dx, dy = j - (x0 + x1) / 2, i - (y0 + y1) / 2
                along = dx * math.cos(angle) + dy * math.sin(angle)
                across = dy * math.cos(angle) - dx * math.sin(angle)
                if (along / half) ** 2 + (across / stick_width) ** 2 <= 1:
                    canvas[i, j] = [
                        round(0.4 * o + 0.6 * n) for o, n in zip(canvas[i, j], color, strict=True)
                    ]
    return canvas.astype(np.uint8).transpose(2, 0, 1)


def test_drawing_is_the_literal_one():
    pose = random_pose(0)
    found = skeleton.draw(pose, 60, 48)
    for frame, joints in zip(found, pose.keypoints, strict=True):
        assert (frame == literal_drawing(joints, 60, 48, 4.0, 4.0)).all()


def test_drawing_at_the_models_size_keeps_the_given_widths():
    pose = random_pose(1, frames=1, size=(120, 96))
    found = skeleton.draw(pose, 60, 48, stick_width=1.7, radius=2.2, at="model")
    joints = pose.keypoints[0].astype(np.float64)
    joints[:, :2] = (joints[:, :2] + 0.5) / 2 - 0.5
    assert (found[0] == literal_drawing(joints, 60, 48, 1.7, 2.2)).mean() > 0.9999


def test_drawing_at_the_source_is_shrunk_like_a_frame():
    pose = random_pose(2, frames=1, size=(90, 60))
    full = skeleton.draw(pose, 90, 60)[0].transpose(1, 2, 0)
    shrunk = np.asarray(Image.fromarray(full).resize((40, 60), Image.Resampling.BILINEAR))
    assert (skeleton.draw(pose, 60, 40)[0].transpose(1, 2, 0) == shrunk).all()


def test_missing_joints_are_not_drawn():
    assert not skeleton.draw(random_pose(3, missing=1.1), 60, 48).any()
    joints = np.ones((1, 18, 3), np.float32)
    joints[..., :2] = np.random.default_rng(3).uniform(1e5, 2e5, (1, 18, 2))
    far = Pose(joints, 60, 48)
    assert not skeleton.draw(far, 60, 48).any()


def test_drawing_is_fast():
    pose = random_pose(4, frames=16, size=(256, 256), missing=0)
    skeleton.draw(pose, 256, 256)
    start = time.process_time()
    skeleton.draw(pose, 256, 256)
    assert (time.process_time() - start) / 16 < 0.02  # about 2 ms; room for a busy machine


def test_whole_body_draws_its_body():
    rng = np.random.default_rng(5)
    whole = np.concatenate([rng.uniform(0, 50, (1, 133, 2)), np.ones((1, 133, 1))], -1).astype(np.float32)
    body = from_coco17(whole[:, :17], 60, 48)
    pose = from_wholebody(whole, 60, 48)
    assert (skeleton.draw(pose, 60, 48) == skeleton.draw(body, 60, 48)).all()


def whole_body(seed=0, size=96):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(8, size - 8, (2, 133, 3)).astype(np.float32)
    keypoints[..., 2] = 1
    return Pose(keypoints, size, size)


def test_hands_and_face_are_drawn_over_the_body_alone():
    pose = whole_body()
    body = skeleton.draw(pose, 96, 96, at="model")
    np.testing.assert_array_equal(skeleton.draw(body_18(pose), 96, 96, at="model", parts="whole_body"), body)
    hidden = pose.keypoints.copy()
    hidden[:, 23:, 2] = 0  # no face, no hands
    unseen = Pose(hidden, 96, 96)
    np.testing.assert_array_equal(skeleton.draw(unseen, 96, 96, at="model", parts="whole_body"), body)
    whole = skeleton.draw(pose, 96, 96, at="model", parts="whole_body")
    assert (whole != body).any((1, 2, 3)).all()


@pytest.mark.parametrize(("rows", "color"), [(range(23, 91), (255, 255, 255)), (range(91, 133), (0, 0, 255))])
def test_points_of_the_face_are_white_and_joints_of_hands_blue(rows, color):
    keypoints = np.zeros((1, 133, 3), np.float32)
    for place, row in enumerate(rows):
        keypoints[0, row] = 8 + 10 * (place % 9), 8 + 10 * (place // 9), 1
    drawn = skeleton.draw(
        Pose(keypoints, 96, 96), 96, 96, at="model", parts="whole_body", radius=2.0, stick_width=2.0
    )
    for row in rows:
        x, y = keypoints[0, row, :2].astype(int)
        assert tuple(drawn[0, :, y, x]) == color


def test_fingers_are_drawn_from_the_wrist_outwards():
    """Against a literal walk: bones of a hand with its joints spread on a grid, looked up half-way."""
    keypoints = np.zeros((1, 133, 3), np.float32)
    for joint in range(21):
        finger, knuckle = divmod(joint - 1, 4)
        x, y = (120, 12) if joint == 0 else (40 * finger + 40, 40 + 30 * knuckle)
        keypoints[0, 112 + joint] = x, y, 1
    drawn = skeleton.draw(
        Pose(keypoints, 240, 240), 240, 240, at="model", parts="whole_body", radius=1.0, stick_width=8.0
    )
    number = 0
    for finger in range(5):
        chain = [0, *range(1 + 4 * finger, 5 + 4 * finger)]
        for a, b in zip(chain, chain[1:], strict=False):
            x, y = np.rint((keypoints[0, 112 + a, :2] + keypoints[0, 112 + b, :2]) / 2).astype(int)
            expected = [round(255 * c) for c in colorsys.hsv_to_rgb(number / 20, 1, 1)]
            assert drawn[0, :, y, x].tolist() == expected
            number += 1
