"""Scenes around the person: a furnished room or an HDRI panorama, and its light."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from idol.assets import asset_path
from idol.synthesis.rendering.camera import SKY, SceneCamera
from idol.synthesis.scene import textures

_Numbers = tuple[float | int, ...]


@dataclass(frozen=True)
class Quad:
    """A flat textured rectangle.

    Attributes:
        corners: (4, 3) in meters.
        normal: (3,) unit normal.
        uv: (4, 2) texture coordinates.
        image: (h, w, 3) uint8 sRGB.
    """

    corners: np.ndarray
    normal: np.ndarray
    uv: np.ndarray
    image: np.ndarray


@dataclass(frozen=True)
class Light:
    """The light of a scene, in linear units.

    Attributes:
        ambient: (9, 3) irradiance as spherical harmonics, in the shader's polynomial order.
        key: (3,) unit direction towards the key light, which casts shadows.
        key_color: (3,) color of the key light.
        fill: (3,) unit direction towards the fill light, which casts none.
        fill_color: (3,) color of the fill light.
        exposure: Factor before tone mapping.
        white: (3,) white balance factors.
        occlusion: Strength of ambient occlusion in [0, 1].
    """

    ambient: np.ndarray
    key: np.ndarray
    key_color: np.ndarray
    fill: np.ndarray
    fill_color: np.ndarray
    exposure: float
    white: np.ndarray
    occlusion: float = 0.8


@dataclass(frozen=True)
class Scene:
    """Surfaces and light.

    Attributes:
        kind: "room" or "panorama".
        quads: Surfaces; with a panorama they only receive shadows.
        light: The light.
        panorama: (h, w, 3) float32 linear equirectangular image, or None.
    """

    kind: str
    quads: tuple[Quad, ...]
    light: Light
    panorama: np.ndarray | None = None


@lru_cache(1)
def panoramas() -> tuple[np.ndarray, ...]:
    """Read the HDRI panoramas, (256, 512, 3) float32 linear, +Y up; negative values are clamped to 0."""
    import OpenEXR

    found = []
    for path in sorted(asset_path("hdri").glob("*.exr.js")):
        coded = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text())
        if coded is None:
            raise ValueError(f"{path.name} holds no image")
        found.append(np.clip(np.nan_to_num(_read_exr(OpenEXR, base64.b64decode(coded[1]))), 0, 200))
    return tuple(found)


def _read_exr(module: object, data: bytes) -> np.ndarray:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(data)
        file.flush()
        with module.File(file.name) as image:  # type: ignore[attr-defined]
            channels = image.channels()
            if "RGB" in channels:
                return channels["RGB"].pixels.astype(np.float32)
            return np.stack([channels[c].pixels for c in "RGB"], -1).astype(np.float32)


@lru_cache(1)
def photos() -> tuple[np.ndarray, ...]:
    """Crop square views from the panoramas, (160, 160, 3) uint8, as images to hang on walls."""
    views = []
    for panorama in panoramas():
        for start in range(0, 512, 160):
            view = np.take(panorama, np.arange(start, start + 160), axis=1, mode="wrap")[60:220]
            scaled = view / (view + max(float(np.median(view)), 1e-3))
            views.append((np.clip(scaled, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8))
    return tuple(views)


def make_scene(rng: np.random.Generator, subject: np.ndarray, eye: np.ndarray, kind: str) -> Scene:
    """Make a random scene around the box that the person moves in.

    Args:
        rng: Source of randomness.
        subject: (2, 3) lowest and highest corner of the box in meters.
        eye: (3,) position of the camera in meters; a room contains it.
        kind: "room" or "panorama".
    """
    panorama = _choose_panorama(rng)
    light = make_light(rng, panorama, kind)
    if kind == "room":
        return Scene(kind, room(rng, subject, eye), light)
    ground = np.full((2, 2, 3), 200, np.uint8)
    floor = _quad((-5, 0, 5), (10, 0, 0), (0, 0, -10), (0, 1, 0), (1, 1), ground)
    return Scene(kind, (floor,), light, (panorama * rng.uniform(0.9, 1.4)).astype(np.float32))


def add_background_depth(
    scene: Scene, camera: SceneCamera, z: Float[np.ndarray, "f h w"], mask: Bool[np.ndarray, "f h w"]
) -> Float[np.ndarray, "f h w"]:
    """Complete the rasterizer's depth to metric depth of the whole frame.

    A room is rendered completely. A panorama has no depth of its own: below the horizon its depth is that of
    the floor on which the person stands, above it is sky. Both end at `SKY`, so that depth has no step at the
    horizon.

    Args:
        scene: The scene.
        camera: The camera it was rendered with.
        z: (f, h, w) distances of the rasterizer along the view axis in meters.
        mask: (f, h, w) the person, whose distances are kept.

    Returns:
        (f, h, w) distances along the view axis in meters, at most `SKY`.
    """
    if scene.panorama is None:
        return z
    fall = np.maximum(-camera.rays[..., 1], 1e-9)  # descent of each ray in meters per meter of depth
    return np.where(mask, z, np.minimum(camera.eye[1] / fall, SKY).astype(z.dtype))


def _choose_panorama(rng: np.random.Generator) -> np.ndarray:
    """Choose a panorama, scaled to mean brightness 0.55, rotated such that it is not black at its center."""
    for _ in range(6):
        panorama = panoramas()[int(rng.integers(len(panoramas())))]
        width = panorama.shape[1]
        panorama = np.roll(panorama, int(rng.integers(width)), 1)
        panorama = panorama / max(float(panorama.mean()), 1e-3) * 0.55
        behind = panorama[80:190, width // 2 - 50 : width // 2 + 50]
        if np.median(behind) > 0.04:
            break
    return panorama


def make_light(rng: np.random.Generator, panorama: np.ndarray, kind: str) -> Light:
    """Make the light of a scene: ambient light and key light of the panorama, or a lamp in a room.

    Args:
        rng: Source of randomness.
        panorama: (h, w, 3) float32 linear.
        kind: "room" or "panorama".
    """
    ambient = harmonics(panorama)
    key = brightest(panorama)
    if key[1] < 0.25 or kind == "room":
        angle = rng.uniform(-1.2, 1.2)
        key = np.array([np.sin(angle) * 0.8, rng.uniform(0.5, 1.2), np.cos(angle)])
    key[1] = min(key[1], 3 * np.hypot(key[0], key[2]) + 0.05)  # never from straight above
    key[0] += 0.02
    gray = ambient.mean(1, keepdims=True)
    if kind == "room":  # walls diffuse the light
        even = np.concatenate([[1.25], np.full(8, 0.5)])[:, None]
        ambient = 0.35 * ambient + 0.65 * gray * np.array([1.05, 1.0, 0.93]) * even
    else:
        ambient = 0.45 * ambient + 0.55 * gray
    angle = rng.uniform(-np.pi, np.pi)
    fill = np.array([np.sin(angle), rng.uniform(0.0, 0.8), np.cos(angle)])
    warm = np.array([1.0, 0.96, 0.9]) * rng.uniform(0.9, 1.1, 3)
    return Light(
        ambient=ambient * 0.85,
        key=key / np.linalg.norm(key),
        key_color=warm * rng.uniform(0.4, 1.3),
        fill=fill / np.linalg.norm(fill),
        fill_color=rng.uniform(0.8, 1.2, 3) * max(rng.uniform(-0.2, 0.5), 0.0),
        exposure=float(rng.uniform(0.75, 1.25)),
        white=rng.uniform(0.93, 1.07, 3),
    )


def _directions(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, z and the solid angle of the pixels of an equirectangular image, (h, w) each."""
    theta = (np.arange(height) + 0.5)[:, None] / height * np.pi
    phi = (np.arange(width) + 0.5)[None] / width * 2 * np.pi
    ring, one = np.sin(theta), np.ones((height, width))
    area = ring * one * (np.pi / height) * (2 * np.pi / width)
    return ring * np.sin(phi), np.cos(theta) * one, ring * np.cos(phi), area


def harmonics(panorama: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "9 3"]:
    """Compute irradiance / pi as 9 spherical harmonics (Ramamoorthi and Hanrahan 2001).

    Args:
        panorama: (h, w, 3) linear equirectangular image.

    Returns:
        (9, 3) coefficients per channel.
    """
    x, y, z, area = _directions(*panorama.shape[:2])
    # Normalization constants of the real spherical harmonics up to degree 2.
    k = np.array([0.282095] + [0.488603] * 3 + [1.092548] * 2 + [0.315392, 1.092548, 0.546274])
    basis = [np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y]
    # Cosine lobe per degree: pi, 2 pi / 3, pi / 4.
    spread = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)
    sums = np.stack([np.einsum("hwc,hw->c", panorama, b * area) for b in basis])
    return sums * (k * k * spread / np.pi)[:, None]


def brightest(panorama: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, " 3"]:
    """Return the unit direction (3,) of the brightest pixel above the horizon of a panorama (h, w, 3)."""
    x, y, z, area = _directions(*panorama.shape[:2])
    # Clamped, so that a single fully overexposed pixel does not decide.
    light = np.minimum(panorama.mean(-1), 50) * area
    light[panorama.shape[0] // 2 :] = 0
    at = np.unravel_index(light.argmax(), light.shape)
    return np.array([x[at], y[at], z[at]])


def _quad(
    origin: _Numbers,
    u: _Numbers,
    v: _Numbers,
    normal: _Numbers,
    repeat: _Numbers,
    image: np.ndarray,
) -> Quad:
    o, a, b = (np.array(x, float) for x in (origin, u, v))
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * np.array(repeat, float)
    return Quad(np.stack([o, o + a, o + a + b, o + b]), np.array(normal, float), uv, image)


def room(rng: np.random.Generator, subject: np.ndarray, eye: np.ndarray) -> tuple[Quad, ...]:
    """Make floor, ceiling, furniture and three walls; the side of the camera is open.

    Args:
        rng: Source of randomness.
        subject: (2, 3) lowest and highest corner of the person's box in meters.
        eye: (3,) position of the camera in meters.
    """
    reach = max(np.abs(subject[:, 0]).max() + 0.4, abs(eye[0]) + 0.2)
    w, h = max(rng.uniform(4.2, 7), 2 * reach), max(rng.uniform(2.4, 3.3), subject[1, 1] + 0.25)
    d = max(7.0, eye[2] + 3.0)
    back = float(subject[0, 2]) - rng.uniform(0.5, 2.2)
    ceiling = np.full((2, 2, 3), int(rng.integers(200, 250)), np.uint8)
    images = photos()
    walls = [textures.wall(rng, images) for _ in range(3)]
    walls[1:] = [walls[0]] * 2 if rng.uniform() < 0.3 else walls[1:]
    scale = rng.uniform(0.7, 1.4)
    left, right = -w / 2, w / 2
    return (
        _quad((left, 0, back), (w, 0, 0), (0, h, 0), (0, 0, 1), (1, 1), walls[0]),
        _quad(
            (left, 0, back + d), (w, 0, 0), (0, 0, -d), (0, 1, 0), (w / 2 * scale, d / 2 * scale),
            textures.floor(rng),
        ),
        _quad((left, 0, back + d), (0, 0, -d), (0, h, 0), (1, 0, 0), (1, 1), walls[1]),
        _quad((right, 0, back), (0, 0, d), (0, h, 0), (-1, 0, 0), (1, 1), walls[2]),
        _quad((left, h, back), (w, 0, 0), (0, 0, d), (0, -1, 0), (1, 1), ceiling),
        *_furniture(rng, subject, w, back),
    )  # fmt: skip


def _furniture(rng: np.random.Generator, subject: np.ndarray, width: float, back: float) -> list[Quad]:
    """Place boxes along the back wall, behind the person: cupboards, tables, crates."""
    quads: list[Quad] = []
    space = float(subject[0, 2]) - back - 0.1
    for _ in range(int(rng.integers(0, 4)) if space > 0.3 else 0):
        size = np.array([rng.uniform(0.3, 1.4), rng.uniform(0.25, 1.3), rng.uniform(0.2, min(0.7, space))])
        x = rng.uniform(-width / 2, width / 2 - size[0])
        quads += box(np.array([x, 0.0, back]), size, textures.cloth(rng))
    return quads


def box(corner: np.ndarray, size: np.ndarray, image: np.ndarray) -> list[Quad]:
    """Make front, top and two sides of a box that stands against the back wall.

    Args:
        corner: (3,) lower left back corner in meters.
        size: (3,) width, height and depth in meters.
        image: (h, w, 3) uint8 texture of all sides.
    """
    x, y, z = corner
    w, h, d = size
    return [
        _quad((x, y, z + d), (w, 0, 0), (0, h, 0), (0, 0, 1), (1, 1), image),
        _quad((x, y + h, z + d), (w, 0, 0), (0, 0, -d), (0, 1, 0), (1, 1), image),
        _quad((x, y, z), (0, 0, d), (0, h, 0), (-1, 0, 0), (1, 1), image),
        _quad((x + w, y, z + d), (0, 0, -d), (0, h, 0), (1, 0, 0), (1, 1), image),
    ]
