"""Known detail: put back exactly where frames show what is known, nowhere else."""

import torch

from idol.model.detail import composite, restore_background, restore_person

SHAPE = (1, 2, 3, 32, 32)


def _known():
    torch.manual_seed(0)
    sharp = torch.rand(1, 1, 3, 32, 32) * 1.6 - 0.8
    return sharp, (sharp + 0.1 * torch.randn_like(sharp)).clamp(-1, 1)


def test_empty_scene_becomes_the_background_exactly():
    plate, blurred = _known()
    restored = restore_background(blurred.expand(SHAPE), plate, blurred, torch.zeros(1, 2, 32, 32))
    torch.testing.assert_close(restored, plate.expand(SHAPE))


def test_background_detail_stays_off_the_person_and_shadows_stay():
    plate, blurred = _known()
    person = torch.zeros(1, 2, 32, 32)
    person[..., 8:24, 8:24] = 1
    video = 0.9 * blurred.expand(SHAPE) - 0.05  # darker everywhere
    plate, blurred = 0.9 * plate, 0.9 * blurred
    restored = restore_background(video, plate, blurred, person)
    torch.testing.assert_close(restored[..., 11:21, 11:21], video[..., 11:21, 11:21])
    corner = (..., slice(0, 3), slice(0, 3))
    torch.testing.assert_close(restored[corner], (plate - 0.05).expand(SHAPE)[corner])


def test_person_gets_the_drafts_detail_as_far_as_the_frame_shows_the_draft():
    draft, blurred = (x.expand(SHAPE) for x in _known())
    person = torch.ones(1, 2, 32, 32)
    torch.testing.assert_close(restore_person(blurred, draft, blurred, person), draft)
    other = -blurred
    assert (restore_person(other, draft, blurred, person) - other).abs().mean() < 0.02
    assert torch.equal(restore_person(blurred, draft, blurred, 0 * person), blurred)


def test_composited_frames_are_the_background_outside_and_the_video_inside():
    plate, video = _known()
    video = video.expand(SHAPE)
    person = torch.zeros(1, 2, 32, 32)
    person[..., 8:24, 8:24] = 1
    made = composite(video, plate, person)
    torch.testing.assert_close(made[..., 12:20, 12:20], video[..., 12:20, 12:20])
    assert torch.equal(made[..., :4, :], plate.expand(SHAPE)[..., :4, :])
    edge = made[..., 8, 12:20]
    low = torch.minimum(plate.expand(SHAPE), video)[..., 8, 12:20]
    high = torch.maximum(plate.expand(SHAPE), video)[..., 8, 12:20]
    assert ((edge >= low - 1e-5) & (edge <= high + 1e-5)).all()
