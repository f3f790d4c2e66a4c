"""Frames of any shape: person and skeleton keep their proportions."""

import numpy as np
import pytest

from idol.generation.inputs import _letterboxed, _standing
from idol.pipeline.config import GenerationConfig
from idol.pipeline.inputs import PipelineInputs
from idol.pose.retarget import retarget
from idol.prepare.person import Person
from support.drawn import drawn_clip
from support.photos import photo_of_a_woman

SIZES = [(128, 128), (192, 128), (128, 224), (320, 64)]


def shape_of(keypoints):
    """Distances between all pairs of joints over the largest: what no turn, shift or scale changes."""
    points = keypoints[..., :2].astype(np.float64)
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    return apart / apart.max()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("before_photo", [False, True])
def test_where_the_person_stands(height, width, before_photo):
    clip = drawn_clip(0, 1)
    person = Person(clip.video[0], clip.mask[0], clip.pose)
    placed = _standing(person, before_photo, height, width)
    assert (placed.height, placed.width) == (height, width)
    np.testing.assert_allclose(shape_of(placed.keypoints), shape_of(clip.pose.keypoints), atol=0.02)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_motion_as_it_is_and_fitted_to_the_person(height, width):
    clip = drawn_clip(0, 3)
    whole = _letterboxed(clip.pose, height, width)
    np.testing.assert_allclose(shape_of(whole.keypoints), shape_of(clip.pose.keypoints), atol=0.02)
    person = _standing(Person(clip.video[0], clip.mask[0], clip.pose.select([0])), False, height, width)
    fitted = retarget(clip.pose, person, frame_height=height, frame_width=width)
    # the motion is this very person's: fitted, it is the motion as it was, wherever the frame puts it
    np.testing.assert_allclose(shape_of(fitted.keypoints), shape_of(clip.pose.keypoints), atol=0.03)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_draft_is_not_stretched(height, width):
    """A photo's person in its own pose fills as much of frames of any shape as of the photo, scaled."""
    photo = photo_of_a_woman()
    pose = _letterboxed(photo.pose, height, width)
    settings = GenerationConfig(height=height, width=width)
    background = np.zeros((3, height, width), np.uint8)
    inputs = PipelineInputs.prepare(*photo, background, pose, settings, draft=True)
    depth = inputs.drafts(slice(0, 1)).depth[0, 0].numpy() > 0
    scale = min(height / photo.mask.shape[0], width / photo.mask.shape[1])
    for mask_axis in (0, 1):
        true = np.ptp(np.flatnonzero(photo.mask.any(mask_axis))) + 1
        made = np.ptp(np.flatnonzero(depth.any(mask_axis))) + 1
        assert made == pytest.approx(true * scale, rel=0.15)
