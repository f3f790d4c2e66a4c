"""One image that shows a whole run: the generated frames over their depth over the driving skeletons."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from idol.clip import Pose
from idol.pose import skeleton

_GAP = 4
_PAPER = 255


def contact_sheet(
    video: UInt8[np.ndarray, "f 3 h w"],
    depth: UInt8[np.ndarray, "f 3 h w"],
    pose: Pose,
    person: UInt8[np.ndarray, "3 ph pw"],
    background: UInt8[np.ndarray, "3 h w"],
    columns: int = 8,
) -> UInt8[np.ndarray, "3 sheet_h sheet_w"]:
    """Arrange frames above their depth above their skeletons, with the inputs in the first column.

    Args:
        video: The generated frames, sRGB.
        depth: Their depth, colored.
        pose: The driving skeletons, one per frame, in the pixels of the frames.
        person: The photo of the person, any size; resized to fit the first cell.
        background: The background, shown below the person.
        columns: Maximum number of frames, evenly spaced over the clip.

    Returns:
        The sheet, sRGB.
    """
    count, _, height, width = video.shape
    shown = shown_frames(count, columns)
    skeletons = skeleton.draw(pose.select(shown), height, width)
    given = [fitted(person, height, width), background, np.full_like(background, _PAPER)]
    shown_rows = (video[shown], depth[shown], skeletons)
    return _above([_beside([left, *row]) for left, row in zip(given, shown_rows, strict=True)])


def shown_frames(count: int, columns: int = 8) -> list[int]:
    """Return the indices of the frames that a sheet shows.

    Args:
        count: Number of frames of the clip.
        columns: Maximum number of frames on the sheet.
    """
    return np.linspace(0, count - 1, min(columns, count)).round().astype(int).tolist()


def fitted(
    image: UInt8[np.ndarray, "3 h0 w0"], height: int, width: int
) -> UInt8[np.ndarray, "3 {height} {width}"]:
    """Return the whole image as large as it fits, centered on white.

    Args:
        image: sRGB, any size.
        height: Height of the result, pixels.
        width: Width of the result, pixels.
    """
    from PIL import Image

    scale = min(height / image.shape[1], width / image.shape[2])
    size = max(1, round(image.shape[2] * scale)), max(1, round(image.shape[1] * scale))
    small = Image.fromarray(image.transpose(1, 2, 0)).resize(size, Image.Resampling.LANCZOS)
    cell = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = np.asarray(small)
    return cell.transpose(2, 0, 1)


def _beside(cells: list[np.ndarray]) -> np.ndarray:
    gap = np.full((3, cells[0].shape[1], _GAP), _PAPER, dtype=np.uint8)
    return np.concatenate([part for cell in cells for part in (cell, gap)][:-1], axis=2)


def _above(rows: list[np.ndarray]) -> np.ndarray:
    gap = np.full((3, _GAP, rows[0].shape[2]), _PAPER, dtype=np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)][:-1], axis=1)
