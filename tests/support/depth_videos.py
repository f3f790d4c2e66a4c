"""Reading depth videos back."""

import av
import numpy as np


def read_depth_video(path):
    """(f, h, w) uint16 of a video of 16-bit gray values."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert {frame.format.name for frame in frames} == {"gray16le"}
    return np.stack([frame.to_ndarray() for frame in frames])
