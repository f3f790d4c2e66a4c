"""Clips of any length: pixels a few frames at a time, on the way in, out of the network and onto the disk."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tiny_pipelines import SIZE, clip_inputs, joints, mini, noise


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("detail", ["none", "composite", "restore"])
def test_parts_of_a_stream_are_the_clip(detail, moving):
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
