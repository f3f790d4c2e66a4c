"""Each measure against a value known in closed form, and growing with what it should grow with."""

import numpy as np
import pytest

from idol.clip import Pose
from idol.clip.background_subtraction import subtract_background
from idol.evaluation.metrics import clip as clip_metrics
from idol.evaluation.metrics import clothing_color
from idol.pose.joints import OPENPOSE_18


def square(x, y, side=20, frames=2, size=64):
    mask = np.zeros((frames, size, size), bool)
    mask[:, y : y + side, x : x + side] = True
    return mask


@pytest.mark.parametrize("shift", [0, 1, 5, 10, 20, 30])
def test_iou_of_shifted_squares(shift):
    common = max(20 - shift, 0) * 20
    assert clip_metrics.iou(square(5, 5), square(5 + shift, 5)) == pytest.approx(common / (800 - common))


def test_iou_is_a_mean_over_frames_and_two_empty_frames_agree():
    a, b = square(5, 5), square(5, 5)
    b[1] = False
    assert clip_metrics.iou(a, b) == 0.5
    a[1] = False
    assert clip_metrics.iou(a, b) == 1


def test_depth_l2_is_the_mean_square_over_the_frame():
    true = np.where(square(0, 0, side=32), np.float32(0.5), np.float32(0))
    assert clip_metrics.depth_l2(true, true) == 0
    assert clip_metrics.depth_l2(true + np.float32(0.1), true) == pytest.approx(0.01, rel=1e-5)
    # half a unit missing on a quarter of the frame
    assert clip_metrics.depth_l2(np.zeros_like(true), true) == pytest.approx(0.25 * 0.25)
    assert clip_metrics.depth_l2(np.zeros_like(true), true, true > 0) == pytest.approx(0.25)
    assert np.isnan(clip_metrics.depth_l2(true, true, np.zeros_like(true, bool)))


def test_the_silhouette_is_cut_half_way_to_the_least_depth_of_a_person():
    depth = np.array([[[0, 0.05, 0.099, 0.101, 0.2, 1]]], np.float32)
    assert clip_metrics.silhouette(depth).tolist() == [[[False, False, False, True, True, True]]]


def test_person_height_is_of_the_tallest_frame():
    mask = square(5, 5, side=20)
    mask[1, 30:40, 30] = True
    assert clip_metrics.person_height(mask) == 35
    assert clip_metrics.person_height(np.zeros_like(mask)) == 0


def joints(frames=2):
    rng = np.random.default_rng(0)
    found = np.ones((frames, 18, 3), np.float32)
    found[..., :2] = rng.uniform(10, 50, (frames, 18, 2))
    return found


def test_joints_count_when_within_a_tenth_of_the_height():
    driving = joints()
    assert clip_metrics.joints_reached(driving, driving, 50.0) == 1
    for shift, expected in ((4.9, 1), (5.1, 0)):
        moved = driving + np.array([shift * 0.6, shift * 0.8, 0], np.float32)
        assert clip_metrics.joints_reached(moved, driving, 50.0) == expected


def test_joints_not_asked_for_do_not_count_and_joints_not_found_do():
    driving, detected = joints(), joints()
    driving[:, :9, 2] = 0
    detected[:, 9:12, 2] = 0.1
    assert clip_metrics.joints_reached(detected, driving, 50.0) == pytest.approx(6 / 9)
    driving[..., 2] = 0
    assert np.isnan(clip_metrics.joints_reached(detected, driving, 50.0))


def test_joints_fall_with_noise():
    driving, rng = joints(8), np.random.default_rng(1)
    noise = rng.normal(size=(8, 18, 2)).astype(np.float32)
    got = []
    for sigma in (0, 2, 4, 8, 16):
        moved = driving.copy()
        moved[..., :2] += sigma * noise
        got.append(clip_metrics.joints_reached(moved, driving, 50.0))
    assert got == sorted(got, reverse=True) and got[0] == 1 and got[-1] < 0.3


def test_flicker_is_the_mean_change_outside_the_person():
    person = square(20, 20, frames=5)
    still = np.full((5, 3, 64, 64), 100, np.uint8)
    assert clip_metrics.flicker(still, person) == 0
    blinking = still.copy()
    blinking[1::2] += 6
    assert clip_metrics.flicker(blinking, person) == 6
    changing_person = still.copy()
    changing_person.transpose(0, 2, 3, 1)[1::2][person[1::2]] = 250
    assert clip_metrics.flicker(changing_person, person) == 0
    rng = np.random.default_rng(2)
    got = [
        clip_metrics.flicker((still + rng.normal(0, s, still.shape)).astype(np.uint8), person)
        for s in (1, 2, 4, 8)
    ]
    assert got == sorted(got)
    # E|a - b| of independent normals is 2 sigma / sqrt(pi)
    assert got[-1] == pytest.approx(16 / np.sqrt(np.pi), rel=0.05)
    assert np.isnan(clip_metrics.flicker(still[:1], person[:1]))


def test_flicker_leaves_out_where_the_person_was_and_will_be():
    person = square(10, 20, frames=2)
    person[1] = np.roll(person[1], 25, axis=1)
    video = np.where(person[:, None], 255, 60).repeat(3, 1).astype(np.uint8)
    assert clip_metrics.flicker(video, person) == 0


def test_plate_difference_finds_the_square():
    rng = np.random.default_rng(3)
    plate = rng.integers(40, 120, (3, 64, 64)).astype(np.uint8)
    person = square(20, 24)
    video = np.where(person[:, None], 220, np.broadcast_to(plate, (2, 3, 64, 64))).astype(np.uint8)
    assert clip_metrics.iou(subtract_background(video, plate), person) > 0.85
    noisy = (video + rng.normal(0, 4, video.shape)).clip(0, 255).astype(np.uint8)
    assert clip_metrics.iou(subtract_background(noisy, np.stack([plate, plate])), person) > 0.85
    assert not subtract_background(np.stack([plate, plate]), plate).any()


def test_plate_difference_fills_holes_and_reaches_the_edge():
    plate = np.full((3, 64, 64), 80, np.uint8)
    video = np.broadcast_to(plate, (1, 3, 64, 64)).copy()
    video[:, :, 20:64, 10:50] = 200
    video[:, :, 35:45, 20:30] = 80
    expected = np.zeros((1, 64, 64), bool)
    expected[:, 20:64, 10:50] = True
    assert clip_metrics.iou(subtract_background(video, plate), expected) > 0.93


def test_plate_difference_is_blind_to_shadows():
    rng = np.random.default_rng(4)
    plate = np.repeat(np.repeat(rng.integers(120, 220, (3, 8, 8)), 8, 1), 8, 2).astype(np.uint8)
    person = square(20, 24, side=24)
    video = np.broadcast_to(plate, (2, 3, 64, 64)).copy()
    video[:, :, 40:60, 4:60] = (video[:, :, 40:60, 4:60] * 0.75).astype(np.uint8)
    video = np.where(person[:, None], np.array([20, 160, 30])[:, None, None], video).astype(np.uint8)
    assert clip_metrics.iou(subtract_background(video, plate), person) > 0.85


# CIE Lab of sRGB colors, D65, as any color converter gives them.
LAB = {
    (255, 255, 255): (100.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (128, 128, 128): (53.59, 0.0, 0.0),
}


def standing(size=64):
    """A figure that faces the camera: shoulders at 16, hips at 36, knees at 48."""
    points = {
        "right_shoulder": (24, 16), "left_shoulder": (40, 16), "right_hip": (27, 36), "left_hip": (37, 36),
        "right_knee": (27, 48), "left_knee": (37, 48),
    }  # fmt: skip
    keypoints = np.zeros((2, 18, 3), np.float32)
    for name, point in points.items():
        keypoints[:, OPENPOSE_18.index(name)] = (*point, 1)
    return Pose(keypoints, size, size)


@pytest.mark.parametrize("color", LAB)
def test_lab_of_known_colors(color):
    video = np.broadcast_to(np.array(color, np.uint8)[None, :, None, None], (2, 3, 64, 64))
    where = square(0, 0)
    np.testing.assert_allclose(clothing_color.mean_color(video, where)[1], LAB[color], atol=0.02)


def test_color_error_is_the_distance_in_lab():
    red = np.zeros((2, 3, 64, 64), np.uint8)
    red[:, 0] = 255
    where, reference = square(0, 0), np.array(LAB[0, 0, 255])
    expected = np.linalg.norm(np.subtract(LAB[255, 0, 0], LAB[0, 0, 255]))
    assert clothing_color.color_error(red, where, reference) == pytest.approx(expected, abs=0.05)
    assert clothing_color.color_error(red, where, np.array(LAB[255, 0, 0])) == pytest.approx(0, abs=0.02)
    assert np.isnan(clothing_color.color_error(red, np.zeros_like(where), reference))


def test_garments_lie_along_the_bones_and_inside_the_person():
    whole = np.ones((2, 64, 64), bool)
    shirt, trousers = (clothing_color.garment_region(standing(), whole, g) for g in ("shirt", "trousers"))
    rows, columns = np.nonzero(shirt[0])
    assert (rows.min(), rows.max()) == (21, 31) and 27 <= columns.min() and columns.max() <= 37
    rows, columns = np.nonzero(trousers[0])
    assert rows.min() >= 38 and rows.max() <= 44 and not (shirt & trousers).any()
    assert set(columns) <= {*range(25, 30), *range(35, 40)}
    half = whole.copy()
    half[:, :, 32:] = False
    assert not clothing_color.garment_region(standing(), half, "shirt")[:, :, 32:].any()


def test_an_arm_across_the_shirt_is_left_out():
    pose, whole = standing(), np.ones((2, 64, 64), bool)
    before = clothing_color.garment_region(pose, whole, "shirt")
    for name, point in {"right_elbow": (22, 26), "right_wrist": (32, 26)}.items():
        pose.keypoints[:, OPENPOSE_18.index(name)] = (*point, 1)
    after = clothing_color.garment_region(pose, whole, "shirt")
    assert before[0, 26, 32] and not after[0, 25:28, 32].any()
    assert after[0, 20:34].any() and not (after & ~before).any()


def test_no_joints_no_garment():
    pose = standing()
    pose.keypoints[1, :, 2] = 0
    shirt = clothing_color.garment_region(pose, np.ones((2, 64, 64), bool), "shirt")
    assert shirt[0].any() and not shirt[1].any()


def test_color_error_grows_with_a_tint():
    video = np.full((2, 3, 64, 64), 120, np.uint8)
    where = clothing_color.garment_region(standing(), np.ones((2, 64, 64), bool), "shirt")
    reference = clothing_color.mean_color(video, where)[0]
    got = []
    for tint in (0, 10, 30, 60):
        tinted = video.copy()
        tinted[:, 2] += np.uint8(tint)
        got.append(clothing_color.color_error(tinted, where, reference))
    assert got[0] == pytest.approx(0, abs=1e-6) and got == sorted(got)
