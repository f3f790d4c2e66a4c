"""Depth that was made in windows, in one normalization: against meters, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from idol.clip import Pose
from idol.clip.depth import PERSON_FLOOR, normalize_person
from idol.pipeline.depth_normalization import BONES, ClipDepth, FrameDepth, nearness, normalize_clip
from support.tiny_pipelines import clip_inputs, mini

SIZE, FRAMES = 64, 24
FOCAL = SIZE / 2 / np.tan(np.radians(45 / 2))


def walk():
    """Meters to somebody who comes from 4.5 to 2.5."""
    return np.linspace(4.5, 2.5, FRAMES)


def standing(distances):
    """Skeletons of somebody 1.7 m tall, all bones across the view, as a pinhole camera shows them."""
    joints = np.zeros((len(distances), 18, 3), np.float32)
    joints[..., 2] = 1
    y, x = np.zeros(18), np.zeros(18)
    y[[8, 11]] = np.sqrt(BONES[1, 8] ** 2 - (BONES[8, 11] / 2) ** 2)
    x[[2, 8]], x[[5, 11]] = (-BONES[2, 5] / 2, -BONES[8, 11] / 2), (BONES[2, 5] / 2, BONES[8, 11] / 2)
    for upper, lower in ((8, 9), (11, 12), (9, 10), (12, 13), (2, 3), (5, 6), (3, 4), (6, 7)):
        y[lower], x[lower] = y[upper] + BONES[upper, lower], x[upper]
    scale = FOCAL * 1.7 / np.asarray(distances)
    joints[..., 0], joints[..., 1] = 32 + scale[:, None] * x, 10 + scale[:, None] * y
    return Pose(joints, SIZE, SIZE)


def relief():
    """Meters by which the points of a person lie behind its middle: mean 0, standard deviation 0.18."""
    depths = np.random.default_rng(0).uniform(-1, 1, (32, 20))
    return 0.18 * (depths - depths.mean()) / depths.std()


def true_clip(distances):
    """Meters (f, h, w) and the person's mask."""
    z, mask = np.full((len(distances), SIZE, SIZE), np.inf, np.float32), np.zeros((SIZE, SIZE), bool)
    mask[16:48, 22:42] = True
    z[:, mask] = np.asarray(distances)[:, None] + relief().reshape(1, -1)
    return z, np.repeat(mask[None], len(distances), 0)


def in_windows(z, mask):
    """Depth as a network makes it: eight frames at a time, each of them normalized by itself."""
    parts = [normalize_person(z[s : s + 8], mask[s : s + 8])[0] for s in range(0, len(z), 8)]
    return torch.from_numpy(np.concatenate(parts))


def anew(depth, pose):
    made = normalize_clip(FrameDepth.of(depth), pose)
    return made.apply(depth, slice(None))


def test_distances_are_read_off_the_skeleton():
    assert_close(nearness(standing(walk())), 1 / walk(), rtol=1e-5, atol=0)
    assert np.isnan(nearness(Pose(np.zeros((2, 18, 3), np.float32), SIZE, SIZE))).all()


def test_windows_become_the_clip_that_was_normalized_as_a_whole():
    z, mask = true_clip(walk())
    true = torch.from_numpy(normalize_person(z, mask)[0])
    before = in_windows(z, mask)
    after = anew(before, standing(walk()))
    assert (after > 0).equal(before > 0) and after[after > 0].min() >= PERSON_FLOOR and after.max() <= 1
    error, was = ((x - true)[true > 0].abs() for x in (after, before))
    assert error.mean() < 0.02 and error.mean() < was.mean() / 8
    # who comes nearer has depth that grows, also from window to window
    means = after.sum((1, 2)) / mask.sum((1, 2))
    assert (means.diff() > 0).all()


@pytest.mark.parametrize("distances", [walk(), np.full(FRAMES, 3.0)], ids=["walking", "standing"])
def test_what_a_window_is_normalized_to_does_not_matter(distances):
    """An affine change of every frame's depth leaves the result as it is."""
    z, mask = true_clip(distances)
    depth, pose = torch.from_numpy(normalize_person(z, mask)[0]), standing(distances)
    rng = np.random.default_rng(1)
    gain, shift = (
        torch.from_numpy(rng.uniform(*r, FRAMES)).float()[:, None, None] for r in ((0.5, 1), (0, 0.3))
    )
    changed = torch.where(depth > 0, gain * depth + shift, 0)
    assert_close(anew(changed, pose), anew(depth, pose), atol=1e-5, rtol=0)


def test_frames_without_person_or_skeleton_are_bridged():
    z, mask = true_clip(walk())
    depth, pose = in_windows(z, mask), standing(walk())
    whole = anew(depth, pose)
    depth[5] = 0
    pose.keypoints[9:11, :, 2] = 0
    bridged = anew(depth, pose)
    assert not bridged[5].any()
    there = np.r_[0:5, 6:FRAMES]
    assert_close(bridged[there], whole[there], atol=0.02, rtol=0)
    nobody = torch.zeros(FRAMES, SIZE, SIZE)
    assert normalize_clip(FrameDepth.of(nobody), pose) is None


def test_parts_are_measured_as_the_whole():
    depth = in_windows(*true_clip(walk()))
    parts = FrameDepth.concatenate([FrameDepth.of(depth[:7]), FrameDepth.of(depth[7:])])
    assert all(
        np.array_equal(a, b)
        for a, b in zip(vars(parts).values(), vars(FrameDepth.of(depth)).values(), strict=True)
    )


def test_flat_people_are_flat_where_they_stand():
    """Without relief, depth is the normalized 1 / z alone."""
    depth = torch.zeros(FRAMES, SIZE, SIZE)
    depth[:, 16:48, 22:42] = 0.6
    made = normalize_clip(FrameDepth.of(depth), standing(walk()))
    assert isinstance(made, ClipDepth) and not made.gain.any()
    assert abs(made.shift.min() - PERSON_FLOOR) < 1e-9 and abs(made.shift.max() - 1) < 1e-9


@pytest.mark.slow
def test_a_pipeline_does_it_to_clips_of_many_windows_alone():
    pipe, given = mini(), clip_inputs(b=1, f=11)
    windows = replace(pipe.defaults, window=4, overlap=2)

    def depth(frames, kind="person"):
        pipe.defaults = replace(windows, depth_kind=kind)
        pose = [pose.select(slice(0, frames)) for pose in given["pose"]]
        random = torch.Generator().manual_seed(0)
        return pipe(**{**given, "pose": pose}, generator=random, num_inference_steps=1).depth[0]

    def cut_off(depth):
        return torch.where(depth < 0.75 * PERSON_FLOOR, 0, depth.clamp_min(PERSON_FLOOR))

    long, as_made = depth(11), cut_off(depth(11, "scene"))
    made = normalize_clip(FrameDepth.of(as_made), given["pose"][0].resized(*long.shape[1:]))
    assert_close(long, made.apply(as_made, slice(None)))
    assert not torch.equal(long, as_made)
    assert_close(depth(4), cut_off(depth(4, "scene")))
