"""Depth for finished videos: by joint networks that are given the video, and by a published estimator."""

from dataclasses import replace

import numpy as np
import torch

from idol.clip import Clip
from idol.experiments.estimated_depth import (
    depth_model_estimator,
    joint_network_estimator,
    write_with_estimated_depth,
)
from support.drawn import drawn_clip
from support.tiny_pipelines import mini


def ramp(frames):
    """An estimate that is known: disparity grows to the right."""
    f, _, h, w = frames.shape
    return np.broadcast_to(np.arange(w, dtype=np.float32), (f, h, w)).copy()


def without_depth(clip):
    return replace(clip, depth=np.zeros_like(clip.depth), depth_kind="none", depth_range=None)


def test_joint_networks_are_given_the_video_and_leave_it(tmp_path):
    torch.manual_seed(0)
    true = drawn_clip(0, 2)
    bare = without_depth(true)
    pipe = mini()
    folder = write_with_estimated_depth(
        {"a": bare}, {"a": true}, tmp_path / "made", joint_network_estimator(pipe)
    )
    made = Clip.load(folder / "a")
    assert made.depth_kind == "person" and np.array_equal(made.video, true.video)
    output = pipe(
        true.video[0],
        true.mask[0],
        true.background,
        true.pose,
        foreground_pose=true.pose.select([0]),
        video=true.video[None],
        generator=torch.Generator().manual_seed(0),
        height=true.height,
        width=true.width,
    )
    np.testing.assert_allclose(made.depth, output.depth[0].numpy(), atol=1e-4)
    assert np.array_equal(made.mask, made.depth > 0.1)


def test_a_published_estimator_gives_the_person_where_the_video_differs_from_the_plate(tmp_path):
    true = drawn_clip(0, 2)
    made = depth_model_estimator(ramp)(without_depth(true), true)
    person = made > 0
    overlap = (person & true.mask).sum() / (person | true.mask).sum()
    assert overlap > 0.8
    assert made[person].min() == np.float32(0.2) and made.max() == 1
    columns = np.where(person, np.arange(true.width), -1)
    assert made.flat[columns.argmax()] == 1  # the rightmost of the person is nearest
    scene = replace(true, depth_kind="scene")
    np.testing.assert_allclose(
        depth_model_estimator(ramp)(without_depth(true), scene)[0, 0],
        np.arange(true.width) / (true.width - 1),
        rtol=1e-6,
    )


def test_finished_clips_are_kept(tmp_path):
    true = drawn_clip(0, 2)
    calls = []

    def estimate(clip, _true):
        calls.append(clip)
        return true.depth

    for _ in range(2):
        write_with_estimated_depth({"a": without_depth(true)}, {"a": true}, tmp_path / "made", estimate)
    assert len(calls) == 1
