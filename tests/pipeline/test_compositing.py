"""Known detail: put back exactly where frames show what is known, nowhere else."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from idol.pipeline.compositing import _blurred, composite, restore_background, restore_person, sharpen_person
from idol.pipeline.image_inputs import Drafts

SHAPE = (1, 2, 3, 32, 32)


def _known():
    torch.manual_seed(0)
    sharp = torch.rand(1, 1, 3, 32, 32) * 1.6 - 0.8
    return sharp, (sharp + 0.1 * torch.randn_like(sharp)).clamp(-1, 1)


def test_empty_scene_becomes_the_background_exactly():
    background, blurred = _known()
    restored = restore_background(blurred.expand(SHAPE), background, blurred, torch.zeros(1, 2, 32, 32))
    torch.testing.assert_close(restored, background.expand(SHAPE))


def test_background_detail_stays_off_the_person_and_shadows_stay():
    background, blurred = _known()
    person = torch.zeros(1, 2, 32, 32)
    person[..., 8:24, 8:24] = 1
    video = 0.9 * blurred.expand(SHAPE) - 0.05  # darker everywhere
    background, blurred = 0.9 * background, 0.9 * blurred
    restored = restore_background(video, background, blurred, person)
    torch.testing.assert_close(restored[..., 11:21, 11:21], video[..., 11:21, 11:21])
    corner = (..., slice(0, 3), slice(0, 3))
    torch.testing.assert_close(restored[corner], (background - 0.05).expand(SHAPE)[corner])


def test_person_gets_the_drafts_detail_as_far_as_the_frame_shows_the_draft():
    draft, blurred = (x.expand(SHAPE) for x in _known())
    person = torch.ones(1, 2, 32, 32)
    torch.testing.assert_close(restore_person(blurred, draft, blurred, person), draft)
    other = -blurred
    assert (restore_person(other, draft, blurred, person) - other).abs().mean() < 0.02
    assert torch.equal(restore_person(blurred, draft, blurred, 0 * person), blurred)


def _striped():
    """A background, and a draft of stripes that covers the middle."""
    background = torch.full(SHAPE, -0.6)
    depth = torch.zeros(1, 2, 32, 32)
    depth[..., 8:24, 8:24] = 0.6
    stripes = torch.tensor([0.2, 0.8]).repeat(16)[None, None, None, :, None].expand(SHAPE)
    return background, Drafts(torch.where(depth[:, :, None] > 0, stripes, background), depth)


def test_haze_between_background_and_draft_gives_way_to_the_draft():
    background, drafts = _striped()
    silhouette = (drafts.depth > 0).float()
    for share in (0.2, 0.5, 1.0):
        hazy = share * drafts.video + (1 - share) * background
        clear = sharpen_person(hazy, background, drafts, silhouette)
        inside = (..., slice(11, 21), slice(11, 21))
        torch.testing.assert_close(clear[inside], drafts.video[inside], atol=0.02, rtol=0)


def test_what_is_neither_background_nor_draft_is_left_as_it_is():
    background, drafts = _striped()
    video = drafts.video.clone()
    video[:, :, 0], video[:, :, 2] = 0.9, -0.9  # red, where both are gray
    clear = sharpen_person(video, background, drafts, torch.ones(1, 2, 32, 32))
    torch.testing.assert_close(clear, video, atol=0.02, rtol=0)


def test_the_draft_reaches_the_silhouettes_edge_with_its_nearest_colors():
    background, drafts = _striped()
    drafts.video[..., 8:24, 16:24] = 0.5  # plain on the right
    silhouette = torch.zeros(1, 2, 32, 32)
    silhouette[..., 8:24, 8:30] = 1
    clear = sharpen_person(background, background, drafts, silhouette)
    torch.testing.assert_close(clear[..., 9:23, 25:30], torch.full((1, 2, 3, 14, 5), 0.5), atol=0.02, rtol=0)


def test_composited_frames_are_the_background_outside_and_the_video_inside():
    background, video = _known()
    video = video.expand(SHAPE)
    person = torch.zeros(1, 2, 32, 32)
    person[..., 8:24, 8:24] = 1
    made = composite(video, background, person)
    torch.testing.assert_close(made[..., 12:20, 12:20], video[..., 12:20, 12:20])
    assert torch.equal(made[..., :4, :], background.expand(SHAPE)[..., :4, :])
    edge = made[..., 8, 12:20]
    low = torch.minimum(background.expand(SHAPE), video)[..., 8, 12:20]
    high = torch.maximum(background.expand(SHAPE), video)[..., 8, 12:20]
    assert ((edge >= low - 1e-5) & (edge <= high + 1e-5)).all()


@pytest.mark.parametrize("sigma", [0.6, 2.0, 3.3])
def test_the_blur_is_scipys(sigma):
    images = torch.rand(2, 3, 24, 17, generator=torch.Generator().manual_seed(0))
    radius = max(1, round(3 * sigma))
    expected = gaussian_filter(images.double().numpy(), sigma, radius=radius, axes=(-2, -1), mode="nearest")
    torch.testing.assert_close(
        _blurred(images, sigma).double(), torch.from_numpy(expected), atol=1e-6, rtol=0
    )
