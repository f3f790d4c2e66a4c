"""One denoiser: what training evaluates is what sampling evaluates, with everything cached and in parts."""

import pytest
import torch
from torch.testing import assert_close

from idol.pipeline.denoiser import Denoiser
from idol.pipeline.disk_tensor import FrameStore, split_frames
from idol.pipeline.sampler import Sampler
from support.tiny_pipelines import SIZE, mini, stable

KINDS = {
    "adapter": mini,
    "adapter, background ControlNet": lambda: mini(background="controlnet"),
    "ControlNet, background ControlNet": lambda: stable(background="controlnet"),
    "drafts": lambda: mini(draft=True),
}


@torch.no_grad()
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_cached_conditions_predict_what_those_of_training_predict(kind, moving):
    pipe, (b, f) = KINDS[kind](), (2, 3)
    denoiser = Denoiser(pipe.unet, pipe.control, pipe.background_control)
    side = SIZE // pipe.codec.downscale
    torch.manual_seed(0)
    sample, tokens, timesteps = (
        torch.randn(b, 2, f, 4, side, side),
        torch.randn(b, 5, 12),
        torch.full((b, 2), 400),
    )
    background = torch.randn(b, *(f,) * moving, 4, side, side)
    pose = torch.rand(b, f, 3, SIZE, SIZE)
    draft = torch.randn(sample.shape) if pipe.unet.config["draft"] else None
    output = denoiser(sample, timesteps, denoiser.condition(tokens, background, pose, draft), True)
    assert output.features

    parts = list(split_frames(f, 2))
    prepared = Sampler(denoiser).prepare(
        tokens,
        None,
        FrameStore.of([background], f, 1) if moving else background,
        (pose[:, part] for part in parts),
        parts,
        None if draft is None else FrameStore.of([draft], f, 2),
    )
    predictions = list(
        Sampler(denoiser).predictions(lambda frames: sample[:, :, frames], f, timesteps, prepared)
    )
    assert [frames for frames, _ in predictions] == [slice(0, f)]
    assert_close(predictions[0][1], output.sample, atol=1e-5, rtol=1e-4)
