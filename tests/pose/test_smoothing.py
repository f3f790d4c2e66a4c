"""Gap filling and smoothing against literal formulas."""

import numpy as np

from idol.clip import Pose
from idol.pose.smoothing import fill_gaps, runs, smooth
from support.stick_figures import HEIGHT, LENGTHS, STANDING, WIDTH, build


def test_short_gaps_are_filled_in_a_straight_line_and_long_ones_are_not():
    line = np.ones((12, 18, 3), np.float32)
    line[..., 0], line[..., 1] = np.arange(12)[:, None] * 3, 50 - np.arange(12)[:, None]
    holes = line.copy()
    holes[2:4, 5] = holes[7, :] = holes[3:9, 6] = holes[:1, 9] = holes[10:, 10] = 0
    filled = fill_gaps(Pose(holes, HEIGHT, WIDTH), max_gap=3)
    expected = line.copy()
    expected[3:9, 6] = 0
    expected[0, 9], expected[10:, 10] = line[1, 9], line[9, 10]
    np.testing.assert_allclose(filled.keypoints, expected, atol=1e-4)


def test_long_gaps_stay_missing():
    holes = np.ones((10, 18, 3), np.float32)
    holes[2:7] = 0
    filled = fill_gaps(Pose(holes, HEIGHT, WIDTH), max_gap=4)
    assert (filled.keypoints == holes).all()


def literal_smooth(values, weights, sigma):
    """Weighted straight-line fit round every frame by numpy's own least squares."""
    out = np.empty_like(values)
    for i in range(len(values)):
        t = np.arange(len(values)) - i
        w = np.sqrt(np.exp(-0.5 * (t / sigma) ** 2) * weights)
        out[i] = np.polyfit(t, values, 1, w=np.where(np.abs(t) <= int(4 * sigma) + 1, w, 0))[1]
    return out


def test_smoothing_is_a_local_straight_line():
    rng = np.random.default_rng(4)
    k = np.concatenate([rng.normal(0, 9, (15, 18, 2)), rng.uniform(0.2, 1, (15, 18, 1))], -1).astype(
        np.float32
    )
    k[4:6, 2] = 0
    found = smooth(Pose(k, HEIGHT, WIDTH), sigma=1.5).keypoints
    for joint in (0, 2):
        expected = literal_smooth(k[:, joint, 0].astype(float), k[:, joint, 2].astype(float), 1.5)
        seen = k[:, joint, 2] > 0
        np.testing.assert_allclose(found[seen, joint, 0], expected[seen], atol=1e-3)
    assert (found[4:6, 2] == 0).all() and (found[..., 2] == k[..., 2]).all()


def test_smoothing_leaves_uniform_motion_and_lone_frames_alone():
    line = np.ones((9, 18, 3), np.float32)
    line[..., 0], line[..., 1] = np.arange(9)[:, None] * 3, 50 - np.arange(9)[:, None]
    np.testing.assert_allclose(smooth(Pose(line, HEIGHT, WIDTH), 2.0).keypoints, line, atol=1e-3)
    one = Pose(line[:1], HEIGHT, WIDTH)
    np.testing.assert_allclose(smooth(one).keypoints, one.keypoints, atol=1e-5)
    assert smooth(one, 0.0) is one


def test_smoothing_takes_noise_off():
    rng = np.random.default_rng(5)
    swing = 20 * np.sin(np.linspace(0, 9, 60))
    motion = Pose(build(LENGTHS, STANDING + swing[:, None], np.full((60, 2), 90.0)), HEIGHT, WIDTH)
    noisy = motion.keypoints.copy()
    noisy[..., :2] += rng.normal(0, 1, noisy[..., :2].shape)
    error = np.abs(smooth(Pose(noisy.astype(np.float32), HEIGHT, WIDTH), 1.5).keypoints - motion.keypoints)[
        ..., :2
    ]
    assert error.mean() < 0.6 * np.abs(noisy - motion.keypoints)[..., :2].mean()


def test_runs():
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 2), (4, 5), (6, 7)]
    assert runs(np.zeros(3, bool)) == []
