"""Motion between successive frames: does depth move as its video does, does the video move as the true one?

Motion is dense optical flow by OpenCV's DIS (Kroeger et al. 2016, nearly its preset "medium") on one thread,
which repeats to the bit. It is an estimate: where nothing has texture it is guessed, so that even a true clip
gets numbers other than zero: read them next to those of the column "true". What never moves always agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from idol.evaluation import optional_imports

_STRIDE = 4  # pixels between patches of 8 x 8; the preset's 3 takes a quarter longer for a warp 4 % better
_CONTEXT = 16  # pixels round the person that its flow may look at

# A pixel counts as seen in both frames if the flow there and back ends within
# |there + back|^2 <= share * (|there|^2 + |back|^2) + slack of where it began (Sundaram et al., ECCV 2010).
_SHARE, _SLACK = 0.01, 0.5


@dataclass(frozen=True)
class Tracks:
    """Where the pixels of each frame but the last are in the next one.

    Attributes:
        forward: (l, h, w, 2) float32: the way along x and y in pixels.
        visible: (l, h, w) bool: still there: inside the frame, and not hidden by anything.
    """

    forward: np.ndarray
    visible: np.ndarray


def flow(
    start: UInt8[np.ndarray, "l h w"], end: UInt8[np.ndarray, "l h w"]
) -> Float32[np.ndarray, "l h w 2"]:
    """Optical flow from gray images to others: x and y in pixels.

    Raises:
        UserError: If OpenCV is not installed.
    """
    with optional_imports.one_thread() as cv2:
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setPatchStride(_STRIDE)
        pairs = zip(start, end, strict=True)
        found = [search.calc(np.ascontiguousarray(a), np.ascontiguousarray(b), None) for a, b in pairs]
    return np.stack(found) if found else np.zeros((*start.shape, 2), np.float32)


def tracks(frames: UInt8[np.ndarray, "f h w"]) -> Tracks:
    """The flow of a gray clip, and where it can be believed: by flow forward and back again.

    Raises:
        UserError: If OpenCV is not installed.
    """
    forward, back = flow(frames[:-1], frames[1:]), flow(frames[1:], frames[:-1])
    returned = _sampled(back, forward)
    height, width = frames.shape[1:]
    x, y = np.moveaxis(_places(forward), -1, 0)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    lengths = np.square(forward).sum(-1) + np.square(returned).sum(-1)
    kept = np.square(forward + returned).sum(-1) <= _SHARE * lengths + _SLACK
    return Tracks(forward, inside & kept)


def warp_change(video: UInt8[np.ndarray, "f 3 h w"], true: Tracks) -> Float32[np.ndarray, "l h w"]:
    """How much each pixel changes along the *true* motion: |frame l+1, warped back onto l, less frame l|.

    Args:
        video: The judged clip.
        true: The motion of the true clip.

    Returns:
        Mean over the channels, in 8-bit levels, for every frame but the last; counts where `true.visible`.
    """
    frames = np.ascontiguousarray(video.transpose(0, 2, 3, 1), np.float32)
    change = _sampled(frames[1:], true.forward)
    np.abs(np.subtract(change, frames[:-1], out=change), out=change)
    red, green, blue = np.moveaxis(change, -1, 0)
    return (red + green + blue) / np.float32(3)  # three times as fast as mean(-1)


def motion_difference(
    gray: UInt8[np.ndarray, "f h w"],
    depth: Float[np.ndarray, "f h w"],
    person: Bool[np.ndarray, "f h w"],
) -> float:
    """Mean distance between the ends of the flow of a video and of the flow of its depth, within the person.

    Depth is looked at as an 8-bit gray image. Flow is taken in the box of the person in both frames,
    widened by 16 pixels.

    Args:
        gray: The clip's own frames.
        depth: Its own depth, of kind `person`.
        person: Where its own depth shows the person; each pair of frames is judged where the first one does.

    Returns:
        Pixels per frame, scaled to a height of 256; NaN if the person is in no frame but the last.

    Raises:
        UserError: If OpenCV is not installed.
    """
    levels = np.round(depth * 255).astype(np.uint8)
    apart = [np.zeros(0, np.float32)]
    for i in np.flatnonzero(person[:-1].any((1, 2))):
        box = _box(person[i] | person[i + 1])
        start, end = (np.stack([gray[j][box], levels[j][box]]) for j in (i, i + 1))
        of_video, of_depth = flow(start, end)
        apart.append(np.linalg.norm((of_video - of_depth)[person[i][box]], axis=-1))
    values = np.concatenate(apart)
    return float(values.mean()) * 256 / gray.shape[1] if values.size else float("nan")


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the mask's bounding box, widened as far as the frame goes."""
    ranges = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    rows, columns = (slice(max(0, r[0] - _CONTEXT), r[-1] + 1 + _CONTEXT) for r in ranges)
    return rows, columns


def _places(way: np.ndarray) -> np.ndarray:
    """Where the pixels (l, h, w) end, x and y, (l, h, w, 2)."""
    y, x = np.mgrid[: way.shape[1], : way.shape[2]].astype(np.float32)
    return way + np.stack([x, y], -1)


def _sampled(values: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Values (l, h, w, c) float32 at the ends of a way (l, h, w, 2), bilinear; outside, those of the edge."""
    cv2 = optional_imports.module("cv2")
    pairs = zip(np.ascontiguousarray(values), _places(way), strict=True)
    found = [cv2.remap(v, p, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for v, p in pairs]
    return np.stack(found) if found else values
