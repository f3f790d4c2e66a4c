"""Layers of simple shapes with geometry in closed form."""

import numpy as np

from idol.rendering.geometry.camera import Camera, Layers, Plane


def built_layers(frames=2, height=24, width=20, fov=40.0, z=2.0, wall=5.0, metric=True, seed=0):
    """Return layers of a rectangle at `z` meters that moves to the right before a wall, in random colors."""
    rng = np.random.default_rng(seed)
    alpha = np.zeros((frames, height, width), np.float32)
    for f in range(frames):
        alpha[f, 4 : height - 2, 3 + f : width - 6 + f] = 1
    return Layers(
        camera=Camera(fov, height, width),
        color=rng.integers(0, 256, (frames, 3, height, width), np.uint8),
        alpha=alpha,
        z=np.full((frames, height, width), z, np.float32),
        background=rng.integers(0, 256, (1, 3, height, width), np.uint8),
        background_z=np.full((1, height, width), wall, np.float32),
        planes=(Plane(np.array([0.0, 0.0, 1.0]), wall),),
        fps=10.0,
        metric=metric,
    )


def pinhole_points(camera, z):
    """Return (h, w, 3) points by a literal loop of x = (u - cx) z / f, y up, looking along -z."""
    f = camera.height / 2 / np.tan(np.radians(camera.fov) / 2)
    points = np.empty((*z.shape, 3))
    for v in range(camera.height):
        for u in range(camera.width):
            x = (u - (camera.width - 1) / 2) * z[v, u] / f
            y = (v - (camera.height - 1) / 2) * z[v, u] / f
            points[v, u] = x, -y, -z[v, u]
    return points
