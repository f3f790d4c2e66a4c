"""Procedural textures of rooms: floors, and walls with furniture. Images are (h, w, 3) uint8 sRGB."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_WALL = 512  # side in pixels
_FLOOR = 384
Color = tuple[int, int, int]


def color(rng: np.random.Generator, low: float, high: float, saturation: float) -> np.ndarray:
    """Draw a random interior color; warm hues are the most frequent.

    Args:
        rng: Source of randomness.
        low: Lowest HSV value, in [0, 1].
        high: Highest HSV value, in [0, 1].
        saturation: Highest HSV saturation, in [0, 1].

    Returns:
        (3,) RGB in [0, 1].
    """
    hue = rng.uniform(0.03, 0.16) if rng.uniform() < 0.6 else rng.uniform()
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform() ** 1.7 * saturation, rng.uniform(low, high)))


def _ink(rng: np.random.Generator, low: float, high: float, saturation: float) -> Color:
    r, g, b = (int(255 * x) for x in color(rng, low, high, saturation))
    return r, g, b


def cloud(rng: np.random.Generator, size: int, scales: Sequence[tuple[int, float]]) -> np.ndarray:
    """Draw smooth noise.

    Args:
        rng: Source of randomness.
        size: Side in pixels.
        scales: Octaves as (cells per side, standard deviation).

    Returns:
        (size, size, 1) float32.
    """
    total = np.zeros((size, size), np.float32)
    for cells, strength in scales:
        grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        total += strength * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
    return total[..., None]


def _finish(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def floor(rng: np.random.Generator) -> np.ndarray:
    """Draw a floor of planks, tiles, carpet or concrete; it tiles seamlessly."""
    match int(rng.integers(4)):
        case 0 | 1:
            return planks(rng)
        case 2:
            return _tiles(rng)
        case _:
            grain = 0.08 * rng.standard_normal((_FLOOR, _FLOOR, 1))
            shade = 1 + grain + 0.06 * cloud(rng, _FLOOR, ((4, 0.6), (24, 0.4)))
            return _finish(color(rng, 0.25, 0.8, 0.4) * shade)


def planks(rng: np.random.Generator) -> np.ndarray:
    """Draw wooden boards."""
    size, rows = _FLOOR, 12
    wood = np.array([0.55, 0.38, 0.24]) * rng.uniform(0.5, 1.5) * (1 + rng.uniform(-0.1, 0.1, 3))
    image = np.zeros((size, size, 3))
    high, wide = size // rows, size // 4
    for i in range(rows):
        start = int(rng.integers(size))
        for j in range(4):
            columns = (np.arange(wide) + start + j * wide) % size
            image[i * high : (i + 1) * high, columns] = wood * rng.uniform(0.8, 1.15)
            image[i * high : (i + 1) * high, columns[:2]] *= 0.55
        image[i * high] *= 0.55
    streaks = Image.fromarray(rng.standard_normal((size, size // 32)).astype(np.float32))
    grain = np.asarray(streaks.resize((size, size), Image.Resampling.BICUBIC))
    return _finish(image * (1 + 0.06 * grain[..., None]))


def _tiles(rng: np.random.Generator) -> np.ndarray:
    size, count = _FLOOR, 8
    first, second = color(rng, 0.5, 0.95, 0.2), color(rng, 0.4, 0.95, 0.2)
    y, x = np.mgrid[0:size, 0:size] * count
    image = np.where((((x // size) + (y // size)) % 2)[..., None].astype(bool), first, second)
    grout = ((x % size < 10) | (y % size < 10))[..., None]
    return _finish(image * np.where(grout, 0.75, 1) * (1 + 0.03 * cloud(rng, size, ((4, 0.5), (48, 0.4)))))


def wall(rng: np.random.Generator, images: Sequence[np.ndarray]) -> np.ndarray:
    """Draw a wall: paint, wallpaper, bricks or panels, with furniture in front of it.

    Args:
        rng: Source of randomness.
        images: Images to hang in frames, (h, w, 3) uint8.
    """
    base = _finish(_plaster(rng))
    image = Image.fromarray(base)
    pen = ImageDraw.Draw(image)
    if rng.uniform() < 0.8:
        pen.rectangle((0, _WALL - 14, _WALL, _WALL), fill=_ink(rng, 0.5, 1.0, 0.15))
    for _ in range(int(rng.integers(0, 6))):
        _furnish(rng, image, pen, images)
    if rng.uniform() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2.5))))
    return np.asarray(image)


def _plaster(rng: np.random.Generator) -> np.ndarray:
    size = _WALL
    image = np.ones((size, size, 3)) * color(rng, 0.4, 0.97, 0.45)
    image *= 1 + 0.025 * cloud(rng, size, ((3, 0.6), (9, 0.3), (100, 0.15)))
    x = np.arange(size)
    match int(rng.integers(7)):
        case 0:
            return _bricks(rng)
        case 1:
            image *= np.where((x * rng.integers(12, 40) // size) % 2, 1, rng.uniform(0.8, 0.95))[
                None, :, None
            ]
        case 2:  # wainscot
            image[int(size * rng.uniform(0.55, 0.75)) :] = color(rng, 0.3, 0.95, 0.4)
        case 3:  # panels
            image[:, (x * int(rng.integers(4, 10))) % size < 8] *= 0.8
        case _:
            pass
    return image


def _bricks(rng: np.random.Generator) -> np.ndarray:
    size, rows = _WALL, 32
    high = size // rows
    mortar = rng.uniform(0.5, 0.8)
    clay = np.array([0.6, 0.32, 0.25]) if rng.uniform() < 0.6 else color(rng, 0.4, 0.9, 0.15)
    image = np.full((size, size, 3), mortar)
    for i in range(rows):
        for j in range(-1, rows // 2 + 1):
            left = j * 2 * high + (i % 2) * high
            window = image[i * high + 2 : (i + 1) * high, max(left + 2, 0) : max(left + 2 * high, 0)]
            window[:] = clay * rng.uniform(0.7, 1.3)
    return image


def _furnish(
    rng: np.random.Generator,
    image: Image.Image,
    pen: ImageDraw.ImageDraw,
    images: Sequence[np.ndarray],
) -> None:
    x = int(rng.integers(0, _WALL - 60))
    match int(rng.integers(7)):
        case 0 | 1:
            _frame(rng, image, pen, x, images)
        case 2:
            _window(rng, pen, x)
        case 3:
            _door(rng, pen, x)
        case 4:
            _shelf(rng, pen, x)
        case 5:
            _sofa(rng, pen, x)
        case _:
            _plant(rng, pen, x)


def _frame(
    rng: np.random.Generator,
    image: Image.Image,
    pen: ImageDraw.ImageDraw,
    x: int,
    images: Sequence[np.ndarray],
) -> None:
    w, h, y = int(rng.integers(40, 120)), int(rng.integers(45, 120)), int(rng.integers(130, 280))
    pen.rectangle((x, y, x + w, y + h), fill=_ink(rng, 0.05, 0.9, 0.4))
    if images:
        inside = Image.fromarray(images[int(rng.integers(len(images)))])
        image.paste(inside.resize((w - 8, h - 8)), (x + 4, y + 4))


def _window(rng: np.random.Generator, pen: ImageDraw.ImageDraw, x: int) -> None:
    w, h, y = int(rng.integers(80, 150)), int(rng.integers(110, 170)), int(rng.integers(110, 210))
    pen.rectangle((x, y, x + w, y + h), fill=(245, 245, 245))
    sky = tuple(int(255 * v) for v in (rng.uniform(0.5, 1), rng.uniform(0.75, 1), 1))
    for i in range(2):
        for j in range(2):
            left, top = x + 4 + i * w // 2, y + 4 + j * h // 2
            pen.rectangle((left, top, left + w // 2 - 8, top + h // 2 - 8), fill=sky)


def _door(rng: np.random.Generator, pen: ImageDraw.ImageDraw, x: int) -> None:
    top, line = _WALL - 280, _ink(rng, 0.2, 0.6, 0.3)
    pen.rectangle((x, top, x + 115, _WALL), fill=_ink(rng, 0.3, 0.9, 0.4))
    pen.rectangle((x + 12, top + 12, x + 103, top + 130), outline=line, width=2)
    pen.rectangle((x + 12, top + 146, x + 103, _WALL - 14), outline=line, width=2)
    pen.ellipse((x + 97, top + 136, x + 106, top + 145), fill=(200, 180, 90))


def _shelf(rng: np.random.Generator, pen: ImageDraw.ImageDraw, x: int) -> None:
    y, w = _WALL - int(rng.integers(125, 240)), int(rng.integers(80, 165))
    pen.rectangle((x, y, x + w, _WALL - 10), fill=_ink(rng, 0.2, 0.7, 0.5))
    for top in range(y + 5, _WALL - 36, 35):
        pen.rectangle((x + 4, top, x + w - 4, top + 29), fill=_ink(rng, 0.08, 0.3, 0.3))
        left = x + 5
        while left < x + w - 12:
            wide = int(rng.integers(4, 9))
            book = (left, top + int(rng.integers(2, 11)), left + wide, top + 29)
            pen.rectangle(book, fill=_ink(rng, 0.2, 0.9, 0.8))
            left += wide + int(rng.integers(1, 4))


def _sofa(rng: np.random.Generator, pen: ImageDraw.ImageDraw, x: int) -> None:
    w, y, cloth = int(rng.integers(120, 210)), _WALL - 95, _ink(rng, 0.2, 0.8, 0.6)
    arm = (int(cloth[0] * 0.85), int(cloth[1] * 0.85), int(cloth[2] * 0.85))
    pen.rounded_rectangle((x, y, x + w, _WALL - 12), 10, fill=cloth)
    for left in (x - 12, x + w - 12):
        pen.rounded_rectangle((left, y + 25, left + 25, _WALL - 7), 6, fill=arm)


def _plant(rng: np.random.Generator, pen: ImageDraw.ImageDraw, x: int) -> None:
    pen.rectangle((x + 15, _WALL - 40, x + 40, _WALL - 7), fill=_ink(rng, 0.3, 0.8, 0.5))
    for _ in range(25):
        angle, length = rng.uniform(-1.2, 1.2), rng.uniform(30, 100)
        tip = (x + 27 + length * np.sin(angle), _WALL - 40 - length * np.cos(angle))
        leaf = tuple(int(v) for v in rng.uniform((10, 70, 10), (80, 160, 60)))
        pen.line((x + 27, _WALL - 40, *tip), fill=leaf, width=int(rng.integers(3, 7)))


def cloth(rng: np.random.Generator) -> np.ndarray:
    """Draw a small plain or wooden texture for furniture."""
    size = 64
    base = (
        np.array([0.5, 0.34, 0.2]) * rng.uniform(0.5, 1.6)
        if rng.uniform() < 0.4
        else color(rng, 0.1, 0.9, 0.8)
    )
    grain = np.tile(rng.standard_normal((size, 1, 1)), (1, size, 1))
    return _finish(base * (1 + 0.05 * grain) * np.ones((size, size, 3)))
