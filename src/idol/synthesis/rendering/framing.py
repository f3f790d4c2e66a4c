"""Placement of the camera such that given points fill the image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from idol.synthesis.rendering.camera import SceneCamera, look_at


def frame_points(
    rng: np.random.Generator, points: Float[np.ndarray, "n 3"], size: int, floor: float = 0.25
) -> SceneCamera:
    """Choose a random camera whose image contains all points, with a random margin.

    The camera looks from the front (+Z), up to 30 degrees from either side, from a person's height or lower.

    Args:
        rng: Source of randomness.
        points: (n, 3) points to contain, in meters.
        size: Height and width of the image in pixels.
        floor: Lowest height of the camera in meters.
    """
    margin = rng.uniform(0.03, 0.1) if rng.uniform() < 0.75 else rng.uniform(0.1, 0.25)
    half_angle = np.radians(rng.uniform(26, 50)) / 2
    focal = size / 2 / np.tan(half_angle)
    yaw, pitch = np.radians(rng.uniform(-30, 30)), np.radians(rng.uniform(-5, 14))
    way = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    center = (points.min(0) + points.max(0)) / 2
    # Off-center by at most the margin, and less vertically, so that nothing leaves the image.
    shift = rng.uniform(-1, 1, 2) * np.array([0.8, 0.4]) * (margin - 0.02)
    distance = 3.0
    for _ in range(4):
        eye = center + distance * way
        eye[1] = max(eye[1], floor)
        camera = SceneCamera(eye, look_at(eye, center), focal, size)
        at = camera.project(points)
        # Recenter on the projected points, then step back until they fit; this converges in a few rounds.
        middle = (at[:, :2].min(0) + at[:, :2].max(0)) / 2 - (size - 1) / 2
        step = (middle * [1, -1]) * distance / focal
        center = center + camera.view[0, :3] * step[0] + camera.view[1, :3] * step[1]
        extent = np.ptp(at[:, :2], axis=0).max() / size
        distance *= extent / (1 - 2 * margin)
    moved = -shift * size * distance / focal
    center = center + camera.view[0, :3] * moved[0] + camera.view[1, :3] * moved[1]
    eye = center + distance * way
    eye[1] = max(eye[1], floor)
    return SceneCamera(eye, look_at(eye, center), focal, size)
