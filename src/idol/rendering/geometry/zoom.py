"""The zoom that keeps every view inside the background image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from idol.rendering.geometry.camera import Camera, Layers, View
from idol.rendering.geometry.novel_view import background_coords
from idol.rendering.geometry.rays import Rays

_MAX_ZOOM = 1.5
_HALVINGS = 8


def zoom_inside(layers: Layers, views: Sequence[View], camera: Camera) -> float:
    """Return the smallest zoom at which no view shows anything beyond the border of the background.

    It is one value for all views, as a changing zoom would be visible. It is limited to 1.5; beyond that the
    border pixels are repeated.

    Args:
        layers: The clip.
        views: All views that will be rendered.
        camera: The output camera, without zoom.
    """
    zoom = 1.0
    # farthest views first: few of the others need more zoom
    for view in sorted(dict.fromkeys(views), key=lambda each: -float(np.linalg.norm(each.position))):
        if not _inside(layers, view, camera.zoomed(zoom)):
            zoom = _bisected(layers, view, camera, zoom)
    return zoom


def _bisected(layers: Layers, view: View, camera: Camera, low: float) -> float:
    """Return the smallest zoom for one view, which needs more than `low`."""
    high = _MAX_ZOOM
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _inside(layers, view, camera.zoomed(middle)) else (middle, high)
    return high


def _inside(layers: Layers, view: View, camera: Camera) -> bool:
    """Return whether the border of the output lies inside the background, up to rounding to a pixel."""
    ends_y, ends_x = np.array([0, camera.height - 1]), np.array([0, camera.width - 1])
    borders = Rays.from_camera(camera, view, rows=ends_y), Rays.from_camera(camera, view, columns=ends_x)
    farthest = [background_coords(layers, 0, rays).abs().amax((0, 1)) for rays in borders]
    slack = 0.5 + 1e-3 * layers.camera.width
    # coordinates of +-1 are the outer edges of the border pixels, half a pixel beyond their centers
    limits = [1 + 2 * (slack - 0.5) / size for size in (layers.camera.width, layers.camera.height)]
    return all(float(each[i]) <= limits[i] for each in farthest for i in (0, 1))
