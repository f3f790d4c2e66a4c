"""Metric depth as a lossless video of 16-bit gray values in millimeters.

This is the convention of depth cameras: a pixel's value is its distance along the optical axis in whole
millimeters, and 0 where there is nothing. FFV1 in Matroska keeps every value; FFmpeg and programs built on it
read it.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt16

_FARTHEST = 65535  # millimeters


def to_millimeters(z: Float[np.ndarray, "*b"]) -> UInt16[np.ndarray, "*b"]:
    """Return whole millimeters: rounded, 0 for infinity, and at most 65535.

    Args:
        z: Distances in meters.
    """
    known = np.where(np.isfinite(z), z, 0).astype(np.float64)
    return np.rint(known * 1000).clip(0, _FARTHEST).astype(np.uint16)


def write_depth_video(path: Path, millimeters: UInt16[np.ndarray, "f h w"], fps: float) -> None:
    """Write 16-bit frames losslessly as FFV1.

    Args:
        path: Destination, ending in .mkv.
        millimeters: Distances as returned by `to_millimeters`.
        fps: Frames per second.
    """
    with av.open(str(path), "w", format="matroska") as out:
        # level 3 adds slices and checksums, so that readers notice a broken frame
        stream = out.add_stream("ffv1", rate=Fraction(fps).limit_denominator(1001), options={"level": "3"})
        stream.height, stream.width, stream.pix_fmt = *millimeters.shape[1:], "gray16le"
        out.metadata["comment"] = "depth in millimeters along the view axis; 0: nothing"
        for frame in millimeters:
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray16le")
            out.mux(stream.encode(image))
        out.mux(stream.encode())
