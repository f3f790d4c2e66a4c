"""Limits of uploads and requests, checked before anything is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from idol.errors import UserError

_IMAGES = ("PNG", "JPEG", "WEBP")
_SHORTEST_SIDE = 64


@dataclass(frozen=True)
class Limits:
    """Limits of one visitor's request.

    Attributes:
        photo_megabytes: Maximum size of an image file.
        photo_megapixels: Maximum number of pixels of an image, in millions.
        video_megabytes: Maximum size of a video file, and of any upload.
        video_seconds: Maximum duration of a motion video.
        frames: Maximum number of frames of the result.
        num_inference_steps: Maximum number of denoising steps.
        waiting: Maximum number of waiting jobs; further ones are refused.
        keep_minutes: How long results stay on the disk, minutes.
    """

    photo_megabytes: float = 25.0
    photo_megapixels: float = 40.0
    video_megabytes: float = 100.0
    video_seconds: float = 60.0
    frames: int = 64
    num_inference_steps: int = 100
    waiting: int = 16
    keep_minutes: float = 60.0


def check_image(path: Path, argument: str, limits: Limits) -> None:
    """Refuse a file that is no image or too large, by its header.

    Args:
        path: The upload.
        argument: Name of the argument, for errors.
        limits: The limits.

    Raises:
        UserError: If it is no PNG, JPEG or WebP, or larger or smaller than allowed.
    """
    _check_bytes(path, argument, limits.photo_megabytes)
    try:
        with Image.open(path, formats=_IMAGES) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as wrong:
        raise UserError(argument, "this file is not an image", "give a PNG, JPEG or WebP") from wrong
    if width * height > limits.photo_megapixels * 1e6:
        found = f"{width * height / 1e6:.0f} megapixels"
        raise UserError(argument, found, f"give an image of at most {limits.photo_megapixels:g}")
    if min(width, height) < _SHORTEST_SIDE:
        found = f"{width} x {height} pixels"
        raise UserError(argument, found, f"give an image of at least {_SHORTEST_SIDE} x {_SHORTEST_SIDE}")


def check_video(path: Path, argument: str, limits: Limits) -> None:
    """Refuse a file that is no video or too long, by its first bytes and header.

    Args:
        path: The upload.
        argument: Name of the argument, for errors.
        limits: The limits.

    Raises:
        UserError: If it is no MP4, MOV, WebM, MKV or AVI, or larger or longer than allowed.
    """
    _check_bytes(path, argument, limits.video_megabytes)
    not_one = UserError(argument, "this file is not a video", "give an MP4, MOV, WebM, MKV or AVI")
    with path.open("rb") as file:
        if not _is_video_file(file.read(12)):
            raise not_one
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise not_one
            seconds = (container.duration or 0) / av.time_base
    except av.error.FFmpegError as wrong:
        raise not_one from wrong
    if seconds > limits.video_seconds:
        found = f"{seconds:.0f} seconds long"
        raise UserError(argument, found, f"cut it to at most {limits.video_seconds:g} seconds")


def _is_video_file(start: bytes) -> bool:
    """Return whether a file starts like a video container.

    FFmpeg also opens play lists, which name other files and addresses: those must not be opened.
    """
    is_mp4 = start[4:8] == b"ftyp"
    is_matroska = start[:4] == b"\x1a\x45\xdf\xa3"
    is_avi = start[:4] == b"RIFF" and start[8:12] == b"AVI "
    return is_mp4 or is_matroska or is_avi


def check_number(argument: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside its range.

    Args:
        argument: Name of the argument, for errors.
        value: The number.
        low: Smallest allowed number.
        high: Largest allowed number.

    Raises:
        UserError: If `value` is not finite or not from `low` to `high`.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise UserError(argument, f"{value:g}", f"give a number from {low:g} to {high:g}")


def _check_bytes(path: Path, argument: str, megabytes: float) -> None:
    size = path.stat().st_size
    if size > megabytes * 1e6:
        raise UserError(
            argument, f"{size / 1e6:.0f} megabytes", f"give a file of at most {megabytes:g} megabytes"
        )
