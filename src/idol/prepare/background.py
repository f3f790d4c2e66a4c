"""What is behind the person: an image, a color, or the photo's own with the person's place filled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor
from scipy import ndimage

from idol.clip.images import read_image
from idol.errors import UserError
from idol.prepare.inpainting import inpaint
from idol.prepare.person import Person

Box = tuple[int, int, int, int]


def load_background(
    spec: str | Path,
    height: int,
    width: int,
    person: Person | None = None,
) -> NDArray[np.uint8]:
    """The background, cropped to the shape of the output and scaled to its size.

    Args:
        spec: An image's path, a color (`#rrggbb` or a CSS name), or `photo`.
        height: Of the output, in pixels.
        width: Of the output, in pixels.
        person: Whose photo `photo` means.

    Returns:
        (3, height, width) uint8 sRGB.

    Raises:
        UserError: If `spec` is none of these, or the image cannot be read.
    """
    if str(spec) == "photo":
        if person is None:
            raise UserError("background", "photo, but there is no photo of a person", "give a photo as `person`")
        box = crop_window(person.image, height, width, person.mask)
        return crop_and_resize(remove_person(person.image, person.mask), box, height, width)
    color = _color(str(spec))
    if color is not None:
        return np.broadcast_to(np.array(color, np.uint8)[:, None, None], (3, height, width)).copy()
    if not Path(spec).exists():
        hint = "give an image, a color (#rrggbb or a name such as white), or the word photo"
        raise UserError("background", f"{spec} is neither a file nor a color", hint)
    try:
        image = read_image(spec)
    except UserError as wrong:
        raise UserError("background", f"{spec}: {wrong.found}", wrong.remedy) from wrong
    return crop_and_resize(image, crop_window(image, height, width), height, width)


def _color(spec: str) -> tuple[int, int, int] | None:
    """Red, green and blue of a color's name; None if it is no color."""
    try:
        red, green, blue = ImageColor.getrgb(spec)[:3]
    except ValueError:
        return None
    return red, green, blue


def crop_window(
    photo: NDArray[np.uint8], height: int, width: int, mask: NDArray[np.bool_] | None = None
) -> Box:
    """The largest window of an image in the shape of the output: central, but moved to hold the person.

    Args:
        photo: (3, h, w) uint8, the image.
        height: Of the output.
        width: Of the output.
        mask: (h, w) bool, the person in it, or None.

    Returns:
        x0, y0, x1, y1 in pixels of the image.
    """
    _, photo_height, photo_width = photo.shape
    scale = min(photo_height / height, photo_width / width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    inside = (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))) if mask is not None else (None, None)
    y0, x0 = _placed(photo_height, tall, inside[0]), _placed(photo_width, wide, inside[1])
    return x0, y0, x0 + wide, y0 + tall


def _placed(whole: int, part: int, inside: NDArray[np.int64] | None) -> int:
    """Where a stretch of `part` begins in `whole`: in the middle, or near it so that it holds `inside`."""
    start = (whole - part) // 2
    if inside is not None and len(inside):
        first, last = int(inside[0]), int(inside[-1]) + 1
        if last - first > part:
            start = (first + last - part) // 2
        else:
            start = min(max(start, last - part), first)
    return min(max(start, 0), whole - part)


def crop_and_resize(image: NDArray[np.uint8], box: Box, height: int, width: int) -> NDArray[np.uint8]:
    """A window (x0, y0, x1, y1) of an image (3, h, w), scaled to (3, height, width)."""
    window = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).crop(box)
    small = window.resize((width, height), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def remove_person(photo: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photo with the person's place, and the seam round it, filled in.

    Args:
        photo: (3, h, w) uint8.
        mask: (h, w) bool, the person.
    """
    seam = max(3, max(mask.shape) // 60)
    place = ndimage.distance_transform_edt(~mask) <= seam if mask.any() else mask
    return inpaint(photo, place)
