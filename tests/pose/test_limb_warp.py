"""The paper doll: known motions of a drawn person are undone exactly; parts that are not there stay away."""

import numpy as np
import pytest

from idol.clip import Pose
from idol.pose.joints import OPENPOSE_18
from idol.pose.limb_warp import DRAFT_DEPTH, LimbWarp, body_scale
from support.drawn import drawn_clip

SIZE = 96


def _standing(scale=1.0, shift=(0.0, 0.0), turn=0.0):
    """A person of 18 joints, scaled, turned about the hips and shifted; one frame."""
    places = {
        "nose": (48, 16), "neck": (48, 26), "right_shoulder": (38, 26), "right_elbow": (34, 38),
        "right_wrist": (32, 50), "left_shoulder": (58, 26), "left_elbow": (62, 38), "left_wrist": (64, 50),
        "right_hip": (42, 50), "right_knee": (41, 66), "right_ankle": (41, 82), "left_hip": (54, 50),
        "left_knee": (55, 66), "left_ankle": (55, 82), "right_eye": (46, 14), "left_eye": (50, 14),
        "right_ear": (43, 15), "left_ear": (53, 15),
    }  # fmt: skip
    xy = np.array([places[name] for name in OPENPOSE_18], np.float64) - 48
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    xy = scale * xy @ rotation.T + 48 + np.array(shift)
    return Pose(np.concatenate([xy, np.ones((18, 1))], 1)[None].astype(np.float32), SIZE, SIZE)


def _image(pose):
    """A smooth image, and a body of discs round the joints as its mask."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    image = np.stack([127 + 100 * np.sin(columns / 9), 127 + 100 * np.cos(rows / 11), 2 * columns])
    a, b = pose.keypoints[0, :, None, :2], pose.keypoints[0, None, :, :2]
    points = np.concatenate([a * s + b * (1 - s) for s in (0.25, 0.5, 0.75)]).reshape(-1, 2)
    near = np.linalg.norm(np.stack([columns, rows], -1)[:, :, None] - points, axis=-1).min(-1) < 4
    return image.clip(0, 255).astype(np.uint8), near


def test_onto_its_own_skeleton_the_person_is_unchanged():
    pose = _standing()
    image, mask = _image(pose)
    colors, covered = LimbWarp.from_image(image, mask, pose).warp(pose)
    assert (covered[0][mask] > 0.99).mean() > 0.97 and covered[0][~mask].max() < 1e-3
    sure = covered[0] > 0.99
    assert np.abs(colors[0][:, sure] - image[:, sure]).max() < 1


@pytest.mark.parametrize(("scale", "shift", "turn"), [(1, (7, -5), 0), (0.7, (3, 4), 0), (0.8, (0, 2), 0.5)])
def test_a_rigid_motion_of_the_skeleton_moves_the_person_rigidly(scale, shift, turn):
    pose, target = _standing(), _standing(scale, shift, turn)
    image, mask = _image(pose)
    colors, covered = LimbWarp.from_image(image, mask, pose).warp(target)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
    points = (np.stack([columns, rows], -1) - 48 - np.array(shift)) @ back.T + 48
    from scipy.ndimage import map_coordinates

    expected = np.stack(
        [map_coordinates(c.astype(float), points[..., ::-1].transpose(2, 0, 1), order=1) for c in image]
    )
    inside = map_coordinates(mask.astype(float), points[..., ::-1].transpose(2, 0, 1), order=1) > 0.99
    assert (covered[0][inside] > 0.9).mean() > 0.97
    sure = inside & (covered[0] > 0.99)
    assert np.abs(colors[0][:, sure] - expected[:, sure]).mean() < 2


def test_a_raised_arm_takes_its_colors_along():
    pose, target = _standing(), _standing()
    image, mask = np.zeros((3, SIZE, SIZE), np.uint8), _image(pose)[1]
    image[2] = 255
    forearm = np.zeros_like(mask)
    forearm[40:56, 26:37] = True
    image[:, forearm] = np.array([255, 0, 0])[:, None]
    target.keypoints[0, 3, :2], target.keypoints[0, 4, :2] = (28, 18), (24, 6)
    colors, covered = LimbWarp.from_image(image, mask, pose).warp(target)
    middle = (slice(None), 11, 26)
    assert covered[0][middle[1:]] > 0.9
    assert colors[0][middle][0] > 200 and colors[0][middle][2] < 60


def test_parts_without_joints_are_missing_and_nobody_is_nobody():
    pose, target = _standing(), _standing()
    image, mask = _image(pose)
    target.keypoints[0, [9, 10, 12, 13], 2] = 0
    _, covered = LimbWarp.from_image(image, mask, pose).warp(target)
    assert covered[0][70:].max() < 0.05 and covered[0][30:45, 44:52].min() > 0.9
    target.keypoints[..., 2] = 0
    assert LimbWarp.from_image(image, mask, pose).warp(target)[1].max() == 0


def test_scale_is_that_of_most_bones():
    pose, target = _standing(), _standing(1.5)
    assert body_scale(pose.keypoints[0], target.keypoints[0]) == pytest.approx(1.5, abs=1e-3)
    target.keypoints[0, 4, :2] = target.keypoints[0, 3, :2] + 0.5  # a forearm that points at the camera
    assert body_scale(pose.keypoints[0], target.keypoints[0]) == pytest.approx(1.5, abs=1e-3)


def test_draft_stands_before_the_background():
    clip = drawn_clip(0, 3)
    warp = LimbWarp.from_image(clip.video[0], clip.mask[0], clip.pose.select([0]))
    made, depth = warp.draft(clip.pose, clip.background)
    assert made.shape == clip.video.shape and made.dtype == np.uint8
    plate = clip.background if clip.background.ndim == 4 else clip.background[None]
    same = (made == plate).all(1)
    assert same.mean() > 0.3 and not same.all()
    assert set(np.unique(depth)) == {0, np.float32(DRAFT_DEPTH)} and same[depth == 0].mean() > 0.9
    there = (depth > 0) & clip.mask
    assert there.sum() > 0.6 * ((depth > 0) | clip.mask).sum()


def test_pose_of_another_image_is_refused():
    pose = _standing()
    image, mask = _image(pose)
    with pytest.raises(ValueError, match="expected 1 of 96 x 96"):
        LimbWarp.from_image(image, mask, pose.resized(48, 48))
