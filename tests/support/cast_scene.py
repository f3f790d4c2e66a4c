"""A textured egg on a floor in front of a wall, ray-cast in closed form: the reference for the renderer."""

import numpy as np

from idol.rendering.geometry.camera import Camera, Layers, Plane, View
from idol.rendering.layers.matting import extract_mattes

FLOOR, WALL = 0.9, 7.0
MIDDLE, RADII = np.array([0.1, 0.1, 4.0]), np.array([0.35, 0.8, 0.3])
PLANES = (Plane(np.array([0.0, 1.0, 0.0]), FLOOR), Plane(np.array([0.0, 0.0, 1.0]), WALL))
CAMERA = Camera(40.0, 96, 96)


def cast(view: View, camera: Camera, person: bool = True, samples: int = 3):
    """Return the image (3, h, w) in [0, 255], the egg's coverage (h, w), and each pixel's point (h, w, 3)."""
    h, w = camera.height, camera.width
    color, share, points = np.zeros((3, h, w)), np.zeros((h, w)), np.zeros((h, w, 3))
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    for dy in offsets:
        for dx in offsets:
            x, y = np.meshgrid(np.arange(w) + dx, np.arange(h) + dy)
            ray = np.stack(
                [(x - (w - 1) / 2) / camera.focal - view.shift, (y - (h - 1) / 2) / camera.focal, 1 + 0 * x],
                -1,
            )
            ray = ray @ view.rotation
            seen, there, where = _hit(view.position, ray, person)
            color += seen.transpose(2, 0, 1) / samples**2
            share += there / samples**2
            if abs(dx) < 1e-9 and abs(dy) < 1e-9:
                points = where
    return color, share, points


def _hit(origin, ray, person):
    with np.errstate(divide="ignore", invalid="ignore"):
        to_floor = (FLOOR - origin[1]) / ray[..., 1]
        to_wall = (WALL - origin[2]) / ray[..., 2]
    on_floor = (to_floor > 0) & (to_floor < to_wall)
    t = np.where(on_floor, to_floor, to_wall)
    o, d = (origin - MIDDLE) / RADII, ray / RADII
    a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum() - 1
    root = b * b - a * c
    there = (root > 0) & person
    t = np.where(there, (-b - np.sqrt(np.maximum(root, 0))) / a, t)
    x = origin + ray * t[..., None]
    return (
        np.where(there[..., None], _paint(x, 9, 5, [190, 90, 60]), _paint(x, 4, 2, [70, 130, 150])),
        there,
        x,
    )


def _paint(x, fast, slow, base):
    waves = [np.sin(fast * x[..., 0] + slow * x[..., 2]), np.sin(fast * x[..., 1]), np.cos(slow * x.sum(-1))]
    return np.array(base) + 40 * np.stack(waves, -1)


def layers(frames: int = 1) -> Layers:
    """Return the layers of the scene as seen by the clip's own camera."""
    frame, share, points = cast(View.identity(), CAMERA)
    background, _, _ = cast(View.identity(), CAMERA, person=False)
    frame, background = frame.round().astype(np.uint8), background.round().astype(np.uint8)
    z = points[..., 2].astype(np.float32)
    part = extract_mattes(frame[None], background[None], share[None] > 0.5, 1 / z[None], clean=False)
    behind = np.minimum(*(plane.depth(CAMERA) for plane in PLANES))
    return Layers(
        camera=CAMERA,
        color=np.repeat(part.color, frames, 0),
        alpha=np.repeat(part.alpha, frames, 0),
        z=np.repeat(1 / part.disparity, frames, 0),
        background=background[None],
        background_z=behind[None],
        planes=PLANES,
        fps=8.0,
        metric=True,
    )
