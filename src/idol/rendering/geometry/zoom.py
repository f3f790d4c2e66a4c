"""How far to zoom in so that no view looks past the border of the background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from idol.rendering.geometry.camera import Camera, Layers, View
from idol.rendering.geometry.novel_view import places_behind
from idol.rendering.geometry.rays import Rays

_MOST = 1.5
_HALVINGS = 8


def zoom_inside(layers: Layers, views: Sequence[View], camera: Camera) -> float:
    """The least zoom at which no view looks past the border of the background.

    One for all views, or the image would breathe. It ends at 1.5; what is still beyond the border then goes
    on as at the border.

    Args:
        layers: The clip.
        views: All that will be seen.
        camera: The output's, not zoomed.
    """
    zoom = 1.0
    # the farthest first: few of the others ask for more
    for view in sorted(dict.fromkeys(views), key=lambda each: -float(np.linalg.norm(each.position))):
        if not _inside(layers, view, camera.zoomed(zoom)):
            zoom = _bisected(layers, view, camera, zoom)
    return zoom


def _bisected(layers: Layers, view: View, camera: Camera, low: float) -> float:
    """The least zoom for one view, which needs more than `low`."""
    high = _MOST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _inside(layers, view, camera.zoomed(middle)) else (middle, high)
    return high


def _inside(layers: Layers, view: View, camera: Camera) -> bool:
    """Whether the output's border shows the inside of the clip's image, a pixel's rounding aside."""
    ends_y, ends_x = np.array([0, camera.height - 1]), np.array([0, camera.width - 1])
    borders = Rays.through(camera, view, rows=ends_y), Rays.through(camera, view, columns=ends_x)
    farthest = [places_behind(layers, 0, rays).abs().amax((0, 1)) for rays in borders]
    slack = 0.5 + 1e-3 * layers.camera.width
    # the outermost pixels' centers are half a pixel inside of the border
    limits = [1 + 2 * (slack - 0.5) / size for size in (layers.camera.width, layers.camera.height)]
    return all(float(each[i]) <= limits[i] for each in farthest for i in (0, 1))
