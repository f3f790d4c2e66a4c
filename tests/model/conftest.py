"""Tiny networks with random weights, ours and diffusers', shared by the tests of the model."""

import pytest
import torch

from support.tiny_networks import TINY, randomize


@pytest.fixture
def tiny_unet2d():
    from diffusers import UNet2DConditionModel

    return randomize(
        UNet2DConditionModel(
            **TINY,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        )
    )


@pytest.fixture
def tiny_unet():
    """Our U-Net, two modalities, every layer at work."""
    from idol.model import UnifiedUNet

    return randomize(UnifiedUNet(**TINY, attention=(True, True, False)), seed=1)


@pytest.fixture
def inputs():
    """Sample, timestep, foreground, background and skeleton images: b = 2, m = 2, f = 3, c = 4, n = 5."""
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(2, 2, 3, 4, 8, 8, generator=generator),
        torch.tensor([17, 801]),
        torch.randn(2, 5, 12, generator=generator),
        torch.randn(2, 4, 8, 8, generator=generator),
        torch.rand(2, 3, 3, 64, 64, generator=generator),
    )
