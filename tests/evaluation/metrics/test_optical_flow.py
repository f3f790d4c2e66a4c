"""Flow, its agreement and the warp error on textures whose motion is known."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from idol.evaluation.metrics import clip as clip_metrics
from idol.evaluation.metrics.image import gray
from idol.evaluation.metrics.optical_flow import flow, forward_flow, motion_difference, warp_change


def texture(height, width, seed=0, channels=1):
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(channels, height, width)), (0, 2, 2))
    return (128 + 110 * smooth / np.abs(smooth).max()).round().astype(np.uint8)


def sliding(dx, dy=0, frames=4, size=96, seed=0):
    """(f, h, w): a window on a texture; what it shows moves by (dx, dy) per frame."""
    wide = texture(size + 80, size + 80, seed)[0]
    starts = [(40 - dy * i, 40 - dx * i) for i in range(frames)]
    return np.stack([wide[y : y + size, x : x + size] for y, x in starts])


def colored(clip):
    return np.stack([clip] * 3, 1)


def middle(size=96, frames=4):
    inside = np.zeros((frames, size, size), bool)
    inside[:, 24:72, 30:66] = True
    return inside


@pytest.mark.parametrize("way", [(0, 0), (3, 0), (-2, 5)])
def test_flow_of_a_sliding_texture(way):
    clip = sliding(*way)
    found = flow(clip[:-1], clip[1:])[:, 16:-16, 16:-16]
    assert np.abs(found - np.array(way)).mean() < 0.1


def test_flow_repeats_and_leaves_the_threads_alone():
    clip, threads = sliding(3, 1), cv2.getNumThreads()
    np.testing.assert_array_equal(flow(clip[:-1], clip[1:]), flow(clip[:-1], clip[1:]))
    assert cv2.getNumThreads() == threads
    assert flow(clip[:0], clip[:0]).shape == (0, 96, 96, 2)


def test_depth_that_moves_with_its_video_agrees():
    clip, where = sliding(3), middle()
    assert motion_difference(clip, (clip / 255).astype(np.float32), where) == 0
    other = sliding(3, seed=7)  # another texture, the same motion
    assert motion_difference(clip, (other / 255).astype(np.float32), where) < 0.3


def test_motion_difference_is_the_difference_of_the_motions_in_pixels_at_256():
    clip, where = sliding(3), middle()
    got = []
    for dx in (3, 2, 1, -1, -3):
        depth = (sliding(dx, seed=7) / 255).astype(np.float32)
        got.append(motion_difference(clip, depth, where))
        assert got[-1] == pytest.approx((3 - dx) * 256 / 96, abs=0.6)
    assert got == sorted(got)


def test_still_depth_misses_all_of_the_motion_and_shuffled_frames_most():
    clip, where = sliding(2), middle()
    depth = (sliding(2, seed=7) / 255).astype(np.float32)
    still = motion_difference(clip, depth[[0] * 4], where)
    assert still == pytest.approx(2 * 256 / 96, rel=0.1)
    assert motion_difference(clip, depth[[1, 0, 3, 2]], where) > still


def test_only_the_person_counts_for_agreement():
    clip, where = sliding(2), middle()
    depth = (clip / 255).astype(np.float32)
    depth[:, :8] = 0.5
    assert motion_difference(clip, depth, where) < 0.05
    assert np.isnan(motion_difference(clip, depth, np.zeros_like(where)))
    assert np.isnan(motion_difference(clip[:1], depth[:1], where[:1]))


def test_warp_error_of_a_rigid_motion_is_next_to_nothing():
    clip = sliding(3, 2)
    true = forward_flow(clip)
    change = warp_change(colored(clip), true)[true.visible]
    assert change.mean() < 1.5 and true.visible.mean() > 0.8
    unmoved = np.abs(np.diff(clip.astype(float), axis=0)).mean()
    assert change.mean() < 0.1 * unmoved


def test_what_leaves_the_frame_is_not_visible():
    true = forward_flow(sliding(6))
    assert not true.visible[:, :, -5:].any() and true.visible[:, 8:-8, 8:-16].mean() > 0.95


def test_what_is_covered_is_not_visible():
    still, patch = texture(96, 96, 1)[0], texture(30, 30, 2)[0]
    clip = np.stack([still] * 3)
    for i in range(3):
        clip[i, 30:60, 20 + 8 * i : 50 + 8 * i] = patch
    true = forward_flow(clip)
    assert true.visible[0, 32:58, 51:57].mean() < 0.4  # to be covered by the patch
    assert true.visible[0, 5:25].mean() > 0.95 and true.visible[0, 36:54, 26:44].mean() > 0.9


def test_warp_error_grows_with_flicker_noise_and_disorder():
    clip = sliding(3, 2)
    true, video = forward_flow(clip), colored(clip)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=video.shape)

    def error(judged):
        return clip_metrics.mean(warp_change(judged.clip(0, 255).astype(np.uint8), true)[true.visible])

    noisy = [error(video + s * noise) for s in (0, 2, 4, 8, 16)]
    assert noisy == sorted(noisy)
    flickering = [error(video + s * np.array([0, 1, 0, 1])[:, None, None, None]) for s in (0, 4, 8, 12)]
    assert flickering == sorted(flickering) and flickering[-1] == pytest.approx(12, rel=0.1)
    # Blur forgives noise but not the wrong order of the frames.
    assert error(video[[0, 2, 1, 3]]) > 10 * error(video)


def test_a_clip_of_one_frame_has_no_motion():
    video = colored(sliding(1)[:1])
    true = forward_flow(gray(video))
    assert true.forward.shape == (0, 96, 96, 2) and true.visible.shape == (0, 96, 96)
    assert np.isnan(clip_metrics.mean(warp_change(video, true)[true.visible]))
