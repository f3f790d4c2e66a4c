"""Metric depth as a video: 16-bit gray, millimeters, lossless.

The convention is that of depth cameras: the value of a pixel is its distance along the view axis in whole
millimeters, and 0 where nothing is. FFV1 in Matroska keeps every value; FFmpeg and what builds on it read it.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt16

from idol.errors import UserError

_FARTHEST = 65535  # millimeters


def to_millimeters(z: Float[np.ndarray, "*b"]) -> UInt16[np.ndarray, "*b"]:
    """Whole millimeters of meters: rounded, 0 for infinity, 65535 for what is farther than that."""
    known = np.where(np.isfinite(z), z, 0).astype(np.float64)
    return np.rint(known * 1000).clip(0, _FARTHEST).astype(np.uint16)


def write_depth_video(path: Path, millimeters: UInt16[np.ndarray, "f h w"], fps: float) -> None:
    """Writes 16-bit frames as FFV1, without loss.

    Args:
        path: Where to; ends in .mkv.
        millimeters: What `to_millimeters` returns.
        fps: Frames per second.
    """
    with av.open(str(path), "w", format="matroska") as out:
        # Level 3 has slices and checksums: a broken frame is noticed when it is read
        stream = out.add_stream("ffv1", rate=Fraction(fps).limit_denominator(1001), options={"level": "3"})
        stream.height, stream.width, stream.pix_fmt = *millimeters.shape[1:], "gray16le"
        out.metadata["comment"] = "depth in millimeters along the view axis; 0: nothing"
        for frame in millimeters:
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray16le")
            out.mux(stream.encode(image))
        out.mux(stream.encode())


def read_depth_video(path: Path) -> UInt16[np.ndarray, "f h w"]:
    """Reads what `write_depth_video` wrote, exactly.

    Raises:
        UserError: If the file is missing, broken, or no video of 16-bit gray.
    """
    try:
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
    except (av.error.FFmpegError, OSError, IndexError) as wrong:
        raise UserError(str(path), f"cannot be decoded ({wrong})", "give a depth video") from wrong
    if not frames or frames[0].format.name != "gray16le":
        found = frames[0].format.name if frames else "no frames"
        raise UserError(str(path), f"found {found}", "give a video of 16-bit gray")
    return np.stack([frame.to_ndarray() for frame in frames])
