import numpy as np
import pytest

from idol.data.augment import (
    OutpaintingConfig,
    crop_resize,
    flip,
    flip_pose,
    foreground_box,
    mirrored_joints,
    outpaint_background,
    square_box,
)
from idol.pose.joints import OPENPOSE_18
from support.drawn import drawn_clip


def test_flipping_twice_is_nothing():
    clip = drawn_clip(0)
    there = flip(clip)
    back = flip(there)
    for name in ("video", "depth", "mask", "background"):
        assert np.array_equal(getattr(there, name), getattr(clip, name)[..., ::-1])
        assert np.array_equal(getattr(back, name), getattr(clip, name))
    np.testing.assert_allclose(back.pose.keypoints, clip.pose.keypoints, atol=1e-5)


def test_a_mirrored_left_hand_is_a_right_hand():
    pose = drawn_clip(0).pose
    left, right = (OPENPOSE_18.index(f"{side}_wrist") for side in ("left", "right"))
    mirrored = flip_pose(pose)
    assert np.allclose(mirrored.keypoints[:, right, 0], pose.width - 1 - pose.keypoints[:, left, 0])
    assert np.array_equal(mirrored.keypoints[:, right, 1:], pose.keypoints[:, left, 1:])


@pytest.mark.parametrize("joints", [18, 133])
def test_mirroring_joints_is_an_involution(joints):
    mirror = mirrored_joints(joints)
    assert sorted(mirror) == list(range(joints))
    assert [mirror[i] for i in mirror] == list(range(joints))
    middle = sum(i == m for i, m in enumerate(mirror))
    assert middle == (2 if joints == 18 else 1 + 1 + 4 + 1 + 4)  # nose (neck); chin, nose, its tip, lips


def test_cropping_keeps_images_and_joints_together():
    clip = drawn_clip(1, size=64)
    cut = crop_resize(clip, (8, 4, 56, 52), 96)  # 48 pixels to 96
    assert cut.video.shape == (4, 3, 96, 96) and cut.background.shape == (3, 96, 96)
    np.testing.assert_allclose(
        cut.pose.keypoints[..., 0], (clip.pose.keypoints[..., 0] - 8 + 0.5) * 2 - 0.5, atol=1e-4
    )
    assert (cut.depth[~cut.mask] == 0).all() and (cut.depth[cut.mask] >= 0.2 - 1e-6).all()
    expected = np.repeat(np.repeat(clip.mask[:, 4:52, 8:56], 2, 1), 2, 2)
    assert (cut.mask != expected).mean() < 0.01
    assert crop_resize(clip, (0, 0, 64, 64), 64) is clip


def test_squares_stay_inside():
    assert square_box(100, 60, (0.5, 1.0), None) == (0, 20, 60, 80)
    rng = np.random.default_rng(0)
    for _ in range(100):
        x0, y0, x1, y1 = square_box(100, 60, (0.5, 1.0), rng)
        assert 0 <= x0 < x1 <= 60 and 0 <= y0 < y1 <= 100 and x1 - x0 == y1 - y0 >= 30


def test_outpainting_dilates_the_hole_and_hap_does_not():
    clip = drawn_clip(2)
    image, mask = clip.video[0], clip.mask[0]
    hap = OutpaintingConfig(dilation=(0.0, 0.0), foreground_area=(1.0, 1.0))
    plain = outpaint_background(image, mask, np.random.default_rng(0), hap)
    assert (plain[:, mask] == 127).all() and np.array_equal(plain[:, ~mask], image[:, ~mask])
    assert foreground_box(64, np.random.default_rng(0), hap) == (0, 0, 64, 64)
    five = OutpaintingConfig(dilation=(5.01 / 64, 5.01 / 64), foreground_area=(0.25, 0.25))
    dilated = outpaint_background(image, mask, np.random.default_rng(0), five)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    hole = np.zeros_like(mask)
    for y in range(64):  # the disc of radius 5, point by point
        for x in range(64):
            dy = max(rows[0] - y, 0, y - rows[-1])
            dx = max(columns[0] - x, 0, x - columns[-1])
            hole[y, x] = dy * dy + dx * dx <= 25
    assert (dilated[:, hole] == 127).all() and np.array_equal(dilated[:, ~hole], image[:, ~hole])
    x0, _, x1, _ = foreground_box(64, np.random.default_rng(0), five)
    assert x1 - x0 == 32


@pytest.mark.parametrize("wrong", [{"dilation": (0.2, 0.1)}, {"foreground_area": (0.0, 1.0)}])
def test_wrong_ranges_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OutpaintingConfig(**wrong)
