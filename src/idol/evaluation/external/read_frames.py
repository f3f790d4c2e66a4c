"""Frames of other methods' files, brought to the number and size of the reference clip's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idol.clip.images import read_image
from idol.clip.video import read_video
from idol.errors import UserError
from idol.evaluation.external.layouts import LayoutOptions, find_images


def read_frames(path: Path, options: LayoutOptions, like: tuple[int, int]) -> UInt8[np.ndarray, "f 3 h w"]:
    """Read all frames of a video in the size in which the method wrote them.

    Args:
        path: Its file or folder.
        options: How it is read.
        like: Height and width of the reference clip, whose shape frames side by side have unless `options`
            states their size.

    Returns:
        sRGB, 0 to 255.

    Raises:
        UserError: If it cannot be read, cannot be divided into such frames, or lacks the column.
    """
    match options.layout:
        case "fomm-png":
            return _side_by_side(read_image(path)[None], path, options.size, like)[:, 0]
        case "fomm-grid":
            return _column(_side_by_side(read_video(path).frames, path, options.size, like), path, options)
        case "video":
            return read_video(path).frames
        case "frames" | "dreampose":
            return _stacked(find_images(path, options.layout))


def fit_frames(
    frames: UInt8[np.ndarray, "f 3 h w"], path: Path, options: LayoutOptions, like: tuple[int, ...]
) -> UInt8[np.ndarray, "g 3 y x"]:
    """Bring frames to the number and size of the reference clip's.

    Frames of another size are resized with Pillow's bicubic filter, which is antialiased.

    Args:
        frames: From `read_frames`.
        path: Where they were read from.
        options: Which frames count, and whether their shape may differ.
        like: Shape of the reference video, (f, 3, h, w).

    Returns:
        Frames of that shape; the given ones if they have it.

    Raises:
        UserError: If there are too few or too many, or if they have another shape and `options` states no
            size.
    """
    count, _, height, width = like
    fitted = _chosen(frames, path, options, count)
    found = fitted.shape[2:]
    if options.size not in (None, found):
        raise UserError(str(path), _of(found), "give their height and width as `size`")
    if options.size is None and not _same_shape(found, (height, width)):
        remedy = f"to stretch them to that shape, give `size={found[0]} {found[1]}`"
        raise UserError(str(path), f"{_of(found)} where the reference clip's are {height} x {width}", remedy)
    if found == (height, width):
        return fitted
    return np.stack([_resized(frame, height, width) for frame in fitted])


def _side_by_side(
    images: UInt8[np.ndarray, "f 3 h w"], path: Path, size: tuple[int, int] | None, like: tuple[int, int]
) -> UInt8[np.ndarray, "n f 3 h v"]:
    """Split each image along its width into its n frames."""
    f, _, height, width = images.shape
    fitting = [part for part in ([size[1]] if size else _widths(height, like)) if width % part == 0]
    if not fitting or (size and size[0] != height):
        wanted = f"of {size[0]} x {size[1]}" if size else f"in the shape of {like[0]} x {like[1]}"
        found = f"{height} x {width}, which cannot be divided into frames {wanted}"
        raise UserError(str(path), found, "give height and width of its frames as `size`")
    parts = images.reshape(f, 3, height, width // fitting[0], fitting[0])
    return np.ascontiguousarray(parts.transpose(3, 0, 1, 2, 4))


def _widths(height: int, like: tuple[int, int]) -> list[int]:
    """Return the integer widths closest to that of a frame of this height and the given shape."""
    exact = height * like[1] / like[0]
    return sorted({max(1, math.floor(exact)), math.ceil(exact)}, key=lambda width: abs(width - exact))


def _column(
    columns: UInt8[np.ndarray, "n f 3 h w"], path: Path, options: LayoutOptions
) -> UInt8[np.ndarray, "f 3 h w"]:
    n = len(columns)
    if options.column is None or not -n <= options.column < n:
        raise UserError("column", f"{options.column}, but {path} has {n} columns", f"give 0 to {n - 1}")
    return columns[options.column]


def _stacked(paths: list[Path]) -> UInt8[np.ndarray, "f 3 h w"]:
    frames = [read_image(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            found = f"{_of(frame.shape[1:])} among {_of(frames[0].shape[1:])}"
            raise UserError(str(path), found, "give frames of one size")
    return np.stack(frames)


def _chosen(
    frames: UInt8[np.ndarray, "f 3 h w"], path: Path, options: LayoutOptions, count: int
) -> UInt8[np.ndarray, "g 3 h w"]:
    chosen = frames[options.start or 0 :][:count]
    if len(chosen) == count and (len(frames) == count or options.start is not None):
        return chosen
    skipped = f" after the {options.start} skipped" if options.start else ""
    found = f"{len(frames)} frames where the reference clip has {count}{skipped}"
    remedy = "make as many, or choose a part of a longer video with `start`"
    if options.layout == "fomm-png" and options.size is None:  # of another shape, they were counted wrongly
        remedy += ", or state height and width of a frame in `size`"
    raise UserError(str(path), found, remedy)


def _of(size: tuple[int, ...]) -> str:
    return f"frames of {size[0]} x {size[1]}"


def _same_shape(found: tuple[int, ...], like: tuple[int, int]) -> bool:
    """Return whether the aspect ratios agree up to the rounding of one side to whole pixels."""
    across, down = found[0] * like[1] / like[0], found[1] * like[0] / like[1]
    return min(abs(found[1] - across), abs(found[0] - down)) < 1


def _resized(frame: UInt8[np.ndarray, "3 h w"], height: int, width: int) -> UInt8[np.ndarray, "3 y x"]:
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
