"""The background of a clip: an image, a color, or the photo's own with the person removed."""

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
    """Load a background, cropped to the aspect ratio of the output and resized to its size.

    Args:
        spec: Path of an image, a color (`#rrggbb` or a CSS name), or `photo`.
        height: Height of the output in pixels.
        width: Width of the output in pixels.
        person: The person whose photo `photo` refers to.

    Returns:
        (3, height, width) uint8 sRGB.

    Raises:
        UserError: If `spec` is none of these, or the image cannot be read.
    """
    if str(spec) == "photo":
        if person is None:
            raise UserError(
                "background", "photo, but there is no photo of a person", "give a photo as `person`"
            )
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
    """Parse a color into red, green and blue, 0 to 255; None if it is not a color."""
    try:
        red, green, blue = ImageColor.getrgb(spec)[:3]
    except ValueError:
        return None
    return red, green, blue


def crop_window(
    photo: NDArray[np.uint8], height: int, width: int, mask: NDArray[np.bool_] | None = None
) -> Box:
    """Find the largest window with the output's aspect ratio: centered, but moved to contain the person.

    Args:
        photo: (3, h, w) uint8, the image.
        height: Height of the output in pixels.
        width: Width of the output in pixels.
        mask: (h, w) bool, the person in the image, or None.

    Returns:
        x0, y0, x1, y1 in pixels of the image.
    """
    _, photo_height, photo_width = photo.shape
    scale = min(photo_height / height, photo_width / width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    inside = (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))) if mask is not None else (None, None)
    y0, x0 = _start_of_window(photo_height, tall, inside[0]), _start_of_window(photo_width, wide, inside[1])
    return x0, y0, x0 + wide, y0 + tall


def _start_of_window(whole: int, part: int, inside: NDArray[np.int64] | None) -> int:
    """Return where an interval of length `part` starts in `whole`: centered, or moved to contain `inside`."""
    start = (whole - part) // 2
    if inside is not None and len(inside):
        first, last = int(inside[0]), int(inside[-1]) + 1
        if last - first > part:
            start = (first + last - part) // 2
        else:
            start = min(max(start, last - part), first)
    return min(max(start, 0), whole - part)


def crop_and_resize(image: NDArray[np.uint8], box: Box, height: int, width: int) -> NDArray[np.uint8]:
    """Crop an image and resize the result.

    Args:
        image: (3, h, w) uint8.
        box: x0, y0, x1, y1 in pixels of the image.
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        (3, height, width) uint8.
    """
    crop = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).crop(box)
    resized = crop.resize((width, height), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def remove_person(photo: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Remove the person from a photo by inpainting the mask and a seam around it.

    Args:
        photo: (3, h, w) uint8 sRGB.
        mask: (h, w) bool, the person.

    Returns:
        (3, h, w) uint8 sRGB.
    """
    # A mask is rarely exact to the pixel; without the seam the outline of the person would remain.
    seam = max(3, max(mask.shape) // 60)
    hole = ndimage.distance_transform_edt(~mask) <= seam if mask.any() else mask
    return inpaint(photo, hole)
