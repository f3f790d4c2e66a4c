"""Clothes and hair of synthetic people: an allow-list of everyday items, and random colors for them."""

from __future__ import annotations

import colorsys
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

TOPS = ("VNeckTop", "Tank_Top_01", "Sleeveless", "spaghetti-top", "Asymmetric_Tunic_and_Sash")
TEES = ("short_tail_camo_tee", "Harvey_Sweater2")
TROUSERS = ("Tightjeans",)
SHORTS = ("ShortJeans",)
SKIRTS = ("JeansSkirt", "miniskirt")
DRESSES = ("F_Dress_01", "F_Dress_02", "F_Dress_03", "F_Dress_04", "Cocktaildress", "TubeDress")
WOMENS_SUITS = ("female_casualsuit01", "female_casualsuit02", "female_sportsuit01", "female_elegantsuit01")
MENS_SUITS = tuple(f"male_casualsuit{i:02d}" for i in range(1, 7)) + ("male_elegantsuit01", "male_worksuit01")
SHOES = tuple(f"shoes{i:02d}" for i in range(1, 7))
HATS = ("fedora", "fedora_cocked")
WOMENS_HAIR = (
    "bob01", "bob02", "long01", "ponytail01", "Braid01", "short03", "afro01", "long_alpha7", "curly2",
)  # fmt: skip
MENS_HAIR = ("short01", "short02", "short03", "short04", "afro01")
BROWS = tuple(f"eyebrow{i:03d}" for i in range(1, 13))
ONE_PIECE = (*DRESSES, "Asymmetric_Tunic_and_Sash", *TEES)
DENIM = ("Tightjeans", "ShortJeans", "JeansSkirt")

Paint = Literal["keep", "dye", "print"]


def choose_outfit(rng: np.random.Generator, female: bool) -> list[tuple[str, str]]:
    """Choose what a person wears.

    Args:
        rng: Source of randomness.
        female: Whether to choose women's clothes and hair.

    Returns:
        (kind, name) of each proxy, including shoes, hair, eyes and brows.
    """
    items = [("clothes", name) for name in (_womens(rng) if female else _mens(rng))]
    items.append(("clothes", str(rng.choice(SHOES))))
    hat = rng.uniform() < 0.04
    hair = str(rng.choice(WOMENS_HAIR if female else MENS_HAIR))
    if hat and hair.startswith(("short", "long", "bob")):
        items.append(("clothes", str(rng.choice(HATS))))
    items.append(("hair", hair))
    if rng.uniform() < 0.12:
        items.append(("clothes", "glasses"))
    brows = str(rng.choice(BROWS))
    return [*items, ("eyes", "HighPolyEyes"), ("eyebrows", brows), ("eyelashes", "eyelashes02")]


def _womens(rng: np.random.Generator) -> list[str]:
    kind = rng.uniform()
    if kind < 0.5:
        legs = rng.choice(["trousers", "shorts", "skirt"], p=[0.55, 0.2, 0.25])
        lower = {"trousers": TROUSERS, "shorts": SHORTS, "skirt": SKIRTS}[str(legs)]
        return [str(rng.choice(lower)), str(rng.choice(TOPS + TEES))]
    return [str(rng.choice(WOMENS_SUITS if kind < 0.78 else DRESSES))]


def _mens(rng: np.random.Generator) -> list[str]:
    if rng.uniform() < 0.2:
        return [str(rng.choice(TROUSERS)), str(rng.choice(TEES))]
    return [str(rng.choice(MENS_SUITS))]


def upper_and_lower(name: str, triangles: np.ndarray, points: np.ndarray, waist: float) -> list[np.ndarray]:
    """Divide a garment into what is above and what is below the waist, to be colored separately.

    Args:
        name: Name of the garment; those of `ONE_PIECE` are not divided.
        triangles: (t, 3) indices of points.
        points: (p, 3) in meters.
        waist: Height of the waist in meters.

    Returns:
        Masks (t,) bool of the triangles of each non-empty part, the upper one first.
    """
    if name in ONE_PIECE:
        return [np.ones(len(triangles), bool)]
    edges = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    size = len(points)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (size, size))
    count, piece = connected_components(graph, directed=False)
    total = np.bincount(piece, minlength=count)
    height = np.bincount(piece, points[:, 1], minlength=count) / np.maximum(total, 1)
    up = height[piece[triangles[:, 0]]] > waist
    return [part for part in (up, ~up) if part.any()]


def choose_paint(rng: np.random.Generator, name: str, upper: bool) -> Paint:
    """Choose how to color a garment: prints are rarer below the waist, and denim is never printed.

    Args:
        rng: Source of randomness.
        name: Name of the garment.
        upper: Whether the part is above the waist.
    """
    paint = rng.choice(["keep", "dye", "print"], p=[0.25, 0.5, 0.25])
    if paint == "print" and (name in DENIM or (not upper and rng.uniform() < 0.6)):
        paint = "dye"
    return str(paint)  # type: ignore[return-value]


def repaint(texture: np.ndarray, paint: Paint, rng: np.random.Generator) -> np.ndarray:
    """Recolor a texture while keeping its folds and seams.

    Args:
        texture: (s, s, 4) uint8 RGBA.
        paint: "keep" returns it unchanged, "dye" gives it one color, "print" a pattern.
        rng: Source of randomness.

    Returns:
        (s, s, 4) uint8 RGBA.
    """
    if paint == "keep":
        return texture
    color, alpha = texture[..., :3].astype(np.float32) / 255, texture[..., 3:]
    light = color @ np.array([0.299, 0.587, 0.114], np.float32)
    cloth = light[alpha[..., 0] > 128]
    base = max(float(np.median(cloth)) if cloth.size else 0.5, 0.08)
    shade = 0.25 + 0.75 * np.clip(light / base, 0, 1.8)[..., None]
    paint_color = dye(rng) if paint == "dye" else print_pattern(rng, texture.shape[0])
    return np.concatenate([(np.clip(paint_color * shade, 0, 0.93) * 255).astype(np.uint8), alpha], -1)


def dye(rng: np.random.Generator) -> np.ndarray:
    """Draw a random cloth color (3,) in [0, 1]: any hue, or a shade of gray, from nearly black to white."""
    if rng.uniform() < 0.25:
        return np.full(3, rng.uniform(0.08, 0.95)) * rng.uniform(0.94, 1.0, 3)
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.95) ** 1.5, rng.uniform(0.15, 1.0)))


def print_pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a random printed pattern in two colors.

    Args:
        rng: Source of randomness.
        size: Side in pixels.

    Returns:
        (size, size, 3) float32 in [0, 1].
    """
    first, second = dye(rng), dye(rng)
    y, x = np.mgrid[0:size, 0:size] / size
    pitch = int(rng.integers(10, 40))
    match int(rng.integers(7)):
        case 0:
            mark = (y * pitch) % 1 < rng.uniform(0.3, 0.6)
        case 1:
            mark = (x * pitch) % 1 < rng.uniform(0.2, 0.5)
        case 2:
            mark = ((x * pitch) % 1 < 0.5) ^ ((y * pitch) % 1 < 0.5)
        case 3:
            mark = ((x * pitch) % 1 - 0.5) ** 2 + ((y * pitch) % 1 - 0.5) ** 2 < rng.uniform(0.03, 0.12)
        case 4:
            mark = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(6, 16), mode="wrap") > 0
        case 5:
            mark = ((x + y) * pitch) % 1 < 0.4
        case _:  # two halves, as in color-blocked shirts
            mark = y > rng.uniform(0.3, 0.7)
    return np.where(mark[..., None], first, second).astype(np.float32)


def hair_color(rng: np.random.Generator, texture: np.ndarray, fair: bool, gray: bool) -> np.ndarray:
    """Recolor a hair texture in a random natural color.

    Args:
        rng: Source of randomness.
        texture: (s, s, 4) uint8 RGBA.
        fair: Whether the color may be lighter than brown.
        gray: Whether the hair is gray.

    Returns:
        (s, s, 4) uint8 RGBA.
    """
    color = texture[..., :3].astype(np.float32)
    opaque = color[texture[..., 3] > 128]
    light = color.mean(-1, keepdims=True) / max(float(opaque.mean()) if opaque.size else 1.0, 1.0)
    tint = np.array([1.0, 0.78, 0.55]) * rng.uniform(0.25, 1.15) if fair else np.array([1.0, 0.85, 0.75])
    if not fair:
        tint = tint * rng.uniform(0.1, 0.45)
    if gray:
        tint = np.array([1.0, 0.98, 0.95]) * rng.uniform(0.9, 1.6)
    return np.concatenate([np.clip(light * tint * 110, 0, 255).astype(np.uint8), texture[..., 3:]], -1)
