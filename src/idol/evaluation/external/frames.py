"""The frames in other methods' files, and how they become as many and as large as the true clip's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idol.clip.video import read_image, read_video
from idol.errors import UserError
from idol.evaluation.external.layouts import Reading, find_images


def read_frames(path: Path, reading: Reading, like: tuple[int, int]) -> UInt8[np.ndarray, "f 3 h w"]:
    """All frames of a video, as large as the method made them.

    Args:
        path: Its file or folder.
        reading: How it is read.
        like: Height and width of the true clip: the shape of frames side by side, unless `reading` states
            their size.

    Returns:
        sRGB, 0 to 255.

    Raises:
        UserError: If it cannot be read, is not divided into such frames, or lacks the column.
    """
    match reading.layout:
        case "fomm-png":
            return _side_by_side(read_image(path)[None], path, reading.size, like)[:, 0]
        case "fomm-grid":
            return _column(_side_by_side(read_video(path).frames, path, reading.size, like), path, reading)
        case "video":
            return read_video(path).frames
        case "frames" | "dreampose":
            return _stacked(find_images(path, reading.layout))


def fit_frames(
    frames: UInt8[np.ndarray, "f 3 h w"], path: Path, reading: Reading, like: tuple[int, ...]
) -> UInt8[np.ndarray, "g 3 y x"]:
    """Frames in the number and size of the true clip's.

    Those of another size are resized with Pillow's bicubic filter, which smooths before it shrinks.

    Args:
        frames: What `read_frames` read.
        path: Where from.
        reading: Says which frames are meant, and whether their shape may differ.
        like: Shape of the true video, (f, 3, h, w).

    Returns:
        (f, 3, h, w) of the true video; the frames themselves if they have its size.

    Raises:
        UserError: If they are too few or too many, or their shape is another one and was not stated.
    """
    count, _, height, width = like
    fitted = _chosen(frames, path, reading, count)
    found = fitted.shape[2:]
    if reading.size not in (None, found):
        raise UserError(str(path), _of(found), "state their height and width with --size")
    if reading.size is None and not _same_shape(found, (height, width)):
        hint = f"to have them stretched to it: --size {found[0]} {found[1]}"
        raise UserError(str(path), f"{_of(found)} where the true clip's are {height} x {width}", hint)
    if found == (height, width):
        return fitted
    return np.stack([_resized(frame, height, width) for frame in fitted])


def _side_by_side(
    images: UInt8[np.ndarray, "f 3 h w"], path: Path, size: tuple[int, int] | None, like: tuple[int, int]
) -> UInt8[np.ndarray, "n f 3 h v"]:
    """The n parts of each image along its width."""
    f, _, height, width = images.shape
    fitting = [part for part in ([size[1]] if size else _widths(height, like)) if width % part == 0]
    if not fitting or (size and size[0] != height):
        wanted = f"of {size[0]} x {size[1]}" if size else f"in the shape of {like[0]} x {like[1]}"
        found = f"{height} x {width}, which is no row of whole frames {wanted}"
        raise UserError(str(path), found, "state height and width of its frames with --size")
    parts = images.reshape(f, 3, height, width // fitting[0], fitting[0])
    return np.ascontiguousarray(parts.transpose(3, 0, 1, 2, 4))


def _widths(height: int, like: tuple[int, int]) -> list[int]:
    """The whole widths next to what frames of that shape have at this height, the nearest first."""
    exact = height * like[1] / like[0]
    return sorted({max(1, math.floor(exact)), math.ceil(exact)}, key=lambda width: abs(width - exact))


def _column(
    columns: UInt8[np.ndarray, "n f 3 h w"], path: Path, reading: Reading
) -> UInt8[np.ndarray, "f 3 h w"]:
    n = len(columns)
    if reading.column is None or not -n <= reading.column < n:
        raise UserError("--column", f"{reading.column}, but {path} has {n}", f"give one of 0 to {n - 1}")
    return columns[reading.column]


def _stacked(paths: list[Path]) -> UInt8[np.ndarray, "f 3 h w"]:
    frames = [read_image(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            found = f"{_of(frame.shape[1:])} among {_of(frames[0].shape[1:])}"
            raise UserError(str(path), found, "give frames of one size")
    return np.stack(frames)


def _chosen(
    frames: UInt8[np.ndarray, "f 3 h w"], path: Path, reading: Reading, count: int
) -> UInt8[np.ndarray, "g 3 h w"]:
    chosen = frames[reading.start or 0 :][:count]
    if len(chosen) == count and (len(frames) == count or reading.start is not None):
        return chosen
    left = f" after the {reading.start} left out" if reading.start else ""
    found = f"{len(frames)} frames where the true clip has {count}{left}"
    hint = "make as many, or choose a part of a longer video with --start"
    if reading.layout == "fomm-png" and reading.size is None:  # of another shape, they were counted wrongly
        hint += ", or state height and width of a frame with --size"
    raise UserError(str(path), found, hint)


def _of(size: tuple[int, ...]) -> str:
    return f"frames of {size[0]} x {size[1]}"


def _same_shape(found: tuple[int, ...], like: tuple[int, int]) -> bool:
    """Whether the ratio of the sides is the same but for the rounding of one of them to whole pixels."""
    across, down = found[0] * like[1] / like[0], found[1] * like[0] / like[1]
    return min(abs(found[1] - across), abs(found[0] - down)) < 1


def _resized(frame: UInt8[np.ndarray, "3 h w"], height: int, width: int) -> UInt8[np.ndarray, "3 y x"]:
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
