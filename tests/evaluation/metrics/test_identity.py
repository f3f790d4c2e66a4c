"""The same person or not, with an embedding simple enough to know the answer."""

from dataclasses import replace

import numpy as np
import pytest

from idol.evaluation.metrics.identity import SIDE, person_images, similarity
from support.drawn import drawn_clip


def levels(images):
    """Each image's own pixels, mid-gray at zero."""
    assert images.dtype == np.uint8 and images.shape[1:] == (3, SIDE, SIDE)
    return images.reshape(len(images), -1).astype(np.float32) - 128


def test_images_show_the_person_alone_in_the_middle_of_mid_gray():
    clip = drawn_clip(0)
    mask = np.zeros_like(clip.mask)
    mask[:, 10:42, 20:36] = True  # twice as high as wide
    mask[2] = False
    video = np.full_like(clip.video, 200)
    got = person_images(video, mask)
    assert len(got) == clip.frames - 1
    assert (got[:, :, :, 70:186] == 200).all() and (got[:, :, :, :58] == 128).all()
    assert (got[:, :, :, 198:] == 128).all()


def test_a_hole_in_the_mask_is_gray():
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 16:48, 16:48] = True
    mask[0, 28:36, 28:36] = False
    image = person_images(np.zeros((1, 3, 64, 64), np.uint8), mask)[0]
    assert (image[:, 112:144, 112:144] == 128).all() and (image[:, 4:80, 4:80] == 0).all()


def test_the_drawn_person_stays_itself():
    clip = drawn_clip(0)
    assert similarity(levels, [clip.video], clip) == pytest.approx([1])


def test_other_colors_are_less_like_it():
    clip = drawn_clip(0)
    noise = np.random.default_rng(0).normal(size=clip.video.shape)
    series = [(clip.video + s * noise).clip(0, 255).astype(np.uint8) for s in (0, 20, 60, 200)]
    inverse = (255 - clip.video).astype(np.uint8)
    *got, opposite = similarity(levels, [*series, inverse], clip)
    assert got == sorted(got, reverse=True) and got[0] > got[-1] and opposite < -0.98


def test_the_mean_is_over_frames_with_a_person():
    clip = drawn_clip(0)
    mask, video = clip.mask.copy(), clip.video.copy()
    mask[1] = False
    video[1] = 0
    assert similarity(levels, [video], replace(clip, mask=mask)) == pytest.approx([1])
    video[2] = 255 - video[2]
    assert similarity(levels, [video], replace(clip, mask=mask)) == pytest.approx([1 / 3], abs=0.01)
    mask[0] = False
    assert np.isnan(similarity(levels, [video, video], replace(clip, mask=mask))).all()
