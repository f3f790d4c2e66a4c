"""Lifting: symmetries of the network; bone lengths, flicker and distance against reference points."""

import numpy as np
import pytest
import torch

from idol.body.bones_from_points import PointRig
from idol.body.distance import bone_scale, steady_scale
from idol.body.lift import LiftConfig, Lifted, lift, lift_windows
from idol.body.lifter import (
    MIRRORED,
    POINTS,
    SEEN,
    Lifter,
    LifterConfig,
    lift_both_ways,
    load_lifter,
    person_frame,
    save_lifter,
)
from idol.body.limb_depths import LIMBS, keep_lengths, limb_reach, with_limb_reach, without_flicker
from idol.body.model import load_body
from idol.body.pinhole import PinholeCamera
from idol.clip import Pose

SMALL = LifterConfig(window=8, channels=24, layers=1, heads=2)
FOCAL = 350.0
CAMERA = PinholeCamera(FOCAL, 127.5, 127.5, 256, 256)


@pytest.fixture(scope="module")
def network() -> Lifter:
    torch.manual_seed(0)
    return Lifter(SMALL).eval().requires_grad_(False)


def seen(seed: int = 0, frames: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    joints = 100 + 40 * torch.randn(2, frames, SEEN, 2, generator=rng)
    return joints, (torch.rand(2, frames, SEEN, generator=rng) > 0.2).float()


def standing(frames: int, seed: int = 0) -> np.ndarray:
    """Return (f, 22, 3) meters, Y up, hips at 0: the average adult with swinging arms and legs."""
    rest = PointRig(load_body().average).rest
    points = np.repeat((rest - rest[[8, 11]].mean(0))[None], frames, 0)
    rng = np.random.default_rng(seed)
    for start, end, followers in ((3, 4, [21]), (6, 7, [20]), (9, 10, [19]), (12, 13, [18])):
        angle = rng.uniform(0.2, 1.2) * (1 if start in (3, 6) else -1)
        for k in [end, *followers]:
            y, z = (points[:, k] - points[:, start])[:, 1:].T
            points[:, k, 1] = points[:, start, 1] + np.cos(angle) * y + np.sin(angle) * z
            points[:, k, 2] = points[:, start, 2] - np.sin(angle) * y + np.cos(angle) * z
    return points


def in_image(points: np.ndarray, hips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points in pixels, and pixels per meter, of points (f, 22, 3) with hips at (f, 3)."""
    at = CAMERA.project(points + hips[:, None])
    distance = -hips[:, 2:]
    nearness = (distance - at[..., 2]) * FOCAL / distance
    return np.concatenate([at[..., :2], nearness[..., None]], -1), FOCAL / distance[:, 0]


def test_names():
    assert len(POINTS) == 22 and [MIRRORED[i] for i in MIRRORED] == list(range(22))
    assert POINTS[MIRRORED[4]] == "left_wrist" and POINTS[MIRRORED[18]] == "right_toe"


def test_mirrored_joints_give_mirrored_points(network):
    joints, confidence = seen()
    order = list(MIRRORED[:SEEN])
    plain = lift_both_ways(network, joints, confidence)
    turned = lift_both_ways(network, joints[:, :, order] * torch.tensor([-1.0, 1.0]), confidence[:, :, order])
    expected = plain[:, :, list(MIRRORED)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-3)


def test_points_move_and_grow_with_the_joints(network):
    joints, confidence = seen()
    plain = network(joints, confidence)
    moved = network(joints * 3 + torch.tensor([50.0, -20.0]), confidence)
    torch.testing.assert_close(moved, plain * 3 + torch.tensor([50.0, -20.0, 0.0]), rtol=0, atol=0.02)


def test_undetected_joints_have_no_effect(network):
    joints, confidence = seen()
    noisy = torch.where(confidence[..., None] > 0, joints, torch.full_like(joints, 1e4))
    torch.testing.assert_close(network(noisy, confidence), network(joints, confidence), rtol=0, atol=1e-3)
    confidence[:, 3] = 0
    assert network(joints, confidence).isfinite().all()
    middle, size = person_frame(joints, torch.zeros_like(confidence))
    assert middle.abs().max() == 0 and size.min() > 0


def test_saved_weights_load_unchanged(network, tmp_path):
    save_lifter(network, tmp_path / "lifter.safetensors")
    read = load_lifter(tmp_path / "lifter.safetensors")
    assert read.config == SMALL
    joints, confidence = seen()
    torch.testing.assert_close(read(joints, confidence), network(joints, confidence), rtol=0.02, atol=0.2)


@pytest.mark.parametrize("frames", [1, 5, 8, 13, 30])
def test_clips_of_any_length(network, frames):
    joints, confidence = seen(1, frames)
    keypoints = torch.cat([joints[0], confidence[0, ..., None]], -1).double().numpy()
    points = lift_windows(network, keypoints)
    assert points.shape == (frames, 22, 3)
    if frames <= 8:
        expected = lift_both_ways(network, joints[:1], confidence[:1])[0].double().numpy()
        np.testing.assert_allclose(points, expected, atol=1e-4)


def test_limb_reach_is_set_and_hands_follow():
    points, _ = in_image(standing(3), np.tile([0.0, 0.0, -4.0], (3, 1)))
    np.testing.assert_allclose(with_limb_reach(points, limb_reach(points)), points, atol=1e-9)
    reach = limb_reach(points) + np.random.default_rng(0).normal(0, 10, (3, len(LIMBS)))
    moved = with_limb_reach(points, reach)
    np.testing.assert_allclose(limb_reach(moved), reach, atol=1e-9)
    np.testing.assert_array_equal(moved[..., :2], points[..., :2])
    hand = moved[:, 21, 2] - moved[:, 4, 2]
    np.testing.assert_allclose(hand, points[:, 21, 2] - points[:, 4, 2], atol=1e-9)


def test_correct_depth_stays_and_wrong_depth_improves():
    """Correct depths stay; wrong ones are corrected most where limbs point at the camera."""
    reference = standing(4) * 100.0
    rest = PointRig(load_body().average).rest
    start, end = np.array(LIMBS).T
    lengths = np.linalg.norm(rest[start] - rest[end], axis=-1)
    scale = np.full(4, 100.0)
    np.testing.assert_allclose(keep_lengths(reference, lengths, scale, share=1.0), reference, atol=1e-6)
    wrong = with_limb_reach(reference, 0.3 * limb_reach(reference))
    before = np.abs(limb_reach(wrong) - limb_reach(reference))
    after = np.abs(limb_reach(keep_lengths(wrong, lengths, scale, share=1.0)) - limb_reach(reference))
    foreshortened = np.abs(limb_reach(reference)) / (100 * lengths)
    np.testing.assert_allclose(after, (1 - foreshortened**2) * before, atol=1e-6)
    np.testing.assert_allclose(keep_lengths(wrong, lengths, scale, share=0.0), wrong)


def test_flicker_is_removed_and_real_turns_stay():
    reference = standing(12) * 100.0
    reach = limb_reach(reference)
    flipped = reach.copy()
    flipped[5, 1] *= -1
    flipped[[0, 11], 3] *= -1  # at the ends nobody knows
    turning = reach[:, 5].mean() + np.linspace(-30, 30, 12)
    flipped[:, 5] = reach[:, 5] = turning
    found = limb_reach(without_flicker(with_limb_reach(reference, flipped)))
    np.testing.assert_allclose(found[:, [0, 1, 5]], reach[:, [0, 1, 5]], atol=1e-9)


def test_bone_lengths_give_the_scale_under_perspective():
    hips = np.stack([np.linspace(-0.5, 0.5, 6), np.zeros(6), np.linspace(-2.5, -6, 6)], -1)
    points, scale = in_image(standing(6), hips)
    found, spread = bone_scale(points - [127.5, 127.5, 0], PointRig(load_body().average).rest, FOCAL)
    np.testing.assert_allclose(found, scale, rtol=1e-6)
    assert spread.max() < 1e-6


def test_distance_is_steadier_than_bones_and_follows_an_approach():
    rng = np.random.default_rng(1)
    frames = 24
    rest = PointRig(load_body().average).rest
    hips = np.stack([np.zeros(frames), np.full(frames, -0.3), np.linspace(-5, -3.5, frames)], -1)
    points, scale = in_image(standing(frames), hips)
    points = points - [127.5, 127.5, 0]
    noisy = points + rng.normal(0, [1.0, 1.0, 8.0], points.shape)

    def wobble(found: np.ndarray) -> float:
        return float(np.std(np.log(found / scale)))

    steady = steady_scale(noisy, rest, FOCAL)
    assert wobble(steady) < 0.6 * wobble(bone_scale(noisy, rest, FOCAL)[0])
    assert wobble(steady) < 0.2 * wobble(np.ones(frames))
    np.testing.assert_allclose(steady_scale(points, rest, FOCAL), scale, rtol=0.02)


def test_points_in_meters_are_seen_where_the_joints_are():
    hips = np.tile([0.2, -0.1, -3.5], (5, 1))
    points, scale = in_image(standing(5), hips)
    lifted = Lifted(points, scale, CAMERA)
    np.testing.assert_allclose(lifted.in_meters(), standing(5) + hips[:, None], atol=1e-9)
    np.testing.assert_allclose(lifted.distance, 3.5)
    np.testing.assert_allclose(CAMERA.project(lifted.in_meters())[..., :2], points[..., :2], atol=1e-9)
    joints = PointRig(load_body().average).joints.posed(lifted.bones(load_body().average))
    limbs = [3, 4, 6, 7, 9, 10, 12, 13]
    np.testing.assert_allclose(joints[:, limbs], lifted.in_meters()[:, limbs], atol=0.02)


def test_lift_keeps_seen_joints_and_any_length(network):
    points, _ = in_image(standing(20), np.tile([0.0, 0.0, -4.0], (20, 1)))
    keypoints = np.concatenate([points[:, :SEEN, :2], np.ones((20, SEEN, 1))], -1).astype(np.float32)
    keypoints[:, 4] = 0
    lifted = lift(Pose(keypoints, 256, 256), network=network, config=LiftConfig(outlier=1e9))
    there = [i for i in range(SEEN) if i != 4]
    np.testing.assert_allclose(lifted.points[:, there, :2], keypoints[:, there, :2], atol=1e-4)
    assert np.isfinite(lifted.points).all() and (lifted.pixels_per_meter > 0).all()
    with pytest.raises(ValueError, match="two joints"):
        lift(Pose(np.zeros((3, 18, 3), np.float32), 256, 256), network=network)
