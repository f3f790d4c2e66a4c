"""Clips of any length: pixels a few frames at a time, on the way in, out of the network and onto the disk."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from idol.clip import Clip, Pose
from idol.clip.background_subtraction import subtract_background
from idol.clip.depth import PERSON_FLOOR
from idol.clip.images import read_image
from idol.clip.video import read_video
from idol.clip.writer import ClipWriter
from idol.generation.clips import generate_clip, stream_clip
from idol.generation.run_folder import RunInputs, RunSettings, write_run
from idol.progress import SILENT, ProgressCallback
from support.drawn import drawn_clip
from support.tiny_pipelines import SIZE, clip_inputs, joints, mini, noise


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("detail", ["none", "composite", "restore"])
def test_split_frames_a_stream_are_the_clip(detail, moving):
    """Frames come a few at a time, with drafts, backgrounds and known detail of their own."""
    pipe = mini(draft=True)
    inputs = clip_inputs(b=2, f=5)
    if moving:
        shape = (2, 5, 3, SIZE, SIZE)
        inputs["background"] = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    options = dict(foreground_pose=joints(), num_inference_steps=2, detail=detail, window=4, overlap=2)
    whole = pipe(**inputs, generator=noise(2), decode_chunk=5, **options)
    parts = list(pipe.stream(**inputs, generator=noise(2), decode_chunk=2, **options))
    assert [part.video.shape[1] for part in parts] == [2, 2, 1]
    assert_close(torch.cat([part.video for part in parts], 1), whole.video, atol=1e-4, rtol=1e-3)
    assert_close(torch.cat([part.latents for part in parts], 2), whole.latents, atol=1e-4, rtol=1e-3)
    same = (torch.cat([part.depth for part in parts], 1) - whole.depth).abs() < 1e-3
    assert same.float().mean() > 0.999  # a value at the floor itself may fall on either side


def test_a_setting_that_is_none_is_told():
    with pytest.raises(TypeError, match="guidance"):
        mini().stream(**clip_inputs(), guidance=2.0)


@pytest.mark.slow
def test_what_forms_between_steps_can_be_looked_at():
    pipe, inputs = mini(), clip_inputs(b=1, f=3)
    seen = []

    def look(_pipe, step, _time, now):
        seen.append((step, now["decode"](slice(1, 2)), now["latents"]))

    out = pipe(
        **inputs, foreground_pose=joints(1), generator=noise(1), detail="none", callback_on_step_end=look
    )
    assert [step for step, *_ in seen] == [0, 1, 2]
    assert all(images.shape == (1, 2, 1, 3, SIZE, SIZE) for _, images, _ in seen)
    assert_close((seen[-1][1][:, 0] + 1) / 2, out.video[:, 1:2], atol=1e-4, rtol=1e-3)
    assert not torch.equal(seen[0][1], seen[-1][1])


class Watching(ProgressCallback):
    """Decodes every preview, and keeps what it receives."""

    def __init__(self):
        self.frames, self.heard = [], []

    def stage(self, what):
        self.heard.append(what)

    def step(self, done, total):
        self.heard.append((done, total))

    def preview(self, frame):
        self.frames.append(frame())


@pytest.mark.parametrize("kind", ["person", "scene"])
def test_a_run_shows_previews_and_is_written_part_by_part(tmp_path, kind):
    """The folder of a run that was never whole in memory is the clip that was made in one piece."""
    pipe, given = mini(), clip_inputs(b=1, f=11)
    pipe.defaults = replace(pipe.defaults, depth_kind=kind)
    person = Pose(np.full((1, 18, 3), 0.9, np.float32) * np.float32([40, 40, 1]), 80, 70)
    background = given["background"][0]
    pose = given["pose"][0]
    inputs = RunInputs(given["foreground"][0], given["foreground_mask"][0], person, pose, background)
    settings = RunSettings("tiny", 3, 2.0, 0, 8.0, SIZE, SIZE, "cpu", torch.get_num_threads())
    watching = Watching()
    whole = generate_clip(pipe, inputs, settings, watching)
    person_alone = whole.depth > PERSON_FLOOR / 2
    assert whole.depth_kind == kind and whole.depth.any()
    assert np.array_equal(
        whole.mask, person_alone if kind == "person" else subtract_background(whole.video, background)
    )
    assert [frame.shape for frame in watching.frames] == [(3, SIZE, 2 * SIZE)] * 2
    denoised_steps, decoded_frames = [(1, 3), (2, 3), (3, 3)], [(8, 11), (11, 11)]
    assert watching.heard == [*denoised_steps, "decoding the frames", *decoded_frames]
    write_run(tmp_path / "run", stream_clip(pipe, inputs, settings, SILENT), inputs, settings)
    read = Clip.load(tmp_path / "run")
    assert (
        read.depth_kind == kind
        and np.array_equal(read.video, whole.video)
        and np.array_equal(read.mask, whole.mask)
    )
    np.testing.assert_allclose(read.depth, whole.depth, atol=0.5 / 65535 + 1e-7)
    assert np.array_equal(read.pose.keypoints, whole.pose.keypoints)
    assert len(read_video(tmp_path / "run" / "video.mp4").frames) == 11
    sheet = read_image(tmp_path / "run" / "preview.png")
    shown = [0, 1, 3, 4, 6, 7, 9, 10]  # eight of eleven, evenly
    for column, frame in enumerate(shown, 1):
        left = column * (SIZE + 4)
        assert np.array_equal(sheet[:, :SIZE, left : left + SIZE], whole.video[frame])


def test_split_frames_different_clips_do_not_join(tmp_path):
    writer = ClipWriter(tmp_path / "clip")
    with pytest.raises(ValueError, match="found none"):
        writer.finish()
    writer.add(drawn_clip(0, 2))
    with pytest.raises(ValueError, match="as the first part"):
        writer.add(replace(drawn_clip(0, 2), fps=99.0))
