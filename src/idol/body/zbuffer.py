"""A z-buffer in numpy, for meshes of many small triangles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

_SNAP = 256  # subdivisions of a sample that positions are rounded to, as on GPUs
# Triangles are rasterized in groups by the size of their bounding box, in samples.
_SIDES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 512, 2048, 8192)


class Hits(NamedTuple):
    """The visible triangle at each sample of a grid.

    Attributes:
        triangle: Index of the triangle, -1 where there is none.
        corners: Perspective-correct weights of its three vertices.
        distance: Distance in meters, infinity where there is no triangle.
    """

    triangle: Int32[np.ndarray, "h w"]
    corners: Float32[np.ndarray, "h w 3"]
    distance: Float32[np.ndarray, "h w"]


class _Fragments(NamedTuple):
    at: np.ndarray
    triangle: np.ndarray
    corners: np.ndarray
    distance: np.ndarray


def find_hits(
    seen: Float[np.ndarray, "n 3"], triangles: Int[np.ndarray, "t 3"], height: int, width: int
) -> Hits:
    """Return the nearest front face at every sample.

    Args:
        seen: Column and row in samples (0 is the center of the first sample) and positive distance in meters.
        triangles: Vertices of the triangles, counterclockwise from outside.
        height: Rows of samples.
        width: Columns of samples.
    """
    snapped = np.rint((seen[:, :2] + 0.5) * _SNAP) / _SNAP - 0.5
    corner = snapped[triangles]
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low = np.maximum(np.ceil(corner.min(1)).astype(int), 0)
    high = np.minimum(np.floor(corner.max(1)).astype(int), (width - 1, height - 1))
    # Rows grow downward, so that front faces have a negative area.
    shown = (high >= low).all(1) & (area < 0)
    side = np.where(shown, (high - low + 1).max(1), 0)
    found = []
    for small, large in zip((0, *_SIDES), _SIDES, strict=False):
        chosen = np.flatnonzero((side > small) & (side <= large))
        # In batches of bounded memory: the largest triangles span many samples.
        for part in np.array_split(chosen, max(1, chosen.size * large**2 // 4_000_000 + 1)):
            if part.size:
                found.append(_cover(corner[part], area[part], low[part], high[part], part, large, width))
    return _nearest(found, seen[:, 2], triangles, height, width)


def _cover(
    corner: np.ndarray,
    area: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    number: np.ndarray,
    side: int,
    width: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return samples, triangles and screen-space weights of triangles within `side` x `side` samples."""
    dy, dx = np.divmod(np.arange(side * side), side)
    x, y = low[:, 0, None] + dx, low[:, 1, None] + dy
    (ax, ay), (bx, by), (cx, cy) = (corner[:, k, :, None].transpose(1, 0, 2) for k in range(3))
    inverse = 1 / area[:, None]
    second = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
    third = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
    first = 1 - second - third
    inside = (np.minimum(np.minimum(first, second), third) >= -1e-9) & (x <= high[:, 0, None])
    i, j = np.nonzero(inside & (y <= high[:, 1, None]))
    weights = np.stack([first[i, j], second[i, j], third[i, j]], -1)
    return y[i, j] * width + x[i, j], number[i], weights


def _nearest(
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    distance: np.ndarray,
    triangles: np.ndarray,
    height: int,
    width: int,
) -> Hits:
    triangle = np.full(height * width, -1, np.int32)
    corners = np.zeros((height * width, 3), np.float32)
    nearest = np.full(height * width, np.inf, np.float32)
    if found:
        at, number, weights = (np.concatenate(values) for values in zip(*found, strict=True))
        # 1 / distance and any attribute / distance are linear in screen space.
        over = weights / distance[triangles[number]]
        z = 1 / over.sum(1)
        # Assignment keeps the last of repeated indices, here the nearest.
        order = np.argsort(-z, kind="stable")
        at, number = at[order], number[order]
        triangle[at], nearest[at] = number, z[order]
        corners[at] = (over * z[:, None])[order]
    shape = (height, width)
    return Hits(triangle.reshape(shape), corners.reshape(*shape, 3), nearest.reshape(shape))
