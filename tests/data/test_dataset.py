import dataclasses

import numpy as np
import pytest

from idol.body.draft import avatar_draft
from idol.clip.depth import colorize
from idol.data.augment import OutpaintingConfig
from idol.data.dataset import (
    ImageConfig,
    WindowConfig,
    choose_clip,
    choose_sample,
    generator,
    make_images,
    nearest_visible_frame,
    other_clips,
)
from idol.errors import UserError
from idol.pose.foreground_crop import foreground_crop
from support.drawn import drawn_clip

SMALL = ImageConfig(size=64, foreground_size=32)


def test_every_clip_comes_once_a_round_in_an_order_of_its_own():
    lengths = np.array([4, 5, 6, 7, 8])
    rounds = [
        [choose_sample(n, 0, lengths, WindowConfig()).clip for n in range(5 * r, 5 * r + 5)] for r in range(4)
    ]
    assert all(sorted(order) == list(range(5)) for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1
    assert [choose_sample(n, 1, lengths, WindowConfig()).clip for n in range(5)] != rounds[0]


def test_all_frames_and_windows_are_seen():
    lengths = np.array([6])
    window = WindowConfig(frames=2, interval=3)
    seen = {choose_sample(n, 0, lengths, window).frames for n in range(60)}
    assert seen == {(0, 3), (1, 4), (2, 5)}
    for n in range(60):
        chosen = choose_sample(n, 0, lengths, WindowConfig())
        assert chosen.reference != chosen.frames[0]
    assert {choose_sample(n, 0, lengths, WindowConfig()).reference for n in range(60)} == set(range(6))
    assert choose_sample(3, 0, lengths, WindowConfig(reference="first")).reference == 0
    same = choose_sample(3, 0, lengths, WindowConfig(reference="same"))
    assert same.reference == same.frames[0]
    assert (
        choose_sample(0, 0, np.array([1]), WindowConfig()).reference == 0
    )  # a clip of one frame shows itself


def test_images_of_a_clip():
    clip = drawn_clip(0)
    made = make_images(clip, [1, 3], [2], SMALL, generator(0))
    assert np.array_equal(made.video, clip.video[[1, 3]])
    assert np.array_equal(made.depth, colorize(clip.depth[[1, 3]], "hot"))
    assert np.array_equal(made.background, clip.background[None])
    crop = foreground_crop(clip.video[2], clip.mask[2], clip.pose.select([2]), 32, 0.1)
    assert np.array_equal(made.foreground[0], crop.image)  # as the pipeline makes it
    assert np.array_equal(made.foreground_mask[0], crop.mask)
    assert np.array_equal(made.foreground_pose.keypoints, crop.pose.keypoints)


def test_outpainted_images_are_the_rng_s():
    clip = drawn_clip(0)
    config = dataclasses.replace(SMALL, modalities=1, background="hole", outpainting=OutpaintingConfig())
    made, again, other = (make_images(clip, [0, 1], [0, 1], config, generator(seed)) for seed in (1, 1, 2))
    assert made.depth is None and made.background.shape == (2, 3, 64, 64)
    assert np.array_equal(made.background, again.background)
    assert np.array_equal(made.foreground, again.foreground)
    assert not np.array_equal(made.background, other.background)
    assert (made.background[0][:, clip.mask[0]] == 127).all()


def test_moving_backgrounds_go_with_their_frames():
    clip = drawn_clip(0, moving=True)
    assert np.array_equal(
        make_images(clip, [2, 0], [0], SMALL, generator(0)).background, clip.background[[2, 0]]
    )


def test_a_frame_without_the_person_is_no_reference():
    mask = np.zeros((5, 4, 4), bool)
    mask[[1, 4], 2, 2] = True
    assert [nearest_visible_frame(mask, f) for f in range(5)] == [1, 1, 1, 4, 4]
    with pytest.raises(ValueError, match="person"):
        nearest_visible_frame(mask[:1], 0)


def test_the_draft_is_made_from_the_reference_even_of_another_clip():
    clip, other = drawn_clip(0), drawn_clip(1)
    config = dataclasses.replace(SMALL, draft=True)
    own = make_images(clip, [1, 3], [2], config, generator(0))
    crop = foreground_crop(clip.video[2], clip.mask[2], clip.pose.select([2]), 64, 0.1)
    video, depth = avatar_draft(*crop, clip.pose.select([1, 3]), clip.background)
    assert np.array_equal(own.draft, [video, colorize(depth)])
    one = make_images(clip, [1, 3], [2], dataclasses.replace(config, modalities=1), generator(0))
    assert np.array_equal(one.draft, [video])
    borrowed = make_images(clip, [1, 3], [2], config, generator(0), person=other)
    crop = foreground_crop(other.video[2], other.mask[2], other.pose.select([2]), 64, 0.1)
    expected = avatar_draft(*crop, clip.pose.select([1, 3]), clip.background)
    assert np.array_equal(borrowed.draft[0], expected.video)
    assert np.array_equal(borrowed.video, own.video)
    shown = foreground_crop(other.video[2], other.mask[2], other.pose.select([2]), 32, 0.1)
    assert np.array_equal(borrowed.foreground[0], shown.image)


def test_stacked_images_have_depth_behind_their_colors():
    clip = drawn_clip(0)
    config = dataclasses.replace(SMALL, draft=True)
    apart = make_images(clip, [1, 3], [2], config, generator(0))
    stacked = make_images(clip, [1, 3], [2], dataclasses.replace(config, stacked=True), generator(0))
    assert stacked.depth is None and stacked.draft.shape == (1, 2, 6, 64, 64)
    assert np.array_equal(stacked.video, np.concatenate([apart.video, apart.depth], 1))
    assert np.array_equal(stacked.draft[0], np.concatenate([apart.draft[0], apart.draft[1]], 1))
    for both, one in ((stacked.background, apart.background), (stacked.foreground, apart.foreground)):
        assert np.array_equal(both[:, :3], one)
        assert (both[:, 3:] == colorize(np.zeros((1, 1), np.float32))).all()
    with pytest.raises(ValueError, match="stacked"):
        dataclasses.replace(SMALL, stacked=True, modalities=1)


def test_references_come_from_clips_of_the_same_person_alone():
    others = other_clips(["a", "b", "a", "", "", "a"])
    assert others == [[2, 5], [], [0, 5], [], [], [0, 2]]
    config, rng = dataclasses.replace(SMALL, draft=True, other_clip_probability=0.5), generator(0)
    chosen = [choose_clip(others[0], config, rng) for _ in range(200)]
    assert set(chosen) == {None, 2, 5} and 60 < chosen.count(None) < 140
    assert choose_clip([], config, rng) is None
    assert choose_clip(others[0], dataclasses.replace(config, draft=False), rng) is None


def test_a_clip_without_depth_teaches_no_depth():
    clip = drawn_clip(0)
    bare = dataclasses.replace(clip, depth=np.zeros_like(clip.depth), depth_kind="none", depth_range=None)
    with pytest.raises(UserError, match="drawn:0.*no depth"):
        make_images(bare, [0], [1], SMALL, generator(0))
    alone = make_images(bare, [0], [1], dataclasses.replace(SMALL, modalities=1), generator(0))
    assert alone.depth is None and (alone.video[0] == clip.video[0]).all()
