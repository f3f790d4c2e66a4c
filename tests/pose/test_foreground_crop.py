"""The person's square crop."""

import numpy as np
import pytest

from idol.clip import Pose
from idol.pose import skeleton
from idol.pose.foreground_crop import GRAY, bounding_square, foreground_crop


def scene(height=90, width=120, box=(20, 15, 70, 45)):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, height, width)).astype(np.uint8)
    mask = np.zeros((height, width), bool)
    top, left, bottom, right = box
    mask[top:bottom, left:right] = True
    xy = rng.uniform((left, top), (right - 1, bottom - 1), (1, 18, 2))
    joints = np.concatenate([xy, np.ones((1, 18, 1))], -1)
    return image, mask, Pose(joints.astype(np.float32), height, width)


def test_without_resizing_it_is_a_cut_out():
    image, mask, pose = scene()
    x0, y0, side = bounding_square(mask, 0.1)
    assert (x0, y0, side) == (0, 15, 60)
    crop, inside, moved = foreground_crop(image, mask, pose, side)
    window, expected = mask[15:75, 0:60], image[:, 15:75, 0:60]
    assert (inside == window).all()
    assert (crop[:, window] == expected[:, window]).all() and (crop[:, ~window] == GRAY).all()
    np.testing.assert_allclose(moved.keypoints[0, :, :2], pose.keypoints[0, :, :2] - [0, 15], atol=1e-4)


def test_the_person_keeps_proportions_and_is_centered():
    image, mask, pose = scene()
    crop, inside, moved = foreground_crop(image, mask, pose, 120)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert abs(len(rows) / len(columns) - 50 / 30) < 0.05
    assert abs(rows[0] + rows[-1] - 119) <= 2 and abs(columns[0] + columns[-1] - 119) <= 2
    assert crop.shape == (3, 120, 120) and inside.shape == (120, 120)
    assert (moved.height, moved.width, moved.frames) == (120, 120, 1)
    on = np.rint(moved.keypoints[0, :, :2]).astype(int).clip(0, 119)
    assert inside[on[:, 1], on[:, 0]].mean() > 0.9


def test_a_person_at_the_edge_is_padded_not_shifted():
    image, mask, pose = scene(box=(0, 0, 90, 20))
    crop, inside, moved = foreground_crop(image, mask, pose, 54, margin=0.1)
    columns = np.flatnonzero(inside.any(0))
    assert abs(columns[0] + columns[-1] - 53) <= 2
    assert (crop[:, ~inside] == GRAY).all()


def test_nothing_of_the_old_background_is_left():
    _, mask, pose = scene()
    image = np.where(mask, 200, 0).astype(np.uint8)[None].repeat(3, 0)
    crop, inside, _ = foreground_crop(image, mask, pose, 33)
    assert crop.min() >= GRAY - 12  # the resampling filter may swing a little below gray, never to the black
    assert (crop[:, ~inside] == GRAY).all()


def test_the_skeleton_of_the_crop_lies_on_the_person():
    image, mask, pose = scene()
    _, inside, moved = foreground_crop(image, mask, pose, 100)
    drawn = skeleton.draw(moved, 100, 100, stick_width=1.0, radius=1.0, at="model")[0].any(axis=0)
    assert (drawn & inside).sum() / drawn.sum() > 0.9


def test_bad_input_is_refused():
    image, mask, pose = scene()
    with pytest.raises(ValueError, match="no person"):
        foreground_crop(image, np.zeros_like(mask), pose, 64)
    with pytest.raises(ValueError, match="expected 1 of 90 x 120"):
        foreground_crop(image, mask, pose.resized(10, 10), 64)
