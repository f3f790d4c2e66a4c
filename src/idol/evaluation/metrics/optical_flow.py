"""Motion: does the depth move like its video, and does the video move like the reference?

Motion is dense optical flow by OpenCV's DIS (Kroeger et al. 2016, close to its preset "medium") on one
thread, which makes it reproducible. Flow is an estimate, and a guess where there is no texture, so that even
a reference clip gets values other than zero: read the metrics beside those of the column "true". What never
moves always agrees.
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
_RELATIVE, _ABSOLUTE = 0.01, 0.5


@dataclass(frozen=True)
class ForwardFlow:
    """Optical flow from each frame to the next.

    Attributes:
        forward: (l, h, w, 2) float32: displacement along x and y in pixels, for every frame but the last.
        visible: (l, h, w) bool: the pixel is inside the next frame and not occluded there.
    """

    forward: np.ndarray
    visible: np.ndarray


def flow(
    start: UInt8[np.ndarray, "l h w"], end: UInt8[np.ndarray, "l h w"]
) -> Float32[np.ndarray, "l h w 2"]:
    """Return the optical flow between gray images.

    Args:
        start: First image of each pair.
        end: Second image of each pair.

    Returns:
        Displacement along x and y in pixels.

    Raises:
        UserError: If OpenCV is not installed.
    """
    with optional_imports.single_threaded_opencv() as cv2:
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setPatchStride(_STRIDE)
        pairs = zip(start, end, strict=True)
        found = [search.calc(np.ascontiguousarray(a), np.ascontiguousarray(b), None) for a, b in pairs]
    return np.stack(found) if found else np.zeros((*start.shape, 2), np.float32)


def forward_flow(frames: UInt8[np.ndarray, "f h w"]) -> ForwardFlow:
    """Return the flow of a gray clip, with a visibility mask from forward-backward consistency.

    Raises:
        UserError: If OpenCV is not installed.
    """
    forward, back = flow(frames[:-1], frames[1:]), flow(frames[1:], frames[:-1])
    returned = _sample(back, forward)
    height, width = frames.shape[1:]
    x, y = np.moveaxis(_endpoints(forward), -1, 0)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    lengths = np.square(forward).sum(-1) + np.square(returned).sum(-1)
    kept = np.square(forward + returned).sum(-1) <= _RELATIVE * lengths + _ABSOLUTE
    return ForwardFlow(forward, inside & kept)


def warp_change(video: UInt8[np.ndarray, "f 3 h w"], reference: ForwardFlow) -> Float32[np.ndarray, "l h w"]:
    """Return each pixel's change along the reference's motion: |frame l+1 warped back onto l - frame l|.

    Args:
        video: The generated clip.
        reference: The motion of the reference clip.

    Returns:
        Mean over the channels in 8-bit levels, for every frame but the last; meaningful where
        `reference.visible`.
    """
    frames = np.ascontiguousarray(video.transpose(0, 2, 3, 1), np.float32)
    change = _sample(frames[1:], reference.forward)
    np.abs(np.subtract(change, frames[:-1], out=change), out=change)
    red, green, blue = np.moveaxis(change, -1, 0)
    return (red + green + blue) / np.float32(3)  # three times as fast as mean(-1)


def motion_difference(
    gray: UInt8[np.ndarray, "f h w"],
    depth: Float[np.ndarray, "f h w"],
    person: Bool[np.ndarray, "f h w"],
) -> float:
    """Return the endpoint error between the flow of a video and the flow of its depth, within the person.

    The depth is treated as an 8-bit gray image. Flow is computed in the box of the person in both frames,
    widened by 16 pixels.

    Args:
        gray: Luma of the clip's frames.
        depth: The clip's depth, of kind `person`.
        person: Where the depth shows the person; a pair of frames counts where the first one does.

    Returns:
        Mean in pixels per frame, scaled to a height of 256; NaN if no frame but the last shows the person.

    Raises:
        UserError: If OpenCV is not installed.
    """
    levels = np.round(depth * 255).astype(np.uint8)
    errors = [np.zeros(0, np.float32)]
    for i in np.flatnonzero(person[:-1].any((1, 2))):
        box = _box(person[i] | person[i + 1])
        start, end = (np.stack([gray[j][box], levels[j][box]]) for j in (i, i + 1))
        of_video, of_depth = flow(start, end)
        errors.append(np.linalg.norm((of_video - of_depth)[person[i][box]], axis=-1))
    values = np.concatenate(errors)
    return float(values.mean()) * 256 / gray.shape[1] if values.size else float("nan")


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns of the mask's bounding box, widened by `_CONTEXT` within the frame."""
    ranges = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    rows, columns = (slice(max(0, r[0] - _CONTEXT), r[-1] + 1 + _CONTEXT) for r in ranges)
    return rows, columns


def _endpoints(displacement: np.ndarray) -> np.ndarray:
    """Return where each pixel (l, h, w) ends: x, y, (l, h, w, 2)."""
    y, x = np.mgrid[: displacement.shape[1], : displacement.shape[2]].astype(np.float32)
    return displacement + np.stack([x, y], -1)


def _sample(values: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Sample values bilinearly at the endpoints of a flow; borders are replicated.

    Args:
        values: (l, h, w, c) float32.
        displacement: (l, h, w, 2) in pixels.
    """
    cv2 = optional_imports.require("cv2")
    pairs = zip(np.ascontiguousarray(values), _endpoints(displacement), strict=True)
    found = [cv2.remap(v, p, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for v, p in pairs]
    return np.stack(found) if found else values
