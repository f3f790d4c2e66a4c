"""Motion fitted to another body."""

import numpy as np
import pytest

from idol.clip import Pose
from idol.pose.retarget import person_height, retarget
from idol.pose.skeleton import LIMBS
from support.stick_figures import HEIGHT, LENGTHS, STANDING, WIDTH, build, dance


def moved(pose, scale, shift):
    keypoints = pose.keypoints.copy()
    keypoints[..., :2] = keypoints[..., :2] * scale + np.array(shift)
    return Pose(keypoints.astype(np.float32), pose.height, pose.width)


def fit(driving, reference):
    return retarget(driving, reference, frame_height=HEIGHT, frame_width=WIDTH)


def lengths_of(pose):
    ends = pose.keypoints[:, np.array(LIMBS), :2].astype(np.float64)
    return np.linalg.norm(ends[:, :, 1] - ends[:, :, 0], axis=-1)


@pytest.mark.parametrize("frame", [0, 5, 11])
def test_ones_own_motion_is_left_as_it_is(frame):
    motion = dance()
    np.testing.assert_allclose(fit(motion, motion.select([frame])).keypoints, motion.keypoints, atol=1e-3)


def test_a_foreshortened_motion_too_is_left_as_it_is():
    """Limbs that turn in depth change their length in the image."""
    rng = np.random.default_rng(1)
    motion = dance()
    wobble = motion.keypoints.copy()
    wobble[..., :2] += rng.normal(0, 4, wobble[..., :2].shape)
    motion = Pose(wobble.astype(np.float32), HEIGHT, WIDTH)
    np.testing.assert_allclose(fit(motion, motion.select([3])).keypoints, motion.keypoints, atol=1e-3)


@pytest.mark.parametrize(("scale", "shift"), [(2.0, (30, -40)), (0.4, (-20, 90))])
def test_scale_and_place_are_undone(scale, shift):
    motion = dance()
    other = moved(motion, scale, shift)
    np.testing.assert_allclose(fit(other, motion.select([0])).keypoints, motion.keypoints, atol=1e-3)
    # and against a reference in another posture, where limb by limb has to be measured
    standing = Pose(build(LENGTHS, STANDING[None], np.array([[150, 60]])), HEIGHT, WIDTH)
    np.testing.assert_allclose(lengths_of(fit(other, standing)), lengths_of(motion), rtol=1e-4)


def test_limbs_take_the_references_lengths_and_keep_their_directions():
    lengths = (
        LENGTHS * np.array([1.2, 1.2, 0.9, 1.1, 0.9, 1.1, 1, 1.3, 1.2, 1, 1.3, 1.2, 1.1, 1, 1, 1, 1]) * 0.7
    )
    reference = Pose(build(lengths, STANDING[None], np.array([[200, 100]])), HEIGHT, WIDTH)
    motion = dance(neck=(40, 130))
    fitted = fit(motion, reference)
    np.testing.assert_allclose(lengths_of(fitted), np.broadcast_to(lengths, (12, 17)), rtol=1e-4)
    for a, b in LIMBS:
        old, new = (p.keypoints[:, b, :2] - p.keypoints[:, a, :2] for p in (motion, fitted))
        np.testing.assert_allclose(np.arctan2(*old.T), np.arctan2(*new.T), atol=1e-3)


def test_feet_stand_where_the_reference_stands():
    lengths = LENGTHS * np.r_[np.ones(7), 1.3, 1.3, 1, 1.3, 1.3, np.ones(5)]
    reference = Pose(build(lengths, STANDING[None], np.array([[60, 70]])), HEIGHT, WIDTH)
    walk = np.repeat(STANDING[None], 10, 0)
    walk[:, 7] += np.linspace(-20, 20, 10)
    walk[:, 10] -= np.linspace(-20, 20, 10)
    motion = Pose(build(LENGTHS, walk, np.full((10, 2), (150.0, 50.0))), HEIGHT, WIDTH)
    grounded = motion.keypoints.copy()  # put the lower foot on one floor
    grounded[..., 1] += 170 - grounded[:, [10, 13], 1].max(axis=1, keepdims=True)
    fitted = fit(Pose(grounded, HEIGHT, WIDTH), reference).keypoints
    floor = reference.keypoints[0, [10, 13], 1].max()
    np.testing.assert_allclose(fitted[:, [10, 13], 1].max(axis=1), floor, atol=1.5)
    np.testing.assert_allclose(
        np.ptp(fitted[:, [10, 13], 1].max(axis=1)), 0, atol=1e-3
    )  # no sliding up or down
    assert abs(fitted[:, [8, 11], 0].mean() - reference.keypoints[0, [8, 11], 0].mean()) < 3


def test_a_walk_across_stays_in_the_frame():
    drift = np.stack([np.linspace(0, 500, 12), np.zeros(12)], -1)
    walk = Pose(build(LENGTHS, np.repeat(STANDING[None] + 3, 12, 0), drift), 240, 800)
    reference = Pose(build(LENGTHS * 0.5, STANDING[None], np.array([[250, 60]])), HEIGHT, WIDTH)
    necks = fit(walk, reference).keypoints[:, 1, 0]
    assert necks.min() > 0 and necks.max() < WIDTH  # 250 wide, so it fits, but not where the reference stands
    np.testing.assert_allclose(np.diff(necks), 250 / 11, atol=1e-3)
    necks = fit(
        moved(walk, 4, (0, 0)), Pose(build(LENGTHS * 2, STANDING[None], np.array([[250, 60]])), HEIGHT, WIDTH)
    )
    necks = necks.keypoints[:, 1, 0]
    assert abs(necks.min() + necks.max() - WIDTH) < 40  # 1000 wide: about the middle


def test_translation_is_scaled_with_the_person():
    motion = dance(swing=0.0)
    reference = Pose(build(LENGTHS * 0.5, STANDING[None], np.array([[60, 120]])), HEIGHT, WIDTH)
    fitted = fit(motion, reference).keypoints
    walked, hopped = (np.diff(k[:, 1, :2], axis=0) for k in (fitted, motion.keypoints))
    np.testing.assert_allclose(walked, 0.5 * hopped, atol=1e-3)


def test_unseen_limbs_take_their_pairs_ratio_or_the_heights():
    lengths = LENGTHS * np.r_[np.ones(2), 1.2, 1.3, 1.2, 1.3, np.ones(11)]
    reference = build(lengths, STANDING[None], np.array([[200, 100]]))
    reference[0, 3:5] = 0  # no right arm in the photo
    fitted = fit(dance(), Pose(reference, HEIGHT, WIDTH))
    np.testing.assert_allclose(lengths_of(fitted).mean(0), lengths, rtol=1e-4)
    reference[0, 6:8] = 0  # no arm at all
    fitted = fit(dance(), Pose(reference, HEIGHT, WIDTH))
    np.testing.assert_allclose(lengths_of(fitted).mean(0)[2:6], LENGTHS[2:6], rtol=1e-4)


def test_an_arm_pointing_at_the_camera_is_not_taken_for_short():
    lengths = LENGTHS.copy()
    lengths[2] *= 0.2
    reference = Pose(build(lengths, STANDING[None], np.array([[200, 100]])), HEIGHT, WIDTH)
    np.testing.assert_allclose(lengths_of(fit(dance(), reference)).mean(0), LENGTHS, rtol=1e-4)


def test_a_profile_does_not_widen_the_shoulders():
    motion = dance(LENGTHS * np.r_[0.2, 0.2, np.ones(15)])
    reference = Pose(build(LENGTHS, STANDING[None], np.array([[200, 100]])), HEIGHT, WIDTH)
    np.testing.assert_allclose(lengths_of(fit(motion, reference))[:, 0], LENGTHS[0] * 0.2, rtol=1e-3)


def test_a_photo_cut_at_the_hips_still_places_the_motion():
    reference = build(LENGTHS * 1.5, STANDING[None], np.array([[200, 150]]))
    reference[0, [9, 10, 12, 13]] = 0
    fitted = fit(dance(), Pose(reference, HEIGHT, WIDTH))
    np.testing.assert_allclose(lengths_of(fitted), np.broadcast_to(LENGTHS * 1.5, (12, 17)), rtol=1e-3)
    hips = fitted.keypoints[:, [8, 11], 1].max(axis=1)
    assert np.abs(hips - reference[0, [8, 11], 1].max()).min() < 3


def test_missing_joints_stay_missing_and_disturb_nothing():
    whole, holes = dance(), dance().keypoints.copy()
    rng = np.random.default_rng(2)
    gone = rng.uniform(size=(12, 18)) < 0.15
    gone[0] = gone[:, [8, 11, 10, 13]] = False
    holes[gone] = 0
    reference = Pose(build(LENGTHS * 0.7, STANDING[None], np.array([[200, 100]])), HEIGHT, WIDTH)
    fitted = fit(Pose(holes, HEIGHT, WIDTH), reference).keypoints
    assert (fitted[gone] == 0).all()
    np.testing.assert_allclose(fitted[~gone], fit(whole, reference).keypoints[~gone], atol=0.05)


def test_the_whole_body_goes_along():
    body = dance()
    rng = np.random.default_rng(3)
    whole = np.ones((12, 133, 3), np.float32)
    order = [0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    for i, j in enumerate(order):
        if j >= 0:
            whole[:, j] = body.keypoints[:, i]
    whole[:, 17:, :2] = body.keypoints[:, [1], :2] + rng.uniform(-30, 30, (1, 116, 2))
    pose = Pose(whole, HEIGHT, WIDTH)
    np.testing.assert_allclose(fit(moved(pose, 2, (5, 9)), pose.select([4])).keypoints, whole, atol=2e-3)
    reference = Pose(build(LENGTHS * 0.5, STANDING[None], np.array([[200, 100]])), HEIGHT, WIDTH)
    fitted = fit(pose, reference).keypoints
    hand = fitted[:, 91:112, :2] - fitted[:, [9], :2]
    np.testing.assert_allclose(hand, 0.5 * (whole[:, 91:112, :2] - whole[:, [9], :2]), atol=0.05)


def test_a_reference_of_another_size_is_fitted_into_the_frame():
    motion = dance()
    double = Pose(motion.resized(2 * HEIGHT, 2 * WIDTH).keypoints, 2 * HEIGHT, 2 * WIDTH)
    np.testing.assert_allclose(fit(motion, double.select([0])).keypoints, motion.keypoints, atol=1e-3)
    tall = Pose(double.keypoints + np.float32([0, 100, 0]), 2 * HEIGHT + 200, 2 * WIDTH)
    fitted = fit(motion, tall.select([0]))
    assert (fitted.height, fitted.width) == (HEIGHT, WIDTH)
    ratio = HEIGHT / (2 * HEIGHT + 200)
    np.testing.assert_allclose(lengths_of(fitted), lengths_of(motion) * 2 * ratio, rtol=1e-3)


def test_strangers_are_refused():
    motion = dance()
    with pytest.raises(ValueError, match="expected 1"):
        fit(motion, motion)
    nobody = Pose(np.zeros((1, 18, 3), np.float32), HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="in common"):
        fit(motion, nobody)
    with pytest.raises(ValueError, match="in common"):
        fit(Pose(np.zeros((4, 18, 3), np.float32), HEIGHT, WIDTH), motion.select([0]))


def test_height_is_the_persons_not_the_postures():
    standing = Pose(build(LENGTHS, STANDING[None], np.array([[150, 60]])), HEIGHT, WIDTH)
    crouching = STANDING.copy()
    crouching[[7, 10]], crouching[[8, 11]] = 150, 40
    crouched = Pose(build(LENGTHS, crouching[None], np.array([[150, 60]])), HEIGHT, WIDTH)
    assert person_height(standing) == pytest.approx(person_height(crouched), rel=1e-4)
    assert person_height(standing) == pytest.approx(76 / 0.78, rel=1e-4)
    half = standing.keypoints.copy()
    half[:, [10, 13]] = 0
    assert person_height(Pose(half, HEIGHT, WIDTH)) == pytest.approx(100, rel=0.05)
    half[:, [8, 11]] = 0
    assert person_height(Pose(half, HEIGHT, WIDTH)) == pytest.approx(100, rel=0.05)
    with pytest.raises(ValueError, match="visible person"):
        person_height(Pose(np.zeros((1, 18, 3), np.float32), HEIGHT, WIDTH))
